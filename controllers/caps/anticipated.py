"""The bilevel problem of one piece: caps under which the load that households choose respects the limits."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np

from controllers.caps import kkt, order_form
from controllers.caps.decomposition import decompose, supports
from controllers.caps.highs import OPTIMAL_GAP, Stop, relative_gap, solve
from controllers.caps.options import CapsOptions
from controllers.caps.part import SMALLEST_KW, Part, Plan
from controllers.caps.search import search
from controllers.caps.sharing import SHY, floors, share_equally

FLOOR_RESOLUTION_KW = 1e-3
ORDER_FORM_PAIRS = 600  # slots of all cars of a piece; above, decomposition is both faster and closer
FLOOR_STEPS = (1.0, 0.5, 0.0)  # floors are halved, then given up, where they would keep a car from being served


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a piece ended.

    Attributes
    ----------
    plan : Plan or None
        None where a limit struck before any plan was found, or where there is none.
    part : Part
        The piece with the floors that were kept.
    status : str
        As in ``highs.Ending``.
    objective, bound : float
        Withheld energy and its lower bound [kWh], or the smallest room and its upper bound [kW].
    withheld_bound_kwh : float
        Lower bound of withheld energy at these floors [kWh].
    form : str
        The form that was used.
    """

    plan: Plan | None
    part: Part
    status: str
    objective: float
    bound: float
    withheld_bound_kwh: float
    form: str


def solve_part(part: Part, options: CapsOptions, rng: np.random.Generator) -> Outcome:
    """Solve one piece for the objective of the options."""
    if options.objective == "max_min":
        return _largest_floor(part, options, rng)
    if options.objective == "least_restriction" or options.floor_kw == 0.0:
        return least_withheld(part, options, rng)
    floor_kw = floors(part, options.floor_kw)
    for step in FLOOR_STEPS:
        kept_kw = np.where(step * floor_kw < part.charger_min_kw, 0.0, step * floor_kw)
        outcome = least_withheld(part.with_floor(kept_kw), options, rng)
        if outcome.plan is not None:
            break
    return outcome


def least_withheld(part: Part, options: CapsOptions, rng: np.random.Generator, stop: Stop | None = None) -> Outcome:
    """Withhold as little as the limits and the floors of the piece allow, in the form that the options ask for."""
    stop = stop or options.stop
    used = _form(part, options, stop)
    if used == "decomposition":
        end = decompose(part, stop, rng)
        return Outcome(end.plan, part, end.status, end.withheld_kwh, end.bound_kwh, end.bound_kwh, used)
    began = time.perf_counter()
    start = search(part, rng) if options.warm_start else None
    if start is not None and (start.withheld_kwh(part) <= 0.0 or stop.first_plan):
        status = "first_plan" if stop.first_plan else "optimal"
        return Outcome(start, part, status, start.withheld_kwh(part), 0.0, 0.0, used)
    form = order_form if used == "order" else kkt
    model = order_form.build(part) if used == "order" else kkt.build(part, ordered=used == "kkt_ordered")
    if start is not None:
        form.write_start(part, model, start)
    left_s = max(stop.time_s - (time.perf_counter() - began), 0.0)
    ending = solve(model, replace(stop, time_s=left_s), use_start=start is not None)
    found = [plan for plan in (start, form.read(part, model) if ending.has_plan else None) if plan is not None]
    if not found:
        return Outcome(None, part, ending.status, np.inf, ending.bound, ending.bound, used)
    plan = min(found, key=lambda plan: plan.withheld_kwh(part))
    withheld, bound = plan.withheld_kwh(part), max(ending.bound, 0.0)
    status = "optimal" if relative_gap(withheld, bound) <= OPTIMAL_GAP else ending.status
    return Outcome(plan, part, status, withheld, bound, bound, used)


def _form(part: Part, options: CapsOptions, stop: Stop) -> str:
    """Form to use: decomposition where it is asked for, or pays, and knows the piece; else the order form."""
    if options.form not in ("auto", "decomposition"):
        return options.form
    wanted = options.form == "decomposition" or int((part.usable_kw > SMALLEST_KW).sum()) > ORDER_FORM_PAIRS
    return "decomposition" if wanted and not stop.first_plan and supports(part) else "order"


def _largest_floor(part: Part, options: CapsOptions, rng: np.random.Generator) -> Outcome:
    """Bisect on the smallest room that every cap leaves; then withhold least at the largest one found.

    A floor is kept where a plan is found, refuted where the solver proves that there is none. What it can neither find
    nor refute within its limits counts as not kept, but the bound stays at the smallest floor refuted.
    """
    first_plan = replace(options.stop, first_plan=True)
    best = least_withheld(part, options, rng, first_plan)
    if best.plan is None:
        return best
    top = float(part.room_kw[part.plugged > 0].min(initial=np.inf))
    shared = float(share_equally(part)[1].min(initial=top)) * SHY
    low, high, refuted, undecided = 0.0, top, top, ""
    trials = [top, shared]
    while high - low > max(options.gap / 2 * high, FLOOR_RESOLUTION_KW):
        floor = trials.pop(0) if trials else (low + high) / 2
        if not low < floor <= high:
            continue
        tried = least_withheld(_at_floor(part, floor), options, rng, first_plan)
        if tried.plan is not None:
            low, best = floor, tried
            continue
        high = floor
        if tried.status == "infeasible":
            refuted = floor
        else:
            undecided = tried.status
    final = least_withheld(_at_floor(part, low), options, rng)
    if final.plan is None:  # the limits struck, but a plan at this floor is already known
        final, undecided = best, undecided or final.status
    assert final.plan is not None  # noqa: S101 - best has one
    smallest = _smallest_room(part, final.plan)
    bound = max(refuted, smallest)
    status = "optimal" if bound - smallest <= OPTIMAL_GAP * bound else undecided or "gap_limit"
    return replace(final, status=status, objective=smallest, bound=bound)


def _at_floor(part: Part, floor_kw: float) -> Part:
    return part.with_floor(np.where(part.usable_kw > SMALLEST_KW, floor_kw, 0.0))


def _smallest_room(part: Part, plan: Plan) -> float:
    """Smallest room over slots in which the car could charge at all."""
    return float(plan.room_kw[part.usable_kw > SMALLEST_KW].min(initial=np.inf))
