"""The general linear bilevel solver: what it takes, what it says, and that it never says more than it knows."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from cosim.controllers.bilevel import BilevelLP, BilevelResult, solve_bilevel
from cosim.controllers.bilevel.game import game_of
from cosim.controllers.bilevel.problem import checked
from cosim.controllers.bilevel.relaxation import Relaxation, strengthen
from cosim.controllers.bilevel.solve import objections
from cosim.controllers.solver import Clock
from cosim.errors import InputError

EMPTY = np.zeros((0, 1))
NO_ROOT = frozenset[int]()
ENDLESS = Clock(np.inf)

SPIKE = BilevelLP([-1], [-1], None, None, None, [1], [1], [-0.01], [1], (0, 2), (0, None))
"""Max x + y, follower min y with y >= 0 and x - 0.01 y <= 1; optimum 102 at (2, 100), guessed M stops at 1."""

TIED = BilevelLP([1], [-1], None, None, None, [0], None, None, None, (0, 1), (0, 1))
"""The follower is indifferent: y is 1 for the optimist and 0 for the pessimist."""

ZENG = BilevelLP(
    [-8, -6], [-25, -30, 2, 16], [[1, 1]], [[0, 0, 0, 0]], [10], [-10, -10, -10, -10],
    [[1, 1], [-0.8, -0.8], [0, -4]], [[1, 1, 1, 1], [-1, 0, 0, 1], [0, 1, 0, 1]], [10, 0, 0], (0, None), (0, None),
)  # fmt: skip
"""Example 1 of Zeng, A practical scheme to compute pessimistic bilevel optimization problems (2015)."""


def small_random(seed: int, rows: int = 12) -> BilevelLP:
    rng = np.random.default_rng(seed)
    n = rows // 2

    def matrix(*shape: int) -> np.ndarray:
        return rng.integers(-9, 10, shape)

    leader = matrix(4, n), matrix(4, n), rng.integers(0, 15, 4)
    follower = matrix(n), matrix(rows, n), matrix(rows, n), rng.integers(5, 30, rows)
    return BilevelLP(matrix(n), matrix(n), *leader, *follower, (0, 10), (0, 10))


def assert_solved(result: BilevelResult, value: float) -> None:
    assert (result.status, result.proven) == ("optimal", True), result
    assert result.value == pytest.approx(value, abs=1e-6)
    assert abs(result.value - result.bound) <= 1e-6 * (1.0 + abs(value))


def test_spike_where_guessed_multiplier_bounds_fail() -> None:
    result = solve_bilevel(SPIKE)
    assert_solved(result, -102.0)
    np.testing.assert_allclose([*result.x, *result.y], [2.0, 100.0])
    assert_solved(solve_bilevel(SPIKE, view="pessimistic"), -102.0)


@pytest.mark.parametrize("slope", [1e-1, 1e-3, 1e-5, 1e-6])
def test_spike_with_multipliers_up_to_a_million(slope: float) -> None:
    """The larger the multiplier, the worse any guessed bound of it."""
    assert_solved(solve_bilevel(replace(SPIKE, D=[-slope])), -2.0 - 1.0 / slope)


@pytest.mark.parametrize(
    "change",
    [
        {"A": [], "B": [], "a": []},
        {"A": EMPTY, "B": EMPTY, "a": np.zeros(0)},
        {"C": [[1]], "D": [[-0.01]]},
        {"C": np.array([1.0]), "D": -0.01, "b": 1},
        {"c_x": -1, "c_y": -1.0, "d": 1},
        {"x_bounds": [(0, 2)], "y_bounds": [(0, np.inf)]},
        {"x_bounds": np.array([0.0, 2.0]), "y_bounds": np.array([[0.0, 1e30]])},
        {"A": [[1], [0]], "B": None, "a": [2, np.inf], "x_bounds": (0, None)},
        {"C": [1, 0], "D": [-0.01, -1], "b": [1, 0], "y_bounds": None},
        {"C": [1, 0, 0], "D": [-0.01, -1, 0], "b": [1, 0, np.inf], "y_bounds": [None]},
        {"C": [1, 1], "D": [-0.01, 0], "b": [1, 2], "x_bounds": (0, None)},
    ],
)
def test_all_ways_to_state_the_same_problem(change: dict[str, Any]) -> None:
    """Including y >= 0 as a row, x <= 2 as a row of the leader, and x <= 2 as a row of the follower."""
    assert_solved(solve_bilevel(replace(SPIKE, **change)), -102.0)


def test_one_pair_of_bounds_serves_all_variables() -> None:
    pairs = replace(ZENG, x_bounds=[(0, None)] * 2, y_bounds=[(0, np.inf), (0, None), [0, None], (0.0, None)])
    assert solve_bilevel(pairs).value == solve_bilevel(ZENG).value


def test_bounds_on_y_are_the_followers() -> None:
    """The same limit as the leader's row makes another problem: the follower then ignores it."""
    follower_knows = BilevelLP([0], [1], None, None, None, [-1], None, None, None, (0, 1), (0, 3))
    assert_solved(solve_bilevel(follower_knows), 3.0)
    leader_knows = replace(follower_knows, A=[[0]], B=[[1]], a=[3], y_bounds=(0, 5))
    assert solve_bilevel(leader_knows).status == "infeasible"


