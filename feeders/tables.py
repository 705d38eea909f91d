"""Reading a user's table so that everything wrong with it is found at once, with its place and remedy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.errors import Fault, InputError

Float = NDArray[np.float64]

TIME_COLUMN = "time"


def read_table(path: str | Path, key: str, remedy: str) -> pd.DataFrame:
    """Read a CSV or, by its ending, a Parquet file; InputError with this key and remedy where there is none."""
    path = Path(path)
    if not path.is_file():
        raise InputError(Fault(str(path), key, "no such file", remedy))
    is_parquet = path.suffix == ".parquet"
    try:
        fault = _no_table(path, key, is_parquet)
        table = pd.DataFrame() if fault else _read(path, is_parquet)
    except UnicodeDecodeError as error:
        reason = f"is not UTF-8: {error.reason} at byte {error.start}"
        fault = Fault(str(path), key, reason, "save it as CSV in UTF-8, or Parquet")
    except (ValueError, OSError) as error:  # parsing errors of pandas and pyarrow are one or the other
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        fault = Fault(
            str(path), key, f"cannot be read as a table ({reason})", "save it as CSV with a header, or Parquet"
        )
    if fault is None and not isinstance(table.index, pd.RangeIndex):
        fault = _odd_index(table.index, path, key, is_parquet)
    if fault is not None:
        raise InputError(fault)
    return table


def _read(path: Path, is_parquet: bool) -> pd.DataFrame:
    if not is_parquet:
        return pd.read_csv(path, skipinitialspace=True, encoding="utf-8")
    table = pd.read_parquet(path)
    if isinstance(table.index, pd.DatetimeIndex) and TIME_COLUMN not in table.columns:
        table.insert(0, TIME_COLUMN, table.index)  # as pandas keeps a series in time
        return table.reset_index(drop=True)
    return table


def _no_table(path: Path, key: str, is_parquet: bool) -> Fault | None:
    """Tell what no reader would find out: an empty file, or fields that nothing separates but the wrong character."""
    if not path.stat().st_size:
        return Fault(str(path), key, "is empty", "give a header and rows")
    if is_parquet:
        return None
    with path.open(encoding="utf-8-sig") as lines:
        header = lines.readline()
    for character, called in ((";", "semicolons"), ("\t", "tabs")):
        if character in header and "," not in header:
            remedy = "save it with commas between the columns and points in the numbers (0.5, not 0,5)"
            return Fault(str(path), key, f"its columns are separated by {called}", remedy)
    return None


def _odd_index(index: pd.Index, path: Path, key: str, is_parquet: bool) -> Fault:
    """Refuse a table whose rows pandas names by something other than their number: a column would be lost."""
    if is_parquet:
        shown = index.name or type(index).__name__
        remedy = "save it with index=False, or turn the index into a column (reset_index)"
        return Fault(str(path), key, f"its rows are named by an index ({shown})", remedy)
    remedy = "name every column, drop a trailing comma, and write decimal points (0.5, not 0,5)"
    return Fault(str(path), key, "its rows have more fields than the header has names", remedy)


def place(where: str, row: int) -> str:
    """File and row as an editor counts them: the header of a CSV file is line 1."""
    return f"{where}, row {row}" if where.endswith(".parquet") else f"{where}, line {row + 2}"


def find_faults(
    bad: NDArray[np.bool_], values: Sequence[Any] | Float | pd.Series, where: str, key: str, problem: str, remedy: str
) -> list[Fault]:
    """One fault for the first bad row of a column, with the number of those that follow; none where all is well.

    ``problem`` is formatted with the value of that row.
    """
    rows = np.flatnonzero(bad)
    if not rows.size:
        return []
    more = f" (and {rows.size - 1} more rows)" if rows.size > 1 else ""
    value = values.iloc[rows[0]] if isinstance(values, pd.Series) else values[rows[0]]
    return [Fault(place(where, int(rows[0])), key, problem.format(value) + more, remedy)]


def numbers(column: pd.Series, where: str, faults: list[Fault]) -> Float:
    """Column as numbers, nan where there is none; text and gaps are added to the faults."""
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan, copy=True)
    text = np.isnan(values) & column.notna().to_numpy()
    key = str(column.name)
    faults += find_faults(text, column, where, key, "not a number: {!r}", "write a number with a decimal point")
    gaps = ~np.isfinite(values) & ~text
    faults += find_faults(
        gaps, column, where, key, "empty or not finite: {}", "fill the gap, or leave the row or column out"
    )
    values[~np.isfinite(values)] = np.nan  # told above; no other rule need judge an infinity
    return values


def local_times(column: pd.Series, where: str, faults: list[Fault]) -> pd.Series:
    """Column as local times without an offset, NaT where there is none; what is no such time is added to the faults."""
    remedy = "write ISO local times such as 2026-05-15T18:30, without an offset from UTC"
    key = str(column.name)
    written = column.astype(str)
    offset = written.str.contains(r"[Tt ].*(?:[Zz]|[+-]\d\d(?::?\d\d)?)$").to_numpy(bool)
    faults += find_faults(offset, column, where, key, "has an offset: {}", remedy)
    times = pd.to_datetime(written.mask(offset), errors="coerce", format="ISO8601")
    faults += find_faults(times.isna().to_numpy() & ~offset, column, where, key, "not a time: {!r}", remedy)
    return times
