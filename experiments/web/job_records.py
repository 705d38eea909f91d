"""What is told of jobs: the job itself, how far it is, how it ended, and what may not be done with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cosim.errors import CosimError
from cosim.experiments.web.job_schemas import ENDED, Kind, Status


class ConflictError(CosimError):
    """A job is in no state for that."""


class FullError(CosimError):
    """As many jobs wait as may."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run or a study.

    Attributes
    ----------
    id, kind, name : str
        ``name`` is that of the scenario or study.
    request : mapping
        What was asked for, as JSON.
    status : str
        ``waiting``, ``running``, ``done``, ``failed``, ``interrupted`` or ``cancelled``.
    done, total : int
        Of a run steps of all its controllers, else worlds; 0 of all where that is not known yet.
    message : str
        What it does, or why it ended.
    created, started, ended : str or None
        ISO times of UTC.
    folder : Path
        What ``cosim run``, ``cosim study`` or ``cosim hosting`` writes.
    rate_per_h, left_s : float or None
        Of a study under way: worlds finished in an hour [1/h], and the time left at that rate [s].
    """

    id: str
    kind: Kind
    name: str
    request: Mapping[str, Any]
    status: Status
    done: int
    total: int
    message: str
    created: str
    started: str | None
    ended: str | None
    folder: Path
    rate_per_h: float | None = None
    left_s: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it is neither waiting nor running."""
        return self.status in ENDED

    @property
    def fraction(self) -> float:
        """Share that is done."""
        return min(self.done / self.total, 1.0) if self.total else float(self.status == "done")


class Progress(NamedTuple):
    """How far a job is; fields as columns of the catalogue."""

    done: int
    total: int
    message: str
    rate_per_h: float | None = None
    left_s: float | None = None


class Ending(NamedTuple):
    """How a job ended: ``done``, ``failed`` or ``interrupted``, and in words."""

    status: Literal["done", "failed", "interrupted"]
    message: str
