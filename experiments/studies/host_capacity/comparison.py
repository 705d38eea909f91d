"""What anticipating households releases over caps that are safe by their sum, and what it risks, at any size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from cosim.controllers.caps import CapsOptions, CapsProblem, CapsResult, solve_caps
from cosim.controllers.caps.follower import charging_cost_eur
from cosim.controllers.solver import Clock
from cosim.experiments.caps_tables import Rows, deviation_rows
from cosim.experiments.studies.base import Cases

ANTICIPATED, SAFE, CAREFUL = "anticipated", "sum_of_caps", "anticipated_margin_15"
FELL_BACK = "_fell_back"
"""Ending of the name of a plan that is not what its name says: it must not pass for it in any comparison."""
MOST_COMPARED = 1000
"""Homes up to which plans are compared; the linear programme of ``sum_of_caps`` is slow beyond."""
MARGIN = 0.15
GAP, MOST_TIME_S = 0.02, 20.0
ALL_TIME_S, LEAST_TIME_S = 40.0, 2.0
"""Wall clock of all further plans together; with less than the second left, a plan is not begun [s]."""
LEAST_USEFUL_KW = 4.2
"""Below it, a device may be dimmed under section 14a of the German Energy Industry Act: the usual floor."""
_DEVIATIONS = 3  # stream of draws


@dataclass(frozen=True, eq=False)
class Plan:
    """Caps of one kind, with the problem that they solve (its limits may be smaller than those to be kept)."""

    problem: CapsProblem
    result: CapsResult


@dataclass(frozen=True, eq=False)
class Comparison:
    """Plans for the same homes and limits.

    Attributes
    ----------
    problem : CapsProblem
        With the limits of the plan that was asked for.
    plans : mapping of str to Plan
        ``anticipated``, ``sum_of_caps`` and ``anticipated_margin_15``, or only the one that was asked for; with
        ``_fell_back`` at the end of the name where the solver ended without a plan and gave safe caps instead.
    metrics : dict of str to dict
        Cases by name.
    deviations : list of dict
        Rows of the deviation test of all plans, judged by the whole limits.
    why_alone : str
        Why there is no other plan to compare with; empty where there is.
    skipped : tuple of str
        Plans for which there was no time.
    """

    problem: CapsProblem
    plans: Mapping[str, Plan]
    metrics: Cases
    deviations: Rows
    why_alone: str
    skipped: tuple[str, ...] = ()


def compare(problem: CapsProblem, result: CapsResult, options: CapsOptions, margin: float, seed: int) -> Comparison:
    """Set a plan beside its counterparts.

    Parameters
    ----------
    problem, result : CapsProblem, CapsResult
        The plan that was asked for.
    options : CapsOptions
        How it was asked for; counterparts take the same objective, the solver's own choice of form, a gap of at least
        2 % and at most 20 s a solve, 40 s together: what these leave no time for is skipped, and named.
    margin : float
        Share of the limits that this plan keeps free.
    seed : int
        Of searches and draws.

    Returns
    -------
    Comparison
        Of this plan alone beyond a thousand homes.

    Raises
    ------
    SolverError
        Where a programme ends without an answer that can be trusted.
    """
    own = CAREFUL if (options.coordination, margin) == (ANTICIPATED, MARGIN) else options.coordination
    plans = {own: Plan(problem, result)}
    why_alone = ""
    if problem.homes > MOST_COMPARED:
        why_alone = f"plans are compared for up to {MOST_COMPARED} homes"
    else:
        plans = dict(_counterparts(plans, options, margin, seed))
    skipped = () if why_alone else tuple(name for name in (ANTICIPATED, SAFE, CAREFUL) if name not in plans)
    plans = {f"{name}{FELL_BACK}" if plan.result.fallback else name: plan for name, plan in plans.items()}
    whole_kw = problem.limit_kw / (1.0 - margin)
    rng = np.random.default_rng([seed, _DEVIATIONS])
    deviations = [
        row
        for name, plan in plans.items()
        for row in deviation_rows(problem, plan.result.caps_kw, rng, plan=name, limit_kw=whole_kw)
    ]
    metrics: Cases = {f"plan_{name}": _metrics(plan) for name, plan in plans.items()}
    if ANTICIPATED in plans and SAFE in plans:
        metrics["released"] = _released(metrics[f"plan_{ANTICIPATED}"], metrics[f"plan_{SAFE}"])
    return Comparison(problem, plans, metrics, deviations, why_alone, skipped)


def _counterparts(
    plans: Mapping[str, Plan], options: CapsOptions, margin: float, seed: int
) -> Iterator[tuple[str, Plan]]:
    """Plans in a fixed order, the one that is there already among them, as far as there is time."""
    clock = Clock(ALL_TIME_S)
    problem = next(iter(plans.values())).problem
    others = replace(options, form="auto", gap=max(options.gap, GAP), whole_floor=False)
    careful = replace(problem, limit_kw=problem.limit_kw * (1.0 - MARGIN) / (1.0 - margin))
    wanted = {
        ANTICIPATED: (problem, replace(others, coordination=ANTICIPATED)),
        SAFE: (problem, replace(others, coordination=SAFE)),
        CAREFUL: (careful, replace(others, coordination=ANTICIPATED)),
    }
    for name, (data, how) in wanted.items():
        if name in plans:
            yield name, plans[name]
        elif clock.left_s > LEAST_TIME_S:
            time_s = min(options.time_limit_s, MOST_TIME_S, clock.left_s)
            yield name, Plan(data, solve_caps(data, replace(how, time_limit_s=time_s), seed=seed))


def _metrics(plan: Plan) -> dict[str, float]:
    p, caps_kw = plan.problem, plan.result.caps_kw
    there = p.is_plugged
    room_kw = np.maximum(caps_kw - p.inflexible_kw, 0.0)[:, p.home]
    useful_kw = np.minimum(LEAST_USEFUL_KW, p.charger_kw)
    drivers = max(len(np.unique(p.home)), 1)
    return {
        "withheld_kwh": plan.result.withheld_kwh,
        "nominal_capacity_kwh": float(p.slot_h * caps_kw.sum()),
        "below_4_2_kw_h_per_home": float(p.slot_h * (there & (room_kw < useful_kw - 1e-6)).sum() / drivers),
        "minimum_cap_kw": float(caps_kw[:, p.home][there].min(initial=np.inf)),
        "minimum_room_kw": float(room_kw[there].min(initial=np.inf)),
        "charging_cost_eur": float(charging_cost_eur(p, plan.result.charge_kw).sum()),
        "unserved_kwh": float(plan.result.unserved_kwh.sum()),
        "gap": plan.result.gap,
    }


def _released(anticipated: Mapping[str, float], safe: Mapping[str, float]) -> dict[str, float]:
    """What anticipation gives: headroom and capacity that are not withheld, hours, kilowatts and euros."""
    return {
        "released_withheld_kwh": safe["withheld_kwh"] - anticipated["withheld_kwh"],
        "released_nominal_capacity_kwh": anticipated["nominal_capacity_kwh"] - safe["nominal_capacity_kwh"],
        "fewer_h_below_4_2_kw_per_home": safe["below_4_2_kw_h_per_home"] - anticipated["below_4_2_kw_h_per_home"],
        "higher_minimum_cap_kw": anticipated["minimum_cap_kw"] - safe["minimum_cap_kw"],
        "saved_charging_cost_eur": safe["charging_cost_eur"] - anticipated["charging_cost_eur"],
        "served_more_kwh": safe["unserved_kwh"] - anticipated["unserved_kwh"],
    }
