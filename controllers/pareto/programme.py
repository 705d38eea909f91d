"""One convex quadratic programme of a decision in HiGHS, and how far its answer is from the optimum."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.solver import Limits, Model
from cosim.controllers.solver import solve as solve_model
from cosim.errors import SolverError

GAP = 1e-3
"""Largest gap that counts as solved, of the objective's scale (1: everything as without control)."""


@dataclass(frozen=True, eq=False)
class Quadratic:
    """``sum((offset + slope @ kw)**2) + sum(diagonal * (kw - target)**2)`` within bounds and rows.

    Attributes
    ----------
    slope : ndarray, shape (residual, variable)
        Change of the residuals with the powers.
    offset : ndarray, shape (residual,)
        Residuals at zero power.
    diagonal, target : ndarray, shape (variable,)
        Squares of single powers.
    low, high : ndarray, shape (variable,)
        Bounds.
    rows : ndarray, shape (row, variable)
        Linear conditions.
    row_low, row_high : ndarray, shape (row,)
        Their limits.
    """

    slope: Float
    offset: Float
    diagonal: Float
    target: Float
    low: Float
    high: Float
    rows: Float
    row_low: Float
    row_high: Float

    def value(self, kw: Float) -> float:
        """Objective at a point."""
        residual = self.offset + self.slope @ kw
        return float(residual @ residual + self.diagonal @ (kw - self.target) ** 2)

    def gradient(self, kw: Float) -> Float:
        """Its gradient there."""
        residual = self.offset + self.slope @ kw
        return np.asarray(2.0 * self.slope.T @ residual + 2.0 * self.diagonal * (kw - self.target))


_LOUDER = 1e3
"""Factor of the objective inside HiGHS: its solver of quadratic programmes can cycle where curvatures are near 1e-5."""

_ROUNDS = 20
_AT_ONCE = 4  # of the rows that are broken most
_BROKEN = 1e-6


def solve_within(quadratic: Quadratic, rows: Float, row_high: Float) -> tuple[Float, float]:
    """Minimise below further limits, which are added where they are broken: most never are, and many are alike.

    Parameters
    ----------
    quadratic : Quadratic
        Without them.
    rows : ndarray, shape (limit, variable)
        Limits, of a size near 1.
    row_high : ndarray, shape (limit,)
        What they allow at most.

    Returns
    -------
    kw, gap
        As of `solve`.

    Raises
    ------
    SolverError
        As `solve`, and where limits are still broken in the end.
    """
    added = np.zeros(len(rows), dtype=bool)
    for _ in range(_ROUNDS):
        with_limits = replace(
            quadratic,
            rows=np.vstack([quadratic.rows, rows[added]]),
            row_low=np.concatenate([quadratic.row_low, np.full(added.sum(), -np.inf)]),
            row_high=np.concatenate([quadratic.row_high, row_high[added]]),
        )
        kw, gap = solve(with_limits)
        beyond = np.where(added, 0.0, rows @ kw - row_high)
        worst = np.argsort(-beyond, kind="stable")[:_AT_ONCE]
        worst = worst[beyond[worst] > _BROKEN]
        if not len(worst):
            return kw, gap
        added[worst] = True
    raise SolverError("the quadratic programme does not settle within its limits")


def solve(quadratic: Quadratic) -> tuple[Float, float]:
    """Minimise.

    Returns
    -------
    kw : ndarray, shape (variable,)
        The point, within its bounds.
    gap : float
        Proven upper bound of what is missing to the optimum: Lagrange duality with the multipliers of the rows, the
        objective's tangent in place of the objective.

    Raises
    ------
    SolverError
        Where HiGHS ends without an optimum, or the gap exceeds ``GAP``.
    """
    squares = quadratic.slope.T @ quadratic.slope + np.diag(quadratic.diagonal)
    model = Model(
        _LOUDER * quadratic.gradient(np.zeros(len(quadratic.low))), quadratic.rows, quadratic.row_low,
        quadratic.row_high, quadratic.low, quadratic.high, hessian=2.0 * _LOUDER * squares,
    )  # fmt: skip
    found = solve_model(model, Limits(time_s=10.0), qp_iteration_limit=5000).proven("the quadratic programme")
    kw = np.clip(found.x, quadratic.low, quadratic.high)
    # the solver's word is not taken for it: weak duality measures the distance with its multipliers
    gap = duality_gap(quadratic, kw, found.row_dual / _LOUDER)
    if not gap <= GAP:
        raise SolverError(f"the quadratic programme is {gap:.2g} from its optimum")
    return kw, gap


def duality_gap(quadratic: Quadratic, kw: Float, multiplier: Float) -> float:
    """What is at most missing to the optimum at a point, by weak duality; any multipliers give a valid bound."""
    # a multiplier of a side that does not exist would make the bound -inf
    multiplier = np.where((multiplier > 0.0) & np.isinf(quadratic.row_low), 0.0, multiplier)
    multiplier = np.where((multiplier < 0.0) & np.isinf(quadratic.row_high), 0.0, multiplier)
    reduced = quadratic.gradient(kw) - quadratic.rows.T @ multiplier
    of_bounds = np.maximum(reduced * (kw - quadratic.low), reduced * (kw - quadratic.high)).sum()
    at = np.where(multiplier > 0.0, quadratic.row_low, quadratic.row_high)
    at = np.where(multiplier == 0.0, 0.0, at)
    of_rows = (multiplier * (quadratic.rows @ kw - at)).sum()
    return float(of_bounds + of_rows)
