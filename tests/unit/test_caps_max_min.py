"""The largest smallest room by decomposition, and the clock of a whole solve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cosim.controllers.caps import CapsOptions, CapsProblem, best_response, share_of_phase, solve_caps
from oracles.plans import least_withheld_kwh

MakeStreet = Callable[..., CapsProblem]
EXACT = CapsOptions("max_min", gap=2e-3, node_limit=100_000, time_limit_s=3.0, levels=1)


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.slow), 5])
def test_small_pieces_have_the_largest_floor_of_the_textbook_form(seed: int, street: MakeStreet) -> None:
    problem = street(3, 6, seed, tight=0.3)
    textbook, columns = (solve_caps(problem, replace(EXACT, form=form)) for form in ("kkt", "auto"))
    assert (textbook.form, columns.form) == ("kkt", "auto")
    assert textbook.objective * (1 - 2e-3) <= columns.objective <= columns.bound
    assert columns.objective <= textbook.bound + 1e-3
    assert columns.max_response_error_kw < 1e-6
    assert columns.over_limit_kw < 1e-6


@pytest.mark.parametrize(
    ("homes", "slots", "seed", "gap", "time_s"),
    [
        pytest.param(60, 24, 1, 0.01, 30.0, marks=pytest.mark.slow),
        pytest.param(60, 24, 2, 0.01, 30.0, marks=pytest.mark.slow),
        pytest.param(40, 16, 1, 0.01, 30.0, marks=pytest.mark.slow),
        pytest.param(30, 18, 1, 0.001, 30.0, marks=pytest.mark.slow),
    ],
)
def test_many_homes_come_within_the_gap_and_do_what_was_planned(
    homes: int, slots: int, seed: int, gap: float, time_s: float, street: MakeStreet
) -> None:
    problem = street(homes, slots, seed, tight=0.25)
    result = solve_caps(problem, CapsOptions("max_min", gap=gap, time_limit_s=time_s))
    assert 0.0 < (1 - gap) * result.bound <= result.objective <= result.bound
    assert result.gap <= gap
    assert result.over_limit_kw <= 1e-6
    assert result.unserved_kwh.sum() == 0.0
    assert best_response(problem, result.caps_kw) == pytest.approx(result.charge_kw)
    room = (result.caps_kw - problem.inflexible_kw)[:, problem.home]
    held = room < problem.usable_kw - 1e-6
    assert room[held].min() == pytest.approx(result.objective, abs=1e-5)


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.slow), 5])
def test_no_caps_keep_a_floor_above_the_bound(seed: int, street: MakeStreet) -> None:
    problem = street(4, 8, seed, tight=0.3)
    largest = solve_caps(problem, replace(EXACT))
    assert largest.bound < 0.9 * problem.charger_kw.min()  # or a floor would be cut to what a charger can take
    assert np.isfinite(least_withheld_kwh(problem, np.where(problem.usable_kw > 0, 0.999 * largest.objective, 0.0)))
    assert np.isinf(least_withheld_kwh(problem, np.where(problem.usable_kw > 0, 1.01 * largest.bound, 0.0)))


def test_ample_limits_leave_everybody_free(street: MakeStreet) -> None:
    problem = street(20, 18, seed=1, tight=2.0)
    result = solve_caps(problem, CapsOptions("max_min"))
    assert (result.status, result.gap) == ("optimal", 0.0)
    assert result.withheld_kwh == 0.0


def test_pieces_share_one_clock(street: MakeStreet) -> None:
    """Three phases, none of which can be proven in the time: each alone would use up all of it."""
    one = street(9, 24, seed=2)
    problem = replace(
        street(27, 24, seed=2),
        phase_share=share_of_phase(np.arange(27) % 3),
        limit_kw=np.tile(one.limit_kw, (1, 3)),
    )
    hardest = CapsOptions("least_restriction", form="kkt", gap=0.0, node_limit=10**9, time_limit_s=3.0)
    result = solve_caps(problem, hardest)
    assert result.status == "time_limit"
    assert result.wall_s < 8.0


def test_no_time_at_all_still_gives_caps_that_serve_and_says_so(street: MakeStreet) -> None:
    problem = street(40, 24, seed=1)
    result = solve_caps(problem, CapsOptions("least_restriction", time_limit_s=0.0))
    assert "time_limit" in (result.status, *result.fallback.split())
    assert not result.reproducible
    assert result.over_limit_kw <= 1e-6
    assert result.unserved_kwh.sum() == 0.0


@pytest.mark.parametrize("objective", ["least_restriction", "max_min", "min_cost", "proportional"])
def test_safe_caps_without_time_for_a_programme_are_safe(objective: str, street: MakeStreet) -> None:
    """So many homes that a programme could not even be written in the seconds left to fall back on."""
    problem = street(1_500, 24, seed=1, tight=0.25)
    result = solve_caps(problem, CapsOptions(objective, "sum_of_caps", time_limit_s=0.0))
    assert (result.status, result.form) == ("time_limit", "urgency")
    assert (result.caps_kw @ problem.phase_share <= problem.limit_kw + 1e-6).all()
    assert result.unserved_kwh.sum() == 0.0
    assert 0.0 < result.gap <= 1.0 or result.objective == pytest.approx(result.bound)
    assert not result.reproducible


def test_service_without_time_is_in_order_of_urgency_and_says_so(street: MakeStreet) -> None:
    problem = street(12, 18, seed=1, tight=0.02)
    rough = CapsOptions("least_restriction", gap=0.1, node_limit=10)
    most, struck = solve_caps(problem, rough), solve_caps(problem, replace(rough, time_limit_s=0.0))
    assert struck.status == "time_limit"
    assert most.status != "time_limit"
    served, in_time = ((problem.efficiency * one.charge_kw.sum(axis=0)).sum() for one in (most, struck))
    assert 0.0 < in_time <= served * 1.01  # a solver gives away a little
    assert struck.over_limit_kw <= 1e-6
    assert {relaxation.kind for relaxation in struck.relaxations} == {"need"}
