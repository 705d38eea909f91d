"""Unbalance for people: every index at every three-phase bus and line, where the worst is, and who causes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from cosim import Trajectory
from cosim.contract import Complex, Feeder, Float
from cosim.errors import UnsupportedError
from cosim.experiments.tables import write_table
from cosim.experiments.words import clock_text
from cosim.measures import (
    branch_neutral_a,
    line_to_line,
    lvur_percent,
    negative_sequence_current_a,
    pui_percent,
    pvur_percent,
    ten_minute_rms,
    unbalance_current_a2,
    v0_percent,
    vuf_percent,
    worst_phase_percent,
)
from cosim.measures._arrays import ratio
from cosim.network import monitored_currents
from cosim.reduced import ReducedNetwork

PHASES = (1, 2, 3)
BLOCK = 64  # places whose values over the day are held in memory at once, or loads whose voltages are
Item = TypeVar("Item")


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
    feeder, tables = run.feeder, []
    for buses in _blocks(list(feeder.three_phase_nodes)):
        phase_v = run.phase_to_neutral_v(buses)
        magnitude = np.abs(phase_v)
        # a bus in no area, such as the source's, has no nominal voltage but its mean
        mean_v = magnitude.mean(axis=(0, 2)).tolist()
        areas = map(feeder.area_of_bus.get, buses)
        level_v = np.array([
            area.nominal_voltage_v if area else mean for area, mean in zip(areas, mean_v, strict=True)
        ])  # fmt: skip
        of_step = vuf_percent(phase_v)
        factor, zero = (ten_minute_rms(values, run.step_min) for values in (of_step, v0_percent(phase_v)))
        tables.append(pd.DataFrame({
            "bus": buses,
            "distance_m": [feeder.distance_m.get(bus, np.nan) for bus in buses],
            "voltage_min_pu": magnitude.min(axis=(0, 2)) / level_v,
            "voltage_max_pu": magnitude.max(axis=(0, 2)) / level_v,
            **_largest_and_p95("vuf_{}_percent", factor),
            **_largest_and_p95("v0_{}_percent", zero),
            "pvur_max_percent": pvur_percent(magnitude).max(axis=0),
            "lvur_max_percent": lvur_percent(np.abs(line_to_line(phase_v))).max(axis=0),
            **_worst_moment(run, of_step),
        }))  # fmt: skip
    return _worst_first(tables, "vuf_max_percent")


def line_table(run: Trajectory) -> pd.DataFrame:
    """Return indices of current in every branch with three phases."""
    tables = []
    for branches in _blocks([branch for branch in run.feeder.network.branches if set(PHASES) <= set(branch.phases)]):
        current_a = monitored_currents(branches, run.node_v)
        rating_a = np.array([branch.rating_a for branch in branches])
        neutral, index = branch_neutral_a(branches, run.node_v), pui_percent(np.abs(current_a), rating_a)
        known = np.isfinite(index)
        tables.append(pd.DataFrame({
            "branch": [branch.name for branch in branches],
            "from_bus": [branch.buses[0] for branch in branches],
            "to_bus": [branch.buses[-1] for branch in branches],
            **_largest_and_p95("neutral_{}_a", neutral),
            **_largest_and_p95("i2_{}_a", negative_sequence_current_a(current_a)),
            "unbalance_current_mean_a2": unbalance_current_a2(current_a).mean(axis=0),
            "pui_mean_percent": ratio(np.where(known, index, 0.0).sum(axis=0), known.sum(axis=0)),
            "pui_max_percent": np.fmax.reduce(index, axis=0),
            "peak_percent": worst_phase_percent(np.abs(current_a), rating_a).max(axis=0),
            **_worst_moment(run, neutral),
        }))  # fmt: skip
    return _worst_first(tables, "neutral_max_a")


def _blocks(items: list[Item]) -> Iterator[list[Item]]:
    return (items[first : first + BLOCK] for first in range(0, len(items), BLOCK))


def _largest_and_p95(name: str, values: Float) -> dict[str, Float]:
    """Both of values of shape (step or window, place), by place."""
    return {name.format("max"): values.max(axis=0), name.format("p95"): np.percentile(values, 95, axis=0)}


def _worst_moment(run: Trajectory, values: Float) -> dict[str, list[Any]]:
    steps = values.argmax(axis=0).tolist()
    times = [clock_text(run.exogenous.start, step * run.step_min, run.steps * run.step_min) for step in steps]
    return {"worst_step": steps, "worst_time": times}


def _worst_first(tables: Sequence[pd.DataFrame], column: str) -> pd.DataFrame:
    """Put tables into one and sort it, places that differ by rounding alone in the feeder's own order."""
    if not tables:
        return pd.DataFrame()
    table = pd.concat(tables, ignore_index=True)
    order = np.argsort(-table[column].round(6).to_numpy(), kind="stable")
    return table.iloc[order].reset_index(drop=True)


