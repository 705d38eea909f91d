"""Caps of a day as files that anybody can check: every slot of every home, and the proof beside them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from cosim.contract import Float
from cosim.controllers.caps import CapsProblem, CapsRecord, CapsResult, Replan, best_response
from cosim.controllers.solver import Termination
from cosim.experiments.caps_tables import Names, Rows, caps_table, export_table, responses
from cosim.experiments.files import json_ready, write_json
from cosim.experiments.tables import without_formulas, write_csv
from cosim.folder import write_whole


def write_caps(
    folder: Path,
    problem: CapsProblem,
    result: CapsResult,
    *,
    households: Names | None = None,
    deviations: Rows | None = None,
    record: CapsRecord | None = None,
    answers: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Write ``caps.csv``, ``responses.csv`` and ``proof.json``; where deviations are given, ``deviation.csv`` too.

    Where export is capped, ``export_caps.csv`` as well, and its proof under ``export``.

    Parameters
    ----------
    folder : Path
        Receives them.
    problem, result : CapsProblem, CapsResult
        What was asked, and the answer.
    households : sequence of str or int, optional
        Names of the homes; numbers from 1 without them.
    deviations : list of dict, optional
        What households that do not react as modelled do to the limits, see `deviation_rows`.
    record : CapsRecord, optional
        Adds what the power flow says of the plan and what became of it during the day, see `verification_of`.

    answers : DataFrame, optional
        Of `responses`, where they are known already.

    Returns
    -------
    dict
        What ``proof.json`` holds.
    """
    names = range(1, problem.homes + 1) if households is None else households
    answers = responses(problem, result, names) if answers is None else answers
    proof = proof_of(problem, result, answers) | ({} if record is None else verification_of(record))
    _write_csv(folder / "caps.csv", caps_table(problem, result, names))
    _write_csv(folder / "responses.csv", answers)
    if record is not None and record.export is not None:
        proof["export"] = export_proof(record)
        _write_csv(
            folder / "export_caps.csv", export_table(record.export, problem.phase_share[:, : problem.phases], names)
        )
    if deviations is not None:
        proof["deviation"] = deviations
        write_csv(pd.DataFrame(deviations), folder / "deviation.csv")
    write_json(folder / "proof.json", proof)
    return proof


def proof_of(problem: CapsProblem, result: CapsResult, answers: pd.DataFrame) -> dict[str, Any]:
    """Return what is proven of a plan, and what an independent look at it finds, ready for JSON."""
    errors = answers[["greedy_error_kw", "lp_error_kw"]].to_numpy()
    if result.ties != "unique":  # one of many cheapest ways to charge; that it is one is checked by its cost
        errors = np.zeros((0, 2))
    told: dict[str, Any] = json_ready({
        **_fields(result, "objective", "bound", "gap", "withheld_kwh", "withheld_bound_kwh"),
        "uncontrolled_peak_kw": uncontrolled_peak_kw(problem),
        "max_response_error_kw": max(result.max_response_error_kw, float(errors.max(initial=0.0))),
        "max_cost_difference_eur": float(answers["cost_difference_eur"].abs().max()) if len(answers) else 0.0,
        "planned_peak_kw": float(_total_kw(problem, result.charge_kw).max()),
        "over_limit_kw": result.over_limit_kw,
        "unserved_kwh": float(result.unserved_kwh.sum()),
        **_fields(result, "status", "form", "objective_name", "coordination", "ties", "fallback"),
        "relaxations": [str(relaxation) for relaxation in result.relaxations],
        "households": problem.homes,
        "slots": problem.slots,
        "reproducible": result.reproducible,
    })  # fmt: skip
    return told


def export_proof(record: CapsRecord) -> dict[str, Any]:
    """Return what is proven of export caps, and what the power flow found, ready for JSON; nothing without any."""
    plan = record.export
    if plan is None:
        return {}
    result, slot_h = plan.result, plan.problem.slot_h
    told: dict[str, Any] = json_ready({
        "status": Termination.OPTIMAL,  # a linear programme that ends otherwise is an error
        "wanted_kwh": float(plan.problem.surplus_kw.sum() * slot_h),
        "withheld_kwh": result.withheld_kwh,
        "worst_home_percent": 100.0 * result.worst_share,
        **_fields(result, "over_reverse_kw", "objective_name"),
        "coordination": record.day_ahead.coordination,
        "relaxations": [str(relaxation) for relaxation in result.relaxations],
        "verified_clean": plan.verified.clean if plan.verified is not None else None,
        "verification": [asdict(found) for found in plan.rounds],
        "limit_rows": 0 if plan.verified is None else plan.verified.rows,
        "not_from_export": list(plan.not_from_export),
        "corrected_steps": record.corrected_steps,
    })  # fmt: skip
    return told


def verification_of(record: CapsRecord) -> dict[str, Any]:
    """Return what was verified of the day-ahead plan, solve by solve, and of every later look at the rest of the day.

    Returns
    -------
    dict
        ``status`` (``fallback`` where caps as they are sent break a limit), ``verified`` (``proven``, ``tested``,
        ``broken``; see `Round.verified`), ``verified_clean`` (charging breaks no limit; None where no power flow was
        asked), ``verification`` (one entry per solve), ``verified_round`` (which of them the caps are from),
        ``extra_limits`` (those planned with beside the phases), ``not_from_charging`` (limits that are broken without
        any car), ``replans`` (one entry per look).
    """
    plan = record.day_ahead
    told: dict[str, Any] = json_ready({
        "status": plan.status,
        "verified": None if plan.verified is None else plan.verified.verified,
        "verified_clean": None if plan.verified is None else plan.verified.clean,
        "verification": [asdict(found) for found in plan.rounds],
        "verified_round": plan.kept_round,
        "extra_limits": list(plan.problem.extra_limits),
        "not_from_charging": list(plan.not_from_charging),
        "replans": [_of_replan(replan) for replan in record.replans],
    })  # fmt: skip
    return told


def _of_replan(replan: Replan) -> dict[str, Any]:
    decision, verified = replan.decision, replan.plan.verified
    return {
        "minute": replan.minute,
        **_fields(decision, "status", "objective", "bound", "gap", "fallback"),
        "rounds": len(replan.plan.rounds),
        "verified_clean": None if verified is None else verified.clean,
        "verified": None if verified is None else asdict(verified),
    }


def _fields(record: object, *names: str) -> dict[str, Any]:
    """Fields of a record that keep their names."""
    return {name: getattr(record, name) for name in names}


def uncontrolled_peak_kw(problem: CapsProblem) -> float:
    """Largest load of all homes together if no cap were below its connection, mean over a slot [kW]."""
    return float(_total_kw(problem, uncontrolled_kw(problem)).max())


def uncontrolled_kw(problem: CapsProblem) -> Float:
    """What cars draw without any cap, shape (slot, car) [kW]."""
    return best_response(problem, np.broadcast_to(problem.connection_kw, problem.inflexible_kw.shape))


def _total_kw(problem: CapsProblem, charge_kw: Float) -> Float:
    total: Float = problem.inflexible_kw.sum(axis=1) + charge_kw.sum(axis=1)
    return total


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    arrow = pa.Table.from_pandas(without_formulas(table), preserve_index=False)
    write_whole(path, lambda temporary: csv.write_csv(arrow, temporary, csv.WriteOptions(quoting_style="needed")))
