"""Figures of ``powertrip``: the seed's three, then what its index does not see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from cosim.contract import Float
from cosim.experiments.figures import style
from cosim.experiments.studies.powertrip.data import STEP_MIN, Place
from cosim.experiments.studies.powertrip.measures import Delivered

COLOURS = ("#9A9A9A", "#000000", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00", "#56B4E9")
AVAILABLE = "#BBBBBB"
LOW_PU = 0.94
MARGIN_H = 0.25
NEAR_PU = 0.03  # a limit this near is drawn, one farther away is only named
VUF_LIMIT_PERCENT = 2.0
HEADROOM = 1.05  # of the largest value, so that its line is not cut by the panel's edge


def draw(place: Place, shown: Mapping[str, Delivered]) -> dict[str, style.Drawing]:
    """Draw the cases to show, in their order; figures by name."""
    return {
        "pui": draw_over_time(place, shown, "pui_percent", "PUI [%]", "The seed's index at the three lines"),
        "neutral_current": draw_over_time(
            place, shown, "neutral_a", "neutral current [A]", "Neutral current at the same lines"
        ),
        "voltage_unbalance": draw_voltage_unbalance(place, shown),
        "lowest_voltage": draw_lowest_voltage(place, shown),
        "pv_use": draw_pv_use(place, shown),
        "pui_against_neutral": draw_disagreement(shown),
    }


def draw_over_time(
    place: Place, shown: Mapping[str, Delivered], quantity: str, label: str, title: str
) -> style.Drawing:
    """One quantity at every line that feeds a charge point, all cases together."""
    values = {name: getattr(case, quantity) for name, case in shown.items()}
    figure, (panels,) = style.sheet(style.Block(len(place.lines), 1, 1.6), right_in=1.3)
    for column, axes in enumerate(panels):
        _steps(axes, place, {name: of_lines[:, column] for name, of_lines in values.items()}, label)
        customer = place.chargers[column]
        at = f"{place.feeder.customer_bus[customer]}.{place.feeder.customer_phases[customer][0]}"
        hours = np.flatnonzero(place.ev_kw[:, column]) * STEP_MIN / 60.0
        busy = f"charging {hours[0]:.0f}-{hours[-1] + STEP_MIN / 60:.0f} h" if len(hours) else "idle"
        style.panel_title(axes, f"{place.lines[column].name}, charge point at {at}", busy)
    panels[0].set_ylim(0.0, _top(values))
    panels[-1].set_xlabel("hour of the day")
    caption = "At the lines that feed the charge points, in the active steps of 5 minutes."
    return style.finish(figure, title, caption, _keys(shown))


def draw_voltage_unbalance(place: Place, shown: Mapping[str, Delivered]) -> style.Drawing:
    """V2/V1 and V0/V1 at the charge points' buses, the worst of them."""
    title = "Voltage unbalance at the charge points' buses, the worst of them"
    negative = {name: case.vuf_percent.max(axis=1) for name, case in shown.items()}
    zero = {name: case.v0_percent.max(axis=1) for name, case in shown.items()}
    figure, (panels,) = style.sheet(style.Block(2, 1, 1.7, share_y=False), right_in=1.3)
    for axes, values, label in zip(panels, (negative, zero), ("V2/V1 [%]", "V0/V1 [%]"), strict=True):
        _steps(axes, place, values, label)
        axes.set_ylim(0.0, _top(values))
    worst = max(float(series.max()) for series in negative.values())
    limit = f"EN 50160: at most {VUF_LIMIT_PERCENT:g} % in 95 % of a week's 10-minute means"
    style.panel_title(panels[0], "Negative sequence", f"highest {worst:.2f} %; {limit}")
    if worst > VUF_LIMIT_PERCENT:
        style.limit_line(panels[0], VUF_LIMIT_PERCENT, f"{VUF_LIMIT_PERCENT:g} %")
    style.panel_title(panels[1], "Zero sequence", "no limit in EN 50160")
    panels[-1].set_xlabel("hour of the day")
    caption = "Negative and zero sequence over positive sequence, 5-minute steps."
    return style.finish(figure, title, caption, _keys(shown))


