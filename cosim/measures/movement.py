"""How often cars start, and how fast power changes: what control may do to chargers and to the net."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cosim.contract import EvSessions, Int
from cosim.measures._arrays import Float

CHARGING_KW = 0.05
"""A car that draws more than this charges."""


def charging_starts(ev_kw: ArrayLike, sessions: EvSessions, step_min: float) -> Int:
    """How often charging begins in every stay of a car: 1 where it is never interrupted.

    Parameters
    ----------
    ev_kw : array_like, shape (step, customer)
        Charging, mean of each step. [kW]
    sessions : EvSessions
        The stays; each has the steps between its arrival and departure, rounded to steps and at least one.
    step_min : float
        Length of a step. [min]

    Returns
    -------
    ndarray of int, shape (session,)
        Steps with charging after one without, or after the arrival.
    """
    charges = np.asarray(ev_kw) > CHARGING_KW
    steps, customer = len(charges), sessions.customer
    begins = np.diff(charges, axis=0, prepend=False) & charges
    before = np.concatenate([np.zeros_like(begins[:1], dtype=int), np.cumsum(begins, axis=0)])
    first = np.rint(sessions.arrival_min / step_min).astype(int).clip(0, steps - 1)
    last = np.maximum(np.rint(sessions.departure_min / step_min).astype(int).clip(0, steps), first + 1)
    # charging since before the arrival is another stay's
    taken_over = charges[first, customer] & ~begins[first, customer]
    return np.asarray(before[last, customer] - before[first, customer] + taken_over)


def ramp_max_kw(power_kw: ArrayLike) -> float:
    """Largest change of a sum of powers from one step to the next.

    Parameters
    ----------
    power_kw : array_like, shape (step, customer)
        [kW]

    Returns
    -------
    float
        [kW], up or down; 0 of a single step.
    """
    total_kw: Float = np.asarray(power_kw, dtype=float).sum(axis=1)
    return float(np.abs(np.diff(total_kw)).max(initial=0.0))
