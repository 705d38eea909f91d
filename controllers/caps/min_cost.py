"""The cheapest charging that the limits allow, then the least withheld among its optima.

Any schedule that serves the needs inside the limits is what households do under caps at inflexible load + schedule. So
what the upper level sees only through load, such as the bill, is a plain linear programme, and its optimum is what
charging costs at least. Among the caps that attain it the mixed-integer programme finds those that withhold least.

So it is where the beginning of a slot counts too: what is drawn under a cap at the schedule is the schedule all slot
long, and in the slot that ends it the cap stays there unless the limits have room for more.

A charger's least power is the exception: a cap that leaves less is of no use, so where the programme finds no plan at
the least cost, the least cost itself comes from the mixed-integer programme.

Where one programme for the whole piece is too large, the second level is left to decomposition: prices dearer than any
that a car pays in some optimum of the linear programme (its reduced costs tell) are taken out, which no plan of least
cost minds. The plan found counts if it costs no more than it must; else the schedule of the linear programme does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyomo.environ as pyo
from scipy.sparse import coo_matrix, vstack

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.controllers.caps.merit_order import band_levels, price_in_steps, strict_levels
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.caps.part import NEARLY_KW, SMALLEST_KW, Part, Plan, freed, respond
from cosim.controllers.caps.programme import Aim, Outcome, whole
from cosim.controllers.caps.search import search
from cosim.controllers.caps.start import over_kw
from cosim.controllers.caps.upper_level import cost_eur
from cosim.controllers.solver import Clock, Limits, Model, OutOfTimeError, Termination, relative_gap, solve
from cosim.controllers.solver.pyomo_model import LINEAR_S

SLACK = 1e-6  # of the least cost (of 1 EUR, where it is less) that caps which withhold less may cost more
SERVED_KW = 1e-5
REDUCED = 1e-6  # of the dearest price: a reduced cost above it keeps a slot out of every optimum


def cost_of(part: Part, plan: Plan) -> float:
    """Return what a plan's charging costs at the tariff [EUR]."""
    return float(part.slot_h * (part.tariff_eur_per_kwh * plan.charge_kw).sum())


class LeastWithheldAtCost(Aim):
    """Energy withheld, among plans that cost no more than they must.

    Parameters
    ----------
    most_eur : float
        What a plan may cost [EUR].
    """

    def __init__(self, most_eur: float) -> None:
        self.most_eur = most_eur

    def shape(self, m: pyo.ConcreteModel, part: Part) -> None:
        """Add the row."""
        m.most_eur = pyo.Constraint(expr=cost_eur(m, part) <= self.most_eur)

    def value(self, part: Part, plan: Plan) -> float:
        """Return what is withheld, inf for a plan that costs too much."""
        return plan.withheld_kwh(part) if cost_of(part, plan) <= self.most_eur + SLACK else float("inf")


class LeastCost(Aim):
    """What charging costs more than a known lower bound.

    Parameters
    ----------
    least_eur : float
        The bound [EUR].
    """

    def __init__(self, least_eur: float) -> None:
        self.least_eur = least_eur

    def shape(self, m: pyo.ConcreteModel, part: Part) -> None:
        """Replace the objective."""
        m.withheld_kwh.deactivate()
        # from the bound upwards: a bill may be near or below zero, where a relative gap means nothing
        m.least_cost = pyo.Objective(expr=cost_eur(m, part) - self.least_eur)

    def value(self, part: Part, plan: Plan) -> float:
        """Return the cost above the bound."""
        return max(cost_of(part, plan) - self.least_eur, 0.0)


