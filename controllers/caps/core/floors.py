"""Floors that equal sharing can promise.

Section 14a EnWG leaves a controlled charger at least 4.2 kW. Where those floors together exceed what a limit has left,
they are lowered to one level for all, the highest that equal sharing can promise: that is the relaxation reported.
"""

from __future__ import annotations

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.core.subproblem import SMALLEST_KW, Subproblem
from cosim.controllers.caps.sharing import SHY, levels


def floors(sub: Subproblem, wanted_kw: float) -> Float:
    """Return the floors that equal sharing can promise, shape (car, row) [kW].

    The floor of a plugged-in car is ``min(wanted, what it can use)``. Where the floors of all that are plugged in
    exceed the headroom, it is lowered to the larger of two levels that can be kept for everybody: that of sharing the
    slot among all plugged in, and the lowest that occurs when sharing slot by slot among those who still need energy;
    the first of the two only, where cars have merit orders of their own.

    Parameters
    ----------
    sub : Subproblem
        The piece.
    wanted_kw : float
        Floor for chargers that can take it [kW].
    """
    wanted = np.where(sub.is_slot, np.minimum(wanted_kw, sub.usable_kw), 0.0)
    common, floor = _lowest_shared_kw(sub), np.zeros_like(wanted)
    for slot in np.unique(sub.slot[sub.is_slot]):
        car, row = np.nonzero(sub.slot == slot)
        level = levels(wanted[car, row], sub.share[car], sub.headroom_kw[slot])
        floor[car, row] = np.minimum(wanted[car, row], SHY * np.maximum(level, common))
    return np.where(floor < sub.minimum_kw[:, None], 0.0, floor)  # a charger could not run on it


def _lowest_shared_kw(sub: Subproblem) -> float:
    """Fill slots from the cheapest on, every car that still needs energy getting the same; inf if nobody is held."""
    if sub.order is None:
        return 0.0
    taken, lowest = np.zeros(sub.size), np.inf
    for slot in sub.order:
        car, row = np.nonzero(sub.slot == slot)
        left = np.maximum(sub.target_kw[car, row] - taken[car], 0.0)
        usable, counted = sub.usable_kw[car, row], sub.counted[car, row]
        asked = np.where(left > SMALLEST_KW, usable * counted, 0.0) if sub.peaks else np.minimum(usable, left)
        level = levels(asked, sub.share[car], sub.headroom_kw[slot])
        lowest = min(lowest, float(level.min(initial=np.inf)))
        given = np.minimum(asked, level)
        given = np.where((given < asked) & (given < sub.minimum_kw[car]), 0.0, given)
        taken[car] += np.minimum(np.minimum(given, usable), left)
    return lowest
