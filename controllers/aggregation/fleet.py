"""A fleet of individual cars: what each may do in every step, checked, and each car as a ``Store``."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np

from cosim.contract import Float
from cosim.controllers.aggregation.envelope import reachable
from cosim.controllers.aggregation.store import BOUNDS, PAIRS, Bounds, Store
from cosim.errors import Fault, refuse

WHERE = "fleet"
PER_STEP = (*BOUNDS, "driving_kwh")
PER_CAR = ("charge_efficiency", "discharge_efficiency")


class Fleet(Bounds[Float]):
    """Cars over one horizon, arrays (step, car); each closes with the level it started with."""

    @property
    def cars(self) -> int:
        """Number of cars."""
        return len(self.charge_efficiency)

    def store(self, car: int) -> Store:
        """One car."""
        bounds: dict[str, Any] = {name: getattr(self, name)[:, car] for name in PER_STEP}
        efficiency: dict[str, Any] = {name: float(getattr(self, name)[car]) for name in PER_CAR}
        return Store(**bounds, **efficiency, self_discharge=self.self_discharge, step_h=self.step_h)

    def only(self, cars: np.ndarray) -> Fleet:
        """Some of the cars."""
        bounds = {name: getattr(self, name)[:, cars] for name in PER_STEP}
        return replace(self, **bounds, **{name: getattr(self, name)[cars] for name in PER_CAR})


def checked_fleet(fleet: Fleet) -> Fleet:
    """Return the fleet where its numbers make sense.

    Raises
    ------
    InputError
        Shapes that differ, numbers that are not finite or negative, crossed bounds, efficiencies and losses out of
        range, needs that cannot be met; all kinds at once.
    """
    refuse(_shape_faults(fleet) or _value_faults(fleet) or _need_faults(fleet))
    return fleet


def _shape_faults(fleet: Fleet) -> list[Fault]:
    shape = np.shape(fleet.driving_kwh)
    if len(shape) != 2 or 0 in shape:
        remedy = "give (step, car) with at least one of each"
        return [Fault(WHERE, "driving_kwh", f"has shape {shape}", remedy)]
    wanted = {**dict.fromkeys(PER_STEP, shape), **dict.fromkeys(PER_CAR, shape[1:])}
    found = {name: np.shape(getattr(fleet, name)) for name in wanted}
    return [
        Fault(WHERE, name, f"has shape {found[name]} instead of {expected}", "give every array for all steps and cars")
        for name, expected in wanted.items()
        if found[name] != expected
    ]


def _value_faults(fleet: Fleet) -> list[Fault]:
    faults = []
    for spec in fields(fleet):
        values = np.asarray(getattr(fleet, spec.name))
        if not np.isfinite(values).all():
            faults.append(Fault(WHERE, spec.name, "holds values that are not finite", "give finite numbers"))
        elif (values < 0.0).any():
            faults.append(Fault(WHERE, spec.name, f"goes down to {values.min():g}", "give 0 or more"))
    faults += [
        Fault(WHERE, name, "is not in (0, 1] for every car", "0.9 is usual")
        for name in PER_CAR
        if not ((getattr(fleet, name) > 0.0) & (getattr(fleet, name) <= 1.0)).all()
    ]
    if not 0.0 <= fleet.self_discharge < 0.1:
        faults.append(Fault(WHERE, "self_discharge", f"is {fleet.self_discharge}", "give a share per step below 0.1"))
    if not fleet.step_h > 0.0:
        faults.append(Fault(WHERE, "step_h", f"is {fleet.step_h}", "give hours above 0"))
    for low, high in PAIRS:
        crossed = np.argwhere(getattr(fleet, low) > getattr(fleet, high) + 1e-9)
        if len(crossed):
            step, car = crossed[0]
            faults.append(Fault(WHERE, low, f"is above {high} for car {car} at step {step}", "uncross the bounds"))
    return faults


def _need_faults(fleet: Fleet) -> list[Fault]:
    """Cars that cannot drive as they should, whatever the charging."""
    low, high = reachable(fleet)
    short_kwh = (low - high).max(axis=0)
    return [
        Fault(
            WHERE, f"car {car}", f"cannot meet its driving: {short_kwh[car]:.2f} kWh short at the worst step",
            "plug it in for longer, charge faster, or drive less",
        )
        for car in np.flatnonzero(short_kwh > 1e-6)[:20]
    ]  # fmt: skip
