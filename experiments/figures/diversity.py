"""After-diversity maximum demand against the number of homes, beside published points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.ticker import NullLocator

from cosim.contract import Float
from cosim.experiments.figures import style
from cosim.experiments.figures.runs import NothingToDrawError, Runs
from cosim.feeders.households import admd_kw

IEEE_HOMES = (1, 5, 10, 25, 55, 100)
IEEE_ADMD_KW = (4.68, 2.27, 1.68, 1.15, 0.89, 0.743)
"""Computed from the 100 one-minute profiles published with the IEEE European LV test feeder (IEEE PES test feeders)."""

_GROUPS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 55, 75, 100, 150, 200)
_DRAWS = 60


def draw(runs: Runs) -> style.Drawing:
    """Expected coincident peak per home: household demand alone, and with the cars as each run charges them."""
    day = runs.day
    if not day.demand_kw.any():
        raise NothingToDrawError("households use nothing on this day")
    homes = day.demand_kw.shape[1]
    groups = [size for size in _GROUPS if size < homes] + [homes]
    own_kw = _peaks_kw(day.demand_kw, groups)
    at_run_kw = _peaks_kw(runs.reference.demand_kw, groups)
    with_cars = {
        label: _peaks_kw(run.demand_kw + run.ev_kw, groups) for label, run in runs if run.complete and run.ev_kw.any()
    }
    figure, ((axes,),) = style.sheet(style.Block(1, 1, 3.2), header_in=0.8)
    label = f"households alone, {day.step_min:g}-min means"
    axes.plot(groups, own_kw, color=style.REFERENCE, marker="o", markersize=4, label=label)
    if with_cars:
        label = f"households alone, {runs.reference.step_min:g}-min means"
        axes.plot(groups, at_run_kw, color=style.REFERENCE, linestyle=":", label=label)
    for label, peak_kw in with_cars.items():
        axes.plot(groups, peak_kw, color=runs.colour(label), linestyle=runs.dashes(label), label=f"with cars, {label}")
    axes.plot(
        IEEE_HOMES, IEEE_ADMD_KW, color="black", marker="D", markersize=6, linestyle="none",
        label="IEEE European LV profiles",
    )  # fmt: skip
    axes.set_xscale("log")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 200) if tick <= max(homes, 100)]
    axes.set_xticks(ticks, [str(tick) for tick in ticks], minor=False)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(bottom=0)
    axes.set_xlabel("number of homes")
    axes.set_ylabel("peak per home [kW]")
    style.legend_above(axes)
    title = f"One home alone peaks at {own_kw[0]:.1f} kW, {homes} together at {own_kw[-1]:.2f} kW each"
    if with_cars:
        most, least = (end(with_cars, key=lambda name: with_cars[name][-1]) for end in (max, min))
        title += f", with cars at {with_cars[most][-1]:.2f} kW ({most})"
        title += f" to {with_cars[least][-1]:.2f} ({least})" if most != least else ""
    return style.finish(figure, title, style.CAPTIONS["diversity"].format(step_min=runs.reference.step_min))


def _peaks_kw(power_kw: Float, groups: Sequence[int]) -> Float:
    return admd_kw(power_kw, groups, np.random.default_rng(0), draws=_DRAWS)
