"""The bilevel problem of one piece: caps under which the load that households choose respects the limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosim.controllers.caps.decomposition import at_floor, decompose, largest_floor, smallest_room_kw, supports
from cosim.controllers.caps.leximin import next_levels
from cosim.controllers.caps.min_cost import cheapest
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.caps.part import SMALLEST_KW, Part, Plan
from cosim.controllers.caps.programme import Outcome, whole
from cosim.controllers.caps.proportional import most_even
from cosim.controllers.caps.sharing import SHY, floors, lowest_shared_kw
from cosim.controllers.caps.start import holds
from cosim.controllers.solver import OPTIMAL_GAP, UNLIMITED, Clock, Limits, Termination, judged, relative_gap

FLOOR_RESOLUTION_KW = 1e-3
SECOND_GAP = 0.03  # of what is withheld, where that is the second aim
ORDER_FORM_PAIRS = 600  # slots of all cars of a piece; above, decomposition is both faster and closer
FEWER_PAIRS = 200  # where the order form has a harder objective
EASED_STEPS = (1.0, 0.95, 0.5, 0.0)
ROUGH_GAP = 0.03
FLOOR_STEPS = (1.0, 0.5, 0.0)  # floors are halved, then given up, where they would keep a car from being served


def solve_part(part: Part, options: CapsOptions, rng: np.random.Generator, near: Plan | None = None) -> Outcome:
    """Solve one piece for the objective of the options.

    Parameters
    ----------
    part : Part
        The piece.
    options : CapsOptions
        What is asked for.
    rng : numpy.random.Generator
        Of every search.
    near : Plan, optional
        A plan for nearly the same data: what withholds least starts from it.
    """
    form = _form(part, options, options.stop)
    if options.objective == "proportional":
        return most_even(part, options, rng, form, least_withheld)
    if options.objective == "min_cost":
        return cheapest(part, options, rng, form, least_withheld)
    if options.objective == "max_min" and form == "decomposition":
        return _largest_floor_of_many(part, options, rng)
    if options.objective == "max_min":
        clock = Clock(options.time_limit_s)
        first = _largest_floor(part, options, rng)
        if options.levels == 1:
            return first
        left = replace(options, time_limit_s=clock.left_s)
        return next_levels(part, left, rng, form, first, max(first.bound - first.objective, 0.0))
    if options.objective == "least_restriction" or options.floor_kw == 0.0:
        return least_withheld(part, options, rng, near=near)
    return _above_floors(part, options, rng, form, near)


def _above_floors(part: Part, options: CapsOptions, rng: np.random.Generator, form: str, near: Plan | None) -> Outcome:
    """Withhold as little as floors allow; they are lowered where they would keep a car from being served.

    Floors that had to be lowered to one level take the limits to the last watt, so that everybody has to draw exactly
    that. Many cars can rarely be served so, and if they can, at a price: then 5 % less are kept. Anticipation can keep
    floors that equal sharing cannot: where they are wanted whole, that is tried first.
    """
    clock, floor_kw = Clock(options.time_limit_s), floors(part, options.floor_kw)
    wanted_kw = np.minimum(options.floor_kw, part.usable_kw)
    lowered = floor_kw < wanted_kw * SHY
    if options.whole_floor and lowered.any():
        stop = replace(options.stop, time_s=clock.left_s * 0.5)
        outcome = least_withheld(part.with_floor(wanted_kw * SHY), options, rng, stop, near)
        if outcome.plan is not None:
            return outcome
    rough: Outcome | None = None
    for step in FLOOR_STEPS if form != "decomposition" else EASED_STEPS:
        kept_kw = step * floor_kw if step <= FLOOR_STEPS[1] else np.where(lowered, step * floor_kw, floor_kw)
        # a charger cannot run on less: such a floor would promise nothing, and bind all the same
        kept_kw = np.where(kept_kw < part.charger_min_kw, 0.0, kept_kw)
        first = step == 1.0 and form == "decomposition"
        # half the time for whole floors, so that there is some left for the eased ones
        stop = replace(options.stop, time_s=clock.left_s * (0.5 if first else 1.0))
        outcome = least_withheld(part.with_floor(kept_kw), options, rng, stop, near)
        if first and lowered.any() and relative_gap(outcome.objective, outcome.bound) > max(ROUGH_GAP, options.gap):
            rough = outcome
        elif outcome.plan is not None:
            return outcome
    return outcome if rough is None or rough.plan is None else rough


def least_withheld(
    part: Part,
    options: CapsOptions,
    rng: np.random.Generator,
    stop: Limits | None = None,
    near: Plan | None = None,
) -> Outcome:
    """Withhold as little as the limits and the floors of the piece allow, in the form that the options ask for."""
    stop = stop or options.stop
    used = _form(part, options, stop)
    if used == "decomposition":
        end = decompose(part, stop, rng, near if near is not None and holds(part, near) else None)
        return Outcome(end.plan, part, end.status, end.withheld_kwh, end.bound_kwh, end.bound_kwh, used, used)
    return whole(part, options, stop, rng, used, near=near)


def _form(part: Part, options: CapsOptions, stop: Limits) -> str:
    """Form to use: decomposition where it is asked for, or pays, and knows the piece; else the order form."""
    if options.form not in ("auto", "decomposition"):
        return options.form
    most = FEWER_PAIRS if options.objective in ("proportional", "min_cost") else ORDER_FORM_PAIRS
    wanted = options.form == "decomposition" or int((part.usable_kw > SMALLEST_KW).sum()) > most
    # pricing knows one strict order for all cars; and where any plan will do, the order form has one sooner
    wanted = wanted and stop.plans > 1 and options.ties == "unique" and part.plain
    return "decomposition" if wanted and supports(part) else "order"


def _largest_floor(part: Part, options: CapsOptions, rng: np.random.Generator) -> Outcome:
    """Bisect on the smallest room that every cap leaves; then withhold least at the largest one found.

    A floor is kept where a plan is found, refuted where the solver proves that there is none. What it can neither find
    nor refute within its limits counts as not kept, but the bound stays at the smallest floor refuted.
    """
    clock = Clock(options.time_limit_s)

    def left(plans: int) -> Limits:
        return replace(options.stop, plans=plans, time_s=clock.left_s)

    best = least_withheld(part, options, rng, left(1))
    if best.plan is None:
        return best
    top = float(part.room_kw[part.plugged > 0].min(initial=np.inf))
    shared = min(lowest_shared_kw(part), top) * SHY
    low, high, refuted, undecided = 0.0, top, top, Termination.GAP_LIMIT
    trials = [top, shared]
    while high - low > max(options.gap / 2 * high, FLOOR_RESOLUTION_KW):
        floor = trials.pop(0) if trials else (low + high) / 2
        if not low < floor <= high:
            continue
        tried = least_withheld(at_floor(part, floor), options, rng, left(1))
        if tried.plan is not None:
            low, best = floor, tried
            continue
        high = floor
        if tried.status is Termination.INFEASIBLE:
            refuted = floor
        else:
            undecided = tried.status
    final = least_withheld(at_floor(part, low), options, rng, left(UNLIMITED))
    if final.plan is None:  # the limits struck, but a plan at this floor is already known
        is_settled = undecided is Termination.GAP_LIMIT
        final, undecided = best, final.status if is_settled else undecided
    assert final.plan is not None  # noqa: S101 - best has one
    smallest = smallest_room_kw(part, final.plan)
    bound = max(refuted, smallest)
    # the bound is the smallest floor refuted, not the last one tried: "no plan found" refutes nothing
    status = Termination.OPTIMAL if relative_gap(bound, smallest) <= OPTIMAL_GAP else undecided
    return replace(final, status=status, objective=smallest, bound=bound)


def _largest_floor_of_many(part: Part, options: CapsOptions, rng: np.random.Generator) -> Outcome:
    """Raise the smallest room by decomposition; then withhold little, giving up to half the gap of it for that.

    At the very largest floor everybody has to draw exactly that, and nothing is left to choose.
    """
    clock = Clock(options.time_limit_s)
    reached = largest_floor(part, options.gap, clock, rng)
    kept = at_floor(part, min(reached.floor_kw, reached.bound_kw * (1.0 - options.gap / 2.0)) * SHY)
    second = replace(options.stop, gap=max(options.gap, SECOND_GAP), time_s=clock.left_s)
    end = decompose(kept, second, rng, reached.plan)
    plan = end.plan or reached.plan
    if plan is None:
        ended = Termination.TIME_LIMIT if reached.struck else end.status
        return Outcome(None, part, ended, 0.0, reached.bound_kw, end.bound_kwh, "decomposition")
    smallest = smallest_room_kw(part, plan)
    bound = max(reached.bound_kw, smallest)
    is_late = reached.struck or end.status is Termination.TIME_LIMIT
    ended = judged(bound, smallest, options.gap, Termination.NODE_LIMIT)
    status = Termination.TIME_LIMIT if is_late else ended
    return Outcome(plan, kept, status, smallest, bound, end.bound_kwh, "decomposition", "decomposition")
