"""The seed's single-level problem, as it was written first and as it ought to be, stated as matrices and solved.

Household n, given its caps: ``min Σ τ_h p_h`` subject to ``Σ p_h >= E`` (λ1), ``p_h >= 0`` (λ2) and
``inf_h + p_h <= cap_h`` (λ3). Its conditions are stationarity ``τ_h - λ1 - λ2_h + λ3_h = 0``, and one complementarity
per multiplier. The first formulation forgot that ``p_h >= 0`` has a multiplier: without λ2, ``λ1 = τ_h + λ3_h`` must
hold in *every* hour, so λ1 is at least the dearest price, and λ3 > 0 in every cheaper hour: there the car must draw all
that its cap leaves.

Complementarities are exact: a binary each, with bounds that lose nothing. *Multipliers:* if a solution has
``λ1 > max τ`` then λ3 > 0 in every hour, so lowering λ1 to max τ keeps all conditions (a multiplier may be nil where
its row is tight); where λ2 and λ3 are both positive, lowering both by the smaller keeps stationarity. Hence
``0 <= λ1 <= max τ``, ``λ2_h <= τ_h``, ``λ3_h <= max τ - τ_h``. *Slacks:* the others' caps cover at least their own
inflexible load, so ``cap - inf - p <= headroom`` of that hour, ``p`` likewise, and ``Σ p - E <= Σ headroom - E``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array, vstack

from cosim.contract import Float, Int
from cosim.errors import SolverError
from cosim.experiments.reproduce.host_data import HOURS, Houses

Aim = Literal["least", "most"]
GAP = 1e-6
TIME_LIMIT_S = 60.0
_OPTIMAL, _INFEASIBLE = 0, 2  # of scipy.optimize.milp


@dataclass(frozen=True, eq=False)
class KktPoint:
    """A point of the single-level problem.

    Attributes
    ----------
    feasible : bool
        False where the solver proves that there is none; then the rest is nan.
    cost, bound : float
        Cost of charging, and what the solver proves that no point passes [$].
    charge_kw, cap_kw : ndarray, shape (hour, house)
        Charging and caps [kW].
    marginal_price : ndarray, shape (house,)
        λ1 [$/kWh].
    """

    feasible: bool
    cost: float
    bound: float
    charge_kw: Float
    cap_kw: Float
    marginal_price: Float


def extreme_cost(
    houses: Houses,
    aim: Aim,
    *,
    bound_multiplier: bool,
    caps_kw: Float | None = None,
    time_limit_s: float = TIME_LIMIT_S,
) -> KktPoint:
    """Return the cheapest or the dearest charging that the single-level problem admits.

    Parameters
    ----------
    houses : Houses
        The data.
    aim : {"least", "most"}
        Which end of the range of costs.
    bound_multiplier : bool
        Whether ``p >= 0`` has its multiplier: False is the first formulation, True the right one.
    caps_kw : ndarray, shape (hour, house), optional
        Fixed caps; without them the upper level chooses any caps whose sum respects the limit.
    time_limit_s : float
        Wall clock [s].

    Raises
    ------
    SolverError
        Where the solver proves neither an optimum nor that there is no point.
    """
    rows = _Rows(houses, bound_multiplier, caps_kw)
    sign = 1.0 if aim == "least" else -1.0
    ended = milp(
        sign * rows.cost,
        integrality=rows.integrality,
        bounds=Bounds(rows.lower, rows.upper),
        constraints=LinearConstraint(rows.matrix, rows.row_lower, rows.row_upper),
        options={"mip_rel_gap": GAP, "time_limit": time_limit_s},
    )
    shape = houses.inflexible_kw.shape
    if ended.status == _INFEASIBLE:
        nothing = np.full(shape, np.nan)
        return KktPoint(False, np.nan, np.nan, nothing, nothing, np.full(shape[1], np.nan))
    if ended.status != _OPTIMAL or ended.x is None:
        raise SolverError(f"textbook conditions of {shape[1]} houses: {ended.message}")
    charge, cap = (ended.x[columns].reshape(shape) for columns in (rows.charge, rows.cap))
    return KktPoint(
        True, sign * float(ended.fun), sign * float(ended.mip_dual_bound or ended.fun), charge, cap, ended.x[rows.price]
    )


class _Rows:
    """The mixed-integer programme as arrays; blocks of columns are slices, (hour, house) flattened."""

    def __init__(self, houses: Houses, bound_multiplier: bool, caps_kw: Float | None) -> None:
        count = houses.inflexible_kw.shape[1]
        cells, self.count = HOURS * count, count
        self.charge, self.cap, self.l2, self.l3, self.z2, self.z3 = (
            slice(k * cells, (k + 1) * cells) for k in range(6)
        )
        self.price = slice(6 * cells, 6 * cells + count)
        self.z1 = slice(6 * cells + count, 6 * cells + 2 * count)
        self.columns = 6 * cells + 2 * count
        self.parts: list[tuple[csr_array, Float, Float]] = []
        self._bounds(houses, bound_multiplier, caps_kw)
        self._rows(houses, caps_kw)
        self.matrix = vstack([part for part, _, _ in self.parts], format="csr")
        self.row_lower = np.concatenate([low for _, low, _ in self.parts])
        self.row_upper = np.concatenate([high for _, _, high in self.parts])

    def _bounds(self, houses: Houses, bound_multiplier: bool, caps_kw: Float | None) -> None:
        price = np.repeat(houses.price, self.count)
        inflexible = houses.inflexible_kw.ravel()
        headroom = np.repeat(houses.headroom_kw, self.count)
        self.room = headroom if caps_kw is None else caps_kw.ravel() - inflexible
        self.dearest = float(price.max())
        self.cost = np.zeros(self.columns)
        self.cost[self.charge] = price
        self.integrality = np.zeros(self.columns)
        self.lower, self.upper = np.zeros(self.columns), np.ones(self.columns)
        for binary in (self.z1, self.z2, self.z3):
            self.integrality[binary] = 1
        self.upper[self.charge] = self.room
        self.lower[self.cap] = inflexible if caps_kw is None else caps_kw.ravel()
        self.upper[self.cap] = inflexible + self.room
        self.upper[self.price] = self.dearest
        self.upper[self.l2] = price if bound_multiplier else 0.0
        self.upper[self.l3] = self.dearest - price

    def _rows(self, houses: Houses, caps_kw: Float | None) -> None:
        cells = HOURS * self.count
        one, house = np.ones(cells), np.tile(np.arange(self.count), HOURS)
        tau, inflexible, need = self.cost[self.charge], houses.inflexible_kw.ravel(), houses.need_kwh
        below = self.dearest - tau
        each = np.arange(cells)
        spare = np.bincount(house, self.room, self.count) - need
        # stationarity: τ - λ1 - λ2 + λ3 = 0
        self._add(-tau, -tau, (self.price, each, house, -one), (self.l2, each, each, -one), (self.l3, each, each, one))
        # the need, and Σ p - E <= M (1 - z1), λ1 <= max τ z1
        energy = (self.charge, house, each, one)
        self._add(need, np.full(self.count, np.inf), energy)
        homes, unit = np.arange(self.count), np.ones(self.count)
        most_spare = np.maximum(spare, 0.0)
        self._add(np.full(self.count, -np.inf), need + most_spare, energy, (self.z1, homes, homes, most_spare))
        self._add(
            -np.inf * unit, 0 * unit, (self.price, homes, homes, unit), (self.z1, homes, homes, -self.dearest * unit)
        )
        # λ2 <= τ z2, p <= M (1 - z2)
        self._add(-np.inf * one, 0 * one, (self.l2, each, each, one), (self.z2, each, each, -tau))
        self._add(-np.inf * one, self.room, (self.charge, each, each, one), (self.z2, each, each, self.room))
        # 0 <= cap - inf - p <= M (1 - z3), λ3 <= (max τ - τ) z3
        left = ((self.cap, each, each, one), (self.charge, each, each, -one))
        self._add(inflexible, np.inf * one, *left)
        self._add(-np.inf * one, inflexible + self.room, *left, (self.z3, each, each, self.room))
        self._add(-np.inf * one, 0 * one, (self.l3, each, each, one), (self.z3, each, each, -below))
        if caps_kw is None:  # the upper level: Σ cap <= limit
            hour = np.repeat(np.arange(HOURS), self.count)
            self._add(np.full(HOURS, -np.inf), np.full(HOURS, houses.limit_kw), (self.cap, hour, each, one))

    def _add(self, low: Float, high: Float, *terms: tuple[slice, Int, Int, Float]) -> None:
        """Add rows; a term is a block of columns, the row and the column inside it of each entry, and its factor."""
        row = np.concatenate([rows for _, rows, _, _ in terms])
        column = np.concatenate([block.start + inside for block, _, inside, _ in terms])
        value = np.concatenate([values for _, _, _, values in terms])
        self.parts.append((coo_array((value, (row, column)), shape=(len(low), self.columns)).tocsr(), low, high))
