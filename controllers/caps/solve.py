"""From a problem to caps: serve what can be served, solve each piece, verify, and say what could not be kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.answers import answer
from cosim.controllers.caps.anticipated import solve_part
from cosim.controllers.caps.bursts import held_back, rooms_of_bursts
from cosim.controllers.caps.decomposition import served_in_full
from cosim.controllers.caps.follower import best_response, worst_draw
from cosim.controllers.caps.objectives import log_worth, unproven, worth
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.caps.part import SMALLEST_KW, most_counted_kw, split
from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.caps.programme import Outcome
from cosim.controllers.caps.relaxing import smallest_rise
from cosim.controllers.caps.result import CapsResult, Relaxation, at_once_kw, over_limit_kw, spans
from cosim.controllers.caps.safe import at_once, promised_floors, sum_of_caps
from cosim.controllers.caps.service import SERVED_KWH, Service, servable
from cosim.controllers.caps.start import plan_of_caps
from cosim.controllers.solver import OPTIMAL_GAP, Clock, OutOfTimeError, Termination, worst
from cosim.errors import SolverError

TOLERANCE_KW = 1e-6
AFTER_S = 5.0  # for caps to fall back on, where the time is used up
NAMED_SPANS = 3  # of homes; ten thousand make no message
NAMED_KWH = 1e-3  # less than this is rounding, not a need left unserved


def solve_caps(
    problem: CapsProblem, options: CapsOptions | None = None, *, seed: int = 0, start_kw: Float | None = None
) -> CapsResult:
    """Choose day-ahead caps for every household and slot.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    options : CapsOptions, optional
        Objective, coordination, form and limits of the solver.
    seed : int
        Of the search for a plan to start from.
    start_kw : ndarray, shape (slot, home), optional
        Caps known from before, inf where there are none: where they still hold, or nearly, ``anticipated`` starts from
        them, and searches near them instead of everywhere [kW].

    Returns
    -------
    CapsResult
        Always with caps: where a limit ends it before a plan is found, those of ``sum_of_caps``, and it says so; where
        the clock leaves no time for these either, such as serve cars in order of urgency, with status ``time_limit``.

    Raises
    ------
    SolverError
        Where a linear programme that always has an optimum ends without one.
    """
    options = options or CapsOptions()
    began = time.perf_counter()
    clock = Clock(options.time_limit_s)
    service = served_in_full(problem) or servable(problem, clock.left_s)
    if options.coordination == "sum_of_caps":
        result = _safe(problem, service, options, "", clock)
    else:
        result = _anticipated(problem, service, options, np.random.default_rng(seed), clock, start_kw)
    return replace(result, wall_s=time.perf_counter() - began)


@dataclass(frozen=True, eq=False)
class _Draft:
    """What either coordination hands over to be verified and reported."""

    caps_kw: Float
    planned_kw: Float
    floor_kw: Float
    status: Termination
    form: str
    objective: float
    bound: float
    withheld_bound_kwh: float
    gap: float
    relaxations: tuple[Relaxation, ...] = ()
    plan_from: str = ""


def _anticipated(
    problem: CapsProblem,
    service: Service,
    options: CapsOptions,
    rng: np.random.Generator,
    clock: Clock,
    start_kw: Float | None = None,
) -> CapsResult:
    charge, room = service.settled_kw.copy(), problem.room_kw.copy()
    counts_peaks = options.limit_on == "peak"
    most_kw = most_counted_kw(problem, counts_peaks=counts_peaks)
    gets_all = service.settled & (charge >= problem.usable_kw - TOLERANCE_KW)
    charge, least_kw = held_back(problem, charge, gets_all & (charge < most_kw - TOLERANCE_KW))
    held = service.settled & (charge < problem.usable_kw - TOLERANCE_KW)
    room[held] = charge[held]
    bursts = service.settled & ~held & (charge < most_kw - TOLERANCE_KW)
    room[bursts] = rooms_of_bursts(problem, least_kw, least_kw, most_kw, bursts, each_alone=True)[bursts]
    of_settled = float(problem.slot_h * (problem.room_kw - room)[problem.is_plugged].sum())

    beyond = problem.charges_beyond(at_nil=options.ties != "unique")
    # settled cars have nothing to decide: their load comes off the limits of the others
    headroom = np.maximum(problem.headroom_kw - least_kw @ problem.car_share, 0.0)
    to_plan = np.flatnonzero(((service.draw_kwh > SERVED_KWH) | beyond) & ~service.settled)
    floor = np.zeros_like(room)
    outcomes: list[Outcome] = []
    parts = split(
        problem,
        service.draw_kwh,
        headroom,
        to_plan,
        counts_peaks=counts_peaks,
        beyond_at_nil=options.ties != "unique",
        settled_room_kw=room,
    )
    parts.sort(key=lambda part: -len(part.cars))  # fewer cars, wider gap: those get the time that others leave
    for i, part in enumerate(parts):
        sizes = [other.usable_kw.size for other in parts[i:]]
        near = None if start_kw is None else plan_of_caps(part, problem.inflexible_kw, start_kw)
        # time by size of what is still to come: what one piece leaves goes to the next
        outcome = solve_part(part, _within(options, clock.left_s * sizes[0] / sum(sizes)), rng, near)
        if outcome.plan is None:
            reason = _no_plan(outcome.form, outcome.status, np.unique(problem.home[part.cars]).tolist())
            infeasible = outcome.status is Termination.INFEASIBLE
            rise = smallest_rise(part, _within(options, clock.left_s / 2)) if infeasible else None
            return _safe(problem, service, options, reason, clock, () if rise is None else (rise,))
        where = part.when, part.cars
        charge[where], room[where], floor[where] = outcome.plan.charge_kw, outcome.plan.room_kw, outcome.part.floor_kw
        outcomes.append(outcome)
    at_best = _caps_of_room(problem, room)
    room[bursts] = least_kw[bursts]
    counted = np.where(charge > SMALLEST_KW, np.minimum(most_kw, room), 0.0)
    room[bursts] = rooms_of_bursts(problem, counted, least_kw, most_kw, bursts, each_alone=False)[bursts]
    caps = _caps_of_room(problem, room)
    withheld_bound = of_settled + sum(outcome.withheld_bound_kwh for outcome in outcomes)
    of = worth(problem, options.objective, caps, charge, room, withheld_bound, outcomes, at_best)
    status = worst([*(outcome.status for outcome in outcomes), *([Termination.TIME_LIMIT] if service.struck else [])])
    if status is Termination.OPTIMAL and of.gap > OPTIMAL_GAP:  # of the pieces, but not of what became of them
        status = Termination.GAP_LIMIT if of.gap <= options.gap else Termination.NODE_LIMIT
    origins = " and ".join(sorted({outcome.plan_from for outcome in outcomes}))
    forms = " and ".join(sorted({outcome.form for outcome in outcomes})) or options.form
    draft = _Draft(
        caps, charge, floor, status, forms, of.value, of.bound, withheld_bound, of.gap, plan_from=origins
    )  # fmt: skip
    return _verified(problem, service, options, draft, "")


def _no_plan(form: str, status: Termination, homes: list[int]) -> str:
    why = (
        ", since no caps serve every need in pieces that chargers can run at"
        if status is Termination.INFEASIBLE
        else ""
    )
    ended = f"{form} ended with {status} and no plan for the cars of homes {spans(homes, NAMED_SPANS)}{why}"
    return f"{ended}; caps are those of sum_of_caps"


def _safe(
    problem: CapsProblem,
    service: Service,
    options: CapsOptions,
    fallback: str,
    clock: Clock,
    relaxations: tuple[Relaxation, ...] = (),
) -> CapsResult:
    floor = np.zeros_like(problem.room_kw)
    if options.objective == "floor_then_least":
        floor = promised_floors(problem, options.floor_kw)
    try:
        asked = _within(options, max(clock.left_s, AFTER_S))
        found = sum_of_caps(problem, service, asked, floor)
    except SolverError as error:
        return _safe_at_once(problem, service, options, error, fallback, floor, relaxations)
    caps, room = found.caps_kw, found.room_kw
    withheld, charge = problem.withheld_kwh(caps), best_response(problem, caps)
    if options.objective == "proportional":
        of = log_worth(problem, caps, found.least_loss)
    elif found.is_best:
        of = worth(problem, options.objective, caps, charge, room, withheld, None)
    else:
        of = unproven(problem, options.objective, caps, charge, room)
    floor = np.minimum(floor, room)
    statuses = [Termination.OPTIMAL if of.gap <= OPTIMAL_GAP else Termination.GAP_LIMIT, found.ended]
    statuses += [Termination.TIME_LIMIT] if service.struck else []
    statuses += [Termination.FALLBACK] if fallback else []
    draft = _Draft(
        caps, charge, floor, worst(statuses), "lp", of.value, of.bound, withheld if found.is_best else 0.0, of.gap,
        relaxations, "lp",
    )  # fmt: skip
    return _verified(problem, service, replace(options, coordination="sum_of_caps"), draft, fallback)


def _safe_at_once(
    problem: CapsProblem,
    service: Service,
    options: CapsOptions,
    error: SolverError,
    fallback: str,
    floor_kw: Float,
    relaxations: tuple[Relaxation, ...],
) -> CapsResult:
    """Caps that are safe, and serve what an order of urgency does, where the programme has no answer or no time."""
    caps, room = at_once(problem)
    charge = best_response(problem, caps)
    of = unproven(problem, options.objective, caps, charge, room)
    floor = np.minimum(floor_kw, room)
    is_late = isinstance(error, OutOfTimeError)
    ended = Termination.TIME_LIMIT if is_late else Termination.FALLBACK, "urgency"
    draft = _Draft(caps, charge, floor, *ended, of.value, of.bound, 0.0, of.gap, relaxations, "urgency")
    return _verified(
        problem,
        service,
        replace(options, coordination="sum_of_caps"),
        draft,
        fallback or ("" if is_late else str(error)),
    )


def _within(options: CapsOptions, time_s: float) -> CapsOptions:
    return replace(options, time_limit_s=time_s)


def _caps_of_room(problem: CapsProblem, room_kw: Float) -> Float:
    caps = np.broadcast_to(problem.connection_kw, problem.inflexible_kw.shape).copy()
    slots, cars = np.nonzero(problem.is_plugged & (room_kw < problem.room_kw))
    homes = problem.home[cars]
    caps[slots, homes] = problem.inflexible_kw[slots, homes] + room_kw[slots, cars]
    return caps


def _verified(problem: CapsProblem, service: Service, options: CapsOptions, draft: _Draft, fallback: str) -> CapsResult:
    """Add what an independent look at the caps shows: the households' own best response, and the limits under it."""
    response, error_kw = answer(problem, draft.caps_kw, draft.planned_kw, options)
    worst = worst_draw(problem, draft.caps_kw) if _dreads_ties(options) else None
    counted = response if worst is None else worst
    if options.limit_on == "peak":
        counted = at_once_kw(problem, draft.caps_kw, response)
    served = problem.efficiency * problem.slot_h * response.sum(axis=0)
    unserved = np.maximum(problem.reachable_kwh - served, 0.0)
    unserved[unserved < NAMED_KWH] = 0.0
    return CapsResult(
        caps_kw=draft.caps_kw,
        charge_kw=response,
        planned_kw=draft.planned_kw,
        floor_kw=draft.floor_kw,
        objective_name=options.objective,
        coordination=options.coordination,
        form=draft.form,
        status=draft.status,
        objective=draft.objective,
        bound=draft.bound,
        gap=draft.gap,
        withheld_kwh=problem.withheld_kwh(draft.caps_kw),
        withheld_bound_kwh=draft.withheld_bound_kwh,
        unserved_kwh=unserved,
        unservable_kwh=service.unservable_kwh,
        relaxations=(*draft.relaxations, *_relaxations(problem, options, draft, unserved)),
        fallback=fallback,
        max_response_error_kw=error_kw,
        over_limit_kw=over_limit_kw(problem, counted),
        wall_s=0.0,
        ties=options.ties if options.coordination == "anticipated" else "unique",
        worst_kw=worst,
        plan_from=draft.plan_from,
    )


