"""Inverters of roof plants: limits, local curves and rating, reactive power first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cosim.contract import Exogenous, Feeder, Float, LocalCurves
from cosim.devices.base import GENERATES, Channel, Device, Moment


def pv_output(
    available_kw: Float, limit_kw: Float, inverter_kva: Float, voltage_v: Float, curves: LocalCurves | None
) -> tuple[Float, Float]:
    """Power of the inverters: limits, local curves and rating, reactive power first.

    Parameters
    ----------
    available_kw, limit_kw, inverter_kva : ndarray, shape (customer,)
        Sun, setpoint, rating.
    voltage_v : ndarray, shape (customer,)
        Voltage at the terminals [V].
    curves : LocalCurves or None
        Volt-VAr takes precedence over active power, as AS/NZS 4777.2:2020 (3.3.2) has it.

    Returns
    -------
    pv_kw, pv_kvar : ndarray, shape (customer,)
        Generation, and reactive power *consumed*.
    """
    ceiling_kw = np.minimum(limit_kw, inverter_kva)
    kvar = np.zeros_like(inverter_kva)
    if curves is not None:
        if curves.pv_volt_var is not None:
            # an inverter gives reactive power only while the sun drives it
            kvar = curves.pv_volt_var(voltage_v) * inverter_kva * (available_kw > 0)
            ceiling_kw = np.minimum(ceiling_kw, np.sqrt((inverter_kva**2 - kvar**2).clip(0.0)))
        if curves.pv_volt_watt is not None:
            ceiling_kw = np.minimum(ceiling_kw, curves.pv_volt_watt(voltage_v) * inverter_kva)
    return np.minimum(available_kw, ceiling_kw).clip(0.0), kvar


class PvInverter(Device):
    """Roof plants. Reactive power takes precedence over active, see `pv_output`."""

    name = "pv"
    turn = GENERATES
    readings = (Channel("pv_kw", "generation"), Channel("pv_kvar", "reactive power that the inverter consumes"))

    def __init__(self, data: Any, feeder: Feeder, day: Exogenous) -> None:  # noqa: ARG002 - the protocol's signature
        self._available_kw, self._inverter_kva = day.pv_available_kw, day.inverter_kva
        self._last = (np.zeros(len(feeder.customers)),) * 2

    def power(self, moment: Moment) -> tuple[Float, Float]:
        """Feed in the sun that limit, curves and rating leave."""
        asked, available_kw = moment.setpoints, self._available_kw[moment.step]
        kw, kvar = pv_output(available_kw, asked.pv_limit_kw, self._inverter_kva, moment.voltage_v, asked.curves)
        return -kw, kvar

    def advance(self, step: int, kw: Float, kvar: Float) -> None:  # noqa: ARG002 - the protocol's signature
        """Remember it; the sun has no state."""
        self._last = (-kw, kvar)

    def observe(self) -> Mapping[str, Float]:
        """Generation of the last step, as a positive number."""
        return {"pv_kw": self._last[0], "pv_kvar": self._last[1]}
