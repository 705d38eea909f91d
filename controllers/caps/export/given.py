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

Deciding import caps at the same time gains nothing where every home is on one phase, no stay is mixed, and only phases
are limited: a tighter import cap moves charging to congested slots at the price of at least as many kWh of import cap,
and each of them lets at most one kWh more be exported. In general it does: a three-phase home counts with a third,
and limits on import may leave a choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.controllers.caps.export.allocation import CLOSE_KW, Allocation, rows_of
from cosim.controllers.caps.export.follower import Response, best_response, uncontrolled
from cosim.controllers.caps.export.linear import Programme
from cosim.controllers.caps.export.problem import ExportProblem


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
        return self.problem.per_home(np.where(stays, self.problem.car_kw, 0.0)) > 0

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
        # a stay that could charge from more sun than it needs shifts its charging with the caps, so more may be sold
        # than without any
        most = np.where(self.sated_home | self._mixed_home, problem.sellable_kw, self.wanted_kw)
        most = problem.surplus_kw if safe else most  # whether it pays or not
        wanted, helps = self.wanted_kw, self._load_kw(bound, safe)
        if bound and self._mixed_home.any():
            left = np.maximum(problem.sellable_kw - problem.per_home(self._own_kw), 0.0)
            most = np.where(self._mixed_home, left, most)
            wanted = np.where(self._mixed_home, np.minimum(wanted, left), wanted)
        own = np.where(self.kinds.sated & (not safe), self._own_kw, 0.0)
        rows = replace(self.rows, share=np.maximum(self.rows.share, 0.0)) if safe else self.rows
        return Programme(problem, rows, own, most, wanted, helps).solve(objective)

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
            for counted, available in zip(share[of_slot], left[of_slot], strict=True):
                level = shared_level(self.wanted_kw[slot] / rated, counted, float(available))
                export[slot] = np.where(counted > 0, np.minimum(export[slot], level * rated), export[slot])
        over = np.maximum((rows.share * export[rows.slot]).sum(axis=1) - left, 0.0)
        return Allocation.of(self.wanted_kw, export, np.where(over > CLOSE_KW, over, 0.0))


def shared_level(wanted: Float, weight: Float, available: float) -> float:
    """Return the level l with ``sum of weight * min(wanted, l) = available``; inf where everybody gets what is wanted.

    Parameters
    ----------
    wanted, weight : ndarray, shape (n,)
        What each would take, and how much of it counts; those of weight 0 are left out.
    available : float
        What there is; nothing where it is below 0.
    """
    counted = np.flatnonzero(weight > 0)
    order = counted[np.argsort(wanted[counted])]
    rising, weights = wanted[order], weight[order]
    if (weights * rising).sum() <= available:
        return float("inf")
    before = np.cumsum(weights * rising) - weights * rising
    level = (max(available, 0.0) - before) / np.cumsum(weights[::-1])[::-1]
    return float(level[np.argmax(level <= rising)])
