"""The restricted master programme: a convex combination of known plans for every household, under the limits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix, identity, vstack

from cosim.contract import Float, Int
from cosim.controllers.caps.decomposition.pricing import Plans, States
from cosim.controllers.caps.part import Part
from cosim.controllers.solver import Limits, Model, Solver

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
    value_kwh : ndarray, shape (car + further row,)
        Shadow price of each car's convexity row, then of further rows [kWh].
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
    **settings : int
        Options of the solver.
    """

    def __init__(self, part: Part, **settings: int) -> None:
        self.part = part
        self.pool: list[Plans] = []
        self._limits = limits = part.headroom_kw.size
        cars = len(part.cars)
        # overload at a price makes every master feasible, whatever plans are known, and bounds its duals
        overload = vstack([-identity(limits), csc_matrix((cars, limits))])
        low = np.concatenate([np.full(limits, -np.inf), np.ones(cars)])
        high = np.concatenate([part.headroom_kw.ravel(), np.ones(cars)])
        self._solver = Solver(
            Model(np.full(limits, OVERLOAD_KWH_PER_KW * part.slot_h), overload, low, high), **settings
        )
        self._x = np.zeros(0)

    def add(self, plans: Plans) -> int:
        """Add one column for each plan; return how many."""
        if len(plans.cars):
            self.pool.append(plans)
            self._add_columns(plans)
        return len(plans.cars)

    def _add_columns(self, plans: Plans, counted: Float | None = None) -> Int:
        """Its load in the rows of the limits, one in its car's, and what further rows count, shape (row, plan)."""
        part, count = self.part, len(plans.cars)
        share = part.share[plans.cars]
        load = (plans.charge_kw[:, None, :] * share.T[None]).reshape(part.headroom_kw.size, count)
        convexity = csc_matrix((np.ones(count), (plans.cars, np.arange(count))), (len(part.cars), count))
        rows = [csc_matrix(load), convexity, *([] if counted is None else [csc_matrix(counted)])]
        return self._solver.add_columns(plans.withheld_kwh, vstack(rows, format="csc"))

    def solve(self, time_s: float = np.inf) -> MasterSolution:
        """Return the optimum over the columns known.

        Parameters
        ----------
        time_s : float
            Wall clock [s].

        Raises
        ------
        OutOfTimeError
            Where the time limit is reached.
        SolverError
            Where the programme has none.
        """
        found = self._solver.solve(Limits(time_s=time_s)).proven("the master programme of the caps")
        self._x = found.x
        # duals of <= rows are <= 0 in HiGHS when minimising; rounding above 0 is clipped, as pricing and the bound
        # need π >= 0
        price = np.maximum(-found.row_dual[: self._limits], 0.0).reshape(self.part.headroom_kw.shape)
        overload_kw = float(found.x[: self._limits].max(initial=0.0))
        return MasterSolution(found.value, price, found.row_dual[self._limits :], overload_kw)

    def columns(self) -> tuple[Plans, Float]:
        """Return all columns as one, and their weights in the last solution."""
        return joined(self.pool), self._x[self._limits :]


def joined(pool: list[Plans]) -> Plans:
    """Put plans side by side."""
    cars: Int = np.concatenate([plans.cars for plans in pool])
    state: States = np.concatenate([plans.state for plans in pool], axis=1)
    charge = np.concatenate([plans.charge_kw for plans in pool], axis=1)
    return Plans(cars, state, charge, np.concatenate([plans.withheld_kwh for plans in pool]))
