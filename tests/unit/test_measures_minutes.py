"""What steps hide: a replay minute by minute against a run that was made in steps of one minute."""

from __future__ import annotations

from dataclasses import replace

import pytest

import cosim
from cosim.measures import minute_extremes, minutes


@pytest.fixture(scope="module")
def day():
    return cosim.load("two_bus_evening")


@pytest.fixture(scope="module")
def run(day):
    return day.run("none", engine="reduced")


def test_the_replay_is_what_a_run_in_steps_of_one_minute_sees(day, run):
    finest = replace(day, scenario=day.scenario.model_copy(update={"step_min": 1})).run("none", engine="reduced")
    for end in ("min", "max"):
        replayed, seen = run.metrics[f"voltage_{end}_1min_pu"], finest.metrics[f"voltage_{end}_pu"]
        assert replayed == pytest.approx(seen, abs=2e-4)
    assert run.metrics["voltage_min_1min_pu"] < run.metrics["voltage_min_pu"] - 5e-5
    assert "voltage_min_1min_pu" not in finest.metrics


def test_of_a_long_run_the_most_extreme_steps_are_enough(day, run, monkeypatch):
    monkeypatch.setattr(minutes, "_MOST_STEPS", run.trajectory.steps // 3)
    few = minute_extremes(run.trajectory, day.exogenous, day.predictor)
    assert few == {name: pytest.approx(run.metrics[name], abs=1e-9) for name in few}
    assert len(few) == 2


def test_profiles_that_are_no_finer_say_nothing(day, run):
    flat = {
        name: getattr(run.trajectory.exogenous, name).repeat(5, axis=0)
        for name in ("demand_kw", "demand_kvar", "pv_available_kw")
    }
    assert minute_extremes(run.trajectory, replace(day.exogenous, **flat), day.predictor) == {}
    assert minute_extremes(run.trajectory, run.trajectory.exogenous, day.predictor) == {}
