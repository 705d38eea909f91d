"""The search: NSGA-II or NSGA-III from a seeded start, until the front stops growing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2, RankAndCrowding
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.core.population import Population
from pymoo.indicators.hv import HV
from pymoo.util.nds.non_dominated_sorting import NonDominatedSorting
from pymoo.util.ref_dirs import get_reference_directions

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.pareto.dispatch import LoopSpace
from cosim.controllers.pareto.objectives import OBJECTIVES
from cosim.controllers.pareto.problem import DispatchProblem

Patience = tuple[int, float]
"""The search ends when so many generations raise the hypervolume by less than this share of it."""

PATIENCE: Patience = (8, 1e-3)
"""Where the search begins on the exact front, and has little to add to it."""

LONG_PATIENCE: Patience = (25, 1e-3)
"""Where it has to find the front."""

LEAST_PRICE = 0.01
"""Less of an objective, on its scale, for a whole unit of another is not worth considering."""

_BARELY = 1e-6
_BEYOND = 1.1

AS_GOOD = 5e-3
"""Points that are worse by less than this, on the scale of the decision, count as equal."""

FREE, NOTHING, LAST = 0, 1, 2
"""Rows of a pool of first candidates that have a meaning: no limit, everything curtailed and paused, the last plan."""


@dataclass(frozen=True, eq=False)
class Scale:
    """Fixed scale of the objectives of one decision, on which hypervolumes are comparable.

    An objective is divided by its value without control; one that is 0 there, such as curtailment, by its value when
    everything is curtailed and paused. The reference point is (1, 1, ...).

    Attributes
    ----------
    origin, width : ndarray, shape (objective,)
        Value that counts as 0 (not 0 itself only for a signed objective), and distance from there to 1.
    there_anyway : ndarray of bool, shape (objective,)
        True where 1 is the value without control, False where control alone brings the objective about.
    """

    origin: Float
    width: Float
    there_anyway: Bool

    @classmethod
    def of(cls, problem: DispatchProblem, values: Float) -> Scale:
        """Scale from the objectives of a pool of first candidates, shape (candidate, objective)."""
        signed = np.array([OBJECTIVES[name].signed for name in problem.around.objectives])
        origin = np.where(signed, values.min(axis=0), 0.0)
        free, nothing = values[FREE] - origin, values[NOTHING] - origin
        width = np.where(free > 0.0, free, nothing)
        return cls(origin, np.where(width > 0.0, width, 1.0), free > 0.0)

    def as_far_as(self, values: Float) -> Scale:
        """A scale on which points count that are beyond the reference point, as all can be where limits bind."""
        width = np.maximum(self.width, _BEYOND * (values - self.origin).max(axis=0))
        return Scale(self.origin, width, self.there_anyway)

    @property
    def ends(self) -> Float:
        """Values that count as 0 and as 1, shape (2, objective): with them hypervolumes can be computed again."""
        return np.array([self.origin, self.origin + self.width])

    def hypervolume(self, values: Float) -> float:
        """Share of the unit box that points dominate; those beyond the reference point count for nothing."""
        scaled = (values - self.origin) / self.width
        inside = scaled[(scaled < 1.0 + 1e-9).all(axis=1)]
        return float(HV(ref_point=np.ones(len(self.width)))(inside)) if len(inside) else 0.0


@dataclass(frozen=True, eq=False)
class Front:
    """What a search found.

    Attributes
    ----------
    x : ndarray, shape (point, variable)
        Non-dominated candidates.
    values : ndarray, shape (point, objective)
        Their objectives, in the order of the first.
    others_x, others : ndarray, shape (candidate, variable) and (candidate, objective)
        Further candidates that keep all limits: the start and the last population.
    feasible : bool
        False where no candidate keeps all limits; the points are then those that violate least.
    relaxed : tuple of str
        Limits that no first candidate kept, replaced by the least violation among them.
    generations, evaluations : int
        Effort.
    scale : Scale
        Of the hypervolume.
    hypervolume : float
        On that scale.
    """

    x: Float
    values: Float
    others_x: Float
    others: Float
    feasible: bool
    relaxed: tuple[str, ...]
    generations: int
    evaluations: int
    scale: Scale
    hypervolume: float


@dataclass(frozen=True, eq=False)
class Start:
    """First candidates, evaluated.

    Attributes
    ----------
    pool : ndarray, shape (candidate, variable)
        Rows ``FREE``, ``NOTHING`` and ``LAST`` as named, then any others.
    values, quantity : ndarray, shape (candidate, objective) and (candidate, constraint)
        Of an evaluation.
    relaxed : tuple of str
        Limits that none of them kept, and that the problem replaced by the least violation.
    scale : Scale
        Of the decision.
    """

    pool: Float
    values: Float
    quantity: Float
    relaxed: tuple[str, ...]
    scale: Scale

    @classmethod
    def of(cls, problem: DispatchProblem, pool: Float) -> Start:
        """Evaluate first candidates; the problem's limits are relaxed where none of them keeps them."""
        tried = problem.evaluate(pool, return_as_dictionary=True)
        relaxed = problem.relax_what_cannot_be_met(tried["quantity"])
        return cls(pool, tried["F"], tried["quantity"], relaxed, Scale.of(problem, tried["F"]))

    def joined_by(self, problem: DispatchProblem, pool: Float) -> Start:
        """The same with further candidates; limits and scale stay."""
        if not len(pool):
            return self
        tried = problem.evaluate(pool, return_as_dictionary=True)
        return Start(
            np.vstack([self.pool, pool]),
            np.vstack([self.values, tried["F"]]),
            np.vstack([self.quantity, tried["quantity"]]),
            self.relaxed,
            self.scale,
        )


