"""The front of any batch function of bounded setpoints: for studies of single moments, outside the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import Problem
from pymoo.indicators.hv import HV

from cosim.contract import Float

STALL_GENERATIONS, STALL_GAIN = 10, 3e-4
MARGIN = 1.1  # of the first generation's largest values: where the dominated volume is measured from

Evaluation = Callable[[Float], tuple[Float, Float]]
"""From setpoints, shape (candidate, variable), to objectives, all minimised, and to excess over limits (0 keeps)."""


@dataclass(frozen=True, eq=False)
class Points:
    """Non-dominated setpoints.

    Attributes
    ----------
    x : ndarray, shape (point, variable)
        Setpoints, in the order of the first objective.
    values : ndarray, shape (point, objective)
        Their objectives.
    feasible : bool
        False where no candidate keeps every limit; the points are then those that violate least.
    evaluations : int
        Effort.
    """

    x: Float
    values: Float
    feasible: bool
    evaluations: int


def front_of(
    evaluate: Evaluation, lower: Float, upper: Float, *, start: Float, population: int, generations: int, seed: int
) -> Points:
    """Approximate the front by NSGA-II, until its dominated volume stalls.

    Parameters
    ----------
    evaluate : callable
        As `Evaluation`; gets whole batches.
    lower, upper : ndarray, shape (variable,)
        Bounds.
    start : ndarray, shape (candidate, variable)
        Candidates to begin with; the rest of the population is drawn between the bounds.
    population, generations : int
        Size, and the most generations.
    seed : int
        Every draw.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.uniform(lower, upper, (max(population - len(start), 0), len(lower)))
    sampling = np.clip(np.vstack([start, drawn]), lower, upper)
    first, excess = evaluate(sampling)
    if not np.ptp(sampling, axis=0).any():  # nothing can move: the only candidate is the front
        return Points(sampling[:1], first[:1], bool((excess[:1] <= 0).all()), len(sampling))
    volume = HV(ref_point=np.ones(first.shape[1]))
    scale = np.maximum(MARGIN * first.max(axis=0), 1e-12)
    problem = _Batch(evaluate, lower, upper, first.shape[1], excess.shape[1])
    algorithm = NSGA2(pop_size=population, sampling=sampling)
    algorithm.setup(problem, termination=("n_gen", generations), seed=int(rng.integers(2**31)), verbose=False)
    reached = [0.0]
    while algorithm.has_next():
        algorithm.next()
        values = algorithm.opt.get("F") / scale
        reached.append(float(volume(values[(values < 1.0).all(axis=1)])) if (values < 1.0).all(axis=1).any() else 0.0)
        stalled = len(reached) > STALL_GENERATIONS and (
            reached[-1] <= (1.0 + STALL_GAIN) * reached[-1 - STALL_GENERATIONS]
        )
        if stalled and algorithm.opt.get("feas").all():
            break
    best = algorithm.opt
    found = best.get("F")
    order = np.lexsort(found.T[::-1])
    return Points(
        best.get("X")[order], found[order], bool(best.get("feas").all()), len(sampling) + algorithm.evaluator.n_eval
    )


class _Batch(Problem):  # type: ignore[misc]
    def __init__(self, evaluate: Evaluation, lower: Float, upper: Float, objectives: int, limits: int) -> None:
        super().__init__(n_var=len(lower), n_obj=objectives, n_ieq_constr=limits, xl=lower, xu=upper)
        self._evaluate_batch = evaluate

    def _evaluate(self, x: Float, out: dict[str, Any], *_: Any, **__: Any) -> None:
        out["F"], out["G"] = self._evaluate_batch(x)
