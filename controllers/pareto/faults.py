"""What can be wrong with the options, all of it named at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

from cosim.contract import Exogenous
from cosim.controllers.pareto.choice import choice_faults, default_weights
from cosim.controllers.pareto.objectives import DEFAULT, OBJECTIVES, are_convex
from cosim.errors import Fault, range_faults

WHERE = "controller 'pareto'"
FEWEST = 8
_RANGES = {
    "population": (FEWEST, 10_000), "generations": (1, 100_000), "horizon_steps": (1, 96),
    "control_min": (1.0, 1440.0), "max_curtailment_percent": (0.0, 100.0),
    "max_total_curtailment_percent": (0.0, 100.0), "max_starts": (1, 1000),
}  # fmt: skip


def option_faults(options: Mapping[str, Any]) -> list[Fault]:
    """Faults of options of the right types that can be told without a feeder.

    Parameters
    ----------
    options : mapping
        Those that were given; defaults are sound.
    """
    objectives = options.get("objectives")
    objectives = DEFAULT if objectives is None else tuple(objectives)
    weights = options.get("weights")
    weights = default_weights(objectives) if weights is None else weights
    found = list(_name_faults(objectives))
    found += choice_faults(options.get("rule", "asf"), weights, objectives)
    ranges = [(key, options.get(key, low), low, high, "a number") for key, (low, high) in _RANGES.items()]
    found += range_faults(WHERE, ranges)
    found += _limit_faults(options)
    if options.get("method") == "convex" and not are_convex(objectives):
        others = [name for name in objectives if not are_convex((name,))]
        found.append(Fault(WHERE, "method", f"'convex' is not for {', '.join(others)}", "use 'auto' or 'nsga2'"))
    return found


def _limit_faults(options: Mapping[str, Any]) -> Iterator[Fault]:
    limits = options.get("voltage_limits_pu")
    if limits is not None:
        sound = len(limits) == 2 and all(isinstance(limit, Real) for limit in limits)
        if not sound or not 0.0 <= limits[0] < limits[1]:
            remedy = "give the lowest and the highest, such as [0.9, 1.1]; [0.0, inf] for none"
            yield Fault(WHERE, "voltage_limits_pu", f"is {list(limits)}", remedy)
    for key, example in (("loading_limit_percent", 100), ("max_ramp_kw", 20)):
        value = options.get(key)
        if value is not None and not value > 0.0:
            yield Fault(WHERE, key, f"is {value}", f"give a number above 0, such as {example}; inf for none")


def day_faults(objectives: Sequence[str], expected: Exogenous) -> list[Fault]:
    """Objectives that have nothing to act on in a day."""
    return objective_faults(
        objectives, {"roofs": bool((expected.inverter_kva > 0.0).any()), "cars": len(expected.sessions) > 0}
    )


def objective_faults(objectives: Sequence[str], there: Mapping[str, bool]) -> list[Fault]:
    """Objectives that need something which is not there (``roofs``, ``cars``)."""
    return [
        Fault(WHERE, "objectives", f"'{name}' needs {OBJECTIVES[name].needs}, and there are none", "leave it out")
        for name in objectives
        if name in OBJECTIVES and not there.get(OBJECTIVES[name].needs, True)
    ]


def _name_faults(objectives: Sequence[str]) -> Iterator[Fault]:
    unknown = [name for name in objectives if name not in OBJECTIVES]
    if unknown:
        yield Fault(WHERE, "objectives", f"unknown: {', '.join(unknown)}", f"use some of {', '.join(OBJECTIVES)}")
    if not 2 <= len(objectives) <= 3:
        yield Fault(WHERE, "objectives", f"{len(objectives)} given", f"give two or three of {', '.join(OBJECTIVES)}")
    if len(set(objectives)) < len(objectives):
        yield Fault(WHERE, "objectives", "names one twice", "name each once")
