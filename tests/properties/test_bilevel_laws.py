"""Laws of the bilevel solver on random small problems: bounded or not, degenerate, infeasible, coupled or not.

The values are compared with enumerations that share nothing with the solver: scipy's linear programmes over all sets of
tight rows that can carry multipliers, and the worst of the follower's optima evaluated at single decisions.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, linprog

from cosim.controllers.bilevel import BilevelLP, BilevelResult, search, solve_bilevel

Floats = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)
OPTIMAL, INFEASIBLE, UNBOUNDED = 0, 2, 3
MOST_ROWS = 7  # of the follower, bounds included: the enumerations go through 2 and 3 to this power

law = settings(max_examples=60, deadline=None, derandomize=True, database=None)
short_law = settings(law, max_examples=25)


@dataclass(frozen=True)
class Plain:
    """A problem in arrays, the follower's bounds among its rows."""

    c_x: Floats
    c_y: Floats
    A: Floats
    B: Floats
    a: Floats
    d: Floats
    G: Floats
    H: Floats
    h: Floats
    x_bounds: list[tuple[float | None, float | None]]


def random_problem(seed: int, *, coupled: bool = True) -> BilevelLP:
    """Up to three variables on each side; small whole numbers, so that ties and degenerate corners are common."""
    rng = np.random.default_rng(seed)
    nx, ny = (int(n) for n in rng.integers(1, 4, 2))
    leader_rows, follower_rows = (int(n) for n in rng.integers(0, 4, 2))
    density, fractions = rng.choice([0.5, 0.8, 1.0]), rng.random() < 0.3

    def matrix(*shape: int) -> Floats:
        whole = rng.integers(-4, 5, shape) * (rng.random(shape) < density)
        return whole * rng.random(shape) if fractions else whole.astype(float)

    def bounds(count: int, share_free: float) -> list[tuple[float | None, float | None]]:
        low = [None if rng.random() < share_free else float(rng.integers(-3, 1)) for _ in range(count)]
        high = [None if rng.random() < share_free else float(rng.integers(1, 6)) for _ in range(count)]
        return list(zip(low, high, strict=True))

    C, D, b = matrix(follower_rows, nx), matrix(follower_rows, ny), rng.integers(-2, 9, follower_rows).astype(float)
    if follower_rows >= 2 and rng.random() < 0.25:
        C[1], D[1], b[1] = -C[0], -D[0], -b[0]  # an equality
    d = rng.integers(-3, 4, ny) * (rng.random(ny) < 0.7)
    A, B, a = matrix(leader_rows, nx), matrix(leader_rows, ny) * coupled, rng.integers(-2, 9, leader_rows)
    x_bounds, y_bounds = bounds(nx, rng.choice([0.0, 0.1, 0.5])), bounds(ny, rng.choice([0.2, 0.7]))
    return BilevelLP(matrix(nx), matrix(ny), A, B, a, d, C, D, b, x_bounds, y_bounds)


def small(seed: int, *, coupled: bool = True) -> tuple[BilevelLP, Plain]:
    """The first random problem from a seed on that the enumerations can afford."""
    for number in itertools.count(seed):
        problem = random_problem(number, coupled=coupled)
        plain = plain_of(problem)
        if len(plain.h) <= MOST_ROWS:
            return problem, plain
    raise AssertionError


def plain_of(problem: BilevelLP) -> Plain:
    def array(values: object) -> Floats:
        return np.array(values, float)

    G, H, h = array(problem.C), array(problem.D), array(problem.b)
    for i, pair in enumerate(problem.y_bounds or ()):
        for sign, end in zip((-1.0, 1.0), pair, strict=True):
            if end is not None:
                G, H = np.vstack([G, np.zeros(G.shape[1])]), np.vstack([H, sign * np.eye(H.shape[1])[i]])
                h = np.append(h, sign * end)
    leader = array(problem.A), array(problem.B), array(problem.a)
    return Plain(
        array(problem.c_x), array(problem.c_y), *leader, array(problem.d), G, H, h, list(problem.x_bounds or ())
    )


def x_ends(plain: Plain, far: float) -> tuple[Floats, Floats]:
    """Bounds of the leader's variables, at a distance where there is none."""
    low = [-far if low is None else low for low, _ in plain.x_bounds]
    high = [far if high is None else high for _, high in plain.x_bounds]
    return np.array(low), np.array(high)


def at_most(lower: float, upper: float) -> bool:
    """Whether one value is no higher than another, up to rounding; infinite ones included."""
    return lower <= upper or lower - upper <= 1e-5 * (1.0 + min(abs(lower), abs(upper)))