def _dreads_ties(options: CapsOptions) -> bool:
    return options.ties == "pessimistic" and options.coordination == "anticipated"


def _relaxations(
    problem: CapsProblem, options: CapsOptions, draft: _Draft, unserved_kwh: Float
) -> Iterator[Relaxation]:
    over_kw = problem.base_kw - problem.limit_kw
    for phase, name in enumerate(problem.limit_names):
        slots = np.flatnonzero(over_kw[:, phase] > TOLERANCE_KW)
        if len(slots):
            where = f"inflexible load alone is above the limit of {name} in slots {spans(slots.tolist())}"
            yield Relaxation("limit", where, float(over_kw[slots, phase].max()), "kW")
    for car in np.flatnonzero(unserved_kwh > 0):
        where = f"the limits leave the car of home {int(problem.home[car])} unserved"
        yield Relaxation("need", where, float(unserved_kwh[car]), "kWh")
    if options.objective == "floor_then_least":
        yield from _lowered_floors(problem, options, draft)


def _lowered_floors(problem: CapsProblem, options: CapsOptions, draft: _Draft) -> Iterator[Relaxation]:
    """Floors that the caps do not keep: only where the cap is below the floor is anything taken from the car."""
    wanted = np.minimum(np.minimum(options.floor_kw, problem.charger_kw), problem.room_kw)
    room = (draft.caps_kw - problem.inflexible_kw)[:, problem.home]
    missed = np.where(problem.is_plugged, wanted - room, 0.0)
    missed[draft.planned_kw >= problem.usable_kw - TOLERANCE_KW] = 0.0
    for phase in range(problem.phases):
        on = problem.car_share[:, phase] > 0
        slots = np.flatnonzero((missed[:, on] > 10 * TOLERANCE_KW).any(axis=1))
        if len(slots):
            least = float(room[:, on][missed[:, on] > 10 * TOLERANCE_KW].min())
            where = f"phase {phase + 1}, slots {spans(slots.tolist())}: as little as {max(least, 0.0):.2f} kW is left"
            yield Relaxation("floor", where, float(missed[:, on].max()), "kW")
