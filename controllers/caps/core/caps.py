"""From plans of a piece to the room that caps leave and what cars draw, and back."""

from __future__ import annotations

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.core.split import most_counted_kw
from cosim.controllers.caps.core.subproblem import SMALLEST_KW, TOLERANCE_KW, Plan, Subproblem
from cosim.controllers.caps.follower import car_limits
from cosim.controllers.caps.problem import CapsProblem


def write_plan(problem: CapsProblem, sub: Subproblem, plan: Plan, room_kw: Float, charge_kw: Float) -> None:
    """Write the room that caps leave to the cars of a piece, and what they draw, both of shape (slot, car) [kW].

    Caps that hold nothing back are lifted, and so are, as far as the limits have room, those that only keep a car which
    is there for a part of a slot from drawing more at first.
    """
    full_kw = most_counted_kw(problem, counts_peaks=sub.peaks)
    left = sub.headroom_kw - sub.load_kw(plan.counted_kw)
    for at, car in enumerate(sub.cars.tolist()):
        last = int(plan.last[at])
        on = np.flatnonzero(sub.share[at])
        for row in range(last + 1):
            slot = int(sub.slot[at, row])
            if slot < 0 or not sub.last_kw[at, row] + sub.usable_kw[at, row]:
                continue
            charge_kw[slot, car] = drawn = float(plan.drawn_kw[at, row])
            if row == last and not sub.peaks:
                continue
            counted, full = float(plan.counted_kw[at, row]), float(full_kw[slot, car])
            idle = counted if row == last else drawn
            if idle >= sub.usable_kw[at, row] - TOLERANCE_KW and counted < full:
                more = full - counted
                if (left[slot, on] >= more * sub.share[at, on]).all():
                    left[slot, on] -= more * sub.share[at, on]
                    counted = full
            if counted < full - TOLERANCE_KW:
                room_kw[slot, car] = counted


def plan_of_caps(problem: CapsProblem, sub: Subproblem, caps_kw: Float) -> Plan:
    """Return what caps of shape (slot, home) make the cars of a piece do; inf is no cap [kW]."""
    caps = np.minimum(caps_kw, problem.connection_kw)
    limits = car_limits(problem, caps)[:, sub.cars]
    room = np.maximum(caps - problem.inflexible_kw, 0.0)[:, problem.home[sub.cars]]
    at_once = np.minimum(problem.charger_kw[sub.cars], room)
    each = np.arange(sub.size)[:, None]
    drawn = np.where(sub.is_slot, np.minimum(limits[sub.slot, each], sub.last_kw), 0.0)
    before = np.cumsum(drawn, axis=1) - drawn
    ends = (sub.last_kw > 0) & (before + np.where(sub.is_slot, drawn, sub.last_kw) >= sub.target_kw - SMALLEST_KW)
    last = np.where(ends.any(axis=1), ends.argmax(axis=1), sub.slot.shape[1] - 1)
    rest = np.clip(np.take_along_axis(sub.target_kw - before, last[:, None], axis=1), 0.0, None)
    drawn = np.where(np.arange(sub.slot.shape[1]) < last[:, None], drawn, 0.0)
    np.put_along_axis(drawn, last[:, None], rest, axis=1)
    counted = np.where(drawn > SMALLEST_KW, at_once[sub.slot, each], 0.0) if sub.peaks else drawn
    return Plan(last, drawn, np.where(sub.is_slot, counted, 0.0))