def cheapest(
    part: Part,
    options: CapsOptions,
    rng: np.random.Generator,
    form: str,
    least_withheld: Callable[[Part, CapsOptions, np.random.Generator], Outcome],
) -> Outcome:
    """Return caps of a piece under which charging costs least [EUR], and of those the least restrictive."""
    clock = Clock(options.time_limit_s)
    try:
        cheapest_charge = least_cost_schedule(part, clock)
    except OutOfTimeError:
        return Outcome(None, part, Termination.TIME_LIMIT, np.inf, -np.inf, 0.0, form)
    if cheapest_charge is None:
        return Outcome(None, part, Termination.INFEASIBLE, np.inf, -np.inf, 0.0, form)
    least_eur, schedule, never = cheapest_charge
    if form == "decomposition":
        usable, peak = (np.where(never, 0.0, kw) for kw in (part.usable_kw, part.peak_kw))
        least = least_withheld(replace(part, usable_kw=usable, peak_kw=peak), _within(options, clock), rng)
        return _large(part, replace(least, part=part), least_eur, schedule)
    scheduled = plan_of_schedule(part, schedule, pessimistic=options.ties == "pessimistic")
    if scheduled is not None:
        found = _at_cost(part, _within(options, clock), rng, form, least_eur, scheduled)
        if found.plan is not None:
            return replace(found, objective=max(cost_of(part, found.plan), least_eur), bound=least_eur)
    first = whole(part, options, _within(options, clock).stop, rng, form, LeastCost(least_eur))
    if first.plan is None:
        return first
    reached_eur = least_eur + first.objective
    found = _at_cost(part, _within(options, clock), rng, form, reached_eur, first.plan)
    plan = found.plan or first.plan
    is_least = first.status is Termination.OPTIMAL and found.plan is not None
    status = found.status if is_least else first.status
    return replace(
        found, plan=plan, status=status, objective=cost_of(part, plan), bound=min(least_eur + first.bound, reached_eur)
    )


def _within(options: CapsOptions, clock: Clock) -> CapsOptions:
    return replace(options, time_limit_s=clock.left_s)


def _at_cost(
    part: Part, options: CapsOptions, rng: np.random.Generator, form: str, reached_eur: float, known: Plan
) -> Outcome:
    """Withhold as little as possible at that cost."""
    aim = LeastWithheldAtCost(reached_eur + SLACK * max(abs(reached_eur), 1.0))
    found = whole(part, options, options.stop, rng, form, aim, known=_better_start(part, aim, rng, options, known))
    return replace(found, withheld_bound_kwh=max(found.bound, 0.0))


def _better_start(part: Part, aim: Aim, rng: np.random.Generator, options: CapsOptions, known: Plan) -> Plan:
    other = search(part, rng, options.ties) if options.warm_start else None
    return min((plan for plan in (known, other) if plan is not None), key=lambda plan: aim.value(part, plan))


def _large(part: Part, least: Outcome, least_eur: float, schedule: Float) -> Outcome:
    """Take the plan that withholds least where it costs least too, else the schedule; no programme for the second."""
    restricted = (
        None if least.plan is None else freed(part, Plan(least.plan.room_kw, respond(part, least.plan.room_kw)))
    )
    plans = [plan for plan in (restricted, plan_of_schedule(part, schedule)) if plan is not None]
    if not plans:
        return least
    most_eur = least_eur + SLACK * max(abs(least_eur), 1.0)
    plan = min(plans, key=lambda plan: (max(cost_of(part, plan), most_eur), plan.withheld_kwh(part)))
    at_least_cost = cost_of(part, plan) <= most_eur + SLACK
    # the bound is one over plans that cost least; for a dearer plan it proves nothing
    bound = min(least.withheld_bound_kwh, plan.withheld_kwh(part)) if at_least_cost else 0.0
    kept = plan is restricted or relative_gap(plan.withheld_kwh(part), bound) == 0.0
    status = least.status if kept else Termination.NODE_LIMIT
    return replace(
        least, plan=plan, status=status, objective=max(cost_of(part, plan), least_eur), bound=least_eur,
        withheld_bound_kwh=bound,
    )  # fmt: skip


