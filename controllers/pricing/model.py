"""What users decide for given prices, as a mixed-integer model in one of several formulations.

Columns are the pairs (user, station) that a user can afford, then the users of each station, then what the formulation
needs for the square of that number. The formulations differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import sparse

from cosim.contract import Float, Int
from cosim.controllers.pricing.instance import Instance

Formulation = Literal["products", "products_lean", "cuts", "nonlinear"]
Congestion = Literal["system", "equilibrium"]
FORMULATIONS: tuple[str, ...] = get_args(Formulation)
CONGESTIONS: tuple[str, ...] = get_args(Congestion)
LINEAR = tuple(name for name in FORMULATIONS if name != "nonlinear")

SHARE = {"system": 1.0, "equilibrium": 0.5}
"""The users of a station count beta (share f² + (1 - share) f)."""

Rows = tuple[sparse.csr_matrix, Float, Float]


@dataclass(frozen=True, eq=False)
class Model:
    """A mixed-integer model without an objective, and the linear expressions that may become one.

    Attributes
    ----------
    user, station : ndarray of int, shape (pair,)
        Of the leading columns, which are binary.
    rows : csr_matrix, shape (row, column)
    row_low, row_high : ndarray, shape (row,)
    high : ndarray, shape (column,)
        Upper bounds; the lower ones are 0.
    whole : ndarray of bool, shape (column,)
        Integer columns.
    squares : tuple of (int, int)
        Columns (s, f) with s >= f², which no row says: of the non-linear formulation only.
    cost_eur, time_h, lost_kwh : ndarray, shape (column,)
        What all users pay; time they lose, as the follower counts it; energy they take, negative.
    """

    user: Int
    station: Int
    rows: sparse.csr_matrix
    row_low: Float
    row_high: Float
    high: Float
    whole: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    squares: tuple[tuple[int, int], ...]
    cost_eur: Float
    time_h: Float
    lost_kwh: Float

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
    ones = np.ones(pairs)
    by_user = sparse.csr_matrix((ones, (user, np.arange(pairs))), shape=(instance.users, pairs))
    by_station = sparse.csr_matrix((ones, (station, np.arange(pairs))), shape=(stations, pairs))
    energy = sparse.csr_matrix(by_station.multiply(instance.demands_kwh[user]))
    none, many = sparse.csr_matrix((instance.users, stations)), sparse.csr_matrix((stations, stations))
    itself = sparse.csr_matrix(sparse.identity(stations))
    must = able.any(axis=1).astype(float)
    blocks: list[Rows] = [
        (sparse.hstack([by_user, none]), must if compulsory else np.zeros(instance.users), must),
        (sparse.hstack([energy, many]), np.full(stations, -np.inf), instance.capacity_kwh),
        (sparse.hstack([by_station, -itself]), np.zeros(stations), np.zeros(stations)),
    ]
    first = pairs + stations
    share = SHARE[congestion]
    beta_h = instance.beta_h[station]
    time_h = np.concatenate([instance.fixed_h[user, station], (1.0 - share) * instance.beta_h])
    square = SQUARES[formulation](instance, by_station, first)
    time_h[:pairs] += share * beta_h * square.per_user
    columns = first + len(square.weight_h)
    blocks += square.rows
    rows = sparse.vstack([_widened(block, columns) for block, _, _ in blocks]).tocsr()
    counted = np.asarray(by_station.sum(axis=1)).ravel()
    return Model(
        user=user,
        station=station,
        rows=rows,
        row_low=np.concatenate([low for _, low, _ in blocks]),
        row_high=np.concatenate([high for _, _, high in blocks]),
        high=np.concatenate([ones, counted, square.high]),
        whole=np.concatenate([ones > 0, np.zeros(stations, bool), square.whole]),
        squares=square.pairs,
        cost_eur=_padded(prices[station] * instance.demands_kwh[user], columns),
        time_h=_padded(np.concatenate([time_h, share * square.weight_h]), columns),
        lost_kwh=_padded(-instance.demands_kwh[user], columns),
    )


@dataclass(frozen=True, eq=False)
class Square:
    """Columns and rows that a formulation adds to say what the square of a number of users is.

    The square, times beta, is ``per_user`` × beta for every user there, and ``weight_h`` for the columns added.
    """

    weight_h: Float
    high: Float
    whole: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    rows: list[Rows]
    per_user: float = 0.0
    pairs: tuple[tuple[int, int], ...] = ()


def _cuts(instance: Instance, by_station: sparse.csr_matrix, first: int) -> Square:
    """One row for each number k of users but the last: the chord of the square from k to k + 1."""
    able, stations = np.diff(by_station.indptr), instance.stations
    station = np.repeat(np.arange(stations), able)
    k = np.concatenate([np.arange(count) for count in able]) if able.sum() else np.zeros(0)
    row = np.arange(len(k))
    users_at = first - stations + station
    matrix = sparse.csr_matrix(
        (
            np.concatenate([np.ones(len(k)), -(2.0 * k + 1.0)]),
            (np.concatenate([row, row]), np.concatenate([first + station, users_at])),
        ),
        shape=(len(k), first + stations),
    )
    rows = [(matrix, -k * (k + 1.0), np.full(len(k), np.inf))]
    return Square(instance.beta_h, able.astype(float) ** 2, np.zeros(stations, bool), rows)


def _nonlinear(instance: Instance, by_station: sparse.csr_matrix, first: int) -> Square:
    able, stations = np.diff(by_station.indptr), instance.stations
    pairs = tuple((first + j, first - stations + j) for j in range(stations))
    return Square(instance.beta_h, able.astype(float) ** 2, np.zeros(stations, bool), [], pairs=pairs)


def _products(instance: Instance, by_station: sparse.csr_matrix, first: int, *, lean: bool = False) -> Square:
    """A column g for every two users who can afford a station; f² = f + 2 sum g."""
    one, other, where = [], [], []
    for station in range(instance.stations):
        columns = by_station.indices[by_station.indptr[station] : by_station.indptr[station + 1]]
        left, right = np.triu_indices(len(columns), k=1)
        one.append(columns[left])
        other.append(columns[right])
        where.append(np.full(len(left), station))
    i, k, j = (np.concatenate(part).astype(np.int64) for part in (one, other, where))
    count = len(i)
    row, g = np.arange(count), first + np.arange(count)

    def rows(*entries: tuple[Int, float], low: float) -> Rows:
        values = np.concatenate([np.full(count, value) for _, value in entries])
        places = (np.tile(row, len(entries)), np.concatenate([columns for columns, _ in entries]))
        matrix = sparse.csr_matrix((values, places), shape=(count, first + count))
        return matrix, np.full(count, low), np.full(count, np.inf)

    added = [rows((g, 1.0), (i, -1.0), (k, -1.0), low=-1.0)]
    if not lean:
        added += [rows((i, 1.0), (g, -1.0), low=0.0), rows((k, 1.0), (g, -1.0), low=0.0)]
    return Square(2.0 * instance.beta_h[j], np.ones(count), np.full(count, not lean), added, per_user=1.0)


def _products_lean(instance: Instance, by_station: sparse.csr_matrix, first: int) -> Square:
    return _products(instance, by_station, first, lean=True)


SQUARES: dict[str, Callable[[Instance, sparse.csr_matrix, int], Square]] = {
    "products": _products,
    "products_lean": _products_lean,
    "cuts": _cuts,
    "nonlinear": _nonlinear,
}


def _padded(values: Float, columns: int) -> Float:
    return np.concatenate([values, np.zeros(columns - len(values))])


def _widened(block: sparse.csr_matrix, columns: int) -> sparse.csr_matrix:
    rows, own = block.shape
    return block if own == columns else sparse.hstack([block, sparse.csr_matrix((rows, columns - own))])
