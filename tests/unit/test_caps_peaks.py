"""Limits that hold at the beginning of a slot too: cars that need a part of it draw all that they can at first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cosim.controllers.caps import CapsOptions, CapsProblem, share_of_phase, solve_caps, usable_withheld_kwh
from oracles.caps_milp import least_by_definition

FORMS = ("auto", "kkt")
EXACT = CapsOptions("least_restriction", limit_on="peak", gap=1e-6, node_limit=100_000)


def at_once_kw(problem: CapsProblem, caps_kw: np.ndarray, charge_kw: np.ndarray) -> np.ndarray:
    """What cars draw at the beginning of each slot in which they draw at all."""
    room = np.maximum(np.minimum(caps_kw, problem.connection_kw) - problem.inflexible_kw, 0.0)[:, problem.home]
    return np.where(charge_kw > 1e-6, np.minimum(problem.charger_kw, room), 0.0)


def two_cars(**changes: Any) -> CapsProblem:
    """One hour is cheap, one is dear; two 4 kW chargers at 10 kW connections that nothing else loads."""
    data: dict[str, Any] = {
        "slot_h": 1.0,
        "tariff_eur_per_kwh": np.array([0.1, 0.2]),
        "inflexible_kw": np.zeros((2, 2)),
        "connection_kw": np.full(2, 10.0),
        "phase_share": share_of_phase(np.zeros(2, int)),
        "limit_kw": np.full((2, 3), 7.0 + 1e-5),
        "home": np.arange(2),
        "plugged": np.array([[0.5, 1.0], [1.0, 1.0]]),
        "charger_kw": np.full(2, 4.0),
        "charger_min_kw": np.zeros(2),
        "energy_need_kwh": np.full(2, 4.0),
        "efficiency": np.ones(2),
    }
    return CapsProblem(**(data | changes))


def short_stays() -> CapsProblem:
    """Three cars whose stays begin and end inside slots, found at random: caps at the cheapest means break limits."""
    limit_kw = np.full((6, 3), 9.0)
    limit_kw[:, 0] = [7.676, 7.454, 8.665, 8.753, 7.301, 7.461]
    limit_kw[:, 1] = [7.783, 8.246, 8.574, 7.117, 7.901, 7.104]
    inflexible_kw = np.array(
        [
            [0.707, -0.501, 0.113, -1.858],
            [-1.379, 1.353, 1.236, 1.077],
            [-0.082, 2.986, 2.904, 1.428],
            [1.252, 1.442, -0.055, -1.325],
            [1.607, 0.627, -0.449, 0.429],
            [2.447, 2.670, -0.211, 0.858],
        ]
    )
    return CapsProblem(
        slot_h=0.5,
        tariff_eur_per_kwh=np.array([0.12, 0.32, 0.32, 0.32, 0.12, 0.12]),
        inflexible_kw=inflexible_kw,
        connection_kw=np.full(4, 14.0),
        phase_share=share_of_phase(np.array([1, 0, 0, 1])),
        limit_kw=limit_kw,
        home=np.array([2, 3, 0]),
        plugged=np.array([[0, 0, 0], [0, 0, 0], [0, 1, 0.4], [0.4, 1, 1], [1, 0.4, 0], [0.4, 0, 0]], float),
        charger_kw=np.array([3.7, 7.4, 7.4]),
        charger_min_kw=np.zeros(3),
        energy_need_kwh=np.array([0.272, 4.638, 1.3925]),
        efficiency=np.full(3, 0.9),
    )


@pytest.mark.parametrize("form", FORMS)
def test_a_short_stay_gets_all_that_the_limit_has_room_for_at_once(form: str) -> None:
    """Car 0 can use 2 kW of the cheap hour and draws 4 kW at first: beside car 1 it is held to 3 kW, of no harm."""
    result = solve_caps(two_cars(), replace(EXACT, form=form))
    assert result.status == "optimal"
    assert (result.objective, result.bound) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert result.caps_kw[0, 0] < 3.0 + 1e-3 or result.caps_kw[0, 1] < 3.0 + 1e-3
    assert result.charge_kw[:, 0] == pytest.approx([2.0, 2.0], abs=1e-4)
    assert result.over_limit_kw < 1e-6


@pytest.mark.parametrize(("objective", "optimum"), [("least_restriction", None), ("min_cost", 1.8845)])
def test_no_form_breaks_a_limit_at_once_or_its_own_bound(objective: str, optimum: float | None) -> None:
    problem = short_stays()
    unserved, withheld = least_by_definition(problem, peaks=True)
    assert unserved == 0.0
    for form in FORMS:
        result = solve_caps(problem, replace(EXACT, objective=objective, form=form))
        assert result.status == "optimal"
        assert result.objective == pytest.approx(withheld if optimum is None else optimum, rel=1e-3)
        assert usable_withheld_kwh(problem, result.caps_kw) >= withheld - 1e-4
        assert result.withheld_bound_kwh <= usable_withheld_kwh(problem, result.caps_kw) + 1e-6
        counted = at_once_kw(problem, result.caps_kw, result.charge_kw)
        assert (counted @ problem.car_share <= problem.headroom_kw + 1e-6).all()


def test_the_largest_floor_may_be_above_what_a_short_stay_can_use() -> None:
    for form in FORMS:
        result = solve_caps(short_stays(), replace(EXACT, objective="max_min", form=form, gap=1e-3))
        assert result.bound == pytest.approx(result.objective, rel=2e-3)
        for floor_kw, kept in ((0.999 * result.objective, True), (1.01 * result.bound, False)):
            floors = np.minimum(floor_kw, short_stays().usable_kw)
            unserved, _ = least_by_definition(short_stays(), peaks=True, floor_kw=floors)
            assert (unserved < 1e-6) == kept


def test_what_is_over_a_limit_at_once_is_seen_where_means_keep_it() -> None:
    problem = two_cars(limit_kw=np.full((2, 3), 6.5))
    free = solve_caps(problem, replace(EXACT, limit_on="mean"))
    assert (free.withheld_kwh, free.over_limit_kw) == (0.0, 0.0)
    at_once = at_once_kw(problem, free.caps_kw, free.charge_kw)
    assert at_once[0] == pytest.approx([4.0, 4.0])
    assert (at_once @ problem.car_share - problem.headroom_kw).max() == pytest.approx(1.5)


def test_cars_that_are_settled_are_held_back_too_and_what_that_costs_is_not_called_proven() -> None:
    """Both are there for half an hour and need all of it: 2 kW each in the mean, 8 kW at once."""
    stays = np.array([[0.5, 0.5], [0.0, 0.0]])
    problem = two_cars(plugged=stays, energy_need_kwh=np.full(2, 2.0), limit_kw=np.full((2, 3), 6.0 + 1e-5))
    result = solve_caps(problem, EXACT)
    assert result.charge_kw[0] == pytest.approx([2.0, 2.0])
    assert np.sort(result.caps_kw[0]) == pytest.approx([2.0, 10.0], abs=1e-4)
    assert result.over_limit_kw < 1e-6
    assert result.withheld_bound_kwh <= result.withheld_kwh
    assert (result.status == "optimal") == (result.gap < 1e-4)
    alone = solve_caps(replace(problem, plugged=np.array([[0.5, 0.0], [0.0, 1.0]])), EXACT)
    assert (alone.status, alone.withheld_kwh) == ("optimal", 0.0)


def test_a_settled_car_is_shut_out_where_its_charger_cannot_run_at_what_the_limit_leaves() -> None:
    stays = np.array([[0.25, 0.25], [0.0, 0.0]])
    problem = two_cars(
        plugged=stays, energy_need_kwh=np.full(2, 1.0), charger_min_kw=np.full(2, 3.0), limit_kw=np.full((2, 3), 4.5)
    )
    result = solve_caps(problem, EXACT)
    assert np.sort(result.charge_kw[0]) == pytest.approx([0.0, 1.0])
    assert np.sort(result.unserved_kwh) == pytest.approx([0.0, 1.0])
    assert [relaxation.kind for relaxation in result.relaxations] == ["need"]
    assert result.over_limit_kw < 1e-6
    assert result.max_response_error_kw < 1e-6


@pytest.mark.parametrize("limit_on", ["mean", "peak"])
def test_the_fairest_caps_withhold_no_less_than_any_must(limit_on: str) -> None:
    problem = two_cars(limit_kw=np.full((2, 3), 5.0 + 1e-5))
    options = replace(EXACT, limit_on=limit_on)
    fair = solve_caps(problem, replace(options, objective="proportional"))
    least = solve_caps(problem, options)
    assert fair.bound >= fair.objective
    assert usable_withheld_kwh(problem, fair.caps_kw) >= least.bound - 1e-6


@pytest.mark.parametrize("limit_on", ["mean", "peak"])
def test_a_plan_that_breaks_a_limit_is_no_start(limit_on: str) -> None:
    problem, options = two_cars(limit_kw=np.full((2, 3), 5.0 + 1e-5)), replace(EXACT, limit_on=limit_on)
    free_kw = np.full((2, 2), 10.0)
    found = solve_caps(problem, replace(options), start_kw=free_kw)
    counted = at_once_kw(problem, found.caps_kw, found.charge_kw) if limit_on == "peak" else found.charge_kw
    assert (counted @ problem.car_share - problem.headroom_kw).max() < 1e-6
    assert found.withheld_kwh > 1.0
