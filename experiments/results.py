"""What is kept of runs: each is written and measured as it ends, and so is what all runs share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cosim import Trajectory
from cosim.errors import CosimError, RunStoppedError, reason
from cosim.experiments.files import json_ready, write_json
from cosim.experiments.manifest import make_manifest
from cosim.experiments.promise_table import FILE_NAME as PROMISES
from cosim.experiments.promise_table import promise_rows, write_promises
from cosim.experiments.tables import write_csv
from cosim.experiments.unbalance_tables import analyse, describe, write_unbalance
from cosim.folder import claimed
from cosim.measures import scoreboard
from cosim.measures.own import measure_own
from cosim.record import write_trajectory
from cosim.stepper import make_engine

if TYPE_CHECKING:
    from cosim.experiments.day import Day, Run

Progress = Callable[[str, str, int, int], None]
"""Called with (label of a run or ``SHARED``, phase, completed parts, all parts)."""

SHARED = "all runs"
_TABLES = "metrics and manifest"
INTERRUPTED = 130
_CROSS_CHECKED_STEPS = 24


@dataclass(frozen=True, eq=False)
class RunResult:
    """One run with what was measured in it; what could not be measured is missing.

    Attributes
    ----------
    trajectory : Trajectory
        What happened, in one step at least; marked as incomplete where the run was stopped.
    metrics : dict of str to float
        Scoreboard.
    unbalance : list of str
        Where it is worst, and who causes it.
    crosscheck : dict of str to float
        See `cross_check`; empty of a run on OpenDSS itself.
    missing : list of str
        Phases that failed: what they write and measure is not there, or only in part.
    """

    trajectory: Trajectory
    metrics: dict[str, float] = field(default_factory=dict)
    unbalance: list[str] = field(default_factory=list)
    crosscheck: dict[str, float] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether the run came to its last step, and all of it is on disk."""
        return self.trajectory.complete and not self.missing

    @property
    def timing(self) -> dict[str, float]:
        """Durations [s]."""
        run = self.trajectory
        decisions = [decision.wall_s for _, decision in run.decisions]
        wholes = {"wall_s": run.wall_s, "plan_s": run.plan_s, "decide_s": run.decide_s}
        return {**wholes, "decide_max_s": max(decisions, default=0.0)}


