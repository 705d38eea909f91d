"""One independent piece of the bilevel problem: cars that share phases, slots in merit order.

Homes on different phases meet in no limit, so a feeder of single-phase homes falls apart into one piece per phase, and
three small mixed-integer problems are far easier than one large one. Three-phase homes with a car join their phases.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.caps.merit_order import strict_levels
from cosim.controllers.caps.problem import CapsProblem

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
    tariff_eur_per_kwh : ndarray, shape (slot, car)
        Increasing down each column [EUR/kWh].
    when : ndarray of int, shape (slot, car)
        Slot of the day that a row is to a car.
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
    draw_kw, most_kw : ndarray, shape (car,)
        The energy needed from the grid, and the most that the battery takes, as if drawn in a single slot; they differ
        only where the price lets the car charge beyond its need [kW].
    share : ndarray, shape (car, phase)
        Share of the car's power on each phase.
    headroom_kw : ndarray, shape (slot, phase)
        What the cars may draw together; its rows are those of the cars where all share one merit order, else the slots
        of the day [kW].
    counts_peaks : bool
        Whether a car that needs only a part of its last slot counts with all it draws at the slot's beginning.
    one_order, fills : bool
        Whether all cars share one merit order; whether some car may charge beyond its need.
    home : ndarray of int, shape (car,)
        Home of the car.
    home_slots : ndarray, shape (car,)
        Slots in which any car is plugged in at its home.
    elsewhere_kw : ndarray, shape (car,)
        Room, summed over slots, that caps leave to those cars of its home which are not in this piece [kW].
    """

    cars: Int
    slot_h: float
    tariff_eur_per_kwh: Float
    when: Int
    plugged: Float
    usable_kw: Float
    room_kw: Float
    floor_kw: Float
    peak_kw: Float
    charger_min_kw: Float
    draw_kw: Float
    most_kw: Float
    share: Float
    headroom_kw: Float
    counts_peaks: bool
    one_order: bool
    fills: bool
    home: Int
    home_slots: Float
    elsewhere_kw: Float

    @property
    def slots(self) -> int:
        """Number of slots."""
        return len(self.usable_kw)

    @property
    def plain(self) -> bool:
        """Whether all cars share one merit order and none charges beyond its need."""
        return self.one_order and not self.fills

    @cached_property
    def wanted_kw(self) -> Float:
        """Energy up to which a car charges in a row and those before, as if drawn in one slot, (slot, car) [kW]."""
        if not self.fills:
            return np.broadcast_to(self.draw_kw, self.usable_kw.shape)
        return np.where(strict_levels(self.tariff_eur_per_kwh) < 0, self.most_kw, self.draw_kw)

    def load_kw(self, power_kw: Float) -> Float:
        """Return what powers of shape (slot, car) add to each limit, shape as ``headroom_kw`` [kW]."""
        if not self.one_order:
            by_day = np.empty_like(power_kw)
            np.put_along_axis(by_day, self.when, power_kw, axis=0)
            power_kw = by_day
        return power_kw @ self.share

    def limit_row(self, car: int, slot: int) -> int:
        """Row of the limits that counts a car's row."""
        return slot if self.one_order else int(self.when[slot, car])

    def of_cars(self, cars: Int, headroom_kw: Float) -> Part:
        """Return the piece with only some of its cars, and other headroom."""
        per_slot = ("tariff_eur_per_kwh", "when", "plugged", "usable_kw", "room_kw", "floor_kw", "peak_kw")
        per_car = ("cars", "charger_min_kw", "draw_kw", "most_kw", "share", "home", "home_slots", "elsewhere_kw")
        columns = {key: getattr(self, key)[:, cars] for key in per_slot}
        return replace(self, **columns, **{key: getattr(self, key)[cars] for key in per_car}, headroom_kw=headroom_kw)

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

    def scaled(self, factor: Float) -> Part:
        """Return the piece with the powers of each car multiplied, and their shares of the limits divided alike.

        Loads stay what they are, while what a car's caps withhold counts that many times: weights, shape (car,).
        """
        powers = ("usable_kw", "room_kw", "floor_kw", "peak_kw", "charger_min_kw", "draw_kw", "most_kw")
        larger = {key: getattr(self, key) * factor for key in powers}
        return replace(self, **larger, share=self.share / factor[:, None])

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
    # a cap that never binds is lifted: the same response, and nothing withheld
    idle = plan.room_kw >= part.peak_kw - NEARLY_KW
    return Plan(np.where(idle, part.room_kw, plan.room_kw), plan.charge_kw)


