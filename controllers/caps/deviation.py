"""What happens to the limits when households do not react as a plan of caps expects them to.

``anticipated`` caps rely on what households choose; here seeded draws of other choices are set against the same caps.
In all of them but the last the car stays inside its cap, so that ``sum_of_caps`` must hold; in the last one the load
that nobody moves differs from its forecast, which can break a cap by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.follower import best_response, car_limits
from cosim.controllers.caps.merit_order import price_in_steps
from cosim.controllers.caps.problem import CapsProblem

DRAWS = 100
SHARE = 0.2
MORE_ENERGY = 1.2
LATE_H = 2.0
NOISE = 0.3
SHIFT_H = (1.0, 12.0)
OVER_KW = 1e-3
"""Excess that counts: more than a solver's tolerance."""


@dataclass(frozen=True)
class Deviation:
    """One kind of deviation, many draws.

    Attributes
    ----------
    behaviour : str
        What homes do instead.
    homes_share : float
        Share of the homes with a car that do so in each draw.
    respects_caps : bool
        Whether every home stays inside its cap while it does so.
    draws : int
        How many times it was drawn; once where nothing is left to chance.
    over_limit_share : float
        Share of the draws in which a limit is broken.
    mean_excess_kw : float
        Mean over *those* draws of the largest excess over a limit, 0 where there is none [kW].
    max_excess_kw : float
        The largest of all draws [kW].
    """

    behaviour: str
    homes_share: float
    respects_caps: bool
    draws: int
    over_limit_share: float
    mean_excess_kw: float
    max_excess_kw: float


def deviation_test(
    problem: CapsProblem,
    caps_kw: Float,
    rng: np.random.Generator,
    *,
    share: float = SHARE,
    draws: int = DRAWS,
    limit_kw: Float | None = None,
) -> list[Deviation]:
    """Draw households that deviate from what caps anticipate, and measure what that does to the limits.

    Parameters
    ----------
    problem : CapsProblem
        The data that the caps were made for.
    caps_kw : ndarray, shape (slot, home)
        Caps on net import [kW].
    rng : numpy.random.Generator
        Source of the draws.
    share : float
        Share of the homes with a car that deviate in a draw, chosen anew each time, at least one.
    draws : int
        Draws of every kind of deviation.
    limit_kw : ndarray, shape (slot, phase), optional
        Limits to judge by [kW]; those of the problem, margin and all, without them.

    Returns
    -------
    list of Deviation
        ``as modelled`` first, for comparison.

    Notes
    -----
    A slot in which expected inflexible load alone is above the limit is judged by that load: no cap is to blame.
    Homes that do not deviate react as modelled: cheapest slots first, the earlier of two that cost the same.
    """
    test = _Test(problem, caps_kw, problem.limit_kw if limit_kw is None else limit_kw)
    rows = [_row("as modelled", 0.0, [test.above_limit_kw(test.expected_load_kw)])]
    for behaviour, react in OF_SOME.items():
        excess = []
        for _ in range(draws):
            cars = _drawn(problem, share, rng)
            excess.append(test.excess_kw(cars, **react(test, problem.tariff_of_car[:, cars], rng)))
        rows.append(_row(behaviour, share, excess))
    latest = test.excess_kw(np.ones(problem.cars, dtype=bool), key=-np.arange(problem.slots)[:, None])
    rows.append(_row("everybody latest first inside the band", 1.0, [latest]))
    noisy = [_excess_of_noise_kw(test, rng) for _ in range(draws)]
    rows.append(_row(f"inflexible load {100 * NOISE:.0f} % off everywhere", 1.0, noisy, respects_caps=False))
    return rows


@dataclass(frozen=True, eq=False)
class _Test:
    """Caps under test, and what does not change from draw to draw."""

    problem: CapsProblem
    caps_kw: Float
    limit_kw: Float

    @cached_property
    def room_kw(self) -> Float:
        """What each car can draw at most inside its cap, shape (slot, car) [kW]."""
        return car_limits(self.problem, self.caps_kw)

    @cached_property
    def expected_kw(self) -> Float:
        """What each car draws as modelled, shape (slot, car) [kW]."""
        return best_response(self.problem, self.caps_kw)

    @cached_property
    def expected_load_kw(self) -> Float:
        """Load of each phase as modelled, shape (slot, phase) [kW]."""
        return self.problem.base_kw + self.expected_kw @ self.problem.car_share

    def excess_kw(self, cars: Bool, **otherwise: Any) -> float:
        """Largest excess over a limit where these cars charge otherwise, see `_charge_kw`, others as modelled [kW]."""
        change = (_charge_kw(self, cars, **otherwise) - self.expected_kw[:, cars]) @ self.problem.car_share[cars]
        return self.above_limit_kw(self.expected_load_kw + change)

    def above_limit_kw(self, load_kw: Float) -> float:
        """Largest excess of a load of shape (slot, phase) over what caps can be held to [kW]."""
        return float(np.max(load_kw - np.maximum(self.limit_kw, self.problem.base_kw), initial=0.0))


