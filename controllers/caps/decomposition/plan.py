"""From the convexified problem to one plan per household: a small choice of structures, then neighbourhoods."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.caps.decomposition.bound import Relaxed
from cosim.controllers.caps.decomposition.family import family
from cosim.controllers.caps.decomposition.master import joined
from cosim.controllers.caps.decomposition.pricing import IDLE, LAST, Plans, chosen, plans_of
from cosim.controllers.caps.decomposition.structures import Choice, choose
from cosim.controllers.caps.part import Part
from cosim.controllers.solver import Clock, Limits

WHOLE = 1e-6
FREE_CARS = 60  # cars whose structure is open in the first programme, at least
FIRST_TOGETHER = 40  # with fewer cars, neighbourhoods alone are quicker than one programme for all
NEIGHBOURS, NEIGHBOURS_MOST = 6, 14  # cars in a neighbourhood, at first and at most
WIDER, PATIENCE = 4, 5  # cars more after so many neighbourhoods in a row without progress
PROGRESS = 1e-5  # relative
KICKED = 4  # cars that must take another structure where nothing else helps
FAMILY = 16  # further structures offered there to each
STRUCTURES = 8  # offered to each
FIRST_PLANS, MANY_PLANS = 3, 1000  # better and better plans after which the same end
CHOICE_GAP = 1e-5
NODES, FEW_NODES = 100, 60  # of the first programme, and of a neighbourhood
NEIGHBOURHOODS = 120
COMBINED = 5  # structures of each car in a choice for all
NOISE_KWH = 1.0
FINISH_SLOTS = 3.0  # by which cars in a neighbourhood finish apart, about
OVERLOAD_KW = 1e-6
SPARE_KW = (
    2e-6  # kept free: what counts as no overload, and as much again that the solver lets a row be above its limit
)


@dataclass(frozen=True, eq=False)
class Incumbent:
    """One plan for each car, in the order of the piece's cars.

    Attributes
    ----------
    plans : Plans
        Of all cars.
    value_kwh : float
        Energy withheld plus what overload costs.
    overload_kw : float
        Largest load above a limit.
    timed_out : bool
        Whether the time limit ended the search.
    """

    plans: Plans
    value_kwh: float
    overload_kw: float
    timed_out: bool

    @property
    def feasible(self) -> bool:
        """Whether the limits are kept."""
        return self.overload_kw <= OVERLOAD_KW

    @property
    def rank(self) -> tuple[bool, float]:
        """Smaller is better: within the limits above all, since a few watts above them cost less than a gap allows."""
        return not self.feasible, self.value_kwh


class Offers:
    """Distinct structures met, sorted by car and by what they cost at the prices of the bound.

    Parameters
    ----------
    part : Part
        The piece.
    relaxed : Relaxed
        Its convexified problem.
    """

    def __init__(self, part: Part, relaxed: Relaxed) -> None:
        self.part = part
        self.price = relaxed.price
        self._more: dict[int, Plans] = {}
        plans = relaxed.plans
        kinds = np.ascontiguousarray(
            # the car's number as four bytes in front of its states: one key for each structure of each car, compared
            # as raw bytes
            np.vstack([plans.cars.astype(np.int32).view(np.int8).reshape(-1, 4).T, plans.state]).T
        )
        _, first, group = np.unique(kinds.view(f"V{kinds.shape[1]}").ravel(), return_index=True, return_inverse=True)
        weight = np.bincount(group, relaxed.weight, len(first))
        cost = self._cost(plans)[first]
        order = np.lexsort((cost, plans.cars[first]))
        self.plans, self.weight, cost = chosen(plans, first[order]), weight[order], cost[order]
        count = np.bincount(self.plans.cars, minlength=len(part.cars))
        self.begin = np.concatenate([[0], np.cumsum(count)])
        self.rank = np.arange(len(cost)) - self.begin[self.plans.cars]
        self.excess = cost - cost[self.begin[:-1]][self.plans.cars]

    def _cost(self, plans: Plans) -> Float:
        car_price = self.price @ self.part.share.T
        cost = np.empty(len(plans.cars))
        for begin in range(0, len(cost), 4096):  # in blocks: bounds the (slot, plan) temporary
            block = slice(begin, begin + 4096)
            cost[block] = (car_price[:, plans.cars[block]] * plans.charge_kw[:, block]).sum(axis=0)
        return cost + plans.withheld_kwh

    def heaviest(self) -> Int:
        """Return each car's structure with the largest weight, shape (car,)."""
        order = np.lexsort((-self.weight, self.plans.cars))
        rows: Int = order[self.begin[:-1]]
        return rows

    def runner_up(self) -> Float:
        """Return by how much each car's second-best structure is dearer, inf where it has one only, shape (car,)."""
        dearer = np.full(len(self.part.cars), np.inf)
        second = np.flatnonzero(self.rank == 1)
        dearer[self.plans.cars[second]] = self.excess[second]
        return dearer

    def of(self, cars: Int, most: int) -> Int:
        """Return the rows of the best structures of some cars."""
        return np.flatnonzero(np.isin(self.plans.cars, cars) & (self.rank < most))

    def more(self, car: int, *, most_flexible: bool) -> Plans:
        """Return further structures of a car, the cheapest at the prices of the bound; the first can do anything."""
        if car not in self._more:
            price = self.price @ self.part.share[car]
            self._more[car] = family(self.part, car, price, FAMILY)
        known = self._more[car]
        return known if most_flexible else chosen(known, np.arange(1, len(known.cars)))


