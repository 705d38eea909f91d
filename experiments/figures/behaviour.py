"""What homes that ignore their caps do to a promise: loading, excess and withheld headroom over their share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes

from cosim.experiments.figures import style
from cosim.experiments.figures.runs import OVERLOADS, NothingToDrawError, Runs
from cosim.experiments.promise_table import ANTICIPATED, SAFE, PromiseRow
from cosim.experiments.words import minutes

LOOKS = ((style.USED, "o", "-"), (style.WITHHELD, "s", "--"), ("#009E73", "^", "-."), ("#CC79A7", "D", ":"))
ROWS = (
    ("transformer_peak_percent", "transformer [%]"),
    ("line_peak_percent", "worst line [%]"),
    ("excess_max_kva", "above promise [kVA]"),
    ("withheld_kwh", "withheld [kWh]"),
)


def draw(runs: Runs, promises: Sequence[PromiseRow]) -> style.Drawing:
    """Draw three measures over the share of homes that ignore caps: a column per forecast, a line per plan."""
    planned = [row for row in promises if row.promised]
    if len({row.noncompliant_share for row in planned}) < 2:
        raise NothingToDrawError("no two runs with a promise differ in how many homes ignore their caps")
    forecasts = list(dict.fromkeys(row.forecast for row in planned))
    looks = dict(zip(dict.fromkeys((row.controller, row.coordination) for row in planned), cycle(LOOKS)))
    figure, (panels,) = style.sheet(style.Block(len(ROWS) * len(forecasts), len(forecasts), 1.5, share_y="row"))
    for number, axes in enumerate(panels):
        (measure, words), column = ROWS[number // len(forecasts)], number % len(forecasts)
        shown = [row for row in planned if row.forecast == forecasts[column]]
        for name, look in looks.items():
            _line(axes, [row for row in shown if (row.controller, row.coordination) == name], measure, look)
        if measure in OVERLOADS:
            _limits(axes, runs, shown, measure)
        if number < len(forecasts):
            style.panel_title(axes, f"forecast: {forecasts[column]}")
        if column == 0:
            axes.set_ylabel(words)
        _shares_axis(axes, planned)
    for axes in panels[:: len(forecasts)]:  # a scale is shared by its row, which is complete only now
        axes.set_ylim(0, 1.08 * axes.get_ylim()[1])
    for axes in panels[-len(forecasts) :]:
        axes.set_xlabel("homes that ignore their caps [%]")
    keys = [
        style.line_key(colour, " ".join(filter(None, name)), marker=marker, linestyle=dashes)
        for name, (colour, marker, dashes) in looks.items()
    ]
    keys += [style.line_key(style.LIMIT, "limit", linestyle="--"), style.line_key(style.REFERENCE, "without control")]
    return style.finish(figure, _title(planned), style.CAPTIONS["behaviour"], keys)


def _line(axes: Axes, rows: Sequence[PromiseRow], measure: str, look: tuple[str, str, str]) -> None:
    colour, marker, dashes = look
    ordered = sorted(rows, key=lambda row: row.noncompliant_share)
    x, y = [100 * row.noncompliant_share for row in ordered], [getattr(row, measure) for row in ordered]
    axes.plot(x, y, color=colour, marker=marker, linestyle=dashes, markersize=5)
    if measure not in OVERLOADS:
        return
    for row, at, value in zip(ordered, x, y, strict=True):
        over_min = getattr(row, OVERLOADS[measure])
        if over_min > 0:
            below = row.coordination == SAFE  # beside the other's, where both are alike
            axes.annotate(
                minutes(over_min), (at, value), xytext=(7, -9 if below else 4), textcoords="offset points",
                fontsize=8, color=colour,
            )  # fmt: skip


def _limits(axes: Axes, runs: Runs, rows: Sequence[PromiseRow], measure: str) -> None:
    style.limit_line(axes, 100.0, "100 %")
    free = runs.metric(runs.reference_label, measure)
    if runs.reference_label not in {row.label for row in rows} and np.isfinite(free):
        axes.axhline(free, color=style.REFERENCE, linewidth=1.0)


def _shares_axis(axes: Axes, rows: Sequence[PromiseRow]) -> None:
    shares = sorted({100 * row.noncompliant_share for row in rows})
    axes.set_xticks(shares)
    axes.set_xlim(shares[0] - 0.04 * shares[-1], shares[-1] * 1.12)


def _title(rows: Sequence[PromiseRow]) -> str:
    """Say which plans held the rating in every world, and which did not."""
    said = []
    for coordination in (ANTICIPATED, SAFE):
        of_it = [row for row in rows if row.coordination == coordination]
        over = sum(row.overload_min > 0 for row in of_it)
        if of_it:
            worst_percent = max(max(row.transformer_peak_percent, row.line_peak_percent) for row in of_it)
            said.append(f"{coordination} in {over} of {len(of_it)} runs (up to {worst_percent:.0f} %)")
    if said:
        return "A rating is exceeded under " + ", ".join(said)
    return "Loading, excess and withheld headroom by the share of homes that ignore their caps"