def _excess_of_noise_kw(test: _Test, rng: np.random.Generator) -> float:
    """Every home's load differs by a log-normal factor of mean 1 per hour; homes know their own load."""
    p = test.problem
    # log-normal of mean 1 and standard deviation NOISE: s² = log(1 + NOISE²), mean of the logarithm -s² / 2
    sigma = np.sqrt(np.log1p(NOISE**2))
    hour = np.floor(np.arange(p.slots) * p.slot_h).astype(int)
    factor = np.exp(rng.normal(-(sigma**2) / 2.0, sigma, (hour[-1] + 1, p.homes)))[hour]
    more_kw = (factor - 1.0) * p.inflexible_kw
    # what is left of a cap shrinks by what the home draws more
    charge = best_response(p, np.minimum(test.caps_kw, p.connection_kw) - more_kw)
    return test.above_limit_kw(p.base_kw + more_kw @ p.phase_share + charge @ p.car_share)


def _shifted(test: _Test, tariff: Float, rng: np.random.Generator) -> Float:
    """The same prices at other hours: all who deviate have changed to one other supplier."""
    shift = round(rng.uniform(*SHIFT_H) * rng.choice((-1.0, 1.0)) / test.problem.slot_h)
    return np.roll(tariff, shift, axis=0)


Reaction = Callable[[_Test, Float, np.random.Generator], dict[str, Any]]
OF_SOME: dict[str, Reaction] = {
    "charging at once": lambda _, tariff, __: {"tariff_eur_per_kwh": np.zeros_like(tariff)},
    "shuffled inside the tariff band": lambda _, tariff, rng: {"key": rng.random(tariff.shape)},
    f"{100 * (MORE_ENERGY - 1):.0f} % more energy": lambda *_: {"more": MORE_ENERGY},
    "another tariff": lambda test, tariff, rng: {"tariff_eur_per_kwh": _shifted(test, tariff, rng)},
    f"{LATE_H:.0f} h late": lambda test, *_: {"late": max(round(LATE_H / test.problem.slot_h), 1)},
}
"""What only some homes do in a draw, from the tariff of their cars, shape (slot, chosen car): see `_charge_kw`."""


def _charge_kw(
    test: _Test,
    cars: Bool,
    *,
    tariff_eur_per_kwh: Float | None = None,
    key: Float | Int | None = None,
    more: float = 1.0,
    late: int = 0,
) -> Float:
    """Charge in the cheapest slots first, shape (slot, chosen car) [kW].

    Of a tariff of their own, inside a price band in the order of a key (else in time), so many times what is needed,
    cars so many slots late.
    """
    p, room = test.problem, test.room_kw[:, cars]
    slot = np.arange(p.slots)[:, None]
    room = np.where(slot < p.is_plugged[:, cars].argmax(axis=0) + late, 0.0, room) if late else room
    price = price_in_steps(p.tariff_of_car[:, cars] if tariff_eur_per_kwh is None else tariff_eur_per_kwh)
    order = np.lexsort((np.broadcast_to(slot if key is None else key, price.shape), price), axis=0)
    need = more * p.need_kw[cars]
    # what is wanted by then, as if in a single slot: below a price of zero all that the battery takes
    wanted = np.where(price < 0, np.maximum(p.most_kw[cars], need), need)
    ranked, wanted = np.take_along_axis(room, order, axis=0), np.take_along_axis(wanted, order, axis=0)
    charge = np.empty_like(room)
    np.put_along_axis(charge, order, np.clip(wanted - (np.cumsum(ranked, axis=0) - ranked), 0.0, ranked), axis=0)
    return charge


def _drawn(problem: CapsProblem, share: float, rng: np.random.Generator) -> Bool:
    """Cars of a random share of the homes that have one, shape (car,)."""
    homes = np.unique(problem.home)
    chosen = rng.permutation(homes)[: max(round(share * len(homes)), 1)]
    return np.isin(problem.home, chosen)


def _row(behaviour: str, share: float, excess_kw: list[float], *, respects_caps: bool = True) -> Deviation:
    excess = np.array(excess_kw)
    over = excess > OVER_KW
    return Deviation(
        behaviour=behaviour,
        homes_share=share,
        respects_caps=respects_caps,
        draws=len(excess),
        over_limit_share=float(over.mean()),
        mean_excess_kw=float(excess[over].mean()) if over.any() else 0.0,
        max_excess_kw=float(excess.max()),
    )
