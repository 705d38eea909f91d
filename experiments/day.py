"""A day: everything that a scenario names, ready to run under any controller; and what a run of it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim import controllers
from cosim.contract import Controller, Engine, Exogenous, Forecast, Units
from cosim.contract.signals import Bool
from cosim.contract.streams import each, of_sessions, on
from cosim.contract.thermal import ThermalState
from cosim.errors import Fault, InputError, PowerFlowError, UnsupportedError, refuse
from cosim.experiments.labels import LABEL_REMEDY, label_problem
from cosim.experiments.place import Place
from cosim.experiments.scenario import ForecastTable, longest_delay_s
from cosim.experiments.scenario import Run as RunSpec
from cosim.feeders.prices import who_has_which
from cosim.households import Behaviour
from cosim.loop import run
from cosim.measures import minute_extremes, scoreboard
from cosim.measures.balance import judged
from cosim.measures.own import measure_own
from cosim.meters import MeterSpec
from cosim.stepper import Stepper
from cosim.trajectory import Trajectory


@dataclass(frozen=True, eq=False)
class Day(Place):
    """A feeder with a day on it: everything that a scenario's runs share.

    Made by ``cosim.load``.

    Attributes
    ----------
    exogenous : Exogenous
        The day at one minute.
    forecasts : mapping of ForecastTable to Forecast
        What is told beforehand, by how it is made: the scenario's own first, then those that only some runs are told.
    warnings : tuple of str
        Of the feeder and of the day.
    redraw : callable
        Makes the same day from another seed: other homes, cars and clouds on the same feeder.
    """

    exogenous: Exogenous
    forecasts: Mapping[ForecastTable, Forecast]
    warnings: tuple[str, ...]
    redraw: Callable[[int], Day]

    def run(
        self,
        controller: str | Controller | type[Controller],
        *,
        label: str | None = None,
        engine: str = "opendss",
        progress: Callable[[int, int], None] | None = None,
        **options: Any,
    ) -> Run:
        """Run the day under a controller.

        Parameters
        ----------
        controller : str, Controller or type
            A name of ``cosim list controllers`` (or ``module:Class``, ``file.py:Class``), a controller, or a class that
            is made from the feeder.
        label : str, optional
            Name of the run; the controller's where not given.
        engine : str
            ``opendss`` or ``reduced``.
        progress : callable, optional
            Called with (completed steps, all steps).
        **options
            Of the controller, where it is named or a class.

        Returns
        -------
        Run

        Raises
        ------
        InputError
            Where there is no such controller, or its options are wrong.
        RunStoppedError
            Where a power flow or the controller failed, or the user interrupted.
        """
        if isinstance(controller, str):
            spec = RunSpec(controller=controller, options=options)
            made = self.controller(spec)
        else:
            made = self.made(controller, options) if isinstance(controller, type) else controller
            kind = type(made)
            spec = RunSpec(controller=f"{kind.__module__}:{kind.__qualname__}", label=kind.__name__, options=options)
        if label is not None:
            spec = spec.model_copy(update={"label": label})
        if problem := label_problem(spec.name):
            raise InputError(Fault("run()", "label", problem, LABEL_REMEDY))
        forecast = self.forecast_of(spec)
        refuse(controllers.check(made, self.feeder, forecast.expected, forecast.kind))
        return self.run_spec(spec, made, engine=engine, progress=progress)

    def run_spec(
        self,
        spec: RunSpec,
        controller: Controller | None = None,
        *,
        engine: str | Engine = "opendss",
        progress: Callable[[int, int], None] | None = None,
    ) -> Run:
        """Run one of the scenario's own runs, in the world that is its own (who complies, what is foreseen)."""
        self.inputs_sha256  # noqa: B018 - taken before anything runs
        controller = controller or self.controller(spec)
        trajectory = run(
            self.feeder,
            self.exogenous,
            controller,
            engine=engine,
            step_min=self.scenario.step_min,
            control_min=self.scenario.control_min,
            forecast=self.forecast_of(spec),
            behaviour=self.behaviour_of(spec),
            on_collapse=self.on_collapse,
            meters=self.meters,
            label=spec.name,
            decide_limit_s=self.scenario.decide_limit_s,
            progress=progress,
        )
        return Run(self, spec, controller, judged(trajectory))

    def measure(self, trajectory: Trajectory) -> dict[str, float]:
        """Scoreboard of a run of this day, with what its steps hide where profiles and feeder allow to say that."""
        board = scoreboard(trajectory)
        # where taps move the reduced network stands at the first of them, and of other sources it knows nothing
        is_known = self.feeder.taps != "controlled" and not self.feeder.network.injectors
        if self.exogenous.step_min < trajectory.step_min and is_known:
            with suppress(UnsupportedError, PowerFlowError):  # it cannot represent this feeder, and nothing is said
                board |= minute_extremes(trajectory, self.exogenous, self.predictor)
        return board

    def stepper(self, *, engine: str = "opendss") -> Stepper:
        """The day one step at a time; ``reset(seed)`` draws it anew."""
        return Stepper(self, engine=engine)

    def after(self, states: Mapping[str, Mapping[str, Any]], thermal: Mapping[str, ThermalState]) -> Day:
        """The same day with devices and transformers that begin as a run before it left them.

        Parameters
        ----------
        states : mapping of str to mapping
            See `Trajectory.device_states`.
        thermal : mapping of str to ThermalState
            See `thermal_end`.
        """

        def begun(day: Exogenous) -> Exogenous:
            kept = {
                name: Units(kind, replace(data, **states[name])) if states.get(name) else Units(kind, data)
                for name, (kind, data) in day.devices.items()
            }
            return replace(day, devices=kept, thermal_start=thermal)

        true, exogenous = self.exogenous, begun(self.exogenous)
        forecasts = {
            table: replace(told, expected=exogenous if told.expected is true else begun(told.expected))
            for table, told in self.forecasts.items()
        }
        return replace(self, exogenous=exogenous, forecasts=forecasts)

    @property
    def step_min(self) -> float:
        """Length of a step of its runs [min]."""
        return self.scenario.step_min

    @property
    def meters(self) -> MeterSpec | None:
        """What controllers see of it; None: the truth."""
        table = self.scenario.meters
        if table == type(table)():
            return None
        seed = tuple(self.scenario.stream("meters").integers(2**31, size=2).tolist())
        return MeterSpec(**table.model_dump(), seed=seed)

    @property
    def on_collapse(self) -> str:
        """What a step without power flow does."""
        return self.scenario.grid.on_collapse

    @property
    def forecast(self) -> Forecast:
        """What is told beforehand where a run says nothing else."""
        return self.forecasts[self.scenario.forecast]

    @property
    def behaviour(self) -> Behaviour:
        """How households react where a run says nothing else."""
        return self._behaviour(self.scenario.households.noncompliant_share)

    def forecast_of(self, run: RunSpec) -> Forecast:
        """What is told beforehand in one run."""
        return self.forecasts[self.scenario.forecast_of(run)]

    def behaviour_of(self, run: RunSpec) -> Behaviour:
        """How households react in one run; who ignores caps at a small share does so at every larger one."""
        return self._behaviour(self.scenario.noncompliant_share_of(run))

    def _behaviour(self, noncompliant_share: float) -> Behaviour:
        count = len(self.feeder.customers)
        noncompliant = np.zeros(count, dtype=bool)
        noncompliant[self._stream("noncompliant").permutation(count)[: round(noncompliant_share * count)]] = True
        response, longest_s = self._responses
        delay_s = np.zeros(0)
        if longest_s:
            # the day's cars are the same whoever complies, and so are their delays
            delay_s = of_sessions(
                self._stream("responses"), self.exogenous, lambda one, who: (one.uniform(0.0, longest_s, len(who)),)
            )[0]
        return Behaviour(response, noncompliant, delay_s, self._silent(count))

    def _stream(self, name: str) -> np.random.Generator:
        return self.scenario.stream(name, self.feeder.customers)

    def _silent(self, count: int) -> Bool:
        """Homes without communication, shape (step, customer); without rows where all hear everything."""
        scenario, loss = self.scenario, self.scenario.comm_loss
        steps, of_day = scenario.minutes // scenario.step_min, 1440 / scenario.step_min
        silent = np.zeros((steps if loss.share else 0, count), dtype=bool)
        rng, lost = self._stream("comm_loss"), round(loss.share * count)
        for day in range(int(np.ceil(len(silent) / of_day))):
            today = on(rng, None, scenario.start.toordinal() + day)
            homes = today.permutation(count)[:lost]
            (begin,) = each(today, range(count), lambda one, who: (one.uniform(0.0, 1440.0, len(who)),))
            for home in homes.tolist():
                first = round(day * of_day + begin[home] / scenario.step_min)
                silent[first : first + max(round(loss.minutes / scenario.step_min), 1), home] = True
        return silent

    @cached_property
    def _responses(self) -> tuple[str | tuple[str, ...], float]:
        """Response of all homes or of each, and the longest random delay of a start [s]."""
        homes = self.scenario.households
        if homes.responses is None:
            return homes.response, longest_delay_s(self.scenario)
        shares = homes.responses.shares()
        # spawned, so that delays do not depend on how homes were dealt
        rng = self._stream("responses").spawn(1)[0]
        groups = who_has_which(list(shares.values()), len(self.feeder.customers), rng)
        return tuple(list(shares)[group] for group in groups), longest_delay_s(self.scenario)


