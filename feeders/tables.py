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


def read_table(path: str | Path, key: str, remedy: str) -> pd.DataFrame:
    """Read a CSV or, by its ending, a Parquet file; InputError with this key and remedy where there is none."""
    path = Path(path)
    if not path.is_file():
        raise InputError(Fault(str(path), key, "no such file", remedy))
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path, skipinitialspace=True)
    except (ValueError, OSError) as error:  # parsing errors of pandas and pyarrow are one or the other
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        fault = Fault(
            str(path), key, f"cannot be read as a table ({reason})", "save it as CSV with a header, or Parquet"
        )
        raise InputError(fault) from None


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
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    text = np.isnan(values) & column.notna().to_numpy()
    key = str(column.name)
    faults += find_faults(text, column, where, key, "not a number: {!r}", "write a number with a decimal point")
    gaps = ~np.isfinite(values) & ~text
    faults += find_faults(
        gaps, column, where, key, "empty or not finite: {}", "fill the gap, or leave the row or column out"
    )
    return values


def local_times(column: pd.Series, where: str, faults: list[Fault]) -> pd.Series:
    """Column as local times without an offset, NaT where there is none; what is no such time is added to the faults."""
    remedy = "write ISO local times such as 2026-05-15T18:30, without an offset from UTC"
    key = str(column.name)
    offset = column.astype(str).str.contains(r"T.*(?:Z|[+-]\d\d:?\d\d)$").to_numpy(bool)
    faults += find_faults(offset, column, where, key, "has an offset: {}", remedy)
    times = pd.to_datetime(column.mask(offset), errors="coerce", format="ISO8601")
    faults += find_faults(times.isna().to_numpy() & ~offset, column, where, key, "not a time: {!r}", remedy)
    return times
