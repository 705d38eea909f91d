"""One independent piece of the bilevel problem: cars that share phases, slots in merit order.

Homes on different phases meet in no limit, so a feeder of single-phase homes falls apart into one piece per phase, and
three small mixed-integer problems are far easier than one large one. Three-phase homes with a car join their phases.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from controllers.caps.problem import CapsProblem
from cosim.contract import Float, Int

LIMIT_SLACK_KW = 1e-6  # kept free so that rounding in a solver cannot break a limit
NEARLY_KW = 1e-7  # solvers return a little less than all
SMALLEST_KW = 1e-6  # a slot in which a car could draw less is no slot


@dataclass(frozen=True, eq=False)
class Part:
    """Data of one piece; rows are slots *from the cheapest to the dearest*, columns its cars.

    Attributes
    ----------
    cars : ndarray of int, shape (car,)
        Columns of the whole problem.
    slot_h : float
        Length of a slot [h].
    order_cost : ndarray, shape (slot,)
        Increasing [EUR/kWh].
    plugged : ndarray of bool, shape (slot, car)
        Whether the car is there.
    usable_kw, room_kw, floor_kw : ndarray, shape (slot, car)
        Most that the car can draw; connection above inflexible load; least room that the cap must leave. Where the
        floor is more than the car can use, it is not held back at all [kW].
    peak_kw : ndarray, shape (slot, car)
        What the car adds to the load that must respect the limits while nothing holds it back: ``usable_kw`` where the
        mean of a slot counts, its full power where the beginning of a slot counts too [kW].
    charger_min_kw : ndarray, shape (car,)
        Least the charger runs at: no cap leaves a room between 0 and this [kW].
    draw_kw : ndarray, shape (car,)
        The energy needed from the grid, as if drawn in a single slot [kW].
    share : ndarray, shape (car, phase)
        Share of the car's power on each phase.
    headroom_kw : ndarray, shape (slot, phase)
        What the cars may draw together [kW].
    counts_peaks : bool
        Whether a car that needs only a part of its last slot counts with all it draws at the slot's beginning.
    """

    cars: Int
    slot_h: float
    order_cost: Float
    plugged: Float
    usable_kw: Float
    room_kw: Float
    floor_kw: Float
    peak_kw: Float
    charger_min_kw: Float
    draw_kw: Float
    share: Float
    headroom_kw: Float
    counts_peaks: bool

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.order_cost)

    def pairs(self) -> list[tuple[int, int]]:
        """Return (car, slot) wherever the car could draw, each car's slots in merit order."""
        return [
            (int(car), int(slot))
            for car in range(len(self.cars))
            for slot in np.flatnonzero(self.usable_kw[:, car] > SMALLEST_KW)
        ]

    def least_room_kw(self, car: int, slot: int) -> float:
        """Least room that a cap which is not shut leaves in that slot [kW]."""
        return max(float(self.floor_kw[slot, car]), float(self.charger_min_kw[car]))

    def may_shut(self, car: int, slot: int) -> bool:
        """Whether the cap may leave no room at all."""
        return float(self.floor_kw[slot, car]) <= 0.0

    def promised_kw(self, slot: int) -> Float:
        """Least that each car gets of what it asks for: its floor, all (inf) where no cap can hold that, or nothing."""
        least = np.maximum(self.floor_kw[slot], self.charger_min_kw)
        held = np.where(least <= self.usable_kw[slot], least, np.inf)
        return np.where(self.floor_kw[slot] > 0.0, held, 0.0)

    def asked_kw(self, slot: int, left_kw: Float) -> Float:
        """What cars with that need left would add to the load in a slot if nothing held them back [kW]."""
        if self.counts_peaks:
            return np.where(left_kw > NEARLY_KW, self.peak_kw[slot], 0.0)
        mean_kw: Float = np.minimum(self.usable_kw[slot], left_kw)
        return mean_kw

    def with_floor(self, floor_kw: Float) -> Part:
        """Return the same piece with other floors."""
        return replace(self, floor_kw=floor_kw)


@dataclass(frozen=True, eq=False)
class Plan:
    """An answer for one piece: the room that caps leave, and what cars are expected to draw, both (slot, car) [kW]."""

    room_kw: Float
    charge_kw: Float

    def withheld_kwh(self, part: Part) -> float:
        """Connection - cap over plugged-in slots [kWh]."""
        return float(part.slot_h * ((part.room_kw - self.room_kw) * part.plugged).sum())


def freed(part: Part, plan: Plan) -> Plan:
    """Lift caps that hold nothing back: a room of all that the car can draw is as good as the whole connection."""
    idle = plan.room_kw >= part.peak_kw - NEARLY_KW
    return Plan(np.where(idle, part.room_kw, plan.room_kw), plan.charge_kw)


def respond(part: Part, room_kw: Float) -> Float:
    """Return what cars draw when caps leave that room: cheapest slots first, shape (slot, car) [kW]."""
    limits = np.minimum(part.usable_kw, room_kw)
    before = np.cumsum(limits, axis=0) - limits
    charge: Float = np.clip(part.draw_kw - before, 0.0, limits)
    return charge


def split(problem: CapsProblem, draw_kwh: Float, headroom_kw: Float, cars: Int, *, counts_peaks: bool) -> list[Part]:
    """Cut the problem into pieces that share no phase.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    draw_kwh : ndarray, shape (car,)
        Energy that each car is to draw from the grid [kWh].
    headroom_kw : ndarray, shape (slot, phase)
        What the cars may draw together [kW].
    cars : ndarray of int
        The cars to plan; others are taken as settled.
    counts_peaks : bool
        Whether the beginning of a slot must respect the limits, not only its mean.

    Returns
    -------
    list of Part
        Without floors.
    """
    order = problem.merit_order
    at_once = np.where(problem.usable_kw > 0, np.minimum(problem.charger_kw, problem.room_kw), 0.0)
    peak = at_once if counts_peaks else problem.usable_kw
    parts = []
    for phases in _joined_phases(problem.car_share[cars]):
        members = cars[problem.car_share[cars][:, phases].sum(axis=1) > 0]
        parts.append(
            Part(
                cars=members,
                slot_h=problem.slot_h,
                order_cost=problem.order_cost[order],
                plugged=problem.is_plugged[order][:, members].astype(float),
                usable_kw=problem.usable_kw[order][:, members],
                room_kw=problem.room_kw[order][:, members],
                floor_kw=np.zeros((problem.slots, len(members))),
                peak_kw=peak[order][:, members],
                charger_min_kw=problem.charger_min_kw[members],
                draw_kw=draw_kwh[members] / problem.slot_h,
                share=problem.car_share[members][:, phases],
                headroom_kw=np.maximum(headroom_kw[order][:, phases] - LIMIT_SLACK_KW, 0.0),
                counts_peaks=counts_peaks,
            )
        )
    return parts


def _joined_phases(share: Float) -> list[Int]:
    """Group phases that some car uses together; phases without a car are left out."""
    groups: list[set[int]] = []
    for row in np.unique(share > 0, axis=0):
        together = set(np.flatnonzero(row).tolist())
        for group in [g for g in groups if g & together]:
            together |= group
            groups.remove(group)
        groups.append(together)
    return [np.array(sorted(group), np.int64) for group in sorted(groups, key=min)]
