"""The best plan of every household at given slot prices, all households at once and in closed form.

At prices for load in every slot and phase, a household's best plan has a slot in which it finishes. Every earlier slot
is used in full (the charger binds and nothing is withheld), shut (the whole room is withheld) or, at most one of them,
throttled: with two partly used slots, power can be moved from one to the other at a constant rate until one is full or
shut. So a plan is a number of full slots fixed by the need, one remainder, and an order: a small dynamic programme over
slots with two states, full slots still to place and whether the remainder is placed.

Slots in which the car can draw less than elsewhere (it arrives or leaves, or the home's own load leaves little room)
are enumerated: each is either among the full ones or not. The programme is for pieces without floors whose cars have
few such slots and whose chargers run at any power; `floored` prices the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.decomposition.floored import FlooredPricing
from cosim.controllers.caps.decomposition.plans import (
    CAPPED,
    FULL,
    IDLE,
    LAST,
    Plans,
    States,
    Surcharge,
    chosen,
    plans_of,
)
from cosim.controllers.caps.part import SMALLEST_KW, Part

__all__ = [
    "CAPPED", "FULL", "IDLE", "LAST", "Plans", "Pricing", "States", "chosen", "plans_of", "pricing_of", "supports",
]  # fmt: skip

ODD_MOST = 4  # slots of smaller power per car that are enumerated
CHUNK = 512  # cars treated at once, so that the tables stay in the processor's cache
NEARLY = 1e-7
_FULL, _REST, _NIL = 0, 1, 3  # how a plan finishes: a full slot, the remainder, (2) a forced full slot, nothing at all


@dataclass(frozen=True, eq=False)
class _Chunk:
    """Cars with equally many odd slots and similar needs; rows only where one of them can draw."""

    cars: Int
    rows: Int
    usable_kw: Float
    room_kw: Float
    available: Bool
    odd: Bool
    odd_rows: Int
    rating_kw: Float
    draw_kw: Float


class Pricing:
    """Closed-form pricing for the cars of a piece.

    Parameters
    ----------
    part : Part
        The piece, without floors.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self._chunks = list(_chunks(part))

    def best(self, price: Float, surcharge: Surcharge | None = None) -> tuple[Float, Plans]:
        """Return every car's best plan at given prices.

        Parameters
        ----------
        price : ndarray, shape (slot, phase)
            Price of load, at least 0 [kWh withheld per kW].
        surcharge : Surcharge, optional
            What states of slots cost besides. A slot that finishes may then draw nothing: it is the limit of plans.

        Returns
        -------
        value : ndarray, shape (car,)
            Withheld energy plus what the load and its slots cost [kWh].
        plans : Plans
            Attaining it.
        """
        part = self.part
        car_price = price @ part.share.T
        value = np.empty(len(part.cars))
        state = np.zeros(part.usable_kw.shape, np.int8)
        charge = np.zeros(part.usable_kw.shape)
        for chunk in self._chunks:
            where = np.ix_(chunk.rows, chunk.cars)
            extra = None if surcharge is None else surcharge.at(where)
            value[chunk.cars], state[where], charge[where] = _best_of(chunk, part.slot_h, car_price[where], extra)
        return value, plans_of(part, np.arange(len(part.cars)), state, charge)


def supports(part: Part) -> bool:
    """Whether a piece can be priced: the means of its slots must be what counts."""
    return not part.counts_peaks


def pricing_of(part: Part) -> Pricing | FlooredPricing:
    """Return the pricing for a piece: in closed form where it is exact, else by knapsacks."""
    held_to_least = bool((part.floor_kw > 0).any() or part.charger_min_kw.any())
    few_odd = int(_odd(part).sum(axis=0).max(initial=0)) <= ODD_MOST
    return Pricing(part) if few_odd and not held_to_least else FlooredPricing(part)


def _odd(part: Part) -> Bool:
    available = part.usable_kw > SMALLEST_KW
    odd: Bool = available & (part.usable_kw < part.usable_kw.max(axis=0) - NEARLY)
    return odd


