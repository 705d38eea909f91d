"""What all figures are drawn from: the runs of one day side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cosim.contract import Exogenous, Float
from cosim.experiments.figures import style
from cosim.experiments.words import clock_text, place_words
from cosim.measures.worst import Place
from cosim.trajectory import Trajectory

UNCONTROLLED = "none"
OVERLOADS = {"transformer_peak_percent": "transformer_overload_min", "line_peak_percent": "line_overload_min"}
"""Loadings, and for how long each is above the rating."""


class Binding(NamedTuple):
    """What is loaded most: in words, and the names of its peak and of the minutes above its rating."""

    words: str
    peak: str
    over: str


class NothingToDrawError(Exception):
    """A figure has nothing to show for these runs; the message is the reason, as a sentence."""


@dataclass(frozen=True, eq=False)
class Runs:
    """Runs that have at least one step, with their metrics.

    Attributes
    ----------
    trajectories : mapping of label to Trajectory
        What happened, in the order of the scenario.
    metrics : mapping of label to mapping of name to float
        What it measured.
    day : Exogenous
        The day before it was averaged to the steps of the runs, for the diversity of short peaks.
    worst : mapping of label to mapping of name to dict
        Where and when each metric that is an extreme is worst, see `worst_moments`.
    """

    trajectories: Mapping[str, Trajectory]
    metrics: Mapping[str, Mapping[str, float]]
    day: Exogenous
    worst: Mapping[str, Mapping[str, Place]]

    def __iter__(self) -> Iterator[tuple[str, Trajectory]]:
        return iter(self.trajectories.items())

    def __len__(self) -> int:
        return len(self.trajectories)

    @property
    def labels(self) -> list[str]:
        """Labels in order."""
        return list(self.trajectories)

    @cached_property
    def reference_label(self) -> str:
        """The run that others are compared with: the uncontrolled one, else the first."""
        return UNCONTROLLED if UNCONTROLLED in self.trajectories else next(iter(self.trajectories))

    @property
    def reference(self) -> Trajectory:
        """The trajectory of that run."""
        return self.trajectories[self.reference_label]

    @cached_property
    def span(self) -> tuple[float, float]:
        """First and last moment of the longest run, in days as on the time axis."""
        borders = [edges_of(run) for run in self.trajectories.values()]
        return float(min(b[0] for b in borders)), float(max(b[-1] for b in borders))

    def grid(
        self,
        labels: list[str],
        height_in: float,
        scale: str,
        *below: style.Block,
        timed: bool = True,
        **room: float,
    ) -> tuple[Figure, list[list[Axes]]]:
        """Make a sheet with a panel for each of some runs, and blocks of other panels below; see `style.sheet`."""
        columns = style.columns_for(len(labels))
        figure, panels = style.sheet(style.Block(len(labels), columns, height_in), *below, **room)
        for axes in panels[0][::columns]:
            axes.set_ylabel(scale)
        if timed:
            style.clock_axis(panels[0][0], self.span)
        return figure, panels

    def colour(self, label: str) -> str:
        """Colour of a run, the same in every figure."""
        return style.RUN_COLOURS[self.labels.index(label) % len(style.RUN_COLOURS)]

    def dashes(self, label: str) -> str:
        """Line style of a run, the same in every figure."""
        return str(style.RUN_DASHES[self.labels.index(label) % len(style.RUN_DASHES)])

    def metric(self, label: str, name: str) -> float:
        """Value of a metric; nan where it was not measured."""
        value = self.metrics.get(label, {}).get(name)
        return float("nan") if value is None else float(value)

    def known(self, name: str, labels: Iterable[str]) -> dict[str, float]:
        """Values of a metric in some runs, without those in which it was not measured."""
        values = {label: self.metric(label, name) for label in labels}
        return {label: value for label, value in values.items() if np.isfinite(value)}

    def place(self, label: str, name: str) -> str:
        """Where a metric of a run is worst, in words; empty where it has no place."""
        place = self.worst.get(label, {}).get(name)
        return "" if place is None else place_words(place)

    @cached_property
    def binding(self) -> Binding | None:
        """What is loaded most over its rating in the reference run; None where nothing is rated."""
        peaks = {name: self.metric(self.reference_label, name) for name in OVERLOADS}
        name = max(peaks, key=lambda name: np.nan_to_num(peaks[name], nan=-1.0))
        if not np.isfinite(peaks[name]):
            return None
        kind = "line" if name == "line_peak_percent" else "transformer"
        asset = str(self.worst.get(self.reference_label, {}).get(name, {}).get("element", ""))
        return Binding(f"{kind} {asset}".strip(), name, OVERLOADS[name])

    def duration(self, axes: Axes, of_run: Mapping[str, Float]) -> None:
        """Draw, for every whole run, how much of the time each value is exceeded."""
        whole = [label for label, run in self if run.complete] or self.labels  # part of a day has no share of the day
        for label in whole:
            ordered = np.sort(of_run[label])[::-1]
            share = 100.0 * (np.arange(len(ordered)) + 0.5) / len(ordered)
            axes.plot(share, ordered, color=self.colour(label), linestyle=self.dashes(label), label=label)
        axes.set_xlim(0, 100)
        axes.set_xlabel("share of the time [%]")

    def stopped(self, label: str) -> str:
        """Clock time at which a run ended before its last step; empty where it did not."""
        run = self.trajectories[label]
        return "" if run.complete else clock(run, run.steps)


def edges_of(run: Trajectory) -> Float:
    """Borders of the steps of a run on the time axis, shape (step + 1,)."""
    return style.edges(run.exogenous.start, run.step_min, run.steps)


def clock(run: Trajectory, step: int) -> str:
    """Clock time at the start of a step, with its day in a run of more than one."""
    return clock_text(run.exogenous.start, step * run.step_min, run.steps * run.step_min)
