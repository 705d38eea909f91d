"""The controller: a forecast in, caps out, limits that the power flow confirms, a day that keeps them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import controllers
from controllers.caps.controller import BilevelCaps
from controllers.caps.day import background_of, excess_within_slots, steps_per_slot
from controllers.caps.follower import charging_cost_eur
from controllers.caps.phase_limits import Background, expected_kva, phase_limits_kw
from cosim import Behaviour, Trajectory, run
from cosim.contract import Exogenous, Feeder, Forecast
from cosim.errors import InputError
from cosim.measures import energy
from cosim.reduced import ReducedNetwork

CONTROL_MIN = 15.0


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


def test_limits_are_where_the_power_flow_meets_the_current(european_lv: Feeder, predictor: ReducedNetwork) -> None:
    rng = np.random.default_rng(1)
    homes = len(european_lv.customers)
    base = rng.uniform(-2.0, 1.5, (6, homes))
    background = Background(base, 0.2 * np.abs(base), np.full(6, np.nan))
    has_car = rng.random(homes) < 0.6
    limit_kw = phase_limits_kw(european_lv, predictor, background, 160.0, has_car)
    share = european_lv.phase_matrix
    spread = share * has_car[:, None] / (share * has_car[:, None]).sum(axis=0)
    at_limit = base + (limit_kw - base @ share) @ spread.T
    flow = predictor.predict(at_limit, 0.2 * np.abs(base))
    current = np.abs(flow.current_a[:, flow.branches.index(european_lv.transformer)])
    assert current == pytest.approx(np.full((6, 3), 160.0), abs=0.05)
    flat = phase_limits_kw(european_lv, None, background, 160.0, has_car)
    assert (np.abs(limit_kw / flat - 1.0) < 0.12).all()


def test_expected_apparent_power_is_that_of_the_power_flow(
    european_lv: Feeder, predictor: ReducedNetwork, evening: Exogenous
) -> None:
    trajectory = delivered(european_lv, evening, controllers.make("none", european_lv))
    expected = expected_kva(european_lv, predictor, background_of(evening), trajectory.ev_kw)
    truth = np.abs(trajectory.transformer_kva.sum(axis=1))
    assert expected == pytest.approx(truth, rel=0.01)
    assumed = expected_kva(european_lv, None, background_of(evening), trajectory.ev_kw)
    assert assumed == pytest.approx(truth, rel=0.06)


@pytest.mark.parametrize("coordination", ["anticipated", "sum_of_caps"])
def test_a_day_that_overloads_without_caps_keeps_every_phase_with_them(
    european_lv: Feeder, predictor: ReducedNetwork, evening: Exogenous, coordination: str
) -> None:
    rated_a = european_lv.phase_limit_a
    free = delivered(european_lv, evening, controllers.make("none", european_lv))
    assert head_current_a(free, predictor).max() > 1.2 * rated_a
    controller = controllers.make("bilevel_caps", european_lv, predictor=predictor, coordination=coordination)
    capped = delivered(european_lv, evening, controller)
    assert head_current_a(capped, predictor).max() <= rated_a
    assert capped.delivered_kwh.sum() >= 0.99 * free.delivered_kwh.sum()
    result = controller.result  # type: ignore[attr-defined]
    assert result.max_response_error_kw < 1e-4
    assert result.over_limit_kw < 1e-4
    assert result.coordination == coordination


def test_the_tariff_is_in_effect(european_lv: Feeder, predictor: ReducedNetwork, evening: Exogenous) -> None:
    """Nobody charges in a dear hour what could have been charged in a cheap one inside the caps."""
    controller = controllers.make("bilevel_caps", european_lv, predictor=predictor)
    capped = delivered(european_lv, evening, controller)
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
    result, problem = controller.result, controller.problem  # type: ignore[attr-defined]
    planned_eur = charging_cost_eur(problem, result.charge_kw).sum()
    assert step_h * evening.tariff_eur_per_kwh @ capped.ev_kw.sum(axis=1) == pytest.approx(planned_eur, rel=0.01)


def test_caps_are_published_in_advance_and_applied_when_their_slot_comes(
    european_lv: Feeder, evening: Exogenous, scripted: type
) -> None:
    controller = BilevelCaps(european_lv, slot_min=30.0)
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


def test_the_decision_says_how_the_caps_were_obtained(european_lv: Feeder, evening: Exogenous) -> None:
    controller = BilevelCaps(european_lv, gap=0.02)
    controller.plan(Forecast("oracle", evening))
    result, problem = controller.result, controller.problem
    assert result is not None
    assert problem is not None
    trajectory = delivered(european_lv, evening, controller)
    decision = trajectory.decisions[0][1]
    assert (decision.status, decision.gap) == (result.status, result.gap)
    assert 0.0 <= decision.gap <= 0.02
    assert decision.bound <= decision.objective == result.withheld_kwh
    assert result.withheld_kwh == pytest.approx(problem.withheld_kwh(result.caps_kw))
    assert energy.withheld_kwh(
        european_lv.connection_kw, trajectory.import_cap_kw, trajectory.plugged, trajectory.step_min
    ) == pytest.approx(result.withheld_kwh, rel=0.05)  # by the minute instead of by the slot


def test_slots_divide_the_horizon() -> None:
    class Day:
        steps, step_min = 96, 5.0

    assert [steps_per_slot(Day(), m) for m in (30.0, 25.0, 1.0, 500.0)] == [6, 6, 1, 96]  # type: ignore[arg-type]
    Day.steps = 7
    assert steps_per_slot(Day(), 10.0) == 7  # type: ignore[arg-type]


def test_what_a_slots_highest_step_exceeds_its_mean_by() -> None:
    load = np.array([[1.0, 4.0], [3.0, 4.0], [0.0, -1.0], [0.0, 3.0]])
    assert excess_within_slots(load, 2) == pytest.approx(np.array([[1.0, 0.0], [0.0, 2.0]]))


def test_a_day_without_cars_withholds_nothing(two_bus: Feeder, make_day: Callable[..., Exogenous]) -> None:
    day = make_day(two_bus, 12, demand_kw=1.0)
    trajectory = delivered(two_bus, day, BilevelCaps(two_bus))
    assert np.isinf(trajectory.import_cap_kw).all()


def test_all_wrong_options_are_refused_at_once(two_bus: Feeder) -> None:
    with pytest.raises(InputError) as raised:
        BilevelCaps(two_bus, margin=1.0, slot_min=0.0, gap=2.0, objective="most")  # type: ignore[arg-type]
    assert {fault.key for fault in raised.value.faults} == {"margin", "slot_min", "gap", "objective"}
