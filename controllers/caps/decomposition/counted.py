"""The restricted master programme of a branch: known plans mixed under the limits and under bounds on counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_matrix

from cosim.contract import Float, Int
from cosim.controllers.caps.decomposition.counts import Count
from cosim.controllers.caps.decomposition.master import Master, joined
from cosim.controllers.caps.decomposition.plans import Plans, chosen
from cosim.controllers.caps.part import Part
from cosim.controllers.solver import UNLIMITED, Clock, Limits, Termination

MISCOUNT_KWH = 1000.0  # what a count costs by which a bound is broken, well above what one is ever worth
TRIAL_STEPS = 25  # of the simplex method, for a first idea of what a bound on a count is worth
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


class CountedMaster(Master):
    """Linear programme that grows by plans and counts, and starts each time from the last basis.

    Parameters
    ----------
    part : Part
        The piece.
    clock : Clock
        Wall clock.
    """

    def __init__(self, part: Part, clock: Clock) -> None:
        super().__init__(part, simplex_strategy=PRIMAL_OR_DUAL)
        self._clock = clock
        self.counts: list[Count] = []
        self._known: dict[tuple[str, int, bytes], int] = {}
        self._bounds: Bounds = {}
        self._seen: set[tuple[int, bytes, bytes]] = set()
        self._fixed_rows, self._column_of = self._solver.rows, np.zeros(0, np.int64)

    @property
    def plans(self) -> Plans:
        """All plans known."""
        if len(self.pool) > 1:
            self.pool = [joined(self.pool)]
        return self.pool[0]

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
        self.pool.append(plans)
        counted = np.array([one.of(plans) for one in self.counts]).reshape(-1, count)
        self._column_of = np.concatenate([self._column_of, self._add_columns(plans, counted)])
        return count

    def number(self, count: Count) -> int:
        """Return the number of a count, which is taken up where it is new."""
        if count.key not in self._known:
            self._known[count.key] = len(self.counts)
            self._add_row(count)
            self.counts.append(count)
            last = np.full(2, self._solver.rows - 1)
            # slack both ways at a price: a branch is feasible before it has plans for its bounds, and its duals stay
            # finite
            miscounted = csc_matrix(([1.0, -1.0], (last, [0, 1])), (self._solver.rows, 2))
            self._solver.add_columns(np.full(2, MISCOUNT_KWH), miscounted)
        return self._known[count.key]

    def known(self, count: Count) -> int | None:
        """Return the number of a count, None where it is new."""
        return self._known.get(count.key)

    def _add_row(self, count: Count) -> Int:
        row = np.zeros((1, self._solver.columns))
        row[0, self._column_of] = count.of(self.plans)
        return self._solver.add_rows(row, -np.inf, np.inf)

    def bound(self, bounds: Bounds) -> None:
        """Set the bounds of all counts; those not named have none."""
        for i in range(len(self.counts)):
            wanted = bounds.get(i, (-np.inf, np.inf))
            if wanted != self._bounds.get(i, (-np.inf, np.inf)):
                self._solver.set_rows([self._fixed_rows + i], *np.array(wanted).reshape(2, 1))
                self._bounds[i] = wanted

    def mixture(self) -> Mixture:
        """Return the optimum over the plans known.

        Raises
        ------
        OutOfTimeError
            Where the time limit is reached.
        SolverError
            Where the programme has none.
        """
        found = self.solve(self._clock.left_s)
        weight = self._x[self._column_of]
        return Mixture(found.objective_kwh, found.price, found.value_kwh[len(self.part.cars) :], weight)

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
        solver, before = self._solver, self.mixture().objective_kwh
        basis, rises = solver.basis(), np.zeros((len(counts), 2))
        solver.set_options(simplex_iteration_limit=TRIAL_STEPS)
        for i, (count, (least, most), value) in enumerate(zip(counts, ranges, values, strict=True)):
            row, down = self._add_row(count), float(np.floor(value + 1e-6))
            for side, (low, high) in enumerate(((least, down), (down + 1.0, most))):
                solver.set_rows(row, np.array([low]), np.array([high]))
                found = solver.solve(Limits(time_s=self._clock.left_s), read=False)
                if found.termination is Termination.INFEASIBLE:
                    rises[i, side] = MISCOUNT_KWH
                elif np.isfinite(found.value):
                    rises[i, side] = max(found.value - before, 0.0)  # stopped early: it ranks counts and proves nothing
            solver.delete_rows(row)
            # every trial from the same basis: rises can be compared, and the next mixture starts from its optimum
            solver.restore(basis)
        solver.set_options(simplex_iteration_limit=UNLIMITED)
        return rises
