"""A fleet of cars as one virtual battery: how to build it, how to fit it to the cars, and what it then promises."""

from cosim.controllers.aggregation.aggregate import (
    MAPS_H,
    Factors,
    aggregate,
    applied,
    block_of_step,
    envelope,
    scaled,
    simple_sum,
)
from cosim.controllers.aggregation.deviation import Case, Weights, deviation, parts
from cosim.controllers.aggregation.disaggregate import disaggregate, missed_kwh
from cosim.controllers.aggregation.envelope import reachable
from cosim.controllers.aggregation.exact import fit_exactly
from cosim.controllers.aggregation.fit import FitOptions, fit_factors, minimise_in_box
from cosim.controllers.aggregation.fleet import PER_CAR, PER_STEP, Fleet, checked_fleet
from cosim.controllers.aggregation.model import ENVELOPE, SIMPLE, Recipe, judge, make_week, train, units_of
from cosim.controllers.aggregation.programme import StoreLp, fleet_total, reference
from cosim.controllers.aggregation.sensitivity import sensitivity
from cosim.controllers.aggregation.store import Store

__all__ = [
    "ENVELOPE", "MAPS_H", "PER_CAR", "PER_STEP", "SIMPLE", "Case", "Factors", "FitOptions", "Fleet", "Recipe",
    "Store", "StoreLp", "Weights", "aggregate", "applied", "block_of_step", "checked_fleet", "deviation",
    "disaggregate", "envelope", "fit_exactly", "fit_factors", "fleet_total", "judge", "make_week",
    "minimise_in_box", "missed_kwh", "parts", "reachable", "reference", "scaled", "sensitivity", "simple_sum",
    "train", "units_of",
]  # fmt: skip
