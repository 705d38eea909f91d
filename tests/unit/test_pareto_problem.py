"""What the controller expects of a period, and how candidates become powers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cosim.contract import Exogenous, Feeder, Observation
from cosim.controllers.pareto.dispatch import LoopSpace
from cosim.controllers.pareto.objectives import OBJECTIVES as KNOWN
from cosim.controllers.pareto.outlook import Outlook, look_ahead
from cosim.controllers.pareto.problem import DispatchProblem
from cosim.controllers.pareto.scene import Evaluated, Scene
from cosim.controllers.pareto.search import first_candidates
from cosim.controllers.pareto.surroundings import Surroundings
from cosim.errors import InputError
from cosim.reduced import ReducedNetwork
from oracles import textbook

PERIOD_STEPS = 3  # of 5 minutes
OBJECTIVES = ("unbalance_current", "pv_curtailment")
Look = Callable[..., Outlook]


def seen(customers: int, step: int = 0, **given: Any) -> Observation:
    """An observation in which everything that is not given is zero (no car, no sun, no demand)."""
    zero = np.zeros(customers)
    blank = dict.fromkeys(
        ("voltage_v", "demand_kw", "demand_kvar", "pv_kw", "pv_available_kw", "ev_kw", "net_kw"), zero
    )
    blank |= dict.fromkeys(
        ("net_kvar", "energy_left_kwh", "soc_kwh", "charger_kw", "charger_min_kw", "devices_kw"), zero
    )
    blank |= {"inverter_kva": zero, "efficiency": np.ones(customers), "departure_min": np.full(customers, np.nan),
              "last_left_minutes": np.full(customers, np.nan)}  # fmt: skip
    arrays = {key: np.broadcast_to(np.asarray(value, float), (customers,)) for key, value in (blank | given).items()}
    arrays["plugged"] = arrays["energy_left_kwh"] > 0.0
    no_current = np.zeros((1, 3), complex)
    return Observation(
        step=step, minute=5.0 * step, step_min=5.0, tariff_eur_per_kwh=0.2, source_pu=float("nan"),
        current_a=no_current, transformer_current_a=no_current[0], head_current_a=no_current[0],
        limit_percent=np.zeros(0), **arrays,
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

    def make(observation: Observation, known_at_once: bool = False, periods: int = 1, **day: Any) -> Outlook:
        expected = make_day(two_bus, 96, **day)
        return look_ahead(observation, expected, PERIOD_STEPS, np.full(3, known_at_once), periods)

    return make


def bounds(outlook: Outlook) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Highest, least and even rate in the first period."""
    return outlook.cars.bounds_kw(0, 0.25, outlook.cars.due_kwh)


def dear_then_cheap(dear_steps: int) -> np.ndarray:
    return np.where(np.arange(96) < dear_steps, 0.3, 0.1)


def test_a_car_that_can_wait_for_cheaper_hours_is_left_alone(look: Look) -> None:
    waiting = look(seen(3, **car(480.0, 10.0)), tariff_eur_per_kwh=dear_then_cheap(12))
    assert len(waiting.cars) == 0
    assert waiting.scene.hours == pytest.approx([1 / 12] * 3)  # and no rest


def test_what_does_not_fit_into_cheaper_hours_is_due_now(look: Look) -> None:
    """An hour at 0.3, half an hour at 0.1, then it leaves: 3.7 kWh fit later, 1.3 of 5 kWh are due in this hour."""
    outlook = look(seen(3, **car(90.0, 5.0)), tariff_eur_per_kwh=dear_then_cheap(12))
    assert outlook.cars.due_kwh == pytest.approx([1.3] * 3)
    assert outlook.cars.window_h == pytest.approx([1.0] * 3)
    most_kw, _, pace_kw = bounds(outlook)
    assert most_kw == pytest.approx([1.3 / 0.25] * 3)
    assert pace_kw.sum() == pytest.approx(3.9)
    assert outlook.scene.hours == pytest.approx([1 / 12] * 3 + [0.75])


