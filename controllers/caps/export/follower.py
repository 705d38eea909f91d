"""What a home does inside its import and export caps: the lower level, in closed form.

Lower level of one home, slots ``k``, tariff ``t``, feed-in price ``f <= t``::

    min  sum_k (t_k i_k - f_k e_k)
    s.t. i_k - e_k = demand_k + p_k - sun_k + c_k,   0 <= c_k <= sun_k          (c: curtailed)
         0 <= i_k <= import cap_k,   0 <= e_k <= export cap_k,   0 <= p_k <= charger_k,   sum_k p_k = need

For given ``p_k`` the best ``c_k`` is a clip, and what remains of the cost is convex and piecewise linear in ``p_k``.
Charging in a slot is worth, block by block (``S`` = surplus, ``x`` = what of it may be sold and is worth selling):

    ======  ==================  ==================  =====================================================
    block   width               price               meaning
    ======  ==================  ==================  =====================================================
    0       ``S - x``           0                   sun that would be curtailed
    1       ``x``               ``f``               sun that would be sold
    2       cap - deficit       ``t``               import
    ======  ==================  ==================  =====================================================

Where the tariff is below zero a home imports all it can and curtails its sun: there the blocks are ``cap - demand`` at
``t``, then the sun at 0. In both cases the prices of a slot's blocks do not fall, so the optimum is a continuous
knapsack over all (slot, block) segments: by price level (`ExportProblem.levels`), then the earlier slot, then the
block. Segments of equal price in different slots are thereby strictly ordered, and the response is unique.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.export.problem import ExportProblem

BLOCKS = 3


@dataclass(frozen=True, eq=False)
class Response:
    """What homes do.

    Attributes
    ----------
    charge_kw : ndarray, shape (slot, car)
        What cars draw [kW].
    net_kw : ndarray, shape (slot, home)
        Load at the meter, export below 0 [kW].
    curtailed_kw : ndarray, shape (slot, home)
        Sun that is neither used nor sold [kW].
    """

    charge_kw: Float
    net_kw: Float
    curtailed_kw: Float

    @property
    def export_kw(self) -> Float:
        """What is sold, shape (slot, home) [kW]."""
        return np.maximum(-self.net_kw, 0.0)

    @property
    def import_kw(self) -> Float:
        """What is bought, shape (slot, home) [kW]."""
        return np.maximum(self.net_kw, 0.0)


def best_response(problem: ExportProblem, import_cap_kw: Float, export_cap_kw: Float) -> Response:
    """Return what homes do inside their caps, by sorting and a running sum.

    Parameters
    ----------
    problem : ExportProblem
        The data.
    import_cap_kw, export_cap_kw : ndarray, shape (slot, home)
        Caps; inf: none [kW].
    """
    level, width = segments(problem, import_cap_kw, export_cap_kw)
    slots = problem.slots
    level, width = level.reshape(BLOCKS * slots, -1), width.reshape(BLOCKS * slots, -1)
    rank = level * slots + np.tile(np.arange(slots), BLOCKS)[:, None]
    order = np.argsort(rank, axis=0, kind="stable")  # blocks of one slot and level are in their order already
    sorted_width = np.take_along_axis(width, order, axis=0)
    before = np.cumsum(sorted_width, axis=0) - sorted_width
    fill = np.empty_like(width)
    np.put_along_axis(fill, order, np.clip(problem.need_kw - before, 0.0, sorted_width), axis=0)
    charge: Float = fill.reshape(BLOCKS, slots, -1).sum(axis=0)
    return settle(problem, charge, import_cap_kw, export_cap_kw)


def segments(problem: ExportProblem, import_cap_kw: Float, export_cap_kw: Float) -> tuple[Float, Float]:
    """Return price levels and widths [kW] of all segments, shape (block, slot, car) each, within what chargers can."""
    bought, _ = problem.levels
    sold = np.minimum(export_cap_kw, problem.sellable_kw)
    allowed = np.maximum(import_cap_kw, problem.deficit_kw)
    paid = bought < 0
    above_demand = np.maximum(allowed - problem.demand_kw, 0.0)
    covering = np.minimum(np.maximum(problem.demand_kw - allowed, 0.0), problem.sun_kw)
    width = np.stack(
        [
            np.where(paid, above_demand, problem.surplus_kw - sold),
            np.where(paid, problem.sun_kw - covering, sold),
            np.where(paid, 0.0, allowed - problem.deficit_kw),
        ]
    )
    zero = np.zeros_like(bought)
    level = np.stack([np.where(paid, bought, zero), np.where(paid, zero, np.maximum(problem.levels[1], 0)), bought])
    level[2][paid] = 0.0
    width, level = width[:, :, problem.home], level[:, :, problem.home]
    until = np.minimum(np.cumsum(width, axis=0), problem.car_kw)
    return level, np.diff(until, axis=0, prepend=0.0)


def settle(problem: ExportProblem, charge_kw: Float, import_cap_kw: Float, export_cap_kw: Float) -> Response:
    """Return net load and curtailment of homes whose cars draw that, shape (slot, car) [kW]."""
    bought, sells = problem.levels
    load = problem.demand_kw + problem.per_home(charge_kw)
    least = load - problem.sun_kw
    floor = np.where(sells > 0, -np.minimum(export_cap_kw, problem.rated_kw), 0.0)
    allowed = np.maximum(import_cap_kw, problem.deficit_kw)
    net = np.where(bought < 0, np.maximum(np.minimum(load, allowed), least), np.maximum(least, floor))
    return Response(charge_kw, net, net - least)


def uncontrolled(problem: ExportProblem) -> Response:
    """Return what homes do without any cap but their connection and their rating."""
    shape = problem.demand_kw.shape
    free = np.broadcast_to(np.maximum(problem.connection_kw, problem.import_cap_kw), shape)
    return best_response(problem, free, np.broadcast_to(problem.rated_kw, shape))
