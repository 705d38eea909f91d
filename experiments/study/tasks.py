"""A task, what becomes of it, and where it is worked on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cosim import plugins
from cosim.errors import WriteError, reason
from cosim.threads import ONE_THREAD

Row = Mapping[str, Any]
"""Values by column."""


@dataclass(frozen=True)
class Task:
    """What is done once, wherever and whenever that is.

    Attributes
    ----------
    hash : str
        Of all that its result depends on.
    target : str
        ``package.module:function`` of the product, called with the payload; returns the rows, at least one.
    payload : mapping
        What is sent to it; must be picklable.
    about : sequence of mapping
        The rows that are recorded where it fails, as far as they are known before; ``status`` and ``reason`` are added.
    parts : callable
        Makes tasks whose rows together are its own: they are done instead where it kills its process, so that only the
        one that does is recorded as failed.
    """

    hash: str
    target: str
    payload: Mapping[str, Any]
    about: Sequence[Row] = ({},)
    parts: Callable[[], Sequence[Task]] = tuple


@dataclass(frozen=True)
class Answer:
    """What became of a task: its rows, or why there are none, and whether it killed its process."""

    rows: Sequence[Row] = ()
    failed: str = ""
    killed: bool = False


class Pool(ABC):
    """Where tasks are worked on."""

    @property
    @abstractmethod
    def is_full(self) -> bool:
        """Whether it takes no further task now."""

    @abstractmethod
    def give(self, task: Task) -> None:
        """Let a task be worked on."""

    @abstractmethod
    def take(self, timeout_s: float | None) -> Iterator[tuple[Task, Answer]]:
        """Yield what is done; nothing where nothing was in that time."""


def perform(target: str, payload: Mapping[str, Any]) -> Answer:
    """Work on a task where it is to be done.

    Raises
    ------
    WriteError
        Where it could not write: that is no result of the task.
    MemoryError
        Where there is not enough: perhaps there is, another time.
    """
    try:
        with ONE_THREAD:
            return Answer(plugins.shipped(target)(payload))
    except (WriteError, MemoryError):
        raise
    except Exception as error:
        return Answer(failed=reason(error))
