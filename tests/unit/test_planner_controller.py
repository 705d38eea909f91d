"""The charge-point operator in the loop: capacity kept, cars served, surprises absorbed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cosim import EvSessions, Exogenous, Feeder, controllers, run
from cosim.contract import Forecast
from cosim.errors import InputError

STEPS = 48


@pytest.fixture
def day(two_bus: Feeder, make_day: Callable[..., Exogenous], make_sessions: Callable[..., EvSessions]) -> Exogenous:
    sessions = make_sessions((0, 0.0, 240.0, 8.0, 7.4), (1, 33.0, 222.0, 7.0, 7.4), (2, 61.0, 240.0, 4.0, 3.7))
    tariff = np.where(np.arange(STEPS) < 24, 0.3, 0.15)
    return make_day(two_bus, STEPS, demand_kw=0.5, tariff_eur_per_kwh=tariff, sessions=sessions)


def test_a_given_capacity_is_kept_and_cars_are_served(two_bus: Feeder, day: Exogenous) -> None:
    free = run(two_bus, day, controllers.make("none", two_bus), control_min=15)
    planned = run(two_bus, day, controllers.make("cpo_planner", two_bus, capacity_kw=8.0), control_min=15)
    assert free.ev_kw.sum(axis=1).max() > 10.0  # everybody waits for the cheap hours
    assert planned.ev_kw.sum(axis=1).max() <= 8.0 + 1e-6
    assert (planned.ev_kw.sum(axis=0) / 12.0 * 0.9 > [6.5, 5.5, 3.0]).all()
    limit_kw = planned.ev_limit_kw[3:]
    assert ((limit_kw == 0) | (limit_kw >= 6 * 0.230 - 1e-6)).all()  # the 6 A rule
    assert all(decision.status in ("optimal", "gap_limit", "rule") for _, decision in planned.decisions)


def test_the_spare_rating_is_the_capacity(two_bus: Feeder, day: Exogenous) -> None:
    roomy = controllers.make("cpo_planner", two_bus, margin_percent=0.0)
    tight = controllers.make("cpo_planner", two_bus, margin_percent=98.0)
    drawn = [run(two_bus, day, one, control_min=15).ev_kw.sum() for one in (roomy, tight)]
    assert drawn[1] < drawn[0] - 1.0


def test_a_car_that_nobody_expected_is_planned_once_it_is_there(
    two_bus: Feeder, day: Exogenous, make_day: Callable[..., Exogenous]
) -> None:
    nobody = Forecast("persistence", make_day(two_bus, STEPS, demand_kw=0.5, sessions=EvSessions.none()))
    controller = controllers.make("cpo_planner", two_bus, capacity_kw=8.0)
    done = run(two_bus, day, controller, control_min=15, forecast=nobody)
    assert done.ev_kw.sum(axis=1).max() <= 8.0 + 1e-6
    assert (done.ev_kw.sum(axis=0) > 0).all()
    assert done.ev_kw[:8, 1].sum() == 0.0  # it came at minute 33: planned at 45, from the next step on


def test_bad_options(two_bus: Feeder) -> None:
    with pytest.raises(InputError) as caught:
        controllers.make("cpo_planner", two_bus, capacity_kw=-1.0, margin_percent=120.0, plan_step_min=0.0)
    assert {fault.key for fault in caught.value.faults} == {"capacity_kw", "margin_percent", "plan_step_min"}


def test_room_is_kept_for_a_car_that_is_late(
    two_bus: Feeder, make_day: Callable[..., Exogenous], make_sessions: Callable[..., EvSessions]
) -> None:
    """It was expected from the beginning, comes at minute 25 and finds its charger open; decisions are at 15 and 30."""
    told = make_day(two_bus, STEPS, sessions=make_sessions((0, 0.0, 60.0, 6.0, 7.4), (2, 0.0, 60.0, 6.0, 7.4)))
    true = make_day(two_bus, STEPS, sessions=make_sessions((0, 25.0, 60.0, 3.5, 7.4), (2, 0.0, 60.0, 6.0, 7.4)))
    controller = controllers.make("cpo_planner", two_bus, capacity_kw=14.8)
    done = run(two_bus, true, controller, control_min=15, forecast=Forecast("noisy", told))
    assert done.ev_kw[5, 0] == pytest.approx(7.4)
    assert done.delivered_kwh == pytest.approx([3.5, 6.0], abs=0.05)