def integer_plan(
    part: Part,
    relaxed: Relaxed,
    gap: float,
    clock: Clock,
    rng: np.random.Generator,
    start: Plans | None = None,
    neighbourhoods: int = NEIGHBOURHOODS,
) -> Incumbent | None:
    """Return one plan per car that withholds little, or None where none was found within the limits.

    Parameters
    ----------
    part : Part
        The piece.
    relaxed : Relaxed
        Its convexified problem.
    gap : float
        Relative gap to the bound at which the search stops.
    clock : Clock
        Wall clock.
    rng : numpy.random.Generator
        Draws neighbourhoods.
    start : Plans, optional
        A plan for each car, within the limits, to go on from where the first programmes find none.
    neighbourhoods : int
        Most that are searched.
    """
    offers = Offers(part, relaxed)
    target = relaxed.bound_kwh / (1.0 - gap) if gap < 1.0 else np.inf
    heaviest = chosen(offers.plans, offers.heaviest())
    # cars in parts have to choose anyway; of the whole ones, those whose second-best structure is hardly dearer
    first = np.argsort(offers.runner_up() + (offers.weight[offers.heaviest()] > 1 - WHOLE) * NOISE_KWH, kind="stable")
    fractional = int((offers.weight[offers.heaviest()] <= 1 - WHOLE).sum())
    free = np.sort(first[: max(FREE_CARS, fractional)])
    best = Incumbent(heaviest, np.inf, np.inf, False)
    if len(part.cars) > FIRST_TOGETHER:
        best = _improved(part, offers, best, free, target, clock, more=False)
        if not best.feasible:
            best = _improved(part, offers, best, free, target, clock, more=False)
    if start is not None and not best.feasible:
        best = Incumbent(start, float(start.withheld_kwh.sum()), 0.0, False)
    now, size, idle = best, NEIGHBOURS, 0
    for _ in range(neighbourhoods):
        if (best.feasible and best.value_kwh <= target) or clock.over:
            break
        free = (_neighbourhood if now.feasible else _overloading)(part, now.plans, min(size, len(part.cars)), rng)
        before = now.value_kwh
        now = _improved(part, offers, now, free, target, clock, more=True)
        best = min(best, now, key=lambda incumbent: incumbent.rank)
        idle = 0 if now.value_kwh < before - PROGRESS * before else idle + 1
        if idle >= PATIENCE:
            idle, size = 0, size + WIDER
        if size > NEIGHBOURS_MOST and now.feasible:
            size = NEIGHBOURS
            kicked = np.sort(rng.choice(len(part.cars), min(KICKED, len(part.cars)), replace=False))
            # from the best plan, with some cars barred from their own structure: out of a local optimum
            now = _improved(part, offers, best, kicked, target, clock, more=True, kick=True)
        size = min(size, NEIGHBOURS_MOST)
    return best if best.feasible else None


