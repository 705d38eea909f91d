"""What users decide for given prices, as a mixed-integer model in one of several formulations.

Columns are the pairs (user, station) that a user can afford, then the users of each station, then what the formulation
needs for the square of that number. The formulations differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal, get_args

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers import solver as door
from cosim.controllers.pricing.instance import Instance

Formulation = Literal["products", "products_lean", "cuts", "nonlinear"]
Congestion = Literal["system", "equilibrium"]
FORMULATIONS: tuple[str, ...] = get_args(Formulation)

SHARE = {"system": 1.0, "equilibrium": 0.5}
"""The users of a station count beta (share f² + (1 - share) f)."""


@dataclass(frozen=True, eq=False)
class Model:
    """A mixed-integer model without an objective, and the linear expressions that may become one.

    Attributes
    ----------
    user, station : ndarray of int, shape (pair,)
        Of the leading columns, which are binary.
    numbers : solver.Model
        Rows, limits and integer columns; its cost is zero.
    squares : tuple of (int, int)
        Columns (s, f) with s >= f², which no row says: of the non-linear formulation only.
    cost_eur, time_h, lost_kwh : ndarray, shape (column,)
        What all users pay; time they lose, as the follower counts it; energy they take, negative.
    """

    user: Int
    station: Int
    numbers: door.Model
    squares: tuple[tuple[int, int], ...]
    cost_eur: Float
    time_h: Float
    lost_kwh: Float

    @property
    def high(self) -> Float:
        """Upper bounds of the columns, shape (column,); the lower ones are 0."""
        return np.asarray(self.numbers.high)

    def assignment(self, point: Float, users: int) -> Int:
        """Station of every user, -1 for none, shape (user,)."""
        chosen = np.flatnonzero(point[: len(self.user)] > 0.5)
        station = np.full(users, -1, dtype=np.int64)
        station[self.user[chosen]] = self.station[chosen]
        return station


def build(
    instance: Instance,
    prices: Float,
    formulation: Formulation = "cuts",
    congestion: Congestion = "system",
    *,
    compulsory: bool = True,
) -> Model:
    """Write the users' problem for given prices.

    Parameters
    ----------
    instance : Instance
        Users and stations.
    prices : ndarray, shape (station,)
        Of each station [EUR/kWh].
    formulation : str
        How the square of the number of users at a station is written. ``products``: one binary for every two users
        and station, with three rows each, as on the slides of seed 004; ``products_lean``: the same, continuous and
        with the one row that can bind; ``cuts``: one continuous column per station and one row per number of users,
        s >= (2k+1) f - k(k+1), exact at whole f; ``nonlinear``: s >= f² as it stands.
    congestion : str
        ``system``: users together lose beta f² (Wardrop's second principle); ``equilibrium``: beta f (f+1)/2, whose
        minimum is a state in which nobody gains by moving alone (R. W. Rosenthal, Int. J. Game Theory 2 (1973) 65-67,
        doi 10.1007/BF01737559).
    compulsory : bool
        All who can pay some price must be served; else nobody must.

    Returns
    -------
    Model
    """
    able = instance.affordable(prices)
    user, station = np.nonzero(able)
    pairs, stations = len(user), instance.stations
    pair, each = np.arange(pairs), np.arange(stations)
    must = able.any(axis=1).astype(float)
    rows = door.Rows()
    rows.add(instance.users, must if compulsory else 0.0, must, (user, pair, 1.0))
    rows.add(stations, -np.inf, instance.capacity_kwh, (station, pair, instance.demands_kwh[user]))
    rows.add(stations, 0.0, 0.0, (station, pair, 1.0), (each, pairs + each, -1.0))
    square = SQUARES[formulation](instance, station, rows)
    # equilibrium: beta f (f + 1) / 2, the potential whose minimum no user leaves alone
    share, added = SHARE[congestion], len(square.weight_h)
    pair_h = instance.fixed_h[user, station] + share * instance.beta_h[station] * square.per_user
    count_h = (1.0 - share) * instance.beta_h
    counted = np.bincount(station, minlength=stations).astype(float)
    high = np.concatenate([np.ones(pairs), counted, square.high])
    whole = np.repeat([True, False, square.whole], [pairs, stations, added])
    nothing = np.zeros(stations + added)
    return Model(
        user=user,
        station=station,
        numbers=rows.model(np.zeros(len(high)), np.zeros(len(high)), high, whole),
        squares=square.pairs,
        cost_eur=np.concatenate([prices[station] * instance.demands_kwh[user], nothing]),
        time_h=np.concatenate([pair_h, count_h, share * square.weight_h]),
        lost_kwh=np.concatenate([-instance.demands_kwh[user], nothing]),
    )


@dataclass(frozen=True, eq=False)
class Square:
    """Columns that a formulation adds to say what the square of a number of users is.

    The square, times beta, is ``per_user`` × beta for every user there, and ``weight_h`` for the columns added.
    """

    weight_h: Float
    high: Float
    whole: bool = False
    per_user: float = 0.0
    pairs: tuple[tuple[int, int], ...] = ()


def _cuts(instance: Instance, station: Int, rows: door.Rows) -> Square:
    """One row for each number k of users but the last: the chord of the square from k to k + 1."""
    stations, users_at = instance.stations, len(station)
    able = np.bincount(station, minlength=stations)
    at = np.repeat(np.arange(stations), able)
    k = np.concatenate([np.arange(count) for count in able]).astype(float)
    row = np.arange(len(k))
    square = (row, users_at + stations + at, 1.0)
    # s >= (2k + 1) f - k (k + 1): equal to f² at f = k and k + 1, so exact at whole numbers, and the hull between
    # them
    rows.add(len(k), -k * (k + 1.0), np.inf, square, (row, users_at + at, -(2.0 * k + 1.0)))
    return Square(instance.beta_h, able.astype(float) ** 2)


def _nonlinear(instance: Instance, station: Int, rows: door.Rows) -> Square:  # noqa: ARG001 - the same for all
    users_at, stations = len(station), instance.stations
    able = np.bincount(station, minlength=stations)
    pairs = tuple((users_at + stations + j, users_at + j) for j in range(stations))
    return Square(instance.beta_h, able.astype(float) ** 2, pairs=pairs)


def _products(instance: Instance, station: Int, rows: door.Rows, *, lean: bool = False) -> Square:
    """A column g for every two users who can afford a station; f² = f + 2 sum g."""
    at = [np.flatnonzero(station == j) for j in range(instance.stations)]
    both = [np.triu_indices(len(columns), k=1) for columns in at]
    i, k = (np.concatenate([c[two[side]] for c, two in zip(at, both, strict=True)]) for side in (0, 1))
    count = len(i)
    row, g = np.arange(count), len(station) + instance.stations + np.arange(count)
    # g >= x_i + x_k - 1; as g costs time, nothing else is needed to hold it down
    rows.add(count, -1.0, np.inf, (row, g, 1.0), (row, i, -1.0), (row, k, -1.0))
    for user in () if lean else (i, k):
        rows.add(count, 0.0, np.inf, (row, user, 1.0), (row, g, -1.0))
    return Square(2.0 * instance.beta_h[station[i]], np.ones(count), not lean, per_user=1.0)


SQUARES: dict[str, Callable[[Instance, Int, door.Rows], Square]] = {
    "products": _products,
    "products_lean": partial(_products, lean=True),
    "cuts": _cuts,
    "nonlinear": _nonlinear,
}
