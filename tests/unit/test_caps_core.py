"""The columns of plans against the definition of caps."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim.controllers.caps import CapsOptions, CapsProblem, Parts, best_response, share_of_phase, solve_caps
from oracles.caps_milp import least_by_definition

CASES = json.loads((Path(__file__).parent / "cases" / "caps_minimum_power.json").read_text(encoding="utf-8"))
EXACT = CapsOptions("least_restriction", gap=1e-6, node_limit=100_000)
CLOSE_KWH = 1e-3


def problem_of(case: dict[str, Any]) -> CapsProblem:
    values = {
        key: np.array(value, np.int64 if key == "home" else float) if isinstance(value, list) else value
        for key, value in case["problem"].items()
    }
    return CapsProblem(**values)


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_all_that_chargers_can_be_served_with_is_served(case: dict[str, Any]) -> None:
    problem, right = problem_of(case), case["right"]
    result = solve_caps(problem, EXACT)
    assert result.status == "optimal"
    assert not result.fallback
    assert result.unserved_kwh.sum() == pytest.approx(right["unserved_of_servable_kwh"], abs=CLOSE_KWH)
    assert result.over_limit_kw < 1e-6
    assert result.max_response_error_kw < 1e-6
    assert result.bound <= result.objective <= result.withheld_kwh + 1e-9
    # shut caps are told as zero, though one just below the minimum withholds no more of use
    assert result.withheld_kwh >= right.get("least_withheld_kwh", 0.0) - CLOSE_KWH


def test_a_cap_below_the_minimum_counts_as_one_of_zero() -> None:
    """Case 03: a cap just below the minimum shuts the car as well as one of zero, and is worth no more."""
    problem = problem_of(next(case for case in CASES if case["name"] == "case_03"))
    result = solve_caps(problem, EXACT)
    unserved, withheld = least_by_definition(problem, peaks=False)
    assert unserved == 0.0
    assert result.objective == pytest.approx(withheld, abs=CLOSE_KWH)


def small(seed: int) -> CapsProblem:
    """One to three homes: minimum power, partial slots, ties, prices below zero, three phases, weak connections."""
    rng = np.random.default_rng([14, seed])
    cars, slots, slot_h = int(rng.integers(1, 4)), int(rng.integers(3, 7)), float(rng.choice([0.25, 1.0]))
    homes = cars + int(rng.integers(0, 2))
    charger = rng.choice([3.7, 7.4, 11.0], cars)
    minimum = np.where(charger < 8.0, 1.38, 4.14) * (rng.random(cars) < 0.8)
    plugged = np.zeros((slots, cars))
    for car in range(cars):
        come = int(rng.integers(0, slots - 1))
        go = int(rng.integers(come + 1, slots + 1))
        plugged[come:go, car] = 1.0
        if rng.random() < 0.5:
            plugged[[come, go - 1], car] = rng.uniform(0.05, 1.0, 2)
    home, connection = rng.permutation(homes)[:cars], rng.choice([4.6, 14.0], homes, p=[0.2, 0.8])
    inflexible = np.round(rng.random((slots, homes)) * rng.choice([1.5, 9.0]) - rng.choice([0.0, 1.0]), 2)
    share = np.ones((homes, 1))
    if rng.random() < 0.5:
        share = share_of_phase(rng.integers(0, 3, homes))
        share[rng.random(homes) < 0.3] = 1 / 3
    usable = np.minimum(plugged * charger, np.maximum(connection - inflexible, 0.0)[:, home])
    need = np.round(rng.random(cars) * 0.95 * 0.9 * slot_h * usable.sum(axis=0), 3)
    most = np.zeros(homes)
    np.add.at(most, home, charger)
    paid = rng.random() < 0.3
    return CapsProblem(
        slot_h=slot_h,
        tariff_eur_per_kwh=rng.choice([-0.05, 0.0, 0.1] if paid else [0.1, 0.2], slots),
        inflexible_kw=inflexible,
        connection_kw=connection,
        phase_share=share,
        limit_kw=inflexible @ share + rng.random((slots, share.shape[1])) * rng.choice([0.5, 1.0]) * (most @ share),
        home=home,
        plugged=plugged,
        charger_kw=charger,
        charger_min_kw=minimum,
        energy_need_kwh=need,
        efficiency=np.full(cars, 0.9),
        battery_room_kwh=need * 1.5 if paid else None,
    )


@pytest.mark.parametrize("limit_on", ["mean", "peak"])
@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 200))])
def test_no_caps_serve_more_or_withhold_less(seed: int, limit_on: str) -> None:
    problem = small(seed)
    unserved, withheld = least_by_definition(problem, peaks=limit_on == "peak")
    result = solve_caps(problem, replace(EXACT, limit_on=limit_on))
    assert result.status == "optimal"
    assert result.unserved_kwh.sum() == pytest.approx(unserved, abs=2 * CLOSE_KWH)
    assert result.objective == pytest.approx(withheld, abs=CLOSE_KWH)
    assert result.bound <= withheld + CLOSE_KWH
    above = solve_caps(problem, replace(EXACT, objective="floor_then_least", floor_kw=1.5, limit_on=limit_on))
    floors = above.floor_kw * (above.floor_kw >= problem.charger_min_kw)
    unserved, withheld = least_by_definition(problem, peaks=limit_on == "peak", floor_kw=floors)
    assert above.unserved_kwh.sum() == pytest.approx(unserved, abs=2 * CLOSE_KWH)
    assert above.objective == pytest.approx(withheld, abs=CLOSE_KWH)


def test_parts_of_the_method_only_help() -> None:
    problem = small(3)
    values = [
        solve_caps(problem, replace(EXACT, limit_on="peak"), parts=parts).objective
        for parts in (Parts(), Parts(whole=False, neighbourhoods=False))
    ]
    assert values[0] <= values[1] + 1e-9


def test_what_is_published_is_what_was_planned() -> None:
    """Caps and the household's own response to them say the same as the plan, in both readings of a limit."""
    for limit_on in ("mean", "peak"):
        problem = small(6)
        result = solve_caps(problem, CapsOptions("floor_then_least", limit_on=limit_on, gap=1e-6))
        assert best_response(problem, result.caps_kw) == pytest.approx(result.planned_kw, abs=1e-6)
        assert result.over_limit_kw <= 1e-6
