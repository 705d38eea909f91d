"""Cables: loading of the most loaded rated lines over time, and how long each loading is exceeded."""

from __future__ import annotations

import numpy as np
from matplotlib.artist import Artist

from cosim.contract import Float, Int
from cosim.experiments.figures import style
from cosim.experiments.figures.runs import NothingToDrawError, Runs, edges_of
from cosim.experiments.words import in_runs, minutes
from cosim.measures.derived import line_percent

SHOWN = 3
_ALIKE = 0.98  # of the correlation of two loadings: sections of one cable, of which one is enough


def draw(runs: Runs) -> style.Drawing:
    """Loading over time, one panel per run, and duration curves of the worst line of all runs below."""
    lines = runs.reference.rated_lines
    if not lines:
        raise NothingToDrawError("no line of the feeder has a rating")
    shown = most_loaded(runs)
    figure, (panels, (curves,)) = runs.grid(runs.labels, 1.25, "worst phase\n[% of rating]", style.Block(1, 1, 1.7))
    for axes, (label, run) in zip(panels, runs, strict=True):
        percent, times = line_percent(run), edges_of(run)
        for row, colour in reversed(list(zip(shown, style.PHASE_COLOURS, strict=False))):
            style.steps(axes, times, percent[:, row], colour, linewidth=0.9)
        style.above_rating(axes, times, np.fmax.reduce(percent, axis=1))
        over = minutes(runs.metric(label, "line_overload_min"))
        summary = f"peak {runs.metric(label, 'line_peak_percent'):.0f} % in {runs.place(label, 'line_peak_percent')}"
        style.panel_title(axes, label, f"{summary}, {over} over", runs.stopped(label))
    panels[0].set_ylim(bottom=0)
    runs.duration(curves, {label: np.fmax.reduce(line_percent(run), axis=1) for label, run in runs})
    style.limit_line(curves, 100.0, "100 %")
    curves.set_ylabel("worst line [%]")
    style.legend_above(curves, "Duration of the worst line's loading")
    keys: list[Artist] = [
        style.line_key(colour, f"{lines[row].name}, {lines[row].rating_a:.0f} A")
        for row, colour in zip(shown, style.PHASE_COLOURS, strict=False)
    ]
    keys += [style.line_key(style.LIMIT, "rating", linestyle="--"), style.area_key(style.BAD, "above it", alpha=0.25)]
    over_in = [label for label in runs.labels if runs.metric(label, "line_overload_min") > 0]
    title = f"{'A' if over_in else 'No'} line is above its rating {in_runs(over_in, len(runs))}"
    peaks = runs.known("line_peak_percent", runs.labels)
    most = max(peaks, key=lambda label: peaks[label])
    title += f"; most: {runs.place(most, 'line_peak_percent')}, {peaks[most]:.0f} %" + f" ({most})" * (len(runs) > 1)
    return style.finish(figure, title, style.CAPTIONS["cable_loading"], keys)


def most_loaded(runs: Runs) -> Int:
    """Columns of the lines with the highest peaks in any run, without further sections of one that is shown already."""
    percent = [np.nan_to_num(line_percent(run)) for _, run in runs]
    peaks = np.max([of_run.max(axis=0) for of_run in percent], axis=0)
    order = np.argsort(-peaks.round(6), kind="stable")  # lines in a row carry the same, but for rounding
    at_once: Float = np.concatenate(percent)
    shown: list[int] = []
    for row in order.tolist():
        if len(shown) == SHOWN or not at_once[:, row].any():
            break
        if all(_apart(at_once[:, row], at_once[:, other]) for other in shown):
            shown.append(row)
    return np.array(shown, dtype=np.int64)


def _apart(one: Float, other: Float) -> bool:
    spread = one.std() * other.std()
    return bool(spread == 0.0 or ((one - one.mean()) * (other - other.mean())).mean() < _ALIKE * spread)
