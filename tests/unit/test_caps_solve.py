"""Caps on days small enough to check by hand, and what comes back when something cannot be kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cosim.controllers.caps import CapsOptions, CapsProblem, best_response, over_limit_kw, share_of_phase, solve_caps

NIGHT = np.array([0.3, 0.1, 0.1, 0.1, 0.1, 0.3])


def cars_of_one_phase(count: int = 2, **changes: Any) -> CapsProblem:
    """Homes without any other load, each with a 4 kW charger and 4 kWh to fetch, one price from slot 1 to slot 4."""
    slots = len(changes.get("tariff_eur_per_kwh", NIGHT))
    data: dict[str, Any] = {
        "slot_h": 1.0,
        "tariff_eur_per_kwh": NIGHT,
        "inflexible_kw": np.zeros((slots, count)),
        "connection_kw": np.full(count, 10.0),
        "phase_share": share_of_phase(np.zeros(count, int)),
        "limit_kw": np.full((slots, 3), 100.0),
        "home": np.arange(count),
        "plugged": np.ones((slots, count)),
        "charger_kw": np.full(count, 4.0),
        "charger_min_kw": np.zeros(count),
        "energy_need_kwh": np.full(count, 4.0),
        "efficiency": np.ones(count),
    }
    return CapsProblem(**(data | changes))


def limit(kw: float, slots: int = 6) -> np.ndarray:
    return np.full((slots, 3), kw)


def test_nothing_is_withheld_where_everybody_fits() -> None:
    problem = cars_of_one_phase(limit_kw=limit(8.1))
    result = solve_caps(problem, CapsOptions("least_restriction"))
    assert (result.status, result.withheld_kwh, result.gap) == ("optimal", 0.0, 0.0)
    assert (result.caps_kw == 10.0).all()
    assert result.charge_kw.sum(axis=0) == pytest.approx([4.0, 4.0])
    assert result.charge_kw[1] == pytest.approx([4.0, 4.0])


@pytest.mark.parametrize("form", ["auto", "kkt"])
def test_one_car_waits_one_slot_where_only_one_fits(form: str) -> None:
    """With 4 kW one of two cars is shut out of slot 1: 4 kWh withheld of what it could use; then it charges freely."""
    problem = cars_of_one_phase(limit_kw=limit(4.0 + 1e-5))
    result = solve_caps(problem, CapsOptions("least_restriction", form=form, gap=1e-6))
    assert result.status == "optimal"
    assert result.withheld_kwh == pytest.approx(10.0, abs=1e-3)
    assert (result.objective, result.bound) == pytest.approx((4.0, 4.0), abs=1e-3)
    assert np.sort(result.charge_kw[1]) == pytest.approx([0.0, 4.0], abs=1e-4)
    assert np.sort(result.charge_kw[2]) == pytest.approx([0.0, 4.0], abs=1e-4)
    assert result.over_limit_kw < 1e-6
    assert result.max_response_error_kw < 1e-6


def test_a_floor_is_lowered_to_an_equal_share_and_named() -> None:
    """Two cars share 4 kW: 2 kW each in slots 1 and 2, and 2 x (10 - 2) kWh withheld in slot 1 and again in slot 2."""
    problem = cars_of_one_phase(limit_kw=limit(4.0 + 1e-5))
    result = solve_caps(problem, CapsOptions("floor_then_least", gap=1e-6))
    assert result.charge_kw[1:3] == pytest.approx(np.full((2, 2), 2.0), abs=1e-4)
    assert result.withheld_kwh <= 2 * 2 * 8.0 + 1e-3
    (relaxation,) = result.relaxations
    assert relaxation.kind == "floor"
    assert relaxation.amount == pytest.approx(2.0, abs=1e-3)  # from the charger's 4 kW
    assert "phase 1, slots 1" in relaxation.where


def test_the_largest_smallest_room_is_the_limit_divided_by_the_homes() -> None:
    problem = cars_of_one_phase(4, energy_need_kwh=np.full(4, 3.5), limit_kw=limit(10.0))
    result = solve_caps(problem, CapsOptions("max_min", gap=1e-3))
    assert result.objective == pytest.approx(2.5, rel=2e-3)
    assert result.objective <= result.bound <= 2.5 * 1.002
    assert (result.caps_kw >= 2.5 * 0.998).all()


def test_a_burst_at_the_beginning_of_a_slot_counts_only_where_asked() -> None:
    """Two cars of 4 kW that need 2 kWh fit under 4 kW on average, not at the beginning of their only cheap slot."""
    problem = cars_of_one_phase(
        tariff_eur_per_kwh=np.array([0.1, 0.3]), energy_need_kwh=np.full(2, 2.0), limit_kw=limit(4.0 + 1e-5, 2)
    )
    mean = solve_caps(problem, CapsOptions("least_restriction", limit_on="mean"))
    assert mean.withheld_kwh == 0.0
    for form in ("auto", "kkt"):
        peak = solve_caps(problem, CapsOptions("least_restriction", limit_on="peak", form=form, gap=1e-6))
        at_once = np.minimum(peak.caps_kw[0], 4.0)[peak.charge_kw[0] > 0]
        assert at_once.sum() <= 4.0 + 1e-4
        # one shut out in the cheap slot, or both held at 2 kW
        assert peak.objective == pytest.approx(4.0, abs=1e-3)


def test_single_phase_homes_are_limited_phase_by_phase() -> None:
    limits = np.tile([4.0 + 1e-5, 8.0 + 1e-5, 0.0], (6, 1))
    problem = cars_of_one_phase(4, phase_share=share_of_phase(np.array([0, 0, 1, 1])), limit_kw=limits)
    result = solve_caps(problem, CapsOptions("least_restriction", gap=1e-6))
    assert result.withheld_kwh == pytest.approx(10.0, abs=1e-3)
    assert (result.caps_kw[:, 2:] == 10.0).all()


def test_a_three_phase_car_loads_its_phases_in_equal_parts() -> None:
    share = np.vstack([np.full(3, 1 / 3), [1.0, 0.0, 0.0]])
    problem = cars_of_one_phase(
        charger_kw=np.array([9.0, 4.0]), energy_need_kwh=np.array([9.0, 4.0]), phase_share=share, limit_kw=limit(4.01)
    )
    result = solve_caps(problem, CapsOptions("least_restriction", gap=1e-6))
    load = result.charge_kw @ share
    assert load.max() <= 4.01 + 1e-6
    assert result.charge_kw.sum(axis=0) == pytest.approx([9.0, 4.0], abs=1e-4)
    assert result.status == "optimal"


def test_need_that_the_limits_cannot_serve_is_served_as_far_as_possible_and_named() -> None:
    problem = cars_of_one_phase(energy_need_kwh=np.full(2, 10.0), limit_kw=limit(2.0))
    for coordination in ("anticipated", "sum_of_caps"):
        result = solve_caps(problem, CapsOptions("least_restriction", coordination))
        assert result.charge_kw.sum() == pytest.approx(12.0, abs=1e-3)  # six hours of 2 kW
        assert result.unserved_kwh.sum() == pytest.approx(8.0, abs=2e-3)
        assert {r.kind for r in result.relaxations} == {"need"}
        assert result.over_limit_kw < 1e-6
        assert result.max_response_error_kw < 1e-6


def test_need_that_the_stay_cannot_hold_is_kept_apart_from_what_the_caps_withhold() -> None:
    problem = cars_of_one_phase(energy_need_kwh=np.array([30.0, 4.0]))
    result = solve_caps(problem)
    assert result.unservable_kwh == pytest.approx([6.0, 0.0])
    assert result.unserved_kwh == pytest.approx([0.0, 0.0])
    assert result.charge_kw[:, 0] == pytest.approx(np.full(6, 4.0))
    assert (result.caps_kw == 10.0).all()


def test_inflexible_load_above_the_limit_is_named_and_no_car_adds_to_it() -> None:
    problem = cars_of_one_phase(inflexible_kw=np.tile([[3.0, 3.0]], (6, 1)), limit_kw=np.tile([[9.0], [5.0]], (3, 3)))
    result = solve_caps(problem, CapsOptions("least_restriction"))
    (relaxation,) = result.relaxations
    assert relaxation.kind == "limit"
    assert "phase 1 in slots 1, 3, 5" in relaxation.where
    assert relaxation.amount == pytest.approx(1.0)
    assert result.charge_kw[1::2].max() < 1e-6
    assert result.charge_kw.sum(axis=0) == pytest.approx([4.0, 4.0], abs=1e-3)


def test_the_sum_of_caps_shares_what_there_is_and_serves_the_need() -> None:
    problem = cars_of_one_phase(3, home=np.array([0, 2, 1]), limit_kw=limit(6.0), inflexible_kw=np.full((6, 3), 0.5))
    result = solve_caps(problem, CapsOptions(coordination="sum_of_caps"))
    assert result.caps_kw.sum(axis=1) == pytest.approx(np.full(6, 6.0), abs=1e-4)
    assert result.caps_kw == pytest.approx(np.full((6, 3), 2.0), abs=1e-3)  # the floor of 4 kW, lowered alike
    assert result.charge_kw.sum(axis=0) == pytest.approx([4.0, 4.0, 4.0], abs=1e-3)


def test_a_time_limit_is_never_called_optimal_and_flags_the_result() -> None:
    rng = np.random.default_rng(2)
    problem = cars_of_one_phase(
        8, energy_need_kwh=rng.uniform(3.0, 9.0, 8), charger_kw=rng.uniform(3.0, 7.0, 8), limit_kw=limit(12.0),
        inflexible_kw=rng.uniform(0.0, 0.5, (6, 8)),
    )  # fmt: skip
    for form in ("auto", "kkt"):
        result = solve_caps(problem, CapsOptions("least_restriction", form=form, time_limit_s=0.0))
        assert result.status == "time_limit"  # the plan is that of an order of precedence
        assert not result.reproducible
        assert not result.fallback
        assert result.gap > 0.01
        assert result.over_limit_kw < 1e-6
        assert result.bound <= result.objective


def test_the_same_data_and_seed_give_the_same_bytes() -> None:
    rng = np.random.default_rng(5)
    problem = cars_of_one_phase(6, energy_need_kwh=rng.uniform(2.0, 8.0, 6), limit_kw=limit(9.0))
    first, second = (solve_caps(problem, seed=3) for _ in range(2))
    assert first.caps_kw.tobytes() == second.caps_kw.tobytes()
    assert (first.bound, first.objective) == (second.bound, second.objective)


def test_no_room_is_left_between_nothing_and_the_least_a_charger_runs_at() -> None:
    problem = cars_of_one_phase(3, charger_min_kw=np.full(3, 1.38), limit_kw=limit(3.9))
    for form in ("auto", "kkt"):
        result = solve_caps(problem, CapsOptions("least_restriction", form=form, gap=1e-6))
        room = result.caps_kw - problem.inflexible_kw
        assert ((room < 1e-9) | (room >= 1.38 - 1e-9)).all()
        assert result.charge_kw.sum(axis=0) == pytest.approx(np.full(3, 4.0), abs=1e-3)
        assert result.max_response_error_kw < 1e-6


def test_a_home_may_have_two_cars_one_after_the_other() -> None:
    plugged = np.zeros((6, 2))
    plugged[:3, 0] = plugged[3:, 1] = 1.0
    problem = cars_of_one_phase(home=np.array([1, 1]), plugged=plugged, limit_kw=limit(2.0 + 1e-5))
    result = solve_caps(problem, CapsOptions("least_restriction", gap=1e-6))
    assert result.charge_kw.sum(axis=0) == pytest.approx([4.0, 4.0], abs=1e-3)
    assert result.charge_kw.sum(axis=1).max() <= 2.0 + 1e-4
    assert (result.caps_kw[:, 0] == 10.0).all()
    assert best_response(problem, result.caps_kw) == pytest.approx(result.charge_kw)


@pytest.mark.parametrize("coordination", ["anticipated", "sum_of_caps"])
@pytest.mark.parametrize("objective", ["least_restriction", "floor_then_least", "max_min"])
def test_a_day_without_cars_or_without_need_has_free_caps(objective: str, coordination: str) -> None:
    empty = cars_of_one_phase(
        home=np.empty(0, int), plugged=np.empty((6, 0)), charger_kw=np.empty(0), charger_min_kw=np.empty(0),
        energy_need_kwh=np.empty(0), efficiency=np.empty(0),
    )  # fmt: skip
    idle = cars_of_one_phase(energy_need_kwh=np.zeros(2))
    for problem in (empty, idle):
        result = solve_caps(problem, CapsOptions(objective, coordination))
        assert (result.status, result.withheld_kwh) == ("optimal", 0.0)
        assert result.caps_kw == pytest.approx(np.full((6, 2), 10.0))


def test_what_breaks_a_limit_is_measured_and_what_inflexible_load_breaks_is_not() -> None:
    """Two cars of 4 kW at once under limits of 5, 8 and 2 kW beside 3 kW of other load, all on phase 1."""
    inflexible_kw = np.zeros((6, 2))
    inflexible_kw[:, 0] = 3.0
    limit_kw = limit(100.0)
    limit_kw[1:4, 0] = 5.0, 12.0, 2.0
    problem = cars_of_one_phase(inflexible_kw=inflexible_kw, limit_kw=limit_kw)
    charge_kw = np.zeros((6, 2))
    for slot, excess_kw in ((1, 8.0 - (5.0 - 3.0)), (2, 0.0), (3, 8.0)):  # in slot 3 all charging is too much
        charge_kw[:] = 0.0
        charge_kw[slot] = 4.0
        assert over_limit_kw(problem, charge_kw) == pytest.approx(excess_kw), slot
