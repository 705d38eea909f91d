"""Dimming by the network operator, as section 14a of the German energy act (EnWG) has it."""

from __future__ import annotations

import numpy as np

from cosim.contract import Feeder, Float, Forecast, Observation, Setpoints
from cosim.controllers.limits import known_limits
from cosim.errors import range_faults, refuse

GUARANTEED_KW = 4.2
"""Power that a dimmed device keeps: section 14a EnWG and BNetzA, decision BK6-22-300 (2023-11-27)."""

_AT_LIMIT_KW = 0.05  # a car that draws this close to its limit would draw more without it


class Dimming:
    """Dim chargers, heat pumps and batteries while a limit on their way is exceeded; release with hysteresis.

    Limits are those of ``Feeder.limits``: every transformer, regulator, head line, watched line and neutral conductor,
    phase by phase. One is exceeded when the current of the last step was above its rating while the homes behind it
    import on that phase (dimming cannot cure an overload by generation). All chargers behind it above 4.2 kW then go
    down to 4.2 kW (not one that is on another phase of its home), and so do batteries that charge and heat pumps with
    their backup heaters, of more than 11 kW down to 40 % of it.
    They are released when it would have stayed below ``release_percent`` with what is dimmed at full power, for
    ``hold_min`` without a break. Household load is never touched, and no device is dimmed below 4.2 kW [1]_.

    Parameters
    ----------
    feeder : Feeder
        Ratings, and the chargers behind them.
    trigger_percent : float
        Loading above which chargers are dimmed [%].
    release_percent : float
        Loading below which it would have to stay undimmed [%]; at most ``trigger_percent``.
    hold_min : float
        How long it would have to stay below ``release_percent`` without a break before they are released [min].

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
        refuse(range_faults("controller 'dimming'", ranges))
        limits = known_limits(feeder, "dimming")
        self._trigger, self._release, self._hold_min = trigger_percent, release_percent, hold_min
        self._share, self._car_share = feeder.limit_share, feeder.charger_limit_share
        # percent of a limit for a kilowatt of a home behind it, at the home's nominal voltage
        per_kw = np.array([1e5 / (limit.nominal_v * limit.rating_a) for limit in limits])
        self._percent_per_kw = self._share * per_kw[:, None]
        self._percent_per_car_kw = self._car_share * per_kw[:, None]
        self._nominal_v = feeder.customer_nominal_v
        # below 6 A a charger pauses, and 4.2 kW are guaranteed, not a pause
        self._floor_kw = np.maximum(GUARANTEED_KW, feeder.charger_min_kw)
        self._dimmed = np.zeros(len(limits), dtype=bool)
        self._calm_min = np.zeros(len(limits))
        self._limit_kw = np.full(len(feeder.customers), np.inf)
        self._device_limit_kw: dict[str, Float] = {}

    def plan(self, forecast: Forecast) -> None:  # noqa: ARG002 - the protocol's signature
        """Forget the last horizon; nothing else to prepare."""
        self._dimmed[:] = False
        self._calm_min[:] = 0.0
        self._limit_kw[:] = np.inf
        self._device_limit_kw = {}

    def decide(self, observation: Observation) -> Setpoints:
        """Dim, keep dimmed, or release what is behind every limit."""
        beside_kw = observation.net_kw - observation.ev_kw
        importing = self._share @ beside_kw + self._car_share @ observation.ev_kw > 0
        over = (observation.limit_percent > self._trigger) & importing
        # more charging relieves a limit that carries export, so nothing speaks against releasing
        calm = ~importing | (observation.limit_percent + self._rebound_percent(observation) <= self._release)
        self._calm_min = np.where(calm, self._calm_min + observation.step_min, 0.0)
        self._dimmed = over | (self._dimmed & (self._calm_min < self._hold_min))
        behind, cars_behind = (share[self._dimmed].any(axis=0) for share in (self._share, self._car_share))
        self._limit_kw = np.where(cars_behind, self._floor_kw, np.inf)
        unlimited = np.full(len(self._limit_kw), np.inf)
        self._device_limit_kw = {
            kind: np.where(behind, kept_kw, np.inf) for kind, kept_kw in observation.of_devices("guaranteed_kw").items()
        }
        channels = {f"{kind}_limit_kw": limit_kw for kind, limit_kw in self._device_limit_kw.items()}
        return Setpoints(unlimited, self._limit_kw, unlimited, channels=channels)

    def _rebound_percent(self, observation: Observation) -> Float:
        """Loading that what is held at its limit would add if released, shape (limit,) [%]."""
        seen, nominal_pu = observation.channels, self._nominal_v / observation.voltage_v
        cars_kw = _held_back_kw(observation.ev_kw, observation.charger_kw, self._limit_kw)
        added: Float = self._percent_per_car_kw @ (cars_kw * nominal_pu)
        for kind, limit_kw in self._device_limit_kw.items():
            extra_kw = _held_back_kw(seen[f"{kind}_kw"], seen[f"{kind}_rated_kw"], limit_kw)
            added = added + self._percent_per_kw @ (extra_kw * nominal_pu)
        return added


def _held_back_kw(drawn_kw: Float, rated_kw: Float, limit_kw: Float) -> Float:
    """What units that draw close to their limit may draw beyond it, shape (customer,)."""
    return np.where(drawn_kw >= limit_kw - _AT_LIMIT_KW, np.maximum(rated_kw - drawn_kw, 0.0), 0.0)