def test_the_floor_keeps_the_rest_within_reach(look: Look) -> None:
    """Of one hour two quarters stay in reserve or behind: 3.7 kWh can come later, of 5 kWh 1.3 must come now."""
    most_kw, floor_kw, _ = bounds(look(seen(3, **car(60.0, 5.0))))
    assert floor_kw == pytest.approx([1.3 / 0.25] * 3)
    assert (floor_kw < most_kw).all()
    most_kw, floor_kw, _ = bounds(look(seen(3, **car(20.0, 5.0))))  # cannot be met: everything the charger has
    assert floor_kw == pytest.approx([7.4] * 3)
    assert (floor_kw >= most_kw).all()
    most_kw, floor_kw, _ = bounds(look(seen(3, **car(10.0, 5.0))))  # gone within the period
    assert most_kw == pytest.approx([7.4] * 3)
    assert (floor_kw >= most_kw).all()


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
    assert outlook.scene.net_kw[0] == pytest.approx([2.0] * 3)
    assert outlook.scene.sun_kw[0] == pytest.approx([1.0] * 3)
    exact = look(seen(3, 1, demand_kw=1.0, pv_available_kw=2.0, inverter_kva=4.0), demand_kw=1.0, pv_available_kw=2.0)
    assert exact.scene.net_kw[0] == pytest.approx([1.0] * 3)
    assert exact.roofs.tolist() == [0, 1, 2]


def test_cars_of_later_periods(look: Look) -> None:
    """Of three periods the first is dear: waiting cars come in only with the cheap ones, and only for what fits."""
    outlook = look(seen(3, **car(60.0, 5.0)), periods=3, tariff_eur_per_kwh=dear_then_cheap(3))
    assert outlook.scene.period.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert outlook.cars.due_kwh == pytest.approx([5.0] * 3)
    assert outlook.cars.there_h == pytest.approx(np.repeat([0.0, 1 / 12, 1 / 12], 9).reshape(9, 3))
    assert outlook.scene.hours == pytest.approx([1 / 12] * 9 + [0.25])
    space = LoopSpace(outlook)
    assert space.period.tolist() == [1, 1, 1, 2, 2, 2]


@pytest.fixture
def around(two_bus: Feeder) -> Surroundings:
    return Surroundings.of(two_bus, ReducedNetwork(two_bus), OBJECTIVES, voltage_limits_pu=(0.9, 1.1))


MIXED = {
    "pv_available_kw": 2.0, "inverter_kva": 4.0, "departure_min": [60.0, 200.0, 480.0],
    "energy_left_kwh": [4.5, 9.0, 6.0], "efficiency": 0.9, "charger_kw": [7.4, 7.4, 3.7], "charger_min_kw": 1.38,
}  # fmt: skip


def test_periods_to_come_hold_the_cars_that_are_awaited(look: Look, make_sessions: Any) -> None:
    """At minute 15: one is there, one is late, one comes in ten minutes: its limits must hold when it does."""
    cars = make_sessions((0, 20.0, 200.0, 5.0, 3.7), (1, 5.0, 90.0, 9.0, 7.4), (2, 25.0, 90.0, 4.5, 3.7))
    observation = seen(3, step=3, **{key: np.array([value, 0.0, 0.0]) for key, value in car(90.0, 5.0).items()} | {
        "departure_min": np.array([90.0, np.nan, np.nan]), "efficiency": np.array([0.9, 1.0, 1.0])})  # fmt: skip
    alone, together = (look(observation, periods=periods, sessions=cars).cars for periods in (1, 3))
    assert alone.customer.tolist() == [0, 1, 2]
    assert together.customer.tolist() == [0, 1, 2]
    assert together.due_kwh == pytest.approx([5.0, 10.0, 5.0])
    assert together.there_h[:3] == pytest.approx(np.array([[1 / 12, 1 / 12, 0.0]] * 2 + [[1 / 12] * 3]))
    assert together.there_h[3:] == pytest.approx(1 / 12)
    assert together.window_h == pytest.approx([1.25, 1.25, 65 / 60])


