"""The standard form that the search works on, and the linear programmes over it: one leader, one or more followers.

A follower minimises d y and, among its optima, maximises a second objective where it has one (lexicographically). All
followers have the same feasible set; they differ in the second objective alone. The optimistic problem has one
follower without a second objective; see ``pessimistic`` for the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosim.contract import Float
from cosim.controllers.bilevel.problem import Data
from cosim.controllers.solver import Clock, Limits, Model, Solver, SolveResult

FEASIBILITY = 1e-9  # how far a row may be violated, after the rows are scaled to coefficients of about 1
TRUSTED_VIOLATION = 1e-6  # an "optimal" point further outside its rows than this is not believed
Rows = frozenset[int]


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

    cost_x: Float
    cost_y: Float
    cost_scale: float
    A: Float
    B: Float
    a: Float
    G: Float
    H: Float
    h: Float
    d: Float
    seconds: tuple[Float | None, ...]
    x_low: Float
    x_high: Float

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


def game_of(data: Data, seconds: Sequence[Float | None] = (None,)) -> Game:
    """Bring a problem into standard form."""
    G, H, h = _follower_rows(data)
    # a follower's row without its variables is no complementarity to branch on: it limits x only
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


def primal(game: Game) -> Model:
    """Leader's objective over x and all answers: the leader's rows for every follower, then every follower's own.

    The answers' own bounds are rows.
    """
    count, ny = game.followers, game.ny
    each, free = np.eye(count), np.full(count * ny, np.inf)
    leader = np.hstack([np.tile(game.A, (count, 1)), np.kron(each, game.B)])
    follower = np.hstack([np.tile(game.G, (count, 1)), np.kron(each, game.H)])
    matrix = np.vstack([leader, follower]).reshape(-1, game.nx + count * ny)
    limit = np.concatenate([np.tile(game.a, count), np.tile(game.h, count)])
    cost = np.concatenate([game.cost_x, game.cost_y, np.zeros((count - 1) * ny)])
    low, high = np.concatenate([game.x_low, -free]), np.concatenate([game.x_high, free])
    return Model(cost, matrix, -np.inf, limit, low, high)


class WarmLp(Solver):
    """A linear programme that is solved again and again, with other bounds, costs and right-hand sides.

    Parameters
    ----------
    model : Model
        What to minimise.
    clock : Clock
        When every solve must stop.
    """

    violation = TRUSTED_VIOLATION

    def __init__(self, model: Model, clock: Clock) -> None:
        self._clock = clock
        super().__init__(
            model,
            solver="simplex",
            presolve="off",  # the basis of the last solve is worth more
            primal_feasibility_tolerance=FEASIBILITY,
            dual_feasibility_tolerance=FEASIBILITY,
        )

    def best(self) -> SolveResult:
        """Solve from the last basis."""
        return self.solve(Limits(time_s=self._clock.left_s))

    def hold(self, changed: Rows, tight: Rows, limit: Float, first: int) -> None:
        """Of the changed rows, counted from ``first``, those in ``tight`` become equations; others are limited."""
        rows = sorted(changed)
        if rows:
            at_least = np.where([row in tight for row in rows], limit[rows], -np.inf)
            self.set_rows(np.array(rows) + first, at_least, limit[rows])


def split(game: Game, point: Float) -> tuple[Float, Float]:
    """Decision x, and answers of shape (follower, variable), of a point that starts with them."""
    end = game.nx + game.followers * game.ny
    return point[: game.nx], point[game.nx : end].reshape(game.followers, game.ny)


def _follower_rows(data: Data) -> tuple[Float, Float, Float]:
    """Rows and bounds of the follower in one block."""
    each = np.eye(len(data.d))
    has_low, has_high = np.isfinite(data.y_low), np.isfinite(data.y_high)
    H = np.vstack([data.D, -each[has_low], each[has_high]])
    G = np.vstack([data.C, np.zeros((len(H) - len(data.C), len(data.c_x)))])
    return G, H, np.concatenate([data.b, -data.y_low[has_low], data.y_high[has_high]])


def _scaled(left: Float, right: Float, limit: Float) -> tuple[Float, Float, Float]:
    scale = _power_of_two(np.abs(np.hstack([left, right])).max(axis=1, initial=0.0))
    return left / scale[:, None], right / scale[:, None], limit / scale


def _unit(values: Float) -> Float:
    return values / float(_power_of_two(np.abs(values).max(initial=0.0)))


def _power_of_two(size: Float | float) -> Float:
    """Nearest power of two, which scales without rounding; 1 for zero."""
    size = np.asarray(size, dtype=np.float64)
    return np.where(size > 0.0, np.exp2(np.round(np.log2(np.where(size > 0.0, size, 1.0)))), 1.0)
