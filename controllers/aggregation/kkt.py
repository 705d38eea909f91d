"""The inner programme's optimality conditions with factors as variables, as rows of a MILP (see ``exact``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyomo.environ as pyo

from cosim.contract import Float, Int
from cosim.controllers.aggregation.aggregate import Factors
from cosim.controllers.aggregation.deviation import Case
from cosim.controllers.aggregation.programme import CHARGE, DISCHARGE, LEVEL, SCALE, costs, limits
from cosim.controllers.aggregation.store import Schedule, Store

KINDS = (CHARGE, DISCHARGE, LEVEL)


@dataclass(frozen=True, eq=False)
class Kkt:
    """Model of the inner optimum.

    Attributes
    ----------
    model : ConcreteModel
        Rows; without an objective.
    factor : mapping of (family, block) to variable
        Factors that are free.
    charge_kw, discharge_kw, level_kwh : list of expressions, length (step,)
        The schedule.
    """

    model: pyo.ConcreteModel
    factor: dict[tuple[int, int], Any]
    charge_kw: list[Any]
    discharge_kw: list[Any]
    level_kwh: list[Any]
    store: Store
    low: float
    high: float

    def most(self, kind: int, step: int) -> float:
        """Largest value of a column, on the grid side."""
        bounds = (self.store.charge_high_kw, self.store.discharge_high_kw, self.store.level_high_kwh)
        return self.high * float(bounds[kind][step])

    def factors(self, block_h: int) -> Factors:
        """Read the factors."""
        value = Factors.ones(block_h).value.copy()
        for (family, block), variable in self.factor.items():
            if variable.value is not None:  # in no row where all its bounds are nil: it stays at 1
                value[family, block] = min(max(variable.value, self.low), self.high)
        return Factors(value, block_h)

    def schedule(self) -> Schedule:
        """Read the schedule."""

        def read(part: list[Any]) -> Float:
            return np.array([float(pyo.value(one)) for one in part])

        level_kwh = read(self.level_kwh)
        return Schedule(read(self.charge_kw), read(self.discharge_kw), level_kwh, np.zeros_like(level_kwh))


def build(case: Case, tau: Int, families: Int, low: float, high: float, penalty: float) -> Kkt:
    """Write feasibility, stationarity and complementarity.

    Parameters
    ----------
    case : Case
        Unscaled aggregate and prices.
    tau : ndarray of int, shape (step,)
        Block of each step.
    families : ndarray of int
        Rows of ``BOUNDS`` that have factors.
    low, high : float
        Bounds of every factor.
    penalty : float
        Bound of the balance's dual [EUR/kWh].

    Notes
    -----
    Multipliers and reduced costs are in EUR/MWh: HiGHS tolerates 1e-6 of a row, which must be far below the tie-break.
    """
    store, steps = case.store, range(case.store.steps)
    m = pyo.ConcreteModel()
    pairs = [(int(f), int(b)) for f in families for b in np.unique(tau)]
    m.factor = pyo.Var(pairs, bounds=(low, high))
    m.x = pyo.Var(KINDS, steps, bounds=(0.0, None))
    penalty *= SCALE
    m.dual = pyo.Var(steps, bounds=(-penalty, penalty))
    m.rows = pyo.ConstraintList()
    m.switch = pyo.VarList(domain=pyo.Binary)
    for t in steps:
        stays = store.keep * m.x[LEVEL, (t - 1) % store.steps]
        m.rows.add(m.x[LEVEL, t] == stays + m.x[CHARGE, t] - m.x[DISCHARGE, t] - float(store.driving_kwh[t]))
    bottom, top = (values.reshape(5, -1) for values in limits(store))
    cost = SCALE * costs(store, case.price_eur_per_kwh).reshape(5, -1)
    following = [store.keep * m.dual[(t + 1) % store.steps] for t in steps]
    reduced = {
        (CHARGE, t): cost[CHARGE, t] + m.dual[t] for t in steps
    } | {(DISCHARGE, t): cost[DISCHARGE, t] - m.dual[t] for t in steps} | {
        (LEVEL, t): cost[LEVEL, t] + following[t] - m.dual[t] for t in steps
    }  # fmt: skip
    spread = {CHARGE: penalty, DISCHARGE: penalty, LEVEL: (1.0 + store.keep) * penalty}
    for kind in KINDS:
        for t in steps:
            known = float(cost[kind, t])
            most = (known + spread[kind], spread[kind] - known)
            ends = (
                float(size) * m.factor[2 * kind + side, int(tau[t])] if size > 0.0 else 0.0
                for side, size in enumerate((bottom[kind, t], top[kind, t]))
            )
            _complement(m, m.x[kind, t], reduced[kind, t], most, (*ends,), high * float(top[kind, t]))
    return Kkt(
        m, {pair: m.factor[pair] for pair in pairs}, [m.x[CHARGE, t] / store.into for t in steps],
        [m.x[DISCHARGE, t] / store.out for t in steps], [m.x[LEVEL, t] for t in steps], store, low, high,
    )  # fmt: skip


def _complement(
    m: pyo.ConcreteModel, x: Any, reduced: Any, most: tuple[float, float], ends: tuple[Any, ...], span: float
) -> None:
    """A column between its bounds; its reduced cost is positive only at the low one, negative only at the high one.

    ``most`` are the largest positive and negative reduced costs, ``span`` is the largest distance between the bounds.
    """
    if span <= 0.0:  # both bounds nil: any reduced cost will do
        m.rows.add(x == 0.0)
        return
    at_low, at_high = m.switch.add(), m.switch.add()
    m.rows.add(x >= ends[0])
    m.rows.add(x <= ends[1])
    m.rows.add(reduced <= max(most[0], 0.0) * at_low)
    m.rows.add(-reduced <= max(most[1], 0.0) * at_high)
    m.rows.add(x - ends[0] <= span * (1.0 - at_low))
    m.rows.add(ends[1] - x <= span * (1.0 - at_high))
