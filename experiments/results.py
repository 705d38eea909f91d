"""Results of runs: what all share is whole on disk as each run ends, and what is drawn of them at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from cosim import Trajectory
from cosim.errors import CosimError, RunStoppedError
from cosim.experiments.files import json_ready, write_json
from cosim.experiments.keep import INTERRUPTED, Progress, RunResult, going_on, keep_run, nobody
from cosim.experiments.manifest import make_manifest
from cosim.experiments.on_disk import FILE_NAME as PARTS
from cosim.experiments.on_disk import PartsResult, TrajectoryOnDisk
from cosim.experiments.promise_table import FILE_NAME as PROMISES
from cosim.experiments.promise_table import promise_rows, write_promises
from cosim.experiments.tables import write_csv
from cosim.folder import claimed

if TYPE_CHECKING:
    from cosim.experiments.day import Day, Run

SHARED = "all runs"
_TABLES = "metrics and manifest"
_WITH_MINUTES = ("voltage_min_pu", "voltage_min_1min_pu", "voltage_max_pu", "voltage_max_1min_pu")


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
    inputs_sha256 : mapping of str to str
        Of the files that the day was made of, before anything ran.
    runs : dict of str to RunResult or PartsResult
        By label, in the order of the scenario; a stopped run is there too if it completed a step.
    failures : dict of str to RunStoppedError
        Why a run is not whole or not measured, by label; under other names what went wrong with all of them.
    """

    folder: Path
    day: Day
    engine: str
    inputs_sha256: Mapping[str, str]
    runs: dict[str, RunResult | PartsResult] = field(default_factory=dict)
    failures: dict[str, RunStoppedError] = field(default_factory=dict)

    def take(self, label: str, result: RunResult | PartsResult | None, failed: Sequence[RunStoppedError]) -> None:
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
        return {label: run.trajectory for label, run in self.runs.items() if isinstance(run, RunResult) and run.metrics}

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
    def invalid(self) -> dict[str, str]:
        """Runs of which nothing may be used, and why."""
        return {label: run.trajectory.invalid for label, run in self.runs.items() if run.trajectory.invalid}

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


def _joined(failed: Sequence[RunStoppedError]) -> RunStoppedError:
    is_interrupted = any(error.exit_code == INTERRUPTED for error in failed)
    code = INTERRUPTED if is_interrupted else CosimError.exit_code  # other runs have results, so the input is not wrong
    one = RunStoppedError("; ".join(dict.fromkeys(map(str, failed))), None, code)
    one.__cause__ = failed[0].__cause__
    return one


def save_run(run: Run, folder: Path, *, figures: bool = True, overwrite: bool = False) -> None:
    """Write what ``cosim run`` writes, of one run; see `Run.save`."""
    day = replace(run.day, scenario=run.day.scenario.model_copy(update={"runs": (run.spec,)}))
    with claimed(folder, overwrite=overwrite) as owned:
        owned.clear()
        results = Results(owned.path, day, run.trajectory.engine, run.day.inputs_sha256)
        results.take(run.label, *keep_run(run.trajectory, day, owned.path))
        finish(results, figures=figures)
    if results.stopped is not None:
        raise results.stopped


def write_tables(results: Results) -> dict[str, Any]:
    """Write metrics, timing and manifest of all runs so far; what the manifest holds."""
    folder, metrics, incomplete = results.folder, results.metrics, results.incomplete
    crosschecks = {label: run.crosscheck for label, run in results.runs.items() if run.crosscheck}
    ended: dict[str, Trajectory | TrajectoryOnDisk] = {
        label: replace(run.trajectory, complete=run.is_whole) for label, run in results.runs.items()
    }
    minutes = {
        label: {name: found[name] for name in _WITH_MINUTES}
        for label, found in metrics.items()
        if "voltage_min_1min_pu" in found
    }
    manifest = make_manifest(
        results.day, ended, results.engine, results.inputs_sha256, results.stopped, crosschecks, results.failures,
        json_ready(minutes),
    )  # fmt: skip
    write_json(folder / "manifest.json", manifest)
    write_json(folder / "timing.json", json_ready({label: run.timing for label, run in results.runs.items()}))
    worst = {label: run.worst for label, run in results.runs.items() if run.metrics}
    write_json(folder / "worst.json", json_ready({"controllers": worst}))
    table = pd.DataFrame.from_dict(metrics, orient="index").rename_axis("controller")
    table["complete"] = [label not in incomplete for label in table.index]
    write_csv(table, folder / "metrics.csv", index=True)
    areas = [{"controller": label, **row} for label, run in results.runs.items() if run.metrics for row in run.areas]
    if parts := [row for run in results.runs.values() if isinstance(run, PartsResult) for row in run.parts]:
        write_csv(pd.DataFrame(parts), folder / PARTS)
    write_csv(pd.DataFrame(areas, columns=["controller", "area"] if not areas else None), folder / "areas.csv")
    # the last: a run that is named there is whole in all other files, wherever the program is ended
    told = {"controllers": json_ready(metrics), "incomplete": incomplete, "invalid": results.invalid}
    write_json(folder / "metrics.json", told)
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
    if results.day.scenario.parts > 1:
        if manifest and results.metrics and not results.interrupted:
            from cosim.experiments.year import write_year  # brings matplotlib

            write_year(results, manifest, figures=figures)
        return
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

    worst = {label: run.worst for label, run in results.runs.items() if run.metrics}
    runs = Runs(trajectories, metrics, results.day.exogenous, worst)
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
    write_report(results, runs, manifest, drawn, promises)
    progress(SHARED, "done", 1, 1)
