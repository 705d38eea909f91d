"""What passes between controller and plant: observations one way, setpoints the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cosim.contract.survey import FrozenArrays
from cosim.network import Complex, Float

Bool = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Observation(FrozenArrays):
    """What meters report at a control step: means of the last completed step.

    Attributes
    ----------
    step : int
        The step that is about to begin.
    minute : float
        Its start, minutes from the start of the horizon [min].
    step_min : float
        Length of a step [min].
    voltage_v : ndarray, shape (customer,)
        At the meter; of a three-phase customer the phase farthest from nominal [V].
    demand_kw, demand_kvar, pv_kw, pv_available_kw, ev_kw, net_kw, net_kvar : ndarray, shape (customer,)
        Metered powers; available PV as an irradiance sensor would estimate it.
    plugged : ndarray of bool, shape (customer,)
        A car is there *now*, at the start of the step.
    energy_left_kwh, soc_kwh : ndarray, shape (customer,)
        What its driver still wants in the battery, and its content; 0 without a car.
    departure_min : ndarray, shape (customer,)
        Announced departure, minutes from the start of the horizon; nan without a car.
    last_left_minutes : ndarray, shape (customer,)
        When the last car left, minutes from the start of the horizon; nan where none has yet.
    charger_kw, charger_min_kw, efficiency : ndarray, shape (customer,)
        Of the present car's charger; 0, 0 and 1 without a car.
    inverter_kva : ndarray, shape (customer,)
        Inverter rating.
    tariff_eur_per_kwh : float
        Price of the step that begins; of the homes of no group, where groups of homes have other tariffs.
    source_pu : float
        Source voltage of the last step.
    current_a : ndarray of complex, shape (monitored, 3)
        Currents at the monitored branches [A].
    transformer_current_a : ndarray of complex, shape (3,)
        Currents into the area with most customers, at its transformers' terminals [A].
    head_current_a : ndarray of complex, shape (3,)
        Currents in the head line [A]; the transformer's where there is no head line.
    limit_percent : ndarray, shape (limit,)
        Current over rated current of every one of ``Feeder.limits`` [%].
    devices_kw : ndarray, shape (customer,)
        What devices other than cars and roofs drew together, fed in negative.
    channels : mapping of str to ndarray, shape (customer,)
        Their readings and nameplates by channel, such as ``battery_soc_kwh`` (see `cosim.devices`); empty without any.
    metered : ndarray of bool, shape (customer,), or None
        Homes whose own meter reports; of the others demand, sun, net power and voltage are guessed (see
        `cosim.meters`). None: all.
    """

    step: int
    minute: float
    step_min: float
    voltage_v: Float
    demand_kw: Float
    demand_kvar: Float
    pv_kw: Float
    pv_available_kw: Float
    ev_kw: Float
    net_kw: Float
    net_kvar: Float
    plugged: Bool
    energy_left_kwh: Float
    soc_kwh: Float
    departure_min: Float
    last_left_minutes: Float
    charger_kw: Float
    charger_min_kw: Float
    efficiency: Float
    inverter_kva: Float
    tariff_eur_per_kwh: float
    source_pu: float
    current_a: Complex
    transformer_current_a: Complex
    head_current_a: Complex
    limit_percent: Float
    devices_kw: Float
    channels: Mapping[str, Float] = field(default_factory=dict)
    metered: Bool | None = None

    @property
    def inflexible_kw(self) -> Float:
        """Net load without cars and without limits, below 0 where PV exceeds it; shape (customer,) [kW]."""
        return self.inflexible_load_kw - self.pv_available_kw

    @property
    def inflexible_load_kw(self) -> Float:
        """Demand, and what devices other than cars and roofs drew; shape (customer,) [kW]."""
        return self.demand_kw + self.devices_kw

    def of_devices(self, reading: str) -> dict[str, Float]:
        """One reading of every kind of device that has it, by kind: of ``rated_kw`` those of ``<kind>_rated_kw``."""
        ending = f"_{reading}"
        return {name.removesuffix(ending): x for name, x in self.channels.items() if name.endswith(ending)}


@dataclass(frozen=True)
class Curve:
    """A piecewise-linear local law of an inverter or a charger against its own voltage.

    Attributes
    ----------
    voltage_v : tuple of float
        Break points, increasing [V].
    share : tuple of float
        Share of the rating at each; constant outside.
    source : str
        The standard or document it comes from.
    """

    voltage_v: tuple[float, ...]
    share: tuple[float, ...]
    source: str

    def __call__(self, voltage_v: Float) -> Float:
        """Return the share of the rating at those voltages."""
        return np.interp(voltage_v, self.voltage_v, self.share)


@dataclass(frozen=True)
class LocalCurves:
    """Curves that devices follow by themselves inside a step.

    Attributes
    ----------
    pv_volt_watt : Curve or None
        Upper limit of active power, share of the inverter's rating.
    pv_volt_var : Curve or None
        Reactive power *consumed* by the inverter, share of its rating (+ absorbs, lowers the voltage).
    ev_volt_watt : Curve or None
        Upper limit of charging, share of the charger's rating; never below its 6 A minimum unless the share is 0.
        Batteries charge and heat pumps run by the same curve, ``pv_volt_watt`` holds for discharging batteries too.
    """

    pv_volt_watt: Curve | None = None
    pv_volt_var: Curve | None = None
    ev_volt_watt: Curve | None = None


@dataclass(frozen=True, eq=False)
class Decision:
    """How the numbers of a setpoint were obtained.

    Attributes
    ----------
    status : str
        ``rule`` where no solver took part; else the solver's own end: ``optimal``, ``gap_limit``, ``node_limit``, ...
    objective, bound, gap : float
        Value, proven bound and relative gap; nan where there is none.
    fallback : str
        Empty, or why another method had to stand in.
    reproducible : bool
        False where a wall-clock limit struck.
    wall_s : float
        Time taken [s] (kept apart: never in metrics).
    """

    status: str = "rule"
    objective: float = float("nan")
    bound: float = float("nan")
    gap: float = float("nan")
    fallback: str = ""
    reproducible: bool = True
    wall_s: float = 0.0


@dataclass(frozen=True, eq=False)
class Setpoints(FrozenArrays):
    """What the controller asks for, until it asks again. ``inf``: no limit.

    Attributes
    ----------
    import_cap_kw : ndarray, shape (customer,)
        Largest net import at the meter.
    ev_limit_kw, pv_limit_kw : ndarray, shape (customer,)
        Largest charging and feed-in.
    curves : LocalCurves or None
        Local laws, from now on.
    published_cap_kw : ndarray or None, shape (step, customer)
        Caps announced for the whole horizon, so that households can plan their charging.
    ev_at_once : ndarray of bool, shape (customer,), or None
        Homes whose cars charge as soon as their limits allow, whatever the tariff; None: every home chooses its hours.
    planned_kva : float
        Apparent power that the controller expects at the transformer in this step; nan: no promise.
    channels : mapping of str to ndarray, shape (customer,)
        What is asked of other devices, by channel (see `cosim.devices`): ``heat_pump_limit_kw``, ``battery_target_kw``
        (a target, + charges; nan: its own control), ``battery_limit_kw`` (of charging). What is not named is free.
    export_cap_kw : ndarray or None, shape (customer,)
        Largest net feed-in at the meter, of roof and battery together; None: no limit for anybody.
    fallback_kw : ndarray or None, shape (2, customer)
        Caps on import and on export that were agreed beforehand for homes without communication in this step; None:
        these keep what they heard last.
    decision : Decision
        How it was obtained.
    """

    import_cap_kw: Float
    ev_limit_kw: Float
    pv_limit_kw: Float
    curves: LocalCurves | None = None
    published_cap_kw: Float | None = None
    ev_at_once: Bool | None = None
    planned_kva: float = float("nan")
    channels: Mapping[str, Float] = field(default_factory=dict)
    export_cap_kw: Float | None = None
    fallback_kw: Float | None = None
    decision: Decision = field(default_factory=Decision)

    def channel(self, name: str, free: float, customers: int) -> Float:
        """What is asked of a channel; ``free`` of every customer where nothing is."""
        asked = self.channels.get(name)
        return _nothing_asked(customers, free) if asked is None else asked

    @classmethod
    def free(cls, customers: int) -> Setpoints:
        """No limit for anybody."""
        unlimited = np.full(customers, np.inf)
        return cls(unlimited, unlimited, unlimited)


@lru_cache(maxsize=32)  # several times in every step
def _nothing_asked(customers: int, free: float) -> Float:
    found = np.full(customers, free)
    found.setflags(write=False)
    return found
