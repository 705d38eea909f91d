"""Tasks on a Dask cluster, whatever started it: ``dask scheduler``, or Dask's own tools for Slurm and Kubernetes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any
from uuid import uuid4

from cosim.errors import CosimError, Fault, InputError, kind_and_text
from cosim.experiments.study.code import code_version
from cosim.experiments.study.tasks import Answer, Pool, Task, perform

_PATIENCE_S = 10.0
"""A scheduler that does not answer within that time is not there."""
_LOOKED_S = 5.0
"""Workers may come and go: they are counted so often."""
_AHEAD = 2
"""Tasks sent for each worker, so that none waits for the next."""
_ALONE = Lock()
"""Threads of one worker take turns: its power flow is one for the process."""


@dataclass
class _Cluster(Pool):
    client: Any
    tasks: dict[str, tuple[Task, Any]] = field(default_factory=dict)
    suspects: set[str] = field(default_factory=set)
    waiting: list[Task] = field(default_factory=list)
    done: SimpleQueue[str] = field(default_factory=SimpleQueue)
    room: int = 0
    looked_s: float = -_LOOKED_S

    @property
    def is_full(self) -> bool:
        if time.monotonic() > self.looked_s + _LOOKED_S:
            self.room, self.looked_s = max(_AHEAD * len(self.client.nthreads()), 1), time.monotonic()
        return len(self.tasks) + len(self.waiting) >= self.room

    def give(self, task: Task) -> None:
        key = f"cosim-{task.hash}-{uuid4()}"  # a cluster remembers results by their keys
        future = self.client.submit(_perform, task.target, task.payload, code_version(), key=key, pure=False)
        self.tasks[key] = task, future
        future.add_done_callback(lambda ended: self.done.put(ended.key))

    def take(self, timeout_s: float | None) -> Iterator[tuple[Task, Answer]]:
        with suppress(Empty):
            task, future = self.tasks.pop(self.done.get(timeout=timeout_s))
            if task.hash not in self.suspects and _was_killed(future):
                self.suspects.add(task.hash)
                self.waiting.append(task)
            else:
                yield task, _answer(future)
        # Dask blames all that was on a worker when it died: one by one, it shows who it is
        if self.waiting and not any(task.hash in self.suspects for task, _ in self.tasks.values()):
            self.give(self.waiting.pop())


def _was_killed(future: Any) -> bool:
    from distributed import KilledWorker

    return future.status == "error" and isinstance(future.exception(), KilledWorker)


def _answer(future: Any) -> Answer:
    if future.status == "finished":
        answer: Answer = future.result()
        return answer
    if future.status != "error":
        raise CosimError("the scheduler is gone")
    error = future.exception()
    if isinstance(error, CosimError):  # a full disk, or a worker that joined with other code
        raise error
    return Answer(failed=f"on its worker: {kind_and_text(error)}", killed=_was_killed(future))


def _perform(target: str, payload: Mapping[str, Any], version: str) -> Answer:
    if code_version() != version:
        raise CosimError(f"a worker has joined with cosim {code_version()}, not {version}: end it, and use --resume")
    with _ALONE:
        return perform(target, payload)


async def _asked(address: str) -> None:
    """Ask a scheduler who it is; OSError, TimeoutError or ValueError where none answers."""
    from distributed.core import rpc
    from distributed.security import Security

    credentials = Security().get_connection_args("client")  # type: ignore[no-untyped-call]
    async with rpc(address, connection_args=credentials) as scheduler:  # type: ignore[no-untyped-call]
        await asyncio.wait_for(scheduler.identity(), _PATIENCE_S)


@contextmanager
def cluster(address: str) -> Iterator[Pool]:
    """Use the workers of a scheduler.

    Parameters
    ----------
    address : str
        Such as ``tcp://host:8786``.

    Raises
    ------
    InputError
        Where Dask or the scheduler is not there, it has no workers, or one has other code.
    """

    def refused(problem: str, remedy: str) -> InputError:
        return InputError(Fault("--scheduler", "", problem, remedy))

    try:
        from distributed import Client
    except ImportError:
        raise refused("needs Dask", "install the extra: pip install 'lv-feeder-cosim[cluster]'") from None
    try:
        # a client that finds no scheduler cannot be closed, and holds the program up at its end
        with ThreadPoolExecutor(1) as aside:  # beside a loop that may run in this thread, as in a notebook
            aside.submit(asyncio.run, _asked(address)).result()
        client: Any = Client(address, timeout=_PATIENCE_S, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, TimeoutError, ValueError):
        remedy = "start one with 'dask scheduler', and give the address that it prints, tcp://host:port"
        raise refused(f"no scheduler answers at {address}", remedy) from None
    with client:
        found = client.run(code_version, on_error="return")
        if not found:
            raise refused("has no workers", f"start some: dask worker {address} --nworkers 2 --nthreads 1")
        for worker, version in found.items():
            if version != code_version():
                told = version if isinstance(version, str) else kind_and_text(version)
                problem = f"the worker at {worker} has cosim {told}, not {code_version()}"
                raise refused(problem, "install the same version there")
        yield _Cluster(client)
