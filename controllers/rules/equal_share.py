"""The simplest fair rule: what a phase can carry, divided by the homes on it."""

from __future__ import annotations

import numpy as np

from cosim.contract import Feeder, Forecast, Observation, Setpoints
from cosim.controllers.limits import known_phase_limit_a
from cosim.errors import InputError, range_faults


class EqualShare:
    """Cap every home's import at the limit of its phase divided by the homes of that phase.

    The limit is the smaller of transformer and head line, at nominal voltage. A three-phase home counts for a third
    on each phase and gets the share of the fullest of its phases. If every home draws its cap at unity power factor
    and nominal voltage, no phase exceeds its limit; reactive power, losses and low voltage need ``margin_percent``.
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

    every_step = False

    def __init__(self, feeder: Feeder, *, margin_percent: float = 0.0) -> None:
        faults = list(
            range_faults("controller 'equal_share'", [("margin_percent", margin_percent, 0.0, 99.0, "a percentage")])
        )
        if faults:
            raise InputError(faults)
        limit_a = known_phase_limit_a(feeder, "equal_share") * (1.0 - margin_percent / 100.0)
        shares = feeder.phase_matrix
        homes = shares.sum(axis=0)
        limit_kw = limit_a * feeder.nominal_voltage_v / 1e3
        share_kw = np.divide(limit_kw, homes, out=np.full(3, np.inf), where=homes > 0)
        self.cap_kw = np.where(shares > 0, share_kw, np.inf).min(axis=1)
        self._unlimited = np.full(len(self.cap_kw), np.inf)
        self._setpoints = Setpoints(self.cap_kw, self._unlimited, self._unlimited)

    def plan(self, forecast: Forecast) -> None:
        """Announce the same cap for every step, so that homes can plan their charging."""
        published_kw = np.tile(self.cap_kw, (forecast.expected.steps, 1))
        self._setpoints = Setpoints(self.cap_kw, self._unlimited, self._unlimited, published_cap_kw=published_kw)

    def decide(self, observation: Observation) -> Setpoints:  # noqa: ARG002 - the protocol's signature
        """The same caps at any time."""
        return self._setpoints
