"""What meters tell of the world: with noise, late, or not at all. Controllers see that, and nothing else."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cosim.contract import Exogenous, Feeder, Float, Observation
from cosim.contract.signals import Bool

_POWERS = ("demand_kw", "demand_kvar", "pv_kw", "pv_available_kw", "ev_kw", "net_kw", "net_kvar", "devices_kw")
_CURRENTS = ("current_a", "transformer_current_a", "head_current_a", "limit_percent")
_METERED = (*_POWERS, *_CURRENTS, "voltage_v", "source_pu")


@dataclass(frozen=True)
class MeterSpec:
    """How well a feeder is metered.

    Attributes
    ----------
    noise_percent : float
        Standard deviation of every power of a home and every current, independent from step to step [% of the value].
    voltage_noise_percent : float
        The same of voltages.
    latency_steps : int
        Steps by which readings come later than the declared delay of one.
    missing_share : float
        Share of homes whose meter never reports.
    seed : tuple of int
        Of all draws.
    """

    noise_percent: float = 0.0
    voltage_noise_percent: float = 0.0
    latency_steps: int = 0
    missing_share: float = 0.0
    seed: tuple[int, ...] = (0,)


class Meters:
    """Turns what is true into what is reported, step by step.

    Powers, voltages and currents pass through it, those of the substation too. What chargers, drivers and devices say
    themselves (cars, batteries, heat pumps: present, content, departure) does not, nor do prices.

    A home without a meter is told as the forecast expects it: its demand and sun, with charging and devices as these
    say themselves, at the mean per-unit voltage of the homes that are metered (nominal where none is);
    ``Observation.metered`` says which. The first observation, which is a forecast, has no noise.

    Parameters
    ----------
    spec : MeterSpec
        How well.
    feeder : Feeder
        For nominal voltages.
    expected : Exogenous
        The forecast, on the steps of the run.
    """

    def __init__(self, spec: MeterSpec, feeder: Feeder, expected: Exogenous) -> None:
        customers = len(feeder.customers)
        self._spec, self._expected, self._nominal_v = spec, expected, feeder.customer_nominal_v
        self._rng = np.random.default_rng(spec.seed)
        self.metered: Bool = np.ones(customers, dtype=bool)
        self.metered[self._rng.permutation(customers)[: round(spec.missing_share * customers)]] = False
        self._late: deque[Observation] = deque(maxlen=spec.latency_steps + 1)

    def report(self, true: Observation) -> Observation:
        """Report a step; to be called once a step and in order, whether or not anyone decides there."""
        readings = self._noisy(true) if true.step else true
        self._late.append(readings)
        came = self._late[0]
        told: dict[str, Any] = {name: getattr(came, name) for name in _METERED}
        if not self.metered.all():
            told |= self._guessed(came, max(came.step - 1, 0))
        return replace(true, metered=self.metered, **told)

    def _noisy(self, true: Observation) -> Observation:
        power, voltage = self._spec.noise_percent / 100.0, self._spec.voltage_noise_percent / 100.0
        noisy: dict[str, Any] = {
            name: (values := getattr(true, name)) * (1.0 + power * self._rng.standard_normal(values.shape))
            for name in (*_POWERS, *_CURRENTS)
        }
        noisy["voltage_v"] = true.voltage_v * (1.0 + voltage * self._rng.standard_normal(true.voltage_v.shape))
        noisy["source_pu"] = true.source_pu * (1.0 + voltage * float(self._rng.standard_normal()))
        return replace(true, **noisy)

    def _guessed(self, came: Observation, step: int) -> dict[str, Float]:
        """What a reader puts in for homes without a meter."""
        day, known = self._expected, self.metered
        sun_kw = day.pv_available_kw[step]
        guess = {
            "demand_kw": day.demand_kw[step],
            "demand_kvar": day.demand_kvar[step],
            "pv_kw": sun_kw,
            "pv_available_kw": sun_kw,
            "net_kw": day.demand_kw[step] - sun_kw + came.ev_kw + came.devices_kw,
            "net_kvar": day.demand_kvar[step],
        }
        mean_pu = float((came.voltage_v / self._nominal_v)[known].mean()) if known.any() else 1.0
        guess["voltage_v"] = mean_pu * self._nominal_v
        return {name: np.where(known, getattr(came, name), values) for name, values in guess.items()}
