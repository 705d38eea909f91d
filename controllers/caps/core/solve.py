"""One piece: serve all that can be served, then withhold least, and say what is proven of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.core.columns import keeps, relax
from cosim.controllers.caps.core.finishing import Kept, solve_finishing
from cosim.controllers.caps.core.search import ALL_PARTS, NAMED_KWH, NONE_KWH, WHOLE_CARS, Parts, Search
from cosim.controllers.caps.core.subproblem import UNSERVED_KWH, Plan, Subproblem
from cosim.controllers.solver import SLACK, WIDER, Clock, Limits, Termination, judged

RELAXED_GAP = 0.02  # of the gap asked for; to this the bound is computed
SERVICE_NODES = 3_000  # at least, since programmes of service alone are quick
EARLY = 0.5  # of the time, for the first search
LOWER_KWH = (20.0, 6.0, 2.0)  # withheld energy that a kWh left unserved counts as, for bounds
FEW_SWITCHED = 3  # rows of a car, in the mean, that are not kept on by a floor
FEW_ENDS = 5  # finishing rows of a car where floors are near what can be kept


@dataclass(frozen=True, eq=False)
class Found:
    """How a piece ended.

    Attributes
    ----------
    plan : Plan or None
        None where floors leave none, or none was found.
    objective, bound : float
        Of the last aim, and its lower bound among plans that give up nothing of the aims before [kWh].
    unserved_kwh, unserved_bound_kwh : float
        Need left unserved, in batteries, and its lower bound [kWh].
    status : Termination
        What is proven of all aims.
    """

    plan: Plan | None
    objective: float
    bound: float
    unserved_kwh: float
    unserved_bound_kwh: float
    status: Termination


def least_withheld(
    sub: Subproblem,
    stop: Limits,
    rng: np.random.Generator,
    start: Plan | None = None,
    *,
    kept: Sequence[Kept] = (),
    parts: Parts = ALL_PARTS,
    most_unserved_kwh: float = np.inf,
) -> Found:
    """Serve all that can be served, then withhold as little usable energy as the limits allow.

    Parameters
    ----------
    sub : Subproblem
        The piece; what unserved need counts as must be above all else.
    stop : Limits
        Gap, nodes of the programme of all cars, and the wall clock; with ``plans`` 1 the first plan will do.
    rng : numpy.random.Generator
        Of the search.
    start : Plan, optional
        A plan known; one that breaks a limit is not used.
    kept : sequence of Kept
        Other aims that come before what is withheld; the start keeps them, and ``sub`` counts them.
    parts : Parts
        Parts of the method that are used.
    most_unserved_kwh : float
        A plan that leaves more unserved is none, and is not worked at [kWh].
    """
    clock = Clock(stop.time_s)
    known = start if start is not None and keeps(sub, start) else None
    relaxed = relax(sub, max(RELAXED_GAP * stop.gap, 1e-9), clock, rng)
    # what is left is for service, and for bounds of what it leaves; a programme of all cars is not begun twice
    early = clock if sub.size <= WHOLE_CARS else Clock(EARLY * clock.left_s)
    search = Search(sub, relaxed, stop, early, rng, parts, kept)
    plan = search.begin(known)
    if plan is None or float(plan.unserved_kwh(sub).sum()) > most_unserved_kwh + NAMED_KWH:
        plan, is_refuted = _served_at_most(search, plan, most_unserved_kwh)
        if plan is None:
            ended = Termination.TIME_LIMIT if clock.over else Termination.NODE_LIMIT
            ended = Termination.INFEASIBLE if is_refuted else ended
            return Found(None, np.inf, relaxed.bound, np.inf, 0.0, ended)
    if sub.size > WHOLE_CARS and not kept and float(plan.unserved_kwh(sub).sum()) > NAMED_KWH:
        plan = _service(search).improve(plan)  # quickly done, for what else is improved only then matters
    plan = search.improve(plan) if stop.plans > 1 else plan
    unserved, least_unserved = float(plan.unserved_kwh(sub).sum()), 0.0
    search.clock = clock
    if early.over and unserved <= NAMED_KWH:
        plan = search.improve(plan)
    if unserved > NAMED_KWH and not kept and stop.plans > 1:
        plan, least_unserved, search = _served(search, plan)
        unserved = float(plan.unserved_kwh(sub).sum())
    objective = search.cost(plan)
    bound = min(search.bound, objective)
    ended = Termination.TIME_LIMIT if clock.over or early.over else Termination.NODE_LIMIT
    status = ended
    # where other aims are kept, service is one of them, and who kept it knows what is proven of it
    if kept or unserved - least_unserved <= NAMED_KWH * max(1.0, unserved):
        status = judged(objective, bound, stop.gap, ended, NONE_KWH)
    return Found(plan, objective, bound, unserved, min(least_unserved, unserved), status)


def most_of(per_kw: Float, plan: Plan, counts_kwh: float, wide: float = SLACK) -> Kept:
    """Return what a plan reached of an aim, to be kept within a tolerance."""
    value = float((per_kw * plan.drawn_kw).sum())
    return Kept(per_kw, value + wide * max(1.0, abs(value)), counts_kwh)


def _at_service(search: Search, kept: Kept) -> Search:
    """Return the search for what withholds least where no more is left unserved.

    Any price of unserved need bounds that from below. Where whole cars leave more unserved than cars in parts would,
    the price at which nothing is left unserved in vain bounds nothing; a lower one does.
    """
    sub, best = (
        search.sub,
        Search(search.sub, search.relaxed, search.stop, search.clock, search.rng, search.parts, (kept,)),
    )
    for counts in LOWER_KWH if sub.size > WHOLE_CARS else ():
        if search.clock.over:
            break
        cheaper = sub.with_aim(sub.weight_kwh, sub.per_kw_kwh - (kept.counts_kwh - counts) * kept.per_kw)
        relaxed = relax(cheaper, search.stop.gap / 2, search.clock, search.rng, search.relaxed.prices)
        trial = Search(
            cheaper, relaxed, search.stop, search.clock, search.rng, search.parts, (replace(kept, counts_kwh=counts),)
        )
        best = max(best, trial, key=lambda one: one.bound)
    return best


def _served_at_most(search: Search, plan: Plan | None, most_kwh: float) -> tuple[Plan | None, bool]:
    """Return a plan that leaves no more unserved, if one is found; else whether it is proven that there is none."""
    sub, most = search.sub, most_kwh + NAMED_KWH
    if not np.isfinite(search.relaxed.bound):
        return None, True
    of_service = _service(search)
    service = of_service.sub
    if of_service.relaxed.bound > most:
        return None, True
    plan = of_service.begin(plan)
    # where floors keep every row on, where cars finish is all there is to choose
    switched = int(((sub.least_kw > 0.0) & ~sub.forced).sum())
    if plan is None or (sub.size > WHOLE_CARS and switched <= FEW_SWITCHED * sub.size and sub.forced.any()):
        ends = [search.ends(car, np.inf, np.inf if sub.size <= WHOLE_CARS else FEW_ENDS) for car in range(sub.size)]
        limits = replace(search.stop, time_s=search.clock.left_s, gap=0.0, target=most)
        found, bound, _ = solve_finishing(service, ends, None, limits)
        if found is not None and keeps(sub, found):
            plan = found
        elif plan is None:
            return None, bound > most and sub.size <= WHOLE_CARS
    if plan is not None:
        plan = of_service.improve(plan)
        if plan.cost(service) <= most:
            return plan, False
    return None, of_service.bound > most


def _service(search: Search) -> Search:
    """Return the search for what leaves least unserved."""
    sub, half = search.sub, Clock(search.clock.left_s / 2)
    service = sub.with_aim(np.zeros(sub.size), sub.unserved_kwh)
    relaxed = relax(service, 1e-6, half, search.rng)
    stop = replace(search.stop, gap=0.0, nodes=max(search.stop.nodes, SERVICE_NODES))
    return Search(service, relaxed, stop, half, search.rng, search.parts)


def _served(search: Search, plan: Plan) -> tuple[Plan, float, Search]:
    """Leave as little unserved as can be, then withhold least at that."""
    sub, of_service = search.sub, _service(search)
    plan = of_service.improve(plan)
    for wide in (SLACK, WIDER * SLACK):
        at_this = _at_service(search, most_of(sub.unserved_kwh, plan, UNSERVED_KWH, wide))
        better = at_this.improve(plan)
        if not at_this.has_failed:
            break
    return better, max(of_service.bound, 0.0), at_this
