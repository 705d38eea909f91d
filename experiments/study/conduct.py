"""Conduct a study: look at it, run what is missing, keep the trajectories that were asked for, show one world."""

from __future__ import annotations

import json
import math
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import process_time

from cosim.errors import CosimError, Fault, InputError, collecting, refuse
from cosim.experiments.compose import compose
from cosim.experiments.execute import execute
from cosim.experiments.files import json_ready, origin, write_json
from cosim.experiments.keep import cross_check
from cosim.experiments.metric_table import METRICS
from cosim.experiments.results import Results
from cosim.experiments.scenario import Scenario
from cosim.experiments.study import dataset
from cosim.experiments.study.code import code_version
from cosim.experiments.study.config import Study
from cosim.experiments.study.runner import Counts, Progress, Task, run_tasks
from cosim.experiments.study.world import TARGET, check_feeder, feeder_of, run_world
from cosim.experiments.study.worlds import Point, Worlds
from cosim.folder import claimed
from cosim.threads import ONE_THREAD

MANIFEST = "study.json"
_PACKAGES = ("lv-feeder-cosim", "opendssdirect.py", "highspy", "numpy", "scipy", "pandas", "pyarrow")


@dataclass(frozen=True, eq=False)
class Tasks:
    """What is to be done for a study, a task a world; made as they are asked for.

    Attributes
    ----------
    worlds : Worlds
        Of the study.
    folder : Path or None
        Where trajectories of all runs are kept.
    """

    worlds: Worlds
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.worlds)

    def __iter__(self) -> Iterator[Task]:
        return map(self.of, self.worlds)

    def of(self, point: Point) -> Task:
        """Return the task of one world."""
        name, rows, scenario = self.worlds.hash(point), self.worlds.rows(point), self.worlds.scenario(point)
        payload = {
            "scenario": scenario, "where": self.worlds.scenario_path, "rows": rows,
            "engine": self.worlds.study.engine, "keep": self.folder and (self.folder, name),
        }  # fmt: skip

        def of_each() -> list[Task]:
            found = []
            for run, row in zip(scenario.runs, rows, strict=True) if len(rows) > 1 else ():
                own = {**payload, "scenario": scenario.model_copy(update={"runs": (run,)}), "rows": [row]}
                found.append(Task(f"{name}/{run.name}", TARGET, own, [row]))
            return found

        return Task(name, TARGET, payload, rows, of_each)


@dataclass(frozen=True)
class Estimate:
    """What a study will take, from its first world.

    Attributes
    ----------
    world_s : float
        Processor time of that world under all controllers [s].
    disk_mb : float
        Of all results and kept trajectories.
    """

    world_s: float
    disk_mb: float


def check(worlds: Worlds) -> list[str]:
    """Refuse a study that cannot be run before anything starts: each feeder under each controller, on one world.

    Returns
    -------
    list of str
        Warnings of these worlds.

    Raises
    ------
    InputError
        With every fault.
    """
    worlds.check()
    faults: list[Fault] = []
    warnings: list[str] = []
    for point in worlds.of_each_feeder():
        with collecting(faults, "feeder", worlds.path):
            day = check_feeder(worlds.scenario(point), worlds.scenario_path, worlds.study.engine)
            warnings += [f"{point.feeder}: {warning}" for warning in day.warnings]
    refuse(faults)
    return warnings


def estimate(worlds: Worlds) -> Estimate:
    """Run the first world, of a study that was checked, and keep nothing."""
    study = worlds.study
    with tempfile.TemporaryDirectory() as name, ONE_THREAD, claimed(folder := Path(name)):
        task = Tasks(worlds, folder if study.keep != "none" else None).of(next(iter(worlds)))
        began_s = process_time()  # whatever else the machine does
        rows = run_world(task.payload)
        world_s = process_time() - began_s
        trajectories = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    kept = {"none": 0, "worst": 1, "all": len(worlds)}[study.keep]
    return Estimate(world_s, (8 * len(worlds) * sum(map(len, rows)) + kept * trajectories) / 1e6)


def conduct(
    worlds: Worlds,
    folder: Path,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    resume: bool = False,
    progress: Progress = lambda _: None,
) -> Counts:
    """Run the worlds of a study that have no result yet.

    Parameters
    ----------
    worlds : Worlds
        Checked.
    folder : Path
        Receives ``results.parquet`` (a folder of parts), ``study.json`` and the trajectories that are kept.
    jobs, scheduler, progress
        See `run_tasks`.
    resume : bool
        Whether to go on with what is there.

    Raises
    ------
    InputError
        Where the folder holds a study that is another, or is not to be gone on with; else as `run_tasks`.
    WriteError
        Where the disk is full, or refuses otherwise; what was committed stands.
    """
    path = folder.resolve()
    is_begun = _is_begun(worlds, folder, resume)
    with claimed(folder, overwrite=is_begun, remedy="give another folder"):
        pass  # refused before the work
    tasks = Tasks(worlds, path if worlds.study.keep == "all" else None)
    begin = partial(_write_manifest, worlds, path, is_complete=False)
    counts = run_tasks(tasks, folder, jobs=jobs, scheduler=scheduler, begin=begin, progress=progress)
    with claimed(folder, overwrite=True):
        if worlds.study.keep == "worst":
            _keep_worst(worlds, path)
        _write_manifest(worlds, path, is_complete=True)
    return counts


