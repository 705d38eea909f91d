"""From problem to caps: solve each piece, put its plan into caps, verify, and say what could not be kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.aims import solve_piece
from cosim.controllers.caps.asked import Asked, Least, Outcome
from cosim.controllers.caps.core.caps import plan_of_caps, write_plan
from cosim.controllers.caps.core.kkt import MOST_ROWS
from cosim.controllers.caps.core.search import ALL_PARTS, Parts
from cosim.controllers.caps.core.solve import least_withheld
from cosim.controllers.caps.core.split import split
from cosim.controllers.caps.core.subproblem import Subproblem
from cosim.controllers.caps.core.textbook import textbook_withheld
from cosim.controllers.caps.follower import best_response, off_by, worst_draw
from cosim.controllers.caps.objectives import Worth, anticipated_worth, safe_withheld_bound_kwh, safe_worth
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.caps.result import CapsResult, Relaxation, at_once_kw, over_limit_kw, spans
from cosim.controllers.caps.safe import SlotLimits, sum_of_caps
from cosim.controllers.caps.ties import ties_withheld
from cosim.controllers.solver import OPTIMAL_GAP, Clock, Termination, worst
from cosim.errors import Fault, refuse

TOLERANCE_KW = 1e-6
BROKEN_KW = 1e-4  # a limit exceeded by more under the households' own response: the plan is not what it says
AFTER_S = 5.0  # for caps to fall back on, where the time is used up
TANGENT_GAP = 5e-3  # of the loss of logarithms, which tangents may miss however closely a programme is solved


def solve_caps(
    problem: CapsProblem,
    options: CapsOptions | None = None,
    *,
    seed: int = 0,
    start_kw: Float | None = None,
    parts: Parts = ALL_PARTS,
    limits: Sequence[SlotLimits] | None = None,
) -> CapsResult:
    """Choose day-ahead caps for every household and slot.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    options : CapsOptions, optional
        Objective, coordination, form and limits of the solver.
    seed : int
        Of searches.
    start_kw : ndarray, shape (slot, home), optional
        Caps known from before, inf where there are none: ``anticipated`` starts from what they lead to, where that
        keeps the limits [kW].
    parts : Parts
        Parts of the method that ``form = "auto"`` uses, for benchmarks.
    limits : sequence of SlotLimits, optional
        Of every slot, which ``sum_of_caps`` keeps in place of the problem's own.

    Returns
    -------
    CapsResult
        Always with caps. ``anticipated`` serves as much as chargers with a least power can be served, and names what is
        left. ``sum_of_caps`` whose programme has no time left serves cars in order of urgency, with status
        ``time_limit``.

    Raises
    ------
    InputError
        Where ``form = "kkt"`` is asked for a piece that is too large for it.
    SolverError
        Where a linear programme that always has an optimum ends without one.
    """
    options = options or CapsOptions()
    began = time.perf_counter()
    clock = Clock(options.time_limit_s)
    if options.coordination == "sum_of_caps":
        result = _safe(problem, options, "", clock, limits)
    else:
        result = _anticipated(problem, options, np.random.default_rng(seed), clock, start_kw, parts)
    return replace(result, wall_s=time.perf_counter() - began)


@dataclass(frozen=True, eq=False)
class _Draft:
    """What either coordination hands over to be verified and reported."""

    caps_kw: Float
    planned_kw: Float
    floor_kw: Float
    status: Termination
    form: str
    worth: Worth
    withheld_bound_kwh: float


def _anticipated(
    problem: CapsProblem,
    options: CapsOptions,
    rng: np.random.Generator,
    clock: Clock,
    start_kw: Float | None,
    parts: Parts,
) -> CapsResult:
    subs = split(problem, counts_peaks=options.limit_on == "peak", at_nil=options.ties != "unique")
    subs.sort(key=lambda sub: -sub.size)  # fewer cars, wider gap: those get the time that others leave
    least = _least(subs, options, parts)
    charge = best_response(problem, np.broadcast_to(problem.connection_kw, problem.inflexible_kw.shape))
    room, floor = problem.room_kw.copy(), np.zeros_like(problem.room_kw)
    outcomes: list[Outcome] = []
    for number, sub in enumerate(subs):
        sizes = [int(other.is_slot.sum()) for other in subs[number:]]
        # time by size of what is still to come: what one piece leaves goes to the next
        own = Clock(clock.left_s * sizes[0] / sum(sizes))
        if options.ties != "unique":
            outcome = ties_withheld(sub, options, own, room, charge)
        else:
            start = None if start_kw is None else plan_of_caps(problem, sub, start_kw)
            outcome = solve_piece(sub, Asked(least, options, rng, own, problem.home[sub.cars]), start)
            if outcome.plan is not None:
                charge[:, sub.cars] = 0.0
                write_plan(problem, outcome.sub, outcome.plan, room, charge)
        if outcome is None or (outcome.plan is None and options.ties == "unique"):
            ended = "time_limit" if clock.over else "node_limit"
            homes = spans(np.unique(problem.home[sub.cars]).tolist(), 3)
            reason = f"{_form(options)} ended with {ended} and no plan for the cars of homes {homes}"
            return _safe(problem, options, f"{reason}; caps are those of sum_of_caps", clock)
        car, row = np.nonzero(outcome.sub.forced)
        floor[sub.slot[car, row], sub.cars[car]] = outcome.sub.least_kw[car, row]
        outcomes.append(outcome)
    caps = _caps_of_room(problem, room)
    if options.ties == "pessimistic":  # any of the cheapest ways to charge is reckoned with: one of them
        charge = best_response(problem, caps)
    withheld_bound = sum(outcome.withheld_bound_kwh for outcome in outcomes)
    status = worst(outcome.status for outcome in outcomes)
    of = anticipated_worth(problem, options.objective, caps, outcomes)
    if status is Termination.OPTIMAL and of.gap > OPTIMAL_GAP:  # of the pieces, but not of what became of them
        status = Termination.GAP_LIMIT if of.gap <= options.gap else Termination.FEASIBLE
    return _verified(problem, options, _Draft(caps, charge, floor, status, _form(options), of, withheld_bound), "")


def _form(options: CapsOptions) -> str:
    return "auto" if options.form == "auto" and options.ties == "unique" else "kkt"


def _least(subs: list[Subproblem], options: CapsOptions, parts: Parts) -> Least:
    if _form(options) == "auto":
        return partial(least_withheld, parts=parts)
    largest = max((int(sub.is_slot.sum()) for sub in subs), default=0)
    if largest > MOST_ROWS:
        text = f"is 'kkt' for {largest} slots of cars that share limits; it takes at most {MOST_ROWS}"
        refuse([Fault("caps", "form", text, "use form='auto' with ties='unique', or fewer homes or longer slots")])
    return textbook_withheld


def _safe(
    problem: CapsProblem,
    options: CapsOptions,
    fallback: str,
    clock: Clock,
    limits: Sequence[SlotLimits] | None = None,
) -> CapsResult:
    options, is_late = replace(options, coordination="sum_of_caps"), clock.over
    left_s = max(clock.left_s, AFTER_S) if fallback else clock.left_s
    found = sum_of_caps(problem, replace(options, time_limit_s=left_s), limits)
    charge = best_response(problem, found.caps_kw)
    of = safe_worth(problem, options.objective, found, charge)
    bound = min(safe_withheld_bound_kwh(problem, found), problem.withheld_kwh(found.caps_kw))
    proven = Termination.OPTIMAL if of.gap <= OPTIMAL_GAP else Termination.GAP_LIMIT
    statuses = [found.ended, proven if of.gap <= max(options.gap, TANGENT_GAP) else Termination.FEASIBLE]
    statuses += [Termination.TIME_LIMIT] if is_late else []
    statuses += [Termination.FALLBACK] if fallback else []
    draft = _Draft(found.caps_kw, charge, found.floor_kw, worst(statuses), found.form, of, bound)
    return _verified(problem, options, draft, fallback or found.reason)


def _caps_of_room(problem: CapsProblem, room_kw: Float) -> Float:
    caps = np.broadcast_to(problem.connection_kw, problem.inflexible_kw.shape).copy()
    slots, cars = np.nonzero(problem.is_plugged & (room_kw < problem.room_kw))
    homes = problem.home[cars]
    caps[slots, homes] = problem.inflexible_kw[slots, homes] + room_kw[slots, cars]
    return caps


def _verified(problem: CapsProblem, options: CapsOptions, draft: _Draft, fallback: str) -> CapsResult:
    """Add what an independent look at the caps shows: the households' own best response, and the limits under it."""
    response = best_response(problem, draft.caps_kw)
    error = np.abs(response - draft.planned_kw)
    if options.ties == "optimistic" and options.coordination == "anticipated":  # the plan, if it is among the cheapest
        error, response = off_by(problem, draft.caps_kw, draft.planned_kw, response), draft.planned_kw
    error_kw = float(error.max(initial=0.0))
    worst_kw = worst_draw(problem, draft.caps_kw) if _dreads_ties(options) else None
    counted = response if worst_kw is None else worst_kw
    if options.limit_on == "peak":
        counted = at_once_kw(problem, draft.caps_kw, response)
    over_kw, status = over_limit_kw(problem, counted), draft.status
    if status in (Termination.OPTIMAL, Termination.GAP_LIMIT) and max(over_kw, error_kw) > BROKEN_KW:
        status = Termination.ERROR  # what was proven is not of these caps
    unserved = problem.unserved_kwh(response)
    return CapsResult(
        caps_kw=draft.caps_kw,
        charge_kw=response,
        planned_kw=draft.planned_kw,
        floor_kw=draft.floor_kw,
        objective_name=options.objective,
        coordination=options.coordination,
        form=draft.form,
        status=status,
        objective=draft.worth.value,
        bound=draft.worth.bound,
        gap=draft.worth.gap,
        withheld_kwh=problem.withheld_kwh(draft.caps_kw),
        withheld_bound_kwh=draft.withheld_bound_kwh,
        unserved_kwh=unserved,
        unservable_kwh=problem.energy_need_kwh - problem.reachable_kwh,
        relaxations=tuple(_relaxations(problem, options, draft, unserved)),
        fallback=fallback,
        max_response_error_kw=error_kw,
        over_limit_kw=over_kw,
        wall_s=0.0,
        ties=options.ties if options.coordination == "anticipated" else "unique",
        worst_kw=worst_kw,
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
