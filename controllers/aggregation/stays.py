"""Charging sessions as the cars of a fleet: one column for each stay, its need driven away at its departure."""

from __future__ import annotations

import numpy as np

from cosim.contract import EvSessions
from cosim.controllers.aggregation.fleet import Fleet
from cosim.controllers.nowcast import WORTH_KWH

_ROUNDING = 1e-9


def fleet_of_stays(stays: EvSessions, steps: int, step_h: float) -> Fleet:
    """Lay stays on steps.

    A level counts what a stay has charged so far; it is nil before arrival, and the need leaves as driving at
    departure, so that the horizon closes by itself. Needs that do not fit into a stay within the horizon are cut to
    what does.

    Parameters
    ----------
    stays : EvSessions
        At least one; each with some time inside the horizon.
    steps : int
        Length of the horizon.
    step_h : float
        Length of a step [h].
    """
    share = stays.share_of_steps(steps, step_h * 60.0)
    charge_high_kw = share * stays.charger_kw
    most_kwh = charge_high_kw.sum(axis=0) * step_h * stays.efficiency
    need_kwh = np.minimum(stays.energy_need_kwh, most_kwh) * (1.0 - _ROUNDING)
    nil = np.zeros_like(share)
    driving_kwh = nil.copy()
    last = steps - np.argmax(share[::-1] > 0.0, axis=0)  # first step after the stay
    driving_kwh[last % steps, np.arange(len(stays))] = need_kwh
    level_high_kwh = np.where(share > 0.0, need_kwh, 0.0)
    one = np.ones(len(stays))
    return Fleet(nil, charge_high_kw, nil, nil, nil, level_high_kwh, driving_kwh, stays.efficiency, one, step_h=step_h)


def cut_kwh(stays: EvSessions, fleet: Fleet) -> float:
    """What ``fleet_of_stays`` cut from needs: no schedule could charge it while the cars are there [kWh]."""
    return float(stays.energy_need_kwh.sum() - fleet.driving_kwh.sum() / (1.0 - _ROUNDING))


def within(stays: EvSessions, horizon_min: float) -> EvSessions:
    """Stays that need something and have some time inside the horizon."""
    kept = (stays.arrival_min < horizon_min - 1e-6) & (stays.departure_min > np.maximum(stays.arrival_min, 0.0) + 1e-6)
    return stays[kept & (stays.energy_need_kwh > WORTH_KWH)]
