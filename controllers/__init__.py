"""Decisions: observation in, setpoints out.

A new controller is one file and one line in ``registry.REGISTRY``; one of others needs neither, see `cosim.plugins`.
Importing this package imports none of them, so a solver is loaded only by the controller that needs it.
"""

from cosim.controllers.registry import (
    REGISTRY,
    check,
    declared_faults,
    describe,
    find,
    make,
    names,
    needs_predictor,
    option_faults,
    option_texts,
    options,
    refuse_unknown,
    simplifies,
)

if not __name__.startswith("cosim."):  # from the project's root a second copy of every class would load
    raise ImportError("import cosim.controllers, not controllers")

__all__ = [
    "REGISTRY", "check", "declared_faults", "describe", "find", "make", "names", "needs_predictor", "option_faults",
    "option_texts", "options", "refuse_unknown", "simplifies",
]  # fmt: skip
