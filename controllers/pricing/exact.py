"""The best price vector with proof: all of them are bounded, and only those solved that the bounds leave open."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from cosim.contract import Float
from cosim.controllers.pricing.answer import SAME, Answer, evaluate
from cosim.controllers.pricing.follower import OPTIMISTIC_WEIGHTS, PESSIMISTIC_WEIGHTS
from cosim.controllers.pricing.leader import MODERATE, Leader
from cosim.controllers.pricing.local import rounded_assignment
from cosim.controllers.pricing.model import SHARE, build
from cosim.controllers.pricing.solvers import minimise
from cosim.errors import Fault, InputError

MOST_VECTORS = 200_000
"""Price vectors that are bounded one by one; more are left to the evolutionary algorithm."""

_WEIGHTS = {"optimistic": (0.0, 1.0), "pessimistic": (1.0, 0.0), "weighted_optimistic": OPTIMISTIC_WEIGHTS,
            "weighted_pessimistic": PESSIMISTIC_WEIGHTS}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Best:
    """The best price vector, read one way.

    Attributes
    ----------
    reading : str
        Of ``READINGS``, or ``moderate``.
    prices : ndarray, shape (station,)
        EUR/kWh; the first in the order of prices among equals; empty where no vector can be served.
    income_eur : float
        F; -inf where no vector can be served.
    optimistic, pessimistic : Answer or None
        What users do there, at both ends.
    vectors, solved : int
        Price vectors in all, and those that had to be solved exactly.
    """

    reading: str
    prices: Float
    income_eur: float
    optimistic: Answer | None
    pessimistic: Answer | None
    vectors: int
    solved: int


def best_prices(leader: Leader, reading: str) -> Best:
    """Find the price vector of largest income, with proof.

    Every price vector gets a bound from above, first a coarse one (the dearest stations are filled first), then
    a finer one: a quick answer of the users bounds what they minimise, and a linear programme what they may pay within
    that. The vectors are taken in the order of their bounds until the next bound is no better than the best found. The
    result is that of a full enumeration.

    Parameters
    ----------
    leader : Leader
        The operator; its rules must ask for exact answers (gap 0).
    reading : str
        Of ``READINGS``, or ``moderate``.

    Raises
    ------
    InputError
        Where there are more price vectors than ``MOST_VECTORS``, or answers are not exact.
    """
    if leader.rules.gap > 0.0:
        raise InputError(Fault("station pricing", "gap", f"is {leader.rules.gap}", "the exact search needs gap 0"))
    if leader.count > MOST_VECTORS:
        problem = f"{leader.count} price vectors are too many to enumerate"
        raise InputError(Fault("station pricing", "stations", problem, "use the evolutionary algorithm"))
    vectors = np.array(list(leader.price_vectors()))
    coarse = _coarse_eur(leader, vectors)
    queue = [(-bound, k, False) for k, bound in enumerate(coarse.tolist())]
    heapq.heapify(queue)
    best, best_k, solved = -np.inf, -1, 0
    while queue and -queue[0][0] >= best - SAME:
        bound, k, is_fine = heapq.heappop(queue)
        if not is_fine:
            fine = min(-bound, bound_eur(leader, reading, vectors[k]))
            if fine > -np.inf:
                heapq.heappush(queue, (-fine, k, True))
            continue
        solved += 1
        income = leader.income_eur(reading, vectors[k])
        if income > best + SAME or (income > best - SAME and -np.inf < income and k < best_k):
            best, best_k = max(income, best), k
    if best_k < 0:
        return Best(reading, np.empty(0), -np.inf, None, None, len(vectors), solved)
    prices = vectors[best_k]
    optimistic, pessimistic = leader.answer("optimistic", prices), leader.answer("pessimistic", prices)
    income = leader.income_eur(reading, prices)
    return Best(reading, prices, income, optimistic, pessimistic, len(vectors), solved)


def _coarse_eur(leader: Leader, vectors: Float) -> Float:
    """Fill the dearest stations first with the energy of those who can pay them, shape (vector,) [EUR].

    Who can pay a price can pay every lower one, so nobody can be made to pay more than this, needs divisible or not.
    """
    instance = leader.instance
    able_kwh = np.array([instance.demands_kwh[instance.budgets >= level - 1e-9].sum() for level in instance.levels])
    dearest = np.argsort(-vectors, axis=1, kind="stable")
    prices = np.take_along_axis(vectors, dearest, axis=1)
    who_kwh = able_kwh[np.searchsorted(instance.levels, prices - 1e-9)]
    bound, sold_kwh = np.zeros(len(vectors)), np.zeros(len(vectors))
    for price, room_kwh, all_kwh in zip(prices.T, instance.capacity_kwh[dearest].T, who_kwh.T, strict=True):
        more_kwh = np.clip(all_kwh - sold_kwh, 0.0, room_kwh)
        bound += price * more_kwh
        sold_kwh += more_kwh
    return bound


def bound_eur(leader: Leader, reading: str, prices: Float) -> float:
    """Bound the income of a price vector from above; -inf where it cannot be served.

    Users minimise a weighted sum, and a quick answer of theirs shows what they reach at least. What they pay within
    that is at most the maximum over the linear relaxation. At the pessimistic end the quick answer is the bound.
    """
    if reading == MODERATE:
        return 0.5 * (bound_eur(leader, "optimistic", prices) + bound_eur(leader, "pessimistic", prices))
    if leader.rules.lost_sales:
        return np.inf  # who is turned away depends on the least energy lost: solved at once
    instance, congestion = leader.instance, leader.rules.congestion
    cost, time = _WEIGHTS[reading]
    model = build(instance, prices, "cuts", congestion)
    if not len(model.user):
        return 0.0
    aim = cost * model.cost_eur + time * model.time_h
    relaxed = minimise(model, aim, relaxed=True)
    if not relaxed.has_point:
        return -np.inf
    quick = rounded_assignment(instance, prices, (cost, time), model, relaxed.x, SHARE[congestion])
    reached = None if quick is None else evaluate(instance, prices, quick, congestion)
    if reached is not None and reading == "pessimistic":
        return reached.cost_eur
    within = [] if reached is None else [(aim, cost * reached.cost_eur + time * reached.potential_h + SAME)]
    dearest = minimise(model, -model.cost_eur, within, relaxed=True)
    return -dearest.value if dearest.has_point else np.inf
