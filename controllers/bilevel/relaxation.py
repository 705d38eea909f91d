"""What every node of the tree solves: all conditions on answers and multipliers but complementarity.

Columns: x, the answers, the multipliers of every follower. Rows: the leader's, the followers', and for every follower
its stationarity ``H' m = -d`` and one valid inequality, the root cut.

The cut is that of Kleinert, Labbé, Plein and Schmidt (Optimization Letters 15, 2021, doi 10.1007/s11590-020-01660-6;
shown to make branching competitive with big-M in doi 10.1007/s10287-023-00435-5), a little sharper. Proof: optimal
multipliers m give ``d y = -sum_i m_i (h_i - G_i x)``. Where m_i > 0, row i is tight, so that G_i x is at most U_i,
the largest G_i x over the points with row i tight. Hence ``d y + sum_i m_i (h_i - U_i) <= 0``. Where some U_i is
infinite and m_i not known to be zero, the inequality says nothing and is left out. No multiplier is bounded.
"""

from __future__ import annotations

import math

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.bilevel.game import Game, Rows, WarmLp, primal
from cosim.controllers.solver import Clock, Model, SolveResult, Termination

MARGIN = 1e-7  # relative widening of U: it comes from a linear programme solved to 1e-9
CUTOFF_MARGIN = 1e-7  # relative headroom above the best value, so that the best point itself stays feasible
WORTH_KEEPING = 1e-6  # relative rise of the bound below which the cut only slows the tree down


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
        points_only = primal(game)
        (rows, points), count = points_only.matrix.shape, game.followers
        self._row_limit = np.tile(game.h, count)
        self._first_row = count * len(game.a)
        self._first_multiplier = points
        multipliers = count * game.rows
        each = np.eye(count)
        follower_cost = np.hstack([np.zeros((count, game.nx)), np.kron(each, game.d)])
        matrix = np.vstack([
            np.hstack([points_only.matrix, np.zeros((rows, multipliers))]),
            np.hstack([np.zeros((count * game.ny, points)), np.kron(each, game.H.T)]),
            np.hstack([follower_cost, np.zeros((count, multipliers))]),
            np.append(points_only.cost, np.zeros(multipliers)),
        ])  # fmt: skip
        self._objective_row = len(matrix) - 1
        self._first_cut = self._objective_row - count
        self._cost = matrix[-1].copy()
        stationary, open_rows = -np.tile(game.d, count), np.full(count + 1, np.inf)
        row_low = np.concatenate([np.full(rows, -np.inf), stationary, -open_rows])
        row_high = np.concatenate([points_only.row_high, stationary, open_rows])
        low = np.append(points_only.low, np.zeros(multipliers))
        high = np.append(points_only.high, np.full(multipliers, np.inf))
        self._lp = WarmLp(Model(self._cost, matrix, row_low, row_high, low, high), clock)
        self._tight: Rows = frozenset()
        self._zero: Rows = frozenset()

    def solve(self, tight: Rows, zero: Rows) -> SolveResult:
        """Bound of the leader's objective where some rows are tight and some multipliers zero."""
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
        # a row of its own from the start: setting a limit keeps the basis, adding a row would not
        self._lp.set_rows([self._objective_row], np.array([-np.inf]), np.array([value]))

    def cut(self, reach: Float, zero: Rows) -> bool:
        """Add the root cut of every follower for which it says something; return whether any was added.

        Parameters
        ----------
        reach : ndarray, shape (row over all followers,)
            Proven U; infinite where nothing is known.
        zero : frozenset of int
            Rows whose multiplier is zero.
        """
        game = self.game
        sees_x = np.tile(game.G.any(axis=1), game.followers)
        is_zero = np.isin(np.arange(len(reach)), sorted(zero))
        # without x in the row, G_i x is 0 exactly, whatever a linear programme said
        widened = np.where(sees_x, reach + MARGIN * (1.0 + np.abs(reach)), 0.0)
        slope = np.where(is_zero, 0.0, self._row_limit - np.where(np.isinf(widened) & is_zero, 0.0, widened))
        added = False
        for follower in range(game.followers):
            own = np.arange(follower * game.rows, (follower + 1) * game.rows)
            if np.isfinite(slope[own]).all():
                self._set_cut(follower, own, slope[own], 0.0)
                added = True
        return added

    def uncut(self) -> None:
        """Take the root cuts out again."""
        for follower in range(self.game.followers):
            own = np.arange(follower * self.game.rows, (follower + 1) * self.game.rows)
            self._set_cut(follower, own, np.zeros(len(own)), np.inf)

    def _set_cut(self, follower: int, own: Int, slope: Float, limit: float) -> None:
        cut = self._first_cut + follower
        self._lp.set_coefficients(cut, (own + self._first_multiplier).tolist(), slope)
        self._lp.set_rows([cut], np.array([-np.inf]), np.array([limit]))

    def _extreme(self, cost: Float) -> SolveResult:
        self._lp.set_cost(cost)
        answer = self._lp.best()
        self._lp.set_cost(self._cost)
        return answer

    def _fix(self, tight: Rows, zero: Rows) -> None:
        self._lp.hold(self._tight ^ tight, tight, self._row_limit, self._first_row)
        changed = sorted(self._zero ^ zero)
        if changed:
            high = np.where([row in zero for row in changed], 0.0, np.inf)
            self._lp.set_columns(np.array(changed) + self._first_multiplier, np.zeros(len(changed)), high)
        self._tight, self._zero = tight, zero


def strengthen(relaxation: Relaxation, tight: Rows, zero: Rows, best_value: float, until: Clock) -> tuple[Rows, Rows]:
    """Fix rows for the whole tree, and add the root cut where it raises the bound, before the tree grows.

    Each statement is the outcome of a linear programme over the relaxation, hence a proof, never a guess. Where a best
    value is known already, statements need to hold for better points only, which makes them stronger.

    Parameters
    ----------
    relaxation : Relaxation
        Changed in place.
    tight, zero : frozenset of int
        Rows already known to be tight, or to have a zero multiplier.
    best_value : float
        Leader's best value so far, inf where there is none.
    until : Clock
        When to leave the rest unproven.

    Returns
    -------
    tuple of frozenset
        Rows that are tight, and rows whose multiplier is zero, wherever the leader does better.
    """
    if math.isfinite(best_value):
        relaxation.limit_objective(best_value + CUTOFF_MARGIN * (1.0 + abs(best_value)))
    count = relaxation.game.followers * relaxation.game.rows
    reach = np.full(count, math.inf)
    for row in range(count):
        if until.over:
            break
        if row in zero:
            continue
        at_most = relaxation.reach(row, tight | {row}, zero)
        if at_most.termination is Termination.INFEASIBLE:
            # never tight: by complementarity its multiplier is zero everywhere
            zero |= {row}
            continue
        if at_most.termination is Termination.OPTIMAL:
            reach[row] = -at_most.value
        if row not in tight and relaxation.solve(tight, zero | {row}).termination is Termination.INFEASIBLE:
            # a zero multiplier is impossible here, so the row is tight wherever the leader does better
            tight |= {row}
    # with the fixings in both, so that only the cut's own worth is measured
    before = relaxation.solve(tight, zero)
    if relaxation.cut(reach, zero):
        after = relaxation.solve(tight, zero)
        helps = before.termination is not Termination.OPTIMAL or after.termination is not Termination.OPTIMAL
        if not helps and after.value - before.value <= WORTH_KEEPING * (1.0 + abs(before.value)):
            relaxation.uncut()
    return tight, zero
