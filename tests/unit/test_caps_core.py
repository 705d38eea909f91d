"""The columns of plans against the definition of caps, and parts of the method one by one."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from cosim.contract import Float
from cosim.controllers.caps import CapsOptions, CapsProblem, best_response, share_of_phase, solve_caps
from cosim.controllers.caps.core.columns import relax
from cosim.controllers.caps.core.pricing import price
from cosim.controllers.caps.core.solve import Parts, least_withheld
from cosim.controllers.caps.core.subproblem import Subproblem, split
from cosim.controllers.solver import Clock, Limits
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


@pytest.mark.parametrize("peaks", [False, True], ids=["mean", "peak"])
@pytest.mark.parametrize("seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 200))])
def test_no_caps_serve_more_or_withhold_less(seed: int, peaks: bool) -> None:
    problem = small(seed)
    rng = np.random.default_rng(seed)
    floor = np.minimum(rng.choice([0.0, 1.5]), problem.usable_kw)
    floor[floor < problem.charger_min_kw] = 0.0
    unserved, withheld = least_by_definition(problem, peaks=peaks, floor_kw=floor)
    found = []
    for sub in split(problem, counts_peaks=peaks):
        above = sub.with_floor(sub.by_row(floor))
        found.append(least_withheld(above, Limits(1e-6, 100_000, 60.0), np.random.default_rng(0)))
    if np.isinf(unserved):
        assert any(one.plan is None for one in found)
        return
    assert {one.status for one in found} <= {"optimal"}
    assert sum(one.unserved_kwh for one in found) == pytest.approx(unserved, abs=CLOSE_KWH)
    assert sum(one.objective for one in found) == pytest.approx(withheld, abs=CLOSE_KWH)
    assert sum(one.bound for one in found) <= withheld + CLOSE_KWH


def enumerated(sub: Subproblem, car: int, prices: Float) -> float:
    """Least cost of a car over every last row and every choice of rows that are on, each a linear programme."""
    weight = float(sub.weight_kwh[car])
    cost = sub.price_of(prices, slice(car, car + 1))[0]
    best = np.inf
    for last in np.flatnonzero(sub.last_kw[car] > 0):
        before = [k for k in range(last) if sub.usable_kw[car, k] > 0]
        for on in itertools.product((0, 1), repeat=len(before)):
            bounds = [(sub.least_kw[car, k] * o, sub.usable_kw[car, k] * o) for k, o in zip(before, on, strict=True)]
            slope = [cost[k] * sub.counted[car, k] - weight for k in before]
            bounds += [(0.0, sub.last_kw[car, last])]
            slope += [sub.per_kw_kwh[car, last] + (0.0 if sub.peaks else cost[last])]
            rise, most = [], []
            if sub.peaks and sub.is_slot[car, last]:  # what counts, and what of it is usable
                least, top = sub.last_least_kw[car, last], sub.last_top_kw[car, last]
                bounds += [(least, top), (0.0, sub.usable_kw[car, last])]
                slope += [cost[last], -weight]
                for one in (-3, -1):
                    row = np.zeros(len(bounds))
                    row[one], row[-2] = 1.0, -1.0
                    rise.append(row)
                    most.append(0.0)
            total = np.zeros(len(bounds))
            total[: len(before) + 1] = 1.0
            found = linprog(
                slope, A_ub=rise or None, b_ub=most or None, A_eq=[total], b_eq=[sub.target_kw[car, last]],
                bounds=bounds,
            )  # fmt: skip
            if found.success:
                held = weight * sub.usable_kw[car, last] if sub.peaks and sub.is_slot[car, last] else 0.0
                best = min(best, found.fun + weight * sub.before_kw[car, last] + held)
    return best


@pytest.mark.parametrize("seed", range(4))
def test_the_best_plan_at_prices_is_that_of_an_enumeration(seed: int) -> None:
    compared = 0
    for peaks in (False, True):
        for sub in split(small(seed), counts_peaks=peaks):
            rng = np.random.default_rng(seed)
            prices = rng.random(sub.headroom_kw.shape) * rng.choice([1.0, 4.0])
            priced = price(sub, prices)
            costs = priced.plan.costs(sub) + (sub.price_of(prices, slice(0, sub.size)) * priced.plan.counted_kw).sum(
                axis=1
            )
            for car in range(sub.size):
                assert priced.value[car] == pytest.approx(enumerated(sub, car, prices), abs=1e-6)
                assert costs[car] == pytest.approx(priced.value[car], abs=1e-6)
                assert priced.by_last[car].min() <= priced.value[car] + 1e-9
                compared += 1
    assert compared


def test_a_bound_by_prices_is_below_every_plan_and_parts_only_help() -> None:
    problem = small(3)
    (sub, *_) = split(problem, counts_peaks=True)
    relaxed = relax(sub, 1e-6, Clock(10.0), np.random.default_rng(0))
    values = []
    for parts in (Parts(), Parts(orders=False, whole=False, neighbourhoods=False)):
        found = least_withheld(sub, Limits(1e-6, 10_000, 20.0), np.random.default_rng(0), parts=parts)
        assert found.plan is not None
        values.append(found.plan.cost(sub))
    assert relaxed.bound - 1e-6 <= values[0] <= values[1] + 1e-9


def test_what_is_published_is_what_was_planned() -> None:
    """Caps and the household's own response to them say the same as the plan, in both readings of a limit."""
    for limit_on in ("mean", "peak"):
        problem = small(6)
        result = solve_caps(problem, CapsOptions("floor_then_least", limit_on=limit_on, gap=1e-6))
        assert best_response(problem, result.caps_kw) == pytest.approx(result.planned_kw, abs=1e-6)
        assert result.over_limit_kw <= 1e-6
