"""Run every controller of a scenario and write everything that follows from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, is_dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cosim import Trajectory
from cosim.errors import CosimError, RunStoppedError
from cosim.experiments.day import Day
from cosim.experiments.figures import write_figures
from cosim.experiments.files import write_json
from cosim.experiments.manifest import assumptions, make_manifest
from cosim.experiments.promise_table import FILE_NAME as PROMISES
from cosim.experiments.promise_table import promise_rows, write_promises
from cosim.experiments.report import write_report
from cosim.experiments.unbalance.tables import analyse, describe
from cosim.experiments.unbalance.write import write_unbalance
from cosim.measures import json_safe, scoreboard
from cosim.measures.own import find_own, measure_own
from cosim.record import write_trajectory, write_whole
from cosim.stepper import make_engine

Progress = Callable[[str, int, int], None]

_CROSS_CHECKED_STEPS = 24
_OUTPUTS = (
    "trajectories",
    "figures",
    "caps",
    "unbalance",
    "manifest.json",
    "metrics.json",
    "metrics.csv",
    "promise.csv",
    "timing.json",
    "report.html",
)


@dataclass
class Results:
    """What came out so far.

    Attributes
    ----------
    folder : Path
        Where it is written.
    trajectories : dict of str to Trajectory
        By label, in the order of the runs; a stopped run is there too, marked as incomplete.
    metrics : dict of str to dict
        Scoreboard by label.
    unbalance : dict of str to list of str
        Where unbalance is worst in each run, and who causes it.
    stopped : RunStoppedError or None
        Why the last run did not finish.
    """

    folder: Path
    trajectories: dict[str, Trajectory] = field(default_factory=dict)
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    timing: dict[str, dict[str, float]] = field(default_factory=dict)
    crosscheck: dict[str, dict[str, float]] = field(default_factory=dict)
    unbalance: dict[str, list[str]] = field(default_factory=dict)
    stopped: RunStoppedError | None = None


def execute(
    composition: Day,
    folder: Path,
    *,
    where: Path,
    engine: str = "opendss",
    progress: Progress | None = None,
) -> Results:
    """Run the controllers one after another, and write trajectories, metrics, manifest, figures and report.

    Parameters
    ----------
    composition : Day
        The scenario's parts.
    folder : Path
        Receives the results.
    where : Path
        The scenario's file.
    engine : str
        Which power flow.
    progress : callable, optional
        Called with (label, completed steps, all steps).

    Returns
    -------
    Results
        ``stopped`` is set where a run failed or was interrupted; what was computed is on disk and marked.
    """
    results = Results(folder)
    _clear(folder)
    for item in composition.scenario.runs:
        try:
            report = None if progress is None else partial(progress, item.name)
            controller = composition.controller(item)
            trajectory = composition.run_spec(item, controller, engine=engine, progress=report).trajectory
        except RunStoppedError as stop:
            results.stopped = stop
            if not isinstance(stop.trajectory, Trajectory):
                break
            trajectory = stop.trajectory
        except KeyboardInterrupt:
            results.stopped = RunStoppedError(f"{item.name}: interrupted before its first step", None, 130)
            break
        try:
            if trajectory.steps:
                _keep(results, item.name, trajectory, engine)
                results.metrics[item.name] |= measure_own(
                    trajectory, find_own(composition.scenario.metrics), results.metrics[item.name]
                )
            _keep_proof(folder / "caps" / item.name, trajectory, composition)
        except KeyboardInterrupt:
            results.stopped = RunStoppedError(f"{item.name}: interrupted while it was written", None, 130)
        except CosimError as error:
            results.stopped = results.stopped or RunStoppedError(f"{item.name}: {error}", None, error.exit_code)
        if results.stopped:
            break
    _finish(results, composition, where, engine)
    return results


def _clear(folder: Path) -> None:
    """Take away what an earlier run wrote there, so that nothing stale stands beside the new results."""
    for name in _OUTPUTS:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _keep(results: Results, label: str, trajectory: Trajectory, engine: str) -> None:
    results.trajectories[label] = trajectory
    results.metrics[label] = scoreboard(trajectory)
    decisions = [decision.wall_s for _, decision in trajectory.decisions]
    results.timing[label] = {
        "wall_s": trajectory.wall_s,
        "decide_s": trajectory.decide_s,
        "decide_max_s": max(decisions, default=0.0),
    }
    if engine != "opendss":
        results.crosscheck[label] = cross_check(trajectory)
    write_trajectory(trajectory, results.folder / "trajectories" / label)
    found = analyse(trajectory)
    write_unbalance(found, results.folder / "unbalance" / label)
    results.unbalance[label] = describe(found)


def _keep_proof(folder: Path, trajectory: Trajectory, composition: Day) -> None:
    """Write the caps of a controller that left a record of some, with every household's own best response beside them.

    The deviation test is judged by the limits planned to, margin and all; its draws are the same for every run.
    """
    record = trajectory.artifacts.get("caps")
    if is_dataclass(record):
        from cosim.controllers.caps.record import CapsRecord  # brings Pyomo, which other controllers do without
        from cosim.experiments.caps_output import write_caps
        from cosim.experiments.deviation_output import deviation_rows

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


def _finish(results: Results, composition: Day, where: Path, engine: str) -> None:
    folder = results.folder
    metrics = {"controllers": {label: json_safe(values) for label, values in results.metrics.items()}}
    write_json(folder / "metrics.json", metrics)
    table = pd.DataFrame.from_dict(results.metrics, orient="index").rename_axis("controller")
    write_whole(folder / "metrics.csv", lambda path: table.to_csv(path, lineterminator="\n"))
    write_json(folder / "timing.json", results.timing)
    manifest = make_manifest(results.trajectories, results.stopped, results.crosscheck, composition, where, engine)
    write_json(folder / "manifest.json", manifest)
    promises = promise_rows(results.trajectories, results.metrics, manifest["runs"])
    write_promises(folder / PROMISES, promises)
    if results.trajectories and not (results.stopped and results.stopped.exit_code == 130):
        figures = write_figures(
            results.trajectories, results.metrics, folder / "figures", day=composition.exogenous, promises=promises
        )
        stated = assumptions(composition, engine)
        write_report(
            folder, results.trajectories, results.metrics, manifest, figures, stated, promises, results.unbalance
        )
