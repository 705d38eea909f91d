"""What can be wrong with the options, all of it named at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

from cosim.contract import Exogenous
from cosim.controllers.pareto.choice import choice_faults, default_weights
from cosim.controllers.pareto.exact import applies
from cosim.controllers.pareto.objectives import CONVEX_PAIR, OBJECTIVES
from cosim.errors import Fault, range_faults

WHERE = "controller 'pareto'"
FEWEST = 8
_RANGES = {
    "population": (FEWEST, 10_000), "generations": (1, 100_000), "horizon_steps": (1, 96),
    "certificate_every": (1, 10**6), "control_min": (1.0, 1440.0),
}  # fmt: skip


def option_faults(options: Mapping[str, Any]) -> list[Fault]:
    """Faults of options of the right types that can be told without a feeder.

    Parameters
    ----------
    options : mapping
        Those that were given; defaults are sound.
    """
    objectives = options.get("objectives")
    objectives = CONVEX_PAIR if objectives is None else tuple(objectives)
    weights = options.get("weights")
    weights = default_weights(objectives) if weights is None else weights
    found = list(_name_faults(objectives))
    found += choice_faults(options.get("rule", "asf"), weights, objectives)
    ranges = [(key, options.get(key, low), low, high, "a number") for key, (low, high) in _RANGES.items()]
    found += range_faults(WHERE, ranges)
    found += _limit_faults(options)
    if options.get("certificate") == "qp" and not applies(objectives):
        remedy = "use 'long' or 'auto'"
        found.append(Fault(WHERE, "certificate", f"'qp' is for {' with '.join(CONVEX_PAIR)} only", remedy))
    return found


def _limit_faults(options: Mapping[str, Any]) -> Iterator[Fault]:
    limits = options.get("voltage_limits_pu")
    if limits is not None:
        sound = len(limits) == 2 and all(isinstance(limit, Real) for limit in limits)
        if not sound or not 0.0 <= limits[0] < limits[1]:
            remedy = "give the lowest and the highest, such as [0.9, 1.1]; [0.0, inf] for none"
            yield Fault(WHERE, "voltage_limits_pu", f"is {list(limits)}", remedy)
    percent = options.get("loading_limit_percent")
    if percent is not None and not percent > 0.0:
        remedy = "give a number above 0, such as 100; inf for none"
        yield Fault(WHERE, "loading_limit_percent", f"is {percent}", remedy)


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
