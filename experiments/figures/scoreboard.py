"""The scoreboard as a table of cells: values, the best of each row, violated limits, and what does not apply."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cosim.experiments.metric_table import METRICS, Metric, best, metric_of
from cosim.trajectory import Trajectory

ABSENT = "–"
_DIRECTIONS = {"low": ("↓", "lower is better"), "high": ("↑", "higher is better")}


@dataclass(frozen=True)
class Cell:
    """One value.

    Attributes
    ----------
    text : str
        As shown.
    best, violated : bool
        How it is marked.
    why : str
        Why there is no value, or which limit is passed; empty otherwise.
    """

    text: str
    best: bool = False
    violated: bool = False
    why: str = ""


@dataclass(frozen=True)
class Row:
    """One measure of all runs.

    Attributes
    ----------
    name : str
        Its fixed name.
    metric : Metric
        How to read it.
    direction, direction_words : str
        Arrow and words of the better direction; empty where there is none.
    cells : tuple of Cell
        One per run.
    """

    name: str
    metric: Metric
    direction: str
    direction_words: str
    cells: tuple[Cell, ...]


def rows(
    trajectories: Mapping[str, Trajectory], metrics: Mapping[str, Mapping[str, float]]
) -> list[tuple[str, list[Row]]]:
    """Scoreboard in groups.

    Parameters
    ----------
    trajectories : mapping of label to Trajectory
        The runs; one that stopped early is shown but cannot be the best of a row.
    metrics : mapping of label to mapping of name to float
        Their measures; nan and absent ones are shown as such.

    Returns
    -------
    list of (str, list of Row)
        Title of a group, and its rows; measures that nobody has are left out.
    """
    present = dict.fromkeys(name for label in trajectories for name in metrics.get(label, {}))
    groups: dict[str, list[Row]] = {}
    for name in [*METRICS, *(name for name in present if name not in METRICS)]:
        if name in present:
            groups.setdefault(metric_of(name).group, []).append(_row(name, trajectories, metrics))
    return list(groups.items())


def _row(name: str, trajectories: Mapping[str, Trajectory], metrics: Mapping[str, Mapping[str, float]]) -> Row:
    metric = metric_of(name)
    absent = {label: _inapplicable(name, run) for label, run in trajectories.items()}
    values = {label: _number(metrics.get(label, {}).get(name)) for label in trajectories}
    rivals = {
        label: value
        for label, value in values.items()
        if trajectories[label].complete and not absent[label] and not metric.check
    }
    winners = best(name, rivals)
    cells = tuple(_cell(values[label], metric, label in winners, absent[label]) for label in trajectories)
    return Row(name, metric, *_DIRECTIONS.get("" if metric.check else metric.better, ("", "")), cells)


def _cell(value: float, metric: Metric, is_best: bool, why_absent: str) -> Cell:
    if why_absent:
        return Cell(ABSENT, why=why_absent)
    if not math.isfinite(value):
        return Cell(ABSENT, why="undefined on this feeder or for this run")
    violated = metric.violated(value)
    limit = f"limit {metric.limit:g} {metric.unit}" if violated and metric.limit is not None else ""
    text = f"{value:.{metric.digits}f}"
    return Cell(text.replace("-", "−"), is_best, violated, limit)


def _inapplicable(name: str, run: Trajectory) -> str:
    """Why a measure says nothing about a run: a promise that was never made cannot be kept best of all."""
    if name == "setpoint_error_max_kw" and not np.isfinite(run.import_cap_kw).any():
        return "sets no import cap"
    if name == "promise_error_max_kva" and not np.isfinite(run.planned_kva).any():
        return "promises nothing"
    if name == "solve_gap_max" and all(decision.status == "rule" for _, decision in run.decisions):
        return "no solver took part"
    if name in ("ev_served_min_percent", "jain_ev_served", "withheld_kwh") and not len(run.exogenous.sessions):
        return "no car"
    return ""


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
