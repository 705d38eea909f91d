"""Voltages of customers: the band over time, and the profile along the feeder."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cosim.contract import Feeder, Float
from cosim.experiments.figures import style
from cosim.experiments.figures.runs import NothingToDrawError, Runs, clock, edges_of
from cosim.experiments.words import in_runs, minutes
from cosim.trajectory import Trajectory


def limits_v(feeder: Feeder) -> tuple[float, float]:
    """Upper and lower limit of a feeder's main level of voltage [V]; infinite where its standard has none there."""
    lower_pu, upper_pu = (float(limit) for limit in feeder.standard.limits_pu(feeder.nominal_voltage_v))
    if np.isnan(upper_pu):
        return np.inf, -np.inf
    return upper_pu * feeder.nominal_voltage_v, lower_pu * feeder.nominal_voltage_v


def customers_v(run: Trajectory) -> Float:
    """Voltage of every customer, of another nominal voltage scaled to the feeder's, shape (step, customer) [V]."""
    return np.asarray(run.voltage_v * (run.feeder.nominal_voltage_v / run.feeder.customer_nominal_v))


def draw_limits(axes: Axes, feeder: Feeder) -> None:
    """Draw the limits across a panel of voltages."""
    for value in filter(np.isfinite, limits_v(feeder)):
        style.limit_line(axes, value, f"{value:.5g} V")


def draw_band(runs: Runs) -> style.Drawing:
    """Lowest, median and highest customer over time, one panel per run."""
    figure, (panels,) = runs.grid(runs.labels, 1.45, "customers'\nvoltage [V]")
    for axes, (label, run) in zip(panels, runs, strict=True):
        _band(axes, run)
        low, high = float(customers_v(run).min()), float(customers_v(run).max())
        long = minutes(runs.metric(label, "overvoltage_min"))
        limit = limits_v(run.feeder)[0]
        above = f", {long} above {limit:.5g} V" if np.isfinite(limit) else ""
        summary = f"{low:.1f}–{high:.1f} V{above}"
        style.panel_title(axes, label, summary, runs.stopped(label))
    _frame(panels, runs, 0.04)
    over = [label for label in runs.labels if runs.metric(label, "overvoltage_min") > 0]
    who, upper_v = "Some" if over else "No", limits_v(runs.reference.feeder)[0]
    title = f"{who} customer is above {upper_v:.5g} V {in_runs(over, len(runs))}"
    under = [label for label in runs.labels if runs.metric(label, "undervoltage_min") > 0]
    if under:
        title += f", some below {limits_v(runs.reference.feeder)[1]:.5g} V {in_runs(under, len(runs))}"
    if not np.isfinite(upper_v):
        title = f"Voltage of the customers, at a level for which {runs.reference.feeder.standard.title} has no limits"
    keys = [
        style.area_key("#56B4E9", "lowest to highest customer", alpha=0.45),
        style.line_key(style.PHASE_COLOURS[0], "median customer"),
        style.area_key(style.BAD, "outside the limits", alpha=0.5),
        style.line_key(style.LIMIT, "limit", linestyle="--"),
    ]
    caption = style.CAPTIONS["voltage_band"].format(rule=runs.reference.feeder.standard.rule())
    return style.finish(figure, title, caption, keys)


def _band(axes: Axes, run: Trajectory) -> None:
    times = edges_of(run)
    low, high = customers_v(run).min(axis=1), customers_v(run).max(axis=1)
    upper, lower = limits_v(run.feeder)
    style.between(axes, times, low, high, "#56B4E9", alpha=0.45)
    for edge_v, extreme, beyond in ((upper, high, high > upper), (lower, low, low < lower)):
        style.between(axes, times, edge_v, extreme, style.BAD, where=style.hold(beyond), alpha=0.55)
    style.steps(axes, times, np.median(customers_v(run), axis=1), style.PHASE_COLOURS[0])
    draw_limits(axes, run.feeder)


def _frame(panels: list[Axes], runs: Runs, margin: float) -> None:
    """Scale that shows all voltages and all limits."""
    limits = [limit for limit in limits_v(runs.reference.feeder) if np.isfinite(limit)]
    low = min([*limits, *(float(customers_v(run).min()) for _, run in runs)])
    high = max([*limits, *(float(customers_v(run).max()) for _, run in runs)])
    panels[0].set_ylim(low - margin * (high - low), high + margin * (high - low))


