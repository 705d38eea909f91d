"""What a household does inside its caps: the lower level, in closed form and as a linear programme.

The lower level of one car is a continuous knapsack (cheapest slots first until the need is
met), so its optimum is a sort and a running sum. The linear programme is kept as an independent witness of the same.
"""

from __future__ import annotations

import highspy
import numpy as np

from controllers.caps.highs import silent_highs
from controllers.caps.problem import CapsProblem
from cosim.contract import Float
from cosim.errors import SolverError


def car_limits(problem: CapsProblem, caps_kw: Float) -> Float:
    """Return what each car can draw at most under the caps, mean over the slot.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    caps_kw : ndarray, shape (slot, home)
        Caps on net import [kW].

    Returns
    -------
    ndarray, shape (slot, car)
        min(plugged · charger, cap - inflexible), 0 where the room is less than the charger can run at [kW].
    """
    room = np.maximum(np.minimum(caps_kw, problem.connection_kw) - problem.inflexible_kw, 0.0)[:, problem.home]
    limits: Float = np.minimum(problem.plugged * problem.charger_kw, room)
    limits[room < problem.charger_min_kw * (1 - 1e-9)] = 0.0
    return limits


def best_response(problem: CapsProblem, caps_kw: Float) -> Float:
    """Return the cheapest charging of every household inside its caps, as much as it can of its need.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    caps_kw : ndarray, shape (slot, home)
        Caps on net import [kW].

    Returns
    -------
    ndarray, shape (slot, car)
        Power drawn, mean over the slot [kW]; unique, because the order of slots is strict.
    """
    order = problem.merit_order
    limits = car_limits(problem, caps_kw)[order]
    wanted_kw = problem.energy_need_kwh / (problem.efficiency * problem.slot_h)  # as if drawn in a single slot
    before = np.cumsum(limits, axis=0) - limits
    charge = np.empty_like(limits)
    charge[order] = np.clip(wanted_kw - before, 0.0, limits)
    return charge


def best_response_lp(problem: CapsProblem, caps_kw: Float, car: int) -> Float:
    """Return the same for one car from a linear programme, shape (slot,) [kW].

    ``min Σ order_cost · Δ · p  s.t.  η Δ Σ p = need (or all that is possible),  0 <= p <= limit``.

    Raises
    ------
    SolverError
        Where the solver does not end at an optimum.
    """
    limits = car_limits(problem, caps_kw)[:, car]
    per_kw_kwh = float(problem.efficiency[car]) * problem.slot_h
    need_kwh = min(float(problem.energy_need_kwh[car]), per_kw_kwh * float(limits.sum()))
    solver = silent_highs()
    step = problem.order_cost - problem.order_cost.min()
    scale = float(step[step > 0].min()) if (step > 0).any() else 1.0  # unit cost = the smallest step of the order
    slots = range(problem.slots)
    power = [solver.addVariable(lb=0.0, ub=float(limits[k]), obj=float(step[k] / scale)) for k in slots]
    solver.addConstr(solver.qsum(power) == need_kwh / per_kw_kwh)
    solver.minimize()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise SolverError(f"household response of car {car}: {solver.modelStatusToString(solver.getModelStatus())}")
    return np.array(solver.getSolution().col_value)


def charging_cost_eur(problem: CapsProblem, charge_kw: Float) -> Float:
    """Return what each car's charging costs at the tariff, shape (car,) [EUR]."""
    cost: Float = problem.slot_h * (problem.tariff_eur_per_kwh @ charge_kw)
    return cost
