"""Reading a user's table so that everything wrong with it is found at once, with its place and remedy."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from numpy.typing import NDArray

from cosim.errors import Fault, InputError, refuse

Float = NDArray[np.float64]

TIME_COLUMN = "time"
MOST_COLUMNS = 10_000
LONGEST_LINE = 1_000_000  # bytes
MOST_CELLS = 200_000_000  # a minute's year of 380 homes, 1.6 GB: a small Parquet file may claim any size
MOST_NAMED = 20  # columns at fault that are named one by one
FEWEST_COUNTED = 8  # rows that count by chance no more

_COUNTED = "name it `time` where it holds times, else save without the index (index=False) or leave the column out"


def read_table(path: str | Path, key: str, remedy: str) -> pd.DataFrame:
    """Read a CSV or, by its ending, a Parquet file; InputError with this key and remedy where there is none.

    Columns without a name, or of one name, are refused: pandas would call them ``Unnamed: 0`` and ``home.1`` and let
    them pass for what they are not.
    """
    path = Path(path)

    def unreadable(problem: str, remedy: str) -> InputError:
        return InputError(Fault(str(path), key, problem, remedy))

    if not os.path.isfile(path):  # false, not an error, where the name is too long for a file
        raise unreadable("no such file", remedy)
    if not path.stat().st_size:
        raise unreadable("is empty", "give a header and rows")
    is_parquet = path.suffix.lower() == ".parquet"
    try:
        names = _parquet_names(path) if is_parquet else _csv_names(path)
        refuse(column_faults(names, str(path)))
        table = _read_parquet(path) if is_parquet else _read_csv(path)
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8: {error.reason} at byte {error.start}"
        raise unreadable(problem, "save it as CSV in UTF-8, or Parquet") from None
    except _NoTableError as error:
        raise unreadable(*error.args) from None
    except (ValueError, OSError, csv.Error) as error:  # parsing errors of pandas and pyarrow are one or the other
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise unreadable(f"cannot be read as a table ({reason})", "save it as CSV with a header, or Parquet") from None
    if isinstance(table.index, pd.RangeIndex):
        return table.set_axis([str(name).strip() for name in table.columns], axis=1)
    # rows named by something other than their number: a column would be lost
    if is_parquet:
        remedy = "save it with index=False, or turn the index into a column (reset_index)"
        raise unreadable(f"its rows are named by an index ({table.index.name or type(table.index).__name__})", remedy)
    remedy = "name every column, drop a trailing comma, and write decimal points (0.5, not 0,5)"
    raise unreadable("its rows have more fields than the header has names", remedy)


def column_faults(names: Sequence[str], where: str) -> list[Fault]:
    """Columns of a header that have no name, or one that another has too."""
    blank = [number for number, name in enumerate(names, start=1) if not name or re.fullmatch(r"Unnamed: \d+", name)]
    shown = ", ".join(map(str, blank[:MOST_NAMED]))
    faults = [Fault(where, f"column {shown}", "has no name: a row index is no data", _COUNTED)] if blank else []
    twice = [name for name, count in Counter(names).items() if count > 1 and name]
    return faults + [
        Fault(where, name, "is the name of several columns", "give each its own") for name in twice[:MOST_NAMED]
    ]


class _NoTableError(Exception):
    """Problem and remedy of a file that is not looked into any further."""


def _parquet_names(path: Path) -> list[str]:
    """Names of the columns, in a file that memory can hold."""
    metadata = pq.read_metadata(path)
    if metadata.num_rows * metadata.num_columns > MOST_CELLS or metadata.num_columns > MOST_COLUMNS:
        size = f"{metadata.num_rows} rows of {metadata.num_columns} columns"
        raise _NoTableError(f"holds {size}", f"give at most {MOST_COLUMNS} columns and {MOST_CELLS} cells")
    # pandas' own name of an index that it can restore; any other is looked at when it has been
    return [name for name in metadata.schema.to_arrow_schema().names if not re.fullmatch(r"__index_level_\d+__", name)]


def _read_parquet(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    if isinstance(table.index, pd.DatetimeIndex) and TIME_COLUMN not in table.columns:
        table.insert(0, TIME_COLUMN, table.index)  # as pandas keeps a series in time
        return table.reset_index(drop=True)
    return table


def _read_csv(path: Path) -> pd.DataFrame:
    # a customer is a name, also where it looks like a number: 007
    table = pd.read_csv(path, skipinitialspace=True, encoding="utf-8", dtype={"customer": str})
    filled = np.flatnonzero(table.notna().any(axis=1))
    return table.iloc[: filled[-1] + 1 if filled.size else 0]  # spreadsheets leave rows of commas at the end


def _csv_names(path: Path) -> list[str]:
    """Names in the first line that is not blank, of a text that can be read as CSV."""
    with path.open("rb") as raw:
        if raw.read(2) not in (b"\xff\xfe", b"\xfe\xff"):  # UTF-16 is told as such
            raw.seek(0)
            for number, line in enumerate(iter(lambda: raw.readline(LONGEST_LINE), b""), start=1):
                if b"\0" in line:
                    raise _NoTableError("holds NUL bytes, so it is no text", "save it as CSV in UTF-8, or Parquet")
                if len(line) >= LONGEST_LINE:  # pandas would count its columns for minutes
                    raise _NoTableError(
                        f"line {number} has {LONGEST_LINE} bytes and more", "end every row by a new line"
                    )
    with path.open(encoding="utf-8-sig") as lines:
        header = next((line for line in lines if line.strip()), "")
    if "," not in header:
        separator = next((name for mark, name in ((";", "semicolons"), ("\t", "tabs")) if mark in header), "")
        if separator:
            remedy = "save it with commas between the columns and points in the numbers (0.5, not 0,5)"
            raise _NoTableError(f"its columns are separated by {separator}", remedy)
    names = [name.strip() for name in next(csv.reader([header], skipinitialspace=True), [])]
    if len(names) > MOST_COLUMNS:
        raise _NoTableError(f"has {len(names)} columns", f"give at most {MOST_COLUMNS}")
    return names


def refuse_out_of_range(where: str, rules: Sequence[tuple[str, bool, object, str]]) -> None:
    """Raise the InputError of all that is out of range: rules of key, whether it is good, value and remedy."""
    refuse(Fault(where, key, f"{value!r} is out of range", remedy) for key, good, value, remedy in rules if not good)


def place(where: str, row: int) -> str:
    """File and row as an editor counts them: the header of a CSV file is line 1."""
    return f"{where}, row {row}" if where.lower().endswith(".parquet") else f"{where}, line {row + 2}"


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


def told_once(faults: Sequence[Fault]) -> list[Fault]:
    """Faults that differ in column, row and value only, as the first of them with the names of the others."""
    kinds: dict[tuple[str, str], list[Fault]] = {}
    for fault in faults:
        kinds.setdefault((re.sub(r"'[^']*'|\d[\d.]*|\(and .*", "#", fault.problem), fault.remedy), []).append(fault)
    return [
        replace(first, problem=f"{first.problem} (and so in {len(more)} more columns: {listed([f.key for f in more])})")
        if more
        else first
        for first, *more in kinds.values()
    ]


def listed(names: Sequence[str]) -> str:
    """Say names one after another, of many the first."""
    return ", ".join(names[:MOST_NAMED]) + ", ..." * (len(names) > MOST_NAMED)


def numbers(column: pd.Series, where: str, faults: list[Fault]) -> Float:
    """Column as numbers, nan where there is none; text, gaps and whatever else is no number are added to the faults."""
    key = str(column.name)
    if column.dtype != object and not pd.api.types.is_string_dtype(column.dtype):
        if pd.api.types.is_bool_dtype(column.dtype) or not pd.api.types.is_any_real_numeric_dtype(column.dtype):
            problem, remedy = f"holds {column.dtype}, not numbers", "give numbers, or leave the column out"
            faults.append(Fault(where, key, problem, remedy))
            return np.full(len(column), np.nan)
    else:  # anything may be in it: what is neither text nor number is told as the text that it looks like
        column = column.map(_cell, na_action="ignore")
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan, copy=True)
    text = np.isnan(values) & column.notna().to_numpy()
    remedy = "write a number with a decimal point, without a unit or a separator of thousands"
    faults += find_faults(text, column, where, key, "not a number: {!r}", remedy)
    gaps = ~np.isfinite(values) & ~text
    faults += find_faults(
        gaps, column, where, key, "empty or not finite: {}", "fill the gap, or leave the row or column out"
    )
    values[~np.isfinite(values)] = np.nan  # told above; no other rule need judge an infinity
    return values


def counts_rows(values: Float) -> bool:
    """Whether a column is 0, 1, 2, ... or goes on by any whole number: an index or a clock, and no quantity."""
    if values.size < 3:
        return False
    steps = np.diff(values)
    from_the_first = values[0] in (0.0, 1.0) and steps[0] == 1.0
    enough = from_the_first or values.size >= FEWEST_COUNTED
    return bool(enough and steps[0] and steps[0] % 1 == 0 and (steps == steps[0]).all())


def _cell(cell: Any) -> Any:
    is_number = isinstance(cell, Real | Decimal) and not isinstance(cell, bool | np.bool_)
    return float(cell) if is_number else cell if isinstance(cell, str) else f"{cell!r}"[:80]
