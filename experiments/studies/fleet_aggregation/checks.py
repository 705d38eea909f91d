"""Two checks: the scalable fit against a small case's proven optimum, and promises against delivery on a feeder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cosim import controllers, load, run
from cosim.contract import Float
from cosim.controllers.aggregation import block_of_step, scaled
from cosim.controllers.aggregation.controller import Aggregator
from cosim.controllers.aggregation.deviation import Weights, deviation
from cosim.controllers.aggregation.disaggregate import missed_kwh
from cosim.controllers.aggregation.exact import fit_exactly
from cosim.controllers.aggregation.fit import FitOptions, fit_factors
from cosim.controllers.aggregation.programme import StoreLp
from cosim.controllers.solver import Limits
from cosim.experiments.studies.fleet_aggregation.data import small_case
from cosim.measures.balance import valid

SEED, CARS, HOURS, MAPS_H = 3, 6, 24, (24, 12, 6)
STOP = Limits(gap=1e-3, nodes=20_000)
SCENARIO = "european_lv_may_day"
RUNS: dict[str, dict[str, Any]] = {
    "simple": {"aggregate": "sum"},
    "envelope": {"aggregate": "envelope"},
    "one unit with factors": {"aggregate": "bilevel", "units": 1},
    "four units with factors": {"aggregate": "bilevel"},
}


def check_exactly() -> list[dict[str, Any]]:
    """Fit the small case both ways; a row for each map.

    Returns
    -------
    list of dict
        ``block_h``: hours that share a factor. ``unscaled``, ``scalable``, ``exact``, ``bound``: mean squared deviation
        without factors, by the scalable fit, the best proven one, and its bound [kW2]. ``absolute``,
        ``absolute_bound``: best mean absolute deviation and its bound, from one MILP [kW]. ``status``,
        ``absolute_status``: how the exact searches ended. ``rounds``: MILPs for the squared deviation. ``same_kw``:
        largest difference between the MILP's schedule and the inner programme solved again at its factors [kW].
    """
    case = small_case(SEED, CARS, HOURS)
    lp = StoreLp(case.store.steps, case.store.keep)
    unscaled = deviation(case.target, lp.solve(case.store, case.price_eur_per_kwh), Weights())
    rows = []
    for block_h in MAPS_H:
        quick = fit_factors([case], block_h, np.random.default_rng(SEED), FitOptions(regularisation=0.0, kicks=30))
        squared = fit_exactly(case, block_h, deviation="squared", stop=STOP)
        absolute = fit_exactly(case, block_h, stop=STOP)
        tau = block_of_step(case.store.steps, case.store.step_h, squared.factors.block_h)
        again = lp.solve(scaled(case.store, squared.factors, tau), case.price_eur_per_kwh)
        rows.append({
            "block_h": block_h, "unscaled": unscaled, "scalable": quick.deviation, "exact": squared.objective,
            "bound": squared.bound, "absolute": absolute.objective, "absolute_bound": absolute.bound,
            "status": squared.status, "absolute_status": absolute.status, "rounds": squared.rounds,
            "same_kw": float(np.abs(again.charge_kw - squared.schedule.charge_kw).max()),
        })  # fmt: skip
    return rows


@dataclass(frozen=True, eq=False)
class Kept:
    """One aggregate's promise and its delivery, over one day.

    Attributes
    ----------
    promise_kw, delivered_kw : ndarray, shape (plan step,)
        Charging of all cars.
    metrics : dict
        Numbers of this run.
    """

    promise_kw: Float
    delivered_kw: Float
    metrics: dict[str, float]


def run_day(seed: int) -> dict[str, Kept]:
    """Run the default day under every aggregate, with perfect foresight of sessions and demand."""
    day = load(SCENARIO)
    kept: dict[str, Kept] = {}
    for name, options in RUNS.items():
        controller = controllers.make("aggregator", day.feeder, seed=seed, **options)
        assert isinstance(controller, Aggregator)  # noqa: S101 - the registry says so
        trajectory = valid(run(day.feeder, day.exogenous, controller))
        promise = controller.promise_kw
        delivered = trajectory.ev_kw.sum(axis=1).reshape(len(promise), -1).mean(axis=1)
        step_h, error = 24.0 / len(promise), delivered - promise
        need_kwh = trajectory.exogenous.sessions.energy_need_kwh
        kept[name] = Kept(promise, delivered, {
            "promised_kwh": float(promise.sum() * step_h),
            "unfollowed_forecast_kwh": controller.promised_short_kwh,
            "cut_kwh": controller.cut_kwh,
            "missed_kwh": missed_kwh(promise, delivered, step_h),
            "promise_rmse_kw": float(np.sqrt(np.mean(error**2))),
            "promise_error_max_kw": float(np.abs(error).max()),
            "unserved_kwh": float((need_kwh - trajectory.delivered_kwh).sum()),
            "voltage_min_v": float(trajectory.voltage_v.min()),
            "voltage_max_v": float(trajectory.voltage_v.max()),
            "transformer_peak_percent": float(trajectory.transformer_percent.max()),
        })  # fmt: skip
    return kept
