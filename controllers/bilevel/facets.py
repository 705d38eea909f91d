"""The best leader value where given rows of the followers are tight.

Where those rows are the positive rows of a proof (see ``follower``), every point of the facet is an answer, so that
the linear programme over it is a solution of the bilevel problem, exact and without any tolerance on the follower's
optimality.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cosim.controllers.bilevel.game import Game, primal_columns, primal_cost, primal_matrix
from cosim.controllers.bilevel.lp import WarmLp
from cosim.controllers.solver import Clock, SolveResult, Termination

FALLING = 1e-9  # a direction whose cost per unit is not below this is no proof of unboundedness


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
        self._game, self._clock = game, clock
        self._matrix, self._limit = primal_matrix(game)
        self._first = game.followers * len(game.a)
        unlimited = np.full(len(self._limit), -np.inf)
        self._lp = WarmLp(self._matrix, (unlimited, self._limit), primal_columns(game), primal_cost(game), clock)
        self._held: frozenset[int] = frozenset()
        self._known: dict[frozenset[int], SolveResult] = {}

    def best(self, tight: frozenset[int]) -> SolveResult:
        """Best point where these rows, counted over all followers, are tight.

        The second time only the ending and the value are there: the point was no better than what was known by then.
        """
        if tight in self._known:
            return self._known[tight]
        self._hold(tight)
        answer = self._lp.best()
        if answer.termination is Termination.UNBOUNDED and not self._falls(tight):
            answer = SolveResult(Termination.ERROR)
        self._known[tight] = SolveResult(answer.termination, answer.value)
        return answer

    def _hold(self, tight: frozenset[int]) -> None:
        changed = sorted(self._held ^ tight)
        if changed:
            rows = np.array(changed, dtype=np.int32) + self._first
            limit = self._limit[rows]
            self._lp.set_rows(rows, np.where([row in tight for row in changed], limit, -np.inf), limit)
            self._held = tight

    def _falls(self, tight: Iterable[int]) -> bool:
        """Whether the facet has a point, and a direction along which the objective falls for ever."""
        cost = primal_cost(self._game)
        self._lp.set_cost(np.zeros_like(cost))
        has_point = self._lp.best().termination is Termination.OPTIMAL
        self._lp.set_cost(cost)
        low, high = primal_columns(self._game)
        level = np.zeros(len(self._limit))
        floor = np.full(len(level), -np.inf)
        floor[np.array(sorted(tight), dtype=int) + self._first] = 0.0
        box = (np.where(np.isfinite(low), 0.0, -1.0), np.where(np.isfinite(high), 0.0, 1.0))
        ray = WarmLp(self._matrix, (floor, level), box, cost, self._clock).best()
        return has_point and ray.termination is Termination.OPTIMAL and ray.value < -FALLING
