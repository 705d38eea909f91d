"""The users' problem handed to a solver, and only answers with a proof taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
from scipy import sparse

from cosim.contract import Float
from cosim.controllers import solver as door
from cosim.controllers.pricing.instance import WHERE
from cosim.controllers.pricing.model import Model
from cosim.controllers.solver import UNLIMITED, Limits, OutOfTimeError, SolveResult, Termination, judged
from cosim.errors import Fault, InputError, SolverError

SolverName = Literal["highs", "scip"]
ABSOLUTE_GAP = 1e-7  # EUR, hours or their weighted sum; the gap that is called none
ROUNDING = 10.0 * ABSOLUTE_GAP  # values that differ by less are one value
FEASIBILITY = 1e-9  # far below what tells two answers apart
PROVEN_GAP = 1e-8  # a relative gap up to here is rounding
PROCESSOR_CLOCK = 1  # SCIP option: times are processor time
TIME_LIMIT_S = 600.0

Limit = tuple[Float, float]
"""A row: coefficients of all columns, and what they may reach."""

Squares = tuple[tuple[int, int], ...]
EXACT = Limits(0.0, UNLIMITED, TIME_LIMIT_S)


def minimise(
    model: Model,
    cost: Float,
    limits: Sequence[Limit] = (),
    *,
    solver: SolverName = "highs",
    stop: Limits = EXACT,
    relaxed: bool = False,
) -> SolveResult:
    """Minimise ``cost @ columns`` under the model's rows and further limits, as far as asked for and with proof.

    Without a point, it is proven that there is none. ``relaxed`` leaves whole numbers out; with HiGHS only. The time
    limit is of the wall clock in HiGHS, of processor time in SCIP.

    Raises
    ------
    OutOfTimeError
        Where the time limit strikes first: there is no unproven answer.
    SolverError
        Where the solver fails.
    InputError
        Where the solver is not installed, or cannot do the formulation.
    """
    rows, high = (np.array([limit[part] for limit in limits]) for part in (0, 1))
    numbers = replace(
        model.numbers, cost=cost, whole=None if relaxed else model.numbers.whole,
        matrix=sparse.vstack([model.numbers.matrix, rows.reshape(-1, len(cost))]).tocsr(),
        row_low=np.append(model.numbers.row_low, np.full(len(limits), -np.inf)),
        row_high=np.append(model.numbers.row_high, high),
    )  # fmt: skip
    found = _with_scip(numbers, model.squares, stop) if solver == "scip" else _with_highs(numbers, model.squares, stop)
    if found.termination is Termination.TIME_LIMIT:
        remedy = "allow a longer time limit or a gap"
        raise OutOfTimeError(f"no proven answer of the users within {stop.time_s:g} s: {remedy}")
    if found.termination is not Termination.INFEASIBLE and not found.gap <= max(stop.gap, PROVEN_GAP):
        raise SolverError(f"{solver} ended with '{found.termination}' and a gap of {found.gap:.1e}")
    return found


def _with_highs(numbers: door.Model, squares: Squares, stop: Limits) -> SolveResult:
    if squares:
        problem = "'nonlinear' has quadratic rows with binaries, which HiGHS does not solve"
        raise InputError(Fault(WHERE, "formulation", problem, "use solver 'scip', or formulation 'cuts'"))
    found = door.solve(
        numbers, stop, mip_abs_gap=ABSOLUTE_GAP, mip_allow_restart=False,
        mip_feasibility_tolerance=FEASIBILITY, primal_feasibility_tolerance=FEASIBILITY,
    )  # fmt: skip
    return replace(found, rounding=ROUNDING)


def scip_missing() -> str:
    """Why SCIP cannot be used; empty where it can."""
    try:
        from pyomo.contrib.solver.solvers.scip.scip_direct import ScipDirect
    except ImportError:
        return "this Pyomo does not know SCIP: it takes 6.10 or later"
    return "" if ScipDirect().available() else "the package pyscipopt is not installed"


def _with_scip(numbers: door.Model, squares: Squares, stop: Limits) -> SolveResult:
    missing = scip_missing()
    if missing:
        raise InputError(Fault(WHERE, "solver", missing, "pip install 'lv-feeder-cosim[scip]'"))
    from pyomo.contrib.solver.common.results import SolutionStatus, TerminationCondition
    from pyomo.contrib.solver.solvers.scip.scip_direct import ScipDirect

    problem = _pyomo(numbers, squares)
    results = ScipDirect().solve(
        problem,
        time_limit=stop.time_s,
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
        return SolveResult(Termination.INFEASIBLE, bound=float("inf"), process_s=process_s)
    if ended == ends.maxTimeLimit:
        return SolveResult(Termination.TIME_LIMIT, process_s=process_s)
    if ended != ends.convergenceCriteriaSatisfied or results.solution_status != SolutionStatus.optimal:
        raise SolverError(f"SCIP ended with {ended.name!r}")
    results.solution_loader.load_vars()
    point = np.array([column.value for column in problem.x.values()])
    value, bound = float(numbers.cost @ point), float(results.objective_bound)
    proven, nodes = judged(value, bound, stop.gap, rounding=ROUNDING), int(results.extra_info["NNodes"])
    return SolveResult(proven, value, bound, point, nodes=nodes, process_s=process_s, rounding=ROUNDING)


def _pyomo(numbers: door.Model, squares: Squares) -> Any:
    import pyomo.environ as pyo

    problem, rows = pyo.ConcreteModel(), numbers.matrix
    whole, high = np.asarray(numbers.whole), np.asarray(numbers.high)

    def domain(_: Any, k: int) -> Any:
        return (pyo.Binary if high[k] <= 1.0 else pyo.NonNegativeIntegers) if whole[k] else pyo.NonNegativeReals

    problem.x = pyo.Var(range(len(high)), domain=domain, bounds=lambda _, k: (0.0, float(high[k])))
    problem.rows = pyo.ConstraintList()
    columns = list(problem.x.values())
    for row, (low, top) in enumerate(np.column_stack([numbers.row_low, numbers.row_high]).tolist()):
        span = slice(rows.indptr[row], rows.indptr[row + 1])
        body = pyo.quicksum(
            value * columns[k] for k, value in zip(rows.indices[span].tolist(), rows.data[span].tolist(), strict=True)
        )
        if rows.indptr[row] < rows.indptr[row + 1]:
            problem.rows.add((None if low == -np.inf else low, body, None if top == np.inf else top))
    for square, count in squares:
        problem.rows.add(columns[count] ** 2 <= columns[square])
    problem.aim = pyo.Objective(expr=pyo.quicksum(value * columns[k] for k, value in enumerate(numbers.cost.tolist())))
    return problem
