"""How good a front is, and how much its chosen point gives away: against a reference.

Neither reference is a judge from outside. The exact front of the linear network seeds the search as well (unless
`Pareto` is told ``certificate_seeds=False``), so with it the share of hypervolume says how much of what was known the
search kept under what the linear model leaves out, not how well it would have searched alone. The network's curvature
can leave the reference behind what the search finds: such ratios above 1 are counted. A long reference is a longer run
of the same search from the same candidates, joined with the front that it judges: it is never worse, and has the same
blind spots.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Float
from cosim.controllers.pareto.choice import undominated
from cosim.controllers.pareto.exact import ExactFront
from cosim.controllers.pareto.front import Front, Scale, Start, search
from cosim.controllers.pareto.objectives import CONVEX_PAIR
from cosim.controllers.pareto.problem import DispatchProblem

LONG_EFFORT = 10
LONG_SEEDS = 3
"""A long reference takes so many times the generations, with so many seeds; the union of all is the reference."""

LONG_GENERATIONS = 300
"""At most, of each of its searches: it is a matter of minutes a day as it is."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """What a reference says about a front.

    Attributes
    ----------
    values : ndarray, shape (point, objective)
        The reference.
    hypervolume : float
        Of the reference, on the fixed scale of the decision.
    regret_a, regret_kwh : float
        How much less unbalance current the reference offers at the chosen point's other objectives [A], and how much
        less curtailed energy [kWh]; nan where that is no objective, 0 where the reference offers nothing better.
    """

    values: Float
    hypervolume: float
    regret_a: float
    regret_kwh: float


def certify(problem: DispatchProblem, front: Front, chosen: int, reference: ExactFront | Float) -> Certificate:
    """Judge a front and its chosen point.

    Parameters
    ----------
    problem : DispatchProblem
        The decision.
    front : Front
        What was found.
    chosen : int
        Row of the point taken.
    reference : ExactFront or ndarray of shape (point, objective)
        From `exact_front` or `long_reference`.
    """
    point, scale = front.values[chosen], front.scale
    values = reference.values if isinstance(reference, ExactFront) else reference
    best = _best_by_support(reference, scale, point) if isinstance(reference, ExactFront) else _best(values, point)
    names = problem.around.objectives
    regret_a = regret_kwh = float("nan")
    if CONVEX_PAIR[0] in names:
        row = names.index(CONVEX_PAIR[0])
        # the objective is a sum of squared currents: its root is in amperes
        regret_a = float(np.sqrt(point[row]) - np.sqrt(max(best[row], 0.0)))
    if CONVEX_PAIR[1] in names:
        row = names.index(CONVEX_PAIR[1])
        # cuts are taken to shrink alike: energy goes with the root of the sum of squares
        share = 1.0 - np.sqrt(max(best[row], 0.0) / point[row]) if point[row] > 0.0 else 0.0
        regret_kwh = float(share * curtailed_kwh(problem, front.x[chosen]))
    return Certificate(values, scale.hypervolume(values), regret_a, regret_kwh)


def curtailed_kwh(problem: DispatchProblem, x: Float) -> float:
    """Energy that a candidate curtails in the first period [kWh]."""
    _, pv_kw = problem.space.powers(problem.space.decode(x[None, :]))
    return float((problem.scene.sun_kw[0] - pv_kw[0, 0]).sum() * problem.scene.hours[0])


def long_reference(
    problem: DispatchProblem,
    start: Start,
    front: Front,
    population: int,
    generations: int,
    rng: np.random.Generator,
    algorithm: str,
) -> Float:
    """Union of the fronts of long searches and of the one that was found, shape (point, objective)."""
    found = [front.values]
    for _ in range(LONG_SEEDS):
        effort = min(LONG_EFFORT * generations, max(LONG_GENERATIONS, generations))
        found.append(search(problem, start, population, effort, rng, algorithm, patience=None).values)
    union = np.concatenate(found)
    return np.asarray(union[undominated(union)])


def _best(values: Float, point: Float) -> Float:
    """Best of each objective among reference points that are no worse in all others, shape (objective,)."""
    best = point.copy()
    for row in range(len(point)):
        others = [column for column in range(len(point)) if column != row]
        fits = (values[:, others] <= point[others]).all(axis=1)
        best[row] = min(best[row], values[fits, row].min(initial=np.inf))
    return best


def _best_by_support(exact: ExactFront, scale: Scale, point: Float) -> Float:
    """The same below the supporting lines of a convex front: nothing attainable lies beyond them."""
    support, scaled = exact.support / scale.width, point / scale.width
    best = scaled.copy()
    for row in range(2):
        other = 1 - row
        known = exact.weights[:, row] > 0.0
        # w · f >= w · support for every attainable f of the convex model; solved for one objective at the point's
        # other
        price = exact.weights[known, other] / exact.weights[known, row]
        bound = support[known, row] + price * (support[known, other] - scaled[other])
        # each line bounds from below, so the highest counts; a square is never below zero
        best[row] = min(best[row], max(bound.max(initial=0.0), 0.0))
    return np.asarray(best * scale.width)