def test_equality_through_two_rows() -> None:
    """Candler and Townsley with slack variables, three equalities, as ct_1982_01 in BASBLib."""
    D = np.hstack([np.array([[-1, 1, 1], [-1, 2, -0.5], [2, -1, -0.5]]), np.eye(3)])
    C = np.array([[0.0, 0], [2, 0], [0, 2]])
    problem = BilevelLP(
        [-8, -4], [4, -40, -4, 0, 0, 0], None, None, None, [1, 1, 2, 0, 0, 0],
        np.vstack([C, -C]), np.vstack([D, -D]), [1, 1, 1, -1, -1, -1], (0, 10), (0, 10),
    )  # fmt: skip
    result = solve_bilevel(problem)
    assert_solved(result, -29.2)
    np.testing.assert_allclose([*result.x, *result.y], [0, 0.9, 0, 0.6, 0.4, 0, 0, 0], atol=1e-7)


def test_rows_that_meet_only_up_to_rounding() -> None:
    """An equality in thirds, stated three times with factors that are no numbers of the machine."""
    C = np.outer([1, -1, 1 / 3, -1 / 3, 1 / 7, -1 / 7], [1 / 3])
    D = np.outer([1, -1, 1 / 3, -1 / 3, 1 / 7, -1 / 7], [2 / 3])
    b = np.array([1, -1, 1 / 3, -1 / 3, 1 / 7, -1 / 7]) * 0.1
    assert_solved(solve_bilevel(BilevelLP([-1], [1], None, None, None, [1], C, D, b, (0, None), (0, None))), -0.3)


def test_infeasible_and_why() -> None:
    nothing_fits = solve_bilevel(replace(SPIKE, A=[[1]], B=[[0]], a=[-1]))
    assert (nothing_fits.status, nothing_fits.proven, nothing_fits.x, nothing_fits.y) == (
        "infeasible",
        True,
        None,
        None,
    )
    assert (nothing_fits.value, nothing_fits.bound) == (np.inf, np.inf)
    assert nothing_fits.note == "no decision and answer satisfy all rows"
    refused = solve_bilevel(replace(SPIKE, A=[[0]], B=[[1]], a=[-1], y_bounds=(-5, None), d=[-1]))
    assert refused.status == "infeasible"
    no_answer = solve_bilevel(replace(SPIKE, C=[1], D=[0], b=[-1]))
    assert (no_answer.status, no_answer.note) == ("infeasible", "no decision and answer satisfy all rows")
    disagree = solve_bilevel(BilevelLP([0], [1], [[0]], [[1]], [0], [-1], None, None, None, (0, 1), (-1, 1)))
    assert (disagree.status, disagree.note) == ("infeasible", "no optimum of the follower satisfies the leader's rows")


def test_unbounded_follower_leaves_nothing_to_decide() -> None:
    result = solve_bilevel(BilevelLP([1], [1], None, None, None, [1], [[1]], [[1]], [4], (0, 1), None))
    assert (result.status, result.proven) == ("infeasible", True)
    assert result.note == "the follower is unbounded below for every decision that it can answer"


