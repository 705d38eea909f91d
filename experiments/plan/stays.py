"""Arrivals and departures of a session file on one clock, and the rows of one day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.errors import Fault, InputError
from cosim.experiments.plan.columns import Layout
from cosim.experiments.plan.options import DateOrder
from cosim.experiments.plan.rows import Finding
from cosim.experiments.plan.table import Table
from cosim.experiments.plan.times import (
    Moments,
    Written,
    find_zone,
    joined,
    midnight,
    orders_of,
    read_written,
    to_utc,
)

LONGEST_STAY_DAYS = 14.0


@dataclass(eq=False)
class Stays:
    """Stays of all rows.

    Attributes
    ----------
    arrival_s, departure_s : ndarray, shape (row,)
        From 1970, UTC or a clock without a zone; from the first step where times are step indices. nan where there is
        none [s].
    zone : ZoneInfo or None
        Of the station's clock.
    has_dates : bool
        Whether times are dates; step indices otherwise.
    findings : list of Finding
        What is wrong with them.
    notes : list of str
        What the user should know of the whole.
    """

    arrival_s: Float
    departure_s: Float
    zone: ZoneInfo | None
    has_dates: bool
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def day_s(self, moment_s: float, days: int = 0) -> float:
        """Midnight of the day in which a moment lies, or so many days later [s]."""
        return midnight(pd.Timestamp(round(1e6 * moment_s), unit="us"), self.zone, days).timestamp()

    def begin(self, begin_s: float) -> pd.Timestamp:
        """Return a moment on the station's clock."""
        stamp = pd.Timestamp(round(1e6 * begin_s), unit="us")
        return stamp if self.zone is None else stamp.tz_localize("UTC").tz_convert(self.zone)

    def of_day(self, day: str | None, where: str, column: str) -> Bool:
        """Rows that arrive on a day, and those of which nobody can tell; all where no day is asked."""
        if day is None:
            return np.ones(len(self.arrival_s), bool)
        if not self.has_dates:
            raise InputError(Fault(where, column, "holds step indices, of which --day knows no date", "leave it out"))
        try:
            noon = pd.Timestamp(datetime.strptime(day, "%Y-%m-%d") + timedelta(hours=12))
        except ValueError:
            remedy = "give a date, such as 2025-03-18"
            raise InputError(Fault("cosim plan", "--day", f"is {day!r}", remedy)) from None
        utc = noon if self.zone is None else noon.tz_localize(self.zone).tz_convert(None)
        begin_s, end_s = (self.day_s(utc.timestamp(), days) for days in (0, 1))
        on_it = (self.arrival_s >= begin_s) & (self.arrival_s < end_s)
        if not on_it.any():
            raise InputError(Fault(where, column, f"nobody arrives on {day}", self.remedy()))
        before = int(((self.arrival_s < begin_s) & (self.departure_s > begin_s)).sum())
        note = f"{on_it.sum()} of {len(on_it)} rows arrive on {day}"
        there = f"; {before} of days before are still there at midnight, and are no part of this plan" if before else ""
        self.notes.append(note + there)
        return on_it | np.isnan(self.arrival_s)

    def remedy(self) -> str:
        """Tell which day could be planned: the one on which most arrive."""
        days = pd.Series(self.arrival_s[np.isfinite(self.arrival_s)])
        local = pd.to_datetime((1e6 * days).round(), unit="us", utc=True)
        busiest = (local if self.zone is None else local.dt.tz_convert(self.zone)).dt.date.mode()
        return f"plan one day, such as the busiest: --day {busiest[0]}" if len(busiest) else "give rows with times"


