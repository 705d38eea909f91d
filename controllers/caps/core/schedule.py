"""Plans by precedence: cars one after the other, each as early in its own order as the limits leave room for.

What floors promise to cars that are still to come is kept free for them.
"""

from __future__ import annotations

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.caps.core.subproblem import Plan, Subproblem

NONE_KW = 1e-9
REPAIRS = 200  # moves of a car that is not served to the front


def schedule(sub: Subproblem, order: Int | list[int]) -> Plan | None:
    """Serve cars in that order; None where a floor cannot be kept."""
    plan = Plan(np.zeros(sub.size, np.int64), np.zeros_like(sub.usable_kw), np.zeros_like(sub.usable_kw))
    has_floors = bool(sub.forced.any())
    reserved = _floors(sub) if has_floors else plan.counted_kw
    left_kw = sub.headroom_kw - sub.load_kw(reserved) if has_floors else sub.headroom_kw.copy()
    for car in order:
        on, share = sub.limits_of[car]
        if has_floors:
            _take(left_kw, sub.slot[car], on, share, -reserved[car])
        if not _serve(sub, plan, int(car), left_kw, on, share):
            return None
        _take(left_kw, sub.slot[car], on, share, plan.counted_kw[car])
    if sub.peaks:
        _widen(sub, plan, left_kw, order)
    return plan


def _floors(sub: Subproblem) -> Float:
    """What cars count with that get their floors only, in all rows that they may then need, shape (car, row) [kW]."""
    base = sub.base_kw
    before = np.cumsum(base, axis=1) - base
    target = np.where(sub.is_slot, sub.target_kw, 0.0).max(axis=1, keepdims=True)
    needed = before < target
    return np.where(needed & sub.forced, np.maximum(base * sub.counted, sub.last_least_kw), 0.0)


def _take(left_kw: Float, slot: Int, on: Int, share: Float, counted_kw: Float) -> None:
    rows = np.flatnonzero((slot >= 0) & (counted_kw != 0.0))
    left_kw[slot[rows][:, None], on] -= counted_kw[rows, None] * share


def _serve(sub: Subproblem, plan: Plan, car: int, left_kw: Float, on: Int, share: Float) -> bool:
    """Write the plan of one car; False where a floor leaves it no way to end."""
    slots = sub.slot[car]
    room = (
        left_kw[slots, on[0]] / share[0] if len(on) == 1 else (left_kw[slots[:, None], on] / share).min(axis=1)
    ).tolist()
    usable, least, forced, target, most, starts, counted, slot_list = sub.lists_of[car]
    drawn = 0.0
    for row, slot in enumerate(slot_list):
        if slot < 0:
            room[row] = np.inf
        rest = target[row] - drawn
        if most[row] > 0.0 and -NONE_KW <= rest <= min(most[row], room[row]) + NONE_KW and room[row] >= starts[row]:
            plan.last[car], plan.drawn_kw[car, row] = row, max(rest, 0.0)
            plan.counted_kw[car, row] = max(rest, starts[row], 0.0) if slot >= 0 else 0.0
            return True
        if slot < 0 or usable[row] <= 0.0:
            continue
        counts = counted[row]
        amount = min(usable[row], room[row] / counts)
        if amount < least[row] - NONE_KW or (rest - amount <= NONE_KW and not forced[row]):
            amount = 0.0
        if forced[row] and (amount <= 0.0 or rest - amount <= -NONE_KW):
            return False
        plan.drawn_kw[car, row], plan.counted_kw[car, row] = amount, amount * counts
        drawn += amount
    return False


def _widen(sub: Subproblem, plan: Plan, left_kw: Float, order: Int | list[int]) -> None:
    """Give what is left of the limits to last rows, where usable power is still withheld."""
    for car in order:
        row = plan.last[car]
        slot = sub.slot[car, row]
        if slot < 0:
            continue
        on, share = sub.limits_of[car]
        more = min(sub.last_kw[car, row] - plan.counted_kw[car, row], float((left_kw[slot, on] / share).min()))
        if more > 0.0:
            plan.counted_kw[car, row] += more
            left_kw[slot, on] -= more * share


def first_plan(sub: Subproblem, key: Float) -> Plan | None:
    """Serve cars in the order of a key, and move whoever is not served to the front as long as that helps.

    Parameters
    ----------
    sub : Subproblem
        The piece.
    key : ndarray, shape (car,)
        The smaller the sooner.
    """
    order: list[int] = np.argsort(key, kind="stable").tolist()
    best = schedule(sub, order)
    for _ in range(REPAIRS):
        missed = np.flatnonzero(best.unserved_kwh(sub) > NONE_KW) if best is not None else np.empty(0, np.int64)
        at = order.index(int(missed[0])) if len(missed) else 0
        if best is None or not at:
            break
        order.insert(max(0, at - max(1, at // 2)), order.pop(at))
        plan = schedule(sub, order)
        if plan is None or plan.cost(sub) >= best.cost(sub):
            break
        best = plan
    return best
