"""Stays on steps, by an explicit choice."""

from __future__ import annotations

from typing import get_args

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.planner.options import Rounding
from cosim.errors import Fault, InputError

_TOUCH = 1e-9  # of a step: times computed from dates are this exact


def round_stays(arrival_step: Float, departure_step: Float, rounding: Rounding) -> tuple[Float, Float]:
    """Arrival and departure on steps.

    Parameters
    ----------
    arrival_step, departure_step : ndarray, shape (vehicle,)
        Fractional steps from the start of the horizon.
    rounding : str
        One of ``Rounding``.

    Returns
    -------
    arrival_step, departure_step : ndarray, shape (vehicle,)
        Unchanged where ``prorata``; whole numbers otherwise. A stay inside one step may become empty: compare with
        the original, which is what ``stay_change_step`` does.

    Raises
    ------
    InputError
        For any other word.
    """
    if rounding not in get_args(Rounding):
        raise InputError(
            Fault("planner", "rounding", f"is {rounding!r}", f"use one of {', '.join(get_args(Rounding))}")
        )
    if rounding == "prorata":
        return arrival_step, departure_step
    both = np.array([arrival_step, departure_step])
    up_to, down_to, nearest = np.ceil(both - _TOUCH), np.floor(both + _TOUCH), np.floor(both + 0.5)
    ends = {"inside": (up_to, down_to), "outside": (down_to, up_to), "down": (down_to,) * 2, "nearest": (nearest,) * 2}
    arrival, departure = ends[rounding][0][0], ends[rounding][1][1]
    return arrival, np.maximum(departure, arrival)


def stay_change_step(
    arrival_step: Float, departure_step: Float, rounded_arrival: Float, rounded_departure: Float
) -> tuple[Float, Float]:
    """What rounding does to each stay: steps lost, and steps planned while the vehicle is not there, both 0 or more.

    A stay moved as a whole loses at one end what it gains at the other: both are told.
    """
    lost = np.maximum(rounded_arrival - arrival_step, 0.0) + np.maximum(departure_step - rounded_departure, 0.0)
    gained = np.maximum(arrival_step - rounded_arrival, 0.0) + np.maximum(rounded_departure - departure_step, 0.0)
    whole = departure_step - arrival_step
    return np.minimum(lost, whole), gained


def presence(arrival_step: Float, departure_step: Float) -> tuple[Int, Int, Float]:
    """Pairs of vehicle and step in which it is there for some part of the step, vehicle by vehicle.

    Returns
    -------
    vehicle, step : ndarray of int, shape (pair,)
    share : ndarray, shape (pair,)
        Part of the step, above 0 and up to 1.
    """
    first, last = np.floor(arrival_step + _TOUCH).astype(np.int64), np.ceil(departure_step - _TOUCH).astype(np.int64)
    count = np.maximum(last - first, 0)
    vehicle = np.repeat(np.arange(len(count)), count)
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[vehicle]
    share = np.minimum(step + 1.0, departure_step[vehicle]) - np.maximum(step, arrival_step[vehicle])
    there = share > _TOUCH
    return vehicle[there], step[there], np.minimum(share[there], 1.0)
