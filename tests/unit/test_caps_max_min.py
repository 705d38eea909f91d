"""The largest smallest room by decomposition, and the clock of a whole solve."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from cosim.controllers.caps import CapsOptions, CapsProblem, share_of_phase, solve_caps
from cosim.controllers.caps.decomposition import Clock, at_floor, largest_floor, smallest_room_kw
from cosim.controllers.caps.decomposition.master import Master
from cosim.controllers.caps.decomposition.max_min_plan import Effort, finish
from cosim.controllers.caps.decomposition.pricing import pricing_of
from cosim.controllers.caps.follower import best_response
from cosim.controllers.caps.part import Part, respond
from cosim.controllers.caps.service import servable
from cosim.controllers.solver import OutOfTimeError

MakeStreet = Callable[..., CapsProblem]
MakePiece = Callable[[CapsProblem], Part]
EXACT = CapsOptions("max_min", gap=2e-3, node_limit=100_000, time_limit_s=3.0, levels=1)


@pytest.mark.parametrize("seed", [0, 5])
def test_small_pieces_have_the_largest_floor_of_the_order_form(seed: int, street: MakeStreet) -> None:
    problem = street(4, 8, seed, tight=0.3)
    order, columns = (solve_caps(problem, replace(EXACT, form=form)) for form in ("order", "decomposition"))
    assert (order.form, columns.form) == ("order", "decomposition")
    assert columns.objective <= order.bound + 1e-3
    assert columns.bound >= order.objective - 1e-3
    assert columns.objective >= 0.9 * order.objective
    assert columns.max_response_error_kw < 1e-6
    assert columns.over_limit_kw < 1e-6


@pytest.mark.parametrize("seed", range(3))
def test_many_homes_come_within_the_gap(seed: int, street: MakeStreet, piece: MakePiece) -> None:
    part = piece(street(60, 24, seed, tight=0.25))
    reached = largest_floor(part, 0.01, Clock(20.0), np.random.default_rng(0))
    assert reached.plan is not None
    assert 0.99 * reached.bound_kw <= reached.floor_kw <= reached.bound_kw
    assert smallest_room_kw(part, reached.plan) == pytest.approx(reached.floor_kw)
    assert respond(part, reached.plan.room_kw) == pytest.approx(reached.plan.charge_kw)
    assert (reached.plan.charge_kw @ part.share <= part.headroom_kw + 1e-6).all()


def test_what_was_planned_is_what_homes_do(street: MakeStreet) -> None:
    problem = street(40, 16, 1, tight=0.25)
    result = solve_caps(problem, CapsOptions("max_min", gap=0.01, form="decomposition", time_limit_s=3.0))
    assert result.form == "decomposition"
    assert 0.0 < result.objective <= result.bound
    assert result.gap <= 0.01
    assert result.over_limit_kw <= 1e-6
    assert result.unserved_kwh.sum() == 0.0
    assert best_response(problem, result.caps_kw) == pytest.approx(result.charge_kw)
    room = (result.caps_kw - problem.inflexible_kw)[:, problem.home]
    assert room[problem.usable_kw > 0].min() == pytest.approx(result.objective, abs=1e-5)


def test_a_floor_above_the_bound_has_no_plan_even_in_parts(street: MakeStreet, piece: MakePiece) -> None:
    part = piece(street(30, 18, seed=1, tight=0.25))
    reached = largest_floor(part, 0.001, Clock(20.0), np.random.default_rng(0))
    assert reached.plan is not None
    assert smallest_room_kw(part, reached.plan) == pytest.approx(reached.floor_kw)
    assert respond(part, reached.plan.room_kw) == pytest.approx(reached.plan.charge_kw)
    assert reached.bound_kw * 0.999 <= reached.floor_kw <= reached.bound_kw
    above = at_floor(part, reached.bound_kw * 1.01)
    pricing, master = pricing_of(above), Master(above)
    price = np.zeros(part.headroom_kw.shape)
    for _ in range(60):
        master.add(pricing.best(price)[1])
        price = master.solve().price
    assert master.solve().overload_kw > 1e-4


def test_ample_limits_leave_everybody_free(street: MakeStreet) -> None:
    problem = street(20, 18, seed=1, tight=2.0)
    result = solve_caps(problem, CapsOptions("max_min", form="decomposition"))
    assert (result.status, result.gap) == ("optimal", 0.0)
    assert result.withheld_kwh == 0.0


def test_finishing_slots_are_chosen_anew_where_plans_are_fractional(street: MakeStreet, piece: MakePiece) -> None:
    part = piece(street(12, 12, seed=4, tight=0.3))
    reached = largest_floor(part, 0.001, Clock(20.0), np.random.default_rng(0))
    plans = pricing_of(at_floor(part, 0.8 * reached.floor_kw)).best(np.zeros(part.headroom_kw.shape))[1]
    between = (0.8 * reached.floor_kw, reached.bound_kw)
    halves = np.full(len(part.cars), 0.5)
    plan = finish(part, plans, halves, between, Effort(0.05, 100, Clock(20.0)), np.random.default_rng(0))
    assert plan is not None
    assert smallest_room_kw(part, plan) >= 0.8 * reached.floor_kw - 1e-6
    assert (plan.charge_kw @ part.share <= part.headroom_kw + 1e-6).all()
    assert respond(part, plan.room_kw) == pytest.approx(plan.charge_kw, abs=1e-6)


def test_pieces_share_one_clock(monkeypatch: pytest.MonkeyPatch, street: MakeStreet) -> None:
    problem = street(9, 12, seed=2)
    problem = replace(
        problem,
        phase_share=share_of_phase(np.arange(9) % 3),
        limit_kw=np.tile(problem.limit_kw / 2, (1, 3)),
    )
    given: list[float] = []
    module = importlib.import_module("cosim.controllers.caps.solve")
    solve_part = module.solve_part

    def noting(part, options, rng, near=None):  # type: ignore[no-untyped-def]
        given.append(options.time_limit_s)
        return solve_part(part, options, rng, near)

    monkeypatch.setattr(module, "solve_part", noting)
    solve_caps(problem, CapsOptions("least_restriction", time_limit_s=60.0))
    assert len(given) == 3
    assert given[0] == pytest.approx(20.0, abs=2.0)
    assert given[0] < given[1] < given[2] <= 60.0  # what one piece leaves unused goes to the next ones


def test_no_time_at_all_still_gives_caps_that_serve_and_says_so(street: MakeStreet) -> None:
    problem = street(40, 24, seed=1)
    result = solve_caps(problem, CapsOptions("least_restriction", time_limit_s=0.0))
    assert "time_limit" in (result.status, *result.fallback.split())
    assert not result.reproducible
    assert result.over_limit_kw <= 1e-6
    assert result.unserved_kwh.sum() == 0.0


@pytest.mark.parametrize("objective", ["least_restriction", "max_min", "min_cost", "proportional"])
def test_safe_caps_without_time_for_a_programme_are_safe(
    monkeypatch: pytest.MonkeyPatch, objective: str, street: MakeStreet
) -> None:
    problem = street(12, 18, seed=1, tight=0.25)
    monkeypatch.setattr("cosim.controllers.caps.solve.AFTER_S", 0.0)
    result = solve_caps(problem, CapsOptions(objective, "sum_of_caps", time_limit_s=0.0))
    assert (result.status, result.form) == ("time_limit", "urgency")
    assert (result.caps_kw @ problem.phase_share <= problem.limit_kw + 1e-6).all()
    assert result.unserved_kwh.sum() == 0.0
    assert 0.0 < result.gap <= 1.0 or result.objective == pytest.approx(result.bound)
    assert not result.reproducible


def test_service_without_time_is_in_order_of_urgency_and_says_so(street: MakeStreet) -> None:
    problem = street(12, 18, seed=1, tight=0.02)
    most, struck = servable(problem), servable(problem, time_s=0.0)
    assert struck.struck
    assert not most.struck
    assert 0.0 < struck.draw_kwh.sum() <= most.draw_kwh.sum() * 1.01  # a solver gives away a little
    load_kw = struck.settled_kw @ problem.car_share
    assert (load_kw <= problem.headroom_kw + 1e-6).all()


def test_a_master_programme_without_time_says_so(street: MakeStreet, piece: MakePiece) -> None:
    part = piece(street(20, 18, seed=1))
    master = Master(part)
    master.add(pricing_of(part).best(np.zeros(part.headroom_kw.shape))[1])
    with pytest.raises(OutOfTimeError):
        master.solve(0.0)
    assert master.solve().objective_kwh >= 0.0
