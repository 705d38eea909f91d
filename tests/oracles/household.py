"""What a household does inside its caps, as linear programmes: the witnesses of the closed forms."""

from __future__ import annotations

import numpy as np
from scipy.optimize import OptimizeResult, linprog

from cosim.contract import Float
from cosim.controllers.caps import CapsProblem

SAME_EUR = 1e-9


def limits_kw(problem: CapsProblem, caps_kw: Float, car: int) -> Float:
    """Return what a car can draw at most, shape (slot,): none where its charger could not run [kW]."""
    home = int(problem.home[car])
    cap = np.minimum(caps_kw[:, home], problem.connection_kw[home])
    room = np.maximum(cap - problem.inflexible_kw[:, home], 0.0)
    limits: Float = np.minimum(problem.plugged[:, car] * problem.charger_kw[car], room)
    return np.where(room < problem.charger_min_kw[car] * (1 - 1e-9), 0.0, limits)


def least_cost_eur(problem: CapsProblem, caps_kw: Float, car: int) -> float:
    """Return what one car's charging costs at least at the tariff itself, without any tie-break [EUR]."""
    return problem.slot_h * float(_charging(problem, caps_kw, car, problem.tariff_of_car[:, car]).fun)


def most_drawn_kw(problem: CapsProblem, caps_kw: Float, car: int, slot: int) -> float:
    """Return the most that one car may draw in a slot without paying more than it must [kW]."""
    most_eur = least_cost_eur(problem, caps_kw, car) + SAME_EUR
    return -float(_charging(problem, caps_kw, car, -np.eye(problem.slots)[slot], most_eur).fun)


def _charging(
    problem: CapsProblem, caps_kw: Float, car: int, cost: Float, most_eur: float | None = None
) -> OptimizeResult:
    """Minimise a cost per kW over all ways to charge inside the caps: the need, or all that is possible of it."""
    limits = limits_kw(problem, caps_kw, car)
    need_kw = problem.energy_need_kwh[car] / (problem.efficiency[car] * problem.slot_h)
    room_kwh = problem.energy_need_kwh if problem.battery_room_kwh is None else problem.battery_room_kwh
    most_kw = max(room_kwh[car] / (problem.efficiency[car] * problem.slot_h), need_kw)
    drawn = np.ones(problem.slots)
    rows, at_most = [-drawn, drawn], [-min(need_kw, limits.sum()), most_kw]
    if most_eur is not None:
        rows.append(problem.slot_h * problem.tariff_of_car[:, car])
        at_most.append(most_eur)
    return _solved(linprog(cost, A_ub=rows, b_ub=at_most, bounds=np.column_stack([0.0 * limits, limits])))


def _solved(found: OptimizeResult) -> OptimizeResult:
    assert found.success, found.message
    return found
