"""HiGHS as the solver of Pyomo models, with an honest ending.

Pyomo's standard-form compiler gives the matrices and HiGHS is driven directly: node limit, start values and the proven
bound are all needed, no output is captured, and a limit is never called optimal.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import highspy
import numpy as np
import pyomo.environ as pyo
from pyomo.opt import WriterFactory

from cosim.controllers.highs import relative_gap, silent_highs
from cosim.errors import SolverError

OPTIMAL_GAP = 1e-4  # a relative gap up to here is called optimal
LINEAR_S = 600.0  # for linear programmes that are not given a time
ONE_PLAN = 1  # HiGHS option: stop at the first improving solution


@dataclass(frozen=True)
class Stop:
    """When a solve may end before it is proven optimal.

    Attributes
    ----------
    gap : float
        Relative gap, (value - bound) / value.
    nodes : int
        Nodes of the branch-and-bound tree; the same on every machine.
    time_s : float
        Wall clock, a safety only: where it strikes, results differ between machines [s].
    first_plan : bool
        Stop at any feasible point.
    """

    gap: float = OPTIMAL_GAP
    nodes: int = 10_000
    time_s: float = 600.0
    first_plan: bool = False


@dataclass(frozen=True)
class Ending:
    """How a solve ended.

    Attributes
    ----------
    status : str
        ``optimal``, ``gap_limit``, ``node_limit``, ``time_limit``, ``first_plan``, ``infeasible``.
    has_plan : bool
        Whether the model's variables hold a feasible point.
    objective, bound : float
        Its value (inf without one) and the proven lower bound (-inf without one).
    nodes : int
        Branch-and-bound nodes.
    wall_s : float
        Wall clock [s].
    """

    status: str
    has_plan: bool
    objective: float
    bound: float
    nodes: int
    wall_s: float


class OutOfTimeError(SolverError):
    """The wall clock struck before a linear programme had an optimum for each of its aims.

    Attributes
    ----------
    reached : int
        How many aims had one; variables hold that of the last of them.
    """

    def __init__(self, message: str, reached: int = 0) -> None:
        super().__init__(message)
        self.reached = reached


def solve(model: pyo.ConcreteModel, stop: Stop | None = None, *, use_start: bool = False) -> Ending:
    """Minimise a linear or mixed-integer Pyomo model and load the result into its variables.

    Parameters
    ----------
    model : ConcreteModel
        With one active objective, to be minimised.
    stop : Stop, optional
        Limits.
    use_start : bool
        Offer the present values of the variables as a first plan.

    Raises
    ------
    SolverError
        Where HiGHS ends in a way that says nothing (unbounded, numerical failure).
    """
    stop = stop or Stop()
    form = WriterFactory("compile_standard_form").write(model, mixed_form=True)
    solver = _loaded(form, stop)
    if use_start:
        _offer_start(solver, form.columns)
    began = time.perf_counter()
    solver.run()
    wall_s = time.perf_counter() - began
    info = solver.getInfo()
    has_plan = info.primal_solution_status == highspy.kSolutionStatusFeasible
    if has_plan:
        for variable, value in zip(form.columns, solver.getSolution().col_value, strict=True):
            variable.set_value(value, skip_validation=True)
    is_mip = any(variable.is_integer() for variable in form.columns)
    objective = info.objective_function_value if has_plan else float("inf")
    bound = info.mip_dual_bound if is_mip else (objective if has_plan else float("-inf"))
    status = _status(solver, objective, bound, stop)
    if status == "infeasible":
        has_plan, objective, bound = False, float("inf"), float("inf")
    return Ending(status, has_plan, objective, bound, max(int(info.mip_node_count), 0), wall_s)


def run_linear(solver: highspy.Highs, time_s: float, what: str) -> None:
    """Run a linear programme that has an optimum, for at most so long.

    Raises
    ------
    OutOfTimeError
        Where the clock struck first.
    SolverError
        Where it ends without an optimum; the message names ``what``.
    """
    solver.setOptionValue("time_limit", solver.getRunTime() + time_s)
    solver.run()
    ended = solver.getModelStatus()
    if ended == highspy.HighsModelStatus.kTimeLimit:
        raise OutOfTimeError(f"the clock struck in {what}")
    if ended != highspy.HighsModelStatus.kOptimal:
        raise SolverError(f"{what} ended with {solver.modelStatusToString(ended)!r}")


def _loaded(form: Any, stop: Stop) -> highspy.Highs:
    columns, matrix = form.columns, form.A.tocsc()
    rows_of = np.array([row.bound_type for row in form.rows])
    rhs = np.asarray(form.rhs, dtype=np.float64)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = len(columns), len(rhs)
    lp.offset_ = float(form.c_offset[0])
    lp.col_cost_ = np.asarray(form.c.todense(), dtype=np.float64).ravel()
    bounds = [variable.bounds for variable in columns]
    lp.col_lower_ = np.array([-np.inf if low is None else low for low, _ in bounds], float)
    lp.col_upper_ = np.array([np.inf if high is None else high for _, high in bounds], float)
    lp.row_lower_ = np.where(rows_of <= 0, rhs, -np.inf)  # bound_type: -1 is >=, 0 is ==, 1 is <=
    lp.row_upper_ = np.where(rows_of >= 0, rhs, np.inf)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
    kind = highspy.HighsVarType
    lp.integrality_ = [kind.kInteger if variable.is_integer() else kind.kContinuous for variable in columns]
    solver = silent_highs()
    options: dict[str, float | int] = {
        "mip_rel_gap": stop.gap,
        "mip_max_nodes": stop.nodes,
        "time_limit": stop.time_s,
    }
    if stop.first_plan:
        options["mip_max_improving_sols"] = ONE_PLAN
    for name, value in options.items():
        solver.setOptionValue(name, value)
    solver.passModel(lp)
    return solver


def _offer_start(solver: highspy.Highs, columns: Sequence[pyo.Var]) -> None:
    known = [(index, variable.value) for index, variable in enumerate(columns) if variable.value is not None]
    if known:
        index, value = zip(*known, strict=True)
        solver.setSolution(len(known), np.array(index, np.int32), np.array(value, float))


def _status(solver: highspy.Highs, objective: float, bound: float, stop: Stop) -> str:
    end, ends = solver.getModelStatus(), highspy.HighsModelStatus
    if end in (ends.kOptimal, ends.kModelEmpty):
        return "optimal" if relative_gap(objective, bound) <= OPTIMAL_GAP else "gap_limit"
    if end in (ends.kInfeasible, ends.kUnboundedOrInfeasible):
        return "infeasible"
    if end == ends.kTimeLimit:
        return "time_limit"
    if end == ends.kSolutionLimit:
        return "first_plan" if stop.first_plan and np.isfinite(objective) else "node_limit"
    raise SolverError(f"HiGHS ended with {solver.modelStatusToString(end)!r}")


def solve_in_turn(
    model: pyo.ConcreteModel, aims: Sequence[pyo.Expression], slack: float = 1e-6, time_s: float = LINEAR_S
) -> list[float]:
    """Minimise several linear aims of a linear programme, the first above all, the next among its optima, and so on.

    Parameters
    ----------
    model : ConcreteModel
        Without an objective; it is left without one.
    aims : sequence of linear expressions
        In order of importance.
    slack : float
        How much of what was reached may be given up later, relative to 1 + its size.
    time_s : float
        Wall clock for all of them [s].

    Returns
    -------
    list of float
        The value reached for each aim.

    Raises
    ------
    OutOfTimeError
        Where the wall clock strikes.
    SolverError
        Where an aim has no optimum.
    """
    model.kept = pyo.ConstraintList()
    reached: list[float] = []
    end_s = time.perf_counter() + time_s
    for aim in aims:
        model.aim = pyo.Objective(expr=aim)
        ending = solve(model, Stop(time_s=max(end_s - time.perf_counter(), 0.0)))
        if ending.status == "time_limit":  # what it holds then, if anything, is still as good for the aims before
            model.del_component(model.aim)
            model.del_component(model.kept)
            raise OutOfTimeError(f"the clock struck at aim {len(reached) + 1} of {len(aims)}", len(reached))
        if ending.status != "optimal":
            raise SolverError(f"linear programme of the caps ended with {ending.status!r}")
        reached.append(ending.objective)
        model.del_component(model.aim)
        model.kept.add(aim <= ending.objective + slack * (1.0 + abs(ending.objective)))
    model.del_component(model.kept)
    return reached
