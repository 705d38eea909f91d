"""From a day to an answer: best plan, what chargers can do of it, and what is proven."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cosim.controllers.optimum.day import Day, Plan
from cosim.controllers.optimum.lower import Bound, lower_bound
from cosim.controllers.optimum.objective import OBJECTIVES, UNITS, Name, Objective
from cosim.controllers.optimum.upper import Point, improve, point, runnable, start
from cosim.errors import Fault, refuse

COVERED = (
    "perfect knowledge of the day; cars, roofs and batteries of every home in every step; rated conductors and highest "
    "voltages; the network as the reduced network has it"
)
SPARE = 0.02  # of the best, that budgets leave
NOT_COVERED = (
    "relaxed in the bound, so that it stays valid: the 6 A minimum of chargers outside of bills, and within them for "
    "one step of each stay; lowest voltages; that no battery charges and discharges at once; not part of it: reactive "
    "power (unity power factor of cars, roofs and batteries); other devices, and batteries beside them, run as expected"
)


@dataclass(frozen=True)
class Budgets:
    """What objectives other than these two may use of curtailment [kWh] and bills [EUR]; None: 2 % above the best."""

    curtailment_kwh: float | None = None
    bill_eur: float | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """What was found of a day.

    Attributes
    ----------
    day : Day
        The day.
    objective : Objective
        What was minimised.
    relaxed, best : Point
        Plans without and with the least power of chargers.
    bound : Bound or None
        What is proven, where it was asked for.
    process_s : float
        Processor time [s].
    """

    day: Day
    objective: Objective
    relaxed: Point
    best: Point
    bound: Bound | None
    process_s: float

    @property
    def plan(self) -> Plan:
        """Powers of the plan that chargers can follow."""
        return self.day.plan(self.best.x, self.best.unserved_kwh)

    @property
    def gap(self) -> float:
        """(best - bound) / best; nan without a bound."""
        return float("nan") if self.bound is None else gap(self.best.score, self.bound.value)

    def facts(self) -> dict[str, Any]:
        """Everything but powers, as plain data."""
        bound = self.bound
        return {
            "objective": self.objective.name,
            "unit": UNITS[self.objective.name],
            "cars": self.day.cars,
            "planned": self.best.score,
            "planned_continuous": self.relaxed.score,
            "curtailment_kwh_budget": _finite(self.objective.curtailment_kwh),
            "bill_eur_budget": _finite(self.objective.bill_eur),
            "planned_breach_h": self.best.breach_h,
            "unserved_kwh": float(self.best.unserved_kwh.sum()),
            "lower_bound": None if bound is None else bound.value,
            "lower_bound_without_network": None if bound is None else _finite(bound.without_network),
            "steps_at_stake": None if bound is None else bound.steps,
            "steps_unproven": None if bound is None else bound.unproven,
            "boxes": None if bound is None else bound.slices,
            "process_s": self.process_s,
            "covered": COVERED,
            "not_covered": NOT_COVERED,
        }


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def gap(value: float, bound: float) -> float:
    """Return (value - bound) / abs(value); 0 where both are nothing."""
    return (value - bound) / abs(value) if abs(value) > 1e-9 else 0.0 if value <= bound + 1e-9 else float("inf")


def find(day: Day, name: Name, budgets: Budgets, *, bound: bool) -> Answer:
    """Find the best plan of a day, and prove a bound where it is asked for.

    Raises
    ------
    InputError
        Where no plan keeps the budgets, or the objective has none.
    """
    began_s = time.process_time()
    objective, begun = OBJECTIVES[name], None
    if name in ("curtailment", "cost"):
        given = [key for key, value in vars(budgets).items() if value is not None]
        remedy = "leave it out, or minimise unbalance, losses or peak"
        refuse([Fault("controller 'optimum'", key, f"'{name}' has no budgets", remedy) for key in given])
    else:
        best = {one: _plans(day, OBJECTIVES[one])[1] for one in ("curtailment", "cost")}
        kept = [
            best[one].value + SPARE * abs(best[one].value) if given is None else given
            for one, given in (("curtailment", budgets.curtailment_kwh), ("cost", budgets.bill_eur))
        ]  # fmt: skip
        objective = replace(objective, curtailment_kwh=kept[0], bill_eur=kept[1])
        begun = best["cost"]
    relaxed, planned = _plans(day, objective, begun)
    if not np.isfinite(planned.score):
        least = ", ".join(f"{best[one].value:.5g} {UNITS[one]}" for one in ("curtailment", "cost"))
        problem = f"no plan was found within {kept[0]:.5g} kWh and {kept[1]:.5g} EUR"
        remedy = f"give more; the least of each alone is {least}"
        refuse([Fault("controller 'optimum'", "curtailment_kwh, bill_eur", problem, remedy)])
    proven = lower_bound(day, objective, planned) if bound else None
    return Answer(day, objective, relaxed, planned, proven, time.process_time() - began_s)


def _plans(day: Day, objective: Objective, begun: Point | None = None) -> tuple[Point, Point]:
    """The best plan, and the best that chargers can follow."""
    first = start(day, objective) if begun is None else point(day, objective, begun.x, begun.unserved_kwh)
    high = day.columns[3]
    relaxed = improve(day, objective, first, np.zeros_like(high), high)
    planned = runnable(day, objective, relaxed)
    # what chargers can follow is a plan without their least power too
    return (planned if planned.score < relaxed.score else relaxed), planned
