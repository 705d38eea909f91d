"""Studies: config -> run -> result -> figures, report, metrics, manifest; each a folder here, see `base.Study`.

A new study is a folder whose ``study.py`` holds a subclass of `base.Study`, with its options in ``config.py``, data,
model, figures and a template of its report beside it, and an entry in `STUDIES`. Nothing of it is imported before its
command is called, and of what is called only its options until they are found to be right.
"""

from __future__ import annotations

from typing import NamedTuple


class Entry(NamedTuple):
    """A study and its config, as ``module:class``, what it is about, and the command it belongs to (none: its own)."""

    target: str
    config: str
    about: str
    group: str = "reproduce"


STUDIES: dict[str, Entry] = {
    "powertrip": Entry(
        "cosim.experiments.studies.powertrip.study:PowerTrip",
        "cosim.experiments.studies.powertrip.config:TripConfig",
        "Three charge points and twelve PV units: phase unbalance, what control does, and what the index hides.",
    ),
    "host_capacity": Entry(
        "cosim.experiments.studies.host_capacity.study:HostCapacity",
        "cosim.experiments.studies.host_capacity.config:HostConfig",
        "Household caps under a transformer limit: why the tariff had no effect, and what mends it.",
    ),
    "cpo_planner": Entry(
        "cosim.experiments.studies.cpo_planner.study:CpoPlanner",
        "cosim.experiments.studies.cpo_planner.config:CpoConfig",
        "A charge-point operator's day-ahead plan: forty vehicles behind 100 kW, LP and MILP.",
    ),
    "fleet_aggregation": Entry(
        "cosim.experiments.studies.fleet_aggregation.study:FleetAggregation",
        "cosim.experiments.studies.fleet_aggregation.config:FleetConfig",
        "A fleet as one battery: what it promises on other weeks, and what the cars deliver.",
    ),
    "station_pricing": Entry(
        "cosim.experiments.studies.station_pricing.study:StationPricing",
        "cosim.experiments.studies.station_pricing.config:PricingConfig",
        "Prices at charging stations when drivers choose by cost and time, and the wires.",
    ),
    "sensitivity": Entry(
        "cosim.experiments.studies.sensitivity.study:Sensitivity",
        "cosim.experiments.studies.sensitivity.config:SensitivityConfig",
        "What the answer depends on: each input of a day moved alone, and what that does to five measures.",
    ),
    "rephase": Entry(
        "cosim.experiments.studies.rephase.study:Rephase",
        "cosim.experiments.studies.rephase.config:RephaseConfig",
        "Find the re-phasings of customers that lower the day's unbalance current most, and run the day before and "
        "after. Up to two moves are the best of all combinations, verified by power flow; more are added greedily.",
        group="",
    ),
    "plan": Entry(
        "cosim.experiments.plan.study:PlanStudy",
        "cosim.experiments.plan.config:PlanConfig",
        "Plan a day of charging behind one connection, or make demand to plan (--generate N --seed S --out FILE).",
        group="",
    ),
}
"""Studies by name, in the order in which they are listed."""
