"""Laws of the caps: one optimum in every form, the household's own optimum in every plan, limits that always hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.controllers.caps import (
    FORMS,
    LIMITS_ON,
    OBJECTIVES,
    CapsOptions,
    CapsProblem,
    best_response,
    best_response_lp,
    charging_cost_eur,
    share_of_phase,
    solve_caps,
    usable_withheld_kwh,
)

FEW = settings(max_examples=8, deadline=None, derandomize=True)
MANY = settings(max_examples=40, deadline=None, derandomize=True)
CLOSE = 2e-4


@st.composite
def problems(draw: st.DrawFn, cars: int = 3, slots: int = 6, whole_slots: bool = False) -> CapsProblem:
    """A few homes, one more than cars, on two phases; limits between plenty and far too little."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    homes = cars + 1
    start = rng.integers(0, slots - 2, cars)
    stay = rng.integers(2, slots + 1, cars)
    slot = np.arange(slots)[:, None]
    plugged = ((slot >= start) & (slot < start + stay)).astype(float)
    if not whole_slots:
        plugged *= rng.choice([1.0, 1.0, 0.4], plugged.shape)
    charger = rng.choice([3.7, 7.4], cars)
    return CapsProblem(
        slot_h=0.5,
        tariff_eur_per_kwh=rng.choice([0.12, 0.22, 0.32], slots),
        inflexible_kw=rng.uniform(-2.0, 3.0, (slots, homes)),
        connection_kw=np.full(homes, 14.0),
        phase_share=share_of_phase(rng.integers(0, 2, homes)),
        limit_kw=np.full((slots, 3), draw(st.sampled_from([4.0, 7.0, 9.0, 12.0, 30.0])))
        + rng.uniform(0, 2, (slots, 3)),
        home=rng.permutation(homes)[:cars],
        plugged=plugged,
        charger_kw=charger,
        charger_min_kw=np.full(cars, draw(st.sampled_from([0.0, 1.38]))),
        energy_need_kwh=rng.uniform(0.0, 1.0, cars) * 0.9 * 0.5 * (plugged * charger).sum(axis=0),
        efficiency=np.full(cars, 0.9),
    )


@pytest.mark.parametrize("limit_on", LIMITS_ON)
@given(problem=problems())
@FEW
def test_both_forms_withhold_the_same(limit_on: str, problem: CapsProblem) -> None:
    for objective in ("least_restriction", "floor_then_least"):
        options = CapsOptions(objective, limit_on=limit_on, gap=1e-6, node_limit=100_000)
        results = [solve_caps(problem, replace(options, form=form)) for form in FORMS]
        assert {result.status for result in results} == {"optimal"}
        withheld = [result.objective for result in results]
        assert withheld == pytest.approx([withheld[0]] * len(FORMS), rel=CLOSE, abs=1e-3)


@given(
    problem=problems(),
    objective=st.sampled_from(OBJECTIVES),
    warm_start=st.booleans(),
    form=st.sampled_from(FORMS),
    limit_on=st.sampled_from(LIMITS_ON),
)
@MANY
def test_every_plan_is_each_households_own_optimum_and_keeps_the_limits(
    problem: CapsProblem, objective: str, warm_start: bool, form: str, limit_on: str
) -> None:
    result = solve_caps(problem, CapsOptions(objective, form=form, limit_on=limit_on))
    assert bool(result.fallback) == (result.coordination == "sum_of_caps")
    response = best_response(problem, result.caps_kw)
    assert result.charge_kw == pytest.approx(response)
    assert result.max_response_error_kw < 1e-4
    for car in range(problem.cars):
        lp = best_response_lp(problem, result.caps_kw, car)
        assert lp == pytest.approx(response[:, car], abs=1e-5)
        cost = charging_cost_eur(problem, response)[car]
        assert cost == pytest.approx(0.5 * problem.tariff_eur_per_kwh @ lp, abs=1e-6)
    counted = response
    if limit_on == "peak":  # whoever draws at all, draws all it can at first
        room = (result.caps_kw - problem.inflexible_kw)[:, problem.home]
        counted = np.where(response > 1e-6, np.minimum(problem.charger_kw, room), 0.0)
    load = problem.base_kw + counted @ problem.car_share
    assert (load <= np.maximum(problem.limit_kw, problem.base_kw) + 1e-5).all()
    assert result.over_limit_kw <= 1e-5
    assert result.withheld_bound_kwh <= result.withheld_kwh + 1e-6
    assert (result.caps_kw <= problem.connection_kw + 1e-9).all()
    served = problem.efficiency * problem.slot_h * response.sum(axis=0)
    assert served + result.unserved_kwh == pytest.approx(problem.reachable_kwh, abs=2e-3)


@given(problem=problems(), objective=st.sampled_from(OBJECTIVES))
@MANY
def test_the_sum_of_caps_is_safe_whatever_households_do(problem: CapsProblem, objective: str) -> None:
    result = solve_caps(problem, CapsOptions(objective, "sum_of_caps"))
    assert (result.caps_kw >= problem.inflexible_kw - 1e-9).all()
    allowed = np.maximum(problem.limit_kw, problem.base_kw)
    assert (result.caps_kw @ problem.phase_share <= allowed + 1e-6).all()


@given(problem=problems(whole_slots=True))
@FEW
def test_anticipation_never_withholds_more_than_safety_and_floors_cost_something(problem: CapsProblem) -> None:
    free = solve_caps(problem, CapsOptions("least_restriction", gap=1e-6, node_limit=100_000))
    floored = solve_caps(problem, CapsOptions("floor_then_least", gap=1e-6, node_limit=100_000))
    safe = solve_caps(problem, CapsOptions("least_restriction", "sum_of_caps"))
    slack = CLOSE * (1.0 + safe.withheld_kwh)
    if free.unserved_kwh.sum() + safe.unserved_kwh.sum() == 0.0:
        assert free.objective <= usable_withheld_kwh(problem, safe.caps_kw) + slack
    assert free.objective <= floored.objective + slack


@given(problem=problems())
@MANY
def test_promised_floors_fit_under_the_limits_together(problem: CapsProblem) -> None:
    result = solve_caps(problem, CapsOptions("floor_then_least", "sum_of_caps", floor_kw=4.2))
    floor = result.floor_kw
    room = (result.caps_kw - problem.inflexible_kw)[:, problem.home]
    assert (floor <= room + 1e-6)[problem.is_plugged].all()
    assert (floor @ problem.car_share <= problem.headroom_kw + 1e-9).all()
    assert (floor <= np.minimum(4.2, problem.charger_kw) + 1e-12).all()
    assert not floor[~problem.is_plugged].any()


@pytest.mark.slow
@given(problem=problems(whole_slots=True))
@FEW
def test_the_largest_floor_is_kept_and_no_plan_has_a_larger_one_than_its_bound(problem: CapsProblem) -> None:
    result = solve_caps(problem, CapsOptions("max_min", gap=1e-3, node_limit=100_000))
    assert result.objective <= result.bound + 1e-9
    assert result.status == "fallback" if result.fallback else result.status in ("optimal", "gap_limit")
    other = solve_caps(problem, CapsOptions("least_restriction", gap=1e-6, node_limit=100_000))
    if other.unserved_kwh.sum() == 0.0 and (problem.usable_kw > 0).any():
        room = (other.caps_kw - problem.inflexible_kw)[:, problem.home]
        held = room < problem.usable_kw - 1e-6
        assert (
            room[held].min(initial=0.0 if held.any() else np.inf) <= result.bound * (1 + 1e-6) + 1e-6 or not held.any()
        )
