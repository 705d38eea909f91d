"""Plans of households, one column each: what every slot is to them, what they draw, and what is withheld."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.caps.part import NEARLY_KW, SMALLEST_KW, Part, Plan

States = np.ndarray[tuple[Any, ...], np.dtype[np.int8]]

IDLE, FULL, CAPPED, LAST = 0, 1, 2, 3
"""What a slot is to a plan: not used or after the last, used in full, throttled or shut, the one that finishes."""


@dataclass(frozen=True, eq=False)
class Plans:
    """One plan for each of several cars; columns are cars, rows slots in merit order.

    Attributes
    ----------
    cars : ndarray of int, shape (car,)
        Columns of the piece.
    state : ndarray of int8, shape (slot, car)
        ``IDLE``, ``FULL``, ``CAPPED`` or ``LAST``.
    charge_kw : ndarray, shape (slot, car)
        Power drawn [kW].
    withheld_kwh : ndarray, shape (car,)
        Energy withheld [kWh].
    """

    cars: Int
    state: States
    charge_kw: Float
    withheld_kwh: Float


def plans_of(part: Part, cars: Int, state: States, charge_kw: Float) -> Plans:
    """Return plans with what they withhold."""
    held = np.where(state == CAPPED, part.room_kw[:, cars] - charge_kw, 0.0)
    return Plans(cars, state, charge_kw, part.slot_h * held.sum(axis=0))


def chosen(plans: Plans, rows: Int) -> Plans:
    """Return some of the plans."""
    return Plans(plans.cars[rows], plans.state[:, rows], plans.charge_kw[:, rows], plans.withheld_kwh[rows])


def plans_from(part: Part, plan: Plan) -> Plans:
    """Return the plan of a piece as structures; what it withholds in last slots is given back."""
    drawing = plan.charge_kw > NEARLY_KW
    last = part.slots - 1 - drawing[::-1].argmax(axis=0)
    before = (np.arange(part.slots)[:, None] < last) & (part.usable_kw > SMALLEST_KW)
    full = plan.charge_kw >= part.usable_kw - NEARLY_KW
    state = np.where(before, np.where(full, FULL, CAPPED), IDLE).astype(np.int8)
    state[last, np.arange(len(last))] = LAST
    return plans_of(part, np.arange(len(part.cars)), state, plan.charge_kw)


@dataclass(frozen=True, eq=False)
class Surcharge:
    """What the states of slots cost apart from load, whatever the sign; all shape (slot, car) [kWh].

    Attributes
    ----------
    full, capped, last : ndarray, shape (slot, car)
        Of a slot used in full, throttled or shut, and of the one that finishes.
    """

    full: Float
    capped: Float
    last: Float

    def at(self, where: tuple[Int, ...]) -> Surcharge:
        """Return that of some slots and cars."""
        return Surcharge(self.full[where], self.capped[where], self.last[where])

    def of(self, plans: Plans) -> Float:
        """Return what each plan pays, shape (plan,)."""
        paid: Float = np.select(
            [plans.state == FULL, plans.state == CAPPED, plans.state == LAST],
            [self.full[:, plans.cars], self.capped[:, plans.cars], self.last[:, plans.cars]],
        ).sum(axis=0)
        return paid
