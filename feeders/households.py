"""Household demand: shipped sets, own profiles, and how demand falls together (ADMD)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.contract.streams import each
from cosim.feeders.calendar_homes import draw_calendar
from cosim.feeders.clock import Clock
from cosim.feeders.find import CALENDAR, DATA, SEASONS, household_sets, in_season
from cosim.feeders.series import DAY_MIN as DAY_MIN
from cosim.feeders.series import Quantity, Series, read_series

Float = NDArray[np.float64]

DEMAND = Quantity(
    "demand", "kW", 0.0, 100.0,
    "give demand without generation; roofs are modelled apart",
    "give kW, not W: divide by 1000 (a household above 100 kW is refused)",
    usual=(0.05, 30.0),
)  # fmt: skip


def read_profiles(profiles: str | Path, clock: Clock, *, step_min: float | None = None) -> Series:
    """Read a shipped set by name, or own profiles in kW from a CSV or Parquet file, as `read_series` does.

    Parameters
    ----------
    profiles : str or Path
        Name of a shipped set, ``seasons`` for the set of the month that is nearest to the start, or path.
    clock : Clock
        Of the day.
    step_min : float
        Length of a row of a file [min]; 1 where neither this nor a column ``time`` says it.

    Raises
    ------
    InputError
        With every fault found.
    """
    profiles = in_season(profiles, clock.start)
    if str(profiles) in household_sets():
        return replace(_shipped(str(profiles)), first_day=clock.first_day)
    remedy = f"give a path, or one of {', '.join((SEASONS, *household_sets()))}"
    return read_series(profiles, "profiles", DEMAND, clock, step_min=step_min, remedy=remedy)


def draw_households(
    profiles: Series | str,
    count: int,
    start: datetime,
    minutes: int,
    rng: np.random.Generator,
    *,
    day: int = 0,
) -> Float:
    """Draw a household for every customer and return their demand, minute by minute.

    Households are drawn without replacement while the set lasts, then anew. The day begins at any time and runs through
    midnight into the next day of the same household, as `Series.over` says.

    Parameters
    ----------
    profiles : Series or str
        What `read_profiles` read, or the name of a shipped set; ``calendar`` for homes drawn anew, see
        `cosim.feeders.calendar_homes.draw_calendar`.
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
        Where there is no such set, or dated profiles do not cover the horizon.
    """
    if profiles == CALENDAR:
        return draw_calendar(count, start + timedelta(days=day), minutes, rng)
    found = profiles if isinstance(profiles, Series) else read_profiles(profiles, Clock(start))
    return np.take(found.over(start, minutes, day=day), draw_columns(len(found.names), count, rng), axis=1)


def draw_columns(available: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw a profile for every customer, without replacement while there are any, then anew; of own streams any."""

    def draw(one: np.random.Generator, who: NDArray[np.int64]) -> tuple[NDArray[np.int64]]:
        several = len(who)
        return (np.concatenate([one.permutation(available) for _ in range(-(-several // available))])[:several],)

    return each(rng, range(count), draw)[0]


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


@lru_cache(maxsize=8)
def _shipped(name: str) -> Series:
    table = pd.read_parquet(DATA / f"{name}.parquet")
    demand_kw = table.to_numpy(np.float64) / 1000.0
    demand_kw.setflags(write=False)
    return Series(demand_kw, 1, tuple(table.columns), None, name)
