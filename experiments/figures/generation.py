"""Photovoltaic energy used against what the roofs could have given."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from cosim.contract import Float
from cosim.experiments.figures import style
from cosim.experiments.figures.runs import NothingToDrawError, Runs, edges_of
from cosim.measures import curtailed_kwh, energy_kwh
from cosim.trajectory import Trajectory

NOTICEABLE_KWH = 0.05


def draw(runs: Runs) -> style.Drawing:
    """Used and curtailed power over time: all roofs (left), and the home that loses most (right)."""
    if not any(run.exogenous.pv_available_kw.any() for _, run in runs):
        raise NothingToDrawError("there is no photovoltaic generation on this day")
    cutting = [(label, run) for label, run in runs if lost_kwh(run).sum() > NOTICEABLE_KWH]
    using_all = [label for label in runs.labels if label not in {name for name, _ in cutting}]
    marked = [f"{label} (stopped {runs.stopped(label)})" if runs.stopped(label) else label for label in using_all]
    longest = max(using_all, key=lambda label: runs.trajectories[label].steps, default="")
    shown = [(", ".join(marked), runs.trajectories[longest])] if using_all else []
    shown += cutting
    width = 2 if cutting else 1
    figure, (panels,) = style.sheet(style.Block(len(shown) * width, width, 1.3, share_y="column"))
    for row, (label, run) in enumerate(shown):
        stopped = runs.stopped(label) if label in runs.labels else ""
        _all_roofs(panels[row * width], run, label, stopped)
        if width == 2:
            _worst_home(panels[row * width + 1], run, stopped)
    style.clock_axis(panels[0], runs.span)
    for axes in panels[-width:]:
        axes.set_ylim(bottom=0)  # the column shares its scale
    keys = [style.area_key(style.USED, "used", alpha=0.75), style.area_key(style.WITHHELD, "available, curtailed")]
    caption = style.CAPTIONS["photovoltaics"]
    if using_all and cutting:
        caption += style.CAPTIONS["photovoltaics_shared"].format(labels=", ".join(using_all))
    return style.finish(figure, _title(runs, cutting), caption, keys)


def lost_kwh(run: Trajectory) -> Float:
    """Curtailed energy of every home, shape (customer,) [kWh]."""
    return curtailed_kwh(run.exogenous.pv_available_kw, run.pv_kw, run.step_min)


def _used(axes: Axes, run: Trajectory, available_kw: Float, used_kw: Float) -> None:
    style.between(axes, edges_of(run), used_kw, available_kw, style.WITHHELD)
    style.between(axes, edges_of(run), 0.0, used_kw, style.USED, alpha=0.75)


def _all_roofs(axes: Axes, run: Trajectory, label: str, stopped: str) -> None:
    _used(axes, run, run.exogenous.pv_available_kw.sum(axis=1), run.pv_kw.sum(axis=1))
    lost, all_kwh = float(lost_kwh(run).sum()), float(energy_kwh(run.exogenous.pv_available_kw, run.step_min).sum())
    share = 100.0 * lost / all_kwh if all_kwh else 0.0
    several = "," in label
    summary = "" if several else f"{lost:.1f} of {all_kwh:.0f} kWh curtailed ({share:.1f} %)"
    style.panel_title(axes, label, summary, stopped)
    axes.set_ylabel("all roofs [kW]")


def _worst_home(axes: Axes, run: Trajectory, stopped: str) -> None:
    lost = lost_kwh(run)
    if lost.sum() <= NOTICEABLE_KWH:
        axes.text(0.5, 0.5, "no home is curtailed", transform=axes.transAxes, ha="center", va="center", color="#666666")
        axes.set_axis_off()
        return
    own_kwh = energy_kwh(run.exogenous.pv_available_kw, run.step_min)
    share = np.divide(lost, own_kwh, out=np.zeros_like(lost), where=own_kwh > 0)
    home = int(share.argmax())
    _used(axes, run, run.exogenous.pv_available_kw[:, home], run.pv_kw[:, home])
    summary = f"{lost[home]:.1f} of {own_kwh[home]:.1f} kWh curtailed ({100 * share[home]:.1f} %)"
    style.panel_title(axes, f"worst home: {run.feeder.customers[home]}", summary, stopped)
    axes.set_ylabel("this roof [kW]")


def _title(runs: Runs, cutting: list[tuple[str, Trajectory]]) -> str:
    if not cutting:
        return "All available photovoltaic energy is used" + (" in every run" if len(runs) > 1 else "")
    most, run = max(cutting, key=lambda item: float(lost_kwh(item[1]).sum()))
    lost = float(lost_kwh(run).sum())
    if len(runs) == 1:
        return f"Of the available photovoltaic energy, {lost:.1f} kWh are curtailed"
    return f"Photovoltaic energy is curtailed in {len(cutting)} of {len(runs)} runs, most in {most}: {lost:.1f} kWh"
