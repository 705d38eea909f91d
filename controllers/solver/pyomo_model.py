"""Models written in Pyomo, through the door: its standard-form compiler gives the numbers, variables take the point."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyomo.environ as pyo
from pyomo.opt import WriterFactory

from cosim.contract import Float
from cosim.controllers import solver as door
from cosim.controllers.solver import SLACK, Clock, InTurn, Limits, SolveResult, Termination
from cosim.errors import SolverError

LINEAR_S = 600.0  # for linear programmes that are not given a time


def solve(
    model: pyo.ConcreteModel, limits: Limits | None = None, *, use_start: bool = False, **settings: str | float | bool
) -> SolveResult:
    """Minimise a linear or mixed-integer Pyomo model and load the point, where there is one, into its variables.

    Parameters
    ----------
    model : ConcreteModel
        With one active objective, to be minimised.
    limits : Limits, optional
        When to stop.
    use_start : bool
        Offer the present values of the variables as a first plan.
    **settings : str, float or bool
        Further options of HiGHS.

    Raises
    ------
    SolverError
        Where HiGHS ends in a way that says nothing.
    """
    columns, numbers = _numbers(model)
    start = np.array([np.nan if column.value is None else column.value for column in columns], float)
    found = door.solve(numbers, limits, start=start if use_start and not np.isnan(start).all() else None, **settings)
    if found.termination in (Termination.UNBOUNDED, Termination.ERROR):
        found.proven("a model in Pyomo")
    _load(columns, found.x)
    return found


def minimise_in_turn(
    model: pyo.ConcreteModel, aims: Sequence[pyo.Expression], time_s: float = LINEAR_S, slack: float = SLACK
) -> InTurn:
    """Minimise several linear aims in order of importance; variables hold the plan of the last one that was reached.

    Parameters
    ----------
    model : ConcreteModel
        Without an objective; it is left without one.
    aims : sequence of linear expressions
        In order of importance.
    time_s : float
        Wall clock for all of them [s].
    slack : float
        See `solver.solve_in_turn`.

    Raises
    ------
    SolverError
        Where not even the first aim has an optimum, though there was time for it.
    """
    clock = Clock(time_s)

    def solve_aim(aim: int, most: list[float]) -> SolveResult:
        left_s = clock.left_s
        model.kept = pyo.ConstraintList()
        for before, limit in zip(aims, most, strict=False):
            if not isinstance(before, (int, float)):  # an aim over no variables keeps itself
                model.kept.add(before <= limit)
        model.aim = pyo.Objective(expr=aims[aim])
        columns, numbers = _numbers(model)
        model.del_component(model.aim)
        model.del_component(model.kept)
        found = door.solve(numbers, Limits(time_s=left_s))
        if found.is_proven:
            _load(columns, found.x)
        return found

    found = door.solve_in_turn(solve_aim, len(aims), slack)
    if not found.reached and found.termination is not Termination.TIME_LIMIT:
        raise SolverError(f"linear programme of the caps ended with '{found.termination}'")
    return found


def _numbers(model: pyo.ConcreteModel) -> tuple[list[pyo.Var], door.Model]:
    form = WriterFactory("compile_standard_form").write(model, mixed_form=True)
    kind, rhs = np.array([row.bound_type for row in form.rows]), np.asarray(form.rhs, dtype=np.float64)
    bounds = [column.bounds for column in form.columns]
    numbers = door.Model(
        cost=np.asarray(form.c.todense(), dtype=np.float64).ravel(),
        matrix=form.A,
        row_low=np.where(kind <= 0, rhs, -np.inf),  # bound_type: -1 is >=, 0 is ==, 1 is <=
        row_high=np.where(kind >= 0, rhs, np.inf),
        low=np.array([-np.inf if low is None else low for low, _ in bounds], float),
        high=np.array([np.inf if high is None else high for _, high in bounds], float),
        whole=np.array([column.is_integer() for column in form.columns]),
        offset=float(form.c_offset[0]),
    )
    return form.columns, numbers


def _load(columns: Sequence[pyo.Var], x: Float) -> None:
    if len(x):
        for column, value in zip(columns, x.tolist(), strict=True):
            column.set_value(value, skip_validation=True)
