"""Caps while the day runs: published in advance, looked at again at the beginning of slots with what has happened.

A slot that has begun keeps its caps, and so do all slots of phases where the caps published still keep every limit and
serve every need, seen from now. So nothing is solved on a day that goes as forecast.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from cosim.contract import Decision, Exogenous, Observation
from cosim.controllers.caps.beliefs import Beliefs
from cosim.controllers.caps.day import rest_of
from cosim.controllers.caps.horizon import Planner
from cosim.controllers.caps.study import HorizonPlan


@dataclass(frozen=True, eq=False)
class Replan:
    """One look at the rest of the day.

    Attributes
    ----------
    minute : float
        When, from the start of the horizon [min].
    plan : HorizonPlan
        Of the rest.
    decision : Decision
        How it was obtained: ``kept`` where the caps published before stand.
    """

    minute: float
    plan: HorizonPlan
    decision: Decision


class RunningPlan:
    """The plan of a day, kept up to date.

    Parameters
    ----------
    planner : Planner
        Makes plans.
    day : Exogenous
        As forecast.
    steps : int
        Steps of a slot.
    replan_min : float
        Time after which the rest of the day is looked at again in any case; 0: never, whatever happens [min].

    Attributes
    ----------
    caps_kw, planned_kva : ndarray, shape (step, home) and (step,)
        Of the whole day, as published last.
    decision : Decision
        How they were obtained.
    day_ahead : HorizonPlan
        The first plan.
    replans : list of Replan
        All later looks.
    """

    def __init__(self, planner: Planner, day: Exogenous, steps: int, replan_min: float) -> None:
        began = time.perf_counter()
        self._planner, self._day, self._steps, self._replan_min = planner, day, steps, replan_min
        self.day_ahead = self._latest = planner.plan(day, steps)
        self.caps_kw, self.planned_kva = self.day_ahead.caps_kw, self.day_ahead.planned_kva
        self.decision = _decision(self.day_ahead, time.perf_counter() - began)
        self.replans: list[Replan] = []
        self._looked_min = 0.0
        self._beliefs = Beliefs(day.sessions, len(planner.feeder.customers))

    def learn(self, seen: Observation) -> None:
        """Take note of an observation; look at the rest of the day again where it is time, or a car came otherwise."""
        if self._replan_min <= 0 or seen.step >= self._day.steps:
            return
        self._beliefs.learn(seen)
        if not seen.step or seen.step % self._steps:
            return
        due = seen.minute - self._looked_min >= self._replan_min - 1e-9
        if due or self._beliefs.came:
            self._look_again(seen, due=due)

    def _look_again(self, seen: Observation, *, due: bool) -> None:
        began, beliefs = time.perf_counter(), self._beliefs
        rest = rest_of(self._day, seen.step, beliefs.sessions(seen))
        freed = beliefs.freed if due else set()
        plan = self._planner.again(rest, self._steps, self._latest, self.caps_kw[seen.step :], freed)
        beliefs.came = False
        if due:
            self._looked_min, beliefs.freed = seen.minute, set()
        if plan.result is not None:
            self._latest = plan
            self.caps_kw = np.concatenate([self.caps_kw[: seen.step], plan.caps_kw])
        self.planned_kva = np.concatenate([self.planned_kva[: seen.step], plan.planned_kva])
        self.decision = _decision(plan, time.perf_counter() - began)
        self.replans.append(Replan(seen.minute, plan, self.decision))


def _decision(plan: HorizonPlan, wall_s: float) -> Decision:
    result = plan.result
    if result is None:
        return Decision(
            status="kept",
            objective=plan.withheld_kwh,
            fallback=plan.fallback,
            reproducible=plan.reproducible,
            wall_s=wall_s,
        )
    return Decision(
        status=result.status,
        objective=result.objective,
        bound=result.bound,
        gap=result.gap,
        fallback=plan.fallback,
        reproducible=plan.reproducible,
        wall_s=wall_s,
    )
