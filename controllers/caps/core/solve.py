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
    search = Search(sub, relaxed, stop, clock, rng, parts, kept)
    plan = search.begin(known)
    if plan is None or float(plan.unserved_kwh(sub).sum()) > most_unserved_kwh + NAMED_KWH:
        plan, is_refuted = _served_at_most(search, plan, most_unserved_kwh)
        if plan is None:
            ended = Termination.TIME_LIMIT if clock.over else Termination.NODE_LIMIT
            ended = Termination.INFEASIBLE if is_refuted else ended
            return Found(None, np.inf, relaxed.bound, np.inf, 0.0, ended)
    plan = search.improve(plan) if stop.plans > 1 else plan
    unserved, least_unserved = float(plan.unserved_kwh(sub).sum()), 0.0
    if unserved > NAMED_KWH and not kept and stop.plans > 1:
        plan, least_unserved, search = _served(search, plan)
        unserved = float(plan.unserved_kwh(sub).sum())
    objective = search.cost(plan)
    bound = min(search.bound, objective)
    ended = Termination.TIME_LIMIT if clock.over else Termination.NODE_LIMIT
    status = ended
    if unserved - least_unserved <= NAMED_KWH * max(1.0, unserved):
        status = judged(objective, bound, stop.gap, ended, NONE_KWH)
    return Found(plan, objective, bound, unserved, min(least_unserved, unserved), status)


def most_of(per_kw: Float, plan: Plan, counts_kwh: float, wide: float = SLACK) -> Kept:
    """Return what a plan reached of an aim, to be kept within a tolerance."""
    value = float((per_kw * plan.drawn_kw).sum())
    return Kept(per_kw, value + wide * max(1.0, abs(value)), counts_kwh)


def _served_at_most(search: Search, plan: Plan | None, most_kwh: float) -> tuple[Plan | None, bool]:
    """Return a plan that leaves no more unserved, if one is found; else whether it is proven that there is none."""
    sub, most = search.sub, most_kwh + NAMED_KWH
    if not np.isfinite(search.relaxed.bound):
        return None, True
    service = sub.with_aim(np.zeros(sub.size), sub.unserved_kwh)
    relaxed = relax(service, 1e-6, search.clock, search.rng)
    of_service = Search(service, relaxed, replace(search.stop, gap=0.0), search.clock, search.rng, search.parts)
    if relaxed.bound > most:
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


def _served(search: Search, plan: Plan) -> tuple[Plan, float, Search]:
    """Leave as little unserved as can be, then withhold least at that."""
    sub = search.sub
    service = sub.with_aim(np.zeros(sub.size), sub.unserved_kwh)
    relaxed = relax(service, 1e-6, search.clock, search.rng)
    of_service = Search(service, relaxed, replace(search.stop, gap=0.0), search.clock, search.rng, search.parts)
    plan = of_service.improve(plan)
    for wide in (SLACK, WIDER * SLACK):
        kept = most_of(sub.unserved_kwh, plan, UNSERVED_KWH, wide)
        at_this = Search(sub, search.relaxed, search.stop, search.clock, search.rng, search.parts, (kept,))
        better = at_this.improve(plan)
        if not at_this.has_failed:
            break
    return better, max(of_service.bound, 0.0), at_this
