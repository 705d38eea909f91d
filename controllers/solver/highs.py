"""HiGHS, and nothing else here speaks to it: silent, on one thread, the same answer for the same data."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import highspy
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.solver.model import Model
from cosim.controllers.solver.result import (
    SLACK,
    UNLIMITED,
    Clock,
    InTurn,
    Limits,
    SolveResult,
    Termination,
    judged,
    solve_in_turn,
)
from cosim.errors import SolverError

VIOLATION = 1e-5  # a point further outside its rows than this is not believed
MIP_ROUNDING = 1e-6  # HiGHS ends at this absolute gap too
_NOTHING: Float = np.empty(0)
_DEFAULTS: dict[str, Any] = {
    "threads": 1, "random_seed": 1, "solver": "choose", "presolve": "choose",
    "primal_feasibility_tolerance": 1e-7, "dual_feasibility_tolerance": 1e-7,
}  # fmt: skip

_ENDED = {
    highspy.HighsModelStatus.kOptimal: Termination.OPTIMAL,
    highspy.HighsModelStatus.kModelEmpty: Termination.OPTIMAL,
    highspy.HighsModelStatus.kInfeasible: Termination.INFEASIBLE,
    highspy.HighsModelStatus.kUnbounded: Termination.UNBOUNDED,
    highspy.HighsModelStatus.kObjectiveTarget: Termination.FIRST_PLAN,
    highspy.HighsModelStatus.kSolutionLimit: Termination.NODE_LIMIT,
    highspy.HighsModelStatus.kIterationLimit: Termination.ITERATION_LIMIT,
    highspy.HighsModelStatus.kTimeLimit: Termination.TIME_LIMIT,
}


@dataclass(frozen=True, eq=False)
class Basis:
    """Where the columns and rows of an optimum stand.

    Attributes
    ----------
    columns, rows : ndarray of int
        Columns in the basis, and rows whose slack is: redundant ones.
    at_high : ndarray of bool, shape (column,)
        Columns that are at their upper bound.
    raw : object
        For `Solver.restore`.
    """

    columns: Int
    rows: Int
    at_high: Bool
    raw: Any


class Solver:
    """A model in HiGHS: silent, on one thread, the same answer for the same data; solved again from the last basis.

    Parameters
    ----------
    model : Model
        What to minimise.
    **settings : str, float or bool
        Further options of HiGHS.

    Raises
    ------
    SolverError
        Where HiGHS does not take the model, such as for coefficients that are not finite.
    """

    violation = VIOLATION

    def __init__(self, model: Model, **settings: str | float | bool) -> None:
        self._settings = {**_DEFAULTS, **settings}
        self._is_mixed = model.whole is not None and bool(model.whole.any())
        self._is_convex = model.hessian is not None
        self._is_warm = False
        self._columns = np.arange(len(model.cost), dtype=np.int32)
        self._highs = highspy.Highs()  # type: ignore[no-untyped-call]
        self._highs.silent()
        self.set_options(**self._settings)
        if self._highs.passModel(_as_highs(model)) == highspy.HighsStatus.kError:
            raise SolverError("HiGHS does not take the model: a number in it is not finite, or limits are crossed")

    def set_options(self, **options: Any) -> None:
        """Set options of HiGHS, by name."""
        for name, value in options.items():
            self._highs.setOptionValue(name, value)

    def set_cost(self, cost: Float) -> None:
        """Replace the objective."""
        self._highs.changeColsCost(len(cost), self._columns[: len(cost)], cost)

    def set_columns(self, columns: Sequence[int] | Int | NDArray[np.int32], low: Float, high: Float) -> None:
        """Replace the limits of some columns."""
        self._highs.changeColsBounds(len(columns), np.asarray(columns, np.int32), low, high)

    def set_rows(self, rows: Sequence[int] | Int | NDArray[np.int32], low: Float, high: Float) -> None:
        """Replace the limits of some rows."""
        self._highs.changeRowsBounds(len(rows), np.asarray(rows, np.int32), low, high)  # type: ignore[attr-defined]

    def set_coefficients(self, row: int, columns: Sequence[int], values: Float) -> None:
        """Replace some coefficients of a row."""
        for column, value in zip(columns, values, strict=True):
            self._highs.changeCoeff(row, column, float(value))

    def add_rows(self, matrix: Any, low: Float | float, high: Float | float) -> Int:
        """Append rows, shape (new row, column); return their numbers."""
        rows, first = sparse.csr_array(np.atleast_2d(matrix) if isinstance(matrix, np.ndarray) else matrix), self.rows
        self._highs.addRows(
            rows.shape[0], np.broadcast_to(low, rows.shape[0]).astype(float),
            np.broadcast_to(high, rows.shape[0]).astype(float), rows.nnz, rows.indptr[:-1].astype(np.int32),
            rows.indices.astype(np.int32), rows.data.astype(float),
        )  # fmt: skip
        return np.arange(first, first + rows.shape[0])

    def add_columns(self, cost: Float, matrix: Any) -> Int:
        """Append columns from 0 upwards, shape (row, new column); return their numbers."""
        columns, first, count = sparse.csc_array(matrix), self.columns, len(cost)
        self._highs.addCols(
            count, cost, np.zeros(count), np.full(count, np.inf), columns.nnz, columns.indptr[:-1].astype(np.int32),
            columns.indices.astype(np.int32), columns.data,
        )  # fmt: skip
        self._columns = np.arange(first + count, dtype=np.int32)
        return np.arange(first, first + count)

    def delete_rows(self, rows: Int) -> None:
        """Take rows out; those behind them move up."""
        self._highs.deleteRows(len(rows), rows.astype(np.int32))

    @property
    def columns(self) -> int:
        """Number of columns."""
        return len(self._columns)

    @property
    def rows(self) -> int:
        """Number of rows."""
        return int(self._highs.getNumRow())

    def basis(self) -> Basis:
        """Read the basis of the last solve."""
        raw, known = self._highs.getBasis(), highspy.HighsBasisStatus
        columns, rows = (np.array(status, dtype=object) for status in (raw.col_status, raw.row_status))
        at_high: Bool = columns == known.kUpper
        return Basis(np.flatnonzero(columns == known.kBasic), np.flatnonzero(rows == known.kBasic), at_high, raw)

    def restore(self, basis: Basis) -> None:
        """Start the next solve from a basis."""
        self._highs.setBasis(basis.raw)

    def limits(self) -> tuple[Float, Float, Float, Float]:
        """Read the limits as they are now: lower and upper of the columns, lower and upper of the rows."""
        lp = self._highs.getLp()
        limits = (lp.col_lower_, lp.col_upper_, lp.row_lower_, lp.row_upper_)
        low, high, row_low, row_high = (np.array(limit, float) for limit in limits)
        return low, high, row_low, row_high

    def hold_optima(self, least: float = 1e-9) -> None:
        """After an optimum of a linear programme: leave its optima only, all of them.

        By complementary slackness every optimum has a column with a reduced cost, and a row with a multiplier, at the
        limit at which it is now, and whatever is so is an optimum.

        Parameters
        ----------
        least : float
            Reduced costs and multipliers up to here count as none.
        """
        found = self._highs.getSolution()
        columns = np.flatnonzero(np.abs(found.col_dual) > least)
        rows = np.flatnonzero(np.abs(found.row_dual) > least)
        at, row_at = np.array(found.col_value)[columns], np.array(found.row_value)[rows]
        self.set_columns(columns, at, at)
        self.set_rows(rows, row_at, row_at)

    def forget(self) -> None:
        """Start the next solve from scratch."""
        self._highs.clearSolver()

    def solve(self, limits: Limits | None = None, *, start: Float | None = None, read: bool = True) -> SolveResult:
        """Minimise.

        Parameters
        ----------
        limits : Limits, optional
            When to stop.
        start : ndarray, shape (column,), optional
            A first plan of a mixed-integer model; nan where it is not known.
        read : bool
            Whether the point is wanted, or its value only, which is quicker.
        """
        limits = limits or Limits()
        clock, began_s, tried = Clock(limits.time_s), time.process_time(), []
        result = SolveResult(Termination.TIME_LIMIT)
        for name, settings in (("", {}), *self._other_settings()):
            if clock.over:
                result = SolveResult(Termination.TIME_LIMIT)
                break
            if name:
                tried.append(name)
                self.forget()
                self.set_options(**settings)
            self._prepare(limits, clock.left_s, None if name else start)
            self._run()
            result = self._result(limits, read=read)
            if result.termination is not Termination.ERROR:
                break
        self._is_warm = True
        if tried:
            self.set_options(**self._settings)
        process_s = time.process_time() - began_s
        return replace(result, wall_s=clock.passed_s, process_s=process_s, retries=tuple(tried))

    def _other_settings(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """What is tried in turn, each on top of the one before."""
        if self._is_warm:
            yield "from scratch", {}
        # another path through the same model: the error may be of presolve's making
        presolve = "on" if self._settings["presolve"] == "off" else "off"
        yield f"presolve {presolve}", {"presolve": presolve}
        names = ("primal_feasibility_tolerance", "dual_feasibility_tolerance")
        # late: it changes what counts as a solution, the settings before it only how one is found
        yield "wider tolerances", {name: max(10.0 * self._settings[name], 1e-7) for name in names}
        if not (self._is_mixed or self._is_convex):
            other = "simplex" if self._settings["solver"] == "ipm" else "ipm"
            yield other, {"solver": other}

    def _prepare(self, limits: Limits, left_s: float, start: Float | None) -> None:
        self._highs.setOptionValue("time_limit", self._highs.getRunTime() + left_s)  # HiGHS counts all runs together
        if not self._is_mixed:
            return
        self.set_options(
            mip_rel_gap=limits.gap, mip_max_nodes=min(limits.nodes, UNLIMITED), mip_max_improving_sols=limits.plans,
            objective_target=limits.target,
        )  # fmt: skip
        if start is not None:
            known = np.flatnonzero(~np.isnan(start))
            self._highs.setSolution(len(known), known.astype(np.int32), start[known])

    def _run(self) -> None:
        self._highs.run()

    def _result(self, limits: Limits, *, read: bool) -> SolveResult:
        info, ended = self._highs.getInfo(), _ENDED.get(self._highs.getModelStatus(), Termination.ERROR)
        if ended is Termination.INFEASIBLE or ended is Termination.UNBOUNDED:
            worth = math.inf if ended is Termination.INFEASIBLE else -math.inf
            return SolveResult(ended, worth, worth)
        is_feasible = info.primal_solution_status == highspy.kSolutionStatusFeasible
        # its own status is not enough: what the point violates of the rows counts too
        is_feasible = is_feasible and info.max_primal_infeasibility <= self.violation
        is_feasible = is_feasible and not math.isnan(info.objective_function_value)
        is_complete = ended is Termination.OPTIMAL
        value = info.objective_function_value if is_feasible else math.inf
        # a linear programme that ended early has a value but proves nothing
        bound = info.mip_dual_bound if self._is_mixed else value if is_complete else -math.inf
        if is_complete:
            ended = judged(value, bound, limits.gap if self._is_mixed else 0.0, Termination.ERROR, MIP_ROUNDING)
        elif ended is Termination.NODE_LIMIT and limits.plans < UNLIMITED and is_feasible:
            ended = Termination.FIRST_PLAN
        elif ended is Termination.ITERATION_LIMIT:  # of the simplex method: what it reached, though nothing is proven
            value = info.objective_function_value
        x = row_dual = _NOTHING
        if read and is_feasible:
            solution = self._highs.getSolution()
            # a mixed-integer programme has no multipliers to hand out
            x, row_dual = np.array(solution.col_value), _NOTHING if self._is_mixed else np.array(solution.row_dual)
        nodes, rounding = max(int(info.mip_node_count), 0), MIP_ROUNDING if self._is_mixed else 0.0
        return SolveResult(ended, value, bound, x, row_dual, nodes, rounding=rounding)


def solve(
    model: Model, limits: Limits | None = None, *, start: Float | None = None, **settings: str | float | bool
) -> SolveResult:
    """Minimise a model once; see `Solver`."""
    return Solver(model, **settings).solve(limits, start=start)


def _as_highs(model: Model) -> highspy.HighsModel:
    made, matrix = highspy.HighsModel(), sparse.csc_array(model.matrix)
    lp, (rows, columns) = made.lp_, matrix.shape
    lp.num_row_, lp.num_col_ = rows, columns
    lp.offset_, lp.col_cost_ = model.offset, np.asarray(model.cost, float)
    lp.col_lower_, lp.col_upper_ = (np.broadcast_to(limit, columns).astype(float) for limit in (model.low, model.high))
    lp.row_lower_, lp.row_upper_ = (
        np.broadcast_to(limit, rows).astype(float) for limit in (model.row_low, model.row_high)
    )
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_ = matrix.indptr.astype(np.int32), matrix.indices.astype(np.int32)
    lp.a_matrix_.value_ = matrix.data.astype(float)
    if model.whole is not None:
        kind = highspy.HighsVarType
        lp.integrality_ = [kind.kInteger if whole else kind.kContinuous for whole in model.whole.tolist()]
    if model.hessian is not None:
        lower = sparse.csc_array(np.tril(model.hessian))  # HiGHS wants the lower triangle of a symmetric matrix
        made.hessian_.dim_, made.hessian_.format_ = columns, highspy.HessianFormat.kTriangular
        made.hessian_.start_, made.hessian_.index_ = lower.indptr.astype(np.int32), lower.indices.astype(np.int32)
        made.hessian_.value_ = lower.data
    return made


def minimise_in_turn(solver: Solver, aims: Sequence[Float], time_s: float = 600.0, slack: float = SLACK) -> InTurn:
    """Minimise ``aim @ x`` for several aims in order of importance; the solver's own objective is lost.

    Each aim starts from scratch, so that of several optima of the last one the one found does not depend on what the
    others came by.

    Parameters
    ----------
    solver : Solver
        A model; rows added for the aims are taken out again.
    aims : sequence of ndarray, shape (column,)
        In order of importance.
    time_s : float
        Wall clock for all of them [s].
    slack : float
        As for `solve_in_turn`.
    """
    clock, kept = Clock(time_s), solver.rows

    def solve_aim(aim: int, most: list[float]) -> SolveResult:
        solver.set_cost(aims[aim])
        # asked a second time for an aim, with wider limits, its row is there already
        if solver.rows < kept + len(most):
            solver.add_rows(aims[aim - 1], -math.inf, most[-1])
        solver.set_rows(np.arange(kept, solver.rows), np.full(len(most), -math.inf), np.array(most))
        solver.forget()
        return solver.solve(Limits(time_s=clock.left_s))

    found = solve_in_turn(solve_aim, len(aims), slack)
    solver.delete_rows(np.arange(kept, solver.rows))
    return found
