"""The users' problem handed to a solver, and only answers with a proof taken back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from typing import Literal

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
        Where the time limit is reached first: there is no unproven answer.
    SolverError
        Where the solver fails.
    InputError
        Where the solver is not installed, or cannot do the formulation.
    """
    rows = np.array([row for row, _ in limits]).reshape(-1, len(cost))
    numbers = replace(
        model.numbers, cost=cost, whole=None if relaxed else model.numbers.whole,
        matrix=sparse.vstack([model.numbers.matrix, sparse.csr_array(rows)], format="csr"),
        row_low=np.append(model.numbers.row_low, np.full(len(limits), -np.inf)),
        row_high=np.append(model.numbers.row_high, [high for _, high in limits]),
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
        # below SAME, by which answers differ; HiGHS's own is 1e-6
        numbers, stop, mip_abs_gap=ABSOLUTE_GAP, mip_allow_restart=False,
        mip_feasibility_tolerance=FEASIBILITY, primal_feasibility_tolerance=FEASIBILITY,
    )  # fmt: skip
    return replace(found, rounding=ROUNDING)


def scip_missing() -> str:
    """Why SCIP cannot be used; empty where it can."""
    return "" if find_spec("pyscipopt") else "the package pyscipopt is not installed"


def _with_scip(numbers: door.Model, squares: Squares, stop: Limits) -> SolveResult:
    missing = scip_missing()
    if missing:
        raise InputError(Fault(WHERE, "solver", missing, "pip install 'lv-feeder-cosim[scip]'"))
    import pyscipopt

    scip, matrix = pyscipopt.Model(), numbers.matrix
    scip.hideOutput()
    scip.setParams({
        "limits/time": stop.time_s, "limits/gap": stop.gap, "limits/absgap": ABSOLUTE_GAP,
        "numerics/feastol": FEASIBILITY, "timing/clocktype": PROCESSOR_CLOCK, "parallel/maxnthreads": 1,
    })  # fmt: skip
    kinds = zip(np.asarray(numbers.high).tolist(), np.asarray(numbers.whole).tolist(), strict=True)
    columns = [scip.addVar(vtype="I" if whole else "C", lb=0.0, ub=high) for high, whole in kinds]
    for row, (low, high) in enumerate(np.column_stack([numbers.row_low, numbers.row_high]).tolist()):
        span = slice(matrix.indptr[row], matrix.indptr[row + 1])
        entries = list(zip(matrix.indices[span].tolist(), matrix.data[span].tolist(), strict=True))
        if entries:
            body = pyscipopt.quicksum(value * columns[k] for k, value in entries)
            scip.addCons(body >= low if high == np.inf else body <= high if low == -np.inf else (body <= high) >= low)
    for square, count in squares:
        scip.addCons(columns[count] ** 2 <= columns[square])
    scip.setObjective(pyscipopt.quicksum(value * columns[k] for k, value in enumerate(numbers.cost.tolist())))
    scip.optimize()
    ended, process_s = scip.getStatus(), float(scip.getSolvingTime())
    if ended in ("infeasible", "inforunbd"):
        return SolveResult(Termination.INFEASIBLE, bound=float("inf"), process_s=process_s)
    if ended == "timelimit":
        return SolveResult(Termination.TIME_LIMIT, process_s=process_s)
    if ended not in ("optimal", "gaplimit"):
        raise SolverError(f"SCIP ended with {ended!r}")
    point = np.array([scip.getVal(column) for column in columns])
    value, bound = float(numbers.cost @ point), float(scip.getDualbound())
    proven, nodes = judged(value, bound, stop.gap, rounding=ROUNDING), int(scip.getNNodes())
    return SolveResult(proven, value, bound, point, nodes=nodes, process_s=process_s, rounding=ROUNDING)
