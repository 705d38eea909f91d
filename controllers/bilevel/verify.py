"""Independent check of a point: the follower's problem is solved again at the decision, from scratch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cosim.controllers.bilevel.follower import Follower, Proof
from cosim.controllers.bilevel.game import game_of
from cosim.controllers.bilevel.pessimistic import worst_excess
from cosim.controllers.bilevel.problem import Data

Floats = NDArray[np.float64]

TOLERANCE = 1e-6  # of rows, relative to 1 + their size; of the follower's objective, relative to 1 + its size


def objections(data: Data, x: Floats, y: Floats, *, pessimistic: bool) -> list[str]:
    """What is wrong with a point, in words; nothing for a bilevel point.

    Parameters
    ----------
    data : Data
        The problem as stated.
    x, y : ndarray
        Decision and answer.
    pessimistic : bool
        Whether the answer must be the worst optimum for the leader, and coupling rows must hold for all optima.
    """
    found = []
    excess = {
        "the leader's rows": data.A @ x + data.B @ y - data.a,
        "the follower's rows": data.C @ x + data.D @ y - data.b,
        "the bounds of x": np.concatenate([data.x_low - x, x - data.x_high]),
        "the bounds of y": np.concatenate([data.y_low - y, y - data.y_high]),
    }
    size = 1.0 + np.abs(np.concatenate([x, y])).max(initial=0.0)
    for what, by in excess.items():
        if by.max(initial=0.0) > TOLERANCE * size:
            found.append(f"{what} are violated by {by.max():.2g}")
    proof = Follower(game_of(data), data.c_y if pessimistic else None).prove(x, y)
    if not isinstance(proof, Proof):
        return [*found, f"the follower's problem, solved again, ended {proof.value}"]
    better = float(data.d @ (y - proof.answer))
    if better > TOLERANCE * (1.0 + abs(float(data.d @ y))):
        found.append(f"the follower can do better by {better:.2g}")
    if pessimistic:
        worse = float(data.c_y @ (proof.answer - y))
        if abs(worse) > TOLERANCE * (1.0 + abs(float(data.c_y @ y))):
            found.append(f"the follower's worst optimum costs the leader {worse:.2g} more")
        rows = [
            row for row in range(len(data.a)) if data.B[row].any() and worst_excess(data, row, x, y) > TOLERANCE * size
        ]
        found += [f"coupling row {row} fails for one of the follower's optima" for row in rows]
    return found
