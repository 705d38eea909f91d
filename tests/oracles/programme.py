"""Pyomo models to their optimum by Pyomo's own way to HiGHS, which is not the product's."""

from __future__ import annotations

import pyomo.environ as pyo

GAP = 1e-7


def minimise(model: pyo.ConcreteModel) -> float | None:
    """Solve to optimality and load the variables; None where the model is infeasible."""
    solver = pyo.SolverFactory("appsi_highs")
    solver.options = {"mip_rel_gap": GAP}
    ended = solver.solve(model, load_solutions=False).solver.termination_condition
    if ended in (pyo.TerminationCondition.infeasible, pyo.TerminationCondition.infeasibleOrUnbounded):
        return None
    assert ended == pyo.TerminationCondition.optimal, ended
    solver.load_vars()
    (aim,) = model.component_data_objects(pyo.Objective, active=True)
    return float(pyo.value(aim))