@dataclass
class Results:
    """What came out so far.

    Attributes
    ----------
    folder : Path
        Where it is written.
    day : Day
        With the runs that are to be made.
    engine : str
        Which power flow.
    runs : dict of str to RunResult
        By label, in the order of the scenario; a stopped run is there too if it completed a step.
    failures : dict of str to RunStoppedError
        Why a run is not whole or not measured, by label; under other names what went wrong with all of them.
    """

    folder: Path
    day: Day
    engine: str
    runs: dict[str, RunResult] = field(default_factory=dict)
    failures: dict[str, RunStoppedError] = field(default_factory=dict)

    def take(self, label: str, result: RunResult | None, failed: Sequence[RunStoppedError]) -> None:
        """Take what came out of a run, and write what all share, so that it is whole on disk as each run ends."""
        runs = self.runs | ({} if result is None else {label: result})
        self.runs = {item.name: runs[item.name] for item in self.day.scenario.runs if item.name in runs}
        if failed:
            self.failures[label] = _joined(failed)
        self.write()

    def write(self) -> dict[str, Any]:
        """Write metrics, timing and manifest; what the last holds. That they cannot be written stops no run."""
        if _TABLES in self.failures and self.failures[_TABLES].exit_code != INTERRUPTED:
            del self.failures[_TABLES]  # what could not be written may be now; an interruption is not forgotten
        with self.keeping(_TABLES):
            return write_tables(self)
        return {}

    @contextmanager
    def keeping(self, label: str) -> Iterator[None]:
        """Record what goes wrong inside, and go on."""
        failed: list[RunStoppedError] = []
        with going_on(label, failed):
            yield
        if failed:
            self.failures[label] = _joined([*([self.failures[label]] if label in self.failures else []), *failed])

    @property
    def trajectories(self) -> dict[str, Trajectory]:
        """Trajectories of the runs that were measured, by label."""
        return {label: run.trajectory for label, run in self.runs.items() if run.metrics}

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Scoreboards by label."""
        return {label: run.metrics for label, run in self.runs.items() if run.metrics}

    @property
    def incomplete(self) -> list[str]:
        """Labels of the runs that are not there or not whole."""
        labels = [item.name for item in self.day.scenario.runs]
        return [label for label in labels if label not in self.runs or not self.runs[label].is_whole]

    @property
    def interrupted(self) -> bool:
        """Whether the user ended it all."""
        return any(error.exit_code == INTERRUPTED for error in self.failures.values())

    @property
    def stopped(self) -> RunStoppedError | None:
        """One error for all that went wrong, in the order of the scenario; exit code 3, or 130 of an interruption."""
        labels = dict.fromkeys([*[item.name for item in self.day.scenario.runs], *self.failures])
        failed = [self.failures[label] for label in labels if label in self.failures]
        if not self.interrupted:
            return _joined(failed) if failed else None
        open_runs = f"interrupted; not finished: {', '.join(self.incomplete) or 'nothing'}"
        others = [str(error) for error in failed if error.exit_code != INTERRUPTED]
        return RunStoppedError("; ".join([open_runs, *others]), None, INTERRUPTED)


def nobody(_label: str, _phase: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


@contextmanager
def going_on(label: str, failed: list[RunStoppedError]) -> Iterator[None]:
    """Take down whatever goes wrong inside, a bug or an interruption too, and go on: it costs no other result."""
    try:
        yield
    except RunStoppedError as error:
        failed.append(error)
    except BaseException as error:  # such as SystemExit in a measure of others
        is_interrupted = isinstance(error, KeyboardInterrupt)
        told = f"{label}: {'interrupted' if is_interrupted else reason(error)}"
        failed.append(RunStoppedError(told, None, INTERRUPTED if is_interrupted else CosimError.exit_code))
        failed[-1].__cause__ = error


def _joined(failed: Sequence[RunStoppedError]) -> RunStoppedError:
    is_interrupted = any(error.exit_code == INTERRUPTED for error in failed)
    code = INTERRUPTED if is_interrupted else CosimError.exit_code  # other runs have results, so the input is not wrong
    one = RunStoppedError("; ".join(dict.fromkeys(map(str, failed))), None, code)
    one.__cause__ = failed[0].__cause__
    return one


def keep_run(
    trajectory: Trajectory, day: Day, folder: Path, progress: Progress = nobody
) -> tuple[RunResult | None, list[RunStoppedError]]:
    """Write a run and measure it: the trajectory first, so that nothing that fails afterwards can lose it.

    Parameters
    ----------
    trajectory : Trajectory
        Of the whole run, or of a part.
    day : Day
        What it ran on.
    folder : Path
        Receives ``trajectories/<label>``, ``unbalance/<label>`` and, of caps, ``caps/<label>``.
    progress : callable, optional
        Told of each phase.

    Returns
    -------
    result : RunResult or None
        None where no step was completed.
    failed : list of RunStoppedError
        What could not be written or measured.
    """
    label, result = trajectory.label, RunResult(trajectory)
    failed: list[RunStoppedError] = []

    def write() -> None:
        write_trajectory(trajectory, folder / "trajectories" / label)

    def measure() -> None:
        result.metrics.clear()
        result.metrics.update(scoreboard(trajectory))
        found = measure_own(trajectory, day.scenario.metrics, result.metrics)
        failed.extend(RunStoppedError(f"{label}: {error}", None, error.exit_code) for error in found)

    def analyse_unbalance() -> None:
        found = analyse(trajectory)
        result.unbalance[:] = describe(found)
        write_unbalance(found, folder / "unbalance" / label)

    def check() -> None:
        if trajectory.engine != "opendss":
            result.crosscheck.update(cross_check(trajectory))

    def prove() -> None:
        write_proof(folder / "caps" / label, trajectory, day)

    parts = {"writing": write, "measures": measure, "unbalance": analyse_unbalance, "cross-check": check}
    parts = {**(parts if trajectory.steps else {}), **({"proof": prove} if "caps" in trajectory.artifacts else {})}
    for done, (phase, work) in enumerate(parts.items()):
        broken: list[RunStoppedError] = []
        with going_on(label, broken):
            try:
                progress(label, phase, done, len(parts))
                work()
            except KeyboardInterrupt:  # what is computed is quickly kept; a second interruption is obeyed
                failed.append(RunStoppedError(f"{label}: interrupted", None, INTERRUPTED))
                work()
        result.missing.extend([phase] if broken else [])
        failed += broken
    with going_on(label, failed):
        progress(label, "done", 1, 1)
    return result if trajectory.steps else None, failed


def save_run(run: Run, folder: Path, *, figures: bool = True, overwrite: bool = False) -> None:
    """Write what ``cosim run`` writes, of one run; see `Run.save`."""
    day = replace(run.day, scenario=run.day.scenario.model_copy(update={"runs": (run.spec,)}))
    with claimed(folder, overwrite=overwrite) as owned:
        owned.clear()
        results = Results(owned.path, day, run.trajectory.engine)
        results.take(run.label, *keep_run(run.trajectory, day, owned.path))
        finish(results, figures=figures)
    if results.stopped is not None:
        raise results.stopped


def write_proof(folder: Path, trajectory: Trajectory, composition: Day) -> None:
    """Write the caps of a controller that left a record of some, with every household's own best response beside them.

    The deviation test is judged by the limits planned to, margin and all; its draws are the same for every run.
    """
    record = trajectory.artifacts.get("caps")
    if is_dataclass(record):
        from cosim.controllers.caps.record import CapsRecord  # brings Pyomo, which other controllers do without
        from cosim.experiments.caps_output import write_caps
        from cosim.experiments.caps_tables import deviation_rows

        if isinstance(record, CapsRecord) and record.day_ahead.result is not None:
            problem, result = record.day_ahead.problem, record.day_ahead.result
            rng, names = composition.scenario.stream("deviation"), composition.feeder.customers
            deviations = deviation_rows(problem, result.caps_kw, rng, plan=folder.name)
            write_caps(folder, problem, result, households=names, deviations=deviations, record=record)


def cross_check(trajectory: Trajectory) -> dict[str, float]:
    """Replay sampled steps of a run in OpenDSS and compare all node voltages.

    Parameters
    ----------
    trajectory : Trajectory
        A run on another engine.

    Returns
    -------
    dict
        ``steps`` compared, and the largest difference ``voltage_max_pu`` of the declared nominal voltage.
    """
    truth = make_engine("opendss", trajectory.feeder)
    steps = np.unique(np.linspace(0, trajectory.steps - 1, _CROSS_CHECKED_STEPS).astype(int))
    base = trajectory.feeder.nominal_voltage_v
    worst = 0.0
    for k in steps:
        voltage = truth.solve(trajectory.net_kw[k], trajectory.net_kvar[k], float(trajectory.exogenous.source_pu[k]))
        worst = max(worst, float(np.abs(voltage - trajectory.node_v[k]).max()) / base)
    return {"steps": float(len(steps)), "voltage_max_pu": worst}


def write_tables(results: Results) -> dict[str, Any]:
    """Write metrics, timing and manifest of all runs so far; what the manifest holds."""
    folder, metrics, incomplete = results.folder, results.metrics, results.incomplete
    crosschecks = {label: run.crosscheck for label, run in results.runs.items() if run.crosscheck}
    ended = {label: replace(run.trajectory, complete=run.is_whole) for label, run in results.runs.items()}
    manifest = make_manifest(results.day, ended, results.engine, results.stopped, crosschecks, results.failures)
    write_json(folder / "manifest.json", manifest)
    write_json(folder / "timing.json", json_ready({label: run.timing for label, run in results.runs.items()}))
    table = pd.DataFrame.from_dict(metrics, orient="index").rename_axis("controller")
    table["complete"] = [label not in incomplete for label in table.index]
    write_csv(table, folder / "metrics.csv", index=True)
    # the last: a run that is named there is whole in all other files, wherever the program is ended
    write_json(folder / "metrics.json", {"controllers": json_ready(metrics), "incomplete": incomplete})
    return manifest


def finish(results: Results, *, figures: bool = True, progress: Progress = nobody) -> None:
    """Write what only makes sense of all runs: promises, and where nobody interrupted figures and report.

    Parameters
    ----------
    results : Results
        Of the runs, complete or not.
    figures : bool
        False leaves figures out, of the report too.
    progress : callable, optional
        Told of each phase.
    """
    manifest = results.write()
    with results.keeping(SHARED):
        _write_report(results, manifest, figures, progress)
    if SHARED in results.failures:
        results.write()


def _write_report(results: Results, manifest: dict[str, Any], figures: bool, progress: Progress) -> None:
    folder, trajectories, metrics = results.folder, results.trajectories, results.metrics
    if not trajectories or not manifest:
        return
    promises = promise_rows(trajectories, metrics, manifest["runs"])
    write_promises(folder / PROMISES, promises)
    if results.interrupted:
        return
    from cosim.experiments.figures import write_figures  # brings matplotlib
    from cosim.experiments.figures.runs import Runs
    from cosim.experiments.report import write_report

    runs = Runs(trajectories, metrics, results.day.exogenous)
    drawn = []
    if figures:
        with results.keeping(SHARED):  # a report without them is better than none
            drawn = write_figures(
                runs, folder / "figures", promises=promises,
                progress=lambda name, done, total: progress(SHARED, f"figures: {name}", done, total),
            )  # fmt: skip
        if results.interrupted:
            return
        manifest = results.write() if SHARED in results.failures else manifest
    progress(SHARED, "report", 0, 1)
    unbalance = {label: results.runs[label].unbalance for label in trajectories}
    write_report(folder, results.day, runs, manifest, drawn, promises, unbalance)
    progress(SHARED, "done", 1, 1)
