"""What a decision is made about: the steps of a few periods, and what a candidate does in each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from cosim.contract import EXPORT_EUR_PER_KWH, Complex, Float, Int
from cosim.contract.signals import Bool


@dataclass(frozen=True, eq=False)
class Scene:
    """Operating points, one after another: first every step of the periods that can be influenced one by one.

    What follows them, if anything, is one point that stands for the mean of the rest of the cars' windows: what is not
    charged before is charged then.

    Attributes
    ----------
    hours : ndarray, shape (point,)
        Lengths [h].
    period : ndarray of int, shape (step,)
        Control period of every step; steps are the leading points.
    net_kw, net_kvar : ndarray, shape (point, customer)
        Consumption without the cars and roofs that can be limited.
    sun_kw : ndarray, shape (point, customer)
        What the roofs could give; 0 in the rest, whose roofs are in ``net_kw``.
    wanted_kw : ndarray, shape (point, customer)
        Charging without any limit; 0 in the rest.
    tariff_eur_per_kwh : ndarray, shape (point,)
        Price of import.
    source_pu : ndarray, shape (point,)
        Source voltage; nan for the feeder's own.
    before_kw : float
        Net consumption of all in the step before; nan where there was none.
    charging : ndarray of bool, shape (customer,)
        Cars that were charging in it.
    offered_kwh, curtailed_kwh : ndarray, shape (customer,)
        What roofs could have given so far, and what of it was to be curtailed.
    others_kva : ndarray of complex, shape (point, source), or None
        What the file's own sources feed in.
    first_step : int
        Number of the first step in the run.
    export_eur_per_kwh : float
        Price of export.
    """

    hours: Float
    period: Int
    net_kw: Float
    net_kvar: Float
    sun_kw: Float
    wanted_kw: Float
    tariff_eur_per_kwh: Float
    source_pu: Float
    before_kw: float
    charging: Bool
    offered_kwh: Float
    curtailed_kwh: Float
    others_kva: Complex | None = None
    first_step: int = 0
    export_eur_per_kwh: float = EXPORT_EUR_PER_KWH

    @property
    def steps(self) -> int:
        """Number of leading points that can be influenced."""
        return len(self.period)

    @property
    def share(self) -> Float:
        """Lengths of all points over their sum, shape (point,)."""
        return np.asarray(self.hours / self.hours.sum())

    @property
    def step_share(self) -> Float:
        """The same of the steps alone, shape (step,)."""
        return np.asarray(self.hours[: self.steps] / self.hours[: self.steps].sum())


class Space(Protocol):
    """What can be set: variables in 0..1 for a search, powers in kW for mathematics.

    Attributes
    ----------
    n_var : int
        Number of variables; 1 is no limit.
    roof : ndarray of bool, shape (variable,)
        True where the variable is the highest generation of a roof, False where it is the rate of a charger.
    period, customer : ndarray of int, shape (variable,)
        Control period and customer it belongs to.
    low_kw, high_kw : ndarray, shape (variable,)
        Bounds of the powers, chargers' least power left out of account.
    least_kw : ndarray, shape (variable,)
        Least power at which a charger runs; 0 for roofs.
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
    customer: Int
    low_kw: Float
    high_kw: Float
    least_kw: Float
    even_kw: Float
    rows: Float
    row_low: Float
    row_high: Float

    def decode(self, x: Float) -> Float:
        """Powers of candidates, shape (candidate, variable) [kW]; always attainable."""
        ...

    def encode(self, kw: Float) -> Float:
        """Variables that give powers as near to these as can be attained, shape (candidate, variable)."""
        ...

    def powers(self, kw: Float) -> tuple[Float, Float]:
        """Charging and generation at every point, each of shape (candidate, point, customer) [kW]."""
        ...


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A batch of candidates and what the predictor says about them.

    Attributes
    ----------
    scene : Scene
        What they were evaluated in.
    ev_kw, pv_kw, net_kw : ndarray, shape (candidate, point, customer)
        Charging, generation and net consumption.
    voltage_v, drawn_a : ndarray of complex, shape (candidate, point, port)
        Voltage of every phase of every customer, and the current it draws; behind them currents of own sources.
    lossy : ndarray of complex, shape (port, loss)
        Currents times this, squared and summed, are what is lost on their way [√kW/A].
    current_a : ndarray of complex, shape (candidate, point, line, 3)
        Currents of the lines that the objectives watch.
    loading_a : ndarray of complex, shape (candidate, point, branch, 3)
        Currents of all branches with a limit.
    bus_v : ndarray of complex, shape (candidate, point, bus, 3)
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
    lossy: Complex
    current_a: Complex
    loading_a: Complex
    bus_v: Complex
    nominal_v: Float


@dataclass(frozen=True, eq=False)
class Slopes:
    """What one kW more of each variable changes at a candidate, to first order.

    Attributes
    ----------
    at : Evaluated
        The candidate, alone in its batch.
    kw : ndarray, shape (variable,)
        Its powers.
    space : Space
        The variables.
    ev_kw, pv_kw, net_kw : ndarray, shape (variable, point, customer)
        Change of charging, generation and net consumption; 0 at others than the variable's own customer.
    voltage_v, drawn_a : ndarray of complex, shape (variable, point, port)
        Of voltages and drawn currents.
    current_a : ndarray of complex, shape (variable, point, line, 3)
        Of the watched lines' currents.
    """

    at: Evaluated
    kw: Float
    space: Space
    ev_kw: Float
    pv_kw: Float
    net_kw: Float
    voltage_v: Complex
    drawn_a: Complex
    current_a: Complex
