"""Under unique ties the columns of plans, the textbook form and the definition are one problem."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cosim.controllers.caps import (
    LIMITS_ON,
    CapsOptions,
    CapsProblem,
    best_response,
    best_response_lp,
    share_of_phase,
    solve_caps,
)
from oracles.caps_milp import least_by_definition

CLOSE = 2e-4
EXACT = CapsOptions("least_restriction", gap=1e-6, node_limit=100_000)


@st.composite
def days(draw: st.DrawFn, cars: int, slots: int, phases: int) -> CapsProblem:
    """Homes with a car each, one more without; limits from far too little to plenty; flat or mixed tariffs."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    start, stay = rng.integers(0, slots - 2, cars), rng.integers(2, slots + 1, cars)
    slot = np.arange(slots)[:, None]
    plugged = ((slot >= start) & (slot < start + stay)).astype(float)
    if draw(st.booleans()):
        plugged *= np.where(rng.random(plugged.shape) < 0.2, 0.4, 1.0)
    charger = rng.choice([3.7, 7.4], cars)
    prices = [0.2] if draw(st.booleans()) else [-0.02, 0.12, 0.22, 0.32]
    limit_kw = cars / phases * draw(st.sampled_from([1.5, 2.5, 4.0])) * rng.uniform(0.8, 1.2, (slots, phases))
    return CapsProblem(
        slot_h=0.5,
        tariff_eur_per_kwh=rng.choice(prices, slots),
        inflexible_kw=rng.uniform(-1.0, 2.0, (slots, cars + 1)),
        connection_kw=np.full(cars + 1, 14.0),
        phase_share=share_of_phase(rng.integers(0, phases, cars + 1), phases),
        limit_kw=limit_kw + 1.0,
        home=rng.permutation(cars + 1)[:cars],
        plugged=plugged,
        charger_kw=charger,
        charger_min_kw=np.full(cars, draw(st.sampled_from([0.0, 0.0, 1.38]))),
        energy_need_kwh=rng.uniform(0.0, 0.9, cars) * 0.9 * 0.5 * (plugged * charger).sum(axis=0),
        efficiency=np.full(cars, 0.9),
    )


@given(problem=days(cars=4, slots=6, phases=1), limit_on=st.sampled_from(LIMITS_ON))
@settings(max_examples=6, deadline=None, derandomize=True)
def test_both_forms_and_the_definition_have_one_optimum(problem: CapsProblem, limit_on: str) -> None:
    unserved, withheld = least_by_definition(problem, peaks=limit_on == "peak")
    for form in ("auto", "kkt"):
        result = solve_caps(problem, replace(EXACT, form=form, limit_on=limit_on))
        assert result.status == "optimal"
        assert result.unserved_kwh.sum() == pytest.approx(unserved, abs=2e-3)
        assert result.objective == pytest.approx(withheld, rel=CLOSE, abs=2e-3)
        assert result.bound <= withheld * (1 + CLOSE) + 2e-3
        response = best_response(problem, result.caps_kw)
        assert result.max_response_error_kw < 1e-5
        assert result.over_limit_kw < 1e-6
        for car in range(problem.cars):
            assert best_response_lp(problem, result.caps_kw, car) == pytest.approx(response[:, car], abs=1e-5)


@pytest.mark.slow
@given(problem=days(cars=9, slots=12, phases=1))
@settings(max_examples=5, deadline=None, derandomize=True)
def test_prices_bracket_the_optimum(problem: CapsProblem) -> None:
    exact = solve_caps(problem, replace(EXACT, gap=1e-4))
    rough = solve_caps(problem, replace(EXACT, gap=0.1))
    if exact.unserved_kwh.sum() == rough.unserved_kwh.sum() == 0.0:
        assert rough.bound - 1e-3 <= exact.objective <= rough.objective + 1e-3
        assert rough.gap <= 0.1
