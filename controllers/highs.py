"""HiGHS as every controller here wants it: silent, on one thread, the same answer for the same data."""

from __future__ import annotations

import math

import highspy


def silent_highs(**options: str | float | bool) -> highspy.Highs:
    """Return a solver that prints nothing and uses one thread.

    Parameters
    ----------
    **options
        Further options of HiGHS, by name.
    """
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    solver.silent()
    for name, value in {"threads": 1, "random_seed": 1, **options}.items():
        solver.setOptionValue(name, value)
    return solver


def relative_gap(objective: float, bound: float, rounding: float = 0.0) -> float:
    """Return (objective - bound) / abs(objective); 0 up to a difference of ``rounding``, inf where one is unknown."""
    if not (math.isfinite(objective) and math.isfinite(bound)):
        return float("inf")
    apart = objective - bound
    return 0.0 if apart <= rounding else apart / max(abs(objective), 1e-9)
