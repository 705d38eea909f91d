"""Demand of a station as the planner wants it, from a session file as its owner has it.

Rows at fault are named, changed or left out, and the others planned; see `Rows`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

import numpy as np
import pandas as pd

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.controllers.planner.requests import (
    Requests,
    make_requests,
    request_rules,
)
from cosim.errors import Fault, InputError, refuse
from cosim.experiments.plan.amounts import read_amounts, words
from cosim.experiments.plan.columns import Layout, lay_out, mapping_of
from cosim.experiments.plan.options import ReadOptions
from cosim.experiments.plan.rows import Finding, Rows
from cosim.experiments.plan.stays import Stays, read_stays
from cosim.experiments.plan.table import Table, read_table

DAY_S = 86_400
LONGEST_DAYS = 31


@dataclass(frozen=True, eq=False)
class Demand:
    """Requests with their horizon, and what became of the file's rows.

    Attributes
    ----------
    requests : Requests
        In steps, not yet rounded; an unknown battery has room without end.
    steps : int
        Of the horizon: whole days.
    start : Timestamp or None
        Midnight at which it begins, with its zone where that is known; None where times are step indices.
    line : tuple of int
        Row of each request in the file.
    plug, connector : tuple of str
        Where each charges, and the connector's own number; the request's name and ``"1"`` where nothing is said.
    phases : ndarray, shape (vehicle,)
        Number of phases, nan where nothing is said.
    rows : int
        Of the file, or of the day that was asked.
    changed : int
        Of the requests: those of which something was changed.
    findings : DataFrame
        Every fault of every row, and what became of it, see `Rows.report`.
    warnings : tuple of str
        Faults of rows, and what was assumed of the file.
    profile : str
        By which the file was understood.
    """

    requests: Requests
    steps: int
    start: pd.Timestamp | None
    line: tuple[int, ...] = ()
    plug: tuple[str, ...] = ()
    connector: tuple[str, ...] = ()
    phases: Float = field(default_factory=lambda: np.empty(0))
    rows: int = 0
    changed: int = 0
    findings: pd.DataFrame = field(default_factory=pd.DataFrame)
    warnings: tuple[str, ...] = ()
    profile: str = ""

    @property
    def says_phase(self) -> bool:
        """Whether any row says on which phase it charges, so that phases are not loaded evenly."""
        return bool((np.ptp(self.requests.phase_share, axis=1) > 0).any())

    @property
    def counts(self) -> dict[str, int]:
        """Rows of the file, or of the day: planned, changed among these, left out."""
        planned = len(self.requests)
        return {"rows": self.rows, "planned": planned, "changed": self.changed, "left_out": self.rows - planned}


def read_demand(source: Path | Table, step_s: float, options: ReadOptions | None = None) -> Demand:
    """Read the requests of a session file.

    Parameters
    ----------
    source : Path or Table
        File (CSV, XLSX, JSON, Parquet), or a table that was read.
    step_s : float
        Length of a step [s].
    options : ReadOptions, optional
        How it is understood.

    Raises
    ------
    InputError
        With all faults, each with file, row, column and remedy: of the file as a whole, of its rows where options are
        strict or no row is without.
    """
    options = options or ReadOptions()
    own = mapping_of(options.columns or "")
    table = read_table(source) if isinstance(source, Path) else source
    try:
        layout = lay_out(table, options.profile, own)
    except InputError as error:
        raise InputError([*error.faults, *table.doubts]) from None
    stays = read_stays(
        table, layout, step_s, timezone=options.timezone, dates=options.dates, stay_h=options.stay_h
    )  # fmt: skip
    rows = Rows(table, stays.of_day(options.day, table.where, layout.name("arrival")))
    if table.uneven is not None:
        cells = [f"more or fewer cells than the header, which has {len(table.header)}"] * len(table)
        rows.note(Finding(table.uneven, cells, "", "has {}", "give every row one cell per column"))
    for finding in stays.findings:
        rows.note(finding)
    rows.notes += [*map(str, (*table.doubts, *layout.unknown)), *stays.notes]
    names = _names(rows, layout, stays)
    plug, connector = (words(table, layout, quantity) for quantity in ("plug", "connector"))
    _one_after_the_other(rows, layout, stays, plug)
    columns = read_amounts(rows, layout, options, stays)
    requests, start_s, steps = _requests(rows, layout, stays, columns, names, step_s)
    if stays.has_dates and stays.begin(start_s).utcoffset() != stays.begin(start_s + steps * step_s).utcoffset():
        rows.notes.append("the clock changes within these days: plan.csv follows it, figures keep that of the start")
    found = rows.faults(with_action=not options.strict)
    if options.strict:
        refuse([*layout.unknown, *found])
    kept = np.flatnonzero(rows.kept)
    if not len(kept):
        raise InputError(found)
    return Demand(
        requests, steps, stays.begin(start_s) if stays.has_dates else None,
        line=tuple(table.line[row] for row in kept),
        plug=tuple(plug[row] or names[row] for row in kept),
        connector=tuple(connector[row] or "1" for row in kept),
        phases=columns["phases"][kept],
        rows=int(rows.of_interest.sum()), changed=int((rows.changed & rows.kept).sum()), findings=rows.report(),
        warnings=(*map(str, found), *rows.notes), profile=layout.profile.name,
    )  # fmt: skip


def _names(rows: Rows, layout: Layout, stays: Stays) -> list[str]:
    """Names of sessions, all different: of a vehicle that comes several times, with the number of its visit."""
    vehicle = words(rows.table, layout, "vehicle")
    if "vehicle" in layout.columns:
        unnamed, remedy = np.array([not name for name in vehicle]), "name the vehicle"
        rows.note(Finding(unnamed, vehicle, layout.name("vehicle"), "is empty", remedy, "named by its row"))
        remedy = "give every vehicle a name of its own, or mend the times"
        late = _until(rows, stays, vehicle) > stays.arrival_s
        rows.note(Finding(late, vehicle, layout.name("vehicle"), "{!r} is still there from a row before", remedy))
    vehicle = [name or f"row {line}" for name, line in zip(vehicle, rows.table.line, strict=True)]
    visit = pd.Series(vehicle).where(pd.Series(rows.kept)).groupby(pd.Series(vehicle)).cumcount() + 1
    often = pd.Series(vehicle)[rows.kept].duplicated(keep=False).reindex(range(len(vehicle)), fill_value=False)
    return [f"{name} ({number})" if many else name for name, number, many in zip(vehicle, visit, often, strict=True)]


def _one_after_the_other(rows: Rows, layout: Layout, stays: Stays, plug: list[str]) -> None:
    """Of sessions that overlap at one plug, the later begins when the earlier ends."""
    until_s, name = _until(rows, stays, plug), layout.name("plug")
    late = until_s > stays.arrival_s
    within = until_s >= stays.departure_s
    remedy = "mend the times: a plug charges one vehicle at a time"
    problem = "at {!r} another vehicle is still plugged in"
    rows.note(Finding(late & within, plug, name, problem, remedy))
    begins = rows.note(Finding(late & ~within, plug, name, problem, remedy, "its stay begins when that one leaves"))
    stays.arrival_s = np.where(begins, until_s, stays.arrival_s)


def _until(rows: Rows, stays: Stays, groups: list[str]) -> Float:
    """Until when an earlier row of the same group is there, -inf where none is, or the row belongs to none [s]."""
    frame = pd.DataFrame({"group": groups, "begin": stays.arrival_s, "end": stays.departure_s})
    frame = frame[rows.kept & np.array([bool(group) for group in groups], bool)].sort_values("begin", kind="stable")
    before = frame.groupby("group")["end"].cummax().groupby(frame["group"]).shift()
    found: Float = before.reindex(range(len(groups))).fillna(-np.inf).to_numpy(np.float64)
    return found


def _requests(
    rows: Rows, layout: Layout, stays: Stays, columns: dict[str, Float], names: list[str], step_s: float
) -> tuple[Requests, float, int]:
    """Requests of the rows that are kept, the begin of their horizon [s], and its steps; faulty rows are left out."""
    start_s, end_s = _horizon(rows, layout, stays)
    steps = ceil((end_s - start_s) / step_s - 1e-9)
    times = {f"{key}_step": (getattr(stays, f"{key}_s") - start_s) / step_s for key in ("arrival", "departure")}
    numbers = {**{name: values for name, values in columns.items() if name != "phases"}, **times}

    def of(kept: Bool) -> Requests:
        chosen = [name for name, is_kept in zip(names, kept, strict=True) if is_kept]
        return make_requests(chosen, **{name: values[kept] for name, values in numbers.items()})

    column = {"power_max_kw": "power_kw", "energy_need_kwh": "energy_kwh", "arrival_step": "arrival"}
    column |= {"departure_step": "departure", "soe_arrival_kwh": "soe_arrival_kwh"}
    kept = rows.kept.copy()
    at = np.flatnonzero(kept)
    for bad, values, key, problem, remedy in request_rules(of(kept), steps):
        whole, cells = np.zeros(len(kept), bool), np.empty(len(kept), object)
        whole[at] = bad
        cells[at] = list(values)
        rows.note(Finding(whole, cells, layout.name(column.get(key, key)), problem, remedy))
    return of(rows.kept), start_s, steps


def _horizon(rows: Rows, layout: Layout, stays: Stays) -> tuple[float, float]:
    """Whole days from the first arrival that is kept to the last departure [s]."""
    arrival_s, departure_s = stays.arrival_s[rows.kept], stays.departure_s[rows.kept]
    if not len(arrival_s):
        return 0.0, float(DAY_S)
    if not stays.has_dates:
        first_s, end_s = 0.0, max(1, ceil(float(departure_s.max()) / DAY_S - 1e-9)) * float(DAY_S)
    else:
        first_s, last_s = stays.day_s(float(arrival_s.min())), float(departure_s.max())
        end_s = stays.day_s(last_s - 1e-6, 1)
    days = (end_s - first_s) / DAY_S
    # a long stay may go beyond; many days of arrivals may not
    if (arrival_s.max() - first_s) / DAY_S > LONGEST_DAYS:
        problem = f"makes the horizon longer than {LONGEST_DAYS} days: {days:.0f}"
        remedy = "write step indices from the start of the horizon, or format the cells as dates"  # 45000: 2023
        remedy = stays.remedy() if stays.has_dates else remedy
        raise InputError(Fault(rows.table.where, layout.name("arrival"), problem, remedy))
    return first_s, end_s


def step_times(start: pd.Timestamp | None, steps: int, step_s: float) -> pd.DatetimeIndex | None:
    """Beginning of every step, by the station's clock; None where there are no dates."""
    return None if start is None else pd.date_range(start, periods=steps, freq=pd.Timedelta(seconds=step_s))