def combined(
    part: Part,
    plans: Plans,
    weight: Float,
    cost_kwh: Float,
    price: Float,
    best: Incumbent | None,
    target_kwh: float,
    clock: Clock,
) -> Incumbent | None:
    """Choose for all cars among the structures of a mixture, those nearly as cheap, and those of the best plan known.

    Parameters
    ----------
    part : Part
        The piece.
    plans : Plans
        All plans known.
    weight, cost_kwh : ndarray, shape (plan,)
        Part of each in the mixture, and what it costs at its prices.
    price : ndarray, shape (slot, phase)
        Price of load there.
    best : Incumbent or None
        Best plan known.
    target_kwh : float
        Good enough.
    clock : Clock
        Wall clock.
    """
    plans = _finished(part, plans)
    order = np.lexsort((cost_kwh, weight <= WHOLE, plans.cars))
    kinds = np.vstack([plans.cars[order].astype(np.int32).view(np.int8).reshape(-1, 4).T, plans.state[:, order]]).T
    kinds = np.ascontiguousarray(kinds).view(f"V{kinds.shape[1]}").ravel()
    _, first, group = np.unique(kinds, return_index=True, return_inverse=True)
    distinct, mean = order[np.sort(first)], plans.charge_kw.copy()
    # one structure in several plans of the mixture: their weighted mean is the power it really stands for
    for one in np.flatnonzero(np.bincount(group, weight[order] > WHOLE) > 1):  # throttled now here, now there: in both
        alike = order[group == one]
        mean[:, order[first[one]]] = plans.charge_kw[:, alike] @ weight[alike] / weight[alike].sum()
    plans = plans_of(part, plans.cars, plans.state, mean)
    begin = np.searchsorted(plans.cars[distinct], plans.cars[distinct])
    rank = np.arange(len(distinct)) - begin
    offered = chosen(plans, distinct[(rank < COMBINED) | (weight[distinct] > WHOLE)])
    start = None
    if best is not None:
        mine = best.plans.state[:, offered.cars]
        offered = joined([best.plans, chosen(offered, np.flatnonzero((offered.state != mine).any(axis=0)))])
        start = np.arange(len(part.cars))
    left = part.headroom_kw - np.clip(part.headroom_kw, 0.0, SPARE_KW)
    limits = Limits(CHOICE_GAP, FEW_NODES, clock.left_s, MANY_PLANS, target_kwh)
    found = choose(part, offered, left, price, 0.0, limits, start, strict=True)
    if found is None or (best is not None and found.objective_kwh >= best.value_kwh):
        return best
    fresh = chosen(offered, found.rows[np.argsort(offered.cars[found.rows])])
    charge = np.empty_like(found.charge_kw)
    charge[:, offered.cars[found.rows]] = found.charge_kw
    fresh = plans_of(part, fresh.cars, fresh.state, charge)
    return Incumbent(fresh, found.objective_kwh, found.overload_kw, found.timed_out)


def _finished(part: Part, plans: Plans) -> Plans:
    """Let cars that draw nothing in their last slot finish in the one before in which they do."""
    drawing = plans.charge_kw > OVERLOAD_KW
    last = part.slots - 1 - drawing[::-1].argmax(axis=0)
    slot = np.arange(part.slots)[:, None]
    state = np.where(slot < last, plans.state, np.where(slot == last, LAST, IDLE)).astype(np.int8)
    return plans_of(part, plans.cars, state, plans.charge_kw)


