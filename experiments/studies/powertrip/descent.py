"""Local descent from a point of a front: sequential quadratic programming on the reduced network.

An evolutionary search finds the region of a good point, and needs very long for the point itself where limits bind. The
index is a maximum of magnitudes over a mean, so it has kinks; written as ``t_l >= ±(|I_phi| - mean) / mean`` everything
that is left is smooth, but for currents through zero.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.controllers.pareto.scale import undominated

STEP_KW = 0.01  # of difference quotients
ITERATIONS = 40
PRECISION = 1e-6  # of the objective, on its scale
NEAR_PU = 0.005  # limits that the linear model comes this near to are watched
NEAREST = 2  # points of the front to begin the last descents with
STARTS, LEVELS = 3, 3  # of descents to the least index; levels of curtailment between the ends
KEEPS = 1e-6  # per unit: what counts as within limits

Flow = Callable[[Float], tuple[Float, Float]]
"""From powers, shape (candidate, unit), to phase currents [A], shape (candidate, line, 3), and voltages [pu]."""


@dataclass(frozen=True, eq=False)
class Local:
    """One step's trade between squared PUI and squared curtailment, as smooth functions.

    Attributes
    ----------
    flow : callable
        As `Flow`; magnitudes.
    low_kw, high_kw : ndarray, shape (unit,)
        Bounds.
    pv : ndarray of bool, shape (unit,)
        Units whose distance from the upper bound is curtailment.
    voltage_pu : tuple of float or None
        Limits.
    """

    flow: Flow
    low_kw: Float
    high_kw: Float
    pv: Bool
    voltage_pu: tuple[float, float] | None

    def values(self, kw: Float) -> Float:
        """f1 [%²] and f2 [kW²] of candidates, shape (candidate, 2)."""
        deviation = np.abs(self.deviation(self.flow(kw)[0])).max(axis=2)
        return np.column_stack([1e4 * (deviation**2).sum(axis=1), self.cut(kw)])

    def keeps(self, kw: Float) -> bool:
        """Whether one candidate keeps every limit."""
        return bool(self.excess(self.flow(kw[None, :])[1]).max(initial=-np.inf) <= KEEPS)

    def least_curtailment(self, start_kw: Float) -> Float | None:
        """Least f2 from a start; None where nothing is found that keeps the limits."""
        return _Descent(self, start_kw, linear=np.array([0.0, 1.0])).end_kw()

    def least_index(self, start_kw: Float, most_cut: float = np.inf) -> Float | None:
        """Least f1 from a start, with f2 at most so much; None where nothing is found that keeps the limits."""
        return _Descent(self, start_kw, linear=np.array([1.0, 0.0]), most_cut=most_cut).end_kw()

    def least_achievement(self, start_kw: Float, ideal: Float, nadir: Float, weights: Float) -> Float | None:
        """Least ``max_i w_i (f_i - ideal_i) / (nadir_i - ideal_i)``; None where nothing keeps the limits."""
        per_width = np.maximum(weights, 1e-6) / np.maximum(nadir - ideal, 1e-9)
        return _Descent(self, start_kw, linear=np.zeros(2), ideal=ideal, slope=per_width).end_kw()

    def cut(self, kw: Float) -> Float:
        """f2 of candidates, shape (candidate,) [kW²]."""
        return np.asarray(((self.high_kw - kw)[:, self.pv] ** 2).sum(axis=1))

    @staticmethod
    def deviation(current_a: Float) -> Float:
        """Of each phase from the mean, over the mean."""
        mean = np.maximum(current_a.mean(axis=2, keepdims=True), 1e-9)
        return np.asarray((current_a - mean) / mean)

    def excess(self, voltage_pu: Float) -> Float:
        """Beyond the limits, shape (candidate, limit) [pu]."""
        if self.voltage_pu is None:
            return np.zeros((len(voltage_pu), 0))
        low, high = self.voltage_pu
        return np.hstack([voltage_pu - high, low - voltage_pu])


class _Descent:
    """What a descent minimises, as functions of z = (free powers over their width, t of every line, achievement).

    Parameters
    ----------
    local : Local
        The step.
    start_kw : ndarray, shape (unit,)
        Where it begins.
    linear : ndarray, shape (2,)
        Weights of both objectives in the sum that is minimised.
    most_cut : float
        Limit of f2.
    ideal, slope : ndarray, shape (2,)
        With a slope the achievement, ``max_i slope_i (f_i - ideal_i)``, is minimised as well.
    """

    def __init__(
        self, local: Local, start_kw: Float, *, linear: Float, most_cut: float = np.inf,
        ideal: Float | float = 0.0, slope: Float | None = None,
    ) -> None:  # fmt: skip
        self.local, self._base_kw, self._width_kw = local, start_kw.copy(), local.high_kw - local.low_kw
        self._linear, self._most_cut, self._ideal, self._slope = linear, most_cut, ideal, slope
        self._free = self._width_kw > 1e-9
        self._count = int(self._free.sum())
        self._known: dict[bytes, tuple[Float, Float, Float, Float]] = {}

    def end_kw(self) -> Float | None:
        """Where it ends; None where that does not keep the limits."""
        if not self._free.any():
            return self._base_kw
        local, free = self.local, self._free
        share = ((self._base_kw - local.low_kw)[free] / self._width_kw[free]).clip(0.0, 1.0)
        deviation, excess, _, slope = self._around(share)
        reach = excess + np.maximum(-slope * share, slope * (1.0 - share)).sum(axis=1)
        self._watched = reach > -NEAR_PU  # limits that some point between the bounds could break, by the linear model
        index = np.abs(deviation.reshape(-1, 3)).max(axis=1)
        values = np.array([1e4 * (index**2).sum(), local.cut(self._base_kw[None, :])[0]])
        self._scale = np.maximum(values, [10.0, 0.1])
        achieved = 0.0 if self._slope is None else float(((values - self._ideal) * self._slope).max())
        most = 0.0 if self._slope is None else np.inf
        constraint: Any = {"type": "ineq", "fun": self._headroom, "jac": self._headroom_slope}
        found = minimize(
            self._objective, np.concatenate([share, index, [achieved]]), jac=True, method="SLSQP",
            bounds=[(0.0, 1.0)] * self._count + [(0.0, None)] * len(index) + [(-most, most)],
            constraints=constraint, options={"maxiter": ITERATIONS, "ftol": PRECISION},
        )  # fmt: skip
        kw = self._powers(found.x)
        return kw if np.isfinite(kw).all() and local.keeps(kw) else None

    def _powers(self, z: Float) -> Float:
        kw = self._base_kw.copy()
        kw[self._free] = self.local.low_kw[self._free] + z[: self._count].clip(0.0, 1.0) * self._width_kw[self._free]
        return kw

    def _objective(self, z: Float) -> tuple[float, Float]:
        value, slope = self._objectives(z)
        achievement = np.eye(len(z))[-1] * (self._slope is not None)
        total = float(self._linear @ (value / self._scale) + achievement @ z)
        return total, np.asarray((self._linear / self._scale) @ slope + achievement)

    def _headroom(self, z: Float) -> Float:
        """What must not be negative."""
        deviation, excess, _, _ = self._around(z[: self._count])
        value, _ = self._objectives(z)
        index = np.repeat(z[self._count : -1], 3)
        parts = [index - deviation, index + deviation, -100.0 * excess[self._watched]]
        if np.isfinite(self._most_cut):
            parts.append(np.array([(self._most_cut - value[1]) / self._scale[1]]))
        if self._slope is not None:
            parts.append(z[-1] - (value - self._ideal) * self._slope)
        return np.concatenate(parts)

    def _headroom_slope(self, z: Float) -> Float:
        _, _, deviation, excess = self._around(z[: self._count])
        _, slope = self._objectives(z)
        lines = len(z) - self._count - 1
        by_index = np.pad(np.repeat(np.eye(lines), 3, axis=0), ((0, 0), (0, 1)))
        watched = np.pad(-100.0 * excess[self._watched], ((0, 0), (0, lines + 1)))
        parts = [np.hstack([-deviation, by_index]), np.hstack([deviation, by_index]), watched]
        if np.isfinite(self._most_cut):
            parts.append(-slope[1:] / self._scale[1])
        if self._slope is not None:
            parts.append(np.eye(len(z))[-1] - slope * self._slope[:, None])
        return np.vstack(parts)

    def _objectives(self, z: Float) -> tuple[Float, Float]:
        """Both objectives, and their slopes, shape (2, variable)."""
        index = z[self._count : -1]
        cut_kw = np.where(self.local.pv, self.local.high_kw - self._powers(z), 0.0)
        slope = np.zeros((2, len(z)))
        slope[0, self._count : -1] = 2e4 * index
        slope[1, : self._count] = -2.0 * cut_kw[self._free] * self._width_kw[self._free]
        return np.array([1e4 * (index**2).sum(), (cut_kw**2).sum()]), slope

    def _around(self, share: Float) -> tuple[Float, Float, Float, Float]:
        """Deviations and excesses at a point, and their difference quotients by the free shares; last point kept."""
        key = share.tobytes()
        if key not in self._known:
            step = STEP_KW / self._width_kw[self._free]
            around = np.vstack([share, share + np.diag(step)])
            kw = np.repeat(self._base_kw[None, :], len(around), axis=0)
            kw[:, self._free] = self.local.low_kw[self._free] + around * self._width_kw[self._free]
            current_a, voltage_pu = self.local.flow(kw)
            deviation = self.local.deviation(current_a).reshape(len(kw), -1)
            excess = self.local.excess(voltage_pu)
            slopes = [((values[1:] - values[0]) / step[:, None]).T for values in (deviation, excess)]
            self._known = {key: (deviation[0], excess[0], slopes[0], slopes[1])}
        return self._known[key]


def polished(local: Local, found_kw: Float) -> Float:
    """Refine a front: from its ends and members, descend to the least f1 at several levels of f2.

    Parameters
    ----------
    local : Local
        The step.
    found_kw : ndarray, shape (point, unit)
        What a search found; its points may break limits.

    Returns
    -------
    ndarray, shape (point, unit)
        Non-dominated points that keep all limits; none where no descent found any.
    """
    values = local.values(found_kw)
    kept = [kw for kw in found_kw if local.keeps(kw)]
    starts = found_kw[np.unique(np.linspace(0, len(found_kw) - 1, STARTS).astype(int))]
    used = _tried(local.least_curtailment(kw) for kw in (found_kw[np.argmin(values[:, 1])], local.low_kw))
    level = _tried(local.least_index(kw) for kw in (*used, *starts))
    known = [*kept, *used, *level]
    if not known:
        return found_kw[:0]
    front = _front(local, np.array(known))
    cut = local.cut(front)
    levels = np.linspace(np.sqrt(cut.min()), np.sqrt(cut.max()), LEVELS + 2)[1:-1] ** 2
    for most_cut in (*levels, *levels[::-1]):  # there and back: each level begins with what its neighbours found
        cut = local.cut(front)
        below, above = cut <= most_cut, cut > most_cut
        begin = [front[rows][np.argmin(np.abs(cut[rows] - most_cut))] for rows in (below, above) if rows.any()]
        better = _tried(local.least_index(kw, float(most_cut)) for kw in begin)
        if better:
            front = _front(local, np.vstack([front, better]))
    return front


def best_achievement(local: Local, front_kw: Float, weights: Float) -> Float:
    """Descend from the nearest points to the least achievement between the ends of a front.

    Parameters
    ----------
    local : Local
        The step.
    front_kw : ndarray, shape (point, unit)
        The front; its ends are what counts as 0 and 1.
    weights : ndarray, shape (2,)
        Of f1 and f2.

    Returns
    -------
    ndarray, shape (unit,)
        The best point found, the front's own included.
    """
    values = local.values(front_kw)
    ideal, nadir = values.min(axis=0), values.max(axis=0)

    def achievement(kw: Float) -> Float:
        scaled = (local.values(kw) - ideal) / np.maximum(nadir - ideal, 1e-9)
        return np.asarray((scaled * np.maximum(weights, 1e-6)).max(axis=1))

    near = front_kw[np.argsort(achievement(front_kw), kind="stable")[:NEAREST]]
    found = _tried(local.least_achievement(kw, ideal, nadir, weights) for kw in near)
    tried = np.vstack([near[:1], *found])
    return np.asarray(tried[np.argmin(achievement(tried))])


def _tried(found: Iterable[Float | None]) -> list[Float]:
    return [kw for kw in found if kw is not None]


def _front(local: Local, kw: Float) -> Float:
    """Points that no other betters."""
    return np.asarray(kw[undominated(local.values(kw))])
