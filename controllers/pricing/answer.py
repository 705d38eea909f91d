"""What users do at given prices, and what it costs them in money and time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.place import FrozenArrays
from cosim.controllers.pricing.instance import SAME_EUR_PER_KWH, Instance
from cosim.controllers.pricing.model import Congestion

SAME = 1e-6  # EUR, hours, kWh: values that differ by less are one


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
    moves = []
    for user in np.flatnonzero(going >= 0):
        now = each[user, going[user]] + time * instance.beta_h[going[user]] * users_at[going[user]]
        for other in range(instance.stations):
            able = prices[other] <= instance.budgets[user] + SAME_EUR_PER_KWH
            if other == going[user] or not able or instance.demands_kwh[user] > room_kwh[other] + 1e-9:
                continue
            gain = now - each[user, other] - time * instance.beta_h[other] * (users_at[other] + 1)
            if gain > SAME:
                moves.append((int(user), other, float(gain)))
    return moves
