"""What the power flow says of caps, and what became of them during the day, ready for ``proof.json``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cosim.controllers.caps import CapsRecord, Replan, Round
from cosim.measures import json_safe


def verification_of(record: CapsRecord) -> dict[str, Any]:
    """Return what was verified of the day-ahead plan, solve by solve, and of every later look at the rest of the day.

    Returns
    -------
    dict
        ``verified_clean`` (charging breaks no limit; None where no power flow was asked), ``verification`` (one entry
        per solve), ``verified_round`` (which of them the caps are from), ``extra_limits`` (those planned with beside
        the phases), ``not_from_charging`` (limits that are broken without any car), ``replans`` (one entry per look).
    """
    plan = record.day_ahead
    return {
        "verified_clean": None if plan.verified is None else plan.verified.clean,
        "verification": [_of_round(found) for found in plan.rounds],
        "verified_round": plan.kept_round,
        "extra_limits": list(plan.problem.extra_limits),
        "not_from_charging": list(plan.not_from_charging),
        "replans": [_of_replan(replan) for replan in record.replans],
    }


def _of_round(found: Round) -> dict[str, Any]:
    values = asdict(found)
    figures = {key: value for key, value in values.items() if not isinstance(value, str)}
    return values | json_safe(figures)


def _of_replan(replan: Replan) -> dict[str, Any]:
    decision, verified = replan.decision, replan.plan.verified
    figures = {"objective": decision.objective, "bound": decision.bound, "gap": decision.gap}
    return {
        "minute": replan.minute,
        "status": decision.status,
        **json_safe(figures),
        "fallback": decision.fallback,
        "rounds": len(replan.plan.rounds),
        "verified_clean": None if verified is None else verified.clean,
        "verified": None if verified is None else _of_round(verified),
        "wall_s": decision.wall_s,
    }
