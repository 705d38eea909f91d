"""Voltage unbalance at the customers' buses and neutral current, over time and as duration curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from matplotlib.axes import Axes

from cosim.contract import Float
from cosim.experiments.figures import style
from cosim.experiments.figures.runs import NothingToDrawError, Runs
from cosim.experiments.words import signed
from cosim.measures import branch_neutral_a, ten_minute_rms, vuf_percent
from cosim.trajectory import Trajectory

WINDOW_MIN = 10.0


@dataclass(frozen=True)
class Side:
    """One quantity: its axis, its values by run, the length of a value, and the metrics that sum it up."""

    axis: str
    of_run: Mapping[str, Float]
    window_min: float
    summary: Callable[[str], str]
    limit: float | None = None


def draw(runs: Runs) -> style.Drawing:
    """Unbalance factor (left) and neutral current (right) of every run, and duration curves of all runs below."""
    sides = _sides(runs)
    if not sides:
        raise NothingToDrawError("no customer's bus and no monitored branch has three phases")
    width = len(sides)
    figure, (small, curves) = style.sheet(
        style.Block(len(runs) * width, width, 0.95, share_y="column"),
        style.Block(width, width, 1.7, share_x=False, share_y=False),
    )
    for column, side in enumerate(sides):
        for row, label in enumerate(runs.labels):
            _over_time(small[row * width + column], runs, label, side)
        small[column].set_ylim(bottom=0)  # the column shares its scale
        _duration(curves[column], runs, side)
    style.clock_axis(small[0], runs.span)
    style.legend_above(curves[0], "Duration curves", columns=len(runs))
    others = [f"{runs.reference_label}, for comparison"] if len(runs) > 1 else []
    keys = [style.line_key(style.USED, "this run"), *(style.line_key(style.REFERENCE, name) for name in others)]
    standard = runs.reference.feeder.standard
    asked = f"asks for 95 % of the windows below {standard.vuf_percent:g} %"
    asked = asked if np.isfinite(standard.vuf_percent) else "has no limit for it"
    caption = style.CAPTIONS["unbalance"].format(limit=f"{standard.title} {asked}")
    return style.finish(figure, _title(runs), caption, keys)


def _sides(runs: Runs) -> list[Side]:
    vuf = {label: worst_vuf(run) for label, run in runs}
    neutral = {label: neutral_a(run) for label, run in runs}
    step_min, limit = runs.reference.step_min, runs.reference.feeder.standard.vuf_percent

    def vuf_words(label: str) -> str:
        usual, most = runs.metric(label, "vuf_p95_percent"), runs.metric(label, "vuf_max_percent")
        return f"95 % of all buses: {usual:.2f} %, max {most:.2f} %"

    def neutral_words(label: str) -> str:
        return f"95 %: {runs.metric(label, 'neutral_current_p95_a'):.0f} A, max {neutral[label].max():.0f} A"

    both = (
        Side("VUF [%]", vuf, max(WINDOW_MIN, step_min), vuf_words, limit if np.isfinite(limit) else None),
        Side("neutral [A]", neutral, step_min, neutral_words),
    )
    return [side for side in both if all(values.size for values in side.of_run.values())]


def worst_vuf(run: Trajectory) -> Float:
    """10-minute unbalance factor of the worst of the customers' buses, shape (window,) [%]; empty where none has."""
    voltages = run.three_phase_customer_v
    if not voltages.shape[1]:
        return np.empty(0)
    return np.asarray(ten_minute_rms(vuf_percent(voltages), run.step_min).max(axis=1))


def neutral_a(run: Trajectory) -> Float:
    """Neutral current of the worst monitored branch, shape (step,) [A]; empty where there is none."""
    whole = [branch for branch in run.feeder.monitored_branches if {1, 2, 3} <= set(branch.phases)]
    return np.asarray(branch_neutral_a(whole, run.node_v).max(axis=1)) if whole else np.empty(0)


def _over_time(axes: Axes, runs: Runs, label: str, side: Side) -> None:
    for name, colour in ((runs.reference_label, style.REFERENCE), (label, style.USED)):
        start, values = runs.trajectories[name].exogenous.start, side.of_run[name]
        times = np.minimum(style.edges(start, side.window_min, len(values)), runs.span[1])
        style.steps(axes, times, values, colour, linewidth=1.0)
    axes.set_ylabel(side.axis)
    if side.limit is not None:
        style.limit_line(axes, side.limit, f"{side.limit:g} %")
    style.panel_title(axes, label, side.summary(label), runs.stopped(label))


def _duration(axes: Axes, runs: Runs, side: Side) -> None:
    runs.duration(axes, side.of_run)
    if side.limit is not None:
        style.limit_line(axes, side.limit, f"{side.limit:g} %")
    axes.set_ylim(bottom=0)
    axes.set_ylabel(side.axis)


def _title(runs: Runs) -> str:
    if len(runs) == 1:
        return "Unbalance of voltages and neutral current over the day"
    reference = runs.metric(runs.reference_label, "neutral_current_p95_a")
    known = runs.known("neutral_current_p95_a", [label for label, run in runs if run.complete])
    lowest, value = min(known.items(), key=itemgetter(1), default=(runs.reference_label, np.nan))
    if lowest == runs.reference_label or not reference > 0:
        return f"Unbalance and neutral current against {runs.reference_label}: no run lowers its neutral current"
    change = signed(100.0 * (value / reference - 1.0), ".0f")
    return f"Neutral current (95 %) is lowest with {lowest}: {value:.0f} A, {change} % against {runs.reference_label}"
