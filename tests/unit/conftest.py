"""Streets of homes whose caps several tests choose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from cosim.controllers.caps import CapsProblem, share_of_phase

MakeStreet = Callable[..., CapsProblem]


@pytest.fixture(scope="session")
def street() -> MakeStreet:
    """Draw homes with a car each under one limit."""
    return _street


def _street(homes: int, slots: int, seed: int, tight: float = 0.3, least_kw: float = 0.0) -> CapsProblem:
    rng = np.random.default_rng(seed)
    start, stay = rng.integers(0, slots // 3, homes), rng.integers(slots // 2, slots, homes)
    slot = np.arange(slots)[:, None]
    plugged = ((slot >= start) & (slot < start + stay)).astype(float)
    charger = rng.choice([3.7, 7.4], homes)
    inflexible = rng.uniform(0.2, 1.5, (slots, homes))
    return CapsProblem(
        slot_h=0.5,
        tariff_eur_per_kwh=np.where(np.arange(slots) % 24 < 8, 0.3, 0.1),
        inflexible_kw=inflexible,
        connection_kw=np.full(homes, 14.0),
        phase_share=share_of_phase(np.zeros(homes, int), 1),
        limit_kw=inflexible.sum(axis=1).max() + tight * np.full((slots, 1), charger.sum()),
        home=np.arange(homes),
        plugged=plugged,
        charger_kw=charger,
        charger_min_kw=np.full(homes, least_kw),
        energy_need_kwh=rng.uniform(0.1, 0.5, homes) * 0.9 * 0.5 * (plugged * charger).sum(axis=0),
        efficiency=np.full(homes, 0.9),
    )
