"""One decision: its front by convex programmes or by search, and the point that is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np

from cosim.contract import Float
from cosim.controllers.pareto.certificate import Decided, certify
from cosim.controllers.pareto.choice import RULES
from cosim.controllers.pareto.convex import Corner, Exact
from cosim.controllers.pareto.objectives import DEFAULT, are_convex
from cosim.controllers.pareto.problem import DispatchProblem
from cosim.controllers.pareto.scale import Front, Scale
from cosim.controllers.pareto.scene import Scene, Space
from cosim.controllers.pareto.surroundings import Surroundings
from cosim.errors import SolverError

Method = Literal["auto", "convex", "nsga2"]

_BETWEEN = 5  # points of the reference between two corners
_CUTS = 40  # levels of curtailment where nothing else keeps the limits
_BEYOND_PU = 1e-5


def method_for(method: Method, objectives: tuple[str, ...]) -> Method:
    """What ``auto`` stands for: ``convex`` where every objective is."""
    if method != "auto":
        return method
    return "convex" if are_convex(objectives) else "nsga2"


@dataclass(frozen=True)
class Manner:
    """How a decision is made; as of the controller's options."""

    method: Method
    weights: tuple[float, ...]
    rule: str
    population: int
    generations: int
    then_peak: bool
    seeds: bool
    judged: bool


def decide(around: Surroundings, scene: Scene, space: Space, manner: Manner, rng: np.random.Generator) -> Decided:
    """Find a front and take a point of it.

    Parameters
    ----------
    around, scene, space
        As of `DispatchProblem`.
    manner : Manner
        How.
    rng : numpy.random.Generator
        Every draw of a search.
    """
    problem = DispatchProblem(around, scene, space)
    scale, weights = Scale.of(problem), np.array(manner.weights)
    convex = are_convex(around.objectives)
    exact, corners, failed = None, list[Corner](), ""
    try:
        if convex and (manner.method == "convex" or manner.seeds or manner.judged):
            exact = Exact(problem, manner.then_peak)
            corners = exact.front()
        elif manner.method == "nsga2":
            corners = _of_the_default_pair(problem, manner)
    except SolverError as error:
        exact, failed = None, f"no exact front: {error}"
    exact_kw = np.array([corner.kw for corner in corners])
    reference = None if exact is None else _values(problem, _between(exact_kw))
    if exact is not None and manner.method == "convex":
        kw = np.array([exact.attained(corner).kw for corner in corners])
        # points between corners are attained where chargers can run like that
        front = _front(problem, scale, np.vstack([kw, space.decode(space.encode(_between(kw)))]))
    else:
        from cosim.controllers.pareto import search  # pymoo takes a second

        start, patience = search.first_candidates(problem, manner.population, rng), search.PATIENCE
        if corners and manner.seeds:
            start = np.vstack([start, space.encode(_between(exact_kw))])
            patience = search.SHORT_PATIENCE
        front = search.search(problem, scale, start, manner.population, manner.generations, rng, patience)
    if not front.feasible:
        front = _front(problem, scale, np.vstack([front.kw, _cut_further(space, front.kw[0])]))
    front = replace(front, chosen=RULES[manner.rule](front.values, weights))
    judged = manner.judged and reference is not None
    verdict = certify(around.objectives, front, reference) if judged and reference is not None else None
    return Decided(front, verdict, "; ".join(filter(None, [failed, _beyond(problem, front)])))


def _of_the_default_pair(problem: DispatchProblem, manner: Manner) -> list[Corner]:
    """Points within the limits where the objectives have no exact front; what cannot be kept is allowed on the way."""
    twin = DispatchProblem(replace(problem.around, objectives=DEFAULT), problem.scene, problem.space)
    twin.allowed, exact = problem.allowed, Exact(twin, manner.then_peak)
    return exact.front() if manner.seeds else [exact.settled(np.array([0.0, 1.0]))]


def _between(kw: Float) -> Float:
    """Points and others between neighbours, shape (point, variable)."""
    share = np.linspace(0.0, 1.0, _BETWEEN, endpoint=False)[:, None]
    return np.vstack([*(one + share * (other - one) for one, other in pairwise(kw)), kw[-1:]])


def _values(problem: DispatchProblem, kw: Float) -> Float:
    return problem.values(problem.evaluated(kw))


def _front(problem: DispatchProblem, scale: Scale, kw: Float) -> Front:
    batch = problem.evaluated(kw)
    return Front.of(kw, problem.values(batch), problem.excess(batch).max(axis=1, initial=-1.0), scale)


def _cut_further(space: Space, kw: Float) -> Float:
    """The same with all roofs lowered step by step to what they must be let feed in."""
    share = np.linspace(0.0, 1.0, _CUTS)[:, None]
    return np.where(space.roof, kw - share * (kw - space.low_kw).clip(0.0), kw)


def _beyond(problem: DispatchProblem, front: Front) -> str:
    """Name the steps at which a limit is exceeded whatever is done, each with the worst limit."""
    batch = problem.evaluated(front.kw[front.chosen][None, :])
    beyond, told = (problem.excess(batch) + problem.allowed)[0], dict[int, str]()
    places = problem.places
    for row in np.argsort(-beyond, kind="stable"):
        step, limit = places[row]
        if beyond[row] > _BEYOND_PU and step not in told:
            told[step] = f"step {problem.scene.first_step + step}: {limit} by {beyond[row]:.4f} pu"
    return f"beyond reach, whatever may be curtailed: {', '.join(told.values())}" if told else ""