def _chunks(part: Part) -> Iterator[_Chunk]:
    odd, available = _odd(part), part.usable_kw > SMALLEST_KW
    rating = part.usable_kw.max(axis=0)
    count = odd.sum(axis=0)
    # equally many odd slots: one array for all; nearly equal numbers of full slots: no table taller than its cars
    # need
    similar = np.lexsort((part.draw_kw / rating, count))
    for alike in np.unique(count):
        members = similar[count[similar] == alike]
        for begin in range(0, len(members), CHUNK):
            cars = members[begin : begin + CHUNK]
            rows = np.flatnonzero(available[:, cars].any(axis=1))
            block = np.ix_(rows, cars)
            odd_rows = np.nonzero(odd[block].T)[1].reshape(len(cars), int(alike)).T
            yield _Chunk(
                cars, rows, part.usable_kw[block], part.room_kw[block], available[block], odd[block], odd_rows,
                rating[cars], part.draw_kw[cars],
            )  # fmt: skip


def _best_of(chunk: _Chunk, slot_h: float, price: Float, extra: Surcharge | None) -> tuple[Float, States, Float]:
    """Best over all choices of odd slots that are used in full."""
    best = np.full(len(chunk.cars), np.inf)
    state, charge = np.zeros(price.shape, np.int8), np.zeros(price.shape)
    cars = np.arange(len(chunk.cars))
    for choice in product((False, True), repeat=len(chunk.odd_rows)):  # 2^odd programmes: why ODD_MOST is small
        forced = np.zeros(price.shape, bool)
        for rows, is_full in zip(chunk.odd_rows, choice, strict=True):
            forced[rows, cars] = is_full
        value, its_state, its_charge = _Programme(chunk, slot_h, price, forced, extra).solve()
        better = value < best
        best[better] = value[better]
        state[:, better], charge[:, better] = its_state[:, better], its_charge[:, better]
    return best, state, charge


