"""Times as session files write them: ISO, RFC 1123, 31.12.2025, 12/31/2025 2:05 PM, with or without an offset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, available_timezones

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.errors import Fault, InputError, meant
from cosim.experiments.plan.columns import zones
from cosim.experiments.plan.options import DateOrder

Moments = NDArray[np.datetime64]

_CLOCK = (
    r"(?:[T ,]+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?P<part>[.,]\d+)?)?\s*(?P<half>[AaPp][Mm])?)?"
    r"\s*(?P<offset>Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)?$"
)
_YEAR_FIRST = r"^(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})" + _CLOCK
_YEAR_LAST = r"^(?P<one>\d{1,2})(?P<mark>[-/.])(?P<two>\d{1,2})[-/.](?P<year>\d{4}|\d{2})" + _CLOCK
_RFC_1123 = r"^[A-Za-z]{3}, \d{1,2} [A-Za-z]{3} \d{4} \d\d:\d\d(?::\d\d)? \S+$"
MOST_OFFSET_MINUTES = 14 * 60  # Kiribati
_NUMBER = r"^[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?$"


class Written(NamedTuple):
    """Cells of a column, read; shape (row,) each.

    Attributes
    ----------
    local : ndarray of datetime64[us]
        The clock as written, NaT where there is none.
    offset_minutes : ndarray
        Ahead of UTC, nan where nothing is written.
    number : ndarray
        Numbers that are no dates: step indices; nan elsewhere.
    text : list of str
        As it stands there, for messages.
    """

    local: Moments
    offset_minutes: Float
    number: Float
    text: list[str]

    @property
    def empty(self) -> Bool:
        """Cells with nothing in them."""
        return np.array([not text for text in self.text], bool)


def find_zone(name: str, key: str) -> ZoneInfo:
    """Return the zone of an IANA name or a known abbreviation; InputError with this key otherwise."""
    name = zones().get(name, name)
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        remedy = meant(name, available_timezones(), "give an IANA name, such as Europe/Berlin")
        raise InputError(Fault("cosim plan", key, f"unknown time zone {name!r}", remedy)) from None


def joined(columns: Sequence[Sequence[Any]]) -> list[Any]:
    """Cells of one column, or of several as one: a date beside its time of day."""
    if len(columns) == 1:
        return list(columns[0])
    return [_together(cells) for cells in zip(*columns, strict=True)]


def _together(cells: Sequence[Any]) -> Any:
    first, *others = ["" if cell is None else cell for cell in cells]
    if isinstance(first, date) and len(others) == 1 and others[0] != "":
        day = first.date() if isinstance(first, datetime) else first
        return datetime.combine(day, others[0]) if isinstance(others[0], time) else f"{day} {others[0]}"
    return "" if "" in (first, *others) else " ".join(str(cell) for cell in (first, *others))  # half a time is none


def read_written(cells: Sequence[Any], order: Mapping[str, DateOrder | None]) -> Written:
    """Read cells, by what comes first after each mark; what cannot be read is NaT and nan in all three."""
    text = ["" if cell is None or cell is pd.NaT else str(cell).strip() for cell in cells]
    codes, unique = pd.factorize(np.array(text, object))
    local, offset = _read_text(pd.Series(unique, dtype=str), order)
    index = pd.to_numeric(pd.Series(unique, dtype=str), errors="coerce").to_numpy(np.float64)
    is_number = pd.Series(unique, dtype=str).str.match(_NUMBER).to_numpy(bool)
    return Written(local[codes], offset[codes], np.where(is_number, index, np.nan)[codes], text)


def orders_of(texts: Sequence[str], given: DateOrder | None) -> dict[str, DateOrder | None]:
    """What comes first in 3/12/2025, for each mark between the numbers; None where it matters and nobody can tell.

    Dates that can be only one of both show it: 3/14/2025 those with the same mark, else all. Spreadsheets change the
    marks of some rows alone. Dates with points that nothing else is said of begin with the day.

    Parameters
    ----------
    texts : sequence of str
        Cells.
    given : {"dmy", "mdy"} or None
        For all, whatever they show.
    """
    parts = pd.Series(texts, dtype=str).str.extract(_YEAR_LAST)[["mark", "one", "two"]].dropna()
    one, two = parts["one"].astype(float), parts["two"].astype(float)
    votes = (one > 12).astype(int) - (two > 12).astype(int)  # of the day's being first
    of_mark = votes.groupby(parts["mark"]).sum()
    found: dict[str, DateOrder | None] = {}
    for mark in of_mark.index:
        own = int(of_mark[mark]) or int(votes.sum())
        unknown: DateOrder | None = None if mark != "." and (one != two)[parts["mark"] == mark].any() else "dmy"
        found[mark] = given or ("dmy" if own > 0 else "mdy" if own < 0 else unknown)
    return found


def _read_text(text: pd.Series, order: Mapping[str, DateOrder | None]) -> tuple[Moments, Float]:
    """Clock and offset of each text."""
    first, last = text.str.extract(_YEAR_FIRST), text.str.extract(_YEAR_LAST)
    month_first = last["mark"].map(order) == "mdy"
    year = last["year"].where(last["year"].str.len() != 2, "20" + last["year"])
    parts = {
        "year": first["year"].fillna(year),
        "month": first["month"].fillna(last["one"].where(month_first, last["two"])),
        "day": first["day"].fillna(last["two"].where(month_first, last["one"])),
        **{name: first[name].fillna(last[name]) for name in ("hour", "minute", "second", "part", "half", "offset")},
    }
    number = {name: pd.to_numeric(parts[name], errors="coerce") for name in ("year", "month", "day")}
    clock = {name: pd.to_numeric(parts[name].fillna("0"), errors="coerce") for name in ("hour", "minute", "second")}
    half, hour = parts["half"].str.lower(), clock["hour"]
    hour = hour.where(half.isna(), hour % 12 + 12.0 * (half == "pm"))
    seconds = 3600.0 * hour + 60.0 * clock["minute"] + clock["second"]
    seconds += pd.to_numeric(parts["part"].str.replace(",", "."), errors="coerce").fillna(0.0)
    right = (seconds <= 86_400.0) & (clock["minute"] < 60) & (clock["second"] < 60) & (number["year"] >= 1900)
    days = pd.to_datetime(pd.DataFrame(number).where(right), errors="coerce").astype("datetime64[us]")
    local = (days + pd.to_timedelta((1e6 * seconds).round(), unit="us")).to_numpy("datetime64[us]").copy()
    offset = _minutes(parts["offset"]).copy()
    local[np.abs(offset) > MOST_OFFSET_MINUTES] = np.datetime64("NaT")
    for row in np.flatnonzero(text.str.match(_RFC_1123).to_numpy(bool)):
        try:
            moment = parsedate_to_datetime(text.iloc[row])
        except ValueError:
            continue
        local[row] = np.datetime64(moment.replace(tzinfo=None), "us")
        ahead = moment.utcoffset() or timedelta(0)
        offset[row] = ahead / timedelta(minutes=1)
    return local, offset


def _minutes(offset: pd.Series) -> Float:
    parts = offset.str.extract(r"^([+-])(\d\d):?(\d\d)?$")
    minutes = 60.0 * pd.to_numeric(parts[1]) + pd.to_numeric(parts[2].fillna("0"))
    minutes = minutes.where(parts[0] != "-", -minutes)
    found: Float = minutes.mask(offset.str.fullmatch(r"Z|UTC|GMT", case=False).fillna(False), 0.0).to_numpy(np.float64)
    return found


class Instants(NamedTuple):
    """Moments of UTC, or of a clock of which no zone is known, with the rows whose hour the clock skips or repeats.

    Attributes
    ----------
    utc : ndarray of datetime64[us]
        NaT where there is none.
    skipped, twice : ndarray of bool
        Whether the clock went forward over it (it is taken as the hour after), or back over it.
    """

    utc: Moments
    skipped: Bool
    twice: Bool


def to_utc(written: Written, zone: Sequence[ZoneInfo | None], *, first: bool) -> Instants:
    """Clock times as moments of UTC.

    Parameters
    ----------
    written : Written
        Of a column.
    zone : sequence of ZoneInfo or None, length (row,)
        Clock of those that have no offset of their own; None: taken as it is.
    first : bool
        Which of two is meant where the clock goes back.
    """
    utc = written.local - np.where(np.isfinite(written.offset_minutes), 60e6 * written.offset_minutes, 0.0).astype(
        "timedelta64[us]"
    )
    bare = ~np.isfinite(written.offset_minutes) & ~np.isnat(written.local)
    skipped, twice = np.zeros((2, len(utc)), bool)
    for one in {zone[row] for row in np.flatnonzero(bare).tolist()} - {None}:
        rows = np.flatnonzero(bare & np.array([other is one for other in zone]))
        clock = pd.DatetimeIndex(written.local[rows])
        there = clock.tz_localize(one, ambiguous=np.full(len(rows), first), nonexistent="shift_forward")
        utc[rows] = there.tz_convert(None).to_numpy("datetime64[us]")
        skipped[rows] = clock.tz_localize(one, ambiguous=np.full(len(rows), True), nonexistent="NaT").isna()
        twice[rows] = clock.tz_localize(one, ambiguous="NaT", nonexistent="shift_forward").isna()
    return Instants(utc, skipped, twice)


def midnight(stamp: pd.Timestamp, zone: ZoneInfo | None, days: int = 0) -> pd.Timestamp:
    """Begin of the day, by the zone's clock, in which a moment of UTC lies, or so many days later; as UTC."""
    local = stamp if zone is None else stamp.tz_localize("UTC").tz_convert(zone).tz_localize(None)
    day = local.normalize() + pd.Timedelta(days=days)
    return day if zone is None else day.tz_localize(zone, ambiguous=True, nonexistent="shift_forward").tz_convert(None)
