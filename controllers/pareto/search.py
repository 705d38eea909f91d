"""NSGA-II, and NSGA-III for three objectives: for what is not convex, and to see what exactness is worth."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2, RankAndCrowding
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.util.ref_dirs import get_reference_directions

from cosim.contract import Float
from cosim.controllers.pareto.problem import DispatchProblem
from cosim.controllers.pareto.scale import Front, Scale

PATIENCE, SHORT_PATIENCE, GAIN = 25, 8, 1e-3
"""The search ends when so many generations raise the hypervolume by less than this share of it; the fewer where it
begins on exact points, and has little to add to them."""

SUN_SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
_NEARBY = 0.15  # standard deviation of the variables around the even pace
_PATTERNS = 3  # per member of the population


class _Variables(Problem):  # type: ignore[misc]  # pymoo is not typed
    """A decision as pymoo sees it: shares of what is possible, and the worst limit of each kind."""

    def __init__(self, problem: DispatchProblem) -> None:
        self.problem = problem
        names = [name.split(" of ")[0] for _, name in problem.places]
        self._kinds = [np.array([name == kind for name in names]) for kind in dict.fromkeys(names)]
        count = len(problem.around.objectives)
        super().__init__(n_var=problem.space.n_var, n_obj=count, n_ieq_constr=len(self._kinds), xl=0.0, xu=1.0)

    def _evaluate(self, x: Float, out: dict[str, Any], *_: object, **__: object) -> None:
        batch = self.problem.evaluated(self.problem.space.decode(x))
        excess = self.problem.excess(batch)
        out["F"] = self.problem.values(batch)
        out["G"] = np.column_stack([excess[:, kind].max(axis=1) for kind in self._kinds] or [np.zeros((len(x), 0))])


def search(
    problem: DispatchProblem,
    scale: Scale,
    start: Float,
    population: int,
    generations: int,
    rng: np.random.Generator,
    patience: int = PATIENCE,
) -> Front:
    """Approximate the front of one decision.

    Parameters
    ----------
    problem : DispatchProblem
        The decision.
    scale : Scale
        Of its objectives.
    start : ndarray, shape (candidate, variable)
        First candidates, in 0..1.
    population, generations : int
        Size of the population, and the most generations.
    rng : numpy.random.Generator
        Every draw.
    patience : int
        Generations without gain after which it ends.
    """
    watched = _Variables(problem)
    tried = watched.evaluate(start, return_as_dictionary=True)
    members = Population.new(X=start, F=tried["F"], G=tried["G"])
    first = RankAndCrowding().do(watched, members, n_survive=population, random_state=rng)
    evolving = _algorithm(watched.n_obj, population, first.get("X"))
    evolving.setup(watched, termination=("n_gen", generations), seed=int(rng.integers(2**31)), verbose=False)
    reached: list[float] = []
    while evolving.has_next():
        evolving.next()
        reached.append(_front(problem, scale, evolving.pop).hypervolume)
        # a hypervolume of 0 throughout, all points beyond the reference, only looks like a search that has stalled
        if len(reached) > patience and 0.0 < reached[-1] <= (1.0 + GAIN) * reached[-1 - patience]:
            break
    front = _front(problem, scale, Population.merge(members, evolving.pop))
    evaluations = len(start) + evolving.evaluator.n_eval
    return Front(front.kw, front.values, -1, front.feasible, evaluations, scale, front.hypervolume)


def _front(problem: DispatchProblem, scale: Scale, members: Any) -> Front:
    excess = members.get("G").max(axis=1, initial=-1.0)
    return Front.of(problem.space.decode(members.get("X")), members.get("F"), excess, scale)


def first_candidates(problem: DispatchProblem, population: int, rng: np.random.Generator) -> Float:
    """Candidates to choose the first population from, shape (candidate, variable).

    Shares of the sun with cars free and at their least; the even pace and what lies around it; at random, and with the
    same for all of a phase, as unbalance is a matter of phases.
    """
    space = problem.space
    share = np.repeat(SUN_SHARES, 2)[:, None]
    levels = np.where(space.roof, share, np.tile([1.0, 0.0], len(SUN_SHARES))[:, None])
    even = space.encode(space.even_kw[None, :])
    nearby = (even + rng.normal(0.0, _NEARBY, (population, space.n_var))).clip(0.0, 1.0)
    phase = problem.around.phase[space.customer]
    of_phase = rng.random((_PATTERNS * population, 3))[:, phase]
    patterns = np.where(space.roof, 1.0 - of_phase**3, of_phase > rng.random(of_phase.shape))
    return np.vstack([levels, even, nearby, patterns, rng.random((population, space.n_var))])


def _algorithm(objectives: int, population: int, sampling: Float) -> Any:
    if objectives <= 2:
        return NSGA2(pop_size=population, sampling=sampling)
    partitions = 1
    while comb(partitions + objectives, objectives - 1) <= population:  # directions with one partition more
        partitions += 1
    directions = get_reference_directions("das-dennis", objectives, n_partitions=partitions)
    return NSGA3(ref_dirs=directions, pop_size=max(population, len(directions)), sampling=sampling)
