"""Time: who sees what when, and what is kept of a run that stops."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cosim import controllers, run
from cosim.contract import BaseController, Decision, Feeder, Forecast, Observation, Setpoints
from cosim.errors import InputError, RunStoppedError
from cosim.measures import scoreboard
from cosim.reduced_engine import ReducedEngine
from cosim.trajectory import Trajectory

Make = Callable[..., Any]


def capped(observation: Observation) -> Setpoints:
    """A different cap at every step, so that it can be told apart."""
    return replace(Setpoints.free(3), import_cap_kw=np.full(3, 100.0 + observation.step))


def test_a_controller_sees_the_step_before(
    two_bus: Feeder, make_day: Make, make_sessions: Make, scripted: Make
) -> None:
    rng = np.random.default_rng(1)
    day = make_day(
        two_bus, 8, demand_kw=rng.uniform(0.5, 3.0, (8, 3)), demand_kvar=0.3, pv_available_kw=rng.uniform(0, 2, (8, 3)),
        inverter_kva=4.0, sessions=make_sessions((0, 0.0, 40.0, 5.0, 7.4)), tariff_eur_per_kwh=rng.uniform(0.1, 0.3, 8),
    )  # fmt: skip
    controller = scripted(capped, every_step=True)
    trajectory = run(two_bus, day, controller, control_min=5)
    assert [seen.step for seen in controller.seen] == list(range(8))
    assert [seen.minute for seen in controller.seen] == [5.0 * step for step in range(8)]
    for step in range(1, 8):
        seen = controller.seen[step]
        for name in ("net_kw", "net_kvar", "ev_kw", "pv_kw", "voltage_v"):
            np.testing.assert_array_equal(getattr(seen, name), getattr(trajectory, name)[step - 1], err_msg=name)
        for name in ("demand_kw", "demand_kvar", "pv_available_kw"):
            np.testing.assert_array_equal(getattr(seen, name), getattr(day, name)[step - 1], err_msg=name)
        np.testing.assert_allclose(seen.transformer_current_a, trajectory.transformer_current_a[step - 1])
        np.testing.assert_allclose(seen.current_a, trajectory.monitored_current_a[step - 1])
        np.testing.assert_allclose(seen.head_current_a, seen.transformer_current_a, atol=1e-6)
        assert seen.tariff_eur_per_kwh == day.tariff_eur_per_kwh[step]  # the price of what begins is known
    # ... and what it answers acts in the step that begins
    np.testing.assert_array_equal(trajectory.import_cap_kw[:, 0], 100.0 + np.arange(8))


@pytest.mark.parametrize("what", ["nothing", "homes"])
@pytest.mark.parametrize("on_collapse", ["stop", "shed"])
@pytest.mark.parametrize("highest_kw", [3.0, 150.0])
def test_steps_that_are_solved_together_are_those_solved_one_by_one(
    two_bus: Feeder, busy_day: Make, what: str, on_collapse: str, highest_kw: float
) -> None:
    """Under a controller that does not follow the grid; where a step has no power flow, all are solved one by one."""
    minutes = busy_day(two_bus, 3, 240, 16.0)
    day = replace(minutes, demand_kw=np.where(np.arange(240)[:, None] // 5 == 30, highest_kw, minutes.demand_kw))

    def found(sees: str) -> Trajectory:
        controller = controllers.make("even" if what == "homes" else "equal_share", two_bus)
        controller.sees = sees  # type: ignore[attr-defined]
        try:
            return run(two_bus, day, controller, engine="reduced", on_collapse=on_collapse)
        except RunStoppedError as stopped:
            return stopped.trajectory

    together, one_by_one = found(what), found("grid")
    assert together.steps == one_by_one.steps == (30 if highest_kw > 10.0 and on_collapse == "stop" else 48)
    for name in ("net_kw", "ev_kw", "pv_kw", "soc_kwh", "import_cap_kw", "ev_limit_kw", "degraded"):
        np.testing.assert_array_equal(getattr(together, name), getattr(one_by_one, name), err_msg=name)
    np.testing.assert_allclose(together.node_v, one_by_one.node_v, rtol=1e-8)
    assert together.notes == one_by_one.notes
    assert [step for step, _ in together.decisions] == [step for step, _ in one_by_one.decisions]


def test_an_interrupted_run_keeps_the_steps_that_were_to_be_solved_together(two_bus: Feeder, busy_day: Make) -> None:
    def interrupt(done: int, _: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    day, controller = busy_day(two_bus, 3, 60, 16.0), controllers.make("none", two_bus)
    with pytest.raises(RunStoppedError) as caught:
        run(two_bus, day, controller, engine="reduced", progress=interrupt)
    assert (caught.value.exit_code, caught.value.trajectory.steps) == (130, 7)
    assert np.isfinite(caught.value.trajectory.node_v).all()


@pytest.mark.filterwarnings("error")
def test_an_interruption_while_steps_are_solved_together_leaves_none_without_a_voltage(
    two_bus: Feeder, busy_day: Make
) -> None:
    class Interrupted(ReducedEngine):
        def solve_all(self, *_: Any) -> Any:
            raise KeyboardInterrupt

    day, controller = busy_day(two_bus, 3, 60, 16.0), controllers.make("none", two_bus)
    with pytest.raises(RunStoppedError) as caught:
        run(two_bus, day, controller, engine=Interrupted(two_bus))
    assert (caught.value.exit_code, caught.value.trajectory.steps) == (130, 0)


def test_the_first_observation_is_what_the_forecast_expects(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    truth, told = make_day(two_bus, 2, demand_kw=3.0), make_day(two_bus, 2, demand_kw=[1.0, 2.0, 0.5])
    controller = scripted(Setpoints.free(3))
    run(two_bus, truth, controller, control_min=5, forecast=Forecast("persistence", told))
    assert controller.seen[0].demand_kw.tolist() == [1.0, 2.0, 0.5]
    assert controller.seen[0].net_kw.tolist() == [1.0, 2.0, 0.5]
    assert controller.seen[1].demand_kw.tolist() == [3.0, 3.0, 3.0]
    (forecast,) = controller.forecasts
    assert forecast.kind == "persistence"
    np.testing.assert_array_equal(forecast.expected.demand_kw, told.demand_kw)


def test_without_a_forecast_it_is_an_oracle_and_says_so(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    controller = scripted(Setpoints.free(3))
    run(two_bus, make_day(two_bus, 4, demand_kw=1.0), controller, control_min=10)
    assert [forecast.kind for forecast in controller.forecasts] == ["oracle"]
    assert controller.forecasts[0].expected.steps == 4


@pytest.mark.parametrize(("every_step", "called_at"), [(False, [0, 3, 6]), (True, list(range(8)))])
def test_decisions_are_made_at_control_steps_and_stay_in_force(
    two_bus: Feeder, make_day: Make, scripted: Make, every_step: bool, called_at: list[int]
) -> None:
    controller = scripted(capped, every_step=every_step)
    trajectory = run(two_bus, make_day(two_bus, 8, demand_kw=1.0), controller, control_min=15)
    assert [seen.step for seen in controller.seen] == called_at
    assert [step for step, _ in trajectory.decisions] == called_at
    last = [max(step for step in called_at if step <= k) for k in range(8)]
    np.testing.assert_array_equal(trajectory.import_cap_kw[:, 0], 100.0 + np.array(last))


def test_a_step_is_the_mean_of_its_minutes(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    minutes = np.random.default_rng(2).uniform(0.0, 5.0, (30, 3))
    trajectory = run(two_bus, make_day(two_bus, 30, 1.0, demand_kw=minutes), scripted(Setpoints.free(3)), step_min=10,
                     control_min=10)  # fmt: skip
    assert trajectory.steps == 3
    np.testing.assert_allclose(trajectory.net_kw, minutes.reshape(3, 10, 3).mean(axis=1))


def test_steps_that_do_not_fit_are_refused(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    day, controller = make_day(two_bus, 30, 1.0), scripted(Setpoints.free(3))
    with pytest.raises(ValueError, match="control_min=10 must be a whole multiple of step_min=4"):
        run(two_bus, day, controller, step_min=4, control_min=10)
    with pytest.raises(ValueError, match=r"step_min=4 must be .* divides 30"):
        run(two_bus, day, controller, step_min=4, control_min=4)
    with pytest.raises(ValueError, match=r"step_min=0.5 must be a whole multiple"):
        run(two_bus, day, controller, step_min=0.5, control_min=5)
    with pytest.raises(ValueError, match="engine='pypower' must be one of opendss, reduced"):
        run(two_bus, day, controller, engine="pypower")


def test_progress_is_reported_after_every_step(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    heard: list[tuple[int, int]] = []
    run(two_bus, make_day(two_bus, 3), scripted(Setpoints.free(3)), progress=lambda done, of: heard.append((done, of)))
    assert heard == [(1, 3), (2, 3), (3, 3)]


def raises_at(step: int, error: BaseException) -> Callable[[Observation], Setpoints]:
    def answer(observation: Observation) -> Setpoints:
        if observation.step == step:
            raise error
        return Setpoints.free(3)

    return answer


def test_an_interrupted_run_keeps_what_it_has(
    two_bus: Feeder, make_day: Make, make_sessions: Make, scripted: Make
) -> None:
    day = make_day(two_bus, 8, demand_kw=1.0, sessions=make_sessions((0, 0.0, 40.0, 5.0, 7.4)))
    with pytest.raises(RunStoppedError, match="my run: interrupted") as stopped:
        run(two_bus, day, scripted(raises_at(3, KeyboardInterrupt())), control_min=5, label="my run")
    assert stopped.value.exit_code == 130
    partial: Any = stopped.value.trajectory
    assert not partial.complete
    assert partial.steps == partial.exogenous.steps == 3
    whole = run(two_bus, day, scripted(Setpoints.free(3)), control_min=5)
    assert whole.complete
    for name in ("net_kw", "ev_kw", "node_v", "soc_kwh", "plugged", "planned_kva", "degraded"):
        np.testing.assert_array_equal(getattr(partial, name), getattr(whole, name)[:3], err_msg=name)
    assert scoreboard(partial)["balance_error_percent"] < 1e-3


def test_a_run_interrupted_before_its_first_step_is_empty(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    with pytest.raises(RunStoppedError) as stopped:
        run(two_bus, make_day(two_bus, 4), scripted(raises_at(0, KeyboardInterrupt())))
    partial: Any = stopped.value.trajectory
    assert (partial.steps, partial.complete, stopped.value.exit_code) == (0, False, 130)


def test_a_power_flow_without_solution_stops_the_run_and_names_the_step(
    two_bus: Feeder, make_day: Make, scripted: Make
) -> None:
    demand = np.ones((6, 3))
    demand[4] = 5000.0
    with pytest.raises(RunStoppedError, match=r"step 4 of 6: OpenDSS did not converge") as stopped:
        run(two_bus, make_day(two_bus, 6, demand_kw=demand), scripted(Setpoints.free(3)))
    partial: Any = stopped.value.trajectory
    assert (partial.steps, partial.complete, stopped.value.exit_code) == (4, False, 3)
    assert np.isfinite(partial.node_v).all()


def test_errors_of_a_controller_keep_their_exit_code(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    with pytest.raises(RunStoppedError) as stopped:
        run(two_bus, make_day(two_bus, 4), scripted(raises_at(1, InputError([]))), control_min=5)
    assert stopped.value.exit_code == 2


BAD_ANSWERS: dict[str, tuple[Any, str]] = {
    "nan": (replace(Setpoints.free(3), import_cap_kw=np.array([1.0, np.nan, 1.0])), "import_cap_kw is nan at 1"),
    "negative": (replace(Setpoints.free(3), ev_limit_kw=np.array([1.0, 1.0, -2.0])), "ev_limit_kw is -2 at 2"),
    "one for all": (replace(Setpoints.free(3), pv_limit_kw=np.ones(1)), r"pv_limit_kw has shape \(1,\), not \(3,\)"),
    "a number": (replace(Setpoints.free(3), import_cap_kw=5.0), "import_cap_kw is float, not an array of numbers"),
    "booleans": (replace(Setpoints.free(3), import_cap_kw=np.ones(3, bool)), "import_cap_kw is an array of bool"),
    "short caps": (
        replace(Setpoints.free(3), published_cap_kw=np.ones((2, 3))),
        r"published_cap_kw has shape \(2, 3\)",
    ),
    "promise": (replace(Setpoints.free(3), planned_kva=-1.0), "planned_kva is -1.0: give 0 or more"),
    "no promise": (replace(Setpoints.free(3), planned_kva=None), "planned_kva is None: give 0 or more, or nan"),
    "no decision": (replace(Setpoints.free(3), decision=None), "decision is NoneType, not Decision"),
    "a gap in words": (replace(Setpoints.free(3), decision=Decision(gap="1 %")), "decision holds gap='1 %'"),
    "curves": (replace(Setpoints.free(3), curves="steep"), "curves is str, not LocalCurves"),
    "nothing": (None, "the answer is NoneType, not Setpoints"),
}


@pytest.mark.parametrize(("answer", "reason"), BAD_ANSWERS.values(), ids=BAD_ANSWERS)
def test_impossible_setpoints_stop_the_run_and_are_named(
    two_bus: Feeder, make_day: Make, scripted: Make, answer: Any, reason: str
) -> None:
    controller = scripted(lambda seen: Setpoints.free(3) if seen.step < 2 else answer, every_step=True)
    with pytest.raises(RunStoppedError, match=f"mine: step 2 of 4: {reason}") as stopped:
        run(two_bus, make_day(two_bus, 4, demand_kw=1.0), controller, label="mine")
    partial: Any = stopped.value.trajectory
    assert (partial.steps, partial.complete, stopped.value.exit_code) == (2, False, 3)


def test_a_controller_that_raises_is_named_with_its_step_and_keeps_what_was_computed(
    two_bus: Feeder, make_day: Make, scripted: Make
) -> None:
    with pytest.raises(RunStoppedError, match=r"step 1 of 4: decide\(\) raised KeyError: 'home'") as stopped:
        run(two_bus, make_day(two_bus, 4), scripted(raises_at(1, KeyError("home"))), control_min=5)
    partial: Any = stopped.value.trajectory
    assert (partial.steps, stopped.value.exit_code) == (1, 3)
    assert isinstance(stopped.value.__cause__.__cause__, KeyError)  # the way to the line at fault is kept


def test_a_controller_that_changes_what_it_is_shown_is_stopped(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    def meddling(observation: Observation) -> Setpoints:
        observation.voltage_v.setflags(write=True)
        observation.voltage_v[0] = 230.0
        return Setpoints.free(3)

    with pytest.raises(RunStoppedError, match="changed the observation"):
        run(two_bus, make_day(two_bus, 4, demand_kw=1.0), scripted(meddling))

    def naive(observation: Observation) -> Setpoints:
        observation.voltage_v[0] = 230.0
        return Setpoints.free(3)

    with pytest.raises(RunStoppedError, match="read-only"):
        run(two_bus, make_day(two_bus, 4, demand_kw=1.0), scripted(naive))


def test_a_decision_that_comes_too_late_is_dropped(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    def slow_at_one(observation: Observation) -> Setpoints:
        until = time.perf_counter() + (30.0 if observation.step == 1 else 0.0)
        while time.perf_counter() < until:
            pass
        return capped(observation)

    began = time.perf_counter()
    controller = scripted(slow_at_one, every_step=True)
    trajectory = run(two_bus, make_day(two_bus, 3, demand_kw=1.0), controller, decide_limit_s=0.2)
    assert time.perf_counter() - began < 20.0
    assert trajectory.import_cap_kw[:, 0].tolist() == [100.0, 100.0, 102.0]
    assert trajectory.degraded.tolist() == [False, True, False]
    assert trajectory.notes == ((1, "fallback: decide() was stopped after 0.2 s"),)
    assert trajectory.complete
    assert not trajectory.reproducible


def test_a_controller_needs_no_more_than_plan_and_decide(two_bus: Feeder, make_day: Make) -> None:
    class Least:
        def plan(self, forecast: Forecast) -> None:
            pass

        def decide(self, observation: Observation) -> Setpoints:
            return Setpoints.free(observation.voltage_v.size)

    assert run(two_bus, make_day(two_bus, 4), Least()).complete  # type: ignore[arg-type]


def test_a_controller_does_not_end_the_program(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    with pytest.raises(RunStoppedError, match=r"step 1 of 4: decide\(\) raised SystemExit: 7") as stopped:
        run(two_bus, make_day(two_bus, 4), scripted(raises_at(1, SystemExit(7))), control_min=5)
    assert stopped.value.exit_code == 3


@pytest.mark.parametrize(
    ("first", "code", "told"), [(KeyError("home"), 3, "KeyError"), (KeyboardInterrupt(), 130, "interr")]
)
def test_what_failed_first_is_told_though_artifacts_fail_too(
    two_bus: Feeder, make_day: Make, first: BaseException, code: int, told: str
) -> None:
    class Unlucky(BaseController):
        def decide(self, observation: Observation) -> Setpoints:
            if observation.step:
                raise first
            return Setpoints.free(3)

        def artifacts(self) -> dict[str, Any]:
            raise OSError

    with pytest.raises(RunStoppedError, match=told) as stopped:
        run(two_bus, make_day(two_bus, 4), Unlucky(), control_min=5)
    partial: Any = stopped.value.trajectory
    assert (stopped.value.exit_code, partial.steps) == (code, 1)


def test_a_late_decision_is_stopped_though_the_controller_catches_everything(
    two_bus: Feeder, make_day: Make, scripted: Make
) -> None:
    def stubborn(observation: Observation) -> Setpoints:
        while True:
            try:
                time.sleep(0.01)
            except Exception:  # noqa: S112 - what careless code does
                continue

    began = time.perf_counter()
    trajectory = run(two_bus, make_day(two_bus, 1), scripted(stubborn), decide_limit_s=0.2)
    assert time.perf_counter() - began < 20.0
    assert trajectory.degraded.all()
