"""Run every controller of a scenario, one after another or several at once, and write what follows from it."""

from __future__ import annotations

import pickle
import signal
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import monotonic
from typing import Any

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
from cosim.threads import ONE_THREAD

_PATIENCE_S = 8.0
"""A worker that is interrupted has that time to write what it computed."""
_GRACE_S = 1.0
"""A worker that has nothing left to do, or too late, and does not end within that time is killed."""


_Why = tuple[str, int]
"""Message and exit code of a run that is not whole, as it is sent."""


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
    with ONE_THREAD:
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
    except (Exception, KeyboardInterrupt) as error:
        return None, _stopped(item.name, "before its first step", error)
    try:
        if trajectory.steps:
            result = measure_run(trajectory, progress=progress)
            write_run(folder, result, progress=progress)
        write_proof(folder / "caps" / item.name, trajectory, composition)
        metrics = {} if result is None else result.metrics
        for name, function in find_own(composition.scenario.metrics).items() if trajectory.steps else ():
            try:
                metrics.update(measure_own(trajectory, {name: function}, metrics))
            except CosimError as error:  # the others are measured all the same
                stopped = stopped or _stopped(item.name, "", error)
    except KeyboardInterrupt as error:
        stopped = _stopped(item.name, "while it was written", error)
    except Exception as error:
        stopped = stopped or _stopped(item.name, "", error)
    return result, stopped


def _stopped(label: str, when: str, error: BaseException) -> RunStoppedError:
    """Say why a run is not whole. What nobody foresaw is named with its line, and loses no other run."""
    if isinstance(error, KeyboardInterrupt):
        stop = RunStoppedError(f"{label}: interrupted {when}", None, 130)
    elif isinstance(error, CosimError):
        stop = RunStoppedError(f"{label}: {error}", None, error.exit_code)
    else:
        frames = traceback.extract_tb(error.__traceback__)
        place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
        stop = RunStoppedError(f"{label}: {type(error).__name__}: {error}{place}", None, CosimError.exit_code)
    stop.__cause__ = error
    return stop


def _ends(result: RunResult | None, stopped: RunStoppedError) -> bool:
    """Whether no other run may begin; one that came to its last step, but for a measure of others, ends nothing."""
    return stopped.exit_code == 130 or result is None or not result.trajectory.complete


def _all_of(stopped: Mapping[str, RunStoppedError], scenario: Scenario) -> RunStoppedError | None:
    """One error for all runs that are not whole, in the order of the scenario."""
    found = [stopped[item.name] for item in scenario.runs if item.name in stopped]
    if len(found) < 2:
        return found[0] if found else None
    return RunStoppedError("; ".join(map(str, found)), None, max(one.exit_code for one in found))


def _in_turn(results: Results, composition: Day, engine: str, progress: Progress) -> None:
    stopped: dict[str, RunStoppedError] = {}
    for item in composition.scenario.runs:
        result, why = perform(composition, item, results.folder, engine, progress)
        if result is not None:
            results.runs[item.name] = result
        if why is not None:
            stopped[item.name] = why
            if _ends(result, why):
                break
    results.stopped = _all_of(stopped, composition.scenario)


