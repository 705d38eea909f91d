"""Multi-objective dispatch of cars and roofs: a front for every control period, one point of it as setpoints."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np

from controllers.pareto.choice import RULES, choice_faults
from controllers.pareto.front import Front, search
from controllers.pareto.objectives import OBJECTIVES
from controllers.pareto.outlook import Outlook, look_ahead
from controllers.pareto.problem import DispatchProblem, Surroundings, limits_for_customers
from controllers.pareto.start import remembered
from cosim.contract import Decision, Feeder, Float, Forecast, Observation, Predictor, Setpoints
from cosim.errors import Fault, InputError

_FEWEST = 8


class Pareto:
    """Trade unbalance against PV curtailment with NSGA-II on a predictor, and keep the whole front.

    At every control step it limits the cars that would charge and the roofs in the sun, on what the forecast and the
    last observation say about the period. Cars still receive their energy by departure, and inside the hours that
    their households chose. Nothing is evaluated when nothing can move.

    Parameters
    ----------
    feeder : Feeder
        The place.
    predictor : Predictor
        Power flow for batches of candidates that watches the feeder's monitored branches and those with a limit.
    objectives : sequence of str
        Names in ``controllers.pareto.objectives.OBJECTIVES``.
    weights : sequence of float, shape (objective,)
        Importance in the choice of the point; they sum to 1. Unless told otherwise curtailment weighs four times as
        much as unbalance, because most of the gain comes from moving cars, which costs nobody anything.
    rule : str
        ``asf``, ``pseudo_weights`` or ``knee``.
    population, generations : int
        Size of NSGA-II, and the most generations; it stops earlier when the front stops growing.
    control_min : float
        Time to the second decision; from then on the time since the last one is taken [min].
    seed : int
        Of every random draw.

    Raises
    ------
    InputError
        With every option that is unknown or out of range, and where the feeder has no branch to watch.
    """

    every_step = False

    def __init__(
        self,
        feeder: Feeder,
        predictor: Predictor,
        *,
        objectives: Sequence[str] = ("unbalance_current", "pv_curtailment"),
        weights: Sequence[float] = (0.2, 0.8),
        rule: str = "asf",
        population: int = 80,
        generations: int = 80,
        control_min: float = 15.0,
        seed: int = 0,
    ) -> None:
        faults = [*choice_faults(rule, weights, objectives), *_faults(objectives, population, generations, control_min)]
        if faults:
            raise InputError(faults)
        self._around = Surroundings.of(feeder, predictor, tuple(objectives))
        self._customers = len(feeder.customers)
        self._weights, self._choose = np.array(weights, dtype=float), RULES[rule]
        self._population, self._generations = population, generations
        self._control_min, self._seed = control_min, seed
        self._forecast: Forecast | None = None
        self._forget()

    def plan(self, forecast: Forecast) -> None:
        """Take note of the forecast and begin anew: the same seed gives the same run."""
        self._forecast = forecast
        self._forget()

    def decide(self, observation: Observation) -> Setpoints:
        """Search the front of the coming period and take one point of it."""
        began = time.perf_counter()
        outlook = self._look_ahead(observation)
        problem = DispatchProblem(self._around, outlook)
        if not problem.n_var:
            self._remember(outlook, np.empty(0))
            return self._setpoints(Decision(status="idle", wall_s=time.perf_counter() - began))
        last = remembered(problem, self._ev_share, self._pv_share)
        front = search(problem, last, self._population, self._generations, self._rng)
        chosen = self._choose(front.values, self._weights)
        self._remember(outlook, front.x[chosen])
        limits = limits_for_customers(problem, front.x[chosen], self._customers)
        return self._setpoints(self._decision(front, chosen, time.perf_counter() - began), *limits)

    def _forget(self) -> None:
        self._rng = np.random.default_rng(self._seed)
        self._ev_share: dict[int, float] = {}
        self._pv_share: dict[int, float] = {}
        self._at_once = np.zeros(self._customers, dtype=bool)
        self._last_step: int | None = None

    def _look_ahead(self, observation: Observation) -> Outlook:
        if self._forecast is None:
            raise RuntimeError("decide() before plan(): pareto needs the forecast")
        if self._last_step is None:
            steps = max(round(self._control_min / observation.step_min), 1)
        else:
            steps = max(observation.step - self._last_step, 1)
        self._last_step = observation.step
        outlook = look_ahead(observation, self._forecast.expected, steps, self._at_once)
        self._at_once = outlook.at_once
        return outlook

    def _remember(self, outlook: Outlook, x: Float) -> None:
        cars = len(outlook.cars)
        self._ev_share = dict(zip(outlook.cars.customer.tolist(), x[:cars].tolist(), strict=True))
        self._pv_share = dict(zip(outlook.roofs.tolist(), x[cars:].tolist(), strict=True))

    def _decision(self, front: Front, chosen: int, wall_s: float) -> Decision:
        return Decision(
            status="heuristic",  # NSGA-II proves nothing: no bound, no gap
            fallback="" if front.feasible else "no candidate keeps all limits: least violation taken",
            wall_s=wall_s,
            front=front.values,
            front_names=self._around.objectives,
            chosen=chosen,
        )

    def _setpoints(
        self, decision: Decision, ev_limit_kw: Float | None = None, pv_limit_kw: Float | None = None
    ) -> Setpoints:
        free = np.full(self._customers, np.inf)
        return Setpoints(
            import_cap_kw=free,
            ev_limit_kw=free if ev_limit_kw is None else ev_limit_kw,
            pv_limit_kw=free if pv_limit_kw is None else pv_limit_kw,
            decision=decision,
        )


def _faults(objectives: Sequence[str], population: int, generations: int, control_min: float) -> Iterator[Fault]:
    where = "controller 'pareto'"
    unknown = [name for name in objectives if name not in OBJECTIVES]
    if unknown or not objectives:
        problem = f"unknown: {', '.join(unknown)}" if unknown else "is empty"
        yield Fault(where, "objectives", problem, f"use some of {', '.join(OBJECTIVES)}")
    for key, value, least in (("population", population, _FEWEST), ("generations", generations, 1)):
        if value < least:
            yield Fault(where, key, f"is {value}", f"give at least {least}")
    if not control_min > 0.0:
        yield Fault(where, "control_min", f"is {control_min}", "give a time in minutes")
