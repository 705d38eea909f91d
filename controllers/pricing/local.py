"""A quick good answer of the users, not a proven one: it bounds what they can be made to pay."""

from __future__ import annotations

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.pricing.instance import Instance
from cosim.controllers.pricing.model import Model

_ROUNDS = 200
_GAIN = 1e-9
_WHOLE = 1e-3


def quick_assignment(
    instance: Instance, prices: Float, weights: tuple[float, float], share: float, wish: Int | None = None
) -> Int | None:
    """Serve all who can pay: who can afford fewest stations first, then moves and exchanges while they help.

    Parameters
    ----------
    instance : Instance
        Users and stations.
    prices : ndarray, shape (station,)
        Of each station [EUR/kWh].
    weights : tuple of float
        Of cost and time, to be minimised.
    share : float
        The users of a station lose beta (share f² + (1 - share) f), see `model.build`.
    wish : ndarray of int, shape (user,), optional
        Where users go first of all, such as in a linear relaxation; -1 for those without a wish.

    Returns
    -------
    ndarray of int, shape (user,), or None
        Station of each user, -1 for those who cannot pay; None where this rule finds no room.
    """
    cost, time = weights
    beta_h = time * instance.beta_h
    able = instance.affordable(prices)
    each = cost * prices * instance.demands_kwh[:, None] + time * instance.fixed_h + (1.0 - share) * beta_h
    each = np.where(able, each, np.inf)
    station, room_kwh, users_at = np.full(instance.users, -1), instance.capacity_kwh.copy(), np.zeros(instance.stations)
    need_kwh = instance.demands_kwh
    wishes = np.full(instance.users, -1) if wish is None else wish
    for user in np.lexsort((-need_kwh, able.sum(axis=1), wishes < 0)):
        if not able[user].any():
            continue
        price = np.where(need_kwh[user] <= room_kwh, each[user] + share * beta_h * (2.0 * users_at + 1.0), np.inf)
        if wishes[user] >= 0 and need_kwh[user] <= room_kwh[wishes[user]]:
            price[np.arange(instance.stations) != wishes[user]] = np.inf
        best = int(np.argmin(price))
        if not np.isfinite(price[best]):
            return None
        station[user] = best
        room_kwh[best] -= need_kwh[user]
        users_at[best] += 1.0
    return _improved(each, share * beta_h, need_kwh, station, room_kwh, users_at)


def rounded_assignment(
    instance: Instance, prices: Float, weights: tuple[float, float], model: Model, relaxed: Float, share: float
) -> Int | None:
    """Round a point of the linear relaxation: all but a few users are whole there, and the others find a place.

    Parameters
    ----------
    instance, prices, weights, share
        See `quick_assignment`.
    model : Model
        Of these prices.
    relaxed : ndarray, shape (column,)
        The point.
    """
    whole = np.flatnonzero(relaxed[: len(model.user)] > 1.0 - _WHOLE)
    wish = np.full(instance.users, -1)
    wish[model.user[whole]] = model.station[whole]
    found = quick_assignment(instance, prices, weights, share, wish)
    return quick_assignment(instance, prices, weights, share) if found is None else found


def _improved(each: Float, beta: Float, need_kwh: Float, station: Int, room_kwh: Float, users_at: Float) -> Int:
    going = np.flatnonzero(station >= 0)
    each, need_kwh = each[going], need_kwh[going]
    at, who = station[going], np.arange(len(going))
    for _ in range(_ROUNDS):
        own = each[who, at]
        moved = each - own[:, None] + beta * (2.0 * users_at + 1.0) - (beta * (2.0 * users_at - 1.0))[at][:, None]
        moved[need_kwh[:, None] > room_kwh] = np.inf
        moved[who, at] = np.inf
        crossed = each[:, at]  # user (row) at the station of another (column)
        swapped = crossed + crossed.T - own[:, None] - own
        larger = need_kwh[:, None] - need_kwh > room_kwh[at]  # row does not fit where column leaves
        swapped[larger | larger.T | (at[:, None] == at)] = np.inf
        best_move, best_swap = moved.min(initial=np.inf), swapped.min(initial=np.inf)
        if min(best_move, best_swap) >= -_GAIN:
            break
        if best_move <= best_swap:
            user, new = np.unravel_index(int(np.argmin(moved)), moved.shape)
            room_kwh[at[user]] += need_kwh[user]
            users_at[at[user]] -= 1.0
            at[user] = new
            room_kwh[new] -= need_kwh[user]
            users_at[new] += 1.0
        else:
            one, other = np.unravel_index(int(np.argmin(swapped)), swapped.shape)
            apart_kwh = need_kwh[one] - need_kwh[other]
            room_kwh[at[one]] += apart_kwh
            room_kwh[at[other]] -= apart_kwh
            at[one], at[other] = at[other], at[one]
    station = station.copy()
    station[going] = at
    return station
