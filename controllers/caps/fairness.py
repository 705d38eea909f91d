"""Fair objectives of one piece: the smallest room as large as possible, and the logarithms of what homes may use."""

from __future__ import annotations

import math

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.asked import Asked, Outcome, outcome_of
from cosim.controllers.caps.core.solve import Found
from cosim.controllers.caps.core.subproblem import SMALLEST_KW, Plan, Subproblem
from cosim.controllers.caps.sharing import SHY
from cosim.controllers.solver import SLACK, Termination, judged, relative_gap

FLOOR_RESOLUTION_KW = 1e-3
LEAST_MEAN_KW = 0.1  # a mean power below counts as this
TOUCHES_KW = math.e * LEAST_MEAN_KW  # of a mean power below, the tangent would be above the loss at the floor
ROUNDS = 8  # of tangents
LEVEL_STEP_KW = 2e-3  # a room that much larger is another level
LEVEL_CARS = 22  # in a piece up to which every home is asked whether it can be raised


def _at_floor(sub: Subproblem, floor_kw: Float | float) -> Subproblem:
    """Return the piece with one least room for all, but where that is more than a car can use."""
    floor = np.broadcast_to(np.asarray(floor_kw, float).reshape(-1, 1), sub.usable_kw.shape)
    return sub.with_floor(np.where(floor > 0.0, np.maximum(floor, sub.minimum_kw[:, None]), 0.0))


def smallest_rooms(sub: Subproblem, plan: Plan) -> Float:
    """Return the smallest room that each car can use in any of its slots, shape (car,); inf if nothing is held [kW]."""
    rows = np.arange(sub.slot.shape[1])[None, :]
    last = plan.last[:, None]
    room = np.where((rows < last) & sub.is_slot, plan.drawn_kw, np.inf)
    if sub.peaks:
        room = np.where((rows == last) & sub.is_slot, plan.counted_kw, room)
    held = (room < sub.usable_kw - SMALLEST_KW) & (sub.usable_kw > 0.0)
    return np.asarray(np.where(held, room, np.inf).min(axis=1))


def max_min(sub: Subproblem, asked: Asked) -> Outcome:
    """Bisect on the smallest room that every cap leaves; then withhold least at the largest one found.

    A floor is kept where a plan is found that leaves no more unserved than caps without floors must, and refuted where
    that is proven impossible. What can neither be found nor refuted counts as not kept, but the bound stays at the
    smallest floor refuted. Chargers that cannot run on a floor are left what they can run at.
    """
    options = asked.options
    best = asked.found(sub, share=0.3)
    if best.plan is None:
        return outcome_of(sub, best)
    unserved, top = best.unserved_kwh, float(sub.usable_kw.max(initial=0.0))
    low = min(float(smallest_rooms(sub, best.plan).min(initial=np.inf)), top)
    high, refuted = top, np.inf
    undecided = Termination.GAP_LIMIT
    kept, trials = sub, [top, FLOOR_RESOLUTION_KW]
    while high - low > max(options.gap / 2 * high, FLOOR_RESOLUTION_KW):
        floor = trials.pop(0) if trials else (low + high) / 2
        if not low < floor <= high:
            continue
        above = _at_floor(sub, floor)
        found = asked.found(above, most_unserved_kwh=unserved, share=0.3)
        if found.plan is not None:
            kept, best = above, found
            low = min(max(floor, float(smallest_rooms(sub, found.plan).min(initial=np.inf))), high)
            continue
        high = floor
        if found.status is Termination.INFEASIBLE:
            refuted = floor
        else:
            undecided = found.status
    if high <= FLOOR_RESOLUTION_KW and refuted == high:
        refuted = 0.0  # some car cannot have any room that its charger could run at
    assert best.plan is not None  # noqa: S101 - it was found above
    if options.levels > 1 and sub.size <= LEVEL_CARS:
        kept, best = _next_levels(sub, asked, low, unserved, kept, best)
    plan = best.plan
    assert plan is not None  # noqa: S101 - no worse than before
    # inf where nothing is held: the piece sets no limit to the smallest room of the day
    smallest = float(smallest_rooms(sub, plan).min(initial=np.inf))
    bound = max(refuted, smallest)
    status = Termination.OPTIMAL if bound <= smallest else judged(bound, smallest, options.gap, undecided)
    return Outcome(kept, plan, smallest, bound, max(best.bound, 0.0), status)


