"""A household's cheapest plan for every slot in which it may finish: knapsacks, filled in one sweep for all of them.

In a slot before the last one a car draws at least what its cap must leave and at most all it can. So with the last slot
given, each earlier one is an item that costs ``gain`` from empty to full, and the last one takes what is then left of
the need at its own price. Filling items in the order of gain per kW solves the relaxation in which an item may be full
in part at that rate. Where a part of an item costs more than that (a cap that withholds a little withholds nearly the
whole connection), branching on the item in question, full, empty or in part, makes it exact. One continuous element is
always enough: power moves between two at a constant rate until one is full or empty.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.part import SMALLEST_KW, Part

NEARLY = 1e-7
WORTH_KWH = 1e-7  # branches that promise less than this are left
ROUNDS = 12  # of branching; what is open after them keeps the value a bound
ROWS_MOST = 200_000  # knapsacks of a round; with more, branching ends early
CHUNK = 96  # cars treated at once, so that the tables stay in the processor's cache
NO_ITEM = -1


@dataclass(frozen=True, eq=False)
class Block:
    """Some cars of a piece with all their knapsacks; rows of (slot, car) arrays are the slots they can use.

    Attributes
    ----------
    cars, slots : ndarray of int
        Columns and rows of the piece.
    low_kw, width_kw, usable_kw : ndarray, shape (slot, car)
        Least before the last slot, what lies between it and all that the car can draw, and that.
    owner, last : ndarray of int, shape (knapsack,)
        Car and last slot of each, within the block; sorted by car.
    left_kw : ndarray, shape (knapsack,)
        Need above the least of the slots before the last one.
    """

    cars: Int
    slots: Int
    low_kw: Float
    width_kw: Float
    usable_kw: Float
    owner: Int
    last: Int
    left_kw: Float


@dataclass(frozen=True, eq=False)
class Finished:
    """The best plan found for each car of a block, and a bound that no plan undercuts.

    Attributes
    ----------
    bound, value : ndarray, shape (car,)
        Lower bound and value of the plan found; inf where a car has none.
    last : ndarray of int, shape (car,)
        Slot that finishes.
    full : ndarray of bool, shape (slot, car)
        Items that are full.
    charge_kw : ndarray, shape (slot, car)
        Power drawn.
    """

    bound: Float
    value: Float
    last: Int
    full: Bool
    charge_kw: Float


def blocks(part: Part, low_kw: Float) -> Iterator[Block]:
    """Cut a piece into blocks of cars that finish in similar slots.

    Parameters
    ----------
    part : Part
        The piece.
    low_kw : ndarray, shape (slot, car)
        Least power in slots before the last one, at most what the car can use [kW].
    """
    available = part.usable_kw > SMALLEST_KW
    low = np.where(available, np.minimum(low_kw, part.usable_kw), 0.0)
    usable = np.where(available, part.usable_kw, 0.0)
    least_before = np.cumsum(low, axis=0) - low
    most = np.cumsum(usable, axis=0)
    may_end = available & (least_before <= part.draw_kw + NEARLY) & (most >= part.draw_kw - NEARLY)
    latest = part.slots - 1 - may_end[::-1].argmax(axis=0)
    similar = np.lexsort((may_end.argmax(axis=0), latest))
    for begin in range(0, len(similar), CHUNK):
        cars = similar[begin : begin + CHUNK]
        slots = np.flatnonzero(available[: latest[cars].max() + 1, cars].any(axis=1))
        block = np.ix_(slots, cars)
        owner, last = np.nonzero(may_end[block].T)
        left = np.maximum(part.draw_kw[cars[owner]] - least_before[block][last, owner], 0.0)
        yield Block(cars, slots, low[block], usable[block] - low[block], usable[block], owner, last, left)


@dataclass(frozen=True, eq=False)
class _Knapsacks:
    """Knapsacks in which one element is continuous: the last slot, or an item while the last slot is full.

    Arrays of shape (item, knapsack) have the items of each car in the order of gain per kW.
    """

    owner: Int
    last: Int
    fixed: Float
    left_kw: Float
    window_kw: Float
    slope: Float
    partial: Int
    free: Bool
    full: Bool

    def some(self, rows: Int) -> _Knapsacks:
        return _Knapsacks(
            self.owner[rows], self.last[rows], self.fixed[rows], self.left_kw[rows], self.window_kw[rows],
            self.slope[rows], self.partial[rows], self.free[:, rows], self.full[:, rows],
        )  # fmt: skip


def cheapest(
    block: Block, empty: Float, gain: Float, slope: Float, price: Float, part_kw: Float | None = None
) -> Finished:
    """Return every car's cheapest plan.

    Parameters
    ----------
    block : Block
        The cars.
    empty, gain, slope : ndarray, shape (slot, car)
        Cost of an item at its least, what it costs more at all the car can draw, and cost per kW of a part of it.
    price : ndarray, shape (slot, car)
        Cost per kW of the last slot.
    part_kw : ndarray, shape (slot, car), optional
        Least that a part of an item can be [kW]. Without it, a part of an item costs its part of the gain, and nothing
        needs branching.
    """
    return _Search(block, empty, gain, slope, price, part_kw).run()


class _Search:
    """Branch and bound over all knapsacks of a block at once."""

    def __init__(
        self, block: Block, empty: Float, gain: Float, slope: Float, price: Float, part_kw: Float | None
    ) -> None:
        self.block, self.convex = block, part_kw is None
        items = block.width_kw > NEARLY
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = np.where(items, gain / block.width_kw, np.inf)
        self.order = np.argsort(rate, axis=0, kind="stable")
        least = np.zeros(items.shape) if part_kw is None else np.minimum(part_kw, block.width_kw)
        self.items, self.width, self.gain, self.slope, self.part = (
            np.take_along_axis(values, self.order, axis=0)
            for values in (items, np.where(items, block.width_kw, 0.0), np.where(items, gain, 0.0), slope, least)
        )
        cars = len(block.cars)
        self.value, self.row_last = np.full(cars, np.inf), np.zeros(cars, np.int64)
        self.full = np.zeros(items.shape, bool)  # in sorted order until the end
        self.partial, self.partial_kw = np.full(cars, NO_ITEM), np.zeros(cars)
        self.bound = np.full(cars, np.inf)
        before = np.cumsum(empty, axis=0) - empty
        owner, last = block.owner, block.last
        self.start = _Knapsacks(
            owner, last, before[last, owner], block.left_kw, block.usable_kw[last, owner], price[last, owner],
            np.full(len(owner), NO_ITEM), self.items[:, owner] & (self.order[:, owner] < last),
            np.zeros((len(self.order), len(owner)), bool),
        )  # fmt: skip

    def run(self) -> Finished:
        rows, rounds = self.start, 0
        while len(rows.owner):
            low, position, part_kw = self._fill(rows)
            open_ = (part_kw > NEARLY) & (low < self.value[rows.owner] - WORTH_KWH) & (not self.convex)
            if rounds >= ROUNDS or open_.sum() > ROWS_MOST:
                # relaxations that are not branched on further: the least of them is below every plan of their car
                np.minimum.at(self.bound, rows.owner[open_], low[open_])
                break
            rows = self._branches(rows.some(np.flatnonzero(open_)), position[open_])
            rounds += 1
        return self._finished()

    def _fill(self, rows: _Knapsacks) -> tuple[Float, Int, Float]:
        """Solve the relaxations, and keep the plans next to them; return value, item in part, and how much of it."""
        every = np.arange(len(rows.owner))
        width = np.where(rows.free, self.width[:, rows.owner], 0.0)
        gain = np.where(rows.free, self.gain[:, rows.owner], 0.0)
        held_kw, cost = np.cumsum(width, axis=0), np.cumsum(gain, axis=0)
        # items cheaper per kW than the continuous element; as they lie in the order of their rate, a sum is enough
        wanted = np.where(gain < rows.slope * width, width, 0.0).sum(axis=0)
        # items must take what the continuous element cannot, and never more than the need
        amount = np.clip(wanted, rows.left_kw - rows.window_kw, rows.left_kw)
        whole = (held_kw <= amount + NEARLY).sum(axis=0)
        position = np.minimum(whole, len(width) - 1)
        inside = np.maximum(whole - 1, 0)
        before_kw = np.where(whole > 0, held_kw[inside, every], 0.0)
        before = rows.fixed + np.where(whole > 0, cost[inside, every], 0.0)
        part_kw = np.where(whole < len(width), np.maximum(amount - before_kw, 0.0), 0.0)
        part_kw[part_kw <= NEARLY] = 0.0
        item_kw, item_gain = width[position, every], gain[position, every]
        with np.errstate(divide="ignore", invalid="ignore"):
            in_part = np.where(part_kw > 0, part_kw * item_gain / item_kw, 0.0)
        low = before + in_part + rows.slope * (rows.left_kw - amount)
        if self.convex:
            self._keep(rows, low, whole, np.where(part_kw > 0, position, NO_ITEM), part_kw)
            return low, position, part_kw
        fits = rows.left_kw - before_kw <= rows.window_kw + NEARLY
        self._keep(rows, np.where(fits, before + rows.slope * (rows.left_kw - before_kw), np.inf), whole)
        more_kw = before_kw + item_kw
        fits = (part_kw > 0) & (more_kw <= rows.left_kw + NEARLY)
        self._keep(rows, np.where(fits, before + item_gain + rows.slope * (rows.left_kw - more_kw), np.inf), whole + 1)
        alone = (part_kw > 0) & (rows.partial == NO_ITEM) & (amount <= rows.left_kw - rows.window_kw + NEARLY)
        # below its least power a charger is off
        alone &= part_kw >= self.part[position, rows.owner] - NEARLY
        rest = self.slope[position, rows.owner] * part_kw + rows.slope * rows.window_kw
        self._keep(rows, np.where(alone, before + rest, np.inf), whole, position, part_kw)
        return low, position, part_kw

    def _keep(
        self, rows: _Knapsacks, value: Float, whole: Int, position: Int | None = None, part_kw: Float | None = None
    ) -> None:
        """Keep the best plan of each car: items before ``whole`` are full, one may be in part."""
        better = np.flatnonzero(value < self.value[rows.owner])
        if not len(better):
            return
        ranked = better[np.lexsort((value[better], rows.owner[better]))]
        best = ranked[np.unique(rows.owner[ranked], return_index=True)[1]]
        car = rows.owner[best]
        self.value[car], self.row_last[car] = value[best], rows.last[best]
        filled = (np.arange(len(self.order))[:, None] < whole[best]) & rows.free[:, best]
        self.full[:, car] = filled | rows.full[:, best]
        if position is None or part_kw is None:
            self.partial[car] = rows.partial[best]
            drawn = np.where(filled, self.width[:, car], 0.0).sum(axis=0)
            in_part = rows.left_kw[best] - drawn + self.part[rows.partial[best], car]
            self.partial_kw[car] = np.where(rows.partial[best] == NO_ITEM, 0.0, in_part)
        else:
            self.partial[car], self.partial_kw[car] = position[best], part_kw[best]

    def _branches(self, rows: _Knapsacks, item: Int) -> _Knapsacks:
        """Put the item in question to empty, full, and, where the last slot is still continuous, in part."""
        every = np.arange(len(rows.owner))
        free = rows.free.copy()
        free[item, every] = False
        full = rows.full.copy()
        full[item, every] = True
        width, gain = self.width[item, rows.owner], self.gain[item, rows.owner]
        empty = replace(rows, free=free)
        filled = replace(rows, free=free, full=full, fixed=rows.fixed + gain, left_kw=rows.left_kw - width)
        least, slope = self.part[item, rows.owner], self.slope[item, rows.owner]
        # only with the last slot full: of two continuous elements, power moves at a constant rate until one is full
        # or empty
        partly = replace(
            rows, free=free, fixed=rows.fixed + rows.slope * rows.window_kw + slope * least,
            left_kw=rows.left_kw - rows.window_kw - least, window_kw=width - least, slope=slope, partial=item,
        ).some(np.flatnonzero(rows.partial == NO_ITEM))  # fmt: skip
        kinds = (empty, filled, partly)
        joined = _Knapsacks(
            *(np.concatenate([getattr(kind, name) for kind in kinds], axis=-1) for name in _Knapsacks.__annotations__)
        )
        most = np.where(joined.free, self.width[:, joined.owner], 0.0).sum(axis=0)
        # the fixed items must neither exceed the need nor leave more than the rest can take
        possible = (joined.left_kw >= -NEARLY) & (joined.left_kw - joined.window_kw <= most + NEARLY)
        return joined.some(np.flatnonzero(possible))

    def _finished(self) -> Finished:
        block, every = self.block, np.arange(len(self.value))
        known = np.isfinite(self.value)
        full, power = np.zeros(self.full.shape, bool), np.zeros(self.full.shape)
        np.put_along_axis(full, self.order, self.full, axis=0)
        in_part = np.flatnonzero((self.partial != NO_ITEM) & known)
        power[self.order[self.partial[in_part], in_part], in_part] = self.partial_kw[in_part]
        before = (np.arange(len(full))[:, None] < self.row_last) & known
        charge = np.where(before, block.low_kw + np.where(full, block.width_kw, power), 0.0)
        # in the first knapsack of its last slot is the need above the least of all slots before it
        need = np.zeros(len(every))
        need[block.owner] = block.left_kw + (np.cumsum(block.low_kw, axis=0) - block.low_kw)[block.last, block.owner]
        charge[self.row_last, every] = np.where(known, np.maximum(need - charge.sum(axis=0), 0.0), 0.0)
        return Finished(np.minimum(self.bound, self.value), self.value, self.row_last, full & before, charge)
