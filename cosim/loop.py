"""The loop: the only place where time advances."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from cosim.contract import (
    Artifact,
    BaseController,
    Controller,
    Decision,
    Engine,
    Exogenous,
    Feeder,
    Forecast,
    Observation,
    Setpoints,
)  # fmt: skip
from cosim.errors import CosimError, PowerFlowError, RunStoppedError, TooLateError, reason
from cosim.guard import guarded_decide, guarded_plan
from cosim.households import Behaviour
from cosim.meters import MeterSpec
from cosim.stepper import Stepper
from cosim.threads import ONE_THREAD
from cosim.trajectory import Trajectory


def run(
    feeder: Feeder,
    exogenous: Exogenous,
    controller: Controller,
    *,
    engine: str | Engine = "opendss",
    step_min: float = 5,
    control_min: float = 15,
    forecast: Forecast | None = None,
    behaviour: Behaviour | None = None,
    on_collapse: str = "stop",
    meters: MeterSpec | None = None,
    label: str = "run",
    decide_limit_s: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Trajectory:
    """Step a feeder through a day under a controller.

    The feedback has a declared delay of one step: at step k the controller sees the means of step k - 1 (before the
    first step: the power flow that the forecast expects) and its setpoints act in step k.

    Parameters
    ----------
    feeder : Feeder
        The place.
    exogenous : Exogenous
        What nobody controls; averaged to ``step_min``.
    controller : Controller
        The decision maker, called at every multiple of ``control_min`` (or at every step if it asks to be).
    engine : str or Engine
        ``opendss`` or ``reduced``, or one that was made for this feeder.
    step_min, control_min : float
        Length of a step, and time between decisions; the second a multiple of the first [min].
    forecast : Forecast, optional
        What controller and households are told beforehand. Without one they get perfect foresight, called ``oracle``.
    behaviour : Behaviour, optional
        How households react; cheapest hours first, all obeying, without one.
    on_collapse : str
        What a step without power flow does: ``stop`` ends the run there; ``shed`` serves in every area the largest
        share of consumption that solves, marks the step and goes on (see `cosim.collapse`).
    meters : MeterSpec, optional
        What the controller sees of the world; the truth without one.
    label : str
        Name of the run.
    decide_limit_s : float, optional
        Longest time of a decision [s]. A later one is dropped: the setpoints before it stay in force (before the first:
        no limits), the step is marked and the run is not reproducible.
    progress : callable, optional
        Called with (completed steps, all steps).

    Returns
    -------
    Trajectory
        Everything that happened.

    Raises
    ------
    RunStoppedError
        Where a power flow or the controller failed, or anything that nobody foresaw (exit code 3), or the user
        interrupted (130); it carries the trajectory of the completed steps. A controller fails where it raises, changes
        what it is shown, or answers with something else than possible setpoints; the message names the step and the
        reason.
    ValueError
        Where the steps do not fit each other, or engine or ``on_collapse`` is unknown.
    """
    every = round(control_min / step_min)
    if every < 1 or abs(every * step_min - control_min) > 1e-9:
        raise ValueError(f"control_min={control_min} must be a whole multiple of step_min={step_min}")
    began = time.perf_counter()
    stepper = Stepper(
        feeder, exogenous, engine=engine, step_min=step_min, forecast=forecast, behaviour=behaviour,
        on_collapse=on_collapse, meters=meters,
    )  # fmt: skip
    watch = _Stopwatch()
    every = 1 if getattr(controller, "every_step", BaseController.every_step) else every

    from cosim.artifacts import artifacts_of  # brings pandas, for which importing cosim need not wait

    stop: BaseException | None = None
    left: dict[str, Artifact] = {}
    try:
        with ONE_THREAD:
            _advance(stepper, controller, every, watch, decide_limit_s, progress)
    except BaseException as error:  # a bug anywhere must not cost the steps before it
        stop = error
    finally:
        stepper.close()
    try:  # of a run that was stopped too
        left = artifacts_of(controller)
    except BaseException as error:
        stop = stop or error  # what came first is the cause
    wall_s = time.perf_counter() - began
    try:
        trajectory = stepper.trajectory(
            label, control_min=control_min, artifacts=left, wall_s=wall_s, plan_s=watch.first_s, decide_s=watch.total_s
        )
    except Exception as error:  # such as where there was no plant yet
        raise stop or error from None
    if isinstance(stop, KeyboardInterrupt):
        raise RunStoppedError(f"{label}: interrupted", trajectory, 130) from stop
    if stop is not None:
        message = f"{label}: step {trajectory.steps} of {stepper.steps}: {reason(stop)}"
        raise RunStoppedError(message, trajectory, getattr(stop, "exit_code", CosimError.exit_code)) from stop
    return trajectory


def _advance(
    stepper: Stepper,
    controller: Controller,
    every: int,
    watch: _Stopwatch,
    limit_s: float | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Advance to the end; where decisions do not follow the grid, its steps are solved together afterwards."""
    observation = stepper.reset()
    sees = getattr(controller, "sees", BaseController.sees)
    is_open = sees == "nothing" or (sees == "homes" and not stepper.metered)
    if is_open and stepper.plant.defer():
        try:
            _step_by_step(stepper, observation, controller, every, watch, limit_s, progress)
            stepper.plant.settle()
            return
        except CosimError:  # where a step has no power flow: what that does to the run, it does step by step
            observation = stepper.reset()
        except BaseException:
            with suppress(PowerFlowError):
                stepper.plant.settle()
            raise
    _step_by_step(stepper, observation, controller, every, watch, limit_s, progress)


def _step_by_step(
    stepper: Stepper,
    observation: Observation,
    controller: Controller,
    every: int,
    watch: _Stopwatch,
    limit_s: float | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    """The loop itself: at every step the controller answers the last observation and the plant reacts."""
    plant, steps, customers = stepper.plant, stepper.steps, len(stepper.feeder.customers)
    setpoints, is_constant = Setpoints.free(customers), getattr(controller, "sees", BaseController.sees) == "nothing"
    with watch:
        guarded_plan(controller, stepper.forecast)
    for k in range(steps):
        if k and not is_constant and (stepper.metered or k % every == 0):
            observation = stepper.observe()
        if k % every == 0:
            try:
                with watch:
                    if k == 0 or not is_constant:
                        setpoints = guarded_decide(controller, observation, customers, steps, limit_s)
            except TooLateError as late:
                setpoints = replace(setpoints, decision=Decision(fallback=str(late), reproducible=False))
                is_constant = False
            plant.announce(setpoints.decision)
        plant.step(setpoints)
        if progress is not None:
            progress(k + 1, steps)


class _Stopwatch:
    """Adds up the time spent inside it; what comes first is the plan."""

    total_s = first_s = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        took_s = time.perf_counter() - self._began
        self.first_s = self.first_s or took_s
        self.total_s += took_s
