"""One piece by decomposition: bound first, then a plan, and how far apart they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.controllers.caps.decomposition.bound import Relaxed, relax
from cosim.controllers.caps.decomposition.branch import close
from cosim.controllers.caps.decomposition.first_plan import first_plan
from cosim.controllers.caps.decomposition.floored import least_kw
from cosim.controllers.caps.decomposition.plan import NEIGHBOURHOODS, integer_plan
from cosim.controllers.caps.decomposition.plans import CAPPED, plans_from
from cosim.controllers.caps.decomposition.pricing import Pricing, pricing_of
from cosim.controllers.caps.part import NEARLY_KW, Part, Plan, freed, respond
from cosim.controllers.caps.search import search
from cosim.controllers.caps.sharing import share_equally
from cosim.controllers.solver import Clock, Limits, Termination, judged

RELAXED_GAP = 0.02  # of the gap asked for; to this the bound is computed
IN_VAIN_KW = 1e-4
FEW_CARS, MANY_CARS = 40, 150  # from where fewer and from where more of them are searched before branching
FEW_NEIGHBOURHOODS, FEWER_NEIGHBOURHOODS = 8, 2
SEARCHED_CARS = 40  # up to here precedence search finds a plan where rounding does not


@dataclass(frozen=True, eq=False)
class Decomposed:
    """How a piece ended.

    Attributes
    ----------
    plan : Plan or None
        None where none was found.
    status : Termination
        ``optimal``, ``gap_limit``, ``node_limit`` or ``time_limit``; ``infeasible`` where some car has no plan at all,
        whatever the limits.
    withheld_kwh, bound_kwh : float
        Energy withheld (inf without a plan) and its proven lower bound [kWh].
    """

    plan: Plan | None
    status: Termination
    withheld_kwh: float
    bound_kwh: float


def decompose(part: Part, stop: Limits, rng: np.random.Generator, start: Plan | None = None) -> Decomposed:
    """Withhold as little as the limits of the piece allow.

    Parameters
    ----------
    part : Part
        A piece that `supports` accepts; its needs must be servable.
    stop : Limits
        Gap and wall clock; the rounds of pricing and the neighbourhoods searched have limits of their own.
    rng : numpy.random.Generator
        Of the subset that gives first prices, and of neighbourhoods.
    start : Plan, optional
        A plan known; with floors, which rounding may not be able to keep, a sweep over the slots stands in.
    """
    clock = Clock(stop.time_s)
    pricing = pricing_of(part)
    # at prices of zero, limits play no part: a car without a plan here has none at all
    if not np.isfinite(pricing.best(np.zeros(part.headroom_kw.shape))[0]).all():
        return Decomposed(None, Termination.INFEASIBLE, float("inf"), float("inf"))
    has_floors = bool((part.floor_kw > 0.0).any())
    known = _known(part, start, at_once=has_floors)
    # much closer than the gap asked for, so that the gap is left to finding whole plans; not closer than an LP is
    # solved
    relaxed = relax(part, max(RELAXED_GAP * stop.gap, 1e-9), clock, rng)
    found, bound, struck = None, relaxed.bound_kwh, relaxed.struck
    if relaxed.struck or _overload_kw(part, relaxed) <= IN_VAIN_KW:
        first = None if known is None else plans_from(part, known)
        branching = isinstance(pricing, Pricing)
        searched = _before_branching(len(part.cars)) if branching else NEIGHBOURHOODS
        found = integer_plan(part, relaxed, stop.gap, clock, rng, first, searched)
        if branching and not relaxed.struck:
            closed = close(part, relaxed, found, stop.gap, clock)
            bound, found, struck = closed.bound_kwh, closed.incumbent, closed.struck
    plan = None
    if found is not None:
        # caps bind in throttled slots only; in all others the whole connection asks for the same response
        room = np.where(found.plans.state == CAPPED, found.plans.charge_kw, part.room_kw)
        plan = _kept(part, freed(part, Plan(room, found.plans.charge_kw)))
    if plan is None and known is None and len(part.cars) <= SEARCHED_CARS:
        plan = search(part, rng)
    if plan is None and known is None:
        known = _known(part, None, at_once=True)
    plan = _better(part, plan, known)
    struck = struck or clock.over or (found is not None and found.timed_out)
    ended = Termination.TIME_LIMIT if struck else Termination.NODE_LIMIT
    if plan is None:
        return Decomposed(None, ended, float("inf"), bound)
    withheld = plan.withheld_kwh(part)
    status = judged(withheld, bound, stop.gap, ended)
    # bound and plan come by different tolerances: a bound above its own plan would be absurd
    return Decomposed(plan, status, withheld, min(bound, withheld))


def _known(part: Part, start: Plan | None, *, at_once: bool) -> Plan | None:
    """Return the best plan at hand: the one given, or where asked for those that one sweep over the slots gives."""
    plans = [start]
    if start is None and at_once:
        plans = [share_equally(part)[0], first_plan(part)]
    best: Plan | None = None
    for plan in plans:
        if plan is not None:
            best = _better(part, best, _kept(part, freed(part, plan)))
    return best


def _before_branching(cars: int) -> int:
    """Return how many neighbourhoods are searched first: few cars are quickly done, for many it is what helps."""
    if cars > MANY_CARS:
        return NEIGHBOURHOODS
    return FEW_NEIGHBOURHOODS if cars <= FEW_CARS else FEWER_NEIGHBOURHOODS


def _overload_kw(part: Part, relaxed: Relaxed) -> float:
    """Return by how much even plans in parts are above the limits: no whole plans will keep what they cannot [kW]."""
    load = (relaxed.plans.charge_kw * relaxed.weight) @ part.share[relaxed.plans.cars]
    return float((load - part.headroom_kw).max(initial=0.0))


def _better(part: Part, plan: Plan | None, known: Plan | None) -> Plan | None:
    if plan is None or known is None:
        return known if plan is None else plan
    return min(plan, known, key=lambda one: one.withheld_kwh(part))


def _kept(part: Part, plan: Plan) -> Plan | None:
    """Return the plan if it is what cars do under its caps, within the limits and above the floors.

    Rounding in a solver may break that.
    """
    charge = respond(part, plan.room_kw)
    over_kw = float((charge @ part.share - part.headroom_kw).max(initial=0.0))
    unserved_kw = float(np.abs(part.draw_kw - charge.sum(axis=0)).max(initial=0.0))
    below_kw = float((least_kw(part) - np.minimum(plan.room_kw, part.usable_kw)).max(initial=0.0))
    broken_kw = max(over_kw, unserved_kw, below_kw)
    return Plan(plan.room_kw, charge) if broken_kw <= 10 * NEARLY_KW else None
