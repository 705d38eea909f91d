"""From a forecast to the data of the caps problem: slots, stays, net load."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from cosim.contract import EvSessions, Exogenous, Feeder, Float, Int
from cosim.controllers.caps.phase_limits import Background

MINIMUM_CURRENT_A = 6.0  # IEC 61851-1: a charger pauses below it
_PER_STEP = ("demand_kw", "demand_kvar", "pv_available_kw", "tariff_eur_per_kwh", "ambient_c", "source_pu")


def steps_per_slot(expected: Exogenous, slot_min: float) -> int:
    """Return how many steps make a slot: the fewest that last at least ``slot_min`` and divide the horizon."""
    fewest = max(int(np.ceil(slot_min / expected.step_min - 1e-9)), 1)
    return next((n for n in range(fewest, expected.steps) if expected.steps % n == 0), expected.steps)


def background_of(day: Exogenous) -> Background:
    """Return the net load without cars of a day, on its own steps."""
    return Background(day.demand_kw - day.pv_available_kw, day.demand_kvar, day.source_pu)


def rest_of(day: Exogenous, step: int, sessions: EvSessions) -> Exogenous:
    """Return what is left of a day from a step on, with sessions in minutes from then."""
    cut = {name: getattr(day, name)[step:] for name in _PER_STEP}
    return replace(day, start=day.start + timedelta(minutes=step * day.step_min), sessions=sessions, **cut)


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


@dataclass(frozen=True, eq=False)
class StaysInSlots:
    """Sessions laid on slots; the fields are those of the caps problem, one column a session."""

    home: Int
    plugged: Float
    charger_kw: Float
    charger_min_kw: Float
    energy_need_kwh: Float
    efficiency: Float


def stays_in_slots(feeder: Feeder, sessions: EvSessions, slots: int, slot_min: float) -> StaysInSlots:
    """Lay sessions on slots; a slot that two cars of one home share belongs to the one that is there longer."""
    edge_min = np.arange(slots + 1)[:, None] * slot_min
    inside = np.minimum(edge_min[1:], sessions.departure_min) - np.maximum(edge_min[:-1], sessions.arrival_min)
    plugged = np.clip(inside / slot_min, 0.0, 1.0)
    for home in np.unique(sessions.customer):
        columns = np.flatnonzero(sessions.customer == home)
        longest = columns[plugged[:, columns].argmax(axis=1)]
        others = columns[None, :] != longest[:, None]
        plugged[:, columns] = np.where(others, 0.0, plugged[:, columns])
    phases = np.array([len(feeder.customer_phases[home]) for home in sessions.customer], dtype=float)
    minimum_kw = MINIMUM_CURRENT_A * phases * feeder.nominal_voltage_v / 1e3
    return StaysInSlots(
        home=sessions.customer,
        plugged=plugged,
        charger_kw=sessions.charger_kw,
        charger_min_kw=np.minimum(minimum_kw, sessions.charger_kw),
        energy_need_kwh=np.minimum(sessions.energy_need_kwh, sessions.battery_kwh - sessions.soc_arrival_kwh),
        efficiency=sessions.efficiency,
    )
