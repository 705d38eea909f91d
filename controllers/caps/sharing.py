"""Equal sharing: the level at which everybody gets the same, and the floors that follow from it.

Section 14a EnWG leaves a controlled charger at least 4.2 kW. Where those floors together exceed what a phase has left,
they are lowered to one level for all, the highest that equal sharing can promise: that is the relaxation reported.
"""

from __future__ import annotations

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.options import FLOOR_KW
from cosim.controllers.caps.part import Part, Plan

SHY = 1.0 - 1e-6  # floors stay this much below the level, so that rounding cannot make them unattainable


def water_level(wanted_kw: Float, available_kw: float) -> float:
    """Return the level l with ``Σ min(wanted, l) = available``; inf where everybody gets what is wanted.

    Parameters
    ----------
    wanted_kw : ndarray, shape (n,)
        What each would take [kW].
    available_kw : float
        What there is [kW].
    """
    if wanted_kw.sum() <= available_kw:
        return float("inf")
    rising = np.sort(wanted_kw)
    below = np.concatenate([[0.0], np.cumsum(rising)[:-1]])
    # level i: the i smallest get all they want, the others what is left in equal parts
    level = (available_kw - below) / np.arange(len(rising), 0, -1)
    # the first one that those who share it do not exceed in their wants: the others are indeed satisfied below it
    return float(level[np.argmax(level <= rising)])


def share_equally(part: Part) -> tuple[Plan, Float]:
    """Fill slots from the cheapest to the dearest, every car that still needs energy getting the same.

    All cars of the piece must share one merit order.

    Returns
    -------
    plan : Plan
        Room and charge.
    level_kw : ndarray, shape (slot, car)
        What equal sharing leaves to each car; inf where it is not held back.
    """
    taken = np.zeros(len(part.cars))
    room, charge = part.room_kw.copy(), np.zeros_like(part.room_kw)
    level = np.full_like(part.room_kw, np.inf)
    for k in range(part.slots):
        left = np.maximum(part.wanted_kw[k] - taken, 0.0)
        asked = part.asked_kw(k, left)
        level[k] = levels(asked, part.share, part.headroom_kw[k])
        given = useful(np.minimum(asked, level[k]), asked, part.usable_kw[k], part.charger_min_kw, np.zeros_like(left))
        held = given < asked
        room[k, held] = given[held]
        charge[k] = np.minimum(np.minimum(given, part.usable_kw[k]), left)
        taken = taken + charge[k]
    return Plan(room, charge), level


def lowest_shared_kw(part: Part) -> float:
    """Return the lowest level that equal sharing slot by slot comes to, inf where it holds nobody back [kW]."""
    return float(share_equally(part)[1].min(initial=np.inf)) if part.one_order else 0.0


def useful(given_kw: Float, asked_kw: Float, usable_kw: Float, least_kw: Float, otherwise_kw: Float) -> Float:
    """Round what is given to what a cap can hold: all that is asked, a room that the charger can use, or otherwise."""
    held_kw = np.minimum(given_kw, usable_kw)
    return np.where(given_kw >= asked_kw, asked_kw, np.where(held_kw >= least_kw, held_kw, otherwise_kw))


def floors(part: Part, wanted_kw: float = FLOOR_KW) -> Float:
    """Return the floors that equal sharing can promise, shape (slot, car) [kW].

    The floor of a plugged-in car is ``min(wanted, its charger)``. Where the floors of all that are plugged in exceed
    the headroom, it is lowered to the larger of two levels that can be kept for everybody: that of sharing the slot
    among all plugged in, and the lowest that occurs when sharing slot by slot among those who still need energy; the
    first of the two only, where cars have merit orders of their own.

    Parameters
    ----------
    part : Part
        The piece; its own floors are ignored.
    wanted_kw : float
        Floor for chargers that can take it [kW].
    """
    wanted = np.minimum(wanted_kw, part.usable_kw)
    floor = np.zeros_like(wanted)
    if part.one_order:
        common = lowest_shared_kw(part)
        for k in range(part.slots):
            level = levels(wanted[k], part.share, part.headroom_kw[k])
            floor[k] = np.minimum(wanted[k], SHY * np.maximum(level, common))
    else:
        for slot, available in enumerate(part.headroom_kw):
            rows, cars = np.nonzero(part.when == slot)
            level = levels(wanted[rows, cars], part.share[cars], available)
            floor[rows, cars] = np.minimum(wanted[rows, cars], SHY * level)
    floor[floor < part.charger_min_kw] = 0.0  # the charger could not run on it
    return floor


def levels(wanted_kw: Float, share: Float, available_kw: Float) -> Float:
    """Return what equal sharing leaves to each: the lowest level among the phases it uses, shape (n,) [kW].

    Parameters
    ----------
    wanted_kw : ndarray, shape (n,)
        What each would take [kW].
    share : ndarray, shape (n, phase)
        On which phases.
    available_kw : ndarray, shape (phase,)
        What there is [kW].
    """
    level = np.full(len(wanted_kw), np.inf)
    for phase, available in enumerate(available_kw):
        part = share[:, phase]
        on = part > 0
        level[on] = np.minimum(level[on], water_level((part * wanted_kw)[on], float(available)) / part[on])
    return level
