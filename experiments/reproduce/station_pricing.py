"""Prices at charging stations: what an operator earns when drivers choose by cost and by time.

The slides of seed 004 give a model and an algorithm, and no numbers. Here is a small instance whose answers are all
known, any other instance, the exact optimum where it can be had, and the slides' algorithm beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cosim.contract import Float
from cosim.controllers.pricing import (
    MODERATE,
    OPTIMISTIC_WEIGHTS,
    PESSIMISTIC_WEIGHTS,
    READINGS,
    Evolved,
    Leader,
    best_prices,
    better_moves,
    evolve,
    unservable_faults,
)
from cosim.errors import Fault, InputError
from cosim.experiments.files import origin, write_json
from cosim.experiments.reproduce.station_read import Order, stream

Case = dict[str, Any]
MOST_LISTED = 100
"""Price vectors up to which every one gets a case of its own."""

MOST_PROVEN = {False: 20_000, True: 2_000}
"""Price vectors up to which the best is proven, without and with lost sales (bounds are coarser there)."""

MOST_ALL_ANSWERS, MOST_WITH_ALL_ANSWERS = 8, 36
"""Drivers, and price vectors, up to which all efficient answers are found."""

PACKAGES = ("lv-feeder-cosim", "highspy", "pymoo", "pyomo", "pyscipopt", "numpy", "scipy", "matplotlib")


@dataclass(eq=False)
class Told:
    """What the study says on the screen, and its numbers.

    Attributes
    ----------
    cases : mapping of str to mapping
        Metrics by case.
    timing : mapping of str to number
        Processor time of its parts [s].
    lines, warnings : list of str
        For the screen.
    chosen : mapping of str to ndarray
        Prices by their name: ``optimistic``, ``pessimistic``, ``moderate``.
    evolved : Evolved or None
        The search.
    scaling : list of mapping
        Rows of the measurement of formulations.
    figures : mapping of str to str
        Caption by file name.
    """

    cases: dict[str, Case] = field(default_factory=dict)
    timing: dict[str, float] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    chosen: dict[str, Float] = field(default_factory=dict)
    evolved: Evolved | None = None
    scaling: list[dict[str, Any]] = field(default_factory=list)
    figures: dict[str, str] = field(default_factory=dict)

    def timed(self, name: str, work: Callable[[], Any]) -> Any:
        """Do some work and take down its processor time."""
        began = time.process_time()
        result = work()
        self.timing[name] = time.process_time() - began
        return result


def reproduce(folder: Path, order: Order, progress: Callable[[str], None] = lambda _: None) -> Told:
    """Run the study and write its folder.

    Parameters
    ----------
    folder : Path
        Receives ``metrics.json``, ``timing.json``, ``report.md``, ``manifest.json``, ``figures/`` and, where they were
        asked for, ``scaling.json`` and ``certify.json``.
    order : Order
        What to run.
    progress : callable
        Told what is being done.

    Returns
    -------
    Told

    Raises
    ------
    InputError
        Where it is proven that no price vector can be served.
    """
    from cosim.experiments.reproduce import (
        pricing_loop,
        station_certify,
        station_figures,
        station_report,
        station_scaling,
    )

    told, wishes = Told(), order.wishes
    leader = make_leader(order)
    progress("Pricing")
    if not leader.rules.lost_sales:
        told.warnings += [str(fault) for fault in unservable_faults(order.instance, order.name)]
    if leader.rules.gap == 0.0 and leader.count <= MOST_PROVEN[leader.rules.lost_sales]:
        told.timed("exact_s", lambda: _exact(leader, told))
    progress("Evolving prices")
    # a leader of its own, so that its time and its evaluations are its own
    searcher = make_leader(order)
    told.evolved = told.timed("evolution_s", lambda: evolve(
        searcher, stream(wishes.seed, "search"), population=wishes.population, generations=wishes.generations
    ))  # fmt: skip
    _evolution_case(told, searcher)
    if wishes.certify:
        progress(f"Certifying {wishes.certify} instances")
        station_certify.add(told, wishes.certify, wishes.seed, folder)
    if wishes.scaling:
        progress("Measuring formulations")
        told.scaling = told.timed("scaling_s", lambda: station_scaling.measure(stream(wishes.seed, "scaling")))
        write_json(folder / "scaling.json", {"rows": told.scaling, "answer": station_scaling.answer(told.scaling)})
        told.lines += station_scaling.answer(told.scaling)
    if wishes.feeder is not None:
        progress(f"Charging on {wishes.feeder}")
        told.timed("loop_s", lambda: pricing_loop.add(told, order, leader))
    told.figures = station_figures.write_figures(told, leader, folder / "figures")
    write_json(folder / "metrics.json", {"cases": told.cases})
    write_json(folder / "timing.json", {"processor_s": told.timing})
    write_json(folder / "manifest.json", _manifest(order))
    station_report.write_report(folder / "report.md", told, order)
    return told


def make_leader(order: Order) -> Leader:
    """Operator of an order's stations."""
    wishes = order.wishes
    return Leader(
        order.instance, order.rules, lost_eur_per_kwh=wishes.lost_sales or 0.0, price_order=wishes.price_order
    )


