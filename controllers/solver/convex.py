"""Convex quadratic models: by HiGHS, and by an interior-point method where its active-set method gives up.

HiGHS 1.15 calls models unbounded whose columns all have bounds, and cycles, where the objective is nearly flat in some
directions. An interior-point method does not mind: it follows the path of the logarithmic barrier (S. Mehrotra, "On the
implementation of a primal-dual interior point method", SIAM Journal on Optimization 2(4), 1992). Neither's word is
taken for an optimum: weak duality measures the distance with its multipliers.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from cosim.contract import Float
from cosim.controllers.solver.highs import solve
from cosim.controllers.solver.model import Model
from cosim.controllers.solver.result import Limits, SolveResult, Termination
from cosim.errors import SolverError

LOUDER = 1e3
"""Factor of the objective in either solver: HiGHS can cycle where curvatures are near 1e-5."""

ITERATIONS = 60
PRECISION = 1e-9
"""Of residuals and complementarity, relative to the sizes of cost and limits."""

_ROUNDS, _AT_ONCE = 25, 6  # of rows that are added where they are broken most
_BROKEN = 1e-6
_SHORT = 0.995  # of the way to the boundary


def duality_gap(model: Model, x: Float, row_dual: Float) -> float:
    """What is at most missing to the optimum at a point, by weak duality; any multipliers give a valid bound.

    Parameters
    ----------
    model : Model
        Continuous, convex.
    x : ndarray, shape (column,)
        A point within the columns' limits.
    row_dual : ndarray, shape (row,)
        Multipliers, non-positive for a binding upper limit.
    """
    low, high = (np.broadcast_to(np.asarray(limit, float), row_dual.shape) for limit in (model.row_low, model.row_high))
    # a multiplier of a side that does not exist would make the bound -inf
    there = np.where(row_dual > 0.0, np.isfinite(low), np.isfinite(high))
    dual = np.where(there, row_dual, 0.0)
    gradient = model.cost + (0.0 if model.hessian is None else model.hessian @ x)
    reduced = gradient - model.matrix.T @ dual
    of_bounds = np.maximum(reduced * (x - model.low), reduced * (x - model.high)).sum()
    at = np.where(dual > 0.0, low, np.where(dual < 0.0, high, 0.0))
    return float(of_bounds + (dual * (model.matrix @ x - at)).sum())


def solve_convex(model: Model, gap: float) -> SolveResult:
    """Minimise a dense linear or convex quadratic model whose columns all have limits, to a proven absolute gap.

    Returns
    -------
    SolveResult
        Its bound is proven by `duality_gap`.

    Raises
    ------
    SolverError
        Where neither method comes within the gap, and where there is no point.
    """
    loud = replace(model, cost=LOUDER * model.cost, hessian=None if model.hessian is None else LOUDER * model.hessian)
    found = solve(loud, Limits(time_s=10.0), qp_iteration_limit=2000)
    apart = np.inf
    if found.is_proven:
        found = replace(found, x=np.clip(found.x, model.low, model.high))
        apart = duality_gap(loud, found.x, found.row_dual)
    if apart > LOUDER * gap and found.termination is not Termination.INFEASIBLE:
        found = by_interior_point(loud)
        apart = found.value - found.bound
    found.proven("a convex model")
    if apart > LOUDER * gap:
        raise SolverError(f"a convex model is {apart / LOUDER:.2g} from its optimum")
    value = found.value / LOUDER
    return replace(found, value=value, bound=value - apart / LOUDER, row_dual=found.row_dual / LOUDER)


def solve_within(model: Model, rows: Float, row_high: Float, gap: float) -> SolveResult:
    """The same below further rows, which are added where they are broken: most never are, and many are alike.

    Parameters
    ----------
    model : Model
        Without them.
    rows : ndarray, shape (row, column)
        Of a size near 1.
    row_high : ndarray, shape (row,)
        What they allow at most.
    gap : float
        As of `solve_convex`.

    Raises
    ------
    SolverError
        As `solve_convex`, and where rows are still broken in the end.
    """
    added = np.zeros(len(rows), dtype=bool)
    for _ in range(_ROUNDS):
        within = replace(
            model,
            matrix=np.concatenate([model.matrix, rows[added]]),
            row_low=np.append(model.row_low, np.full(added.sum(), -np.inf)),
            row_high=np.append(model.row_high, row_high[added]),
        )
        found = solve_convex(within, gap)
        beyond = np.where(added, 0.0, rows @ found.x - row_high)
        worst = np.argsort(-beyond, kind="stable")[:_AT_ONCE]
        worst = worst[beyond[worst] > _BROKEN]
        if not len(worst):
            return found
        added[worst] = True
    raise SolverError("a convex model does not settle within its rows")


def least_excess(model: Model, rows: Float, row_high: Float) -> Float:
    """What each further row has to give so that a model has a point at all, least in sum, shape (row,).

    Raises
    ------
    SolverError
        Where the model has none without them.
    """
    count, extra = len(model.cost), len(rows)
    relaxed = Model(
        np.append(np.zeros(count), np.ones(extra)),
        np.block([[model.matrix, np.zeros((len(model.matrix), extra))], [rows, -np.eye(extra)]]),
        np.append(model.row_low, np.full(extra, -np.inf)),
        np.append(model.row_high, row_high),
        np.append(model.low, np.zeros(extra)),
        np.append(model.high, np.full(extra, np.inf)),
    )
    return np.asarray(solve(relaxed, Limits(time_s=10.0)).proven("the least excess of rows").x[count:])


def by_interior_point(model: Model) -> SolveResult:
    """Minimise a dense convex quadratic model whose columns all have limits.

    Returns
    -------
    SolveResult
        ``iteration_limit`` where it does not converge, as where there is no point at all; its ``bound`` is proven by
        `duality_gap` at its multipliers.
    """
    low, high = (np.broadcast_to(np.asarray(limit, float), model.cost.shape) for limit in (model.low, model.high))
    free = high > low
    x = np.where(free, 0.5 * (low + high), low)
    hessian = np.zeros((len(x), len(x))) if model.hessian is None else model.hessian
    cost, square = (model.cost + hessian @ np.where(free, 0.0, low))[free], hessian[np.ix_(free, free)]
    at = model.matrix[:, ~free] @ low[~free]
    has_low, has_high = np.isfinite(model.row_low), np.isfinite(model.row_high)
    rows, unit = model.matrix[:, free], np.eye(int(free.sum()))
    # everything as "at most"
    matrix = np.vstack([-rows[has_low], rows[has_high], -unit, unit])
    limits = np.concatenate([(at - model.row_low)[has_low], (model.row_high - at)[has_high], -low[free], high[free]])
    with np.errstate(all="ignore"):  # where there is no point, multipliers grow without end
        found = _path(cost, square, matrix, limits, x[free])
    if found is None:
        return SolveResult(Termination.ITERATION_LIMIT)
    x[free] = np.clip(found[0], low[free], high[free])
    row_dual, count = np.zeros(len(at)), int(has_low.sum())
    row_dual[has_low] += found[1][:count]
    row_dual[has_high] -= found[1][count : count + int(has_high.sum())]
    value = float(model.cost @ x + 0.5 * x @ hessian @ x) + model.offset
    return SolveResult(Termination.OPTIMAL, value, value - duality_gap(model, x, row_dual), x, row_dual)


def _path(cost: Float, square: Float, matrix: Float, limits: Float, x: Float) -> tuple[Float, Float] | None:
    """Follow the central path of ``matrix @ x <= limits`` to its end; the point and its multipliers."""
    scale = 1.0 + max(np.abs(cost).max(initial=0.0), np.abs(limits).max(initial=0.0))
    slack = np.maximum(limits - matrix @ x, 1e-2)
    dual = np.full(len(limits), max(1e-2, np.abs(cost).max(initial=0.0)))
    for _ in range(ITERATIONS):
        flat = square @ x + cost + matrix.T @ dual
        apart = matrix @ x + slack - limits
        mean = float(slack @ dual) / max(len(dual), 1)
        if max(np.abs(flat).max(initial=0.0), np.abs(apart).max(initial=0.0), mean) <= PRECISION * scale:
            return x, dual
        try:
            factor = cho_factor(square + (matrix.T * (dual / slack)) @ matrix)
        except (LinAlgError, ValueError):  # not positive, or no longer finite
            return None

        def step(target: Float) -> tuple[Float, Float, Float]:
            """Newton's step to where slack times multiplier is changed by the target."""
            d_x = cho_solve(factor, -flat - matrix.T @ ((target + dual * apart) / slack), check_finite=False)  # noqa: B023
            d_slack = -apart - matrix @ d_x  # noqa: B023
            return d_x, d_slack, (target - dual * d_slack) / slack  # noqa: B023

        _, d_slack, d_dual = step(-slack * dual)
        far = min(_room(slack, d_slack), _room(dual, d_dual))
        aimed = mean * (float((slack + far * d_slack) @ (dual + far * d_dual)) / max(len(dual), 1) / mean) ** 3
        d_x, d_slack, d_dual = step(aimed - slack * dual - d_slack * d_dual)
        far = min(1.0, _SHORT * min(_room(slack, d_slack), _room(dual, d_dual)))
        x, slack, dual = x + far * d_x, slack + far * d_slack, dual + far * d_dual
    return None


def _room(value: Float, change: Float) -> float:
    """How much of a change leaves all values positive, at most all of it."""
    shrinks = change < 0.0
    return float(min(1.0, (-value[shrinks] / change[shrinks]).min(initial=np.inf)))
