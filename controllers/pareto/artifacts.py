"""What a run of the multi-objective controller leaves behind: fronts, references and verdicts, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cosim.contract import Float
from cosim.controllers.pareto.certificate import Certificate
from cosim.controllers.pareto.front import Front

Columns = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Found:
    """One decision.

    Attributes
    ----------
    step : int
        At which it took effect.
    front : Front
        All non-dominated points.
    chosen : int
        Row of the point taken, which may be one that the controller prefers to a point of the front by a hair.
    verdict : Certificate or None
        What a reference says of the front, where it was judged.
    """

    step: int
    front: Front
    chosen: int
    verdict: Certificate | None


def front_tables(objectives: Sequence[str], found: Sequence[Found]) -> dict[str, Columns]:
    """Return ``front``, ``reference`` and ``certificates``, see `cosim.artifacts`; tables without a row are left out.

    ``certificates`` also holds the values of every objective that count as 0 and as 1 in its hypervolumes
    (``<objective>_at_0``, ``_at_1``): with front and reference they can be computed again.
    """
    if not found:
        return {}
    front = _points(objectives, [(one.step, one.front.values) for one in found])
    chosen = np.concatenate([np.arange(len(one.front.values)) == one.chosen for one in found])
    tables = {"front": {"step": front.pop("step"), "point": front.pop("point"), "chosen": chosen, **front}}
    judged = [(one.step, one.verdict.values) for one in found if one.verdict is not None]
    if judged:
        tables["reference"] = _points(objectives, judged)
    nothing = Certificate(np.empty((0, len(objectives))), float("nan"), float("nan"), float("nan"))
    verdicts = [one.verdict or nothing for one in found]
    ends = np.array([one.front.scale.ends for one in found])
    tables["certificates"] = {
        "step": np.array([one.step for one in found], dtype=np.int32),
        "hypervolume": np.array([one.front.hypervolume for one in found]),
        "hypervolume_reference": np.array([verdict.hypervolume for verdict in verdicts]),
        "regret_a": np.array([verdict.regret_a for verdict in verdicts]),
        "regret_kwh": np.array([verdict.regret_kwh for verdict in verdicts]),
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
