"""The slides' open question, measured: whether the lower level is better solved as it stands, or linearised."""

from __future__ import annotations

from typing import Any

import numpy as np

from cosim.contract import Float
from cosim.controllers.pricing import (
    OPTIMISTIC_WEIGHTS,
    PESSIMISTIC_WEIGHTS,
    Follower,
    Instance,
    build,
    generate,
    minimise,
    scip_missing,
)
from cosim.controllers.pricing.model import Formulation
from cosim.controllers.pricing.solvers import SolverName
from cosim.controllers.solver import UNLIMITED, Limits, OutOfTimeError

USERS, AT_STATIONS = (6, 9, 12, 15, 20, 30), 3
STATIONS, AT_USERS = (2, 3, 4, 5, 6), 12
DRAWS = 3
TIME_LIMIT_S = 2.0
WAYS: tuple[tuple[Formulation, SolverName], ...] = (
    ("cuts", "highs"), ("products_lean", "highs"), ("products", "highs"),
    ("nonlinear", "scip"), ("cuts", "scip"), ("products_lean", "scip"), ("products", "scip"),
)  # fmt: skip
"""Formulation and solver; SCIP solves all of them, so that the solver does not decide the comparison."""

WALL_PER_PROCESSOR = {"highs": 5.0, "scip": 1.0}
"""Of the time limit: HiGHS counts the wall clock, and must not seem slow where others use the processor."""

_ATTEMPTS = 1000


def measure(
    rng: np.random.Generator, *, time_limit_s: float = TIME_LIMIT_S, draws: int = DRAWS
) -> list[dict[str, Any]]:
    """Solve the same lower levels in every way.

    Each row is one way at one size: ``median_s`` and ``worst_s`` are processor times in the solver, without building
    the model; a solve that is not proven within the time limit counts as the limit, and ``unproven`` counts them. A
    way that proves less than half at a size is not tried at larger ones of the same series.

    Parameters
    ----------
    rng : numpy.random.Generator
        Of instances and prices.
    time_limit_s : float
        Of one solve [s].
    draws : int
        Instances per size; each with one random price vector and both of the slides' weights.

    Raises
    ------
    AssertionError
        Where two ways prove different values of the same problem.
    """
    ways = [way for way in WAYS if way[1] != "scip" or not scip_missing()]
    rows: list[dict[str, Any]] = []
    series = [("users", [(n, AT_STATIONS) for n in USERS]), ("stations", [(AT_USERS, m) for m in STATIONS])]
    for name, sizes in series:
        tired: set[tuple[str, str]] = set()
        for users, stations in sizes:
            problems = [_draw(users, stations, rng) for _ in range(draws)]
            values: dict[int, float] = {}
            for way in ways:
                if way in tired:
                    continue
                row = _row(way, problems, values, time_limit_s)
                rows.append({"series": name, "users": users, "stations": stations, **row})
                if 2 * row["unproven"] > row["solves"]:
                    tired.add(way)
    return rows


def _row(
    way: tuple[Formulation, SolverName],
    problems: list[tuple[Instance, Float]],
    values: dict[int, float],
    time_limit_s: float,
) -> dict[str, Any]:
    formulation, solver = way
    limits = Limits(0.0, UNLIMITED, time_limit_s * WALL_PER_PROCESSOR[solver])
    taken_s, unproven, columns = [], 0, 0
    for number, (instance, prices) in enumerate(problems):
        model = build(instance, prices, formulation)
        columns = max(columns, len(model.high))
        for k, weights in enumerate((OPTIMISTIC_WEIGHTS, PESSIMISTIC_WEIGHTS)):
            cost = weights[0] * model.cost_eur + weights[1] * model.time_h
            try:
                found = minimise(model, cost, solver=solver, stop=limits)
            except OutOfTimeError:
                unproven += 1
                taken_s.append(time_limit_s)
                continue
            unproven += found.process_s > time_limit_s
            taken_s.append(min(found.process_s, time_limit_s))
            if abs(values.setdefault(2 * number + k, found.value) - found.value) > 1e-4:
                raise AssertionError(
                    f"{formulation} with {solver} found {found.value}, others {values[2 * number + k]}"
                )
    return {
        "formulation": formulation, "solver": solver, "solves": len(taken_s), "unproven": unproven,
        "median_s": float(np.median(taken_s)), "worst_s": float(max(taken_s)), "columns": columns,
    }  # fmt: skip


def _draw(users: int, stations: int, rng: np.random.Generator) -> tuple[Instance, Float]:
    """Instance, and prices at which most drivers charge and all who must be served can be."""
    for _ in range(_ATTEMPTS):
        instance = generate(users, stations, rng)
        prices = rng.choice(instance.levels, stations)
        if instance.affordable(prices).any(axis=1).sum() >= 0.75 * users and Follower(instance).cheapest(prices):
            return instance, prices
    raise AssertionError("no servable prices drawn")


def answer(rows: list[dict[str, Any]]) -> list[str]:
    """Say which way is better, from the rows."""
    if not any(row["solver"] == "scip" for row in rows):
        return [
            "The slides' open question (as it stands, or linearised) is not answered here: the non-linear form takes "
            f"SCIP: {scip_missing()}",
            f"The linear forms alone, in HiGHS: {_ranking(rows, 'highs')}",
        ]
    return [
        f"Open question of the slides, one solver for all (SCIP): {_ranking(rows, 'scip')}",
        f"The linear forms in HiGHS: {_ranking(rows, 'highs')}",
    ]


def _ranking(rows: list[dict[str, Any]], solver: str) -> str:
    """Ways of a solver at the largest number of users that any of them proves, fastest first."""
    mine = [row for row in rows if row["solver"] == solver and row["series"] == "users"]
    size = max(row["users"] for row in mine)
    told = []
    for name in dict.fromkeys(row["formulation"] for row in mine):
        last = [row for row in mine if row["formulation"] == name][-1]
        proven = last["solves"] - last["unproven"]
        told.append((
            -last["users"], -proven, last["median_s"],
            f"{name} {1e3 * last['median_s']:.0f} ms at {last['users']} drivers ({proven} of {last['solves']} proven)",
        ))  # fmt: skip
    return f"up to {size} drivers and {AT_STATIONS} stations, best first: " + "; ".join(
        line for *_, line in sorted(told)
    )
