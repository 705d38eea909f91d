"""What users do at given prices: one efficient answer, its two ends, or all of them.

The decisions on what the slides leave open (maths of this project, section E3), in one place:

* *Compulsory service.* Who can pay some station's price is served; prices at which capacities do not allow it have no
  answer (None). With ``lost_sales`` the stations serve as much energy as they can, and the rest is lost.
* *Capacity* is energy over the whole period, neither plugs nor power.
* *One follower.* Users together minimise cost and time (Wardrop's second principle); with ``congestion="equilibrium"``
  each looks after itself, and the answer is a Nash equilibrium (first principle).
* *Time* is travelling, charging at full power, and waiting: beta f for each of the f users of a station.
* *Optimistic* is the answer that pays the leader most: as F is the users' cost f1, it is the efficient answer of least
  time; *pessimistic* is the one of least cost. Weighted sums with (0.1, 0.9) and (0.9, 0.1), as on the slides, mix
  EUR with hours and find supported points only; the lexicographic ends need neither scale nor weights. Of answers with
  the same weighted sum the solver's is taken, the same at every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosim.contract import Float
from cosim.controllers.pricing.answer import SAME, Answer, evaluate, relaxed_answer
from cosim.controllers.pricing.instance import Instance
from cosim.controllers.pricing.model import Congestion, Formulation, Model, build
from cosim.controllers.pricing.solvers import PROVEN_GAP, ROUNDING, TIME_LIMIT_S, Limit, SolverName, minimise
from cosim.controllers.solver import UNLIMITED, Limits, SolveResult, Termination, relative_gap
from cosim.errors import SolverError

OPTIMISTIC_WEIGHTS, PESSIMISTIC_WEIGHTS = (0.1, 0.9), (0.9, 0.1)
"""The slides': of cost in EUR and of time in hours."""
WEIGHTS = {"weighted_optimistic": OPTIMISTIC_WEIGHTS, "weighted_pessimistic": PESSIMISTIC_WEIGHTS}


@dataclass(frozen=True)
class Rules:
    """How users behave, and how their problem is solved.

    Attributes
    ----------
    congestion : str
        ``system`` or ``equilibrium``, see `model.build`.
    lost_sales : bool
        Whether users may be turned away for want of room.
    formulation, solver : str
        See `model.build`; ``highs`` for the linear ones, ``scip`` for all.
    time_limit_s : float
        Of one solve; where it is reached there is no answer but an error [s].
    gap : float
        Relative gap up to which an answer is good enough; 0 asks for the exact one.
    """

    congestion: Congestion = "system"
    lost_sales: bool = False
    formulation: Formulation = "cuts"
    solver: SolverName = "highs"
    time_limit_s: float = TIME_LIMIT_S
    gap: float = 0.0


