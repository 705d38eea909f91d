"""The feeder on a map, coloured by its voltage, and by the loading of its lines."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import Collection, LineCollection, PathCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from cosim.contract import Feeder, Float
from cosim.experiments.figures import style
from cosim.experiments.figures.runs import NothingToDrawError, Runs
from cosim.experiments.figures.voltage import bus_to_neutral_v, customers_v, limits_v, volts_label
from cosim.measures.derived import line_percent
from cosim.trajectory import Trajectory

Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class View:
    """Which extreme of the day is shown: the one that lies nearer to (or farther beyond) its limit."""

    highest: bool
    limit_v: float

    @classmethod
    def of(cls, runs: Runs) -> View:
        """Compare the extremes of all runs."""
        upper_v, lower_v = limits_v(runs.reference.feeder)
        highest = max(float(customers_v(run).max()) for _, run in runs)
        lowest = min(float(customers_v(run).min()) for _, run in runs)
        return cls(True, upper_v) if highest - upper_v >= lower_v - lowest else cls(False, lower_v)

    @property
    def beyond(self) -> str:
        """The trouble in words."""
        limit = f"{self.limit_v:.5g} V" if np.isfinite(self.limit_v) else "a limit, of which there is none"
        return f"{'above' if self.highest else 'below'} {limit}"

    def extreme(self, voltage_v: Float, axis: int | None = None) -> Float:
        """Highest or lowest of voltages."""
        return np.asarray(np.max(voltage_v, axis) if self.highest else np.min(voltage_v, axis))

    def outside(self, voltage_v: Float) -> Bool:
        """Whether voltages pass the limit."""
        return voltage_v > self.limit_v if self.highest else voltage_v < self.limit_v


def draw(runs: Runs) -> style.Drawing:
    """Extreme voltage of every bus over all steps, one map per run."""
    feeder = runs.reference.feeder
    buses = [bus for bus in feeder.coordinates if bus in _distances(feeder)]
    if len({feeder.coordinates[bus] for bus in buses}) < 2:
        raise NothingToDrawError("the feeder gives no coordinates")
    view = View.of(runs)
    homes = {label: view.extreme(customers_v(run), 0) for label, run in runs}
    along = {label: bus_extreme_v(run, view) for label, run in runs}
    known_v = np.concatenate([*homes.values(), *(list(of_bus.values()) for of_bus in along.values())])
    low_v, high_v = float(known_v.min()), float(known_v.max())
    scale = Normalize(low_v, max(high_v, low_v + 0.1))

    figure, panels = _maps(runs, buses)
    for axes, (label, run) in zip(panels, runs, strict=True):
        points = _map(axes, run, along[label], homes[label], view, scale)
        _name(axes, runs, label, f"{view.outside(homes[label]).sum()} of {len(homes[label])} homes {view.beyond}")
    _scale(figure, points, volts_label(feeder), view.limit_v if low_v < view.limit_v < high_v else None)
    return _described(figure, view, any(view.outside(of_run).any() for of_run in homes.values()))


def _described(figure: Figure, view: View, passed: bool) -> style.Drawing:
    title = f"Where homes are {view.beyond} at some step" if passed else f"No home is {view.beyond} at any step"
    extreme = "highest" if view.highest else "lowest"
    title += f": {extreme} voltage of the run"
    keys = [
        _key("transformer", "black", "white", marker="s", markersize=8),
        _key("home", "#FD8D3C", "#777777", marker="o", markersize=5),
        _key(f"home {view.beyond}", "#BD0026", "black", marker="o", markersize=6.5),
    ]
    caption = style.CAPTIONS["feeder_map"].format(extreme=extreme, beyond=view.beyond)
    return style.finish(figure, title, caption, keys)


def _distances(feeder: Feeder) -> set[str]:
    """Buses in areas; all where there is none."""
    return set(feeder.area_of_bus) or set(feeder.coordinates)


def bus_extreme_v(run: Trajectory, view: View) -> dict[str, float]:
    """Highest or lowest phase voltage of every bus on the low-voltage side over all steps [V]."""
    feeder = run.feeder
    extreme = view.extreme(np.abs(bus_to_neutral_v(feeder, run.node_v)), 0)
    rows = dict[str, list[int]]()
    for row, bus in enumerate(feeder.network.node_buses):
        if 1 <= feeder.node_phase[row] <= 3:
            rows.setdefault(bus, []).append(row)
    return {bus: float(view.extreme(extreme[rows[bus]])) for bus in _distances(feeder) & rows.keys()}


def _key(label: str, face: str, edge: str, **marker: Any) -> Line2D:
    return style.line_key("none", label, markerfacecolor=face, markeredgecolor=edge, **marker)


def _frame(feeder: Feeder, buses: list[str]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of x and y with a margin; a feeder drawn as a line gets room on both sides of it."""
    xy = np.array([feeder.coordinates[bus] for bus in buses])
    middle, half = (xy.max(axis=0) + xy.min(axis=0)) / 2, np.ptp(xy, axis=0) / 2
    half = np.maximum(half, 0.2 * half.max()) + 0.06 * half.max()
    (left, foot), (right, top) = middle - half, middle + half
    return (float(left), float(right)), (float(foot), float(top))


