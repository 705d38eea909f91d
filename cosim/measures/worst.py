"""Where and when each headline figure of a run is worst."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np

from cosim.contract import Branch
from cosim.measures._arrays import Float
from cosim.measures.derived import line_phases_percent, neutral_a, neutral_branches, vuf_windows_percent
from cosim.measures.voltage_quality import WINDOW_MIN
from cosim.trajectory import Trajectory

Place = dict[str, Any]
_PHASES = "abc"
_ALIKE = 1e-9


def worst_moments(run: Trajectory) -> dict[str, Place]:
    """Place and time of the worst of those metrics that are an extreme.

    Parameters
    ----------
    run : Trajectory
        What happened, in at least one step.

    Returns
    -------
    dict of str to dict
        By metric: ``value`` as in the scoreboard, ``step`` and ``time`` (of a 10-minute value those of its first step),
        and the place: ``area``, ``customer``, ``bus``, ``element``, ``phase``, as far as there is one. A metric that is
        undefined on this feeder is left out.
    """
    feeder = run.feeder
    customer, _, _ = feeder.terminals
    buses = feeder.network.node_buses
    phase_of = [phase for phases in feeder.customer_phases for phase in phases]
    windings = [column for column, limit in enumerate(feeder.limits) if limit.kind != "line"]
    neutral_nodes, with_neutral = feeder.neutral_nodes, neutral_branches(run)

    def area_at(bus: str) -> str:
        return feeder.area_of_bus[bus].name if bus in feeder.area_of_bus else ""

    def at_bus(bus: str, **more: str) -> Place:
        return {"area": area_at(bus), **more, "bus": bus}

    def at_terminal(column: int) -> Place:
        row = int(customer[column])
        phase = _PHASES[phase_of[column] - 1]
        return at_bus(feeder.customer_bus[row], customer=feeder.customers[row], phase=phase)

    def at_winding(column: int) -> Place:
        limit = feeder.limits[windings[column]]
        return {"area": limit.area, "element": limit.asset, "phase": limit.phase}

    def in_branch(branch: Branch, **more: str) -> Place:
        near = branch.nodes[branch.monitored]
        return {"area": area_at(buses[int(near[near >= 0][0])]), "element": branch.name, **more}

    def of_line(column: int) -> Place:
        line = run.rated_lines[column // 3]
        conductor = line.columns.index(column % 3)
        phase = line.phases[conductor]
        half = line.phases[: conductor + 1].count(phase) if line.phases.count(phase) > 1 else ""
        return in_branch(line, phase=f"{_PHASES[phase - 1]}{half}")

    terminal_pu = run.terminal_v / feeder.customer_nominal_v[customer]
    found: dict[str, Place | None] = {
        "voltage_min_pu": _extreme(run, -terminal_pu, at_terminal),
        "voltage_max_pu": _extreme(run, terminal_pu, at_terminal),
        "vuf_max_percent": _extreme(
            run, vuf_windows_percent(run), lambda column: at_bus(run.three_phase_customer_buses[column]), WINDOW_MIN
        ),
        "transformer_peak_percent": _extreme(run, run.limit_percent[:, windings], at_winding),
        "line_peak_percent": _extreme(run, line_phases_percent(run), of_line),
        "neutral_current_max_a": _extreme(run, neutral_a(run), lambda column: in_branch(with_neutral[column])),
        "neutral_voltage_max_v": _extreme(
            run, np.abs(run.node_v[:, neutral_nodes]), lambda column: at_bus(buses[neutral_nodes[column]])
        ),
    }  # fmt: skip
    return {name: place for name, place in found.items() if place is not None}


def _extreme(run: Trajectory, values: Float, place: Callable[[int], Place], window_min: float = 0.0) -> Place | None:
    """Largest of values of shape (step or window, place...), told without their sign: negative ones look for the least.

    Whole days of all lines are read once and not copied.
    """
    of_row = np.fmax.reduce(values, axis=tuple(range(1, values.ndim)), initial=np.nan)
    if np.isinf(of_row).any():
        return _extreme(run, np.where(np.isinf(values), np.nan, values), place, window_min)
    top = float(np.fmax.reduce(of_row, initial=np.nan))
    if np.isnan(top):
        return None
    alike = top - _ALIKE * abs(top)  # lines in a row carry the same, but for rounding
    row = int((of_row >= alike).argmax())
    column = int((values[row].reshape(-1) >= alike).argmax())
    step = int(row * max(window_min / run.step_min, 1.0))
    time = run.exogenous.start + timedelta(minutes=step * run.step_min)
    return {**place(column), "step": step, "time": time.isoformat(), "value": abs(top)}
