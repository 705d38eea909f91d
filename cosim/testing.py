"""Whether a controller keeps the rules of the loop: ``check_controller(MyController)`` in a test of your own."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache
from typing import Any

import numpy as np

from cosim import controllers, feeders, plugins
from cosim.artifacts import artifacts_of
from cosim.contract import (
    Controller,
    EvSessions,
    Exogenous,
    Feeder,
    Float,
    Forecast,
    Observation,
    Setpoints,
    TransformerSpec,
)
from cosim.errors import CosimError, Fault, refuse
from cosim.guard import contents, setpoint_problems
from cosim.loop import run
from cosim.reduced import ReducedNetwork
from cosim.trajectory import Trajectory

STEPS, CONTROL_MIN = 48, 15.0
_NOT_COMPARED = ("decision",)  # how an answer was obtained
_OF_THE_GRID = ("voltage_v", "current_a", "transformer_current_a", "head_current_a", "limit_percent")


@dataclass(frozen=True, eq=False)
class Examination:
    """What was seen of a controller.

    Attributes
    ----------
    faults : tuple of Fault
        Every rule that it breaks, with an example; the rule is the key.
    trajectory : Trajectory
        The small day under it.
    answered : tuple of Setpoints
        What it answered there.
    decide_mean_s, decide_max_s : float
        Wall clock of one decision [s].
    """

    faults: tuple[Fault, ...]
    trajectory: Trajectory
    answered: tuple[Setpoints, ...]
    decide_mean_s: float
    decide_max_s: float


def check_controller(controller: str | type, **options: Any) -> None:
    """Check that a controller keeps the rules of the loop, on a day that is small and asks for action.

    It can be made by its options, returns limits that are possible, fails nowhere, changes nothing that it is shown,
    repeats itself byte by byte with the same seed, never sees the future, and leaves behind what can be written.

    Parameters
    ----------
    controller : str or type
        Name, target (``my_file.py:MyClass``) or class.
    **options
        Of the controller.

    Raises
    ------
    InputError
        With every rule that it breaks.
    """
    faults = examine(controller, **options).faults
    refuse(faults)


def examine(controller: str | type, **options: Any) -> Examination:
    """Run a controller through the checks and return what was seen; InputError where it cannot even be made."""
    feeder, day = small_place(), small_day()
    kind = controllers.find(controller)
    first = _Witness(make(controller, feeder, **options), kind)
    refuse(controllers.check(first.controller, feeder, day))
    trajectory = run(feeder, day, first, control_min=CONTROL_MIN)
    again = _Witness(make(controller, feeder, **options), kind)
    run(feeder, day, again, control_min=CONTROL_MIN)
    repeats = _repeats(first, again)
    faults = [*first.faults, *(repeats or _sees_the_future(controller, options, kind))]
    if (sees := getattr(kind, "sees", "grid")) != "grid" and not repeats:
        less = _Witness(make(controller, feeder, **options), kind, sees)
        run(feeder, day, less, control_min=CONTROL_MIN)
        problem = f"answers otherwise at step {{}} where it sees no more than it says (sees = '{sees}')"
        faults += _first_difference(first, less, STEPS, "sees", problem, "leave sees out")
    once = {(fault.key, re.sub(r"\d+", "#", fault.problem)): fault for fault in reversed(faults)}
    return Examination(
        tuple(reversed(once.values())), trajectory, tuple(first.answered), float(np.mean(first.took_s)),
        max(first.took_s),
    )  # fmt: skip


def make(controller: str | type, feeder: Feeder, *, seed: int = 3, **options: Any) -> Controller:
    """Make a controller, with a predictor of the feeder where it takes one; InputError as `controllers.make`."""
    predictor = ReducedNetwork(feeder) if controllers.needs_predictor(controller) else None
    return controllers.make(controller, feeder, predictor=predictor, seed=seed, **options)


@cache
def small_place() -> Feeder:
    """Three homes behind a machine that can feed one fast charger per phase, but not its home too; a high voltage."""
    return feeders.load("two_bus", source_pu=1.05, transformer=TransformerSpec(20.0, 4.0, 1.5))


@cache
def small_day() -> Exogenous:
    """Four hours: sun and a dear tariff first, then a cheap one that every car waits for."""
    rng = np.random.default_rng(5)
    hours, homes = np.arange(STEPS) / 12.0, len(small_place().customers)
    demand_kw = rng.uniform(0.5, 1.5, (STEPS, homes))
    sun_kw = np.clip(4.0 - 2.0 * hours, 0.0, None)[:, None] * rng.uniform(0.7, 1.0, (STEPS, homes))
    same = np.ones(3)
    return Exogenous(
        start=datetime(2026, 5, 15),
        step_min=5.0,
        demand_kw=demand_kw,
        demand_kvar=np.full((STEPS, homes), 0.2),
        pv_available_kw=sun_kw,
        inverter_kva=np.array([4.0, 3.0, 4.0]),
        sessions=EvSessions(
            np.arange(3), np.array([33.0, 5.0, 61.0]), np.array([235.0, 222.0, 240.0]), np.array([9.0, 7.0, 5.0]),
            np.array([7.4, 7.4, 3.7]), 0.9 * same, 60.0 * same, 10.0 * same,
        ),
        tariff_eur_per_kwh=np.where(hours < 2.0, 0.3, 0.15),
        ambient_c=np.full(STEPS, 20.0),
        source_pu=np.full(STEPS, np.nan),
    )  # fmt: skip


class _Witness:
    """Stands between loop and controller: keeps what passes, and lets the run go on whatever the controller does."""

    def __init__(self, controller: Controller, kind: type, sees: str = "grid") -> None:
        self.controller, self.kind, self.file, self.shows = controller, kind, plugins.source_of(kind), sees
        self.every_step = bool(getattr(controller, "every_step", False))
        self.faults: list[Fault] = []
        self.seen: list[Observation] = []
        self.answered: list[Setpoints] = []
        self.took_s: list[float] = []
        self.steps = 0

    def told(self, rule: str, problem: str, remedy: str) -> Fault:
        return Fault(self.file or self.kind.__name__, rule, problem, remedy)

    def plan(self, forecast: Forecast) -> None:
        self.steps, before = forecast.expected.steps, contents(forecast.expected)
        try:
            self.controller.plan(forecast)
        except Exception as error:
            self.faults.append(self._raised(error, "plan", "raised"))
        self._compare(before, contents(forecast.expected), "the forecast")

    def decide(self, observation: Observation) -> Setpoints:
        before, when = contents(observation), f"at step {observation.step}"
        shown = self._shown(observation)
        free = answer = Setpoints.free(len(observation.net_kw))
        began = time.perf_counter()
        try:
            answer = self.controller.decide(shown)
        except Exception as error:
            self.faults.append(self._raised(error, "decide", f"raised {when}"))
        self.took_s.append(time.perf_counter() - began)
        self._compare(before, contents(shown), f"the observation {when}")
        impossible = self._impossible(answer, len(observation.net_kw), when)
        self.faults += impossible
        self.seen.append(observation)
        self.answered.append(free if impossible else answer)
        return self.answered[-1]

    def _shown(self, observation: Observation) -> Observation:
        """A copy, as the loop would stop at the first that is changed; of one that sees less no more than that."""
        source = self.seen[0] if self.seen and self.shows == "nothing" else observation
        own = {name: value for name, value in vars(source).items() if isinstance(value, np.ndarray)}
        hidden = _OF_THE_GRID if self.shows != "grid" else ()
        copies: Any = {name: np.full_like(x, np.nan) if name in hidden else x.copy() for name, x in own.items()}
        return replace(source, **copies)

    def artifacts(self) -> dict[str, Any]:
        try:
            return artifacts_of(self.controller)
        except CosimError as error:
            self.faults.append(self.told("artifacts", str(error), "return tables or plain data by name"))
            return {}

    def _raised(self, error: Exception, rule: str, doing: str) -> Fault:
        if isinstance(error, ValueError) and "read-only" in str(error):
            rule, doing = "unchanged", f"wants to change what it is shown: {rule}() {doing}"
        return plugins.fault_inside(error, self.file, rule, doing)

    def _compare(self, before: bytes, after: bytes, what: str) -> None:
        if before != after:
            self.faults.append(self.told("unchanged", f"changes {what}", "copy what you want to change"))

    def _impossible(self, answer: Any, homes: int, when: str) -> list[Fault]:
        problems = setpoint_problems(answer, homes, self.steps)
        if problems:
            remedy = "return cosim.Setpoints: one number of kW per customer, 0 or more; inf is no limit"
            return [self.told("setpoints", f"{problem} {when}", remedy) for problem in problems]
        decision = answer.decision
        if not decision.status or not decision.wall_s >= 0.0:
            remedy = "give a status, and a duration of 0 s or more"
            return [self.told("decision", f"is {decision} {when}", remedy)]
        if not decision.reproducible:
            return [self.told("decision", f"is not reproducible {when}", "end by effort, not by the clock")]
        return []


def _repeats(first: _Witness, again: _Witness) -> list[Fault]:
    problem = "answers otherwise at step {} when it is made and asked again with the same seed"
    remedy = "draw from np.random.default_rng(seed), and take nothing from outside"
    return _first_difference(first, again, STEPS, "repeatable", problem, remedy)


def _sees_the_future(controller: str | type, options: dict[str, Any], kind: type) -> list[Fault]:
    """Two days that part at a step, under the same forecast: until then the answers must not differ."""
    feeder, day, parting = small_place(), small_day(), STEPS // 2
    rng = np.random.default_rng(7)

    def after(values: Float, factor: float) -> Float:
        noisy = values * rng.uniform(0.2, factor, values.shape)
        return np.where((np.arange(STEPS) >= parting)[:, None], noisy, values)

    other = replace(
        day, demand_kw=after(day.demand_kw, 2.0), pv_available_kw=after(day.pv_available_kw, 1.0)
    )  # the cars are the same: their owners announce departures
    told = Forecast("persistence", day)
    one, two = (_Witness(make(controller, feeder, **options), kind) for _ in range(2))
    for world, witness in ((day, one), (other, two)):
        run(feeder, world, witness, control_min=CONTROL_MIN, forecast=told)
    # the decision for the first step that differs is made before it
    problem = f"answers otherwise at step {{}} on a day that differs from step {parting} on only"
    remedy = "use what decide() and plan() are given, and nothing else"
    return _first_difference(one, two, parting, "future", problem, remedy)


def _first_difference(one: _Witness, other: _Witness, last: int, rule: str, problem: str, remedy: str) -> list[Fault]:
    for observation, mine, theirs in zip(one.seen, one.answered, other.answered, strict=False):
        if observation.step <= last and contents(mine, _NOT_COMPARED) != contents(theirs, _NOT_COMPARED):
            return [one.told(rule, problem.format(observation.step), remedy)]
    return []
