"""What a solve of a bilevel problem says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class BilevelResult:
    """Outcome of ``solve_bilevel``.

    Attributes
    ----------
    x, y : ndarray or None
        The leader's best decision found and the follower's answer to it (the one best for the leader, or, in the
        pessimistic view, the one worst for it); None where there is none to show.
    value : float
        The leader's objective there; inf without a point, -inf where it is unbounded.
    bound : float
        Proven lower bound of the leader's objective (-inf where nothing is known).
    status : str
        ``optimal``; ``gap_limit``, ``node_limit``, ``time_limit`` (stopped with what there is); ``infeasible`` (no
        decision of the leader leads to an answer it may accept); ``unbounded``; ``not_proven`` (a linear programme
        ended without an answer, or the point did not pass its check: value and bound are what could be had).
    proven : bool
        True only where the bound meets the value (both inf where infeasible, both -inf where unbounded), and the point
        passed its check.
    note : str
        Why, in words; empty where there is nothing to add.
    nodes : int
        Nodes of the tree.
    wall_s : float
        Wall clock [s].
    """

    x: NDArray[np.float64] | None
    y: NDArray[np.float64] | None
    value: float
    bound: float
    status: str
    proven: bool
    note: str = ""
    nodes: int = 0
    wall_s: float = 0.0
