"""Fair shares under ``sum_of_caps``: logarithms of mean rooms by tangents, and leximin level by level, as programmes.

The set of rooms is convex there, so the homes that cannot be raised above a level are the same whichever way the others
are raised, and they are found by raising as many as possible at once until nobody is left who can be.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyomo.environ as pyo

from cosim.contract import Float
from cosim.controllers.caps.fairness import TOUCHES_KW
from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.solver import Clock, Limits
from cosim.controllers.solver.pyomo_model import minimise_in_turn, solve

STEP_KW = 1e-3  # a home that can be raised by that much is not at its level
SLACK_KW = 1e-6
CURVE = 0.004  # of the places of tangents, i^2 apart


def places(full_kw: float) -> list[float]:
    """Mean rooms at which the loss is touched, from that without caps down to the lowest that bounds it [kW].

    Between tangents at ``t`` and ``t + d`` of log-room they miss ``d^2 / 8``.
    """
    touched: list[float] = []
    while full_kw > 0.0 and (place := full_kw * float(np.exp(-CURVE * len(touched) ** 2))) >= TOUCHES_KW:
        touched.append(place)
    return touched


def rooms_without_caps(problem: CapsProblem) -> tuple[Float, Float]:
    """Return room summed over plugged-in slots without caps [kW], and how many these are, shape (home,) both."""
    room = problem.per_home(np.where(problem.is_plugged, problem.room_kw, 0.0)).sum(axis=0)
    return room, problem.per_home(problem.is_plugged.astype(float)).sum(axis=0)


def add_losses(m: pyo.ConcreteModel, problem: CapsProblem) -> pyo.Expression:
    """Bound each home's loss against no caps from below by tangents, and return their sum.

    Parameters
    ----------
    m : ConcreteModel
        With ``room`` over (slot, car).
    problem : CapsProblem
        The data.
    """
    full, slots = rooms_without_caps(problem)
    rooms: dict[int, list[pyo.Var]] = {}
    for k, c in m.room:
        rooms.setdefault(int(problem.home[c]), []).append(m.room[k, c])
    m.loss = pyo.Var(list(rooms), within=pyo.NonNegativeReals)
    m.tangents = pyo.ConstraintList()
    for home, terms in rooms.items():
        mean, left = float(full[home] / slots[home]), sum(terms) / float(slots[home])
        for place in places(mean):
            m.tangents.add(place * m.loss[home] >= place * (np.log(mean / place) + 1.0) - left)
    return sum(m.loss.values())


def raise_next_levels(
    m: pyo.ConcreteModel, problem: CapsProblem, levels: int, aims: Sequence[pyo.Expression], clock: Clock
) -> None:
    """Raise the homes that can be raised above the smallest room, level by level, and solve for the other aims again.

    Parameters
    ----------
    m : ConcreteModel
        Solved for the smallest room ``m.smallest``.
    problem : CapsProblem
        The data.
    levels : int
        How many levels to make as large as possible, the first included.
    aims : sequence of linear expressions
        Service first, which is kept; then the smallest room; then others.
    clock : Clock
        Wall clock.

    Raises
    ------
    OutOfTimeError
        Where the time limit is reached.
    SolverError
        Where a programme ends without an optimum.
    """
    homes = sorted({int(problem.home[c]) for _, c in m.room})
    most_kw = float(problem.room_kw.max())
    level_kw = max(float(m.smallest.value) - SLACK_KW, 0.0)
    m.own = pyo.Var(homes, bounds=(level_kw, most_kw))
    m.above = pyo.Var(homes, bounds=(0.0, STEP_KW))
    m.next_kw = pyo.Var(bounds=(0.0, most_kw))
    m.own_room = pyo.Constraint(list(m.room), rule=lambda m, k, c: m.room[k, c] >= m.own[int(problem.home[c])])
    unserved = float(pyo.value(aims[0]))
    if not isinstance(aims[0], (int, float)):  # else no car can draw anything
        m.kept_service = pyo.Constraint(expr=aims[0] <= unserved + SLACK_KW * (1.0 + unserved))
    free = set(homes)
    for _ in range(levels - 1):
        free -= _stuck(m, sorted(free), level_kw, clock)
        if not free:
            break
        m.raised = pyo.Constraint(sorted(free), rule=lambda m, home: m.own[home] >= m.next_kw)
        _maximise(m, m.next_kw, clock)
        level_kw = max(float(m.next_kw.value) - SLACK_KW, level_kw)
        m.del_component(m.raised)
        for home in free:
            m.own[home].setlb(level_kw)
    minimise_in_turn(m, [aims[0], *aims[2:]], time_s=clock.left_s)


def _stuck(m: pyo.ConcreteModel, free: Sequence[int], level_kw: float, clock: Clock) -> set[int]:
    """Return which of the homes that are not settled yet cannot be raised above the level."""
    stuck = set(free)
    m.raised = pyo.Constraint(free, rule=lambda m, home: m.own[home] >= level_kw + m.above[home])
    while stuck:
        _maximise(m, sum(m.above[home] for home in stuck), clock)
        raised = {home for home in stuck if float(m.above[home].value) > STEP_KW / 10}
        stuck -= raised
        if not raised:
            break
    m.del_component(m.raised)
    return stuck


def _maximise(m: pyo.ConcreteModel, aim: pyo.Expression, clock: Clock) -> None:
    m.largest = pyo.Objective(expr=-aim)
    found = solve(m, Limits(time_s=clock.left_s))
    m.del_component(m.largest)
    found.proven("levels of the caps")
