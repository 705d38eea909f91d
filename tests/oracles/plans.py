"""Least usable energy withheld by enumeration: every way to lead a household, and the best mixture of all homes.

Under caps a car fills its slots from the cheapest on. In each slot before the last one that it uses it is *free* (it
draws all it can and nothing is withheld), *held* (it draws what the cap leaves) or *shut out*; from the last slot on
nothing needs to be withheld. A home picks one such pattern; powers of held slots and of the last one are continuous.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from cosim.contract import Float, Int
from cosim.controllers.caps import CapsProblem

FREE, HELD, SHUT = "free", "held", "shut"
INFEASIBLE = 2


@dataclass(frozen=True, eq=False)
class Pattern:
    """One way to lead a car: slots drawn from in its order, and between what each of them may lie [kW]."""

    car: int
    slots: Int
    low_kw: Float
    high_kw: Float
    room_kw: Float
    """Withheld of each slot unless drawn; 0 where nothing is withheld [kW]."""


def patterns(problem: CapsProblem, car: int, floor_kw: Float) -> list[Pattern]:
    """Return every pattern in which a car can meet its need, with a least room for each slot, shape (slot,) [kW]."""
    order = problem.merit_order_of_car[:, car]
    slots = order[problem.usable_kw[order, car] > 0]
    usable = problem.usable_kw[slots, car]
    least = np.maximum(floor_kw[slots], problem.charger_min_kw[car])
    states = [
        [FREE, *([HELD] if least[i] < usable[i] else []), *([SHUT] if least[i] > floor_kw[slots[i]] == 0.0 else [])]
        for i in range(len(slots))
    ]
    found = []
    for last in range(len(slots)):
        for chosen in product(*states[:last]):
            kinds = np.array([*chosen, "last"])
            low = np.select([kinds == FREE, kinds == HELD], [usable[: last + 1], least[: last + 1]], 0.0)
            high = np.where(kinds == SHUT, 0.0, usable[: last + 1])
            withheld = np.where((kinds == HELD) | (kinds == SHUT), usable[: last + 1], 0.0)
            if low.sum() - 1e-9 <= problem.need_kw[car] <= high.sum() + 1e-9:
                found.append(Pattern(car, slots[: last + 1], low, high, withheld))
    return found


def least_withheld_kwh(problem: CapsProblem, floor_kw: Float | None = None, *, in_parts: bool = False) -> float:
    """Return the least usable energy withheld while every need is met and the mean of every slot keeps its limits.

    Parameters
    ----------
    problem : CapsProblem
        A few homes with a car each, prices above zero, needs that can be served.
    floor_kw : ndarray, shape (slot, car), optional
        Least room above inflexible load that caps leave; where it is more than a car can use it is free [kW].
    in_parts : bool
        Whether homes may mix patterns: the value of the convexified problem, which no bound by prices can exceed.

    Returns
    -------
    float
        inf where there are no such caps [kWh].
    """
    floor = np.zeros_like(problem.usable_kw) if floor_kw is None else floor_kw
    needy = [car for car in range(problem.cars) if problem.energy_need_kwh[car] > 0]
    of_cars = [patterns(problem, car, floor[:, car]) for car in needy]
    if not all(of_cars):
        return float("inf")
    every = [one for group in of_cars for one in group]
    sizes = np.array([len(one.slots) for one in every])
    columns = len(every) + int(sizes.sum())
    low, high, room = (np.concatenate([getattr(one, key) for one in every]) for key in ("low_kw", "high_kw", "room_kw"))
    pattern, power = np.repeat(np.arange(len(every)), sizes), np.arange(len(every), columns)

    def rows(row: Int, column: Int, value: Float, count: int) -> sparse.csr_array:
        return sparse.csr_array((value, (row, column)), shape=(count, columns))

    own, one_each, each = np.arange(len(power)), np.ones(len(power)), np.arange(len(every))
    of_car = np.repeat(np.arange(len(of_cars)), [len(group) for group in of_cars])
    pick = rows(of_car, each, np.ones(len(every)), len(of_cars))
    at_least = rows(own, power, one_each, len(power)) - rows(own, pattern, low, len(power))
    at_most = rows(own, power, one_each, len(power)) - rows(own, pattern, high, len(power))
    need = np.array([problem.need_kw[one.car] for one in every])
    met = rows(pattern, power, one_each, len(every)) - rows(each, each, need, len(every))
    slot, car = np.concatenate([one.slots for one in every]), np.repeat([one.car for one in every], sizes)
    load = [
        rows(slot, power, problem.car_share[car, phase], problem.slots) for phase in range(problem.limit_kw.shape[1])
    ]
    cost = np.zeros(columns)
    cost[power] = np.where(room > 0, -problem.slot_h, 0.0)
    np.add.at(cost, pattern, problem.slot_h * room)
    found = milp(
        cost,
        integrality=np.arange(columns) < (0 if in_parts else len(every)),
        bounds=Bounds(0.0, np.concatenate([np.ones(len(every)), high])),
        constraints=[
            LinearConstraint(pick, 1.0, 1.0),
            LinearConstraint(at_least, 0.0, np.inf),
            LinearConstraint(at_most, -np.inf, 0.0),
            LinearConstraint(met, 0.0, 0.0),
            *(LinearConstraint(one, -np.inf, problem.headroom_kw[:, j]) for j, one in enumerate(load)),
        ],
        options={"mip_rel_gap": 1e-7},
    )
    assert found.success or found.status == INFEASIBLE, found.message
    return float(found.fun) if found.success else float("inf")
