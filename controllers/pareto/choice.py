"""Which point of a front to take: objectives in turn, or one of several ways to weigh them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from cosim.contract import Float
from cosim.errors import Fault

_LEAST_WEIGHT = 1e-6
_FLAT = 1e-12
_EQUAL = 1e-3


def normalised(front: Float) -> Float:
    """Front between its ideal (0) and its nadir (1); 0 throughout where an objective does not vary.

    Parameters
    ----------
    front : ndarray, shape (point, objective)
        Non-dominated points.
    """
    ideal, nadir = front.min(axis=0), front.max(axis=0)
    width = nadir - ideal
    flat = width <= _FLAT * np.maximum(np.abs(nadir), 1.0)
    return np.where(flat, 0.0, (front - ideal) / np.where(flat, 1.0, width))


def in_order(weights: Float) -> list[int]:
    """Objectives from the heaviest weight to the lightest; of equal weights in their own order."""
    return [int(row) for row in np.argsort(-np.asarray(weights), kind="stable")]


def by_turn(front: Float, weights: Float) -> int:
    """Point that is best in the objective of the heaviest weight, of the equally good ones in the next, and so on."""
    rows = np.arange(len(front))
    for objective in in_order(weights):
        values = normalised(front)[rows, objective]
        rows = rows[values <= values.min() + _EQUAL]
    return int(rows[0])


def by_asf(front: Float, weights: Float) -> int:
    """Point with the smallest achievement scalarising function, ``max_i w_i f_i`` of the normalised objectives.

    A heavier weight brings that objective closer to its ideal. Wierzbicki, "The use of reference objectives in
    multiobjective optimization", 1980.
    """
    return int(np.argmin((np.maximum(weights, _LEAST_WEIGHT) * normalised(front)).max(axis=1)))


def by_knee(front: Float, weights: Float) -> int:  # noqa: ARG001 - the knee is a matter of the front alone
    """Point farthest below the plane through the ends of the normalised front: beyond it a gain costs more.

    Das, "On characterizing the 'knee' of the Pareto curve based on Normal-Boundary Intersection", Structural
    Optimization 18, 1999.
    """
    return int(np.argmin(normalised(front).sum(axis=1)))


RULES: Mapping[str, Callable[[Float, Float], int]] = MappingProxyType(
    {"in_turn": by_turn, "asf": by_asf, "knee": by_knee}
)
"""Decision rule by name: (front, weights) to the row of the chosen point."""


def default_weights(objectives: Sequence[str]) -> tuple[float, ...]:
    """Weights where none are given: curtailment counts most, as moving cars costs nobody anything."""
    heavy = [3.0 if name == "pv_curtailment" else 1.0 for name in objectives]
    return tuple(one / sum(heavy) for one in heavy)


def choice_faults(rule: str, weights: Sequence[float], objectives: Sequence[str]) -> Iterator[Fault]:
    """Yield what is wrong with a rule and its weights."""
    where = "controller 'pareto'"
    if rule not in RULES:
        yield Fault(where, "rule", f"is {rule!r}", f"use one of {', '.join(RULES)}")
    numbers = all(isinstance(weight, (int, float)) and not isinstance(weight, bool) for weight in weights)
    if len(weights) != len(objectives):
        yield Fault(where, "weights", f"{len(weights)} given", f"give one for each of {', '.join(objectives)}")
    elif not numbers or not all(weight >= 0.0 for weight in weights) or abs(sum(weights) - 1.0) > _LEAST_WEIGHT:
        yield Fault(where, "weights", f"{list(weights)}", "give numbers from 0 to 1 that sum to 1")
