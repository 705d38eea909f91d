"""Home by home: what each pays, and how much of its sun is curtailed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes

from cosim.contract import Float
from cosim.experiments.figures import style
from cosim.experiments.figures.generation import NOTICEABLE_KWH, lost_kwh
from cosim.experiments.figures.runs import Runs
from cosim.measures import energy_kwh
from cosim.measures.derived import home_bills_eur
from cosim.trajectory import Trajectory

_SPREAD = (10.0, 50.0, 90.0)


def draw(runs: Runs) -> style.Drawing:
    """Bill of every home (left) and curtailed share of every roof (right), a row per run."""
    bills = {label: home_bills_eur(run) for label, run in runs}
    cut = {label: cut_percent(run) for label, run in runs}
    is_cut = any(lost_kwh(run).sum() > NOTICEABLE_KWH for _, run in runs)
    columns = 2 if is_cut else 1
    height_in = 0.55 + 0.3 * len(runs)
    figure, (panels,) = style.sheet(
        style.Block(columns, columns, height_in, share_x=False, share_y=True), header_in=0.95, left_in=1.4
    )
    _strips(panels[0], runs, bills)
    panels[0].set_xlabel("bill of a home [EUR]")
    if is_cut:
        _strips(panels[1], runs, cut)
        panels[1].set_xlabel("curtailed share of a home's sun [%]")
    keys = [
        style.line_key("#777777", "a home", marker="o", markersize=3.5, linestyle="none", alpha=0.6),
        style.line_key("black", "median", marker="|", markersize=11, markeredgewidth=2, linestyle="none"),
        style.line_key("black", "10 to 90 % of homes", linewidth=2.5, alpha=0.55),
    ]
    return style.finish(figure, _title(runs, bills, cut if is_cut else {}), style.CAPTIONS["homes"], keys)


def cut_percent(run: Trajectory) -> Float:
    """Curtailed share of every roof that has sun, shape (roof,) [%]."""
    own_kwh = energy_kwh(run.exogenous.pv_available_kw, run.step_min)
    return np.asarray(100.0 * lost_kwh(run)[own_kwh > 0] / own_kwh[own_kwh > 0])


def _strips(axes: Axes, runs: Runs, values: Mapping[str, Float]) -> None:
    """Draw a dot per home, spread over the height of its row in a fixed order, with median and spread."""
    for row, label in enumerate(runs.labels):
        of_homes = values[label]
        beside = 0.26 * np.sin(2.4 * np.arange(len(of_homes)))  # apart, and the same in every row
        axes.plot(of_homes, row + beside, "o", color=runs.colour(label), markersize=3.0, alpha=0.45, markeredgewidth=0)
        low, middle, high = np.percentile(of_homes, _SPREAD)
        axes.plot([low, high], [row, row], color="black", linewidth=2.5, alpha=0.55, solid_capstyle="butt")
        axes.plot([middle], [row], "|", color="black", markersize=11, markeredgewidth=2)
    names = [f"{label} (stopped {runs.stopped(label)})" if runs.stopped(label) else label for label in runs.labels]
    axes.set_yticks(range(len(runs)), names)
    axes.set_ylim(len(runs) - 0.5, -0.5)


def _title(runs: Runs, bills: Mapping[str, Float], cut: Mapping[str, Float]) -> str:
    low, middle, high = np.round(np.percentile(bills[runs.reference_label], _SPREAD), 2) + 0.0  # no minus before a zero
    title = f"The median bill under {runs.reference_label} is {middle:.2f} EUR"
    title = f"{title} (80 % of homes {low:.2f} to {high:.2f})".replace("-", "−")
    if not cut:
        return title
    most = max(cut, key=lambda label: float(cut[label].max()))
    hit = int((cut[most] > 1.0).sum())
    return f"{title}; {most} curtails {hit} of {len(cut[most])} roofs, by up to {cut[most].max():.0f} %"
