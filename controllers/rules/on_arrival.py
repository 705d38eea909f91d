"""Charging on arrival, the uncontrolled charging of the literature: nobody waits for a cheaper hour."""

from __future__ import annotations

import numpy as np

from cosim.contract import Feeder, Forecast, Observation, Setpoints


class OnArrival:
    """Let every car charge at full power from its arrival, whatever the tariff.

    Households that would wait for cheap hours are asked not to, so that the answer is the same in scenarios of any
    ``response``: what chargers do that know neither tariff nor grid.

    Parameters
    ----------
    feeder : Feeder
        For the number of customers.
    """

    sees = "nothing"

    def __init__(self, feeder: Feeder) -> None:
        unlimited = np.full(len(feeder.customers), np.inf)
        self._setpoints = Setpoints(unlimited, unlimited, unlimited, ev_at_once=np.isinf(unlimited))

    def plan(self, forecast: Forecast) -> None:
        """Nothing to prepare."""

    def decide(self, observation: Observation) -> Setpoints:  # noqa: ARG002 - the protocol's signature
        """No limit, and no waiting, at any time."""
        return self._setpoints
