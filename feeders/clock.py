"""The clock of a day: local time that does not jump, where its zone stands against UTC, and times of files on it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.errors import Fault
from cosim.feeders.find import YEARS
from cosim.feeders.tables import find_faults

_OFFSET = r"[Tt ].*(?:[Zz]|[+-]\d\d(?::?\d\d)?)$"


class Clock(NamedTuple):
    """Local time as it is at the start; a change to or from summer time within the horizon does not move it.

    Attributes
    ----------
    start : datetime
        Local clock of the first minute.
    zone : str, optional
        IANA name, such as ``Europe/London``. None: nothing is known of UTC, and times of files are the clock's own.
    first_day : int
        Days that came before the start, where it is a part of a longer run: what has no date goes on from there.
    """

    start: datetime
    zone: str | None = None
    first_day: int = 0

    @property
    def ahead_of_utc(self) -> timedelta | None:
        """Local clock minus UTC; None where there is no zone."""
        return None if self.zone is None else self.start.replace(tzinfo=ZoneInfo(self.zone)).utcoffset()

    def warnings(self, minutes: float) -> list[str]:
        """Say where the zone's own clock changes within the horizon, which this one does not follow."""
        if self.zone is None or self.ahead_of_utc is None:
            return []
        zone, begin = ZoneInfo(self.zone), (self.start - self.ahead_of_utc).replace(tzinfo=ZoneInfo("UTC"))
        for hour in range(int(minutes // 60) + 1):
            ahead = (begin + timedelta(hours=hour)).astimezone(zone).utcoffset()
            if ahead != self.ahead_of_utc:
                when = (self.start + timedelta(hours=hour)).replace(minute=0)
                return [
                    f"the clock of {self.zone} changes at about {when:%d %B %Y %H:%M}: the run keeps the clock of its "
                    "start, so households, prices and drawn cars are an hour off from there on; dated files are not"
                ]
        return []

    def read(self, column: pd.Series, where: str, faults: list[Fault], *, in_order: bool = False) -> pd.Series:
        """Times of a file on this clock, NaT where there is none; what is no time is added to the faults.

        With a zone, a time with an offset from UTC is moved to this clock, and one without is the zone's own clock,
        with its jumps. Without a zone, an offset is a fault.

        Parameters
        ----------
        column : pandas.Series
            ISO times as text, or times.
        where : str
            File, for messages.
        faults : list of Fault
            Takes what is found.
        in_order : bool
            Whether rows follow one another, so that the second 01:30 of a day in autumn is known by its place. Else a
            time that comes twice is a fault.
        """
        key = str(column.name)
        written = column.astype(str).str.strip()
        offset = written.str.contains(_OFFSET).to_numpy(bool)
        # a bare number is no date, though 2026 would be read as a year
        number = written.str.fullmatch(r"[\d.]+").to_numpy(bool)
        local = pd.to_datetime(written.mask(offset | number), errors="coerce", format="ISO8601").astype(
            "datetime64[us]"
        )
        none = local.isna().to_numpy()
        local = _of_our_age(local, written, where, faults)
        remedy = "write ISO local times such as 2026-05-15T18:30 (a spreadsheet's day number is none)"
        faults += find_faults(none & ~offset, written, where, key, "not a time: {!r}", remedy)
        if self.zone is None or self.ahead_of_utc is None:
            remedy = 'write local times such as 2026-05-15T18:30, or give the scenario a zone = "Europe/London"'
            faults += find_faults(offset, written, where, key, "has an offset: {}", remedy)
            return local
        moved = pd.to_datetime(written.where(offset), errors="coerce", format="ISO8601", utc=True)
        moved = moved.dt.tz_localize(None).astype("datetime64[us]")
        faults += find_faults(moved.isna().to_numpy() & offset, written, where, key, "not a time: {!r}", remedy)
        moved = _of_our_age(moved, written, where, faults)
        utc = _utc_of(self.zone, local, written, where, faults, in_order).fillna(moved)
        return utc + self.ahead_of_utc


def _of_our_age(times: pd.Series, written: pd.Series, where: str, faults: list[Fault]) -> pd.Series:
    """Times of the years that a scenario may begin in; others are mistyped, and no calendar reckons with them."""
    bad = (times.dt.year < YEARS[0]) | (times.dt.year > YEARS[1])
    remedy = f"write a time of the years {YEARS[0]} to {YEARS[1]}"
    faults += find_faults(bad.to_numpy(bool), written, where, str(written.name), "out of range: {}", remedy)
    return times.mask(bad)


def _utc_of(
    zone: str, local: pd.Series, written: pd.Series, where: str, faults: list[Fault], in_order: bool
) -> pd.Series:
    """UTC of times by the zone's own clock."""
    missing = local.isna().to_numpy()
    exists = local.dt.tz_localize(zone, ambiguous=np.ones(len(local), bool), nonexistent="NaT")
    never = exists.isna().to_numpy() & ~missing
    remedy = "mend the time; one of another clock takes its offset from UTC (Z, +01:00)"
    problem = f"does not exist in {zone}, where the clock goes forward over it: {{}}"
    faults += find_faults(never, written, where, str(local.name), problem, remedy)
    once = local.dt.tz_localize(zone, ambiguous="NaT", nonexistent="NaT")
    twice = once.isna().to_numpy() & ~missing & ~never
    if twice.any() and not in_order:
        problem = f"comes twice in {zone}, where the clock goes back over it: {{}}"
        faults += find_faults(twice, written, where, str(local.name), problem, "write its offset from UTC (+01:00)")
    second = _second_time(local.to_numpy(), twice)
    utc: pd.Series = local.dt.tz_localize(zone, ambiguous=~second, nonexistent="NaT").dt.tz_convert(None)
    return utc


def _second_time(local: NDArray[np.datetime64], twice: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows of an hour that comes twice are of its second time: from where the clock has gone back."""
    second = np.zeros(local.size, bool)
    for row in np.flatnonzero(twice):
        second[row] = row > 0 and (local[row] <= local[row - 1] or (twice[row - 1] and second[row - 1]))
    return second
