"""Local control: inverters and chargers answer their own voltage by curves that are chosen once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosim.contract import Curve, Feeder, Forecast, LocalCurves, Observation, Setpoints
from cosim.errors import Fault, InputError

NOMINAL_V = 230.0
"""Phase-to-neutral voltage of the systems that the standards were written for."""

_AS_NZS = "AS/NZS 4777.2:2020, Australia A"
_VDE = "VDE-AR-N 4105:2018-11, Q(U), displacement factor {}"
_EV = "Volt-Watt mirrored for charging: full power from 0.95 pu up, 6 A at 0.90 pu; no standard fixes it"


def _vde_volt_var(displacement_factor: float) -> Curve:
    most = float(np.sin(np.arccos(displacement_factor)))
    volts = tuple(NOMINAL_V * pu for pu in (0.93, 0.97, 1.03, 1.07))
    return Curve(volts, (-most, 0.0, 0.0, most), _VDE.format(displacement_factor))


STANDARDS: dict[str, LocalCurves] = {
    "as_nzs_4777_2_australia_a": LocalCurves(
        pv_volt_watt=Curve((253.0, 260.0), (1.0, 0.2), _AS_NZS),
        # of the rated apparent power: 44 % supplied at 207 V, 60 % absorbed at 258 V
        pv_volt_var=Curve((207.0, 220.0, 240.0, 258.0), (-0.44, 0.0, 0.0, 0.60), _AS_NZS),
    ),
    # Volt-Watt is optional there, and no default curve is given
    "vde_ar_n_4105": LocalCurves(pv_volt_var=_vde_volt_var(0.95)),
    "vde_ar_n_4105_above_4_6_kva": LocalCurves(pv_volt_var=_vde_volt_var(0.90)),
}
"""Curves for inverters on a 230 V system, by standard. Reactive power + is absorbed, as everywhere in this house."""

EV_VOLT_WATT = Curve((0.90 * NOMINAL_V, 0.95 * NOMINAL_V), (6.0 / 32.0, 1.0), _EV)
"""Largest charging power; 6 A is this share of a 32 A charger, and smaller chargers stop at their own 6 A."""


class Droop:
    """Let inverters and chargers follow Volt-Watt and Volt-VAr curves of a standard.

    The curves are chosen once; devices answer their own voltage inside every step, with no communication. They are
    those of a 230 V system and are scaled where the feeder's nominal voltage is another. Volt-VAr takes precedence
    over active power [1]_.

    Parameters
    ----------
    feeder : Feeder
        For the nominal voltage.
    standard : str
        Whose curves: ``as_nzs_4777_2_australia_a``, ``vde_ar_n_4105`` or ``vde_ar_n_4105_above_4_6_kva``.
    pv_volt_watt : bool
        Inverters lower their power when the voltage is high, where the standard has such a curve.
    pv_volt_var : bool
        Inverters supply or absorb reactive power with the voltage.
    ev_volt_watt : bool
        Chargers lower their power when the voltage is low.

    Raises
    ------
    InputError
        Where there is no such standard.

    References
    ----------
    .. [1] AS/NZS 4777.2:2020, Australia A: Volt-Watt 100 % at 253 V to 20 % at 260 V; Volt-VAr 44 % supplied at
       207 V, none from 220 to 240 V, 60 % absorbed at 258 V. VDE-AR-N 4105:2018-11 for Q(U): breaks at 0.93, 0.97,
       1.03 and 1.07 of nominal, displacement factor 0.95 up to 4.6 kVA and 0.90 above.
    """

    def __init__(
        self,
        feeder: Feeder,
        *,
        standard: str = "as_nzs_4777_2_australia_a",
        pv_volt_watt: bool = True,
        pv_volt_var: bool = True,
        ev_volt_watt: bool = True,
    ) -> None:
        if standard not in STANDARDS:
            problem, remedy = f"there is no standard {standard!r}", f"use one of {', '.join(STANDARDS)}"
            raise InputError(Fault("controller 'droop'", "standard", problem, remedy))
        chosen, factor = STANDARDS[standard], feeder.nominal_voltage_v / NOMINAL_V
        self.curves = LocalCurves(
            pv_volt_watt=_scaled(chosen.pv_volt_watt, factor) if pv_volt_watt else None,
            pv_volt_var=_scaled(chosen.pv_volt_var, factor) if pv_volt_var else None,
            ev_volt_watt=_scaled(EV_VOLT_WATT, factor) if ev_volt_watt else None,
        )
        unlimited = np.full(len(feeder.customers), np.inf)
        self._setpoints = Setpoints(unlimited, unlimited, unlimited, curves=self.curves)

    def plan(self, forecast: Forecast) -> None:
        """Nothing to prepare: the curves need no forecast."""

    def decide(self, observation: Observation) -> Setpoints:  # noqa: ARG002 - the protocol's signature
        """The same curves at any time."""
        return self._setpoints


def _scaled(curve: Curve | None, factor: float) -> Curve | None:
    return None if curve is None else replace(curve, voltage_v=tuple(factor * volt for volt in curve.voltage_v))