def _at_once(results: Results, composition: Day, engine: str, progress: Progress, jobs: int) -> None:
    """Keep so many processes busy. A run that fails lets those that have begun finish, and no other begin."""
    context = get_context("spawn")  # a fork would copy the threads' locks, and the engine with them
    scenario = composition.scenario
    stopped: dict[str, RunStoppedError] = {}
    ended = False
    waiting = list(scenario.runs)
    working: dict[Connection, tuple[str, BaseProcess]] = {}

    def hear(timeout_s: float | None = None, tell: Progress = progress) -> None:
        nonlocal ended
        ready = wait(list(working), timeout_s)
        for heard in [connection for connection in working if connection in ready]:
            label, process = working[heard]
            try:
                kind, *content = heard.recv()
            except (EOFError, OSError):
                process.join()
                clear_run(results.folder, label)
                problem = f"{label}: its process ended without a result (exit code {process.exitcode})"
                kind, content = "result", [None, b"", (problem, CosimError.exit_code)]
            if kind == "progress":
                tell(label, *content)
                continue
            process.join(_GRACE_S)
            del working[heard]
            result, why = _unpacked(*content)
            if result is not None:
                results.runs[label] = result
            if why is not None:
                stopped[label] = RunStoppedError(why[0], None, why[1])
                ended |= _ends(result, stopped[label])

    try:
        while working or (waiting and not ended):
            while len(working) < jobs and waiting and not ended:
                item = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                alone = scenario.model_copy(update={"runs": (item,)})
                begun = context.Process(target=_work, args=(alone, composition.path, results.folder, engine, theirs))
                begun.start()
                theirs.close()  # so that a process that dies is heard of
                working[ours] = item.name, begun
            hear()
    except KeyboardInterrupt:
        cut_short = [label for label, _ in working.values()]
        with suppress(KeyboardInterrupt):  # a second one waits for nobody
            for _, process in working.values():
                process.terminate()
            until_s = monotonic() + _PATIENCE_S
            while working and monotonic() < until_s:
                hear(until_s - monotonic(), nobody)
        unfinished = [label for label in cut_short if label in stopped or label not in results.runs]
        unfinished += [item.name for item in waiting]
        why = f"interrupted; not finished: {', '.join(unfinished) or 'nothing'}"
        stopped = {scenario.runs[0].name: RunStoppedError(why, None, 130)}
    finally:
        _end([process for _, process in working.values()])
    for label, _ in working.values():
        clear_run(results.folder, label)
    results.runs = {item.name: results.runs[item.name] for item in scenario.runs if item.name in results.runs}
    results.stopped = _all_of(stopped, scenario)


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


def _work(scenario: Scenario, where: Path, folder: Path, engine: str, to_parent: Any) -> None:
    """Compose the day of a scenario with one run, perform it, and send back what is kept of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption ends
    signal.signal(signal.SIGTERM, _interrupt)
    (item,) = scenario.runs

    def progress(_label: str, *phase: Any) -> None:
        if phase[0] == "measures":  # from here on it is quicker to finish
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        to_parent.send(("progress", *phase))

    with ONE_THREAD, suppress(BrokenPipeError):
        try:
            progress(item.name, "composing", 0, 1)
            result, stopped = perform(compose(scenario, where), item, folder, engine, progress)
        except (Exception, KeyboardInterrupt) as error:
            result, stopped = None, _stopped(item.name, "before its first step", error)
        to_parent.send(("result", *_packed(result, None if stopped is None else (str(stopped), stopped.exit_code))))


def _packed(result: RunResult | None, why: _Why | None) -> tuple[RunResult | None, bytes, _Why | None]:
    """Set artifacts apart: what a controller left may be such that it cannot be sent, and loses nothing else then."""
    if result is None:
        return None, b"", why
    packed = b""
    try:
        packed = pickle.dumps(result.trajectory.artifacts)
    except Exception as error:
        why = why or _unsent(result, error)
    # without what it has derived so far: that is quicker computed again than sent
    return replace(result, trajectory=replace(result.trajectory, artifacts={})), packed, why


def _unpacked(result: RunResult | None, packed: bytes, why: _Why | None) -> tuple[RunResult | None, _Why | None]:
    if result is None or not packed:
        return result, why
    try:
        artifacts = pickle.loads(packed)  # noqa: S301 - from our own process
    except Exception as error:  # such as a class of a file that only the other process has loaded
        return result, why or _unsent(result, error)
    return replace(result, trajectory=replace(result.trajectory, artifacts=artifacts)), why


def _unsent(result: RunResult, error: Exception) -> _Why:
    label = result.trajectory.label
    problem = f"what its controller left cannot be sent from one process to another ({type(error).__name__}: {error})"
    return (
        f"{label}: {problem}; it is written, but not in figures and report → run without --jobs",
        CosimError.exit_code,
    )
