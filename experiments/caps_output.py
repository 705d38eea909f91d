"""Caps of a day as files that anybody can check: every slot of every home, and the proof beside them.

Used by the study of the seed and by runs of the caps controller. The households' reaction is computed again here, twice
and independently of the plan: by the closed form (cheapest slots first) and by a linear programme per stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import csv

from cosim.contract import Float, Int
from cosim.controllers.caps import (
    CapsProblem,
    CapsRecord,
    CapsResult,
    best_response,
    best_response_lp,
    charging_cost_eur,
)
from cosim.experiments.deviation_output import Rows, write_deviations
from cosim.experiments.export_output import export_proof, export_table
from cosim.experiments.files import write_json
from cosim.experiments.verification_output import verification_of
from cosim.measures import json_safe
from cosim.record import write_whole

NOBODY = -1
DAY_H = 24.0
Names = Sequence[str] | Sequence[int]


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
        proof["export"] = export_proof(record.export)
        _write_csv(folder / "export_caps.csv", export_table(record.export.plan, names))
    if deviations is not None:
        proof["deviation"] = deviations
        write_deviations(folder, deviations)
    write_json(folder / "proof.json", proof)
    return proof


def caps_table(problem: CapsProblem, result: CapsResult, households: Names) -> pd.DataFrame:
    """Return all slots of all homes, home by home.

    Parameters
    ----------
    problem, result : CapsProblem, CapsResult
        What was asked, and the answer.
    households : sequence, shape (home,)
        Names.

    Returns
    -------
    DataFrame
        ``slot`` counts from the horizon's start at 0. A home with several stays shows in each slot the one that is
        there, else the next to come, else the last. ``phase`` is the one that the home loads (1 where one limit counts
        for all), or all of them (``123``), and ``limit_kw`` its limit in this slot, the smallest where there are
        several: then ``limit_1_kw`` and so on tell those of all phases. Homes without a car have a charger of 0 kW.
        ``slot_h`` is there where slots do not make up a day, ``battery_room_kwh`` is there where prices below nil may
        fill batteries beyond the need, ``worst_kw`` where ties are pessimistic: what the slot must reckon with.
    """
    slots, homes = problem.slots, problem.homes
    stay = _stay_of_slot(problem)
    has_car = stay != NOBODY

    def of_stay(values: Float, otherwise: float) -> Float:
        return np.where(has_car, values[stay] if len(values) else 0.0, otherwise)

    loaded = problem.phase_share[:, : problem.phases] > 0
    phase = [int("".join(str(i + 1) for i in np.flatnonzero(row))) for row in loaded]
    limit = np.stack([problem.limit_kw[:, np.flatnonzero(row)].min(axis=1) for row in loaded], axis=1)
    per_slot = {
        "tariff_eur_per_kwh": problem.per_slot_and_home(problem.tariff_eur_per_kwh),
        "order_cost": problem.per_slot_and_home(problem.order_cost),
        "inflexible_kw": problem.inflexible_kw,
        "connection_kw": np.broadcast_to(problem.connection_kw, (slots, homes)),
        "charger_kw": of_stay(problem.charger_kw, 0.0),
        "plugged": problem.per_home(problem.plugged),
        "energy_need_kwh": of_stay(problem.energy_need_kwh, 0.0),
        "efficiency": of_stay(problem.efficiency, 1.0),
        "cap_kw": result.caps_kw,
        "charge_kw": problem.per_home(result.charge_kw),
        "limit_kw": limit,
        "charger_min_kw": of_stay(problem.charger_min_kw, 0.0),
        "stay": stay,
        "planned_kw": problem.per_home(result.planned_kw),
    }
    if problem.slots * problem.slot_h != DAY_H:
        per_slot["slot_h"] = np.full((slots, homes), problem.slot_h)
    if (loaded.sum(axis=1) > 1).any():
        for number in range(problem.phases):
            per_slot[f"limit_{number + 1}_kw"] = np.broadcast_to(problem.limit_kw[:, [number]], (slots, homes))
    if problem.battery_room_kwh is not None:
        per_slot["battery_room_kwh"] = of_stay(problem.battery_room_kwh, 0.0)
    if result.worst_kw is not None:
        per_slot["worst_kw"] = problem.per_home(result.worst_kw)
    columns: dict[str, Any] = {
        "household": np.repeat(np.asarray(households), slots),
        "phase": np.repeat(phase, slots),
        "slot": np.tile(np.arange(slots), homes),
    }
    return pd.DataFrame(columns | {key: np.ravel(values.T) for key, values in per_slot.items()})


def responses(problem: CapsProblem, result: CapsResult, households: Names) -> pd.DataFrame:
    """Return one row per stay: what was planned for it, and what the household's own optimum is, found in two ways.

    Where ties are not ``unique`` a household has many cheapest ways to charge, and the plan is one of them: then costs
    can be compared, schedules cannot.

    Returns
    -------
    DataFrame
        Energies drawn from the grid [kWh], costs at the tariff [EUR], largest differences of power [kW];
        ``anticipated_*`` is the plan, not what was computed from its caps afterwards; ``cost_difference_eur`` is the
        plan's cost minus the linear programme's.

    Raises
    ------
    SolverError
        Where a linear programme ends without an optimum.
    """
    planned, greedy = result.planned_kw, best_response(problem, result.caps_kw)
    programme = np.zeros_like(planned)
    for car in range(problem.cars):
        programme[:, car] = best_response_lp(problem, result.caps_kw, car)
    costs = [charging_cost_eur(problem, charge) for charge in (planned, greedy, programme)]
    names = np.asarray(households)
    return pd.DataFrame(
        {
            "household": names[problem.home],
            "stay": np.arange(problem.cars),
            "energy_need_kwh": problem.energy_need_kwh,
            "anticipated_kwh": problem.slot_h * planned.sum(axis=0),
            "greedy_kwh": problem.slot_h * greedy.sum(axis=0),
            "lp_kwh": problem.slot_h * programme.sum(axis=0),
            "anticipated_cost_eur": costs[0],
            "greedy_cost_eur": costs[1],
            "lp_cost_eur": costs[2],
            "cost_difference_eur": costs[0] - costs[2],
            "greedy_error_kw": np.abs(planned - greedy).max(axis=0, initial=0.0),
            "lp_error_kw": np.abs(planned - programme).max(axis=0, initial=0.0),
            "unserved_kwh": result.unserved_kwh,
        }
    )


def proof_of(problem: CapsProblem, result: CapsResult, answers: pd.DataFrame) -> dict[str, Any]:
    """Return what is proven of a plan, and what an independent look at it finds, ready for JSON."""
    errors = answers[["greedy_error_kw", "lp_error_kw"]].to_numpy()
    if result.ties != "unique":  # one of many cheapest ways to charge; that it is one is checked by its cost
        errors = np.zeros((0, 2))
    values = {
        "objective": result.objective,
        "bound": result.bound,
        "gap": result.gap,
        "withheld_kwh": result.withheld_kwh,
        "withheld_bound_kwh": result.withheld_bound_kwh,
        "uncontrolled_peak_kw": uncontrolled_peak_kw(problem),
        "wall_s": result.wall_s,
        "max_response_error_kw": max(result.max_response_error_kw, float(errors.max(initial=0.0))),
        "max_cost_difference_eur": float(answers["cost_difference_eur"].abs().max()) if len(answers) else 0.0,
        "planned_peak_kw": float(_total_kw(problem, result.charge_kw).max()),
        "over_limit_kw": result.over_limit_kw,
        "unserved_kwh": float(result.unserved_kwh.sum()),
    }
    return json_safe(values) | {
        "status": result.status,
        "form": result.form,
        "plan_from": result.plan_from,
        "objective_name": result.objective_name,
        "coordination": result.coordination,
        "ties": result.ties,
        "fallback": result.fallback,
        "relaxations": [str(relaxation) for relaxation in result.relaxations],
        "households": problem.homes,
        "slots": problem.slots,
        "reproducible": result.reproducible,
    }


def uncontrolled_peak_kw(problem: CapsProblem) -> float:
    """Largest load of all homes together if no cap were below its connection, mean over a slot [kW]."""
    return float(_total_kw(problem, uncontrolled_kw(problem)).max())


def uncontrolled_kw(problem: CapsProblem) -> Float:
    """What cars draw without any cap, shape (slot, car) [kW]."""
    return best_response(problem, np.broadcast_to(problem.connection_kw, problem.inflexible_kw.shape))


def _total_kw(problem: CapsProblem, charge_kw: Float) -> Float:
    total: Float = problem.inflexible_kw.sum(axis=1) + charge_kw.sum(axis=1)
    return total


def _stay_of_slot(problem: CapsProblem) -> Int:
    """Which stay a slot of a home belongs to, shape (slot, home); NOBODY where the home never has a car."""
    stay = np.full((problem.slots, problem.homes), NOBODY, dtype=np.int64)
    last = np.where(problem.is_plugged.any(axis=0), problem.slots - problem.is_plugged[::-1].argmax(axis=0), 0)
    for car in np.argsort(-last, kind="stable"):
        home = problem.home[car]
        until = problem.slots if stay[0, home] == NOBODY else last[car]
        stay[:until, home] = car
    return stay


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    write_whole(path, lambda temporary: csv.write_csv(arrow, temporary, csv.WriteOptions(quoting_style="needed")))
