"""What an operator earns when drivers choose by cost and by time: the proven best, and the slides' search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cosim.contract import Float
from cosim.controllers import pricing
from cosim.controllers.pricing import MODERATE, READINGS, Evolved, Leader
from cosim.errors import Fault, InputError
from cosim.experiments.studies.base import Cases, StudyResult
from cosim.experiments.studies.station_pricing.config import PricingConfig

Case = dict[str, Any]
Prices = dict[str, Float]
"""Prices by their name: ``optimistic``, ``pessimistic``, ``moderate``."""

INCOMES = dict(
    zip(READINGS, ("best_optimistic", "best_pessimistic", "weighted_optimistic", "weighted_pessimistic"), strict=True)
)
"""Names of the incomes in the metrics, by reading."""

MOST_LISTED = 100
"""Price vectors up to which every one gets a case of its own."""

MOST_PROVEN = {False: 20_000, True: 2_000}
"""Price vectors up to which the best is proven, without and with lost sales (bounds are coarser there)."""

MOST_ALL_ANSWERS, MOST_WITH_ALL_ANSWERS = 8, 36
"""Drivers, and price vectors, up to which all efficient answers are found."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PricingResult(StudyResult):
    """What the study found.

    Attributes
    ----------
    config : PricingConfig
        What was asked.
    leader : Leader
        The operator, with all answers of the drivers that were asked for.
    evolved : Evolved
        The search.
    """

    config: PricingConfig
    leader: Leader
    evolved: Evolved

    @property
    def listed(self) -> Cases:
        """Cases of single price vectors, by their prices."""
        return {name: case for name, case in self.cases.items() if "," in name}

    @property
    def loops(self) -> Cases:
        """Cases of days on the feeder."""
        return {name: case for name, case in self.cases.items() if name.startswith("loop_")}


def provable(leader: Leader) -> bool:
    """Whether the best prices can be had with proof in reasonable time."""
    return leader.rules.gap == 0.0 and leader.count <= MOST_PROVEN[leader.rules.lost_sales]


def prices_text(prices: Float) -> str:
    """Name of a price vector, such as 0.30,0.40."""
    return ",".join(
        f"{price:.2f}" if abs(price - round(price, 2)) < 1e-9 else f"{price:g}" for price in prices.tolist()
    )


def vector_case(leader: Leader, prices: Float) -> Case | None:
    """Metrics of one price vector; None where those who must be served cannot be."""
    answers = {reading: found for reading in READINGS if (found := leader.answer(reading, prices)) is not None}
    if len(answers) < len(READINGS):
        return None
    earned = {INCOMES[reading]: leader.earned_eur(answer) for reading, answer in answers.items()}
    case: Case = {
        "prices": prices.tolist(),
        "served": answers["optimistic"].served,
        **earned,
        "gap_eur": earned["best_optimistic"] - earned["best_pessimistic"],
        **{f"time_{reading}_h": answer.time_h for reading, answer in answers.items()},
        "lost_kwh": answers["optimistic"].lost_kwh,
    }
    if leader.count <= MOST_WITH_ALL_ANSWERS and leader.instance.users <= MOST_ALL_ANSWERS:
        case["efficient_answers"] = len(leader.follower.efficient(prices))
    if leader.rules.congestion == "equilibrium":
        weights = (pricing.OPTIMISTIC_WEIGHTS, pricing.PESSIMISTIC_WEIGHTS)
        case["better_moves"] = sum(
            len(pricing.better_moves(leader.instance, prices, answers[reading], of_reading))
            for reading, of_reading in zip(READINGS[2:], weights, strict=True)
        )
    return case


def exact_cases(leader: Leader) -> tuple[Cases, Prices]:
    """Best prices in every reading, with proof, and every price vector where there are few.

    Raises
    ------
    InputError
        Where it is proven that no price vector can be served.
    """
    best = {reading: pricing.best_prices(leader, reading) for reading in (*READINGS, MODERATE)}
    first = best["optimistic"]
    if not len(first.prices):
        rooms = ", ".join(f"{kwh:g}" for kwh in leader.instance.capacity_kwh)
        problem = (
            f"stations of {rooms} kWh cannot serve those who must be served at any prices that may be set "
            f"(price vectors: {first.vectors}; proven)"
        )
        remedy = "raise capacities, or allow lost sales at a penalty (--lost-sales)"
        raise InputError(Fault("station_pricing", "capacity_kwh", problem, remedy))
    chosen = {name: best[name].prices for name in ("optimistic", "pessimistic", MODERATE)}
    case: Case = {
        **{name: best[reading].income_eur for reading, name in INCOMES.items()},
        "served": None if first.optimistic is None else first.optimistic.served,
        "prices": first.prices.tolist(),
        "proven": True,
        "price_vectors": first.vectors,
        "solved_exactly": {reading: one.solved for reading, one in best.items()},
        **{f"prices_{name}": prices.tolist() for name, prices in chosen.items()},
    }
    asked = {**chosen, **{prices_text(p): p for p in leader.price_vectors()}} if leader.count <= MOST_LISTED else chosen
    found = {name: one for name, prices in asked.items() if (one := vector_case(leader, prices)) is not None}
    return {"best": case, **found}, chosen


def evolved_case(evolved: Evolved, searcher: Leader, best: Case | None) -> Case:
    """Metrics of what the search found, against the proven best where that is known."""
    answer = searcher.answer("weighted_optimistic", evolved.optimistic)
    case: Case = {
        "weighted_optimistic": evolved.optimistic_eur,
        "weighted_pessimistic": evolved.pessimistic_eur,
        "prices": evolved.optimistic.tolist(),
        **{f"prices_{name}": prices.tolist() for name, prices in evolved_prices(evolved).items()},
        "moderate_eur": evolved.moderate_eur,
        "generations": evolved.generations,
        "evaluated": evolved.evaluated,
        "price_vectors": searcher.count,
        "lower_level_gap": searcher.follower.worst_gap,
        "proven": False,
        "served": None if answer is None else answer.served,
    }
    if best is not None:
        for name in ("weighted_optimistic", "weighted_pessimistic"):
            case[f"missing_{name}_eur"] = best[name] - case[name]
    return case


def evolved_prices(evolved: Evolved) -> Prices:
    """Prices that the search found; none where it met none that can be served."""
    if not len(evolved.optimistic):
        return {}
    return {"optimistic": evolved.optimistic, "pessimistic": evolved.pessimistic, MODERATE: evolved.moderate}
