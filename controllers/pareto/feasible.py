"""Limits as rows of a programme, and the candidates nearest to given ones that keep them."""

from __future__ import annotations

import numpy as np

from cosim.contract import Float
from cosim.controllers.pareto.problem import DispatchProblem
from cosim.controllers.pareto.programme import Quadratic, solve_within
from cosim.errors import SolverError

STEP_KW = 0.05  # of difference quotients

_PASSES = 4  # linearisations, at most
_INSIDE = 1e-4  # per unit, and share of a rating: what one linearisation after the other leaves of a violation


def around(kw: Float) -> Float:
    """A point and its neighbours, one variable apart, shape (1 + variable, variable)."""
    return np.vstack([kw, kw + STEP_KW * np.eye(len(kw))])


def limit_rows(problem: DispatchProblem, kw: Float, margin: Float) -> tuple[Float, Float]:
    """Limits, linear in the powers, that some point within the bounds could break.

    Parameters
    ----------
    problem : DispatchProblem
        The decision.
    kw : ndarray, shape (variable,)
        Where they are linearised.
    margin : ndarray, shape (1 + variable, limit)
        Distance beyond each limit at the points of `around`.

    Returns
    -------
    rows, row_high : ndarray, shape (row, variable) and (row,)
        Within the limits where ``rows @ kw <= row_high``; the largest coefficient of each row is 1.
    """
    slope = ((margin[1:] - margin[0]) / STEP_KW).T
    low, high = problem.space.low_kw - kw, problem.space.high_kw - kw
    # largest value of a linear row over the box: rows that cannot bind anywhere in it are left out
    worst = margin[0] + np.maximum(slope * low, slope * high).sum(axis=1)
    binding = worst > 0.0
    # volts and amperes alike: the solver's tolerance is absolute
    size = np.abs(slope[binding]).max(axis=1, initial=1e-12)[:, None]
    slope = slope[binding] / size
    return slope, slope @ kw - margin[0][binding] / size[:, 0]


def within_limits(problem: DispatchProblem, wanted: Float) -> Float:
    """Candidates within the limits that are nearest to those given, shape (candidate, variable) [kW].

    An evolutionary search that begins with nothing within the limits spends itself on finding the way there. The
    limits are linearised around each point in turn, and the least sum of squared changes that keeps them is taken.

    Parameters
    ----------
    problem : DispatchProblem
        The decision.
    wanted : ndarray, shape (candidate, variable)
        Powers that may break limits; those that keep them are left out of the answer, and so are those for which
        no such candidate is found.
    """
    if len(wanted) == 0 or problem.space.n_var == 0:
        return wanted[:0]
    _, quantity = problem.values(wanted)
    breaking = wanted[(problem.excess(quantity) > 0.0).any(axis=1)]
    found = [kept for kw in breaking if (kept := _nearest(problem, kw)) is not None]
    return np.array(found).reshape(len(found), wanted.shape[1])


def _nearest(problem: DispatchProblem, wanted_kw: Float) -> Float | None:
    space, kw = problem.space, wanted_kw
    size = max(float((space.high_kw**2).sum()), 1e-6)
    for _ in range(_PASSES):
        batch, loading_a = problem.evaluated(around(kw))
        margin = problem.margins(batch, loading_a)
        if not np.isfinite(batch.voltage_v).all():
            return None
        rows, row_high = limit_rows(problem, kw, margin + _INSIDE)
        quadratic = Quadratic(
            slope=np.zeros((0, space.n_var)),
            offset=np.zeros(0),
            diagonal=np.full(space.n_var, 1.0 / size),
            target=wanted_kw,
            low=space.low_kw,
            high=space.high_kw,
            rows=space.rows,
            row_low=space.row_low,
            row_high=space.row_high,
        )
        try:
            kw, _ = solve_within(quadratic, rows, row_high)
        except SolverError:
            return None
        if (problem.excess(problem.values(kw[None, :])[1]) <= 0.0).all():
            return kw
    return None
