"""Dimming by the network operator, as section 14a of the German energy act (EnWG) has it."""

from __future__ import annotations

import numpy as np

from cosim.contract import Feeder, Float, Forecast, Observation, Setpoints
from cosim.controllers.limits import known_phase_limit_a
from cosim.errors import InputError, range_faults

GUARANTEED_KW = 4.2
"""Power that a dimmed device keeps: section 14a EnWG and BNetzA, decision BK6-22-300 (2023-11-27)."""

_AT_LIMIT_KW = 0.05  # a car that draws this close to its limit would draw more without it


class Dimming:
    """Dim chargers to 4.2 kW while their phase is over its limit, and release them with hysteresis.

    A phase is over its limit when the current of the last step exceeded the rating of the transformer or of the head
    line, whichever is loaded more, while the phase imports (dimming cannot cure an overload by generation). All
    chargers on that phase above 4.2 kW then go down to 4.2 kW; a three-phase charger where any of its phases is over.
    A phase is released when it would have stayed below ``release_percent`` with the dimmed cars at full power, for
    ``hold_min`` without a break. Household load is never touched, and no charger is dimmed below 4.2 kW [1]_.

    Parameters
    ----------
    feeder : Feeder
        Ratings, and the phases of every charger.
    trigger_percent : float
        Loading above which a phase is dimmed [%].
    release_percent : float
        Loading below which the phase would have to stay undimmed [%]; at most ``trigger_percent``.
    hold_min : float
        How long a phase would have to stay below ``release_percent`` without a break before it is released [min].

    Raises
    ------
    InputError
        Where the feeder gives neither rating, or an option is out of range.

    References
    ----------
    .. [1] Energiewirtschaftsgesetz (EnWG), section 14a; Bundesnetzagentur, decision BK6-22-300, annex 1.
    """

    every_step = True

    def __init__(
        self, feeder: Feeder, *, trigger_percent: float = 100.0, release_percent: float = 90.0, hold_min: float = 15.0
    ) -> None:
        ranges = (
            ("trigger_percent", trigger_percent, 1.0, 200.0, "a percentage"),
            ("release_percent", release_percent, 0.0, trigger_percent, "a percentage"),
            ("hold_min", hold_min, 0.0, 1440.0, "minutes"),
        )
        faults = list(range_faults("controller 'dimming'", ranges))
        if faults:
            raise InputError(faults)
        known_phase_limit_a(feeder, "dimming")
        head_a = feeder.network.branch(feeder.head_line).rating_a if feeder.head_line else np.nan
        self._rating_a = np.array([[feeder.transformer_rating_a], [head_a]])
        self._trigger, self._release, self._hold_min = trigger_percent / 100.0, release_percent / 100.0, hold_min
        self._shares = feeder.phase_matrix
        # below 6 A a charger pauses, and 4.2 kW are guaranteed, not a pause
        self._floor_kw = np.maximum(GUARANTEED_KW, feeder.charger_min_kw)
        self._dimmed = np.zeros(3, dtype=bool)
        self._calm_min = np.zeros(3)
        self._limit_kw = np.full(len(self._shares), np.inf)

    def plan(self, forecast: Forecast) -> None:  # noqa: ARG002 - the protocol's signature
        """Forget the last horizon; nothing else to prepare."""
        self._dimmed[:] = False
        self._calm_min[:] = 0.0
        self._limit_kw[:] = np.inf

    def decide(self, observation: Observation) -> Setpoints:
        """Dim, keep dimmed, or release every phase."""
        importing = observation.net_kw @ self._shares > 0
        over = (self._loading(observation) > self._trigger) & importing
        # more charging relieves a phase that exports, so nothing speaks against releasing it
        calm = ~importing | (self._loading(observation, self._rebound_a(observation)) <= self._release)
        self._calm_min = np.where(calm, self._calm_min + observation.step_min, 0.0)
        self._dimmed = over | (self._dimmed & (self._calm_min < self._hold_min))
        dimmed_customers = (self._shares[:, self._dimmed] > 0).any(axis=1)
        self._limit_kw = np.where(dimmed_customers, self._floor_kw, np.inf)
        unlimited = np.full(len(self._shares), np.inf)
        return Setpoints(unlimited, self._limit_kw, unlimited)

    def _loading(self, observation: Observation, extra_a: Float | float = 0.0) -> Float:
        """Current over rating of the worse of transformer and head line, shape (3,)."""
        current_a = np.abs([observation.transformer_current_a, observation.head_current_a])
        loading: Float = np.fmax.reduce((current_a + extra_a) / self._rating_a)
        return loading

    def _rebound_a(self, observation: Observation) -> Float:
        """Current that the cars which are held at their limit would add if released, shape (3,) [A]."""
        held = observation.ev_kw >= self._limit_kw - _AT_LIMIT_KW
        extra_kw = np.where(held, np.maximum(observation.charger_kw - observation.ev_kw, 0.0), 0.0)
        extra_a: Float = (1e3 * extra_kw / observation.voltage_v) @ self._shares
        return extra_a