def show(worlds: Worlds, folder: Path, prefix: str, out: Path) -> Results:
    """Run one world of a study again, and write of it what ``cosim run`` writes.

    Parameters
    ----------
    worlds : Worlds
        Of the study.
    folder : Path
        Where its results are.
    prefix : str
        Beginning of the world's hash.
    out : Path
        Receives the results of the runs.

    Raises
    ------
    InputError
        Where no world, or more than one, has such a hash, or it is another by now.
    """
    scenario = _scenario_of(worlds, folder, prefix)
    return execute(compose(scenario, worlds.scenario_path), out, engine=worlds.study.engine)


def worlds_of(folder: Path) -> Worlds:
    """Return the worlds of a study that was begun in a folder; InputError where none was."""
    told = folder / MANIFEST
    if not told.is_file():
        raise InputError(Fault(str(folder), MANIFEST, "is not there", "give the folder of a study"))
    content = json.loads(told.read_text(encoding="utf-8"))["study"]
    return Worlds(Study.model_validate_json(json.dumps(content)), told)


def recorded(folder: Path) -> dict[str, int]:
    """Number of results by status."""
    return dict(Counter(dataset.column(folder, "status")))


def _is_begun(worlds: Worlds, folder: Path, resume: bool) -> bool:
    """Whether a folder holds this study; refuses one that it must not go on with."""
    if not (folder / MANIFEST).is_file():
        return False
    finished = set(dataset.column(folder, "hash"))
    if not finished:  # it was refused, or ended at once
        return True
    if not resume:
        problem = f"holds a study of which {len(finished)} worlds are finished"
        raise InputError(Fault(str(folder), "--out", problem, "go on with it by --resume, or give another folder"))
    made_by = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["code_version"]
    if made_by != code_version():
        problem = f"was begun by cosim {made_by}, and this is {code_version()}, which may give other results"
        raise InputError(Fault(str(folder), "--resume", problem, "go on with that version, or give another folder"))
    if others := len(finished - set(map(worlds.hash, worlds))):
        problem = f"holds {others} worlds that the study does not have: it, or a file that it names, was changed"
        raise InputError(Fault(str(folder), "--resume", problem, "only add values to it, or give another folder"))
    return True


def _write_manifest(worlds: Worlds, folder: Path, *, is_complete: bool) -> None:
    content = {
        "study": worlds.study.model_dump(mode="json", exclude_unset=True),
        "scenario": worlds.base.model_dump(mode="json"),
        "code_version": code_version(),
        "worlds": len(worlds),
        "complete": is_complete,
        "recorded": recorded(folder),
        "engine_crosscheck": _crosschecks(worlds) if is_complete and worlds.study.engine != "opendss" else {},
        **origin(_PACKAGES),
    }
    write_json(folder / MANIFEST, json_ready(content))


def _crosschecks(worlds: Worlds) -> dict[str, dict[str, float] | str]:
    """How far the first world of each feeder is from OpenDSS, step by step; or why that cannot be said."""
    found: dict[str, dict[str, float] | str] = {}
    for point in worlds.of_each_feeder():
        scenario = worlds.scenario(point)
        try:
            day = compose(scenario, worlds.scenario_path, feeder=feeder_of(scenario))
            found[point.feeder] = cross_check(day.run_spec(scenario.runs[0], engine=worlds.study.engine).trajectory)
        except CosimError as error:
            found[point.feeder] = str(error)
    return found


def _keep_worst(worlds: Worlds, folder: Path) -> None:
    """Make each controller's worst run again, which gives the same, and write its trajectory."""
    by, rows = worlds.study.worst_by, dataset.read(folder)
    sign = 1.0 if METRICS[by].better == "high" else -1.0
    rows = rows.assign(stood=rows["status"] != "collapsed", goodness=sign * rows[by] if by in rows else math.nan)
    ranked = rows[rows["goodness"].notna() | ~rows["stood"]].sort_values(["stood", "goodness", "hash"])
    for name, controller in ranked.drop_duplicates("controller")[["hash", "controller"]].itertuples(index=False):
        scenario = _scenario_of(worlds, folder, name)
        runs = tuple(run for run in scenario.runs if run.name == controller)
        payload = {
            "scenario": scenario.model_copy(update={"runs": runs}), "where": worlds.scenario_path, "rows": [{}],
            "engine": worlds.study.engine, "keep": (folder, name),
        }  # fmt: skip
        with ONE_THREAD:
            run_world(payload)


def _scenario_of(worlds: Worlds, folder: Path, prefix: str) -> Scenario:
    rows = dataset.beginning_with(folder, prefix)
    names = sorted({row["hash"] for row in rows})
    if len(names) != 1:
        problem = f"'{prefix}' is the beginning of {len(names)} hashes"
        remedy = "give more of one in the column hash of its results"
        raise InputError(Fault(str(folder), "HASH", problem, remedy))
    # the row may say of a run what is its own, so the world is sought by what is the same for all
    same = ("feeder", "date", "placement")
    for point in worlds:
        if all(getattr(point, key) == rows[0][key] for key in same) and worlds.hash(point) == names[0]:
            scenario = worlds.scenario(point)
            return scenario.model_copy(update={"name": f"{worlds.study.name}-{names[0]}"})
    problem = "is of another version of the code, of the study, or of a file that it names"
    raise InputError(Fault(str(folder), f"HASH {names[0]}", problem, "go back to those that study.json names"))
