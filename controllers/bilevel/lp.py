"""A linear programme that is solved again and again with other bounds, costs and right-hand sides.

HiGHS keeps the basis of the last solve, so that each new solve starts next to its optimum. What comes back is one of
five endings; an answer that HiGHS itself is not sure of is solved again from scratch before it is called unknown.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

import highspy
import numpy as np
from numpy.typing import NDArray

from cosim.controllers.highs import silent_highs

Floats = NDArray[np.float64]

FEASIBILITY = 1e-9  # how far a row may be violated, after the rows are scaled to coefficients of about 1
LOOSE_FEASIBILITY = 1e-7  # where the tight tolerance cannot be reached
TRUSTED_VIOLATION = 1e-6  # an "optimal" point further outside its rows than this is not believed


class Ending(Enum):
    """How a linear programme ended."""

    OPTIMAL = "optimal"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    OUT_OF_TIME = "out of time"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """Outcome of one solve.

    Attributes
    ----------
    ending : Ending
        How it ended.
    value : float
        Objective; inf where infeasible, -inf where unbounded, nan where unknown.
    point, row_dual : ndarray
        Columns, and the multipliers of the rows (non-positive for a binding upper limit); empty without an optimum.
    """

    ending: Ending
    value: float
    point: Floats
    row_dual: Floats


NOTHING = np.empty(0)


class WarmLp:
    """Minimise ``cost @ z`` over ``row_low <= matrix @ z <= row_high`` and ``low <= z <= high``.

    Parameters
    ----------
    matrix : ndarray, shape (row, column)
        Coefficients.
    rows, columns : tuple of two ndarray
        Lower and upper limits; infinite where there is none.
    cost : ndarray, shape (column,)
        Objective.
    deadline : float
        ``time.perf_counter()`` at which every solve must stop.
    """

    def __init__(
        self,
        matrix: Floats,
        rows: tuple[Floats, Floats],
        columns: tuple[Floats, Floats],
        cost: Floats,
        deadline: float = math.inf,
    ) -> None:
        self.deadline = deadline
        self._columns = np.arange(matrix.shape[1], dtype=np.int32)
        self._highs = _silent_simplex()
        self._highs.passModel(_model(matrix, rows, columns, cost))

    def set_cost(self, cost: Floats) -> None:
        """Replace the objective."""
        self._highs.changeColsCost(len(self._columns), self._columns, cost)

    def set_rows(self, rows: Sequence[int] | NDArray[np.int32], low: Floats, high: Floats) -> None:
        """Replace the limits of some rows."""
        self._highs.changeRowsBounds(len(rows), np.asarray(rows, np.int32), low, high)  # type: ignore[attr-defined]

    def set_columns(self, columns: Sequence[int] | NDArray[np.int32], low: Floats, high: Floats) -> None:
        """Replace the limits of some columns."""
        self._highs.changeColsBounds(len(columns), np.asarray(columns, np.int32), low, high)

    def set_coefficients(self, row: int, columns: Sequence[int], values: Floats) -> None:
        """Replace some coefficients of a row."""
        for column, value in zip(columns, values, strict=True):
            self._highs.changeCoeff(row, column, float(value))

    def solve(self) -> Answer:
        """Solve from the last basis; from scratch, and then with other settings, where that says nothing."""
        for prepare in (None, _forget, _presolve, _loosen):
            if prepare is not None:
                prepare(self._highs)
            remaining_s = self.deadline - time.perf_counter()
            if remaining_s <= 0.0:
                return Answer(Ending.OUT_OF_TIME, math.nan, NOTHING, NOTHING)
            if math.isfinite(remaining_s):
                self._highs.setOptionValue("time_limit", self._highs.getRunTime() + remaining_s)
            self._highs.run()
            answer = _answer(self._highs)
            if answer.ending is not Ending.UNKNOWN:
                break
        if prepare is not None:
            _restore(self._highs)
        return answer


def _silent_simplex() -> highspy.Highs:
    return silent_highs(
        solver="simplex",
        presolve="off",  # the basis of the last solve is worth more
        primal_feasibility_tolerance=FEASIBILITY,
        dual_feasibility_tolerance=FEASIBILITY,
        allow_unbounded_or_infeasible=False,
    )


def _model(
    matrix: Floats, rows: tuple[Floats, Floats], columns: tuple[Floats, Floats], cost: Floats
) -> highspy.HighsLp:
    model = highspy.HighsLp()
    model.num_row_, model.num_col_ = matrix.shape
    model.col_cost_ = cost
    model.col_lower_, model.col_upper_ = columns
    model.row_lower_, model.row_upper_ = rows
    place_in_column, _ = np.nonzero(matrix.T)
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = np.searchsorted(place_in_column, np.arange(matrix.shape[1] + 1)).astype(np.int32)
    model.a_matrix_.index_ = np.nonzero(matrix.T)[1].astype(np.int32)
    model.a_matrix_.value_ = matrix.T[np.nonzero(matrix.T)]
    return model


def _answer(highs: highspy.Highs) -> Answer:
    status, known = highs.getModelStatus(), highspy.HighsModelStatus
    if status == known.kInfeasible:
        return Answer(Ending.INFEASIBLE, math.inf, NOTHING, NOTHING)
    if status == known.kUnbounded:
        return Answer(Ending.UNBOUNDED, -math.inf, NOTHING, NOTHING)
    if status == known.kTimeLimit:
        return Answer(Ending.OUT_OF_TIME, math.nan, NOTHING, NOTHING)
    info = highs.getInfo()
    if status in (known.kOptimal, known.kModelEmpty) and info.max_primal_infeasibility <= TRUSTED_VIOLATION:
        solution = highs.getSolution()
        return Answer(
            Ending.OPTIMAL, info.objective_function_value, np.array(solution.col_value), np.array(solution.row_dual)
        )
    return Answer(Ending.UNKNOWN, math.nan, NOTHING, NOTHING)


def _forget(highs: highspy.Highs) -> None:
    highs.clearSolver()


def _presolve(highs: highspy.Highs) -> None:
    highs.clearSolver()
    highs.setOptionValue("presolve", "on")


def _loosen(highs: highspy.Highs) -> None:
    highs.clearSolver()
    highs.setOptionValue("primal_feasibility_tolerance", LOOSE_FEASIBILITY)
    highs.setOptionValue("dual_feasibility_tolerance", LOOSE_FEASIBILITY)


def _restore(highs: highspy.Highs) -> None:
    highs.setOptionValue("presolve", "off")
    highs.setOptionValue("primal_feasibility_tolerance", FEASIBILITY)
    highs.setOptionValue("dual_feasibility_tolerance", FEASIBILITY)
