"""Figures of a comparison: differences to the baseline, bills against voltages, and every factor in small multiples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cosim.experiments.comparison.paired import Comparison
from cosim.experiments.figures import style
from cosim.experiments.metric_table import metric_of
from cosim.experiments.words import counted

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
"""Controllers differ in shape too: colours are lost in grey."""

QUALITY = ("overvoltage_min", "undervoltage_min", "vuf_p95_percent")
BILL = "cost_with_penalty_eur"
"""With a price on what cars did not get: else it were cheapest to serve nobody."""
_PANEL_IN, _SIDE_IN = 2.2, 1.6


def draw(comparison: Comparison, measures: Sequence[str]) -> Mapping[str, style.Drawing]:
    """Draw everything that can be seen in a comparison, by name of the figure."""
    look = {
        name: {"color": style.RUN_COLOURS[at % len(style.RUN_COLOURS)], "marker": MARKERS[at % len(MARKERS)]}
        for at, name in enumerate(comparison.controllers)
    }
    drawn = {}
    if len(comparison.controllers) > 1:
        drawn["differences"] = _differences(comparison, measures, look)
    quality = [name for name in QUALITY if comparison.of(name)["mean"].any()]
    if quality and not comparison.of(BILL).empty and len(comparison.controllers) > 1:
        drawn["bills_and_voltages"] = _bills(comparison, quality, look)
    for factor in comparison.factors:
        drawn[f"by_{factor}"] = _of_factor(comparison, factor, measures, look)
    return drawn


def _extent(comparison: Comparison) -> str:
    placements = int(comparison.table["placements"].max())
    return f"{counted(placements, 'placement')}, {counted(comparison.compared, 'world')}"


def _intervals(axes: Axes, x: object, y: object, low: object, high: object, way: str, look: Mapping[str, Any]) -> None:
    """Draw a value and its interval; none where there is one placement."""
    x, y, low, high = (np.atleast_1d(np.asarray(value, dtype=float)) for value in (x, y, low, high))
    middle = x if way == "x" else y
    reach = np.nan_to_num(np.array([middle - low, high - middle]))
    axes.errorbar(
        x, y, **{f"{way}err": np.maximum(reach, 0.0)}, **look, linestyle="none", markersize=5, capsize=2.5,
        elinewidth=1.2, zorder=3,
    )  # fmt: skip


def _keys(look: Mapping[str, Mapping[str, Any]]) -> list[Line2D]:
    return [style.line_key(own["color"], name, marker=own["marker"], linestyle="none") for name, own in look.items()]


def _better(metric: str) -> str:
    words = metric_of(metric).direction[1]
    return f", {words}" if words else ""


def _differences(
    comparison: Comparison, measures: Sequence[str], look: Mapping[str, Mapping[str, Any]]
) -> style.Drawing:
    others = comparison.controllers[1:]
    height_in = 0.55 + 0.22 * len(others)
    figure, (panels,) = style.sheet(
        style.Block(len(measures), 2, height_in, share_x=False, share_y=True), left_in=_SIDE_IN, header_in=0.75
    )
    for axes, metric in zip(panels, measures, strict=True):
        rows = comparison.told(metric)
        for at, name in enumerate(others):
            if name in rows and np.isfinite(rows[name]["difference"]):
                own = rows[name]
                _intervals(axes, own["difference"], -at, own["difference_low"], own["difference_high"], "x", look[name])
        axes.axvline(0.0, color=style.LIMIT, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1.5)
        axes.set_yticks([-at for at in range(len(others))], others)
        axes.set_ylim(0.5 - len(others), 0.5)
        told = metric_of(metric)
        style.panel_title(axes, f"{told.meaning} [{told.unit or '1'}]", _better(metric).removeprefix(", "))
    title = f"{_finding(comparison, measures)}: {_extent(comparison)}"
    caption = (
        "Mean difference on the same worlds, with the 95 % interval of Student's t over placements; an interval that "
        "leaves out the dashed line is a difference that chance does not explain, one measure taken by itself."
    )
    return style.finish(figure, title, caption)


def _finding(comparison: Comparison, measures: Sequence[str]) -> str:
    """Say which controller helps most in the first measure that one of them improves beyond chance."""
    for metric in measures:
        told, sign = metric_of(metric), {"low": 1.0, "high": -1.0}.get(metric_of(metric).better)
        if sign is None:
            continue
        rows = {
            name: row
            for name, row in comparison.told(metric).items()
            if max(sign * row["difference_low"], sign * row["difference_high"]) < 0.0
        }
        if rows:
            best = min(rows, key=lambda name: sign * rows[name]["difference"])
            half = rows[best]["difference_high"] - rows[best]["difference"]
            by = f"{rows[best]['difference']:+.{told.digits}f} ± {half:.{told.digits}f} {told.unit}".replace("-", "−")
            return f"Against {comparison.baseline} (dashed) {best} helps most with {told.meaning}, {by}"
    return f"No controller improves a measure on {comparison.baseline} (dashed) beyond chance"


def _bills(comparison: Comparison, quality: Sequence[str], look: Mapping[str, Mapping[str, Any]]) -> style.Drawing:
    figure, (panels,) = style.sheet(style.Block(len(quality), len(quality), 3.2, share_x=False, share_y=False))
    bills = comparison.told(BILL)
    for axes, metric in zip(panels, quality, strict=True):
        told = metric_of(metric)
        for name, own in comparison.told(metric).items():
            bill = bills.get(name, {})
            x, low, high = (
                (0.0, 0.0, 0.0)
                if name == comparison.baseline
                else (bill.get(key, np.nan) for key in ("difference", "difference_low", "difference_high"))
            )
            _intervals(axes, x, own["mean"], low, high, "x", look[name])
            _intervals(axes, x, own["mean"], own["low"], own["high"], "y", look[name])
        if told.limit is not None:
            style.limit_line(axes, told.limit, f"{told.limit:g}")
        axes.set_xlabel(f"{metric_of(BILL).meaning}, above {comparison.baseline} [EUR]")
        axes.set_ylabel(f"{told.meaning} [{told.unit}]")
    title = f"Bills against voltages: {_extent(comparison)}"
    caption = (
        "Across: what all homes pay more than in the baseline on the same worlds, unserved energy at its penalty. Up: "
        "the measure itself. Bars are 95 % intervals over placements; those of bills are of the difference."
    )
    return style.finish(figure, title, caption, _keys(look))


def _of_factor(
    comparison: Comparison, factor: str, measures: Sequence[str], look: Mapping[str, Mapping[str, Any]]
) -> style.Drawing:
    figure, (panels,) = style.sheet(style.Block(len(measures), 2, _PANEL_IN, share_x=False, share_y=False))
    levels = comparison.levels(factor)
    counts = [comparison.worlds[factor, level] for level in levels]
    named = [
        level if left == of else f"{level}\n{left} of {of} worlds"
        for level, (left, of) in zip(levels, counts, strict=True)
    ]
    numbers = pd.to_numeric(pd.Series(levels), errors="coerce")
    at_level = dict(zip(levels, numbers if numbers.notna().all() else range(len(levels)), strict=True))
    apart = (max(at_level.values()) - min(at_level.values())) / max(len(levels) - 1, 1)
    for axes, metric in zip(panels, measures, strict=True):
        told, rows = metric_of(metric), comparison.of(metric, factor)
        for at, (name, own) in enumerate(look.items()):
            found = rows[rows["controller"] == name]
            beside = apart * 0.5 * ((at + 0.5) / len(look) - 0.5)
            x = found["level"].map(at_level).to_numpy(dtype=float) + beside
            _intervals(axes, x, found["mean"], found["low"], found["high"], "y", own)
            axes.plot(x, found["mean"], color=own["color"], linewidth=0.8, alpha=0.6)
        if told.limit is not None:
            style.limit_line(axes, told.limit, f"{told.limit:g}")
        axes.set_xticks(list(at_level.values()), named)
        style.panel_title(axes, f"{told.meaning} [{told.unit or '1'}]", _better(metric).removeprefix(", "))
    title = f"By {factor.replace('_', ' ')}: {_extent(comparison)}"
    caption = "Mean of all worlds at each level with its 95 % interval over placements, controllers side by side."
    return style.finish(figure, title, caption, _keys(look))
