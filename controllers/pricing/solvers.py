"""The users' problem handed to a solver, and only answers with a proof taken back."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import highspy
import numpy as np
from scipy import sparse

from cosim.contract import Float
from cosim.controllers.highs import relative_gap, silent_highs
from cosim.controllers.pricing.model import Model
from cosim.errors import Fault, InputError, SolverError

SolverName = Literal["highs", "scip"]
SOLVERS: tuple[str, ...] = get_args(SolverName)
ABSOLUTE_GAP = 1e-7  # EUR, hours or their weighted sum; the gap that is called none
ROUNDING = 10.0 * ABSOLUTE_GAP  # values that differ by less are one value
FEASIBILITY = 1e-9  # far below what tells two answers apart
PROVEN_GAP = 1e-8  # a relative gap up to here is rounding
PROCESSOR_CLOCK = 1  # SCIP option: times are processor time
TIME_LIMIT_S = 600.0
_REMEDY = "allow a longer time limit or a gap"

Limit = tuple[Float, float]
"""A row: coefficients of all columns, and what they may reach."""


class TooLongError(SolverError):
    """The time limit struck before an answer was proven."""


@dataclass(frozen=True)
class Found:
    """What a solver says.

    Attributes
    ----------
    point : ndarray, shape (column,)
        Best point; empty where it is proven that there is none.
    value : float
        Of the objective.
    gap : float
        Proven: (value - bound) / abs(value), no more than was asked for.
    nodes : int
        Of the branch-and-bound tree.
    process_s : float
        Processor time in the solver [s].
    """

    point: Float
    value: float = float("inf")
    gap: float = 0.0
    nodes: int = 0
    process_s: float = 0.0


@dataclass(frozen=True)
class Stop:
    """When a solve may end.

    Attributes
    ----------
    gap : float
        Relative gap up to which an answer is good enough; 0 asks for the optimum.
    time_limit_s : float
        Time after which there is no answer but an error: wall clock in HiGHS, processor time in SCIP [s].
    """

    gap: float = 0.0
    time_limit_s: float = TIME_LIMIT_S


def minimise(
    model: Model,
    cost: Float,
    limits: Sequence[Limit] = (),
    *,
    solver: SolverName = "highs",
    stop: Stop | None = None,
    relaxed: bool = False,
) -> Found:
    """Minimise ``cost @ columns`` under the model's rows and further limits, as far as asked for and with proof.

    ``relaxed`` leaves whole numbers out; with HiGHS only.

    Raises
    ------
    TooLongError
        Where the time limit strikes first: there is no unproven answer.
    SolverError
        Where the solver fails.
    InputError
        Where the solver is not installed, or cannot do the formulation.
    """
    stop = stop or Stop()
    if solver == "scip":
        return _with_scip(model, cost, limits, stop)
    return _with_highs(model, cost, limits, stop, relaxed=relaxed)


def _with_highs(model: Model, cost: Float, limits: Sequence[Limit], stop: Stop, *, relaxed: bool) -> Found:
    if model.squares:
        problem = "'nonlinear' has quadratic rows with binaries, which HiGHS does not solve"
        raise InputError(Fault("station pricing", "formulation", problem, "use solver 'scip', or formulation 'cuts'"))
    highs = silent_highs(
        mip_rel_gap=stop.gap, mip_abs_gap=ABSOLUTE_GAP, mip_allow_restart=False, time_limit=stop.time_limit_s,
        mip_feasibility_tolerance=FEASIBILITY, primal_feasibility_tolerance=FEASIBILITY,
    )  # fmt: skip
    highs.passModel(_lp(model, cost, limits, relaxed=relaxed))
    began = time.process_time()
    highs.run()
    process_s = time.process_time() - began
    status, known = highs.getModelStatus(), highspy.HighsModelStatus
    if status in (known.kInfeasible, known.kUnboundedOrInfeasible):
        return Found(np.empty(0), process_s=process_s)
    if status == known.kTimeLimit:
        raise TooLongError(f"no proven answer of the users within {stop.time_limit_s:g} s: {_REMEDY}")
    info = highs.getInfo()
    value = info.objective_function_value
    gap = 0.0 if relaxed else relative_gap(value, info.mip_dual_bound, ROUNDING)
    if status != known.kOptimal or gap > max(stop.gap, PROVEN_GAP):
        raise SolverError(f"HiGHS ended with {highs.modelStatusToString(status)!r} and a gap of {gap:.1e}")
    return Found(np.array(highs.getSolution().col_value), value, gap, max(int(info.mip_node_count), 0), process_s)


def _lp(model: Model, cost: Float, limits: Sequence[Limit], *, relaxed: bool) -> highspy.HighsLp:
    rows = model.rows
    if limits:
        rows = sparse.vstack([rows, sparse.csr_matrix(np.vstack([row for row, _ in limits]))]).tocsr()
    bounds = np.array([bound for _, bound in limits])
    lp = highspy.HighsLp()
    lp.num_row_, lp.num_col_ = rows.shape
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = cost, np.zeros(len(cost)), model.high
    lp.row_lower_ = np.concatenate([model.row_low, np.full(len(limits), -np.inf)])
    lp.row_upper_ = np.concatenate([model.row_high, bounds])
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = rows.indptr, rows.indices, rows.data
    kind = highspy.HighsVarType
    if not relaxed:
        lp.integrality_ = [kind.kInteger if whole else kind.kContinuous for whole in model.whole.tolist()]
    return lp


def scip_missing() -> str:
    """Why SCIP cannot be used; empty where it can."""
    try:
        from pyomo.contrib.solver.solvers.scip.scip_direct import ScipDirect
    except ImportError:
        return "this Pyomo does not know SCIP: it takes 6.10 or later"
    return "" if ScipDirect().available() else "the package pyscipopt is not installed"


def _with_scip(model: Model, cost: Float, limits: Sequence[Limit], stop: Stop) -> Found:
    missing = scip_missing()
    if missing:
        raise InputError(Fault("station pricing", "solver", missing, "pip install 'lv-feeder-cosim[scip]'"))
    from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
    from pyomo.contrib.solver.solvers.scip.scip_direct import ScipDirect

    problem = _pyomo(model, cost, limits)
    results = ScipDirect().solve(
        problem,
        time_limit=stop.time_limit_s,
        rel_gap=stop.gap,
        abs_gap=ABSOLUTE_GAP,
        threads=1,
        load_solutions=False,
        raise_exception_on_nonoptimal_result=False,
        solver_options={"numerics/feastol": FEASIBILITY, "timing/clocktype": PROCESSOR_CLOCK},
    )
    process_s = float(results.timing_info.scip_time)
    ended, ends = results.termination_condition, TerminationCondition
    if ended in (ends.provenInfeasible, ends.infeasibleOrUnbounded, ends.locallyInfeasible):
        return Found(np.empty(0), process_s=process_s)
    if ended == ends.maxTimeLimit:
        raise TooLongError(f"no proven answer of the users within {stop.time_limit_s:g} s: {_REMEDY}")
    if ended != ends.convergenceCriteriaSatisfied or results.solution_status != SolutionStatus.optimal:
        raise SolverError(f"SCIP ended with {ended.name!r}")
    results.solution_loader.load_vars()
    point = np.array([column.value for column in problem.x.values()])
    value = float(cost @ point)
    gap = relative_gap(value, float(results.objective_bound), ROUNDING)
    return Found(point, value, gap, int(results.extra_info["NNodes"]), process_s)


def _pyomo(model: Model, cost: Float, limits: Sequence[Limit]) -> Any:
    import pyomo.environ as pyo

    problem = pyo.ConcreteModel()
    whole, high = model.whole, model.high

    def domain(_: Any, k: int) -> Any:
        return (pyo.Binary if high[k] <= 1.0 else pyo.NonNegativeIntegers) if whole[k] else pyo.NonNegativeReals

    problem.x = pyo.Var(range(len(high)), domain=domain, bounds=lambda _, k: (0.0, float(high[k])))
    problem.rows = pyo.ConstraintList()
    rows = model.rows
    columns = list(problem.x.values())
    for row, (low, top) in enumerate(zip(model.row_low.tolist(), model.row_high.tolist(), strict=True)):
        span = slice(rows.indptr[row], rows.indptr[row + 1])
        body = pyo.quicksum(
            value * columns[k] for k, value in zip(rows.indices[span].tolist(), rows.data[span].tolist(), strict=True)
        )
        if rows.indptr[row] < rows.indptr[row + 1]:
            problem.rows.add((None if low == -np.inf else low, body, None if top == np.inf else top))
    for row_of, bound in limits:
        problem.rows.add(pyo.quicksum(value * columns[k] for k, value in enumerate(row_of.tolist()) if value) <= bound)
    for square, count in model.squares:
        problem.rows.add(columns[count] ** 2 <= columns[square])
    problem.aim = pyo.Objective(expr=pyo.quicksum(value * columns[k] for k, value in enumerate(cost.tolist())))
    return problem