def prices_text(prices: Float) -> str:
    """Name of a price vector, such as 0.30,0.40."""
    return ",".join(
        f"{price:.2f}" if abs(price - round(price, 2)) < 1e-9 else f"{price:g}" for price in prices.tolist()
    )


def vector_case(leader: Leader, prices: Float, *, efficient: bool = False) -> Case | None:
    """Metrics of one price vector; None where those who must be served cannot be."""
    answers = {reading: leader.answer(reading, prices) for reading in READINGS}
    optimistic, pessimistic = answers["optimistic"], answers["pessimistic"]
    if optimistic is None or pessimistic is None:
        return None
    case: Case = {"prices": prices.tolist(), "served": optimistic.served}
    for reading, name in zip(READINGS, ("best_optimistic", "best_pessimistic", *READINGS[2:]), strict=True):
        answer = answers[reading]
        case[name] = None if answer is None else leader.earned_eur(answer)
    case["gap_eur"] = leader.earned_eur(optimistic) - leader.earned_eur(pessimistic)
    for reading, answer in answers.items():
        case[f"time_{reading}_h"] = None if answer is None else answer.time_h
    case["lost_kwh"] = optimistic.lost_kwh
    if efficient:
        case["efficient_answers"] = len(leader.follower.efficient(prices))
    if leader.rules.congestion == "equilibrium":
        case["better_moves"] = sum(
            len(better_moves(leader.instance, prices, answer, weights))
            for answer, weights in ((answers["weighted_optimistic"], OPTIMISTIC_WEIGHTS),
                                    (answers["weighted_pessimistic"], PESSIMISTIC_WEIGHTS))
            if answer is not None
        )  # fmt: skip
    return case


