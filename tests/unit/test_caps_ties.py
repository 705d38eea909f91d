"""Households that choose among equals: against enumeration on tiny days, and what either view promises."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest

from cosim.controllers.caps import (
    CapsOptions,
    CapsProblem,
    CapsResult,
    best_response,
    charging_cost_eur,
    solve_caps,
    worst_draw,
)
from cosim.errors import InputError
from oracles.household import least_cost_eur, most_drawn_kw

ROOM_KW, CHARGER_KW, STEP_KW = 3.0, 2.0, 0.5
EXACT: dict[str, Any] = {"gap": 1e-6, "node_limit": 100_000}


def two_cars(seed: int) -> CapsProblem:
    """Two homes under one limit, three slots of one or two prices, everything a multiple of half a kW."""
    rng = np.random.default_rng(seed)
    shape = (3, 2) if rng.random() < 0.5 else 3
    return CapsProblem(
        slot_h=1.0,
        tariff_eur_per_kwh=rng.choice([0.1, 0.1, 0.2], shape),
        inflexible_kw=np.zeros((3, 2)),
        connection_kw=np.full(2, ROOM_KW),
        phase_share=np.ones((2, 1)),
        limit_kw=rng.choice([1.5, 2.0, 2.5, 3.0], (3, 1)) + 1e-5,
        home=np.arange(2),
        plugged=(rng.random((3, 2)) < 0.9).astype(float),
        charger_kw=np.full(2, CHARGER_KW),
        charger_min_kw=np.zeros(2),
        energy_need_kwh=rng.choice([1.0, 1.5, 2.0, 2.5, 3.0], 2),
        efficiency=np.ones(2),
    )


def enumerated(problem: CapsProblem, view: str) -> float:
    """Least withheld energy over all caps on a grid, and with the optimistic view over all splits on a finer one."""
    answers = [_answers(problem, car, view) for car in range(2)]
    (first_kwh, first_kw), (second_kwh, second_kw) = answers
    best = np.inf
    for withheld, drawn in zip(first_kwh, first_kw, strict=True):
        fits = (drawn + second_kw <= problem.limit_kw[:, 0] + 1e-9).all(axis=1)
        if fits.any():
            best = min(best, withheld + float(second_kwh[fits].min()))
    return best


def _answers(problem: CapsProblem, car: int, view: str) -> tuple[np.ndarray, np.ndarray]:
    there = problem.is_plugged[:, car]
    withheld, counted = [], []
    for rooms in product(np.arange(0.0, ROOM_KW + STEP_KW / 2, STEP_KW), repeat=3):
        room = np.array(rooms)
        caps = np.full((3, 2), ROOM_KW)
        caps[:, car] = room
        best = best_response(problem, caps)[:, car]
        if (room[~there] < ROOM_KW).any() or best.sum() < problem.need_kw[car] - 1e-9:
            continue
        draws = [worst_draw(problem, caps)[:, car]] if view == "pessimistic" else [best]
        if view == "optimistic":
            limit, tariff = np.minimum(room, CHARGER_KW) * there, problem.tariff_of_car[:, car]
            splits = np.array(list(product(*[np.arange(0.0, most + STEP_KW / 4, STEP_KW / 2) for most in limit])))
            alike = (np.abs(splits.sum(axis=1) - best.sum()) < 1e-9) & (splits @ tariff <= tariff @ best + 1e-9)
            draws = list(splits[alike])
        withheld += [float((CHARGER_KW - room).clip(0.0)[there].sum())] * len(draws)
        counted += draws
    return np.array(withheld), np.array(counted)


def check_view(problem: CapsProblem, result: CapsResult) -> None:
    """Look at the promise of a view with nothing but linear programmes of single households."""
    cost = charging_cost_eur(problem, result.charge_kw)
    for car in range(problem.cars):
        assert cost[car] == pytest.approx(least_cost_eur(problem, result.caps_kw, car), abs=1e-6)
    counted = result.charge_kw
    if result.ties == "pessimistic":
        counted = np.array(
            [
                [most_drawn_kw(problem, result.caps_kw, car, slot) for car in range(problem.cars)]
                for slot in range(problem.slots)
            ]
        )
        assert result.worst_kw == pytest.approx(counted, abs=1e-4)
    assert (counted @ problem.car_share <= problem.headroom_kw + 1e-4).all()
    assert result.max_response_error_kw < 1e-5
    assert result.over_limit_kw < 1e-5


@pytest.mark.parametrize("seed", [1, 3, 6, 11, 12])
@pytest.mark.parametrize("view", ["optimistic", "unique", "pessimistic"])
def test_no_caps_on_a_grid_withhold_less(seed: int, view: str) -> None:
    problem = two_cars(seed)
    result = solve_caps(problem, CapsOptions("least_restriction", ties=view, **EXACT))
    assert result.status == "optimal"
    assert result.ties == view
    assert result.objective == pytest.approx(enumerated(problem, view), abs=1e-3)
    check_view(problem, result)


def test_the_views_differ_and_are_in_order() -> None:
    withheld = [enumerated(two_cars(11), view) for view in ("optimistic", "unique", "pessimistic")]
    assert withheld[0] < withheld[1] < withheld[2]


def test_where_every_price_is_different_all_views_are_one() -> None:
    problem = CapsProblem(**{**vars_of(two_cars(11)), "tariff_eur_per_kwh": np.array([0.3, 0.1, 0.2])})
    withheld = [
        solve_caps(problem, CapsOptions("least_restriction", ties=view, **EXACT)).objective
        for view in ("optimistic", "unique", "pessimistic")
    ]
    assert withheld == pytest.approx([withheld[0]] * 3, abs=1e-3)


def vars_of(problem: CapsProblem) -> dict[str, Any]:
    return {name: getattr(problem, name) for name in problem.__dataclass_fields__}


def test_a_price_of_nil_may_fill_the_battery_and_the_pessimist_reckons_with_it() -> None:
    """One car needs 1 kWh, its battery takes 4: at zero, 2 kW may be drawn in either slot, the limit allows 1.5 kW."""
    data = vars_of(two_cars(1)) | {
        "tariff_eur_per_kwh": np.array([0.0, 0.0, 0.2]),
        "plugged": np.array([[1.0, 0.0]] * 3),
        "limit_kw": np.full((3, 1), 1.5 + 1e-5),
        "energy_need_kwh": np.array([1.0, 0.0]),
        "battery_room_kwh": np.array([4.0, 0.0]),
    }
    problem = CapsProblem(**data)
    results = {
        view: solve_caps(problem, CapsOptions("least_restriction", ties=view, **EXACT))
        for view in ("optimistic", "unique", "pessimistic")
    }
    assert results["optimistic"].objective == results["unique"].objective == 0.0
    assert results["pessimistic"].objective == pytest.approx(2 * 0.5, abs=1e-3)
    for result in results.values():
        check_view(problem, result)


def test_views_that_a_form_or_a_limit_does_not_know_are_refused() -> None:
    refused: list[dict[str, Any]] = [
        {"limit_on": "peak", "ties": "optimistic"},
        {"objective": "max_min", "ties": "pessimistic"},
        {"ties": "whatever"},
    ]
    for options in refused:
        with pytest.raises(InputError):
            CapsOptions(**options)
    assert solve_caps(two_cars(1), CapsOptions("least_restriction", "sum_of_caps", ties="pessimistic")).ties == "unique"