def search(
    problem: DispatchProblem,
    start: Start,
    population: int,
    generations: int,
    rng: np.random.Generator,
    algorithm: str = "auto",
    patience: Patience | None = PATIENCE,
) -> Front:
    """Approximate the front of one decision.

    Parameters
    ----------
    problem : DispatchProblem
        The decision.
    start : Start
        Its first candidates.
    population, generations : int
        Size of the population, and the most generations.
    rng : numpy.random.Generator
        Every draw.
    algorithm : str
        ``nsga2``, ``nsga3`` (Das-Dennis reference directions) or ``auto``: the second from three objectives on.
    patience : (int, float), optional
        The search ends when so many generations gain less than this share of the hypervolume; without it, it goes on
        to the last generation.
    """
    members = Population.new(X=start.pool, F=start.values, G=problem.excess(start.quantity))
    # kept whatever the ranking says: doing nothing, and what is running now, must stay comparable with what is found
    always = [FREE, LAST]
    others = members[[row for row in range(len(start.pool)) if row not in always]]
    kept = RankAndCrowding().do(problem, others, n_survive=population - len(always), random_state=rng)

    sampling = np.vstack([start.pool[always], kept.get("X")])
    evolving = _algorithm(algorithm, problem.n_obj, population, sampling)
    evolving.setup(problem, termination=("n_gen", generations), seed=int(rng.integers(2**31)), verbose=False)
    growth, reached, generations_done = start.scale, [0.0], 0
    while evolving.has_next():
        evolving.next()
        generations_done += 1
        if patience is None:
            continue
        _, values, feasible = _best(evolving)
        # all points beyond the reference: a hypervolume of 0 throughout would look like a search that has stalled
        if feasible and growth.hypervolume(values) <= 0.0:
            growth, reached = growth.as_far_as(values), [0.0]
        reached.append(growth.hypervolume(values) if feasible else 0.0)
        if feasible and _stalled(reached, patience):
            break
    x, values, feasible = _best(evolving)
    order = np.lexsort(values.T[::-1])
    known = Population.merge(members, evolving.pop)
    keeps = (known.get("G") <= 0.0).all(axis=1)
    others_x, others = known.get("X")[keeps], known.get("F")[keeps]
    return Front(
        x=x[order],
        values=values[order],
        others_x=others_x,
        others=others,
        feasible=feasible,
        relaxed=start.relaxed,
        generations=generations_done,
        evaluations=len(start.pool) + evolving.evaluator.n_eval,
        scale=start.scale,
        hypervolume=start.scale.hypervolume(values) if feasible else 0.0,
    )


