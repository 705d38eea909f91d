"""Equal sharing: the level at which everybody gets the same."""

from __future__ import annotations

import numpy as np

from cosim.contract import Float

SHY = 1.0 - 1e-6  # floors stay this much below the level, so that rounding cannot make them unattainable


def water_level(wanted_kw: Float, available_kw: float) -> float:
    """Return the level l with ``Σ min(wanted, l) = available``; inf where everybody gets what is wanted.

    Parameters
    ----------
    wanted_kw : ndarray, shape (n,)
        What each would take [kW].
    available_kw : float
        What there is [kW].
    """
    if wanted_kw.sum() <= available_kw:
        return float("inf")
    rising = np.sort(wanted_kw)
    below = np.concatenate([[0.0], np.cumsum(rising)[:-1]])
    # level i: the i smallest get all they want, the others what is left in equal parts
    level = (available_kw - below) / np.arange(len(rising), 0, -1)
    # the first one that those who share it do not exceed in their wants: the others are indeed satisfied below it
    return float(level[np.argmax(level <= rising)])


def levels(wanted_kw: Float, share: Float, available_kw: Float) -> Float:
    """Return what equal sharing leaves to each: the lowest level among the phases it uses, shape (n,) [kW].

    Parameters
    ----------
    wanted_kw : ndarray, shape (n,)
        What each would take [kW].
    share : ndarray, shape (n, phase)
        On which phases.
    available_kw : ndarray, shape (phase,)
        What there is [kW].
    """
    level = np.full(len(wanted_kw), np.inf)
    for phase, available in enumerate(available_kw):
        part = share[:, phase]
        on = part > 0
        level[on] = np.minimum(level[on], water_level((part * wanted_kw)[on], float(available)) / part[on])
    return level
