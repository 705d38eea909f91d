"""Places and days that many tests share: the shipped feeders, and days made of a few numbers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from cosim import feeders
from cosim.contract import EvSessions, Exogenous, Feeder, Forecast, Observation, Setpoints, TransformerSpec

MakeDay = Callable[..., Exogenous]
MakeSessions = Callable[..., EvSessions]


class Scripted:
    """A controller that answers with given setpoints (or with what a function makes of the observation)."""

    def __init__(self, answer: Setpoints | Callable[[Observation], Setpoints], every_step: bool = False) -> None:
        self.every_step = every_step
        self.answer = answer
        self.forecasts: list[Forecast] = []
        self.seen: list[Observation] = []
        self.answered: list[Setpoints] = []

    def plan(self, forecast: Forecast) -> None:
        self.forecasts.append(forecast)

    def decide(self, observation: Observation) -> Setpoints:
        self.seen.append(observation)
        self.answered.append(self.answer(observation) if callable(self.answer) else self.answer)
        return self.answered[-1]


@pytest.fixture(scope="session")
def scripted() -> type[Scripted]:
    return Scripted


@pytest.fixture(scope="session")
def two_bus() -> Feeder:
    return feeders.load("two_bus")


@pytest.fixture(scope="session")
def european_lv() -> Feeder:
    """With the machine and the source of the default day."""
    return feeders.load("european_lv", source_pu=1.02, transformer=TransformerSpec(160, 4.0, 1.47))


@pytest.fixture(scope="session")
def make_day() -> MakeDay:
    """A day from a few numbers: everything is broadcast to (step, customer) or (step,); what is not given is zero."""

    def make(feeder: Feeder, steps: int, step_min: float = 5.0, **given: Any) -> Exogenous:
        customers = len(feeder.customers)

        def filled(key: str, shape: tuple[int, ...], otherwise: float = 0.0) -> np.ndarray:
            return np.broadcast_to(np.asarray(given.pop(key, otherwise), float), shape).copy()

        day = Exogenous(
            start=datetime(2026, 5, 15),
            step_min=step_min,
            demand_kw=filled("demand_kw", (steps, customers)),
            demand_kvar=filled("demand_kvar", (steps, customers)),
            pv_available_kw=filled("pv_available_kw", (steps, customers)),
            inverter_kva=filled("inverter_kva", (customers,)),
            sessions=given.pop("sessions", EvSessions.none()),
            tariff_eur_per_kwh=filled("tariff_eur_per_kwh", (steps,), 0.2),
            ambient_c=filled("ambient_c", (steps,), 20.0),
            source_pu=filled("source_pu", (steps,), np.nan),
            devices=given.pop("devices", {}),
        )
        assert not given, f"unknown {sorted(given)}"
        return day

    return make


@pytest.fixture(scope="session")
def make_sessions() -> MakeSessions:
    """Cars from rows of (customer, arrival_min, departure_min, energy_need_kwh, charger_kw)."""

    def make(
        *rows: tuple[float, ...], efficiency: float = 0.9, battery_kwh: float = 60.0, soc_kwh: float = 10.0
    ) -> EvSessions:
        customer, arrival, departure, need, charger = (np.array(column, float) for column in zip(*rows, strict=True))
        same = np.ones(len(rows))
        return EvSessions(
            customer.astype(np.int64), arrival, departure, need, charger, efficiency * same, battery_kwh * same,
            soc_kwh * same,
        )  # fmt: skip

    return make


@pytest.fixture(scope="session")
def busy_day(make_day: MakeDay, make_sessions: MakeSessions) -> Callable[..., Exogenous]:
    """A lively synthetic day in minutes: noisy homes, sun on every second roof, cars in the evening, three tariffs."""

    def make(feeder: Feeder, seed: int, minutes: int = 1440, start_h: float = 0.0) -> Exogenous:
        rng = np.random.default_rng(seed)
        customers = len(feeder.customers)
        hours = (start_h + np.arange(minutes) / 60.0) % 24.0
        evening = np.exp(-(((hours - 18.5) / 2.5) ** 2))
        demand = (0.25 + 0.9 * evening)[:, None] * rng.gamma(2.0, 0.5, (minutes, customers))
        sun = np.clip(np.sin((hours - 6.0) / 12.0 * np.pi), 0.0, None)[:, None] * rng.uniform(0.6, 1.0, (minutes, 1))
        kva = np.where(np.arange(customers) % 2 == 0, 4.0, 0.0)
        cars = np.flatnonzero(rng.uniform(size=customers) < 0.6) if customers > 3 else np.arange(customers)
        arrival = np.clip(rng.normal(0.70, 0.08, cars.size) * minutes, 0, 0.9 * minutes)
        stay = rng.uniform(0.3, 0.6, cars.size) * minutes
        charger = np.where(rng.uniform(size=cars.size) < 0.66, 7.4, 3.7)
        need = np.minimum(rng.uniform(4.0, 16.0, cars.size), 0.9 * charger * 0.9 * (minutes - arrival) / 60.0)
        rows = zip(cars, arrival, arrival + stay, need, charger, strict=True)
        tariff = np.select([hours < 7, (hours >= 16) & (hours < 20)], [0.12, 0.32], 0.22)
        return make_day(
            feeder, minutes, 1.0, demand_kw=demand, demand_kvar=0.2 * demand, pv_available_kw=sun * kva,
            inverter_kva=kva, sessions=make_sessions(*rows), tariff_eur_per_kwh=tariff,
        )  # fmt: skip

    return make
