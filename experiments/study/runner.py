"""Tasks on processes of this machine or on a Dask cluster: each is finished when its rows are committed, and only once.

A task that raises is a recorded result, and so is one that kills its process twice, or of it the parts that do; none
stops others.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence, Sized
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosim.errors import Fault, InputError, WriteError
from cosim.experiments.study.code import code_version
from cosim.experiments.study.dataset import Dataset
from cosim.experiments.study.processes import processes
from cosim.experiments.study.tasks import Answer, Pool, Task
from cosim.folder import claimed

__all__ = ["Counts", "Progress", "Task", "check_workers", "run_tasks"]


@dataclass
class Counts:
    """How far it is.

    Attributes
    ----------
    total : int or None
        All tasks, where that is known.
    before : int
        Tasks that were finished before.
    done : int
        Tasks finished since; committed or about to be.
    failed : int
        Of these, those with a row whose status is ``failed``.
    elapsed_s : float
        Time since the beginning [s].
    """

    total: int | None
    before: int = 0
    done: int = 0
    failed: int = 0
    elapsed_s: float = 0.0

    @property
    def rate_per_s(self) -> float:
        """Tasks finished in a second since the beginning."""
        return self.done / self.elapsed_s if self.elapsed_s else 0.0


Progress = Callable[[Counts], object]


def run_tasks(
    tasks: Iterable[Task],
    folder: Path,
    *,
    jobs: int = 1,
    scheduler: str | None = None,
    begin: Callable[[], object] = lambda: None,
    progress: Progress = lambda _: None,
) -> Counts:
    """Do all tasks that are not finished yet, and commit their rows at least every ten seconds.

    Parameters
    ----------
    tasks : iterable of Task
        Taken one after another as there is room, so they may be made as they are asked for; of equal hashes the first
        is done.
    folder : Path
        Of the study: new, empty, or of earlier calls, whose finished tasks are left out; made and locked here.
    jobs : int
        Processes on this machine.
    scheduler : str, optional
        Address of a Dask scheduler, ``tcp://host:port``, whose workers are used instead.
    begin : callable, optional
        Called before the first task, once folder and workers are seen to be fit.
    progress : callable, optional
        Told of every change.

    Returns
    -------
    Counts

    Raises
    ------
    InputError
        Where the folder is in use or not ours, the scheduler is not there, or its workers are of another version.
    WriteError
        Where the disk is full, or refuses otherwise; what was committed stands.
    CosimError
        Where no worker process can begin, or the scheduler is gone.
    KeyboardInterrupt
        Where the user ends it; what was finished is committed.
    """
    with _pool(jobs, scheduler) as pool, claimed(folder, overwrite=True):
        begin()
        return _run(tasks, Dataset(folder), pool, progress)


def check_workers(jobs: int, scheduler: str | None) -> None:
    """Refuse processes beside a scheduler, and a scheduler that cannot be used, before anything is touched.

    Raises
    ------
    InputError
        As `run_tasks`.
    """
    if scheduler is not None and jobs > 1:
        raise InputError(Fault("--jobs", "", "is given beside --scheduler", "give one of the two"))
    with _pool(jobs, scheduler):
        pass


def _pool(jobs: int, scheduler: str | None) -> AbstractContextManager[Pool]:
    if scheduler is None:
        return processes(jobs)
    from cosim.experiments.study.cluster import cluster  # brings Dask

    return cluster(scheduler)


def _run(tasks: Iterable[Task], dataset: Dataset, pool: Pool, progress: Progress) -> Counts:
    counts = Counts(len(tasks) if isinstance(tasks, Sized) else None)
    parted: dict[str, tuple[Task, Sequence[Task]]] = {}
    of_parts: dict[str, list[dict[str, Any]]] = {}
    began_s, given, waiting, working = time.monotonic(), set(dataset.committed), iter(tasks), 0

    def tell() -> None:
        counts.elapsed_s = time.monotonic() - began_s
        progress(counts)

    tell()
    try:
        more = True
        while more or working:
            while more and not pool.is_full:
                task = next(waiting, None)
                if task is None:
                    more = False
                elif task.hash in given:
                    counts.before += task.hash in dataset.committed
                else:
                    given.add(task.hash)
                    pool.give(task)
                    working += 1
            for task, answer in pool.take(dataset.due_s) if working else ():
                working -= 1
                if answer.killed and (parts := task.parts()):
                    parted |= {part.hash: (task, parts) for part in parts}
                    for part in parts:
                        pool.give(part)
                    working += len(parts)
                    continue
                rows = _rows(task, answer)
                if task.hash in parted:
                    of_parts[task.hash] = rows
                    task, parts = parted[task.hash]
                    if not all(part.hash in of_parts for part in parts):
                        continue
                    rows = [{**row, "hash": task.hash} for part in parts for row in of_parts.pop(part.hash)]
                dataset.add(rows)
                counts.done += 1
                counts.failed += any(row.get("status") == "failed" for row in rows)
                tell()
            if dataset.due_s == 0.0:
                dataset.commit()
    except BaseException:  # such as an interruption
        with suppress(WriteError):  # which may be what it is about
            dataset.commit()
        raise
    dataset.commit()
    tell()
    return counts


def _rows(task: Task, answer: Answer) -> list[dict[str, Any]]:
    shared = {"hash": task.hash, "version": code_version()}
    if answer.rows:
        return [{"status": "ok", "reason": "", **row, **shared} for row in answer.rows]
    why = answer.failed or f"{task.target} returned no row"
    return [{**row, "status": "failed", "reason": why, **shared} for row in task.about]
