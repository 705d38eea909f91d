"""The best plan of a day as a controller: it knows everything, and so says how far the others are from it."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from cosim.contract import (
    Artifact,
    BaseController,
    Decision,
    Exogenous,
    Feeder,
    Forecast,
    Observation,
    Predictor,
    Setpoints,
)
from cosim.controllers.optimum.day import Cars, Day, faults
from cosim.controllers.optimum.objective import Name
from cosim.controllers.optimum.solve import Answer, Budgets, find
from cosim.errors import Fault, InputError, refuse

_SMALL_KW = 1e-6


class Optimum(BaseController):
    """Plan the whole day at once with perfect knowledge of it, for one objective within all limits of every step.

    Cars, roofs and batteries are set at every step; chargers pause or draw at least 6 A. What it reaches is attainable,
    by who knows the day; with ``bound`` it also proves what nobody could fall below.

    Parameters
    ----------
    feeder : Feeder
        The place.
    predictor : Predictor
        Its power flow.
    objective : str
        ``curtailment`` of PV [kWh]; ``cost``, the bills of all homes [EUR]; ``unbalance``, the mean of the squares of
        negative- and zero-sequence currents at the monitored branches [A²]; ``losses`` [kWh]; ``peak``, the highest
        current of a phase at the transformer, of its rating [%].
    cars : str
        ``free``: they may charge whenever they are there; ``neutral``: no household pays more for its car than with the
        cheapest hours first; ``uncontrolled``: cheapest hours first, and only roofs and batteries are set.
    curtailment_kwh : float, optional
        Most that ``unbalance``, ``losses`` and ``peak`` may curtail; 2 % above the least where not given [kWh].
    bill_eur : float, optional
        Most that they may cost all homes together; 2 % above the least where not given [EUR].
    bound : bool
        Whether a lower bound is proven too, which takes most of the time.

    Raises
    ------
    InputError
        Where it is told anything but the truth, or the day has chargers on one phase of homes with several.
    """

    every_step = True
    even_charging = True
    knows_the_day = True

    def __init__(
        self,
        feeder: Feeder,
        predictor: Predictor,
        *,
        objective: Name = "curtailment",
        cars: Cars = "free",
        curtailment_kwh: float | None = None,
        bill_eur: float | None = None,
        bound: bool = False,
    ) -> None:
        if curtailment_kwh is not None and curtailment_kwh < 0.0:
            refuse([Fault("controller 'optimum'", "curtailment_kwh", f"is {curtailment_kwh:g}", "give 0 or more")])
        self._feeder, self._predictor = feeder, predictor
        self._objective, self._cars, self._bound = objective, cars, bound
        self._budgets = Budgets(curtailment_kwh, bill_eur)
        self._answer: Answer | None = None

    def check(self, feeder: Feeder, day: Exogenous) -> list[Fault]:  # noqa: ARG002 - the protocol's signature
        """Chargers and sources that it does not know, and an objective that the place has not."""
        return faults(feeder, self._objective)

    def plan(self, forecast: Forecast) -> None:
        """Plan the day.

        Raises
        ------
        InputError
            Where the forecast is not the truth.
        """
        if forecast.kind != "oracle":
            remedy = 'set forecast = "oracle" in this run'
            problem = f"is '{forecast.kind}': an optimum knows the day"
            refuse([Fault("controller 'optimum'", "forecast.kind", problem, remedy)])
        refuse(faults(self._feeder, self._objective))
        began = time.perf_counter()
        day = Day(self._feeder, forecast.expected, self._predictor, self._cars)
        self._answer = find(day, self._objective, self._budgets, bound=self._bound)
        self._wall_s = time.perf_counter() - began

    def decide(self, observation: Observation) -> Setpoints:
        """Hand out the step that begins."""
        answer, step = self._answer, observation.step
        if answer is None:
            raise InputError(Fault("controller 'optimum'", "plan", "was not called", "call plan(forecast) first"))
        day, plan, homes = answer.day, answer.plan, len(observation.demand_kw)
        share = day.session[1][step]
        ev_kw = np.divide(plan.ev_kw[step], share, out=np.zeros(homes), where=share > 0.0)
        # who needs less than 6 A to be full ends within the step
        ev_kw = np.where(ev_kw > _SMALL_KW, np.maximum(ev_kw, day.least_kw[step]), 0.0)
        is_cut = plan.cut_kw[step] > _SMALL_KW
        pv_kw = np.where(is_cut, day.sun_kw[step] - plan.cut_kw[step], np.inf)
        channels = {"battery_target_kw": plan.battery_kw[step]} if day.battery is not None else {}
        bound, value = answer.bound, answer.best.score
        proven = float("nan") if bound is None else bound.value
        decision = Decision(
            status="feasible", objective=value, bound=proven, gap=answer.gap, wall_s=self._wall_s if step == 0 else 0.0
        )
        free = np.full(homes, np.inf)
        return Setpoints(
            free, ev_kw, pv_kw, ev_at_once=np.ones(homes, bool), channels=channels, decision=decision
        )  # fmt: skip

    @property
    def answer(self) -> Answer | None:
        """What was found; None before a day was planned."""
        return self._answer

    def artifacts(self) -> Mapping[str, Artifact]:
        """What was found, as plain data."""
        return {} if self._answer is None else {"optimum": self._answer.facts()}
