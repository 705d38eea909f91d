"""Caps from their definition: caps are the variables, what a household does under them is written row by row.

It shares nothing with the product: no finishing rows, no prices, another front end to the solver.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse
from scipy.optimize import Bounds, LinearConstraint, milp

from cosim.contract import Float
from cosim.controllers.caps import CapsProblem

Terms = list[tuple[int, float]]
SLACK_KW = 1e-6
INFEASIBLE = 2


@dataclass
class Builder:
    """Columns and rows as they come."""

    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)
    whole: list[bool] = field(default_factory=list)
    rows: list[tuple[Terms, float, float]] = field(default_factory=list)

    def add(self, high: float, whole: bool = False) -> int:
        self.low.append(0.0)
        self.high.append(high)
        self.whole.append(whole)
        return len(self.low) - 1

    def switch(self) -> int:
        return self.add(1.0, whole=True)

    def most(self, terms: Terms, high: float) -> None:
        self.rows.append((terms, -np.inf, high))

    def equal(self, terms: Terms, value: float) -> None:
        self.rows.append((terms, value, value))

    def least(self, terms: Terms) -> tuple[float, Float]:
        cost = np.zeros(len(self.low))
        for column, value in terms:
            cost[column] += value
        entries = [(i, c, v) for i, (row, _, _) in enumerate(self.rows) for c, v in row]
        row, column, value = (np.array(part) for part in zip(*entries, strict=True))
        matrix = sparse.csr_array((value, (row, column)), (len(self.rows), len(self.low)))
        limits = LinearConstraint(matrix, *(np.array([row[i] for row in self.rows]) for i in (1, 2)))
        for presolve in (False, True):  # one of the two says nothing now and then
            found = milp(
                cost, integrality=np.array(self.whole, int), bounds=Bounds(self.low, self.high), constraints=limits,
                options={"mip_rel_gap": 1e-7, "presolve": presolve},
            )  # fmt: skip
            if found.success or found.status == INFEASIBLE:
                break
        assert found.success or found.status == INFEASIBLE, found.message
        return (float(found.fun), found.x) if found.success else (np.inf, np.zeros(0))


def least_by_definition(problem: CapsProblem, *, peaks: bool, floor_kw: Float | None = None) -> tuple[float, float]:
    """Return the least need left unserved [kWh], and the least usable energy withheld at that [kWh]; inf without caps.

    Parameters
    ----------
    problem : CapsProblem
        A few homes.
    peaks : bool
        Whether the beginning of a slot must respect the limits too.
    floor_kw : ndarray, shape (slot, car), optional
        Least room that caps leave, at most what the car can use [kW].
    """
    b, unserved, withheld = Builder(), [], []
    load: dict[tuple[int, int], Terms] = {}
    for car in range(problem.cars):
        floors = np.zeros(problem.slots) if floor_kw is None else floor_kw[:, car]
        _car(b, problem, car, peaks, floors, unserved, withheld, load)
    for (slot, limit), terms in load.items():
        b.most(terms, max(float(problem.headroom_kw[slot, limit]) - SLACK_KW, 0.0))
    if not b.rows:
        return 0.0, 0.0
    least, _ = b.least(unserved)
    if not np.isfinite(least):
        return np.inf, np.inf
    b.most(unserved, least + 2e-5)  # more than tolerances of the solver give away
    value, _ = b.least(withheld)
    return least, value


def _car(
    b: Builder, p: CapsProblem, car: int, peaks: bool, floors: Float, unserved: Terms, withheld: Terms,
    load: dict[tuple[int, int], Terms],
) -> None:  # fmt: skip
    order = p.merit_order_of_car[:, car]
    slots = [int(slot) for slot in order if p.usable_kw[slot, car] > 1e-6]
    per_kw = float(p.efficiency[car] * p.slot_h)
    need, minimum = float(p.reachable_kwh[car]) / per_kw, float(p.charger_min_kw[car])
    beyond = bool(p.charges_beyond()[car])
    full = max(float(p.most_kw[car]), need) if beyond else need
    if full <= 1e-6 or not slots:
        return
    short = b.add(need)
    unserved.append((short, per_kw))
    paid = [slot for slot in slots if beyond and p.tariff_of_car[slot, car] < 0]
    drawn: dict[int, int] = {}
    still: int | None = None  # whether it takes all that it can get, after each slot
    enough = b.switch()  # paid charging covers the need
    for slot in slots:
        usable = float(p.usable_kw[slot, car])
        most = float(min(p.charger_kw[car], p.room_kw[slot, car]))
        on, room, can = b.switch(), b.add(most), b.add(usable)
        b.most([(room, 1.0), (on, -most)], 0.0)
        b.most([(room, -1.0), (on, minimum)], 0.0)
        floor = float(min(floors[slot], usable))
        if floor >= minimum and floor > 0:
            b.most([(room, -1.0)], -floor)
        by_charger = b.switch()  # can = min(usable, room)
        b.most([(can, 1.0), (room, -1.0)], 0.0)
        b.most([(can, -1.0), (room, 1.0), (by_charger, -most)], 0.0)
        b.most([(can, -1.0), (by_charger, usable)], 0.0)
        withheld += [(can, -p.slot_h)]
        drawn[slot] = b.add(usable)
        hungry = b.switch()
        b.most([(drawn[slot], 1.0), (can, -1.0)], 0.0)
        b.most([(can, 1.0), (drawn[slot], -1.0), (hungry, usable)], usable)
        if still is not None:
            b.most([(hungry, 1.0), (still, -1.0)], 0.0)
            b.most([(drawn[slot], 1.0), (still, -usable)], 0.0)
        if slot not in paid:
            b.most([(hungry, 1.0), (enough, 1.0)], 1.0)
            b.most([(drawn[slot], 1.0), (enough, usable)], usable)
        still = hungry
        if paid and slot == paid[-1]:
            # not hungry any more: full; then a new chain begins for what is still needed
            b.most([(hungry, -full), *((drawn[k], -1.0) for k in paid)], -full)
            b.most([(drawn[k], 1.0) for k in paid], full)
            b.most([(enough, need), *((drawn[k], -1.0) for k in paid)], 0.0)
            b.most([*((drawn[k], 1.0) for k in paid), (enough, -full)], need)
            still = None
        counted = drawn[slot]
        if peaks:
            counted, active = b.add(most), b.switch()
            b.most([(drawn[slot], 1.0), (active, -usable)], 0.0)
            b.most([(room, 1.0), (counted, -1.0), (active, most)], most)
        for limit in range(p.limit_kw.shape[1]):
            share = float(p.car_share[car, limit])
            if share > 0:
                load.setdefault((slot, limit), []).append((counted, share))
    if not paid:
        b.most([(enough, 1.0)], 0.0)
    withheld += [(_constant(b), p.slot_h * float(p.usable_kw[slots, car].sum()))]
    every = [(drawn[slot], 1.0) for slot in slots]
    b.most([(key, -value) for key, value in every] + [(short, -1.0)], -need)
    # met in the slots after the paid ones, or before: then no more than the need; short only if hungry to the end
    b.most([*every, (short, 1.0), (enough, -full)], need)
    met = b.switch()
    b.most([(short, 1.0), (met, need)], need)
    if slots[-1] not in paid:
        assert still is not None
        b.most([(met, -1.0), (still, -1.0), (enough, -1.0)], -1.0)


def _constant(b: Builder) -> int:
    column = b.add(1.0)
    b.low[column] = 1.0
    return column
