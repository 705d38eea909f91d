"""Studies: config -> run -> result -> figures, report, metrics, manifest; each a folder here, see `base.Study`.

A new study is a folder with a subclass of `base.Study`, and a line in `STUDIES`. Nothing of it is imported before its
command is called.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """Where a study is, as ``module:class``, and what it is about."""

    target: str
    about: str


STUDIES: dict[str, Entry] = {
    "host_capacity": Entry(
        "cosim.experiments.studies.host_capacity.study:HostCapacity",
        "Household caps under a transformer limit: why the tariff had no effect, and what mends it.",
    ),
    "cpo_planner": Entry(
        "cosim.experiments.studies.cpo_planner.study:CpoPlanner",
        "A charge-point operator's day-ahead plan: forty vehicles behind 100 kW, LP and MILP.",
    ),
    "fleet_aggregation": Entry(
        "cosim.experiments.studies.fleet_aggregation.study:FleetAggregation",
        "A fleet as one battery: what it promises on other weeks, and what the cars deliver.",
    ),
    "station_pricing": Entry(
        "cosim.experiments.studies.station_pricing.study:StationPricing",
        "Prices at charging stations when drivers choose by cost and time, and the wires.",
    ),
}
"""Studies by name, in the order in which ``cosim reproduce`` lists them."""
