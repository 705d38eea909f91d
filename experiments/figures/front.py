"""Pareto fronts of some decisions, with the point that was chosen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, MaxNLocator

from cosim.artifacts import COLUMNS
from cosim.contract import Float
from cosim.controllers.pareto.objectives import OBJECTIVES
from cosim.experiments.figures import style
from cosim.experiments.figures.runs import NothingToDrawError, Runs, clock
from cosim.trajectory import Trajectory

SHOWN = 6
_REFERENCE = "#bbbbbb"
_SHORT = FormatStrFormatter("%.4g")  # a common factor above the axis would stand in the panel's title
_ROOM = 1.15  # of the front found: the reference may reach further than is worth drawing


@dataclass(frozen=True, eq=False)
class Front:
    """What one decision had to choose from.

    Attributes
    ----------
    step : int
        At which it took effect.
    names : tuple of str
        Of the objectives.
    points : ndarray, shape (point, objective)
        Of the front in units that a reader knows, and at the row ``chosen`` the one taken (-1: none of them).
    reference : ndarray or None, shape (point, objective)
        Points that it was judged by, where two axes can show them.
    reached : float
        Its share of their hypervolume; nan where it was not judged.
    """

    step: int
    names: tuple[str, ...]
    points: Float
    chosen: int
    reference: Float | None
    reached: float


def draw(runs: Runs) -> style.Drawing:
    """Fronts of decisions spread over the day, for every run that keeps them; the first two objectives."""
    shown = [(label, fronts_shown(run)) for label, run in runs]
    shown = [(label, fronts) for label, fronts in shown if fronts]
    if not shown:
        raise NothingToDrawError("no controller keeps a front of several points")
    columns = 3
    figure, blocks = style.sheet(
        *(style.Block(len(fronts), columns, 1.7, share_x=False, share_y=False) for _, fronts in shown)
    )
    for panels, (label, fronts) in zip(blocks, shown, strict=True):
        for axes, front in zip(panels, fronts, strict=True):
            _front(axes, front)
            style.panel_title(axes, f"{label}, {clock(runs.trajectories[label], front.step)}", _words(front))
    drawn = [front for _, fronts in shown for front in fronts]
    title = "What a decision had to choose from: trade-offs found, and the point chosen"
    return style.finish(figure, title, _caption(drawn), _keys(drawn))


def _keys(drawn: list[Front]) -> list[Line2D]:
    keys = [
        style.line_key(
            "none", "found", marker="o", markersize=5, markerfacecolor="#56B4E9", markeredgecolor=style.USED
        ),
        style.line_key("none", "chosen", marker="*", markersize=12, markerfacecolor="#D55E00", markeredgecolor="black"),
    ]
    judged = any(front.reference is not None for front in drawn)
    return [style.line_key(_REFERENCE, "reference", linewidth=4), *keys] if judged else keys


def _caption(drawn: list[Front]) -> str:
    """Say what is to be seen in these panels, and in no others."""
    said = {
        "pareto_front": True,
        "pareto_front_reference": any(front.reference is not None for front in drawn),
        "pareto_front_judged": any(np.isfinite(front.reached) for front in drawn),
        "pareto_front_third": any(front.points.shape[1] > 2 for front in drawn),
        "pareto_front_scales": True,
    }
    return "".join(style.CAPTIONS[name] for name, is_said in said.items() if is_said).format(shown=SHOWN)


def fronts_of(run: Trajectory) -> list[Front]:
    """Fronts that the controller of a run left behind, in order of time."""
    table, judged, ratios = run.table("front"), run.table("certificates"), dict[Any, float]()
    if table is None:
        return []
    names = tuple(str(name) for name in table.columns if name not in COLUMNS["front"])
    references = _by_step(run.table("reference"))
    if judged is not None:
        known = judged["hypervolume_reference"].astype(float)
        ratios = dict(zip(judged["step"], judged["hypervolume"] / known.where(known > 0.0), strict=True))
    fronts = []
    for step, points in _by_step(table).items():
        taken = np.flatnonzero(points["chosen"])
        reference = _plain(references[step][list(names)]) if step in references and len(names) == 2 else None
        shown = _plain(points[list(names)])
        fronts.append(
            Front(step, names, shown, int(taken[0]) if taken.size else -1, reference, float(ratios.get(step, np.nan)))
        )
    return fronts


def _plain(points: pd.DataFrame) -> Float:
    """Objectives in units that a reader knows: of a sum of squares its root."""
    shown = points.to_numpy(float, copy=True)
    for column, name in enumerate(points.columns):
        if name in OBJECTIVES and OBJECTIVES[name].unit.endswith("²"):
            shown[:, column] = np.sqrt(shown[:, column].clip(min=0.0))
    return shown


def _by_step(table: pd.DataFrame | None) -> dict[Any, pd.DataFrame]:
    return {} if table is None else dict(iter(table.groupby("step")))


def fronts_shown(run: Trajectory) -> list[Front]:
    """The richest fronts, each from its own part of the day, in order of time."""
    kept = [front for front in fronts_of(run) if front.points.shape[1] >= 2 and _choice(front)[0]]
    if len(kept) <= SHOWN:
        return kept
    parts = np.array_split(np.arange(len(kept)), SHOWN)
    return [kept[max(part, key=lambda index: _choice(kept[index]))] for part in parts]


def _words(front: Front) -> str:
    points = f"{len(front.points)} points"
    return f"{points}, hv {100.0 * front.reached:.1f} %" if np.isfinite(front.reached) else points


def axis_name(objective: str) -> str:
    """Name of an objective with its unit; that of another controller as it is."""
    known = OBJECTIVES.get(objective)
    if known is None:
        return objective.replace("_", " ")
    return f"{known.about.removesuffix(', squared')} [{known.unit.removesuffix('²')}]"


def _choice(front: Front) -> tuple[bool, int]:
    """How much there is to choose: whether there is a trade-off to see, and the number of points."""
    return bool((np.ptp(front.points[:, :2], axis=0) > 0).all()), len(front.points)


def _front(axes: Axes, front: Front) -> None:
    points, names = front.points, front.names
    order = np.argsort(points[:, 0])
    if front.reference is not None:
        reach = points[:, :2].min(axis=0) + _ROOM * np.ptp(points[:, :2], axis=0)
        near = front.reference[(front.reference <= reach).all(axis=1)]
        near = near[np.argsort(near[:, 0])]
        axes.plot(near[:, 0], near[:, 1], color=_REFERENCE, linewidth=5, solid_capstyle="round")
    dots: dict[str, Any] = {"color": "#56B4E9", "marker": "o", "markersize": 4}
    if points.shape[1] < 3:
        edges: dict[str, Any] = {"markeredgecolor": style.USED, "markeredgewidth": 0.6, "linewidth": 0.6}
        axes.plot(points[order, 0], points[order, 1], **dots, **edges)
    elif np.ptp(points[:, 2]) <= 0.0:
        axes.plot(points[:, 0], points[:, 1], linestyle="none", **dots)
    else:
        coloured = axes.scatter(points[:, 0], points[:, 1], c=points[:, 2], cmap="viridis", s=18, linewidths=0.0)
        bar = axes.figure.colorbar(coloured, ax=axes, pad=0.02)
        bar.set_label(axis_name(names[2]), fontsize="small")
        bar.ax.tick_params(labelsize="small")
        bar.ax.yaxis.set_major_formatter(_SHORT)
    if front.chosen >= 0:
        x, y = points[front.chosen, :2]
        axes.plot([x], [y], marker="*", markersize=13, color="#D55E00", markeredgecolor="black", linestyle="none")
    axes.set_xlabel(axis_name(names[0]))
    axes.set_ylabel(axis_name(names[1]))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(4))
        axis.set_major_formatter(_SHORT)
