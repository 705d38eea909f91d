"""How a home answers price and cap."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cosim.contract import Feeder, Setpoints
from cosim.devices import EvFleet
from cosim.households import Behaviour, Households

Make = Callable[..., Any]
STEPS = 6  # hours
PRICES = [0.3, 0.1, 0.3, 0.1, 0.2, 0.1]


@pytest.fixture
def charge(two_bus: Feeder, make_day: Make, make_sessions: Make) -> Callable[..., np.ndarray]:
    """Charge the car of home 0 hour by hour and return its power, with 4 kW, no losses and PRICES."""

    def run(
        need_kwh: float,
        arrival_h: float = 0.0,
        departure_h: float = STEPS,
        behaviour: Behaviour | None = None,
        published_kw: np.ndarray | None = None,
        demand_kw: float = 0.0,
        *others: tuple[float, ...],
        sun_kw: float = 0.0,
    ) -> np.ndarray:
        cars = make_sessions((0, 60 * arrival_h, 60 * departure_h, need_kwh, 4.0), *others, efficiency=1.0)
        day = make_day(
            two_bus, STEPS, 60.0, sessions=cars, tariff_eur_per_kwh=PRICES, demand_kw=demand_kw, pv_available_kw=sun_kw
        )
        fleet = EvFleet(two_bus, day)
        homes = Households(behaviour or Behaviour(), fleet, day, day)
        drawn = np.zeros(STEPS)
        for step in range(STEPS):
            cap_kw = np.full(3, np.inf) if published_kw is None else published_kw[step]
            setpoints = replace(Setpoints.free(3), import_cap_kw=cap_kw, published_cap_kw=published_kw)
            limit = np.where(homes.obeys, cap_kw - day.demand_kw[step], np.inf)
            homes.begin(step, setpoints)
            ev_kw = fleet.feasible_kw(step, homes.asked_kw(sun_kw - day.demand_kw[step]), limit)
            fleet.charge(step, ev_kw)
            drawn[step] = ev_kw[0]
        return drawn

    return run


def test_cheapest_hours_first_and_the_earliest_among_equals(charge: Make) -> None:
    assert charge(4.0).tolist() == [0.0, 4.0, 0.0, 0.0, 0.0, 0.0]
    assert charge(10.0).tolist() == [0.0, 4.0, 0.0, 4.0, 0.0, 2.0]
    # the three cheapest hours hold 12 kWh, the next one in price is the fifth, then the first of the dear ones
    assert charge(15.0).tolist() == [0.0, 4.0, 0.0, 4.0, 3.0, 4.0]
    assert charge(18.0).tolist() == [2.0, 4.0, 0.0, 4.0, 4.0, 4.0]


def test_only_hours_before_departure_count(charge: Make) -> None:
    assert charge(6.0, departure_h=3).tolist() == [2.0, 4.0, 0.0, 0.0, 0.0, 0.0]
    assert charge(3.0, arrival_h=2, departure_h=3).tolist() == [0.0, 0.0, 3.0, 0.0, 0.0, 0.0]
    # half of the fourth hour is worth half of it
    assert charge(6.0, arrival_h=2, departure_h=3.5).tolist() == [0.0, 0.0, 4.0, 2.0, 0.0, 0.0]


def test_the_hours_of_the_next_car_are_not_those_of_this_one(charge: Make) -> None:
    next_car = (0, 180.0, 360.0, 2.0, 4.0)  # it has two cheap hours; the first car leaves before them
    drawn = charge(7.0, 0.0, 2.0, None, None, 0.0, next_car)
    assert drawn.tolist() == [3.0, 4.0, 0.0, 2.0, 0.0, 0.0]
    # nor where a neighbour's car stays longer, so that later hours are looked at
    after, neighbour = (0, 180.0, 360.0, 0.0, 4.0), (1, 0.0, 360.0, 4.0, 4.0)
    assert charge(6.0, 0.0, 3.0, None, None, 0.0, after, neighbour).tolist() == [2.0, 4.0, 0.0, 0.0, 0.0, 0.0]


def test_immediate(charge: Make) -> None:
    assert charge(6.0, behaviour=Behaviour("immediate")).tolist() == [4.0, 2.0, 0.0, 0.0, 0.0, 0.0]


def test_an_announced_cap_shrinks_the_room_in_cheap_hours(charge: Make) -> None:
    published = np.full((STEPS, 3), 3.0)
    assert charge(8.0, published_kw=published, demand_kw=1.0).tolist() == [0.0, 2.0, 0.0, 2.0, 2.0, 2.0]
    published[1] = 2.0  # leaves 1 kW: less than 6 A, so no charging in that hour; the first, dear one takes the rest
    assert charge(8.0, published_kw=published, demand_kw=1.0).tolist() == [2.0, 0.0, 0.0, 2.0, 2.0, 2.0]


def test_a_home_plans_with_what_its_charger_can_draw(two_bus: Feeder, make_day: Make, make_sessions: Make) -> None:
    """3.7 kW at a three-phase home, below 6 A on three phases: a cap of 4 kW leaves room for it in the cheap hour."""
    feeder = replace(two_bus, customer_phases=((1, 2, 3),) * 3)
    cars = make_sessions((0, 0.0, 120.0, 3.7, 3.7), (1, 0.0, 120.0, 3.7, 7.4), efficiency=1.0)
    day = make_day(feeder, 2, 60.0, sessions=cars, tariff_eur_per_kwh=[0.3, 0.1])
    homes = Households(Behaviour(), EvFleet(feeder, day), day, day)
    announced = replace(Setpoints.free(3), published_cap_kw=np.full((2, 3), 4.0))
    # the second home's charger needs 4.14 kW to run at all, so it cannot count on the cheap hour
    homes.begin(0, announced)
    assert homes.asked_kw(np.zeros(3)).tolist() == pytest.approx([0.0, 3.7, 0.0])


def test_noncompliant_homes_ignore_caps(charge: Make) -> None:
    noncompliant = Behaviour(noncompliant=np.array([True, False, False]))
    published = np.full((STEPS, 3), 2.0)
    assert charge(10.0, published_kw=published, behaviour=noncompliant).tolist() == [0.0, 4.0, 0.0, 4.0, 0.0, 2.0]
    assert charge(10.0, published_kw=published).tolist() == [2.0, 2.0, 0.0, 2.0, 2.0, 2.0]


def test_an_unknown_response_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be one of cheapest, immediate"):
        Behaviour("whenever")
