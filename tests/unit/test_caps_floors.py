"""Decomposition with floors and least powers: pricing against enumeration, bounds and plans against the order form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from cosim.controllers.caps import CapsOptions, CapsProblem, solve_caps
from cosim.controllers.caps.decomposition import decompose, supports
from cosim.controllers.caps.decomposition.first_plan import first_plan
from cosim.controllers.caps.decomposition.floored import FlooredPricing, least_kw
from cosim.controllers.caps.decomposition.plans import CAPPED
from cosim.controllers.caps.decomposition.pricing import Pricing, pricing_of
from cosim.controllers.caps.follower import best_response
from cosim.controllers.caps.part import Part, respond
from cosim.controllers.caps.programme import whole
from cosim.controllers.solver import Limits

MakeStreet = Callable[..., CapsProblem]
MakePiece = Callable[[CapsProblem], Part]
EXACT = CapsOptions("floor_then_least", gap=1e-6, node_limit=100_000)


def with_mixed_floors(part: Part, seed: int) -> Part:
    """Floors of their own for every slot and car, some of them above what the car can draw, some none."""
    rng = np.random.default_rng(seed)
    floor = rng.choice([0.0, 0.8, 1.7, 2.4, 5.0], part.usable_kw.shape)
    return part.with_floor(np.where(part.usable_kw > 0, floor, 0.0))


def cheapest_by_enumeration(part: Part, car: int, price: np.ndarray) -> float:
    """Try every last slot and every choice of full and held slots before it, one of them in part."""
    slots = np.flatnonzero(part.usable_kw[:, car] > 0)
    usable, room = part.usable_kw[slots, car], part.room_kw[slots, car]
    low, least = least_kw(part)[slots, car], part.charger_min_kw[car]
    best = np.inf
    for last in range(len(slots)):
        for full in product((False, True), repeat=last):
            full_or_free = np.array(full, bool) | (low[:last] >= usable[:last])
            drawn = np.where(full_or_free, usable[:last], low[:last])
            withheld = part.slot_h * np.where(full_or_free, 0.0, room[:last] - low[:last]).sum()
            paid = price[slots[:last]] @ drawn + withheld
            left = part.draw_kw[car] - drawn.sum()
            if -1e-9 <= left <= usable[last] + 1e-9:
                best = min(best, paid + price[slots[last]] * left)
            for k in np.flatnonzero(~full_or_free):
                begin = max(least - low[k], 0.0)
                for more in (left, left - usable[last], begin):
                    if begin - 1e-9 <= more <= usable[k] - low[k] and -1e-9 <= left - more <= usable[last] + 1e-9:
                        cost = (price[slots[k]] - part.slot_h) * more + price[slots[last]] * (left - more)
                        best = min(best, paid + cost)
    return float(best)


@pytest.mark.parametrize("seed", range(8))
def test_pricing_with_floors_finds_the_best_plan_of_every_household(
    seed: int, street: MakeStreet, piece: MakePiece
) -> None:
    part = with_mixed_floors(piece(street(4, 8, seed, tight=5.0, least_kw=1.38 * (seed % 2))), seed)
    price = np.random.default_rng(seed).choice([0.0, 0.2, 0.5, 1.5], (8, 1)) * (1 + 0.01 * np.arange(8)[:, None])
    assert isinstance(pricing_of(part), FlooredPricing)
    value, plans = FlooredPricing(part).best(price)
    for car in range(len(part.cars)):
        assert value[car] == pytest.approx(cheapest_by_enumeration(part, car, price[:, 0]), abs=1e-6)
    known = np.isfinite(value)
    assert known.any()
    assert plans.charge_kw.sum(axis=0)[known] == pytest.approx(part.draw_kw[known])
    cost = plans.withheld_kwh + (price * plans.charge_kw).sum(axis=0)
    assert value[known] == pytest.approx(cost[known])
    room = np.where(plans.state == CAPPED, plans.charge_kw, part.room_kw)
    assert respond(part, room)[:, known] == pytest.approx(plans.charge_kw[:, known], abs=1e-9)
    assert (np.minimum(room, part.usable_kw) >= least_kw(part) - 1e-9).all()


@pytest.mark.parametrize("seed", range(3))
def test_without_floors_both_ways_of_pricing_agree(seed: int, street: MakeStreet, piece: MakePiece) -> None:
    part = piece(street(30, 24, seed))
    price = np.random.default_rng(seed).choice([0.0, 0.2, 0.6, 1.2], (24, 1)) * (1 + 0.01 * np.arange(24)[:, None])
    assert FlooredPricing(part).best(price)[0] == pytest.approx(Pricing(part).best(price)[0], abs=1e-9)


@pytest.mark.parametrize(("seed", "floor_kw"), [(0, 1.0), (1, 1.0), (2, 2.0)])
def test_decomposition_brackets_the_optimum_above_floors(
    seed: int, floor_kw: float, street: MakeStreet, piece: MakePiece
) -> None:
    part = piece(street(5, 8, seed, tight=0.35, least_kw=1.38 * (seed == 1)))
    part = part.with_floor(np.where(part.usable_kw > 0, np.minimum(floor_kw, part.usable_kw), 0.0))
    assert supports(part)
    order = whole(part, EXACT, Limits(1e-6, 100_000, 20.0), np.random.default_rng(0), "order")
    end = decompose(part, Limits(0.2, 100, 2.0), np.random.default_rng(0))
    if order.status == "infeasible":
        assert end.plan is None
        return
    assert order.status == "optimal"
    assert order.objective > 0
    assert end.bound_kwh <= order.objective * (1 + 1e-4)
    assert end.plan is not None
    assert end.withheld_kwh >= order.objective * (1 - 1e-4)
    assert (np.minimum(end.plan.room_kw, part.usable_kw) >= least_kw(part) - 1e-6).all()
    assert (end.plan.charge_kw @ part.share <= part.headroom_kw + 1e-6).all()


def test_many_homes_keep_floors_close_to_the_bound(street: MakeStreet) -> None:
    problem = street(60, 20, seed=3)
    options = CapsOptions("floor_then_least", gap=0.05, floor_kw=1.5)
    result = solve_caps(problem, options)
    assert result.form == "decomposition"
    assert result.status in ("optimal", "gap_limit")
    assert result.gap <= 0.05
    assert result.over_limit_kw <= 1e-6
    assert result.max_response_error_kw < 1e-6
    assert result.unserved_kwh.sum() == 0.0
    assert result.floor_kw.max() == pytest.approx(1.5)
    room = (result.caps_kw - problem.inflexible_kw)[:, problem.home]
    held = best_response(problem, result.caps_kw) < problem.usable_kw - 1e-6
    assert (room >= result.floor_kw - 1e-5)[held].all()
    without = solve_caps(problem, replace(options, objective="least_restriction"))
    assert without.withheld_bound_kwh <= result.withheld_kwh


def test_one_sweep_gives_a_plan_that_households_follow(street: MakeStreet, piece: MakePiece) -> None:
    part = piece(street(40, 24, seed=5))
    part = part.with_floor(np.where(part.usable_kw > 0, 0.5, 0.0))
    plan = first_plan(part)
    assert plan is not None
    assert respond(part, plan.room_kw) == pytest.approx(plan.charge_kw, abs=1e-6)
    assert plan.charge_kw.sum(axis=0) == pytest.approx(part.draw_kw, abs=1e-5)
    assert (plan.charge_kw @ part.share <= part.headroom_kw + 1e-9).all()
    assert first_plan(part.with_floor(np.where(part.usable_kw > 0, 3.7, 0.0))) is None
