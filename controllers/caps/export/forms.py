"""Export caps, and import caps with them where wished, by one mixed-integer programme of either form."""

from __future__ import annotations

import time

import numpy as np

from cosim.controllers.caps.export import kkt, order_form
from cosim.controllers.caps.export.allocation import rows_of, worst_share
from cosim.controllers.caps.export.follower import best_response, uncontrolled
from cosim.controllers.caps.export.problem import WHERE, ExportProblem
from cosim.controllers.caps.export.solve import ExportResult
from cosim.controllers.caps.export.upper_level import import_most_kw
from cosim.controllers.solver import Limits, relative_gap
from cosim.controllers.solver.pyomo_model import solve
from cosim.errors import Fault, InputError, SolverError

FORMS = ("kkt", "order")


def solve_form(
    problem: ExportProblem, form: str = "order", *, decide_import: bool = False, stop: Limits | None = None
) -> ExportResult:
    """Choose export caps, and import caps where wished, so that least of both is withheld.

    Parameters
    ----------
    problem : ExportProblem
        The data; ``import_cap_kw`` are the highest import caps where they are decided, from which withholding counts.
    form : str
        ``kkt``: textbook conditions, for a handful of homes; ``order``: order of segments.
    decide_import : bool
        Whether import caps are decided too. Every need that is servable under the highest caps is served.
    stop : Limits, optional
        Limits of the solver.

    Raises
    ------
    InputError
        Where the form is unknown or does not know the tariff.
    SolverError
        Where no caps keep all limits, or a limit struck before a plan was found.
    """
    if form not in FORMS:
        raise InputError(Fault(WHERE, "form", f"is {form!r}", f"use one of {', '.join(FORMS)}"))
    began = time.perf_counter()
    module = kkt if form == "kkt" else order_form
    wanted = uncontrolled(problem).export_kw
    model = module.build(problem, wanted, decide_import=decide_import)
    ending = solve(model, stop)
    if not ending.has_point:
        raise SolverError(f"export caps by form {form!r}: {ending.termination}, no caps found that keep all limits")
    import_cap, caps, net = module.read(problem, model)
    import_cap = import_cap if decide_import else problem.import_cap_kw
    response = best_response(problem, import_cap, caps)
    plugged = problem.per_home(problem.car_kw) > 0
    less_import = np.where(plugged, np.maximum(import_most_kw(problem) - import_cap, 0.0), 0.0)
    lost = np.maximum(wanted - caps, 0.0)
    bound = max(ending.bound, 0.0)
    return ExportResult(
        caps_kw=caps,
        import_cap_kw=import_cap,
        response=response,
        wanted_kw=wanted,
        objective_name="least",
        coordination="anticipated",
        form=form,
        status=ending.termination,
        objective=ending.value,
        bound=bound,
        gap=relative_gap(ending.value, bound) if ending.value > 0 else 0.0,
        withheld_kwh=float(lost.sum() * problem.slot_h),
        worst_share=worst_share(lost, wanted),
        relaxations=(),
        max_response_error_kw=float(np.abs(response.net_kw - net).max(initial=0.0)),
        over_reverse_kw=float(rows_of(problem).over_kw(response.net_kw).max(initial=0.0)),
        over_limit_kw=float((response.net_kw @ problem.phase_share - problem.limit_kw).max(initial=0.0)),
        wall_s=time.perf_counter() - began,
        withheld_import_kwh=float(less_import.sum() * problem.slot_h),
    )
