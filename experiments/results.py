"""What is kept of runs: one run measured and written into its folders, and the files that all runs share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from cosim import Trajectory
from cosim.errors import Fault, InputError, RunStoppedError
from cosim.experiments.files import json_ready, writable_folder, write_json
from cosim.experiments.manifest import make_manifest
from cosim.experiments.promise_table import FILE_NAME as PROMISES
from cosim.experiments.promise_table import promise_rows, write_promises
from cosim.experiments.tables import write_csv
from cosim.experiments.unbalance_tables import Unbalance, analyse, describe, write_unbalance
from cosim.measures import scoreboard
from cosim.record import write_trajectory
from cosim.stepper import make_engine

if TYPE_CHECKING:
    from cosim.experiments.day import Day, Run

Progress = Callable[[str, str, int, int], None]
"""Called with (label of a run or ``SHARED``, phase, completed parts, all parts)."""

SHARED = "all runs"
_OF_A_RUN = ("trajectories", "caps", "unbalance")
_SHARED_OUTPUTS = ("figures", "manifest.json", "metrics.json", "metrics.csv", PROMISES, "timing.json", "report.html")
_CROSS_CHECKED_STEPS = 24


@dataclass(frozen=True, eq=False)
class RunResult:
    """One run with what was measured in it.

    Attributes
    ----------
    trajectory : Trajectory
        What happened; marked as incomplete where the run was stopped.
    metrics : dict of str to float
        Scoreboard.
    timing : dict of str to float
        Durations [s].
    unbalance : Unbalance
        Every index at every bus and line, and who causes the worst.
    crosscheck : dict of str to float
        See `cross_check`; empty of a run on OpenDSS itself.
    """

    trajectory: Trajectory
    metrics: dict[str, float]
    timing: dict[str, float]
    unbalance: Unbalance
    crosscheck: dict[str, float]


@dataclass
class Results:
    """What came out so far.

    Attributes
    ----------
    folder : Path
        Where it is written.
    runs : dict of str to RunResult
        By label, in the order of the scenario; a stopped run is there too if it completed a step.
    stopped : RunStoppedError or None
        Why a run did not finish.
    """

    folder: Path
    runs: dict[str, RunResult] = field(default_factory=dict)
    stopped: RunStoppedError | None = None

    @property
    def trajectories(self) -> dict[str, Trajectory]:
        """Trajectories by label."""
        return {label: run.trajectory for label, run in self.runs.items()}

    @property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Scoreboards by label."""
        return {label: run.metrics for label, run in self.runs.items()}


