"""A linear programme that is solved again and again, with other bounds, costs and right-hand sides, by a deadline."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from cosim.controllers.solver import Clock, Limits, Model, Solver, SolveResult

Floats = NDArray[np.float64]

FEASIBILITY = 1e-9  # how far a row may be violated, after the rows are scaled to coefficients of about 1
TRUSTED_VIOLATION = 1e-6  # an "optimal" point further outside its rows than this is not believed


class WarmLp(Solver):
    """Minimise ``cost @ z`` over ``row_low <= matrix @ z <= row_high`` and ``low <= z <= high``.

    Parameters
    ----------
    matrix : ndarray, shape (row, column)
        Coefficients.
    rows, columns : tuple of two ndarray
        Lower and upper limits; infinite where there is none.
    cost : ndarray, shape (column,)
        Objective.
    clock : Clock, optional
        By which every solve must stop.
    """

    violation = TRUSTED_VIOLATION

    def __init__(
        self,
        matrix: Floats,
        rows: tuple[Floats, Floats],
        columns: tuple[Floats, Floats],
        cost: Floats,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or Clock(math.inf)
        super().__init__(
            Model(cost, matrix, *rows, *columns),
            solver="simplex",
            presolve="off",  # the basis of the last solve is worth more
            primal_feasibility_tolerance=FEASIBILITY,
            dual_feasibility_tolerance=FEASIBILITY,
        )

    def best(self) -> SolveResult:
        """Solve from the last basis."""
        return self.solve(Limits(time_s=self._clock.left_s))
