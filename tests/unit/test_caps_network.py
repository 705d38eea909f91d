"""Limits beyond the transformer's: thin cables and low voltages are found, planned with, verified, or reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cosim import feeders, run
from cosim.contract import Exogenous, Feeder, Forecast, TransformerSpec
from cosim.controllers.caps.controller import BilevelCaps
from cosim.controllers.caps.day import background_of
from cosim.controllers.caps.network import Elements
from cosim.controllers.caps.network.rows import limits_of_rows, new_rows
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.caps.phase_limits import Background
from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.caps.result import load_kw
from cosim.controllers.caps.solve import solve_caps
from cosim.reduced import ReducedNetwork

WEAK = """Clear
Set DefaultBaseFrequency=50
New Circuit.weak Bus1=src BasekV=11 pu=1.0
New Transformer.T1 Phases=3 Windings=2 Buses=[src lv] Conns=[Delta Wye] kVs=[11 0.4] kVAs=[100 100] %R=0.8 XHL=4
New Line.HEAD Phases=3 Bus1=lv Bus2=hub R1=0.1 X1=0.05 R0=0.4 X0=0.2 Length=0.05 Units=km NormAmps=300 EmergAmps=300
New Line.THIN Phases=1 Bus1=hub.1 Bus2=a.1 R1=0.3 X1=0.05 R0=0.3 X0=0.05 Length=0.05 Units=km NormAmps=60 EmergAmps=60
New Line.LONG Phases=1 Bus1=hub.2 Bus2=b.2 R1=1.0 X1=0.05 R0=1.0 X0=0.05 Length=0.25 Units=km NormAmps=300 EmergAmps=300
New Load.A1 Phases=1 Bus1=a.1 kV=0.23 kW=1 Model=1
New Load.A2 Phases=1 Bus1=a.1 kV=0.23 kW=1 Model=1
New Load.A3 Phases=1 Bus1=a.1 kV=0.23 kW=1 Model=1
New Load.B1 Phases=1 Bus1=b.2 kV=0.23 kW=1 Model=1
New Load.B2 Phases=1 Bus1=b.2 kV=0.23 kW=1 Model=1
New Load.C1 Phases=1 Bus1=hub.3 kV=0.23 kW=1 Model=1
New Load.D1 Phases=3 Bus1=hub kV=0.4 kW=1 Model=1
Set VoltageBases=[11 0.4]
CalcVoltageBases
"""
STEPS = 60
CARS = ((0, 0.0, 300.0, 9.0, 7.4), (1, 0.0, 300.0, 9.0, 7.4), (2, 0.0, 290.0, 9.0, 7.4), (3, 0.0, 300.0, 9.0, 7.4),
        (4, 10.0, 300.0, 9.0, 7.4), (5, 0.0, 300.0, 9.0, 7.4))  # fmt: skip


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Feeder:
    """A strong transformer, a thin cable on phase 1, a long one on phase 2."""
    folder = tmp_path_factory.mktemp("weak")
    (folder / "feeder.toml").write_text("nominal_voltage_v = 230.0\n")
    (folder / "Master.dss").write_text(WEAK)
    return feeders.load(folder, transformer=TransformerSpec(100.0))


@pytest.fixture(scope="module")
def network(weak: Feeder) -> ReducedNetwork:
    return ReducedNetwork(weak)


@pytest.fixture(scope="module")
def night(weak: Feeder, make_day: Callable[..., Exogenous], make_sessions: Callable[..., Any]) -> Exogenous:
    """Five hours; everybody wants to charge in the cheap middle."""
    tariff = np.where((np.arange(STEPS) >= 24) & (np.arange(STEPS) < 48), 0.1, 0.2)
    return make_day(
        weak, STEPS, demand_kw=0.4, demand_kvar=0.1, sessions=make_sessions(*CARS), tariff_eur_per_kwh=tariff
    )


def loadings(weak: Feeder, day: Exogenous, controller: BilevelCaps, engine: str = "reduced") -> tuple[float, float]:
    """Deliver a day: highest loading of the thin cable, lowest voltage in pu."""
    trajectory = run(weak, day, controller, engine=engine, control_min=15.0)
    names = [line.name for line in trajectory.rated_lines]
    thin_a = np.abs(trajectory.line_current_a[:, names.index("THIN")]).max()
    return float(thin_a / 60.0), float(np.abs(trajectory.voltage_v).min() / 230.0)


def test_loadings_are_those_of_the_power_flow(weak: Feeder, network: ReducedNetwork) -> None:
    rng = np.random.default_rng(3)
    p_kw, q_kvar = rng.uniform(-3.0, 9.0, (5, 7)), rng.uniform(0.0, 1.0, (5, 7))
    source_pu = np.array([np.nan, 0.98, 1.02, np.nan, 1.02])
    elements = Elements(weak, network, 0.94)
    found = elements.flow(Background(0.5 * p_kw, q_kvar, source_pu), 0.5 * p_kw)
    all_rated = ReducedNetwork(weak, watched=["HEAD", "THIN", "LONG", "T1"])
    truth = all_rated.predict(p_kw, q_kvar, source_pu)
    rated_a = {"HEAD": 300.0, "THIN": 60.0, "LONG": 300.0, "T1": weak.transformer_rating_a}
    for element in range(elements.conductors):
        name, phase = elements.names[element], elements.phase[element]
        current_a = np.abs(truth.current_a[:, truth.branches.index(name), phase - 1])
        assert found.loading[:, element] == pytest.approx(current_a / rated_a[name], rel=1e-6, abs=1e-9)
    voltage_v = np.abs(truth.voltage_v)
    assert found.voltage_pu == pytest.approx(voltage_v / 230.0)
    below = found.loading[:, elements.conductors :] > 1.0
    assert (below == (voltage_v < 0.94 * 230.0)).all()
    assert elements.where(elements.conductors + 3) == "B1 phase 2"


def test_a_row_foretells_what_more_load_does(weak: Feeder, network: ReducedNetwork, night: Exogenous) -> None:
    elements, background = Elements(weak, network, 0.94), background_of(night)
    ev_kw = np.zeros_like(night.demand_kw)
    ev_kw[:, :5] = 3.0
    thin = next(e for e in range(elements.conductors) if elements.names[e] == "THIN")
    low = elements.conductors + 4
    rows = new_rows(elements, background, ev_kw, [(thin, 0), (low, 1), (low, 2)], most=5)
    assert [row.element for row in rows] == [thin, low]  # the third is like the second
    for row, home, phase_mate in ((rows[0], 1, 2), (rows[1], 4, 3)):
        assert row.share[home] == pytest.approx(row.share[phase_mate], rel=0.01)
        assert row.share.max() == 1.0
        more_kw = ev_kw.copy()
        more_kw[:, home] += 2.0
        before = elements.flow(background, ev_kw).loading[:, row.element]
        after = elements.flow(background, more_kw).loading[:, row.element]
        assert after - before == pytest.approx(2.0 * row.share[home] * row.per_kw, rel=0.1)
    flow = elements.flow(background, ev_kw)
    limit_kw = limits_of_rows(rows, flow.loading, ev_kw, 0.9)
    at_limit = ev_kw.copy()
    at_limit[:, :3] += ((limit_kw[:, 0] - ev_kw @ rows[0].share) / 3.0)[:, None]
    assert elements.flow(background, at_limit).loading[:, thin] == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("engine", ["reduced", "opendss"])
def test_cables_and_voltages_are_kept(weak: Feeder, network: ReducedNetwork, night: Exogenous, engine: str) -> None:
    careless = loadings(weak, night, BilevelCaps(weak, predictor=network, network="transformer"), engine)
    assert careless[0] > 1.1
    assert careless[1] < 0.93
    controller = BilevelCaps(weak, predictor=network)
    careful = loadings(weak, night, controller, engine)
    assert careful[0] <= 1.0
    assert careful[1] >= 0.94
    assert controller.running is not None
    plan = controller.running.day_ahead
    assert not plan.rounds[0].clean
    assert plan.verified is plan.rounds[-1]
    assert plan.verified.clean
    assert plan.rounds[0].over_limit > 0.1
    assert plan.fallback == ""
    assert {"THIN phase 1", "B2 phase 2"} <= set(plan.problem.extra_limits)
    assert plan.result is not None
    assert plan.result.unserved_kwh.sum() == 0.0


def test_what_the_sun_or_the_homes_alone_break_is_reported_and_not_fought(
    weak: Feeder, network: ReducedNetwork, night: Exogenous
) -> None:
    sun = np.zeros_like(night.demand_kw)
    sun[:6, 4] = 40.0  # far above what the cable's end can take
    demand = night.demand_kw.copy()
    demand[50:54, 0] = 20.0  # above the thin cable's rating by itself
    day = replace(night, pv_available_kw=sun, inverter_kva=np.full(7, 50.0), demand_kw=demand)
    controller = BilevelCaps(weak, predictor=network)
    controller.plan(Forecast("oracle", day))
    assert controller.running is not None
    plan = controller.running.day_ahead
    told = "\n".join(plan.not_from_charging)
    assert "THIN phase 1" in told
    assert "B2 phase 2" in told
    assert "pu without any car" in told
    assert plan.verified is not None
    assert plan.verified.clean
    assert len(plan.rounds) < 6
    assert plan.fallback == ""


def test_too_few_rounds_are_owned_up_to(weak: Feeder, network: ReducedNetwork, night: Exogenous) -> None:
    controller = BilevelCaps(weak, predictor=network, rounds=1)
    controller.plan(Forecast("oracle", night))
    assert controller.running is not None
    decision, plan = controller.running.decision, controller.running.day_ahead
    assert plan.verified is not None
    assert not plan.verified.clean
    assert "% over its limit after 1 rounds" in decision.fallback
    assert plan.verified.over_limit_where.split(" phase ")[0] in ("THIN", "B1", "B2")


def test_forms_agree_on_extra_limits(extra_problem: CapsProblem) -> None:
    found = {}
    for form in ("order", "kkt_ordered", "kkt"):
        options = CapsOptions("least_restriction", form=form, gap=0.0, node_limit=100_000, limit_on="mean")
        result = solve_caps(extra_problem, options)
        found[form] = result.withheld_kwh
        assert (load_kw(extra_problem, result.charge_kw) <= extra_problem.limit_kw + 1e-5).all()
    free = replace(extra_problem, limit_kw=extra_problem.limit_kw + 1e3)
    options = CapsOptions("least_restriction", gap=0.0, limit_on="mean")
    assert found["order"] > solve_caps(free, options).withheld_kwh + 1.0
    assert found["kkt"] == pytest.approx(found["order"], abs=1e-3)
    assert found["kkt_ordered"] == pytest.approx(found["order"], abs=1e-3)
    safe = solve_caps(extra_problem, CapsOptions("least_restriction", "sum_of_caps"))
    assert (safe.caps_kw @ extra_problem.phase_share <= extra_problem.limit_kw + 1e-5).all()


@pytest.fixture
def extra_problem() -> CapsProblem:
    """Four homes on one phase; a cable feeds two of them, and a third counts half."""
    homes, slots = 4, 6
    return CapsProblem(
        slot_h=1.0,
        tariff_eur_per_kwh=np.array([0.3, 0.1, 0.1, 0.2, 0.2, 0.3]),
        inflexible_kw=np.full((slots, homes), 0.5),
        connection_kw=np.full(homes, 12.0),
        phase_share=np.column_stack([np.ones(homes), [1.0, 1.0, 0.5, 0.0]]),
        limit_kw=np.tile([20.0, 8.0], (slots, 1)),
        home=np.arange(homes),
        plugged=np.ones((slots, homes)),
        charger_kw=np.full(homes, 7.4),
        charger_min_kw=np.full(homes, 1.4),
        energy_need_kwh=np.array([12.0, 9.0, 7.0, 10.0]),
        efficiency=np.ones(homes),
        extra_limits=("a cable",),
    )
