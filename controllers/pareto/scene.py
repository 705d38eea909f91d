"""What a decision is made about: a few periods, and what a candidate does in each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from cosim.contract import EXPORT_EUR_PER_KWH, Complex, Float, Int
from cosim.contract.signals import Bool


@dataclass(frozen=True, eq=False)
class Scene:
    """Periods, one after another; the first ``controlled`` of them can be influenced one by one.

    What follows them, if anything, is one period that stands for the mean of the rest of the cars' windows: what is
    not charged before is charged then.

    Attributes
    ----------
    hours : ndarray, shape (period,)
        Lengths [h].
    controlled : int
        Number of leading periods with variables of their own.
    net_kw, net_kvar : ndarray, shape (period, customer)
        Consumption without the cars and roofs that can be limited.
    sun_kw : ndarray, shape (period, customer)
        What the roofs could give; 0 in the rest, whose roofs are in ``net_kw``.
    wanted_kw : ndarray, shape (period, customer)
        Charging without any limit; 0 in the rest.
    tariff_eur_per_kwh : ndarray, shape (period,)
        Price of import.
    source_pu : float or None
        Source voltage; None for the feeder's own.
    export_eur_per_kwh : float
        Price of export.
    """

    hours: Float
    controlled: int
    net_kw: Float
    net_kvar: Float
    sun_kw: Float
    wanted_kw: Float
    tariff_eur_per_kwh: Float
    source_pu: float | None
    export_eur_per_kwh: float = EXPORT_EUR_PER_KWH

    @property
    def share(self) -> Float:
        """Lengths of all periods over their sum, shape (period,)."""
        weights: Float = self.hours / self.hours.sum()
        return weights

    @property
    def controlled_share(self) -> Float:
        """The same of the controlled periods alone, shape (controlled,)."""
        weights: Float = self.hours[: self.controlled] / self.hours[: self.controlled].sum()
        return weights


class Space(Protocol):
    """What can be set: variables in 0..1 for a search, powers in kW for mathematics.

    Attributes
    ----------
    n_var : int
        Number of variables; 1 is no limit.
    roof : ndarray of bool, shape (variable,)
        True where the variable is the generation of a roof, False where it is charging.
    period : ndarray of int, shape (variable,)
        Controlled period it belongs to.
    low_kw, high_kw : ndarray, shape (variable,)
        Bounds of the powers, chargers' least power left out of account.
    even_kw : ndarray, shape (variable,)
        Powers in the middle of the road: charging at an even pace, all the sun.
    rows : ndarray, shape (row, variable)
        Linear conditions ``row_low <= rows @ kw <= row_high`` beyond the bounds.
    row_low, row_high : ndarray, shape (row,)
        Their limits.
    """

    n_var: int
    roof: Bool
    period: Int
    low_kw: Float
    high_kw: Float
    even_kw: Float
    rows: Float
    row_low: Float
    row_high: Float

    def decode(self, x: Float) -> Float:
        """Mean powers of candidates, shape (candidate, variable) [kW]; always attainable."""
        ...

    def encode(self, kw: Float) -> Float:
        """Variables that give powers as near to these as can be attained, shape (candidate, variable)."""
        ...

    def powers(self, kw: Float) -> tuple[Float, Float]:
        """Charging and generation, each of shape (candidate, period, customer) [kW]; affine in the argument."""
        ...


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A batch of candidates and what the predictor says about them.

    Attributes
    ----------
    scene : Scene
        What they were evaluated in.
    ev_kw, pv_kw, net_kw : ndarray, shape (candidate, period, customer)
        Mean charging, generation and net consumption.
    voltage_v, drawn_a : ndarray of complex, shape (candidate, period, port)
        Voltage of every phase of every customer, and the current it draws.
    no_load_v : ndarray of complex, shape (port,)
        Voltages of the network without any load.
    current_a : ndarray of complex, shape (candidate, period, line, 3)
        Currents of the lines that the objectives watch.
    bus_v : ndarray of complex, shape (candidate, period, bus, 3)
        Voltages of the buses that the objectives watch.
    nominal_v : ndarray, shape (port,)
        Base of voltages [V].
    """

    scene: Scene
    ev_kw: Float
    pv_kw: Float
    net_kw: Float
    voltage_v: Complex
    drawn_a: Complex
    no_load_v: Complex
    current_a: Complex
    bus_v: Complex
    nominal_v: Float