def _next_levels(
    sub: Subproblem, asked: Asked, level_kw: float, unserved: float, kept: Subproblem, best: Found
) -> tuple[Subproblem, Found]:
    """Raise the homes that can be raised above the smallest room, level by level.

    Who cannot be raised alone, while the others keep what they have, stays; all others are raised together.
    """
    homes, of_car = np.unique(asked.home, return_inverse=True)
    floor, open_ = np.full(len(homes), level_kw * SHY), np.ones(len(homes), bool)

    def keeps(trial: Float) -> Found:
        return asked.found(_at_floor(sub, trial[of_car]), most_unserved_kwh=unserved, share=0.2)

    for _ in range(asked.options.levels - 1):
        for home in np.flatnonzero(open_):
            trial = floor.copy()
            trial[home] += LEVEL_STEP_KW
            open_[home] = keeps(trial).plan is not None
        if not open_.any() or asked.clock.over:
            break
        low, high = float(floor[open_].min()), float(sub.usable_kw.max())
        while high - low > max(asked.options.gap / 2 * high, FLOOR_RESOLUTION_KW):
            middle = (low + high) / 2
            found = keeps(np.where(open_, middle, floor))
            low, high = (middle, high) if found.plan is not None else (low, middle)
        floor = np.where(open_, low * SHY, floor)
    final = keeps(floor)
    return (kept, best) if final.plan is None else (_at_floor(sub, floor[of_car]), final)


def proportional(sub: Subproblem, asked: Asked) -> Outcome:
    """Lose as little as can be of the sum of logarithms of what homes may use, by tangents to it.

    The loss ``Σ -log(1 - W_h / U_h)``, with W the energy withheld of U that the home could use, is convex. Its tangent
    at a plan is a sum of withheld energies with weights: the least of that is a lower bound, and where it is attained a
    further plan.
    """
    homes, of_car = np.unique(asked.home, return_inverse=True)
    usable = np.bincount(of_car, sub.usable_kw.sum(axis=1), len(homes))
    slots = np.bincount(of_car, (sub.usable_kw > 0.0).sum(axis=1), len(homes))
    floor = np.minimum(LEAST_MEAN_KW * slots, usable)

    def withheld(plan: Plan) -> Float:
        return np.asarray(np.bincount(of_car, plan.withheld_kw(sub), len(homes)), float)

    def loss(plan: Plan) -> float:
        return float(np.log(usable / np.maximum(usable - withheld(plan), floor)).sum())

    best: Found | None = None
    # where even the first tangent ends above the loss at the floor, a chord to that does not
    first = np.clip(np.log(usable / floor), 0.0, 1.0) / usable
    most_at = np.maximum(usable - TOUCHES_KW * slots, 0.0)
    value, bound, at, weight = np.inf, 0.0, np.zeros(len(homes)), first
    for number in range(ROUNDS):
        # the largest weight is 1, so that unserved need counts more than all of them as it is: service is kept by that
        scale = 1.0 / max(weight.max(), SLACK)
        found = asked.found(
            sub.with_aim(weight[of_car] * scale, sub.per_kw_kwh), None if best is None else best.plan, share=0.5
        )
        if found.plan is None:
            break
        tangent = float(np.log(usable / (usable - at)).sum()) - float(weight @ at)
        bound = max(bound, tangent + found.bound / scale)
        reached = loss(found.plan)
        if reached < value - SLACK:
            best, value = found, reached
        elif number > 1:
            break
        if relative_gap(value, bound, SLACK) <= asked.options.gap or asked.clock.over:
            break
        # half way to what was found: from one plan to the other, tangents would swing
        step = withheld(found.plan) if number == 0 else (at + withheld(found.plan)) / 2
        at = np.minimum(step, most_at)
        weight = np.where(at > 0.0, 1.0 / (usable - at), first)
    if best is None or best.plan is None:
        return Outcome(sub, None, np.inf, 0.0, 0.0, Termination.TIME_LIMIT)
    full = float(np.log(np.maximum(usable / np.maximum(slots, 1), LEAST_MEAN_KW)).sum())
    ended = Termination.TIME_LIMIT if asked.clock.over else Termination.NODE_LIMIT
    status = judged(value, bound, asked.options.gap, ended, SLACK)
    return Outcome(sub, best.plan, full - value, full - min(bound, value), 0.0, status)
