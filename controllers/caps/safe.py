"""The safe coordination: the sum of caps stays under the limit, whatever households do inside them.

A linear programme, and the operating-envelope baseline. Every home counts with its cap: a plugged-in one with what the
programme gives it, any other with its inflexible load and an equal part of what is then left over.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyomo.environ as pyo

from cosim.contract import Float
from cosim.controllers.caps.core.subproblem import LIMIT_SLACK_KW
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.caps.safe_fairness import add_losses, raise_next_levels
from cosim.controllers.caps.service import Service, too_large
from cosim.controllers.caps.sharing import SHY, levels
from cosim.controllers.caps.urgency import urgent_charge
from cosim.controllers.solver import Clock, OutOfTimeError, Termination, worst
from cosim.controllers.solver.pyomo_model import minimise_in_turn
from cosim.errors import SolverError

ROUNDS = 4
MOST_SWITCHES = 150  # slots of cars up to which switches decide where chargers run
NAMED_KWH = 1e-3  # less is rounding, not a need left unserved
SAME = 1e-5  # of an aim, relative to 1 + its size: rounding of aims in turn


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


@dataclass(frozen=True, eq=False)
class SafeCaps:
    """Caps whose sum respects every limit, as far as they got.

    Attributes
    ----------
    caps_kw : ndarray, shape (slot, home)
        Caps of all homes [kW].
    room_kw : ndarray, shape (slot, car)
        Cap above inflexible load where the car is plugged in; 0 elsewhere [kW].
    ended : Termination
        ``optimal`` where every aim was reached; else what cut a later one off.
    is_best : bool
        Whether the aim that the objective stands for was reached.
    least_loss : float
        With ``proportional``: lower bound of the loss against no caps; 0 for the others.
    """

    caps_kw: Float
    room_kw: Float
    ended: Termination
    is_best: bool
    least_loss: float = 0.0


def sum_of_caps(problem: CapsProblem, service: Service, options: CapsOptions, floor_kw: Float) -> SafeCaps:
    """Return caps whose sum respects every limit.

    In turn: most of the served energy of ``service``, the objective (floors missed least, the smallest rooms largest,
    the logarithms of mean rooms, or the cost), least withheld, least cost of charging. A room smaller than a charger's
    least is of no use to it, which a linear programme cannot know. Where its answer has such rooms, it is solved again
    with a switch for every slot of a car, if these are few; else such slots are taken out and it is solved again, a few
    times, and what that costs is the best of nothing.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    service : Service
        What can be served.
    options : CapsOptions
        For the objective, and the levels of ``max_min``.
    floor_kw : ndarray, shape (slot, car)
        Floors, which fit under the limits; service goes before them.

    Raises
    ------
    OutOfTimeError
        Where the time limit of the options ends it before the first aim is reached, or is too short to begin with.
    SolverError
        Where the solver ends in a way that says nothing.
    """
    objective, least_loss, ended, is_best = options.objective, 0.0, Termination.OPTIMAL, True
    pairs = [(int(k), int(c)) for k, c in np.argwhere(problem.is_plugged & (problem.room_kw > 0))]
    room, clock = np.zeros_like(floor_kw), Clock(options.time_limit_s)
    if too_large(len(pairs), clock.left_s):
        raise OutOfTimeError(f"{len(pairs)} slots of cars are too many for a linear programme in {clock.left_s:.3g} s")
    if pairs:
        m = _model(problem, service, pairs, None if objective == "max_min" else floor_kw)
        aims = _aims(problem, m, objective)
        own_aim = 4 if objective in ("floor_then_least", "least_restriction") else 2
        best: tuple[float, ...] = ()
        for number in range(ROUNDS):
            found = minimise_in_turn(m, aims, time_s=clock.left_s)
            if number == 0:
                if not found.reached:
                    raise OutOfTimeError("the clock struck before any caps were found")
                best = found.values[:own_aim]
                if found.reached == len(aims) and len(m.p) <= MOST_SWITCHES and _needs_switches(problem, service, m):
                    other = _with_switches(problem, service, pairs, None if objective == "max_min" else floor_kw)
                    aims_there = _aims(problem, other, objective)
                    exact = minimise_in_turn(other, aims_there, time_s=clock.left_s / 2)
                    if exact.reached == len(aims):
                        m, aims, found, best = other, aims_there, exact, exact.values[:own_aim]
            ended = worst((ended, found.termination))
            if found.reached:  # else the caps of the round before stand
                room = _rooms(problem, m)
            is_best = min(len(best), found.reached) >= own_aim and all(
                abs(value - least) <= SAME * (1.0 + abs(least))
                for value, least in zip(found.values, best, strict=False)
            )
            if found.reached < len(aims) or hasattr(m, "on") or not _usable_rooms_only(problem, m):
                break
        else:
            is_best = False  # rooms may be left that are of no use
        is_best &= hasattr(m, "on") or not _is_short(problem, service)
        least_loss = best[1] if objective == "proportional" and is_best else 0.0
        if not is_best and ended is Termination.OPTIMAL:
            ended = Termination.FEASIBLE
        if objective == "max_min" and options.levels > 1 and ended is Termination.OPTIMAL:
            try:
                raise_next_levels(m, problem, options.levels, aims, clock)
                room = _rooms(problem, m)
            except OutOfTimeError:
                ended = Termination.TIME_LIMIT
            except SolverError:  # the levels before it stand
                ended = Termination.FEASIBLE
    return SafeCaps(*_all_caps(problem, room), ended, is_best, least_loss)


def _rooms(problem: CapsProblem, m: pyo.ConcreteModel) -> Float:
    room = np.zeros_like(problem.room_kw)
    for k, c in m.room:
        room[k, c] = min(max(m.room[k, c].value, 0.0), problem.room_kw[k, c])
    return room


def at_once(problem: CapsProblem) -> tuple[Float, Float]:
    """Return caps whose sum respects every limit, and rooms, without a programme: for when there is no time left.

    Cars get what they draw in order of urgency, and an equal part of what is then left over.
    """
    return _all_caps(problem, urgent_charge(problem))


def _aims(problem: CapsProblem, m: pyo.ConcreteModel, objective: str) -> list[pyo.Expression]:
    wished = {"min_cost": _cost(problem, m), "proportional": 0.0}.get(objective, -m.smallest)
    if objective == "proportional":
        wished = add_losses(m, problem)
    unserved = sum(float(problem.efficiency[c]) * m.unserved[c] for c in m.unserved)
    return [unserved, wished, sum(m.missed.values()), -sum(m.room.values()), _cost(problem, m)]


def _cost(problem: CapsProblem, m: pyo.ConcreteModel) -> pyo.Expression:
    return problem.slot_h * sum(float(problem.tariff_of_car[k, c]) * m.p[k, c] for k, c in m.p)


def _is_short(problem: CapsProblem, service: Service) -> bool:
    """Whether cars get less than they need by a programme that does not know on how little chargers can run."""
    short = problem.reachable_kwh - problem.efficiency * service.draw_kwh > NAMED_KWH
    return bool(short.any() and (problem.charger_min_kw > 0.0).any())


def _needs_switches(problem: CapsProblem, service: Service, m: pyo.ConcreteModel) -> bool:
    """Whether charging is planned in rooms that chargers cannot run on, or more may be served than was shared out."""
    if _is_short(problem, service):
        return True
    least = problem.charger_min_kw * (1 - 1e-9)
    return any(m.p[k, c].value > LIMIT_SLACK_KW and m.room[k, c].value < least[c] for k, c in m.p)


def _with_switches(
    problem: CapsProblem, service: Service, pairs: list[tuple[int, int]], floor_kw: Float | None
) -> pyo.ConcreteModel:
    """Return the model in which every charger runs or does not in every slot.

    How much each car is to get was shared out without knowing where chargers can run: here it may get all it needs.
    """
    m = _model(problem, replace(service, draw_kwh=problem.reachable_kwh / problem.efficiency), pairs, floor_kw)
    least = problem.charger_min_kw
    m.on = pyo.Var([(k, c) for k, c in m.p if least[c] > 0.0], within=pyo.Binary)
    m.runs = pyo.Constraint(list(m.on), rule=lambda m, k, c: m.p[k, c] <= float(problem.usable_kw[k, c]) * m.on[k, c])
    m.leaves = pyo.Constraint(list(m.on), rule=lambda m, k, c: m.room[k, c] >= float(least[c]) * m.on[k, c])
    return m


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
    m.battery = pyo.Constraint(
        list(slots_of),
        rule=lambda m, c: sum(m.p[k, c] for k in slots_of[c]) <= max(
            float(problem.most_kw[c]), float(service.draw_kwh[c]) / problem.slot_h
        ),
    )  # fmt: skip
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
                # rooms, not draws: the limit holds whatever homes do inside their caps
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
