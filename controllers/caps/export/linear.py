"""The linear programme of export under limits, many slots and homes at once, its aims in order of importance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.export.allocation import CLOSE_KW, Allocation, Rows
from cosim.controllers.caps.export.problem import ExportProblem
from cosim.controllers.solver import Rows as ModelRows
from cosim.controllers.solver import Solver, Termination, minimise_in_turn
from cosim.errors import SolverError

SLACK = 1e-7  # of what an aim reached, that later aims may give up


class Programme:
    """Least withheld export under limits: one linear programme over all slots.

    Columns: export, withheld of each pair (slot, home); own sun charged; relaxations of rows; the worst share.

    Parameters
    ----------
    problem : ExportProblem
        The data.
    rows : Rows
        Limits.
    own_kw : ndarray, shape (slot, car)
        What cars that choose among their own sun can take of it; 0 for all others [kW].
    most_kw, wanted_kw : ndarray, shape (slot, home)
        Most that a home may export, and what it would export without caps [kW].
    drawn_kw : ndarray, shape (row,)
        What each limit can count on being drawn at the same time [kW].
    """

    def __init__(
        self, problem: ExportProblem, rows: Rows, own_kw: Float, most_kw: Float, wanted_kw: Float, drawn_kw: Float
    ) -> None:
        self._rows_of, self._wanted = rows, wanted_kw
        most, wanted, helps = most_kw, wanted_kw, drawn_kw
        self.pairs = np.argwhere(most > 0)
        at = np.full(most.shape, -1, np.int64)
        at[tuple(self.pairs.T)] = np.arange(len(self.pairs))
        self.charging = np.argwhere(own_kw > 0)
        pairs, own = len(self.pairs), len(self.charging)
        top = np.maximum(rows.share, 0.0)
        # rows that even full export of all who load them cannot reach are left out: most of them
        tight = (top * most[rows.slot]).sum(axis=1) > rows.limit_kw + helps
        self.tight = np.flatnonzero(tight)
        self.columns = 2 * pairs + own + len(self.tight) + 1
        slot, home = self.pairs.T
        high = np.concatenate(
            [
                most[slot, home],
                wanted[slot, home],
                own_kw[tuple(self.charging.T)],
                np.zeros(len(self.tight)),
                [1.0],
            ]
        )
        slot, home = self.pairs.T
        every, charged, model = np.arange(pairs), 2 * pairs + np.arange(own), ModelRows()
        # withheld >= wanted - export
        # an epigraph: being minimised, withheld settles at max(wanted - export, 0)
        model.add(pairs, -np.inf, -wanted[slot, home], (every, every, -1.0), (every, pairs + every, -1.0))
        k, car = self.charging.T
        column = at[k, problem.home[car]]
        sells = np.flatnonzero(column >= 0)
        shared = np.flatnonzero(np.bincount(column[sells], minlength=pairs))
        taken = np.searchsorted(shared, column[sells]), charged[sells], 1.0
        surplus = problem.surplus_kw[slot[shared], home[shared]]
        model.add(len(shared), -np.inf, surplus, (np.arange(len(shared)), shared, 1.0), taken)
        pair, share = at[rows.slot[self.tight]], rows.share[self.tight]
        row, homes = np.nonzero((pair >= 0) & (share != 0))
        each = np.arange(len(self.tight))
        give = each, 2 * pairs + own + each, -1.0
        limit = (rows.limit_kw + helps)[self.tight]
        model.add(len(self.tight), -np.inf, limit, (row, pair[row, homes], share[row, homes]), give)
        lost = wanted.sum(axis=0)
        losing = np.flatnonzero(lost > CLOSE_KW)
        of_losing = np.flatnonzero(np.isin(home, losing))
        withheld = np.searchsorted(losing, home[of_losing]), pairs + of_losing, 1.0
        # withheld <= worst share x what the home would have exported, summed over the horizon
        worst = np.arange(len(losing)), np.array(self.columns - 1), -lost[losing]
        model.add(len(losing), -np.inf, 0.0, withheld, worst)
        cars = np.unique(car)
        need = problem.need_kw[cars]
        model.add(len(cars), need, need, (np.searchsorted(cars, car), charged, 1.0))
        nothing = np.zeros(self.columns)
        self._model = model.model(nothing, nothing, high)

    def solve(self, objective: str) -> Allocation:
        """Minimise what is withheld and the worst share, in the order that the objective asks for.

        Limits that nothing can keep give way first, as little in all as possible.
        """
        pairs = len(self.pairs)
        withheld, share = np.zeros(self.columns), np.zeros(self.columns)
        withheld[pairs : 2 * pairs], share[-1] = 1.0, 1.0
        least_first = objective == "least"
        aims = [withheld, share] if least_first else [share, withheld]
        export = np.zeros(self.columns)
        export[:pairs] = -1.0
        value = self._in_turn([*aims, export])
        if value is None:
            relaxed = np.zeros(self.columns)
            relaxed[self._relaxations] = 1.0
            # relaxations are fixed at 0 unless needed: first as little of them as possible, then the aims
            self._model = replace(self._model, high=np.where(relaxed > 0.0, np.inf, self._model.high))
            value = self._in_turn([relaxed, *aims, export])
        if value is None:
            raise SolverError("linear programme of export caps has no point even with its limits relaxed")
        export_kw = np.zeros_like(self._wanted)
        export_kw[tuple(self.pairs.T)] = np.maximum(value[:pairs], 0.0)
        gave = np.zeros(len(self._rows_of.slot))
        gave[self.tight] = np.where(value[self._relaxations] > CLOSE_KW, value[self._relaxations], 0.0)
        return Allocation.of(self._wanted, export_kw, gave)

    @property
    def _relaxations(self) -> slice:
        start = 2 * len(self.pairs) + len(self.charging)
        return slice(start, start + len(self.tight))

    def _in_turn(self, aims: list[Float]) -> Float | None:
        """Minimise aims in order of importance; None where there is no feasible point."""
        # of equal optima, that which caps have been since they come from a linear programme: the seed decides
        found = minimise_in_turn(Solver(self._model, random_seed=0), aims, slack=SLACK)
        if found.termination is Termination.INFEASIBLE:
            return None
        if found.reached < len(aims) - 1:  # only the last one, which frees what may be exported, can be done without
            raise SolverError(f"linear programme of export caps ended with '{found.termination}'")
        return found.x
