"""A piece by the textbook form: the same question and answer as `solve.least_withheld`, for few homes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from cosim.controllers.caps.core.columns import keeps
from cosim.controllers.caps.core.finishing import Kept
from cosim.controllers.caps.core.kkt import plan_of_answer, solve_textbook
from cosim.controllers.caps.core.schedule import first_plan
from cosim.controllers.caps.core.search import NAMED_KWH, NONE_KWH
from cosim.controllers.caps.core.solve import Found, most_of
from cosim.controllers.caps.core.subproblem import UNSERVED_KWH, Plan, Subproblem
from cosim.controllers.solver import Clock, Limits, Termination, judged


def textbook_withheld(
    sub: Subproblem,
    stop: Limits,
    _rng: np.random.Generator,
    start: Plan | None = None,
    *,
    kept: Sequence[Kept] = (),
    most_unserved_kwh: float = np.inf,
) -> Found:
    """Serve all that can be served, then withhold as little as the limits allow; see `solve.least_withheld`."""
    clock, known = Clock(stop.time_s), start if start is not None and keeps(sub, start) else None
    if known is None:
        known = first_plan(sub, sub.target_kw.max(axis=1))
    plan, bound, ended = _solved(sub, stop, known, kept, clock)
    unserved, least = np.inf if plan is None else float(plan.unserved_kwh(sub).sum()), 0.0
    is_kept = bool(kept)
    if plan is None or unserved > most_unserved_kwh + NAMED_KWH:
        # the objective counts what is unserved above all else: a bound above that of the most allowed refutes it
        is_refuted = ended is Termination.INFEASIBLE or bound > UNSERVED_KWH * (most_unserved_kwh + NAMED_KWH) + float(
            (sub.usable_kw.sum(axis=1) * sub.weight_kwh).sum()
        )
        return Found(None, np.inf, bound, np.inf, 0.0, Termination.INFEASIBLE if is_refuted else Termination.NODE_LIMIT)
    if unserved > NAMED_KWH and not kept:
        service = sub.with_aim(np.zeros(sub.size), sub.unserved_kwh)
        served, least, _ = _solved(service, replace(stop, gap=0.0), plan, (), clock)
        plan = served or plan
        kept = (most_of(sub.unserved_kwh, plan, UNSERVED_KWH),)
        last, bound, ended = _solved(sub, stop, plan, kept, clock)
        plan = last or plan
        unserved = float(plan.unserved_kwh(sub).sum())
    value = plan.cost(sub) - sum(aim.counts_kwh * aim.value(plan) for aim in kept)
    bound = min(bound, value)
    if is_kept or unserved - max(least, 0.0) <= NAMED_KWH * max(1.0, unserved):
        ended = judged(value, bound, stop.gap, ended, NONE_KWH)
    return Found(plan, value, bound, unserved, min(max(least, 0.0), unserved), ended)


def _solved(
    sub: Subproblem, stop: Limits, known: Plan | None, kept: Sequence[Kept], clock: Clock
) -> tuple[Plan | None, float, Termination]:
    answer = solve_textbook(sub, replace(stop, time_s=clock.left_s), start=known, kept=kept)
    plans = [] if known is None else [known]
    if answer.room_kw.size:
        found = plan_of_answer(sub, answer)
        if keeps(sub, found) and all(aim.value(found) <= aim.most + NONE_KWH for aim in kept):
            plans.append(found)
    best = min(plans, key=lambda plan: plan.cost(sub), default=None)
    return best, answer.ended.bound, answer.ended.termination