def test_no_candidate_can_trade_away_what_is_protected(look: Look) -> None:
    """Chargers pause or run at 6 A or more, floors hold, and together they keep the even pace."""
    outlook = look(seen(3, **MIXED), pv_available_kw=2.0, inverter_kva=4.0)
    space, cars = LoopSpace(outlook), outlook.cars
    assert space.n_var == 6
    kw = space.decode(np.random.default_rng(1).random((500, 6)) ** 2)
    ev_kw, pv_kw = kw[:, ~space.roof], kw[:, space.roof]
    most_kw, floor_kw, pace_kw = bounds(outlook)
    assert ((ev_kw == 0.0) | (ev_kw >= np.minimum(cars.least_kw, most_kw) - 1e-12)).all()
    assert (ev_kw <= most_kw + 1e-12).all()
    assert (ev_kw >= floor_kw - 1e-12).all()
    assert (ev_kw.sum(axis=1) >= pace_kw.sum() - 1e-9).all()
    assert (ev_kw == 0.0).any()  # pausing is possible all the same
    assert ((pv_kw >= 0.0) & (pv_kw <= 2.0)).all()
    (all_out,) = space.decode(np.zeros((1, 6)))
    assert all_out[~space.roof].sum() == pytest.approx(pace_kw.sum())  # nothing more than the pace is forced


def test_energy_is_protected_over_several_periods(look: Look) -> None:
    """Whatever the variables: nobody draws more than is due, and what is left at the end can still be charged."""
    outlook = look(seen(3, **MIXED), periods=4, pv_available_kw=2.0, inverter_kva=4.0)
    space, cars, hours = LoopSpace(outlook), outlook.cars, outlook.scene.hours
    kw = space.decode(np.random.default_rng(2).random((300, space.n_var)))
    ev_kw, _ = space.powers(kw)
    left_kwh = cars.due_kwh - (ev_kw[:, :12] * hours[:12, None]).sum(axis=1)
    assert left_kwh.min() > -1e-9
    after_h = cars.window_h - cars.there_h.sum(axis=0)
    assert (left_kwh <= cars.charger_kw * after_h + 1e-9).all()
    assert (ev_kw * hours[:, None]).sum(axis=1) == pytest.approx(np.tile(cars.due_kwh, (300, 1)))  # the rest included
    assert (space.row_low - 1e-6 <= (space.rows @ kw.T).T).all()  # the exact front's conditions hold for every one
    assert (kw >= space.low_kw - 1e-9).all()


def test_powers_come_back_from_their_encoding(look: Look) -> None:
    space = LoopSpace(look(seen(3, **MIXED), pv_available_kw=2.0, inverter_kva=4.0))
    kw = space.decode(np.random.default_rng(3).random((50, 6)))
    assert space.decode(space.encode(kw)) == pytest.approx(kw, abs=1e-6)


def test_limits_of_a_candidate(look: Look) -> None:
    observation = seen(3, pv_available_kw=2.0, inverter_kva=4.0, **car(480.0, 8.0))
    space = LoopSpace(look(observation, pv_available_kw=2.0, inverter_kva=4.0))
    ev_limit_kw, pv_limit_kw = space.limits_kw(space.decode(np.array([[1.0, 0.0, 0.65, 1.0, 0.5, 0.0]]))[0])
    assert ev_limit_kw == pytest.approx([np.inf, 0.0, 1.38 + 0.5 * (7.4 - 1.38)])
    assert pv_limit_kw == pytest.approx([np.inf, 1.0, 0.0])


def test_unbalance_sees_what_is_left_for_later(around: Surroundings, look: Look) -> None:
    """A car alone on its phase: what it does not draw now it draws later, so an even spread costs least."""
    outlook = look(seen(3, departure_min=60.0, energy_left_kwh=[1.8, 0.0, 0.0], efficiency=0.9, charger_kw=7.4))
    space = LoopSpace(outlook)
    problem = DispatchProblem(around, outlook.scene, space)
    spread = problem.values(problem.evaluated(space.decode(np.array([[1.0], [0.65], [0.0]]))))[:, 0]
    assert spread[0] > spread[1] > spread[2]
    assert space.decode(np.zeros((1, 1))) == pytest.approx(2.0)  # the pace: 2 kWh in one hour


