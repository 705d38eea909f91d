"""What a client is shown: names of its own instead of the server's paths, and cells of a table as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pandas as pd

from cosim.errors import Fault, InputError
from cosim.experiments.plan.table import Table

MOST_NAME = 200


def shown(name: str) -> str:
    """Return a client's name for a file as it may be shown: its last part, printable, of some length."""
    last = name.replace("\\", "/").rpartition("/")[2]
    kept = "".join(mark for mark in last if mark.isprintable() and not "\ud800" <= mark <= "\udfff").strip()
    return kept[:MOST_NAME] or "sessions"


def replaced(text: str, names: Mapping[str, str]) -> str:
    """Return a text with the names instead of the server's own paths."""
    for path, name in names.items():
        text = text.replace(path, name)
    return text


@contextmanager
def told_as(names: Mapping[str, str]) -> Iterator[None]:
    """Let faults name files as their owner does."""
    try:
        yield
    except InputError as error:
        raise InputError([_told(fault, names) for fault in error.faults]) from None


def _told(fault: Fault, names: Mapping[str, str]) -> Fault:
    texts = (fault.where, fault.key, fault.problem, fault.remedy)
    where, key, problem, remedy = (replaced(text, names) for text in texts)
    return replace(fault, where=where, key=key, problem=problem, remedy=remedy)


def as_text(table: Table) -> pd.DataFrame:
    """Cells as an editor shows them, the index being the row in the file."""
    rows = [[_cell(cell) for cell in row] for row in table.rows]
    return pd.DataFrame(rows, columns=table.header, index=pd.Index(table.line, name="row"), dtype=object)


def _cell(cell: Any) -> str:
    if cell is None:
        return ""
    if isinstance(cell, float) and cell.is_integer():
        return str(int(cell))
    return str(cell)
