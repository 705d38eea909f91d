"""The loop: the only place where time advances."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module

from threadpoolctl import threadpool_limits

from cosim.contract import Artifact, BaseController, Controller, Engine, Exogenous, Feeder, Forecast
from cosim.errors import CosimError, RunStoppedError
from cosim.households import Behaviour
from cosim.plant import Plant
from cosim.trajectory import Trajectory

ENGINES = {"opendss": "cosim.opendss:OpenDssEngine", "reduced": "cosim.reduced:ReducedEngine"}
"""Power flows by name, imported only when used."""


def run(
    feeder: Feeder,
    exogenous: Exogenous,
    controller: Controller,
    *,
    engine: str = "opendss",
    step_min: float = 5,
    control_min: float = 15,
    forecast: Forecast | None = None,
    behaviour: Behaviour | None = None,
    label: str = "run",
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
    engine : str
        ``opendss`` or ``reduced``.
    step_min, control_min : float
        Length of a step, and time between decisions; the second a multiple of the first [min].
    forecast : Forecast, optional
        What controller and households are told beforehand. Without one they get perfect foresight, called ``oracle``.
    behaviour : Behaviour, optional
        How households react; cheapest hours first, all obeying, without one.
    label : str
        Name of the run.
    progress : callable, optional
        Called with (completed steps, all steps).

    Returns
    -------
    Trajectory
        Everything that happened.

    Raises
    ------
    RunStoppedError
        Where a power flow or the controller failed (exit code 3) or the user interrupted (130); it carries the
        trajectory of the completed steps.
    ValueError
        Where the steps do not fit each other, or the engine is unknown.
    """
    every = round(control_min / step_min)
    if every < 1 or abs(every * step_min - control_min) > 1e-9:
        raise ValueError(f"control_min={control_min} must be a whole multiple of step_min={step_min}")
    began = time.perf_counter()
    day = exogenous.resample(step_min)
    told = (
        Forecast("oracle", day) if forecast is None else Forecast(forecast.kind, forecast.expected.resample(step_min))
    )
    plant = Plant(feeder, day, make_engine(engine, feeder), told.expected, behaviour or Behaviour())
    watch = _Stopwatch()

    left: dict[str, Artifact] = {}

    def finish() -> Trajectory:
        return plant.trajectory(
            label, control_min, artifacts=left, wall_s=time.perf_counter() - began, decide_s=watch.total_s
        )

    try:
        # On a busy machine a second BLAS thread makes the small products of the loop up to a hundred times slower.
        with threadpool_limits(limits=1):
            try:
                every_step = getattr(controller, "every_step", BaseController.every_step)
                _advance(plant, controller, told, 1 if every_step else every, watch, progress)
            finally:  # of a run that is stopped too
                from cosim.artifacts import artifacts_of  # brings pandas, for which importing cosim need not wait

                left.update(artifacts_of(controller))
    except KeyboardInterrupt as stop:
        raise RunStoppedError(f"{label}: interrupted", finish(), 130) from stop
    except CosimError as error:
        message = f"{label}: step {plant.completed} of {day.steps}: {error}"
        raise RunStoppedError(message, finish(), error.exit_code) from error
    return finish()


def _advance(
    plant: Plant,
    controller: Controller,
    told: Forecast,
    every: int,
    watch: _Stopwatch,
    progress: Callable[[int, int], None] | None,
) -> None:
    """The loop itself: at every step the controller answers the last observation and the plant reacts."""
    observation = plant.reset()
    with watch:
        controller.plan(told)
    for k in range(plant.day.steps):
        if k % every == 0:
            observation = plant.observe() if k else observation
            with watch:
                setpoints = controller.decide(observation)
            plant.announce(setpoints.decision)
        plant.step(setpoints)
        if progress is not None:
            progress(k + 1, plant.day.steps)


class _Stopwatch:
    """Adds up the time spent inside it."""

    total_s = 0.0

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.total_s += time.perf_counter() - self._began


def make_engine(name: str, feeder: Feeder) -> Engine:
    """Make the power flow of that name for a feeder; ValueError where there is none."""
    if name not in ENGINES:
        raise ValueError(f"engine={name!r} must be one of {', '.join(ENGINES)}")
    module, attribute = ENGINES[name].split(":")
    engine: Engine = getattr(import_module(module), attribute)(feeder)
    return engine
