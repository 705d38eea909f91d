"""How far every battery can be charged ahead or fall behind: bounds of the level that single cars can really reach.

Charging as soon as possible gives the highest level a car can have at each step, charging as late as possible the
lowest with which it can still drive as it must. Summed over cars these are the cumulative-energy envelopes of a
virtual storage; written as levels they need no convention about where the horizon starts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cosim.contract import Float

if TYPE_CHECKING:  # a fleet is checked with its envelope
    from cosim.controllers.aggregation.fleet import Fleet

_ROUNDS = 12  # around the closed horizon; a car that is plugged in once within it settles in two


def reachable(fleet: Fleet) -> tuple[Float, Float]:
    """Tightest bounds of every car's level, shape (step, car) each [kWh].

    Interval propagation along the closed chain s[t] = keep s[t-1] + c[t] - d[t] - driving[t]. Where low exceeds high,
    the car cannot drive as it should.

    Parameters
    ----------
    fleet : Fleet
        The cars.

    Returns
    -------
    low, high : ndarray, shape (step, car)
        Levels as late and as early as possible [kWh].
    """
    into, out = fleet.into, fleet.out
    most = into * fleet.charge_high_kw - out * fleet.discharge_low_kw - fleet.driving_kwh
    least = into * fleet.charge_low_kw - out * fleet.discharge_high_kw - fleet.driving_kwh
    low, high, keep, steps = fleet.level_low_kwh.copy(), fleet.level_high_kwh.copy(), fleet.keep, fleet.steps
    for _ in range(_ROUNDS):
        before = low.copy(), high.copy()
        for t in range(steps):  # a step of a year-round clock: t-1 is the last step for t = 0
            high[t] = np.minimum(high[t], keep * high[t - 1] + most[t])
            low[t] = np.maximum(low[t], keep * low[t - 1] + least[t])
        for t in reversed(range(steps)):
            low[t - 1] = np.maximum(low[t - 1], (low[t] - most[t]) / keep)
            high[t - 1] = np.minimum(high[t - 1], (high[t] - least[t]) / keep)
        if np.allclose(before[0], low, atol=1e-9) and np.allclose(before[1], high, atol=1e-9):
            break
    return low, high
