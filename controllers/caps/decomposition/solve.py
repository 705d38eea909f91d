"""One piece by decomposition: bound first, then a plan, and how far apart they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from controllers.caps.decomposition.bound import relax
from controllers.caps.decomposition.clock import Clock
from controllers.caps.decomposition.plan import integer_plan
from controllers.caps.decomposition.pricing import CAPPED
from controllers.caps.highs import OPTIMAL_GAP, Stop, relative_gap
from controllers.caps.part import NEARLY_KW, Part, Plan, freed, respond
from controllers.caps.search import search

RELAXED_GAP = 0.02  # of the gap asked for; to this the bound is computed
SEARCHED_CARS = 40  # up to here precedence search finds a plan where rounding does not


@dataclass(frozen=True, eq=False)
class Decomposed:
    """How a piece ended.

    Attributes
    ----------
    plan : Plan or None
        None where none was found.
    status : str
        ``optimal``, ``gap_limit``, ``node_limit`` or ``time_limit``.
    withheld_kwh, bound_kwh : float
        Energy withheld (inf without a plan) and its proven lower bound [kWh].
    """

    plan: Plan | None
    status: str
    withheld_kwh: float
    bound_kwh: float


def decompose(part: Part, stop: Stop, rng: np.random.Generator) -> Decomposed:
    """Withhold as little as the limits of the piece allow.

    Parameters
    ----------
    part : Part
        A piece that `supports` accepts; its needs must be servable.
    stop : Stop
        Gap and wall clock; the rounds of pricing and the neighbourhoods searched have limits of their own.
    rng : numpy.random.Generator
        Of the subset that gives first prices, and of neighbourhoods.
    """
    clock = Clock(stop.time_s)
    relaxed = relax(part, max(RELAXED_GAP * stop.gap, 1e-9), clock, rng)
    found = integer_plan(part, relaxed, stop.gap, clock, rng)
    plan = None
    if found is not None:
        room = np.where(found.plans.state == CAPPED, found.plans.charge_kw, part.room_kw)
        plan = _kept(part, freed(part, Plan(room, found.plans.charge_kw)))
    if plan is None and len(part.cars) <= SEARCHED_CARS:
        plan = search(part, rng)
    struck = relaxed.struck or clock.over or (found is not None and found.timed_out)
    if plan is None:
        return Decomposed(None, "time_limit" if struck else "node_limit", float("inf"), relaxed.bound_kwh)
    withheld = plan.withheld_kwh(part)
    gap = relative_gap(withheld, relaxed.bound_kwh)
    if gap <= OPTIMAL_GAP:
        status = "optimal"
    elif gap <= stop.gap:
        status = "gap_limit"
    else:
        status = "time_limit" if struck else "node_limit"
    return Decomposed(plan, status, withheld, min(relaxed.bound_kwh, withheld))


def _kept(part: Part, plan: Plan) -> Plan | None:
    """Return the plan if it is what cars do under its caps, within the limits; rounding in a solver may break that."""
    charge = respond(part, plan.room_kw)
    over_kw = float((charge @ part.share - part.headroom_kw).max(initial=0.0))
    unserved_kw = float(np.abs(part.draw_kw - charge.sum(axis=0)).max(initial=0.0))
    return Plan(plan.room_kw, charge) if over_kw <= 10 * NEARLY_KW and unserved_kw <= 10 * NEARLY_KW else None
