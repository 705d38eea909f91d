"""The standard form that the search works on: one leader, one or more followers who see the same rows.

A follower minimises d y and, among its optima, maximises a second objective where it has one (lexicographically). All
followers have the same feasible set; they differ in the second objective alone. The optimistic problem has one
follower without a second objective; see ``pessimistic`` for the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cosim.controllers.bilevel.problem import Data

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Game:
    """Minimise ``cost_x x + cost_y y[0]`` where every follower k answers x with ``y[k]``.

    Every answer must satisfy ``A x + B y <= a``; its feasible set is ``{y : G x + H y <= h}``, bounds included. Rows
    and objectives are scaled to a largest coefficient of about 1, which changes no answer.

    Attributes
    ----------
    cost_x, cost_y : ndarray
        Leader's objective, divided by ``cost_scale``.
    cost_scale : float
        What it was divided by.
    A, B, a : ndarray
        Leader's rows, and the follower's rows without a follower variable: they only limit x.
    G, H, h : ndarray
        Follower's rows; each has a coefficient in H.
    d : ndarray
        Follower's objective.
    seconds : tuple of (ndarray or None)
        Second objective of each follower, to be maximised among its optima.
    x_low, x_high : ndarray
        Bounds of the leader's variables.
    """

    cost_x: Floats
    cost_y: Floats
    cost_scale: float
    A: Floats
    B: Floats
    a: Floats
    G: Floats
    H: Floats
    h: Floats
    d: Floats
    seconds: tuple[Floats | None, ...]
    x_low: Floats
    x_high: Floats

    @property
    def nx(self) -> int:
        """Number of leader variables."""
        return len(self.cost_x)

    @property
    def ny(self) -> int:
        """Number of variables of one follower."""
        return len(self.d)

    @property
    def rows(self) -> int:
        """Number of rows, hence of complementarities, of one follower."""
        return len(self.h)

    @property
    def followers(self) -> int:
        """Number of followers."""
        return len(self.seconds)


def game_of(data: Data, seconds: Sequence[Floats | None] = (None,)) -> Game:
    """Bring a problem into standard form."""
    G, H, h = _follower_rows(data)
    sees_y = H.any(axis=1)
    A = np.vstack([data.A, G[~sees_y]])
    B = np.vstack([data.B, H[~sees_y]])
    leader = _scaled(A, B, np.concatenate([data.a, h[~sees_y]]))
    follower = _scaled(G[sees_y], H[sees_y], h[sees_y])
    cost_scale = _power_of_two(np.abs(np.concatenate([data.c_x, data.c_y])).max(initial=0.0))
    return Game(
        data.c_x / cost_scale, data.c_y / cost_scale, float(cost_scale), *leader, *follower, _unit(data.d),
        tuple(None if second is None or not second.any() else _unit(second) for second in seconds),
        data.x_low, data.x_high,
    )  # fmt: skip


def primal_matrix(game: Game) -> tuple[Floats, Floats]:
    """Rows of x and all answers, and their upper limits: the leader's for every follower, then every follower's own."""
    count, ny = game.followers, game.ny
    each = np.eye(count)
    leader = np.hstack([np.tile(game.A, (count, 1)), np.kron(each, game.B)])
    follower = np.hstack([np.tile(game.G, (count, 1)), np.kron(each, game.H)])
    matrix = np.vstack([leader, follower]).reshape(-1, game.nx + count * ny)
    return matrix, np.concatenate([np.tile(game.a, count), np.tile(game.h, count)])


def primal_columns(game: Game) -> tuple[Floats, Floats]:
    """Bounds of x and of all answers; the answers' own bounds are rows."""
    free = np.full(game.followers * game.ny, np.inf)
    return np.concatenate([game.x_low, -free]), np.concatenate([game.x_high, free])


def primal_cost(game: Game) -> Floats:
    """Leader's objective over x and all answers."""
    others = np.zeros((game.followers - 1) * game.ny)
    return np.concatenate([game.cost_x, game.cost_y, others])


def split(game: Game, point: Floats) -> tuple[Floats, Floats]:
    """Decision x, and answers of shape (follower, variable), of a point that starts with them."""
    end = game.nx + game.followers * game.ny
    return point[: game.nx], point[game.nx : end].reshape(game.followers, game.ny)


def _follower_rows(data: Data) -> tuple[Floats, Floats, Floats]:
    """Rows and bounds of the follower in one block."""
    each = np.eye(len(data.d))
    has_low, has_high = np.isfinite(data.y_low), np.isfinite(data.y_high)
    H = np.vstack([data.D, -each[has_low], each[has_high]])
    G = np.vstack([data.C, np.zeros((len(H) - len(data.C), len(data.c_x)))])
    return G, H, np.concatenate([data.b, -data.y_low[has_low], data.y_high[has_high]])


def _scaled(left: Floats, right: Floats, limit: Floats) -> tuple[Floats, Floats, Floats]:
    scale = _power_of_two(np.abs(np.hstack([left, right])).max(axis=1, initial=0.0))
    return left / scale[:, None], right / scale[:, None], limit / scale


def _unit(values: Floats) -> Floats:
    return values / float(_power_of_two(np.abs(values).max(initial=0.0)))


def _power_of_two(size: Floats | float) -> NDArray[np.float64]:
    """Nearest power of two, which scales without rounding; 1 for nil."""
    size = np.asarray(size, dtype=np.float64)
    return np.where(size > 0.0, np.exp2(np.round(np.log2(np.where(size > 0.0, size, 1.0)))), 1.0)
