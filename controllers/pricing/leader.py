"""The operator: what a price vector earns, read in several ways, each solved once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from cosim.contract import Float
from cosim.controllers.pricing.answer import Answer
from cosim.controllers.pricing.follower import OPTIMISTIC_WEIGHTS, PESSIMISTIC_WEIGHTS, Follower, Rules
from cosim.controllers.pricing.instance import Instance

READINGS = ("optimistic", "pessimistic", "weighted_optimistic", "weighted_pessimistic")
"""The lexicographic ends of the users' efficient set, and the slides' weighted sums."""

MODERATE = "moderate"
"""Halfway between what the two ends pay."""


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
        if reading == "optimistic":
            return self.follower.optimistic(prices)
        if reading == "pessimistic":
            return self.follower.pessimistic(prices)
        if reading == "cheapest":
            return self.follower.cheapest(prices)
        weights = {"weighted_optimistic": OPTIMISTIC_WEIGHTS, "weighted_pessimistic": PESSIMISTIC_WEIGHTS}[reading]
        return self.follower.weighted(prices, weights)
