"""A fleet of individual cars: what each may do in every step, checked, and each car as a ``Store``."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from cosim.contract import Float
from cosim.contract.place import FrozenArrays
from cosim.controllers.aggregation.envelope import reachable
from cosim.controllers.aggregation.store import BOUNDS, PAIRS, Store
from cosim.errors import Fault, InputError

PER_STEP = (*BOUNDS, "driving_kwh")
PER_CAR = ("charge_efficiency", "discharge_efficiency")


@dataclass(frozen=True, eq=False)
class Fleet(FrozenArrays):
    """Cars over one horizon, each closing with the level it started with.

    Attributes
    ----------
    charge_low_kw, charge_high_kw, discharge_low_kw, discharge_high_kw : ndarray, shape (step, car)
        Bounds of power on the grid side; 0 while a car is away. Discharge high of 0: no feeding back [kW].
    level_low_kwh, level_high_kwh : ndarray, shape (step, car)
        Bounds of the battery's content at the end of each step [kWh].
    driving_kwh : ndarray, shape (step, car)
        Taken from the battery by driving and heating in each step [kWh].
    charge_efficiency, discharge_efficiency : ndarray, shape (car,)
        Into and out of each battery.
    self_discharge : float
        Share of the content lost in a step, of every car.
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
    charge_efficiency: Float
    discharge_efficiency: Float
    self_discharge: float = 0.0
    step_h: float = 1.0

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.driving_kwh)

    @property
    def cars(self) -> int:
        """Number of cars."""
        return len(self.charge_efficiency)

    @property
    def keep(self) -> float:
        """Share of the content that a step leaves."""
        return 1.0 - self.self_discharge

    def store(self, car: int) -> Store:
        """One car."""
        bounds: dict[str, Any] = {name: getattr(self, name)[:, car] for name in PER_STEP}
        efficiency: dict[str, Any] = {name: float(getattr(self, name)[car]) for name in PER_CAR}
        return Store(**bounds, **efficiency, self_discharge=self.self_discharge, step_h=self.step_h)

    def only(self, cars: np.ndarray) -> Fleet:
        """Some of the cars."""
        bounds = {name: getattr(self, name)[:, cars] for name in PER_STEP}
        return replace(self, **bounds, **{name: getattr(self, name)[cars] for name in PER_CAR})


def checked_fleet(fleet: Fleet, where: str = "fleet") -> Fleet:
    """Return the fleet where its numbers make sense.

    Raises
    ------
    InputError
        Shapes that differ, numbers that are not finite or negative, crossed bounds, efficiencies and losses out of
        range, needs that cannot be met; all kinds at once.
    """
    faults = _shape_faults(fleet, where)
    if not faults:
        faults = _value_faults(fleet, where)
    if faults:
        raise InputError(faults)
    return fleet


def _shape_faults(fleet: Fleet, where: str) -> list[Fault]:
    shape = np.shape(fleet.driving_kwh)
    if len(shape) != 2 or 0 in shape:
        remedy = "give (step, car) with at least one of each"
        return [Fault(where, "driving_kwh", f"has shape {shape}", remedy)]
    wanted = {**dict.fromkeys(PER_STEP, shape), **dict.fromkeys(PER_CAR, shape[1:])}
    found = {name: np.shape(getattr(fleet, name)) for name in wanted}
    return [
        Fault(where, name, f"has shape {found[name]} instead of {expected}", "give every array for all steps and cars")
        for name, expected in wanted.items()
        if found[name] != expected
    ]


def _value_faults(fleet: Fleet, where: str) -> list[Fault]:
    faults = []
    for spec in fields(fleet):
        values = np.asarray(getattr(fleet, spec.name))
        if not np.isfinite(values).all():
            faults.append(Fault(where, spec.name, "holds values that are not finite", "give finite numbers"))
        elif (values < 0.0).any():
            faults.append(Fault(where, spec.name, f"goes down to {values.min():g}", "give 0 or more"))
    faults += [
        Fault(where, name, "is not in (0, 1] for every car", "0.9 is usual")
        for name in PER_CAR
        if not ((getattr(fleet, name) > 0.0) & (getattr(fleet, name) <= 1.0)).all()
    ]
    if not 0.0 <= fleet.self_discharge < 0.1:
        faults.append(Fault(where, "self_discharge", f"is {fleet.self_discharge}", "give a share per step below 0.1"))
    if not fleet.step_h > 0.0:
        faults.append(Fault(where, "step_h", f"is {fleet.step_h}", "give hours above 0"))
    for low, high in PAIRS:
        crossed = np.argwhere(getattr(fleet, low) > getattr(fleet, high) + 1e-9)
        if len(crossed):
            step, car = crossed[0]
            faults.append(Fault(where, low, f"is above {high} for car {car} at step {step}", "uncross the bounds"))
    return faults or _need_faults(fleet, where)


def _need_faults(fleet: Fleet, where: str) -> list[Fault]:
    """Cars that cannot drive as they should, whatever the charging."""
    low, high = reachable(fleet)
    short_kwh = (low - high).max(axis=0)
    return [
        Fault(
            where, f"car {car}", f"cannot meet its driving: {short_kwh[car]:.2f} kWh short at the worst step",
            "plug it in for longer, charge faster, or drive less",
        )
        for car in np.flatnonzero(short_kwh > 1e-6)[:20]
    ]  # fmt: skip
