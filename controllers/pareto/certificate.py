"""How good a front of attainable points is, judged by the exact front of the relaxation.

The network's curvature can leave the reference behind what a decision finds: such ratios above 1 are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosim.contract import Float
from cosim.controllers.pareto.scale import Front

Columns = dict[str, Any]


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
    gap : float
        The most that the reference betters any objective of the chosen point at its other ones, of the objective's
        width on the decision's scale: what the 6 A minimum of chargers and the search for it cost; 0 where nothing.
    """

    values: Float
    hypervolume: float
    regret_a: float
    regret_kwh: float
    gap: float


def certify(names: Sequence[str], front: Front, reference: Float) -> Certificate:
    """Judge a front and its chosen point.

    Parameters
    ----------
    names : sequence of str
        The objectives.
    front : Front
        What was found.
    reference : ndarray, shape (point, objective)
        Points of the exact front.
    """
    point = front.values[front.chosen]
    best = _best(reference, point)
    regret = {"unbalance_current": float("nan"), "pv_curtailment": float("nan")}
    for row, name in enumerate(names):
        if name in regret:
            # of a sum of squared currents the root is in amperes
            a, b = np.sqrt([point[row], best[row]]) if name == "unbalance_current" else (point[row], best[row])
            regret[name] = max(float(a - b), 0.0)
    gap = float(((point - best) / front.scale.width).max(initial=0.0))
    regret_a, regret_kwh = regret.values()
    return Certificate(reference, front.scale.hypervolume(reference), regret_a, regret_kwh, gap)


def _best(values: Float, point: Float) -> Float:
    """Best of each objective on the reference at the others' values, shape (objective,).

    Between two points of the front of two convex objectives the chord is attainable; of three, points alone count.
    """
    best = point.copy()
    for row in range(len(point)):
        others = [column for column in range(len(point)) if column != row]
        fits = (values[:, others] <= point[others]).all(axis=1)
        best[row] = min(best[row], values[fits, row].min(initial=np.inf))
        if len(point) == 2 and len(values) > 1:
            along = values[np.argsort(values[:, others[0]])]
            if point[others[0]] >= along[0, others[0]]:
                best[row] = min(best[row], float(np.interp(point[others[0]], along[:, others[0]], along[:, row])))
    return best


@dataclass(frozen=True, eq=False)
class Decided:
    """One decision.

    Attributes
    ----------
    front : Front
        All non-dominated points, and the one taken.
    verdict : Certificate or None
        What the exact front says of it, where there is one and that was asked for.
    fallback : str
        Empty, or what could not be done as asked for.
    """

    front: Front
    verdict: Certificate | None
    fallback: str

    @property
    def kw(self) -> Float:
        """Powers of the point taken, shape (variable,)."""
        return np.asarray(self.front.kw[self.front.chosen])


def front_tables(objectives: Sequence[str], found: Mapping[int, Decided]) -> dict[str, Columns]:
    """Return ``front``, ``reference`` and ``certificates``, see `cosim.artifacts`; tables without a row are left out.

    Decisions are told by the step at which each took effect.

    ``certificates`` also holds the values of every objective that count as 0 and as 1 in its hypervolumes
    (``<objective>_at_0``, ``_at_1``): with front and reference they can be computed again.
    """
    if not found:
        return {}
    front = _points(objectives, [(step, one.front.values) for step, one in found.items()])
    chosen = np.concatenate([np.arange(len(one.front.values)) == one.front.chosen for one in found.values()])
    tables = {"front": {"step": front.pop("step"), "point": front.pop("point"), "chosen": chosen, **front}}
    judged = [(step, one.verdict.values) for step, one in found.items() if one.verdict is not None]
    if judged:
        tables["reference"] = _points(objectives, judged)
    nothing = Certificate(np.empty((0, len(objectives))), *4 * [float("nan")])
    verdicts = [one.verdict or nothing for one in found.values()]
    ends = np.array([one.front.scale.ends for one in found.values()])
    tables["certificates"] = {
        "step": np.array(list(found), dtype=np.int32),
        "hypervolume": np.array([one.front.hypervolume for one in found.values()]),
        "hypervolume_reference": np.array([verdict.hypervolume for verdict in verdicts]),
        "regret_a": np.array([verdict.regret_a for verdict in verdicts]),
        "regret_kwh": np.array([verdict.regret_kwh for verdict in verdicts]),
        "gap": np.array([verdict.gap for verdict in verdicts]),
        **{f"{name}_at_{end}": ends[:, end, row] for row, name in enumerate(objectives) for end in (0, 1)},
    }
    return tables


def _points(objectives: Sequence[str], of_decisions: Sequence[tuple[int, Float]]) -> Columns:
    """Points of several decisions one below the other: step, number in the decision, one column per objective."""
    sizes, stacked = [len(points) for _, points in of_decisions], np.concatenate([points for _, points in of_decisions])
    return {
        "step": np.repeat(np.array([step for step, _ in of_decisions], dtype=np.int32), sizes),
        "point": np.concatenate([np.arange(size) for size in sizes]).astype(np.int32),
        **{name: stacked[:, row] for row, name in enumerate(objectives)},
    }
