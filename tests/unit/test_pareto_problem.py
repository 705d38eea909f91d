"""What the controller expects of a period, and how candidates become powers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from controllers.pareto.objectives import Evaluated, pv_curtailment, unbalance_current
from controllers.pareto.outlook import Outlook, look_ahead
from controllers.pareto.problem import DispatchProblem, Surroundings, limits_for_customers
from controllers.pareto.start import first_candidates, remembered
from cosim.contract import Exogenous, Feeder, Observation
from cosim.errors import InputError
from cosim.reduced import ReducedNetwork

PERIOD_STEPS = 3  # of 5 minutes
OBJECTIVES = ("unbalance_current", "pv_curtailment")
Look = Callable[..., Outlook]


def seen(customers: int, step: int = 0, **given: Any) -> Observation:
    """An observation in which everything that is not given is zero (no car, no sun, no demand)."""
    zero = np.zeros(customers)
    blank = dict.fromkeys(
        ("voltage_v", "demand_kw", "demand_kvar", "pv_kw", "pv_available_kw", "ev_kw", "net_kw"), zero
    )
    blank |= dict.fromkeys(("net_kvar", "energy_left_kwh", "soc_kwh", "charger_kw", "charger_min_kw"), zero)
    blank |= {"inverter_kva": zero, "efficiency": np.ones(customers), "departure_min": np.full(customers, np.nan)}
    arrays = {key: np.broadcast_to(np.asarray(value, float), (customers,)) for key, value in (blank | given).items()}
    arrays["plugged"] = arrays["energy_left_kwh"] > 0.0
    no_current = np.zeros((1, 3), complex)
    return Observation(
        step=step, minute=5.0 * step, step_min=5.0, tariff_eur_per_kwh=0.2, source_pu=float("nan"),
        current_a=no_current, transformer_current_a=no_current[0], head_current_a=no_current[0], **arrays,
    )  # fmt: skip


def car(departure_min: float, grid_kwh: float, charger_kw: float = 7.4) -> dict[str, float]:
    """The same car at every home."""
    return {
        "departure_min": departure_min,
        "energy_left_kwh": 0.9 * grid_kwh,
        "efficiency": 0.9,
        "charger_kw": charger_kw,
        "charger_min_kw": 1.38,
    }


@pytest.fixture
def look(two_bus: Feeder, make_day: Callable[..., Exogenous]) -> Look:
    """Outlook of the three homes of two buses on a day of eight hours."""

    def make(observation: Observation, known_at_once: bool = False, **day: Any) -> Outlook:
        expected = make_day(two_bus, 96, **day)
        return look_ahead(observation, expected, PERIOD_STEPS, np.full(3, known_at_once))

    return make


def dear_then_cheap(dear_steps: int) -> np.ndarray:
    return np.where(np.arange(96) < dear_steps, 0.3, 0.1)


def test_a_car_that_can_wait_for_cheaper_hours_is_left_alone(look: Look) -> None:
    waiting = look(seen(3, **car(480.0, 10.0)), tariff_eur_per_kwh=dear_then_cheap(12))
    assert len(waiting.cars) == 0
    assert waiting.rest_h == 0.0


def test_what_does_not_fit_into_cheaper_hours_is_due_now(look: Look) -> None:
    """An hour at 0.3, half an hour at 0.1, then it leaves: 3.7 kWh fit later, 1.3 of 5 kWh are due in this hour."""
    outlook = look(seen(3, **car(90.0, 5.0)), tariff_eur_per_kwh=dear_then_cheap(12))
    assert outlook.cars.due_kwh == pytest.approx([1.3] * 3)
    assert outlook.cars.window_h == pytest.approx([1.0] * 3)
    assert outlook.cars.most_kw == pytest.approx([1.3 / 0.25] * 3)
    assert outlook.cars.pace_kw == pytest.approx(3.9)
    assert outlook.rest_h == pytest.approx(0.75)


def test_the_floor_keeps_the_rest_within_reach(look: Look) -> None:
    """Of one hour two quarters stay in reserve or behind: 3.7 kWh can come later, of 5 kWh 1.3 must come now."""
    outlook = look(seen(3, **car(60.0, 5.0)))
    assert outlook.cars.floor_kw == pytest.approx([1.3 / 0.25] * 3)
    assert not outlook.cars.fixed.any()
    late = look(seen(3, **car(20.0, 5.0)))  # cannot be met: everything the charger has
    assert late.cars.floor_kw == pytest.approx([7.4] * 3)
    assert late.cars.fixed.all()
    leaving = look(seen(3, **car(10.0, 5.0)))  # gone within the period
    assert leaving.cars.most_kw == pytest.approx([7.4 * 10 / 15] * 3)
    assert leaving.cars.fixed.all()


def test_a_home_that_charges_at_once_is_recognised_and_remembered(look: Look) -> None:
    tariff = {"tariff_eur_per_kwh": dear_then_cheap(12)}
    charging = look(seen(3, 3, ev_kw=[7.4, 0.0, 0.0], **car(480.0, 10.0)), **tariff)
    assert charging.cars.customer.tolist() == [0]
    assert charging.at_once.tolist() == [True, False, False]
    assert charging.cars.window_h == pytest.approx([7.75])
    paused = look(seen(3, 3, ev_kw=0.0, **car(480.0, 10.0)), known_at_once=True, **tariff)
    assert paused.cars.customer.tolist() == [0, 1, 2]


def test_half_of_the_last_forecast_error_is_carried_over(look: Look) -> None:
    outlook = look(
        seen(3, 1, demand_kw=3.0, pv_available_kw=0.0, inverter_kva=4.0),
        demand_kw=1.0, pv_available_kw=2.0, inverter_kva=4.0,
    )  # fmt: skip
    assert outlook.net_kw == pytest.approx([2.0] * 3)
    assert outlook.sun_kw == pytest.approx([1.0] * 3)
    exact = look(seen(3, 1, demand_kw=1.0, pv_available_kw=2.0, inverter_kva=4.0), demand_kw=1.0, pv_available_kw=2.0)
    assert exact.net_kw == pytest.approx([1.0] * 3)
    assert exact.roofs.tolist() == [0, 1, 2]


@pytest.fixture
def around(two_bus: Feeder) -> Surroundings:
    return Surroundings.of(two_bus, ReducedNetwork(two_bus), OBJECTIVES)


def test_no_candidate_can_trade_away_what_is_protected(around: Surroundings, look: Look) -> None:
    """Chargers pause or run at 6 A or more, floors hold, and together they keep the even pace."""
    observation = seen(
        3, pv_available_kw=2.0, inverter_kva=4.0,
        departure_min=[60.0, 200.0, 480.0], energy_left_kwh=[4.5, 9.0, 6.0], efficiency=0.9,
        charger_kw=[7.4, 7.4, 3.7], charger_min_kw=1.38,
    )  # fmt: skip
    outlook = look(observation, pv_available_kw=2.0, inverter_kva=4.0)
    problem, cars = DispatchProblem(around, outlook), outlook.cars
    assert problem.n_var == 6
    ev_kw, pv_kw = problem.decode(np.random.default_rng(1).random((500, 6)) ** 2)
    assert ((ev_kw == 0.0) | (ev_kw >= np.minimum(cars.least_kw, cars.most_kw) - 1e-12)).all()
    assert (ev_kw <= cars.most_kw + 1e-12).all()
    assert (ev_kw >= cars.floor_kw - 1e-12).all()
    assert (ev_kw.sum(axis=1) >= cars.pace_kw - 1e-9).all()
    assert (ev_kw == 0.0).any()  # pausing is possible all the same
    assert ((pv_kw >= 0.0) & (pv_kw <= 2.0)).all()
    (all_out,), _ = problem.decode(np.zeros((1, 6)))
    assert all_out.sum() == pytest.approx(cars.pace_kw)  # nothing more than the pace is forced


def test_limits_of_a_candidate(around: Surroundings, look: Look) -> None:
    observation = seen(3, pv_available_kw=2.0, inverter_kva=4.0, **car(480.0, 8.0))
    problem = DispatchProblem(around, look(observation, pv_available_kw=2.0, inverter_kva=4.0))
    ev_limit_kw, pv_limit_kw = limits_for_customers(problem, np.array([1.0, 0.0, 0.65, 1.0, 0.5, 0.0]), 3)
    assert ev_limit_kw == pytest.approx([np.inf, 0.0, 1.38 + 0.5 * (7.4 - 1.38)])
    assert pv_limit_kw == pytest.approx([np.inf, 1.0, 0.0])
    last = remembered(problem, {0: 0.2}, {2: 0.7})
    assert last.tolist() == [0.2, 1.0, 1.0, 1.0, 1.0, 0.7]


def test_objectives_by_hand(look: Look) -> None:
    outlook = look(seen(3, pv_available_kw=[3.0, 2.0, 0.0], inverter_kva=4.0), pv_available_kw=[3.0, 2.0, 0.0])
    single = np.array([[[30.0, 0.0, 0.0]]], complex)  # I0 = I1 = I2 = 10 A
    pv_kw = np.array([[1.0, 1.5, 0.0]])
    batch = Evaluated(outlook, np.zeros((1, 3)), pv_kw, single, single)
    assert unbalance_current(batch) == pytest.approx([200.0])
    assert pv_curtailment(batch) == pytest.approx([2.0**2 + 0.5**2])


def test_unbalance_sees_what_is_left_for_later(around: Surroundings, look: Look) -> None:
    """A car alone on its phase: what it does not draw now it draws later, so an even spread costs least."""
    outlook = look(seen(3, departure_min=60.0, energy_left_kwh=[1.8, 0.0, 0.0], efficiency=0.9, charger_kw=7.4))
    problem = DispatchProblem(around, outlook)
    spread = problem.evaluate(np.array([[1.0], [0.65], [0.0]]), return_as_dictionary=True)["F"][:, 0]
    assert spread[0] > spread[1] > spread[2]
    (drawn,), _ = problem.decode(np.zeros((1, 1)))
    assert drawn == pytest.approx([2.0])  # the pace: 2 kWh in one hour


def test_limits_that_cannot_be_met_become_no_worse_than_uncontrolled(around: Surroundings, look: Look) -> None:
    problem = DispatchProblem(around, look(seen(3, pv_available_kw=2.0, inverter_kva=4.0), pv_available_kw=2.0))
    names = 2 + len(around.rating_a)
    tried = np.tile(np.array([1.2, -0.95, 0.5, 0.5])[:names], (2, 1))
    tried[1, 0] = 1.15
    problem.relax_what_cannot_be_met(tried, tried[0])
    excess = problem.excess(tried)
    assert (excess <= 0.0).all()
    assert problem.excess(np.array([1.21, -0.85, 1.1, 0.5])[:names])[:3].min() > 0.0


def test_first_candidates_are_valid_and_begin_with_the_named_ones(around: Surroundings, look: Look) -> None:
    observation = seen(3, pv_available_kw=2.0, inverter_kva=4.0, **car(480.0, 8.0))
    problem = DispatchProblem(around, look(observation, pv_available_kw=2.0, inverter_kva=4.0))
    last = np.full(6, 0.4)
    pool = first_candidates(problem, last, 20, np.random.default_rng(0))
    assert pool.shape == (3 + 5 * 20, 6)
    assert ((pool >= 0.0) & (pool <= 1.0)).all()
    assert pool[:3].tolist() == [[1.0] * 6, [0.4] * 6, [0.0] * 6]


def test_a_predictor_that_watches_something_else_is_refused(two_bus: Feeder) -> None:
    with pytest.raises(InputError, match="monitored"):
        Surroundings.of(two_bus, ReducedNetwork(two_bus, watched=["LINE1"]), OBJECTIVES)
