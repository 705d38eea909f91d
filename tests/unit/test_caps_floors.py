"""Floors and least powers: forms against the enumeration of all plans, and many homes close to the bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cosim.controllers.caps import CapsOptions, CapsProblem, best_response, solve_caps
from oracles.plans import least_withheld_kwh

MakeStreet = Callable[..., CapsProblem]
CLOSE_KWH = 1e-4


@pytest.mark.parametrize("form", ["auto", "kkt"])
@pytest.mark.parametrize(("seed", "floor_kw"), [(0, 1.0), (2, 2.0), pytest.param(1, 1.0, marks=pytest.mark.slow)])
def test_every_form_finds_the_least_of_all_plans_above_floors(
    seed: int, floor_kw: float, form: str, street: MakeStreet
) -> None:
    """With the seed of 1, chargers that cannot run below 6 A."""
    problem = street(5, 8, seed, tight=0.35, least_kw=1.38 * (seed == 1))
    options = CapsOptions("floor_then_least", form=form, floor_kw=floor_kw, gap=1e-4, node_limit=100_000)
    result = solve_caps(problem, options)
    optimum = least_withheld_kwh(problem, result.floor_kw)
    assert result.fallback == ""
    assert result.unserved_kwh.sum() == 0.0
    assert optimum > 1.0
    assert result.bound <= optimum + CLOSE_KWH
    assert result.objective == pytest.approx(optimum, rel=1e-3)
    room = (result.caps_kw - problem.inflexible_kw)[:, problem.home]
    least_kw = np.minimum(np.maximum(result.floor_kw, problem.charger_min_kw), problem.usable_kw)
    shut = (result.floor_kw <= 0.0) & (room < 1e-5)
    assert ((room >= least_kw - 1e-5) | shut)[problem.is_plugged].all()
    assert result.over_limit_kw <= 1e-6
    assert best_response(problem, result.caps_kw) == pytest.approx(result.planned_kw, abs=1e-6)


@pytest.mark.slow
def test_many_homes_keep_floors_close_to_the_bound(street: MakeStreet) -> None:
    problem = street(60, 20, seed=3)
    options = CapsOptions("floor_then_least", gap=0.05, floor_kw=1.5)
    result = solve_caps(problem, options)
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