def solved(cost: Floats, rows: Floats, limits: Floats, equal: Floats, at: Floats, bounds: object) -> OptimizeResult:
    """One linear programme; without presolve, which calls some unbounded problems infeasible."""
    given_rows = {"A_ub": rows, "b_ub": limits} if len(limits) else {}
    given_equal = {"A_eq": equal, "b_eq": at} if len(at) else {}
    return linprog(cost, **given_rows, **given_equal, bounds=bounds, options={"presolve": False})


def subsets(count: int) -> Iterator[list[int]]:
    for size in range(count + 1):
        yield from map(list, itertools.combinations(range(count), size))


def best_with_tight(plain: Plain, tight: list[int]) -> float:
    """Leader's best value where some of the follower's rows are tight."""
    own = np.hstack([plain.G, plain.H])
    rows, limits = np.vstack([np.hstack([plain.A, plain.B]), own]), np.concatenate([plain.a, plain.h])
    bounds = plain.x_bounds + [(None, None)] * len(plain.d)
    cost = np.concatenate([plain.c_x, plain.c_y])
    answer = solved(cost, rows, limits, own[tight], plain.h[tight], bounds)
    if answer.status not in (OPTIMAL, INFEASIBLE):
        some_point = solved(0.0 * cost, rows, limits, own[tight], plain.h[tight], bounds)
        return -np.inf if some_point.status == OPTIMAL else np.inf
    return float(answer.fun) if answer.status == OPTIMAL else np.inf


def carries(plain: Plain, target: Floats, free: list[int], signed: list[int]) -> bool:
    """Whether ``H' m = target`` with some multipliers free in sign, some non-negative and all others zero."""
    used = free + signed
    if not used:
        return not target.any()
    bounds = [(None, None)] * len(free) + [(0.0, None)] * len(signed)
    return solved(np.zeros(len(used)), np.zeros((0, 0)), np.zeros(0), plain.H[used].T, target, bounds).status == OPTIMAL


def carries_all_positive(plain: Plain, tight: list[int]) -> bool:
    """Whether the follower's objective is stationary with every multiplier of these rows positive, all others zero."""
    if not tight:
        return not plain.d.any()
    count = len(tight)
    least = np.append(np.zeros(count), -1.0)
    above = np.hstack([-np.eye(count), np.ones((count, 1))])
    equal = np.hstack([plain.H[tight].T, np.zeros((len(plain.d), 1))])
    answer = solved(least, above, np.zeros(count), equal, -plain.d, [(0.0, None)] * count + [(None, 1.0)])
    return answer.status == OPTIMAL and -answer.fun > 1e-7


def optimistic_by_enumeration(plain: Plain) -> float:
    return min(
        (best_with_tight(plain, rows) for rows in subsets(len(plain.h)) if carries(plain, -plain.d, [], rows)),
        default=np.inf,
    )


def pessimistic_by_enumeration(plain: Plain) -> float:
    """Without coupling rows: over all supports of the multipliers of the follower, and of its worst case."""
    best = np.inf
    for first in subsets(len(plain.h)):
        if carries_all_positive(plain, first):
            others = [row for row in range(len(plain.h)) if row not in first]
            for chosen in subsets(len(others)):
                second = [others[i] for i in chosen]
                if carries(plain, plain.c_y, first, second):
                    best = min(best, best_with_tight(plain, first + second))
    return best


def worst_case(plain: Plain, x: Floats) -> float:
    """Leader's value of a decision if the follower picks its worst optimum; inf where some optimum is not allowed."""
    low, high = x_ends(plain, np.inf)
    nothing, free = (np.zeros((0, 0)), np.zeros(0)), [(None, None)] * len(plain.d)
    limits = plain.h - plain.G @ x
    reply = solved(plain.d, plain.H, limits, *nothing, free)
    if reply.status != OPTIMAL or (x < low - 1e-9).any() or (x > high + 1e-9).any():
        return np.inf
    rows, limits = np.vstack([plain.H, plain.d]), np.append(limits, reply.fun + 1e-9)

    def most(direction: Floats) -> float:
        answer = solved(-direction, rows, limits, *nothing, free)
        return -float(answer.fun) if answer.status == OPTIMAL else np.inf

    for row in range(len(plain.a)):
        if plain.A[row] @ x + (most(plain.B[row]) if plain.B[row].any() else 0.0) > plain.a[row] + 1e-6:
            return np.inf
    return float(plain.c_x @ x) + (most(plain.c_y) if plain.c_y.any() else 0.0)


