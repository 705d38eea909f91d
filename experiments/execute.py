"""Run every controller of a scenario, one after another or several at once, and write what follows from it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import is_dataclass, replace
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import TYPE_CHECKING, Any

from cosim import Trajectory
from cosim.errors import CosimError, RunStoppedError
from cosim.experiments import memory_limit_mb
from cosim.experiments.compose import compose
from cosim.experiments.day import Day, LongDay
from cosim.experiments.keep import Progress, RunResult, going_on, keep_run, nobody
from cosim.experiments.on_disk import PartsResult
from cosim.experiments.parts import perform_parts
from cosim.experiments.results import SHARED, Results, finish, write_tables
from cosim.experiments.scenario import Run, Scenario
from cosim.folder import claimed, joined
from cosim.measures.balance import judged
from cosim.reduction import refuse_what_is_not_linear
from cosim.threads import ONE_THREAD

if TYPE_CHECKING:
    from cosim.controllers.optimum.objective import Name as Objective

_PATIENCE_S = 8.0
"""A worker that is interrupted has that time to write what it computed."""
_GRACE_S = 1.0
"""A worker that has nothing left to do, or too late, and does not end within that time is killed."""


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
    context = get_context("spawn")  # a fork would copy the threads' locks, and the engine with them
    scenario = results.day.scenario
    waiting = list(scenario.runs)
    working: dict[Connection, tuple[str, BaseProcess]] = {}
    started: list[BaseProcess] = []
    is_ending = False

    def hear(timeout_s: float | None = None, tell: Progress = progress) -> None:
        ready = wait(list(working), timeout_s)
        for heard in [connection for connection in working if connection in ready]:
            label, process = working[heard]
            try:
                kind, *content = heard.recv()
            except Exception:  # it is gone, or what it sent cannot be read here
                process.join(_GRACE_S)
                killed = ": killed, perhaps for want of memory" if process.exitcode == -9 else ""
                why = f"{label}: its process ended without a result (exit code {process.exitcode}{killed})"
                lost = [] if is_ending else [RunStoppedError(why, None, CosimError.exit_code)]
                kind, content = "result", [None, lost]
            if kind == "progress":
                tell(label, *content)
                continue
            process.join(_GRACE_S)
            del working[heard]
            results.take(label, *content)

    try:
        while working or waiting:
            while len(working) < jobs and waiting:
                item = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                alone = scenario.model_copy(update={"runs": (item,)})
                to_do = (alone, results.day.path, results.folder, results.engine, theirs)
                begun = context.Process(target=_work, args=to_do)
                with _held_back():
                    begun.start()
                started.append(begun)
                theirs.close()  # so that a process that dies is heard of
                working[ours] = item.name, begun
            hear()
            if results.interrupted:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        is_ending = True
        for _, process in working.values():
            process.terminate()
        until_s = monotonic() + _PATIENCE_S
        while working and monotonic() < until_s:  # a second interruption waits for nobody
            hear(until_s - monotonic(), nobody)
        raise
    finally:
        _end(started)  # one that sent its result may still be about to end


@contextmanager
def _held_back() -> Iterator[None]:
    """Hold back what a terminal sends to all its processes: those begun inside never hear it, this one does later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end(processes: list[BaseProcess]) -> None:
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(_GRACE_S)
        if process.is_alive():
            process.kill()
            process.join()


def _interrupt(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what follows keeps what was computed
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """End where the parent is gone: nobody waits for the result, and the folder may be another's by now."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(CosimError.exit_code)


def _work(scenario: Scenario, where: Path, folder: Path, engine: str, to_parent: Any) -> None:
    """Compose the day of a scenario with one run, perform it, and send back what is kept of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption ends
    signal.signal(signal.SIGTERM, _interrupt)
    Thread(target=_end_with_parent, daemon=True).start()
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
