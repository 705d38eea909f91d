"""How a piece of the problem is asked for, and how it ended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from cosim.contract import Int
from cosim.controllers.caps.core.finishing import Kept
from cosim.controllers.caps.core.solve import Found
from cosim.controllers.caps.core.subproblem import Plan, Subproblem
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.solver import Clock, Limits, Termination


class Least(Protocol):
    """Serves all that can be served, then withholds least; see `core.solve.least_withheld`."""

    def __call__(
        self,
        sub: Subproblem,
        stop: Limits,
        rng: np.random.Generator,
        start: Plan | None = None,
        /,
        *,
        kept: Sequence[Kept] = (),
        most_unserved_kwh: float = np.inf,
    ) -> Found:
        """Return what was found."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a piece ended.

    Attributes
    ----------
    sub : Subproblem
        The piece with the floors that were kept.
    plan : Plan or None
        None where nothing was found.
    objective, bound : float
        Of the objective asked for, and the proven bound of it.
    withheld_bound_kwh : float
        Lower bound of usable energy withheld, at these floors and where the objective is another at its value [kWh].
    status : Termination
        What is proven.
    """

    sub: Subproblem
    plan: Plan | None
    objective: float
    bound: float
    withheld_bound_kwh: float
    status: Termination


@dataclass(frozen=True, eq=False)
class Asked:
    """How a piece is solved.

    Attributes
    ----------
    least : callable
        Solves it for given floors.
    options : CapsOptions
        What is asked for.
    rng : numpy.random.Generator
        Of searches.
    clock : Clock
        What is left for this piece.
    home : ndarray of int, shape (car,)
        Home of each car of the piece.
    """

    least: Least
    options: CapsOptions
    rng: np.random.Generator
    clock: Clock
    home: Int

    def found(
        self,
        sub: Subproblem,
        start: Plan | None = None,
        *,
        kept: Sequence[Kept] = (),
        most_unserved_kwh: float = np.inf,
        share: float = 1.0,
    ) -> Found:
        """Solve a piece in a share of the time left."""
        stop = replace(self.options.stop, time_s=share * self.clock.left_s)
        return self.least(sub, stop, self.rng, start, kept=kept, most_unserved_kwh=most_unserved_kwh)


def outcome_of(sub: Subproblem, found: Found) -> Outcome:
    """Return what withholding least came to."""
    bound = max(found.bound, 0.0)
    return Outcome(sub, found.plan, found.objective, bound, bound, found.status)
