"""Multi-objective dispatch of cars and roofs: a front for every control period, one point of it as setpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import numpy as np

from cosim.contract import (
    Artifact,
    BaseController,
    Decision,
    Exogenous,
    Feeder,
    Float,
    Forecast,
    Int,
    Observation,
    Predictor,
    Setpoints,
)
from cosim.contract.signals import Bool
from cosim.controllers.pareto.certificate import Decided, front_tables
from cosim.controllers.pareto.choice import default_weights
from cosim.controllers.pareto.decide import Manner, Method, decide, method_for
from cosim.controllers.pareto.dispatch import LoopSpace
from cosim.controllers.pareto.faults import day_faults, option_faults
from cosim.controllers.pareto.objectives import DEFAULT
from cosim.controllers.pareto.outlook import Outlook, look_ahead
from cosim.controllers.pareto.surroundings import Surroundings, watch_faults
from cosim.errors import Fault, refuse


class Pareto(BaseController):
    """Trade objectives such as unbalance and curtailment within limits that hold at every step; keep the front.

    At every control step it limits the cars that would charge and the roofs in the sun, on what the forecast and the
    last observation say about each step of the period. Cars still receive their energy by departure, and inside the
    hours that their households chose. Nothing is evaluated when nothing can move. Without other wishes it curtails what
    the limits need and no more, and lets unbalance decide the rest.

    Parameters
    ----------
    feeder : Feeder
        The place.
    predictor : Predictor
        Power flow for batches of candidates that watches the feeder's monitored branches and those with a limit.
    objectives : sequence of str
        Two or three of ``unbalance_current``, ``pv_curtailment``, ``squared_curtailment``, ``curtailment_fairness``,
        ``neutral_current``, ``peak_current``, ``losses``, ``voltage_deviation``, ``ramp``, ``cost``, ``ev_shortfall``,
        all convex on a linear network, and ``switchings``, ``pui``, ``vuf``, which are not; the first two of them where
        this is not given. One that the day has nothing for (roofs for ``pv_curtailment``, cars for ``ev_shortfall``) is
        refused.
    weights : sequence of float, optional, shape (objective,)
        Importance in the choice of the point; they sum to 1. Without them ``pv_curtailment`` weighs three times as much
        as any other.
    rule : str
        ``in_turn``: the objective of the heaviest weight first, then the next, each kept at its best; ``asf``: by
        weight, between the ends of the front; ``knee``: where more of one begins to cost much of the other.
    method : str
        ``convex``: quadratic programmes on the linearised network, exact but for the chargers' 6 A minimum, which a
        small search restores; ``nsga2``: NSGA-II, of three objectives NSGA-III; ``auto``: the first where all
        objectives are convex. What it was stands in the status of every decision.
    then_peak : bool
        Whether ``convex`` prefers, among points that are as good up to 2 % of what they are without control, the one of
        least ``peak_current``: unbalance says nothing about how much is drawn on all phases together.
    population : int
        Of ``nsga2``: candidates of one generation.
    generations : int
        Of ``nsga2``: the most generations; the search stops earlier when the front stops growing.
    horizon_steps : int
        Control periods that are decided together; only the first is carried out.
    certificate : bool
        Whether fronts of convex objectives are judged by that of the relaxation without the 6 A minimum.
    certificate_seeds : bool
        Of ``nsga2``: whether exact points are among the first candidates (of objectives that are not convex those of
        unbalance against curtailment); ``false`` shows how far the search comes by itself.
    max_curtailment_percent : float
        Most of the sun of the horizon, by forecast, that any home is not let feed in; goes before voltage limits.
    max_total_curtailment_percent : float
        The same of all homes together; what is left of it is shared in proportion to their sun.
    max_ramp_kw : float
        Largest change of the net power of all homes from step to step; ``inf`` for no limit.
    max_starts : int
        Most times that charging begins in one stay of a car: after that it is not paused any more.
    voltage_limits_pu : (float, float), optional
        Lowest and highest voltage at every terminal of a customer, of nominal; ``[0.0, inf]`` for no limit. Without it
        the first band of the feeder's standard, kept at all times: 0.90 to 1.10 pu under EN 50160.
    loading_limit_percent : float
        Highest current of every phase of transformer, head line and monitored lines, of the rating; ``inf`` for no
        limit. Branches without a rating have none either.
    control_min : float
        Time to the second decision, from then on the time since the last one is taken; a scenario gives its own [min].
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
        rule: str = "in_turn",
        method: Method = "auto",
        then_peak: bool = True,
        population: int = 80,
        generations: int = 80,
        horizon_steps: int = 1,
        certificate: bool = True,
        certificate_seeds: bool = True,
        max_curtailment_percent: float = 100.0,
        max_total_curtailment_percent: float = 100.0,
        max_ramp_kw: float = float("inf"),
        max_starts: int = 3,
        voltage_limits_pu: Sequence[float] | None = None,
        loading_limit_percent: float = 100.0,
        control_min: float = 15.0,
        seed: int = 0,
    ) -> None:
        given = {
            "objectives": objectives, "weights": weights, "rule": rule, "method": method,
            "population": population, "generations": generations, "horizon_steps": horizon_steps,
            "control_min": control_min,
            "max_curtailment_percent": max_curtailment_percent, "max_ramp_kw": max_ramp_kw, "max_starts": max_starts,
            "max_total_curtailment_percent": max_total_curtailment_percent,
            "voltage_limits_pu": voltage_limits_pu, "loading_limit_percent": loading_limit_percent,
        }  # fmt: skip
        self._named = () if objectives is None else tuple(objectives)
        names = self._named or DEFAULT
        refuse([*option_faults(given), *watch_faults(feeder, names)])
        low_pu, high_pu = voltage_limits_pu or feeder.standard.limits_pu(feeder.nominal_voltage_v)
        limits_pu = (0.0, np.inf) if np.isnan(low_pu) else (float(low_pu), float(high_pu))
        self._around = Surroundings.of(
            feeder, predictor, names, voltage_limits_pu=limits_pu, loading_limit_percent=loading_limit_percent,
            max_ramp_kw=max_ramp_kw,
        )  # fmt: skip
        self._manner = Manner(
            method_for(method, names), tuple(default_weights(names) if weights is None else weights), rule,
            population, generations, then_peak, certificate_seeds, certificate,
        )  # fmt: skip
        self._customers, self._periods = len(feeder.customers), horizon_steps
        self._share, self._total_share = max_curtailment_percent / 100.0, max_total_curtailment_percent / 100.0
        self._max_starts, self._control_min, self._seed = max_starts, control_min, seed
        self._forecast: Forecast | None = None
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
        """Find the front of the coming period and take one point of it."""
        began = time.perf_counter()
        outlook = self._look_ahead(observation)
        self._starts[~observation.plugged] = 0
        space = LoopSpace(outlook, self._ran & (self._starts >= self._max_starts), self._least_kw(outlook))
        if not space.movable:
            self._note(outlook, space, space.high_kw)
            return self._setpoints(Decision(status="idle", wall_s=time.perf_counter() - began))
        found = decide(self._around, outlook.scene, space, self._manner, self._rng)
        self._note(outlook, space, found.kw)
        self._found[observation.step] = found
        wall_s = time.perf_counter() - began
        # the 6 A minimum and the network's curvature are outside the proof, so there is no bound, no gap
        decision = Decision(status=self._manner.method, fallback=found.fallback, wall_s=wall_s)
        return self._setpoints(decision, *space.limits_kw(found.kw))

    def artifacts(self) -> Mapping[str, Artifact]:
        """Every front with its chosen point, what fronts were judged by, and the verdicts."""
        return front_tables(self._around.objectives, self._found)

    def _forget(self) -> None:
        self._found: dict[int, Decided] = {}
        self._rng = np.random.default_rng(self._seed)
        self._at_once = np.zeros(self._customers, dtype=bool)
        self._history = np.zeros((2, self._customers))
        self._ran: Bool = np.zeros(self._customers, dtype=bool)
        self._starts: Int = np.zeros(self._customers, dtype=np.int64)
        self._last_step: int | None = None

    def _least_kw(self, outlook: Outlook) -> Float | None:
        """What roofs must be let feed in, so that what may be curtailed is not exceeded, shape (customer,)."""
        if self._forecast is None or min(self._share, self._total_share) >= 1.0:
            return None
        day, scene = self._forecast.expected, outlook.scene
        whole_kwh = day.pv_available_kw.sum(axis=0) * day.step_min / 60.0
        first = np.flatnonzero(scene.period == 0)
        sun_kw, hours = -np.sort(-scene.sun_kw[first], axis=0), scene.hours[first]
        offered_kwh = np.cumsum(hours[:, None] * sun_kw, axis=0)
        left_kwh = (self._share * whole_kwh - self._history[1]).clip(0.0)
        in_all_kwh = max(self._total_share * whole_kwh.sum() - self._history[1].sum(), 0.0)
        left_kwh = np.minimum(left_kwh, in_all_kwh * offered_kwh[-1] / max(offered_kwh[-1].sum(), 1e-9))
        # the sunniest steps are cut first
        return np.asarray(((offered_kwh - left_kwh) / np.cumsum(hours)[:, None]).max(axis=0).clip(0.0))

    def _note(self, outlook: Outlook, space: LoopSpace, kw: Float) -> None:
        """Keep what later decisions need to know of this one."""
        scene, first = outlook.scene, outlook.scene.period == 0
        _, pv_kw = space.powers(kw[None, :])
        hours, sun_kw = scene.hours[: scene.steps][first], scene.sun_kw[: scene.steps][first]
        self._history[0] += hours @ sun_kw
        self._history[1] += hours @ (sun_kw - pv_kw[0, : scene.steps][first])
        runs = np.zeros(self._customers, dtype=bool)
        runs[space.customer[~space.roof & (space.period == 0) & (kw > 0.0)]] = True
        self._starts += runs & ~self._ran
        self._ran = runs

    def _look_ahead(self, observation: Observation) -> Outlook:
        if self._forecast is None:
            raise RuntimeError("decide() before plan(): pareto needs the forecast")
        if self._last_step is None:
            steps = max(round(self._control_min / observation.step_min), 1)
        else:
            steps = max(observation.step - self._last_step, 1)
        self._last_step = observation.step
        outlook = look_ahead(observation, self._forecast.expected, steps, self._at_once, self._periods, self._history)
        self._at_once = outlook.at_once
        return outlook

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
