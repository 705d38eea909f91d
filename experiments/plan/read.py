"""Demand of a station as the planner wants it, from a user's table; everything wrong with it is found at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.contract import Float
from cosim.controllers.planner.requests import EFFICIENCY, Requests, make_requests, request_faults, row_faults
from cosim.errors import Fault, InputError, refuse
from cosim.experiments.plan.table import Table, read_table

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "vehicle": ("vehicle", "vehicle_id"),
    "power_max_kw": ("powerNom", "power_max_kw", "power_kw", "charger_kw"),
    "energy_need_kwh": ("energyRequired", "energy_need_kwh", "energy_kwh"),
    "battery_kwh": ("energyMax", "battery_kwh"),
    "arrival_step": ("arrivalTime", "arrival", "arrival_step"),
    "departure_step": ("departureTime", "departure", "departure_step"),
    "soe_arrival_kwh": ("arrivalSOE", "soe_arrival_kwh", "soc_arrival_kwh"),
    "power_min_kw": ("powerMin", "power_min_kw"),
    "efficiency": ("efficiency",),
}
"""Quantity to the columns that may hold it: the name of seed 002 first, then names with units."""

OPTIONAL = ("soe_arrival_kwh", "power_min_kw", "efficiency")
IGNORED = ("parkingDuration", "feasible")
DAY_S = 86_400
LONGEST_DAYS = 7
_OFFSET = r"(?:Z|[+-]\d\d:?\d\d)$"
_ISO = r"^\d{4}-\d\d-\d\d"


@dataclass(frozen=True, eq=False)
class Demand:
    """Requests with their horizon.

    Attributes
    ----------
    requests : Requests
        In steps, not yet rounded.
    steps : int
        Of the horizon: whole days.
    start : datetime or None
        Midnight at which it begins; None where times are step indices.
    """

    requests: Requests
    steps: int
    start: datetime | None


def read_demand(
    source: Path | Table, step_s: float, *, power_min_kw: float = 0.0, efficiency: float = EFFICIENCY
) -> Demand:
    """Read the requests of a CSV file or workbook.

    Parameters
    ----------
    source : Path or Table
        File, or a table that was read, with columns as in ``COLUMNS``. Times are dates (ISO, local) or step
        indices, all alike.
    step_s : float
        Length of a step [s].
    power_min_kw, efficiency : float
        For all vehicles, where the table has no such column [kW], [share].

    Raises
    ------
    InputError
        With all faults, each with file, row and column.
    """
    table = read_table(source) if isinstance(source, Path) else source
    names, faults = _column_names(table)
    faults += table.faults
    columns: dict[str, Any] = {"power_min_kw": power_min_kw, "efficiency": efficiency}
    for key, name in names.items():
        if key not in ("vehicle", "arrival_step", "departure_step"):
            columns[key] = _numbers(table, name, faults)
    if any(key not in names for key in COLUMNS if key not in OPTIONAL):
        raise InputError(faults)
    vehicle = ["" if cell is None else _name(cell) for cell in table.column(names["vehicle"])]
    unnamed = np.array([not name for name in vehicle])
    faults += row_faults(unnamed, vehicle, table.place, names["vehicle"], "is empty", "name the vehicle")
    arrival, departure, start = _times(table, names, step_s, faults)
    steps, late = _horizon(departure, step_s)
    requests = make_requests(vehicle, arrival_step=arrival, departure_step=departure, **columns)
    if late.any():
        text = [f"makes the horizon longer than {LONGEST_DAYS} days"] * len(late)
        remedy = "mend the date, or plan in parts"
        if start is None:  # 45000 is a day of 2023 that lost its format
            remedy = "write step indices from the start of the horizon, or format the cells as dates"
        faults += row_faults(late, text, table.place, names["departure_step"], "{}", remedy)
    faults += [
        replace(fault, key=names.get({"departure": "departure_step"}.get(fault.key, fault.key), fault.key))
        for fault in request_faults(requests, steps, table.place)
    ]
    faults = list({(fault.where, fault.key): fault for fault in reversed(faults)}.values())[::-1]
    refuse(faults)
    return Demand(requests, steps, start)


def _column_names(table: Table) -> tuple[dict[str, str], list[Fault]]:
    """Quantity to the column that holds it, and faults where columns are unknown, missing or there twice."""
    known = {alias.lower(): key for key, aliases in COLUMNS.items() for alias in aliases}
    names: dict[str, str] = {}
    faults: list[Fault] = []
    for number, name in enumerate(table.header, start=1):
        key = known.get(name.lower())
        if key is not None and key in names:
            problem = f"means the same as column '{names[key]}'"
            faults.append(Fault(f"{table.where}, row 1", name, problem, "keep one of them"))
        elif key is not None:
            names[key] = name
        elif not name and not _is_no_data([row[number - 1] for row in table.rows]):
            remedy = "name it, or leave it out (merged cells have a name in the first only)"
            faults.append(Fault(f"{table.where}, row 1", f"column {number}", "has no name", remedy))
        elif name and name not in IGNORED:
            near = get_close_matches(name.lower(), known, n=1)
            mine = next((alias for alias in (COLUMNS[known[near[0]]] if near else ()) if alias.lower() == near[0]), "")
            remedy = f"did you mean '{mine}'?" if mine else "leave it out"
            faults.append(Fault(f"{table.where}, row 1", name, "unknown column", remedy))
    for key, aliases in COLUMNS.items():
        if key not in names and key not in OPTIONAL:
            remedy = f"add it, as {' or '.join(aliases)}"
            faults.append(Fault(f"{table.where}, row 1", aliases[0], "column is missing", remedy))
    return names, faults


def _is_no_data(cells: Sequence[Any]) -> bool:
    """Whether a column without a name is empty, or the index that pandas writes, as published tables have it."""
    filled = ["" if cell is None else str(cell) for cell in cells]
    return not any(filled) or filled == list(map(str, range(len(filled))))


def _name(cell: Any) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def _numbers(table: Table, name: str, faults: list[Fault]) -> Float:
    cells = table.column(name)
    plain = [cell if isinstance(cell, float | int) and not isinstance(cell, bool) else str(cell) for cell in cells]
    values = pd.to_numeric(pd.Series(plain, dtype=object), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    empty = np.array([cell is None or cell == "" for cell in cells])
    remedy = "write a number with a decimal point, without a unit or a separator of thousands"
    is_workbook = not table.where.lower().endswith(".csv")
    saved = " (a formula whose result was never saved is empty: open and save the workbook)" if is_workbook else ""
    faults += row_faults(empty, cells, table.place, name, "is empty", f"{remedy}{saved}")
    faults += row_faults(~np.isfinite(values) & ~empty, cells, table.place, name, "is not a number: {!r}", remedy)
    return values


def _times(
    table: Table, names: Mapping[str, str], step_s: float, faults: list[Fault]
) -> tuple[Float, Float, datetime | None]:
    """Arrival and departure in steps, nan where there is none, and the midnight that dates count from."""
    keys = ("arrival_step", "departure_step")
    cells = {key: pd.Series(table.column(names[key]), dtype=object) for key in keys}
    index, dates = zip(*(_either(cells[key], table, names[key], faults) for key in keys), strict=True)
    is_index, is_date = np.isfinite(index), np.array([date.notna() for date in dates])
    by_date = is_date.sum() >= is_index.sum()
    for key, odd in zip(keys, is_index if by_date else is_date, strict=True):
        problem = "is a step index among dates: {!r}" if by_date else "is a date among step indices: {!r}"
        remedy = "write all arrivals and departures as dates, or all as step indices"
        faults += row_faults(odd, cells[key].tolist(), table.place, names[key], problem, remedy)
    if not by_date or not is_date.any():
        return index[0], index[1], None
    # Arrivals first: one departure in a wrong year must not make every other row look late.
    first = next(date.min() for date in dates if date.notna().any()).normalize()
    arrival, departure = ((date - first).dt.total_seconds().to_numpy(np.float64) / step_s for date in dates)
    return arrival, departure, first.to_pydatetime()


def _either(cells: pd.Series, table: Table, name: str, faults: list[Fault]) -> tuple[Float, pd.Series]:
    """Cells as numbers and as dates, nan and NaT where they are not; what is neither is added to the faults."""
    is_date = cells.map(lambda cell: isinstance(cell, datetime)).to_numpy(bool)
    text = cells.where(~is_date, "").map(lambda cell: "" if cell is None else str(cell))
    index = pd.to_numeric(text, errors="coerce").to_numpy(np.float64)
    offset = text.str.contains(_ISO).to_numpy(bool) & text.str.contains(_OFFSET).to_numpy(bool)
    offset &= text.str.len().to_numpy() > len("2025-08-18")
    plain = text.where(text.str.contains(_ISO) & ~offset)
    parsed = pd.to_datetime(plain, errors="coerce", format="ISO8601").astype("datetime64[us]")
    parsed[is_date] = pd.to_datetime(cells[is_date]).astype("datetime64[us]")
    remedy = "write dates such as 2026-05-15 18:30:00 in local time, or step indices"
    faults += row_faults(offset, text.tolist(), table.place, name, "has an offset from UTC: {!r}", remedy)
    neither = ~np.isfinite(index) & parsed.isna().to_numpy() & ~offset
    faults += row_faults(neither, text.tolist(), table.place, name, "is neither date nor step index: {!r}", remedy)
    return index, parsed


def _horizon(departure: Float, step_s: float) -> tuple[int, NDArray[np.bool_]]:
    """Whole days up to the last departure, at most ``LONGEST_DAYS``; which stays end after that."""
    day = DAY_S / step_s
    late = departure > LONGEST_DAYS * day + 1e-9
    ends = np.where(np.isfinite(departure) & ~late, departure, 0.0)
    days = max(1, ceil(float(ends.max(initial=0.0)) / day - 1e-9))
    return (ceil(days * day) if not late.any() else ceil(LONGEST_DAYS * day)), late


def step_times(start: datetime | None, steps: int, step_s: float) -> list[datetime] | None:
    """Beginning of every step; None where there are no dates."""
    return None if start is None else [start + timedelta(seconds=k * step_s) for k in range(steps)]