def assert_value(result: BilevelResult, value: float) -> None:
    """The value, a bound that meets it, and the status that goes with it."""
    assert result.proven, result
    assert result.status == {np.inf: "infeasible", -np.inf: "unbounded"}.get(value, "optimal")
    assert result.value == pytest.approx(value, rel=1e-5, abs=1e-5)
    assert result.bound == pytest.approx(value, rel=1e-5, abs=1e-5)


@law
@given(seed=SEEDS)
def test_optimistic_value_is_that_of_the_enumeration(seed: int) -> None:
    problem, plain = small(seed)
    assert_value(solve_bilevel(problem), optimistic_by_enumeration(plain))


@short_law
@given(seed=SEEDS)
def test_pessimistic_value_is_that_of_the_enumeration(seed: int) -> None:
    problem, plain = small(seed, coupled=False)
    assert_value(solve_bilevel(problem, view="pessimistic"), pessimistic_by_enumeration(plain))


@pytest.mark.slow
@law
@given(seed=SEEDS)
def test_pessimistic_value_is_the_worst_case_there_and_lowest_anywhere(seed: int) -> None:
    problem, plain = small(seed)
    result = solve_bilevel(problem, view="pessimistic")
    assert at_most(solve_bilevel(problem).value, result.value)
    if result.status == "optimal":
        assert worst_case(plain, result.x) == pytest.approx(result.value, rel=1e-5, abs=1e-5)
    rng = np.random.default_rng(seed)
    low, high = x_ends(plain, 6.0)
    for x in [*rng.uniform(low, high, (8, len(low))), *np.round(rng.uniform(low, high, (8, len(low))))]:
        assert at_most(result.value, worst_case(plain, x))


@law
@given(seed=SEEDS)
def test_answer_is_an_optimum_of_the_follower(seed: int) -> None:
    problem, plain = small(seed)
    result = solve_bilevel(problem)
    if result.status == "optimal":
        limits = plain.h - plain.G @ result.x
        assert (plain.H @ result.y <= limits + 1e-6).all()
        assert (plain.A @ result.x + plain.B @ result.y <= plain.a + 1e-6).all()
        free = [(None, None)] * len(plain.d)
        reply = solved(plain.d, plain.H, limits + 1e-9, np.zeros((0, 0)), np.zeros(0), free)
        assert plain.d @ result.y == pytest.approx(reply.fun, abs=1e-6)
        assert result.value == pytest.approx(plain.c_x @ result.x + plain.c_y @ result.y, abs=1e-9)


@short_law
@given(seed=SEEDS)
def test_units_do_not_matter(seed: int) -> None:
    """Rows and variables in other units, from a hundredth to ten thousand, thirds and sevenths included."""
    problem, plain = small(seed)
    rng = np.random.default_rng(seed)
    rows = [10.0 ** rng.integers(-3, 4, len(limits)) / 3.0 for limits in (plain.a, np.array(problem.b))]
    x_unit, y_unit = (10.0 ** rng.integers(-2, 3, n) / 7.0 for n in (len(plain.c_x), len(plain.d)))

    def converted(bounds: object, unit: Floats) -> list[tuple[float | None, float | None]]:
        pairs = zip(bounds, unit, strict=True)
        return [(None if low is None else low / u, None if high is None else high / u) for (low, high), u in pairs]

    other = replace(
        problem, c_x=problem.c_x * x_unit * 1e3, c_y=problem.c_y * y_unit * 1e3, d=problem.d * y_unit / 1e3,
        A=problem.A * x_unit * rows[0][:, None], B=problem.B * y_unit * rows[0][:, None], a=problem.a * rows[0],
        C=problem.C * x_unit * rows[1][:, None], D=problem.D * y_unit * rows[1][:, None], b=problem.b * rows[1],
        x_bounds=converted(problem.x_bounds, x_unit), y_bounds=converted(problem.y_bounds, y_unit),
    )  # fmt: skip
    for view in ("optimistic", "pessimistic"):
        assert_value(solve_bilevel(other, view=view), 1e3 * solve_bilevel(problem, view=view).value)


@short_law
@given(seed=SEEDS)
def test_proofs_at_the_root_change_no_value(seed: int) -> None:
    """Most small problems end before the root is strengthened: here it is, at once, or never."""
    problem, _ = small(seed)
    for view in ("optimistic", "pessimistic"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(search, "STRENGTHEN_AFTER", 0)
            at_once = solve_bilevel(problem, view=view)
            patch.setattr(search, "STRENGTHEN_AFTER", 10**9)
            never = solve_bilevel(problem, view=view)
        assert_value(at_once, never.value)
