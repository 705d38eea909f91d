"""Who gets how much of what the limits allow: linear programmes over import and export limits of one slot.

Every row reads ``use @ limits <= room`` with coefficients that are not negative: what an import limit may add to a
stress, and what an export limit may. So less for anybody never breaks a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Float
from cosim.controllers.solver import Model, Rows, Solver
from cosim.errors import SolverError

ALLOCATIONS = ("equal", "proportional", "max_sum", "max_min")
AT_ONCE = 40  # rows that are added to the programme in one round, those broken most
BROKEN = 1e-7
LEAST_KW = 0.1  # a smaller limit counts as so much where logarithms are summed
CLOSE = 1e-4  # of a logarithm: how near its tangents come to it
HALVINGS = 40


@dataclass(frozen=True, eq=False)
class Shares:
    """What there is to share in one slot; limits of import come first, then those of export.

    Attributes
    ----------
    use, room : ndarray, shape (row, limit) and (row,)
        ``use @ limits <= room``.
    low, high : ndarray, shape (limit,)
        Least that must be allowed, and most that makes sense [kW].
    """

    use: Float
    room: Float
    low: Float
    high: Float

    def allocate(self, allocation: str) -> tuple[Float, float]:
        """Return limits and the most that their aim could be.

        Parameters
        ----------
        allocation : str
            ``max_sum``: the most kilowatts in all; ``max_min``: the smallest share of what each home could use as
            large as possible, then the most in all; ``equal``: one share of connections for all import limits and
            one of ratings for all export limits, the smaller of the two as large as possible, then the most in all;
            ``proportional``: the sum of logarithms of the limits as large as possible.

        Returns
        -------
        limits : ndarray, shape (limit,)
            [kW].
        aim : float
            Sum of the limits, or of their logarithms, that these rows allow at most.
        """
        if allocation == "max_sum":
            return self._most(self.low)
        share = self._common_share()
        if allocation == "max_min":
            return self._most(np.maximum(self.low, share * self.high))
        return self._equal(share) if allocation == "equal" else self._logarithms()

    def worth(self, limits: Float, allocation: str) -> float:
        """Sum of limits, or of their logarithms."""
        if allocation != "proportional":
            return float(limits.sum())
        return float(np.log(np.maximum(limits[self.high > LEAST_KW], LEAST_KW)).sum())

    def _common_share(self) -> float:
        """Largest share of what each could use that all can have at once."""
        few, many = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (few + many) / 2.0
            if self._broken(np.maximum(self.low, middle * self.high)).max(initial=-np.inf) <= 0.0:
                few = middle
            else:
                many = middle
        return few

    def _broken(self, limits: Float) -> Float:
        return np.asarray(self.use @ limits - self.room)

    def _most(self, low: Float) -> tuple[Float, float]:
        limits = self._solved(self._solver(-np.ones(len(low)), low, np.maximum(self.high, low)))
        return limits, float(limits.sum())

    def _equal(self, share: float) -> tuple[Float, float]:
        """Two more columns: the shares of all import limits and of all export limits."""
        count, rows = len(self.low), Rows()
        every, of = np.arange(count), count + np.repeat([0, 1], count // 2)
        rows.add(count, -np.inf, 0.0, (every, of, self.high), (every, every, -1.0))
        cost = np.concatenate([np.zeros(count), -self.high.reshape(2, -1).sum(axis=1)])
        low = np.concatenate([self.low, [share, share]])
        high = np.concatenate([np.maximum(self.high, self.low), [1.0, 1.0]])
        shares = self._solved(Solver(rows.model(cost, low, high), random_seed=0))[count:]
        limits = np.maximum(self.low, np.repeat(shares, count // 2) * self.high)
        return limits, float(limits.sum())

    def _logarithms(self) -> tuple[Float, float]:
        """Logarithms by their tangents, which are added where they are not close enough."""
        count, counted = len(self.low), np.flatnonzero(self.high > LEAST_KW)
        high, of, rows = np.maximum(self.high, self.low), np.full(len(counted), 1e3), np.arange(len(counted))
        cost = np.concatenate([np.zeros(count), -np.ones(len(counted))])
        solver = self._solver(cost, np.concatenate([self.low, -of]), np.concatenate([high, of]))
        at = [np.full(len(counted), LEAST_KW), high[counted]]
        while True:
            for point in at:
                tangents = np.zeros((len(counted), len(cost)))
                tangents[rows, counted], tangents[rows, count + rows] = -1.0 / point, 1.0
                solver.add_rows(tangents, -np.inf, np.log(point) - 1.0)
            limits, top = np.split(self._solved(solver), [count])
            at = [np.maximum(limits[counted], LEAST_KW)]
            if (top - np.log(at[0]) <= CLOSE).all():
                return limits, float(top.sum())

    def _solver(self, cost: Float, low: Float, high: Float) -> Solver:
        return Solver(Model(cost, np.zeros((0, len(cost))), np.empty(0), np.empty(0), low, high), random_seed=0)

    def _solved(self, solver: Solver) -> Float:
        """Solve, adding the rows that are broken until none is; values of all columns, limits first."""
        count = len(self.low)
        while True:
            found = solver.solve()
            if not len(found.x):
                raise SolverError(f"linear programme of envelopes ended with '{found.termination}'")
            broken = self._broken(found.x[:count])
            worst = np.argsort(-broken, kind="stable")[:AT_ONCE]
            worst = worst[broken[worst] > BROKEN]
            if not len(worst):
                return found.x
            rows = np.zeros((len(worst), solver.columns))
            rows[:, :count] = self.use[worst]
            solver.add_rows(rows, -np.inf, self.room[worst])
