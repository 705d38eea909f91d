"""From which penetration on a placement is violated: a coarse grid, and bisection inside its first bad step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import TypeVar

Day = TypeVar("Day")


@dataclass
class Search:
    """What was found of one placement.

    Attributes
    ----------
    count : int
        Homes that could have the technology.
    tested : dict of int to bool
        Numbers of homes that were run, and whether they are hosted.
    """

    count: int
    tested: dict[int, bool] = field(default_factory=dict)

    @property
    def first(self) -> int | None:
        """Smallest number of homes that was run and is not hosted; None where all are."""
        return min((many for many, hosted in self.tested.items() if not hosted), default=None)

    @property
    def capacity(self) -> int:
        """Homes up to which all is well: one less than the first violation, none where it is violated without any."""
        return self.count if self.first is None else max(self.first - 1, 0)

    @property
    def monotone(self) -> bool:
        """Whether nothing above the first violation is hosted, as far as it was run."""
        return self.first is None or not any(hosted for many, hosted in self.tested.items() if many > self.first)


def search_days(count: int, grid: int, days: Sequence[Day], hosted: Callable[[int, Day], bool]) -> Search:
    """Find the first violation of a placement on any of some days.

    The days after the first are run where it would be hosted, and only if one of them is not, everywhere.
    """

    def on(some: Sequence[Day], many: int) -> bool:
        return all(hosted(many, day) for day in some)

    found = search(count, grid, partial(on, days[:1]))
    return found if on(days, found.capacity) else search(count, grid, partial(on, days))


def most_runs(count: int, grid: int, days: int) -> int:
    """Most worlds that `search_days` may take, each run once."""
    steps = sorted({round(step * count / grid) for step in range(grid + 1)})
    halvings = (max((high - low for low, high in pairwise(steps)), default=1) - 1).bit_length()
    # the first day; where another one decides, halved anew on all of them; and what the first day found, on these
    return len(steps) + 2 * halvings + (days - 1) * (len(steps) + halvings + 1)


def search(count: int, grid: int, hosted: Callable[[int], bool]) -> Search:
    """Find the first violation of a placement.

    Every step of the grid is run, so that a placement that is hosted again above a violation is seen (between steps it
    may be missed); then the interval below the lowest violated step is halved until it is one home wide.

    Parameters
    ----------
    count : int
        Homes that could have the technology.
    grid : int
        Steps, from no home to all of them.
    hosted : callable
        Whether so many homes are.
    """
    found = Search(count)

    def ask(many: int) -> bool:
        if many not in found.tested:
            found.tested[many] = hosted(many)
        return found.tested[many]

    for step in range(grid + 1):
        ask(round(step * count / grid))
    while found.first:
        below = max(many for many in found.tested if many < found.first)
        if found.first - below <= 1:
            break
        ask((below + found.first) // 2)
    return found
