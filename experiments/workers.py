"""Processes that work for this one: how they begin, are heard of, and end with it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any, NamedTuple

from cosim.errors import CosimError

PATIENCE_S = 8.0
"""A worker that is interrupted has that time to write what it computed."""
_GRACE_S = 1.0
"""A worker that has nothing left to do, or too late, and does not end within that time is killed."""


class Worker(NamedTuple):
    """A process, and the pipe to it."""

    connection: Connection
    process: BaseProcess

    def lost(self) -> str:
        """Say how a process ended that sent no result."""
        self.process.join(_GRACE_S)
        killed = ": killed, perhaps for want of memory" if self.process.exitcode == -9 else ""
        return f"its process ended without a result (exit code {self.process.exitcode}{killed})"


def begin(target: Callable[..., object], *arguments: Any) -> Worker:
    """Begin a process that calls a function with arguments and its end of a pipe."""
    context = get_context("spawn")  # a fork would copy the threads' locks, and the engine with them
    ours, theirs = context.Pipe()
    process = context.Process(target=_obedient, args=(target, *arguments, theirs))
    with _held_back():
        process.start()
    theirs.close()  # so that a process that dies is heard of
    return Worker(ours, process)


def heard(workers: Iterable[Worker], timeout_s: float | None = None) -> Iterator[tuple[Worker, Any]]:
    """Yield what workers sent, one message of each that sent any; None of one that is gone or cannot be understood."""
    workers = list(workers)
    ready = wait([worker.connection for worker in workers], timeout_s)
    for worker in workers:
        if worker.connection in ready:
            try:
                message = worker.connection.recv()
            except Exception:  # it is gone, or what it sent cannot be read here
                message = None
            yield worker, message


def end(workers: Iterable[Worker]) -> None:
    """End processes, by force where they do not obey: one that sent its result may still be about to end."""
    workers = list(workers)
    for worker in workers:
        worker.process.terminate()
    for worker in workers:
        worker.process.join(_GRACE_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()
        worker.connection.close()


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


def _obedient(target: Callable[..., object], *arguments: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption ends
    signal.signal(signal.SIGTERM, _interrupt)
    Thread(target=_end_with_parent, daemon=True).start()
    target(*arguments)


def _interrupt(*_: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: what follows keeps what was computed
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """End where the parent is gone: nobody waits for the result, and the folder may be another's by now."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(CosimError.exit_code)
