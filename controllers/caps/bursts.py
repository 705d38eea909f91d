"""The beginning of a slot: cars that need only a part of their last slot draw all they can until they are done.

Limits are kept by the mean of a slot. A cap at the mean power spreads the rest of the need over the slot: the response,
and with it the plan, stays the same, and some room is withheld only where it is needed.
"""

from __future__ import annotations

import numpy as np

from controllers.caps.follower import car_limits
from controllers.caps.problem import CapsProblem
from cosim.contract import Float

STEADY_KW = 1e-6


def hold_last_slots(problem: CapsProblem, caps_kw: Float, charge_kw: Float) -> Float:
    """Return caps that keep the beginning of every slot inside the limits too, as far as last slots are to blame.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    caps_kw : ndarray, shape (slot, home)
        Caps [kW].
    charge_kw : ndarray, shape (slot, car)
        The response to them [kW].
    """
    caps = caps_kw.copy()
    limits = car_limits(problem, caps_kw)
    surge = np.where((charge_kw > STEADY_KW) & (limits - charge_kw > STEADY_KW), limits - charge_kw, 0.0)
    spare = problem.headroom_kw - charge_kw @ problem.car_share
    for k in np.flatnonzero(surge.any(axis=1)):
        left = spare[k] - surge[k] @ problem.car_share
        for car in np.argsort(-surge[k], kind="stable"):
            share = problem.car_share[car]
            if surge[k, car] <= 0 or not (left[share > 0] < 0).any():
                continue
            steady_kw = max(float(charge_kw[k, car]), float(problem.charger_min_kw[car]))
            home = problem.home[car]
            held = min(float(caps[k, home]), float(problem.inflexible_kw[k, home]) + steady_kw)
            left = left + share * max(float(limits[k, car]) - steady_kw, 0.0)
            caps[k, home] = held
    return caps
