"""The bound: a linear programme over plans of all cars, grown by pricing, and the best value of its Lagrangian.

Prices are a mean of those with the best Lagrangian value so far and the programme's own (Wentges' smoothing), which
keeps the first rounds from swinging. Every Lagrangian value is a bound, whatever the programme's duals are worth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from cosim.contract import Float, Int
from cosim.controllers.caps.core.pricing import price
from cosim.controllers.caps.core.subproblem import TOLERANCE_KW, Plan, Subproblem
from cosim.controllers.solver import Clock, Limits, Model, Solver

ROUNDS = 200
SMOOTHING = 0.6
SUBSET_CARS, SUBSET_SHARE, SUBSET_LEAST = 300, 20, 100  # from where first prices come from a part of the cars
OVER_KWH = 4.0  # a kW over a limit, in kW for a slot left unserved
ROUNDED_KW = 1e-6


@dataclass(frozen=True, eq=False)
class Relaxed:
    """The convexified problem.

    Attributes
    ----------
    bound : float
        Lower bound of the objective; inf where some car has no plan at all [kWh].
    prices : ndarray, shape (slot, limit)
        At which the bound was found [kWh/kW].
    above : ndarray, shape (car, row)
        By how much finishing there costs more than the car's best at these prices, at least [kWh].
    likeliest : Plan
        Of every car its plan with the largest weight.
    weight : ndarray, shape (car,)
        That weight.
    finish : ndarray, shape (car,)
        Mean usable energy before the row in which the car finishes: its place in an order of precedence [kW].
    over_kw : float
        By how much limits had to be exceeded [kW].
    """

    bound: float
    prices: Float
    above: Float
    likeliest: Plan
    weight: Float
    finish: Float
    over_kw: float


class _Master:
    """The linear programme over the plans known so far."""

    def __init__(self, sub: Subproblem) -> None:
        self.sub = sub
        limits, cars = sub.headroom_kw.size, sub.size
        self.rows = limits
        per_kw = max(float(np.abs(sub.per_kw_kwh).max(initial=0.0)), float(sub.weight_kwh.max()))
        over = sparse.vstack([-sparse.eye_array(limits), sparse.csc_array((cars, limits))])
        high = np.concatenate([sub.headroom_kw.ravel(), np.ones(cars)])
        low = np.concatenate([np.full(limits, -np.inf), np.ones(cars)])
        self._solver = Solver(Model(np.full(limits, OVER_KWH * per_kw), over, low, high))
        self.car: list[int] = []
        self.plans: list[tuple[int, Float, Float]] = []
        self._seen: set[tuple[int, int, bytes, float]] = set()

    def add(self, plan: Plan) -> int:
        """Add a plan of every car; return how many were new."""
        sub, costs = self.sub, plan.costs(self.sub)
        limits = sub.headroom_kw.shape[1]
        new, entries = [], []
        for car in range(sub.size):
            counted = plan.counted_kw[car]
            key = (car, int(plan.last[car]), np.round(counted, 6).tobytes(), round(float(costs[car]), 7))
            if key in self._seen:
                continue
            self._seen.add(key)
            rows = np.flatnonzero((counted > 0) & sub.is_slot[car])
            on = np.flatnonzero(sub.share[car])
            at = (sub.slot[car, rows][:, None] * limits + on).ravel()
            value = np.outer(counted[rows], sub.share[car, on]).ravel()
            entries.append((np.append(at, self.rows + car), np.append(value, 1.0)))
            new.append(car)
            self.car.append(car)
            self.plans.append((int(plan.last[car]), plan.drawn_kw[car].copy(), counted.copy()))
        if new:
            start = np.concatenate([[0], np.cumsum([len(at) for at, _ in entries])])
            at, value = (np.concatenate([entry[i] for entry in entries]) for i in (0, 1))
            shape = (self.rows + sub.size, len(new))
            self._solver.add_columns(costs[new], sparse.csc_array((value, at, start), shape))
        return len(new)

    def solve(self, time_s: float) -> tuple[float, Float, Float] | None:
        """Return value, prices and weights; None where time is up."""
        found = self._solver.solve(Limits(time_s=time_s))
        if not found.is_proven:
            return None
        prices = np.maximum(-found.row_dual[: self.rows], 0.0).reshape(self.sub.headroom_kw.shape)
        return found.value, prices, found.x


def relax(sub: Subproblem, gap: float, clock: Clock, rng: np.random.Generator, prices: Float | None = None) -> Relaxed:
    """Return a lower bound of the objective, prices, and plans in parts.

    Parameters
    ----------
    sub : Subproblem
        The piece.
    gap : float
        Relative gap between the bound and the programme at which to stop.
    clock : Clock
        Safety limit.
    rng : numpy.random.Generator
        Of the cars from which first prices come, where there are many.
    prices : ndarray, shape (slot, limit), optional
        To begin with [kWh/kW].
    """
    if prices is None and sub.size > SUBSET_CARS:
        some = np.sort(rng.choice(sub.size, max(SUBSET_LEAST, sub.size // SUBSET_SHARE), replace=False))
        part = sub.of_cars(some, sub.headroom_kw * len(some) / sub.size)
        prices = relax(part, gap, clock, rng, np.zeros_like(sub.headroom_kw)).prices
    centre = np.zeros_like(sub.headroom_kw) if prices is None else prices
    master, best, above = _Master(sub), -np.inf, np.zeros_like(sub.usable_kw)
    value, weights, smoothing = np.inf, np.zeros(0), SMOOTHING
    for number in range(ROUNDS):
        trial = centre
        if number:
            solved = master.solve(clock.left_s)
            if solved is None:
                break
            value, dual, weights = solved
            trial = smoothing * centre + (1.0 - smoothing) * dual
        priced = price(sub, trial)
        if not np.isfinite(priced.value).all():
            return Relaxed(np.inf, trial, priced.by_last, priced.plan, np.zeros(sub.size), np.zeros(sub.size), np.inf)
        lagrangian = float(priced.value.sum() - (trial * sub.headroom_kw).sum())
        if lagrangian > best:
            best, centre, smoothing = lagrangian, trial, SMOOTHING
            above = np.maximum(priced.by_last - priced.value[:, None], 0.0)
        elif number > 3:
            smoothing *= 0.7
        new = master.add(priced.plan)
        if np.isfinite(value) and value - best <= gap * max(abs(value), 1e-6):
            break
        if not new and number:
            if smoothing < 1e-3:
                break
            smoothing = 0.3 * smoothing if smoothing > 0.02 else 0.0
        if clock.over:
            break
    return _in_parts(sub, master, weights, Relaxed(best, centre, above, priced.plan, np.zeros(0), np.zeros(0), np.inf))


def _in_parts(sub: Subproblem, master: _Master, weights: Float, known: Relaxed) -> Relaxed:
    over_kw = float(weights[: master.rows].max(initial=0.0)) if len(weights) else np.inf
    parts = weights[master.rows :]
    top, finish, chosen = np.zeros(sub.size), np.zeros(sub.size), np.full(sub.size, -1)
    for at, (car, weight) in enumerate(zip(master.car, parts, strict=False)):
        finish[car] += weight * sub.before_kw[car, master.plans[at][0]]
        if weight > top[car]:
            top[car], chosen[car] = weight, at
    plan = known.likeliest
    for car in np.flatnonzero(chosen >= 0).tolist():
        plan.last[car], plan.drawn_kw[car], plan.counted_kw[car] = master.plans[chosen[car]]
    if not len(parts):
        finish = sub.before_kw[np.arange(sub.size), plan.last]
    return Relaxed(known.bound, known.prices, known.above, plan, top, finish, max(over_kw, 0.0))


def whole_cars(relaxed: Relaxed) -> tuple[Int, Int]:
    """Return the cars with a whole plan, and the others."""
    whole = relaxed.weight >= 1.0 - ROUNDED_KW
    return np.flatnonzero(whole), np.flatnonzero(~whole)


def keeps(sub: Subproblem, plan: Plan) -> bool:
    """Whether a plan keeps the limits."""
    return plan.over_kw(sub) <= TOLERANCE_KW