def least_cost_schedule(part: Part, clock: Clock | None = None) -> tuple[float, Float, Bool] | None:
    """Return the least cost of serving every need inside the limits, and one schedule that attains it.

    Parameters
    ----------
    part : Part
        The piece; its needs must be servable.
    clock : Clock, optional
        What is left for it; ten minutes without one.

    Returns
    -------
    cost : float
        [EUR].
    schedule : ndarray, shape (slot, car)
        Of the optima one that is early in the cars' own orders [kW].
    never : ndarray of bool, shape (slot, car)
        Slots dearer than any that the car uses in some optimum. None instead of all three where there is no optimum.

    Raises
    ------
    OutOfTimeError
        Where the time limit is reached.
    SolverError
        Where the solver ends in a way that says nothing.
    """
    rows, cars = np.nonzero(part.usable_kw > SMALLEST_KW)
    column = np.arange(len(rows))
    limit_row = rows if part.one_order else part.when[rows, cars]
    phases = part.share.shape[1]
    load = vstack([
        coo_matrix((part.share[cars, phase], (limit_row, column)), shape=(len(part.headroom_kw), len(rows)))
        for phase in range(phases)
    ])  # fmt: skip
    energy = coo_matrix((np.ones(len(rows)), (cars, column)), shape=(len(part.cars), len(rows)))
    matrix = vstack([load, energy]).tocsc()
    price = part.slot_h * part.tariff_eur_per_kwh[rows, cars]
    row_low = np.concatenate([np.full(load.shape[0], -np.inf), part.draw_kw])
    row_high = np.concatenate([part.headroom_kw.T.ravel(), np.maximum(part.most_kw, part.draw_kw)])
    model = Model(price, matrix, row_low, row_high, 0.0, part.usable_kw[rows, cars])
    clock = clock or Clock(LINEAR_S)
    at_tariff = solve(model, Limits(time_s=clock.left_s))
    if at_tariff.termination is Termination.INFEASIBLE:
        return None
    at_tariff.proven("the cheapest charging")
    smallest = np.abs(price[price != 0.0]).min(initial=1.0)
    early = 1e-4 * smallest / part.slots  # too little to pass another price by more than rounding
    when_early = solve(replace(model, cost=price + early * rows), Limits(time_s=clock.left_s))
    charge, exact = at_tariff.x, at_tariff.value
    if when_early.is_proven and float(price @ when_early.x) <= exact + SLACK * max(abs(exact), 1.0):
        charge = when_early.x
    # complementary slackness: with optimal duals, a column of positive reduced cost is zero in every optimum
    reduced = price - matrix.T @ at_tariff.row_dual
    dearest = np.full(len(part.cars), -np.inf)
    open_in_some = reduced <= REDUCED * max(float(np.abs(price).max(initial=0.0)), SLACK)
    np.maximum.at(dearest, cars[open_in_some], part.tariff_eur_per_kwh[rows, cars][open_in_some])
    # in the whole steps in which the orders compare prices: float noise is no price difference
    never = price_in_steps(part.tariff_eur_per_kwh) > price_in_steps(dearest)
    schedule = np.zeros_like(part.usable_kw)
    schedule[rows, cars] = charge
    return exact, schedule, never


def plan_of_schedule(part: Part, schedule_kw: Float, *, pessimistic: bool = False) -> Plan | None:
    """Return caps that enforce a schedule, free after what the car needs; None where a charger cannot run at it.

    The slot that ends a car's charging is free too, as far as the limits allow.
    """
    for last_is_free in (True, False) if part.counts_peaks else (True,):
        plan = _enforced(part, schedule_kw, pessimistic=pessimistic, last_is_free=last_is_free)
        if plan is not None:
            return plan
    return None


def _enforced(part: Part, schedule_kw: Float, *, pessimistic: bool, last_is_free: bool) -> Plan | None:
    used = schedule_kw > NEARLY_KW
    level = (band_levels if pessimistic else strict_levels)(part.tariff_eur_per_kwh)
    last = np.where(used, level, level.min(initial=0) - 1).max(axis=0)
    unfilled = (part.most_kw > part.draw_kw) & (schedule_kw.sum(axis=0) < part.most_kw - NEARLY_KW)
    last = np.where(unfilled, np.maximum(last, 0), last)  # it would go on wherever that costs nothing
    ends, full = level == last, schedule_kw >= part.usable_kw - NEARLY_KW
    free = (level > last) | (ends & (not pessimistic) & last_is_free) | (full & last_is_free)
    held_kw = np.where(full, np.maximum(part.usable_kw, part.charger_min_kw), np.where(used, schedule_kw, 0.0))
    room = np.where(free, part.room_kw, held_kw)
    if not last_is_free:  # exactly what is left: a rest, however small, would be drawn at full power elsewhere
        before = np.where(ends, 0.0, np.minimum(room, part.usable_kw)) * (level <= last)
        room = np.where(ends, np.maximum(part.wanted_kw - before.sum(axis=0), part.charger_min_kw), room)
    held = ~free & (part.usable_kw > SMALLEST_KW)
    floored = held & (room < part.floor_kw - NEARLY_KW)
    weak = held & used & (room < part.charger_min_kw)
    if floored.any() or weak.any():
        return None
    plan = Plan(room, respond(part, room))
    off_kw = np.abs(plan.charge_kw.sum(axis=0) - schedule_kw.sum(axis=0)).max(initial=0.0)
    return freed(part, plan) if off_kw <= SERVED_KW and over_kw(part, plan) <= 10 * NEARLY_KW else None
