"""The follower's best answer to a decision, with the multipliers that prove it.

With a second objective the follower is lexicographic, and so are its multipliers: row i has the pair (first, second),
and counts as positive where the first is, or where the first is nil and the second is positive. A point of the
feasible set whose positive rows are tight is an answer; that is complementary slackness, once for each objective.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.controllers.bilevel.game import Game
from cosim.controllers.bilevel.lp import WarmLp
from cosim.controllers.solver import Clock, Termination

Floats = NDArray[np.float64]

NIL = 1e-9  # a multiplier up to here, relative to the largest, is nil


@dataclass(frozen=True)
class Proof:
    """Multipliers that are optimal at one decision.

    Attributes
    ----------
    first, second : ndarray, shape (row,)
        Multipliers of the objective, and of the second objective (free in sign where the first is positive).
    positive : ndarray of bool, shape (row,)
        Rows whose pair is lexicographically positive.
    answer : ndarray, shape (variable,)
        An optimal answer.
    """

    first: Floats
    second: Floats
    positive: NDArray[np.bool_]
    answer: Floats


class Follower:
    """Solves one follower's problem for any decision, with any rows left out.

    Parameters
    ----------
    game : Game
        Standard form.
    second : ndarray or None
        Second objective, to be maximised.
    clock : Clock, optional
        When to stop.
    """

    def __init__(self, game: Game, second: Floats | None, clock: Clock | None = None) -> None:
        self._game, self._second = game, second
        free = np.full(game.ny, np.inf)
        self._rows = np.arange(game.rows, dtype=np.int32)
        self._unlimited = np.full(game.rows, -np.inf)
        self._lp = WarmLp(game.H, (self._unlimited, game.h), (-free, free), game.d, clock)

    def prove(self, x: Floats, y: Floats, without: Collection[int] = ()) -> Proof | Termination:
        """Best answer to x, some rows left out, and its multipliers.

        Parameters
        ----------
        x, y : ndarray
            Decision, and a point that is feasible for it up to rounding: rows that it violates by rounding are moved
            to it, so that rounding never makes the follower's problem infeasible.
        without : collection of int
            Rows that the follower does not see; their multipliers are nil.

        Returns
        -------
        Proof or Termination
            ``Termination.UNBOUNDED`` where no multipliers exist, hence no optimum, whatever x.
        """
        game = self._game
        limit = np.maximum(game.h - game.G @ x, game.H @ y)
        limit[list(without)] = np.inf
        self._lp.set_rows(self._rows, self._unlimited, limit)
        self._lp.set_cost(game.d)
        reply = self._lp.best()
        if reply.termination is not Termination.OPTIMAL:
            return reply.termination
        first = np.maximum(-reply.row_dual, 0.0)
        positive = first > NIL * (1.0 + first.max(initial=0.0))
        second = np.zeros(game.rows)
        if self._second is not None:
            self._lp.set_rows(self._rows, np.where(positive, limit, -np.inf), limit)
            self._lp.set_cost(-self._second)
            reply = self._lp.best()
            if reply.termination is not Termination.OPTIMAL:
                return reply.termination
            second = -reply.row_dual
            positive = positive | (second > NIL * (1.0 + np.abs(second).max(initial=0.0)))
        return Proof(np.where(first > 0.0, first, 0.0), second, positive, reply.x)
