"""First candidates of a search: what was, what looks good on paper, and what lies around."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from controllers.pareto.problem import DispatchProblem
from cosim.contract import Float

_PATTERNS = 4  # per member of the population
_NEARBY = 0.15  # standard deviation of the variables around the last decision


def first_candidates(problem: DispatchProblem, last: Float, population: int, rng: np.random.Generator) -> Float:
    """Candidates to choose the first population from, shape (candidate, variable).

    The first is the one without any limit, the second the last decision, the third pauses and curtails everything.
    """
    free, nothing = np.ones(problem.n_var), np.zeros(problem.n_var)
    around = (last + rng.normal(0.0, _NEARBY, (population, problem.n_var))).clip(0.0, 1.0)
    return np.vstack([free, last, nothing, phase_patterns(problem, _PATTERNS * population, rng), around])


def remembered(problem: DispatchProblem, ev_share: Mapping[int, float], pv_share: Mapping[int, float]) -> Float:
    """The last decision as a candidate of this period; customers that were not limited are free."""
    cars = [ev_share.get(int(customer), 1.0) for customer in problem.outlook.cars.customer]
    roofs = [pv_share.get(int(customer), 1.0) for customer in problem.outlook.roofs]
    return np.array([*cars, *roofs], dtype=float)


def phase_patterns(problem: DispatchProblem, count: int, rng: np.random.Generator) -> Float:
    """Candidates that treat the cars, and the roofs, of a phase alike: a level per phase, the same cut for each roof.

    Unbalance is a matter of phases, so good candidates look like this; the search refines them customer by customer.
    """
    outlook, cars, share = problem.outlook, problem.outlook.cars, problem.around.phase_share
    x = np.ones((count, problem.n_var))
    if problem.cars:
        # on each phase the most urgent cars run, as many as make a random multiple of the even pace
        pace_kw = np.minimum(cars.due_kwh / cars.window_h, cars.most_kw)
        wanted_kw = rng.gamma(2.0, 0.5, (count, 3)) * (pace_kw @ share[cars.customer])
        rank = np.argsort(rng.permuted(np.tile(np.arange(problem.cars), (count, 1)), axis=1), axis=1)
        rank[: count // 2] = cars.most_urgent_first
        sorted_kw = cars.most_kw[rank][:, :, None] * share[cars.customer][rank]  # (count, car, phase)
        before_kw = np.cumsum(sorted_kw, axis=1) - sorted_kw
        runs = ((before_kw < wanted_kw[:, None, :]) & (sorted_kw > 0.0)).any(axis=2)
        np.put_along_axis(x[:, : problem.cars], rank, runs.astype(float), axis=1)
    if len(outlook.roofs):
        roof_kw, roof_share = outlook.sun_kw[outlook.roofs], share[outlook.roofs]
        deepest_kw = rng.random((count, 3)) ** 2 * (rng.random((count, 3)) < 0.6) * roof_kw.max()
        x[:, problem.cars :] = (1.0 - (deepest_kw @ roof_share.T) / roof_kw).clip(0.0)
    return x
