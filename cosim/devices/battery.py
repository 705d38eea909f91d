"""Home batteries: charged from the home's own surplus when nobody asks for anything else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cosim.contract import Exogenous, Feeder, Float
from cosim.contract.survey import FrozenArrays
from cosim.devices.base import BALANCES, Channel, Device, Moment

if TYPE_CHECKING:
    from cosim.trajectory import Trajectory

TARGET = Channel("battery_target_kw", "power asked for, + charges; nan: self-consumption", low=-np.inf, free=np.nan)
LIMIT = Channel("battery_limit_kw", "largest charging power")

GUARANTEED_KW = 4.2
"""Charging that a dimmed battery keeps: section 14a EnWG, BNetzA decision BK6-22-300 (2023-11-27), annex 1."""
EVEN_H = 5.0
"""A battery that is filled evenly takes what is left over this time: the sunny part of a day in spring."""


@dataclass(frozen=True, eq=False)
class Batteries(FrozenArrays):
    """Home batteries of a feeder; 0 where a customer has none.

    Attributes
    ----------
    capacity_kwh : ndarray, shape (customer,)
        Usable content [kWh].
    rated_kw : ndarray, shape (customer,)
        Rating at the meter, both ways [kW].
    charge_efficiency, discharge_efficiency : ndarray, shape (customer,)
        Content gained per energy drawn; energy fed in per content spent; in (0, 1].
    start_kwh : ndarray, shape (customer,)
        Content at the start [kWh].
    """

    capacity_kwh: Float
    rated_kw: Float
    charge_efficiency: Float
    discharge_efficiency: Float
    start_kwh: Float


class Battery(Device):
    """Batteries that follow a target or, without one, take the home's surplus and cover its deficit.

    Whatever is asked, power stays within rating, content and import cap (a home discharges to keep its cap). The target
    is kept against the home's own interest, not against its cap. Local curves act as on roofs and chargers:
    ``pv_volt_watt`` limits discharging, ``ev_volt_watt`` charging, as shares of the rating (AS/NZS 4777.2:2020, 3.3.2
    has both for inverters with storage). Unity power factor.
    """

    name = "battery"
    turn = BALANCES
    setpoints = (TARGET, LIMIT)
    columns: ClassVar = {
        "capacity_kwh": (0.1, 1000.0, "kilowatt-hours"),
        "power_kw": (0.01, 500.0, "kilowatts"),
        "charge_efficiency": (0.1, 1.0, "a share"),
        "discharge_efficiency": (0.1, 1.0, "a share"),
        "start_share": (0.0, 1.0, "a share of the capacity"),
    }
    optional = ("charge_efficiency", "discharge_efficiency", "start_share")
    readings = (Channel("battery_kw", "charging; discharging is negative"), Channel("battery_soc_kwh", "content"))

    def __init__(self, data: Batteries, feeder: Feeder, day: Exogenous) -> None:
        self._data, self._step_h = data, day.step_min / 60.0
        self._content_kwh, self._kw = data.start_kwh, np.zeros(len(feeder.customers))

    @staticmethod
    def draw(feeder: Feeder, day: Exogenous, rng: np.random.Generator, **options: Any) -> Batteries:  # noqa: ARG004
        """Give a share of the homes a battery, all of one kind; a larger share contains a smaller one.

        Parameters
        ----------
        feeder, day : Feeder, Exogenous
            The place.
        rng : numpy.random.Generator
            Source of the draw.
        **options
            ``share`` of homes; ``kwh``, ``kw`` and ``efficiency`` (of either way) of each; ``start_share``, content at
            the start of the whole; or ``units``, where efficiency and start share stand for what they leave out.
        """
        customers = len(feeder.customers)
        if (units := options.get("units")) is not None:
            blank = np.full(customers, np.nan)

            def of_units(column: str, otherwise: float) -> Float:
                values: Float = units.get(column, blank)
                return np.where(np.isnan(values), otherwise, values)

            in_share, out_share = (of_units(f"{way}charge_efficiency", options["efficiency"]) for way in ("", "dis"))
            capacity_kwh = of_units("capacity_kwh", 0.0)
            start_kwh = of_units("start_share", options["start_share"]) * capacity_kwh
            return Batteries(capacity_kwh, of_units("power_kw", 0.0), in_share, out_share, start_kwh)
        there = np.zeros(customers)
        there[rng.permutation(feeder.homes)[: round(options["share"] * len(feeder.homes))]] = 1.0
        capacity_kwh, each = options["kwh"] * there, np.full(customers, options["efficiency"])
        return Batteries(capacity_kwh, options["kw"] * there, each, each, options["start_share"] * capacity_kwh)

    def power(self, moment: Moment) -> tuple[Float, Float]:
        """Charge or discharge as asked, or for the home itself."""
        target_kw = moment.asked(TARGET)
        wanted_kw = np.where(np.isnan(target_kw), -moment.net_kw, target_kw)
        low_kw, high_kw = self._range_kw(moment)
        # the cap first: what it does not leave must be discharged, as far as there is content
        return np.clip(np.minimum(wanted_kw, moment.headroom_kw), low_kw, high_kw), np.zeros_like(wanted_kw)

    def support_kw(self, moment: Moment) -> Float:
        """What it would discharge for the cap: all it can, unless a target says otherwise."""
        target_kw = moment.asked(TARGET)
        most_kw = -self._range_kw(moment)[0]
        return np.where(np.isnan(target_kw), most_kw, np.clip(-target_kw, 0.0, most_kw))

    def advance(self, step: int, kw: Float, kvar: Float) -> None:  # noqa: ARG002 - the protocol's signature
        """Fill or empty it."""
        data = self._data
        gain_kw = np.where(kw > 0.0, kw * data.charge_efficiency, kw / data.discharge_efficiency)
        self._content_kwh = np.clip(self._content_kwh + gain_kw * self._step_h, 0.0, data.capacity_kwh)
        self._kw = kw

    def observe(self) -> Mapping[str, Float]:
        """Power of the last step, and content."""
        return {"battery_kw": self._kw, "battery_soc_kwh": self._content_kwh}

    def nameplate(self) -> Mapping[str, Float]:
        """Capacity, rating, efficiencies; what it keeps when dimmed; an even pace of charging."""
        data = self._data
        return {
            "battery_capacity_kwh": data.capacity_kwh,
            "battery_rated_kw": data.rated_kw,
            "battery_guaranteed_kw": np.full_like(data.rated_kw, GUARANTEED_KW),
            "battery_pace_kw": (data.capacity_kwh - self._content_kwh) / data.charge_efficiency / EVEN_H,
            "battery_charge_efficiency": data.charge_efficiency,
            "battery_discharge_efficiency": data.discharge_efficiency,
        }

    def state(self) -> Mapping[str, Float]:
        """Content."""
        return {"start_kwh": self._content_kwh}

    @staticmethod
    def measure(run: Trajectory) -> dict[str, float]:
        """Energy drawn and fed in by all batteries, and what was lost in them [kWh]."""
        kw, content_kwh = run.channels["battery_kw"], run.channels["battery_soc_kwh"]
        charged_kwh, discharged_kwh = (float(part.sum() * run.step_h) for part in (kw.clip(0.0), -kw.clip(max=0.0)))
        stored_kwh = (
            float((content_kwh[-1] - run.exogenous.devices["battery"].data.start_kwh).sum()) if run.steps else 0.0
        )
        return {
            "battery_charged_kwh": charged_kwh,
            "battery_discharged_kwh": discharged_kwh,
            "battery_losses_kwh": charged_kwh - discharged_kwh - stored_kwh,
        }

    def _range_kw(self, moment: Moment) -> tuple[Float, Float]:
        """Least (discharging) and largest power that rating, content, limits and curves bear."""
        data, curves = self._data, moment.setpoints.curves
        out_kw = np.minimum(data.rated_kw, self._content_kwh * data.discharge_efficiency / self._step_h)
        room_kwh = data.capacity_kwh - self._content_kwh
        in_kw = np.minimum(data.rated_kw, room_kwh / data.charge_efficiency / self._step_h)
        in_kw = np.minimum(in_kw, moment.asked(LIMIT))
        if curves is not None and curves.ev_volt_watt is not None:
            in_kw = np.minimum(in_kw, curves.ev_volt_watt(moment.voltage_v) * data.rated_kw)
        if curves is not None and curves.pv_volt_watt is not None:
            out_kw = np.minimum(out_kw, curves.pv_volt_watt(moment.voltage_v) * data.rated_kw)
        return -out_kw, in_kw
