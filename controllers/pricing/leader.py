"""The operator: what a price vector earns, read in several ways, each solved once, and the best one with proof.

For the proof all price vectors are bounded, and only those are solved that the bounds leave open.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from cosim.contract import Float
from cosim.controllers.pricing.answer import SAME, Answer, relaxed_answer
from cosim.controllers.pricing.follower import WEIGHTS, Follower, Rules
from cosim.controllers.pricing.instance import WHERE, Instance
from cosim.controllers.pricing.model import build
from cosim.controllers.pricing.solvers import minimise
from cosim.errors import Fault, InputError

READINGS = ("optimistic", "pessimistic", *WEIGHTS)
"""The lexicographic ends of the users' efficient set, and the slides' weighted sums."""

MODERATE = "moderate"
"""Halfway between what the two ends pay."""

MOST_VECTORS = 200_000
"""Price vectors that are bounded one by one; more are left to the evolutionary algorithm."""


@dataclass(eq=False)
class Leader:
    """The operator of all stations.

    Attributes
    ----------
    instance : Instance
        Users and stations.
    rules : Rules
        How users behave; with ``lost_sales`` the operator pays for those turned away.
    lost_eur_per_kwh : float
        What a lost kilowatt-hour costs [EUR/kWh].
    price_order : bool
        Whether a station of more power must not be cheaper than one of less in the same period (on the slides, further
        work).
    """

    instance: Instance
    rules: Rules = field(default_factory=Rules)
    lost_eur_per_kwh: float = 0.0
    price_order: bool = False
    follower: Follower = field(init=False)
    _known: dict[tuple[str, bytes], Answer | None] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.follower = Follower(self.instance, self.rules)
        instance = self.instance
        above = instance.power_kw[:, None] > instance.power_kw
        self._above = np.argwhere(above & (instance.period[:, None] == instance.period))

    @property
    def count(self) -> int:
        """Number of price vectors, whether allowed and servable or not."""
        return int(len(self.instance.levels) ** self.instance.stations)

    def price_vectors(self) -> Iterator[Float]:
        """All price vectors that may be set, in the order of their prices."""
        for prices in product(self.instance.levels.tolist(), repeat=self.instance.stations):
            if self.allowed(np.array(prices)):
                yield np.array(prices)

    def allowed(self, prices: Float) -> bool:
        """Whether prices respect the order of powers, where that is asked for."""
        if not self.price_order or not len(self._above):
            return True
        strong, weak = self._above.T
        return bool((prices[strong] >= prices[weak]).all())

    def mended(self, prices: Float) -> Float:
        """Raise prices of stations of more power to the dearest of those of less, where that is asked for."""
        if not self.price_order:
            return prices
        raised = prices.copy()
        for station in np.argsort(self.instance.power_kw, kind="stable"):
            weaker = self._above[self._above[:, 0] == station, 1]
            raised[station] = max(raised[station], raised[weaker].max(initial=-np.inf))
        return raised

    def answer(self, reading: str, prices: Float) -> Answer | None:
        """What users do, read one way; None where there is no room for those who must be served."""
        prices = np.asarray(prices, dtype=np.float64)
        key = reading, prices.tobytes()
        if key not in self._known:
            self._known[key] = self._solve(reading, prices)
        return self._known[key]

    def income_eur(self, reading: str, prices: Float) -> float:
        """F of a price vector: what users pay, less the penalty for lost sales; -inf where it cannot be served."""
        if reading == MODERATE:
            return 0.5 * (self.income_eur("optimistic", prices) + self.income_eur("pessimistic", prices))
        # the income is the users' cost, so its least is known after the first of the two programmes
        answer = self.answer("cheapest" if reading == "pessimistic" else reading, prices)
        return -np.inf if answer is None else self.earned_eur(answer)

    def earned_eur(self, answer: Answer) -> float:
        """What the operator earns with an answer [EUR]."""
        return answer.cost_eur - self.lost_eur_per_kwh * answer.lost_kwh

    @property
    def known_vectors(self) -> int:
        """Price vectors of which some answer has been found."""
        return len({prices for _, prices in self._known})

    def _solve(self, reading: str, prices: Float) -> Answer | None:
        others = (self._known.get((other, prices.tobytes()), ...) for other in ("cheapest", *READINGS))
        if any(other is None for other in others):
            return None  # no room, however it is read
        if reading in WEIGHTS:
            return self.follower.weighted(prices, WEIGHTS[reading])
        ends = {"optimistic": Follower.optimistic, "pessimistic": Follower.pessimistic, "cheapest": Follower.cheapest}
        return ends[reading](self.follower, prices)


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
        raise InputError(Fault(WHERE, "gap", f"is {leader.rules.gap}", "the exact search needs gap 0"))
    if leader.count > MOST_VECTORS:
        problem = f"{leader.count} price vectors are too many to enumerate"
        raise InputError(Fault(WHERE, "stations", problem, "use the evolutionary algorithm"))
    vectors = np.array(list(leader.price_vectors()))
    coarse = _coarse_eur(leader, vectors)
    queue = [(-bound, k, False) for k, bound in enumerate(coarse.tolist())]
    heapq.heapify(queue)
    best, best_k, solved = -np.inf, -1, 0
    # equal bounds are still solved: of equal vectors the first in order is the answer, as in a full enumeration
    while queue and -queue[0][0] >= best - SAME:
        bound, k, is_fine = heapq.heappop(queue)
        if not is_fine:
            # both bounds hold, and lazily: only vectors at the front of the queue are worth a linear programme
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
    cost, time = {"optimistic": (0.0, 1.0), "pessimistic": (1.0, 0.0), **WEIGHTS}[reading]
    model = build(instance, prices, "cuts", congestion)
    if not len(model.user):
        return 0.0
    relaxed, reached = relaxed_answer(instance, prices, (cost, time), model, congestion)
    if not relaxed.has_point:
        return -np.inf
    if reached is not None and reading == "pessimistic":
        return reached.cost_eur
    # the users do at least as well as the quick answer; the most they can pay within that bounds the income
    aim = cost * model.cost_eur + time * model.time_h
    within = [] if reached is None else [(aim, cost * reached.cost_eur + time * reached.potential_h + SAME)]
    dearest = minimise(model, -model.cost_eur, within, relaxed=True)
    return -dearest.value if dearest.has_point else np.inf
