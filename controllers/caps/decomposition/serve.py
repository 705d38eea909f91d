"""A quick proof that every need can be served; where it fails, the linear programme of ``service`` decides."""

from __future__ import annotations

import numpy as np

from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.caps.service import SERVED_KWH, Service
from cosim.controllers.caps.urgency import urgent_charge


def served_in_full(problem: CapsProblem) -> Service | None:
    """Return what is served if a charge in order of urgency serves everybody, else None.

    Since that does not always serve everybody where it is possible, None says nothing.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    """
    per_kw_kwh = problem.efficiency * problem.slot_h
    left_kw = problem.reachable_kwh / per_kw_kwh - urgent_charge(problem).sum(axis=0)
    if (left_kw * per_kw_kwh > SERVED_KWH).any():
        return None
    reachable = problem.reachable_kwh
    all_slots_kwh = per_kw_kwh * problem.usable_kw.sum(axis=0)
    settled = (reachable >= all_slots_kwh - SERVED_KWH) & (reachable > SERVED_KWH)
    settled_kw = np.where(settled, problem.usable_kw, 0.0)
    served = np.where(settled, all_slots_kwh, reachable)
    return Service(served / problem.efficiency, problem.energy_need_kwh - reachable, settled, settled_kw)
