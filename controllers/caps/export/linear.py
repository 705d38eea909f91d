"""The linear programme of export under limits, many slots and homes at once, its aims in order of importance."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from cosim.contract import Float
from cosim.controllers.caps.export.allocation import CLOSE_KW, Allocation, Rows
from cosim.controllers.caps.export.problem import ExportProblem
from cosim.errors import SolverError

SLACK = 1e-7  # of what an aim reached, that later aims may give up
_INFEASIBLE = 2
_SOLVE: Any = linprog  # HiGHS; its type stubs know no sparse matrices


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
        tight = (top * most[rows.slot]).sum(axis=1) > rows.limit_kw + helps
        self.tight = np.flatnonzero(tight)
        self.columns = 2 * pairs + own + len(self.tight) + 1
        slot, home = self.pairs.T
        self.high = np.concatenate(
            [
                most[slot, home],
                wanted[slot, home],
                own_kw[tuple(self.charging.T)],
                np.zeros(len(self.tight)),
                [1.0],
            ]
        )
        self._rows: list[tuple[Any, Float]] = []
        eye = sparse.identity(pairs, format="csr")
        self._below(0, -eye, -wanted[slot, home], (pairs, -eye))  # withheld >= wanted - export
        k, car = self.charging.T
        column = at[k, problem.home[car]]
        sells = np.flatnonzero(column >= 0)
        take = sparse.csr_matrix((np.ones(len(sells)), (column[sells], sells)), (pairs, own))
        shared = np.flatnonzero(np.bincount(column[sells], minlength=pairs))
        self._below(0, eye[shared], problem.surplus_kw[slot[shared], home[shared]], (2 * pairs, take[shared]))
        counted = sparse.lil_matrix((len(self.tight), pairs))
        for row, original in enumerate(self.tight):
            homes = np.flatnonzero((at[rows.slot[original]] >= 0) & (rows.share[original] != 0))
            counted[row, at[rows.slot[original], homes]] = rows.share[original, homes]
        give = (2 * pairs + own, -sparse.identity(len(self.tight)))
        self._below(0, counted.tocsr(), (rows.limit_kw + helps)[self.tight], give)
        lost = wanted.sum(axis=0)
        losing = np.flatnonzero(lost > CLOSE_KW)
        of_home = sparse.csr_matrix((np.ones(pairs), (home, np.arange(pairs))), (problem.homes, pairs))[losing]
        self._below(
            pairs, of_home, np.zeros(len(losing)), (self.columns - 1, sparse.csr_matrix(-lost[losing][:, None]))
        )
        cars = np.unique(car)
        need = sparse.csr_matrix((np.ones(own), (np.searchsorted(cars, car), np.arange(own))), (len(cars), own))
        self._needs = self._placed((2 * pairs, need)), problem.need_kw[cars]

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
            self.high[self._relaxations] = np.inf
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
        matrix = sparse.vstack([row for row, _ in self._rows], format="csr")
        limit = np.concatenate([one for _, one in self._rows])
        needs, need = self._needs
        value: Float | None = None
        for aim in aims:
            ended = _SOLVE(
                aim, A_ub=matrix, b_ub=limit, A_eq=needs, b_eq=need,
                bounds=np.column_stack([np.zeros(self.columns), self.high]), method="highs",
            )  # fmt: skip
            if ended.status == _INFEASIBLE and value is None:
                return None
            if ended.status != 0:
                raise SolverError(f"linear programme of export caps: {ended.message}")
            value = np.asarray(ended.x)
            matrix = sparse.vstack([matrix, sparse.csr_matrix(aim)], format="csr")
            limit = np.append(limit, ended.fun + SLACK * (1.0 + abs(ended.fun)))
        return value

    def _below(self, start: int, block: Any, limit: Float, *more: tuple[int, Any]) -> None:
        self._rows.append((self._placed((start, block), *more), np.asarray(limit, float)))

    def _placed(self, *blocks: tuple[int, Any]) -> Any:
        """Put blocks of rows at their columns."""
        total = sparse.csr_matrix((blocks[0][1].shape[0], self.columns))
        for start, block in blocks:
            entries = sparse.coo_matrix(block)
            total = total + sparse.csr_matrix((entries.data, (entries.row, entries.col + start)), total.shape)
        return total
