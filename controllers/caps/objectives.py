"""What an answer for the whole day is worth: value, proven bound and gap of each objective.

``anticipated`` counts what cars can use: a cap matters by what it keeps from a car, and a room below what its charger
runs at is none. ``sum_of_caps`` counts rooms, since there every kW of a cap is taken from the limits, used or not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.controllers.caps.asked import Outcome
from cosim.controllers.caps.fairness import LEAST_MEAN_KW
from cosim.controllers.caps.follower import best_response, car_limits, charging_cost_eur, usable_withheld_kwh
from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.solver import relative_gap

if TYPE_CHECKING:
    from cosim.controllers.caps.safe import SafeCaps

SMALLEST_KWH = 1e-6
NO_ROOM_KW = 1e-5  # a smallest room below is rounding


@dataclass(frozen=True)
class Worth:
    """Value and bound in the unit of the objective, and the gap between them, relative to what it is honest about."""

    value: float
    bound: float
    gap: float


def anticipated_worth(problem: CapsProblem, objective: str, caps_kw: Float, outcomes: Sequence[Outcome]) -> Worth:
    """Add up pieces: what caps are worth as published, and what is proven of it.

    Returns
    -------
    Worth
        ``proportional``: the gap is relative to what is lost against no caps; ``min_cost``: to the cost of charging;
        ``max_min``: to the bound; else to the usable energy withheld.
    """
    away = sum(abs(outcome.bound - outcome.objective) for outcome in outcomes)
    if objective == "max_min":
        free = float(np.min(problem.usable_kw[problem.usable_kw > 0], initial=np.inf))
        # pieces in which nothing is held set no limit
        value = min((one.objective for one in outcomes), default=np.inf)
        value, bound = (
            min(value, free) if value == np.inf else value,
            min((one.bound for one in outcomes), default=free),
        )
        bound = max(min(bound, float(problem.usable_kw.max(initial=0.0))), value)
        return Worth(value, bound, 0.0 if bound <= value else relative_gap(bound, value))
    if objective == "proportional":
        value, free = log_usable(problem, caps_kw), log_usable(problem, free_caps(problem))
        bound = min(value + away, max(free, value))
        return Worth(value, bound, relative_gap(free - value, free - bound, SMALLEST_KWH))
    if objective == "min_cost":
        value = float(charging_cost_eur(problem, best_response(problem, caps_kw)).sum())
        return Worth(value, value - away, relative_gap(value, value - away, SMALLEST_KWH))
    value = usable_withheld_kwh(problem, caps_kw)
    bound = min(sum(outcome.bound for outcome in outcomes), value)
    return Worth(value, bound, relative_gap(value, bound, SMALLEST_KWH))


def safe_worth(problem: CapsProblem, objective: str, found: SafeCaps, charge_kw: Float) -> Worth:
    """Return what safe caps are worth, by the bound of the aim, or that having no caps would be better."""
    if objective == "max_min":
        value, bound = smallest_room(problem, found.room_kw), smallest_room(problem, problem.room_kw)
        bound = bound if found.bound is None else max(-found.bound, value)
        return Worth(value, bound, 0.0 if bound <= value else relative_gap(bound, value, NO_ROOM_KW))
    if objective == "proportional":
        value, free = log_room(problem, found.caps_kw), log_room(problem, free_caps(problem))
        bound = max(free - (found.bound or 0.0), value)
        return Worth(value, bound, relative_gap(free - value, free - bound))
    if objective == "min_cost":
        value = float(charging_cost_eur(problem, charge_kw).sum())
        free_kw = best_response(problem, free_caps(problem))
        bound = float(charging_cost_eur(problem, free_kw).sum()) if found.bound is None else found.bound
        return Worth(value, min(bound, value), relative_gap(value, min(bound, value), SMALLEST_KWH))
    value, bound = problem.withheld_kwh(found.caps_kw), safe_withheld_bound_kwh(problem, found)
    return Worth(value, min(bound, value), relative_gap(value, min(bound, value), SMALLEST_KWH))


def safe_withheld_bound_kwh(problem: CapsProblem, found: SafeCaps) -> float:
    """Return the lower bound of what safe caps withhold where other aims come first; 0 where it is not known."""
    room_kw = float(np.where(problem.is_plugged, problem.room_kw, 0.0).sum())
    return max(problem.slot_h * (room_kw - found.room_bound_kw), 0.0)


def smallest_room(problem: CapsProblem, room_kw: Float) -> float:
    """Return the smallest room over slots in which a car could charge, inf without any [kW]."""
    return float(np.min(room_kw[problem.is_plugged & (problem.room_kw > 0)], initial=np.inf))


def log_room(problem: CapsProblem, caps_kw: Float) -> float:
    """Return the sum over homes of the logarithm of their mean room while plugged in, at least 0.1 kW each.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    caps_kw : ndarray, shape (slot, home)
        Caps on net import [kW].
    """
    there = problem.per_home(problem.is_plugged.astype(float)) > 0
    room = np.where(there, problem.room_under_kw(caps_kw), 0.0)
    return _log_means(room, there)


def log_usable(problem: CapsProblem, caps_kw: Float) -> float:
    """Return the same of the mean power that caps leave a home's cars, over slots in which they could use any."""
    usable = problem.per_home(np.minimum(car_limits(problem, caps_kw), problem.usable_kw))
    return _log_means(usable, problem.per_home(problem.usable_kw) > 0)


def _log_means(kw: Float, there: Bool) -> float:
    slots = there.sum(axis=0)
    mean = kw.sum(axis=0)[slots > 0] / slots[slots > 0]
    return float(np.log(np.maximum(mean, LEAST_MEAN_KW)).sum())


def free_caps(problem: CapsProblem) -> Float:
    """Return caps that withhold nothing, shape (slot, home) [kW]."""
    return np.broadcast_to(problem.connection_kw, problem.inflexible_kw.shape)
