"""Caps whose sum counts, from their definition: every set of slots in which chargers may run, by linear programmes.

It shares nothing with the product but the data: no rounding, no mixed-integer programme, another front end.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from scipy.optimize import linprog

from cosim.contract import Float
from cosim.controllers.caps import CapsProblem

SLACK_KW = 1e-6
SAME = 1e-6


def best_of_safe_caps(problem: CapsProblem, objective: str, floor_kw: Float | None = None) -> tuple[float, float]:
    """Return the least need left unserved [kWh], and the best of an objective at the least largest share of it.

    Parameters
    ----------
    problem : CapsProblem
        A few slots of cars.
    objective : str
        ``least_restriction``: connection - cap while plugged in [kWh]; ``max_min``: the smallest room [kW];
        ``min_cost``: the cost of charging [EUR]; ``floor_then_least``: floors missed, summed over slots [kW].
    floor_kw : ndarray, shape (slot, car), optional
        Of ``floor_then_least`` [kW].
    """
    places = [(k, c) for k, c in np.argwhere(problem.plugged > 0).tolist() if problem.room_kw[k, c] > 0]
    choices = [
        (0, 1) if problem.usable_kw[k, c] > 0 and problem.charger_min_kw[c] > 0 else (int(problem.usable_kw[k, c] > 0),)
        for k, c in places
    ]
    best: tuple[float, ...] = (1e9,)
    for on in product(*choices):
        found = _aims_in_turn(problem, places, on, objective, floor_kw)
        if found is not None and _before(found, best):
            best = found
    return best[0], -best[-1] if objective == "max_min" else best[-1]


def _before(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    for a, b in zip(one, other, strict=False):
        if abs(a - b) > SAME * (1.0 + abs(b)):
            return a < b
    return False


def _aims_in_turn(
    p: CapsProblem, places: list[tuple[int, int]], on: tuple[int, ...], objective: str, floor_kw: Float | None
) -> tuple[float, ...] | None:
    """Rooms, draws, missed floors; unserved energy of every car; largest share unserved; smallest room."""
    n, cars = len(places), p.cars
    size = 3 * n + cars + 2
    rows: list[Float] = []
    most: list[float] = []

    def at_most(entries: dict[int, float], high: float) -> None:
        row = np.zeros(size)
        for column, value in entries.items():
            row[column] += value
        rows.append(row)
        most.append(high)

    low, high = np.zeros(size), np.full(size, np.inf)
    for i, (k, c) in enumerate(places):
        high[i] = p.room_kw[k, c]
        low[i] = p.charger_min_kw[c] * on[i]
        high[n + i] = p.usable_kw[k, c] * on[i]
        if low[i] > high[i]:
            return None
        at_most({n + i: 1.0, i: -float(p.plugged[k, c]) if p.room_while_there else -1.0}, 0.0)
        at_most({size - 1: 1.0, i: -1.0}, 0.0)
        if floor_kw is not None:
            at_most({i: -1.0, 2 * n + i: -1.0}, -float(floor_kw[k, c]))
    for c in range(cars):
        mine = [i for i, place in enumerate(places) if place[1] == c]
        per_kw = float(p.efficiency[c] * p.slot_h)
        at_most({3 * n + c: -1.0, **{n + i: -per_kw for i in mine}}, -float(p.reachable_kwh[c]))
        at_most({n + i: 1.0 for i in mine}, float(p.most_kw[c]))
        at_most({3 * n + c: 1.0, size - 2: -float(p.reachable_kwh[c])}, 0.0)
    for k in range(p.slots):
        for limit in range(p.limit_kw.shape[1]):
            share = {i: float(p.car_share[c, limit]) for i, (slot, c) in enumerate(places) if slot == k}
            at_most(share, max(float(p.headroom_kw[k, limit]) - SLACK_KW, 0.0))
    if not places:
        high[-1] = 0.0
    aims = np.zeros((3, size))
    aims[0, 3 * n : 3 * n + cars] = 1.0
    aims[1, size - 2] = 1.0
    constant = 0.0
    if objective == "max_min":
        aims[2, size - 1] = -1.0
    elif objective == "min_cost":
        aims[2, n : 2 * n] = [p.slot_h * p.tariff_of_car[k, c] for k, c in places]
    elif objective == "floor_then_least":
        aims[2, 2 * n : 3 * n] = 1.0
    else:
        aims[2, :n] = -p.slot_h
        constant = p.slot_h * sum(float(p.room_kw[k, c]) for k, c in places)
    found: list[float] = []
    for aim in aims:
        solved = linprog(aim, np.array(rows), np.array(most), bounds=np.column_stack([low, high]), method="highs-ds")
        if not solved.success:
            return None
        found.append(float(solved.fun))
        rows.append(aim)
        most.append(float(solved.fun) + SAME * (1.0 + abs(float(solved.fun))))
    return found[0], found[1], found[2] + constant
