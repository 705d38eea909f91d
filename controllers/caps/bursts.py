"""Settled cars that are plugged in for a part of a slot: they get all they can use of it, and draw more at once.

Where the beginning of a slot must respect the limits too, a car that is settled, so that its mean is no question any
more, still needs a cap wherever the limits have no room for its full power.
"""

from __future__ import annotations

import numpy as np

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.controllers.caps.part import LIMIT_SLACK_KW, SMALLEST_KW
from cosim.controllers.caps.problem import CapsProblem


def held_back(problem: CapsProblem, charge_kw: Float, bursts: Bool) -> tuple[Float, Float]:
    """Return what cars draw, and what they count with, where their caps are as low as their chargers can run at.

    Where the limits have no room for that, a car is shut out of the slot, and part of its need stays unserved.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    charge_kw : ndarray, shape (slot, car)
        What settled cars draw, mean over the slot [kW].
    bursts : ndarray of bool, shape (slot, car)
        Where they are held back.

    Returns
    -------
    charge, least : ndarray, shape (slot, car)
        [kW].
    """
    charge = charge_kw.copy()
    least = np.where(bursts, np.maximum(charge, problem.charger_min_kw), charge)
    for slot, car in np.argwhere(least > charge):
        over_kw = least[slot] @ problem.car_share - problem.headroom_kw[slot]
        if over_kw[problem.car_share[car] > 0].max() > LIMIT_SLACK_KW:
            charge[slot, car] = least[slot, car] = 0.0
    return charge, least


def rooms_of_bursts(
    problem: CapsProblem, counted_kw: Float, least_kw: Float, most_kw: Float, bursts: Bool, *, each_alone: bool
) -> Float:
    """Return the rooms that the limits leave to cars beyond the least that serves them.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    counted_kw : ndarray, shape (slot, car)
        What cars add to the load where those asked about are held back [kW].
    least_kw, most_kw : ndarray, shape (slot, car)
        What cars count with where they are held back, and without a cap [kW].
    bursts : ndarray of bool, shape (slot, car)
        Whose rooms are asked for.
    each_alone : bool
        As if there were no other of them: no caps leave more. Else one after the other.

    Returns
    -------
    ndarray, shape (slot, car)
        All of it where the car need not be held back, 0 where it is not asked about [kW].
    """
    room = np.zeros_like(least_kw)
    spare = problem.headroom_kw - LIMIT_SLACK_KW - counted_kw @ problem.car_share
    for slot, car in np.argwhere(bursts):
        share = problem.car_share[car]
        more = max(float((spare[slot, share > 0] / share[share > 0]).min()), 0.0)
        more = min(more, float(most_kw[slot, car] - least_kw[slot, car]))
        if not each_alone:
            spare[slot] -= more * share
        room[slot, car] = least_kw[slot, car] + more
    return np.where(bursts & (room >= most_kw - SMALLEST_KW), problem.room_kw, room)
