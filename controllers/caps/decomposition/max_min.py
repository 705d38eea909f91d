"""The largest smallest room of a piece: floors refuted by prices, or kept by one plan per household.

At a given floor a household chooses no more than the slot in which it finishes; what it draws beyond the floor is a
fractional knapsack. So floors are priced by sorting, and a floor is refuted by any prices at which the cheapest plans
of all households cost more than the limits are worth (Farkas). The same prices refute every floor down to the one where
the two are equal, so each refutation brings the bound down to there. Floors are tried from above: a plan above a floor
is above every lower one, and the columns of the master programme stay valid.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.decomposition.finishing import Block, blocks, cheapest
from cosim.controllers.caps.decomposition.master import Master
from cosim.controllers.caps.decomposition.max_min_plan import Effort, finish
from cosim.controllers.caps.decomposition.plans import Plans
from cosim.controllers.caps.part import NEARLY_KW, SMALLEST_KW, Part, Plan, freed, respond
from cosim.controllers.caps.sharing import share_equally
from cosim.controllers.solver import Clock, OutOfTimeError

REFUTED_KWH = 1e-6  # at prices of up to the cost of overload, far above what rounding can add up to
OVERLOAD_KW = 1e-6
SMOOTHING = 0.5
RESOLUTION_KW = 1e-6
PRICES = 200  # tried for one floor
TRIALS = 40
NODES = 30  # of the first search for finishing slots; twice as many for each one after
STEPS = 12  # of the bisection that prices are good for
SLACK_SHARE = 0.25  # of the gap, kept between the floor tried and the smallest one refuted


@dataclass(frozen=True, eq=False)
class LargestFloor:
    """How far the smallest room could be raised.

    Attributes
    ----------
    plan : Plan or None
        The plan with the largest smallest room, None where none was found.
    floor_kw, bound_kw : float
        Its smallest room (0 without a plan), and what no plan exceeds [kW].
    struck : bool
        Whether the time limit ended it.
    """

    plan: Plan | None
    floor_kw: float
    bound_kw: float
    struck: bool


def at_floor(part: Part, floor_kw: float) -> Part:
    """Return the piece with one floor for every slot in which a car can charge."""
    return part.with_floor(np.where(part.usable_kw > SMALLEST_KW, floor_kw, 0.0))


def smallest_room_kw(part: Part, plan: Plan) -> float:
    """Return the smallest room over slots in which the car could charge at all [kW]."""
    return float(plan.room_kw[part.usable_kw > SMALLEST_KW].min(initial=np.inf))


def largest_floor(part: Part, gap: float, clock: Clock, rng: np.random.Generator) -> LargestFloor:
    """Raise the smallest room that caps leave as far as the limits of a piece allow.

    Parameters
    ----------
    part : Part
        The piece, whose needs must be servable; its own floors are ignored.
    gap : float
        Relative gap between floor and bound at which the search stops.
    clock : Clock
        Wall clock.
    rng : numpy.random.Generator
        Draws the households that choose anew when a floor is to be kept.
    """
    free = Plan(part.room_kw, respond(part, part.room_kw))
    if _keeps_limits(part, free):
        top = smallest_room_kw(part, free)
        return LargestFloor(free, top, top, False)
    return _Search(part, gap, clock, rng).run()


def _keeps_limits(part: Part, plan: Plan) -> bool:
    over_kw = (plan.charge_kw @ part.share - part.headroom_kw).max(initial=0.0)
    unserved_kw = np.abs(part.draw_kw - plan.charge_kw.sum(axis=0)).max(initial=0.0)
    return bool(max(over_kw, unserved_kw) <= 10 * NEARLY_KW)


class _Search:
    def __init__(self, part: Part, gap: float, clock: Clock, rng: np.random.Generator) -> None:
        self.part, self.gap, self.clock, self.rng = part, gap, clock, rng
        self.high = float(part.room_kw[part.usable_kw > SMALLEST_KW].min(initial=np.inf))
        self.low = 0.0
        self.plan: Plan | None = None
        self.price = np.zeros(part.headroom_kw.shape)
        self._master, self._columns_kw = Master(part), np.inf
        self._keep(share_equally(part)[0])

    def run(self) -> LargestFloor:
        floor, kept_kw = min(self.high, 2.0 * self.low) if self.low > 0 else self.high / 2.0, 0.0
        step, nodes = SLACK_SHARE * self.gap, NODES
        for _ in range(TRIALS):
            if self._done or self.clock.over:
                break
            columns = self._fractional(floor)
            if self.clock.over:
                break
            if columns is None:
                floor = max(self.high * (1.0 - step), (self.low + self.high) / 2.0 if kept_kw == 0.0 else 0.0, self.low)
                continue
            kept_kw = max(kept_kw, floor)
            if self.high - kept_kw > 2 * step * self.high:
                floor = (kept_kw + self.high) / 2.0
                continue
            found, nodes = self._round(floor, *columns, nodes), 2 * nodes
            if found:
                floor = (self.low + self.high) / 2.0
            elif self.low > 0.0:
                floor = (self.low + floor) / 2.0
            else:
                step *= 2.0
                floor = self.high * max(1.0 - step, 0.1)
        return LargestFloor(self.plan, self.low, max(self.high, self.low), self.clock.over and not self._done)

    @property
    def _done(self) -> bool:
        return self.high - self.low <= max(self.gap * self.high, RESOLUTION_KW)

    def _keep(self, plan: Plan) -> None:
        plan = freed(self.part, plan)
        plan = Plan(plan.room_kw, respond(self.part, plan.room_kw))
        room_kw = smallest_room_kw(self.part, plan)
        # the follower's own response is what counts, not what the programme expected it to draw
        if _keeps_limits(self.part, plan) and room_kw > self.low:
            self.plan, self.low = plan, room_kw

    def _fractional(self, floor_kw: float) -> tuple[Plans, Float] | None:
        """Return plans above a floor that keep the limits on average, with their weights, or None.

        None where prices refute the floor; what they refute besides is taken off the bound.
        """
        # plans made for a lower floor may lie below this one; those made for a higher one stay valid
        if floor_kw > self._columns_kw:
            self._master = Master(self.part)
        self._columns_kw = floor_kw
        master, pieces = self._master, _blocks_at(self.part, floor_kw)
        price, smoothing = self.price, 0.0
        for _ in range(PRICES):
            value, plans = _cheapest_load(self.part, pieces, price)
            if _refutes(self.part, price, value):
                self.price = price
                self._lower_bound_to(floor_kw)
                return None
            master.add(plans)
            try:
                solution = master.solve(self.clock.left_s)
            except OutOfTimeError:
                break
            if solution.overload_kw <= OVERLOAD_KW:
                return master.columns()
            if self.clock.over:
                break
            price = smoothing * price + (1.0 - smoothing) * solution.price
            smoothing = SMOOTHING if smoothing == 0.0 else 0.0
        return None

    def _lower_bound_to(self, floor_kw: float) -> None:
        """Bring the bound down to the lowest floor that the last prices refute."""
        self.high = min(self.high, floor_kw)
        low, high = self.low, floor_kw
        for _ in range(STEPS):
            if high - low <= self.gap / 20.0 * high:
                break
            middle = (low + high) / 2.0
            value, _ = _cheapest_load(self.part, _blocks_at(self.part, middle), self.price)
            if _refutes(self.part, self.price, value):
                high = middle
            else:
                low = middle
        self.high = min(self.high, high)

    def _round(self, floor_kw: float, plans: Plans, weight: Float, nodes: int) -> bool:
        plan = finish(self.part, plans, weight, (floor_kw, self.high), Effort(self.gap, nodes, self.clock), self.rng)
        if plan is not None:
            self._keep(plan)
        return plan is not None


def _blocks_at(part: Part, floor_kw: float) -> list[Block]:
    return list(blocks(part, np.broadcast_to(np.maximum(floor_kw, part.charger_min_kw), part.usable_kw.shape)))


def _refutes(part: Part, price: Float, value: Float) -> bool:
    # Farkas: at these prices all cheapest plans together cost more than the limits are worth, so no mixture fits
    return not np.isfinite(value).all() or float(value.sum() - (price * part.headroom_kw).sum()) > REFUTED_KWH


def _cheapest_load(part: Part, pieces: list[Block], price: Float) -> tuple[Float, Plans]:
    """Return what each car's cheapest plan above the floor pays for load, inf where it has none, and the plans."""
    car_price = price @ part.share.T
    value, charge = np.empty(len(part.cars)), np.zeros(part.usable_kw.shape)
    last = np.zeros(len(part.cars), np.int64)
    for block in pieces:
        where = np.ix_(block.slots, block.cars)
        paid = car_price[where]
        found = cheapest(block, paid * block.low_kw, paid * block.width_kw, paid, paid)
        value[block.cars], charge[where] = found.value, found.charge_kw
        last[block.cars] = block.slots[found.last]
    state = np.zeros(charge.shape, np.int8)
    every = np.arange(len(part.cars))
    state[last, every] = 1
    plans = Plans(every, state, charge, np.zeros(len(part.cars)))
    return value, plans if np.isfinite(value).all() else replace(plans, charge_kw=np.zeros_like(charge))