class Follower:
    """The users of an instance.

    Parameters
    ----------
    instance : Instance
        Users and stations.
    rules : Rules, optional
        How they behave.

    Attributes
    ----------
    worst_gap : float
        Largest proven gap of the mixed-integer programmes solved so far.
    """

    def __init__(self, instance: Instance, rules: Rules | None = None) -> None:
        self.instance = instance
        self.rules = rules or Rules()
        self.worst_gap = 0.0

    def weighted(self, prices: Float, weights: tuple[float, float]) -> Answer | None:
        """Minimise ``w1 f1 + w2 f2``; None where the stations have no room for those who must be served."""
        model, limits = self._served(prices)
        if model is None:
            return None
        if not limits and not model.squares and len(model.user):
            is_settled, near = self._rounded(model, np.asarray(prices, float), weights)
            if is_settled:
                return near
        aim = weights[0] * model.cost_eur + weights[1] * model.time_h
        return self._answer(model, prices, self._minimise(model, aim, limits))

    def cheapest(self, prices: Float) -> Answer | None:
        """Least cost alone: what the pessimistic answer pays, for one programme instead of two."""
        return self.weighted(prices, (1.0, 0.0))

    def optimistic(self, prices: Float) -> Answer | None:
        """Least time first, then least cost: of all efficient answers the one that pays most."""
        return self._ends(prices, time_first=True)

    def pessimistic(self, prices: Float) -> Answer | None:
        """Least cost first, then least time: of all efficient answers the one that pays least."""
        return self._ends(prices, time_first=False)

    def efficient(self, prices: Float, most: int = 10_000) -> list[Answer]:
        """All efficient answers by the epsilon-constraint method, cheapest first; one for each pair of values.

        From the cheapest on, the least cost is sought among answers that take at least 1e-6 h less time, and the
        least time at that cost. It finds unsupported points too, and solves two programmes for each.

        Parameters
        ----------
        prices : ndarray, shape (station,)
            Of each station [EUR/kWh].
        most : int
            Stop after so many; more than that means that the set is too large to list.

        Raises
        ------
        OverflowError
            Where there are more than ``most``.
        """
        model, limits = self._served(prices)
        if model is None:
            return []
        found: list[Answer] = []
        bound_h = np.inf
        while True:
            within = [*limits, (model.time_h, bound_h)] if found else limits
            cheapest = self._answer(model, prices, self._minimise(model, model.cost_eur, within))
            if cheapest is None:
                return found
            if len(found) >= most:
                raise OverflowError(f"more than {most} efficient answers")
            held = [*within, (model.cost_eur, cheapest.cost_eur + SAME)]
            quickest = self._answer(model, prices, self._minimise(model, model.time_h, held))
            found.append(quickest or cheapest)
            if found[-1].potential_h > bound_h + SAME / 2.0:
                raise SolverError("an answer breaks its bound on time: the solver's tolerance is too wide")
            if not len(model.user):
                return found  # nobody can pay, and nothing is all there is
            # epsilon constraint: the next answer must be quicker by more than tolerances can pretend
            bound_h = found[-1].potential_h - SAME

    def _ends(self, prices: Float, *, time_first: bool) -> Answer | None:
        model, limits = self._served(prices)
        if model is None:
            return None
        first, second = (model.time_h, model.cost_eur) if time_first else (model.cost_eur, model.time_h)
        best = self._answer(model, prices, self._minimise(model, first, limits))
        if best is None:
            return None
        reached = best.potential_h if time_first else best.cost_eur
        held = self._minimise(model, second, [*limits, (first, reached + SAME)])
        return self._answer(model, prices, held) or best

    def _rounded(self, model: Model, prices: Float, weights: tuple[float, float]) -> tuple[bool, Answer | None]:
        """Round the linear relaxation; settled where it is infeasible, or rounded within the gap asked for.

        Where no capacity binds, the relaxation of ``cuts`` is whole by itself: a flow of convex costs.
        """
        relaxed, answer = relaxed_answer(self.instance, prices, weights, model, self.rules.congestion)
        if answer is None:
            return not relaxed.has_point, None
        gap = relative_gap(weights[0] * answer.cost_eur + weights[1] * answer.potential_h, relaxed.value, ROUNDING)
        if gap > max(self.rules.gap, PROVEN_GAP):
            return False, None
        self.worst_gap = max(self.worst_gap, gap)
        return True, answer

    def _served(self, prices: Float) -> tuple[Model | None, list[Limit]]:
        """Model of the users who take part, and what keeps the energy lost at its least; None without any room."""
        rules = self.rules
        prices = np.asarray(prices, dtype=np.float64)
        able = self.instance.affordable(prices)
        if not rules.lost_sales and not self._may_fit(able):
            return None, []
        model = build(self.instance, prices, rules.formulation, rules.congestion, compulsory=True)
        if not rules.lost_sales:
            return model, []
        free = build(self.instance, prices, rules.formulation, rules.congestion, compulsory=False)
        all_kwh = self.instance.demands_kwh[able.any(axis=1)].sum()
        if all_kwh <= self.instance.capacity_kwh.sum() and len(self._minimise(model, model.lost_kwh, []).x):
            return model, []
        fullest = self._answer(free, prices, self._minimise(free, free.lost_kwh, []))
        if fullest is None:  # nobody going anywhere is always possible
            raise AssertionError("no answer without compulsory service")
        return free, [(free.lost_kwh, fullest.lost_kwh - float(all_kwh) + SAME)]

    def _may_fit(self, able: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> bool:
        """Cheap conditions that compulsory service needs: room in all stations together, and for each user in one."""
        must, room_kwh = able.any(axis=1), self.instance.capacity_kwh * (1 + 1e-9)
        largest_kwh = np.where(able, room_kwh, -np.inf).max(axis=1, initial=-np.inf)
        need_kwh = self.instance.demands_kwh
        return bool((need_kwh[must] <= largest_kwh[must]).all() and need_kwh[must].sum() <= room_kwh.sum())

    def _minimise(self, model: Model, cost: Float, limits: Sequence[Limit]) -> SolveResult:
        if not len(model.user):
            return SolveResult(Termination.OPTIMAL, 0.0, 0.0, np.zeros(len(cost)))
        found = minimise(model, cost, limits, solver=self.rules.solver,
                         stop=Limits(self.rules.gap, UNLIMITED, self.rules.time_limit_s))  # fmt: skip
        self.worst_gap = max(self.worst_gap, found.gap if found.has_point else 0.0)
        return found

    def _answer(self, model: Model, prices: Float, found: SolveResult) -> Answer | None:
        """Exact values of a point, from its assignment alone."""
        if not found.has_point:
            return None
        return evaluate(self.instance, np.asarray(prices), model.assignment(found.x, self.instance.users),
                        self.rules.congestion)  # fmt: skip
