"""Where and when each headline figure of a run is worst."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import numpy as np

from cosim.measures._arrays import Float
from cosim.measures.scoreboard import branches_with_neutral, terminals_v, vuf_windows_percent
from cosim.measures.unbalance import branch_neutral_a
from cosim.measures.voltage_quality import WINDOW_MIN
from cosim.trajectory import Trajectory

Place = dict[str, Any]
_PHASES = "abc"


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
        and the place: ``customer``, ``bus``, ``element``, ``phase``, as far as there is one. A metric that is undefined
        on this feeder is left out.
    """
    feeder = run.feeder
    customer, _, _ = feeder.terminals
    terminal_pu = terminals_v(run) / feeder.customer_nominal_v[customer]
    names = feeder.network.node_names
    neutral_nodes, with_neutral = feeder.neutral_nodes, branches_with_neutral(run)
    phase_of = [phase for phases in feeder.customer_phases for phase in phases]

    def terminal(column: int) -> Place:
        return {
            "customer": feeder.customers[customer[column]],
            "bus": feeder.customer_bus[customer[column]],
            "phase": _PHASES[phase_of[column] - 1],
        }

    def of(elements: Sequence[str]) -> Callable[[int], Place]:
        return lambda column: {"element": elements[column // 3], "phase": _PHASES[column % 3]}

    source = feeder.transformer or feeder.head_line or ""
    found: dict[str, Place | None] = {
        "voltage_min_pu": _extreme(run, terminal_pu, terminal, lowest=True),
        "voltage_max_pu": _extreme(run, terminal_pu, terminal),
        "vuf_max_percent": _extreme(
            run, vuf_windows_percent(run), lambda column: {"bus": run.three_phase_customer_buses[column]},
            window_min=max(WINDOW_MIN, run.step_min),
        ),
        "transformer_peak_percent": _extreme(run, run.transformer_percent, of([source])),
        "line_peak_percent": _extreme(run, _line_percent(run), of([line.name for line in run.rated_lines])),
        "neutral_current_max_a": _extreme(
            run, branch_neutral_a(with_neutral, run.node_v), lambda column: {"element": with_neutral[column].name}
        ),
        "neutral_voltage_max_v": _extreme(
            run, np.abs(run.node_v[:, neutral_nodes]),
            lambda column: {"bus": names[neutral_nodes[column]].rpartition(".")[0]},
        ),
    }  # fmt: skip
    return {name: place for name, place in found.items() if place is not None}


def _line_percent(run: Trajectory) -> Float:
    ratings_a = np.array([line.rating_a for line in run.rated_lines])
    return np.asarray(100.0 * np.abs(run.line_current_a) / ratings_a[:, None]).reshape(run.steps, -1)


def _extreme(
    run: Trajectory, values: Float, place: Callable[[int], Place], *, lowest: bool = False, window_min: float = 0.0
) -> Place | None:
    """Largest or lowest of values of shape (step or window, place)."""
    known = np.where(np.isfinite(values), -values if lowest else values, -np.inf)
    if not np.isfinite(known).any():
        return None
    row, column = (int(index) for index in np.unravel_index(known.argmax(), known.shape))
    step = int(row * window_min / run.step_min) if window_min else row
    time = run.exogenous.start + timedelta(minutes=step * run.step_min)
    return {**place(column), "step": step, "time": time.isoformat(), "value": float(values[row, column])}
