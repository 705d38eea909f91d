"""What aggregates promise for the default day, and what cars and wires deliver."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cosim import controllers, run
from cosim.contract import Float
from cosim.controllers.aggregation.controller import Aggregator
from cosim.controllers.aggregation.disaggregate import missed_kwh
from cosim.experiments.compose import compose
from cosim.experiments.scenario import read
from cosim.measures import json_safe

SCENARIO = "european_lv_may_day"
RUNS: dict[str, dict[str, Any]] = {
    "simple": {"aggregate": "sum"},
    "envelope": {"aggregate": "envelope"},
    "one unit with factors": {"aggregate": "bilevel", "units": 1},
    "four units with factors": {"aggregate": "bilevel"},
}


@dataclass(frozen=True, eq=False)
class Kept:
    """One aggregate's promise and its delivery, over one day.

    Attributes
    ----------
    promise_kw, delivered_kw : ndarray, shape (plan step,)
        Charging of all cars.
    step_h : float
        Length of a plan step [h].
    metrics : dict
        Numbers of this run.
    """

    promise_kw: Float
    delivered_kw: Float
    step_h: float
    metrics: dict[str, Any]


@dataclass(frozen=True)
class _Metrics:
    promised_kwh: float
    unfollowed_forecast_kwh: float
    cut_kwh: float
    missed_kwh: float
    promise_rmse_kw: float
    promise_error_max_kw: float
    unserved_kwh: float
    voltage_min_v: float
    voltage_max_v: float
    transformer_peak_percent: float


def run_loop(seed: int) -> dict[str, Kept]:
    """Run the default day under every aggregate, with perfect foresight of sessions and demand."""
    composition = compose(read(SCENARIO))
    told: dict[str, Kept] = {}
    for name, options in RUNS.items():
        controller = controllers.make("aggregator", composition.feeder, seed=seed, **options)
        assert isinstance(controller, Aggregator)  # noqa: S101 - the registry says so
        trajectory = run(composition.feeder, composition.exogenous, controller)
        promise = controller.promise_kw
        delivered = trajectory.ev_kw.sum(axis=1).reshape(len(promise), -1).mean(axis=1)
        step_h = 24.0 / len(promise)
        error = delivered - promise
        numbers = _Metrics(
            promised_kwh=float(promise.sum() * step_h),
            unfollowed_forecast_kwh=controller.promised_short_kwh,
            cut_kwh=controller.cut_kwh,
            missed_kwh=missed_kwh(promise, delivered, step_h),
            promise_rmse_kw=float(np.sqrt(np.mean(error**2))),
            promise_error_max_kw=float(np.abs(error).max()),
            unserved_kwh=float((trajectory.exogenous.sessions.energy_need_kwh - trajectory.delivered_kwh).sum()),
            voltage_min_v=float(trajectory.voltage_v.min()),
            voltage_max_v=float(trajectory.voltage_v.max()),
            transformer_peak_percent=float(trajectory.transformer_percent.max()),
        )
        told[name] = Kept(promise, delivered, step_h, json_safe(asdict(numbers)))
    return told
