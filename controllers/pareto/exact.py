"""The exact front of unbalance current against curtailment, by convex quadratic programmes.

On a linear network both objectives are convex quadratics of the powers, so weighted sums reach every point of their
front. The network is linearised anew around every point found (Gauss-Newton), and all points are evaluated on the full
reduced network before anything is compared with them. Chargers' 6 A minimum, which is not convex, is left out: the
front is that of a relaxation, so a front of attainable points is judged too strictly rather than too kindly.

Points are placed where most is unknown (NISE: J. L. Cohon, "Multiobjective Programming and Planning", 1978).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cosim.contract import Float
from cosim.controllers.pareto.choice import undominated
from cosim.controllers.pareto.feasible import STEP_KW, around, limit_rows
from cosim.controllers.pareto.front import Scale
from cosim.controllers.pareto.objectives import CONVEX_PAIR, sequence_residuals
from cosim.controllers.pareto.problem import DispatchProblem
from cosim.controllers.pareto.programme import Quadratic, solve_within
from cosim.errors import SolverError

POINTS = 14
"""Most quadratic programmes of a sweep."""

UNKNOWN = 5e-4
"""The sweep ends when no gap between neighbours could hide more hypervolume than this."""

_END = 1e-3  # weight of the other objective at the ends of the front
_STAY = 3e-6  # per kW² away from an even pace: of many optima that which loads the network least in one go
_PASSES = 5  # linearisations of a corner, at most
_HALVINGS = 3  # of a step that overshoots
_ROUNDS = 2 * POINTS
_SETTLED = 1e-5  # of the scale


@dataclass(frozen=True, eq=False)
class ExactFront:
    """Points of the exact front.

    Attributes
    ----------
    kw : ndarray, shape (point, variable)
        Powers.
    values : ndarray, shape (point, 2)
        Objectives on the full reduced network, in the order of the problem, that of the first ascending.
    support : ndarray, shape (corner, 2)
        Objectives of the points at which a programme was solved.
    weights : ndarray, shape (corner, 2)
        Of the weighted sum that each of them minimises.
    gap : float
        Largest duality gap of the programmes, of the scale.
    """

    kw: Float
    values: Float
    support: Float
    weights: Float
    gap: float


@dataclass(frozen=True, eq=False)
class _Corner:
    kw: Float
    scaled: Float  # objectives on their scale
    weights: Float
    local: _Linear
    gap: float


@dataclass(frozen=True, eq=False)
class _Linear:
    """The network around a point: residuals of unbalance on their scale, and rows of limits that may bind."""

    scaled: Float
    slope: Float
    offset: Float
    rows: Float
    row_high: Float


def exact_front(problem: DispatchProblem, scale: Scale, points: int) -> ExactFront | None:
    """Sweep the front of ``CONVEX_PAIR`` (in either order).

    Parameters
    ----------
    problem : DispatchProblem
        The decision.
    scale : Scale
        Of its objectives.
    points : int
        Number of points to return, evenly between the corners found.

    Returns
    -------
    ExactFront or None
        None where a programme was not solved, so that there is no exact front to speak of.
    """
    try:
        corners = _sweep(problem, scale)
    except SolverError:
        return None
    kw = _between(np.array([corner.kw for corner in corners]), points)
    values, _ = problem.values(kw)
    order = np.lexsort(values.T[::-1])
    return ExactFront(
        kw=kw[order],
        values=values[order],
        support=np.array([corner.scaled for corner in corners]) * scale.width,
        weights=np.array([corner.weights for corner in corners]),
        gap=max(corner.gap for corner in corners),
    )


def applies(objectives: tuple[str, ...]) -> bool:
    """Whether these objectives have an exact front."""
    return set(objectives) == set(CONVEX_PAIR) and len(objectives) == len(CONVEX_PAIR)


def _sweep(problem: DispatchProblem, scale: Scale) -> list[_Corner]:
    start = _linear(problem, scale, problem.space.even_kw)
    if not problem.space.roof.any():
        # nothing to curtail: the front is one point
        only = np.array([1.0, 0.0] if problem.around.objectives[0] == CONVEX_PAIR[0] else [0.0, 1.0])
        return [_settled(problem, scale, start, only)]
    ends = np.array([1.0, _END]), np.array([_END, 1.0])
    corners = _undominated([_settled(problem, scale, start, end) for end in ends])
    done: set[tuple[int, int]] = set()
    for _ in range(_ROUNDS):
        gaps = [
            # the rectangle between neighbours: all that an unseen piece of the front between them could add to the
            # hypervolume
            (float(np.prod(np.abs(left.scaled - right.scaled))), index)
            for index, (left, right) in enumerate(pairwise(corners))
            if (id(left), id(right)) not in done
        ]
        unknown, index = max(gaps, default=(0.0, 0))
        if unknown < UNKNOWN or len(corners) >= POINTS:
            break
        left, right = corners[index], corners[index + 1]
        done.add((id(left), id(right)))
        # normal to the chord (NISE): with these weights both neighbours are worth the same, and a better point lies
        # below the chord
        across = np.abs(left.scaled - right.scaled)[::-1]
        weights = across / across.sum()
        # the linearisation of the neighbour that is already better in this direction
        near = min((left, right), key=lambda corner: float(weights @ corner.scaled))
        found = _settled(problem, scale, near.local, weights)
        # not below the chord: a convex front follows the chord here, and the pair is done
        if weights @ found.scaled < min(weights @ left.scaled, weights @ right.scaled) - 1e-6:
            corners = _undominated([*corners, found])
    return corners


def _undominated(corners: list[_Corner]) -> list[_Corner]:
    """Corners that no other betters, in the order of the first objective.

    On the full network an end of the front can come out worse in both objectives than a corner found later. Kept, it
    would stand between two others and hide the gap that is still to be looked into.
    """
    kept = undominated(np.array([corner.scaled for corner in corners]))
    return sorted((corners[row] for row in kept), key=_along)


def _along(corner: _Corner) -> tuple[float, float]:
    return float(corner.scaled[0]), -float(corner.scaled[1])


def _settled(problem: DispatchProblem, scale: Scale, start: _Linear, weights: Float) -> _Corner:
    """Linearise and minimise until that gains nothing; a step that overshoots is halved."""
    best = _corner(problem, scale, start, weights)
    for _ in range(_PASSES - 1):
        again = _corner(problem, scale, best.local, weights)
        for _ in range(_HALVINGS):
            if weights @ (best.scaled - again.scaled) > 0.0:
                break
            again = _placed(problem, scale, 0.5 * (best.kw + again.kw), weights, max(best.gap, again.gap))
        gained = weights @ (best.scaled - again.scaled)
        best = again if gained > 0.0 else best
        if gained < _SETTLED:
            break
    return best


def _corner(problem: DispatchProblem, scale: Scale, local: _Linear, weights: Float) -> _Corner:
    """Minimise a weighted sum on a linearised network, and linearise again where it leads."""
    unbalance, curtailment = (problem.around.objectives.index(name) for name in CONVEX_PAIR)
    space, scene = problem.space, problem.scene
    of_roof = scene.controlled_share[space.period] / scale.width[curtailment]
    curtailed = np.where(space.roof, weights[curtailment] * of_roof, 0.0)
    diagonal = curtailed + _STAY
    # c (p - high)² + s (p - even)² has the minimiser of (c + s) (p - target)²: one diagonal for both
    target_kw = (curtailed * space.high_kw + _STAY * space.even_kw) / diagonal
    root = np.sqrt(weights[unbalance])  # the weight goes inside the square of the residuals
    quadratic = Quadratic(
        slope=root * local.slope,
        offset=root * local.offset,
        diagonal=diagonal,
        target=target_kw,
        low=space.low_kw,
        high=space.high_kw,
        rows=space.rows,
        row_low=space.row_low,
        row_high=space.row_high,
    )
    kw, gap = solve_within(quadratic, local.rows, local.row_high)
    return _placed(problem, scale, kw, weights, gap)


def _placed(problem: DispatchProblem, scale: Scale, kw: Float, weights: Float, gap: float) -> _Corner:
    """A point on the full network."""
    there = _linear(problem, scale, kw)
    return _Corner(kw, there.scaled, weights, there, gap)


def _linear(problem: DispatchProblem, scale: Scale, kw: Float) -> _Linear:
    """Difference quotients of everything that counts, in one batch."""
    unbalance = problem.around.objectives.index(CONVEX_PAIR[0])
    batch, loading_a = problem.evaluated(around(kw))
    if not np.isfinite(batch.voltage_v).all():
        raise SolverError("there is no power flow around a point of the exact front")
    residual = sequence_residuals(batch) / np.sqrt(scale.width[unbalance])
    slope = (residual[1:] - residual[0]).T / STEP_KW
    values, _ = problem.values(kw[None, :])
    rows, row_high = limit_rows(problem, kw, problem.margins(batch, loading_a))
    return _Linear(values[0] / scale.width, slope, residual[0] - slope @ kw, rows, row_high)


def _between(kw: Float, points: int) -> Float:
    """Points evenly between neighbouring corners; mixtures of attainable powers are attainable."""
    if len(kw) == 1:
        return kw
    at = np.linspace(0.0, len(kw) - 1.0, points)
    return np.column_stack([np.interp(at, np.arange(len(kw)), column) for column in kw.T])