def test_the_slopes_are_those_of_the_network(two_bus: Feeder, look: Look) -> None:
    """Of every convex objective and every limit, against differences of the full network on either side."""
    convex = tuple(name for name, one in KNOWN.items() if one.form)
    day = {"pv_available_kw": np.array([2.0, 1.9, 1.8]), "inverter_kva": 4.0}
    outlook = look(seen(3, step=3, net_kw=1.0, **MIXED), periods=2, **day)
    space = LoopSpace(outlook)
    around = Surroundings.of(
        two_bus,
        ReducedNetwork(two_bus),
        convex,
        voltage_limits_pu=(0.9, 1.1),
        loading_limit_percent=100.0,
        max_ramp_kw=3.0,
    )
    problem = DispatchProblem(around, outlook.scene, space)
    kw = 0.5 * (space.low_kw + space.high_kw)
    slopes, margin, rise = problem.near(kw)
    at = problem.evaluated(kw[None, :])
    assert margin == pytest.approx(problem.excess(at)[0], abs=1e-9)
    step = 1e-4
    for row in range(space.n_var):
        either = kw + step * np.eye(space.n_var)[row] * np.array([[1.0], [-1.0]])
        batch = problem.evaluated(either)
        true = (problem.excess(batch)[0] - problem.excess(batch)[1]) / (2.0 * step)
        assert rise[row] == pytest.approx(true, abs=2e-5)
        values = problem.values(batch)
        for column, name in enumerate(convex):
            form = KNOWN[name].form(slopes)  # type: ignore[misc]
            change = either - kw
            near = np.array([((form.offset + form.slope @ d) ** 2).sum() if len(form.offset) else 0.0 for d in change])
            near += [sum((value + slope @ d).max() for value, slope in form.largest) for d in change]
            near += [sum(_falling(part, (kw + d)[part[0]]) for part in form.falling) for d in change]
            expected, size = values[0, column] - values[1, column], 2.0 * step
            assert (near[0] - near[1]) / size == pytest.approx(expected / size, rel=0.02, abs=2e-3), name


def _falling(part: tuple[int, Any, Any], power_kw: float) -> float:
    _, breaks, price = part
    wide = np.clip(breaks - np.maximum(np.append(breaks[1:], 0.0), power_kw), 0.0, None)
    return float(wide @ price)


def test_first_candidates_are_valid_and_begin_with_the_named_ones(around: Surroundings, look: Look) -> None:
    observation = seen(3, pv_available_kw=2.0, inverter_kva=4.0, **car(480.0, 8.0))
    space = LoopSpace(look(observation, pv_available_kw=2.0, inverter_kva=4.0))
    problem = DispatchProblem(around, space.outlook.scene, space)
    pool = first_candidates(problem, 20, np.random.default_rng(0))
    assert pool.shape == (10 + 1 + 20 + 60 + 20, 6)
    assert ((pool >= 0.0) & (pool <= 1.0)).all()
    assert pool[0].tolist() == [1.0] * 6
    assert (space.decode(pool)[:, ~space.roof].sum(axis=1) >= space.row_low[0] / 0.25 - 1e-6).all()


def test_a_feeder_without_anything_to_watch_is_refused(two_bus: Feeder) -> None:
    with pytest.raises(InputError, match="monitored"):
        Surroundings.of(two_bus, ReducedNetwork(two_bus), OBJECTIVES, lines=())


def test_every_objective_has_a_unit_and_is_finite(two_bus: Feeder, look: Look) -> None:
    outlook = look(seen(3, step=3, net_kw=1.0, **MIXED), pv_available_kw=2.0, inverter_kva=4.0)
    around = Surroundings.of(two_bus, ReducedNetwork(two_bus), tuple(KNOWN))
    problem = DispatchProblem(around, outlook.scene, LoopSpace(outlook))
    kw = problem.space.decode(np.random.default_rng(0).random((20, 6)))
    values = problem.values(problem.evaluated(kw))
    assert np.isfinite(values).all()
    assert (np.ptp(values, axis=0) > 0.0).all()
    assert all(objective.unit for objective in KNOWN.values())


