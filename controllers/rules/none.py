"""No control at all: the baseline of baselines."""

from __future__ import annotations

from cosim.contract import Feeder, Forecast, Observation, Setpoints


class NoControl:
    """Set no limit: the uncontrolled baseline.

    Parameters
    ----------
    feeder : Feeder
        For the number of customers.
    """

    sees = "nothing"

    def __init__(self, feeder: Feeder) -> None:
        self._free = Setpoints.free(len(feeder.customers))

    def plan(self, forecast: Forecast) -> None:
        """Nothing to prepare."""

    def decide(self, observation: Observation) -> Setpoints:  # noqa: ARG002 - the protocol's signature
        """No limit for anybody."""
        return self._free
