"""Voltages of customers: the band over time, and the profile along the feeder."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from cosim.contract import Feeder, Float
from cosim.experiments.figures import style
from cosim.experiments.figures.runs import NothingToDrawError, Runs, clock, edges_of
from cosim.experiments.words import in_runs, minutes
from cosim.measures import ten_minute_rms
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
    for edge_v, beyond_v in ((upper, np.maximum(high, upper)), (lower, np.minimum(low, lower))):
        if np.isfinite(edge_v):
            style.between(axes, times, edge_v, beyond_v, style.BAD, alpha=0.55)
    style.steps(axes, times, np.median(customers_v(run), axis=1), style.PHASE_COLOURS[0])
    draw_limits(axes, run.feeder)


def _frame(panels: list[Axes], runs: Runs, margin: float) -> None:
    """Scale that shows all voltages and all limits."""
    limits = [limit for limit in limits_v(runs.reference.feeder) if np.isfinite(limit)]
    low = min([*limits, *(float(customers_v(run).min()) for _, run in runs)])
    high = max([*limits, *(float(customers_v(run).max()) for _, run in runs)])
    panels[0].set_ylim(low - margin * (high - low), high + margin * (high - low))


def draw_profile(runs: Runs) -> style.Drawing:
    """Voltage against distance from the transformer when a customer's is lowest (left) and when it is highest."""
    feeder = runs.reference.feeder
    reach_m = max(feeder.distance_m.values(), default=0.0)
    if not reach_m > 0:
        raise NothingToDrawError("the feeder gives no line lengths, hence no distance from the transformer")
    figure, (panels,) = style.sheet(style.Block(2 * len(runs), 2, 1.35))
    for row, (label, run) in enumerate(runs):
        for axes, highest in zip(panels[2 * row : 2 * row + 2], (False, True), strict=True):
            step, customer = extreme_moment(run, highest=highest)
            _profile(axes, run, step)
            seen = f"{'highest' if highest else 'lowest'}, {clock(run, step)}: {customers_v(run)[step, customer]:.1f} V"
            style.panel_title(axes, label, f"{seen} at {run.feeder.customers[customer]}", runs.stopped(label))
        panels[2 * row].set_ylabel(volts_label(feeder))
    panels[0].set_xlim(-0.02 * reach_m, 1.02 * reach_m)
    _frame(panels, runs, 0.04)
    for axes in panels[-2:]:
        axes.set_xlabel("distance from the transformer [m]")
    keys = [style.line_key(c, f"phase L{p}", marker="o", markersize=3.5) for p, c in _phases()]
    keys.append(style.line_key("#999999", "customer's range over all steps", linewidth=4, alpha=0.5))
    keys.append(style.line_key(style.LIMIT, "limit", linestyle="--"))
    return style.finish(figure, _profile_title(runs), style.CAPTIONS["voltage_profile"], keys)


def _profile_title(runs: Runs) -> str:
    upper_v, lower_v = limits_v(runs.reference.feeder)
    low = min(float(customers_v(run).min()) for _, run in runs)
    high = max(float(customers_v(run).max()) for _, run in runs)
    said = [f"rises to {high:.0f} V" + f" (limit {upper_v:.5g} V)" * (high > upper_v)]
    said.append(f"falls to {low:.0f} V" + f" (limit {lower_v:.5g} V)" * (low < lower_v))
    return f"Along the feeder, phase by phase, voltage {' and '.join(said)}"


def extreme_moment(run: Trajectory, *, highest: bool) -> tuple[int, int]:
    """Step and customer of the highest or the lowest voltage, of its own nominal."""
    of_day = customers_v(run)
    step, customer = np.unravel_index(int(of_day.argmax() if highest else of_day.argmin()), of_day.shape)
    return int(step), int(customer)


def draw_distribution(runs: Runs) -> style.Drawing:
    """Share of all customers' 10-minute voltages that lie below each voltage: lows, all, and highs."""
    feeder = runs.reference.feeder
    upper_v, lower_v = limits_v(feeder)
    found = {label: np.sort(windows_v(run), axis=None) for label, run in runs if run.complete}
    found = found or {label: np.sort(windows_v(run), axis=None) for label, run in runs}
    figure, ((axes,),) = style.sheet(style.Block(1, 1, 3.0), header_in=0.65)
    for label, ordered in found.items():
        shares = np.linspace(0.0, 100.0, 1001)
        volts = ordered[np.round(shares / 100.0 * (len(ordered) - 1)).astype(int)]
        axes.step(volts, shares, color=runs.colour(label), linestyle=runs.dashes(label), label=label)
    for value in filter(np.isfinite, (lower_v, upper_v)):
        axes.axvline(value, color=style.LIMIT, linewidth=0.9, linestyle=(0, (5, 3)), zorder=1.5)
        axes.annotate(f"{value:.5g} V", (value, 100), xytext=(3, -9), textcoords="offset points", fontsize=8)
    axes.set_ylim(0, 100)
    axes.set_xlabel(volts_label(feeder).replace("\n", " "))
    axes.set_ylabel("values below [%]")
    style.legend_above(axes)
    beyond = {label: 100.0 * float(np.mean((v > upper_v) | (v < lower_v))) for label, v in found.items()}
    most, least = max(beyond, key=lambda x: beyond[x]), min(beyond, key=lambda x: beyond[x])
    title = f"Of all customers' 10-minute voltages {beyond[most]:.1f} % are outside the limits under {most}"
    title += f", {beyond[least]:.1f} % under {least}" if beyond[least] < beyond[most] else ""
    if not np.isfinite(upper_v):
        title = f"10-minute voltages, at a level for which {feeder.standard.title} has no limits"
    return style.finish(figure, title, style.CAPTIONS["voltage_distribution"])


def windows_v(run: Trajectory) -> Float:
    """Rms over 10 minutes of every customer's every phase, shape (window, terminal) [V], scaled as `customers_v`."""
    nominal_v = run.feeder.customer_nominal_v[run.feeder.terminals[0]]
    return ten_minute_rms(run.terminal_v * (run.feeder.nominal_voltage_v / nominal_v), run.step_min)


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
