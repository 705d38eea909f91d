"""Objectives to choose from, each a function of a batch of evaluated candidates. All are minimised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from controllers.pareto.outlook import Outlook
from cosim.contract import Complex, Float
from cosim.measures import unbalance_current_a2


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A batch of candidates and what the predictor says about them.

    Attributes
    ----------
    outlook : Outlook
        What is known of the period.
    ev_kw, pv_kw : ndarray, shape (candidate, customer)
        Mean charging and generation in the period.
    current_a : ndarray of complex, shape (candidate, branch, 3)
        Currents of the monitored branches in the period.
    rest_current_a : ndarray of complex, shape (candidate, branch, 3)
        The same for the mean of the rest of the cars' window, when they draw what the period leaves undone.
    """

    outlook: Outlook
    ev_kw: Float
    pv_kw: Float
    current_a: Complex
    rest_current_a: Complex

    def over_window(self, now: Float, rest: Float) -> Float:
        """Mean over period and rest, weighted with their lengths."""
        period_h, rest_h = self.outlook.period_h, self.outlook.rest_h
        return np.asarray((period_h * now + rest_h * rest) / (period_h + rest_h))


def unbalance_current(batch: Evaluated) -> Float:
    """Squared negative- and zero-sequence current, summed over the monitored branches, shape (candidate,) [A²].

    Where cars wait, the mean over the period and the rest of their window: what is not charged now is charged then, so
    an objective that saw the period alone would push all unbalance into the last hours. Two operating points are
    enough for that, because the square makes an even spread the best.
    """
    now = unbalance_current_a2(batch.current_a).sum(axis=1)
    rest = unbalance_current_a2(batch.rest_current_a).sum(axis=1)
    return batch.over_window(now, rest)


def pv_curtailment(batch: Evaluated) -> Float:
    """Squared curtailed power, summed over the roofs, shape (candidate,) [kW²]: many small cuts before one large."""
    return np.asarray(((batch.outlook.sun_kw - batch.pv_kw) ** 2).sum(axis=1))


Objective = Callable[[Evaluated], Float]

OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {"unbalance_current": unbalance_current, "pv_curtailment": pv_curtailment}
)
"""Objective by name."""
