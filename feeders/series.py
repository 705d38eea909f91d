"""Series in time from a user's file: one reader for demand, sun, heat, temperature, prices and voltages."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.errors import Fault, InputError, refuse
from cosim.feeders.clock import Clock
from cosim.feeders.tables import TIME_COLUMN, counts_rows, find_faults, numbers, read_table, told_once

Float = NDArray[np.float64]

DAY_MIN = 1440
_OTHER_UNIT = re.compile(r"(?:^|[\s_\[(/.-])(?:[kM]?Wh|M?W|watts?)[\])]?$", re.IGNORECASE)
_DATE = re.compile(r"\s*\d{4}-\d\d-\d\d")
_NO_VALUES = re.compile(r"(?:date|day|weekday|month|year|hour|minute|second|index|timestamp|datetime)", re.IGNORECASE)
"""What tables of a time series have beside the values."""
_MICROSECONDS_PER_MIN = 60_000_000


class Quantity(NamedTuple):
    """What a series holds, and what of it is possible.

    Attributes
    ----------
    name, unit : str
        As they are said.
    low, high : float
        What lies outside is refused.
    below, above : str
        What to do about it.
    usual : tuple of float
        Between which the peak of a column usually lies, on average over the columns. A file 1000 times below or above
        is told of: it is in another unit.
    """

    name: str
    unit: str
    low: float
    high: float
    below: str = "mend the values"
    above: str = "mend the values"
    usual: tuple[float, float] = (0.0, np.inf)


@dataclass(frozen=True, eq=False)
class Series:
    """Values in time as read, one column each.

    Attributes
    ----------
    means : ndarray, shape (row, column)
        Mean of each row.
    step_min : float
        Length of a row [min].
    names : tuple of str, shape (column,)
        Column names.
    start : datetime or None
        Time of the first row on the clock of the day; None where the file has no time column: whole days from midnight,
        of any date.
    source : str
        File, for messages.
    warnings : tuple of str
        What is doubtful.
    first_day : int
        Without times: days of the ring that came before the horizon, see `Clock`.
    """

    means: Float
    step_min: float
    names: tuple[str, ...]
    start: datetime | None
    source: str
    warnings: tuple[str, ...] = ()
    first_day: int = 0

    def over(self, start: datetime, minutes: int, *, day: int = 0) -> Float:
        """Values minute by minute, shape (minute, column): a longer row holds, of shorter ones the mean is taken.

        Parameters
        ----------
        start : datetime
            Clock of the first minute.
        minutes : int
            Length of the horizon [min].
        day : int
            Which day against the horizon's own: -1 is the day before.

        Raises
        ------
        InputError
            Where rows with a time do not cover the horizon.

        Notes
        -----
        Without times the horizon begins on the second of three or more days, and days follow one another in a ring.
        """
        length_min = len(self.means) * self.step_min
        if self.start is None:
            first = (1 if length_min >= 3 * DAY_MIN else 0) + self.first_day + day
            first_min = first * DAY_MIN + _minute_of_day(start)
            return self._of_minutes((first_min + np.arange(minutes, dtype=np.float64)) % length_min)
        begin = start + timedelta(days=day)
        first_min = (begin - self.start) / timedelta(minutes=1)
        if first_min < 0 or first_min + minutes > length_min:
            end = self.start + timedelta(minutes=length_min)
            problem = f"covers {self.start} to {end}, not {begin} to {begin + timedelta(minutes=minutes)}"
            remedy = "add the missing rows, change the start or horizon, or drop the column to use days of any date"
            raise InputError(Fault(self.source, TIME_COLUMN, problem, remedy))
        return self._of_minutes(first_min + np.arange(minutes, dtype=np.float64))

    def _of_minutes(self, begin_min: Float) -> Float:
        """Mean over the minute from each of these on, counted from the first row."""
        edge = begin_min / self.step_min
        if self.step_min % 1 == 0 and (begin_min % 1 == 0).all():  # every minute lies in one row: exact
            return self.means[edge.astype(np.int64)]
        whole = np.concatenate([np.zeros((1, self.means.shape[1])), np.cumsum(self.means, axis=0)])

        def until(edge: Float) -> Float:  # sum of all rows before, the last in part
            row = np.minimum(edge.astype(np.int64), len(self.means) - 1)
            return np.asarray(whole[row] + (edge - row)[:, None] * self.means[row])

        means = (until(edge + 1.0 / self.step_min) - until(edge)) * self.step_min
        return np.clip(means, self.means.min(axis=0), self.means.max(axis=0))  # rounding makes no generation of none


def read_series(
    path: str | Path,
    key: str,
    quantity: Quantity,
    clock: Clock,
    *,
    step_min: float | None = None,
    remedy: str = "give the path of a CSV or Parquet file",
) -> Series:
    """Read columns of values in time from a CSV or Parquet file.

    Parameters
    ----------
    path : str or Path
        The file: one column per series, and ``time`` where it is dated (times as `Clock.read` understands them, at any
        regular step). Without ``time`` it holds whole days from midnight.
    key : str
        Key of the scenario that names it, for messages.
    quantity : Quantity
        What it holds.
    clock : Clock
        Of the day.
    step_min : float
        Length of a row [min]; 1 where neither this nor ``time`` says it.
    remedy : str
        Where there is no such file.

    Returns
    -------
    Series

    Raises
    ------
    InputError
        With every fault found, a repeated one once: missing or unreadable file, columns without a name or of one name,
        wrong length, uneven time, NaN, text, booleans, a column that counts rows or hours or whose name says another
        unit, values out of range.

    Examples
    --------
    >>> prices = read_series("prices.csv", "tariff", PRICE, Clock(start, "Europe/London"))  # doctest: +SKIP
    >>> prices.over(start, 1440).shape  # doctest: +SKIP
    (1440, 1)
    """
    table, where = read_table(path, key, remedy), str(path)
    faults: list[Fault] = []
    start, said_min = None, step_min
    step_min = 1.0 if said_min is None else said_min
    if TIME_COLUMN in table.columns:
        start, step_min = _read_time(table.pop(TIME_COLUMN), where, clock, faults)
        if start and said_min not in (None, step_min):
            problem = f"rows follow one another by {step_min:g} min, not {said_min:g}"
            faults.append(Fault(where, TIME_COLUMN, problem, "leave the step out, or mend it"))
    elif len(table) == 0 or len(table) * step_min % DAY_MIN:
        problem = f"wrong length: {len(table)} rows of {step_min:g} min are no whole days"
        told = f"give whole days of {DAY_MIN / step_min:g} rows from midnight, a column `{TIME_COLUMN}`, or their step"
        faults.append(Fault(where, "rows", problem, told))
    if not len(table.columns):
        told = f"give one column of {quantity.unit} per series"
        faults.append(Fault(where, "columns", "no values beside the time", told))
    values = np.column_stack([_column(table[name], where, quantity, faults) for name in table.columns] or [np.empty(0)])
    refuse(told_once(faults))
    return Series(
        values, step_min, tuple(map(str, table.columns)), start, where, _doubtful_unit(values, quantity, where),
        clock.first_day,
    )  # fmt: skip


def _column(column: pd.Series, where: str, quantity: Quantity, faults: list[Fault]) -> Float:
    name = str(column.name)
    if _NO_VALUES.fullmatch(name.strip()) or name.strip().lower() == TIME_COLUMN:
        remedy = f"name it `{TIME_COLUMN}` where it holds times, else leave the column out (index=False)"
        faults.append(Fault(where, name, f"is no {quantity.name} by its name", remedy))
        return np.full(len(column), np.nan)
    first = next(iter(column.dropna()), None)
    if isinstance(first, str | datetime) and _DATE.match(str(first)):
        faults.append(Fault(where, name, "holds dates", f"name it `{TIME_COLUMN}`, or leave it out"))
        return np.full(len(column), np.nan)
    values = numbers(column, where, faults)
    if counts_rows(values):
        faults.append(Fault(where, name, f"counts rows, so it is no {quantity.name}", "leave it out (index=False)"))
        return values
    if quantity.unit == "kW" and (other := _OTHER_UNIT.search(name)):
        remedy = "give mean kW of each row (kWh of a row divided by its hours), and no other unit in the name"
        faults.append(Fault(where, name, f"is said to be in {other[0].strip(' _[](/.-')}, not kW", remedy))
    what, unit = quantity.name, quantity.unit
    low = f"negative {what}: {{:g}} {unit}" if quantity.low == 0 else f"{what} below {quantity.low:g} {unit}: {{:g}}"
    high = f"absurd {what}: {{:g}} {unit}{' looks like watts' if unit == 'kW' else ''}"
    faults += find_faults(values < quantity.low, values, where, name, low, quantity.below)
    faults += find_faults(values > quantity.high, values, where, name, high, quantity.above)
    return values


def _doubtful_unit(values: Float, quantity: Quantity, where: str) -> tuple[str, ...]:
    low, high = quantity.usual
    peak = float(values.max(axis=0, initial=-np.inf).mean())
    if low <= peak <= high:
        return ()
    for factor, kind in ((1000.0, "smaller"), (0.001, "larger")):
        if low <= peak * factor <= high:
            unit = f"one 1000 times {'larger' if factor > 1 else 'smaller'} than {quantity.unit}"
            return (
                f"{where}: peaks of {peak:.3g} {quantity.unit} on average are about 1000 times {kind} than usual: "
                f"is the file in {unit}? Multiply it by {factor:g} if so",
            )
    return ()


def _read_time(column: pd.Series, where: str, clock: Clock, faults: list[Fault]) -> tuple[datetime | None, float]:
    times = clock.read(column, where, faults, in_order=True)
    if len(times) < 2:
        faults.append(Fault(where, "rows", f"wrong length: {len(times)} rows", "give at least two rows"))
    if times.isna().any() or len(times) < 2:
        return None, 1.0
    spacing = np.diff(times.to_numpy().astype("datetime64[us]").astype(np.int64))
    lengths, rows = np.unique(spacing, return_counts=True)
    step = int(lengths[rows.argmax()])
    uneven = np.append(False, spacing != step)
    step_min = step / _MICROSECONDS_PER_MIN
    problem = f"does not follow the row before by {step_min:g} min: {{}}"
    remedy = "space rows evenly, without gaps or repeats" + (
        "; where the clock jumps to or from summer time, write offsets from UTC or give the scenario a zone"
        if clock.zone is None
        else ""
    )
    faults += find_faults(uneven, column, where, TIME_COLUMN, problem, remedy)
    if not 0 < step_min <= DAY_MIN:
        problem = f"rows follow one another by {step_min:g} min"
        faults.append(Fault(where, TIME_COLUMN, problem, "sort the rows by time, at a step of at most a day"))
    return times.iloc[0].to_pydatetime(), step_min


def _minute_of_day(moment: datetime) -> float:
    return moment.hour * 60 + moment.minute + moment.second / 60