def worth_considering(values: Float, scale: Scale) -> Int:
    """Rows of a front up to where its ends cost too much, for a rule to choose from.

    An end is where less of an objective that is there without control takes over ``1 / LEAST_PRICE`` times as much of
    the others, on the scale of the decision. Rules measure between the ends of what they are given, so that ends nobody
    would take, and whether a search happened to find them, would decide what is taken.
    """
    scaled = (values - scale.origin) / scale.width
    objectives = values.shape[1]
    # ends as minima of slightly mixed sums: the minimum of one objective alone ignores any price in the others
    weights = np.where(np.eye(objectives, dtype=bool), 1.0, np.where(scale.there_anyway, LEAST_PRICE, _BARELY))
    ends = scaled[np.argmin(scaled @ weights, axis=0)]
    return np.flatnonzero((scaled <= ends.max(axis=0)).all(axis=1))


def evenest(front: Front, chosen: int, space: LoopSpace) -> tuple[Front, int]:
    """Prefer to the chosen point the one, of all that are as good, that charges least at once.

    As good is within ``AS_GOOD`` of the scale in objectives that are there without control, and no worse in those that
    control brings about. Unbalance says nothing about how much is drawn on all phases together, so without this the sum
    would be left to chance, and with it peaks and losses.

    Returns
    -------
    front : Front
        Joined by that point where it is not one of it, as its last row, without what that beats: what the front is
        worth, and what the choice gives away, stay apart. The hypervolume is that of the joined front.
    chosen : int
        Its row.
    """
    slack = np.where(front.scale.there_anyway, AS_GOOD * front.scale.width, 0.0)
    rivals = (front.others <= front.values[chosen] + slack).all(axis=1)
    x = np.vstack([front.x[chosen], front.others_x[rivals]])
    values = np.vstack([front.values[chosen], front.others[rivals]])
    # the chosen point is row 0 and argmin takes the first: of equals it stays
    best = int(np.argmin(space.decode(x)[:, ~space.roof].sum(axis=1)))
    if best == 0:
        return front, chosen
    # a candidate that the search has lost may beat points that it kept
    stay = ~((values[best] <= front.values).all(axis=1) & (values[best] < front.values).any(axis=1))
    all_values = np.vstack([front.values[stay], values[best]])
    hypervolume = front.scale.hypervolume(all_values) if front.feasible else 0.0
    joined = replace(front, x=np.vstack([front.x[stay], x[best]]), values=all_values, hypervolume=hypervolume)
    return joined, len(all_values) - 1


def _algorithm(name: str, objectives: int, population: int, sampling: Float) -> Any:
    if name == "nsga2" or (name == "auto" and objectives <= 2):
        return NSGA2(pop_size=population, sampling=sampling)
    partitions = 1
    while comb(partitions + objectives, objectives - 1) <= population:  # directions with one partition more
        partitions += 1
    directions = get_reference_directions("das-dennis", objectives, n_partitions=partitions)
    return NSGA3(ref_dirs=directions, pop_size=max(population, len(directions)), sampling=sampling)


def _best(evolving: Any) -> tuple[Float, Float, bool]:
    """Non-dominated members of the population that keep all limits; else those that violate least."""
    members = evolving.pop
    feasible = members.get("feas").reshape(len(members), -1).all(axis=1)
    if not feasible.any():
        return evolving.opt.get("X"), evolving.opt.get("F"), False
    members = members[feasible]
    values = members.get("F")
    first = NonDominatedSorting().do(values, only_non_dominated_front=True)
    _, distinct = np.unique(values[first], axis=0, return_index=True)
    rows = first[np.sort(distinct)]
    return members[rows].get("X"), values[rows], True


def _stalled(reached: list[float], patience: Patience) -> bool:
    generations, gain = patience
    return len(reached) > generations and reached[-1] <= (1.0 + gain) * reached[-1 - generations]
