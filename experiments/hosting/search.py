"""From which penetration on a placement is violated: a coarse grid, and bisection inside its first bad step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


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
