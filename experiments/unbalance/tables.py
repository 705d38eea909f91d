"""Every index at every three-phase bus and line of a run, where the worst is, and which customers cause it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from cosim import Trajectory
from cosim.contract import Branch, Complex, Float
from cosim.errors import UnsupportedError
from cosim.experiments.figures.style import clock_text
from cosim.measures import (
    line_to_line,
    lvur_percent,
    negative_sequence_current_a,
    neutral_current_a,
    pui_percent,
    pvur_percent,
    ten_minute_rms,
    unbalance_current_a2,
    v0_percent,
    vuf_percent,
    worst_phase_percent,
)
from cosim.network import monitored_currents
from cosim.reduced import ReducedNetwork

PHASES = (1, 2, 3)
LINE_BLOCK = 200  # lines whose currents are held in memory at once


@dataclass(frozen=True, eq=False)
class Unbalance:
    """What one run shows.

    Attributes
    ----------
    buses : DataFrame
        A row per bus with three phases, the largest unbalance factor first.
    lines : DataFrame
        A row per line or transformer with three phases, the largest neutral current first.
    causes : DataFrame
        A row per customer: what disappears at the worst bus and the worst line, at the moment each is worst, when the
        customer draws nothing. Empty where the reduced network cannot represent the feeder.
    """

    buses: pd.DataFrame
    lines: pd.DataFrame
    causes: pd.DataFrame


def analyse(run: Trajectory) -> Unbalance:
    """Return all indices of a run, at every bus and line, with the causes of the worst.

    Voltages are between phase and neutral where the bus has a neutral of its own, else between phase and earth. Maxima
    and percentiles of sequence ratios are of 10-minute values (EN 50160), all others of steps.
    """
    buses, lines = bus_table(run), line_table(run)
    return Unbalance(buses, lines, causes(run, buses, lines))


def bus_table(run: Trajectory) -> pd.DataFrame:
    """Return indices of voltage at every bus with three phases."""
    feeder = run.feeder
    row = {name: index for index, name in enumerate(feeder.network.node_names)}
    neutral_of = dict(zip(feeder.customer_bus, feeder.customer_neutral, strict=True))
    names = [name[:-2] for name in row if name.endswith(".1") and all(f"{name[:-2]}.{p}" in row for p in PHASES)]
    nominal_v, records = feeder.nominal_voltage_v, []
    for bus in names:
        phase_v: Complex = run.node_v[:, [row[f"{bus}.{p}"] for p in PHASES]]
        neutral = neutral_of.get(bus, -1)
        if neutral >= 0:
            phase_v = phase_v - run.node_v[:, [neutral]]
        magnitude = np.abs(phase_v)
        # a bus before the transformer is measured at its own voltage level
        level_v = nominal_v if 0.5 * nominal_v < magnitude.mean() < 1.5 * nominal_v else float(magnitude.mean())
        of_step = vuf_percent(phase_v)
        factor = ten_minute_rms(of_step[:, None], run.step_min)[:, 0]
        zero = ten_minute_rms(v0_percent(phase_v)[:, None], run.step_min)[:, 0]
        worst = int(np.argmax(of_step))
        records.append({
            "bus": bus,
            "distance_m": feeder.distance_m.get(bus, np.nan),
            "voltage_min_pu": magnitude.min() / level_v,
            "voltage_max_pu": magnitude.max() / level_v,
            "vuf_max_percent": factor.max(),
            "vuf_p95_percent": np.percentile(factor, 95),
            "v0_max_percent": zero.max(),
            "v0_p95_percent": np.percentile(zero, 95),
            "pvur_max_percent": pvur_percent(magnitude).max(),
            "lvur_max_percent": lvur_percent(np.abs(line_to_line(phase_v))).max(),
            "worst_step": worst,
            "worst_time": clock_text(run.exogenous.start, worst * run.step_min),
        })  # fmt: skip
    table = pd.DataFrame(records)
    return _worst_first(table, "vuf_max_percent")


def line_table(run: Trajectory) -> pd.DataFrame:
    """Return indices of current in every line and transformer with three phases."""
    branches = [branch for branch in run.feeder.network.branches if set(PHASES) <= set(branch.phases)]
    records = []
    for begin in range(0, len(branches), LINE_BLOCK):
        block = branches[begin : begin + LINE_BLOCK]
        current = monitored_currents(block, run.node_v)
        records += [_line_record(run, branch, current[:, column]) for column, branch in enumerate(block)]
    table = pd.DataFrame(records)
    return _worst_first(table, "neutral_max_a")


def _worst_first(table: pd.DataFrame, column: str) -> pd.DataFrame:
    """Sort, places that differ by rounding alone in the feeder's own order."""
    if table.empty:
        return table
    order = np.argsort(-table[column].round(6).to_numpy(), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def _line_record(run: Trajectory, branch: Branch, current_a: Complex) -> dict[str, object]:
    neutral, negative = neutral_current_a(current_a), negative_sequence_current_a(current_a)
    index = pui_percent(np.abs(current_a), np.full(len(current_a), branch.rating_a))
    known = index[np.isfinite(index)]
    worst = int(neutral.argmax())
    loading = worst_phase_percent(np.abs(current_a)[:, None, :], np.array([branch.rating_a]))
    return {
        "branch": branch.name,
        "from_bus": branch.buses[0],
        "to_bus": branch.buses[-1],
        "neutral_max_a": neutral.max(),
        "neutral_p95_a": np.percentile(neutral, 95),
        "i2_max_a": negative.max(),
        "i2_p95_a": np.percentile(negative, 95),
        "unbalance_current_mean_a2": unbalance_current_a2(current_a).mean(),
        "pui_mean_percent": known.mean() if len(known) else np.nan,
        "pui_max_percent": known.max() if len(known) else np.nan,
        "peak_percent": loading.max() if np.isfinite(branch.rating_a) else np.nan,
        "worst_step": worst,
        "worst_time": clock_text(run.exogenous.start, worst * run.step_min),
    }


def causes(run: Trajectory, buses: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """Return, by customer, how much less unbalance there is at the two worst places when it draws and feeds nothing.

    Solved by power flow with one customer after the other left out, at the moment at which the place is worst.
    """
    if buses.empty or lines.empty:
        return pd.DataFrame()
    bus, bus_step = str(buses["bus"].iloc[0]), int(buses["worst_step"].iloc[0])
    line, line_step = str(lines["branch"].iloc[0]), int(lines["worst_step"].iloc[0])
    feeder = run.feeder
    try:
        network = ReducedNetwork(feeder, watched=[line], all_nodes=True)
    except UnsupportedError:
        return pd.DataFrame()
    nodes = [feeder.network.node_names.index(f"{bus}.{phase}") for phase in PHASES]
    neutral = dict(zip(feeder.customer_bus, feeder.customer_neutral, strict=True)).get(bus, -1)
    p_kw, q_kvar, pu = _without_each(run, bus_step)
    node_v = network.node_voltages(p_kw, q_kvar, pu)
    factor = vuf_percent(node_v[:, nodes] - (node_v[:, [neutral]] if neutral >= 0 else 0.0))
    p_kw, q_kvar, pu = _without_each(run, line_step)
    residual = neutral_current_a(network.predict(p_kw, q_kvar, pu).current_a[:, 0])
    table = pd.DataFrame({
        "customer": feeder.customers,
        "bus": feeder.customer_bus,
        "phases": [".".join(map(str, phases)) for phases in feeder.customer_phases],
        "net_kw_at_worst_bus_time": run.net_kw[bus_step],
        "vuf_share_percent": factor[0] - factor[1:],
        "net_kw_at_worst_line_time": run.net_kw[line_step],
        "neutral_share_a": residual[0] - residual[1:],
    })  # fmt: skip
    return table.sort_values("neutral_share_a", ascending=False, ignore_index=True)


def _without_each(run: Trajectory, step: int) -> tuple[Float, Float, Float]:
    """Loads of a step: all of them first, then with each customer left out."""
    count = len(run.feeder.customers)
    present = np.vstack([np.ones(count), 1.0 - np.eye(count)])
    source_pu = np.full(count + 1, run.exogenous.source_pu[step])
    return present * run.net_kw[step], present * run.net_kvar[step], source_pu


def describe(found: Unbalance, most: int = 3) -> list[str]:
    """Say in a few lines where the worst is, and who causes it."""
    if found.buses.empty or found.lines.empty:
        return ["no bus or no line has three phases: unbalance is not defined here"]
    bus, line = found.buses.iloc[0], found.lines.iloc[0]
    lines = [
        f"largest voltage unbalance: {bus['vuf_max_percent']:.2f} % (10 min) at bus {bus['bus']}, {bus['worst_time']}",
        f"largest neutral current: {line['neutral_max_a']:.1f} A in {line['branch']} at {line['worst_time']}",
    ]
    if not found.causes.empty:
        who = found.causes.head(most)
        named = ", ".join(
            f"{c} (phase {p}, {kw:+.1f} kW: {a:.1f} A)"
            for c, p, kw, a in zip(
                who["customer"], who["phases"], who["net_kw_at_worst_line_time"], who["neutral_share_a"], strict=True
            )
        )
        lines.append(f"its neutral current would be less without {named}")
    return lines
