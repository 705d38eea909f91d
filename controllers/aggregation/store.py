"""A battery, real or virtual: one car, or a fleet taken as one storage, with bounds per step and what driving takes.

Every model of this package is a ``Store``: a reference car, the simple sum, the envelope, the factored aggregate. One
linear programme schedules them all; what differs between models is only where their bounds come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

import numpy as np

from cosim.contract import Float
from cosim.contract.survey import FrozenArrays
from cosim.errors import Fault, InputError

BOUNDS = ("charge_low_kw", "charge_high_kw", "discharge_low_kw", "discharge_high_kw", "level_low_kwh", "level_high_kwh")
"""The six families of bounds, in the order that factors use."""
PAIRS = (("charge_low_kw", "charge_high_kw"), ("discharge_low_kw", "discharge_high_kw"),
         ("level_low_kwh", "level_high_kwh"))  # fmt: skip


Efficiency = TypeVar("Efficiency", float, Float)


@dataclass(frozen=True, eq=False)
class Bounds(FrozenArrays, Generic[Efficiency]):
    """Bounds of one battery or of many over a horizon that closes: the level at the end is that at the start.

    Attributes
    ----------
    charge_low_kw, charge_high_kw : ndarray, shape (step,) or (step, car)
        Charging, on the grid side; 0 where nothing is plugged in [kW].
    discharge_low_kw, discharge_high_kw : ndarray, shape (step,) or (step, car)
        Feeding back, on the grid side; 0 without that ability [kW].
    level_low_kwh, level_high_kwh : ndarray, shape (step,) or (step, car)
        Content at the end of each step [kWh].
    driving_kwh : ndarray, shape (step,) or (step, car)
        What driving and heating take from the battery in each step [kWh].
    charge_efficiency, discharge_efficiency : float, or ndarray of shape (car,)
        Into and out of the battery.
    self_discharge : float
        Share of the content lost in a step.
    step_h : float
        Length of a step [h].
    """

    charge_low_kw: Float
    charge_high_kw: Float
    discharge_low_kw: Float
    discharge_high_kw: Float
    level_low_kwh: Float
    level_high_kwh: Float
    driving_kwh: Float
    charge_efficiency: Efficiency
    discharge_efficiency: Efficiency
    self_discharge: float = 0.0
    step_h: float = 1.0

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.driving_kwh)

    @property
    def keep(self) -> float:
        """Share of the content that a step leaves."""
        return 1.0 - self.self_discharge

    @property
    def into(self) -> Efficiency:
        """What a kilowatt of charging adds to the battery in a step [kWh/kW]."""
        return self.step_h * self.charge_efficiency

    @property
    def out(self) -> Efficiency:
        """What a kilowatt of feeding back takes from the battery in a step [kWh/kW]."""
        return self.step_h / self.discharge_efficiency


class Store(Bounds[float]):
    """One battery, arrays (step,)."""


@dataclass(frozen=True, eq=False)
class Schedule(FrozenArrays):
    """What a battery does.

    Attributes
    ----------
    charge_kw, discharge_kw : ndarray, shape (step,)
        On the grid side [kW].
    level_kwh : ndarray, shape (step,)
        At the end of each step [kWh].
    missing_kwh : ndarray, shape (step,)
        Energy that the balance lacks (+) or cannot hold (-): zero wherever the bounds can be kept [kWh].
    """

    charge_kw: Float
    discharge_kw: Float
    level_kwh: Float
    missing_kwh: Float

    def cost_eur(self, price_eur_per_kwh: Float, step_h: float = 1.0) -> float:
        """What is paid for charging, less what feeding back earns [EUR]."""
        return float(price_eur_per_kwh @ (self.charge_kw - self.discharge_kw) * step_h)


def total(schedules: Sequence[Schedule]) -> Schedule:
    """Add up schedules of equal length."""
    return Schedule(*(np.sum([getattr(one, spec.name) for one in schedules], axis=0) for spec in fields(Schedule)))


def checked_price(price_eur_per_kwh: Float, steps: int) -> Float:
    """Return prices as an array; InputError where they are not one finite number for each step."""
    price = np.asarray(price_eur_per_kwh, dtype=np.float64)
    if price.shape != (steps,):
        problem = f"have shape {price.shape} for {steps} steps"
        raise InputError(Fault("prices", "price_eur_per_kwh", problem, "give one price for every step"))
    bad = np.flatnonzero(~np.isfinite(price))
    if len(bad):
        problem = f"{len(bad)} of {steps} are not numbers, the first at step {bad[0]}"
        raise InputError(Fault("prices", "price_eur_per_kwh", problem, "give finite prices in EUR/kWh"))
    return price