def read_stays(
    table: Table, layout: Layout, step_s: float, *, timezone: str | None, dates: DateOrder | None, stay_h: float | None
) -> Stays:
    """Read all arrivals and departures.

    Parameters
    ----------
    table, layout : Table, Layout
        The file, and its columns.
    step_s : float
        Of step indices [s].
    timezone : str or None
        Of the station; None: the file's or the profile's, if they say.
    dates : {"dmy", "mdy"} or None
        Order in 3/12/2025; None: the profile's, else as other dates show.
    stay_h : float or None
        Of rows that have no departure [h].

    Raises
    ------
    InputError
        Where days and months cannot be told apart, or a zone is unknown.
    """
    keys = ("arrival", "departure")
    cells = {
        key: joined([table.column(name) for name in layout.columns[key]])
        if key in layout.columns
        else [""] * len(table)
        for key in keys
    }
    texts = [cell for key in keys for cell in cells[key] if isinstance(cell, str) and not cell[:4].isdigit()]
    order = orders_of(texts, dates or layout.profile.dates)
    if None in order.values():
        remedy = "say --dates dmy or --dates mdy, or write dates as 2025-12-31"
        raise InputError(Fault(table.where, layout.name("arrival"), "day and month cannot be told apart", remedy))
    written = [read_written(cells[key], order) for key in keys]
    is_date, is_index = (np.stack(part) for part in (
        [~np.isnat(one.local) for one in written], [np.isfinite(one.number) for one in written]
    ))  # fmt: skip
    has_dates = bool(is_date.sum() >= is_index.sum())
    stays = Stays(written[0].number * step_s, written[1].number * step_s, zone=None, has_dates=has_dates)
    for key, one, odd in zip(keys, written, is_index if has_dates else is_date, strict=True):
        problem = "is a step index among dates: {!r}" if has_dates else "is a date among step indices: {!r}"
        remedy = "write all arrivals and departures as dates, or all as step indices"
        stays.findings.append(Finding(odd, one.text, layout.name(key), problem, remedy))
    if order.get(".") == "mdy" and (dates or layout.profile.dates) is None:
        stays.notes.append("dates with points are read month first, as other dates of the file show → --dates dmy")
    if has_dates:
        _on_one_clock(stays, table, layout, written, timezone)
    _departures(stays, table, layout, written[1], stay_h)
    remedy = "write dates such as 2026-05-15 18:30:00, or step indices"
    for key, one, values in zip(keys, written, (stays.arrival_s, stays.departure_s), strict=True):
        stays.findings += [
            Finding(one.empty & np.isnan(values), one.text, layout.name(key), "is empty", remedy),
            Finding(np.isnan(values), one.text, layout.name(key), "is neither date nor step index: {!r}", remedy),
        ]
    stay_s, name = stays.departure_s - stays.arrival_s, layout.name("departure")
    stays.findings.append(
        Finding(stay_s <= 0, written[1].text, name, "{} is not after the arrival", "let it stay for some time")
    )
    days = stay_s / 86_400.0
    stays.findings.append(
        Finding(days > LONGEST_STAY_DAYS, days, name, "is {:.1f} days after the arrival", "mend the date")
    )
    return stays


def _on_one_clock(stays: Stays, table: Table, layout: Layout, written: Sequence[Written], timezone: str | None) -> None:
    """Turn clock times into seconds from 1970, with the zones that file, profile and user name."""
    if layout.profile.offsets == "ignored":
        written = [one._replace(offset_minutes=np.full_like(one.offset_minutes, np.nan)) for one in written]
    offset = np.stack([np.isfinite(one.offset_minutes) for one in written])
    bare = np.stack([~np.isnat(one.local) for one in written]) & ~offset
    stays.zone = _station_zone(table, layout, timezone)
    of_rows = [_zones_of_rows(table, layout, f"{key}_zone", stays.zone) for key in ("arrival", "departure")]
    if stays.zone is None and offset.any() and all(zone is None for zones in of_rows for zone in set(zones)):
        odd, problem = (offset, "has an offset from UTC: {!r}") if bare.sum() > offset.sum() else (bare, "")
        stays.zone = None if odd is offset else ZoneInfo("UTC")
        for key, one, bad in zip(("arrival", "departure"), written, odd, strict=True):
            stays.findings.append(
                Finding(bad, one.text, layout.name(key), problem or "has no offset from UTC, as others have: {!r}",
                        "say of which zone the others are: --timezone Europe/Berlin")
            )  # fmt: skip
    # where an hour comes twice, the shorter stay: it can be kept in both cases
    read = [to_utc(one, zones, first=first) for one, zones, first in zip(written, of_rows, (False, True), strict=True)]
    swapped = (read[1].utc <= read[0].utc) & (read[0].twice | read[1].twice)
    if swapped.any():
        other = [
            to_utc(one, zones, first=first) for one, zones, first in zip(written, of_rows, (True, False), strict=True)
        ]
        read = [one._replace(utc=np.where(swapped, two.utc, one.utc)) for one, two in zip(read, other, strict=True)]
    for key, one, instants, taken in zip(("arrival", "departure"), written, read, ("later", "earlier"), strict=True):
        name, remedy = layout.name(key), "write its offset from UTC (+01:00)"
        never = "does not exist, the clock goes forward over it: {}"
        stays.findings.append(
            Finding(instants.skipped, one.text, name, never, remedy, "taken as when the clock has changed")
        )
        action = f"taken as the {taken} of both"
        stays.findings.append(
            Finding(
                instants.twice & ~swapped,
                one.text,
                name,
                "comes twice, the clock goes back over it: {}",
                remedy,
                action,
            )
        )
    stays.arrival_s, stays.departure_s = (_seconds(one.utc) for one in read)


