"""What controllers leave behind beside a trajectory: tables and plain data, by name.

Three tables are read by measures and figures, whoever leaves them behind. ``front`` and ``reference`` hold the points
that decisions chose among and were judged by: ``step``, ``point``, in ``front`` whether it was ``chosen``, then one
column per objective. ``certificates`` holds one row per front: ``step``, ``hypervolume``, ``hypervolume_reference``,
``regret_a``, ``regret_kwh``; those of `pareto` also hold ``gap``, how far each chosen point is from the exact front.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cosim.contract import Artifact, BaseController, Controller
from cosim.errors import CosimError, kind_and_text

RESERVED = ("steps", "customers", "nodes", "lines", "decisions", "other_sources", "taps")
"""Tables of every run."""

COLUMNS = {
    "front": ("step", "point", "chosen"),
    "reference": ("step", "point"),
    "certificates": ("step", "hypervolume", "hypervolume_reference", "regret_a", "regret_kwh"),
}
"""What tables that others read must have."""


def artifacts_of(controller: Controller) -> dict[str, Artifact]:
    """Ask a controller, at the end of a run, what it leaves behind.

    Returns
    -------
    dict of str to DataFrame or plain data
        Columns of one length have become a DataFrame, arrays and numbers in other data lists and numbers of Python;
        dataclasses stay what they are.

    Raises
    ------
    CosimError
        Where it fails, a name is no name for a file or one of a run's own tables, or data are not plain.
    """
    who = f"{type(controller).__name__}.artifacts()"
    try:
        given = dict(getattr(controller, "artifacts", BaseController().artifacts)())
    except (Exception, SystemExit) as error:
        raise CosimError(f"{who} failed: {kind_and_text(error)}") from error
    for name in given:
        if not re.fullmatch(r"[A-Za-z0-9_\-]+", str(name)) or name in RESERVED:
            raise CosimError(f"{who}: '{name}' is no name for an artifact: use letters, digits, _ and - (not of a run)")
    found = {name: _artifact(content, f"{who}: '{name}'") for name, content in given.items()}
    for name, wanted in COLUMNS.items():
        table = found.get(name)
        columns = table.columns if isinstance(table, pd.DataFrame) else ()
        missing = [column for column in wanted if table is not None and column not in columns]
        if missing:
            raise CosimError(f"{who}: '{name}' has no column {', '.join(missing)}, see cosim.artifacts")
    return found


def _artifact(content: Any, where: str) -> Artifact:
    if isinstance(content, pd.DataFrame):
        return _storable(content, where)
    if is_dataclass(content) and not isinstance(content, type):
        return content
    if not isinstance(content, Mapping):
        raise CosimError(f"{where} is a {type(content).__name__}: give a DataFrame, columns by name, or a dict")
    if all(map(_is_column, content.values())) and len({len(part) for part in content.values()}) == 1:
        return _storable(pd.DataFrame(dict(content)), where)
    return {str(key): _plain(part, f"{where}.{key}") for key, part in content.items()}


def _is_column(part: Any) -> bool:
    if isinstance(part, np.ndarray):
        return part.ndim == 1
    return isinstance(part, (list, tuple)) and not any(isinstance(item, (Mapping, list, tuple)) for item in part)


def _storable(table: pd.DataFrame, where: str) -> pd.DataFrame:
    try:
        pa.Table.from_pandas(table, preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise CosimError(f"{where} cannot be written as a table: {error}") from error
    return table


def _plain(part: Any, where: str) -> Any:
    """Data that JSON can hold; nan and the infinities become None."""
    if isinstance(part, Mapping):
        return {str(key): _plain(inner, f"{where}.{key}") for key, inner in part.items()}
    if isinstance(part, (np.ndarray, np.generic)):
        part = part.tolist()
    if isinstance(part, (list, tuple)):
        return [_plain(inner, where) for inner in part]
    if isinstance(part, float):
        return part if math.isfinite(part) else None
    if part is None or isinstance(part, (str, int)):
        return part
    raise CosimError(f"{where} holds a {type(part).__name__}: give numbers, texts, lists, arrays and dicts")
