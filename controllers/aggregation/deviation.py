"""How far an aggregate's schedule is from what the cars did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.aggregation.store import BOUNDS, Schedule, Store


@dataclass(frozen=True, eq=False)
class Case:
    """A week to learn from, or to be judged by.

    Attributes
    ----------
    store : Store
        Unscaled aggregate.
    price_eur_per_kwh : ndarray, shape (step,)
        Prices.
    target : Schedule
        What the cars did on these prices, added up.
    first_h : float
        Hours from Monday 00:00 to the first step [h].
    """

    store: Store
    price_eur_per_kwh: Float
    target: Schedule
    first_h: float = 0.0


@dataclass(frozen=True)
class Weights:
    """Of deviations in charging [kW], discharging [kW] and level [kWh], which is a much larger number."""

    charge: float = 1.0
    discharge: float = 1.0
    level: float = 0.002


def parts(target: Schedule, mine: Schedule, weights: Weights) -> tuple[tuple[float, Float], ...]:
    """Weight and deviation of charging, discharging and level, shape (step,) each."""
    return (
        (weights.charge, mine.charge_kw - target.charge_kw),
        (weights.discharge, mine.discharge_kw - target.discharge_kw),
        (weights.level, mine.level_kwh - target.level_kwh),
    )


def deviation(target: Schedule, mine: Schedule, weights: Weights) -> float:
    """Weighted mean squared deviation of one week: the outer objective."""
    return float(sum(weight * np.mean(off**2) for weight, off in parts(target, mine, weights)))


def free_families(stores: Sequence[Store]) -> Int:
    """Families of bounds that a factor can move: those that are not zero throughout."""
    return np.array(
        [k for k, name in enumerate(BOUNDS) if any(getattr(store, name).any() for store in stores)], np.int64
    )