def draw_lowest_voltage(place: Place, shown: Mapping[str, Delivered]) -> style.Drawing:
    """Lowest voltage of every bus over the active steps, against its distance."""
    title = "Lowest voltage along the feeder while vehicles charge"
    figure, ((axes,),) = style.sheet(style.Block(1, 1, 3.2), right_in=1.3)
    for colour, case in zip(COLOURS, shown.values(), strict=False):
        lowest: dict[str, float] = {}
        for name, value in zip(place.feeder.network.node_names, case.node_lowest_pu, strict=True):
            bus, phase = name.rsplit(".", 1)
            if phase in "123" and np.isfinite(value) and bus in place.feeder.distance_m:
                lowest[bus] = min(lowest.get(bus, np.inf), value)
        distance = [place.feeder.distance_m[bus] for bus in lowest]
        axes.scatter(distance, list(lowest.values()), s=5, color=colour, linewidths=0)
    least = min(float(np.nanmin(case.node_lowest_pu)) for case in shown.values())
    if least < LOW_PU + NEAR_PU:
        style.limit_line(axes, LOW_PU, f"{LOW_PU} pu")
    limit = f"{abs(least - LOW_PU):.3f} pu {'above' if least >= LOW_PU else 'BELOW'} the limit of {LOW_PU} pu"
    style.panel_title(axes, "Every bus", f"lowest {least:.3f} pu: {limit}")
    axes.set(xlabel="distance from the transformer [m]", ylabel="voltage [pu]")
    caption = "Each dot is a bus: the lowest of its phases over all active steps."
    return style.finish(figure, title, caption, _keys(shown, linestyle="none", marker="o", markersize=5))


def draw_pv_use(place: Place, shown: Mapping[str, Delivered]) -> style.Drawing:
    """Available power of all PV units, and what each case feeds in."""
    title = "Use of PV"
    figure, ((axes,),) = style.sheet(style.Block(1, 1, 2.8), right_in=1.3)
    _step(axes, place, place.pv_available_kw[place.active].sum(axis=1), AVAILABLE, linewidth=3.0)
    fed_in = {name: case.schedule.pv_kw[place.active].sum(axis=1) for name, case in shown.items()}
    _steps(axes, place, fed_in, "fed in by all PV units [kW]")
    axes.set_xlabel("hour of the day")
    axes.set_ylim(bottom=0)
    keys = [style.line_key(AVAILABLE, "available", linewidth=3.0), *_keys(shown)]
    return style.finish(figure, title, "What is missing below the grey line is curtailed.", keys)


def draw_disagreement(shown: Mapping[str, Delivered]) -> style.Drawing:
    """PUI against neutral current: the same steps, two judgements."""
    title, columns = "PUI and neutral current: the same steps, two judgements", min(3, len(shown))
    figure, (panels,) = style.sheet(style.Block(len(shown), columns, 2.2), right_in=1.3)
    for axes, colour, (name, case) in zip(panels, COLOURS, shown.items(), strict=False):
        pui, neutral = case.pui_percent.ravel(), case.neutral_a.ravel()
        axes.scatter(pui, neutral, s=8, color=colour, alpha=0.7, linewidths=0)
        varied = np.ptp(pui) > 0.0 and np.ptp(neutral) > 0.0
        style.panel_title(axes, name, f"r = {np.corrcoef(pui, neutral)[0, 1]:+.2f}" if varied else "")
    for axes in panels[-columns:]:
        axes.set_xlabel("PUI [%]")
    for axes in panels[::columns]:
        axes.set_ylabel("neutral current [A]")
    return style.finish(figure, title, "Each dot: one active step at one of the lines. r: correlation.")


def _steps(axes: Axes, place: Place, values: Mapping[str, Float], label: str) -> None:
    """Draw one quantity of all cases."""
    for colour, series in zip(COLOURS, values.values(), strict=False):
        _step(axes, place, series, colour)
    axes.set_ylabel(label)


def _step(axes: Axes, place: Place, values: Float, colour: str, linewidth: float = 1.1) -> None:
    """Draw the active steps, run by run: outside them all controls do the same, and the last would hide the rest."""
    breaks = np.flatnonzero(np.diff(place.active) > 1) + 1
    for steps, shown in zip(np.split(place.active, breaks), np.split(values, breaks), strict=True):
        hour = np.append(steps, steps[-1] + 1) * STEP_MIN / 60.0
        axes.step(hour, style.hold(shown), where="post", color=colour, linewidth=linewidth)
    first, last = place.active[0] * STEP_MIN / 60.0, (place.active[-1] + 1) * STEP_MIN / 60.0
    axes.set_xlim(first - MARGIN_H, last + MARGIN_H)


def _top(values: Mapping[str, Float]) -> float:
    """Upper end of an axis: a little above the largest value of any case; of 1 where all are 0."""
    return HEADROOM * (max(float(series.max()) for series in values.values()) or 1.0)


def _keys(shown: Mapping[str, Delivered], **look: Any) -> list[Line2D]:
    return [style.line_key(colour, name, **look) for colour, name in zip(COLOURS, shown, strict=False)]
