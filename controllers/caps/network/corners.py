"""Caps as they are sent, judged at their own worst corners by full power flow; nothing of what planned them is used.

Per limit the linear model's worst corner is known in closed form: of a voltage by the sign of each coefficient; of a
current, whose change is a sum of arrows in the plane each between two lengths, the farthest of the corners of that
zonogon, two for every arrow. All of them are solved by the full power flow, and from the tightest ones on single homes
are moved to their other end until nothing gets worse.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from cosim.contract import Complex, Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.network.box import VOLT_PU, Box, Limits, Linear, linear_at_corners

TIGHTEST = 10
FLIPS = 30  # of one corner, at most


@dataclass(frozen=True, eq=False)
class Worst:
    """What is known of the worst in a box.

    Attributes
    ----------
    stress : ndarray, shape (limit,)
        Highest of all corners that were looked at, by full power flow.
    corner : ndarray, shape (limit, coordinate)
        Where it was found.
    bound : ndarray, shape (limit,)
        Proven to be exceeded nowhere in the box; inf where nothing is proven, or nobody asked.
    """

    stress: Float
    corner: Float
    bound: Float


def worst_of_box(limits: Limits, boxes: list[Box], tightest: int = 0) -> Worst:
    """Look at the worst corners of boxes together.

    Parameters
    ----------
    limits : Limits
        What is kept.
    boxes : list of Box
        What is possible is their union.
    tightest : int
        From so many limits on single homes are moved to their other end until nothing gets worse.
    """
    found: list[Worst] = []
    for box in boxes:
        stress, corner = _highest(limits, box)
        if np.isinf(stress).all():  # no corner has a power flow
            return Worst(stress, corner, np.full(limits.count, np.inf))
        for limit in np.argsort(-stress, kind="stable")[:tightest]:
            flipped = _flipped(limits, box, corner[limit], int(limit))
            again = limits.of_states(flipped[None, :])[0]
            worse = again > stress
            stress, corner = np.where(worse, again, stress), np.where(worse[:, None], flipped, corner)
        found.append(Worst(stress, corner, np.full(limits.count, np.inf)))
    return union(found)


def union(found: list[Worst]) -> Worst:
    """The worst of several boxes."""
    at = np.argmax([one.stress for one in found], axis=0)
    every = np.arange(len(at))
    stress, corner = np.stack([one.stress for one in found]), np.stack([one.corner for one in found])
    return Worst(stress[at, every], corner[at, every], np.max([one.bound for one in found], axis=0))


def linear_corners(linear: Linear, box: Box) -> Float:
    """Worst corner of every limit in the linear model, of the reference that makes it worst; (limit, coordinate)."""
    limits, elements = linear.limits, linear.limits.elements
    down, up = box.low - linear.states, box.high - linear.states
    to_high = linear.radial > 0
    rise = np.where(to_high, linear.radial * up[:, None, :], linear.radial * down[:, None, :]).sum(axis=2)
    drop = np.where(to_high, linear.radial * down[:, None, :], linear.radial * up[:, None, :]).sum(axis=2)
    voltage = np.abs(linear.port_v)
    current, signs = farthest_corner(linear.current_a, linear.amps, down, up)
    per_volt = 1.0 / (VOLT_PU * elements.nominal_v)
    stress = np.concatenate([current / limits.amps, (voltage + rise) * per_volt, -(voltage + drop) * per_volt], axis=1)
    at, every = stress.argmax(axis=0), np.arange(stress.shape[1])
    high: Bool = np.concatenate([signs, to_high, ~to_high], axis=1)[at, every]
    return np.where(high, box.high, box.low)


def farthest_corner(start: Complex, arrows: Complex, down: Float, up: Float) -> tuple[Float, Bool]:
    """Largest ``|start + sum of arrow * x|`` for every ``down <= x <= up``, and which x are at their upper end.

    Shapes (..., limit), (..., limit, coordinate), (..., coordinate) of both ends.
    """
    middle = start + (arrows @ ((down + up) / 2.0)[..., None])[..., 0]
    half = arrows * ((up - down) / 2.0)[..., None, :]
    flip = (half.imag < 0) | ((half.imag == 0) & (half.real < 0))
    order = np.argsort(np.angle(np.where(flip, -half, half)), axis=-1)
    sides = np.take_along_axis(np.where(flip, -half, half), order, axis=-1)
    # corners in turn: all backwards, then one arrow after the other turned forwards; the other half lies opposite
    corners = -sides.sum(axis=-1)[..., None] + 2.0 * np.concatenate(
        [np.zeros((*sides.shape[:-1], 1)), np.cumsum(sides, axis=-1)], axis=-1
    )
    reach = np.abs(np.stack([middle[..., None] + corners, middle[..., None] - corners], axis=-2))
    of_all = reach.reshape(*reach.shape[:-2], 2 * corners.shape[-1])  # said in full: there may be no rated conductor
    best = of_all.argmax(axis=-1)
    turned = best % corners.shape[-1]
    rank = np.argsort(order, axis=-1)
    forward = (rank < turned[..., None]) ^ (best >= corners.shape[-1])[..., None]
    return np.take_along_axis(of_all, best[..., None], axis=-1)[..., 0], forward ^ flip


@lru_cache(maxsize=16)  # limits that were found are judged again before they are sent
def _highest(limits: Limits, box: Box) -> tuple[Float, Float]:
    """Highest stress of every limit at all corners, and the corner; inf where none has a power flow."""
    linear = linear_at_corners(limits, box)
    if not len(linear.states):
        return np.full(limits.count, np.inf), np.tile(linear.corners[0], (limits.count, 1))
    corners = np.unique(np.concatenate([linear.corners, linear_corners(linear, box)]), axis=0)
    stress = limits.of_states(corners)
    at: Int = stress.argmax(axis=0)
    return stress[at, np.arange(stress.shape[1])], corners[at]


def _flipped(limits: Limits, box: Box, corner: Float, limit: int) -> Float:
    """Move one coordinate after the other to its other end as long as that stresses a limit more."""
    best = limits.of_states(corner[None, :])[0, limit]
    free = np.flatnonzero(box.high > box.low)
    for _ in range(FLIPS):
        states = np.tile(corner, (len(free), 1))
        rows = np.arange(len(free))
        states[rows, free] = np.where(corner[free] < box.high[free], box.high[free], box.low[free])
        stress = limits.of_states(states)[:, limit]
        if not len(stress) or stress.max() <= best:
            return corner
        best, corner = stress.max(), states[stress.argmax()]
    return corner