def causes(run: Trajectory, buses: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    """Return, by customer, how much less unbalance there is at the two worst places when it draws and feeds nothing.

    Solved by power flow with one customer after the other left out, at the moment at which the place is worst.
    """
    if buses.empty or lines.empty or run.feeder.taps == "controlled":  # the reduced network's taps are the first
        return pd.DataFrame()
    bus, bus_step = str(buses["bus"].iloc[0]), int(buses["worst_step"].iloc[0])
    line, line_step = str(lines["branch"].iloc[0]), int(lines["worst_step"].iloc[0])
    feeder = run.feeder
    try:
        network = ReducedNetwork(feeder)
    except UnsupportedError:
        return pd.DataFrame()
    nodes = list(feeder.three_phase_nodes[bus])
    neutral = feeder.node_neutral[nodes[0]]

    def at_bus(node_v: Complex) -> Float:
        return vuf_percent(node_v[:, nodes] - (node_v[:, [neutral]] if neutral >= 0 else 0.0))

    def in_line(node_v: Complex) -> Float:
        return branch_neutral_a([feeder.network.branch(line)], node_v)[:, 0]

    factor, residual = _without_each(network, run, bus_step, at_bus), _without_each(network, run, line_step, in_line)
    table = pd.DataFrame({
        "customer": feeder.customers,
        "bus": feeder.customer_bus,
        "phases": [".".join(map(str, phases)) for phases in feeder.customer_phases],
        **_charger_phases(feeder),
        "net_kw_at_worst_bus_time": run.net_kw[bus_step],
        "vuf_share_percent": factor[0] - factor[1:],
        "net_kw_at_worst_line_time": run.net_kw[line_step],
        "neutral_share_a": residual[0] - residual[1:],
    })  # fmt: skip
    return table.sort_values("neutral_share_a", ascending=False, ignore_index=True)


def _charger_phases(feeder: Feeder) -> dict[str, list[str]]:
    """A column of where homes of several phases charge on one of them, if any do."""
    who, _ = feeder.spurs
    on_one = set(who.tolist())
    listed = [str(feeder.charger_phase[row]) if row in on_one else "" for row in range(len(feeder.customers))]
    return {"charger_phase": listed} if on_one else {}


def _without_each(network: ReducedNetwork, run: Trajectory, step: int, measure: Callable[[Complex], Float]) -> Float:
    """A measure of node voltages at the loads of a step: with all of them first, then with each customer left out."""
    count = len(run.feeder.customers)
    present = np.vstack([np.ones(count), 1.0 - np.eye(count)])
    each = (present * values[step] for values in (run.net_kw, run.net_kvar, run.ev_kw))
    p_kw, q_kvar = run.feeder.loads(*each)
    parts = (slice(first, first + BLOCK) for first in range(0, count + 1, BLOCK))  # or a town fills the memory
    source_pu = float(run.exogenous.source_pu[step])
    return np.concatenate([measure(network.solve(p_kw[some], q_kvar[some], source_pu).node_v) for some in parts])


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
            f"{c} (phase {p}{f', charger on {on}' if on else ''}, {kw:+.1f} kW: {a:.1f} A)"
            for c, p, on, kw, a in zip(
                who["customer"],
                who["phases"],
                who.get("charger_phase", [""] * len(who)),
                who["net_kw_at_worst_line_time"],
                who["neutral_share_a"],
                strict=True,
            )
        )
        lines.append(f"its neutral current would be less without {named}")
    return lines


def write_unbalance(found: Unbalance, folder: Path) -> None:
    """Write ``buses.csv``, ``lines.csv`` and ``causes.csv``; tables without rows are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in vars(found).items():
        if not table.empty:
            write_table(table, folder / f"{name}.csv")
