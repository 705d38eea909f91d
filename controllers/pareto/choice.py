"""Which point of a front to take: achievement scalarisation, pseudo-weights, the knee, trade-offs, hypervolume."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from pymoo.decomposition.asf import ASF
from pymoo.indicators.hv import HV

from cosim.contract import Float, Int
from cosim.errors import Fault

_LEAST_WEIGHT = 1e-6
_FLAT = 1e-12


def undominated(values: Float) -> Int:
    """Rows of the points that no other betters, in their order.

    Parameters
    ----------
    values : ndarray, shape (point, objective)
        Less is better; of equal points all stay.
    """
    no_worse = (values[None, :, :] <= values[:, None, :]).all(axis=2)
    better = (values[None, :, :] < values[:, None, :]).any(axis=2)
    return np.flatnonzero(~np.asarray(no_worse & better).any(axis=1))


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


def by_asf(front: Float, weights: Float) -> int:
    """Point with the smallest achievement scalarising function, ``max_i w_i f_i`` of the normalised objectives.

    A heavier weight brings that objective closer to its ideal. Wierzbicki, "The use of reference objectives in
    multiobjective optimization", 1980.
    """
    # pymoo divides by its weights: max f_i / (1 / w_i) = max w_i f_i
    scalar = ASF().do(normalised(front), 1.0 / np.maximum(weights, _LEAST_WEIGHT))
    return int(np.argmin(scalar))


def by_pseudo_weights(front: Float, weights: Float) -> int:
    """Point whose place on the front resembles the weights most.

    A point's pseudo-weight of an objective is its normalised distance to the nadir, of the sum over all objectives.
    Deb, "Multi-Objective Optimization using Evolutionary Algorithms", 2001, section 1.3. (Written out here: pymoo's
    class of the same purpose imports a module that SciPy 2 removes.)
    """
    distance = 1.0 - normalised(front)
    distance[:, np.ptp(distance, axis=0) <= 0.0] = 0.0
    if not distance.any():
        return by_asf(front, weights)
    total = distance.sum(axis=1, keepdims=True)
    pseudo = np.divide(distance, total, out=np.zeros_like(distance), where=total > 0.0)
    return int(np.argmin(np.abs(pseudo - weights).sum(axis=1)))


def by_knee(front: Float, weights: Float) -> int:  # noqa: ARG001 - the knee is a matter of the front alone
    """Point farthest below the plane through the ends of the normalised front: beyond it a gain costs more.

    Das, "On characterizing the 'knee' of the Pareto curve based on Normal-Boundary Intersection", Structural
    Optimization 18, 1999.
    """
    return int(np.argmin(normalised(front).sum(axis=1)))


def by_trade_off(front: Float, weights: Float) -> int:
    """Point that every other point betters at the highest price: largest least ratio of sacrifice to gain.

    L. Rachmawati, D. Srinivasan, "Multiobjective evolutionary algorithm with controllable focus on the knees of the
    Pareto front", IEEE Transactions on Evolutionary Computation 13(4), 2009. Taken over all other points of the
    normalised front, so that there is always exactly one answer (pymoo's ``HighTradeoffPoints`` returns outliers:
    several, or none). Where the ratio is the same everywhere, `by_asf` decides.
    """
    scaled = normalised(front)
    change = scaled[None, :, :] - scaled[:, None, :]  # from row to column
    sacrifice, gain = change.clip(0.0).sum(axis=2), (-change).clip(0.0).sum(axis=2)
    price = np.divide(sacrifice, gain, out=np.full(gain.shape, np.inf), where=gain > _FLAT)
    least = price.min(axis=1)
    if not np.isfinite(least).any() or np.ptp(least[np.isfinite(least)]) <= _FLAT:
        return by_asf(front, weights)
    return int(np.argmax(np.where(np.isfinite(least), least, -1.0)))


def by_hypervolume(front: Float, weights: Float) -> int:
    """Point whose loss would cost the most hypervolume of the normalised front, reference point at its nadir.

    The ends of the front contribute nothing there. Where nothing contributes, `by_asf` decides.
    """
    scaled = normalised(front)
    volume = HV(ref_point=np.ones(front.shape[1]))
    whole = volume(scaled)
    without = np.array([volume(np.delete(scaled, row, axis=0)) if len(front) > 1 else 0.0 for row in range(len(front))])
    contribution = whole - without
    if len(front) < 3 or contribution.max() <= _FLAT:
        return by_asf(front, weights)
    return int(np.argmax(contribution))


RULES: Mapping[str, Callable[[Float, Float], int]] = MappingProxyType(
    {
        "asf": by_asf,
        "pseudo_weights": by_pseudo_weights,
        "knee": by_knee,
        "trade_off": by_trade_off,
        "hypervolume": by_hypervolume,
    }
)
"""Decision rule by name: (front, weights) to the row of the chosen point."""


def default_weights(objectives: Sequence[str]) -> tuple[float, ...]:
    """Weights where none are given.

    Curtailment of the default pair weighs three times as much as unbalance, because most of the gain comes from moving
    cars, which costs nobody anything; any others weigh the same.
    """
    if tuple(objectives) == ("unbalance_current", "pv_curtailment"):
        return (0.25, 0.75)
    return (1.0 / len(objectives),) * len(objectives) if objectives else ()


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
