"""What each metric means to a reader: unit, which way is better, which limit, whether it is a headline.

The metrics themselves are described in ``metrics.toml``.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Metric:
    """How to read a metric.

    Attributes
    ----------
    meaning : str
        In a few words.
    unit : str
        As printed.
    better : str
        ``low``, ``high`` or empty where neither is better as such.
    limit : float or None
        Value that must not be passed in the bad direction.
    headline : bool
        Shown in the terminal.
    digits : int
        After the decimal point.
    group : str
        Of the scoreboard in the report.
    check : bool
        Judges the simulation: a limit, but no winner.
    definition : str
        In sentences.
    """

    meaning: str
    unit: str = ""
    better: str = ""
    limit: float | None = None
    headline: bool = False
    digits: int = 1
    group: str = "Others"
    check: bool = False
    definition: str = ""

    def violated(self, value: float) -> bool:
        """Whether the value passes the limit."""
        if self.limit is None or math.isnan(value):
            return False
        return value < self.limit - 1e-9 if self.better == "high" else value > self.limit + 1e-9


_FILE = Path(__file__).with_name("metrics.toml")
METRICS = {name: Metric(**entry) for name, entry in tomllib.loads(_FILE.read_text(encoding="utf-8")).items()}
"""By name, in the order of the report."""


def metric_of(name: str) -> Metric:
    """Return how to read a metric; of one that nobody described, as little as its name says."""
    return METRICS.get(name) or Metric(name.replace("_", " "))


def best(name: str, values: Mapping[str, float]) -> set[str]:
    """Labels with the best value as printed; none where all are alike or neither direction is better."""
    metric = metric_of(name)
    finite = {label: round(value, metric.digits) for label, value in values.items() if math.isfinite(value)}
    if not metric.better or len(set(finite.values())) < 2:
        return set()
    target = min(finite.values()) if metric.better == "low" else max(finite.values())
    return {label for label, value in finite.items() if value == target}
