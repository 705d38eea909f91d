"""The weather of a scenario, and the devices that its tables name, drawn or from own files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim import plugins
from cosim.contract import Exogenous, Feeder, Float, Units
from cosim.devices import Device
from cosim.devices.registry import REGISTRY, find
from cosim.errors import Fault, InputError, collecting, refuse
from cosim.experiments.scenario import Scenario
from cosim.feeders.clock import Clock
from cosim.feeders.join import by_customer, read_customer_table, unheard
from cosim.feeders.series import Quantity, read_series

OUTDOOR = Quantity(
    "outdoor temperature", "degrees Celsius", -60.0, 60.0, above="give Celsius, not kelvin or Fahrenheit"
)
WATER = Quantity("hot water", "kW", 0.0, 100.0, "give the heat drawn, 0 or more", "give kW, not W", (0.5, 60.0))


PLURALS = {"battery": "batteries", "heat_pump": "heat pumps"}
"""Tables of a scenario whose units have a rating."""


def rated_kw(day: Exogenous) -> dict[str, Float]:
    """Rating of every customer's unit by table, 0 where there is none, shape (customer,) [kW]."""
    return {name: day.devices[name].data.rated_kw for name in PLURALS if name in day.devices}


def with_devices(
    scenario: Scenario, feeder: Feeder, exogenous: Exogenous, told: Callable[[str], None] = unheard, *, day: int = 0
) -> Exogenous:
    """Add weather and devices to a day at one minute.

    Parameters
    ----------
    scenario : Scenario
        Whose tables ``weather``, ``battery``, ``heat_pump`` and ``devices`` are read.
    feeder : Feeder
        The place.
    exogenous : Exogenous
        The day without them.
    told : callable
        Takes warnings about own files.
    day : int
        -1 where it is the day before.

    Raises
    ------
    InputError
        With every fault of all tables.
    """
    faults: list[Fault] = []
    clock = Clock(scenario.start, scenario.zone, scenario.first_day)
    series = partial(_series, clock=clock, minutes=scenario.minutes, day=day)
    outdoor = scenario.weather.outdoor_c
    with collecting(faults, "weather"):
        if isinstance(outdoor, str):
            exogenous = replace(exogenous, ambient_c=series(outdoor, "outdoor_c", OUTDOOR, ("outdoor",), told)[:, 0])
        elif outdoor is not None:
            exogenous = replace(exogenous, ambient_c=exogenous.ambient_c - exogenous.ambient_c.mean() + outdoor)
    units: dict[str, Units] = {}
    for name in REGISTRY:
        table = getattr(scenario, name)
        if table.share or table.units:
            with collecting(faults, name):
                kind, options = find(name), table.model_dump()
                if table.units:
                    missing = f"has no {name.replace('_', ' ')}"
                    options["units"] = read_customer_table(
                        table.units, "units", feeder.customers, kind.columns, told, missing=missing,
                        optional=kind.optional,
                    )  # fmt: skip
                if options.pop("water", None):
                    options["water_kw"] = partial(series, table.water, "water", WATER, feeder.customers, told)
                rng = scenario.stream(name, feeder.customers)
                units[name] = Units(kind, kind.draw(feeder, exogenous, rng, **options))
    for name, own in scenario.devices.items():
        with collecting(faults, f"devices.{name}"):
            units[name] = _own(name, find(own.device), feeder, exogenous, scenario, own.options)
    refuse(faults)
    return replace(exogenous, devices=units) if units else exogenous


def _series(
    path: str,
    key: str,
    quantity: Quantity,
    customers: tuple[str, ...],
    told: Callable[[str], None],
    expected: NDArray[np.bool_] | None = None,
    *,
    clock: Clock,
    minutes: int,
    day: int,
) -> Any:
    """Values of an own file, minute by minute, shape (minute, customer)."""
    found = read_series(path, key, quantity, clock)
    if len(customers) == 1:  # one for all, whatever it is called
        if len(found.names) != 1:
            problem = f"has {len(found.names)} columns beside the time"
            raise InputError(Fault(path, key, problem, f"give one of {quantity.unit}"))
        return found.over(clock.start, minutes, day=day)
    missing = f"draws no {quantity.name}"
    return by_customer(found, customers, clock.start, minutes, told, day=day, missing=missing, expected=expected)[0]


def _own(
    name: str, kind: type[Device], feeder: Feeder, day: Exogenous, scenario: Scenario, options: dict[str, Any]
) -> Units:
    if kind.name != name:
        raise InputError(Fault("", "device", f"calls itself '{kind.name}'", f"write [devices.{kind.name}]"))
    door = "draw()"
    try:
        units = Units(kind, kind.draw(feeder, day, scenario.stream(name, feeder.customers), **options))
        door = "__init__()"
        device = kind(units.data, feeder, day)
        door = "observe()"
        lacks = f"{name}_kw" not in device.observe()
    except Exception as error:
        fault = plugins.fault_inside(error, plugins.source_of(kind), "device", f"{kind.__name__}.{door} failed")
        raise InputError(fault) from error
    if lacks:
        remedy = "return under that name what it drew in the last step, one value a customer"
        raise InputError(Fault("", "device", f"observe() reports no {name}_kw", remedy))
    return units
