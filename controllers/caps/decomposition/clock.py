"""Wall clock of one solve: a safety, and whether it struck is kept."""

from __future__ import annotations

import time


class Clock:
    """Counts down from when it is made.

    Parameters
    ----------
    time_s : float
        Wall clock allowed [s].
    """

    def __init__(self, time_s: float) -> None:
        self._end = time.perf_counter() + time_s

    @property
    def left_s(self) -> float:
        """What is left, at least 0 [s]."""
        return max(self._end - time.perf_counter(), 0.0)

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.left_s <= 0.0
