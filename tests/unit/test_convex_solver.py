"""The interior-point method on models whose answers are known, and on some that the active-set method gives up."""

import numpy as np
import pytest

from cosim.controllers.solver import Limits, Model, Termination, solve
from cosim.controllers.solver.convex import by_interior_point, duality_gap, least_excess, solve_convex, solve_within
from cosim.errors import SolverError


def test_known_answers():
    """min (x+y-1)² + 0.01 (x² + y²) on the unit box: 50/101 each; with x + 2y >= 2 the row binds: y = 1.04/1.05."""
    square = np.array([[2.02, 2.0], [2.0, 2.02]])
    free = Model(np.array([-2.0, -2.0]), np.array([[1.0, 2.0]]), -np.inf, np.inf, 0.0, 1.0, hessian=square, offset=1.0)
    found = by_interior_point(_with_limits(free, -np.inf))
    assert found.x == pytest.approx([1.0 / 2.01] * 2, abs=1e-7)
    assert found.value - found.bound < 1e-7
    bound = by_interior_point(_with_limits(free, 2.0))
    assert bound.x == pytest.approx([2.0 - 2.08 / 1.05, 1.04 / 1.05], abs=1e-7)
    assert duality_gap(_with_limits(free, 2.0), np.array([1.0, 1.0]), np.zeros(1)) > 1.0  # far off, and it says so
    assert by_interior_point(_with_limits(free, 4.0)).termination is Termination.ITERATION_LIMIT  # there is no point


def _with_limits(model, low):
    return Model(
        model.cost, model.matrix, np.array([low]), np.array([np.inf]), np.zeros(2), np.ones(2), hessian=model.hessian
    )


@pytest.mark.parametrize("seed", range(5))
def test_as_highs_where_that_answers(seed):
    """Random convex models with rows of both kinds and a column that cannot move."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(8, 12))
    low, high = np.zeros(12), rng.uniform(0.5, 2.0, 12)
    high[3] = 0.0
    rows, inside = rng.normal(size=(5, 12)), rng.uniform(0.1, 0.9, 12) * high
    at = rows @ inside
    less, more = np.array([0.1, np.inf, 0.2, 0.0, 1.0]), np.array([np.inf, 0.1, 0.2, 0.3, 0.0])
    model = Model(
        rng.normal(size=12), rows, at - less, at + more,
        low, high,
        hessian=factor.T @ factor + 1e-3 * np.eye(12),
    )  # fmt: skip
    ours, theirs = by_interior_point(model), solve(model, Limits(time_s=5.0))
    assert ours.value - ours.bound == pytest.approx(0.0, abs=1e-6)
    assert ours.value == pytest.approx(theirs.value, abs=1e-5)


def test_rows_are_added_where_they_are_broken():
    """min x² + y² - 2x - 2y on the unit box, with x + y at most 1 among rows that do not bind: a half each."""
    model = Model(
        np.full(2, -2.0), np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(2), np.ones(2), hessian=2.0 * np.eye(2)
    )
    rows, high = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, -1.0]]), np.array([5.0, 1.0, 0.7])
    assert solve_convex(model, 1e-6).x == pytest.approx([1.0, 1.0], abs=1e-5)
    found = solve_within(model, rows, high, 1e-6)
    assert found.x == pytest.approx([0.5, 0.5], abs=1e-5)
    assert found.value - found.bound < 1e-6
    never = np.array([5.0, -1.0, 0.7])
    with pytest.raises(SolverError):
        solve_within(model, rows, never, 1e-6)
    assert least_excess(model, rows, never) == pytest.approx([0.0, 1.0, 0.0], abs=1e-7)
