"""A quick proof that every need can be served; where it fails, the linear programme of ``service`` decides."""

from __future__ import annotations

import numpy as np

from controllers.caps.part import LIMIT_SLACK_KW
from controllers.caps.problem import CapsProblem
from controllers.caps.service import SERVED_KWH, Service


def served_in_full(problem: CapsProblem) -> Service | None:
    """Return what is served if a charge in order of urgency serves everybody, else None.

    Slots are filled in time, the cars with the least time to spare first. That serves everybody only if it is possible,
    but not always if it is: None says nothing.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    """
    per_kw_kwh = problem.efficiency * problem.slot_h
    left_kw = problem.reachable_kwh / per_kw_kwh
    ahead_kw = problem.usable_kw.sum(axis=0)
    headroom = np.maximum(problem.headroom_kw - 2 * LIMIT_SLACK_KW, 0.0)
    for slot in range(problem.slots):
        order = np.argsort(ahead_kw - left_kw, kind="stable")
        asked = np.minimum(problem.usable_kw[slot], left_kw)[order]
        load = problem.car_share[order] * asked[:, None]
        before = np.cumsum(load, axis=0) - load
        with np.errstate(divide="ignore", invalid="ignore"):
            part = np.where(load > 0, np.clip((headroom[slot] - before) / load, 0.0, 1.0), 1.0).min(axis=1, initial=1.0)
        left_kw[order] -= part * asked
        ahead_kw -= problem.usable_kw[slot]
    if (left_kw * per_kw_kwh > SERVED_KWH).any():
        return None
    reachable = problem.reachable_kwh
    all_slots_kwh = per_kw_kwh * problem.usable_kw.sum(axis=0)
    settled = (reachable >= all_slots_kwh - SERVED_KWH) & (reachable > SERVED_KWH)
    settled_kw = np.where(settled, problem.usable_kw, 0.0)
    served = np.where(settled, all_slots_kwh, reachable)
    return Service(served / problem.efficiency, problem.energy_need_kwh - reachable, settled, settled_kw)