def nobody(_label: str, _phase: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


def measure_run(trajectory: Trajectory, *, progress: Progress = nobody) -> RunResult:
    """Compute everything that is said of one run.

    Parameters
    ----------
    trajectory : Trajectory
        With at least one step.
    progress : callable, optional
        Told of each phase.
    """
    label = trajectory.label
    progress(label, "measures", 0, 2)
    metrics = scoreboard(trajectory)
    progress(label, "unbalance", 1, 2)
    decisions = [decision.wall_s for _, decision in trajectory.decisions]
    return RunResult(
        trajectory,
        metrics,
        {
            "wall_s": trajectory.wall_s,
            "plan_s": trajectory.plan_s,
            "decide_s": trajectory.decide_s,
            "decide_max_s": max(decisions, default=0.0),
        },
        analyse(trajectory),
        {} if trajectory.engine == "opendss" else cross_check(trajectory),
    )


def save_run(run: Run, folder: Path, *, figures: bool = True) -> None:
    """Write what ``cosim run`` writes, of one run; see `Run.save`."""
    day = replace(run.day, scenario=run.day.scenario.model_copy(update={"runs": (run.spec,)}))
    clear(writable_folder(folder))
    result = measure_run(run.trajectory)
    result.metrics.update(run.metrics)  # those of others too
    results = Results(folder, {run.label: result})
    write_run(folder, results.runs[run.label])
    write_proof(folder / "caps" / run.label, run.trajectory, day)
    write_shared(results, day, engine=run.trajectory.engine, figures=figures)


def write_run(folder: Path, result: RunResult, *, progress: Progress = nobody) -> None:
    """Write one run's tables into ``trajectories/<label>`` and ``unbalance/<label>``.

    Parameters
    ----------
    folder : Path
        Of all results.
    result : RunResult
        From `measure_run`.
    progress : callable, optional
        Told of the phase.
    """
    label = result.trajectory.label
    progress(label, "writing", 0, 1)
    write_trajectory(result.trajectory, folder / "trajectories" / label)
    write_unbalance(result.unbalance, folder / "unbalance" / label)
    progress(label, "done", 1, 1)


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


def write_shared(
    results: Results,
    composition: Day,
    *,
    engine: str,
    figures: bool = True,
    progress: Progress = nobody,
) -> None:
    """Write what all runs share: metrics, timing, manifest, promises, and where nobody interrupted figures and report.

    Parameters
    ----------
    results : Results
        Of the runs, complete or not.
    composition : Day
        What they ran on.
    engine : str
        Which power flow.
    figures : bool
        False leaves figures out, of the report too.
    progress : callable, optional
        Told of each phase.
    """
    folder, trajectories, metrics = results.folder, results.trajectories, results.metrics
    incomplete = [label for label, trajectory in trajectories.items() if not trajectory.complete]
    write_json(folder / "metrics.json", {"controllers": json_ready(metrics), "incomplete": incomplete})
    table = pd.DataFrame.from_dict(metrics, orient="index").rename_axis("controller")
    table["complete"] = [label not in incomplete for label in table.index]
    write_csv(table, folder / "metrics.csv", index=True)
    write_json(folder / "timing.json", {label: run.timing for label, run in results.runs.items()})
    crosschecks = {label: run.crosscheck for label, run in results.runs.items() if run.crosscheck}
    manifest = make_manifest(composition, trajectories, engine, results.stopped, crosschecks)
    write_json(folder / "manifest.json", manifest)
    promises = promise_rows(trajectories, metrics, manifest["runs"])
    write_promises(folder / PROMISES, promises)
    if not trajectories or (results.stopped and results.stopped.exit_code == 130):
        return
    from cosim.experiments.figures import write_figures  # brings matplotlib
    from cosim.experiments.figures.runs import Runs
    from cosim.experiments.report import write_report

    runs = Runs(trajectories, metrics, composition.exogenous)
    drawn = []
    if figures:
        drawn = write_figures(
            runs, folder / "figures", promises=promises,
            progress=lambda name, done, total: progress(SHARED, f"figures: {name}", done, total),
        )  # fmt: skip
    progress(SHARED, "report", 0, 1)
    unbalance = {label: describe(run.unbalance) for label, run in results.runs.items()}
    write_report(folder, composition, runs, manifest, drawn, promises, unbalance)
    progress(SHARED, "done", 1, 1)


def clear(folder: Path) -> None:
    """Take away what an earlier run wrote there, so that nothing stale stands beside the new results.

    Raises
    ------
    InputError
        Where something of these names is there without the manifest of a run: it may be the user's own.
    """
    there = [folder / name for name in (*_OF_A_RUN, *_SHARED_OUTPUTS) if (folder / name).exists()]
    manifest = folder / "manifest.json"
    if there and not (manifest.is_file() and '"lv-feeder-cosim"' in manifest.read_text("utf-8", errors="replace")):
        names = ", ".join(path.name for path in there)
        raise InputError(Fault(str(folder), "--out", f"holds {names}, but no run wrote them", "give another folder"))
    _remove(there)


def clear_run(folder: Path, label: str) -> None:
    """Take away what was written of one run, which did not finish."""
    _remove(folder / name / label for name in _OF_A_RUN)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