class _Programme:
    """The dynamic programme with the odd slots ``forced`` among the full ones.

    Tables are (remainder placed, full slots still to place, car).
    """

    def __init__(self, chunk: _Chunk, slot_h: float, price: Float, forced: Bool, extra: Surcharge | None) -> None:
        self.chunk, self.forced = chunk, forced
        drawn = np.where(forced, chunk.usable_kw, 0.0)
        left = chunk.draw_kw - drawn.sum(axis=0)
        self.feasible = left > -NEARLY
        # need = count full slots + a rest below one: of two partly used slots one can always be filled or emptied at
        # no loss, so the numbers are fixed and only the places are open
        self.count = np.where(self.feasible, np.floor(left / chunk.rating_kw + NEARLY), 0).astype(np.int64)
        rest = left - self.count * chunk.rating_kw
        self.rest = np.where(rest > NEARLY, rest, 0.0)
        regular = chunk.available & ~chunk.odd
        takes_rest = chunk.available & ~forced & (self.rest <= chunk.usable_kw + NEARLY) & (self.rest > 0)
        # a shut slot withholds the whole room up to the connection, not only what the car could have drawn
        self.skip = np.where(chunk.available, slot_h * chunk.room_kw, 0.0)
        self.skip[forced] = (price * chunk.usable_kw)[forced]
        # odd slots are full where forced and nowhere else: every choice of them is a programme of its own
        self.full = np.where(regular, price * chunk.usable_kw, np.inf)
        self.finish = np.where(takes_rest, price * self.rest, np.inf)
        self.throttle = self.finish + slot_h * (chunk.room_kw - self.rest)
        self.forced_full = np.where(forced, price * chunk.usable_kw, np.inf)
        self.end_full, self.end_nil = self.full, np.full(self.full.shape, np.inf)
        self.capped_full = np.zeros(price.shape, bool)
        # no end before a forced slot: what comes after the last one is not used
        self.settled = forced.sum(axis=0) - np.cumsum(forced, axis=0) == 0
        if extra is not None:
            self._surcharge(extra, slot_h)

    def _surcharge(self, extra: Surcharge, slot_h: float) -> None:
        """Add what states cost; a slot used in full may count as throttled instead, where that is cheaper."""
        chunk, available = self.chunk, self.chunk.available
        as_capped = slot_h * (chunk.room_kw - chunk.usable_kw) + extra.capped
        self.capped_full = extra.full > as_capped
        full = np.where(self.capped_full, as_capped, extra.full)
        self.end_full = self.full + extra.last
        self.finish = self.finish + extra.last
        # the limit of plans whose last power vanishes: with prices on finishing the infimum may lie there, and the
        # bound needs it
        self.end_nil = np.where(available & ~self.forced, extra.last, np.inf)
        self.throttle = self.throttle + extra.capped
        self.full = self.full + full
        self.skip = self.skip + np.where(available, np.where(self.forced, full, extra.capped), 0.0)
        self.forced_full = self.forced_full + extra.last

    def solve(self) -> tuple[Float, States, Float]:
        """Return value, state and charge of the best plan of every car; inf where there is none."""
        slots, cars = self.full.shape
        every = np.arange(cars)
        # one row more than the fullest needs: row 1 is read below even where no full slot is left to place
        cost = np.full((2, int(self.count.max()) + 2, cars), np.inf)
        # without a remainder it counts as placed from the start
        cost[(self.rest == 0).astype(np.int64), self.count, every] = np.where(self.feasible, 0.0, np.inf)
        steps = np.zeros((slots, *cost.shape), np.int8)
        before = np.empty((3, slots, cars))  # cost of what comes before a slot that ends full, with the rest, or forced
        for k in range(slots):
            before[:, k] = cost[(1, 0, 1), (1, 0, 0)]
            after = cost + self.skip[k]
            used = cost[:, 1:] + self.full[k]
            taken = used < after[:, :-1]
            after[:, :-1] = np.where(taken, used, after[:, :-1])
            steps[k, :, :-1][taken] = FULL
            partly = cost[0] + self.throttle[k]  # from `cost`, not `after`: a slot is full or throttled, not both
            taken = partly < after[1]
            after[1] = np.where(taken, partly, after[1])
            steps[k, 1][taken] = CAPPED
            cost = after
        ends = np.stack([
            before[0] + self.end_full, before[1] + self.finish, before[2] + self.forced_full, before[2] + self.end_nil
        ])  # fmt: skip
        cheapest = ends.argmin(axis=0)
        end = np.where(self.settled, ends.min(axis=0), np.inf)
        last = end.argmin(axis=0)
        best = end[last, every]
        state, charge = self._trace(steps, last, cheapest[last, every], np.isfinite(best))
        state[(state == FULL) & self.capped_full] = CAPPED
        return best, state, charge

    def _trace(self, steps: States, last: Int, ending: Int, known: Bool) -> tuple[States, Float]:
        """Walk back from the finishing slots: full slots, the remainder, and what is shut between them."""
        chunk, every = self.chunk, np.arange(len(last))
        state, charge = np.zeros(self.full.shape, np.int8), np.zeros(self.full.shape)
        state[last, every] = LAST
        charge[last, every] = np.where(ending == _REST, self.rest, chunk.usable_kw[last, every])
        charge[last, every] = np.where(ending == _NIL, 0.0, charge[last, every])
        placed, left = (ending != _REST).astype(np.int64), (ending == _FULL).astype(np.int64)
        for k in range(int(last.max()) - 1, -1, -1):
            step = np.where(k < last, steps[k, placed, left, every], IDLE)
            before = chunk.available[k] & (k < last)
            full = before & ((step == FULL) | self.forced[k])
            rest = before & (step == CAPPED)
            state[k, before] = np.where(full, FULL, CAPPED)[before]
            charge[k, full], charge[k, rest] = chunk.usable_kw[k, full], self.rest[rest]
            left += step == FULL
            placed -= rest
        state[:, ~known], charge[:, ~known] = IDLE, 0.0
        return state, charge
