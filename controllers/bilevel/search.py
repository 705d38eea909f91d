"""Branch and bound on complementarities (Bard and Moore, SIAM J. Sci. Stat. Comput. 11, 1990, doi 10.1137/0911017).

Each row of each follower is tight, or has a zero multiplier. A node fixes this for some rows and solves the
relaxation. At its decision the follower's problem, without the rows whose multiplier is zero, gives multipliers that
prove an answer: the facet of their positive rows holds bilevel points only, and its optimum is a candidate. Where
that is no worse than the node's bound, the node is settled; otherwise one of the positive rows is not tight yet, and
is branched on, the one with the largest product of multiplier and slack. Rows are finite in number, so the search
ends. No tolerance enters the follower's optimality, and no bound on a multiplier is needed. Best bound first, then
the deepest.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass, field

import numpy as np

from cosim.contract import Float
from cosim.controllers.bilevel.follower import Facets, Follower, Proof
from cosim.controllers.bilevel.game import Game, Rows, split
from cosim.controllers.bilevel.relaxation import Relaxation, strengthen
from cosim.controllers.solver import Clock, SolveResult, Termination

PROVEN_GAP = 1e-6  # (value - bound) / (1 + |value|) up to which a value is called optimal
SMALLEST_UNIT = 1e-3  # of the scaled objective: below, the gap would be finer than linear programmes are solved
STRENGTHEN_AFTER = 50  # nodes: most problems end before the effort at the root would pay
STRENGTHEN_SHARE = 0.25  # of the time left
SECOND_WEIGHT = 1e-3  # of the second objective's multipliers in the choice of a row: the first decide


@dataclass(frozen=True)
class Limits:
    """When a search may stop.

    Attributes
    ----------
    nodes : float
        Nodes of the tree; the same on every machine.
    gap : float
        (value - bound) / (1 + |value|) to reach.
    clock : Clock
        A safety: where it is reached, results differ between machines.
    """

    nodes: float
    gap: float
    clock: Clock


@dataclass
class Found:
    """What a search found, in the units of the game.

    Attributes
    ----------
    status : str
        ``optimal``, ``infeasible``, ``unbounded``, ``gap_limit``, ``node_limit``, ``time_limit``, ``not_proven``.
    value, bound : float
        Best value and proven lower bound.
    point : ndarray or None
        x and all answers.
    nodes : int
        Nodes looked at.
    note : str
        Reason, where there is one to give.
    """

    status: str = ""
    value: float = math.inf
    bound: float = -math.inf
    point: Float | None = None
    nodes: int = 0
    note: str = ""


@dataclass(order=True, frozen=True)
class Node:
    """A node to be branched on: bound, minus its depth, its number; what it fixes, and the row to branch on."""

    bound: float
    shallowness: int
    number: int
    tight: Rows = field(compare=False)
    zero: Rows = field(compare=False)
    row: int = field(compare=False)


class Search:
    """Minimise the leader's objective of a game.

    Parameters
    ----------
    game : Game
        Standard form.
    limits : Limits
        When to stop.
    """

    def __init__(self, game: Game, limits: Limits) -> None:
        self._game, self._limits = game, limits
        self._unit = min(1.0, max(1.0 / game.cost_scale, SMALLEST_UNIT))  # 1 of the problem's own objective, scaled
        self._relaxation = Relaxation(game, limits.clock)
        self._facets = Facets(game, limits.clock)
        self._followers = [Follower(game, second, limits.clock) for second in game.seconds]
        self._found = Found()
        self._open: list[Node] = []
        self._closed = math.inf  # lowest bound of nodes no better than the best point, or left without an answer
        self._tight: Rows = frozenset()
        self._zero: Rows = frozenset()
        self._number = itertools.count()

    def run(self) -> Found:
        """Search until the gap is closed or a limit is reached."""
        found = self._found
        self._look(frozenset(), frozenset(), -math.inf)
        strengthened = False
        while self._open and not found.status:
            if self._limits.clock.over or found.nodes >= self._limits.nodes:
                found.status = "time_limit" if self._limits.clock.over else "node_limit"
                break
            if not strengthened and (found.nodes >= STRENGTHEN_AFTER or self._open[0].bound == -math.inf):
                until = Clock(STRENGTHEN_SHARE * self._limits.clock.left_s)
                self._tight, self._zero = strengthen(self._relaxation, self._tight, self._zero, found.value, until)
                strengthened = True
            node = heapq.heappop(self._open)
            if node.bound >= self._cutoff():
                self._closed = min(self._closed, node.bound)
                continue
            tight, zero = node.tight | self._tight, node.zero | self._zero
            # tight or a zero multiplier: together all bilevel points, and no constant in either
            self._look(tight | {node.row}, zero, node.bound)
            self._look(tight, zero | {node.row}, node.bound)
        return self._conclude()

    def _cutoff(self) -> float:
        """Bound from which on a node is no better than the best point."""
        value = self._found.value
        return value - self._within(self._limits.gap) if math.isfinite(value) else value

    def _within(self, gap: float) -> float:
        """Distance of value and bound that a gap allows."""
        return gap * (self._unit + abs(self._found.value))

    def _look(self, tight: Rows, zero: Rows, parent_bound: float) -> None:
        """Solve a node: settle it, or put it with a row to branch on among the open ones."""
        if self._found.status:
            self._closed = min(self._closed, parent_bound)
            return
        self._found.nodes += 1
        relaxed = self._relaxation.solve(tight, zero)
        if relaxed.termination is Termination.INFEASIBLE:
            return
        bound = parent_bound
        if relaxed.termination is Termination.OPTIMAL:
            bound = max(bound, relaxed.value)
        elif relaxed.termination is Termination.UNBOUNDED:
            relaxed = self._relaxation.any_point()
        if relaxed.termination is not Termination.OPTIMAL:
            self._doubt(relaxed.termination, bound)
        elif bound >= self._cutoff():
            self._closed = min(self._closed, bound)
        else:
            self._explore(tight, zero, bound, relaxed)

    def _explore(self, tight: Rows, zero: Rows, bound: float, relaxed: SolveResult) -> None:
        """Find the answer at a node's decision, the facet that it lies on, and where to branch."""
        score = self._positive_rows(relaxed.x, zero)
        if isinstance(score, Termination):
            if score is not Termination.UNBOUNDED:  # otherwise no multipliers exist in this node
                self._doubt(score, bound)
            return
        best = self._facets.best(frozenset(score))
        if best.termination is Termination.UNBOUNDED:
            self._found.status, self._found.value = "unbounded", -math.inf
            return
        # on this facet complementary slackness holds throughout: each of its points is a bilevel point
        if best.termination is Termination.OPTIMAL and best.value < self._found.value:
            self._found.value, self._found.point = best.value, best.x
        if bound >= self._cutoff():
            self._closed = min(self._closed, bound)
            return
        candidates = score.keys() - tight
        if not candidates or best.termination is Termination.TIME_LIMIT:  # the former by rounding only
            self._doubt(best.termination, bound)
            return
        # sorted: a set has no order of its own, and the tree must be the same everywhere
        row = max(sorted(candidates), key=lambda candidate: score[candidate])
        depth = len(tight) + len(zero)
        # deeper first among equal bounds: they end sooner, and give values
        heapq.heappush(self._open, Node(bound, -depth, next(self._number), tight, zero, row))

    def _positive_rows(self, point: Float, zero: Rows) -> dict[int, float] | Termination:
        """Rows of all followers whose multipliers are positive at a decision, with multiplier times slack."""
        game = self._game
        x, answers = split(game, point)
        score: dict[int, float] = {}
        for number, (follower, y) in enumerate(zip(self._followers, answers, strict=True)):
            first_row = number * game.rows
            without = [row - first_row for row in zero if first_row <= row < first_row + game.rows]
            proof = follower.prove(x, y, without)
            if not isinstance(proof, Proof):
                if not without and proof is Termination.UNBOUNDED:
                    self._found.note = "the follower's optima are unbounded in a direction that costs the leader"
                return proof
            slack = np.maximum(game.h - game.G @ x - game.H @ y, 0.0)
            weight = (proof.first + SECOND_WEIGHT * np.abs(proof.second)) * slack
            score.update({first_row + int(row): float(weight[row]) for row in np.flatnonzero(proof.positive)})
        return score

    def _doubt(self, ending: Termination, bound: float) -> None:
        self._closed = min(self._closed, bound)
        if ending is Termination.TIME_LIMIT:
            self._found.status = "time_limit"

    def _conclude(self) -> Found:
        found = self._found
        if found.status == "unbounded":
            found.bound, found.point = -math.inf, None
            return found
        lowest_open = min((node.bound for node in self._open), default=math.inf)
        # nodes given up without an answer are in `_closed` with their parent's bound: still proven
        found.bound = min(lowest_open, self._closed, found.value)
        if found.point is None:
            found.status = "infeasible" if found.bound == math.inf else found.status or "not_proven"
            return found
        gap = found.value - found.bound
        if gap <= self._within(PROVEN_GAP):
            found.status = "optimal"
        elif not found.status:
            found.status = "gap_limit" if gap <= self._within(self._limits.gap) else "not_proven"
        return found
