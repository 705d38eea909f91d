"""The plan drawn: vehicle by vehicle, and stacked under the capacity."""

from __future__ import annotations

from datetime import datetime

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from cosim.contract import Float
from cosim.controllers.planner.plan import Planned
from cosim.controllers.planner.stays import presence
from cosim.experiments.figures import style

HEADER_IN = 0.75
MOST_NAMED = 60
"""Up to so many vehicles are told apart; more are stacked by the hour of their arrival."""


def draw_plan(planning: Planned, start: datetime | None, label: str = "") -> dict[str, style.Drawing]:
    """Both figures by file name."""
    made = {"heatmap.png": draw_heatmap, "stack.png": draw_stack}
    return {name: draw(planning, start, label) for name, draw in made.items()}


def draw_heatmap(planning: Planned, start: datetime | None, label: str = "") -> style.Drawing:
    """Charging power, vehicle × time, the first arrival on top."""
    requests, best = planning.requests, planning.best
    order = np.lexsort((requests.departure_step, requests.arrival_step))
    height_in = float(np.clip(0.13 * len(requests), 1.6, 6.0))
    figure, ((axes,),) = style.sheet(style.Block(1, 1, height_in), header_in=HEADER_IN, right_in=1.0)
    vehicle, step, _ = presence(requests.arrival_step, requests.departure_step)
    there = np.zeros(best.power_kw.shape)
    there[step, vehicle] = 1.0
    times = _edges(planning, start)
    extent = (times[0], times[-1], len(requests) - 0.5, -0.5)
    top_kw = float(requests.power_max_kw.max())
    image = style.charging(axes, extent, there[:, order], best.power_kw[:, order], top_kw)
    named = len(requests) <= MOST_NAMED // 2
    axes.set_ylabel("vehicle" if named else f"{len(requests)} vehicles")
    names = {k: requests.vehicle[vehicle] for k, vehicle in enumerate(order)} if named else {}
    axes.set_yticks(list(names), list(names.values()), fontsize=7)
    _time_axis(axes, planning, start)
    style.charging_scale(figure, image, axes)
    title = "Who charges when" + (f" – {label}" if label else "")
    caption = "One row per vehicle, the first arrival on top. Colour: planned charging power; grey: plugged in."
    return style.finish(figure, title, caption, [style.area_key(style.PLUGGED, "there, not charging")])


def draw_stack(planning: Planned, start: datetime | None, label: str = "") -> style.Drawing:
    """Charging powers on top of each other, with the capacity and, where it changes, the tariff below."""
    station = planning.station
    priced = bool(np.ptp(station.tariff_eur_per_kwh) > 0)
    blocks = [style.Block(1, 1, 3.2)] + ([style.Block(1, 1, 0.7)] if priced else [])
    figure, ((axes,), *below) = style.sheet(*blocks, header_in=HEADER_IN)
    times = _edges(planning, start)
    groups, colours = _groups(planning)
    floor = np.zeros(len(times))
    for power_kw, colour in zip(groups, colours, strict=True):
        top = floor + style.hold(power_kw)
        axes.fill_between(times, floor, top, step="post", facecolor=colour, edgecolor="white", linewidth=0.4)
        floor = top
    axes.step(times, floor, where="post", color="black", linewidth=1.0)
    limited = np.isfinite(station.capacity_kw)
    keys = [style.line_key("black", "all together")]
    if limited.any():
        capacity_kw = np.where(limited, station.capacity_kw, np.nan)
        style.steps(axes, times, capacity_kw, style.BAD, linestyle="--", linewidth=1.2)
        keys.append(style.line_key(style.BAD, "capacity", linestyle="--"))
    highest = max(float(station.capacity_kw[limited].max(initial=0.0)), planning.best.peak_kw, 1e-3)
    axes.set_ylim(0.0, 1.12 * highest)
    axes.set_ylabel("power [kW]")
    _time_axis(axes, planning, start)
    for (lower,) in below:
        style.steps(lower, times, station.tariff_eur_per_kwh, style.USED)
        lower.set_ylabel("EUR/kWh")
        _time_axis(lower, planning, start)
    one = "one colour per vehicle" if len(planning.requests) <= MOST_NAMED else "one colour per hour of arrival"
    title = "The station under its capacity" + (f" – {label}" if label else "")
    keys.append(style.line_key("none", f"{one}, the earliest at the bottom"))
    caption = f"Planned charging powers, stacked: {one}. The dashed line is the capacity."
    return style.finish(figure, title, caption, keys)


def _groups(planning: Planned) -> tuple[list[Float], Float]:
    """Powers to stack, each shape (step,), and their colours, early arrivals first."""
    arrival, power_kw = planning.requests.arrival_step, planning.best.power_kw
    if len(arrival) <= MOST_NAMED:
        order = np.argsort(arrival, kind="stable")
        groups = [power_kw[:, k] for k in order]
    else:
        hour = np.floor(arrival * planning.station.step_h)
        groups = [power_kw[:, hour == value].sum(axis=1) for value in np.unique(hour)]
    shades = np.linspace(0.08, 0.95, max(len(groups), 2))[: len(groups)]
    colours: Float = mpl.colormaps["viridis"](shades)
    return groups, colours


def _edges(planning: Planned, start: datetime | None) -> Float:
    station = planning.station
    if start is None:
        return np.arange(station.steps + 1.0)
    return style.edges(start.replace(tzinfo=None), station.step_s / 60.0, station.steps)


def _time_axis(axes: Axes, planning: Planned, start: datetime | None) -> None:
    """Clock times over the part of the horizon in which vehicles are there; steps where there are no dates."""
    requests, times = planning.requests, _edges(planning, start)
    first = max(int(np.floor(requests.arrival_step.min())) - 2, 0)
    last = min(int(np.ceil(requests.departure_step.max())) + 2, planning.station.steps)
    span = (float(times[first]), float(times[last]))
    if start is not None:
        style.clock_axis(axes, span, most=16)
        return
    axes.set_xlim(*span)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=16))
    axes.set_xlabel(f"step of {planning.station.step_s:g} s")
