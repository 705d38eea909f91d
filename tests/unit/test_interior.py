"""The interior-point method on models whose answers are known, and on some that the active-set method gives up."""

import numpy as np
import pytest

from cosim.controllers.solver import Limits, Model, Termination, solve
from cosim.controllers.solver.interior import duality_gap, solve_convex


def test_known_answers():
    """min (x+y-1)² + 0.01 (x² + y²) on the unit box: 50/101 each; with x + 2y >= 2 the row binds: y = 1.04/1.05."""
    square = np.array([[2.02, 2.0], [2.0, 2.02]])
    free = Model(np.array([-2.0, -2.0]), np.array([[1.0, 2.0]]), -np.inf, np.inf, 0.0, 1.0, hessian=square, offset=1.0)
    found = solve_convex(_with_limits(free, -np.inf))
    assert found.x == pytest.approx([1.0 / 2.01] * 2, abs=1e-7)
    assert found.value - found.bound < 1e-7
    bound = solve_convex(_with_limits(free, 2.0))
    assert bound.x == pytest.approx([2.0 - 2.08 / 1.05, 1.04 / 1.05], abs=1e-7)
    assert duality_gap(_with_limits(free, 2.0), np.array([1.0, 1.0]), np.zeros(1)) > 1.0  # far off, and it says so
    assert solve_convex(_with_limits(free, 4.0)).termination is Termination.ITERATION_LIMIT  # there is no point


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
    ours, theirs = solve_convex(model), solve(model, Limits(time_s=5.0))
    assert ours.value - ours.bound == pytest.approx(0.0, abs=1e-6)
    assert ours.value == pytest.approx(theirs.value, abs=1e-5)
