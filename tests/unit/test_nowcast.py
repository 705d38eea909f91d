"""The rest of a day as it is believed: who is there, who is still to come, who will not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cosim import Setpoints, run
from cosim.contract import EvSessions, Exogenous, Feeder
from cosim.controllers.nowcast import LATE_MINUTES, OVERSTAY_MINUTES, longer_steps, rest_of_day

MakeDay = Callable[..., Exogenous]
MakeSessions = Callable[..., EvSessions]
STEPS = 120


@pytest.fixture
def day(two_bus: Feeder, make_day: MakeDay) -> Exogenous:
    """Ten hours, all its numbers different."""
    hours = np.arange(STEPS)[:, None] / 12.0
    return make_day(
        two_bus, STEPS, demand_kw=hours, pv_available_kw=2.0 * hours, tariff_eur_per_kwh=hours[:, 0], source_pu=1.0
    )


def stays(cars: EvSessions) -> list[tuple[float, ...]]:
    """Customer, arrival, departure and need of every session."""
    columns = (cars.customer, cars.arrival_min, cars.departure_min, cars.energy_need_kwh)
    return [tuple(float(value) for value in row) for row in zip(*columns, strict=True)]


def test_step_0_is_now_and_the_rest_is_as_forecast(day: Exogenous, seen_at: Any) -> None:
    rest = rest_of_day(day, seen_at(120.0))
    assert rest.steps == STEPS - 24
    assert rest.start == day.times[24]
    for name in ("demand_kw", "demand_kvar", "pv_available_kw", "tariff_eur_per_kwh", "ambient_c", "source_pu"):
        np.testing.assert_array_equal(getattr(rest, name), getattr(day, name)[24:])
    np.testing.assert_array_equal(rest.inflexible_kw, -day.demand_kw[24:])
    assert rest_of_day(day, seen_at(600.0)).steps == 1  # after the end, its last step


def test_a_present_car_is_known_and_stands_for_the_one_forecast(
    day: Exogenous, make_sessions: MakeSessions, seen_at: Any
) -> None:
    day = replace(day, sessions=make_sessions((1, 60.0, 300.0, 8.0, 3.7), (1, 400.0, 500.0, 3.0, 7.4), battery_kwh=40))
    early = rest_of_day(day, seen_at(30.0, h1=(5.0, 350.0))).sessions
    assert stays(early) == [(1, 0, 320, 5), (1, 370, 470, 3)]  # the second car of the same customer is still to come
    assert early.charger_kw.tolist() == [7.4, 7.4]  # as metered, not as forecast
    assert (early.battery_kwh - early.soc_arrival_kwh).tolist() == [35.0, 30.0]
    long = rest_of_day(day, seen_at(30.0, h1=(5.0, 450.0))).sessions
    assert stays(long) == [(1, 0, 420, 5)]  # it will still be there when the second was expected
    full = rest_of_day(day, seen_at(30.0, h1=(0.005, 350.0))).sessions
    assert stays(full) == [(1, 370, 470, 3)]  # its need is met, and it still stands for the first


def test_a_car_that_has_left_is_not_awaited_again(day: Exogenous, make_sessions: MakeSessions, seen_at: Any) -> None:
    day = replace(day, sessions=make_sessions((1, 60.0, 300.0, 8.0, 7.4), (1, 400.0, 500.0, 3.0, 7.4)))
    nan = np.nan
    assert stays(rest_of_day(day, seen_at(100.0, (nan, 90.0, nan))).sessions) == [(1, 300, 400, 3)]
    before = rest_of_day(day, seen_at(100.0, (nan, 50.0, nan))).sessions  # another visit, before the forecast one
    assert stays(before) == [(1, 0, 200, 8), (1, 300, 400, 3)]


def test_a_late_car_is_awaited_at_any_moment_and_then_given_up(
    day: Exogenous, make_sessions: MakeSessions, seen_at: Any
) -> None:
    day = replace(day, sessions=make_sessions((0, 60.0, 500.0, 8.0, 7.4), (2, 60.0, 130.0, 2.0, 7.4)))
    assert stays(rest_of_day(day, seen_at(60.0)).sessions) == [(0, 0, 440, 8), (2, 0, 70, 2)]
    assert stays(rest_of_day(day, seen_at(100.0)).sessions) == [(0, 0, 400, 8), (2, 0, 30, 2)]
    assert stays(rest_of_day(day, seen_at(125.0)).sessions) == [(0, 0, 375, 8)]  # the second would leave by now
    assert stays(rest_of_day(day, seen_at(55.0 + LATE_MINUTES)).sessions) == [(0, 0, 325, 8)]
    assert len(rest_of_day(day, seen_at(60.0 + LATE_MINUTES)).sessions) == 0
    assert len(rest_of_day(day, seen_at(65.0), late_minutes=0.0).sessions) == 0
    assert len(rest_of_day(day, seen_at(60.0), late_minutes=0.0).sessions) == 2  # not late yet


def test_a_car_that_overstays_may_leave_at_any_moment(
    day: Exogenous, make_sessions: MakeSessions, seen_at: Any
) -> None:
    day = replace(day, sessions=make_sessions((0, 60.0, 200.0, 8.0, 7.4), (0, 230.0, 400.0, 3.0, 7.4)))
    for announced in (200.0, 150.0, np.nan):
        cars = rest_of_day(day, seen_at(200.0, h0=(2.0, announced))).sessions
        assert stays(cars) == [(0, 0, OVERSTAY_MINUTES, 2), (0, 30, 200, 3)]


def test_what_begins_after_the_day_or_needs_nothing_is_left_out(
    day: Exogenous, make_sessions: MakeSessions, seen_at: Any
) -> None:
    day = replace(day, sessions=make_sessions((0, 100.0, 200.0, 0.001, 7.4), (1, 600.0, 700.0, 3.0, 7.4)))
    assert len(rest_of_day(day, seen_at(0.0)).sessions) == 0


def test_on_a_day_as_forecast_every_need_is_counted_once(
    two_bus: Feeder, make_day: MakeDay, make_sessions: MakeSessions, scripted: Any
) -> None:
    """What is believed to be needed is what was forecast, less what was drawn; nobody is forgotten or doubled."""
    cars = make_sessions((0, 7.0, 61.0, 2.0, 7.4), (0, 93.0, 200.0, 3.0, 7.4), (2, 30.0, 150.0, 9.0, 3.7))
    day = make_day(two_bus, 48, sessions=cars)
    witness = scripted(Setpoints.free(3), every_step=True)
    done = run(two_bus, day, witness)
    assert done.delivered_kwh.sum() == pytest.approx(11.66)  # the third cannot be met in full: 3.7 kW x 0.9 x 2 h
    for seen in witness.seen:
        believed_kwh = rest_of_day(day, seen).sessions.energy_need_kwh.sum()
        drawn_kwh = 0.9 * done.ev_kw[: seen.step].sum() / 12.0
        gone_kwh = 9.0 - done.delivered_kwh[2] if seen.minute >= 150.0 else 0.0
        assert believed_kwh == pytest.approx(14.0 - drawn_kwh - gone_kwh, abs=0.011)
    assert np.isnan(witness.seen[0].last_left_minutes).all()
    np.testing.assert_array_equal(witness.seen[-1].last_left_minutes, [200.0, np.nan, 150.0])


def test_a_plan_may_have_longer_steps(two_bus: Feeder, make_day: MakeDay) -> None:
    def found(steps: int, step_min: float) -> list[tuple[int, int]]:
        return [(part.start, part.stop) for part in longer_steps(make_day(two_bus, steps), step_min)]

    assert found(6, 15.0) == [(0, 3), (3, 6)]
    assert found(7, 15.0) == [(0, 3), (3, 6), (6, 7)]  # the last one ends with the day
    assert found(3, 7.5) == [(0, 2), (1, 3)]  # half of the second step belongs to each
    assert found(2, 2.5) == [(0, 1), (0, 1), (1, 2), (1, 2)]
