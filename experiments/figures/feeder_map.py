"""The feeder on a map, coloured by its voltage."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import Normalize

from cosim.contract import Feeder, Float
from cosim.trajectory import Trajectory
from experiments.figures import style
from experiments.figures.runs import NothingToDrawError, Runs
from experiments.figures.voltage import bus_to_neutral_v, limits_v


def draw(runs: Runs) -> style.Drawing:
    """Extreme voltage of every bus over all steps, one map per run."""
    feeder = runs.reference.feeder
    buses = [bus for bus in feeder.coordinates if bus in _distances(feeder)]
    if len(buses) < 2 or len({feeder.coordinates[bus] for bus in buses}) < 2:
        raise NothingToDrawError("the feeder gives no coordinates")
    highest = _high_is_worse(runs)
    values = {label: customer_extreme_v(run, highest) for label, run in runs}
    along = {label: bus_extreme_v(run, highest) for label, run in runs}
    known = np.concatenate([*values.values(), *(np.array(list(of_bus.values())) for of_bus in along.values())])
    norm = Normalize(float(known.min()), float(known.max()) if np.ptp(known) > 0 else float(known.min()) + 1.0)
    columns = min(len(runs), 4)
    width_in = (style.WIDTH_IN - 1.9) / columns
    height_in = float(np.clip(width_in * _aspect(feeder, buses), 1.6, 5.0))
    block = style.Block(len(runs), columns, height_in)
    figure, (panels,) = style.sheet(block, right_in=1.2, gap_in=0.15, header_in=0.95)
    colour_map = "YlOrRd" if highest else "YlOrRd_r"
    limit_v = limits_v(feeder)[0] if highest else limits_v(feeder)[1]
    beyond = f"{'above' if highest else 'below'} {limit_v:.5g} V"
    for axes, (label, run) in zip(panels, runs, strict=True):
        points = _map(axes, run, along[label], values[label], norm, colour_map, limit_v, highest)
        outside = int((values[label] > limit_v).sum() if highest else (values[label] < limit_v).sum())
        count = f"{outside} of {len(values[label])} homes {beyond}"
        axes.text(1.0, -0.01, count, transform=axes.transAxes, ha="right", va="top", fontsize=8.5, color="#333333")
        style.panel_title(axes, label, "", runs.stopped(label))
    bar = figure.colorbar(points, cax=figure.add_axes((0.925, 0.12, 0.011, 0.62)))
    extreme = "highest" if highest else "lowest"
    bar.set_label(f"{extreme} voltage of the day [V]")
    if norm.vmin is not None and norm.vmax is not None and norm.vmin < limit_v < norm.vmax:
        bar.ax.axhline(limit_v, color="black", linewidth=1.2, linestyle="--")
    title = f"Where homes are {beyond} at some step: {extreme} voltage of the day"
    keys = [
        style.line_key("none", "transformer", marker="s", markersize=8, markerfacecolor="black", markeredgecolor="white"),
        style.line_key("none", "home", marker="o", markersize=5, markerfacecolor="#FD8D3C", markeredgecolor="#777777"),
        style.line_key("none", f"home {beyond}", marker="o", markersize=6.5, markerfacecolor="#BD0026", markeredgecolor="black"),
    ]  # fmt: skip
    style.heading(figure, title, keys)
    return style.Drawing(figure, title, (
        f"Lines and homes (dots) at their coordinates, coloured by the {extreme} voltage of the day: of a line the mean "
        f"of its two ends' worst phase, of a home its own terminal. The number of homes {beyond} stands under each map."
    ))  # fmt: skip


def _distances(feeder: Feeder) -> set[str]:
    """Buses fed by the transformer; all where no path is known."""
    return set(feeder.distance_m) or set(feeder.coordinates)


def _high_is_worse(runs: Runs) -> bool:
    """Whether the highest voltage lies nearer to (or farther beyond) its limit than the lowest."""
    upper_v, lower_v, _ = limits_v(runs.reference.feeder)
    highest = max(float(run.voltage_v.max()) for _, run in runs)
    lowest = min(float(run.voltage_v.min()) for _, run in runs)
    return highest - upper_v >= lower_v - lowest


def customer_extreme_v(run: Trajectory, highest: bool) -> Float:
    """Highest or lowest voltage of every customer over all steps, shape (customer,) [V]."""
    return np.asarray(run.voltage_v.max(axis=0) if highest else run.voltage_v.min(axis=0))


def bus_extreme_v(run: Trajectory, highest: bool) -> dict[str, float]:
    """Highest or lowest phase voltage of every bus on the low-voltage side over all steps [V]."""
    feeder = run.feeder
    wanted = _distances(feeder)
    rows = [
        (bus, row)
        for row, (bus, _, number) in enumerate(name.rpartition(".") for name in feeder.network.node_names)
        if bus in wanted and number in {"1", "2", "3"}
    ]
    columns = np.array([row for _, row in rows], dtype=int)
    magnitude = np.abs(bus_to_neutral_v(feeder, run.node_v))[:, columns]
    extreme = magnitude.max(axis=0) if highest else magnitude.min(axis=0)
    found: dict[str, float] = {}
    for (bus, _), value in zip(rows, extreme, strict=True):
        better = max if highest else min
        found[bus] = better(found.get(bus, float(value)), float(value))
    return found


def _aspect(feeder: Feeder, buses: list[str]) -> float:
    xy = np.array([feeder.coordinates[bus] for bus in buses])
    width, height = np.ptp(xy, axis=0)
    return float(height / width) if width > 0 else 3.0


def _map(
    axes: Axes, run: Trajectory, of_bus: dict[str, float], of_home: Float, norm: Normalize, colour_map: str,
    limit_v: float, highest: bool,
) -> PathCollection:  # fmt: skip
    feeder, place = run.feeder, run.feeder.coordinates
    lines = [line.buses for line in feeder.network.lines if all(b in place and b in of_bus for b in line.buses)]
    segments = [[place[bus] for bus in buses] for buses in lines]
    colours = np.array([np.mean([of_bus[bus] for bus in buses]) for buses in lines])
    axes.add_collection(LineCollection(segments, colors="#B5B5B5", linewidths=3.0, capstyle="round"))
    coloured = LineCollection(segments, cmap=colour_map, norm=norm, linewidths=2.0, capstyle="round")
    coloured.set_array(colours)
    axes.add_collection(coloured)
    known = [c for c, bus in enumerate(feeder.customer_bus) if bus in place]
    xy = np.array([place[feeder.customer_bus[c]] for c in known]).reshape(-1, 2)
    value = of_home[known]
    outside = value > limit_v if highest else value < limit_v
    style_of = np.where(outside, 1.3, 0.5)
    edge = np.where(outside, "black", "#777777")
    points = axes.scatter(
        xy[:, 0], xy[:, 1], c=value, cmap=colour_map, norm=norm, s=np.where(outside, 34, 20), linewidths=style_of,
        edgecolors=list(edge), zorder=3,
    )  # fmt: skip
    if feeder.transformer is not None:
        ends = [bus for bus in feeder.network.branch(feeder.transformer).buses if bus in place and bus in of_bus]
        for bus in ends[:1]:
            axes.plot(*place[bus], marker="s", color="black", markersize=8, markeredgecolor="white", zorder=4)
    axes.set_aspect("equal", adjustable="box")
    axes.margins(0.06)
    axes.set_axis_off()
    return points
