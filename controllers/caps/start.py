"""Starting from caps that were published before: what they are to a piece, and whether they still hold."""

from __future__ import annotations

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.part import NEARLY_KW, SMALLEST_KW, Part, Plan, freed, respond

SERVED_KW = 1e-6


def plan_of_caps(part: Part, inflexible_kw: Float, caps_kw: Float) -> Plan:
    """Return what caps are to a piece, shape (slot, car): the room they leave, and what its cars draw then.

    A room that the charger cannot run at is none.

    Parameters
    ----------
    part : Part
        The piece; without floors.
    inflexible_kw, caps_kw : ndarray, shape (slot, home)
        Of the whole problem; inf is no cap [kW].
    """
    left = (caps_kw - inflexible_kw)[part.when, part.home]
    room = np.clip(left, 0.0, part.room_kw)
    room[room < part.charger_min_kw * (1 - 1e-9)] = 0.0
    return freed(part, Plan(room, respond(part, room)))


def holds(part: Part, plan: Plan) -> bool:
    """Whether a plan keeps every limit and floor of a piece and serves every need."""
    floors = np.minimum(part.floor_kw, part.room_kw)
    below = (plan.room_kw < floors - NEARLY_KW) & (plan.room_kw < part.peak_kw - NEARLY_KW)
    unserved = part.draw_kw - plan.charge_kw.sum(axis=0)
    return not below.any() and unserved.max(initial=0.0) <= SERVED_KW and over_kw(part, plan) <= NEARLY_KW


def over_kw(part: Part, plan: Plan) -> float:
    """Return by how much a plan is over the limits of a piece at most [kW]."""
    return float((part.load_kw(counted_kw(part, plan)) - part.headroom_kw).max(initial=0.0))


def counted_kw(part: Part, plan: Plan) -> Float:
    """Return what each car adds to the load that must respect the limits, shape (slot, car) [kW]."""
    if not part.counts_peaks:
        return plan.charge_kw
    at_once = np.minimum(plan.room_kw, part.peak_kw)
    return np.where(plan.charge_kw > NEARLY_KW, at_once, 0.0)


def precedence_key(part: Part, plan: Plan) -> Float:
    """Return a key by which the cars that a plan holds back least come first, shape (car,), from 0 to 1."""
    held = np.where(part.usable_kw > SMALLEST_KW, np.minimum(part.peak_kw, part.room_kw) - plan.room_kw, 0.0)
    share = np.maximum(held, 0.0).sum(axis=0) / np.maximum(part.peak_kw.sum(axis=0), SMALLEST_KW)
    return np.asarray(share / max(float(share.max(initial=0.0)), SMALLEST_KW))
