"""From a problem to export caps: solve, let homes answer, and say what could not be kept."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cosim.contract import Float
from cosim.contract.survey import FrozenArrays
from cosim.controllers.caps.export.allocation import CLOSE_KW, Allocation
from cosim.controllers.caps.export.follower import Response, best_response
from cosim.controllers.caps.export.given import Given
from cosim.controllers.caps.export.problem import WHERE, ExportProblem
from cosim.controllers.caps.result import Relaxation
from cosim.controllers.solver import Termination, judged, relative_gap
from cosim.errors import Fault, refuse

OBJECTIVES = ("least", "max_min", "equal_share")
COORDINATIONS = ("anticipated", "sum_of_caps")


@dataclass(frozen=True, eq=False)
class ExportResult(FrozenArrays):
    """Export caps and their proof.

    Attributes
    ----------
    caps_kw : ndarray, shape (slot, home)
        Largest export; the rating where nothing is withheld [kW].
    response : Response
        What homes do inside them.
    wanted_kw : ndarray, shape (slot, home)
        What they would export without caps [kW].
    objective_name, coordination, form : str
        What was solved, and how.
    status : Termination
        How it ended.
    objective, bound, gap : float
        Withheld energy and its proven lower bound [kWh]; with ``max_min`` the largest share of its export that a home
        loses, and its lower bound; with ``equal_share``, a rule, the withheld energy against the least possible.
    withheld_kwh : float
        Export that is withheld [kWh].
    worst_share : float
        Largest share of its uncontrolled export that is withheld from a home.
    relaxations : tuple of Relaxation
        Limits that cannot be kept.
    max_response_error_kw : float
        Largest difference between export as planned and as homes answer [kW].
    over_reverse_kw, over_limit_kw : float
        Largest excess of the anticipated flow over a limit, back and forth, beyond what is relaxed [kW].
    wall_s : float
        Wall clock [s].
    """

    caps_kw: Float
    response: Response
    wanted_kw: Float
    objective_name: str
    coordination: str
    form: str
    status: Termination
    objective: float
    bound: float
    gap: float
    withheld_kwh: float
    worst_share: float
    relaxations: tuple[Relaxation, ...]
    max_response_error_kw: float
    over_reverse_kw: float
    over_limit_kw: float
    wall_s: float


def solve_export(problem: ExportProblem, objective: str = "least", coordination: str = "anticipated") -> ExportResult:
    """Choose export caps for given import caps.

    Parameters
    ----------
    problem : ExportProblem
        The data.
    objective : str
        ``least``: least withheld energy; ``max_min``: the largest share of its export that any home loses as small as
        possible, then least withheld; ``equal_share``: every roof of a slot the same share of its rating.
    coordination : str
        ``anticipated``: limits hold for what homes are expected to do; ``sum_of_caps``: for whatever they do inside
        their caps while the sun is as forecast, cars drawing nothing.

    Raises
    ------
    InputError
        Where an option is unknown, or the two do not go together.
    SolverError
        Where a linear programme that always has an optimum ends without one.
    """
    refuse(option_faults(objective, coordination))
    began = time.perf_counter()
    given = Given(problem)
    safe = coordination == "sum_of_caps"
    shared = objective == "equal_share"
    found = given.shared_equally() if shared else given.solve(objective, safe=safe)
    best = found
    if shared or (given.kinds.mixed.any() and not safe):
        best = given.solve("least" if shared else objective, bound=True, safe=safe)
    value, bound = (
        (found.worst_share, best.worst_share)
        if objective == "max_min"
        else (found.withheld_kw * problem.slot_h, best.withheld_kw * problem.slot_h)
    )
    gap = relative_gap(value, bound, CLOSE_KW)
    caps = _caps(given, found, safe)
    response = best_response(problem, problem.import_cap_kw, caps)
    # only where a cap holds: elsewhere a home exports what it likes, and no cap promised otherwise
    error = np.where(found.export_kw < given.wanted_kw - CLOSE_KW, response.export_kw - found.export_kw, 0.0)
    over = np.maximum(given.rows.over_kw(response.net_kw) - found.relaxed_kw, 0.0)
    loads = np.maximum(response.net_kw @ problem.phase_share - problem.limit_kw, 0.0)
    return ExportResult(
        caps_kw=caps,
        response=response,
        wanted_kw=given.wanted_kw,
        objective_name=objective,
        coordination=coordination,
        form="rule" if shared else "lp",
        status=judged(value, bound, np.inf, rounding=CLOSE_KW),
        objective=value,
        bound=bound,
        gap=gap,
        withheld_kwh=float(np.maximum(given.wanted_kw - caps, 0.0).sum() * problem.slot_h),
        worst_share=found.worst_share,
        relaxations=tuple(_relaxations(given, found)),
        max_response_error_kw=0.0 if safe or given.kinds.mixed.any() else float(np.abs(error).max(initial=0.0)),
        over_reverse_kw=float(over.max(initial=0.0)),
        over_limit_kw=float(loads.max(initial=0.0)),
        wall_s=time.perf_counter() - began,
    )


def option_faults(objective: str, coordination: str) -> Iterator[Fault]:
    """Yield what is unknown, and what does not go together."""
    pairs = (("objective", objective, OBJECTIVES), ("coordination", coordination, COORDINATIONS))
    for key, value, known in pairs:
        if value not in known:
            yield Fault(WHERE, key, f"is {value!r}", f"use one of {', '.join(known)}")
    if objective == "equal_share" and coordination == "sum_of_caps":
        remedy = "use 'max_min' with coordination='sum_of_caps'"
        yield Fault(WHERE, "objective", "is 'equal_share', a rule for what is anticipated", remedy)


def _caps(given: Given, found: Allocation, safe: bool) -> Float:
    """Export where it is withheld, the rating elsewhere; as planned also where a sated stay would else charge anew."""
    problem, rated = given.problem, np.broadcast_to(given.problem.rated_kw, given.wanted_kw.shape)
    if safe:
        return np.where(found.export_kw < problem.surplus_kw - CLOSE_KW, found.export_kw, rated)
    held = found.export_kw < given.wanted_kw - CLOSE_KW
    loose = np.where(held, found.export_kw, rated)
    if not given.sated_home.any() and not given.kinds.mixed.any():
        return loose
    response = best_response(problem, problem.import_cap_kw, loose)
    if (given.rows.over_kw(response.net_kw) <= found.relaxed_kw + CLOSE_KW).all():
        return loose
    touched = (problem.per_home(problem.car_kw) > 0) & (problem.sellable_kw > 0)
    return np.where(held | touched, found.export_kw, rated)


def _relaxations(given: Given, found: Allocation) -> Iterator[Relaxation]:
    for name in dict.fromkeys(given.rows.names):
        of_name = np.array([one == name for one in given.rows.names]) & (found.relaxed_kw > 0)
        if of_name.any():
            slots = sorted(set(given.rows.slot[of_name].tolist()))
            where = f"more flows back over {name} than it allows, whatever is curtailed, in {len(slots)} slots"
            yield Relaxation("limit", f"{where} from slot {slots[0]}", float(found.relaxed_kw[of_name].max()), "kW")
