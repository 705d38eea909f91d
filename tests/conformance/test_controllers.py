"""What every registered controller must do, by the rules of `cosim.testing`; a new one is picked up by itself."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest

from cosim import controllers, run
from cosim.contract import Controller, Exogenous, Forecast, Observation, Setpoints, Units
from cosim.devices.battery import Battery
from cosim.devices.heat_pump import HeatPump
from cosim.guard import contents
from cosim.measures.balance import judged
from cosim.testing import STEPS, Examination, examine, make, small_day, small_place

PROJECT = Path(__file__).resolve().parents[2]
SMALL: dict[str, dict[str, Any]] = {}
"""Options that make a controller quick where quality does not matter."""

every_controller = pytest.mark.parametrize("name", controllers.names())


@cache
def examined(name: str) -> Examination:
    """Examine a controller once, and remember it."""
    return examine(name, **SMALL.get(name, {}))


@every_controller
def test_it_is_listed_and_described(name: str) -> None:
    summary = controllers.describe(name)
    assert summary.endswith(".")
    assert 20 <= len(summary) <= 120
    assert isinstance(make(name, small_place(), **SMALL.get(name, {})), Controller)


@every_controller
def test_it_keeps_every_rule(name: str) -> None:
    seen = examined(name)
    assert [str(fault) for fault in seen.faults] == []
    assert seen.trajectory.complete
    assert len(seen.answered) in (STEPS, STEPS // 3)
    assert 0.0 < seen.decide_mean_s <= seen.decide_max_s


@pytest.mark.parametrize("name", [name for name in controllers.names() if name != "none"])
def test_it_has_something_to_do_on_this_day(name: str) -> None:
    """Otherwise the other tests would prove little."""
    seen, none = examined(name), examined("none").trajectory
    assert (none.transformer_percent > 100.0).any()
    assert seen.trajectory.node_v.tobytes() != none.node_v.tobytes()
    limits = np.array([(sp.import_cap_kw, sp.ev_limit_kw, sp.pv_limit_kw) for sp in seen.answered])
    asks = any(setpoints.curves is not None or setpoints.ev_at_once is not None for setpoints in seen.answered)
    assert np.isfinite(limits).any() or asks


def test_what_pareto_leaves_behind_is_whole() -> None:
    front = examined("pareto").trajectory.table("front")
    assert front is not None
    assert (front.groupby("step")["chosen"].sum() == 1).all()


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


@cache
def answers_without_engine() -> tuple[list[Observation], dict[str, list[Setpoints] | str]]:
    """What every controller answers where OpenDSS, feeders and experiments cannot be imported."""
    seen: list[Observation] = []

    class Witness:
        def plan(self, forecast: Forecast) -> None: ...

        def decide(self, observation: Observation) -> Setpoints:
            seen.append(observation)
            return Setpoints.free(len(observation.net_kw))

    run(small_place(), small_day(), Witness(), control_min=15.0)
    observations = seen[:3]
    exchanged = pickle.dumps((small_place(), Forecast("oracle", small_day()), observations, SMALL))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "exchange.pickle"
        path.write_bytes(exchanged)
        done = subprocess.run(  # noqa: S603 - our own code
            [sys.executable, "-c", WITHOUT_ENGINE, str(path)], cwd=PROJECT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return observations, pickle.loads(path.read_bytes())  # noqa: S301 - written a moment ago


@every_controller
def test_it_needs_no_engine(name: str) -> None:
    observations, answers = answers_without_engine()
    answered = answers[name]
    assert not isinstance(answered, str), answered
    here = make(name, small_place(), **SMALL.get(name, {}))
    here.plan(Forecast("oracle", small_day()))
    expected = [here.decide(observation) for observation in observations]
    assert [contents(one, ("decision",)) for one in answered] == [contents(one, ("decision",)) for one in expected]


@cache
def with_devices() -> Exogenous:
    """The small day in a frost, with heat pumps that weigh on the night, and batteries."""
    rng, feeder = np.random.default_rng(6), small_place()
    day = replace(small_day(), ambient_c=np.full(STEPS, -5.0))
    heat = HeatPump.draw(feeder, day, rng, share=1.0, loss_kw_per_k=0.2, backup_kw=3.0)
    stored = Battery.draw(feeder, day, rng, share=1.0, kwh=4.0, kw=2.0, efficiency=0.95, start_share=0.5)
    return replace(day, devices={"heat_pump": Units(HeatPump, heat), "battery": Units(Battery, stored)})


@every_controller
def test_it_reckons_with_devices_that_it_does_not_command(name: str) -> None:
    """Nothing breaks, energy closes, and who holds a limit sees the heat pumps in it."""
    made = make(name, small_place(), **SMALL.get(name, {}))
    done = judged(run(small_place(), with_devices(), made, engine="reduced", control_min=15.0))
    assert done.complete
    assert not done.invalid
    if name in ("equal_share", "bilevel_caps"):
        assert done.limit_percent.max() <= 100.0
