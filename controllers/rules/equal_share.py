"""The simplest fair rule: what a conductor can carry, divided by the homes behind it."""

from __future__ import annotations

import numpy as np

from cosim.contract import Feeder, Forecast, Observation, Setpoints
from cosim.controllers.limits import known_limits, room_per_customer_kw
from cosim.errors import range_faults, refuse


class EqualShare:
    """Cap every home's import at the smallest of its limits divided by the homes behind it.

    Limits are those of ``Feeder.limits``: every transformer, regulator, head line, watched line and neutral conductor
    on the way, phase by phase, at nominal voltage. A three-phase home counts for a third on each phase. If every home
    draws its cap at unity power factor and nominal voltage, no limit is exceeded; reactive power, losses and low
    voltage need ``margin_percent``.
    A charger on one phase of a home with several keeps to the cap by itself: the home's own sun and battery, on all of
    its phases, would hide from its meter what the charger draws from one.
    Only import is capped: nothing keeps PV from overloading a phase by export, nor a home that ignores its cap.

    Parameters
    ----------
    feeder : Feeder
        Ratings, and the phases of every home.
    margin_percent : float
        Part of the limit that is not given away [%].

    Raises
    ------
    InputError
        Where the feeder gives no rating to divide, or the margin is out of range.
    """

    sees = "nothing"

    def __init__(self, feeder: Feeder, *, margin_percent: float = 0.0) -> None:
        faults = list(
            range_faults("controller 'equal_share'", [("margin_percent", margin_percent, 0.0, 99.0, "a percentage")])
        )
        refuse(faults)
        known_limits(feeder, "equal_share")
        self.cap_kw = room_per_customer_kw(feeder, margin_percent / 100.0)
        self._unlimited = np.full(len(self.cap_kw), np.inf)
        self._car_limit_kw = self._unlimited.copy()
        self._car_limit_kw[feeder.spurs[0]] = self.cap_kw[feeder.spurs[0]]
        self._setpoints = Setpoints(self.cap_kw, self._car_limit_kw, self._unlimited)

    def plan(self, forecast: Forecast) -> None:
        """Announce the same cap for every step, so that homes can plan their charging."""
        published_kw = np.tile(self.cap_kw, (forecast.expected.steps, 1))
        self._setpoints = Setpoints(self.cap_kw, self._car_limit_kw, self._unlimited, published_cap_kw=published_kw)

    def decide(self, observation: Observation) -> Setpoints:  # noqa: ARG002 - the protocol's signature
        """The same caps at any time."""
        return self._setpoints
