"""The fixed scale of a decision's objectives, on which hypervolumes are comparable; and fronts on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pymoo.indicators.hv import HV

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.pareto.objectives import OBJECTIVES
from cosim.controllers.pareto.problem import DispatchProblem


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


@dataclass(frozen=True, eq=False)
class Scale:
    """An objective is divided by its value without control.

    One that is 0 there, such as curtailment, by its value when everything is curtailed and paused. The reference point
    is (1, 1, ...).

    Attributes
    ----------
    origin, width : ndarray, shape (objective,)
        Value that counts as 0 (not 0 itself only for a signed objective), and distance from there to 1.
    there_anyway : ndarray of bool, shape (objective,)
        True where 1 is the value without control, False where control alone brings the objective about.
    varies : ndarray of bool, shape (objective,)
        Whether control makes any difference: without sun none to curtailment.
    """

    origin: Float
    width: Float
    there_anyway: Bool
    varies: Bool

    @classmethod
    def of(cls, problem: DispatchProblem) -> Scale:
        """Scale of a decision."""
        space = problem.space
        ends = space.decode(np.stack([np.ones(space.n_var), np.zeros(space.n_var)]))
        values = problem.values(problem.evaluated(ends))
        signed = np.array([OBJECTIVES[name].signed for name in problem.around.objectives])
        origin = np.where(signed, values.min(axis=0), 0.0)
        free, nothing = values - origin
        width = np.where(free > 1e-9, free, nothing)
        return cls(origin, np.where(width > 1e-9, width, 1.0), free > 1e-9, np.abs(free - nothing) > 1e-9)

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
    """What a decision found.

    Attributes
    ----------
    kw : ndarray, shape (point, variable)
        Non-dominated candidates.
    values : ndarray, shape (point, objective)
        Their objectives, in the order of the first.
    chosen : int
        Row of the point taken; -1 before that.
    feasible : bool
        False where no candidate keeps all limits; the points are then those that violate least.
    evaluations : int
        Candidates that a search solved by power flow.
    scale : Scale
        Of the hypervolume.
    hypervolume : float
        On that scale.
    """

    kw: Float
    values: Float
    chosen: int
    feasible: bool
    evaluations: int
    scale: Scale
    hypervolume: float

    @classmethod
    def of(cls, kw: Float, values: Float, excess: Float, scale: Scale, evaluations: int = 0) -> Front:
        """The non-dominated of some candidates that keep all limits.

        Where none does, the one that exceeds them least.

        Parameters
        ----------
        kw, values : ndarray
            As of the front.
        excess : ndarray, shape (candidate,)
            Largest of each; at most 0 where all limits are kept.
        scale : Scale
            Of the decision.
        evaluations : int
            What it took.
        """
        keeps: Bool = excess <= 0.0
        rows = np.flatnonzero(keeps) if keeps.any() else np.array([int(np.argmin(excess))])
        _, distinct = np.unique(values[rows], axis=0, return_index=True)
        rows = rows[np.sort(distinct)]
        rows = rows[undominated(values[rows])]
        rows = rows[np.lexsort(values[rows].T[::-1])]
        hypervolume = scale.hypervolume(values[rows]) if keeps.any() else 0.0
        return cls(kw[rows], values[rows], -1, bool(keeps.any()), evaluations, scale, hypervolume)
