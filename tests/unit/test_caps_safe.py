"""Caps whose sum counts, against every set of slots in which chargers may run."""

from __future__ import annotations

import numpy as np
import pytest

from cosim.controllers.caps import CapsOptions, CapsProblem, best_response, share_of_phase, solve_caps
from oracles.safe_caps import best_of_safe_caps


def small(seed: int) -> CapsProblem:
    """Two to four cars in a few slots: minimum power, partial slots, several phases, over-connected homes."""
    rng = np.random.default_rng([119, seed])
    cars, slots = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    homes = cars + int(rng.integers(0, 2))
    plugged = (rng.random((slots, cars)) < 0.8) * rng.choice([1.0, 1.0, 0.5], (slots, cars))
    while (plugged > 0).sum() > 8:
        plugged[tuple(rng.permutation(np.argwhere(plugged > 0))[0])] = 0.0
    charger = rng.choice([3.7, 7.4, 11.0], cars)
    share = share_of_phase(rng.integers(0, 3, homes))
    share[rng.random(homes) < 0.3] = 1 / 3
    inflexible = np.round(rng.uniform(-1.0, 2.0, (slots, homes)), 2)
    return CapsProblem(
        slot_h=0.5,
        tariff_eur_per_kwh=rng.choice([0.1, 0.2, 0.3], slots),
        inflexible_kw=inflexible,
        connection_kw=rng.choice([4.6, 14.0], homes, p=[0.2, 0.8]),
        phase_share=share,
        limit_kw=inflexible @ share + rng.uniform(-0.5, 9.0, (slots, 3)) * rng.choice([0.5, 1.0]),
        home=rng.permutation(homes)[:cars],
        plugged=plugged,
        charger_kw=charger,
        charger_min_kw=np.where(charger < 8.0, 1.38, 4.14) * (rng.random(cars) < 0.8),
        energy_need_kwh=np.round(rng.random(cars) * 0.25 * (plugged * charger).sum(axis=0), 3),
        efficiency=np.full(cars, 0.9),
    )
