"""The controller: a forecast in, caps out, limits that the power flow confirms, a day that keeps them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim import Behaviour, Trajectory, controllers, feeders, run
from cosim.contract import EvSessions, Exogenous, Feeder, Forecast, TransformerSpec
from cosim.controllers.caps import BilevelCaps, CapsProblem, charging_cost_eur, share_of_phase, solve_caps
from cosim.errors import InputError
from cosim.measures import energy
from cosim.reduced import ReducedNetwork

CONTROL_MIN = 15.0
QUICK: dict[str, Any] = {"gap": 0.1, "node_limit": 10, "time_limit_s": 10.0}


@pytest.fixture(scope="module")
def predictor(european_lv: Feeder) -> ReducedNetwork:
    return ReducedNetwork(european_lv)


@pytest.fixture(scope="module")
def evening(european_lv: Feeder, make_day: Callable[..., Exogenous], make_sessions: Callable[..., object]) -> Exogenous:
    """Eight hours from 19:00: 32 homes come back, and all wait for the cheap hours from 23:00."""
    rng = np.random.default_rng(4)
    homes, steps = len(european_lv.customers), 96
    cars = np.sort(rng.permutation(homes)[:32])
    arrival, departure = rng.uniform(0, 120, cars.size), rng.uniform(420, 480, cars.size)
    charger = rng.choice([3.7, 7.4], cars.size)
    need = rng.uniform(0.3, 0.6, cars.size) * charger * 0.9 * 3.0
    sessions = make_sessions(*zip(cars, arrival, departure, need, charger, strict=True))
    demand = rng.gamma(2.0, 0.25, (steps, homes))
    tariff = np.where(np.arange(steps) < 48, 0.22, 0.12)
    return make_day(
        european_lv, steps, demand_kw=demand, demand_kvar=0.3 * demand, sessions=sessions, tariff_eur_per_kwh=tariff
    )


def delivered(feeder: Feeder, day: Exogenous, controller: object) -> Trajectory:
    return run(feeder, day, controller, engine="reduced", control_min=CONTROL_MIN, behaviour=Behaviour())  # type: ignore[arg-type]


def head_current_a(trajectory: Trajectory, predictor: ReducedNetwork) -> np.ndarray:
    flow = predictor.predict(trajectory.net_kw, trajectory.net_kvar)
    return np.abs(flow.current_a[:, flow.branches.index(trajectory.feeder.transformer)])


def planned(feeder: Feeder, day: Exogenous, **options: Any) -> CapsProblem:
    """The problem of a day on slots of one step, its limits without margin unless one is given."""
    whole = {"margin": 0.0, "slot_min": day.step_min, "limit_on": "mean", "network": "transformer", **QUICK}
    controller = BilevelCaps(feeder, **(whole | options))
    controller.plan(Forecast("oracle", day))
    assert controller.problem is not None
    return controller.problem


def test_limits_are_where_the_power_flow_meets_the_current(
    european_lv: Feeder,
    predictor: ReducedNetwork,
    make_day: Callable[..., Exogenous],
    make_sessions: Callable[..., Any],
) -> None:
    rng = np.random.default_rng(1)
    homes = len(european_lv.customers)
    base = rng.uniform(-2.0, 1.5, (6, homes))
    has_car = rng.random(homes) < 0.6
    sessions = make_sessions(*((home, 0.0, 30.0, 0.1, 3.7) for home in np.flatnonzero(has_car)))
    day = make_day(
        european_lv, 6, demand_kw=base.clip(0.0), pv_available_kw=(-base).clip(0.0), inverter_kva=2.0,
        demand_kvar=0.2 * np.abs(base), sessions=sessions,
    )  # fmt: skip
    limit_kw = planned(european_lv, day, predictor=predictor).limit_kw
    share = european_lv.phase_matrix
    spread = share * has_car[:, None] / (share * has_car[:, None]).sum(axis=0)
    at_limit = base + (limit_kw - base @ share) @ spread.T
    flow = predictor.predict(at_limit, 0.2 * np.abs(base))
    current = np.abs(flow.current_a[:, flow.branches.index(european_lv.transformer)])
    assert current == pytest.approx(np.full((6, 3), european_lv.phase_limit_a), abs=0.05)
    flat = planned(european_lv, day).limit_kw
    assert (np.abs(limit_kw / flat - 1.0) < 0.12).all()


@pytest.mark.parametrize(("knows_the_network", "within"), [(True, 0.01), (False, 0.06)])
def test_expected_apparent_power_is_that_of_the_power_flow(
    european_lv: Feeder, predictor: ReducedNetwork, evening: Exogenous, knows_the_network: bool, within: float
) -> None:
    trajectory = delivered(european_lv, evening, controllers.make("none", european_lv))
    as_it_was = replace(evening, demand_kw=trajectory.net_kw, sessions=EvSessions.none())
    controller = BilevelCaps(european_lv, predictor=predictor if knows_the_network else None)
    controller.plan(Forecast("oracle", as_it_was))
    assert controller.running is not None
    truth = np.abs(trajectory.transformer_kva.sum(axis=1))
    assert controller.running.planned_kva == pytest.approx(truth, rel=within)


@pytest.fixture(scope="module")
def capped_evening(
    european_lv: Feeder, predictor: ReducedNetwork, evening: Exogenous
) -> tuple[BilevelCaps, Trajectory]:
    controller = BilevelCaps(european_lv, predictor=predictor, **QUICK)
    return controller, delivered(european_lv, evening, controller)


@pytest.mark.parametrize("coordination", ["anticipated", pytest.param("sum_of_caps", marks=pytest.mark.slow)])
def test_a_day_that_overloads_without_caps_keeps_every_phase_with_them(
    european_lv: Feeder,
    predictor: ReducedNetwork,
    evening: Exogenous,
    coordination: str,
    capped_evening: tuple[BilevelCaps, Trajectory],
) -> None:
    rated_a = european_lv.phase_limit_a
    free = delivered(european_lv, evening, controllers.make("none", european_lv))
    assert head_current_a(free, predictor).max() > 1.2 * rated_a
    controller, capped = capped_evening
    if coordination == "sum_of_caps":
        controller = BilevelCaps(european_lv, predictor=predictor, coordination="sum_of_caps", replan_min=0.0)
        capped = delivered(european_lv, evening, controller)
    assert head_current_a(capped, predictor).max() <= rated_a
    assert capped.delivered_kwh.sum() >= 0.99 * free.delivered_kwh.sum()
    result = controller.result
    assert result is not None
    assert result.max_response_error_kw < 1e-4
    assert result.over_limit_kw < 1e-4
    assert result.coordination == coordination


def test_the_tariff_is_in_effect(
    european_lv: Feeder, evening: Exogenous, capped_evening: tuple[BilevelCaps, Trajectory]
) -> None:
    """Nobody charges in a dear hour what could have been charged in a cheap one inside the caps."""
    controller, capped = capped_evening
    charger_kw, minimum_kw = np.zeros(len(european_lv.customers)), 1.38
    charger_kw[evening.sessions.customer] = evening.sessions.charger_kw
    under_cap = np.minimum(charger_kw, capped.import_cap_kw - evening.demand_kw)
    usable = np.where(under_cap >= minimum_kw, under_cap, 0.0) * capped.plugged
    cheap = evening.tariff_eur_per_kwh < 0.2
    step_h = evening.step_min / 60.0
    dear_kwh = capped.ev_kw[~cheap].sum(axis=0) * step_h
    unused_cheap_kwh = (usable - capped.ev_kw)[cheap].clip(0.0).sum(axis=0) * step_h
    assert dear_kwh.sum() > 1.0  # the day is tight enough to tell
    assert np.minimum(dear_kwh, unused_cheap_kwh).max() < 0.01
    result, problem = controller.result, controller.problem
    assert result is not None
    assert problem is not None
    planned_eur = charging_cost_eur(problem, result.charge_kw).sum()
    assert step_h * evening.tariff_eur_per_kwh @ capped.ev_kw.sum(axis=1) == pytest.approx(planned_eur, rel=0.01)


def test_caps_are_published_in_advance_and_applied_when_their_slot_comes(
    european_lv: Feeder, evening: Exogenous, scripted: type
) -> None:
    controller = BilevelCaps(european_lv, slot_min=30.0, **QUICK)
    before = scripted(lambda observation: controller.decide(observation), every_step=True)
    controller.plan(Forecast("oracle", evening))
    delivered_by = delivered(european_lv, evening, before)
    published = before.answered[0].published_cap_kw
    assert published.shape == evening.demand_kw.shape
    for step, answer in enumerate(before.answered):
        assert (answer.published_cap_kw == published).all()
        assert (answer.import_cap_kw == published[step]).all()
    grouped = published.reshape(16, 6, -1)
    assert (grouped == grouped[:, :1]).all()  # constant within a slot
    has_car = np.isin(np.arange(len(european_lv.customers)), evening.sessions.customer)
    assert np.isinf(published[:, ~has_car]).all()
    assert np.isfinite(published[:, has_car]).all()
    assert delivered_by.planned_kva == pytest.approx(np.abs(delivered_by.transformer_kva.sum(axis=1)), rel=0.15)


def test_the_decision_says_how_the_caps_were_obtained(
    european_lv: Feeder, capped_evening: tuple[BilevelCaps, Trajectory]
) -> None:
    controller, trajectory = capped_evening
    result, problem = controller.result, controller.problem
    assert result is not None
    assert problem is not None
    decision = trajectory.decisions[0][1]
    assert (decision.status, decision.gap) == (result.status, result.gap)
    assert 0.0 <= decision.gap <= QUICK["gap"]
    assert decision.bound <= decision.objective == result.objective <= result.withheld_kwh
    assert result.withheld_kwh == pytest.approx(problem.withheld_kwh(result.caps_kw))
    assert energy.withheld_kwh(
        european_lv.connection_kw, trajectory.import_cap_kw, trajectory.plugged, trajectory.step_min
    ) == pytest.approx(result.withheld_kwh, rel=0.05)  # by the minute instead of by the slot


@pytest.mark.parametrize(
    ("steps", "slot_min", "of_a_slot"), [(96, 30.0, 6), (96, 25.0, 6), (96, 5.0, 1), (96, 500.0, 96), (7, 10.0, 7)]
)
def test_slots_divide_the_horizon(
    two_bus: Feeder, make_day: Callable[..., Exogenous], steps: int, slot_min: float, of_a_slot: int
) -> None:
    problem = planned(two_bus, make_day(two_bus, steps), slot_min=slot_min)
    assert (problem.slots, problem.slot_h) == (steps // of_a_slot, pytest.approx(of_a_slot * 5.0 / 60.0))


def test_what_a_slots_highest_step_exceeds_its_mean_by_comes_off_its_limit(
    two_bus: Feeder, make_day: Callable[..., Exogenous]
) -> None:
    load = np.zeros((4, len(two_bus.customers)))
    load[:, 0] = [1.0, 3.0, 0.0, 4.0]
    day = make_day(two_bus, 4, demand_kw=load)
    rated, with_peaks = (planned(two_bus, day, slot_min=10.0, limit_on=on).limit_kw for on in ("mean", "peak"))
    excess_kw = np.array([[1.0], [2.0]]) * two_bus.phase_matrix[0]
    assert with_peaks == pytest.approx(0.98 * rated - excess_kw)


def test_a_day_without_cars_withholds_nothing(two_bus: Feeder, make_day: Callable[..., Exogenous]) -> None:
    day = make_day(two_bus, 12, demand_kw=1.0)
    trajectory = delivered(two_bus, day, BilevelCaps(two_bus))
    assert np.isinf(trajectory.import_cap_kw).all()


def test_all_wrong_options_are_refused_at_once(two_bus: Feeder) -> None:
    with pytest.raises(InputError) as raised:
        BilevelCaps(two_bus, margin=1.0, slot_min=0.0, gap=2.0, objective="most")  # type: ignore[arg-type]
    assert {fault.key for fault in raised.value.faults} == {"margin", "slot_min", "gap", "objective"}


THREE_PHASE = """Clear
Set DefaultBaseFrequency=50
New Circuit.three Bus1=src BasekV=11 pu=1.0
New Transformer.T1 Phases=3 Windings=2 Buses=[src lv] Conns=[Delta Wye] kVs=[11 0.4] kVAs=[50 50] %R=0.8 XHL=4
New Line.L1 Phases=3 Bus1=lv Bus2=home R1=0.3 X1=0.08 R0=1.2 X0=0.3 Length=0.3 Units=km NormAmps=120 EmergAmps=120
New Load.A Phases=3 Bus1=home kV=0.4 kW=5 Model=1
New Load.B Phases=3 Bus1=home kV=0.4 kW=5 Model=1
New Load.C Phases=1 Bus1=home.1 kV=0.23 kW=5 Model=1
Set VoltageBases=[11 0.4]
CalcVoltageBases
"""


@pytest.fixture
def three_phase(tmp_path: Path) -> Callable[[float], Feeder]:
    """Two three-phase homes and one on phase 1: phases 2 and 3 have no single-phase home."""
    (tmp_path / "feeder.toml").write_text("nominal_voltage_v = 230.0\n")
    (tmp_path / "Master.dss").write_text(THREE_PHASE)
    return lambda kva: feeders.load(tmp_path, transformer=TransformerSpec(kva))


def test_limits_of_phases_without_a_single_phase_home(
    three_phase: Callable[[float], Feeder], make_day: Callable[..., Exogenous], make_sessions: Callable[..., Any]
) -> None:
    feeder = three_phase(50.0)
    base = np.array([[0.9, 0.6, 1.2], [-3.0, 1.5, 0.0]])
    day = make_day(
        feeder, 2, demand_kw=base.clip(0.0), pv_available_kw=(-base).clip(0.0), inverter_kva=3.0,
        demand_kvar=0.2 * np.abs(base),
    )  # fmt: skip
    network, rated_a = ReducedNetwork(feeder), feeder.phase_limit_a
    for cars in ((0, 1, 2), (0, 1), ()):
        sessions = make_sessions(*((home, 0.0, 10.0, 0.1, 3.7) for home in cars)) if cars else day.sessions
        there = replace(day, sessions=sessions)
        limit_kw, flat = planned(feeder, there, predictor=network).limit_kw, planned(feeder, there).limit_kw
        np.testing.assert_array_equal(limit_kw[:, 1:], flat[:, 1:])
        assert (np.abs(limit_kw / flat - 1.0) < 0.15).all()
        alone = base.copy()
        alone[:, 2] += limit_kw[:, 0] - (base @ feeder.phase_matrix)[:, 0]
        flow = network.predict(alone, day.demand_kvar)
        current_a = np.abs(flow.current_a[:, flow.branches.index("T1"), 0])
        assert current_a == pytest.approx([rated_a, rated_a], abs=0.05)


@pytest.mark.parametrize(("kva", "tight"), [(50.0, False), (25.0, True)])
def test_a_day_of_three_phase_homes(
    three_phase: Callable[[float], Feeder],
    make_day: Callable[..., Exogenous],
    make_sessions: Callable[..., object],
    kva: float,
    tight: bool,
) -> None:
    feeder = three_phase(kva)
    cars = make_sessions((0, 0.0, 480.0, 16.0, 11.0), (1, 5.0, 450.0, 8.0, 3.7), (2, 10.0, 480.0, 12.0, 7.4))
    tariff = np.where(np.arange(96) < 48, 0.22, 0.12)
    day = make_day(feeder, 96, demand_kw=0.6, demand_kvar=0.1, sessions=cars, tariff_eur_per_kwh=tariff)
    network = ReducedNetwork(feeder)
    free = head_current_a(delivered(feeder, day, controllers.make("none", feeder)), network).max()
    assert bool(free > 1.1 * feeder.phase_limit_a) is tight
    capped = delivered(feeder, day, controllers.make("bilevel_caps", feeder, predictor=network))
    assert head_current_a(capped, network).max() <= feeder.phase_limit_a
    assert capped.notes == ()
    assert not capped.degraded.any()
    assert capped.delivered_kwh == pytest.approx(day.sessions.energy_need_kwh, abs=0.01)
    assert capped.import_cap_kw.min() >= 0.0
    assert bool((capped.import_cap_kw < feeder.connection_kw).any()) is tight


def test_an_unknown_word_is_called_unknown_not_of_the_wrong_type() -> None:
    told = {fault.key: str(fault) for fault in controllers.option_faults("bilevel_caps", {"ties": "magic", "gap": "x"})}
    assert "is 'magic', an unknown value" in told["ties"]
    assert "one of unique, optimistic, pessimistic" in told["ties"]
    assert "of the wrong type" in told["gap"]
    with pytest.raises(InputError, match="replan_time_limit_s"):
        BilevelCaps(feeders.load("european_lv", transformer=TransformerSpec(160.0)), replan_time_limit_s=0.0)


def test_slots_are_named_in_a_few_spans() -> None:
    """Two homes on phase 1 alone above its limit in some slots."""
    over = np.zeros((8, 2))
    over[[1, 2, 5], 0] = 3.0
    stays = np.zeros((8, 2))
    problem = CapsProblem(
        slot_h=1.0, tariff_eur_per_kwh=np.full(8, 0.1), inflexible_kw=over, connection_kw=np.full(2, 10.0),
        phase_share=share_of_phase(np.zeros(2, int)), limit_kw=np.full((8, 3), 2.0), home=np.arange(2), plugged=stays,
        charger_kw=np.full(2, 4.0), charger_min_kw=np.zeros(2), energy_need_kwh=np.zeros(2), efficiency=np.ones(2),
    )  # fmt: skip
    (told,) = solve_caps(problem).relaxations
    assert told.where.endswith("phase 1 in slots 1-2, 5")


def test_no_cap_is_below_zero(european_lv: Feeder, predictor: ReducedNetwork, evening: Exogenous) -> None:
    """Sun in the tight hours: the plan wants some homes to export, but a home may always use its own roof."""
    roofs = np.zeros(len(european_lv.customers))
    roofs[evening.sessions.customer[::4]] = 6.0
    sunny = np.where(np.arange(evening.steps) >= 48, 0.9, 0.0)[:, None] * roofs
    day = replace(evening, demand_kw=evening.demand_kw * 2.5, pv_available_kw=sunny, inverter_kva=roofs)
    controller = BilevelCaps(
        european_lv, predictor=predictor, gap=0.5, node_limit=20, network="transformer", replan_min=0.0
    )
    capped = delivered(european_lv, day, controller)
    assert controller.result is not None
    assert controller.result.caps_kw.min() < -1.0  # or the test would tell nothing
    assert capped.import_cap_kw.min() == 0.0
    own = np.minimum(day.pv_available_kw - day.demand_kw, capped.plugged * 1e3)[capped.import_cap_kw == 0.0]
    assert (capped.ev_kw[capped.import_cap_kw == 0.0] <= own.clip(0.0) + 1e-9).all()
    # what was promised counts with the caps as they are published
    assert capped.planned_kva == pytest.approx(np.abs(capped.transformer_kva.sum(axis=1)), rel=0.05)
