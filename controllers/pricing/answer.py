"""What users do at given prices, and what it costs them in money and time.

A quick good answer, not a proven one, comes from rounding: it bounds what users can be made to pay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.survey import FrozenArrays
from cosim.controllers.pricing.instance import Instance
from cosim.controllers.pricing.model import SHARE, Congestion, Model
from cosim.controllers.pricing.solvers import minimise
from cosim.controllers.solver import SolveResult

SAME = 1e-6  # EUR, hours, kWh: values that differ by less are one
_ROUNDS = 200
_GAIN = 1e-9
_WHOLE = 1e-3


@dataclass(frozen=True, eq=False)
class Answer(FrozenArrays):
    """What users do.

    Attributes
    ----------
    station : ndarray of int, shape (user,)
        Where each goes; -1 for nowhere.
    cost_eur : float
        f1, what all users pay; the leader's income.
    time_h : float
        f2, the time that all users spend.
    potential_h : float
        Time as the follower counts it: f2, or Rosenthal's potential of users who look after themselves.
    lost_kwh : float
        Energy of users who could pay and found no room.
    """

    station: Int
    cost_eur: float
    time_h: float
    potential_h: float
    lost_kwh: float

    @property
    def served(self) -> int:
        """Users who charge."""
        return int((self.station >= 0).sum())


def evaluate(instance: Instance, prices: Float, station: Int, congestion: Congestion = "system") -> Answer:
    """Cost and time of an assignment of users to stations.

    Parameters
    ----------
    instance : Instance
        Users and stations.
    prices : ndarray, shape (station,)
        Of each station [EUR/kWh].
    station : ndarray of int, shape (user,)
        Where each goes; -1 for nowhere.
    congestion : str
        What ``potential_h`` counts, see `model.build`.
    """
    going = np.flatnonzero(station >= 0)
    users_at = np.bincount(station[going], minlength=instance.stations).astype(float)
    fixed_h = float(instance.fixed_h[going, station[going]].sum())
    alone = users_at**2 if congestion == "system" else users_at * (users_at + 1.0) / 2.0
    turned_away = instance.affordable(prices).any(axis=1) & (station < 0)
    return Answer(
        station=station,
        cost_eur=float((prices[station[going]] * instance.demands_kwh[going]).sum()),
        time_h=fixed_h + float(instance.beta_h @ users_at**2),
        potential_h=fixed_h + float(instance.beta_h @ alone),
        lost_kwh=float(instance.demands_kwh[turned_away].sum()),
    )


def better_moves(
    instance: Instance, prices: Float, answer: Answer, weights: tuple[float, float]
) -> list[tuple[int, int, float]]:
    """Users who would gain by moving alone to a station with room: (user, station, gain); none in an equilibrium.

    A user counts ``w1 × what it pays + w2 × its own time``, waiting beta f included.
    """
    cost, time = weights
    going = answer.station
    users_at = np.bincount(going[going >= 0], minlength=instance.stations)
    used_kwh = np.bincount(going[going >= 0], instance.demands_kwh[going >= 0], instance.stations)
    room_kwh = instance.capacity_kwh - used_kwh
    each = cost * prices * instance.demands_kwh[:, None] + time * instance.fixed_h
    now = each[np.arange(len(going)), going] + (time * instance.beta_h * users_at)[going]
    gain = now[:, None] - each - time * instance.beta_h * (users_at + 1)
    may_move = instance.affordable(prices) & (instance.demands_kwh[:, None] <= room_kwh + 1e-9)
    may_move &= (going[:, None] >= 0) & (going[:, None] != np.arange(instance.stations))
    return [(int(user), int(other), float(gain[user, other])) for user, other in np.argwhere(may_move & (gain > SAME))]


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
    options = np.full(instance.users, -1) if wish is None else wish
    # users with a wish first, then those with fewest stations, the largest needs first: they are the hardest to place
    # later
    for user in np.lexsort((-need_kwh, able.sum(axis=1), options < 0)):
        if not able[user].any():
            continue
        price = np.where(need_kwh[user] <= room_kwh, each[user] + share * beta_h * (2.0 * users_at + 1.0), np.inf)
        if options[user] >= 0 and need_kwh[user] <= room_kwh[options[user]]:
            price[np.arange(instance.stations) != options[user]] = np.inf
        best = int(np.argmin(price))
        if not np.isfinite(price[best]):
            return None
        station[user] = best
        room_kwh[best] -= need_kwh[user]
        users_at[best] += 1.0
    return _improved(each, share * beta_h, need_kwh, station, room_kwh, users_at)


def relaxed_answer(
    instance: Instance, prices: Float, weights: tuple[float, float], model: Model, congestion: Congestion = "system"
) -> tuple[SolveResult, Answer | None]:
    """Solve the linear relaxation and round it: all but a few users are whole there, and the others find a place.

    Parameters
    ----------
    instance, prices, weights
        See `quick_assignment`.
    model : Model
        Of these prices.
    congestion : str
        See `model.build`.

    Returns
    -------
    SolveResult, Answer or None
        The relaxation, without a point where nobody can be served as they must; the answer, None where none is found.
    """
    found = minimise(model, weights[0] * model.cost_eur + weights[1] * model.time_h, relaxed=True)
    if not found.has_point:
        return found, None
    whole = np.flatnonzero(found.x[: len(model.user)] > 1.0 - _WHOLE)
    wish = np.full(instance.users, -1)
    wish[model.user[whole]] = model.station[whole]
    quick = quick_assignment(instance, prices, weights, SHARE[congestion], wish)
    if quick is None:
        quick = quick_assignment(instance, prices, weights, SHARE[congestion])
    return found, None if quick is None else evaluate(instance, prices, quick, congestion)


def _improved(each: Float, beta: Float, need_kwh: Float, station: Int, room_kwh: Float, users_at: Float) -> Int:
    going = np.flatnonzero(station >= 0)
    each, need_kwh = each[going], need_kwh[going]
    at, who = station[going], np.arange(len(going))
    for _ in range(_ROUNDS):
        own = each[who, at]
        # (n + 1)² - n² = 2n + 1 where one joins, n² - (n - 1)² = 2n - 1 where one leaves
        moved = each - own[:, None] + beta * (2.0 * users_at + 1.0) - (beta * (2.0 * users_at - 1.0))[at][:, None]
        moved[need_kwh[:, None] > room_kwh] = np.inf
        moved[who, at] = np.inf
        crossed = each[:, at]  # user (row) at the station of another (column)
        # numbers of users stay, so waiting does not change
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
