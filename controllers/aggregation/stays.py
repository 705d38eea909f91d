"""Charging sessions as the cars of a fleet: one column for each stay, its need driven away at its departure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Exogenous, Float, Int, Observation
from cosim.contract.place import FrozenArrays
from cosim.controllers.aggregation.fleet import Fleet

WORTH_KWH = 0.01  # a smaller need is met
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Stays(FrozenArrays):
    """Stays from a moment on.

    Attributes
    ----------
    customer : ndarray of int, shape (stay,)
        Column of the customer.
    arrival_min, departure_min : ndarray, shape (stay,)
        From that moment [min].
    need_kwh, charger_kw, efficiency : ndarray, shape (stay,)
        Wanted in the battery; rating on the grid side; battery energy per energy drawn.
    """

    customer: Int
    arrival_min: Float
    departure_min: Float
    need_kwh: Float
    charger_kw: Float
    efficiency: Float

    def __len__(self) -> int:
        return len(self.customer)


def expected_stays(expected: Exogenous) -> Stays:
    """All stays of a forecast day."""
    cars = expected.sessions
    kept = cars.energy_need_kwh > WORTH_KWH
    return Stays(
        cars.customer[kept], cars.arrival_min[kept], cars.departure_min[kept], cars.energy_need_kwh[kept],
        cars.charger_kw[kept], cars.efficiency[kept],
    )  # fmt: skip


def stays_from_now(expected: Exogenous, now: Observation) -> Stays:
    """Cars that are there, with what their drivers announced, then those still to come as forecast.

    A car that is expected but not there has no claim until it comes.
    """
    here = np.flatnonzero(now.plugged & (now.energy_left_kwh > WORTH_KWH) & (now.departure_min > now.minute + 1e-6))
    leaves_min = np.where(now.plugged, np.nan_to_num(now.departure_min, nan=0.0), now.minute)
    cars = expected.sessions
    comes = (cars.arrival_min >= leaves_min[cars.customer] - 1e-6) & (cars.arrival_min > now.minute - 1e-6)
    later = np.flatnonzero(comes & (cars.energy_need_kwh > WORTH_KWH))

    def both(present: Float, coming: Float) -> Float:
        return np.concatenate([present[here], coming[later]])

    return Stays(
        np.concatenate([here, cars.customer[later]]).astype(np.int64),
        both(np.zeros(len(now.plugged)), cars.arrival_min - now.minute),
        both(now.departure_min, cars.departure_min) - now.minute,
        both(now.energy_left_kwh, cars.energy_need_kwh),
        both(now.charger_kw, cars.charger_kw),
        both(now.efficiency, cars.efficiency),
    )


def fleet_of_stays(stays: Stays, steps: int, step_h: float) -> Fleet:
    """Lay stays on steps.

    A level counts what a stay has charged so far; it is nil before arrival, and the need leaves as driving at
    departure, so that the horizon closes by itself. Needs that do not fit into a stay within the horizon are cut to
    what does.

    Parameters
    ----------
    stays : Stays
        At least one; each with some time inside the horizon.
    steps : int
        Length of the horizon.
    step_h : float
        Length of a step [h].
    """
    edges_min = np.arange(steps + 1) * step_h * 60.0
    inside_min = np.minimum(edges_min[1:, None], stays.departure_min) - np.maximum(
        edges_min[:-1, None], stays.arrival_min
    )
    share = np.clip(inside_min / (step_h * 60.0), 0.0, 1.0)
    charge_high_kw = share * stays.charger_kw
    most_kwh = charge_high_kw.sum(axis=0) * step_h * stays.efficiency
    need_kwh = np.minimum(stays.need_kwh, most_kwh) * (1.0 - _ROUNDING)
    nil = np.zeros_like(share)
    driving_kwh = nil.copy()
    last = steps - np.argmax(share[::-1] > 0.0, axis=0)  # first step after the stay
    driving_kwh[last % steps, np.arange(len(stays))] = need_kwh
    level_high_kwh = np.where(share > 0.0, need_kwh, 0.0)
    one = np.ones(len(stays))
    return Fleet(nil, charge_high_kw, nil, nil, nil, level_high_kwh, driving_kwh, stays.efficiency, one, step_h=step_h)


def cut_kwh(stays: Stays, fleet: Fleet) -> float:
    """What ``fleet_of_stays`` cut from needs: no schedule could charge it while the cars are there [kWh]."""
    return float(stays.need_kwh.sum() - fleet.driving_kwh.sum() / (1.0 - _ROUNDING))


def within(stays: Stays, horizon_min: float) -> Stays:
    """Stays that have some time inside the horizon."""
    kept = (stays.arrival_min < horizon_min - 1e-6) & (stays.departure_min > np.maximum(stays.arrival_min, 0.0) + 1e-6)
    names = ("customer", "arrival_min", "departure_min", "need_kwh", "charger_kw", "efficiency")
    return Stays(*(getattr(stays, name)[kept] for name in names))
