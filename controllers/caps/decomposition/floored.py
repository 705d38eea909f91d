"""Pricing of a piece with floors, with chargers that have a least power, or with many slots of smaller power.

With floors, what a throttled slot draws counts towards the need and differs from slot to slot, so the plain count of
full slots of ``pricing`` no longer describes a plan. For each slot in which the household may finish it is a knapsack
(``finishing``).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.decomposition.finishing import NEARLY, blocks, cheapest
from cosim.controllers.caps.decomposition.plans import CAPPED, FULL, LAST, Plans, plans_of
from cosim.controllers.caps.part import Part

NO_PLAN_KWH = 1e9  # for a car that has none, or for which branching ended before one was found


def least_kw(part: Part) -> Float:
    """Return the least power of a slot before the last one, shape (slot, car); all where no cap holds the floor [kW].

    Where nothing is promised it is 0: a cap may be shut.
    """
    least = np.maximum(part.floor_kw, part.charger_min_kw)
    return np.where(part.floor_kw > 0.0, np.minimum(least, part.usable_kw), 0.0)


class FlooredPricing:
    """Pricing by knapsacks for the cars of a piece.

    Parameters
    ----------
    part : Part
        The piece.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self._blocks = list(blocks(part, least_kw(part)))

    def best(self, price: Float) -> tuple[Float, Plans]:
        """Return every car's best plan at given prices.

        Parameters
        ----------
        price : ndarray, shape (slot, phase)
            Price of load, at least 0 [kWh withheld per kW].

        Returns
        -------
        value : ndarray, shape (car,)
            Withheld energy plus what the load costs, or a little less: a bound that no plan undercuts [kWh].
        plans : Plans
            The best ones found.
        """
        part = self.part
        car_price = price @ part.share.T
        value = np.empty(len(part.cars))
        state = np.zeros(part.usable_kw.shape, np.int8)
        charge = np.zeros(part.usable_kw.shape)
        for block in self._blocks:
            where = np.ix_(block.slots, block.cars)
            paid, room = car_price[where], part.room_kw[where]
            uncapped = block.width_kw <= NEARLY
            full = paid * block.usable_kw
            held = part.slot_h * (room - block.low_kw) + paid * block.low_kw
            # floor at or above what the car can draw: no cap holds it, so its least is all and it withholds nothing
            empty = np.where(uncapped, full, held)
            empty[block.usable_kw <= 0.0] = 0.0
            part_kw = np.maximum(part.charger_min_kw[block.cars] - block.low_kw, 0.0)
            found = cheapest(block, empty, full - held, paid - part.slot_h, paid, part_kw)
            value[block.cars] = found.bound
            before = (np.arange(len(block.slots))[:, None] < found.last) & (block.usable_kw > 0.0)
            states = np.where(before, np.where(found.full | uncapped, FULL, CAPPED), 0).astype(np.int8)
            states[found.last, np.arange(len(block.cars))] = LAST
            states[:, ~np.isfinite(found.value)] = 0
            state[where], charge[where] = states, found.charge_kw
        plans = plans_of(part, np.arange(len(part.cars)), state, charge)
        known = (state == LAST).any(axis=0)
        return value, replace(plans, withheld_kwh=np.where(known, plans.withheld_kwh, NO_PLAN_KWH))
