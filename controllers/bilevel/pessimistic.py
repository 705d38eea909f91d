"""The leader's best decision when the follower picks, among its optima, the one that is worst for the leader.

``min_x c_x x + max {c_y y : y in S(x)}``, and every coupling row must hold for all of S(x), each in its own worst case
(Wiesemann, Tsoukalas, Kleniati and Rustem, SIAM J. Optim. 23, 2013, doi 10.1137/120864015).

Two facts make this the same problem as the optimistic one, with followers that have a second objective.

1. *Worst is lexicographic.* The worst optimum for ``c_y`` is the lexicographic optimum of (min d y, max c_y y), whose
   multipliers are pairs, lexicographically non-negative and complementary to the slacks. So the same tree solves it:
   row tight, or pair zero. Each coupling row has a follower of its own, whose second objective is that row of B; rows
   are brought in only when the best point of the game without them violates them.
2. *The best value is attained.* x enters the follower's problem on the right-hand side only. There the optimal set
   S(x) is Lipschitz continuous in x (Mangasarian and Shiau, SIAM J. Control Optim. 25, 1987, doi 10.1137/0325033), so
   that the worst case is continuous in x on the closed set where S(x) is not empty, and piecewise linear with
   finitely many pieces. An infimum that is not attained needs a follower whose *cost* depends on x, which this class
   does not have. Where S(x) is unbounded in a direction that costs the leader, it is so for every x (the directions
   of S(x) are the same for all x): the worst case is infinite everywhere, and the problem is reported as infeasible.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.bilevel.follower import Proof, prove
from cosim.controllers.bilevel.game import game_of, split
from cosim.controllers.bilevel.problem import Data
from cosim.controllers.bilevel.search import Found, Limits, Search

ROW_TOLERANCE = 1e-7  # violation of a coupling row, per unit of its largest coefficient


def search_pessimistic(data: Data, limits: Limits) -> Found:
    """Solve the pessimistic problem; the point holds x and first the answer that is worst for the objective."""
    coupling = [row for row in range(len(data.a)) if data.B[row].any()]
    followed: list[int] = []
    nodes = 0
    while True:
        # only rows that were broken: every further follower adds all its complementarities to the tree
        game = game_of(data, [data.c_y, *(data.B[row] for row in followed)])
        found = Search(game, replace(limits, nodes=max(limits.nodes - nodes, 1))).run()
        nodes += found.nodes
        found.nodes = nodes
        missing = [row for row in coupling if row not in followed]
        if found.status == "unbounded" and missing:
            followed += missing
            continue
        if found.point is None:
            return found
        x, answers = split(game, found.point)
        broken = [row for row in missing if worst_excess(data, row, x, answers[0]) > 0.0]
        if not broken:
            return found
        if found.status in ("time_limit", "node_limit", "not_proven"):  # the bound holds, the point does not
            return replace(found, point=None, value=np.inf)
        followed += broken


def worst_excess(data: Data, row: int, x: Float, y: Float) -> float:
    """By how much a coupling row is violated beyond the tolerance for the worst of the follower's optima at x."""
    proof = prove(data, data.B[row], x, y)
    if not isinstance(proof, Proof):
        return np.inf
    scale = max(float(np.abs(np.append(data.A[row], data.B[row])).max()), ROW_TOLERANCE)
    limit = data.a[row] + ROW_TOLERANCE * (scale + abs(data.a[row]))
    return float(data.A[row] @ x + data.B[row] @ proof.answer - limit)
