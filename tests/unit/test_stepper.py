"""The loop in own hands: the same steps as a run, and a world that can be drawn anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from cosim import Setpoints, Stepper, load, run
from cosim.contract import Feeder, Observation
from cosim.errors import ControllerError, PowerFlowError

Make = Callable[..., Any]


@pytest.mark.parametrize("engine", ["opendss", "reduced"])
def test_stepping_by_hand_is_the_run(two_bus: Feeder, busy_day: Make, scripted: Make, engine: str) -> None:
    day = busy_day(two_bus, seed=4, minutes=240, start_h=16.0)

    def halved(observation: Observation) -> Setpoints:
        return Setpoints(np.full(3, np.inf), observation.charger_kw / 2, np.full(3, np.inf))

    whole = run(two_bus, day, scripted(halved, every_step=True), engine=engine)
    stepper = Stepper(two_bus, day, engine=engine)
    observation = stepper.reset()
    while not stepper.done:
        observation = stepper.step(halved(observation))
    by_hand = stepper.trajectory("by hand")
    assert by_hand.complete
    for name in ("net_kw", "ev_kw", "soc_kwh", "node_v", "ev_limit_kw", "delivered_kwh"):
        np.testing.assert_array_equal(getattr(by_hand, name), getattr(whole, name), err_msg=name)
    with pytest.raises(ValueError, match="reset"):
        stepper.step(Setpoints.free(3))
    # and once more from the beginning
    again = stepper.reset()
    assert (again.step, stepper.done, stepper.trajectory().steps) == (0, False, 0)


def test_a_drawn_day_can_be_drawn_anew() -> None:
    stepper = Stepper(load("two_bus_evening"), engine="reduced", step_min=5)

    def demand_of(seed: int | None) -> np.ndarray:
        stepper.reset(seed)
        return stepper.exogenous.demand_kw

    own, two, three = demand_of(None), demand_of(2), demand_of(3)
    np.testing.assert_array_equal(two, demand_of(2))
    np.testing.assert_array_equal(own, demand_of(load("two_bus_evening").scenario.seed))  # the scenario's own seed
    assert not np.array_equal(two, three)
    assert stepper.step(Setpoints.free(3)).step == 1


def test_misuse_is_named(two_bus: Feeder, make_day: Make) -> None:
    stepper = Stepper(two_bus, make_day(two_bus, 3, demand_kw=1.0))
    with pytest.raises(ValueError, match="reset"):
        stepper.step(Setpoints.free(3))
    stepper.reset()
    with pytest.raises(ControllerError, match=r"import_cap_kw has shape \(2,\), not \(3,\)"):
        stepper.step(Setpoints.free(2))
    assert stepper.trajectory().steps == 0  # nothing acted
    with pytest.raises(ValueError, match="given, not drawn"):
        stepper.reset(seed=1)
    with pytest.raises(TypeError, match="give exogenous"):
        Stepper(two_bus)
    with pytest.raises(ValueError, match="engine='dss' must be one of"):
        Stepper(two_bus, make_day(two_bus, 3), engine="dss")
    hopeless = Stepper(two_bus, make_day(two_bus, 3, demand_kw=5000.0))
    with pytest.raises(PowerFlowError):
        hopeless.reset()


def test_linear_algebra_is_held_to_one_thread_inside_and_given_back(two_bus: Feeder, make_day: Make) -> None:
    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    before = threads()
    stepper = Stepper(two_bus, make_day(two_bus, 3, demand_kw=1.0), engine="reduced")
    stepper.reset()
    inside: list[list[int]] = []
    solve = stepper.plant.engine.solve

    def watched(*given: Any) -> Any:
        inside.append(threads())
        return solve(*given)

    stepper.plant.engine.solve = watched  # type: ignore[method-assign]
    stepper.step(Setpoints.free(3))
    assert inside
    assert all(set(counts) == {1} for counts in inside)
    assert threads() == before


def test_a_steps_length_is_that_of_the_world() -> None:
    day = load("two_bus_evening")
    minutes = replace(day, scenario=day.scenario.model_copy(update={"step_min": 10, "control_min": 30}))
    assert (Stepper(minutes, engine="reduced").steps, minutes.stepper(engine="reduced").steps) == (96, 96)
    assert Stepper(minutes, engine="reduced", step_min=5).steps == 192
