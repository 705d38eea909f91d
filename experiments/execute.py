"""Run every controller of a scenario, one after another or several at once, and write what follows from it."""

from __future__ import annotations

import signal
from contextlib import suppress
from dataclasses import is_dataclass, replace
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

from cosim import Trajectory
from cosim.errors import CosimError, RunStoppedError
from cosim.experiments import memory_limit_mb, workers
from cosim.experiments.compose import compose
from cosim.experiments.day import Day, LongDay
from cosim.experiments.keep import Progress, RunResult, going_on, keep_run, nobody
from cosim.experiments.on_disk import PartsResult
from cosim.experiments.parts import perform_parts
from cosim.experiments.results import SHARED, Results, finish, write_tables
from cosim.experiments.scenario import Run, Scenario
from cosim.experiments.workers import Worker
from cosim.folder import claimed, joined
from cosim.measures.balance import judged
from cosim.reduction import refuse_what_is_not_linear
from cosim.threads import ONE_THREAD

if TYPE_CHECKING:
    from cosim.controllers.optimum.objective import Name as Objective


def execute(
    composition: Day,
    folder: Path,
    *,
    engine: str = "opendss",
    progress: Progress = nobody,
    jobs: int = 1,
    figures: bool = True,
    overwrite: bool = False,
    optimum: Objective | None = None,
) -> Results:
    """Run the controllers, and write trajectories, metrics, manifest, figures and report.

    All that is said of a run is on disk as it ends. One that fails is marked, and the others go on.

    Parameters
    ----------
    composition : Day
        The scenario's parts.
    folder : Path
        Receives the results: new, empty, or written by an earlier run.
    engine : str
        Which power flow.
    progress : callable, optional
        Called with (label of a run or ``all runs``, phase, completed parts, all parts).
    jobs : int
        Runs at once, each in a process of its own, which composes the day anew from the scenario. Trajectories and
        metrics are the same bytes, unless a controller has a wall-clock limit that strikes. What comes back of a run
        lacks the dataclasses that a controller left behind.
    figures : bool
        False leaves figures out, of the report too.
    overwrite : bool
        Whether what an earlier run wrote there may be replaced.
    optimum : str, optional
        Objective of which every run gets its regret; see `cosim.experiments.optimum`.

    Returns
    -------
    Results
        ``stopped`` is set where a run failed or was interrupted; what was computed is on disk and marked.

    Raises
    ------
    InputError
        Where the folder cannot be written to, is in use, or holds something.
    UnsupportedError
        Where the reduced network cannot represent the feeder.
    WriteError
        Where nothing can be written from the start.
    """
    if engine == "reduced":  # before the folder is touched, and once for all runs
        refuse_what_is_not_linear(composition.feeder, regulating=False)
    if optimum is not None:
        from cosim.experiments.optimum import refuse_unknown

        refuse_unknown(composition, optimum)
    at_once = min(jobs, len(composition.scenario.runs))
    # beside other work on the machine, BLAS threads make small products slower by far, in the measures as in the loop
    with claimed(folder, overwrite=overwrite) as owned, ONE_THREAD:
        owned.clear()
        results = Results(owned.path, composition, engine, composition.inputs_sha256)
        write_tables(results)  # so that whatever ends the program, the folder says what is missing
        with results.keeping(SHARED):
            # a library that finds no memory ends the process: let it be that of one run
            if at_once > 1 or memory_limit_mb() is not None:
                _at_once(results, progress, at_once)
            else:
                _in_turn(results, progress)
        if optimum is not None and not results.interrupted:
            with results.keeping("optimum"):
                from cosim.experiments.optimum import add_regret

                progress("the optimum", "proving", 0, 1)
                add_regret(results, optimum)
                progress("the optimum", "proven", 1, 1)
        finish(results, figures=figures, progress=progress)
    return results


def perform(
    composition: Day, item: Run, folder: Path, engine: str, progress: Progress = nobody
) -> tuple[RunResult | PartsResult | None, list[RunStoppedError]]:
    """Run one controller, write the run and measure it; returns as `keep_run`, and raises nothing."""
    if isinstance(composition, LongDay):
        return perform_parts(composition, item, folder, engine, progress)
    failed: list[RunStoppedError] = []
    with going_on(item.name, failed):
        progress(item.name, "planning", 0, 1)
        trajectory = composition.run_spec(
            item, engine=engine, progress=lambda done, total: progress(item.name, "steps", done, total)
        ).trajectory
    if failed:
        left = failed[0].trajectory
        if not isinstance(left, Trajectory):
            return None, failed
        with going_on(item.name, failed):
            trajectory = judged(left)
    result, more = keep_run(trajectory, composition, folder, progress)
    return result, [*failed, *more]


def _in_turn(results: Results, progress: Progress) -> None:
    for item in results.day.scenario.runs:
        if not results.interrupted:
            results.take(item.name, *perform(results.day, item, results.folder, results.engine, progress))


def _at_once(results: Results, progress: Progress, jobs: int) -> None:
    """Keep so many processes busy."""
    scenario = results.day.scenario
    waiting = list(scenario.runs)
    working: dict[Worker, str] = {}
    started: list[Worker] = []
    is_ending = False

    def hear(timeout_s: float | None = None, tell: Progress = progress) -> None:
        for worker, message in workers.heard(working, timeout_s):
            label = working[worker]
            if message is None:
                why = f"{label}: {worker.lost()}"
                message = "result", None, [] if is_ending else [RunStoppedError(why, None, CosimError.exit_code)]
            kind, *content = message
            if kind == "progress":
                tell(label, *content)
                continue
            del working[worker]
            results.take(label, *content)

    try:
        while working or waiting:
            while len(working) < jobs and waiting:
                item = waiting.pop(0)
                alone = scenario.model_copy(update={"runs": (item,)})
                begun = workers.begin(_work, alone, results.day.path, results.folder, results.engine)
                started.append(begun)
                working[begun] = item.name
            hear()
            if results.interrupted:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        is_ending = True
        for worker in working:
            worker.process.terminate()
        until_s = monotonic() + workers.PATIENCE_S
        while working and monotonic() < until_s:  # a second interruption waits for nobody
            hear(until_s - monotonic(), nobody)
        raise
    finally:
        workers.end(started)


def _work(scenario: Scenario, where: Path, folder: Path, engine: str, to_parent: Any) -> None:
    """Compose the day of a scenario with one run, perform it, and send back what is kept of it."""
    (item,) = scenario.runs

    def progress(_label: str, *phase: Any) -> None:
        if phase[0] == "writing":  # from here on it is quicker to finish
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        to_parent.send(("progress", *phase))

    result: RunResult | PartsResult | None = None
    failed: list[RunStoppedError] = []
    with going_on(item.name, failed), joined(folder), ONE_THREAD:
        progress(item.name, "composing", 0, 1)
        result, found = perform(compose(scenario, where), item, folder, engine, progress)
        failed += found
    if isinstance(result, RunResult):
        # Tables and plain data are all that figures need. What the run derived is quicker computed again than sent, and
        # a class of a file that only this process has loaded could not be read.
        left = {name: what for name, what in result.trajectory.artifacts.items() if not is_dataclass(what)}
        result = replace(result, trajectory=replace(result.trajectory, artifacts=left))
    with suppress(OSError):  # a parent that is gone hears nothing
        with going_on(item.name, failed):
            to_parent.send(("result", result, failed))
            return
        to_parent.send(("result", None, failed))