def test_follower_that_can_answer_some_decisions_only() -> None:
    """Min -x, follower needs y between x and 2 - x."""
    problem = BilevelLP([-1], [0], None, None, None, [1], [[1], [1]], [[-1], [1]], [0, 2], (0, 5), None)
    assert_solved(solve_bilevel(problem), -1.0)


def test_unbounded_leader() -> None:
    free = BilevelLP([-1], [0], None, None, None, [1], None, None, None, (0, None), (0, 1))
    with_answer = BilevelLP([1], [-2], None, None, None, [1], [[1]], [[-1]], [0], (0, None), (0, None))
    for problem in (free, with_answer):
        result = solve_bilevel(problem)
        assert (result.status, result.proven, result.value, result.bound) == ("unbounded", True, -np.inf, -np.inf)


def test_unbounded_relaxation_is_not_an_unbounded_problem() -> None:
    """The leader wants y large, and nothing but the follower's interest keeps it small."""
    problem = BilevelLP([0, 0], [-1, -1], None, None, None, [1, 1], -np.eye(2), -np.eye(2), [-1, -1], (0, 1), (0, None))
    assert_solved(solve_bilevel(problem), -2.0)


def test_pessimist_and_optimist_differ_by_the_ties() -> None:
    assert_solved(solve_bilevel(TIED), -1.0)
    assert_solved(solve_bilevel(TIED, view="pessimistic"), 0.0)


def test_pessimistic_example_of_zeng() -> None:
    """All answers cost the follower the same where x1 + x2 < 10, so that the leader leaves it nothing to choose."""
    assert_solved(solve_bilevel(ZENG), -252.0)
    result = solve_bilevel(ZENG, view="pessimistic")
    assert_solved(result, -80.0)
    np.testing.assert_allclose(result.x, [10, 0], atol=1e-9)


def test_coupling_rows_hold_for_every_optimum_in_the_pessimistic_view() -> None:
    """Max x with x + y <= 1, follower indifferent on [0, 1]."""
    problem = BilevelLP([-1], [0], [[1]], [[1]], [1], [0], None, None, None, (0, 2), (0, 1))
    assert_solved(solve_bilevel(problem), -1.0)
    assert_solved(solve_bilevel(problem, view="pessimistic"), 0.0)
    both_ways = replace(problem, A=[[1], [0]], B=[[1], [-1]], a=[1, -0.5])
    assert_solved(solve_bilevel(both_ways), -0.5)
    assert solve_bilevel(both_ways, view="pessimistic").status == "infeasible"


def test_pessimist_is_bounded_where_the_optimist_is_not() -> None:
    """Max x with x - y <= 5, follower indifferent to y >= 0: it may help without end, or not at all."""
    problem = BilevelLP([-1], [0], [[1]], [[-1]], [5], [0], None, None, None, (0, None), (0, None))
    assert solve_bilevel(problem).status == "unbounded"
    assert_solved(solve_bilevel(problem, view="pessimistic"), -5.0)


def test_worst_case_that_is_unbounded() -> None:
    """The follower does not care about y >= 0, the leader pays for it: infinite at every decision."""
    problem = BilevelLP([1], [1], None, None, None, [0], None, None, None, (0, 1), (0, None))
    assert_solved(solve_bilevel(problem), 0.0)
    result = solve_bilevel(problem, view="pessimistic")
    assert (result.status, result.proven, result.value) == ("infeasible", True, np.inf)
    assert "unbounded in a direction that costs the leader" in result.note


def test_unbounded_in_the_pessimistic_view() -> None:
    result = solve_bilevel(replace(TIED, x_bounds=(None, 1)), view="pessimistic")
    assert (result.status, result.proven, result.value) == ("unbounded", True, -np.inf)


def test_limits_are_never_called_optimal() -> None:
    problem = next(p for p in map(small_random, itertools.count()) if solve_bilevel(p).nodes > 30)
    best = solve_bilevel(problem)
    assert_solved(best, best.value)
    few = solve_bilevel(problem, node_limit=3)
    assert (few.status, few.proven) == ("node_limit", False)
    assert few.bound < best.value <= few.value
    none = solve_bilevel(problem, time_limit_s=0)
    assert (none.status, none.proven, none.value, none.bound, none.x) == ("time_limit", False, np.inf, -np.inf, None)
    for view in ("optimistic", "pessimistic"):
        assert not solve_bilevel(problem, view=view, time_limit=1e-3).proven