def _neighbourhood(_: Part, plans: Plans, size: int, rng: np.random.Generator) -> Int:
    """Draw cars: any, or such that finish at about the same time."""
    count = len(plans.cars)
    if rng.random() < 0.5:
        drawn = rng.choice(count, size, replace=False)
    else:
        # cars that finish together compete for the same slots; noise, so that neighbourhoods do not repeat
        finish = (plans.state == LAST).argmax(axis=0) + rng.exponential(FINISH_SLOTS, count)
        begin = int(rng.integers(count - size + 1))
        drawn = np.argsort(finish, kind="stable")[begin : begin + size]
    return np.sort(drawn)


def _overloading(part: Part, plans: Plans, size: int, rng: np.random.Generator) -> Int:
    """Draw cars that load what is overloaded most, and as many others; of many cars any few hardly ever do."""
    above = plans.charge_kw @ part.share - part.headroom_kw
    slot, phase = np.unravel_index(above.argmax(), above.shape)
    loading = np.flatnonzero(plans.charge_kw[slot] * part.share[:, phase] > OVERLOAD_KW)
    some = rng.choice(loading, min(len(loading), (size + 1) // 2), replace=False)
    others = rng.choice(np.setdiff1d(np.arange(len(part.cars)), some), size - len(some), replace=False)
    return np.sort(np.concatenate([some, others]))


def _improved(
    part: Part,
    offers: Offers,
    best: Incumbent,
    free: Int,
    target_kwh: float,
    clock: Clock,
    *,
    more: bool,
    kick: bool = False,
) -> Incumbent:
    """Choose anew for some cars, the others as they are; keep the better, or with a kick whatever is different."""
    others = np.setdiff1d(np.arange(len(part.cars)), free)
    mine, fixed = chosen(best.plans, free), chosen(best.plans, others)
    further = [offers.more(int(car), most_flexible=not best.feasible) for car in free] if more else []
    others_of = joined([chosen(offers.plans, offers.of(free, STRUCTURES)), *further])
    same = (others_of.state == mine.state[:, np.searchsorted(free, others_of.cars)]).all(axis=0)
    other = chosen(others_of, np.flatnonzero(~same)) if more else others_of
    kept = np.setdiff1d(free, other.cars) if kick else free
    offered = joined([chosen(mine, np.searchsorted(free, kept)), other])
    load = fixed.charge_kw @ part.share[others]
    # the start is only the heaviest structures side by side, which nobody has valued yet
    known = np.isfinite(best.value_kwh)
    nodes, most = (FEW_NODES, MANY_PLANS) if more else (NODES, FIRST_PLANS)
    limits = Limits(CHOICE_GAP, nodes, clock.left_s, most, target_kwh)
    start = np.arange(len(free)) if known and not kick else None
    left = part.headroom_kw - load
    left -= np.clip(left, 0.0, SPARE_KW)
    given = (part, offered, left, offers.price, float(fixed.withheld_kwh.sum()))
    found = choose(*given, limits, strict=True) if known and not best.feasible else None
    if found is None:
        if known and not best.feasible:  # what is overloaded may be at the target already
            limits = replace(limits, target=-np.inf)
        found = choose(*given, limits, start)
    if found is None:
        return best
    plans = _with(part, best.plans, offered, found)
    fresh = Incumbent(plans, found.objective_kwh, found.overload_kw, found.timed_out)
    return fresh if kick or fresh.rank < best.rank else best


def _with(part: Part, plans: Plans, offered: Plans, found: Choice) -> Plans:
    """Put what was found in the place of what those cars had."""
    cars = offered.cars[found.rows]
    state, charge = plans.state.copy(), plans.charge_kw.copy()
    state[:, cars], charge[:, cars] = offered.state[:, found.rows], found.charge_kw
    return plans_of(part, plans.cars, state, charge)
