"""One plan per household above a common floor: a mixed-integer programme on the slots in which they finish.

``used[k]`` says that a household goes on after its slot k, so it falls from 1 to 0 once. Slots before the last one draw
at least the floor, which is itself a variable: only the interval in which it may still lie is its big-M.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.caps.decomposition.plans import Plans, chosen
from cosim.controllers.caps.part import LIMIT_SLACK_KW, SMALLEST_KW, Part, Plan
from cosim.controllers.solver import Clock, Limits, Model, Rows, solve

FREE_CARS = 20  # households that choose anew, at least
ATTEMPTS = 2  # each with more of them
WHOLE = 1e-6


@dataclass(frozen=True)
class Effort:
    """When the search for finishing slots ends.

    Attributes
    ----------
    gap : float
        Relative distance from the floor that cannot be kept.
    nodes : int
        Of branch and bound.
    clock : Clock
        Wall clock.
    """

    gap: float
    nodes: int
    clock: Clock


def finish(
    part: Part,
    plans: Plans,
    weight: Float,
    between_kw: tuple[float, float],
    effort: Effort,
    rng: np.random.Generator,
) -> Plan | None:
    """Return a plan above the lower of two floors, None where none was found.

    Parameters
    ----------
    part : Part
        The piece.
    plans : Plans
        Plans above the lower floor, and
    weight : ndarray, shape (plan,)
        their weights, with which they keep the limits on average. Households with one heavy plan keep it, some of them
        aside; the others choose anew.
    between_kw : tuple of float
        The floor to keep, and one that cannot be kept [kW].
    effort : Effort
        When the search stops.
    rng : numpy.random.Generator
        Draws households that choose anew though they need not.
    """
    heaviest = np.lexsort((-weight, plans.cars))
    _, first = np.unique(plans.cars[heaviest], return_index=True)
    heavy = chosen(plans, heaviest[first])
    fractional = weight[heaviest[first]] < 1.0 - WHOLE
    ranked = np.argsort(np.where(fractional, -1.0, rng.random(len(part.cars))), kind="stable")
    free_count = max(FREE_CARS, int(fractional.sum()))
    for _ in range(ATTEMPTS):
        if effort.clock.over:
            return None
        free, fixed = np.sort(ranked[:free_count]), np.sort(ranked[free_count:])
        headroom = part.headroom_kw - heavy.charge_kw[:, fixed] @ part.share[fixed]
        found = _Programme(part, free, headroom, between_kw).solve(effort)
        if found is not None:
            charge, last = heavy.charge_kw.copy(), (heavy.state > 0).argmax(axis=0)
            charge[:, free], last[free] = found
            return _plan(part, charge, last)
        if free_count >= len(part.cars):
            return None
        free_count *= 2
    return None


def _plan(part: Part, charge_kw: Float, last: Int) -> Plan:
    """Return the plan whose caps hold what is drawn before the last slots, and nothing where that is all or none."""
    before = (np.arange(part.slots)[:, None] < last) & (part.usable_kw > SMALLEST_KW)
    return Plan(np.where(before, charge_kw, part.room_kw), charge_kw)


class _Programme:
    """Columns: used, then power, for each slot in which a car may draw, and the floor."""

    def __init__(self, part: Part, free: Int, headroom_kw: Float, between_kw: tuple[float, float]) -> None:
        self.part, self.free, self.headroom_kw = part, free, headroom_kw
        self.floor_kw, self.most_kw = between_kw
        usable = part.usable_kw[:, free]
        available = usable > SMALLEST_KW
        low = np.where(available, np.minimum(np.maximum(self.floor_kw, part.charger_min_kw[free]), usable), 0.0)
        least_before, most = np.cumsum(low, axis=0) - low, np.cumsum(usable, axis=0)
        may_draw = available & (least_before <= part.draw_kw[free] + SMALLEST_KW)
        self.owner, self.slot = np.nonzero(may_draw.T)
        self.low_kw, self.usable_kw = low[self.slot, self.owner], usable[self.slot, self.owner]
        # a slot is surely used before the last one where all up to it is not enough, and surely not where even the
        # least up to it is too much
        self.must = (most < part.draw_kw[free] - SMALLEST_KW)[self.slot, self.owner]
        self.may = (least_before + low <= part.draw_kw[free] + SMALLEST_KW)[self.slot, self.owner]
        self.may &= np.concatenate([self.owner[1:] == self.owner[:-1], [False]])

    def solve(self, effort: Effort) -> tuple[Float, Int] | None:
        """Return power of shape (slot, car) and last slots, or None."""
        target = -self.most_kw * (1.0 - effort.gap / 2.0)
        limits = Limits(1e-5, effort.nodes, effort.clock.left_s, target=target)
        found = solve(self._model(), limits, mip_feasibility_tolerance=1e-9)
        if not found.has_point:
            return None
        values = found.x
        count = len(self.slot)
        charge = np.zeros((self.part.slots, len(self.free)))
        used = values[:count] > 0.5
        power = np.where(used, np.maximum(values[count : 2 * count], self.low_kw), values[count : 2 * count])
        charge[self.slot, self.owner] = np.clip(power, 0.0, self.usable_kw)
        rank = np.bincount(self.owner[used], minlength=len(self.free))
        first = np.searchsorted(self.owner, np.arange(len(self.free)))
        return charge, self.slot[first + rank]

    def _model(self) -> Model:
        part, count, rows = self.part, len(self.slot), Rows()
        every, power, floor = np.arange(count), count + np.arange(count), np.array(2 * count)
        follows = np.flatnonzero(self.owner[1:] == self.owner[:-1]) + 1
        after = np.arange(len(follows))
        phases = part.share.shape[1]
        share = part.share[self.free[self.owner]]
        loads = [(self.slot * phases + phase, power, share[:, phase]) for phase in range(phases)]
        rows.add(self.headroom_kw.size, -np.inf, self.headroom_kw.ravel() - LIMIT_SLACK_KW, *loads)
        need = part.draw_kw[self.free]
        rows.add(len(need), need, need, (self.owner, power, 1.0))
        # goes on after a slot only if it went on after the one before; draws only while it goes on
        rows.add(len(after), -np.inf, 0.0, (after, follows, 1.0), (after, follows - 1, -1.0))
        rows.add(len(after), -np.inf, 0.0, (after, power[follows], 1.0), (after, follows - 1, -self.usable_kw[follows]))
        rows.add(count, 0.0, np.inf, (every, power, 1.0), (every, every, -self.low_kw))
        # slots that hold the highest floor in question: it is a variable there; all others are used in full
        width = self.most_kw - self.floor_kw
        open_ = np.flatnonzero(self.usable_kw > self.most_kw)
        at = np.arange(len(open_))
        rows.add(
            len(open_), -self.most_kw, np.inf,
            # used = 1: power >= floor; used = 0: power >= floor - most, which says nothing: big-M is the largest
            # floor in question
            (at, power[open_], 1.0), (at, floor, -1.0), (at, open_, -self.floor_kw - width),
        )  # fmt: skip
        short = np.flatnonzero(self.usable_kw <= self.most_kw)
        at = np.arange(len(short))
        rows.add(len(short), 0.0, np.inf, (at, power[short], 1.0), (at, short, -self.usable_kw[short]))
        low = np.concatenate([self.must.astype(float), np.zeros(count), [self.floor_kw]])
        high = np.concatenate([self.may.astype(float), self.usable_kw, [self.most_kw]])
        cost = np.where(np.arange(2 * count + 1) == floor, -1.0, 0.0)
        return rows.model(cost, low, high, np.arange(2 * count + 1) < count)
