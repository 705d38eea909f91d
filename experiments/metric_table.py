"""What each metric means to a reader: unit, which way is better, which limit, whether it is a headline.

The metrics themselves are described in ``metrics.toml``.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cosim.standards import EN_50160, Standard


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
    alarm : bool
        Shown there where it is not zero.
    digits : int
        After the decimal point.
    group : str
        Of the scoreboard in the report.
    check : bool
        Judges the simulation: a limit, but no winner.
    over_parts : str
        ``sum``, ``max`` or ``min``: how figures of weeks make that of a longer run; empty where they do not.
    definition : str
        In sentences.
    """

    meaning: str
    unit: str = ""
    better: str = ""
    limit: float | None = None
    headline: bool = False
    alarm: bool = False
    digits: int = 1
    group: str = "Others"
    check: bool = False
    over_parts: str = ""
    definition: str = ""

    @property
    def direction(self) -> tuple[str, str]:
        """Arrow and words of the better direction; empty where nobody can win."""
        words = {"low": ("↓", "lower is better"), "high": ("↑", "higher is better")}
        return words.get("" if self.check else self.better, ("", ""))

    def shown(self, values: Iterable[float]) -> bool:
        """Whether it is among the headlines, given its values in all runs."""
        return self.headline or (self.alarm and any(value > 0.0 for value in values))

    def violated(self, value: float) -> bool:
        """Whether the value passes the limit."""
        if self.limit is None or math.isnan(value):
            return False
        return value < self.limit - 1e-9 if self.better == "high" else value > self.limit + 1e-9


ABSENT = "n/a"
_FILE = Path(__file__).with_name("metrics.toml")


@cache
def metrics_of(standard: Standard) -> dict[str, Metric]:
    """Return how to read every metric where voltages are judged by a standard, by name, in the order of the report."""
    words: dict[str, Any] = {"title": standard.title, "rule": standard.rule()}
    words["lower_pu"], words["upper_pu"] = standard.low[0].lower_pu, standard.low[0].upper_pu
    for key in ("vuf_percent", "lvur_percent"):
        words[key] = limit = getattr(standard, key)
        found = f"Limit {limit:g} % ({standard.title})." if math.isfinite(limit) else f"{standard.title} has no limit."
        words[key.replace("percent", "limit")] = found
    metrics = {}
    for name, entry in tomllib.loads(_FILE.read_text(encoding="utf-8")).items():
        limit = entry.pop("limit", None)
        limit = words[limit] if isinstance(limit, str) else limit
        told: dict[str, Any] = {
            key: value.format(**words) if isinstance(value, str) else value for key, value in entry.items()
        }
        metrics[name] = Metric(**told, limit=None if limit is None or math.isnan(limit) else limit)
    return metrics


METRICS = metrics_of(EN_50160)
"""By name, in the order of the report."""


def metric_of(name: str, standard: Standard = EN_50160) -> Metric:
    """Return how to read a metric; of one that nobody described, as little as its name says."""
    return metrics_of(standard).get(name) or Metric(name.replace("_", " "))


@dataclass(frozen=True)
class Cell:
    """One value of a scoreboard.

    Attributes
    ----------
    text : str
        As shown; a dash where there is none.
    best, violated : bool
        How it is marked.
    """

    text: str
    best: bool = False
    violated: bool = False


def cells(
    name: str,
    values: Mapping[str, float],
    outside: Container[str] = (),
    standards: Mapping[str, Standard] = MappingProxyType({}),
) -> dict[str, Cell]:
    """Return the values of one metric as printed, by label.

    The best are marked, unless all are alike or neither direction is better.

    Parameters
    ----------
    name : str
        Of the metric.
    values : mapping of label to float
        Nan where there is none.
    outside : container of str
        Labels that cannot be the best.
    standards : mapping of label to Standard
        By which a run's voltages were judged, where it is not EN 50160.
    """
    metric = metric_of(name)
    known = {label: round(value, metric.digits) for label, value in values.items() if math.isfinite(value)}
    rivals = {value for label, value in known.items() if label not in outside}
    target = {"low": min, "high": max}[metric.better](rivals) if metric.better and len(rivals) > 1 else None
    return {
        label: Cell(
            f"{value:.{metric.digits}f}",
            known[label] == target and label not in outside,
            metric_of(name, standards.get(label, EN_50160)).violated(value),
        )
        if label in known
        else Cell(ABSENT)
        for label, value in values.items()
    }
