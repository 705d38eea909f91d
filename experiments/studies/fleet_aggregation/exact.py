"""The scalable fit against the proven optimum, on a case small enough for both."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.aggregation import Factors, Fleet, aggregate, block_of_step, fleet_total, reference, scaled
from cosim.controllers.aggregation.deviation import Case, Weights, deviation
from cosim.controllers.aggregation.exact import fit_exactly
from cosim.controllers.aggregation.fit import Wishes, fit_factors
from cosim.controllers.aggregation.fleet import PER_STEP, checked_fleet
from cosim.controllers.aggregation.programme import StoreLp
from cosim.controllers.caps.highs import Stop
from cosim.experiments.studies.fleet_aggregation.data import draw_cars, draw_prices, draw_week

CARS, HOURS, MAPS_H = 6, 24, (24, 12, 6)
STOP = Stop(gap=1e-3, nodes=20_000)
REGULARISATION = 0.0


@dataclass(frozen=True)
class Check:
    """One map of one small case, squared and absolute deviations.

    Attributes
    ----------
    block_h : int
        Hours that share a factor.
    unscaled, scalable, exact, bound : float
        Mean squared deviation without factors, by the scalable fit, the best proven one, and its bound [kW2].
    absolute, absolute_bound : float
        Best mean absolute deviation and its bound, from one MILP [kW].
    status, absolute_status : str
        How the exact searches ended.
    rounds : int
        MILPs for the squared deviation.
    same_kw : float
        Largest difference between the MILP's schedule and the inner programme solved again at its factors [kW].
    """

    block_h: int
    unscaled: float
    scalable: float
    exact: float
    bound: float
    absolute: float
    absolute_bound: float
    status: str
    absolute_status: str
    rounds: int
    same_kw: float


def small_case(seed: int, cars: int, hours: int) -> Case:
    """Draw the first day of a small fleet's week, closed by itself."""
    rng = np.random.default_rng(seed)
    drivers = draw_cars(cars, rng)
    fleet, price = _first_hours(draw_week(drivers, rng), hours), draw_prices(rng)[:hours]
    return Case(aggregate(fleet, "sum"), price, fleet_total(reference(checked_fleet(fleet), price)))


def check(seed: int = 3) -> list[Check]:
    """Fit the small case both ways, on several maps."""
    case, weights = small_case(seed, CARS, HOURS), Weights()
    lp = StoreLp(case.store.steps, case.store.keep)
    unscaled = deviation(case.target, lp.solve(case.store, case.price_eur_per_kwh).schedule, weights)
    made = []
    for block_h in MAPS_H:
        wishes = Wishes(regularisation=REGULARISATION, kicks=30)
        quick = fit_factors([case], block_h, np.random.default_rng(seed), wishes)
        squared = fit_exactly(case, block_h, deviation="squared", stop=STOP)
        absolute = fit_exactly(case, block_h, stop=STOP)
        again = _solved_charge_kw(lp, case, squared.factors)
        made.append(Check(
            block_h, unscaled, quick.deviation, squared.objective, squared.bound, absolute.objective, absolute.bound,
            squared.status, absolute.status, squared.rounds, float(np.abs(again - squared.schedule.charge_kw).max()),
        ))  # fmt: skip
    return made


def _solved_charge_kw(lp: StoreLp, case: Case, factors: Factors) -> Float:
    tau = block_of_step(case.store.steps, case.store.step_h, factors.block_h)
    return lp.solve(scaled(case.store, factors, tau), case.price_eur_per_kwh).schedule.charge_kw


def _first_hours(fleet: Fleet, hours: int) -> Fleet:
    return replace(fleet, **{name: getattr(fleet, name)[:hours] for name in PER_STEP})
