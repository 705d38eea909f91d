"""An independent look at caps: what households do inside them, and how far that is from what was planned."""

from __future__ import annotations

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.follower import best_response, car_limits
from cosim.controllers.caps.merit_order import band_levels
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.caps.problem import CapsProblem


def answer(problem: CapsProblem, caps_kw: Float, planned_kw: Float, options: CapsOptions) -> tuple[Float, float]:
    """Return what is to be expected of households, and by how much the plan is off.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    caps_kw : ndarray, shape (slot, home)
        Caps [kW].
    planned_kw : ndarray, shape (slot, car)
        What cars were planned to draw [kW].
    options : CapsOptions
        For the tie rule.

    Returns
    -------
    expected_kw : ndarray, shape (slot, car)
        The best response; with optimistic ties the plan, where it is one of the cheapest ways to charge [kW].
    error_kw : float
        Largest difference, see `off_by` for optimistic ties.
    """
    best = best_response(problem, caps_kw)
    if options.ties == "optimistic" and options.coordination == "anticipated":
        error = off_by(problem, caps_kw, planned_kw, best)
        return planned_kw, float(error.max(initial=0.0))
    return best, float(np.abs(best - planned_kw).max(initial=0.0))


def off_by(problem: CapsProblem, caps_kw: Float, planned_kw: Float, best_kw: Float) -> Float:
    """Return how far each car's plan is from the cheapest ways to charge inside the caps, shape (car,) [kW].

    A plan is one of them exactly if it stays within the limits of every slot and draws, at every price, what the best
    response draws at that price in all; at zero, that much or more, as far as the battery takes it.
    """
    order = problem.merit_order_of_car
    planned, best, limits = (
        np.take_along_axis(values, order, axis=0) for values in (planned_kw, best_kw, car_limits(problem, caps_kw))
    )
    level = band_levels(np.take_along_axis(problem.tariff_of_car, order, axis=0))
    off: Float = np.maximum(planned - limits, -planned).max(axis=0, initial=0.0)
    for band in np.unique(level):
        missing = np.where(level == band, best - planned, 0.0).sum(axis=0)
        off = np.maximum(off, missing if band == 0 else np.abs(missing))
    beyond: Float = planned.sum(axis=0) - np.maximum(problem.most_kw, best.sum(axis=0))
    return np.asarray(np.maximum(off, beyond))
