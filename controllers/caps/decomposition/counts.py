"""Counts that are whole numbers in any plan: how many cars use a slot in full, are held back in it, or have finished.

A mixture of plans may hold half a car back; a plan cannot. Bounds on such counts divide the plans of a piece into
branches, and since each is a sum over cars and slots of what a slot is to a car, its price is a surcharge on that,
which leaves pricing as it is ("robust" branching: Fukasawa et al., "Robust branch-and-cut-and-price for the
capacitated vehicle routing problem", Math. Program. 106 (2006), doi 10.1007/s10107-005-0644-x).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.decomposition.plans import CAPPED, FULL, LAST, Plans, Surcharge
from cosim.controllers.caps.part import NEARLY_KW, Part

WHOLE = 1e-6
FRACTIONAL = 1e-3
ONE_CAR, ONE_CAR_FULL = 0.05, 0.1  # by how much less a count of one car promises than one of many
MOST_DIVISORS = 6  # different powers of full slots of a piece from which cuts are made


class What(Enum):
    """What is counted of a slot."""

    FULL = "full"
    CAPPED = "capped"
    FINISHED = "finished"  # in this slot or before


@dataclass(frozen=True, eq=False)
class Count:
    """A weighted number of cars.

    Attributes
    ----------
    what : What
        What a slot must be to a car for it to count.
    slot : int
        Row of the piece.
    weight : ndarray, shape (car,)
        By which each car counts.
    """

    what: What
    slot: int
    weight: Float

    @property
    def key(self) -> tuple[str, int, bytes]:
        """Equal for equal counts."""
        return self.what.value, self.slot, self.weight.tobytes()

    def of(self, plans: Plans) -> Float:
        """Return what each plan adds, shape (plan,)."""
        added: Float = self.weight[plans.cars] * _is(self.what, plans.state, slice(self.slot, self.slot + 1))[0]
        return added


def surcharge(part: Part, counts: Sequence[Count], price: Float) -> Surcharge:
    """Return what prices of counts, shape (count,), make of each car's slots [kWh]."""
    shape = part.usable_kw.shape
    full, capped, last = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for i in np.flatnonzero(price).tolist():
        count, paid = counts[i], price[i] * counts[i].weight
        if count.what is What.FULL:
            full[count.slot] += paid
        elif count.what is What.CAPPED:
            capped[count.slot] += paid
        else:
            last[: count.slot + 1] += paid  # finished by this slot: any last slot up to it counts
    return Surcharge(full, capped, last)


def rounding_cuts(part: Part, slots: Int) -> Iterator[tuple[Count, float]]:
    """Yield counts of full slots with the most that a limit leaves, by mixed-integer rounding of the limit.

    A limit that holds five and a half cars holds five in full; whatever else is drawn is at least nothing (Nemhauser
    and Wolsey, "A recursive procedure to generate all cuts for 0-1 mixed integer programs", Math. Program. 46 (1990),
    doi 10.1007/BF01585752).
    """
    for slot in slots:
        for phase in range(part.share.shape[1]):
            power = part.usable_kw[slot] * part.share[:, phase]
            limit = float(part.headroom_kw[slot, phase])
            # the row divided by one car's power: that car then counts exactly 1
            for divisor in np.unique(np.round(power[power > NEARLY_KW], 6))[::-1][:MOST_DIVISORS]:
                most = np.floor(limit / divisor + WHOLE)
                spare = max(limit / divisor - most, 0.0)
                whole = np.floor(power / divisor + WHOLE)
                # rounding coefficients: floor(a) + (frac(a) - f)+ / (1 - f), where f is the fraction of the right-
                # hand side
                weight = whole + np.maximum(np.maximum(power / divisor - whole, 0.0) - spare, 0.0) / (1.0 - spare)
                if weight.sum() > most + WHOLE:  # else all cars at once keep it
                    yield Count(What.FULL, int(slot), weight), float(most)


class Fractions:
    """Finds counts that are no whole numbers.

    Parameters
    ----------
    part : Part
        The piece.
    """

    def __init__(self, part: Part) -> None:
        many = []
        for phase in range(part.share.shape[1]):
            on = part.share[:, phase] > 0
            many.append(on)
            rating = np.round(part.usable_kw.max(axis=0), 3)
            many.extend(on & (rating == one) for one in np.unique(rating[on]))
        groups = np.unique(np.array(many), axis=0)
        groups = groups[groups.sum(axis=1) > 1]
        self._weight = np.concatenate([groups, np.eye(len(part.cars), dtype=bool)]).astype(np.float64)
        self._one_car = np.arange(len(self._weight)) >= len(groups)

    def best(self, plans: Plans, part_of: Float, slots: Int, most: int) -> list[tuple[Count, float]]:
        """Return counts furthest from whole with their values, at most so many.

        Parameters
        ----------
        plans : Plans
            A mixture of plans.
        part_of : ndarray, shape (plan,)
            Part of each.
        slots : ndarray of int
            Slots to look at.
        most : int
            How many.
        """
        mixed = self._weight[:, plans.cars] * part_of
        found: list[tuple[float, int, int, What, float]] = []
        for what in What:
            value = _is(what, plans.state, slots) @ mixed.T
            part_left = value - np.floor(value + WHOLE)
            penalty = np.where(self._one_car, ONE_CAR if what is What.FINISHED else ONE_CAR_FULL, 0.0)
            # nearest to a half first: furthest from what either child allows
            rank = np.abs(part_left - 0.5) + penalty
            for at, group in zip(*np.nonzero(part_left > FRACTIONAL), strict=True):
                # of one car, "full" and "finished" settle it: a slot it can use is one of the two or else throttled
                if what is not What.CAPPED or not self._one_car[group]:
                    found.append((float(rank[at, group]), int(slots[at]), int(group), what, float(value[at, group])))
        # slot and group break ties, for the same order everywhere; an Enum has none
        found.sort(key=lambda one: one[:3])
        return [(Count(what, slot, self._weight[group]), value) for _, slot, group, what, value in found[:most]]


def _is(what: What, state: np.ndarray, slots: Int | slice) -> Bool:
    """Whether slots are what is counted, shape (slot, plan)."""
    if what is What.FINISHED:
        return np.logical_or.accumulate(state == LAST, axis=0)[slots]
    wanted: Bool = state[slots] == (FULL if what is What.FULL else CAPPED)
    return wanted
