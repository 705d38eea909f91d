"""Limits beyond the transformer's: thin cables and low voltages are found, planned with, verified, or reported."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cosim import run
from cosim.contract import Exogenous, Feeder, Forecast
from cosim.controllers.caps import BilevelCaps, CapsOptions, CapsProblem, best_response, solve_caps
from cosim.network import monitored_currents
from cosim.opendss import OpenDssEngine
from cosim.reduced import ReducedNetwork

STEPS = 60
CARS = ((0, 0.0, 300.0, 9.0, 7.4), (1, 0.0, 300.0, 9.0, 7.4), (2, 0.0, 290.0, 9.0, 7.4), (3, 0.0, 300.0, 9.0, 7.4),
        (4, 10.0, 300.0, 9.0, 7.4), (5, 0.0, 300.0, 9.0, 7.4))  # fmt: skip


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


RATED_A = {"HEAD": 300.0, "THIN": 60.0, "LONG": 300.0}


def expected_kw(problem: CapsProblem, day: Exogenous, caps_kw: np.ndarray) -> np.ndarray:
    """Net load of every home and step under caps, from the problem in slots."""
    minute = np.arange(day.steps)[:, None] * day.step_min
    there = (minute >= day.sessions.arrival_min) & (minute < day.sessions.departure_min)
    by_step = replace(
        problem,
        slot_h=day.step_min / 60.0,
        tariff_eur_per_kwh=day.tariff_eur_per_kwh,
        inflexible_kw=day.demand_kw,
        limit_kw=np.repeat(problem.limit_kw, day.steps // problem.slots, axis=0),
        plugged=there.astype(float),
    )
    return day.demand_kw + by_step.per_home(best_response(by_step, caps_kw))


@pytest.mark.parametrize("rounds", [1, 6])
def test_what_was_verified_is_what_the_power_flow_says(
    weak: Feeder, network: ReducedNetwork, night: Exogenous, rounds: int
) -> None:
    controller = BilevelCaps(weak, predictor=network, rounds=rounds)
    controller.plan(Forecast("oracle", night))
    assert controller.running is not None
    plan = controller.running.day_ahead
    assert plan.verified is not None
    net_kw = expected_kw(plan.problem, night, plan.caps_kw)
    truth = ReducedNetwork(weak, watched=[*RATED_A, "T1"]).predict(net_kw, night.demand_kvar, night.source_pu)
    current_a = {name: np.abs(truth.current_a[:, truth.branches.index(name)]).max() for name in (*RATED_A, "T1")}
    lines = {name: 100.0 * current_a[name] / rated for name, rated in RATED_A.items()}
    assert plan.verified.worst_line_percent == pytest.approx(max(lines.values()), rel=1e-6)
    assert plan.verified.worst_line.startswith(f"{max(lines, key=lines.__getitem__)} phase ")
    assert plan.verified.transformer_percent == pytest.approx(100.0 * current_a["T1"] / weak.transformer_rating_a)
    voltage_pu = np.abs(truth.voltage_v) / 230.0
    assert plan.verified.voltage_min_pu == pytest.approx(voltage_pu.min())
    assert plan.verified.lowest_voltage[:2] in ("B1", "B2")  # the end of the long cable
    assert plan.verified.clean == (max(lines.values()) <= 100.0 and voltage_pu.min() >= 0.94) == (rounds > 1)


def test_a_row_foretells_what_more_load_does(weak: Feeder, network: ReducedNetwork, night: Exogenous) -> None:
    controller = BilevelCaps(weak, predictor=network, limit_on="mean")
    controller.plan(Forecast("oracle", night))
    problem = controller.problem
    assert problem is not None
    thin, low = (problem.phases + problem.extra_limits.index(name) for name in ("THIN phase 1", "B2 phase 2"))
    of_thin, of_low = problem.phase_share[:, thin], problem.phase_share[:, low]
    assert of_thin[:3] == pytest.approx(np.ones(3), rel=0.01)
    assert of_low[3:5] == pytest.approx(np.ones(2), rel=0.01)
    assert max(of_thin.max(), of_low.max()) == 1.0
    assert of_thin[3:].max() < 0.2
    net_kw = np.tile(problem.inflexible_kw.mean(axis=0), (2, 1))
    slot = 5  # in the cheap middle
    net_kw[0, :3] += (problem.limit_kw[slot, thin] - net_kw[0] @ of_thin) / of_thin[:3].sum()
    net_kw[1, 3:5] += (problem.limit_kw[slot, low] - net_kw[1] @ of_low) / of_low[3:5].sum()
    watched = ReducedNetwork(weak, watched=["THIN"])
    at_limit = watched.predict(net_kw, np.full_like(net_kw, 0.1))
    thin_a = np.abs(at_limit.current_a[0, at_limit.branches.index("THIN"), 0])
    assert thin_a / 60.0 == pytest.approx(0.9, abs=0.03)
    drop_pu = 1.0 - np.abs(at_limit.voltage_v[1]).min() / 230.0
    assert 0.85 * 0.06 < drop_pu < 0.06


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
    for form in ("auto", "kkt"):
        options = CapsOptions("least_restriction", form=form, gap=0.0, node_limit=100_000, limit_on="mean")
        result = solve_caps(extra_problem, options)
        found[form] = result.objective
        load_kw = extra_problem.base_kw + result.charge_kw @ extra_problem.car_share
        assert (load_kw <= extra_problem.limit_kw + 1e-5).all()
    free = replace(extra_problem, limit_kw=extra_problem.limit_kw + 1e3)
    options = CapsOptions("least_restriction", gap=0.0, limit_on="mean")
    assert found["auto"] > solve_caps(free, options).objective + 1.0
    assert found["kkt"] == pytest.approx(found["auto"], abs=1e-3)
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


@pytest.mark.parametrize("source_pu", [0.93, 1.06])
def test_the_limit_of_a_phase_is_the_load_at_which_its_current_reaches_the_rating(
    two_bus: Feeder, make_day: Callable[..., Exogenous], make_sessions: Callable[..., Any], source_pu: float
) -> None:
    """At nominal voltage it would be too high where the voltage is low, and too low where it is high."""
    cars = make_sessions(*((home, 0.0, 120.0, 9.0, 7.4) for home in range(3)))
    day = make_day(two_bus, 24, demand_kw=0.5, demand_kvar=[4.0, 0.5, 0.0], source_pu=source_pu, sessions=cars)
    predictor = ReducedNetwork(two_bus)
    caps = BilevelCaps(two_bus, predictor=predictor, margin=0.1, network="transformer", limit_on="mean", replan_min=0.0)
    caps.plan(Forecast("oracle", day))
    assert caps.problem is not None
    engine = OpenDssEngine(two_bus)
    voltage_v = engine.solve(caps.problem.limit_kw[0], day.demand_kvar[0], source_pu)  # one home a phase
    (current_a,) = monitored_currents([two_bus.network.branch("TR1")], voltage_v[None, :])[0]
    np.testing.assert_allclose(np.abs(current_a), 0.9 * two_bus.transformer_rating_a, atol=1.0)
