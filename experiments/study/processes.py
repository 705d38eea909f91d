"""Tasks on processes of this machine."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosim.errors import CosimError, WriteError, reason
from cosim.experiments import workers
from cosim.experiments.study.code import code_version
from cosim.experiments.study.tasks import Answer, Pool, Task, perform
from cosim.experiments.workers import Worker

_DEATHS = 2
"""A task that ended its process so often is not tried again."""
_GROWN_MB = 500.0
"""A process that takes so much more than after its first task is replaced: OpenDSS keeps something of every circuit."""
_STILLBORN = 3
"""So many processes that end one after another before they could begin: it is not chance."""


@dataclass
class _Processes(Pool):
    """Processes of this machine: one that dies is replaced, and its task done again."""

    jobs: int
    idle: list[Worker] = field(default_factory=list)
    busy: dict[Worker, Task] = field(default_factory=dict)
    beginning: set[Worker] = field(default_factory=set)
    again: deque[Task] = field(default_factory=deque)
    deaths: dict[str, int] = field(default_factory=dict)
    stillborn: int = 0

    @property
    def all(self) -> list[Worker]:
        return [*self.idle, *self.busy, *self.beginning]

    @property
    def is_full(self) -> bool:
        return len(self.busy) + len(self.again) >= self.jobs

    def give(self, task: Task) -> None:
        self.again.append(task)
        self._hand_out()

    def _hand_out(self) -> None:
        while self.again and self.idle:
            worker = self.idle.pop()
            try:
                worker.connection.send((self.again[0].target, self.again[0].payload))
            except OSError:  # it died while it had nothing to do
                workers.end([worker])
            else:
                self.busy[worker] = self.again.popleft()
        for _ in range(min(len(self.again) - len(self.beginning), self.jobs - len(self.all))):
            self.beginning.add(workers.begin(_serve))

    def take(self, timeout_s: float | None) -> Iterator[tuple[Task, Answer]]:
        for worker, message in workers.heard([*self.busy, *self.beginning], timeout_s):
            if worker in self.beginning:
                self.beginning.discard(worker)
                self._greet(worker, message)
                continue
            task = self.busy.pop(worker)
            message, has_grown = message if isinstance(message, tuple) else (message, True)
            if has_grown and isinstance(message, (Answer, WriteError)):
                workers.end([worker])
            elif isinstance(message, (Answer, WriteError)):
                self.idle.append(worker)
            if isinstance(message, Answer):
                yield task, message
            elif isinstance(message, WriteError):
                raise message
            else:
                told = reason(message) if isinstance(message, MemoryError) else worker.lost()
                workers.end([worker])
                self.deaths[task.hash] = self.deaths.get(task.hash, 0) + 1
                if self.deaths[task.hash] < _DEATHS:
                    self.again.appendleft(task)
                else:
                    del self.deaths[task.hash]
                    yield task, Answer(failed=f"twice: {told}", killed=True)
        self._hand_out()

    def _greet(self, worker: Worker, version: str | None) -> None:
        """Take a process that has begun; CosimError where none can, or the code is another by now."""
        self.stillborn = 0 if version else self.stillborn + 1
        if version == code_version():
            self.idle.append(worker)
            return
        told = worker.lost()
        workers.end([worker])
        if version:
            raise CosimError(
                f"the code has changed since the study began: it is {version} now, and was {code_version()}"
            )
        if self.stillborn == _STILLBORN:
            raise CosimError(f"no process can begin: {told}")


@contextmanager
def processes(jobs: int) -> Iterator[Pool]:
    """Processes that begin when there is work for them, and end here."""
    pool = _Processes(jobs)
    try:
        yield pool
    finally:
        workers.end(pool.all)


def _serve(to_parent: Any) -> None:
    """Work on what comes until the parent ends this process; say after each task whether it should."""
    first_mb: float | None = None
    try:
        to_parent.send(code_version())
        while True:
            target, payload = to_parent.recv()
            try:
                answer: Answer | WriteError | MemoryError = perform(target, payload)
            except (WriteError, MemoryError) as error:
                answer = error
            now_mb = _memory_mb()
            first_mb = now_mb if first_mb is None else first_mb
            to_parent.send((answer, now_mb > first_mb + _GROWN_MB))
    except (KeyboardInterrupt, EOFError, OSError):  # the parent ends it, or is gone
        return


def _memory_mb() -> float:
    """Memory of this process now; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
