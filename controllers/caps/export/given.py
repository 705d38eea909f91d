"""Import caps given: the bilevel problem of export caps is a linear programme.

Call ``S`` the surplus of a slot that is worth selling, ``u`` what the charger can take of it, ``N`` the need of a stay,
``e0`` what the home exports without an export cap, and let every price that export earns be below every price at which
the stay could import (else the stay is *mixed*, see below).

*A hungry stay* (``N >= sum min(u, S)``) uses all it can of its own sun whatever the export caps are, for the blocks 0
and 1 of a slot (see ``follower``) are together as wide as before and come before any import. Its charging, hence its
export under a cap, is known: slots separate.

*A sated stay* (``N`` smaller) imports nothing. Let ``p`` be its response to caps ``E`` and ``e`` its export. Where
``e_k < E_k``, sun of block 1 is used, so all free blocks and all segments before it are full, and ``p_k`` is at most
what it is without caps: ``e_k >= e0_k``. So ``(e0 - E)+ = (e0 - e)+`` in every slot, and every response is a point of

    e_k <= S_k - p_k,   0 <= p_k <= min(u_k, S_k),   sum p = N,   withheld = (e0 - e)+.

Conversely any such point is enforced by the caps ``E = e``: the free blocks hold all of ``p``, so the home charges
there and nowhere else, and exports exactly ``E``. Hence the linear programme over these points *is* the bilevel
problem, its optimum the least that can be withheld, and limits hold for any choice among equals.

*A mixed stay* may import before it uses its own sun. It is planned as if it imported nothing and used none of its sun
(what it really exports is at most its cap); the bound takes it as importing all and using all it can. The gap between
the two is reported. Export caps never raise anybody's import, and cut only where export must go, so limits on import
are looked at afterwards.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from controllers.caps.export.follower import Response, best_response, uncontrolled
from controllers.caps.export.problem import ExportProblem
from controllers.caps.sharing import levels
from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.errors import SolverError

CLOSE_KW = 1e-7
SLACK = 1e-7  # of what an aim reached, that later aims may give up
_INFEASIBLE = 2


@dataclass(frozen=True, eq=False)
class Rows:
    """Limits on what flows back, one row each: ``share @ net >= -limit``.

    Attributes
    ----------
    slot : ndarray of int, shape (row,)
        Which slot.
    share : ndarray, shape (row, home)
        Counting of each home's net load.
    limit_kw : ndarray, shape (row,)
        Most that may flow back [kW].
    names : tuple of str
        What they protect.
    """

    slot: Any
    share: Float
    limit_kw: Float
    names: tuple[str, ...]

    def over_kw(self, net_kw: Float) -> Float:
        """Return by how much net loads, shape (slot, home), break each row [kW]."""
        flowing = -(self.share * net_kw[self.slot]).sum(axis=1)
        over: Float = np.maximum(flowing - self.limit_kw, 0.0)
        return over


def rows_of(problem: ExportProblem) -> Rows:
    """Return the limits of phases, where there are any, and all further ones."""
    slot, phase = np.nonzero(np.isfinite(problem.reverse_limit_kw))
    names = [f"phase {one + 1}" for one in phase]
    extra = problem.rows
    return Rows(
        np.concatenate([slot, np.array([row.slot for row in extra], np.int64)]),
        np.concatenate([problem.phase_share[:, phase].T, *(row.share[None, :] for row in extra)]),
        np.concatenate([problem.reverse_limit_kw[slot, phase], np.array([row.limit_kw for row in extra])]),
        (*names, *(row.name for row in extra)),
    )


@dataclass(frozen=True, eq=False)
class Kinds:
    """How each stay reacts to export caps, shape (car,) each."""

    sated: Bool
    mixed: Bool


def kinds_of(problem: ExportProblem) -> Kinds:
    """Tell sated, hungry and mixed stays apart."""
    bought, sold = (level[:, problem.home] for level in problem.levels)
    there = problem.car_kw > 0
    own = np.minimum(problem.car_kw, problem.surplus_kw[:, problem.home])
    sells = there & (problem.sellable_kw[:, problem.home] > 0)
    allowed = np.maximum(problem.import_cap_kw, problem.deficit_kw) - problem.deficit_kw
    buys = there & (allowed[:, problem.home] > 0)
    dearest_sold = np.where(sells, sold, 0.0).max(axis=0, initial=0.0)
    cheapest_bought = np.where(buys, bought, np.inf).min(axis=0, initial=np.inf)
    mixed = sells.any(axis=0) & (problem.need_kw > 0) & (dearest_sold >= cheapest_bought)
    sated = ~mixed & sells.any(axis=0) & (problem.need_kw < own.sum(axis=0) - CLOSE_KW)
    return Kinds(sated, mixed)


@dataclass(frozen=True, eq=False)
class Allocation:
    """What a linear programme or equal sharing came to.

    Attributes
    ----------
    export_kw : ndarray, shape (slot, home)
        What is exported, or may be [kW].
    withheld_kw : float
        Sum of what is withheld [kW].
    worst_share : float
        Largest share of its uncontrolled export that a home loses.
    relaxed_kw : ndarray, shape (row,)
        By how much limits had to give way [kW].
    """

    export_kw: Float
    withheld_kw: float
    worst_share: float
    relaxed_kw: Float


class Given:
    """Export caps of one problem under given import caps.

    Parameters
    ----------
    problem : ExportProblem
        The data.
    """

    def __init__(self, problem: ExportProblem) -> None:
        self.problem, self.rows, self.kinds = problem, rows_of(problem), kinds_of(problem)
        rated = np.broadcast_to(problem.rated_kw, problem.demand_kw.shape)
        self.uncapped: Response = best_response(problem, problem.import_cap_kw, rated)
        self.wanted_kw = uncontrolled(problem).export_kw
        usable = np.minimum(problem.car_kw, problem.surplus_kw[:, problem.home])
        self._own_kw = np.where(problem.levels[0][:, problem.home] > 0, usable, 0.0)
        self._mixed_home = self._at_homes(self.kinds.mixed)
        self.sated_home = self._at_homes(self.kinds.sated)

    def _at_homes(self, stays: Bool) -> Bool:
        """Slots of homes where such a stay could charge, shape (slot, home)."""
        at: Bool = self.problem.per_home(np.where(stays, self.problem.car_kw, 0.0)) > 0
        return at

    def solve(self, objective: str, *, bound: bool = False, safe: bool = False) -> Allocation:
        """Solve the linear programme.

        Parameters
        ----------
        objective : str
            ``least``: least withheld, then the worst home's share smallest; ``max_min``: the other way round.
        bound : bool
            Take mixed stays as they suit the limits best.
        safe : bool
            Limits hold whatever homes do inside their caps, as long as the sun is as forecast.
        """
        problem = self.problem
        most = np.where(self.sated_home | self._mixed_home | safe, problem.sellable_kw, self.wanted_kw)
        wanted, helps = self.wanted_kw, self._load_kw(bound, safe)
        if bound and self._mixed_home.any():
            left = np.maximum(problem.sellable_kw - problem.per_home(self._own_kw), 0.0)
            most = np.where(self._mixed_home, left, most)
            wanted = np.where(self._mixed_home, np.minimum(wanted, left), wanted)
        return _Programme(self, most, wanted, helps, safe).solve(objective)

    def _load_kw(self, bound: bool, safe: bool) -> Float:
        """What every row can count on being drawn at the same time, shape (row,) [kW]."""
        problem, rows = self.problem, self.rows
        if safe:
            least, most = problem.deficit_kw, problem.deficit_kw + problem.per_home(problem.car_kw)
            counted = np.maximum(rows.share, 0.0) * least[rows.slot] + np.minimum(rows.share, 0.0) * most[rows.slot]
            return np.asarray(counted.sum(axis=1))
        drawn = self.uncapped.import_kw
        if bound:
            drawn = np.where(self._mixed_home, problem.deficit_kw + problem.per_home(problem.car_kw), drawn)
        else:
            drawn = np.where(self._mixed_home, problem.deficit_kw, drawn)
        return np.asarray((rows.share * drawn[rows.slot]).sum(axis=1))

    def shared_equally(self) -> Allocation:
        """Let all roofs of a slot sell the same share of their rating, as large as the limits allow.

        Every limit lowers the share of the homes that count in it alone. Homes that relieve a limit are not counted on.
        """
        problem, rows = self.problem, self.rows
        export, rated = self.wanted_kw.copy(), np.maximum(problem.rated_kw, CLOSE_KW)
        left = rows.limit_kw + self._load_kw(bound=False, safe=False)
        share = np.maximum(rows.share, 0.0) * rated
        for slot in np.unique(rows.slot):
            of_slot = rows.slot == slot
            level = levels(export[slot] / rated, share[of_slot].T, np.maximum(left[of_slot], 0.0))
            export[slot] = np.minimum(export[slot], level * rated)
        over = np.maximum((rows.share * export[rows.slot]).sum(axis=1) - left, 0.0)
        return self.allocation(export, np.where(over > CLOSE_KW, over, 0.0))

    def allocation(self, export_kw: Float, relaxed_kw: Float) -> Allocation:
        """Add what is withheld to what is exported."""
        withheld = np.maximum(self.wanted_kw - export_kw, 0.0)
        wanted = self.wanted_kw.sum(axis=0)
        share = np.divide(withheld.sum(axis=0), wanted, out=np.zeros_like(wanted), where=wanted > CLOSE_KW)
        return Allocation(export_kw, float(withheld.sum()), float(share.max(initial=0.0)), relaxed_kw)


class _Programme:
    """Columns: export, withheld of each pair (slot, home); own sun charged; relaxations of rows; the worst share."""

    def __init__(self, given: Given, most: Float, wanted: Float, helps: Float, safe: bool) -> None:
        self.given, self.wanted = given, wanted
        problem, rows = given.problem, given.rows
        self.pairs = np.argwhere(most > 0)
        at = np.full(most.shape, -1, np.int64)
        at[tuple(self.pairs.T)] = np.arange(len(self.pairs))
        sated = np.zeros_like(given.kinds.sated) if safe else given.kinds.sated
        self.charging = np.argwhere((given._own_kw > 0) & sated)
        pairs, own = len(self.pairs), len(self.charging)
        top = np.maximum(rows.share, 0.0) @ np.eye(rows.share.shape[1])
        tight = (top * most[rows.slot]).sum(axis=1) > rows.limit_kw + helps
        self.tight = np.flatnonzero(tight)
        self.columns = 2 * pairs + own + len(self.tight) + 1
        slot, home = self.pairs.T
        self.high = np.concatenate(
            [most[slot, home], wanted[slot, home], given._own_kw[tuple(self.charging.T)], np.zeros(len(self.tight)), [1.0]]
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
        self._below(pairs, of_home, np.zeros(len(losing)), (self.columns - 1, sparse.csr_matrix(-lost[losing][:, None])))
        cars = np.unique(car)
        need = sparse.csr_matrix((np.ones(own), (np.searchsorted(cars, car), np.arange(own))), (len(cars), own))
        self._needs = self._placed((2 * pairs, need)), problem.need_kw[cars]

    def solve(self, objective: str) -> Allocation:
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
        given = self.given
        out = np.zeros_like(given.wanted_kw)
        out[tuple(self.pairs.T)] = value[:pairs]
        gave = np.zeros(len(given.rows.slot))
        gave[self.tight] = np.where(value[self._relaxations] > CLOSE_KW, value[self._relaxations], 0.0)
        lost = np.maximum(self.wanted - out, 0.0)
        total = self.wanted.sum(axis=0)
        part = np.divide(lost.sum(axis=0), total, out=np.zeros_like(total), where=total > CLOSE_KW)
        return Allocation(out, float(lost.sum()), float(part.max(initial=0.0)), gave)

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
            ended = linprog(
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
