"""What every registered controller must do; a new one is picked up by itself."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim import Trajectory, controllers, feeders, run
from cosim.contract import (
    Controller,
    EvSessions,
    Exogenous,
    Feeder,
    Forecast,
    Observation,
    Setpoints,
    TransformerSpec,
)
from cosim.reduced import ReducedNetwork

PROJECT = Path(__file__).resolve().parents[2]
STEPS, CONTROL_MIN = 48, 15.0
SMALL: dict[str, dict[str, Any]] = {"pareto": {"population": 12, "generations": 5}}
"""Options that make a controller quick where quality does not matter."""

every_controller = pytest.mark.parametrize("name", controllers.names())


def make(name: str, feeder: Feeder, seed: int = 3) -> Controller:
    predictor = ReducedNetwork(feeder) if controllers.needs_predictor(name) else None
    return controllers.make(name, feeder, predictor=predictor, seed=seed, **SMALL.get(name, {}))


class Witness:
    """Stands between loop and controller, and keeps what passes."""

    def __init__(self, controller: Controller) -> None:
        self.controller = controller
        self.every_step = controller.every_step
        self.seen: list[Observation] = []
        self.answered: list[Setpoints] = []
        self.changed: list[str] = []

    def plan(self, forecast: Forecast) -> None:
        before = contents(forecast.expected)
        self.controller.plan(forecast)
        self.changed += [] if contents(forecast.expected) == before else ["forecast"]

    def decide(self, observation: Observation) -> Setpoints:
        before = contents(observation)
        setpoints = self.controller.decide(observation)
        self.changed += [] if contents(observation) == before else [f"observation {observation.step}"]
        self.seen.append(observation)
        self.answered.append(setpoints)
        return setpoints


def contents(thing: Any) -> bytes:
    """Every array and number of a frozen dataclass, as bytes; durations are left out."""
    parts = {spec.name: getattr(thing, spec.name) for spec in fields(thing) if spec.name not in ("wall_s", "decision")}
    return pickle.dumps({name: np.asarray(part).tobytes() for name, part in parts.items() if not_a_curve(part)})


def not_a_curve(part: Any) -> bool:
    return isinstance(part, (np.ndarray, float, int))


@pytest.fixture(scope="module")
def feeder() -> Feeder:
    """Three homes behind a machine that can feed one fast charger per phase, but not its home too; a high voltage."""
    return feeders.load("two_bus", source_pu=1.05, transformer=TransformerSpec(20.0, 4.0, 1.5))


@pytest.fixture(scope="module")
def day(feeder: Feeder, make_day: Callable[..., Exogenous], make_sessions: Callable[..., EvSessions]) -> Exogenous:
    """Four hours: sun and a dear tariff first, then a cheap one that every car waits for."""
    rng = np.random.default_rng(5)
    hours = np.arange(STEPS) / 12.0
    return make_day(
        feeder, STEPS, demand_kw=rng.uniform(0.5, 1.5, (STEPS, 3)), demand_kvar=0.2,
        pv_available_kw=np.clip(4.0 - 2.0 * hours, 0.0, None)[:, None] * rng.uniform(0.7, 1.0, (STEPS, 3)),
        inverter_kva=[4.0, 3.0, 4.0], tariff_eur_per_kwh=np.where(hours < 2.0, 0.3, 0.15),
        sessions=make_sessions((0, 33.0, 235.0, 9.0, 7.4), (1, 5.0, 222.0, 7.0, 7.4), (2, 61.0, 240.0, 5.0, 3.7)),
    )  # fmt: skip


Ran = tuple[Trajectory, Witness]


@pytest.fixture(scope="module")
def ran(feeder: Feeder, day: Exogenous) -> Callable[[str], Ran]:
    """Run a controller once, and remember it."""
    done: dict[str, Ran] = {}

    def once(name: str) -> Ran:
        if name not in done:
            witness = Witness(make(name, feeder))
            done[name] = run(feeder, day, witness, control_min=CONTROL_MIN), witness
        return done[name]

    return once


@every_controller
def test_it_is_listed_and_described(name: str, feeder: Feeder) -> None:
    summary = controllers.describe(name)
    assert summary.endswith(".")
    assert 20 <= len(summary) <= 120
    controller = make(name, feeder)
    assert isinstance(controller, Controller)
    assert isinstance(controller.every_step, bool)


@every_controller
def test_its_setpoints_are_possible(name: str, ran: Callable[[str], Ran], feeder: Feeder) -> None:
    trajectory, witness = ran(name)
    assert trajectory.complete
    assert len(witness.answered) == STEPS // (1 if witness.every_step else 3)
    customers = len(feeder.customers)
    for setpoints in witness.answered:
        for key in ("import_cap_kw", "ev_limit_kw", "pv_limit_kw"):
            limit_kw = getattr(setpoints, key)
            assert limit_kw.shape == (customers,), key
            assert limit_kw.dtype == float, key
            assert (limit_kw >= 0.0).all(), key  # and so neither nan nor negative; inf is no limit
        if setpoints.published_cap_kw is not None:
            assert setpoints.published_cap_kw.shape == (STEPS, customers)
            assert (setpoints.published_cap_kw >= 0.0).all()
        assert setpoints.planned_kva >= 0.0 or np.isnan(setpoints.planned_kva)


@pytest.mark.parametrize("name", [name for name in controllers.names() if name != "none"])
def test_it_has_something_to_do_on_this_day(name: str, ran: Callable[[str], Ran]) -> None:
    """Otherwise the other tests would prove little."""
    trajectory, witness = ran(name)
    assert (ran("none")[0].transformer_percent > 100.0).any()
    assert trajectory.node_v.tobytes() != ran("none")[0].node_v.tobytes()
    limits = np.array([(sp.import_cap_kw, sp.ev_limit_kw, sp.pv_limit_kw) for sp in witness.answered])
    asks = any(setpoints.curves is not None or setpoints.ev_at_once is not None for setpoints in witness.answered)
    assert np.isfinite(limits).any() or asks


@every_controller
def test_its_decisions_say_how_they_were_obtained(name: str, ran: Callable[[str], Ran]) -> None:
    _, witness = ran(name)
    for decision in (setpoints.decision for setpoints in witness.answered):
        assert decision.status
        assert decision.reproducible
        assert decision.wall_s >= 0.0
        if decision.front is not None:
            assert decision.front.shape[1] == len(decision.front_names)
            assert 0 <= decision.chosen < len(decision.front)


@every_controller
def test_it_changes_nothing_that_it_is_shown(name: str, ran: Callable[[str], Ran]) -> None:
    _, witness = ran(name)
    assert witness.changed == []


@every_controller
def test_same_seed_same_bytes(name: str, ran: Callable[[str], Ran], feeder: Feeder, day: Exogenous) -> None:
    first, witness = ran(name)
    again = Witness(make(name, feeder))
    second = run(feeder, day, again, control_min=CONTROL_MIN)
    assert [contents(setpoints) for setpoints in again.answered] == [contents(sp) for sp in witness.answered]
    for key in ("node_v", "ev_kw", "pv_kw", "pv_kvar", "soc_kwh", "planned_kva"):
        assert getattr(first, key).tobytes() == getattr(second, key).tobytes(), key


@every_controller
def test_it_never_sees_the_future(name: str, feeder: Feeder, day: Exogenous) -> None:
    """Two days that part at a step, under the same forecast: until then the answers must not differ."""
    parting = STEPS // 2
    rng = np.random.default_rng(7)

    def after(values: np.ndarray, factor: float) -> np.ndarray:
        noisy = values * rng.uniform(0.2, factor, values.shape)
        return np.where((np.arange(STEPS) >= parting)[:, None], noisy, values)

    other = replace(
        day, demand_kw=after(day.demand_kw, 2.0), pv_available_kw=after(day.pv_available_kw, 1.0)
    )  # the cars are the same: their owners announce departures
    told = Forecast("persistence", day)
    one, two = Witness(make(name, feeder)), Witness(make(name, feeder))
    first = run(feeder, day, one, control_min=CONTROL_MIN, forecast=told)
    second = run(feeder, other, two, control_min=CONTROL_MIN, forecast=told)
    assert (first.net_kw[parting:] != second.net_kw[parting:]).any()
    for mine, yours, seen in zip(one.answered, two.answered, one.seen, strict=True):
        if seen.step <= parting:  # the decision for the first step that differs is made before it
            assert contents(mine) == contents(yours), seen.step


WITHOUT_ENGINE = """
import pickle, sys
for blocked in ("opendssdirect", "dss", "altdss", "cosim.feeders", "cosim.experiments"):
    sys.modules[blocked] = None
