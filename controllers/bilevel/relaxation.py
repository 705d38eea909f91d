"""What every node of the tree solves: all conditions on answers and multipliers but complementarity.

Columns: x, the answers, the multipliers of every follower. Rows: the leader's, the followers', and for every follower
its stationarity ``H' m = -d`` and one valid inequality, the root cut.

The cut is that of Kleinert, Labbé, Plein and Schmidt (Optimization Letters 15, 2021, doi 10.1007/s11590-020-01660-6;
shown to make branching competitive with big-M in doi 10.1007/s10287-023-00435-5), a little sharper. Proof: optimal
multipliers m give ``d y = -sum_i m_i (h_i - G_i x)``. Where m_i > 0, row i is tight, so that G_i x is at most U_i,
the largest G_i x over the points with row i tight. Hence ``d y + sum_i m_i (h_i - U_i) <= 0``. Where some U_i is
infinite and m_i not known to be nil, the inequality says nothing and is left out. No multiplier is bounded.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cosim.controllers.bilevel.game import Game, primal_columns, primal_cost, primal_matrix
from cosim.controllers.bilevel.lp import WarmLp
from cosim.controllers.solver import Clock, SolveResult

Floats = NDArray[np.float64]
Rows = frozenset[int]

MARGIN = 1e-7  # relative widening of U: it comes from a linear programme solved to 1e-9


class Relaxation:
    """The linear programme of the nodes.

    Rows of the followers are counted over all followers: row i of follower k is ``k * rows + i``.

    Parameters
    ----------
    game : Game
        Standard form.
    clock : Clock
        When to stop.
    """

    def __init__(self, game: Game, clock: Clock) -> None:
        self.game = game
        primal, limit = primal_matrix(game)
        count, points = game.followers, primal.shape[1]
        self._row_limit = np.tile(game.h, count)
        self._first_row = count * len(game.a)
        self._first_multiplier = points
        multipliers = count * game.rows
        each = np.eye(count)
        follower_cost = np.hstack([np.zeros((count, game.nx)), np.kron(each, game.d)])
        matrix = np.vstack([
            np.hstack([primal, np.zeros((len(primal), multipliers))]),
            np.hstack([np.zeros((count * game.ny, points)), np.kron(each, game.H.T)]),
            np.hstack([follower_cost, np.zeros((count, multipliers))]),
            np.append(primal_cost(game), np.zeros(multipliers)),
        ])  # fmt: skip
        self._objective_row = len(matrix) - 1
        self._first_cut = self._objective_row - count
        self._cost = matrix[-1].copy()
        stationary, open_rows = -np.tile(game.d, count), np.full(count + 1, np.inf)
        low = np.concatenate([np.full(len(limit), -np.inf), stationary, -open_rows])
        high = np.concatenate([limit, stationary, open_rows])
        point_low, point_high = primal_columns(game)
        columns = np.append(point_low, np.zeros(multipliers)), np.append(point_high, np.full(multipliers, np.inf))
        self._lp = WarmLp(matrix, (low, high), columns, self._cost, clock)
        self._tight: Rows = frozenset()
        self._zero: Rows = frozenset()

    def solve(self, tight: Rows, zero: Rows) -> SolveResult:
        """Bound of the leader's objective where some rows are tight and some multipliers nil."""
        self._fix(tight, zero)
        return self._lp.best()

    def any_point(self) -> SolveResult:
        """Some point of the node just solved, for where it has no best one."""
        return self._extreme(np.zeros(len(self._cost)))

    def reach(self, row: int, tight: Rows, zero: Rows) -> SolveResult:
        """Largest ``G_i x`` of a row (the answer's value is its negative)."""
        self._fix(tight, zero)
        cost = np.zeros(len(self._cost))
        cost[: self.game.nx] = -self.game.G[row % self.game.rows]
        return self._extreme(cost)

    def limit_objective(self, value: float) -> None:
        """Only look for points at least as good as this one."""
        self._lp.set_rows([self._objective_row], np.array([-np.inf]), np.array([value]))

    def cut(self, reach: Floats, zero: Rows) -> bool:
        """Add the root cut of every follower for which it says something; return whether any was added.

        Parameters
        ----------
        reach : ndarray, shape (row over all followers,)
            Proven U; infinite where nothing is known.
        zero : frozenset of int
            Rows whose multiplier is nil.
        """
        game = self.game
        sees_x = np.tile(game.G.any(axis=1), game.followers)
        is_zero = np.isin(np.arange(len(reach)), sorted(zero))
        widened = np.where(sees_x, reach + MARGIN * (1.0 + np.abs(reach)), 0.0)
        slope = np.where(is_zero, 0.0, self._row_limit - np.where(np.isinf(widened) & is_zero, 0.0, widened))
        added = False
        for follower in range(game.followers):
            own = np.arange(follower * game.rows, (follower + 1) * game.rows)
            if np.isfinite(slope[own]).all():
                cut = self._first_cut + follower
                self._lp.set_coefficients(cut, (own + self._first_multiplier).tolist(), slope[own])
                self._lp.set_rows([cut], np.array([-np.inf]), np.array([0.0]))
                added = True
        return added

    def uncut(self) -> None:
        """Take the root cuts out again."""
        count = self.game.followers
        open_rows = np.full(count, np.inf)
        for follower in range(count):
            own = np.arange(follower * self.game.rows, (follower + 1) * self.game.rows) + self._first_multiplier
            self._lp.set_coefficients(self._first_cut + follower, own.tolist(), np.zeros(len(own)))
        self._lp.set_rows(np.arange(count, dtype=np.int32) + self._first_cut, -open_rows, open_rows)

    def _extreme(self, cost: Floats) -> SolveResult:
        self._lp.set_cost(cost)
        answer = self._lp.best()
        self._lp.set_cost(self._cost)
        return answer

    def _fix(self, tight: Rows, zero: Rows) -> None:
        changed = sorted(self._tight ^ tight)
        if changed:
            limit = self._row_limit[changed]
            rows = np.array(changed, dtype=np.int32) + self._first_row
            self._lp.set_rows(rows, np.where([row in tight for row in changed], limit, -np.inf), limit)
        changed = sorted(self._zero ^ zero)
        if changed:
            columns = np.array(changed, dtype=np.int32) + self._first_multiplier
            high = np.where([row in zero for row in changed], 0.0, np.inf)
            self._lp.set_columns(columns, np.zeros(len(changed)), high)
        self._tight, self._zero = tight, zero
