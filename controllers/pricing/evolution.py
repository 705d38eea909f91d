"""The slides' evolutionary algorithm over price vectors, in pymoo: two groups, one for each of the users' two ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pymoo.algorithms.base.genetic import GeneticAlgorithm
from pymoo.core.duplicate import DefaultDuplicateElimination
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.problem import Problem
from pymoo.core.survival import Survival
from pymoo.operators.crossover.ux import UniformCrossover
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.operators.selection.rnd import RandomSelection

from cosim.contract import Float
from cosim.controllers.pricing.leader import Leader

_GUIDES = ("weighted_optimistic", "weighted_pessimistic")
"""Users minimise 0.1 cost + 0.9 time, or 0.9 and 0.1, as on the slides."""
_UNSERVABLE = 1e9  # in place of -inf income: finite, so that pymoo can compare
STALL_GENERATIONS = 15


@dataclass(frozen=True, eq=False)
class Evolved:
    """What the algorithm found.

    Attributes
    ----------
    optimistic, pessimistic, moderate : ndarray, shape (station,)
        Prices of the largest income in either reading, and of the largest mean of the two [EUR/kWh]; empty where it met
        no price vector that can be served.
    optimistic_eur, pessimistic_eur, moderate_eur : float
        These incomes, by the fitness that guided the search; -inf where there is none.
    generations, evaluated : int
        Effort: generations, and different price vectors.
    history_eur : ndarray, shape (generation, 2)
        Best optimistic and pessimistic fitness so far.
    """

    optimistic: Float
    pessimistic: Float
    moderate: Float
    optimistic_eur: float
    pessimistic_eur: float
    moderate_eur: float
    generations: int
    evaluated: int
    history_eur: Float


def evolve(
    leader: Leader,
    rng: np.random.Generator,
    *,
    population: int = 40,
    generations: int = 60,
) -> Evolved:
    """Search for good prices as the slides of seed 004 do.

    A chromosome is a vector of price levels. The first population is random; parents are drawn at random from all;
    uniform crossover; every gene changes with probability 1/|J|, to any other level. Of parents and children the half
    with the best optimistic fitness survives, and of the others the half with the best pessimistic one. Prices that
    cannot be served die. The slides give neither population nor generations: those are choices of this project, as is
    the end after 15 generations without a better fitness of either kind.

    Parameters
    ----------
    leader : Leader
        The operator; it remembers every price vector that was solved.
    rng : numpy.random.Generator
        Source of every draw.
    population, generations : int
        Members of both groups together, and the most generations.

    Returns
    -------
    Evolved
    """
    problem = _PriceProblem(leader)
    algorithm = GeneticAlgorithm(
        pop_size=population,
        sampling=IntegerRandomSampling(),
        selection=RandomSelection(),
        crossover=UniformCrossover(),
        mutation=_AnyOtherLevel(),
        survival=_TwoGroups(),
        eliminate_duplicates=DefaultDuplicateElimination(),
        advance_after_initial_infill=True,
    )
    algorithm.setup(problem, termination=("n_gen", generations), seed=int(rng.integers(2**31)), verbose=False)
    reached: list[Float] = []
    while algorithm.has_next():
        algorithm.next()
        reached.append(problem.best_eur.copy())
        stale = len(reached) > STALL_GENERATIONS and (reached[-1] <= reached[-1 - STALL_GENERATIONS] + 1e-9).all()
        if stale or not problem.fresh:
            break
    optimistic, pessimistic, moderate = problem.best
    optimistic_eur, pessimistic_eur, moderate_eur = problem.best_eur.tolist()
    return Evolved(
        optimistic, pessimistic, moderate, optimistic_eur, pessimistic_eur, moderate_eur,
        generations=len(reached), evaluated=len(problem.known), history_eur=np.array(reached)[:, :2],
    )  # fmt: skip


class _PriceProblem(Problem):  # type: ignore[misc]  # pymoo is not typed
    """Two objectives, to be minimised: the negative of the optimistic and of the pessimistic income."""

    def __init__(self, leader: Leader) -> None:
        self._leader = leader
        self._levels = leader.instance.levels
        self.known: dict[bytes, Float] = {}  # incomes of every price vector evaluated
        self.best_eur: Float = np.full(3, -np.inf)
        self.best: list[Float] = [np.empty(0)] * 3
        self.fresh = True
        super().__init__(n_var=leader.instance.stations, n_obj=2, xl=0, xu=len(self._levels) - 1, vtype=int)

    def _evaluate(self, x: Any, out: dict[str, Any], *_: object, **__: object) -> None:
        self.fresh = len(self.known) < self._leader.count
        income = np.array([self._income(self._leader.mended(self._levels[row.astype(int)])) for row in x])
        out["F"] = np.where(np.isfinite(income), -income, _UNSERVABLE)

    def _income(self, prices: Float) -> Float:
        key = prices.tobytes()
        if key not in self.known:
            both = np.array([self._leader.income_eur(guide, prices) for guide in _GUIDES])
            self.known[key] = both
            for k, income in enumerate((*both, both.mean())):
                if income > self.best_eur[k]:
                    self.best_eur[k], self.best[k] = income, prices
        return self.known[key]


class _AnyOtherLevel(Mutation):  # type: ignore[misc]
    """Change each gene with probability 1/|J| to another of its levels, all alike."""

    def _do(self, problem: Problem, x: Any, *_: object, random_state: np.random.Generator, **__: object) -> Any:
        levels = problem.xu - problem.xl + 1
        changed = (random_state.random(x.shape) < 1.0 / problem.n_var) & (levels > 1)
        shift = random_state.integers(1, np.maximum(levels, 2), size=x.shape)
        return np.where(changed, (x - problem.xl + shift) % levels + problem.xl, x)


class _TwoGroups(Survival):  # type: ignore[misc]
    """Half of the survivors by the first objective, the rest by the second."""

    def _do(self, _problem: Problem, pop: Population, *_: object, n_survive: int, **__: object) -> Population:
        values = pop.get("F")
        first = np.argsort(values[:, 0], kind="stable")[: -(-n_survive // 2)]
        others = np.setdiff1d(np.arange(len(pop)), first)
        second = others[np.argsort(values[others, 1], kind="stable")][: n_survive - len(first)]
        return pop[np.concatenate([first, second])]
