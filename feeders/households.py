"""Household demand: shipped sets, own profiles, and how demand falls together (ADMD)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.errors import Fault, InputError, refuse
from cosim.feeders.calendar_homes import draw_calendar
from cosim.feeders.find import CALENDAR, DATA, household_sets
from cosim.feeders.tables import TIME_COLUMN, counts_rows, find_faults, local_times, numbers, read_table

Float = NDArray[np.float64]

DAY_MIN = 1440
ABSURD_KW = 100.0
_OTHER_UNIT = re.compile(r"(?:^|[\s_\[(/.-])(?:[kM]?Wh|watts?)[\])]?$", re.IGNORECASE)
_NO_HOME = re.compile(r"(?:date|day|weekday|month|year|hour|minute|second|index)", re.IGNORECASE)
"""What tables of a time series have beside the homes."""


@dataclass(frozen=True, eq=False)
class Profiles:
    """Household profiles as read, one column each.

    Attributes
    ----------
    demand_kw : ndarray, shape (row, profile)
        Mean demand of each row [kW].
    step_min : int
        Length of a row [min].
    names : tuple of str, shape (profile,)
        Column names.
    start : datetime or None
        Local time of the first row; None where the file has no time column: whole days from midnight, of any date.
    source : str
        File, for messages.
    """

    demand_kw: Float
    step_min: int
    names: tuple[str, ...]
    start: datetime | None
    source: str


def read_profiles(profiles: str | Path) -> Profiles:
    """Read a shipped set by name, or own profiles from a CSV or Parquet file.

    An own file has one column per profile in kW. Without a column ``time`` its rows are minutes from midnight and it
    holds whole days. With one (ISO local date-times, evenly spaced by whole minutes) the file says its own step and
    dates, and must cover the horizon.

    Parameters
    ----------
    profiles : str or Path
        Name of a shipped set, or path.

    Returns
    -------
    Profiles

    Raises
    ------
    InputError
        With every fault found: missing or unreadable file, columns without a name or of one name, wrong length, uneven
        time, NaN, text, booleans, a column that counts rows or hours or whose name says another unit, negative or
        absurd values (above 100 kW: the file is likely in watts).
    """
    if str(profiles) in household_sets():
        return _shipped(str(profiles))
    table = read_table(profiles, "profiles", f"give a path, or one of {', '.join(household_sets())}")
    where = str(profiles)
    faults: list[Fault] = []
    start, step_min = None, 1
    if TIME_COLUMN in table.columns:
        start, step_min = _read_time(table.pop(TIME_COLUMN), where, faults)
    elif len(table) == 0 or len(table) % DAY_MIN:
        remedy = f"give whole days of {DAY_MIN} one-minute rows from midnight, or a column `{TIME_COLUMN}`"
        faults.append(Fault(where, "rows", f"wrong length: {len(table)} rows", remedy))
    if not len(table.columns):
        faults.append(Fault(where, "columns", "no profile", "give one column of kW per household"))
    demand_kw = np.column_stack([numbers(table[name], where, faults) for name in table.columns] or [np.empty(0)])
    watts = f"give kW, not W (a household above {ABSURD_KW:g} kW is refused)"
    for column, name in enumerate(map(str, table.columns)):
        values_kw, negative = demand_kw[:, column], "give demand without generation; roofs are modelled apart"
        if counts_rows(values_kw) or _NO_HOME.fullmatch(name.strip()):
            problem = "counts rows" if counts_rows(values_kw) else "is no home by its name"
            faults.append(Fault(where, name, f"{problem}, so it is no demand", "leave the column out (index=False)"))
            continue
        if unit := _OTHER_UNIT.search(name):
            remedy = "give mean kW of each row (kWh of a row divided by its hours), and no other unit in the name"
            faults.append(Fault(where, name, f"is said to be in {unit[0].strip(' _[](/.-')}, not kW", remedy))
        faults += find_faults(values_kw < 0, values_kw, where, name, "negative demand: {:g} kW", negative)
        problem = "absurd demand: {:g} kW looks like watts"
        faults += find_faults(values_kw > ABSURD_KW, values_kw, where, name, problem, watts)
    refuse(faults)
    return Profiles(demand_kw, step_min, tuple(map(str, table.columns)), start, where)


def draw_households(
    profiles: str | Path | Profiles,
    count: int,
    start: datetime,
    minutes: int,
    rng: np.random.Generator,
    *,
    day: int = 0,
) -> Float:
    """Give every customer a household and return their demand, minute by minute.

    Households are drawn without replacement while the set lasts, then anew; an own file with exactly one column per
    customer is taken in its own order. The day begins at any time and runs through midnight into the next day of the
    same household. In a file without dates the horizon begins on the second of three or more days, and days follow one
    another in a ring.

    Parameters
    ----------
    profiles : str, Path or Profiles
        Name of a shipped set, path of own profiles, or what `read_profiles` made of either; ``calendar`` for homes
        drawn anew, see `cosim.feeders.calendar_homes.draw_calendar`.
    count : int
        Number of customers.
    start : datetime
        Local clock of the first minute.
    minutes : int
        Length of the horizon [min].
    rng : numpy.random.Generator
        Source of the draw; in the same state it draws the same households.
    day : int
        Which day against the horizon's own: -1 is the day before, of the same households.

    Returns
    -------
    ndarray, shape (minute, customer)
        Demand [kW].

    Raises
    ------
    InputError
        As `read_profiles`, or where dated profiles do not cover the horizon.
    """
    if profiles == CALENDAR:
        return draw_calendar(count, start + timedelta(days=day), minutes, rng)
    found = profiles if isinstance(profiles, Profiles) else read_profiles(profiles)
    available = found.demand_kw.shape[1]
    in_order = available == count and found.source not in household_sets()
    columns = np.arange(count)
    if not in_order:
        columns = np.concatenate([rng.permutation(available) for _ in range(-(-count // available))])[:count]
    if found.start is None:
        days = len(found.demand_kw) // DAY_MIN
        first_min = ((1 if days >= 3 else 0) + day) * DAY_MIN + start.hour * 60 + start.minute
        rows = (first_min + np.arange(minutes)) % len(found.demand_kw)
    else:
        begin = start + timedelta(days=day)
        first_min = round((begin - found.start).total_seconds() / 60)
        rows = (first_min + np.arange(minutes)) // found.step_min
        if rows[0] < 0 or rows[-1] >= len(found.demand_kw):
            end = found.start + timedelta(minutes=found.step_min * len(found.demand_kw))
            problem = f"covers {found.start} to {end}, not {begin} to {begin + timedelta(minutes=minutes)}"
            remedy = "add the missing rows, change the start or horizon, or drop the column to use days of any date"
            raise InputError(Fault(found.source, TIME_COLUMN, problem, remedy))
    return found.demand_kw[np.ix_(rows, columns)]


def admd_kw(demand_kw: Float, groups: Sequence[int], rng: np.random.Generator, *, draws: int = 200) -> Float:
    """After-diversity maximum demand: expected coincident peak per home over random groups of homes.

    Parameters
    ----------
    demand_kw : ndarray, shape (minute, home)
        Demand of one day (or of whichever time the peak is sought in).
    groups : sequence of int
        Group sizes, none above the number of homes.
    rng : numpy.random.Generator
        Draws the groups, without replacement within a group.
    draws : int
        Groups drawn of each size; one home and all homes together need no draw and are exact.

    Returns
    -------
    ndarray, shape (group size,)
        Mean over the groups of peak over group size [kW per home].

    Raises
    ------
    ValueError
        Where a group is larger than the number of homes, or empty.

    Notes
    -----
    ADMD(n) = E[max_t sum_i p_i(t)] / n, the usual definition in distribution planning (McQueen, Hyland and Watson,
    IEEE Transactions on Power Systems 19(3), 2004, p. 1685).
    """
    homes = demand_kw.shape[1]
    if min(groups) < 1 or max(groups) > homes:
        raise ValueError(f"groups must be between 1 and {homes}, not {tuple(groups)}")

    def peaks_kw(size: int) -> list[float]:
        if size == 1:
            return list(demand_kw.max(axis=0))
        picks = (rng.choice(homes, size, replace=False) for _ in range(1 if size == homes else draws))
        return [float(demand_kw[:, pick].sum(axis=1).max()) for pick in picks]

    return np.array([np.mean(peaks_kw(size)) / size for size in groups])


def _read_time(column: pd.Series, where: str, faults: list[Fault]) -> tuple[datetime | None, int]:
    times = local_times(column, where, faults)
    if len(times) < 2:
        faults.append(Fault(where, "rows", f"wrong length: {len(times)} rows", "give at least two rows"))
    if times.isna().any() or len(times) < 2:
        return None, 1
    spacing_min = np.diff(times.to_numpy().astype("datetime64[s]").astype(np.int64)) / 60.0
    step_min = max(round(spacing_min[0]), 1)
    uneven = np.append(False, np.abs(spacing_min - step_min) > 1e-9)
    problem = f"does not follow the row before by {step_min} min: {{}}"
    remedy = "space rows evenly by whole minutes; local clock without daylight-saving jumps"
    faults += find_faults(uneven, column, where, TIME_COLUMN, problem, remedy)
    return times.iloc[0].to_pydatetime(), step_min


@lru_cache(maxsize=8)
def _shipped(name: str) -> Profiles:
    table = pd.read_parquet(DATA / f"{name}.parquet")
    demand_kw = table.to_numpy(np.float64) / 1000.0
    demand_kw.setflags(write=False)
    return Profiles(demand_kw, 1, tuple(table.columns), None, name)
