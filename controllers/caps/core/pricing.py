"""The best plan of every car at prices of the limits, in closed form, for all cars and last rows at once.

At prices ``π`` of a kW in a slot, a car that finishes in row ``l`` pays for what it draws before ``l`` a slope per row,
``π_k · counted_k - w`` (what is drawn is not withheld), and for the rest in ``l`` one or two slopes more. Without least
powers that is a continuous knapsack: fill rows by rising slope until the need is met. A row may be off or at least on
its minimum, so the convex hull of its choices is all from zero to what is usable: the fill is a lower bound, with at
most one row in part. It is exact where that is the last row, or a row at or above its minimum; else one branches on it.
Last rows are tried by rising bound, which needs hardly more than one branching per car.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.controllers.caps.core.subproblem import Plan, Subproblem

CHUNK = 400_000  # entries of an array over cars, last rows and rows
NONE_KW = 1e-9


@dataclass(frozen=True, eq=False)
class Priced:
    """What prices ask of every car.

    Attributes
    ----------
    value : ndarray, shape (car,)
        Objective and price of the best plan; inf where there is none [kWh].
    by_last : ndarray, shape (car, row)
        Lower bound of the same for every row in which the car may finish; inf where it cannot [kWh].
    plan : Plan
        The best plans; meaningless where there is none.
    """

    value: Float
    by_last: Float
    plan: Plan


def price(sub: Subproblem, prices: Float) -> Priced:
    """Return the best plan of every car at prices of shape (slot, limit) [kWh/kW]."""
    count, rows = sub.slot.shape
    value, by_last = np.empty(count), np.empty((count, rows))
    plan = Plan(np.zeros(count, np.int64), np.zeros((count, rows)), np.zeros((count, rows)))
    step = max(CHUNK // rows**2, 1)
    for first in range(0, count, step):
        _price(sub, prices, slice(first, min(first + step, count)), value, by_last, plan)
    return Priced(value, by_last, plan)


@dataclass(frozen=True, eq=False)
class _LastRow:
    """What finishing in a row costs: a constant, then two slopes and their widths; all of shape (car, row)."""

    constant: Float
    slope: tuple[Float, Float]
    width: tuple[Float, Float]


def _last_row(sub: Subproblem, cars: slice, cost: Float) -> _LastRow:
    usable, weight = sub.last_kw[cars], sub.weight_kwh[cars, None]
    zero = np.zeros_like(cost)
    own = sub.per_kw_kwh[cars]
    if not sub.peaks:
        return _LastRow(zero, (cost + own, zero), (usable, zero))
    top, least = sub.last_top_kw[cars], sub.last_least_kw[cars]
    first = np.minimum(least, usable)
    # counting more than is drawn pays as long as it costs no more than what it keeps from being withheld
    free = cost <= weight
    constant = np.where(free, cost * top, cost * least + weight * (usable - first))
    is_slot = sub.is_slot[cars]
    return _LastRow(
        np.where(is_slot, constant, 0.0),
        (own, np.where(is_slot & ~free, cost - weight + own, own)),
        (np.where(is_slot & ~free, first, usable), np.where(is_slot & ~free, usable - first, 0.0)),
    )


def _price(sub: Subproblem, prices: Float, cars: slice, value: Float, by_last: Float, plan: Plan) -> None:
    rows = sub.slot.shape[1]
    weight = sub.weight_kwh[cars, None]
    cost = sub.price_of(prices, cars)
    slope = cost * sub.counted[cars] - weight + sub.per_kw_kwh[cars]
    end = _last_row(sub, cars, cost)
    base, usable = sub.base_kw[cars], sub.usable_kw[cars]
    order = np.argsort(slope, axis=1, kind="stable")
    ranked = np.take_along_axis(slope, order, axis=1)
    free_kw = np.take_along_axis(usable - base, order, axis=1)
    # of each last row: widths of the rows before it, from the cheapest to the dearest slope
    width = np.where(order[:, None, :] < np.arange(rows)[None, :, None], free_kw[:, None, :], 0.0)
    filled = np.cumsum(width, axis=2)

    def cheaper(than: Float) -> Float:
        ranks = (ranked[:, None, :] < than[:, :, None]).sum(axis=2)
        at = np.take_along_axis(filled, np.maximum(ranks - 1, 0)[:, :, None], axis=2)[:, :, 0]
        return np.where(ranks > 0, at, 0.0)

    forced = np.cumsum(base, axis=1) - base
    left = sub.target_kw[cars] - forced
    first = np.clip(left - cheaper(end.slope[0]), 0.0, end.width[0])
    second = np.clip(left - first - cheaper(end.slope[1]), 0.0, end.width[1])
    last_kw = first + second
    amount = np.clip((left - last_kw)[:, :, None] - (filled - width), 0.0, width)
    forced_cost = np.cumsum(base * slope, axis=1) - base * slope
    constant = end.constant + weight * sub.before_kw[cars] + forced_cost
    bound = (amount * ranked[:, None, :]).sum(axis=2) + constant + first * end.slope[0] + second * end.slope[1]
    possible = (sub.last_kw[cars] > 0) & (left >= -NONE_KW)
    possible &= filled[:, :, -1] + sub.last_kw[cars] >= left - NONE_KW
    bound = np.where(possible, bound, np.inf)
    by_last[cars] = bound
    least = np.take_along_axis(np.where(sub.forced[cars], 0.0, sub.least_kw[cars]), order, axis=1)
    in_part = ((amount > NONE_KW) & (amount < least[:, None, :] - NONE_KW)).any(axis=2)
    for at, car in enumerate(range(cars.start, cars.stop)):
        best, last, drawn, rest = np.inf, -1, np.zeros(0), 0.0
        for row in np.argsort(bound[at], kind="stable"):
            if not bound[at, row] < best - 1e-12:
                break
            if not in_part[at, row]:
                drawn = np.zeros(rows)
                drawn[order[at]] = amount[at, row]
                best, last, drawn, rest = bound[at, row], row, (drawn + base[at])[:row], last_kw[at, row]
                break
            ends = [(float(end.slope[i][at, row]), float(end.width[i][at, row])) for i in (0, 1)]
            fixed = end.constant[at, row] + weight[at, 0] * sub.before_kw[car, row]
            found, amounts, more = _exact(
                slope[at, :row], sub.least_kw[car, :row], usable[at, :row], sub.forced[car, :row], ends,
                float(sub.target_kw[car, row]), best - fixed,
            )  # fmt: skip
            if amounts is not None:
                best, last, drawn, rest = found + fixed, row, amounts, more
        value[car] = best
        if last >= 0:
            _write(sub, plan, car, last, drawn, rest, free=bool(cost[at, last] <= weight[at, 0]))


def _write(sub: Subproblem, plan: Plan, car: int, last: int, drawn: Float, rest: float, *, free: bool) -> None:
    plan.last[car] = last
    plan.drawn_kw[car, :last], plan.drawn_kw[car, last] = drawn, rest
    plan.counted_kw[car, :last] = drawn * sub.counted[car, :last]
    counted = rest
    if sub.peaks:
        counted = sub.last_top_kw[car, last] if free else max(rest, sub.last_least_kw[car, last])
    plan.counted_kw[car, last] = counted if sub.is_slot[car, last] else 0.0


def _exact(
    slope: Float,
    least: Float,
    usable: Float,
    forced: Bool,
    ends: list[tuple[float, float]],
    target: float,
    most: float,
) -> tuple[float, Float | None, float]:
    """Branch on the row that the fill leaves below its minimum: off, or at least on it.

    Returns
    -------
    value : float
        Cost of the rows; no less than ``most`` where nothing better was found.
    amounts : ndarray, shape (row before the last,), or None
        What is drawn there [kW].
    rest : float
        What is drawn in the last row [kW].
    """
    rows = len(slope)
    slopes = np.concatenate([slope, [one for one, _ in ends]])
    widths = np.array([one for _, one in ends])
    order = np.argsort(slopes, kind="stable")
    best: tuple[float, Float | None, float] = (most, None, 0.0)
    stack: list[tuple[Bool, Bool]] = [(np.zeros(rows, bool), forced.copy())]
    while stack:
        off, on = stack.pop()
        base = least * on
        left = target - base.sum()
        if left < -NONE_KW:
            continue
        width = np.concatenate([np.where(off, 0.0, usable - base), widths])[order]
        filled = np.cumsum(width)
        if filled[-1] < left - NONE_KW:
            continue
        amount = np.clip(left - (filled - width), 0.0, width)
        value = float(slope @ base + amount @ slopes[order])
        if value >= best[0] - 1e-10:
            continue
        each = np.empty(len(slopes))
        each[order] = amount
        drawn = each[:rows] + base
        below = np.flatnonzero((drawn > NONE_KW) & (drawn < least - NONE_KW))
        if not len(below):
            best = value, drawn, float(each[rows:].sum())
            continue
        row = below[0]
        shut, kept = off.copy(), on.copy()
        shut[row] = kept[row] = True
        stack += [(off, kept), (shut, on)]
    return best
