"""Where and when the controllers' goldens are taken: a street of seven homes, four hours, cars and roofs."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import cache
from pathlib import Path

import numpy as np

from cosim import EvSessions, Exogenous, Feeder, Forecast, feeders

STEPS, STEP_MIN = 48, 5.0
HOMES, PHASE_A = 7, (0, 2, 4)
SOURCE_PU = {"high_voltage": 1.08, "low_voltage": 0.96}
"""Where the curves of local control begin to act, at both ends; elsewhere as in the circuit's file."""

# customer, arrival [min], departure [min], need [kWh], charger [kW]; no two alike, so that plans have few ties
CARS = (
    (0, 12.0, 226.0, 7.3, 7.4),
    (1, 47.0, 232.0, 6.1, 7.4),
    (2, 3.0, 236.0, 5.7, 7.4),
    (4, 64.0, 237.0, 4.9, 3.7),
    (5, 31.0, 205.0, 6.6, 7.4),
    (6, 22.0, 234.0, 11.9, 11.0),
)


@cache
def street() -> Feeder:
    """The circuit beside this file."""
    return feeders.load(Path(__file__).with_name("street"))


def _sessions(rows: tuple[tuple[float, ...], ...]) -> EvSessions:
    customer, arrival, departure, need, charger = (np.array(column, float) for column in zip(*rows, strict=True))
    same = np.ones(len(rows))
    return EvSessions(
        customer.astype(np.int64), arrival, departure, need, charger, 0.9 * same, 60.0 * same, 12.0 * same
    )


@cache
def day(world: str = "oracle") -> Exogenous:
    """From noon: sun and a dear tariff first, then cheap hours that every car waits for, and they are not all alike."""
    rng = np.random.default_rng(11)
    hours = np.arange(STEPS) * STEP_MIN / 60.0
    demand_kw = rng.uniform(0.3, 0.9, HOMES) * (1.0 + 0.4 * hours[:, None]) * rng.uniform(0.7, 1.3, (STEPS, HOMES))
    kva = np.array([5.0, 0.0, 5.0, 4.0, 4.6, 0.0, 0.0])
    sun = np.clip(np.cos(hours / 3.0 * np.pi / 2.0), 0.0, None) * rng.uniform(0.8, 1.0, STEPS)
    return Exogenous(
        start=datetime(2026, 5, 15, 12),
        step_min=STEP_MIN,
        demand_kw=demand_kw,
        demand_kvar=0.25 * demand_kw,
        pv_available_kw=sun[:, None] * 1.05 * kva,
        inverter_kva=kva,
        sessions=_sessions(tuple(car for car in CARS if car[0] in PHASE_A or world != "phase_a")),
        tariff_eur_per_kwh=np.select([hours < 1.0, hours < 2.5], [0.31, 0.23], 0.12),
        ambient_c=np.full(STEPS, 20.0),
        source_pu=np.full(STEPS, SOURCE_PU.get(world, np.nan)),
    )


def shaken(day: Exogenous, by: float) -> Exogenous:
    """The same day with every load and need changed by less than a share: what moves then is a matter of ties."""
    rng = np.random.default_rng(99)
    cars = day.sessions
    need_kwh = cars.energy_need_kwh * (1.0 + by * rng.uniform(-1.0, 1.0, len(cars)))
    demand_kw = day.demand_kw * (1.0 + by * rng.uniform(-1.0, 1.0, day.demand_kw.shape))
    return replace(day, demand_kw=demand_kw, sessions=replace(cars, energy_need_kwh=need_kwh))


@cache
def wrong_forecast() -> Forecast:
    """What nobody should believe: one car late, one that never comes, one that nobody expects, less load, more sun."""
    told = [list(row) for row in CARS if row[0] != 4]
    told[2][1] = 0.0
    told[3][1:3] = [101.0, 220.0]
    told.insert(3, [3, 55.0, 210.0, 5.2, 7.4])
    told[0][1] = -0.0
    expected = replace(
        day(),
        demand_kw=0.8 * day().demand_kw,
        pv_available_kw=np.minimum(1.2 * day().pv_available_kw, 1.1 * day().inverter_kva),
        sessions=_sessions(tuple(tuple(row) for row in told)),
    )
    return Forecast("noisy", expected)
