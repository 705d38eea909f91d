"""What the server keeps: a row for each table of sessions, plan and job, in one SQLite file; their files lie beside it.

A file is whole before its row is written, and a row is written in one transaction, so that whatever ends the process,
no row names what is not there.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from threading import RLock
from typing import Any, TypeVar

from cosim.errors import CosimError

ID_PATTERN = "^[0-9a-f]{12}$"
_TYPES = {"str": "TEXT NOT NULL", "str | None": "TEXT", "int": "INTEGER NOT NULL", "float": "REAL NOT NULL"}
_TYPES |= {"int | None": "INTEGER", "float | None": "REAL"}
_WAIT_S = 30.0


@dataclass(frozen=True, kw_only=True)
class SessionsRow:
    """A table of sessions: ``file`` is its name in the folder ``sessions/<id>``; ``reading`` is JSON."""

    id: str
    name: str
    created: str
    parent: str | None
    file: str
    reading: str


@dataclass(frozen=True, kw_only=True)
class PlanRow:
    """A plan: ``request`` and ``state`` (of a re-plan) are JSON; ``problem`` says why it failed, as JSON faults."""

    id: str
    sessions_id: str
    parent: str | None
    created: str
    request: str
    state: str | None
    status: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A run or a study in a process of its own: ``request`` is JSON, moments are ISO times of UTC."""

    id: str
    kind: str
    request: str
    status: str
    done: int
    total: int
    message: str
    created: str
    started: str | None
    ended: str | None


Row = TypeVar("Row", SessionsRow, PlanRow, JobRow)
_TABLES: dict[type[Any], str] = {SessionsRow: "sessions", PlanRow: "plans", JobRow: "jobs"}


class NotFoundError(CosimError):
    """Nothing of that name is kept."""


def new_id() -> str:
    """Name of something new, which nobody can guess."""
    return secrets.token_hex(6)


def now() -> str:
    """Present moment, as rows have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class Catalogue:
    """Rows of one SQLite file in WAL mode; any thread may use it, and other processes may open it beside.

    Parameters
    ----------
    path : Path
        The file; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._lock = RLock()
        self._connection = sqlite3.connect(path, timeout=_WAIT_S, check_same_thread=False, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")  # a row that was answered for outlasts the machine's power
        with self._transaction():
            for kind, table in _TABLES.items():
                columns = ", ".join(f"{one.name} {_TYPES[str(one.type)]}" for one in fields(kind))
                self._connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({columns}, PRIMARY KEY (id))")

    def add(self, row: SessionsRow | PlanRow | JobRow) -> None:
        """Add a row, whole or not at all."""
        values = astuple(row)
        marks = ", ".join("?" * len(values))
        with self._transaction():
            self._connection.execute(f"INSERT INTO {_TABLES[type(row)]} VALUES ({marks})", values)  # noqa: S608

    def get(self, kind: type[Row], row_id: str) -> Row | None:
        """Row of a name; None where there is none."""
        found = self._select(kind, "WHERE id = ?", row_id)
        return found[0] if found else None

    def all(self, kind: type[Row]) -> list[Row]:
        """All rows, the newest first."""
        return self._select(kind, "ORDER BY created DESC, rowid DESC")

    def change(self, kind: type[Row], row_id: str, **values: Any) -> None:
        """Change columns of a row."""
        names = ", ".join(f"{name} = ?" for name in values)
        with self._transaction():
            statement = f"UPDATE {_TABLES[kind]} SET {names} WHERE id = ?"  # noqa: S608 - our own words
            self._connection.execute(statement, (*values.values(), row_id))

    def remove(self, kind: type[Row], row_id: str) -> None:
        """Take a row away."""
        with self._transaction():
            self._connection.execute(f"DELETE FROM {_TABLES[kind]} WHERE id = ?", (row_id,))  # noqa: S608

    def close(self) -> None:
        """Write what is in the WAL into the file, and close it."""
        with self._lock:
            self._connection.close()

    def _select(self, kind: type[Row], which: str, *values: Any) -> list[Row]:
        names = [one.name for one in fields(kind)]
        statement = f"SELECT {', '.join(names)} FROM {_TABLES[kind]} {which}"  # noqa: S608 - our own words
        with self._lock:
            rows = self._connection.execute(statement, values).fetchall()
        return [kind(**dict(zip(names, row, strict=True))) for row in rows]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")
