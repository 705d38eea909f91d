"""Charging: household by household over tariff bands, and what caps left of it."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from cosim.contract import Float, Int
from cosim.experiments.figures import style
from cosim.experiments.figures.runs import NothingToDrawError, Runs, edges_of
from cosim.trajectory import Trajectory

TARIFF_COLOURS = ("#009E73", "#F0E442", "#E69F00", "#D55E00", "#8B3A00")
NET = "#555555"
HOMES_SHOWN = 3
BINDING_KW = 0.1


def draw_heatmap(runs: Runs) -> style.Drawing:
    """Charging power, household × time, one panel per run, under a strip of the tariff."""
    reference = runs.reference
    rows = homes_with_cars(reference)
    if not rows.size:
        raise NothingToDrawError("there is no car on this feeder")
    top_kw = max(float(run.ev_kw.max()) for _, run in runs) or 1.0
    height_in = float(np.clip(0.06 * len(rows), 1.2, 3.2))
    figure, (panels,) = runs.grid(runs.labels, height_in, f"{len(rows)} homes with a car", header_in=0.95)
    for axes, (label, run) in zip(panels, runs, strict=True):
        times = edges_of(run)
        extent = (times[0], times[-1], len(rows), 0.0)
        image = style.charging(axes, extent, run.plugged[:, rows], run.ev_kw[:, rows], top_kw)
        axes.set_yticks([])
        _tariff_strip(axes, run)
        delivered = f"{runs.metric(label, 'ev_delivered_kwh'):.0f} kWh delivered"
        style.panel_title(axes, label, delivered, runs.stopped(label), pad=11.0)
    panels[0].set_xlim(*runs.span)  # an image takes the scale to itself
    style.charging_scale(figure, image, panels[min(len(panels), 2) - 1])
    prices = np.unique(reference.exogenous.tariff_eur_per_kwh)
    keys = [style.area_key(style.PLUGGED, "plugged in, not charging")]
    if len(prices) <= len(TARIFF_COLOURS):
        keys += [style.area_key(_price_colour(price, prices), f"tariff {price:.2f} EUR/kWh") for price in prices]
    return style.finish(figure, "Who charges when, against the tariff bands", style.CAPTIONS["charging"], keys)


def homes_with_cars(run: Trajectory) -> Int:
    """Customers with a car, the first arrival first."""
    sessions = run.exogenous.sessions
    homes = np.unique(sessions.customer)
    first_min = np.array([sessions.arrival_min[sessions.customer == home].min() for home in homes])
    last_min = np.array([sessions.departure_min[sessions.customer == home].max() for home in homes])
    return np.asarray(homes[np.lexsort((last_min, first_min))], dtype=np.int64)


def _tariff_strip(axes: Axes, run: Trajectory) -> None:
    times, tariff = edges_of(run), run.exogenous.tariff_eur_per_kwh
    prices = np.unique(tariff)
    changes = np.flatnonzero(np.diff(tariff)) + 1
    for first, last in zip([0, *changes], [*changes, len(tariff)], strict=True):
        axes.axvspan(
            times[first], times[last], ymin=1.0, ymax=1.05, color=_price_colour(tariff[first], prices), linewidth=0,
            clip_on=False,
        )  # fmt: skip
    for change in changes:
        axes.axvline(times[change], color="#666666", linewidth=0.6, linestyle=":")
    axes.set_ylim(axes.get_ylim())


def _price_colour(price: float, prices: Float) -> str:
    """Green for the cheapest, red for the dearest."""
    rank = float(np.searchsorted(prices, price)) / max(len(prices) - 1, 1)
    return TARIFF_COLOURS[round(rank * (len(TARIFF_COLOURS) - 2)) if len(prices) < 5 else round(rank * 4)]


def draw_caps(runs: Runs) -> style.Drawing:
    """Caps against draw, for the homes of each run whose caps bind most."""
    capped = [(label, run, binding_homes(run)) for label, run in runs]
    capped = [(label, run, homes) for label, run, homes in capped if homes.size]
    if not capped:
        raise NothingToDrawError("no run sets a cap or a charging limit that binds")
    width = min(HOMES_SHOWN, max(len(homes) for _, _, homes in capped))
    figure, (panels,) = style.sheet(style.Block(len(capped) * width, width, 1.25, share_y="row"))
    for row, (label, run, homes) in enumerate(capped):
        for column in range(width):
            axes = panels[row * width + column]
            if column >= len(homes):
                axes.set_axis_off()
                continue
            _cap_panel(axes, run, int(homes[column]))
            stopped = runs.stopped(label)
            style.panel_title(axes, f"{label}: {run.feeder.customers[homes[column]]}", "", stopped)
        _scale(panels[row * width], run, homes[:width])
        panels[row * width].set_ylabel("power [kW]")
    style.clock_axis(panels[0], runs.span, most=5)
    idle = [label for label in runs.labels if label not in {name for name, _, _ in capped}]
    keys = [
        style.area_key(style.PLUGGED, "plugged in"),
        style.line_key(NET, "net draw at the meter"),
        style.line_key(style.USED, "charging"),
        style.line_key(style.BAD, "import cap, net"),
        style.line_key("#CC79A7", "charging limit"),
    ]
    without = style.CAPTIONS["caps_idle"].format(labels=", ".join(idle)) if idle else ""
    caption = style.CAPTIONS["caps"] + without
    return style.finish(figure, "Caps against draw, at the homes where they bind most", caption, keys)


def binding_homes(run: Trajectory) -> Int:
    """Customers whose cap or charging limit is reached while a car is plugged in, the most minutes first."""
    there = run.plugged > 0
    at_cap = there & np.isfinite(run.import_cap_kw) & (run.net_kw >= run.import_cap_kw - BINDING_KW)
    at_limit = there & np.isfinite(run.ev_limit_kw) & (run.ev_kw >= run.ev_limit_kw - BINDING_KW)
    bound = (at_cap | at_limit) & (run.ev_kw > BINDING_KW)
    counts = bound.sum(axis=0)
    order = np.argsort(-counts, kind="stable")
    return np.asarray(order[counts[order] > 0], dtype=np.int64)


def _cap_panel(axes: Axes, run: Trajectory, home: int) -> None:
    times = edges_of(run)
    there = np.append(run.plugged[:, home] > 0, False)
    axes.fill_between(
        times, 0, 1, where=there, step="post", color=style.PLUGGED, linewidth=0, transform=axes.get_xaxis_transform()
    )
    style.steps(axes, times, run.net_kw[:, home], NET, linewidth=0.8)
    style.steps(axes, times, run.ev_kw[:, home], style.USED, linewidth=1.3)
    for limit_kw, colour in ((run.import_cap_kw[:, home], style.BAD), (run.ev_limit_kw[:, home], "#CC79A7")):
        style.steps(axes, times, np.where(np.isfinite(limit_kw), limit_kw, np.nan), colour, linewidth=1.2)
    axes.axhline(0.0, color="#888888", linewidth=0.6)


def _scale(axes: Axes, run: Trajectory, homes: Int) -> None:
    """Room for all draw; a cap far above it may leave the panel, where it limits nothing."""
    drawn_kw = np.concatenate([run.net_kw[:, homes], run.ev_kw[:, homes]])
    axes.set_ylim(min(0.0, 1.08 * float(drawn_kw.min())), 1.3 * max(float(drawn_kw.max()), 1.0))