def _seconds(moments: Moments) -> Float:
    since = (moments - np.datetime64(0, "us")).astype("timedelta64[us]").astype(np.float64) / 1e6
    found: Float = np.where(np.isnat(moments), np.nan, since)
    return found


def _station_zone(table: Table, layout: Layout, timezone: str | None) -> ZoneInfo | None:
    if timezone is not None:
        return find_zone(timezone, "--timezone")
    names = {str(name) for name in _cells(table, layout, "timezone") if name}
    if len(names) == 1:
        return find_zone(names.pop(), layout.name("timezone"))
    if len(names) > 1:
        problem = f"names {len(names)} zones, such as {sorted(names)[0]} and {sorted(names)[1]}"
        remedy = "say by whose clock days begin: --timezone Europe/Berlin"
        raise InputError(Fault(table.where, layout.name("timezone"), problem, remedy))
    return None if layout.profile.timezone is None else find_zone(layout.profile.timezone, "--timezone")


def _zones_of_rows(table: Table, layout: Layout, quantity: str, station: ZoneInfo | None) -> list[ZoneInfo | None]:
    """Clock of times without an offset, row by row."""
    usual = find_zone(layout.profile.zone, "zone") if layout.profile.zone is not None else station
    cells = [str(cell or "").strip() for cell in _cells(table, layout, quantity)]
    known = {name: find_zone(name, layout.name(quantity)) for name in set(cells) if name}
    return [known.get(cell, usual) for cell in cells]


def _cells(table: Table, layout: Layout, quantity: str) -> list[Any]:
    names = layout.columns.get(quantity)
    return [""] * len(table) if names is None else table.column(names[0])


def _departures(stays: Stays, table: Table, layout: Layout, written: Written, stay_h: float | None) -> None:
    """Fill departures that are not there by the length of the stay, or by the one that is usual."""
    given_h = _hours(_cells(table, layout, "stay_h"))
    missing = written.empty & np.isfinite(stays.arrival_s)
    told = missing & np.isfinite(given_h)
    stays.departure_s = np.where(told, stays.arrival_s + 3600.0 * given_h, stays.departure_s)
    usual = missing & ~told
    if stay_h is not None:
        action, remedy = f"taken as {stay_h:g} h after the arrival", "write when it leaves"
        stays.findings.append(Finding(usual, written.text, layout.name("departure"), "is empty", remedy, action))
        stays.departure_s = np.where(usual, stays.arrival_s + 3600.0 * stay_h, stays.departure_s)


def _hours(cells: Sequence[Any]) -> Float:
    """Lengths of stays: hours, or hours, minutes and seconds with colons; nan otherwise [h]."""
    text = pd.Series([str(cell).strip() for cell in cells], dtype=str)
    parts = text.str.extract(r"^(\d+):(\d\d)(?::(\d\d))?$").astype(float)
    clock = parts[0] + parts[1] / 60.0 + parts[2].fillna(0.0) / 3600.0
    plain = pd.to_numeric(text.str.replace(",", "."), errors="coerce")
    found: Float = clock.fillna(plain).to_numpy(np.float64)
    return found
