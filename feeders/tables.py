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

    def refuse(problem: str, remedy: str) -> InputError:
        return InputError(Fault(str(path), key, problem, remedy))

    if not path.is_file():
        raise refuse("no such file", remedy)
    if not path.stat().st_size:
        raise refuse("is empty", "give a header and rows")
    is_parquet = path.suffix == ".parquet"
    try:
        separator = "" if is_parquet else _wrong_separator(path)
        if separator:
            remedy = "save it with commas between the columns and points in the numbers (0.5, not 0,5)"
            raise refuse(f"its columns are separated by {separator}", remedy)
        table = _read_parquet(path) if is_parquet else pd.read_csv(path, skipinitialspace=True, encoding="utf-8")
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8: {error.reason} at byte {error.start}"
        raise refuse(problem, "save it as CSV in UTF-8, or Parquet") from None
    except (ValueError, OSError) as error:  # parsing errors of pandas and pyarrow are one or the other
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise refuse(f"cannot be read as a table ({reason})", "save it as CSV with a header, or Parquet") from None
    if isinstance(table.index, pd.RangeIndex):
        return table
    # rows named by something other than their number: a column would be lost
    if is_parquet:
        remedy = "save it with index=False, or turn the index into a column (reset_index)"
        raise refuse(f"its rows are named by an index ({table.index.name or type(table.index).__name__})", remedy)
    remedy = "name every column, drop a trailing comma, and write decimal points (0.5, not 0,5)"
    raise refuse("its rows have more fields than the header has names", remedy)


def _read_parquet(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    if isinstance(table.index, pd.DatetimeIndex) and TIME_COLUMN not in table.columns:
        table.insert(0, TIME_COLUMN, table.index)  # as pandas keeps a series in time
        return table.reset_index(drop=True)
    return table


def _wrong_separator(path: Path) -> str:
    """What separates the columns of a CSV file where it is no comma, which no reader would find out; else empty."""
    with path.open(encoding="utf-8-sig") as lines:
        header = lines.readline()
    named = {";": "semicolons", "\t": "tabs"}
    return next((name for character, name in named.items() if character in header and "," not in header), "")


def refuse_out_of_range(where: str, rules: Sequence[tuple[str, bool, object, str]]) -> None:
    """Raise the InputError of all that is out of range: rules of key, whether it is good, value and remedy."""
    faults = [Fault(where, key, f"{value!r} is out of range", remedy) for key, good, value, remedy in rules if not good]
    if faults:
        raise InputError(faults)


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
