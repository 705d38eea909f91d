"""Caps of a day as tables: every slot of every home, the households' answers, and what deviations do to the limits.

Used by the study of the seed and by runs of the caps controller. The households' reaction is computed again here, twice
and independently of the plan: by the closed form (cheapest slots first) and by a linear programme per stay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cosim.contract import Float, Int
from cosim.controllers.caps import (
    DRAWS,
    CapsProblem,
    CapsResult,
    ExportPlan,
    best_response,
    best_response_lp,
    charging_cost_eur,
    deviation_test,
)

NOBODY = -1
DAY_H = 24.0
CELLS = 2_000_000
"""Slots x cars of all draws of one kind: with many homes draws are fewer, and hardly differ from each other."""
FEWEST_DRAWS = 10

Names = Sequence[str] | Sequence[int]
Rows = list[dict[str, Any]]


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
        ``slot_h`` is there where slots do not make up a day, ``battery_room_kwh`` is there where prices below zero may
        fill batteries beyond the need, ``worst_kw`` where ties are pessimistic: what the slot must reckon with.
    """
    slots, homes = problem.slots, problem.homes
    stay = _stay_of_slot(problem)
    has_car = stay != NOBODY

    def of_stay(values: Float, otherwise: float) -> Float:
        return np.where(has_car, values[stay] if len(values) else 0.0, otherwise)

    loaded = problem.phase_share[:, : problem.phases] > 0
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
    return _slot_by_slot(households, loaded, per_slot)


def export_table(plan: ExportPlan, phase_share: Float, households: Names) -> pd.DataFrame:
    """Return all slots of all homes with a roof, home by home.

    Parameters
    ----------
    plan : ExportPlan
        Of the day ahead.
    phase_share : ndarray, shape (home, phase)
        Where homes are.
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
    per_slot = {
        "sun_kw": problem.sun_kw,
        "load_kw": problem.load_kw,
        "rated_kw": np.broadcast_to(problem.rated_kw, problem.sun_kw.shape),
        "wanted_kw": problem.surplus_kw,
        "export_cap_kw": result.caps_kw,
        "export_kw": np.maximum(-result.net_kw, 0.0),
        "feed_in_limit_kw": problem.load_kw - result.net_kw,
    }
    roofed = {key: values[:, roofs] for key, values in per_slot.items()}
    return _slot_by_slot(np.asarray(households)[roofs], phase_share[roofs] > 0, roofed)


def _slot_by_slot(
    households: Names | NDArray[Any], loaded: NDArray[np.bool_], per_slot: Mapping[str, Float]
) -> pd.DataFrame:
    """Return values of shape (slot, home) home by home, with the phases that each loads."""
    slots, homes = next(iter(per_slot.values())).shape
    phase = [int("".join(str(i + 1) for i in np.flatnonzero(row))) for row in loaded]
    columns: dict[str, Any] = {
        "household": np.repeat(np.asarray(households), slots),
        "phase": np.repeat(phase, slots),
        "slot": np.tile(np.arange(slots), homes),
    }
    return pd.DataFrame(columns | {key: np.ravel(values.T) for key, values in per_slot.items()})


def _stay_of_slot(problem: CapsProblem) -> Int:
    """Which stay a slot of a home belongs to, shape (slot, home); NOBODY where the home never has a car."""
    stay = np.full((problem.slots, problem.homes), NOBODY, dtype=np.int64)
    last = np.where(problem.is_plugged.any(axis=0), problem.slots - problem.is_plugged[::-1].argmax(axis=0), 0)
    for car in np.argsort(-last, kind="stable"):
        home = problem.home[car]
        until = problem.slots if stay[0, home] == NOBODY else last[car]
        stay[:until, home] = car
    return stay


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


def deviation_rows(
    problem: CapsProblem, caps_kw: Float, rng: np.random.Generator, *, plan: str, limit_kw: Float | None = None
) -> Rows:
    """Return one row per kind of deviation, see `deviation_test`.

    Parameters
    ----------
    problem, caps_kw, rng, limit_kw
        As there.
    plan : str
        Whose caps these are, to tell several plans apart.
    """
    draws = int(np.clip(CELLS // max(problem.slots * problem.cars, 1), FEWEST_DRAWS, DRAWS))
    found = deviation_test(problem, caps_kw, rng, draws=draws, limit_kw=limit_kw)
    return [{"plan": plan, **asdict(row)} for row in found]