def respond(part: Part, room_kw: Float) -> Float:
    """Return what cars draw when caps leave that room: cheapest slots first, shape (slot, car) [kW]."""
    limits = np.minimum(part.usable_kw, room_kw)
    # cheapest first is a continuous knapsack: each slot takes what those before it left of the energy wanted
    before = np.cumsum(limits, axis=0) - limits
    charge: Float = np.clip(part.wanted_kw - before, 0.0, limits)
    return charge


def split(
    problem: CapsProblem,
    draw_kwh: Float,
    headroom_kw: Float,
    cars: Int,
    *,
    counts_peaks: bool,
    beyond_at_nil: bool = False,
    settled_room_kw: Float | None = None,
) -> list[Part]:
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
    beyond_at_nil : bool
        Whether cars may charge beyond their need where the price is zero, as where it is below.
    settled_room_kw : ndarray, shape (slot, car), optional
        Room that the caps of settled cars leave; the whole connection without it [kW].

    Returns
    -------
    list of Part
        Without floors.
    """
    room = problem.room_kw if settled_room_kw is None else settled_room_kw
    room_sum, home_slots = np.zeros(problem.homes), np.zeros(problem.homes)
    np.add.at(room_sum, problem.home, np.where(problem.is_plugged, room, 0.0).sum(axis=0))
    np.add.at(home_slots, problem.home, problem.is_plugged.sum(axis=0))
    draw_kw = draw_kwh / problem.slot_h  # energies as power over one slot: sums of kW over slots compare with them
    beyond = problem.charges_beyond(at_nil=beyond_at_nil)
    most_kw = np.where(beyond, np.maximum(problem.most_kw, draw_kw), draw_kw)
    peak = most_counted_kw(problem, counts_peaks=counts_peaks)
    parts = []
    for phases in _joined_phases(problem.car_share[cars]):
        members = cars[problem.car_share[cars][:, phases].sum(axis=1) > 0]
        # rows in merit order make "cheapest first" a running sum along a column, in every form of the problem
        order = problem.merit_order_of_car[:, members]
        one_order = bool((order == order[:, :1]).all())
        headroom = headroom_kw[order[:, 0]] if one_order else headroom_kw
        home = problem.home[members]
        mine = np.zeros(problem.homes)
        np.add.at(mine, home, np.where(problem.is_plugged, room, 0.0)[:, members].sum(axis=0))

        def sorted_kw(values: Float, members: Int = members, order: Int = order) -> Float:
            return np.take_along_axis(values[:, members], order, axis=0)

        parts.append(
            Part(
                cars=members,
                slot_h=problem.slot_h,
                tariff_eur_per_kwh=sorted_kw(problem.tariff_of_car),
                when=order,
                plugged=sorted_kw(problem.is_plugged.astype(float)),
                usable_kw=sorted_kw(problem.usable_kw),
                room_kw=sorted_kw(problem.room_kw),
                floor_kw=np.zeros((problem.slots, len(members))),
                peak_kw=sorted_kw(peak),
                charger_min_kw=problem.charger_min_kw[members],
                draw_kw=draw_kw[members],
                most_kw=most_kw[members],
                share=problem.car_share[members][:, phases],
                # never below zero: where there is no room, cars get none, but their plans still exist
                headroom_kw=np.maximum(headroom[:, phases] - LIMIT_SLACK_KW, 0.0),
                counts_peaks=counts_peaks,
                one_order=one_order,
                fills=bool(beyond[members].any()),
                home=home,
                home_slots=home_slots[home],
                elsewhere_kw=(room_sum - mine)[home],
            )
        )
    return parts


def most_counted_kw(problem: CapsProblem, *, counts_peaks: bool) -> Float:
    """What each car adds to the load that must respect the limits where nothing holds it back, (slot, car) [kW]."""
    if not counts_peaks:
        return problem.usable_kw
    return np.where(problem.usable_kw > 0, np.minimum(problem.charger_kw, problem.room_kw), 0.0)


def _joined_phases(share: Float) -> list[Int]:
    """Group phases that some car uses together; phases without a car are left out."""
    groups: list[set[int]] = []
    # a car on two phases ties them: pieces are the connected components
    for row in np.unique(share > 0, axis=0):
        together = set(np.flatnonzero(row).tolist())
        for group in [g for g in groups if g & together]:
            together |= group
            groups.remove(group)
        groups.append(together)
    return [np.array(sorted(group), np.int64) for group in sorted(groups, key=min)]
