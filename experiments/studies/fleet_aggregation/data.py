"""Options of the fleet study, and its cars, their weeks and prices, all drawn from one seed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.aggregation import Fleet, aggregate, fleet_total, reference
from cosim.controllers.aggregation.deviation import Case
from cosim.controllers.aggregation.envelope import reachable
from cosim.controllers.aggregation.fleet import PER_STEP, checked_fleet

HOURS = 168
CHARGER_KW, CHARGER_SHARE = (3.7, 7.4, 11.0), (0.3, 0.4, 0.3)
BATTERY_KWH = (40.0, 52.0, 60.0, 77.0)
KINDS, KIND_SHARE = ("commuter", "occasional", "long distance"), (0.6, 0.25, 0.15)
LOWEST_SHARE, HIGHEST_SHARE = 0.2, 0.9  # of the battery: what drivers keep in reserve, and charge up to
LARGEST_TRIP_SHARE = 0.55  # of the battery; what is driven beyond it is charged on the road
SPEED_KM_PER_H = 35.0


@dataclass(frozen=True)
class Car:
    """One car and its driver's habits.

    Attributes
    ----------
    kind : str
        Of driver, one of ``KINDS``.
    charger_kw, battery_kwh, kwh_per_km, efficiency : float
        Of the car.
    leaves_h, returns_h : float
        On a working day.
    distance_km : float
        Of a working day, or of an outing.
    outing_share : float
        Chance of a trip on a day off.
    plug_share : float
        Chance that it is plugged in on return.
    """

    kind: str
    charger_kw: float
    battery_kwh: float
    kwh_per_km: float
    efficiency: float
    leaves_h: float
    returns_h: float
    distance_km: float
    outing_share: float
    plug_share: float


def draw_cars(count: int, rng: np.random.Generator) -> list[Car]:
    """Draw a heterogeneous fleet."""
    cars = []
    for _ in range(count):
        kind = str(rng.choice(KINDS, p=KIND_SHARE))
        leaves = rng.normal(7.5, 1.2)
        median_km = {"commuter": 28.0, "occasional": 18.0, "long distance": 75.0}[kind]
        cars.append(Car(
            kind=kind,
            charger_kw=float(rng.choice(CHARGER_KW, p=CHARGER_SHARE)),
            battery_kwh=float(rng.choice(BATTERY_KWH)),
            kwh_per_km=float(rng.uniform(0.15, 0.22)),
            efficiency=float(rng.uniform(0.86, 0.94)),
            leaves_h=float(np.clip(leaves, 4.0, 12.0)),
            returns_h=float(np.clip(leaves + rng.normal(9.5, 1.5), 12.0, 23.0)),
            distance_km=float(median_km * rng.lognormal(0.0, 0.5)),
            outing_share=float(rng.uniform(0.3, 0.9)),
            plug_share=float(rng.uniform(0.5, 1.0)),
        ))  # fmt: skip
    return cars


def draw_week(cars: list[Car], rng: np.random.Generator, *, discharge: bool = False) -> Fleet:
    """Draw a week of trips, Monday 00:00 to Sunday 24:00, and what they leave to be charged at home."""
    away, driving, unplugged = np.zeros((3, HOURS, len(cars)))
    for column, car in enumerate(cars):
        ends = _draw_trips(car, rng, away[:, column], driving[:, column])
        for end in ends:  # some stays at home go without the cable
            next_trip = np.flatnonzero(away[end:, column] > 0.0)
            until = end + int(next_trip[0]) if len(next_trip) else HOURS
            unplugged[end:until, column] = rng.uniform() > car.plug_share
    return _mended(cars, away, driving, unplugged, discharge=discharge)


def _draw_trips(car: Car, rng: np.random.Generator, away: Float, driving: Float) -> list[int]:
    """Fill one car's hours away and energy driven; hours at which it comes home."""
    ends: list[int] = []
    for day in range(7):
        works = day < 5 and car.kind != "occasional"
        if works and rng.uniform() < 0.93:
            leaves, stays_h = car.leaves_h + rng.normal(0, 0.4), car.returns_h - car.leaves_h + rng.normal(0, 0.7)
            distance_km = car.distance_km * rng.uniform(0.85, 1.2)
        elif rng.uniform() < car.outing_share:
            leaves, stays_h = rng.uniform(8.0, 18.0), rng.uniform(1.5, 6.0)
            distance_km = 22.0 * rng.lognormal(0.0, 0.8)
        else:
            continue
        first = 24 * day + round(leaves)
        last = min(first + max(round(stays_h), 1), HOURS)
        kwh = min(distance_km * car.kwh_per_km, LARGEST_TRIP_SHARE * car.battery_kwh)
        wheel_h = int(np.clip(np.ceil(distance_km / 2.0 / SPEED_KM_PER_H), 1, max((last - first) // 2, 1)))
        hours = np.r_[first : first + wheel_h, last - wheel_h : last]
        np.add.at(driving, hours, kwh / len(hours))
        away[first:last] = 1.0
        ends.append(last)
    return ends


def _mended(cars: list[Car], away: Float, driving: Float, unplugged: Float, *, discharge: bool) -> Fleet:
    """Make the fleet; a car that could not drive all its trips plugs in always, then drives less."""
    plugged = (1.0 - away) * (1.0 - unplugged)
    for step in range(30):
        fleet = _fleet(cars, plugged, driving, discharge=discharge)
        low, high = reachable(fleet)
        short = ((low - high).max(axis=0) > -1e-9) & (driving.sum(axis=0) > 0.0)
        if not short.any():
            return fleet
        plugged[:, short] = 1.0 - away[:, short]
        if step:
            driving[:, short] *= 0.9
    raise AssertionError("a car without a feasible week")


def _fleet(cars: list[Car], plugged: Float, driving: Float, *, discharge: bool) -> Fleet:
    charger, battery, efficiency = np.array([(car.charger_kw, car.battery_kwh, car.efficiency) for car in cars]).T
    battery, zero = np.broadcast_to(battery, plugged.shape), np.zeros_like(plugged)
    return Fleet(
        zero, plugged * charger, zero, plugged * charger if discharge else zero, LOWEST_SHARE * battery,
        HIGHEST_SHARE * battery, driving, efficiency, efficiency, self_discharge=0.0, step_h=1.0,
    )  # fmt: skip


def draw_prices(rng: np.random.Generator) -> Float:
    """A week of hourly prices with the shape of a day-ahead market, shape (168,) [EUR/kWh]."""
    hour, day = np.arange(HOURS) % 24, np.arange(HOURS) // 24
    season = rng.uniform(0.0, 1.0)  # 0 winter, 1 summer
    level = rng.normal(75.0, 15.0)
    evening = np.exp(-(((hour - 19.0) / 2.2) ** 2)) * rng.uniform(25.0, 55.0)
    morning = np.exp(-(((hour - 8.0) / 1.8) ** 2)) * rng.uniform(10.0, 30.0)
    sun = np.exp(-(((hour - 13.0) / (2.0 + 1.5 * season)) ** 2)) * (15.0 + 60.0 * season)
    night = np.where(hour < 6, -rng.uniform(5.0, 25.0), 0.0)
    clear = rng.uniform(0.2, 1.0, 7)[day]
    wind = _walk(rng, 7, 0.6, 18.0)
    weekend = np.where(day >= 5, -15.0, 0.0)
    noise = _walk(rng, HOURS, 0.7, 4.0)
    smooth_wind = np.interp(np.arange(HOURS), 24.0 * np.arange(7) + 12.0, wind)
    return np.asarray((level + evening + morning - sun * clear + night + smooth_wind + weekend + noise) / 1000.0)


def _walk(rng: np.random.Generator, count: int, memory: float, deviation: float) -> Float:
    """Draw a stationary autoregressive series."""
    shocks = rng.normal(0.0, deviation * np.sqrt(1.0 - memory**2), count)
    values = np.empty(count)
    last = rng.normal(0.0, deviation)
    for k in range(count):
        last = memory * last + shocks[k]
        values[k] = last
    return values


def small_case(seed: int, cars: int, hours: int) -> Case:
    """Draw the first day of a small fleet's week, closed by itself."""
    rng = np.random.default_rng(seed)
    drivers = draw_cars(cars, rng)
    week, price = draw_week(drivers, rng), draw_prices(rng)[:hours]
    fleet = replace(week, **{name: getattr(week, name)[:hours] for name in PER_STEP})
    return Case(aggregate(fleet, "sum"), price, fleet_total(reference(checked_fleet(fleet), price)))
