"""Naming every row at fault, up to a number that a person reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.errors import Fault

MOST_ROWS = 20
"""Rows named for one kind of fault; the others are counted."""

Place = Callable[[int], str]
"""From the row of a request to the words that lead a reader there."""


def row_faults(
    bad: NDArray[np.bool_], values: Sequence[Any] | NDArray[Any], place: Place, key: str, problem: str, remedy: str
) -> list[Fault]:
    """One fault for every bad row, up to ``MOST_ROWS``; the last of them counts those that follow.

    Parameters
    ----------
    bad : ndarray of bool, shape (row,)
        Which rows are at fault.
    values : sequence, length (row,)
        What stands there; ``problem`` is formatted with it.
    place : callable
        Words for a row.
    key, problem, remedy : str
        Of the fault.
    """
    rows = np.flatnonzero(bad)
    faults = [Fault(place(int(row)), key, problem.format(values[int(row)]), remedy) for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        last = faults[-1]
        faults[-1] = Fault(last.where, key, f"{last.problem} (and {len(rows) - MOST_ROWS} more rows)", remedy)
    return faults
