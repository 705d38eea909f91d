"""Multi-objective dispatch of cars and roofs: a front for every control period, one point of it as setpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from cosim.contract import (
    Artifact,
    BaseController,
    Decision,
    Exogenous,
    Feeder,
    Float,
    Forecast,
    Observation,
    Predictor,
    Setpoints,
)
from cosim.controllers.pareto.artifacts import Found, front_tables
from cosim.controllers.pareto.certificate import Certificate, certify, long_reference
from cosim.controllers.pareto.choice import RULES, default_weights
from cosim.controllers.pareto.dispatch import NO_MEMORY, LoopSpace, Memory
from cosim.controllers.pareto.exact import ExactFront, applies, exact_front
from cosim.controllers.pareto.faults import day_faults, option_faults
from cosim.controllers.pareto.front import (
    LONG_PATIENCE,
    PATIENCE,
    Front,
    Start,
    evenest,
    search,
    worth_considering,
)
from cosim.controllers.pareto.objectives import CONVEX_PAIR
from cosim.controllers.pareto.outlook import Outlook, look_ahead
from cosim.controllers.pareto.problem import DispatchProblem
from cosim.controllers.pareto.start import first_candidates, within_reach
from cosim.controllers.pareto.surroundings import LOADING_LIMIT_PERCENT, Surroundings, watch_faults
from cosim.errors import Fault, refuse


class Pareto(BaseController):
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
        Two or three of ``unbalance_current``, ``pv_curtailment``, ``neutral_current``, ``pui``, ``vuf``,
        ``voltage_deviation``, ``losses``, ``ev_shortfall``, ``cost``; the first two of them where this is not given.
        One that the day has nothing for (roofs for ``pv_curtailment``, cars for ``ev_shortfall``) is refused.
    weights : sequence of float, optional, shape (objective,)
        Importance in the choice of the point; they sum to 1. Without them, curtailment weighs three times as much as
        unbalance; other objectives weigh the same.
    rule : str
        ``asf``, ``pseudo_weights``, ``knee``, ``trade_off`` or ``hypervolume``.
    algorithm : str
        ``nsga2``, ``nsga3`` or ``auto``: the second for three objectives.
    population : int
        Candidates of one generation.
    generations : int
        The most generations; the search stops earlier when the front stops growing.
    horizon_steps : int
        Control periods that are decided together; only the first is carried out.
    certificate : str
        How the front is judged: ``qp`` (the exact front of the linearised network, for ``unbalance_current`` with
        ``pv_curtailment``), ``long`` (ten times the generations but at most 300, three seeds: 5 s and more of CPU for
        every decision judged, so give ``certificate_every``), ``off``, or ``auto``: ``qp`` where it applies.
    certificate_every : int
        Only every so many decisions are judged.
    certificate_seeds : bool
        Whether the exact front is also where the search begins, while roofs are in the sun. It then judges a search
        that knew it, and the share of its hypervolume says how much of it was kept; ``false`` shows how far the search
        comes by itself.
    voltage_limits_pu : (float, float), optional
        Lowest and highest voltage at every terminal of a customer, of nominal; ``[0.0, inf]`` for no limit. Without it
        the first band of the feeder's standard, kept at all times: 0.90 to 1.10 pu under EN 50160.
    loading_limit_percent : float
        Highest current of every phase of transformer, head line, monitored and named lines, of the rating; ``inf`` for
        no limit. Branches without a rating have none either.
    lines : sequence of str, optional
        Lines and transformers whose currents the objectives watch and the loading limit holds; the feeder's monitored
        ones without.
    buses : sequence of str, optional
        Buses whose unbalance the objectives watch; the customers' without.
    control_min : float
        Time to the second decision; from then on the time since the last one is taken [min].
    seed : int
        Of every random draw.

    Raises
    ------
    InputError
        With every option that is unknown or out of range, every line or bus that does not exist, and where the feeder
        has no branch to watch.
    """

    option_faults = staticmethod(option_faults)

    one_tariff = True
    even_charging = True

    def __init__(
        self,
        feeder: Feeder,
        predictor: Predictor,
        *,
        objectives: Sequence[str] | None = None,
        weights: Sequence[float] | None = None,
        rule: str = "asf",
        algorithm: Literal["auto", "nsga2", "nsga3"] = "auto",
        population: int = 80,
        generations: int = 80,
        horizon_steps: int = 1,
        certificate: Literal["auto", "off", "qp", "long"] = "auto",
        certificate_every: int = 1,
        certificate_seeds: bool = True,
        voltage_limits_pu: Sequence[float] | None = None,
        loading_limit_percent: float | None = LOADING_LIMIT_PERCENT,
        lines: Sequence[str] | None = None,
        buses: Sequence[str] | None = None,
        control_min: float = 15.0,
        seed: int = 0,
    ) -> None:
        given = {
            "objectives": objectives, "weights": weights, "rule": rule, "population": population,
            "generations": generations, "horizon_steps": horizon_steps, "certificate": certificate,
            "certificate_every": certificate_every, "control_min": control_min,
            "voltage_limits_pu": voltage_limits_pu, "loading_limit_percent": loading_limit_percent,
        }  # fmt: skip
        self._named = () if objectives is None else tuple(objectives)
        names = self._named or CONVEX_PAIR
        faults = [*option_faults(given), *watch_faults(feeder, names, lines, buses)]
        refuse(faults)
        lower_pu, upper_pu = voltage_limits_pu or feeder.standard.limits_pu(feeder.nominal_voltage_v)
        limits_pu = None if np.isnan(lower_pu) else (float(lower_pu), float(upper_pu))
        self._around = Surroundings.of(feeder, predictor, names, lines, buses, limits_pu, loading_limit_percent)
        self._seeds = certificate_seeds
        self._customers = len(feeder.customers)
        self._weights = np.array(default_weights(names) if weights is None else weights, dtype=float)
        self._choose, self._algorithm = RULES[rule], algorithm
        self._population, self._generations, self._periods = population, generations, horizon_steps
        self._certificate, self._certificate_every = certificate, certificate_every
        self._control_min, self._seed = control_min, seed
        self._forecast: Forecast | None = None
        self._memory: Memory = NO_MEMORY
        self._forget()

    def check(self, feeder: Feeder, day: Exogenous) -> list[Fault]:  # noqa: ARG002 - the constructor saw the feeder
        """Objectives named in the options that have nothing to act on in a day: no roofs, no cars."""
        return day_faults(self._named, day)

    def plan(self, forecast: Forecast) -> None:
        """Take note of the forecast and begin anew: the same seed gives the same run.

        Raises
        ------
        InputError
            Where an objective needs roofs or cars and the day has none.
        """
        refuse(day_faults(self._named, forecast.expected))
        self._forecast = forecast
        self._forget()

    def decide(self, observation: Observation) -> Setpoints:
        """Search the front of the coming period and take one point of it."""
        began = time.perf_counter()
        outlook = self._look_ahead(observation)
        space = LoopSpace(outlook)
        if not space.movable:
            self._memory = NO_MEMORY
            return self._setpoints(Decision(status="idle", wall_s=time.perf_counter() - began))
        problem = DispatchProblem(self._around, outlook.scene, space)
        last = space.recall(self._memory)
        pool = first_candidates(space, self._around.phase_share, last, self._population, self._rng)
        seeded = self._seeds and applies(self._around.objectives)
        start = Start.of(problem, pool) if seeded else within_reach(problem, pool)
        exact = self._exact(problem, start)
        if seeded and exact is not None and len(outlook.roofs):
            start = start.joined_by(problem, space.encode(exact.kw))
        patience = PATIENCE if seeded else LONG_PATIENCE
        front = search(problem, start, self._population, self._generations, self._rng, self._algorithm, patience)
        worth = worth_considering(front.values, front.scale)
        chosen = int(worth[self._choose(front.values[worth], self._weights)])
        front, chosen = evenest(front, chosen, space)
        self._memory = space.remember(front.x[chosen])
        limits = space.limits_kw(front.x[chosen], self._customers)
        wall_s = time.perf_counter() - began
        verdict = self._judge(problem, start, front, chosen, exact)
        self._found.append(Found(observation.step, front, chosen, verdict))
        return self._setpoints(self._decision(front, wall_s), *limits)

    def artifacts(self) -> Mapping[str, Artifact]:
        """Every front with its chosen point, what fronts were judged by, and the verdicts."""
        return front_tables(self._around.objectives, self._found)

    def _forget(self) -> None:
        self._found: list[Found] = []
        self._rng = np.random.default_rng(self._seed)
        self._memory = NO_MEMORY
        self._at_once = np.zeros(self._customers, dtype=bool)
        self._last_step: int | None = None
        self._decided = 0

    def _look_ahead(self, observation: Observation) -> Outlook:
        if self._forecast is None:
            raise RuntimeError("decide() before plan(): pareto needs the forecast")
        if self._last_step is None:
            steps = max(round(self._control_min / observation.step_min), 1)
        else:
            steps = max(observation.step - self._last_step, 1)
        self._last_step = observation.step
        outlook = look_ahead(observation, self._forecast.expected, steps, self._at_once, self._periods)
        self._at_once = outlook.at_once
        return outlook

    def _exact(self, problem: DispatchProblem, start: Start) -> ExactFront | None:
        """Exact front of the convex pair: where the search begins, and what it is judged by."""
        wanted = self._seeds or self._certificate in ("auto", "qp")
        there = wanted and applies(self._around.objectives)
        return exact_front(problem, start.scale, self._population) if there else None

    def _judge(
        self, problem: DispatchProblem, start: Start, front: Front, chosen: int, exact: ExactFront | None
    ) -> Certificate | None:
        """Judge a front, with draws of its own: being judged changes no decision."""
        self._decided += 1
        if self._certificate == "off" or (self._decided - 1) % self._certificate_every:
            return None
        if self._certificate == "long":
            rng = np.random.default_rng([self._seed, self._decided])
            found = long_reference(problem, start, front, self._population, self._generations, rng, self._algorithm)
            return certify(problem, front, chosen, found)
        return None if exact is None else certify(problem, front, chosen, exact)

    def _decision(self, front: Front, wall_s: float) -> Decision:
        fallback = ""
        if not front.feasible:
            fallback = "no candidate keeps all limits: least violation taken"
        elif front.relaxed:
            fallback = f"no candidate keeps the limit of {', '.join(front.relaxed)}: least violation taken"
        # an evolutionary search proves nothing: no bound, no gap
        return Decision(status="heuristic", fallback=fallback, wall_s=wall_s)

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
