"""Results as a folder of Parquet files that only grows: what is in one of them is finished, whatever ends the program.

A part is written under a temporary name, waited for until it is on the disk, and renamed; many small ones are now and
then made one. A part of a wider range of numbers replaces those whose numbers lie in it, so that an end between the two
steps loses nothing and shows nothing twice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cosim.errors import Fault, InputError
from cosim.experiments.files import json_ready
from cosim.experiments.study import FOLDER
from cosim.experiments.study.tasks import Row
from cosim.folder import write_whole

COMMIT_S = 10.0
"""Longest time that finished rows wait to be committed."""
_MERGED = 64
"""So many small parts become one: a day of commits would leave 8,640 files."""
_SHARES = ("ev_share", "pv_share", "heat_pump_share", "battery_share", "noncompliant_share")
_TYPES = {"season": pa.string(), **dict.fromkeys(_SHARES, pa.float64())}
"""Of columns that may have no value in any row."""
_NAME = re.compile(r"part-(\d{6})-(\d{6})\.parquet")


class Dataset:
    """Where rows are added; one process at a time.

    Parameters
    ----------
    folder : Path
        Of a study, claimed by `cosim.folder.claimed`; rows go to ``results.parquet/`` in it.

    Attributes
    ----------
    path : Path
        Folder of the parts.
    committed : set of str
        Hashes of what is finished; those of rows that wait are not in it.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FOLDER
        kept = parts(folder)
        for path in self.path.glob("*.parquet"):
            if path not in kept:  # merged into another when the program ended
                path.unlink()
        self.committed = set(column(folder, "hash"))
        self._waiting: list[Row] = []
        self._since_s = time.monotonic()
        self._next = max((_range(path)[1] for path in kept), default=0) + 1

    def add(self, rows: Iterable[Row]) -> None:
        """Take the rows of one finished task, which are committed together."""
        if not self._waiting:
            self._since_s = time.monotonic()
        self._waiting += rows

    @property
    def due_s(self) -> float | None:
        """Time until what waits is to be committed [s]; None where nothing does."""
        return max(self._since_s + COMMIT_S - time.monotonic(), 0.0) if self._waiting else None

    def commit(self) -> None:
        """Write what waits.

        Raises
        ------
        WriteError
            Where the disk is full, or refuses otherwise: what was committed before stands.
        """
        if not self._waiting:
            return
        self._write(_table(self._waiting), self._next, self._next)
        self._next += 1
        self.committed.update(str(row["hash"]) for row in self._waiting)
        self._waiting = []
        small = [path for path in parts(self.path.parent) if len(set(_range(path))) == 1]
        if len(small) >= _MERGED:
            self._write(_read(small), _range(small[0])[0], _range(small[-1])[1])
            for path in small:
                path.unlink()

    def _write(self, table: pa.Table, first: int, last: int) -> None:
        path = self.path / f"part-{first:06d}-{last:06d}.parquet"
        write_whole(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"), durable=True)


def parts(folder: Path) -> list[Path]:
    """Return the files that hold a study's rows, in order; none that another has replaced.

    Parameters
    ----------
    folder : Path
        Of the study.
    """
    found = {path: _range(path) for path in sorted((folder / FOLDER).glob("part-*.parquet")) if _range(path)}
    ranges = set(found.values())
    return [
        path
        for path, (first, last) in found.items()
        if not any(low <= first and last <= high for low, high in ranges - {(first, last)})
    ]


def column(folder: Path, name: str) -> Iterator[Any]:
    """Yield the values of one column of all that is finished."""
    for path in parts(folder):
        yield from _opened(path, columns=[name]).column(0).to_pylist()


def beginning_with(folder: Path, prefix: str) -> list[dict[str, Any]]:
    """Return the rows whose hash begins with a text."""
    wanted = pc.starts_with(pc.field("hash"), prefix)
    return [row for path in parts(folder) for row in _opened(path, filters=wanted).to_pylist()]


def read(folder: Path) -> pd.DataFrame:
    """Return all rows, by hash, within one in the order in which they were made; columns by name.

    Raises
    ------
    InputError
        Where there are none, or a part cannot be read.
    """
    table = _read(_some(folder))
    # of one task, rows lie together in one part, and a stable sort leaves them so
    whole: pd.DataFrame = table.select(sorted(table.column_names)).to_pandas()
    return whole.sort_values("hash", kind="stable", ignore_index=True)


def query(sql: str, folder: Path) -> pd.DataFrame:
    """Ask the rows in place: they are the table ``results`` of the query.

    Parameters
    ----------
    sql : str
        Of DuckDB.
    folder : Path
        Of the study; its parts are not changed.

    Raises
    ------
    InputError
        Where DuckDB is not there, there are no rows, or it refuses the query.
    """
    files = [str(path) for path in _some(folder)]
    try:
        import duckdb
    except ImportError:
        remedy = "install the extra: pip install 'lv-feeder-cosim[study]'"
        raise InputError(Fault("cosim study query", "", "needs DuckDB", remedy)) from None
    try:
        with duckdb.connect() as connection:
            connection.read_parquet(files, union_by_name=True).create_view("results")
            answer: pd.DataFrame = connection.sql(sql).df()
            return answer
    except (duckdb.Error, AttributeError) as error:  # a statement without rows has no table
        raise InputError(Fault("cosim study query", "SQL", str(error), "the table is called results")) from None


def _some(folder: Path) -> list[Path]:
    found = parts(folder)
    if not found:
        raise InputError(Fault(str(folder), FOLDER, "holds no results", "give the folder of a study that has begun"))
    return found


def _range(path: Path) -> tuple[int, ...]:
    """First and last number of a part; empty of another file."""
    named = _NAME.fullmatch(path.name)
    return tuple(map(int, named.groups())) if named else ()


def _table(rows: Sequence[Row]) -> pa.Table:
    """Columns by name; one without a value in any row is left out where nothing tells its type."""
    names = dict.fromkeys(name for row in rows for name in row)
    plain = [json_ready(row) for row in rows]
    columns = {name: pa.array([row.get(name) for row in plain]) for name in names}
    for name, column in columns.items():
        if column.null_count == len(column):  # a number that is not defined is nan
            is_number = any(isinstance(row.get(name), float) for row in rows)
            columns[name] = column.cast(pa.float64() if is_number else _TYPES.get(name, pa.null()))
    return pa.table({name: column for name, column in columns.items() if column.type != pa.null()})


def _read(paths: Sequence[Path]) -> pa.Table:
    return pa.concat_tables([_opened(path) for path in paths], promote_options="permissive")


def _opened(path: Path, **how: Any) -> pa.Table:
    with suppress(pa.ArrowInvalid):
        return pq.read_table(path, partitioning=None, **how)
    problem = "is no whole Parquet file, as after a disk that lost what it had confirmed"
    raise InputError(Fault(str(path), "", problem, "delete it, and use --resume: what was in it is made again"))
