"""Pareto fronts of some decisions, with the point that was chosen."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, MaxNLocator

from cosim.contract import Decision, Float
from cosim.controllers.pareto.objectives import OBJECTIVES
from cosim.experiments.figures import style
from cosim.experiments.figures.runs import NothingToDrawError, Runs, clock

SHOWN = 6
_REFERENCE = "#bbbbbb"
_SHORT = FormatStrFormatter("%.4g")  # a common factor above the axis would stand in the panel's title
_ROOM = 1.15  # of the front found: the reference may reach further than is worth drawing


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
            style.panel_title(axes, f"{label}, {clock(runs.trajectories[label], step)}", _words(decision))
    drawn = [decision for _, decisions in shown for _, decision in decisions]
    title = "What a decision had to choose from: trade-offs found, and the point chosen"
    style.heading(figure, title, _keys(drawn))
    return style.Drawing(figure, title, _caption(drawn))


def _keys(drawn: list[Decision]) -> list[Line2D]:
    keys = [
        style.line_key(
            "none", "found", marker="o", markersize=5, markerfacecolor="#56B4E9", markeredgecolor=style.USED
        ),
        style.line_key("none", "chosen", marker="*", markersize=12, markerfacecolor="#D55E00", markeredgecolor="black"),
    ]
    judged = any(_has_reference(decision) for decision in drawn)
    return [style.line_key(_REFERENCE, "reference", linewidth=4), *keys] if judged else keys


def _caption(drawn: list[Decision]) -> str:
    words = [
        f"Non-dominated points of up to {SHOWN} decisions of each run: the richest in each part of the day. Lower and "
        "further left is better."
    ]
    if any(_has_reference(decision) for decision in drawn):
        words.append(
            "Grey: the reference by which a front was judged, of unbalance current against curtailment the exact front "
            "of the linearised network (chargers' 6 A minimum left out), evaluated on the full one; the search began "
            "with it unless it was told not to."
        )
    if any(decision.hypervolume_reference > 0.0 for decision in drawn):
        words.append("hv: share of the reference's hypervolume.")
    if any(_third(decision) is not None for decision in drawn):
        words.append(
            "The third objective, where it varies, is the colour of the points: dark is better, light is worse."
        )
    return " ".join([*words, "Scales differ between panels."])


def _has_reference(decision: Decision) -> bool:
    """Whether there is a reference that two axes can show."""
    return decision.reference is not None and decision.reference.shape[1] == 2


def _third(decision: Decision) -> Float | None:
    """The third objective of the points, where there is one."""
    points = decision.front
    return None if points is None or points.shape[1] < 3 else np.asarray(points[:, 2])


def decisions_shown(decisions: tuple[tuple[int, Decision], ...]) -> list[tuple[int, Decision]]:
    """Decisions with the richest fronts, each from its own part of the day, in order of time."""
    kept = [(step, d) for step, d in decisions if d.front is not None and d.front.shape[1] >= 2 and _choice(d)[0]]
    if len(kept) <= SHOWN:
        return kept
    parts = np.array_split(np.arange(len(kept)), SHOWN)
    return [kept[max(part, key=lambda index: _choice(kept[index][1]))] for part in parts]


def _words(decision: Decision) -> str:
    points = 0 if decision.front is None else len(decision.front)
    if not decision.hypervolume_reference > 0.0:
        return f"{points} points"
    return f"{points} points, hv {100.0 * decision.hypervolume / decision.hypervolume_reference:.1f} %"


def axis_name(objective: str) -> str:
    """Name of an objective with its unit; that of another controller as it is."""
    known = OBJECTIVES.get(objective)
    return objective.replace("_", " ") if known is None else f"{known.about} [{known.unit}]"


def _choice(decision: Decision) -> tuple[bool, int]:
    """How much there is to choose: whether there is a trade-off to see, and the number of points."""
    front = decision.front
    return (False, 0) if front is None else (bool((np.ptp(front[:, :2], axis=0) > 0).all()), len(front))


def _names(decision: Decision) -> tuple[str, ...]:
    objectives = 0 if decision.front is None else decision.front.shape[1]
    known = decision.front_names
    return known if len(known) == objectives else tuple(f"objective {index + 1}" for index in range(objectives))


def _front(axes: Axes, decision: Decision) -> None:
    points = decision.front
    if points is None:
        return
    order = np.argsort(points[:, 0])
    if decision.reference is not None and _has_reference(decision):
        reach = points[:, :2].min(axis=0) + _ROOM * np.ptp(points[:, :2], axis=0)
        near = decision.reference[(decision.reference[:, :2] <= reach).all(axis=1)]
        near = near[np.argsort(near[:, 0])]
        axes.plot(near[:, 0], near[:, 1], color=_REFERENCE, linewidth=5, solid_capstyle="round")
    third, names = _third(decision), _names(decision)
    if third is None:
        axes.plot(
            points[order, 0], points[order, 1], color="#56B4E9", marker="o", markersize=4, markeredgecolor=style.USED,
            markeredgewidth=0.6, linewidth=0.6,
        )  # fmt: skip
    elif np.ptp(third) <= 0.0:
        axes.plot(points[:, 0], points[:, 1], color="#56B4E9", marker="o", markersize=4, linestyle="none")
    else:
        dots = axes.scatter(points[:, 0], points[:, 1], c=third, cmap="viridis", s=18, linewidths=0.0)
        bar = axes.figure.colorbar(dots, ax=axes, pad=0.02)
        bar.set_label(axis_name(names[2]), fontsize="small")
        bar.ax.tick_params(labelsize="small")
        bar.ax.yaxis.set_major_formatter(_SHORT)
    if 0 <= decision.chosen < len(points):
        x, y = points[decision.chosen, :2]
        axes.plot([x], [y], marker="*", markersize=13, color="#D55E00", markeredgecolor="black", linestyle="none")
    axes.set_xlabel(axis_name(names[0]))
    axes.set_ylabel(axis_name(names[1]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(_SHORT)