def _map(
    axes: Axes, run: Trajectory, of_bus: dict[str, float], of_home: Float, view: View, scale: Normalize
) -> PathCollection:
    feeder, place = run.feeder, run.feeder.coordinates
    lines = [line.buses for line in feeder.network.lines if all(b in place and b in of_bus for b in line.buses)]
    segments = [[place[bus] for bus in buses] for buses in lines]
    style.broken_line(axes, segments, "#B5B5B5", linewidth=3.0, solid_capstyle="round")
    colour_map = "YlOrRd" if view.highest else "YlOrRd_r"  # dark is bad
    coloured = LineCollection(segments, cmap=colour_map, norm=scale, linewidths=2.0, capstyle="round")
    coloured.set_array(np.array([np.mean([of_bus[bus] for bus in buses]) for buses in lines]))
    axes.add_collection(coloured)
    known = [c for c, bus in enumerate(feeder.customer_bus) if bus in place]
    xy = np.array([place[feeder.customer_bus[c]] for c in known]).reshape(-1, 2)
    outside = view.outside(of_home[known])
    points = axes.scatter(
        xy[:, 0], xy[:, 1], c=of_home[known], cmap=colour_map, norm=scale, s=np.where(outside, 34, 20),
        linewidths=[1.3 if bad else 0.5 for bad in outside],
        edgecolors=["black" if bad else "#777777" for bad in outside], zorder=3,
    )  # fmt: skip
    _transformers(axes, feeder)
    return points


def _transformers(axes: Axes, feeder: Feeder) -> None:
    place = feeder.coordinates
    for name in [name for area in feeder.areas for name in area.transformers]:
        ends = [bus for bus in feeder.network.branch(name).buses if bus in place]
        for bus in ends[-1:]:
            axes.plot(*place[bus], marker="s", color="black", markersize=8, markeredgecolor="white", zorder=4)
    axes.set_aspect("equal", adjustable="box")
    axes.set_axis_off()


def draw_loading(runs: Runs) -> style.Drawing:
    """Peak loading of every rated line over all steps, one map per run."""
    feeder = runs.reference.feeder
    place = feeder.coordinates
    lines = [row for row, line in enumerate(runs.reference.rated_lines) if all(bus in place for bus in line.buses)]
    if not lines:
        raise NothingToDrawError("no line has both a rating and coordinates")
    peaks = {label: np.fmax.reduce(line_percent(run), axis=0)[lines] for label, run in runs}
    segments = [[place[bus] for bus in runs.reference.rated_lines[row].buses] for row in lines]
    top = max(100.0, *(float(peak.max()) for peak in peaks.values()))
    scale = Normalize(0.0, top)
    figure, panels = _maps(runs, [bus for row in lines for bus in runs.reference.rated_lines[row].buses])
    for axes, (label, peak) in zip(panels, peaks.items(), strict=True):
        over = peak > 100.0
        # beneath, so that what is above its rating is seen without its colour too
        style.broken_line(axes, list(compress(segments, over)), "black", linewidth=6.5, solid_capstyle="round")
        coloured = LineCollection(segments, cmap="viridis_r", norm=scale, linewidths=2.6, capstyle="round")
        coloured.set_array(peak)
        axes.add_collection(coloured)
        _transformers(axes, feeder)
        _name(axes, runs, label, f"{over.sum()} of {len(lines)} lines above their rating")
    _scale(figure, coloured, "peak of the worst phase [% of rating]", 100.0)
    keys = [_key("transformer", "black", "white", marker="s", markersize=8)]
    keys.append(style.line_key("black", "line above its rating at some step", linewidth=6.5))
    most = max(peaks, key=lambda label: float(peaks[label].max()))
    title = f"Most loaded line: {runs.place(most, 'line_peak_percent')}, {peaks[most].max():.0f} % of its rating"
    title += f" under {most}" if len(runs) > 1 else ""
    return style.finish(figure, title, style.CAPTIONS["cable_map"], keys)


def _name(axes: Axes, runs: Runs, label: str, count: str) -> None:
    axes.text(1.0, -0.01, count, transform=axes.transAxes, ha="right", va="top", fontsize=8.5, color="#333333")
    style.panel_title(axes, label, "", runs.stopped(label))


def _scale(figure: Figure, coloured: Collection, label: str, limit: float | None) -> None:
    bar = figure.colorbar(coloured, cax=figure.add_axes((0.925, 0.14, 0.011, 0.6)))
    bar.set_label(label)
    if limit is not None:
        bar.ax.axhline(limit, color="black", linewidth=1.2, linestyle="--")


def _maps(runs: Runs, buses: list[str]) -> tuple[Figure, list[Axes]]:
    """Make a sheet of equal maps, one for each run."""
    columns = min(len(runs), 4)
    x_limits, y_limits = _frame(runs.reference.feeder, buses)
    shape = (y_limits[1] - y_limits[0]) / (x_limits[1] - x_limits[0])
    height_in = float(np.clip((style.WIDTH_IN - 1.9) / columns * shape, 0.8, 5.0))
    block = style.Block(len(runs), columns, height_in)
    figure, (panels,) = style.sheet(block, right_in=1.2, gap_in=0.15, header_in=0.95)
    panels[0].set_xlim(*x_limits)
    panels[0].set_ylim(*y_limits)
    return figure, panels
