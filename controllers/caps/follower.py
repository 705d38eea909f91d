"""What a household does inside its caps: the lower level, in closed form and as a linear programme.

The lower level of one car is a continuous knapsack (cheapest slots first until the need is met; where the price is
below zero, until the battery is full), so its optimum is a sort and a running sum. A linear programme is kept as an
independent witness of the same, for the files that come with the caps. Where several ways to charge cost the same, the
strict order picks one of them; `worst_draw` tells how much each slot could see from any of them.
"""

from __future__ import annotations

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.merit_order import band_levels, strict_levels
from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.solver import Limits, Model, solve

LINEAR_S = 60.0  # of a few dozen variables: they take milliseconds


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
    room = problem.room_under_kw(caps_kw)[:, problem.home]
    limits: Float = np.minimum(problem.plugged * problem.charger_kw, problem.used_part * room)
    # a cap meant to leave exactly the least may come out a hair lower: read strictly, it would shut the car
    limits[room < problem.charger_min_kw * (1 - 1e-9)] = 0.0
    return limits


def usable_withheld_kwh(problem: CapsProblem, caps_kw: Float) -> float:
    """Return the energy that cars could use in the slots in which they are there, and caps keep from them [kWh].

    A cap that leaves less than the charger runs at keeps all of it.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    caps_kw : ndarray, shape (slot, home)
        Caps on net import [kW].
    """
    left = np.minimum(car_limits(problem, caps_kw), problem.usable_kw)
    return float(problem.slot_h * (problem.usable_kw - left).sum())


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
    order = problem.merit_order_of_car
    limits = np.take_along_axis(car_limits(problem, caps_kw), order, axis=0)
    paid = strict_levels(np.take_along_axis(problem.tariff_of_car, order, axis=0)) < 0
    before = np.cumsum(limits, axis=0) - limits
    charge = np.empty_like(limits)
    wanted_kw = np.where(paid, problem.most_kw, problem.need_kw)
    np.put_along_axis(charge, order, np.clip(wanted_kw - before, 0.0, limits), axis=0)
    return charge


def worst_draw(problem: CapsProblem, caps_kw: Float) -> Float:
    """Return the most that each car may draw in each slot in *some* cheapest way to charge inside its caps.

    Inside the last price that it uses, a household may put what it still needs into any of the slots, as far as their
    limits go. Where that price is zero, it may also charge beyond its need.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    caps_kw : ndarray, shape (slot, home)
        Caps on net import [kW].

    Returns
    -------
    ndarray, shape (slot, car)
        Largest of each slot on its own; no single way to charge attains all of them [kW].
    """
    order = problem.merit_order_of_car
    limits = np.take_along_axis(car_limits(problem, caps_kw), order, axis=0)
    level = band_levels(np.take_along_axis(problem.tariff_of_car, order, axis=0))
    before = np.cumsum(limits, axis=0) - limits
    opens = np.diff(level, axis=0, prepend=level[:1] - 1) > 0
    cheaper = np.maximum.accumulate(np.where(opens, before, 0.0), axis=0)  # limits of all slots at lower prices
    wanted_kw = np.where(level <= 0, problem.most_kw, problem.need_kw)
    worst = np.empty_like(limits)
    np.put_along_axis(worst, order, np.clip(wanted_kw - cheaper, 0.0, limits), axis=0)
    return worst


def off_by(problem: CapsProblem, caps_kw: Float, planned_kw: Float, best_kw: Float) -> Float:
    """Return how far each car's plan is from the cheapest ways to charge inside the caps, shape (car,) [kW].

    A plan is one of them exactly if it stays within the limits of every slot and draws, at every price, what the best
    response draws at that price in all; at zero, that much or more, as far as the battery takes it.
    """
    order = problem.merit_order_of_car
    planned, best, limits = (
        np.take_along_axis(values, order, axis=0) for values in (planned_kw, best_kw, car_limits(problem, caps_kw))
    )
    level = band_levels(np.take_along_axis(problem.tariff_of_car, order, axis=0))
    off: Float = np.maximum(planned - limits, -planned).max(axis=0, initial=0.0)
    for band in np.unique(level):
        missing = np.where(level == band, best - planned, 0.0).sum(axis=0)
        off = np.maximum(off, missing if band == 0 else np.abs(missing))
    beyond: Float = planned.sum(axis=0) - np.maximum(problem.most_kw, best.sum(axis=0))
    return np.asarray(np.maximum(off, beyond))


def best_response_lp(problem: CapsProblem, caps_kw: Float, car: int) -> Float:
    """Return the same for one car from a linear programme, shape (slot,) [kW].

    ``min Σ level · p  s.t.  need (or all that is possible) <= η Δ Σ p <= room in the battery,  0 <= p <= limit``;
    levels stand for the strict order of prices and have their signs.

    Raises
    ------
    SolverError
        Where the solver does not end at an optimum.
    """
    order = problem.merit_order_of_car[:, car]
    level, limits = np.empty(len(order)), car_limits(problem, caps_kw)[:, car]
    level[order] = strict_levels(problem.tariff_of_car[order, car][:, None])[:, 0]
    least, most = min(float(problem.need_kw[car]), float(limits.sum())), max(float(problem.most_kw[car]), 0.0)
    drawn = np.ones((2, len(limits)))
    model = Model(level, drawn, np.array([least, -np.inf]), np.array([np.inf, most]), 0.0, limits)
    return solve(model, Limits(time_s=LINEAR_S)).proven(f"household response of car {car}").x


def charging_cost_eur(problem: CapsProblem, charge_kw: Float) -> Float:
    """Return what each car's charging costs at the tariff, shape (car,) [EUR]."""
    cost: Float = problem.slot_h * (problem.tariff_of_car * charge_kw).sum(axis=0)
    return cost
