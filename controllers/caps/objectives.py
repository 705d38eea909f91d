"""What an answer for the whole day is worth: value, proven bound and gap of each objective."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.follower import best_response, charging_cost_eur
from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.caps.programme import Outcome
from cosim.controllers.caps.proportional import log_room
from cosim.controllers.solver import relative_gap


@dataclass(frozen=True)
class Worth:
    """Value and bound in the unit of the objective, and the gap between them, relative to what it is honest about."""

    value: float
    bound: float
    gap: float


def smallest_room(problem: CapsProblem, room_kw: Float) -> float:
    """Return the smallest room over slots in which a car could charge, inf without any [kW]."""
    return float(np.min(room_kw[problem.is_plugged & (problem.room_kw > 0)], initial=np.inf))


def worth(
    problem: CapsProblem,
    objective: str,
    caps_kw: Float,
    charge_kw: Float,
    room_kw: Float,
    withheld_bound_kwh: float,
    outcomes: Sequence[Outcome] | None,
    at_best_caps_kw: Float | None = None,
) -> Worth:
    """Add up pieces.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    objective : str
        Its name.
    caps_kw : ndarray, shape (slot, home)
        Caps [kW].
    charge_kw, room_kw : ndarray, shape (slot, car)
        What cars draw, and the room that their caps leave [kW].
    withheld_bound_kwh : float
        Lower bound of what must be withheld [kWh].
    outcomes : sequence of Outcome or None
        Of the pieces; None where one linear programme gave the optimum.
    at_best_caps_kw : ndarray, shape (slot, home), optional
        What the bounds of the pieces were reckoned with, where the caps had to withhold more from settled cars [kW].

    Returns
    -------
    Worth
        ``proportional``: the gap is relative to what is lost against no caps; ``min_cost``: to the cost of charging;
        ``max_min``: to the bound; else to what is withheld.
    """
    if objective == "max_min":
        value = smallest_room(problem, room_kw)
        bound = value
        if outcomes is not None:
            value = min((o.objective for o in outcomes), default=float(np.min(room_kw, initial=np.inf)))
            bound = min((o.bound for o in outcomes), default=value)
        return Worth(value, bound, 0.0 if bound == value else relative_gap(bound, min(value, bound)))
    away = sum(outcome.bound - outcome.objective for outcome in outcomes or ())
    if objective == "proportional":
        free = log_room(problem, free_caps(problem))
        reckoned_kw = caps_kw if at_best_caps_kw is None else at_best_caps_kw
        return log_worth(problem, caps_kw, free - log_room(problem, reckoned_kw) - away)
    if objective == "min_cost":
        value = float(charging_cost_eur(problem, charge_kw).sum())
        return Worth(value, value + away, relative_gap(value, value + away))
    value = problem.withheld_kwh(caps_kw)
    return Worth(value, withheld_bound_kwh, relative_gap(value, min(value, withheld_bound_kwh)))


def unproven(problem: CapsProblem, objective: str, caps_kw: Float, charge_kw: Float, room_kw: Float) -> Worth:
    """Return what caps are worth of which nothing is known but that having none would be better."""
    if objective == "max_min":
        value, bound = smallest_room(problem, room_kw), smallest_room(problem, problem.room_kw)
        return Worth(value, bound, relative_gap(bound, value))
    if objective == "proportional":
        return log_worth(problem, caps_kw, 0.0)
    if objective == "min_cost":
        value = float(charging_cost_eur(problem, charge_kw).sum())
        bound = float(charging_cost_eur(problem, best_response(problem, free_caps(problem))).sum())
        return Worth(value, min(bound, value), relative_gap(value, min(bound, value)))
    return worth(problem, objective, caps_kw, charge_kw, room_kw, 0.0, ())


def log_worth(problem: CapsProblem, caps_kw: Float, least_loss: float) -> Worth:
    """Return what caps are worth as a sum of logarithms, whose loss against no caps is at least the one given."""
    value, free = log_room(problem, caps_kw), log_room(problem, free_caps(problem))
    bound = max(free - least_loss, value)
    return Worth(value, bound, relative_gap(free - value, free - bound))


def free_caps(problem: CapsProblem) -> Float:
    """Return caps that withhold nothing, shape (slot, home) [kW]."""
    return np.broadcast_to(problem.connection_kw, problem.inflexible_kw.shape)
