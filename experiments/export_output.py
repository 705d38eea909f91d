"""Export caps of a day as a file that anybody can check, and what the power flow says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from cosim.controllers.caps import ExportPlan, ExportRecord
from cosim.measures import json_safe


def export_table(plan: ExportPlan, households: Sequence[str] | Sequence[int]) -> pd.DataFrame:
    """Return all slots of all homes with a roof, home by home.

    Parameters
    ----------
    plan : ExportPlan
        Of the day ahead.
    households : sequence, shape (home,)
        Names.

    Returns
    -------
    DataFrame
        ``slot`` counts the steps of the run from the horizon's start; ``load_kw`` is demand and expected charging,
        ``wanted_kw`` the export without caps, ``export_cap_kw`` the cap (the rating where nothing is withheld),
        ``export_kw`` what is expected inside it, ``feed_in_limit_kw`` what the roof then yields.
    """
    problem, result = plan.problem, plan.result
    roofs = np.flatnonzero(problem.rated_kw > 0)
    phases = [int("".join(str(i + 1) for i in np.flatnonzero(row))) for row in problem.phase_share[roofs] > 0]
    export_kw = result.response.export_kw
    per_slot = {
        "sun_kw": problem.sun_kw,
        "load_kw": problem.demand_kw + problem.per_home(result.response.charge_kw),
        "rated_kw": np.broadcast_to(problem.rated_kw, problem.sun_kw.shape),
        "wanted_kw": result.wanted_kw,
        "export_cap_kw": result.caps_kw,
        "export_kw": export_kw,
        "feed_in_limit_kw": problem.sun_kw - result.response.curtailed_kw,
    }
    columns: dict[str, Any] = {
        "household": np.repeat(np.asarray(households)[roofs], problem.slots),
        "phase": np.repeat(phases, problem.slots),
        "slot": np.tile(np.arange(problem.slots), len(roofs)),
    }
    return pd.DataFrame(columns | {key: np.ravel(values[:, roofs].T) for key, values in per_slot.items()})


def export_proof(export: ExportRecord) -> dict[str, Any]:
    """Return what is proven of export caps, and what the power flow found, ready for JSON."""
    plan = export.plan
    result, slot_h = plan.result, plan.problem.slot_h
    figures = {
        "objective": result.objective,
        "bound": result.bound,
        "gap": result.gap,
        "wanted_kwh": float(result.wanted_kw.sum() * slot_h),
        "withheld_kwh": result.withheld_kwh,
        "worst_home_percent": 100.0 * result.worst_share,
        "max_response_error_kw": result.max_response_error_kw,
        "over_reverse_kw": result.over_reverse_kw,
        "wall_s": export.wall_s,
    }
    rounds = [asdict(found) for found in plan.rounds]
    return json_safe(figures) | {
        "status": result.status,
        "form": result.form,
        "objective_name": result.objective_name,
        "coordination": result.coordination,
        "relaxations": [str(relaxation) for relaxation in result.relaxations],
        "verified_clean": plan.verified.clean if plan.verified is not None else None,
        "verification": rounds,
        "limit_rows": len(plan.problem.rows),
        "not_from_export": list(plan.not_from_export),
        "corrected_steps": export.corrected_steps,
    }
