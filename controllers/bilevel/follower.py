"""The follower's best answer to a decision, with the multipliers that prove it.

With a second objective the follower is lexicographic, and so are its multipliers: row i has the pair (first, second),
and counts as positive where the first is, or where the first is zero and the second is positive. A point of the
feasible set whose positive rows are tight is an answer; that is complementary slackness, once for each objective.
So every point of the *facet* on which they are tight is an answer, and the linear programme over it is a solution of
the bilevel problem, exact and without any tolerance on the follower's optimality.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.contract import Float
from cosim.controllers.bilevel.game import Game, Rows, WarmLp, game_of, primal
from cosim.controllers.bilevel.problem import Data
from cosim.controllers.solver import Clock, Model, SolveResult, Termination

ZERO = 1e-9  # a multiplier up to here, relative to the largest, is zero
FALLING = 1e-9  # a direction whose cost per unit is not below this is no proof of unboundedness


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

    first: Float
    second: Float
    positive: NDArray[np.bool_]
    answer: Float


class Follower:
    """Solves one follower's problem for any decision, with any rows left out.

    Parameters
    ----------
    game : Game
        Standard form.
    second : ndarray or None
        Second objective, to be maximised.
    clock : Clock
        When to stop.
    """

    def __init__(self, game: Game, second: Float | None, clock: Clock) -> None:
        self._game, self._second = game, second
        self._rows, self._unlimited = np.arange(game.rows), np.full(game.rows, -np.inf)
        self._lp = WarmLp(Model(game.d, game.H, -np.inf, game.h, -np.inf), clock)

    def prove(self, x: Float, y: Float, without: Collection[int] = ()) -> Proof | Termination:
        """Best answer to x, some rows left out, and its multipliers.

        Parameters
        ----------
        x, y : ndarray
            Decision, and a point that is feasible for it up to rounding: rows that it violates by rounding are moved
            to it, so that rounding never makes the follower's problem infeasible.
        without : collection of int
            Rows that the follower does not see; their multipliers are zero.

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
        # <= rows have duals <= 0 in HiGHS when minimising
        first = np.maximum(-reply.row_dual, 0.0)
        positive = first > ZERO * (1.0 + first.max(initial=0.0))
        second = np.zeros(game.rows)
        if self._second is not None:
            # the optimal face: rows with a positive multiplier are tight on all of it
            self._lp.set_rows(self._rows, np.where(positive, limit, -np.inf), limit)
            self._lp.set_cost(-self._second)
            reply = self._lp.best()
            if reply.termination is not Termination.OPTIMAL:
                return reply.termination
            second = -reply.row_dual
            positive = positive | (second > ZERO * (1.0 + np.abs(second).max(initial=0.0)))
        return Proof(np.where(first > 0.0, first, 0.0), second, positive, reply.x)


def prove(data: Data, second: Float | None, x: Float, y: Float) -> Proof | Termination:
    """Solve the follower's problem at a decision from scratch; see `Follower`."""
    return Follower(game_of(data), second, Clock(math.inf)).prove(x, y)


class Facets:
    """Linear programme over x and all answers, without multipliers.

    Parameters
    ----------
    game : Game
        Standard form.
    clock : Clock
        When to stop.
    """

    def __init__(self, game: Game, clock: Clock) -> None:
        self._clock, self._model = clock, primal(game)
        self._limit, self._first = np.tile(game.h, game.followers), game.followers * len(game.a)
        self._lp = WarmLp(self._model, clock)
        self._held: Rows = frozenset()
        self._known: dict[Rows, SolveResult] = {}

    def best(self, tight: Rows) -> SolveResult:
        """Best point where these rows, counted over all followers, are tight.

        The second time only the ending and the value are there: the point was no better than what was known by then.
        """
        if tight in self._known:
            return self._known[tight]
        self._lp.hold(self._held ^ tight, tight, self._limit, self._first)
        self._held = tight
        answer = self._lp.best()
        if answer.termination is Termination.UNBOUNDED and not self._falls(tight):
            answer = SolveResult(Termination.ERROR)
        self._known[tight] = SolveResult(answer.termination, answer.value)
        return answer

    def _falls(self, tight: Rows) -> bool:
        """Whether the facet has a point, and a direction along which the objective falls for ever."""
        model = self._model
        self._lp.set_cost(np.zeros_like(model.cost))
        has_point = self._lp.best().termination is Termination.OPTIMAL
        self._lp.set_cost(model.cost)
        floor = np.full(len(model.matrix), -np.inf)
        floor[np.array(sorted(tight), dtype=int) + self._first] = 0.0
        # the recession cone, cut off at 1: a ray of falling cost is then an optimum and not "unbounded" again
        low, high = np.where(np.isfinite(model.low), 0.0, -1.0), np.where(np.isfinite(model.high), 0.0, 1.0)
        ray = WarmLp(Model(model.cost, model.matrix, floor, 0.0, low, high), self._clock).best()
        return has_point and ray.termination is Termination.OPTIMAL and ray.value < -FALLING
