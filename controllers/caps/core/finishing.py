"""Finishing rows as a mixed-integer programme: of every car the row it finishes in, and which rows before are on.

The last row is the one combinatorial choice of a car, next to rows that its charger's least power keeps from being used
a little. Rows in which no better plan can finish, as prices tell, are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.caps.core.subproblem import Plan, Subproblem
from cosim.controllers.solver import Limits, Rows, Termination, solve

TOLERANCE = 1e-9
PRESOLVE = (
    "off",
    "on",
)  # presolve has lost optima; without it, a feasible model was called infeasible: both must agree
NONE_KW = 1e-8


@dataclass(frozen=True, eq=False)
class Kept:
    """An aim that comes first: what it reached is not given up.

    Attributes
    ----------
    per_kw : ndarray, shape (car, row)
        What a kW drawn in a row adds to it.
    most : float
        What it may be at most.
    counts_kwh : float
        What one of it counts as in the objective of the piece.
    """

    per_kw: Float
    most: float
    counts_kwh: float

    def value(self, plan: Plan) -> float:
        """Return what a plan reaches."""
        return float((self.per_kw * plan.drawn_kw).sum())

    def left(self, plan: Plan, cars: Int) -> Kept:
        """Return what the others leave to some cars."""
        others = self.value(plan) - float((self.per_kw[cars] * plan.drawn_kw[cars]).sum())
        return Kept(self.per_kw[cars], self.most - others, self.counts_kwh)


@dataclass
class _Columns:
    """Columns of a model, block by block."""

    cost: list[Float] = field(default_factory=list)
    low: list[Float] = field(default_factory=list)
    high: list[Float] = field(default_factory=list)
    start: list[Float] = field(default_factory=list)
    whole: list[Float] = field(default_factory=list)
    count: int = 0

    def add(self, cost: Float, high: Float, start: Float, *, whole: bool = False, low: Float | float = 0.0) -> Int:
        size = len(high)
        for block, value in zip(
            (self.cost, self.low, self.high, self.start, self.whole), (cost, low, high, start, whole), strict=True
        ):
            block.append(np.broadcast_to(np.asarray(value, float), size))
        self.count += size
        return np.arange(self.count - size, self.count)

    def joined(self, key: str) -> Float:
        return np.concatenate(getattr(self, key))


@dataclass(frozen=True, eq=False)
class _Car:
    """Where the columns of a car are."""

    ends: Int
    finish: Int
    rest: Int
    counted: Int
    before: Int
    amount: Int
    switched: Int
    on: Int


def solve_finishing(
    sub: Subproblem,
    ends: Sequence[Int],
    start: Plan | None,
    limits: Limits,
    *,
    kept: Sequence[Kept] = (),
    proves: bool = True,
) -> tuple[Plan | None, float, Termination]:
    """Minimise the objective over plans that finish in given rows.

    Parameters
    ----------
    sub : Subproblem
        The piece.
    ends : sequence of ndarray of int, shape (car,)
        Rows in which each car may finish, rising.
    start : Plan, optional
        To start from; it finishes in those rows.
    limits : Limits
        When to stop.
    kept : sequence of Kept
        Earlier aims; what they count as is taken out of the objective.
    proves : bool
        Whether the bound is wanted; else presolve helps.

    Returns
    -------
    plan : Plan or None
        None where none was found.
    bound : float
        Lower bound of the objective over these rows, found without presolve; inf where there is no plan [kWh].
    ended : Termination
        How.
    """
    columns, rows = _Columns(), Rows()
    per_kw = sub.per_kw_kwh - sum(aim.counts_kwh * aim.per_kw for aim in kept)
    load: list[tuple[Int, Int, Int]] = []
    cars = [_add_car(sub, car, ends[car], start, per_kw[car], columns, rows, load) for car in range(sub.size)]
    if load:
        _limit_rows(sub, load, rows)
    for aim in kept:
        _keep(aim, cars, rows)
    whole = columns.joined("whole") > 0
    model = rows.model(columns.joined("cost"), columns.joined("low"), columns.joined("high"), whole)
    for presolve in PRESOLVE if proves else PRESOLVE[1:]:
        found = solve(
            model, limits, start=None if start is None else columns.joined("start"), presolve=presolve,
            mip_feasibility_tolerance=TOLERANCE, primal_feasibility_tolerance=TOLERANCE,
        )  # fmt: skip
        if found.termination is not Termination.INFEASIBLE:
            break
    if not found.has_point:
        return None, found.bound, found.termination
    return _read(sub, cars, found.x), found.bound, found.termination


def _add_car(
    sub: Subproblem,
    car: int,
    ends: Int,
    start: Plan | None,
    per_kw: Float,
    columns: _Columns,
    rows: Rows,
    load: list[tuple[Int, Int, Int]],
) -> _Car:
    weight, is_slot = float(sub.weight_kwh[car]), sub.is_slot[car]
    most, target, usable = sub.last_kw[car, ends], sub.target_kw[car, ends], sub.usable_kw[car]
    at_end = np.zeros(len(ends)) if start is None else (ends == start.last[car]).astype(float)
    kept = np.zeros(len(usable)) if start is None else start.drawn_kw[car]
    counts = sub.peaks & is_slot[ends]  # last rows in which more than the mean may count
    held = np.where(counts, weight * most, 0.0)  # withheld unless it counts with all it can
    one = len(ends) == 1
    finish = columns.add(weight * sub.before_kw[car, ends] + held, np.ones(len(ends)), at_end, whole=not one,
                         low=1.0 if one else 0.0)  # fmt: skip
    rest = columns.add(per_kw[ends], most, at_end * kept[ends])
    each = np.arange(len(ends))
    rows.add(1, 1.0, 1.0, (np.zeros(len(ends), int), finish, 1.0))
    rows.add(len(ends), -np.inf, 0.0, (each, rest, 1.0), (each, finish, -most))
    counted = rest
    if counts.any():
        top, least = sub.last_top_kw[car, ends], sub.last_least_kw[car, ends]
        known = np.zeros(len(ends)) if start is None else start.counted_kw[car, ends]
        gain = np.where(counts, weight * most / np.maximum(top, NONE_KW), 0.0)
        counted = columns.add(-np.where(least >= most, gain, np.where(counts, weight, 0.0)), top, at_end * known)
        on = np.flatnonzero(counts)
        at = np.arange(len(on))
        rows.add(len(on), -np.inf, 0.0, (at, counted[on], 1.0), (at, finish[on], -top[on]))
        rows.add(len(on), 0.0, np.inf, (at, counted[on], 1.0), (at, rest[on], -1.0))
        rows.add(len(on), 0.0, np.inf, (at, counted[on], 1.0), (at, finish[on], -least[on]))
    slots = np.flatnonzero(is_slot[ends])
    load.append((sub.slot[car, ends[slots]], np.full(len(slots), car), counted[slots]))
    before = np.flatnonzero(usable[: ends[-1]] > 0.0)
    drawn = kept[before] * (0.0 if start is None else before < start.last[car])
    amount = columns.add(per_kw[before] - weight, usable[before], drawn)
    load.append((sub.slot[car, before], np.full(len(before), car), amount))
    later = ends[None, :] > before[:, None]
    at, end = np.nonzero(later)
    own = np.arange(len(before))
    rows.add(len(before), -np.inf, 0.0, (own, amount, 1.0), (at, finish[end], -usable[before[at]]))
    forced = np.flatnonzero(sub.forced[car, before])
    if len(forced):
        at, end = np.nonzero(later[forced])
        least = sub.least_kw[car, before[forced]]
        rows.add(len(forced), 0.0, np.inf, (np.arange(len(forced)), amount[forced], 1.0), (at, finish[end], -least[at]))
    switched = np.flatnonzero((sub.least_kw[car, before] > 0.0) & ~sub.forced[car, before])
    least = sub.least_kw[car, before[switched]]
    on = columns.add(np.zeros(len(switched)), np.ones(len(switched)), (drawn[switched] > 0).astype(float), whole=True)
    own = np.arange(len(switched))
    rows.add(len(on), -np.inf, 0.0, (own, amount[switched], 1.0), (own, on, -usable[before[switched]]))
    rows.add(len(on), 0.0, np.inf, (own, amount[switched], 1.0), (own, on, -least))
    at, end = np.nonzero(later[switched])
    rows.add(len(on), -np.inf, 0.0, (own, on, 1.0), (at, finish[end], -1.0))
    zero, all_rows = np.zeros(len(amount), int), np.zeros(len(ends), int)
    rows.add(1, 0.0, 0.0, (zero, amount, 1.0), (all_rows, rest, 1.0), (all_rows, finish, -target))
    # who has finished by a row has all its energy by then
    cuts = len(ends) - 1
    if cuts > 0:
        by, row = np.nonzero(before[None, :] < ends[:-1, None])
        up_to, end = np.nonzero(np.tri(cuts, len(ends), dtype=bool))
        rows.add(cuts, 0.0, np.inf, (by, amount[row], 1.0), (up_to, rest[end], 1.0), (up_to, finish[end], -target[end]))
    return _Car(ends, finish, rest, counted, before, amount, switched, on)


def _limit_rows(sub: Subproblem, load: list[tuple[Int, Int, Int]], rows: Rows) -> None:
    slot, car, column = (np.concatenate([block[i] for block in load]) for i in range(3))
    factor = _factors(sub, load)
    for limit in range(sub.headroom_kw.shape[1]):
        share = sub.share[car, limit] * factor
        on = np.flatnonzero(share > 0)
        used, at = np.unique(slot[on], return_inverse=True)
        if len(used):
            rows.add(len(used), -np.inf, sub.headroom_kw[used, limit], (at, column[on], share[on]))


def _factors(sub: Subproblem, load: list[tuple[Int, Int, Int]]) -> Float:
    """What a kW of each entry counts with: rows before the last in turn with last rows, car by car."""
    factors = []
    for number, (slot, car, _) in enumerate(load):
        if number % 2 == 0 or not len(car):
            factors.append(np.ones(len(slot)))
            continue
        of_row = np.zeros(len(sub.headroom_kw))
        on = sub.is_slot[car[0]]
        of_row[sub.slot[car[0], on]] = sub.counted[car[0], on]
        factors.append(of_row[slot])
    return np.concatenate(factors)


def _keep(aim: Kept, cars: list[_Car], rows: Rows) -> None:
    column = np.concatenate([np.concatenate([one.rest, one.amount]) for one in cars])
    per_kw = np.concatenate([aim.per_kw[car, np.concatenate([one.ends, one.before])] for car, one in enumerate(cars)])
    on = np.flatnonzero(per_kw)
    if len(on):
        rows.add(1, -np.inf, aim.most, (np.zeros(len(on), int), column[on], per_kw[on]))


def _read(sub: Subproblem, cars: list[_Car], x: Float) -> Plan:
    plan = Plan(np.zeros(sub.size, np.int64), np.zeros_like(sub.usable_kw), np.zeros_like(sub.usable_kw))
    for car, one in enumerate(cars):
        at = int(np.argmax(x[one.finish]))
        last = int(one.ends[at])
        drawn = np.where(x[one.amount] < NONE_KW, 0.0, x[one.amount])
        drawn[one.switched] = np.where(x[one.on] < 0.5, 0.0, drawn[one.switched])
        drawn = np.where(one.before < last, np.minimum(drawn, sub.usable_kw[car, one.before]), 0.0)
        rest = min(max(float(sub.target_kw[car, last] - drawn.sum()), 0.0), float(sub.last_kw[car, last]))
        plan.last[car] = last
        plan.drawn_kw[car, one.before] = drawn
        plan.drawn_kw[car, last] = rest
        plan.counted_kw[car, one.before] = drawn * sub.counted[car, one.before]
        counted = max(float(x[one.counted[at]]), rest) if sub.peaks else rest
        plan.counted_kw[car, last] = counted if sub.is_slot[car, last] else 0.0
    return plan
