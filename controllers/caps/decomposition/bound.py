"""Column generation: a proven lower bound on withheld energy, and the plans that attain it on average.

For any prices of load, the best plans of all households less what the limits are worth bound the optimum from below
(Lagrangian duality). Prices are smoothed between those of the best bound so far and those of the master programme,
after Wentges, "Weighted Dantzig-Wolfe decomposition for linear mixed-integer programming", Int. Trans. Oper. Res. 4
(1997), doi 10.1016/S0969-6016(97)00001-4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.decomposition.master import Master, joined
from cosim.controllers.caps.decomposition.pricing import Plans, chosen, pricing_of
from cosim.controllers.caps.part import Part
from cosim.controllers.solver import Clock, OutOfTimeError

# half the prices of the best bound, half the master's (Wentges): undamped, duals jump from round to round
SMOOTHING = 0.5
ROUNDS = 300
IMPROVING_KWH = 1e-7  # the solver's dual tolerance: reduced costs nearer to zero say nothing
SAMPLE = 200  # cars in the random subset that gives the first prices
SAMPLE_FROM = 800  # cars from which that pays
NO_LOAD_KW = 1e-6


@dataclass(frozen=True, eq=False)
class Relaxed:
    """The convexified problem, solved.

    Attributes
    ----------
    bound_kwh : float
        Proven lower bound.
    price : ndarray, shape (slot, phase)
        Prices of the best bound [kWh per kW].
    plans : Plans
        Every plan met.
    weight : ndarray, shape (plan,)
        Part of each in the optimum of the master programme.
    rounds : int
        Rounds of pricing.
    struck : bool
        Whether the time limit ended it.
    """

    bound_kwh: float
    price: Float
    plans: Plans
    weight: Float
    rounds: int
    struck: bool


def relax(part: Part, gap: float, clock: Clock, rng: np.random.Generator) -> Relaxed:
    """Solve the convexified problem of a piece to a relative gap, or as far as the clock allows.

    Parameters
    ----------
    part : Part
        The piece.
    gap : float
        Between the bound and the master programme, relative to the latter.
    clock : Clock
        Wall clock.
    rng : numpy.random.Generator
        Draws the subset of a large piece that gives the first prices.
    """
    pricing, master = pricing_of(part), Master(part)
    # 0 is a bound before anything is solved: withheld energy is never negative
    center, bound = np.zeros(part.headroom_kw.shape), 0.0
    for price in (center, *_sampled_prices(part, gap, clock, rng)):
        value, plans = pricing.best(price)
        master.add(plans)
        reached = _lagrangian(part, price, value)
        if reached > bound:
            center, bound = price, reached
    smoothing, rounds, struck = SMOOTHING, 0, False
    while True:
        try:
            solution = master.solve(clock.left_s)
        except OutOfTimeError:
            # the bound stands without the master's optimum (weak duality); only the weights are missing
            plans = joined(master.pool)
            return Relaxed(bound, center, plans, np.zeros(len(plans.cars)), rounds, True)
        # the master's value is above the convexified optimum and the bound below it: no further column gains more
        # than this
        small = solution.objective_kwh - bound <= gap * max(solution.objective_kwh, IMPROVING_KWH)
        struck = clock.over
        if (small and solution.overload_kw <= NO_LOAD_KW) or rounds >= ROUNDS or struck:
            break
        price = smoothing * center + (1.0 - smoothing) * solution.price
        value, plans = pricing.best(price)
        rounds += 1
        reached = _lagrangian(part, price, value)
        if reached > bound:
            center, bound = price, reached
        # reduced cost at the master's own prices: a plan that is best at smoothed ones need not improve it
        cost = plans.withheld_kwh + ((solution.price @ part.share.T) * plans.charge_kw).sum(axis=0)
        improving = np.flatnonzero(cost < solution.value_kwh - IMPROVING_KWH)
        master.add(chosen(plans, improving))
        if len(improving):
            smoothing = SMOOTHING
        elif smoothing > 0.0:
            smoothing = 0.0  # mispriced: ask at the prices of the master programme itself
        else:
            break
    plans, weight = master.columns()
    return Relaxed(bound, center, plans, weight, rounds, struck)


def _lagrangian(part: Part, price: Float, value: Float) -> float:
    # L(π) = Σ min(withheld + π load) - π headroom; weak duality: any π >= 0 gives a bound, so neither an optimal
    # master nor exact pricing (a lower value will do) is needed
    return float(value.sum() - (price * part.headroom_kw).sum())


def _sampled_prices(part: Part, gap: float, clock: Clock, rng: np.random.Generator) -> list[Float]:
    """Prices of a random subset of the cars under limits scaled to it: nearly those of all."""
    count = len(part.cars)
    if count < SAMPLE_FROM:
        return []
    cars = np.sort(rng.choice(count, SAMPLE, replace=False))
    # limits in proportion to need: then congestion, and with it prices, are like those of all cars
    scale = part.draw_kw[cars].sum() / part.draw_kw.sum()
    return [relax(part.of_cars(cars, part.headroom_kw * scale), gap, clock, rng).price]
