"""The seed's single-level problem, as it was written first and as it ought to be, stated as matrices and solved.

Household n, given its caps: ``min Σ τ_h p_h`` subject to ``Σ p_h >= E`` (λ1), ``p_h >= 0`` (λ2) and
``inf_h + p_h <= cap_h`` (λ3). Its conditions are stationarity ``τ_h - λ1 - λ2_h + λ3_h = 0``, and one complementarity
per multiplier. The first formulation forgot that ``p_h >= 0`` has a multiplier: without λ2, ``λ1 = τ_h + λ3_h`` must
hold in *every* hour, so λ1 is at least the dearest price, and λ3 > 0 in every cheaper hour: there the car must draw all
that its cap leaves.

Complementarities are exact: a binary each, with bounds that lose nothing. *Multipliers:* if a solution has
``λ1 > max τ`` then λ3 > 0 in every hour, so lowering λ1 to max τ keeps all conditions (a multiplier may be zero where
its row is tight); where λ2 and λ3 are both positive, lowering both by the smaller keeps stationarity. Hence
``0 <= λ1 <= max τ``, ``λ2_h <= τ_h``, ``λ3_h <= max τ - τ_h``. *Slacks:* the others' caps cover at least their own
inflexible load, so ``cap - inf - p <= headroom`` of that hour, ``p`` likewise, and ``Σ p - E <= Σ headroom - E``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array, diags_array, eye_array, hstack, kron

from cosim.contract import Float
from cosim.errors import SolverError
from cosim.experiments.studies.host_capacity.data import Houses

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


def extreme_cost(houses: Houses, aim: Aim, *, bound_multiplier: bool, caps_kw: Float | None = None) -> KktPoint:
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

    Raises
    ------
    SolverError
        Where the solver proves neither an optimum nor that there is no point.
    """
    shape = hours, count = houses.inflexible_kw.shape
    tau, inflexible = np.repeat(houses.price, count), houses.inflexible_kw.ravel()
    room = np.repeat(houses.headroom_kw, count) if caps_kw is None else caps_kw.ravel() - inflexible
    each, house = eye_array(hours * count), eye_array(count)
    of_house = kron(np.ones((hours, 1)), house)  # cell (hour, house) to house
    need, dearest = houses.need_kwh, float(tau.max())
    spare = np.maximum(of_house.T @ room - need, 0.0)
    rows: list[tuple[Float | float, dict[str, Any], Float | float]] = [
        (-tau, {"price": -of_house, "l2": -each, "l3": each}, -tau),
        (need, {"charge": of_house.T}, np.inf),
        (-np.inf, {"charge": of_house.T, "z1": diags_array(spare)}, need + spare),
        (-np.inf, {"price": house, "z1": -dearest * house}, 0.0),
        (-np.inf, {"l2": each, "z2": -diags_array(tau)}, 0.0),
        (-np.inf, {"charge": each, "z2": diags_array(room)}, room),
        (inflexible, {"cap": each, "charge": -each}, np.inf),
        (-np.inf, {"cap": each, "charge": -each, "z3": diags_array(room)}, inflexible + room),
        (-np.inf, {"l3": each, "z3": diags_array(tau - dearest)}, 0.0),
    ]
    if caps_kw is None:  # the upper level
        rows.append((-np.inf, {"cap": kron(eye_array(hours), np.ones((1, count)))}, houses.limit_kw))
    size = dict.fromkeys(("charge", "cap", "l2", "l3", "z2", "z3"), hours * count) | {"price": count, "z1": count}
    low = {"cap": inflexible if caps_kw is None else caps_kw.ravel()}
    high = {
        "charge": room, "cap": inflexible + room, "l2": tau if bound_multiplier else 0.0, "l3": dearest - tau,
        "price": dearest,
    }  # fmt: skip
    sign = 1.0 if aim == "least" else -1.0
    ended = milp(
        _columns(size, {"charge": sign * tau}, 0.0),
        integrality=_columns(size, {"z1": 1.0, "z2": 1.0, "z3": 1.0}, 0.0).astype(np.int64),
        bounds=Bounds(_columns(size, low, 0.0), _columns(size, high, 1.0)),
        constraints=[LinearConstraint(_row(blocks, size), below, above) for below, blocks, above in rows],
        options={"mip_rel_gap": GAP, "time_limit": TIME_LIMIT_S},
    )
    if ended.status == _INFEASIBLE:
        nothing = np.full(shape, np.nan)
        return KktPoint(False, np.nan, np.nan, nothing, nothing, nothing[0])
    if ended.status != _OPTIMAL or ended.x is None:
        raise SolverError(f"textbook conditions of {count} houses: {ended.message}")
    found = dict(zip(size, np.split(ended.x, np.cumsum(list(size.values()))[:-1]), strict=True))
    bound = sign * float(ended.mip_dual_bound or ended.fun)
    charge_kw, cap_kw = (found[name].reshape(shape) for name in ("charge", "cap"))
    return KktPoint(True, sign * float(ended.fun), bound, charge_kw, cap_kw, found["price"])


def _columns(size: Mapping[str, int], given: Mapping[str, Float | float], otherwise: float) -> Float:
    """Values of all columns, block by block."""
    return np.concatenate([np.broadcast_to(given.get(name, otherwise), count) for name, count in size.items()])


def _row(blocks: Mapping[str, Any], size: Mapping[str, int]) -> csr_array:
    """Rows over all columns from the blocks that they touch."""
    height = next(iter(blocks.values())).shape[0]
    row: csr_array = hstack([blocks.get(name, coo_array((height, n))) for name, n in size.items()], format="csr")
    return row
