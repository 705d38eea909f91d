"""Caps while the day runs: published in advance, looked at again at the beginning of slots with what has happened.

A slot that has begun keeps its caps, and so do all slots of phases where the caps published still keep every limit and
serve every need, seen from now. So nothing is solved on a day that goes as forecast.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosim.contract import Decision, EvSessions, Exogenous, Float, Observation
from cosim.controllers.caps.export.plan import ExportCaps, ExportPlan
from cosim.controllers.caps.horizon import HorizonPlan
from cosim.controllers.caps.study import Planner, Study
from cosim.controllers.nowcast import rest_of_day

FREED_KWH = 2.0  # a need that is smaller by less than this is as forecast


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
        All later looks. They concern import: export caps stand, as roofs do not come and go.
    export : ExportCaps or None
        Where export is capped.
    """

    def __init__(self, planner: Planner, day: Exogenous, steps: int, replan_min: float) -> None:
        began = time.perf_counter()
        self._planner, self._day, self._steps, self._replan_min = planner, day, steps, replan_min
        self.day_ahead = self._latest = planner.plan(day, steps)
        self.caps_kw, self.planned_kva = self.day_ahead.caps_kw, self.day_ahead.planned_kva
        self.export: ExportCaps | None = None
        if planner.manner.export:
            ev_kw = Study(planner, planner.manner, day, steps).response(self.caps_kw)
            self.export = ExportCaps(planner.feeder, planner.elements, day, ev_kw, planner.manner)
        self.decision = self._decision(self.day_ahead, time.perf_counter() - began)
        self.replans: list[Replan] = []
        self._looked_min = 0.0
        homes = len(planner.feeder.customers)
        self._departure_min = np.full(homes, np.nan)  # of the car that was there when last looked; nan without one
        self._awaited_kwh = np.bincount(day.sessions.customer, day.sessions.energy_need_kwh, homes)
        self._came = False
        self._freed: set[int] = set()

    def fallback_kw(self, step: int) -> Float | None:
        """What homes without communication keep, shape (2, home), where caps hold whatever homes do; else None [kW].

        The smallest cap of the day holds in every slot, and is never below what no cap can move: who draws that and
        no more stays within the cap of that slot too.
        """
        if self.day_ahead.coordination != "sum_of_caps":
            return None
        unmoved_kw = self.day_ahead.problem.inflexible_kw[step // self._steps]
        caps_kw = np.maximum(self.caps_kw.min(axis=0), unmoved_kw)
        return np.stack([caps_kw, np.full_like(caps_kw, np.inf)])

    def learn(self, seen: Observation) -> None:
        """Take note of an observation; look at the rest of the day again where it is time, or a car came otherwise."""
        if self._replan_min <= 0 or seen.step >= self._day.steps:
            return
        rest = rest_of_day(self._day, seen)
        self._compare(seen, rest.sessions)
        if not seen.step or seen.step % self._steps:  # slots that have begun stay as published
            return
        # minutes are sums of float steps
        due = seen.minute - self._looked_min >= self._replan_min - 1e-9
        if due or self._came:
            self._look_again(seen, rest, due=due)

    def _compare(self, seen: Observation, cars: EvSessions) -> None:
        """Note that a car came, and homes that need less than was expected: of the one that came, or as none comes."""
        # another departure is another stay, though the home was never seen without a car; nan equals nothing
        new = seen.plugged & ~np.isclose(seen.departure_min, self._departure_min)
        coming = cars[~seen.plugged[cars.customer] | (cars.arrival_min > 0.0)]
        awaited_kwh = np.bincount(coming.customer, coming.energy_need_kwh, len(new))
        freed_kwh = self._awaited_kwh - awaited_kwh - np.where(new, seen.energy_left_kwh, 0.0)
        self._came |= bool(new.any())
        self._freed.update(np.flatnonzero(freed_kwh > FREED_KWH).tolist())
        self._departure_min, self._awaited_kwh = seen.departure_min, awaited_kwh

    def _look_again(self, seen: Observation, rest: Exogenous, *, due: bool) -> None:
        began = time.perf_counter()
        freed = self._freed if due else set()
        plan = self._planner.again(rest, self._steps, self._latest, self.caps_kw[seen.step :], freed)
        self._came = False
        if due:
            self._looked_min, self._freed = seen.minute, set()
        if plan.result is not None:
            self._latest = plan
            self.caps_kw = np.concatenate([self.caps_kw[: seen.step], plan.caps_kw])
        self.planned_kva = np.concatenate([self.planned_kva[: seen.step], plan.planned_kva])
        self.decision = self._decision(plan, time.perf_counter() - began)
        self.replans.append(Replan(seen.minute, plan, self.decision))

    def _decision(self, plan: HorizonPlan, wall_s: float) -> Decision:
        of: dict[str, Any] = {"status": "kept", "objective": plan.withheld_kwh}
        if plan.result is not None:
            of = {key: getattr(plan.result, key) for key in ("objective", "bound", "gap")} | {"status": plan.status}
        unkept = [] if self.export is None else self.export.unkept
        fallback = "; ".join([*filter(None, [plan.fallback]), *unkept])
        return Decision(**of, fallback=fallback, reproducible=plan.reproducible, wall_s=wall_s)


@dataclass(frozen=True, eq=False)
class CapsRecord:
    """Caps of a run; plain data, without the predictor that made them.

    Attributes
    ----------
    day_ahead : HorizonPlan
        The first plan: problem, result, and what the power flow says of it.
    replans : tuple of Replan
        All later looks at the rest of the day.
    export : ExportPlan or None
        Where export was capped: of the day ahead.
    corrected_steps : int
        Steps whose export caps were planned anew with what meters told.
    """

    day_ahead: HorizonPlan
    replans: tuple[Replan, ...]
    export: ExportPlan | None
    corrected_steps: int

    @classmethod
    def of(cls, running: RunningPlan) -> CapsRecord:
        """Record a plan as it stands."""
        export, replans = running.export, tuple(running.replans)
        if export is None:
            return cls(running.day_ahead, replans, None, 0)
        return cls(running.day_ahead, replans, export.plan, export.corrected_steps)
