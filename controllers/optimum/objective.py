"""What is minimised: value of a plan, its linear model, and the prices at which limits and needs are no bargain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.optimum.day import CUT, Day, Draft

Name = Literal["curtailment", "cost", "unbalance", "losses", "peak"]
UNITS: dict[Name, str] = {
    "curtailment": "kWh", "cost": "EUR", "unbalance": "A²", "losses": "kWh", "peak": "%",
}  # fmt: skip
MOST_BREACH = 10.0


@dataclass(frozen=True)
class Objective:
    """What is minimised over a day.

    Attributes
    ----------
    name : str
        Which.
    per_breach_h, per_unserved_kwh : float
        What an hour at twice the stress of a limit, and a kilowatt-hour that a car misses, count in the score.
    """

    name: Name
    per_breach_h: float
    per_unserved_kwh: float

    def score(self, value: float, unserved_kwh: float, breach_h: float) -> float:
        """Value, and what counts for needs and limits that are not kept."""
        return value + self.per_unserved_kwh * unserved_kwh + self.per_breach_h * breach_h

    def value(self, day: Day, x: Float) -> float:
        """Of powers, by the full power flow."""
        if self.name == "curtailment":
            return float(x[day.columns[0] == CUT].sum() * day.step_h)
        return day.bill_eur(day.net_kw(x))

    def begin(self, day: Day, *, runs: bool = False) -> tuple[Draft, Int, Int, Int]:
        """Write the linear model of a day; return it with the columns of powers, unserved energy and breaches.

        ``runs``: bills know the least power of chargers, see `Day.bill`.
        """
        draft = Draft()
        x, unserved = day.begin(draft)
        breach = draft.columns(len(day.base_kw), 0.0, MOST_BREACH, np.arange(len(day.base_kw)))
        draft.cost(unserved, self.per_unserved_kwh)
        draft.cost(breach, self.per_breach_h * day.step_h)
        if self.name == "curtailment":
            draft.cost(x[day.columns[0] == CUT], day.step_h)
        if self.name == "cost":
            columns, values, draft.offset = day.bill(draft, x, runs=runs)
            draft.cost(columns, values)
        return draft, x, unserved, breach


OBJECTIVES = {
    "curtailment": Objective("curtailment", 500.0, 10.0),
    "cost": Objective("cost", 250.0, 0.5),
}