from cosim import controllers
from cosim.reduced import ReducedNetwork
path = sys.argv[1]
with open(path, "rb") as file:
    feeder, forecast, observations, small = pickle.load(file)
answers = {}
for name in controllers.names():
    try:
        predictor = ReducedNetwork(feeder) if controllers.needs_predictor(name) else None
        controller = controllers.make(name, feeder, predictor=predictor, seed=3, **small.get(name, {}))
        controller.plan(forecast)
        answers[name] = [controller.decide(observation) for observation in observations]
    except Exception as error:
        answers[name] = repr(error)
with open(path, "wb") as file:
    pickle.dump(answers, file)
"""


@pytest.fixture(scope="module")
def answers_without_engine(
    feeder: Feeder, day: Exogenous, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Observation], dict[str, list[Setpoints] | str]]:
    """What every controller answers where OpenDSS, feeders and experiments cannot be imported."""
    witness = Witness(make("none", feeder))
    run(feeder, day, witness, control_min=CONTROL_MIN)
    observations = witness.seen[:3]
    path = tmp_path_factory.mktemp("blocked") / "exchange.pickle"
    path.write_bytes(pickle.dumps((feeder, Forecast("oracle", day), observations, SMALL)))
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", WITHOUT_ENGINE, str(path)], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return observations, pickle.loads(path.read_bytes())  # noqa: S301 - written a moment ago


@every_controller
def test_it_needs_no_engine(
    name: str,
    feeder: Feeder,
    day: Exogenous,
    answers_without_engine: tuple[list[Observation], dict[str, list[Setpoints] | str]],
) -> None:
    observations, answers = answers_without_engine
    answered = answers[name]
    assert not isinstance(answered, str), answered
    here = make(name, feeder)
    here.plan(Forecast("oracle", day))
    expected = [here.decide(observation) for observation in observations]
    assert [contents(setpoints) for setpoints in answered] == [contents(setpoints) for setpoints in expected]
