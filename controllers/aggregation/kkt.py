"""The inner programme's optimality conditions with factors as columns, as rows of a MILP (see ``exact``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.aggregation.aggregate import Factors
from cosim.controllers.aggregation.deviation import Case, Weights
from cosim.controllers.aggregation.programme import CHARGE, DISCHARGE, LEVEL, SCALE, costs, limits
from cosim.controllers.aggregation.store import BOUNDS, PAIRS, Schedule
from cosim.controllers.solver import Model, Rows

ONE = np.zeros(1, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Terms:
    """Deviations of the outer objective, one for each quantity and step that can deviate.

    Attributes
    ----------
    column : ndarray of int, shape (term,)
        Of charging, discharging or level, on the battery's side [kWh].
    unit, target, most, weight : ndarray, shape (term,)
        What a kilowatt-hour on the battery's side is in the schedule; what the cars did; the largest value of the
        schedule; weight in the objective.
    """

    column: Int
    unit: Float
    target: Float
    most: Float
    weight: Float

    def off(self, point: Float) -> Float:
        """Deviations at a point."""
        return point[self.column] * self.unit - self.target


class Kkt:
    """Feasibility, stationarity and complementarity of the inner programme.

    Columns: one for each term of the outer objective, charged, taken out and level by step, factors that are free, the
    duals of the balance, and the switches of complementarity.

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
    weights : Weights
        Of the outer objective.

    Notes
    -----
    Multipliers and reduced costs are in EUR/MWh: HiGHS tolerates 1e-6 of a row, which must be far below the tie-break.
    """

    def __init__(
        self, case: Case, tau: Int, families: Int, low: float, high: float, penalty: float, weights: Weights
    ) -> None:
        store, self._steps, self._ends = case.store, case.store.steps, (low, high)
        steps, self._rows = self._steps, Rows()
        size = {kind: [values.reshape(5, -1)[kind] for values in limits(store)] for kind in (CHARGE, DISCHARGE, LEVEL)}
        # factors whose bounds are all zero are in no row: they stay at 1
        self._pairs = [
            (int(family), int(block)) for family in families for block in np.unique(tau)
            if (getattr(store, BOUNDS[family])[tau == block] > 0.0).any()
        ]  # fmt: skip
        self.terms = _terms(case, high, weights)
        self._x = len(self.terms.weight) + np.arange(3 * steps).reshape(3, steps)
        self._unit = np.array([[1.0 / store.into], [1.0 / store.out], [1.0]])
        factor = {pair: self._x.size + len(self.terms.weight) + k for k, pair in enumerate(self._pairs)}
        dual = len(factor) + self._x.size + len(self.terms.weight) + np.arange(steps)
        self._penalty, self._switches, switch = SCALE * penalty, 0, dual[-1] + 1
        cost = SCALE * costs(store, case.price_eur_per_kwh).reshape(5, -1)
        # the horizon is a cycle: it ends as full as it began
        step, before = np.arange(steps), np.roll(self._x[LEVEL], 1)
        self._rows.add(
            steps, -store.driving_kwh, -store.driving_kwh, (step, self._x[LEVEL], 1.0), (step, before, -store.keep),
            (step, self._x[CHARGE], -1.0), (step, self._x[DISCHARGE], 1.0),
        )  # fmt: skip
        for kind, (bottom, top) in size.items():
            sign = -1.0 if kind == DISCHARGE else 1.0
            # |dual| <= penalty; a level is in two balances, so its reduced cost sees two of them
            spread = (1.0 + store.keep if kind == LEVEL else 1.0) * self._penalty
            for t in range(steps):
                column, span, known = int(self._x[kind, t]), high * float(top[t]), float(cost[kind, t])
                if span <= 0.0:  # both bounds zero: any reduced cost will do
                    self._row(0.0, 0.0, (column, 1.0))
                    continue
                reduced = [(int(dual[t]), sign)]
                if kind == LEVEL:
                    reduced = [(int(dual[(t + 1) % steps]), store.keep), (int(dual[t]), -1.0)]
                low_end, high_end = (
                    [(factor[2 * kind + side, int(tau[t])], float(bound[t]))] if bound[t] > 0.0 else []
                    for side, bound in enumerate((bottom, top))
                )
                at_low, at_high = switch + self._switches, switch + self._switches + 1
                self._switches += 2
                # the column between its ends; its reduced cost is positive at the low end only, negative at the high
                self._row(-np.inf, 0.0, (column, -1.0), *low_end)
                self._row(-np.inf, 0.0, (column, 1.0), *_minus(high_end))
                # reduced cost <= M at_low, M from known cost and bounded dual: 0 where it cannot be positive at all
                self._row(-np.inf, -known, *reduced, (at_low, -max(known + spread, 0.0)))
                self._row(-np.inf, known, *_minus(reduced), (at_high, -max(spread - known, 0.0)))
                # at_low = 1 puts the column at its low end; span = largest scaled bound
                self._row(-np.inf, span, (column, 1.0), *_minus(low_end), (at_low, span))
                self._row(-np.inf, span, (column, -1.0), *high_end, (at_high, span))

    def add_cut(self, term: int, slope: float, height: float) -> None:
        """Keep a term's column at least at ``slope * deviation - height``."""
        of = self.terms
        entry = int(of.column[term]), slope * of.unit[term]
        self._row(-np.inf, height + slope * of.target[term], entry, (term, -1.0))

    def model(self) -> Model:
        """Return the MILP of the rows so far."""
        free, count = np.full(self._x.size + len(self.terms.weight), np.inf), self._switches
        low, high = (np.full(len(self._pairs), end) for end in self._ends)
        dual = np.full(self._steps, self._penalty)
        low = np.concatenate([np.zeros(len(free)), low, -dual, np.zeros(count)])
        high = np.concatenate([free, high, dual, np.ones(count)])
        cost = np.append(self.terms.weight, np.zeros(len(low) - len(self.terms.weight)))
        return self._rows.model(cost, low, high, np.arange(len(low)) >= len(low) - count)

    def factors(self, point: Float, block_h: int) -> Factors:
        """Read the factors."""
        value, first = Factors.ones(block_h).value.copy(), int(self._x[-1, -1]) + 1
        for k, pair in enumerate(self._pairs):
            value[pair] = np.clip(point[first + k], *self._ends)
        return Factors(value, block_h)

    def schedule(self, point: Float) -> Schedule:
        """Read the schedule."""
        charge_kw, discharge_kw, level_kwh = point[self._x] * self._unit
        return Schedule(charge_kw, discharge_kw, level_kwh, np.zeros(self._steps))

    def _row(self, low: float, high: float, *entries: tuple[int, float]) -> None:
        self._rows.add(1, low, high, *((ONE, np.array([column]), value) for column, value in entries if value))


def _terms(case: Case, high: float, weights: Weights) -> Terms:
    store, target, steps = case.store, case.target, case.store.steps
    quantities = zip(
        (weights.charge, weights.discharge, weights.level), (1.0 / store.into, 1.0 / store.out, 1.0), PAIRS,
        (target.charge_kw, target.discharge_kw, target.level_kwh), strict=True,
    )  # fmt: skip
    found = []
    for kind, (weight, unit, (_, bound), done) in enumerate(quantities):
        most = high * getattr(store, bound)
        found += [
            (kind * steps + t, unit, done[t], most[t], weight / steps)
            for t in range(steps) if weight > 0.0 and (most[t] > 0.0 or done[t] > 0.0)
        ]  # fmt: skip
    values = np.array(found, dtype=float).reshape(-1, 5)
    return Terms(values[:, 0].astype(np.int64) + len(found), *values[:, 1:].T)


def _minus(entries: list[tuple[int, float]]) -> list[tuple[int, float]]:
    return [(column, -value) for column, value in entries]
