"""What is asked of one piece: each objective as a loop over ``least withheld above floors``."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cosim.controllers.caps.asked import Asked, Outcome, outcome_of
from cosim.controllers.caps.core.floors import floors
from cosim.controllers.caps.core.search import NAMED_KWH
from cosim.controllers.caps.core.solve import most_of
from cosim.controllers.caps.core.subproblem import UNSERVED_KWH, Plan, Subproblem
from cosim.controllers.caps.fairness import max_min, proportional
from cosim.controllers.caps.sharing import SHY
from cosim.controllers.solver import SLACK, WIDER, Termination

EASED_STEPS = (1.0, 0.95, 0.5, 0.0)  # of floors that had to be lowered, where they keep a car from being served
BILL_KWH = 1e3  # withheld energy that 1 EUR of the bill counts as where the bill is kept


def solve_piece(sub: Subproblem, asked: Asked, start: Plan | None = None) -> Outcome:
    """Solve one piece for the objective of the options.

    Parameters
    ----------
    sub : Subproblem
        The piece, without floors.
    asked : Asked
        How.
    start : Plan, optional
        A plan known.
    """
    objective = asked.options.objective
    if objective == "max_min":
        return max_min(sub, asked)
    if objective == "min_cost":
        return _min_cost(sub, asked)
    if objective == "proportional":
        return proportional(sub, asked)
    if objective == "floor_then_least" and asked.options.floor_kw > 0.0:
        return _above_floors(sub, asked, start)
    return outcome_of(sub, asked.found(sub, start))


def _above_floors(sub: Subproblem, asked: Asked, start: Plan | None) -> Outcome:
    """Withhold as little as floors allow; they are lowered where they would keep a car from being served.

    Floors that had to be lowered to one level take the limits to the last watt, so that everybody has to draw exactly
    that. Many cars can rarely be served so, and if they can, at a price: then 5 % less are kept. Anticipation can keep
    floors that equal sharing cannot: where they are wanted whole, that is tried first.
    """
    wanted_kw = asked.options.floor_kw
    floor_kw = floors(sub, wanted_kw)
    whole_kw = np.minimum(wanted_kw, sub.usable_kw)
    lowered = floor_kw < whole_kw * SHY
    # a charger cannot run on less than its minimum: such a floor would promise nothing
    least_kw = np.minimum(floor_kw, sub.minimum_kw[:, None])
    steps = [
        np.maximum(np.where(lowered | (step <= 0.5), step, 1.0) * floor_kw, least_kw if step > 0.0 else 0.0)
        for step in EASED_STEPS
    ]
    if asked.options.whole_floor and lowered.any():
        steps.insert(0, whole_kw * SHY)
    tried: list[Outcome] = []
    for number, kept_kw in enumerate(steps):
        above, is_last = sub.with_floor(kept_kw), number == len(steps) - 1
        if tried and not is_last and (above.forced == tried[-1].sub.forced).all() and not above.forced.any():
            continue  # chargers cannot run on so little: no floors are left
        found = asked.found(above, start, most_unserved_kwh=np.inf if is_last else 0.0, share=1.0 if is_last else 0.5)
        if found.plan is not None and not is_last:
            return outcome_of(above, found)
        tried.append(outcome_of(above, found))
    return _floors_in_want(asked, tried, start)


def _floors_in_want(asked: Asked, tried: Sequence[Outcome], start: Plan | None) -> Outcome:
    """Keep the highest floors that leave no more unserved than none would, where not all can be served."""
    free = tried[-1]
    if free.plan is None:
        return free
    unserved = float(free.plan.unserved_kwh(free.sub).sum())
    if unserved <= NAMED_KWH:
        return free
    for one in tried[:-1]:
        if one.sub.forced.any():
            found = asked.found(one.sub, start, most_unserved_kwh=unserved, share=0.5)
            if found.plan is not None:
                return outcome_of(one.sub, found)
    return free


def _min_cost(sub: Subproblem, asked: Asked) -> Outcome:
    """Charge as cheaply as the limits allow, then withhold least at that bill."""
    slot_h = sub.weight_kwh[:, None]
    bill = np.where(sub.is_slot, sub.tariff_eur_per_kwh * slot_h, 0.0)
    cheapest = sub.with_aim(np.zeros(sub.size), UNSERVED_KWH * sub.unserved_kwh + bill)
    first = asked.found(cheapest, share=0.5)
    if first.plan is None:
        return outcome_of(sub, first)
    eur = float((bill * first.plan.drawn_kw).sum())
    bound = min(first.bound, eur)
    second = sub.with_aim(sub.weight_kwh, UNSERVED_KWH * sub.unserved_kwh + BILL_KWH * bill)
    plan, least_kwh, status = first.plan, 0.0, first.status
    for wide in (SLACK, WIDER * SLACK):
        kept = [
            most_of(per_kw, first.plan, counts, wide)
            for per_kw, counts in ((sub.unserved_kwh, UNSERVED_KWH), (bill, BILL_KWH))
        ]
        found = asked.found(second, first.plan, kept=kept)
        if found.plan is not None:
            plan, least_kwh = found.plan, max(found.bound, 0.0)
            status = found.status if first.status is Termination.OPTIMAL else first.status
            break
    return Outcome(sub, plan, float((bill * plan.drawn_kw).sum()), bound, least_kwh, status)
