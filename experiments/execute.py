"""Run every controller of a scenario, one after another or several at once, and write what follows from it."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from cosim import Trajectory
from cosim.errors import CosimError, RunStoppedError
from cosim.experiments.compose import compose
from cosim.experiments.day import Day
from cosim.experiments.results import (
    Progress,
    Results,
    RunResult,
    clear,
    clear_run,
    measure_run,
    nobody,
    write_proof,
    write_run,
    write_shared,
)
from cosim.experiments.scenario import Run, Scenario
from cosim.measures.own import find_own, measure_own

_PATIENCE_S = 3.0
"""A worker that does not end by itself within that time is killed."""


def execute(
    composition: Day,
    folder: Path,
    *,
    engine: str = "opendss",
    progress: Progress = nobody,
    jobs: int = 1,
    figures: bool = True,
) -> Results:
    """Run the controllers, and write trajectories, metrics, manifest, figures and report.

    Parameters
    ----------
    composition : Day
        The scenario's parts.
    folder : Path
        Receives the results.
    engine : str
        Which power flow.
    progress : callable, optional
        Called with (label of a run or ``all runs``, phase, completed parts, all parts).
    jobs : int
        Runs at once, each in a process of its own, which composes the day anew from the scenario. Trajectories and
        metrics are the same bytes, unless a controller has a wall-clock limit that strikes.
    figures : bool
        False leaves figures out, of the report too.

    Returns
    -------
    Results
        ``stopped`` is set where a run failed or was interrupted; what was computed is on disk and marked.
    """
    results = Results(folder)
    clear(folder)
    at_once = min(jobs, len(composition.scenario.runs))
    # beside other work on the machine, BLAS threads make small products slower by far, in the measures as in the loop
    with threadpool_limits(limits=1):
        if at_once > 1:
            _at_once(results, composition, engine, progress, at_once)
        else:
            _in_turn(results, composition, engine, progress)
        write_shared(results, composition, engine=engine, figures=figures, progress=progress)
    return results


def perform(
    composition: Day, item: Run, folder: Path, engine: str, progress: Progress = nobody
) -> tuple[RunResult | None, RunStoppedError | None]:
    """Run one controller, measure the run and write it.

    Returns
    -------
    result : RunResult or None
        None where no step was completed.
    stopped : RunStoppedError or None
        Why the run did not finish, where it did not.
    """
    result, stopped = None, None
    try:
        progress(item.name, "planning", 0, 1)
        trajectory = composition.run_spec(
            item, engine=engine, progress=lambda done, total: progress(item.name, "steps", done, total)
        ).trajectory
    except RunStoppedError as stop:
        if not isinstance(stop.trajectory, Trajectory):
            return None, stop
        trajectory, stopped = stop.trajectory, stop
    except KeyboardInterrupt:
        return None, RunStoppedError(f"{item.name}: interrupted before its first step", None, 130)
    try:
        if trajectory.steps:
            result = measure_run(trajectory, progress=progress)
            write_run(folder, result, progress=progress)
            result.metrics.update(measure_own(trajectory, find_own(composition.scenario.metrics), result.metrics))
        write_proof(folder / "caps" / item.name, trajectory, composition)
    except KeyboardInterrupt:
        stopped = RunStoppedError(f"{item.name}: interrupted while it was written", None, 130)
    except CosimError as error:  # a measure of others
        stopped = stopped or RunStoppedError(f"{item.name}: {error}", None, error.exit_code)
    return result, stopped


def _in_turn(results: Results, composition: Day, engine: str, progress: Progress) -> None:
    for item in composition.scenario.runs:
        result, results.stopped = perform(composition, item, results.folder, engine, progress)
        if result is not None:
            results.runs[item.name] = result
        if results.stopped:
            break


def _at_once(results: Results, composition: Day, engine: str, progress: Progress, jobs: int) -> None:
    """Keep so many processes busy. A run that fails lets those that have begun finish, and no other begin."""
    context = get_context("spawn")  # a fork would copy the threads' locks, and the engine with them
    scenario = composition.scenario
    stopped: dict[str, RunStoppedError] = {}
    waiting = list(scenario.runs)
    working: dict[Connection, tuple[str, BaseProcess]] = {}
    try:
        while working or (waiting and not stopped):
            while len(working) < jobs and waiting and not stopped:
                item = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                alone = scenario.model_copy(update={"runs": (item,)})
                begun = context.Process(target=_work, args=(alone, composition.path, results.folder, engine, theirs))
                begun.start()
                theirs.close()  # so that a process that dies is heard of
                working[ours] = item.name, begun
            ready = wait(list(working))
            for heard in [connection for connection in working if connection in ready]:
                label, process = working[heard]
                try:
                    kind, *content = heard.recv()
                except EOFError:
                    process.join()
                    clear_run(results.folder, label)
                    problem = f"{label}: its process ended without a result (exit code {process.exitcode})"
                    kind, content = "result", [None, (problem, CosimError.exit_code)]
                if kind == "progress":
                    progress(label, *content)
                    continue
                result, why = content
                if result is not None:
                    results.runs[label] = result
                if why is not None:
                    stopped[label] = RunStoppedError(why[0], None, why[1])
                del working[heard]
    except KeyboardInterrupt:
        unfinished = [label for label, _ in working.values()] + [item.name for item in waiting]
        why = f"interrupted; not finished: {', '.join(unfinished) or 'nothing'}"
        stopped = {scenario.runs[0].name: RunStoppedError(why, None, 130)}
    finally:
        _end([process for _, process in working.values()])
    for label, _ in working.values():
        clear_run(results.folder, label)
    results.runs = {item.name: results.runs[item.name] for item in scenario.runs if item.name in results.runs}
    results.stopped = next((stopped[item.name] for item in scenario.runs if item.name in stopped), None)


def _end(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_PATIENCE_S)
        if process.is_alive():
            process.kill()
            process.join()


def _work(scenario: Scenario, where: Path, folder: Path, engine: str, to_parent: Any) -> None:
    """Compose the day of a scenario with one run, perform it, and send back what is kept of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption ends
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that a controller's own processes end as well
    (item,) = scenario.runs

    def progress(_label: str, *phase: Any) -> None:
        to_parent.send(("progress", *phase))

    progress(item.name, "composing", 0, 1)
    with threadpool_limits(limits=1), suppress(BrokenPipeError):
        result, stopped = perform(compose(scenario, where), item, folder, engine, progress)
        if result is not None:  # without what it has derived so far: that is quicker computed again than sent
            result = replace(result, trajectory=replace(result.trajectory))
        to_parent.send(("result", result, None if stopped is None else (str(stopped), stopped.exit_code)))
