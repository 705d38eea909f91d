"""Several tariffs at once, prices below zero, three-phase homes: one optimum in every form, views of ties in order."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.controllers.caps import (
    LIMITS_ON,
    CapsOptions,
    CapsProblem,
    best_response_lp,
    charging_cost_eur,
    share_of_phase,
    solve_caps,
    worst_draw,
)
from oracles.household import least_cost_eur, most_drawn_kw

CLOSE = 2e-4
EXACT = CapsOptions("least_restriction", gap=1e-6, node_limit=100_000)


@st.composite
def mixed_days(draw: st.DrawFn) -> CapsProblem:
    """Three homes with tariffs of their own, some prices zero or below, batteries with room, one home on all phases."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    cars, slots = 3, 5
    start, stay = rng.integers(0, slots - 2, cars), rng.integers(2, slots + 1, cars)
    slot = np.arange(slots)[:, None]
    plugged = ((slot >= start) & (slot < start + stay)).astype(float)
    if draw(st.booleans()):
        plugged *= rng.choice([1.0, 1.0, 0.4], plugged.shape)
    charger = rng.choice([3.7, 7.4], cars)
    need = rng.uniform(0.0, 0.8, cars) * 0.9 * 0.5 * (plugged * charger).sum(axis=0)
    share = share_of_phase(rng.integers(0, 2, cars))
    if draw(st.booleans()):
        share[int(rng.integers(cars))] = 1 / 3
    several = (slots, cars) if draw(st.booleans()) else slots
    return CapsProblem(
        slot_h=0.5,
        tariff_eur_per_kwh=rng.choice([-0.05, 0.0, 0.12, 0.22], several),
        inflexible_kw=rng.uniform(-1.0, 2.0, (slots, cars)),
        connection_kw=np.full(cars, 14.0),
        phase_share=share,
        limit_kw=draw(st.sampled_from([5.0, 8.0])) + rng.uniform(0.0, 2.0, (slots, 3)),
        home=np.arange(cars),
        plugged=plugged,
        charger_kw=charger,
        charger_min_kw=np.full(cars, draw(st.sampled_from([0.0, 0.0, 1.38]))),
        energy_need_kwh=need,
        efficiency=np.full(cars, 0.9),
        battery_room_kwh=need * rng.uniform(1.0, 2.0, cars),
    )


@pytest.mark.parametrize("objective", ["least_restriction", "proportional", "min_cost"])
@given(problem=mixed_days(), limit_on=st.sampled_from(LIMITS_ON))
@settings(max_examples=8, deadline=None, derandomize=True)
def test_the_forms_agree_on_mixed_tariffs_prices_below_nil_and_three_phase_homes(
    objective: str, problem: CapsProblem, limit_on: str
) -> None:
    exact = replace(EXACT, objective=objective, limit_on=limit_on)
    results = [solve_caps(problem, replace(exact, form=form)) for form in ("auto", "kkt")]
    if any(result.fallback for result in results):
        assert all(result.fallback for result in results)
        return
    first = results[0]
    for result in results:
        assert result.objective == pytest.approx(first.objective, rel=CLOSE, abs=1e-3)
        assert result.max_response_error_kw < 1e-4
        assert result.over_limit_kw < 1e-5
        assert result.withheld_bound_kwh <= result.withheld_kwh + 1e-6
        for car in range(problem.cars):
            own = best_response_lp(problem, result.caps_kw, car)
            assert own == pytest.approx(result.charge_kw[:, car], abs=1e-5)
            cost = charging_cost_eur(problem, result.charge_kw)[car]
            assert cost == pytest.approx(least_cost_eur(problem, result.caps_kw, car), abs=1e-5)


@given(problem=mixed_days())
@settings(max_examples=8, deadline=None, derandomize=True)
def test_the_views_of_ties_are_in_order_and_keep_what_they_promise(problem: CapsProblem) -> None:
    views = ("optimistic", "unique", "pessimistic")
    exact = replace(EXACT)
    found = {view: solve_caps(problem, replace(exact, ties=view)) for view in views}
    withheld = [found[view].objective for view in views if not found[view].fallback]
    assert all(more >= less - 1e-3 for less, more in pairwise(withheld))
    for view, result in found.items():
        if result.fallback:
            continue
        counted = worst_draw(problem, result.caps_kw) if view == "pessimistic" else result.charge_kw
        assert (counted @ problem.car_share <= problem.headroom_kw + 1e-5).all()
        for car in range(problem.cars):
            cost = charging_cost_eur(problem, result.charge_kw)[car]
            assert cost == pytest.approx(least_cost_eur(problem, result.caps_kw, car), abs=1e-5)
            slot = int(counted[:, car].argmax())
            if view == "pessimistic":
                worst = most_drawn_kw(problem, result.caps_kw, car, slot)
                assert worst == pytest.approx(counted[slot, car], abs=1e-4)
