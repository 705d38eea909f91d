"""Pareto fronts of some decisions, with the point that was chosen."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from cosim.contract import Decision
from experiments.figures import style
from experiments.figures.runs import NothingToDrawError, Runs, clock

SHOWN = 6
AXIS_NAMES = {
    "unbalance_current": "unbalance current, squared [A²]",
    "pv_curtailment": "PV curtailment, squared [kW²]",
}
"""Objectives of the shipped controllers; others are shown by their own names."""


def draw(runs: Runs) -> style.Drawing:
    """Fronts of decisions spread over the day, for every run that keeps them; the first two objectives."""
    shown = [(label, decisions_shown(run.decisions)) for label, run in runs]
    shown = [(label, decisions) for label, decisions in shown if decisions]
    if not shown:
        raise NothingToDrawError("no controller keeps a front of several points")
    columns = 3
    figure, blocks = style.sheet(
        *(style.Block(len(decisions), columns, 1.7, share_x=False, share_y=False) for _, decisions in shown)
    )
    for panels, (label, decisions) in zip(blocks, shown, strict=True):
        for axes, (step, decision) in zip(panels, decisions, strict=True):
            _front(axes, decision)
            style.panel_title(axes, f"{label}, {clock(runs.trajectories[label], step)}", f"{_points(decision)} points")
    title = "What a decision had to choose from: trade-offs found, and the point chosen"
    keys = [
        style.line_key(
            "none", "found", marker="o", markersize=5, markerfacecolor="#56B4E9", markeredgecolor=style.USED
        ),
        style.line_key("none", "chosen", marker="*", markersize=12, markerfacecolor="#D55E00", markeredgecolor="black"),
    ]
    style.heading(figure, title, keys)
    return style.Drawing(figure, title, (
        f"Non-dominated points of up to {SHOWN} decisions of each run: the richest in each part of the "
        "day. Lower and further left is better. Only the first two objectives are drawn. Scales differ between panels."
    ))  # fmt: skip


def decisions_shown(decisions: tuple[tuple[int, Decision], ...]) -> list[tuple[int, Decision]]:
    """Decisions with the richest fronts, each from its own part of the day, in order of time."""
    kept = [(step, d) for step, d in decisions if d.front is not None and d.front.shape[1] >= 2 and len(d.front) >= 2]
    if len(kept) <= SHOWN:
        return kept
    parts = np.array_split(np.arange(len(kept)), SHOWN)
    return [kept[max(part, key=lambda index: _choice(kept[index][1]))] for part in parts]


def _points(decision: Decision) -> int:
    return 0 if decision.front is None else len(decision.front)


def _choice(decision: Decision) -> tuple[bool, int]:
    """How much there is to choose: a real trade-off first, then the number of points."""
    front = decision.front
    return (False, 0) if front is None else (bool((np.ptp(front[:, :2], axis=0) > 0).all()), len(front))


def _front(axes: Axes, decision: Decision) -> None:
    points = decision.front
    if points is None:
        return
    order = np.argsort(points[:, 0])
    axes.plot(
        points[order, 0], points[order, 1], color="#56B4E9", marker="o", markersize=4, markeredgecolor=style.USED,
        markeredgewidth=0.6, linewidth=0.6,
    )  # fmt: skip
    if 0 <= decision.chosen < len(points):
        x, y = points[decision.chosen, :2]
        axes.plot([x], [y], marker="*", markersize=13, color="#D55E00", markeredgecolor="black", linestyle="none")
    names = decision.front_names if len(decision.front_names) >= 2 else ("objective 1", "objective 2")
    axes.set_xlabel(AXIS_NAMES.get(names[0], names[0].replace("_", " ")))
    axes.set_ylabel(AXIS_NAMES.get(names[1], names[1].replace("_", " ")))
    axes.ticklabel_format(style="sci", scilimits=(-3, 5), useMathText=True)
