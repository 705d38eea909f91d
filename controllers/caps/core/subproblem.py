"""Cars that share limits, each with its slots in its own merit order: the rows in which it may finish.

Under caps a car takes its slots from the cheapest on: all that the cap lets it draw (nothing, or at least what its
charger runs at) in every row before the one in which its need is met, the rest in that row, and nothing after it. So
what its caps withhold of the energy it could use depends on where it finishes: on the usable energy of the rows before,
which is either drawn or withheld. Two further rows are no slots, and load nothing: one after all others takes the need
that is left unserved, at a cost above all others; and where prices below zero let a battery be filled beyond the need,
one after the paid slots takes what it is left short of full.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.signals import Bool

LIMIT_SLACK_KW = 1e-6  # kept free so that rounding in a solver cannot break a limit
SMALLEST_KW = 1e-6  # a slot in which a car could draw less is no slot
UNSERVED_KWH = 1e3  # withheld energy that a kWh of need left unserved counts as
TOLERANCE_KW = 1e-7


@dataclass(frozen=True, eq=False)
class Subproblem:
    """Data of one piece: a row of the arrays per car, a column per row in its merit order; padded with zeros.

    Attributes
    ----------
    cars : ndarray of int, shape (car,)
        Columns of the whole problem.
    slot : ndarray of int, shape (car, row)
        Slot of the day; -1 for rows that are none.
    minimum_kw : ndarray, shape (car,)
        Least that the charger runs at [kW].
    usable_kw, least_kw : ndarray, shape (car, row)
        Most that is drawn in a row before the last one, and the least while the cap does not shut the car out [kW].
    forced : ndarray of bool, shape (car, row)
        Rows that a floor keeps from being shut out.
    counted : ndarray, shape (car, row)
        What a kW drawn before the last row counts with: more than 1 where the beginning of a slot counts, in which a
        car that is there for a part of it draws more than in the mean.
    last_kw, target_kw : ndarray, shape (car, row)
        Most that is drawn in the row as the last one (0: it cannot be the last), and what is then drawn in all [kW].
    last_least_kw, last_top_kw : ndarray, shape (car, row)
        Least that the last row counts with where the beginning of a slot counts, and beyond which nothing usable is
        withheld; both 0 where the mean counts [kW].
    unserved_kwh : ndarray, shape (car, row)
        Energy in the battery that a kW drawn in this row as the last one leaves unserved [kWh/kW].
    peaks : bool
        Whether the beginning of a slot must respect the limits too.
    weight_kwh : ndarray, shape (car,)
        What a kW withheld over a slot counts as: the slot's length, times the weight of the car [kWh/kW].
    tariff_eur_per_kwh : ndarray, shape (car, row)
        Price of import; 0 in rows that are no slots.
    per_kw_kwh : ndarray, shape (car, row)
        What a kW drawn in a row counts as: unserved need, and the bill where it is an aim [kWh/kW].
    share, headroom_kw : ndarray, shape (car, limit), (slot, limit)
        Share of the car's power that each limit counts, and what the cars may draw together [kW].
    order : ndarray of int, shape (slot,), or None
        Slots from the cheapest to the dearest, where all cars share one tariff.
    """

    cars: Int
    slot: Int
    minimum_kw: Float
    usable_kw: Float
    least_kw: Float
    forced: Bool
    counted: Float
    last_kw: Float
    target_kw: Float
    last_least_kw: Float
    last_top_kw: Float
    unserved_kwh: Float
    peaks: bool
    weight_kwh: Float
    tariff_eur_per_kwh: Float
    per_kw_kwh: Float
    share: Float
    headroom_kw: Float
    order: Int | None

    @property
    def size(self) -> int:
        """Number of cars."""
        return len(self.cars)

    @cached_property
    def before_kw(self) -> Float:
        """Usable power of all rows before, shape (car, row) [kW]."""
        return np.cumsum(self.usable_kw, axis=1) - self.usable_kw

    @cached_property
    def is_slot(self) -> Bool:
        """Rows that are slots."""
        return self.slot >= 0

    @cached_property
    def base_kw(self) -> Float:
        """What floors make the car draw in a row before its last one, shape (car, row) [kW]."""
        return np.where(self.forced, self.least_kw, 0.0)

    @cached_property
    def limits_of(self) -> list[tuple[Int, Float]]:
        """Limits of each car, and its share of them."""
        return [(np.flatnonzero(share), share[share > 0]) for share in self.share]

    @cached_property
    def lists_of(self) -> list[tuple[Any, ...]]:
        """What serving cars one by one asks of each, as lists, which are quicker than arrays entry by entry."""
        keys = ("usable_kw", "least_kw", "forced", "target_kw", "last_kw", "last_least_kw", "counted", "slot")
        return list(zip(*(getattr(self, key).tolist() for key in keys), strict=True))

    def of_cars(self, rows: Int, headroom_kw: Float) -> Subproblem:
        """Return the piece with some of its cars, and other headroom."""
        whole = ("peaks", "headroom_kw", "order")
        per_car = {one.name: getattr(self, one.name)[rows] for one in fields(self) if one.name not in whole}
        return replace(self, **per_car, headroom_kw=headroom_kw)

    def with_floor(self, floor_kw: Float) -> Subproblem:
        """Return the same piece with a least room that caps leave, shape (car, row) [kW].

        A floor that is all that the car can use lets it use all; one on which its charger cannot run is none.
        """
        floor = np.where(self.is_slot, np.minimum(floor_kw, self.usable_kw), 0.0)
        minimum = self.minimum_kw[:, None]
        forced = (floor >= minimum) & (floor > 0.0)
        runs_at = np.where(self.is_slot, np.maximum(minimum, np.where(forced, floor, 0.0)), 0.0)
        return replace(
            self,
            forced=forced,
            least_kw=np.minimum(runs_at, self.usable_kw),
            last_least_kw=runs_at if self.peaks else np.zeros_like(floor),
            last_top_kw=np.where(self.is_slot, np.maximum(self.usable_kw, runs_at), 0.0) if self.peaks else 0.0 * floor,
        )

    def with_aim(self, weight_kwh: Float, per_kw_kwh: Float) -> Subproblem:
        """Return the same piece with another objective."""
        return replace(self, weight_kwh=weight_kwh, per_kw_kwh=per_kw_kwh)

    def price_of(self, prices: Float, rows: slice) -> Float:
        """Return what a kW costs each car in each row at prices of the limits, shape (car, row)."""
        cost = (prices[self.slot[rows]] * self.share[rows, None, :]).sum(axis=2)
        return np.where(self.is_slot[rows], cost, 0.0)

    def load_kw(self, counted_kw: Float) -> Float:
        """Return what counted powers of shape (car, row) add to each limit, shape (slot, limit) [kW]."""
        load = np.zeros_like(self.headroom_kw)
        car, row = np.nonzero(self.is_slot & (counted_kw > 0))
        np.add.at(load, self.slot[car, row], counted_kw[car, row, None] * self.share[car])
        return load


@dataclass(frozen=True, eq=False)
class Plan:
    """Where every car of a piece finishes and what it draws on the way.

    Attributes
    ----------
    last : ndarray of int, shape (car,)
        Row in which it finishes.
    drawn_kw, counted_kw : ndarray, shape (car, row)
        What it draws up to there, mean over the slot, and what counts towards the limits [kW].
    """

    last: Int
    drawn_kw: Float
    counted_kw: Float

    def of_cars(self, rows: Int) -> Plan:
        """Return the plan of some cars."""
        return Plan(self.last[rows], self.drawn_kw[rows], self.counted_kw[rows])

    def with_cars(self, rows: Int, other: Plan) -> Plan:
        """Return the plan with that of some cars replaced."""
        both = [(getattr(self, key).copy(), getattr(other, key)) for key in ("last", "drawn_kw", "counted_kw")]
        for mine, theirs in both:
            mine[rows] = theirs
        return Plan(*(mine for mine, _ in both))

    def costs(self, sub: Subproblem) -> Float:
        """Return what each car counts in the objective, shape (car,) [kWh]."""
        costs: Float = self.withheld_kw(sub) * sub.weight_kwh + (sub.per_kw_kwh * self.drawn_kw).sum(axis=1)
        return costs

    def cost(self, sub: Subproblem) -> float:
        """Return the objective [kWh]."""
        return float(self.costs(sub).sum())

    def withheld_kw(self, sub: Subproblem) -> Float:
        """Return usable power withheld, summed over slots, shape (car,) [kW]."""
        car = np.arange(sub.size)
        drawn = self.drawn_kw.sum(axis=1) - self.drawn_kw[car, self.last]
        withheld = sub.before_kw[car, self.last] - drawn
        if sub.peaks:
            usable = np.where(sub.is_slot[car, self.last], sub.last_kw[car, self.last], 0.0)
            withheld = withheld + np.maximum(usable - self.counted_kw[car, self.last], 0.0)
        return np.asarray(np.maximum(withheld, 0.0))

    def unserved_kwh(self, sub: Subproblem) -> Float:
        """Return need left unserved, in the battery, shape (car,) [kWh]."""
        car = np.arange(sub.size)
        return np.asarray(sub.unserved_kwh[car, self.last] * self.drawn_kw[car, self.last])

    def over_kw(self, sub: Subproblem) -> float:
        """Return by how much limits are exceeded at most [kW]."""
        return float((sub.load_kw(self.counted_kw) - sub.headroom_kw).max(initial=-np.inf))
