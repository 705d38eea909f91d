"""The restricted master programme: a convex combination of known plans for every household, under the limits."""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from scipy.sparse import csc_matrix, vstack

from cosim.contract import Float, Int
from cosim.controllers.caps.decomposition.pricing import Plans, States
from cosim.controllers.caps.highs import run_linear
from cosim.controllers.caps.part import Part
from cosim.controllers.highs import silent_highs

OVERLOAD_KWH_PER_KW = 1000.0  # per hour of a slot; what a kW above a limit costs, well above what a limit is ever worth


@dataclass(frozen=True, eq=False)
class MasterSolution:
    """An optimum of the restricted master programme.

    Attributes
    ----------
    objective_kwh : float
        Energy withheld, plus the cost of load above the limits.
    price : ndarray, shape (slot, phase)
        Shadow price of the limits, at least 0 [kWh per kW].
    value_kwh : ndarray, shape (car,)
        Shadow price of each car's convexity row [kWh].
    overload_kw : float
        Largest load above a limit [kW].
    """

    objective_kwh: float
    price: Float
    value_kwh: Float
    overload_kw: float


class Master:
    """Linear programme that grows by columns and starts each time from the last basis.

    Parameters
    ----------
    part : Part
        The piece.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.pool: list[Plans] = []
        self._limits = part.headroom_kw.size
        rows = self._limits + len(part.cars)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = self._limits, rows
        lp.col_cost_ = np.full(self._limits, OVERLOAD_KWH_PER_KW * part.slot_h)
        lp.col_lower_, lp.col_upper_ = np.zeros(self._limits), np.full(self._limits, np.inf)
        lp.row_lower_ = np.concatenate([np.full(self._limits, -np.inf), np.ones(len(part.cars))])
        lp.row_upper_ = np.concatenate([part.headroom_kw.ravel(), np.ones(len(part.cars))])
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.arange(self._limits + 1)
        lp.a_matrix_.index_, lp.a_matrix_.value_ = np.arange(self._limits), np.full(self._limits, -1.0)
        self._solver = silent_highs()
        self._solver.passModel(lp)

    def add(self, plans: Plans) -> None:
        """Add one column for each plan."""
        if not len(plans.cars):
            return
        self.pool.append(plans)
        add_columns(self._solver, self.part, plans)

    def solve(self, time_s: float = np.inf) -> MasterSolution:
        """Return the optimum over the columns known.

        Parameters
        ----------
        time_s : float
            Wall clock [s].

        Raises
        ------
        OutOfTimeError
            Where the wall clock strikes.
        SolverError
            Where the programme has none.
        """
        solver = self._solver
        run_linear(solver, time_s, "the master programme of the caps")
        solution = solver.getSolution()
        dual = np.array(solution.row_dual)
        price = np.maximum(-dual[: self._limits], 0.0).reshape(self.part.headroom_kw.shape)
        overload = np.array(solution.col_value[: self._limits])
        return MasterSolution(
            float(solver.getInfo().objective_function_value),
            price,
            dual[self._limits :],
            float(overload.max(initial=0.0)),
        )

    def columns(self) -> tuple[Plans, Float]:
        """Return all columns as one, and their weights in the last solution."""
        weight = np.array(self._solver.getSolution().col_value[self._limits :])
        return joined(self.pool), weight


def add_columns(solver: highspy.Highs, part: Part, plans: Plans, counted: Float | None = None) -> None:
    """Add one column for each plan: its load in the rows of the limits, one in its car's, and what further rows count.

    Parameters
    ----------
    solver : Highs
        Holds a master programme of the piece.
    part : Part
        The piece.
    plans : Plans
        What is added.
    counted : ndarray, shape (row, plan), optional
        Entries in the rows after those of the cars.
    """
    count = len(plans.cars)
    share = part.share[plans.cars]
    load = (plans.charge_kw[:, None, :] * share.T[None]).reshape(part.headroom_kw.size, count)
    convexity = csc_matrix((np.ones(count), (plans.cars, np.arange(count))), (len(part.cars), count))
    rows = [csc_matrix(load), convexity, *([] if counted is None else [csc_matrix(counted)])]
    columns = vstack(rows, format="csc")
    solver.addCols(
        count, plans.withheld_kwh, np.zeros(count), np.full(count, np.inf),
        columns.nnz, columns.indptr[:-1].astype(np.int32), columns.indices.astype(np.int32), columns.data,
    )  # fmt: skip


def joined(pool: list[Plans]) -> Plans:
    """Put plans side by side."""
    cars: Int = np.concatenate([plans.cars for plans in pool])
    state: States = np.concatenate([plans.state for plans in pool], axis=1)
    charge = np.concatenate([plans.charge_kw for plans in pool], axis=1)
    return Plans(cars, state, charge, np.concatenate([plans.withheld_kwh for plans in pool]))
