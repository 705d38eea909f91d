"""The search: NSGA-II from a seeded start, until the front stops growing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2, RankAndCrowding
from pymoo.core.population import Population
from pymoo.indicators.hv import HV

from controllers.pareto.problem import DispatchProblem
from controllers.pareto.start import first_candidates
from cosim.contract import Float

STALL_GENERATIONS = 8
STALL_GAIN = 1e-3
"""The search ends when so many generations raise the hypervolume by less than this share."""


@dataclass(frozen=True, eq=False)
class Front:
    """What a search found.

    Attributes
    ----------
    x : ndarray, shape (point, variable)
        Non-dominated candidates.
    values : ndarray, shape (point, objective)
        Their objectives, in the order of the first.
    feasible : bool
        False where no candidate keeps all limits; the points are then those that violate least.
    generations, evaluations : int
        Effort.
    hypervolume : float
        Share of the box between the ideal 0 and (objectives without control; those that are 0 there: with everything
        curtailed and paused) that the front dominates.
    """

    x: Float
    values: Float
    feasible: bool
    generations: int
    evaluations: int
    hypervolume: float


def search(problem: DispatchProblem, last: Float, population: int, generations: int, rng: np.random.Generator) -> Front:
    """Approximate the front of one control period.

    Parameters
    ----------
    problem : DispatchProblem
        The period; its limits are relaxed where none of the first candidates keeps them.
    last : ndarray, shape (variable,)
        The last decision.
    population, generations : int
        Size of NSGA-II, and the most generations.
    rng : numpy.random.Generator
        Every draw.
    """
    pool = first_candidates(problem, last, population, rng)
    tried = problem.evaluate(pool, return_as_dictionary=True)
    free, _, nothing = tried["F"][:3]
    problem.relax_what_cannot_be_met(tried["quantity"], tried["quantity"][0])
    members = Population.new(X=pool, F=tried["F"], G=problem.excess(tried["quantity"]))
    kept = RankAndCrowding().do(problem, members[2:], n_survive=population - 2, random_state=rng)
    scale = np.where(free > 0.0, free, nothing)
    volume = _Hypervolume(np.where(scale > 0.0, scale, 1.0))

    algorithm = NSGA2(pop_size=population, sampling=np.vstack([pool[:2], kept.get("X")]))
    algorithm.setup(problem, termination=("n_gen", generations), seed=int(rng.integers(2**31)), verbose=False)
    reached = [0.0]
    while algorithm.has_next():
        algorithm.next()
        reached.append(volume(algorithm))
        if _stalled(reached) and algorithm.opt.get("feas").all():
            break
    best = algorithm.opt
    values = best.get("F")
    order = np.lexsort(values.T[::-1])
    return Front(
        x=best.get("X")[order],
        values=values[order],
        feasible=bool(best.get("feas").all()),
        generations=len(reached) - 1,
        evaluations=len(pool) + algorithm.evaluator.n_eval,
        hypervolume=reached[-1],
    )


def _stalled(reached: list[float]) -> bool:
    since = -1 - STALL_GENERATIONS
    return len(reached) > STALL_GENERATIONS and reached[-1] <= (1.0 + STALL_GAIN) * reached[since]


class _Hypervolume:
    """Dominated share of the unit box, on a scale that does not move during the search."""

    def __init__(self, scale: Float) -> None:
        self._scale = scale
        self._indicator = HV(ref_point=np.ones(len(scale)))

    def __call__(self, algorithm: NSGA2) -> float:
        values = algorithm.opt.get("F") / self._scale
        inside = values[algorithm.opt.get("feas") & (values < 1.0 + 1e-9).all(axis=1)]
        return float(self._indicator(inside)) if len(inside) else 0.0