def test_objectives_by_hand_over_a_period_and_a_rest_three_times_as_long() -> None:
    """Every objective of one candidate from its definition: means by length, export paid less, curtailment now."""
    rng = np.random.default_rng(5)
    complex_ = lambda *shape: rng.normal(size=shape) + 1j * rng.normal(size=shape)  # noqa: E731
    scene = Scene(
        hours=np.array([0.25, 0.75]), period=np.zeros(1, np.int64), net_kw=np.zeros((2, 2)), net_kvar=np.zeros((2, 2)),
        sun_kw=np.array([[4.0, 3.0], [0.0, 0.0]]), wanted_kw=np.array([[7.0, 2.0], [0.0, 0.0]]),
        tariff_eur_per_kwh=np.array([0.3, 0.1]), source_pu=np.full(2, np.nan), before_kw=4.0,
        charging=np.array([True, False]), offered_kwh=np.array([3.0, 0.25]), curtailed_kwh=np.array([0.25, 0.0]),
    )  # fmt: skip
    current_a, bus_v = (
        10.0 * complex_(1, 2, 2, 3),
        230.0 * np.array([1.0, textbook.A**2, textbook.A]) + complex_(1, 2, 2, 3),
    )
    voltage_v, drawn_a, lossy = 230.0 + complex_(1, 2, 3), 5.0 * complex_(1, 2, 4), complex_(4, 2)
    net_kw = np.array([[[3.0, -2.0], [-1.0, 5.0]]])
    batch = Evaluated(
        scene, ev_kw=np.array([[[5.0, 2.0], [0.0, 0.0]]]), pv_kw=np.array([[[1.0, 2.5], [0.0, 0.0]]]), net_kw=net_kw,
        voltage_v=voltage_v, drawn_a=drawn_a, lossy=lossy, current_a=current_a, loading_a=current_a,
        bus_v=bus_v, nominal_v=np.full(3, 230.0),
    )  # fmt: skip

    def mean(of_period: np.ndarray) -> float:
        return float(0.25 * of_period[0] + 0.75 * of_period[1])

    zero, _, negative = textbook.sequences(current_a[0])
    deviation = 100.0 * (np.abs(voltage_v[0]) / 230.0 - 1.0)
    expected = {
        "unbalance_current": mean((np.abs(zero) ** 2 + np.abs(negative) ** 2).sum(axis=1)),
        "pv_curtailment": 0.25 * (3.0 + 0.5),
        "squared_curtailment": (4.0 - 1.0) ** 2 + (3.0 - 2.5) ** 2,
        "curtailment_fairness": ((100.0 * 1.0 / 4.0 - 100.0 * 0.125 / 1.0) / 2.0) ** 2,
        "peak_current": np.abs(current_a[0, :, 0]).max(),
        "ramp": (3.0 - 2.0 - 4.0) ** 2,
        "switchings": 1.0,
        "neutral_current": mean((np.abs(current_a[0].sum(axis=2)) ** 2).sum(axis=1)),
        "pui": mean((textbook.spread(np.abs(current_a[0])) ** 2).sum(axis=1)),
        "vuf": mean((textbook.vuf(bus_v[0]) ** 2).mean(axis=1)),
        "voltage_deviation": mean((deviation**2).mean(axis=1)),
        "losses": mean((np.abs(drawn_a[0] @ lossy) ** 2).sum(axis=1)),
        "ev_shortfall": (7.0 - 5.0) ** 2,
        "cost": 0.25 * (3.0 * 0.3 - 2.0 * 0.05) + 0.75 * (5.0 * 0.1 - 1.0 * 0.05),
    }
    assert {name: float(one.of(batch)[0]) for name, one in KNOWN.items()} == pytest.approx(expected)
