"""Further structures for a household: finish in any slot, with few or many full slots before it, the rest throttled.

Columns are best plans at some prices; in a small piece, or where limits are tight, the plan that fits best with the
others was never one. Here the slots that are cheapest to use are full, all others before the last are throttled with
their power left open.
"""

from __future__ import annotations

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.decomposition.pricing import CAPPED, FULL, LAST, Plans, States, chosen, plans_of
from cosim.controllers.caps.part import NEARLY_KW, SMALLEST_KW, Part

FEWER_FULL = 3  # numbers of full slots tried below the largest possible


def family(part: Part, car: int, price: Float, most: int) -> Plans:
    """Return structures of one car with a good guess at their powers: the most flexible, and the cheapest others.

    Parameters
    ----------
    part : Part
        The piece.
    car : int
        Its column.
    price : ndarray, shape (slot,)
        Price of the car's load [kWh per kW].
    most : int
        How many to return.
    """
    slots = np.flatnonzero(part.usable_kw[:, car] > SMALLEST_KW)
    usable, room = part.usable_kw[slots, car], part.room_kw[slots, car]
    low = _least_kw(part, car, slots)
    gain = price[slots] * (usable - low) - part.slot_h * (room - low)  # of a full slot over a held one
    states, charges = [], []
    for last in range(len(slots)):
        order = np.argsort(gain[:last], kind="stable")
        filled = np.concatenate([[0.0], np.cumsum((usable - low)[order])]) + low[:last].sum()
        largest = int(np.searchsorted(filled, part.draw_kw[car] + NEARLY_KW, side="right")) - 1
        for full in range(max(largest - FEWER_FULL, 0), largest + 1):
            charge = _powers(part, car, slots[: last + 1], order[:full], price)
            if charge is not None:
                states.append(_state(part, slots[: last + 1], charge >= part.usable_kw[:, car] - NEARLY_KW))
                charges.append(charge)
    charge = _powers(part, car, slots, np.zeros(0, np.int64), price)
    if charge is not None:  # the most flexible one: held everywhere, so that any schedule can be had
        states.insert(0, _state(part, slots, _least_kw(part, car, np.arange(part.slots)) >= part.usable_kw[:, car]))
        charges.insert(0, charge)
    state = np.array(states, np.int8).reshape(-1, part.slots).T
    charge_kw = np.array(charges).reshape(-1, part.slots).T
    plans = plans_of(part, np.full(len(states), car), state, charge_kw)
    cost = plans.withheld_kwh + price @ charge_kw
    # the most flexible one stays in front whatever it costs: `Offers.more` takes it or leaves it by its place
    cost[:1] = -np.inf
    return chosen(plans, np.argsort(cost, kind="stable")[:most])


def _state(part: Part, slots: Int, full: Bool) -> States:
    """Last in the last of these slots; before it full or held."""
    state = np.zeros(part.slots, np.int8)
    state[slots] = np.where(full[slots], FULL, CAPPED)
    state[slots[-1]] = LAST
    return state


def _least_kw(part: Part, car: int, slots: Int) -> Float:
    """Least power of a throttled slot; all where no cap can hold the floor."""
    floor = part.floor_kw[slots, car]
    least = np.maximum(floor, part.charger_min_kw[car])
    return np.where(floor > 0, np.minimum(least, part.usable_kw[slots, car]), 0.0)


def _powers(part: Part, car: int, slots: Int, full: Int, price: Float) -> Float | None:
    """Spread what the full slots leave over throttled ones and the last, the cheapest first; None where it cannot be.

    Nothing goes into throttled slots unless the last one is full or dearer by more than what is withheld less.
    """
    usable = part.usable_kw[slots, car]
    low = _least_kw(part, car, slots)
    low[-1] = 0.0
    power = low.copy()
    power[full] = usable[full]
    left = part.draw_kw[car] - power.sum()
    if left < -NEARLY_KW:
        return None
    worth = price[slots] - part.slot_h
    # a kW in a throttled slot also gives back slot_h of withheld energy; the last slot is not capped, so nothing
    # there
    worth[-1] += part.slot_h
    for k in np.argsort(worth, kind="stable"):
        take = min(usable[k] - power[k], max(left, 0.0))
        power[k] += take
        left -= take
    if left > NEARLY_KW:
        return None
    charge = np.zeros(part.slots)
    charge[slots] = power
    return charge
