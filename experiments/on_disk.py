"""A run that was made in parts: what is said of it in memory, its steps being on disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from cosim.collapse import Collapse
from cosim.contract import Decision
from cosim.experiments.keep import durations

FILE_NAME = "parts.csv"


@dataclass(frozen=True, eq=False)
class TrajectoryOnDisk:
    """What is said of a run whose steps are on disk; attributes as in `Trajectory`."""

    label: str
    engine: str
    steps: int
    complete: bool
    reproducible: bool
    invalid: str
    decisions: tuple[tuple[int, Decision], ...]
    collapses: tuple[Collapse, ...]
    wall_s: float
    plan_s: float
    decide_s: float


@dataclass(frozen=True, eq=False)
class PartsResult:
    """A run in parts with what was measured in it; attributes as in `RunResult`.

    Attributes
    ----------
    parts : list of dict
        Rows of ``parts.csv``.
    """

    trajectory: TrajectoryOnDisk
    metrics: dict[str, float]
    areas: list[dict[str, object]]
    worst: dict[str, dict[str, Any]]
    crosscheck: dict[str, float]
    missing: list[str]
    parts: list[dict[str, Any]]
    unbalance: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether the run came to its last step, and all of it is on disk."""
        return self.trajectory.complete and not self.missing

    @property
    def timing(self) -> dict[str, float]:
        """Durations [s]."""
        return durations(self.trajectory)
