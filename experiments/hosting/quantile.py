"""A quantile of few draws, and an interval for it that assumes nothing about their distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binom


class Quantile(NamedTuple):
    """A quantile with its interval.

    Attributes
    ----------
    value : float
        The order statistic that estimates it.
    low, high : float
        Ends of the interval; nan where there are too few draws for an end.
    confidence_percent : float
        How often, at least, such an interval holds the true quantile [%].
    rank : int
        Of the order statistic, from 1; 0 without draws.
    """

    value: float
    low: float
    high: float
    confidence_percent: float
    rank: int


def quantile(values: Sequence[float], percent: float, confidence_percent: float = 95.0) -> Quantile:
    r"""Estimate a quantile from independent draws.

    With :math:`B` binomial of :math:`n` draws and share :math:`p`, the order statistics
    :math:`x_{(r)} \le x_{(s)}` hold the quantile with a probability of at least

    .. math:: P(r \le B < s) = \sum_{k=r}^{s-1} \binom{n}{k} p^k (1 - p)^{n-k}

    exactly so much where no two draws can be equal. :math:`r` is the largest with :math:`P(B < r) \le \alpha/2`,
    :math:`s` the smallest with :math:`P(B \ge s) \le \alpha/2`. Without such an :math:`r` (at 5 % and 95 %: below 72
    draws) the draws say nothing of how low the quantile may be: the interval is open there, and the other end gets all
    of :math:`\alpha`.

    Parameters
    ----------
    values : sequence of float
        The draws.
    percent : float
        Which quantile [%].
    confidence_percent : float
        Of the interval [%].

    Returns
    -------
    Quantile
        Its value is the draw of rank :math:`\lceil n p \rceil`, at least the smallest.

    References
    ----------
    .. [1] H. A. David, H. N. Nagaraja, "Order Statistics", 3rd edition, Wiley 2003, section 7.1,
           doi:10.1002/0471722162.
    .. [2] G. J. Hahn, W. Q. Meeker, "Statistical Intervals", Wiley 1991, section 5.2, doi:10.1002/9780470316771.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    count, share, risk = len(ordered), percent / 100.0, 1.0 - confidence_percent / 100.0
    if not count:
        nothing = float("nan")
        return Quantile(nothing, nothing, nothing, nothing, 0)
    below = binom.cdf(np.arange(count + 1), count, share)  # P(B <= k)
    half = risk / 2.0
    lower = int(np.searchsorted(below, half, side="right"))  # largest r with P(B <= r - 1) <= half
    upper = int(np.searchsorted(below, 1.0 - half)) + 1  # smallest s with P(B <= s - 1) >= 1 - half
    if lower == 0:
        upper = int(np.searchsorted(below, 1.0 - risk)) + 1
    elif upper > count:
        lower = int(np.searchsorted(below, risk, side="right"))
    kept = (below[upper - 1] if upper <= count else 1.0) - (below[lower - 1] if lower else 0.0)
    rank = max(int(np.ceil(count * share - 1e-9)), 1)
    return Quantile(
        float(ordered[rank - 1]),
        float(ordered[lower - 1]) if lower else float("nan"),
        float(ordered[upper - 1]) if upper <= count else float("nan"),
        100.0 * float(kept) if lower or upper <= count else float("nan"),
        rank,
    )
