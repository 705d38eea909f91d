"""Other plans, nearly as good as the best one and different from it and from each other.

After E. D. Brill, S.-Y. Chang, L. D. Hopkins, "Modeling to generate alternatives", Management Science 28 (1982) 221-235
(hop, skip and jump): hold the aims at nearly their best values and minimise what the plans found so far use.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cosim.contract import Float
from cosim.controllers.planner.model import Pairs, PlanModel
from cosim.controllers.planner.options import Options
from cosim.controllers.planner.solver import AimSolver

MOVED_SHARE = 0.01
"""Plans are different where at least this share of the energy is drawn by another vehicle or in another step."""

ENOUGH_GAP = 0.05  # of the distance: any plan that is different will do
KEPT_EUR = 1e-6


def other_points(
    solver: AimSolver, model: PlanModel, pairs: Pairs, last_aim: Float, value: float, options: Options
) -> list[Float]:
    """Points of further plans, at most ``n_sols - 1``; fewer where no more are found.

    Parameters
    ----------
    solver : AimSolver
        After its last aim, whose point is the best plan.
    last_aim : ndarray, shape (column,)
        Its coefficients; the sum may be worse by ``pool_slack``.
    value : float
        What it reached.
    """
    wanted = options.n_sols - 1
    if wanted < 1 or not len(pairs):
        return []
    solver.keep(last_aim, value + options.pool_slack * abs(value), KEPT_EUR)
    energy = np.zeros(len(model.high))
    energy[model.power] = pairs.battery_kwh_per_kw
    points = [solver.point * energy]
    found: list[Float] = []
    directions = _directions(pairs, points, energy, model)
    for direction in directions:
        solver.minimise("another plan", direction, gap=ENOUGH_GAP)
        drawn = solver.point * energy
        if min(_moved_share(drawn, other) for other in points) < MOVED_SHARE:
            continue
        points.append(drawn)
        found.append(solver.point.copy())
        if len(found) == wanted:
            break
    return found


def _moved_share(one: Float, other: Float) -> float:
    return float(np.abs(one - other).sum() / 2.0 / max(one.sum(), other.sum(), 1e-9))


def _directions(pairs: Pairs, points: list[Float], energy: Float, model: PlanModel) -> Iterator[Float]:
    """Away from what the plans use, for as long as that finds new ones; then early, late, and vehicle by vehicle."""
    while True:
        before = len(points)
        used = np.sum([point > 1e-6 for point in points], axis=0)
        yield energy * used
        if len(points) == before:
            break
    position = np.zeros_like(energy)
    position[model.power] = (pairs.step - pairs.step.min()) / (1.0 + np.ptp(pairs.step))
    yield energy * position
    yield -energy * position
    owner = np.zeros(len(energy), np.int64)
    owner[model.power] = pairs.vehicle
    for turn in range(1, 8):  # other orders of the vehicles: neighbours first, then those farther apart
        yield energy * position * np.where(owner >> (turn - 1) & 1, 1.0, -1.0)
