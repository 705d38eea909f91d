"""What anticipation releases over caps that are safe by their sum: plans side by side, and their deviation tests."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosim.controllers.caps import CapsOptions, solve_caps
from cosim.experiments import caps_tables
from cosim.experiments.caps_tables import DRAWS, FEWEST_DRAWS, deviation_rows
from cosim.experiments.studies.host_capacity import comparison
from cosim.experiments.studies.host_capacity.comparison import CAREFUL, Comparison, compare
from cosim.experiments.studies.host_capacity.study import HostCapacity, HostConfig, make_problem


def compared(households: int = 8, **options: object) -> Comparison:
    config = HostConfig(households=households, slots=24, gap=0.1, **options)  # type: ignore[arg-type]
    problem, _ = make_problem(config)
    result = solve_caps(problem, config.options, seed=config.seed)
    return compare(problem, result, config.options, config.margin or 0.0, config.seed)


@pytest.fixture(scope="module")
def plain() -> Comparison:
    return compared()


def test_anticipation_releases_freedom_and_the_numbers_are_those_of_the_caps(plain: Comparison) -> None:
    assert list(plain.plans) == ["anticipated", "sum_of_caps", CAREFUL]
    assert plain.metrics["released"]["released_withheld_kwh"] > 0.0
    assert plain.metrics["released"]["fewer_h_below_4_2_kw_per_home"] > 0.0
    for name, plan in plain.plans.items():
        metrics, problem, caps = plain.metrics[f"plan_{name}"], plan.problem, plan.result.caps_kw
        assert metrics["nominal_capacity_kwh"] == pytest.approx(caps.sum())  # slots of an hour
        short = 0
        for car, home in enumerate(problem.home):
            for slot in range(problem.slots):
                room = max(caps[slot, home] - problem.inflexible_kw[slot, home], 0.0)
                short += problem.plugged[slot, car] > 0 and room < min(4.2, problem.charger_kw[car]) - 1e-6
        assert metrics["below_4_2_kw_h_per_home"] == pytest.approx(short / problem.homes)


def test_the_safe_plan_holds_whatever_homes_do_inside_their_caps(plain: Comparison) -> None:
    def largest(plan: str, *, inside: bool = True) -> dict[str, float]:
        rows = [row for row in plain.deviations if row["plan"] == plan and row["respects_caps"] == inside]
        return {row["behaviour"]: row["max_excess_kw"] for row in rows}

    assert max(largest("sum_of_caps").values()) < 1e-3
    assert max(largest("anticipated").values()) > 1.0
    assert largest("anticipated")["as modelled"] < 1e-3
    (noise,), (noise_with_margin,) = (largest(name, inside=False).values() for name in ("anticipated", CAREFUL))
    assert noise_with_margin < noise
    careful, whole = plain.plans[CAREFUL].problem.limit_kw, plain.plans["anticipated"].problem.limit_kw
    assert careful == pytest.approx(0.85 * whole)


@pytest.mark.parametrize("households", [4, pytest.param(8, marks=pytest.mark.slow)])
def test_a_plan_that_was_asked_for_is_not_solved_again_under_any_name(households: int) -> None:
    safe = compared(households, coordination="sum_of_caps", margin=0.1)
    assert list(safe.plans) == ["anticipated", "sum_of_caps", CAREFUL]
    own = safe.plans["sum_of_caps"].problem
    assert safe.plans["anticipated"].problem is own
    assert safe.plans[CAREFUL].problem.limit_kw == pytest.approx(own.limit_kw / 0.9 * 0.85)
    careful = compared(households, margin=0.15)
    assert careful.plans[CAREFUL].problem.limit_kw == pytest.approx(careful.plans["sum_of_caps"].problem.limit_kw)


def test_many_homes_are_not_compared_but_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison, "MOST_COMPARED", 5)
    alone = compared()
    assert list(alone.plans) == ["anticipated"]
    assert "up to 5 homes" in alone.why_alone
    assert "released" not in alone.metrics
    assert {row["plan"] for row in alone.deviations} == {"anticipated"}


def test_plans_for_which_there_is_no_time_are_skipped_and_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(comparison, "ALL_TIME_S", 0.0)
    told = HostCapacity().conduct(HostConfig(households=5, slots=24, gap=0.2), tmp_path)
    assert "released" not in told.cases
    assert "plan_sum_of_caps" not in told.cases
    assert sum("no time was left" in warning for warning in told.warnings) == 2
    assert f"No time was left for `sum_of_caps`, `{CAREFUL}`" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert not json.loads((tmp_path / "manifest.json").read_text())["reproducible"]


def test_a_plan_that_fell_back_does_not_pass_for_what_was_asked(
    plain: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "MOST_COMPARED", 5)
    plan = plain.plans["sum_of_caps"]
    fallen = replace(plan.result, fallback="no plan in time; caps are those of sum_of_caps")
    told = compare(plan.problem, fallen, CapsOptions("least_restriction", "anticipated"), 0.0, 1)
    assert list(told.plans) == ["anticipated_fell_back"]
    assert set(told.metrics) == {"plan_anticipated_fell_back"}
    assert {row["plan"] for row in told.deviations} == {"anticipated_fell_back"}


def test_draws_are_fewer_with_many_homes(plain: Comparison, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plain.plans["anticipated"]
    cells = plan.problem.slots * plan.problem.cars

    def draws(room: float) -> set[int]:
        monkeypatch.setattr(caps_tables, "CELLS", room * cells)
        rows = deviation_rows(plan.problem, plan.result.caps_kw, np.random.default_rng(1), plan="some")
        return {row["draws"] for row in rows} - {1}

    assert [draws(room) for room in (1, 30, 1000)] == [{FEWEST_DRAWS}, {30}, {DRAWS}]
