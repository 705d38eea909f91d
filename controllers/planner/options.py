"""How to plan: formulation, what comes first, how far to search, and how stays are put on steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from cosim.errors import Fault, range_faults, refuse

Formulation = Literal["lp", "milp"]
Objective = Literal["service", "weighted"]
Fairness = Literal["total", "maxmin"]

Rounding = Literal["prorata", "inside", "outside", "nearest", "down"]
"""How a stay that begins or ends inside a step is planned.

``prorata``: as it is; the step counts for the part in which the vehicle is there. ``inside``: whole steps within the
stay (never a promise that cannot be kept, but shorter). ``outside``: every step that the stay touches (longer).
``nearest``: both ends to the nearest step. ``down``: both ends to the step before, as seed 002 did.
"""


@dataclass(frozen=True)
class Options:
    """Options of a plan.

    Attributes
    ----------
    formulation : str
        ``lp``: any power up to the largest. ``milp``: off, or at least the smallest power.
    objective : str
        ``service``: the least shortfall first, then the least cost among such plans. ``weighted``: one sum of cost
        and shortfall at 100 EUR over the battery's capacity, as seed 002 has it, or at a price of one's own.
    fairness : str
        ``total``: the least sum of shortfalls. ``maxmin``: first raise the worst-served vehicle's share of what it
        could get, then the next (the MILP raises the worst alone); with ``service`` only.
    shortfall_eur_per_kwh : float or None
        Price of what is missing in a battery; ``weighted`` only.
    margin_min : float
        Minutes before each departure in which as little is drawn as the least shortfall allows, whatever it costs: who
        leaves by so much early has what was planned; with ``service`` only [min].
    derate : float
        Part of each charger's rating to plan with, a factor: 0.9 plans with 90 %. Whose need is more than that gives in
        its stay is planned with as much as it takes.
    min_up_steps : int
        Steps that a vehicle, once on, stays on; MILP only.
    max_starts : int or None
        How often a vehicle may be switched on; MILP only.
    least_starts : bool
        Whether, of plans that are as good in all aims, one with the fewest starts is looked for; of the MILP with least
        powers, for without these nothing says what on is.
    n_sols : int
        Plans wanted: the best one and others that cost at most 1 % more.
    gap : float
        Relative gap at which the MILP may stop.
    time_limit_s : float
        Wall clock of all solves together [s].
    """

    formulation: Formulation = "lp"
    objective: Objective = "service"
    fairness: Fairness = "total"
    shortfall_eur_per_kwh: float | None = None
    margin_min: float = 0.0
    derate: float = 1.0
    min_up_steps: int = 1
    max_starts: int | None = None
    least_starts: bool = True
    n_sols: int = 1
    gap: float = 1e-4
    time_limit_s: float = 60.0

    def __post_init__(self) -> None:
        refuse(self._faults())

    @property
    def switched(self) -> bool:
        """Whether on and off are decided."""
        return self.formulation == "milp"

    def _faults(self) -> Iterator[Fault]:
        for key, words in (("formulation", Formulation), ("objective", Objective), ("fairness", Fairness)):
            if getattr(self, key) not in get_args(words):
                yield Fault("planner", key, f"is {getattr(self, key)!r}", f"use one of {', '.join(get_args(words))}")
        ranges = (
            ("min_up_steps", self.min_up_steps, 1, 10_000, "whole steps"),
            ("max_starts", 1 if self.max_starts is None else self.max_starts, 1, 10_000, "a whole number"),
            ("n_sols", self.n_sols, 1, 1_000, "a number of plans"),
            ("shortfall_eur_per_kwh", self.shortfall_eur_per_kwh or 0.0, 0.0, 1e4, "EUR/kWh"),
            ("margin_min", self.margin_min, 0.0, 1440.0, "minutes"),
            ("derate", self.derate, 0.1, 1.0, "the part of each rating to plan with, such as 0.9,"),
            ("gap", self.gap, 0.0, 1.0, "a share"),
            ("time_limit_s", self.time_limit_s, 0.0, 1e6, "seconds"),
        )
        yield from range_faults("planner", ranges)
        if self.formulation == "lp" and (self.min_up_steps > 1 or self.max_starts is not None):
            key = "min_up_steps" if self.min_up_steps > 1 else "max_starts"
            yield Fault("planner", key, "needs on and off", "use formulation milp")
        if self.fairness == "maxmin" and self.objective == "weighted":
            yield Fault("planner", "fairness", "maxmin ranks aims, weighted adds them", "use objective service")
        if self.shortfall_eur_per_kwh is not None and self.objective == "service":
            remedy = "use objective weighted"
            yield Fault("planner", "shortfall_eur_per_kwh", "has no say where service comes first", remedy)
        if self.margin_min > 0 and self.objective == "weighted":
            yield Fault("planner", "margin_min", "is an aim by itself, weighted has one", "use objective service")
