"""How evenly service is spread over homes.

Conventions where there is nothing to share, so that every figure stays a number: nobody, or everybody with nothing,
is *equal* (Jain 1); without any car nobody was served short (100 %).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from cosim.errors import Fault, InputError
from cosim.measures._arrays import Float, ratio

_SMALL_KW = 1e-6


def jain(x: ArrayLike) -> float:
    r"""Jain's index of fairness, :math:`(\sum x)^2 / (n \sum x^2)`.

    Parameters
    ----------
    x : array_like
        What each one gets, not negative; nan entries take no part. [any unit]

    Returns
    -------
    float
        1/n (one has all) to 1 (all equal); 1 when nobody takes part or nobody gets anything.

    Raises
    ------
    InputError
        A negative entry.

    References
    ----------
    .. [1] R. Jain, D. Chiu, W. Hawe, "A quantitative measure of fairness and discrimination for resource allocation
           in shared computer systems", DEC TR-301 (1984), arXiv:cs/9809099.
    """
    share = np.asarray(x, dtype=float).ravel()
    share = share[~np.isnan(share)]
    if (share < 0).any():
        raise InputError(Fault("jain", "x", f"{share.min()} is negative", "pass amounts of zero or more"))
    if share.size == 0 or share.max() == 0:
        return 1.0
    share = share / share.max()  # the squares of very small or large entries would leave the range of a float
    index = float(share.sum() ** 2 / (share.size * np.square(share).sum()))
    return min(index, 1.0)  # rounding must not make anybody more than equal


def served_share(delivered_kwh: ArrayLike, wanted_kwh: ArrayLike) -> Float:
    """Share of the wanted energy that each customer got, at most 1.

    Parameters
    ----------
    delivered_kwh, wanted_kwh : array_like, shape (customer,)
        Energy in the battery by departure, and energy wanted there. [kWh]

    Returns
    -------
    ndarray, shape (customer,)
        [unitless]; nan for who wanted nothing: neither served nor left short, and left out of the figures below.
    """
    return np.asarray(np.minimum(ratio(delivered_kwh, wanted_kwh), 1.0))


def ev_served_min_percent(delivered_kwh: ArrayLike, wanted_kwh: ArrayLike) -> float:
    """Share of the wanted energy that the worst-served customer got.

    Parameters
    ----------
    delivered_kwh, wanted_kwh : array_like, shape (customer,)
        Energy in the battery by departure, and energy wanted there. [kWh]

    Returns
    -------
    float
        [%]; 100 where nobody wanted anything.
    """
    return float(np.fmin.reduce(100 * served_share(delivered_kwh, wanted_kwh), axis=None, initial=100.0))


def gini(x: ArrayLike) -> float:
    r"""Gini coefficient, :math:`\sum_{ij} |x_i - x_j| / (2 n \sum x)`.

    Parameters
    ----------
    x : array_like
        What each one gets or bears, not negative; nan entries take no part. [any unit]

    Returns
    -------
    float
        0 (all equal, or nobody has anything) to 1 - 1/n (one has all).

    References
    ----------
    .. [1] C. Gini, "Measurement of inequality of incomes", The Economic Journal 31 (1921) 124-126.
    """
    share = np.sort(np.asarray(x, dtype=float).ravel())
    share = share[~np.isnan(share)]
    if share.size == 0 or share.sum() <= 0.0:
        return 0.0
    rank = 2.0 * np.arange(1, share.size + 1) - share.size - 1.0
    return float((rank * share).sum() / (share.size * share.sum()))


def hours_below(allowed_kw: ArrayLike, floor_kw: ArrayLike, plugged: ArrayLike, step_min: float) -> Float:
    """Time for which each plugged-in car may draw less than a floor.

    Parameters
    ----------
    allowed_kw : array_like, shape (step, customer)
        What the car may draw; inf: all it likes. [kW]
    floor_kw : array_like, broadcast against (step, customer)
        Power that should be left to it. [kW]
    plugged : array_like, shape (step, customer)
        Share of the step for which a car is there. [unitless]
    step_min : float
        Length of a step. [min]

    Returns
    -------
    ndarray, shape (customer,)
        [h]
    """
    below = np.asarray(allowed_kw, dtype=float) < np.asarray(floor_kw, dtype=float) - _SMALL_KW
    return np.asarray((below * np.asarray(plugged, dtype=float)).sum(axis=0) * step_min / 60.0)
