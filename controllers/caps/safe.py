"""The safe coordination: the sum of caps stays under the limit, whatever households do inside them.

A linear programme, and the operating-envelope baseline. Every home counts with its cap: a plugged-in one with what the
programme gives it, any other with its inflexible load and an equal part of what is then left over.
"""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo

from controllers.caps.highs import solve_in_turn
from controllers.caps.part import LIMIT_SLACK_KW
from controllers.caps.problem import CapsProblem
from controllers.caps.service import Service
from controllers.caps.sharing import SHY, levels
from cosim.contract import Float

ROUNDS = 4


def promised_floors(problem: CapsProblem, wanted_kw: float) -> Float:
    """Return the floors that fit under the limits together, lowered to one level per slot where they do not.

    Returns
    -------
    ndarray, shape (slot, car)
        min(wanted, charger, connection - inflexible) or the level; 0 where no car is plugged in [kW].
    """
    floor = np.where(problem.is_plugged, np.minimum(np.minimum(wanted_kw, problem.charger_kw), problem.room_kw), 0.0)
    for k in range(problem.slots):
        floor[k] = np.minimum(floor[k], SHY * levels(floor[k], problem.car_share, problem.headroom_kw[k]))
    return floor


def sum_of_caps(problem: CapsProblem, service: Service, objective: str, floor_kw: Float) -> tuple[Float, Float]:
    """Return caps whose sum respects every limit.

    In turn: most of the served energy of ``service``, the objective (floors missed least, or the smallest room
    largest), least withheld, least cost of charging. A room smaller than a charger's least is of no use to it, which a
    linear programme cannot know: such slots are taken out and it is solved again, a few times.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    service : Service
        What can be served.
    objective : str
        ``least_restriction``, ``floor_then_least`` or ``max_min``.
    floor_kw : ndarray, shape (slot, car)
        Floors, which fit under the limits; service goes before them.

    Returns
    -------
    caps_kw : ndarray, shape (slot, home)
        Caps of all homes [kW].
    room_kw : ndarray, shape (slot, car)
        Cap above inflexible load where the car is plugged in; 0 elsewhere [kW].
    """
    pairs = [(int(k), int(c)) for k, c in np.argwhere(problem.is_plugged & (problem.room_kw > 0))]
    room = np.zeros_like(floor_kw)
    if pairs:
        m = _model(problem, service, pairs, None if objective == "max_min" else floor_kw)
        aims = [sum(m.unserved.values()), -m.smallest, sum(m.missed.values()), -sum(m.room.values()), _cost(problem, m)]
        for _ in range(ROUNDS):
            solve_in_turn(m, aims)
            if not _usable_rooms_only(problem, m):
                break
        for k, c in pairs:
            room[k, c] = min(max(m.room[k, c].value, 0.0), problem.room_kw[k, c])
    return _all_caps(problem, room)


def _cost(problem: CapsProblem, m: pyo.ConcreteModel) -> pyo.Expression:
    return problem.slot_h * sum(float(problem.tariff_eur_per_kwh[k]) * m.p[k, c] for k, c in m.p)


def _usable_rooms_only(problem: CapsProblem, m: pyo.ConcreteModel) -> bool:
    """Forbid charging in rooms smaller than the charger's least, keep the others so; whether anything changed."""
    changed = False
    for k, c in m.p:
        least = float(problem.charger_min_kw[c])
        if m.p[k, c].value <= LIMIT_SLACK_KW or m.p[k, c].ub == 0.0:
            continue
        if m.room[k, c].value < least * (1 - 1e-9):
            m.p[k, c].setub(0.0)
            changed = True
        else:
            m.room[k, c].setlb(least)
    return changed


def _model(
    problem: CapsProblem, service: Service, pairs: list[tuple[int, int]], floor_kw: Float | None
) -> pyo.ConcreteModel:
    m = pyo.ConcreteModel()
    m.room = pyo.Var(pairs, bounds=lambda _, k, c: (0.0, float(problem.room_kw[k, c])))
    m.missed = pyo.Var(pairs, within=pyo.NonNegativeReals)
    m.smallest = pyo.Var(bounds=(0.0, float(problem.connection_kw.max()) if floor_kw is None else 0.0))
    usable = [(k, c) for k, c in pairs if problem.usable_kw[k, c] > 0]
    m.p = pyo.Var(usable, bounds=lambda _, k, c: (0.0, float(problem.usable_kw[k, c])))
    m.inside = pyo.Constraint(usable, rule=lambda m, k, c: m.p[k, c] <= m.room[k, c])
    slots_of: dict[int, list[int]] = {}
    cars_at: dict[int, list[int]] = {}
    for k, c in usable:
        slots_of.setdefault(c, []).append(k)
    for k, c in pairs:
        cars_at.setdefault(k, []).append(c)
    m.unserved = pyo.Var(list(slots_of), within=pyo.NonNegativeReals)
    m.served = pyo.Constraint(
        list(slots_of),
        rule=lambda m, c: (
            problem.slot_h * sum(m.p[k, c] for k in slots_of[c]) + m.unserved[c] >= float(service.draw_kwh[c])
        ),
    )
    if floor_kw is None:
        m.promise = pyo.Constraint(pairs, rule=lambda m, k, c: m.room[k, c] >= m.smallest)
    else:
        m.promise = pyo.Constraint(pairs, rule=lambda m, k, c: m.room[k, c] + m.missed[k, c] >= float(floor_kw[k, c]))
    m.limit = pyo.ConstraintList()
    for k, cars in cars_at.items():
        for phase in range(problem.limit_kw.shape[1]):
            on = [c for c in cars if problem.car_share[c, phase] > 0]
            if on:
                promised = sum(float(problem.car_share[c, phase]) * m.room[k, c] for c in on)
                m.limit.add(promised <= max(float(problem.headroom_kw[k, phase]) - LIMIT_SLACK_KW, 0.0))
    return m


def _all_caps(problem: CapsProblem, room_kw: Float) -> tuple[Float, Float]:
    """Hand out what is left, first to plugged-in cars, then to homes without one; caps of all homes, and rooms."""
    room, caps = room_kw.copy(), problem.inflexible_kw.copy()
    idle = problem.per_home(problem.plugged) == 0
    for k in range(problem.slots):
        left = np.maximum(problem.headroom_kw[k] - LIMIT_SLACK_KW - room[k] @ problem.car_share, 0.0)
        wanted = np.where(problem.is_plugged[k], problem.room_kw[k] - room[k], 0.0)
        more = np.minimum(wanted, levels(wanted, problem.car_share, left))
        room[k] += more
        left = np.maximum(left - more @ problem.car_share, 0.0)
        free = np.where(idle[k], np.maximum(problem.connection_kw - problem.inflexible_kw[k], 0.0), 0.0)
        caps[k] += np.minimum(free, levels(free, problem.phase_share, left))
    return caps + problem.per_home(room), room
