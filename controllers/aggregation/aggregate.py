"""A fleet as one battery: the simple sum, the envelope, and either of them with factors on its bounds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.survey import FrozenArrays
from cosim.controllers.aggregation.envelope import reachable
from cosim.controllers.aggregation.fleet import PER_STEP, Fleet
from cosim.controllers.aggregation.store import BOUNDS, PAIRS, Store
from cosim.errors import Fault, InputError

WEEK_H = 168
MAPS_H = (168, 24, 12, 8, 6, 4, 3, 2, 1)
"""Hours of a week that share a factor; 168 is one factor per family, 1 is hourly by weekday."""
Base = Literal["sum", "envelope"]


def simple_sum(fleet: Fleet) -> Store:
    """Every bound is the sum of the cars' bounds; efficiencies are means weighted with what flows through them.

    Cheaper than the cars together, since energy in one battery may drive another car (a relaxation where all cars
    share one efficiency).
    """
    bounds = {name: getattr(fleet, name).sum(axis=1) for name in PER_STEP}
    driven = fleet.driving_kwh.sum(axis=0) + 1e-9
    charge = float(driven.sum() / (driven / fleet.charge_efficiency).sum())
    discharge = float((driven * fleet.discharge_efficiency).sum() / driven.sum())
    return Store(**bounds, charge_efficiency=charge, discharge_efficiency=discharge,
                 self_discharge=fleet.self_discharge, step_h=fleet.step_h)  # fmt: skip


def envelope(fleet: Fleet) -> Store:
    """As the simple sum, but with the levels that single cars can really reach: a virtual storage."""
    low, high = reachable(fleet)
    return replace(simple_sum(fleet), level_low_kwh=low.sum(axis=1), level_high_kwh=high.sum(axis=1))


def aggregate(fleet: Fleet, base: Base) -> Store:
    """Build the aggregate that factors then scale."""
    return simple_sum(fleet) if base == "sum" else envelope(fleet)


def block_of_step(steps: int, step_h: float, block_h: int, first_h: float = 0.0) -> Int:
    """Map tau: the block of the week that each step belongs to, shape (step,).

    Blocks are counted from Monday 00:00: ``tau_n(t) = weekday(t) 24/n + floor(hour(t)/n)``; a block of 168 hours is
    the whole week.

    Parameters
    ----------
    steps : int
        Length of the horizon.
    step_h : float
        Length of a step [h].
    block_h : int
        Hours that share a factor, one of ``MAPS_H``.
    first_h : float
        Hours from Monday 00:00 to the first step [h].

    Raises
    ------
    InputError
        Where the block does not divide a day.
    """
    if block_h not in MAPS_H:
        raise InputError(Fault("factors", "block_h", f"is {block_h}", f"choose among {', '.join(map(str, MAPS_H))}"))
    hour = np.floor(first_h + np.arange(steps) * step_h + 1e-9).astype(np.int64) % WEEK_H
    return np.asarray(hour // block_h)


@dataclass(frozen=True, eq=False)
class Factors(FrozenArrays):
    """Scaling factors of all six families.

    Attributes
    ----------
    value : ndarray, shape (6, block)
        In the order of ``BOUNDS``.
    block_h : int
        Hours that share a factor.
    """

    value: Float
    block_h: int

    @classmethod
    def ones(cls, block_h: int) -> Factors:
        """No scaling."""
        return cls(np.ones((len(BOUNDS), WEEK_H // block_h)), block_h)

    def on(self, block_h: int) -> Factors:
        """The same factors on another map: exact where that is finer and nested, else means over its blocks."""
        hourly = np.repeat(self.value, self.block_h, axis=1)
        return Factors(hourly.reshape(len(BOUNDS), -1, block_h).mean(axis=2), block_h)


def scaled(store: Store, factors: Factors, tau: Int) -> Store:
    """Multiply every bound by its factor."""
    per_step = factors.value[:, tau]
    changed = {name: getattr(store, name) * per_step[row] for row, name in enumerate(BOUNDS)}
    return replace(store, **changed)


def applied(store: Store, factors: Factors, tau: Int) -> Store:
    """As ``scaled``, for weeks that the factors were not fitted to: bounds that would cross stay as they were."""
    with_factors = scaled(store, factors, tau)
    changed: dict[str, Any] = {}
    for low, high in PAIRS:
        crossed = getattr(with_factors, low) > getattr(with_factors, high)
        changed |= {name: np.where(crossed, getattr(store, name), getattr(with_factors, name)) for name in (low, high)}
    return replace(with_factors, **changed)
