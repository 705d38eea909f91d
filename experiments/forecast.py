"""Forecasts by name: what controllers and households are told before the day begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np

from cosim.contract import EvSessions, Exogenous, Float, Forecast, Int
from cosim.contract.streams import Keyed, each, of_sessions
from cosim.experiments.scenario import ForecastTable
from cosim.experiments.world.homes import Cars

_LEAST_STAY_MIN = 15.0


def make_forecast(
    truth: Exogenous, table: ForecastTable, rng: np.random.Generator, yesterday: Callable[[], Exogenous]
) -> Forecast:
    """Tell a day beforehand.

    Parameters
    ----------
    truth : Exogenous
        The day as it will be.
    table : ForecastTable
        How it is told.
    rng : numpy.random.Generator
        Source of errors.
    yesterday : callable
        Draws the day before, for ``persistence``.
    """
    if table.kind == "noisy":
        return Forecast(table.kind, noisy(truth, table, rng))
    if table.kind == "persistence":
        known = {name: getattr(truth, name) for name in ("tariff_eur_per_kwh", "customer_tariff_eur_per_kwh")}
        return Forecast(table.kind, replace(yesterday(), **known))
    return Forecast(table.kind, truth)


def announced(day: Exogenous, table: Cars, rng: np.random.Generator) -> Exogenous:
    """Give a day what drivers announce on arrival, where that is wrong; they leave, and need, what is true.

    Parameters
    ----------
    day : Exogenous
        At one minute.
    table : Cars
        Size of the errors.
    rng : numpy.random.Generator
        Source of the errors: the same deviates for every size, so that a larger error is the same one scaled.
    """
    cars = day.sessions
    if not (table.announced_departure_error_min or table.announced_energy_error_percent):
        return day
    (deviates,) = of_sessions(rng, day, lambda one, who: (one.normal(0.0, 1.0, (2, len(who))),))
    departure = cars.departure_min + table.announced_departure_error_min * deviates[0]
    factor = np.maximum(1.0 + table.announced_energy_error_percent / 100.0 * deviates[1], 0.1)
    return replace(
        day,
        announced=replace(
            cars,
            departure_min=np.maximum(departure, np.maximum(cars.arrival_min, 0.0) + _LEAST_STAY_MIN),
            energy_need_kwh=np.minimum(cars.energy_need_kwh * factor, cars.battery_kwh - cars.soc_arrival_kwh),
        ),
    )


def too_perfect(forecast: Forecast, truth: Exogenous) -> list[str]:
    """Say where a forecast by the day before is the truth, because there is no other day to take it from."""
    if forecast.kind != "persistence":
        return []
    expected = forecast.expected
    same = {
        "the homes' demand": truth.demand_kw.any() and np.array_equal(expected.demand_kw, truth.demand_kw),
        "the cars' sessions": len(truth.sessions) and _same_sessions(expected.sessions, truth.sessions),
    }
    return [
        f"forecast 'persistence' knows {what} perfectly: the day before is the same, for want of other data"
        for what, is_same in same.items()
        if is_same
    ]


def _same_sessions(one: EvSessions, other: EvSessions) -> bool:
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))


def noisy(truth: Exogenous, table: ForecastTable, rng: np.random.Generator) -> Exogenous:
    """Return the truth with errors: of every home's hour, of the sun's hour, of arrivals, departures and needs.

    Parameters
    ----------
    truth : Exogenous
        The day as it will be.
    table : ForecastTable
        Size of the errors.
    rng : numpy.random.Generator
        Source of the errors.

    Returns
    -------
    Exogenous
        Demand and sun are multiplied by log-normal factors of mean 1, held for an hour; times get normal errors; a need
        stays within what the believed stay can hold. The tariff is exact.
    """
    per_hour = max(round(60.0 / truth.step_min), 1)
    hours = -(-truth.steps // per_hour)

    def factors(error_percent: float, columns: int | None) -> Float:
        sigma = np.sqrt(np.log1p((error_percent / 100.0) ** 2))
        drawn = np.exp(_hourly(rng, truth, hours, columns, -(sigma**2) / 2.0, sigma))
        return np.asarray(np.repeat(drawn, per_hour, axis=0)[: truth.steps])

    demand = factors(table.demand_error_percent, truth.demand_kw.shape[1])
    ceiling_kw = truth.pv_available_kw.max(axis=0, initial=0.0)
    return replace(
        truth,
        demand_kw=truth.demand_kw * demand,
        demand_kvar=truth.demand_kvar * demand,
        pv_available_kw=np.minimum(truth.pv_available_kw * factors(table.pv_error_percent, None), ceiling_kw),
        sessions=_noisy_sessions(truth, table, rng),
    )


def _hourly(rng: np.random.Generator, day: Exogenous, hours: int, columns: int | None, mean: float, sd: float) -> Float:
    """Deviates of every hour for each customer, or for all in one column, shape (hour, column)."""
    if not isinstance(rng, Keyed):
        return rng.normal(mean, sd, (hours, columns or 1))
    drawn = []
    for number in range(-(-(day.start.hour + hours) // 24)):
        today = rng.on(day.start.toordinal() + number)
        if columns is None:
            drawn.append(today.normal(mean, sd, (24, 1)))
        else:
            drawn += each(today, range(columns), lambda one, who: (one.normal(mean, sd, (24, len(who))),))
    return np.concatenate(drawn)[day.start.hour :][:hours]


def _noisy_sessions(truth: Exogenous, table: ForecastTable, rng: np.random.Generator) -> EvSessions:
    sessions, horizon_min = truth.sessions, truth.steps * truth.step_min

    def draw(one: np.random.Generator, who: Int) -> tuple[Float, Float]:
        return one.normal(0.0, 1.0, (2, len(who))), one.normal(0.0, 1.0, len(who))

    shift, of_need = of_sessions(rng, truth, draw)
    shift = shift * table.arrival_error_min
    stay_min = np.maximum(sessions.departure_min + shift[1] - sessions.arrival_min - shift[0], _LEAST_STAY_MIN)
    arrival = np.clip(sessions.arrival_min + shift[0], 0.0, horizon_min - _LEAST_STAY_MIN)
    departure = np.minimum(arrival + stay_min, horizon_min)
    sigma = table.energy_error_percent / 100.0
    need = sessions.energy_need_kwh * np.maximum(1.0 + sigma * of_need, 0.1)
    possible = sessions.charger_kw * sessions.efficiency * (departure - arrival) / 60.0
    room = sessions.battery_kwh - sessions.soc_arrival_kwh
    return replace(
        sessions,
        arrival_min=arrival,
        departure_min=departure,
        energy_need_kwh=np.minimum(np.minimum(need, possible), room),
    )