def test_wide_gap_is_not_called_optimal() -> None:
    statuses = []
    for problem in map(small_random, range(40)):
        best, wide = solve_bilevel(problem), solve_bilevel(problem, gap=0.5)
        statuses.append(wide.status)
        assert wide.bound <= best.value + 1e-9
        assert best.value <= wide.value + 1e-9
        if wide.status == "gap_limit":
            assert not wide.proven
            assert wide.value <= wide.bound + 0.5 * (1.0 + abs(wide.value))
        elif wide.status == "optimal":
            assert_solved(wide, best.value)
    assert {"gap_limit", "optimal"} <= set(statuses)


def test_same_answer_every_time() -> None:
    first, second = (solve_bilevel(small_random(3)) for _ in range(2))
    assert (first.value, first.nodes) == (second.value, second.nodes)
    np.testing.assert_array_equal(first.x, second.x)


def test_root_cut_bounds_what_the_relaxation_leaves_open() -> None:
    """Without it the relaxation of the spike is unbounded; with it, y is at most its largest multiplier, 100."""
    relaxation = Relaxation(game_of(checked(SPIKE)), ENDLESS)
    assert relaxation.solve(NO_ROOT, NO_ROOT).value == -np.inf
    tight, zero = strengthen(relaxation, NO_ROOT, NO_ROOT, np.inf, ENDLESS)
    assert relaxation.solve(tight, zero).value == pytest.approx(-102.0, rel=1e-5)


def test_root_keeps_every_better_point() -> None:
    """Statements at the root, made with no value known, must not cut the optimum off."""
    for seed in range(30):
        problem = small_random(seed, rows=8)
        best = solve_bilevel(problem)
        relaxation = Relaxation(game_of(checked(problem)), ENDLESS)
        tight, zero = strengthen(relaxation, NO_ROOT, NO_ROOT, np.inf, ENDLESS)
        scale = game_of(checked(problem)).cost_scale
        if best.status == "optimal":
            assert relaxation.solve(tight, zero).value * scale <= best.value + 1e-6
        else:
            assert best.status == "infeasible"


def test_check_refuses_what_is_no_answer() -> None:
    data = checked(SPIKE)
    x = np.array([2.0])
    assert objections(data, x, np.array([100.0]), pessimistic=False) == []
    assert "the follower can do better by 1" in objections(data, x, np.array([101.0]), pessimistic=False)[0]
    assert "the follower's rows" in objections(data, x, np.array([99.0]), pessimistic=False)[0]
    assert "the bounds of x" in objections(data, x + 1, np.array([200.0]), pessimistic=False)[0]
    assert objections(checked(TIED), np.zeros(1), np.ones(1), pessimistic=False) == []
    assert "costs the leader 1 more" in objections(checked(TIED), np.zeros(1), np.ones(1), pessimistic=True)[0]


def test_every_fault_of_the_input_is_named() -> None:
    wrong = BilevelLP(
        [1, np.nan], [1, 2, 3], [[1, 2]], [[1]], [1, 2], [1, np.inf], [[1, 2]], [[1, 2]], [-np.inf], [(0, 1)] * 3,
        [(2, 1), (0, 1)],
    )  # fmt: skip
    with pytest.raises(InputError) as raised:
        solve_bilevel(wrong)
    named = {fault.key for fault in raised.value.faults}
    assert named == {"c_x[1]", "c_y", "A", "B", "d[1]", "b[0]", "x_bounds", "y_bounds[0]"}
    with pytest.raises(InputError, match="no follower variable"):
        solve_bilevel(BilevelLP([1], [], None, None, None, [], None, None, None))
    with pytest.raises(InputError, match="cannot be read"):
        solve_bilevel(replace(SPIKE, c_x=["much"]))


def test_unknown_view_and_limits_are_named() -> None:
    with pytest.raises(InputError) as raised:
        solve_bilevel(SPIKE, view="realistic", hours=2, gap=-1)
    assert {fault.key for fault in raised.value.faults} == {"view", "hours", "gap"}
