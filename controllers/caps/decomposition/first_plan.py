"""A plan in one sweep over the slots, for when rounding finds none or time is up: floors, then need."""

from __future__ import annotations

import numpy as np

from cosim.controllers.caps.decomposition.floored import least_kw
from cosim.controllers.caps.part import Part, Plan

SERVED_KW = 1e-7


def first_plan(part: Part) -> Plan | None:
    """Fill slots from the cheapest to the dearest, the cars with the least left to spare first.

    Every car that still needs energy gets its floor; where all these do not fit, there is no such plan. Nor is there
    where a need is left over, though another order might serve it.

    Parameters
    ----------
    part : Part
        The piece, with its floors.
    """
    left, ahead = part.draw_kw.copy(), part.usable_kw.sum(axis=0)
    room, charge = part.room_kw.copy(), np.zeros_like(part.room_kw)
    promised = least_kw(part)
    for k in range(part.slots):
        asked = np.minimum(part.usable_kw[k], left)
        given = np.minimum(promised[k], asked)
        spare = part.headroom_kw[k] - given @ part.share
        if (spare < 0.0).any():
            return None
        # least slack first: what it could still draw from here on, less what it needs
        order = np.argsort(ahead - left, kind="stable")
        more = (asked - given)[order]
        load = part.share[order] * more[:, None]
        before = np.cumsum(load, axis=0) - load
        with np.errstate(divide="ignore", invalid="ignore"):
            fits = np.where(load > 0.0, np.clip((spare - before) / load, 0.0, 1.0), 1.0).min(axis=1, initial=1.0)
        # a part on which the charger cannot run is worth nothing
        fits[(given[order] + fits * more < part.charger_min_kw[order]) & (fits < 1.0)] = 0.0
        given[order] += fits * more
        held = given < asked
        room[k, held] = given[held]
        charge[k] = given
        left, ahead = left - given, ahead - part.usable_kw[k]
    return Plan(room, charge) if left.max(initial=0.0) <= SERVED_KW else None
