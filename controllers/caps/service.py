"""How much energy can be served at all: the caps withhold comfort, never more energy than the limits force them to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyomo.environ as pyo

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.controllers.caps.core.subproblem import LIMIT_SLACK_KW
from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.caps.urgency import urgent_charge
from cosim.controllers.solver import Clock, Termination
from cosim.controllers.solver.pyomo_model import LINEAR_S, minimise_in_turn

SERVED_KWH = 1e-6
WRITING_S = 2e-4  # about, for one slot of one car in a linear programme
NEARLY_ALL_KW = 1e-4
MISSING_KWH = 1e-5  # well above what a programme solved in turn may give away, per kWh that is missing in all
SPARED_KW = 2e-5  # taken from cars that get too little anyway, so that rounding leaves nobody else without


@dataclass(frozen=True, eq=False)
class Service:
    """What can be served.

    Attributes
    ----------
    draw_kwh : ndarray, shape (car,)
        Energy that each car will draw from the grid [kWh].
    unservable_kwh : ndarray, shape (car,)
        Need that the stay itself cannot hold, in the battery [kWh].
    settled : ndarray of bool, shape (car,)
        Cars that use all they can get in every slot, so that nothing is left to decide for them.
    settled_kw : ndarray, shape (slot, car)
        What those draw; 0 for the others [kW].
    struck : bool
        Whether the time limit was reached before this was known to be the most.
    """

    draw_kwh: Float
    unservable_kwh: Float
    settled: Bool
    settled_kw: Float
    struck: bool = False


def servable(problem: CapsProblem, time_s: float = LINEAR_S) -> Service:
    """Return the most energy that can be served under the limits, its shortfall shared as evenly as that allows.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    time_s : float
        Wall clock; where it is not enough, cars are served in order of urgency instead [s].
    """
    reachable = problem.reachable_kwh
    unservable = problem.energy_need_kwh - reachable
    charge, struck = urgent_charge(problem), False
    # where the order of urgency serves everybody, no programme is needed
    if (reachable - problem.efficiency * problem.slot_h * charge.sum(axis=0) > SERVED_KWH).any():
        charge, struck = _most_served(problem, time_s)
    else:
        all_kwh = problem.efficiency * problem.slot_h * problem.usable_kw.sum(axis=0)
        settled = (reachable >= all_kwh - SERVED_KWH) & (reachable > SERVED_KWH)
        settled_kw = np.where(settled, problem.usable_kw, 0.0)
        return Service(np.where(settled, all_kwh, reachable) / problem.efficiency, unservable, settled, settled_kw)
    served = problem.efficiency * problem.slot_h * charge.sum(axis=0)
    missing = np.maximum(reachable - served, 0.0)
    short = missing > MISSING_KWH * (1.0 + missing.sum())
    all_slots_kwh = problem.efficiency * problem.slot_h * problem.usable_kw.sum(axis=0)
    settled = (short | (reachable >= all_slots_kwh - SERVED_KWH)) & (reachable > SERVED_KWH)
    charge = _rounded_up(problem, charge)
    charge = np.where(short & (charge < problem.usable_kw), np.maximum(charge - SPARED_KW, 0.0), charge)
    too_little = (charge < problem.charger_min_kw) & (charge < problem.usable_kw)
    settled_kw = np.where(settled & ~too_little, charge, 0.0)
    served = np.where(settled, problem.efficiency * problem.slot_h * settled_kw.sum(axis=0), reachable)
    return Service(served / problem.efficiency, unservable, settled, settled_kw, struck)


def _rounded_up(problem: CapsProblem, charge_kw: Float) -> Float:
    """Take a solver's nearly all for all, in slots whose limits have room for it."""
    full = np.where(problem.usable_kw - charge_kw < NEARLY_ALL_KW, problem.usable_kw, charge_kw)
    fits = np.asarray(full @ problem.car_share <= problem.headroom_kw).all(axis=1)
    return np.where(fits.reshape(-1, 1), full, np.minimum(charge_kw, problem.usable_kw))


def too_large(pairs: int, time_s: float) -> bool:
    """Whether writing a linear programme for that many slots of cars would alone take longer than there is."""
    return pairs * WRITING_S > time_s


def _most_served(problem: CapsProblem, time_s: float) -> tuple[Float, bool]:
    """Charge that leaves least need unserved, then the least largest share unserved, then the cheapest.

    Also whether time was up: then later aims are left out, or what is served in order of urgency stands in.
    """
    clock = Clock(time_s)
    usable, per_kw_kwh = problem.usable_kw, problem.efficiency * problem.slot_h
    if too_large(int((usable > 0).sum()), time_s):
        return urgent_charge(problem), True
    m = pyo.ConcreteModel()
    pairs = [(int(k), int(c)) for k, c in np.argwhere(usable > 0)]
    slots_of: dict[int, list[int]] = {c: [] for c in range(problem.cars)}
    cars_at: dict[int, list[int]] = {k: [] for k in range(problem.slots)}
    for k, c in pairs:
        slots_of[c].append(k)
        cars_at[k].append(c)
    m.p = pyo.Var(pairs, bounds=lambda _, k, c: (0.0, float(usable[k, c])))
    m.missing = pyo.Var(range(problem.cars), within=pyo.NonNegativeReals)
    m.worst_share = pyo.Var(within=pyo.NonNegativeReals)
    m.need = pyo.ConstraintList()
    for c in range(problem.cars):
        drawn = float(per_kw_kwh[c]) * sum(m.p[k, c] for k in slots_of[c])
        need = float(problem.reachable_kwh[c])
        m.need.add(drawn + m.missing[c] == need)
        m.need.add(m.missing[c] <= need * m.worst_share)
    m.limit = pyo.ConstraintList()
    for k in range(problem.slots):
        for phase in range(problem.limit_kw.shape[1]):
            drawing = [c for c in cars_at[k] if problem.car_share[c, phase] > 0]
            if drawing:
                load = sum(float(problem.car_share[c, phase]) * m.p[k, c] for c in drawing)
                # once more than the pieces keep free, so that what is served here fits there in spite of rounding
                m.limit.add(load <= max(float(problem.headroom_kw[k, phase]) - 2 * LIMIT_SLACK_KW, 0.0))
    cost = problem.slot_h * sum(float(problem.tariff_of_car[k, c]) * m.p[k, c] for k, c in pairs)
    found = minimise_in_turn(m, [sum(m.missing.values()), m.worst_share, cost], time_s=clock.left_s)
    if not found.reached:
        return urgent_charge(problem), True
    charge = np.zeros_like(usable)
    for k, c in pairs:
        charge[k, c] = max(m.p[k, c].value, 0.0)
    return charge, found.termination is Termination.TIME_LIMIT
