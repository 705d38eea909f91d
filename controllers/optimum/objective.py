"""What is minimised: value of a plan, its linear model, and the prices at which limits and needs are no bargain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.optimum.day import CUT, Day, Draft
from cosim.controllers.optimum.forms import Form

Name = Literal["curtailment", "cost", "unbalance", "losses", "peak"]
UNITS: dict[Name, str] = {
    "curtailment": "kWh", "cost": "EUR", "unbalance": "A²", "losses": "kWh", "peak": "%",
}  # fmt: skip
MOST_BREACH = 10.0
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Objective:
    """What is minimised over a day.

    Attributes
    ----------
    name : str
        Which.
    per_breach_h, per_unserved_kwh : float
        What an hour at twice the stress of a limit, and a kilowatt-hour that a car misses, count in the score.
    curtailment_kwh, bill_eur : float
        Budgets that are kept.
    """

    name: Name
    per_breach_h: float
    per_unserved_kwh: float
    curtailment_kwh: float = np.inf
    bill_eur: float = np.inf

    def score(self, value: float, unserved_kwh: float, breach_h: float) -> float:
        """Value, and what counts for needs and limits that are not kept."""
        return value + self.per_unserved_kwh * unserved_kwh + self.per_breach_h * breach_h

    @property
    def has_bill(self) -> bool:
        """Whether bills count."""
        return self.name == "cost" or np.isfinite(self.bill_eur)

    def form(self, day: Day) -> Form | None:
        """Its form of currents; None where it is one of powers."""
        return None if self.name in ("curtailment", "cost") else day.form(self.name)

    def keeps_budgets(self, day: Day, x: Float) -> bool:
        """Whether powers keep the budgets."""
        bill = day.bill_eur(day.net_kw(x)) if np.isfinite(self.bill_eur) else 0.0
        over = day.cut_kwh(x) - self.curtailment_kwh, bill - self.bill_eur
        return all(excess <= _ROUNDING for excess in over)

    def begin(self, day: Day, *, runs: bool = False, ends: bool = False) -> tuple[Draft, Int, Int, Int]:
        """Write the linear model of a day; return it with the columns of powers, unserved energy and breaches.

        ``runs``: bills know the least power of chargers, see `Day.bill`; ``ends``: but for one step of every session.
        """
        draft = Draft()
        x, unserved = day.begin(draft)
        breach = draft.columns(len(day.base_kw), 0.0, MOST_BREACH, np.arange(len(day.base_kw)))
        draft.cost(unserved, self.per_unserved_kwh)
        draft.cost(breach, self.per_breach_h * day.step_h)
        cuts = x[day.columns[0] == CUT]
        if self.name == "curtailment":
            draft.cost(cuts, day.step_h)
        if np.isfinite(self.curtailment_kwh):
            draft.row(-np.inf, self.curtailment_kwh, cuts, day.step_h)
        if self.has_bill:
            columns, values, constant = day.bill(draft, x, runs=runs)
            constant -= day.ends_eur if ends else 0.0
            if self.name == "cost":
                draft.cost(columns, values)
                draft.offset = constant
            if np.isfinite(self.bill_eur):
                draft.row(-np.inf, self.bill_eur - constant, columns, values)
        return draft, x, unserved, breach


OBJECTIVES: dict[Name, Objective] = {
    "curtailment": Objective("curtailment", 500.0, 10.0),
    "cost": Objective("cost", 250.0, 0.5),
    "unbalance": Objective("unbalance", 20_000.0, 100.0),
    "losses": Objective("losses", 500.0, 10.0),
    "peak": Objective("peak", 5_000.0, 20.0),
}
