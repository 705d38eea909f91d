"""One linear or mixed-integer programme in HiGHS, solved for one objective after the other."""

from __future__ import annotations

import time
from dataclasses import dataclass

import highspy
import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.highs import silent_highs
from cosim.controllers.planner.model import Model
from cosim.errors import SolverError

PRIMAL = 4  # HiGHS option: primal simplex
VIOLATION = 1e-5  # a point further outside its rows is not believed


@dataclass(frozen=True)
class Outcome:
    """What HiGHS found.

    Attributes
    ----------
    complete : bool
        It ended by itself: at an optimum, within the gap asked for, or with the proof that there is no point.
    objective, bound : float
        Value (inf without a point) and proven lower bound (-inf without one).
    point, row_dual : ndarray
        Columns and multipliers of the rows; empty without a point.
    """

    complete: bool
    objective: float
    bound: float
    point: Float
    row_dual: Float


class Programme:
    """A model, or its leading continuous part, in HiGHS with one thread.

    Parameters
    ----------
    model : Model
        Rows, columns and limits.
    integer : bool
        Whether switches and starts take part.
    """

    def __init__(self, model: Model, *, integer: bool) -> None:
        self._integer = integer
        rows, columns = (len(model.row_low), len(model.high)) if integer else model.continuous
        self._columns = np.arange(columns, dtype=np.int32)
        self._highs = silent_highs()
        self._highs.passModel(_lp(model, rows, columns))
        self._solved = False

    def minimise(self, cost: Float, time_s: float, *, gap: float = 0.0, start: Float | None = None) -> Outcome:
        """Minimise ``cost @ columns``; surplus costs of switches are left out.

        Raises
        ------
        SolverError
            Where HiGHS ends in a way that says nothing.
        """
        highs = self._highs
        highs.changeColsCost(len(self._columns), self._columns, cost[: len(self._columns)])
        if self._integer:
            highs.setOptionValue("mip_rel_gap", gap)
            if start is not None:
                highs.setSolution(len(start), self._columns, start)
        elif self._solved:
            highs.setOptionValue("simplex_strategy", PRIMAL)  # the last optimum stays feasible for another objective
        highs.setOptionValue("time_limit", highs.getRunTime() + time_s)
        highs.run()
        self._solved = True
        return self._outcome()

    def keep(self, cost: Float, value: float) -> None:
        """Hold ``cost @ columns`` at most at this value from now on."""
        used = np.flatnonzero(cost[: len(self._columns)]).astype(np.int32)
        self._highs.addRow(-np.inf, value, len(used), used, cost[used])

    def limit(self, columns: Int, low: Float, high: Float) -> None:
        """Replace the limits of some columns."""
        self._highs.changeColsBounds(len(columns), columns.astype(np.int32), low, high)

    def release(self, rows: Int) -> None:
        """Take rows out of force."""
        for row in rows.tolist():
            self._highs.changeRowBounds(row, -np.inf, np.inf)

    def _outcome(self) -> Outcome:
        status, known, info = self._highs.getModelStatus(), highspy.HighsModelStatus, self._highs.getInfo()
        complete = status in (known.kOptimal, known.kModelEmpty)
        has_point = (
            info.primal_solution_status == highspy.kSolutionStatusFeasible
            and info.max_primal_infeasibility <= VIOLATION
        )
        if status == known.kInfeasible:
            return Outcome(True, np.inf, np.inf, np.empty(0), np.empty(0))
        if not (complete and has_point) and status != known.kTimeLimit:
            raise SolverError(f"HiGHS ended with {self._highs.modelStatusToString(status)!r}")
        solution = self._highs.getSolution()
        objective = info.objective_function_value if has_point else np.inf
        bound = info.mip_dual_bound if self._integer else (objective if complete else -np.inf)
        point = np.array(solution.col_value) if has_point else np.empty(0)
        return Outcome(complete, objective, bound, point, np.array(solution.row_dual))


def now_s() -> float:
    """Clock for time limits [s]."""
    return time.perf_counter()


def _lp(model: Model, rows: int, columns: int) -> highspy.HighsLp:
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = columns, rows
    lp.col_cost_ = np.zeros(columns)
    lp.col_lower_, lp.col_upper_ = model.low[:columns], model.high[:columns]
    lp.row_lower_, lp.row_upper_ = model.row_low[:rows], model.row_high[:rows]
    entries = model.row_start[rows]
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_ = model.row_start[: rows + 1]
    lp.a_matrix_.index_, lp.a_matrix_.value_ = model.row_index[:entries], model.row_value[:entries]
    whole = columns - model.continuous[1]
    if whole:
        kind = highspy.HighsVarType
        lp.integrality_ = [kind.kContinuous] * model.continuous[1] + [kind.kInteger] * whole
    return lp
