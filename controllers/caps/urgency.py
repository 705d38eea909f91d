"""Charging in order of urgency: quick, within every limit, and often enough for everybody."""

from __future__ import annotations

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.core.subproblem import LIMIT_SLACK_KW
from cosim.controllers.caps.problem import CapsProblem


def urgent_charge(problem: CapsProblem) -> Float:
    """Fill slots in time, the cars with the least time to spare first.

    That serves everybody only if it is possible, but not always if it is.

    Parameters
    ----------
    problem : CapsProblem
        The data.

    Returns
    -------
    ndarray, shape (slot, car)
        Power drawn, within the limits [kW].
    """
    left_kw = problem.reachable_kwh / (problem.efficiency * problem.slot_h)
    ahead_kw = problem.usable_kw.sum(axis=0)
    headroom = np.maximum(problem.headroom_kw - 2 * LIMIT_SLACK_KW, 0.0)
    charge = np.zeros_like(problem.usable_kw)
    for slot in range(problem.slots):
        order = np.argsort(ahead_kw - left_kw, kind="stable")
        asked = np.minimum(problem.usable_kw[slot], left_kw)[order]
        load = problem.car_share[order] * asked[:, None]
        before = np.cumsum(load, axis=0) - load
        with np.errstate(divide="ignore", invalid="ignore"):
            part = np.where(load > 0, np.clip((headroom[slot] - before) / load, 0.0, 1.0), 1.0).min(axis=1, initial=1.0)
        charge[slot, order] = part * asked
        left_kw -= charge[slot]
        ahead_kw -= problem.usable_kw[slot]
    return charge
