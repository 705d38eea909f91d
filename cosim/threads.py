"""One thread for the linear algebra, behind every door.

The products of this work are small: a second BLAS thread makes them slower, up to a hundred times on a busy machine.
Parallel work is done by processes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from threading import Lock
from typing import Any, ParamSpec, TypeVar

import scipy.linalg  # noqa: F401 - brings a BLAS of its own, which must be there when libraries are looked for
from threadpoolctl import ThreadpoolController

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


class _OneThread:
    """Holds every BLAS and OpenMP of the process to one thread while anybody is inside, and gives back what was set.

    threadpoolctl's own context takes as long as a whole power flow of the reduced network, so libraries are looked for
    only when modules have been imported since, and a decorated function pays nothing where somebody is inside already.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._inside = self._modules = 0
        self._libraries: list[Any] = []
        self._before: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside > 1:
                return
            if self._modules != len(sys.modules):
                self._libraries = ThreadpoolController().lib_controllers
                self._modules = len(sys.modules)
            self._before = [library.num_threads for library in self._libraries]
            self._set([1] * len(self._before))

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._set(self._before)

    def __call__(self, function: Callable[Given, Answer]) -> Callable[Given, Answer]:
        @wraps(function)
        def held(*given: Given.args, **named: Given.kwargs) -> Answer:
            if self._inside:
                return function(*given, **named)
            with self:
                return function(*given, **named)

        return held

    def _set(self, threads: list[int]) -> None:
        for library, number in zip(self._libraries, threads, strict=True):
            if library.num_threads != number:
                library.set_num_threads(number)


ONE_THREAD = _OneThread()
"""Context and decorator: ``with ONE_THREAD:`` or ``@ONE_THREAD`` on whatever does linear algebra."""


def blas() -> list[str]:
    """Return name, version and kernel of every BLAS of the process, such as ``openblas 0.3.29 SkylakeX``.

    Another kernel rounds sums in another order: with the same kernel the same numbers come out bit by bit.
    """
    found = [library.info() for library in ThreadpoolController().select(user_api="blas").lib_controllers]
    parts = [(one["internal_api"], one["version"], one.get("architecture")) for one in found]
    return sorted({" ".join(str(part) for part in one if part) for one in parts})
