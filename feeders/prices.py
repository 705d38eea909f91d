"""Prices, source voltage and power factors of a day: shapes by hour, own series, and who has which."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from cosim.contract.streams import each
from cosim.errors import Fault, InputError
from cosim.feeders.find import TARIFFS, Band
from cosim.feeders.join import Told, read_customer_table
from cosim.feeders.series import DAY_MIN, Quantity, Series

Float = NDArray[np.float64]
Tariff = str | Sequence[Band] | Series
"""A shipped name, own bands, or own prices in time."""

PRICE = Quantity(
    "price", "EUR/kWh", -5.0, 5.0, "give EUR/kWh, from -5", "give EUR/kWh, not cents or EUR/MWh", usual=(0.01, 2.0)
)
VOLTAGE = Quantity(
    "source voltage", "pu", 0.8, 1.2, "give per unit of the source's base", "give per unit of the source's base"
)
LEAST_POWER_FACTOR = 0.7
_SATURDAY = 5


def tariff_eur_per_kwh(start: datetime, minutes: int, tariff: Tariff = "three_band") -> Float:
    """Price of import, minute by minute, by the local clock without daylight-saving jumps.

    Parameters
    ----------
    start : datetime
        Local clock of the first minute.
    minutes : int
        Length of the horizon [min].
    tariff : str, sequence of Band, or Series
        ``three_band``: 0.12 EUR/kWh from 23 to 7 h, 0.32 from 16 to 20 h, 0.22 else (an assumption of this project).
        Of bands, each minute has that of its day and month whose hour came last.

    Returns
    -------
    ndarray, shape (minute,)
        Price [EUR/kWh].

    Raises
    ------
    InputError
        Where there is no tariff of that name, bands leave a time without a price, or a series does not cover the
        horizon, or has several columns.
    """
    if isinstance(tariff, Series):
        return _single(tariff, start, minutes)
    if isinstance(tariff, str) and tariff not in TARIFFS:
        raise InputError(Fault("tariff", "name", f"no tariff '{tariff}'", f"use one of {', '.join(TARIFFS)}"))
    bands = TARIFFS[tariff] if isinstance(tariff, str) else tariff
    minute = start.hour * 60 + start.minute + np.arange(minutes)
    days = [start + timedelta(days=day) for day in range(int(minute[-1]) // DAY_MIN + 1)]
    price = np.concatenate([_of_day(day, bands) for day in days])[minute]
    if np.isnan(price).any():
        raise InputError(Fault("tariff", "bands", "leave a time without a price", "begin every day at 0 h"))
    return price


def _of_day(day: datetime, bands: Sequence[Band]) -> Float:
    """Price of every minute of a calendar day."""
    kind = "weekday" if day.weekday() < _SATURDAY else "weekend"
    price = np.full(DAY_MIN, np.nan)
    for from_h, eur_per_kwh, days, months in sorted(bands, key=lambda band: band[0]):
        if days in ("all", kind) and day.month in months:
            price[round(from_h * 60) :] = eur_per_kwh
    return price


def source_pu(start: datetime, minutes: int, mean_pu: float, swing_percent: float, lowest_h: float) -> Float:
    """Source voltage over the day: one sine, lowest at an hour and highest twelve hours later, shape (minute,) [pu].

    Parameters
    ----------
    start : datetime
        Local clock of the first minute.
    minutes : int
        Length [min].
    mean_pu, swing_percent, lowest_h : float
        Mean, difference of highest and lowest in percent of it, and hour of the lowest.
    """
    hour = (start.hour * 60 + start.minute + np.arange(minutes)) % DAY_MIN / 60.0
    return np.asarray(mean_pu * (1.0 - swing_percent / 200.0 * np.cos(2.0 * np.pi * (hour - lowest_h) / 24.0)))


def own_source_pu(series: Series, start: datetime, minutes: int, *, day: int = 0) -> Float:
    """Source voltage from a file of one column, shape (minute,) [pu]."""
    return _single(series, start, minutes, day=day)


def _single(series: Series, start: datetime, minutes: int, *, day: int = 0) -> Float:
    if len(series.names) != 1:
        problem = f"has {len(series.names)} columns of values, not one"
        raise InputError(Fault(series.source, "columns", problem, "keep one column beside the time"))
    return series.over(start, minutes, day=day)[:, 0]


def who_has_which(shares: Sequence[float], count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Deal homes to groups by their shares: which group each is of, -1 for the rest, shape (customer,).

    Shares are rounded in turn, so that they make all homes where they sum to 1; a larger share of the first group takes
    its homes from those that follow.
    """
    edges = np.round(np.cumsum(shares) * count).astype(np.int64).clip(0, count)
    group = np.full(count, -1, dtype=np.int64)
    order, begin = rng.permutation(count), 0
    for number, end in enumerate(edges):
        group[order[begin:end]] = number
        begin = end
    return group


def power_factors(
    customers: Sequence[str], mean: float, sd: float, path: str | None, told: Told, rng: np.random.Generator
) -> Float | float:
    """Power factor of every home, inductive, shape (customer,); one number where all have the same.

    Parameters
    ----------
    customers : sequence of str
        Of the feeder.
    mean, sd : float
        Of a normal spread, cut at ``LEAST_POWER_FACTOR`` (or the mean, where that is lower) and 1.
    path : str, optional
        Table ``customer, power_factor``; homes without a row have the drawn one.
    told : callable
        Takes warnings of the table.
    rng : numpy.random.Generator
        Source of the spread.
    """
    if not sd and path is None:
        return mean
    drawn: Float = each(rng, range(len(customers)), lambda one, who: (one.normal(mean, sd, len(who)),))[0]
    drawn = drawn.clip(min(LEAST_POWER_FACTOR, mean), 1.0)
    if path is None:
        return drawn
    columns = {"power_factor": (0.1, 1.0, "a power factor")}
    missing = "has that of [households] power_factor"
    of_file = read_customer_table(path, "power_factors", customers, columns, told, missing=missing)["power_factor"]
    return np.where(np.isnan(of_file), drawn, of_file)
