"""The aims of a planner one after the other, each with an honest ending.

The mixed-integer programme is solved in three attempts, each only where the one before left too wide a gap: the linear
relaxation bounds the answer; the switches that the relaxation leaves open are decided with all others held (relaxation
enforced neighbourhood, after T. Berthold, "RENS: the optimal rounding", Math. Prog. Comp. 6 (2014) 33-54,
doi:10.1007/s12532-013-0060-9); the whole programme is solved from there. For charging, the relaxation is so tight that
the second attempt is nearly always enough.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.highs import relative_gap
from cosim.controllers.planner.model import Model
from cosim.controllers.planner.options import Options
from cosim.controllers.planner.programme import Outcome, Programme, now_s
from cosim.errors import SolverError

OPTIMAL_GAP = 1e-4  # a relative gap up to here is called optimal
NEGLIGIBLE = 1e-6  # an absolute difference, in kWh, EUR or shares, up to here is none
_RANK = ("optimal", "gap_limit", "time_limit")


@dataclass(frozen=True)
class Ending:
    """How the solve of one aim ended.

    Attributes
    ----------
    aim : str
        What was minimised.
    status : str
        ``optimal`` (proven within a relative gap of 1e-4), ``gap_limit`` (proven within the gap asked for) or
        ``time_limit``.
    objective, bound, gap : float
        Value, proven lower bound, and (objective - bound) / objective.
    solve_s : float
        Time in the solver [s].
    """

    aim: str
    status: str
    objective: float
    bound: float
    gap: float
    solve_s: float


def worst_of(endings: tuple[Ending, ...]) -> str:
    """Status of the least certain ending."""
    return max((ending.status for ending in endings), key=_RANK.index)


class Solver:
    """A planner's model, ready for aims.

    Parameters
    ----------
    model : Model
        Rows and limits.
    options : Options
        Gap and time limit; the time runs from here.

    Attributes
    ----------
    point : ndarray, shape (column,)
        Of the last aim.
    row_dual : ndarray, shape (row,)
        Multipliers of the linear programme of the last aim.
    """

    def __init__(self, model: Model, options: Options) -> None:
        self._model, self._gap = model, options.gap
        self._deadline_s = now_s() + options.time_limit_s
        self._relaxed = Programme(model, integer=False)
        self._mixed = Programme(model, integer=True) if len(model.switch) else None
        self.point: Float = np.empty(0)
        self.row_dual: Float = np.empty(0)

    def minimise(self, aim: str, cost: Float, *, gap: float | None = None) -> Ending:
        """Minimise ``cost @ columns``; the point found is kept as the start of the next aim.

        Raises
        ------
        SolverError
            Where there is no plan: the time is over before one is found, or HiGHS fails.
        """
        began = now_s()
        outcome = self._relaxed.minimise(cost, self._left_s(aim))
        self.row_dual = outcome.row_dual
        if self._mixed is not None:
            outcome = self._decide_switches(self._mixed, aim, cost, outcome, self._gap if gap is None else gap)
        if not len(outcome.point):
            if outcome.complete:  # charging nothing is always a plan, unless an earlier aim was kept too tightly
                raise SolverError(f"HiGHS finds no plan for {aim}, although there is one")
            raise SolverError(f"no plan found within the time limit when planning for {aim}: give a longer one")
        self.point = outcome.point
        apart = relative_gap(outcome.objective, outcome.bound, NEGLIGIBLE)
        ended = "optimal" if apart <= OPTIMAL_GAP else "gap_limit"
        status = ended if outcome.complete else "time_limit"
        return Ending(aim, status, outcome.objective, outcome.bound, apart, now_s() - began)

    def keep(self, cost: Float, value: float) -> None:
        """Hold ``cost @ columns`` at most at this value from now on."""
        for programme in self._programmes():
            programme.keep(cost, value)

    def limit(self, columns: Int, high: Float) -> None:
        """Lower the upper limits of some columns."""
        for programme in self._programmes():
            programme.limit(columns, np.zeros(len(columns)), high)

    def release(self, rows: Int) -> None:
        """Take rows out of force."""
        for programme in self._programmes():
            programme.release(rows)

    def _programmes(self) -> list[Programme]:
        return [self._relaxed] if self._mixed is None else [self._relaxed, self._mixed]

    def _left_s(self, aim: str) -> float:
        left_s = self._deadline_s - now_s()
        if left_s <= 0.0:
            raise SolverError(f"no time left to plan for {aim}: give a longer time limit")
        return left_s

    def _decide_switches(self, mixed: Programme, aim: str, cost: Float, relaxed: Outcome, gap: float) -> Outcome:
        """Best point found, with the better of the relaxation's and the tree's bound."""
        known = self.point if len(self.point) else None
        best = Outcome(False, np.inf if known is None else float(cost @ known), relaxed.bound, self.point, NO_DUAL)
        if _closed(best, gap):
            return _complete(best)
        if len(relaxed.point):
            best = self._round(mixed, aim, cost, relaxed, best, gap)
        if _closed(best, gap):
            return _complete(best)
        start = best.point if len(best.point) else None
        whole = mixed.minimise(cost, self._left_s(aim), gap=gap, start=start)
        bound = max(whole.bound, relaxed.bound)
        better = whole if whole.objective <= best.objective else best
        found = Outcome(whole.complete, better.objective, bound, better.point, NO_DUAL)
        return _complete(found) if _closed(found, gap) else found

    def _round(self, mixed: Programme, aim: str, cost: Float, relaxed: Outcome, best: Outcome, gap: float) -> Outcome:
        """Hold the switches on which the relaxation (and the best point so far) is clear; decide the others."""
        switch, whole = self._model.switch, np.concatenate([self._model.switch, self._model.start])
        power_kw, high_kw = relaxed.point[self._model.power], self._model.high[self._model.power]
        on, off = power_kw >= high_kw - NEGLIGIBLE, power_kw <= NEGLIGIBLE
        if len(best.point):
            was_on = best.point[switch] > 0.5
            on, off = on & was_on, off & ~was_on
        mixed.limit(switch, on.astype(float), 1.0 - off.astype(float))
        start = best.point if len(best.point) else None
        rounded = mixed.minimise(cost, self._left_s(aim), gap=gap / 2.0, start=start)
        mixed.limit(whole, np.zeros(len(whole)), self._model.high[whole])
        if not len(rounded.point) or rounded.objective > best.objective:
            return best
        return Outcome(False, rounded.objective, relaxed.bound, rounded.point, NO_DUAL)


NO_DUAL: Float = np.empty(0)


def _closed(outcome: Outcome, gap: float) -> bool:
    return bool(len(outcome.point)) and relative_gap(outcome.objective, outcome.bound, NEGLIGIBLE) <= gap


def _complete(outcome: Outcome) -> Outcome:
    return Outcome(True, outcome.objective, outcome.bound, outcome.point, outcome.row_dual)
