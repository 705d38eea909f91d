"""From a forecast to the data of the caps problem: slots, stays, net load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cosim.contract import Complex, EvSessions, Exogenous, Float, Int
from cosim.errors import Fault, refuse

SLOT_MIN = 30.0
NEAR_MINUTES = 1e-6


@dataclass(frozen=True, eq=False)
class Background:
    """What flows before any car charges, per slot.

    Attributes
    ----------
    p_kw, q_kvar : ndarray, shape (slot, customer)
        Net load without cars.
    source_pu : ndarray, shape (slot,)
        Source voltage; nan: as in the feeder's file.
    others_kva : ndarray of complex, shape (slot, source), or None
        What the file's own sources feed in.
    """

    p_kw: Float
    q_kvar: Float
    source_pu: Float
    others_kva: Complex | None = None

    def at(self, slots: Int | slice) -> Background:
        """Some of the slots, as often as they are named."""
        others_kva = None if self.others_kva is None else self.others_kva[slots]
        return Background(self.p_kw[slots], self.q_kvar[slots], self.source_pu[slots], others_kva)


def slot_faults(day: Exogenous, slot_min: float, where: str) -> list[Fault]:
    """Return the fault of a length of slots that is asked for and not of whole steps; the default is rounded up."""
    steps = max(round(slot_min / day.step_min), 1)
    if slot_min == SLOT_MIN or abs(steps * day.step_min - slot_min) < NEAR_MINUTES:
        return []
    text = f"is {slot_min:g} min, which are no whole steps of {day.step_min:g} min"
    return [Fault(where, "slot_min", text, f"write slot_min = {steps * day.step_min:g}")]


def steps_per_slot(expected: Exogenous, slot_min: float, where: str) -> int:
    """Return how many steps make a slot: the fewest that last at least ``slot_min`` and divide the horizon."""
    refuse(slot_faults(expected, slot_min, where))
    fewest = max(int(np.ceil(slot_min / expected.step_min - 1e-9)), 1)
    return next((n for n in range(fewest, expected.steps) if expected.steps % n == 0), expected.steps)


def background_of(day: Exogenous) -> Background:
    """Return the net load without cars of a day, on its own steps."""
    return Background(day.inflexible_kw, day.demand_kvar, day.source_pu, day.others_kva)


def excess_within_slots(step_kw: Float, steps: int) -> Float:
    """Return by how much the highest step of each slot exceeds its mean.

    Parameters
    ----------
    step_kw : ndarray, shape (step, phase)
        Load [kW].
    steps : int
        Steps of a slot.

    Returns
    -------
    ndarray, shape (slot, phase)
        At least 0 [kW].
    """
    grouped = step_kw.reshape(-1, steps, step_kw.shape[1])
    excess: Float = grouped.max(axis=1) - grouped.mean(axis=1)
    return excess


def in_slots(sessions: EvSessions, slots: int, slot_min: float) -> dict[str, Any]:
    """Lay sessions on slots: fields of the caps problems that are of a car, and its ``plugged`` share of every slot.

    A slot that two cars of one home share belongs to the one that is there longer.
    """
    plugged = sessions.share_of_steps(slots, slot_min)
    for home in np.unique(sessions.customer):
        columns = np.flatnonzero(sessions.customer == home)
        longest = columns[plugged[:, columns].argmax(axis=1)]
        others = columns[None, :] != longest[:, None]
        plugged[:, columns] = np.where(others, 0.0, plugged[:, columns])
    return {
        "home": sessions.customer,
        "plugged": plugged,
        "charger_kw": sessions.charger_kw,
        "efficiency": sessions.efficiency,
    }
