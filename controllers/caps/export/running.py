"""Export caps while the day runs: planned once, the day ahead, and applied by what the meters report.

Import is planned first. What cars are then expected to draw is known, own sun included, so export caps follow from one
linear programme a step. Doing the two in turn loses little: export caps never raise what a home imports, and a car
that charges by day only leaves more room to its neighbours' roofs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Decision, Exogenous, Feeder, Float, Observation, Predictor
from cosim.controllers.caps.export.network import ExportPlan, Verified, export_problem
from cosim.controllers.caps.export.solve import option_faults, solve_export
from cosim.controllers.caps.horizon import Planner
from cosim.controllers.caps.network import Elements
from cosim.controllers.caps.receding import RunningPlan
from cosim.controllers.caps.study import Manner, Study
from cosim.controllers.nowcast import rest_of_day
from cosim.errors import Fault

LOWEST_PU = 0.9  # of no matter here: export does not lower voltages
AS_FORECAST_KW = 0.05  # a home whose net load differs by less is as forecast


@dataclass(frozen=True)
class ExportManner:
    """How export is planned.

    Attributes
    ----------
    objective : str
        Of `solve_export`.
    voltage_max_pu : float
        Highest voltage permitted at a customer, where a predictor is given.
    rounds : int
        Most solves of one plan.
    """

    objective: str = "max_min"
    voltage_max_pu: float = 1.10
    rounds: int = 6


def export_faults(manner: ExportManner, coordination: str) -> Iterator[Fault]:
    """Yield what is wrong with a manner, and what does not go with the coordination."""
    yield from option_faults(manner.objective, coordination)


class ExportCaps:
    """The export caps of a day.

    Parameters
    ----------
    feeder : Feeder
        The place.
    predictor : Predictor or None
        The power flow; without one only the phases of the transformer and the head line are kept.
    day : Exogenous
        As forecast.
    ev_kw : ndarray, shape (step, home)
        What cars are expected to draw [kW].
    import_manner : Manner
        For ratings, margin and coordination.
    manner : ExportManner
        How export is planned.

    Attributes
    ----------
    plan : ExportPlan
        The caps and their proof.
    wall_s : float
        Wall clock of the plan [s].
    corrected_steps : int
        Steps that were planned anew with what meters told.
    """

    def __init__(
        self,
        feeder: Feeder,
        predictor: Predictor | None,
        day: Exogenous,
        ev_kw: Float,
        import_manner: Manner,
        manner: ExportManner,
    ) -> None:
        began = time.perf_counter()
        coordination = import_manner.options.coordination
        counted_kw = ev_kw if coordination == "anticipated" else None
        self._feeder, self._import, self._manner = feeder, import_manner, manner
        whole = predictor is not None and import_manner.whole_network
        self._elements = Elements(feeder, predictor, LOWEST_PU) if predictor is not None and whole else None
        self._day, self._ev_kw = day, ev_kw
        self.plan = self._planned(day, counted_kw)
        self._caps_kw = self.plan.caps_kw
        self.corrected_steps = 0
        self.wall_s = time.perf_counter() - began

    def _planned(self, day: Exogenous, ev_kw: Float | None) -> ExportPlan:
        objective, coordination = self._manner.objective, self._import.options.coordination
        problem = export_problem(self._feeder, day, ev_kw, self._import.limit_a, self._import.margin)
        if self._elements is None:
            return ExportPlan(problem, solve_export(problem, objective, coordination), (), ())
        highest_pu, margin = self._manner.voltage_max_pu, self._import.margin
        verified = Verified(self._elements, day, highest_pu, margin, self._manner.rounds)
        return verified.plan(problem, objective, coordination)

    def pv_limit_kw(self, seen: Observation) -> Float:
        """Largest feed-in of each roof: its cap, and its own load on top [kW].

        The load is the one that meters saw last, moved by how it is forecast to change. Where they tell another load or
        another sun than was forecast, the step that begins is planned anew (what was off is taken to stay off), and a
        load that is expected to grow is not counted on before it is seen.
        """
        step = min(seen.step, self._day.steps - 1)
        now, ev_kw, off_kw = self._as_seen(seen, step)
        cap_kw, load_kw = self._caps_kw[step], (now.inflexible_load_kw + ev_kw)[0]
        if off_kw > AS_FORECAST_KW:
            load_kw = np.minimum(load_kw, seen.inflexible_load_kw + seen.ev_kw)
        if off_kw > AS_FORECAST_KW and (now.pv_available_kw > now.inflexible_load_kw).any():
            anticipated = self._import.options.coordination == "anticipated"
            cap_kw = self._planned(now, ev_kw if anticipated else None).caps_kw[0]
            self.corrected_steps += 1
        limit_kw: Float = np.maximum(load_kw + cap_kw, 0.0)
        return limit_kw

    def _as_seen(self, seen: Observation, step: int) -> tuple[Exogenous, Float, float]:
        """Return the step that begins as a day of its own, with its charging, and how far the last was off [kW]."""
        day, last = rest_of_day(self._day, seen).first(1), max(step - 1, 0)
        was = {
            "demand_kw": seen.demand_kw - self._day.demand_kw[last],
            "demand_kvar": seen.demand_kvar - self._day.demand_kvar[last],
            "pv_available_kw": seen.pv_available_kw - self._day.pv_available_kw[last],
        }
        if self._day.devices_kw is not None:
            was["devices_kw"] = seen.devices_kw - self._day.devices_kw[last]
        ev_off_kw = seen.ev_kw - self._ev_kw[last]
        changed = {key: getattr(day, key) + off for key, off in was.items()}
        for key in ("demand_kw", "pv_available_kw"):
            changed[key] = np.maximum(changed[key], 0.0)
        ev_kw = np.maximum(self._ev_kw[[step]] + ev_off_kw, 0.0)
        off_kw = np.abs(seen.inflexible_kw - self._day.inflexible_kw[last] + ev_off_kw).max(initial=0.0)
        return replace(day, **changed), ev_kw, float(off_kw)

    def joined(self, decision: Decision) -> Decision:
        """Add what could not be kept to the decision on import."""
        verified = self.plan.verified
        notes = [str(relaxation) for relaxation in self.plan.result.relaxations]
        if verified is not None and not verified.clean:
            notes.append(f"export leaves {verified.words}")
        return replace(decision, fallback="; ".join([*filter(None, [decision.fallback]), *notes]))


class RunningBothWays(RunningPlan):
    """The plan of a day, kept up to date, with export caps beside its import caps.

    Parameters
    ----------
    planner, day, steps, replan_min
        As of `RunningPlan`. Later looks concern import: export caps stand, as roofs do not come and go.
    manner : ExportManner
        How export is planned.

    Attributes
    ----------
    export : ExportCaps
        The export caps.
    """

    def __init__(self, planner: Planner, day: Exogenous, steps: int, replan_min: float, manner: ExportManner) -> None:
        super().__init__(planner, day, steps, replan_min)
        study = Study(planner.feeder, None, None, planner.manner, planner.seed, day, steps)
        ev_kw = study.response(self.caps_kw)
        self.export = ExportCaps(planner.feeder, planner.predictor, day, ev_kw, planner.manner, manner)
        self.decision = replace(self.export.joined(self.decision), wall_s=self.decision.wall_s + self.export.wall_s)

    def learn(self, seen: Observation) -> None:
        """Take note of an observation, and keep on saying what export caps cannot keep."""
        before = self.decision
        super().learn(seen)
        if self.decision is not before:
            self.decision = self.export.joined(self.decision)
