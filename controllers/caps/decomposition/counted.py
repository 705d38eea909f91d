"""The restricted master programme of a branch: known plans mixed under the limits and under bounds on counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import highspy
import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.decomposition.clock import Clock
from cosim.controllers.caps.decomposition.counts import Count
from cosim.controllers.caps.decomposition.master import OVERLOAD_KWH_PER_KW, add_columns, joined
from cosim.controllers.caps.decomposition.plans import Plans, chosen
from cosim.controllers.caps.highs import run_linear
from cosim.controllers.caps.part import Part
from cosim.controllers.highs import silent_highs

MISCOUNT_KWH = 1000.0  # what a count costs by which a bound is broken, well above what one is ever worth
TRIAL_STEPS = 25  # of the simplex method, for a first idea of what a bound on a count is worth
UNLIMITED_STEPS = 2**31 - 1
PRIMAL_OR_DUAL = 0  # HiGHS option: whichever method the basis suits
DIGITS = 7  # powers that agree so far make one plan

Bounds = dict[int, tuple[float, float]]
"""Least and most of counts by their number."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """An optimum over the plans known.

    Attributes
    ----------
    objective_kwh : float
        Energy withheld, plus what broken limits and bounds cost.
    price : ndarray, shape (slot, phase)
        Of the limits, at least 0 [kWh per kW].
    count_price : ndarray, shape (count,)
        What one more of each count saves where it is at its most (negative), or costs at its least (positive) [kWh].
    weight : ndarray, shape (plan,)
        Part of each plan.
    """

    objective_kwh: float
    price: Float
    count_price: Float
    weight: Float


class CountedMaster:
    """Linear programme that grows by plans and counts, and starts each time from the last basis.

    Parameters
    ----------
    part : Part
        The piece.
    clock : Clock
        Wall clock.
    """

    def __init__(self, part: Part, clock: Clock) -> None:
        self.part, self._clock = part, clock
        self.counts: list[Count] = []
        self._known: dict[tuple[str, int, bytes], int] = {}
        self._bounds: Bounds = {}
        self._pool: list[Plans] = []
        self._seen: set[tuple[int, bytes, bytes]] = set()
        self._limits = limits = part.headroom_kw.size
        self._fixed_rows = limits + len(part.cars)
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = limits, self._fixed_rows
        lp.col_cost_ = np.full(limits, OVERLOAD_KWH_PER_KW * part.slot_h)
        lp.col_lower_, lp.col_upper_ = np.zeros(limits), np.full(limits, np.inf)
        lp.row_lower_ = np.concatenate([np.full(limits, -np.inf), np.ones(len(part.cars))])
        lp.row_upper_ = np.concatenate([part.headroom_kw.ravel(), np.ones(len(part.cars))])
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_ = np.arange(limits + 1)
        lp.a_matrix_.index_, lp.a_matrix_.value_ = np.arange(limits), np.full(limits, -1.0)
        self._columns, self._column_of = limits, np.zeros(0, np.int64)
        self._solver = silent_highs()
        self._solver.setOptionValue("simplex_strategy", PRIMAL_OR_DUAL)
        self._solver.passModel(lp)

    @property
    def plans(self) -> Plans:
        """All plans known."""
        if len(self._pool) > 1:
            self._pool = [joined(self._pool)]
        return self._pool[0]

    def add(self, plans: Plans) -> int:
        """Add those plans that are not known yet, and return how many they are."""
        fresh = []
        for row, car in enumerate(plans.cars):
            key = (int(car), plans.state[:, row].tobytes(), np.round(plans.charge_kw[:, row], DIGITS).tobytes())
            if key not in self._seen:
                self._seen.add(key)
                fresh.append(row)
        if not fresh:
            return 0
        plans, count = chosen(plans, np.array(fresh)), len(fresh)
        self._pool.append(plans)
        counted = np.array([one.of(plans) for one in self.counts]).reshape(-1, count)
        add_columns(self._solver, self.part, plans, counted)
        self._column_of = np.concatenate([self._column_of, self._columns + np.arange(count)])
        self._columns += count
        return count

    def number(self, count: Count) -> int:
        """Return the number of a count, which is taken up where it is new."""
        if count.key not in self._known:
            self._known[count.key] = len(self.counts)
            self._add_row(count)
            self.counts.append(count)
            row = np.array([self._fixed_rows + len(self.counts) - 1], np.int32)
            for sign in (1.0, -1.0):
                self._solver.addCol(MISCOUNT_KWH, 0.0, np.inf, 1, row, np.array([sign]))
            self._columns += 2
        return self._known[count.key]

    def known(self, count: Count) -> int | None:
        """Return the number of a count, None where it is new."""
        return self._known.get(count.key)

    def _add_row(self, count: Count) -> None:
        added = count.of(self.plans)
        plans = np.flatnonzero(added)
        self._solver.addRow(-np.inf, np.inf, len(plans), self._column_of[plans].astype(np.int32), added[plans])

    def bound(self, bounds: Bounds) -> None:
        """Set the bounds of all counts; those not named have none."""
        for i in range(len(self.counts)):
            wanted = bounds.get(i, (-np.inf, np.inf))
            if wanted != self._bounds.get(i, (-np.inf, np.inf)):
                self._solver.changeRowBounds(self._fixed_rows + i, *wanted)
                self._bounds[i] = wanted

    def solve(self) -> Mixture:
        """Return the optimum over the plans known.

        Raises
        ------
        OutOfTimeError
            Where the wall clock strikes.
        SolverError
            Where the programme has none.
        """
        solver = self._solver
        run_linear(solver, self._clock.left_s, "the master programme of a branch of the caps")
        solution = solver.getSolution()
        dual = np.array(solution.row_dual)
        price = np.maximum(-dual[: self._limits], 0.0).reshape(self.part.headroom_kw.shape)
        weight = np.array(solution.col_value)[self._column_of]
        objective = float(solver.getInfo().objective_function_value)
        return Mixture(objective, price, dual[self._fixed_rows :], weight)

    def trials(self, counts: Sequence[Count], ranges: Sequence[tuple[float, float]], values: Sequence[float]) -> Float:
        """Return by how much the objective rises, about, with each count one whole number down or up, (count, 2).

        Parameters
        ----------
        counts : sequence of Count
            To be tried.
        ranges : sequence of (least, most)
            What they are bound to now.
        values : sequence of float
            What they are now: no whole numbers.
        """
        solver, before = self._solver, self.solve().objective_kwh
        basis = solver.getBasis()
        first, rises = self._fixed_rows + len(self.counts), np.zeros((len(counts), 2))
        solver.setOptionValue("simplex_iteration_limit", TRIAL_STEPS)
        for i, (count, (least, most), value) in enumerate(zip(counts, ranges, values, strict=True)):
            self._add_row(count)
            down = float(np.floor(value + 1e-6))
            for side, (low, high) in enumerate(((least, down), (down + 1.0, most))):
                solver.changeRowBounds(first, low, high)
                solver.run()
                infeasible = solver.getModelStatus() == highspy.HighsModelStatus.kInfeasible
                reached = float(solver.getInfo().objective_function_value)
                rises[i, side] = MISCOUNT_KWH if infeasible else max(reached - before, 0.0)
            solver.deleteRows(1, np.array([first], np.int32))
            solver.setBasis(basis)
        solver.setOptionValue("simplex_iteration_limit", UNLIMITED_STEPS)
        return rises
