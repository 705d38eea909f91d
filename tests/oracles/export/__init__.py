"""Export caps, and import caps with them where wished, by one mixed-integer programme of either form."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps import ExportProblem, ExportResponse, export_response
from oracles.export import kkt, order_form
from oracles.export.upper_level import import_most_kw, reverse_rows, uncontrolled
from oracles.programme import minimise


@dataclass(frozen=True, eq=False)
class Witness:
    """Caps, shape (slot, home) [kW], what homes do inside them, and how far limits and the model's own plan are off."""

    caps_kw: Float
    import_cap_kw: Float
    response: ExportResponse
    objective: float
    withheld_kwh: float
    withheld_import_kwh: float
    max_response_error_kw: float
    over_reverse_kw: float
    over_limit_kw: float


def solve_form(problem: ExportProblem, form: str = "order", *, decide_import: bool = False) -> Witness | None:
    """Choose export caps, and import caps where wished, so that least of both is withheld; None where none will do.

    Parameters
    ----------
    problem : ExportProblem
        The data; ``import_cap_kw`` are the highest import caps where they are decided, from which withholding counts.
    form : str
        ``kkt``: textbook conditions, for a handful of homes; ``order``: order of segments.
    decide_import : bool
        Whether import caps are decided too. Every need that is servable under the highest caps is served.
    """
    module = {"kkt": kkt, "order": order_form}[form]
    wanted = uncontrolled(problem).export_kw
    model = module.build(problem, wanted, decide_import=decide_import)
    objective = minimise(model)
    if objective is None:
        return None
    import_cap, caps, net = module.read(problem, model)
    import_cap = import_cap if decide_import else problem.import_cap_kw
    response = export_response(problem, import_cap, caps)
    plugged = problem.per_home(problem.car_kw) > 0
    less_import = np.where(plugged, np.maximum(import_most_kw(problem) - import_cap, 0.0), 0.0)
    return Witness(
        caps_kw=caps,
        import_cap_kw=import_cap,
        response=response,
        objective=objective,
        withheld_kwh=float(np.maximum(wanted - caps, 0.0).sum() * problem.slot_h),
        withheld_import_kwh=float(less_import.sum() * problem.slot_h),
        max_response_error_kw=float(np.abs(response.net_kw - net).max(initial=0.0)),
        over_reverse_kw=over_reverse_kw(problem, response.net_kw),
        over_limit_kw=float((response.net_kw @ problem.phase_share - problem.limit_kw).max(initial=0.0)),
    )


def over_reverse_kw(problem: ExportProblem, net_kw: Float) -> float:
    """Return by how much net loads, shape (slot, home), break a limit on what flows back, at most [kW]."""
    return max((float(-(share @ net_kw[slot])) - most for slot, share, most in reverse_rows(problem)), default=0.0)