@dataclass(frozen=True, eq=False)
class LongDay(Day):
    """A horizon of more than 31 days, which is run week by week; what a day shows is of the first week.

    Attributes
    ----------
    part : callable
        Makes a week by its number, as a day of its own: the same homes, cars and roofs, as they are in the whole.
    """

    part: Callable[[int], Day]

    def run_spec(self, spec: RunSpec, *_: Any, **__: Any) -> Run:
        """Refuse to hold all of it in memory."""
        raise self._too_long(f"run({spec.name!r})")

    def stepper(self, **_: Any) -> Stepper:
        """Refuse to hold all of it in memory."""
        raise self._too_long("stepper()")

    def _too_long(self, asked: str) -> InputError:
        problem = f"{asked}: {self.scenario.horizon_h:g} h are run in {self.scenario.parts} parts"
        return InputError(Fault(str(self.path), "horizon_h", problem, "use 'cosim run', or take one week: day.part(0)"))


@dataclass(frozen=True, eq=False)
class Run:
    """One controller on a day: what happened, and what it measures.

    Attributes
    ----------
    day : Day
        The day.
    spec : experiments.scenario.Run
        Controller, label and options.
    controller : Controller
        As it was at the end.
    trajectory : Trajectory
        Everything that happened; ``trajectory.invalid`` says why nothing of it may be used, where that is so.
    """

    day: Day
    spec: RunSpec
    controller: Controller
    trajectory: Trajectory

    @property
    def label(self) -> str:
        """Name of the run."""
        return self.spec.name

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Every measure of the scoreboard by name, and those of others that are installed or wanted."""
        board = self.day.measure(self.trajectory)
        for failed in measure_own(self.trajectory, self.day.scenario.metrics, board):
            raise failed
        return board

    def save(self, folder: str | Path, *, figures: bool = True, overwrite: bool = False) -> None:
        """Write what ``cosim run`` writes, with this run as the only one.

        Parameters
        ----------
        folder : str or Path
            New, empty, or written by an earlier run. Receives ``trajectories``, ``unbalance`` and, of caps, ``caps``,
            each with a folder of the run's label, then ``metrics.json``, ``metrics.csv``, ``timing.json``,
            ``manifest.json``, ``figures`` and ``report.html``; where the controller promised a power, ``promise.csv``
            too.
        figures : bool
            False leaves figures out, of the report too.
        overwrite : bool
            Whether what an earlier run wrote there may be replaced; files of others never are.

        Raises
        ------
        InputError
            Where the folder cannot be made or written to, is in use, or holds something.
        RunStoppedError
            Where not everything could be measured and written; the rest is.
        """
        from cosim.experiments.results import save_run  # which writes days, and so comes after them

        save_run(self, Path(folder), figures=figures, overwrite=overwrite)


def compare(runs: Iterable[Run]) -> pd.DataFrame:
    """Set runs side by side.

    Parameters
    ----------
    runs : iterable of Run
        Of any days.

    Returns
    -------
    pandas.DataFrame
        One row per measure, one column per run, named by its label.

    Raises
    ------
    ValueError
        Where two runs have the same label.
    """
    board = {}
    for one in runs:
        if one.label in board:
            raise ValueError(f"two runs are labelled '{one.label}': give each its own, run(..., label=...)")
        board[one.label] = one.metrics
    return pd.DataFrame(board).rename_axis("metric")
