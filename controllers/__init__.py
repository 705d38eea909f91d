"""Decisions: observation in, setpoints out.

A new controller is one file and one line in ``REGISTRY``; one of others needs neither, see `cosim.plugins`. Importing
this package imports none of them, so a solver is loaded only by the controller that needs it.
"""

from __future__ import annotations

if not __name__.startswith("cosim."):  # from the project's root a second copy of every class would load
    raise ImportError("import cosim.controllers, not controllers")

REGISTRY: dict[str, str] = {
    "none": "cosim.controllers.rules.none:NoControl",
    "on_arrival": "cosim.controllers.rules.on_arrival:OnArrival",
    "even": "cosim.controllers.rules.even:Even",
    "equal_share": "cosim.controllers.rules.equal_share:EqualShare",
    "dimming": "cosim.controllers.rules.dimming:Dimming",
    "droop": "cosim.controllers.rules.droop:Droop",
    "bilevel_caps": "cosim.controllers.caps.controller:BilevelCaps",
    "pareto": "cosim.controllers.pareto.controller:Pareto",
    "cpo_planner": "cosim.controllers.planner.controller:CpoPlanner",
    "aggregator": "cosim.controllers.aggregation.controller:Aggregator",
}
"""Name in scenarios to ``module:Class``."""


from cosim.controllers.registry import (  # noqa: E402 - which reads the table
    check,
    describe,
    find,
    make,
    names,
    needs_predictor,
    option_faults,
    option_texts,
    options,
)

__all__ = [
    "REGISTRY",
    "check",
    "describe",
    "find",
    "make",
    "names",
    "needs_predictor",
    "option_faults",
    "option_texts",
    "options",
]
