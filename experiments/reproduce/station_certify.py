"""The evolutionary algorithm against the exact optimum, on instances drawn one after the other."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cosim.controllers.pricing import Leader, best_prices, evolve, generate
from cosim.experiments.files import write_json
from cosim.experiments.reproduce.station_read import stream

if TYPE_CHECKING:
    from cosim.experiments.reproduce.station_pricing import Told

SMALL = ((8, 3), (10, 3), (12, 3), (8, 4), (10, 4))
SIZES = (*SMALL, *SMALL, (15, 4), (20, 4))
"""Drivers and stations, taken in turn; the last two take longer than all others together."""

READ = ("weighted_optimistic", "weighted_pessimistic")
SAME_EUR = 1e-5


def add(told: Told, count: int, seed: int, folder: Path) -> None:
    """Certify so many instances; a case and a line for the study, and ``certify.json`` with one row each."""
    rows = told.timed("certify_s", lambda: certify(count, seed))
    told.cases["certify"] = summary(rows)
    write_json(folder / "certify.json", {"rows": rows})
    told.lines.append(text(told.cases["certify"]))


def certify(count: int, seed: int) -> list[dict[str, Any]]:
    """Solve instances exactly and by the evolutionary algorithm with the slides' weights; a row for each."""
    rng = stream(seed, "certify")
    rows = []
    for number in range(count):
        users, stations = SIZES[number % len(SIZES)]
        instance = generate(users, stations, rng)
        search_seed = int(rng.integers(2**31))
        leader = Leader(instance)
        began = time.process_time()
        evolved = evolve(leader, np.random.default_rng(search_seed))
        between = time.process_time()
        solved = Leader(instance)
        exact = [best_prices(solved, reading).income_eur for reading in READ]
        ended = time.process_time()
        found = (evolved.optimistic_eur, evolved.pessimistic_eur)
        row: dict[str, Any] = {
            "users": users, "stations": stations, "price_vectors": leader.count, "evaluated": evolved.evaluated,
            "generations": evolved.generations, "evolution_s": between - began, "exact_s": ended - between,
        }  # fmt: skip
        for reading, best, reached in zip(READ, exact, found, strict=True):
            row[f"{reading}_exact"], row[f"{reading}_found"] = best, reached
            row[f"{reading}_gap_percent"] = max(0.0, 100.0 * (best - reached) / best)
            if reached > best + SAME_EUR:
                raise AssertionError(f"the search found {reached}, more than the proven optimum {best}")
        rows.append(row)
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares solved to optimality and mean gaps, of each reading and of both."""
    case: dict[str, Any] = {"instances": len(rows)}
    solved = np.ones(len(rows), dtype=bool)
    for reading in READ:
        gap = np.array([row[f"{reading}_gap_percent"] for row in rows])
        case[f"share_optimal_{reading}"] = float((gap <= 1e-6).mean())
        case[f"mean_gap_{reading}_percent"] = float(gap.mean())
        case[f"worst_gap_{reading}_percent"] = float(gap.max())
        solved &= gap <= 1e-6
    case["share_optimal"] = float(solved.mean())
    case["mean_gap_percent"] = float(np.mean([case[f"mean_gap_{reading}_percent"] for reading in READ]))
    case["evaluated_share"] = float(np.mean([row["evaluated"] / row["price_vectors"] for row in rows]))
    return case


def text(case: dict[str, Any]) -> str:
    """One line about it."""
    return (
        f"Against the exact optimum on {case['instances']} instances: {100 * case['share_optimal']:.0f} % solved to "
        f"optimality in both readings, mean gap {case['mean_gap_percent']:.3f} %, having evaluated "
        f"{100 * case['evaluated_share']:.0f} % of all price vectors"
    )