def _exact(leader: Leader, told: Told) -> None:
    """Best prices in every reading, with proof; and every price vector where there are few."""
    best = {reading: best_prices(leader, reading) for reading in (*READINGS, MODERATE)}
    optimistic = best["optimistic"]
    if not len(optimistic.prices):
        rooms = ", ".join(f"{kwh:g}" for kwh in leader.instance.capacity_kwh)
        problem = (
            f"stations of {rooms} kWh cannot serve those who must be served at any prices that may be set "
            f"(price vectors: {optimistic.vectors}; proven)"
        )
        remedy = "raise capacities, or allow lost sales at a penalty (--lost-sales)"
        raise InputError(Fault("station_pricing", "capacity_kwh", problem, remedy))
    case: Case = {
        "best_optimistic": optimistic.income_eur,
        "best_pessimistic": best["pessimistic"].income_eur,
        "weighted_optimistic": best["weighted_optimistic"].income_eur,
        "weighted_pessimistic": best["weighted_pessimistic"].income_eur,
        "served": None if optimistic.optimistic is None else optimistic.optimistic.served,
        "prices": optimistic.prices.tolist(),
        "proven": True,
        "price_vectors": optimistic.vectors,
        "solved_exactly": {reading: one.solved for reading, one in best.items()},
    }
    told.cases["best"] = case
    for name in ("optimistic", "pessimistic", MODERATE):
        told.chosen[name] = best[name].prices
        case[f"prices_{name}"] = best[name].prices.tolist()
    few = leader.count <= MOST_LISTED
    efficient = leader.count <= MOST_WITH_ALL_ANSWERS and leader.instance.users <= MOST_ALL_ANSWERS
    for name, prices in told.chosen.items():
        told.cases[name] = vector_case(leader, prices, efficient=efficient) or {}
    gaps = ", ".join(f"{name} {prices_text(p)} ({told.cases[name]['best_pessimistic']:.2f} to "
                     f"{told.cases[name]['best_optimistic']:.2f} EUR)" for name, p in told.chosen.items())  # fmt: skip
    told.lines += [
        f"Best of {optimistic.vectors} price vectors, proven: optimistic {case['best_optimistic']:.2f}, pessimistic "
        f"{case['best_pessimistic']:.2f} EUR; by the slides' weights {case['weighted_optimistic']:.2f} and "
        f"{case['weighted_pessimistic']:.2f} EUR",
        f"Prices: {gaps}",
    ]
    if few:
        for prices in leader.price_vectors():
            listed = vector_case(leader, prices, efficient=efficient)
            if listed is not None:
                told.cases[prices_text(prices)] = listed


def _evolution_case(told: Told, searcher: Leader) -> None:
    evolved = told.evolved
    if evolved is None or not len(evolved.optimistic):
        told.lines.append("Evolutionary algorithm: met no price vector that can be served")
        if "best" not in told.cases:
            told.warnings.append(
                f"no price vector that can be served was met in a search that proves nothing ({searcher.known_vectors} "
                f"of {searcher.count} tried): raise capacities, allow lost sales, or search longer"
            )
        return
    case: Case = {
        "weighted_optimistic": evolved.optimistic_eur,
        "weighted_pessimistic": evolved.pessimistic_eur,
        "prices": evolved.optimistic.tolist(),
        "prices_optimistic": evolved.optimistic.tolist(),
        "prices_pessimistic": evolved.pessimistic.tolist(),
        "prices_moderate": evolved.moderate.tolist(),
        "moderate_eur": evolved.moderate_eur,
        "generations": evolved.generations,
        "evaluated": evolved.evaluated,
        "price_vectors": searcher.count,
        "lower_level_gap": searcher.follower.worst_gap,
        "proven": False,
    }
    answer = searcher.answer("weighted_optimistic", evolved.optimistic)
    case["served"] = None if answer is None else answer.served
    if "best" in told.cases:
        for name in ("weighted_optimistic", "weighted_pessimistic"):
            case[f"missing_{name}_eur"] = told.cases["best"][name] - case[name]
    else:
        told.chosen = {"optimistic": evolved.optimistic, "pessimistic": evolved.pessimistic, MODERATE: evolved.moderate}
    told.cases["evolutionary"] = case
    told.lines.append(
        f"Evolutionary algorithm: {case['weighted_optimistic']:.2f} and {case['weighted_pessimistic']:.2f} EUR after "
        f"{evolved.generations} generations and {evolved.evaluated} of {searcher.count} price vectors"
    )


def _manifest(order: Order) -> dict[str, Any]:
    instance, wishes = order.instance, order.wishes
    return {
        "study": "station_pricing",
        "seed": wishes.seed,
        "instance": {
            "name": order.name,
            **{key: np.asarray(getattr(instance, key)).tolist() for key in
               ("budgets", "demands_kwh", "travel_h", "power_kw", "capacity_kwh", "beta_h", "period")},
        },
        "rules": {key: getattr(order.rules, key) for key in order.rules.__dataclass_fields__},
        **origin(PACKAGES),
        "source": "seed 004: model, weights and algorithm of the slides; instances of this project",
    }  # fmt: skip