def draw_profile(runs: Runs) -> style.Drawing:
    """Voltage against distance from the transformer: lines at the worst step, customers over the whole day."""
    feeder = runs.reference.feeder
    reach_m = max(feeder.distance_m.values(), default=0.0)
    if not reach_m > 0:
        raise NothingToDrawError("the feeder gives no line lengths, hence no distance from the transformer")
    figure, (panels,) = runs.grid(runs.labels, 2.0, volts_label(feeder), timed=False)
    for axes, (label, run) in zip(panels, runs, strict=True):
        step, customer = worst_moment(run)
        _profile(axes, run, step)
        worst_v = customers_v(run)[step, customer]
        summary = f"worst step {clock(run, step)}: {worst_v:.1f} V at {run.feeder.customers[customer]}"
        style.panel_title(axes, label, summary, runs.stopped(label))
    panels[0].set_xlim(-0.02 * reach_m, 1.02 * reach_m)
    _frame(panels, runs, 0.04)
    for axes in panels[-style.columns_for(len(runs)) :]:
        axes.set_xlabel("distance from the transformer [m]")
    keys = [style.line_key(c, f"phase L{p}, worst step", marker="o", markersize=3.5) for p, c in _phases()]
    keys.append(style.line_key("#999999", "customer's range over the day", linewidth=4, alpha=0.5))
    upper_v, lower_v = limits_v(feeder)
    inside = all(lower_v <= customers_v(run).min() and customers_v(run).max() <= upper_v for _, run in runs)
    title = "Voltage along the feeder, phase by phase: " + (
        "all homes stay inside the limits" if inside else "where it leaves its band"
    )
    keys.append(style.line_key(style.LIMIT, "limit", linestyle="--"))
    return style.finish(figure, title, style.CAPTIONS["voltage_profile"], keys)


def worst_moment(run: Trajectory) -> tuple[int, int]:
    """Step and customer farthest from nominal voltage."""
    away = np.abs(customers_v(run) - run.feeder.nominal_voltage_v)
    step, customer = np.unravel_index(int(away.argmax()), away.shape)
    return int(step), int(customer)


def _profile(axes: Axes, run: Trajectory, step: int) -> None:
    feeder = run.feeder
    magnitude = np.abs(bus_to_neutral_v(feeder, run.node_v[step]))
    of_day = customers_v(run)
    for phase, colour in _phases():
        here = [c for c, phases in enumerate(feeder.customer_phases) if phase in phases]
        known = np.array([c for c in here if feeder.customer_bus[c] in feeder.distance_m], dtype=int)
        at_m = np.array([feeder.distance_m[feeder.customer_bus[c]] for c in known])
        low, high = of_day[:, known].min(axis=0), of_day[:, known].max(axis=0)
        axes.vlines(at_m, low, high, color=colour, alpha=0.22, linewidth=3.0, zorder=2)
        segments = _line_segments(feeder, magnitude, phase)
        style.broken_line(axes, segments, colour, linewidth=0.9, zorder=2.5, solid_capstyle="butt")
        node = np.array([feeder.customer_nodes[c][feeder.customer_phases[c].index(phase)] for c in known], dtype=int)
        axes.plot(at_m, magnitude[node], "o", color=colour, markersize=3.0, markeredgewidth=0, zorder=3)
    draw_limits(axes, feeder)


def bus_to_neutral_v(feeder: Feeder, node_v: NDArray[np.complex128]) -> NDArray[np.complex128]:
    """Node voltages against the neutral conductor of their own bus, where buses have one; else against earth.

    Those of another nominal voltage are scaled to the feeder's; nan at buses that have none.
    """
    partner, areas = feeder.node_neutral, map(feeder.area_of_bus.get, feeder.network.node_buses)
    level_v = np.array([area.nominal_voltage_v if area else np.nan for area in areas])
    to_neutral = node_v - np.where(partner >= 0, node_v[..., partner], 0.0)
    return np.asarray(to_neutral * (feeder.nominal_voltage_v / level_v))


def volts_label(feeder: Feeder) -> str:
    """Label of an axis of voltages."""
    levels = set(feeder.customer_nominal_v.tolist())
    return "voltage [V]" if len(levels) < 2 else f"voltage [V, all levels\nscaled to {feeder.nominal_voltage_v:.0f} V]"


def _line_segments(feeder: Feeder, magnitude_v: Float, phase: int) -> list[list[tuple[float, float]]]:
    nodes = zip(feeder.network.node_buses, feeder.node_phase.tolist(), strict=True)
    row = {node: index for index, node in enumerate(nodes)}
    segments = []
    for line in feeder.network.lines:
        ends = [(feeder.distance_m.get(bus), row.get((bus, phase))) for bus in line.buses]
        if phase in line.phases and all(d is not None and n is not None for d, n in ends):
            segments.append([(float(d), float(magnitude_v[n])) for d, n in ends if d is not None and n is not None])
    return segments


def _phases() -> list[tuple[int, str]]:
    return list(enumerate(style.PHASE_COLOURS, 1))
