"""A fleet of cars as one virtual battery: how to build it, how to fit it to the cars, and what it then promises."""

from cosim.controllers.aggregation.aggregate import (
    MAPS_H,
    Factors,
    aggregate,
    block_of_step,
    envelope,
    scaled,
    simple_sum,
)
from cosim.controllers.aggregation.fleet import Fleet, checked_fleet
from cosim.controllers.aggregation.programme import StoreLp
from cosim.controllers.aggregation.reference import fleet_total, reference
from cosim.controllers.aggregation.store import BOUNDS, Schedule, Store

__all__ = [
    "BOUNDS", "MAPS_H", "Factors", "Fleet", "Schedule", "Store", "StoreLp", "aggregate", "block_of_step",
    "checked_fleet", "envelope", "fleet_total", "reference", "scaled", "simple_sum",
]  # fmt: skip
