"""Sessions and plans as the server keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from cosim.errors import Fault
from cosim.experiments.web.schemas import PlanRequest, SessionReading


@dataclass(frozen=True, kw_only=True, eq=False)
class Sessions:
    """A table of sessions as it was understood; never changed, for another reading makes another.

    Attributes
    ----------
    id, name, created, parent : str
        Of the server; ``name`` is what its owner calls it, ``parent`` from which it was made, if from any.
    reading : SessionReading
        How it was asked to be understood.
    table : DataFrame
        Its rows as text, the index being the row in the file.
    findings : DataFrame
        ``row, column, problem, action, remedy`` of every fault of a row.
    counts : dict of str to int
        ``rows, planned, changed, left_out``; empty where it was not understood.
    warnings : tuple of str
        What was assumed.
    faults : tuple of Fault
        Why it is not understood as a whole; another reading may help.
    profile : str
        By which it was understood.
    path : Path
        Its file.
    """

    id: str
    name: str
    created: str
    parent: str | None
    reading: SessionReading
    table: pd.DataFrame
    findings: pd.DataFrame
    counts: dict[str, int]
    warnings: tuple[str, ...]
    faults: tuple[Fault, ...]
    profile: str
    path: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanRecord:
    """A plan that was asked for.

    Attributes
    ----------
    id, sessions_id, parent, created : str
        ``parent`` is the plan that it re-plans, if it does.
    request : PlanRequest
    status : str
        ``planning``, ``done``, ``failed`` or ``interrupted``.
    metrics : dict
        Of ``metrics.json``; its own ``status`` is the solver's.
    warnings : tuple of str
    faults : tuple of Fault
        Why it failed.
    folder : Path
        What ``cosim plan`` writes.
    """

    id: str
    sessions_id: str
    parent: str | None
    created: str
    request: PlanRequest
    status: str
    metrics: dict[str, Any]
    warnings: tuple[str, ...]
    faults: tuple[Fault, ...]
    folder: Path

    def diff(self) -> pd.DataFrame:
        """Both plans by vehicle and step, see `by_step`; of a plan that re-plans another."""
        return pd.read_parquet(self.folder / "diff.parquet")

    def changes(self) -> pd.DataFrame:
        """Both plans by vehicle, see `by_vehicle`; of a plan that re-plans another."""
        return pd.read_parquet(self.folder / "changes.parquet")

    @property
    def files(self) -> list[str]:
        """Names of what is in its folder."""
        there = self.folder.iterdir() if self.status == "done" else ()
        return sorted(path.name for path in there if path.is_file() and path.name[0] != ".")
