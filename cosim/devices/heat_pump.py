"""Heat pumps: compressor, backup heater and hot-water tank, each home by its own thermostat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cosim.contract import Exogenous, Feeder, Float, Setpoints
from cosim.contract.signals import Bool
from cosim.devices.base import COMFORT, Channel, Device, Moment
from cosim.devices.buildings import HeatPumps, TwoNodes, draw_heat_pumps

if TYPE_CHECKING:
    from cosim.trajectory import Trajectory

LIMIT = Channel("heat_pump_limit_kw", "largest power, compressor and backup heater together")

GUARANTEED_KW, LARGE_KW, LARGE_SHARE = 4.2, 11.0, 0.4
"""Section 14a EnWG, BNetzA decision BK6-22-300 (2023-11-27), annex 1, 4.5.1: a dimmed device keeps 4.2 kW, a heat pump
above 11 kW of connected power (backup heater included) 40 % of it."""

TANK_C, TANK_LOW_C, TANK_LEAST_C = 52.0, 45.0, 38.0
"""Hot water is heated up to the first from the second; below the third the backup heater joins in."""
FLOW_WATER_C = 55.0
FLOW_LEAST_C, FLOW_MOST_C = 28.0, 55.0
HEATING_LIMIT_C = 15.0
"""Rooms are heated where the day before was colder outdoors: the usual heating limit (VDI 4655: 15 C)."""
BAND_K = 0.5
"""Half of the thermostat's band; comfort is judged by ``comfort_k``."""
PACE_MARGIN = 1.2
BACKUP_BELOW_K = 1.0
"""The backup heater joins in where the room is that far below what is wanted."""
LEAST_SHARE = 0.25
"""An inverter compressor runs down to this share of its power, and pauses below."""


def cop(outdoor_c: Float, flow_c: Float | float) -> Float:
    """Coefficient of performance of an air-source heat pump.

    Parameters
    ----------
    outdoor_c, flow_c : array_like
        Temperature of the air, and of the water that is heated [C].

    Returns
    -------
    ndarray
        Heat per electric energy; the lift is taken within 15..60 K, for which the regression was made.

    References
    ----------
    .. [1] I. Staffell, D. Brett, N. Brandon, A. Hawkes, "A review of domestic heat pumps", Energy Environ. Sci. 5
           (2012) 9291, doi:10.1039/c2ee22653g: COP = 6.81 - 0.121 dT + 0.000630 dT^2.
    """
    lift_k = np.clip(np.asarray(flow_c) - outdoor_c, 15.0, 60.0)
    return np.asarray(6.81 - 0.121 * lift_k + 0.000630 * lift_k**2)


def _is_heated(day: Exogenous) -> Bool:
    """Steps before which a day was colder than the heating limit, shape (step,)."""
    return _trailing_means(day.ambient_c, max(round(24.0 * 60.0 / day.step_min), 1)) < HEATING_LIMIT_C


def _trailing_means(values: Float, count: int) -> Float:
    """Mean of each value and those before it, so many; of the first of them all the same."""
    sums, count = np.concatenate([[0.0], np.cumsum(values)]), min(count, len(values))
    last = np.maximum(np.arange(1, len(sums)), count)
    return np.asarray((sums[last] - sums[last - count]) / count)


def heating_flow_c(outdoor_c: Float) -> Float:
    """Flow temperature of radiators by the heating curve 40 C - outdoor temperature.

    References
    ----------
    .. [1] O. Ruhnau, L. Hirth, A. Praktiknjo, "Time series of heat demand and heat pump efficiency for energy system
           modeling", Sci. Data 6 (2019) 189, doi:10.1038/s41597-019-0199-y.
    """
    return np.asarray(np.clip(40.0 - np.asarray(outdoor_c), FLOW_LEAST_C, FLOW_MOST_C))


def guaranteed_kw(rated_kw: Float) -> Float:
    """What a heat pump keeps when it is dimmed, shape of the rating [kW]; see `GUARANTEED_KW`."""
    return np.where(rated_kw > LARGE_KW, LARGE_SHARE * rated_kw, GUARANTEED_KW)


class HeatPump(Device):
    """Heat pumps that keep room and tank warm by their own thermostats, under a limit and an import cap.

    Hot water goes before the room: the tank is heated from 45 to 52 C at full power. The compressor modulates down to a
    quarter of its power; below that it cycles within half a kelvin of what is wanted. The backup heater joins in where
    the room is a kelvin too cold, or the tank below 38 C, although the compressor runs at full power. Room and mass
    follow the two linear equations of heat exactly over a step. A limit or cap takes the backup heater first; what a
    compressor cannot go down to makes it pause. Unity power factor.
    """

    name = "heat_pump"
    turn = COMFORT
    setpoints = (LIMIT,)
    columns: ClassVar = {
        "compressor_kw": (0.1, 100.0, "electric kilowatts"),
        "backup_kw": (0.0, 30.0, "kilowatts"),
        "loss_kw_per_k": (0.01, 5.0, "kilowatts per kelvin"),
        "wanted_c": (10.0, 28.0, "degrees Celsius"),
    }
    optional = ("backup_kw", "loss_kw_per_k", "wanted_c")
    readings = (
        Channel("heat_pump_kw", "power of compressor and backup heater"),
        Channel("backup_heater_kw", "of it the backup heater"),
        Channel("indoor_c", "room temperature"),
        Channel("hot_water_c", "temperature of the tank"),
    )

    def __init__(self, data: HeatPumps, feeder: Feeder, day: Exogenous) -> None:  # noqa: ARG002 - the protocol's
        self._data, self._step_h, self._step_min = data, day.step_min / 60.0, day.step_min
        self._outdoor_c = day.ambient_c
        self._heats = _is_heated(day)
        self._there = data.rated_kw > 0.0
        self._first_min = day.start.hour * 60 + day.start.minute
        self._building = TwoNodes(data, self._step_h)
        self._usual_water_kw = data.water_kw.mean(axis=0)
        minutes = data.water_first + np.arange(day.steps)[:, None] * day.step_min
        minutes = minutes + np.arange(max(round(day.step_min), 1))
        # heat drawn as hot water, mean of every step, shape (step, customer)
        self._water_kw: Float = data.water_kw[minutes.astype(int) % len(data.water_kw)].mean(axis=1)
        self._cops = cop(day.ambient_c, FLOW_WATER_C), cop(day.ambient_c, heating_flow_c(day.ambient_c))
        self._pace_kw = data.rated_kw
        off: Bool = np.zeros(len(data.start_c), bool)
        usual_c: Float = np.where(self._there, 0.5 * (TANK_C + TANK_LOW_C), 0.0)
        self._tank_c: Float = usual_c if data.start_tank_c is None else data.start_tank_c
        self._is_heating: Bool = off if data.starts_heating is None else data.starts_heating
        self._is_filling: Bool = off if data.starts_filling is None else data.starts_filling
        self._kw = self._backup_kw = np.zeros(len(data.start_c))
        self._wanted_kw = self._room_heat_kw = self._kw
        self._cop_water = self._cop_room = 1.0
        self._wanted_backup_kw = self._water_share = self._backup_to_water = self._kw

    @staticmethod
    def draw(feeder: Feeder, day: Exogenous, rng: np.random.Generator, **options: Any) -> HeatPumps:
        """Give a share of the homes a heat pump, see `draw_heat_pumps`; ``water_kw`` gives own hot water of theirs."""
        own_water_kw = options.pop("water_kw", None)
        first_minute = day.start.weekday() * 1440 + day.start.hour * 60 + day.start.minute
        drawn = draw_heat_pumps(
            len(feeder.customers), rng=rng, homes=feeder.homes, first_minute=first_minute, **options
        )
        if own_water_kw is None:
            return drawn
        there = drawn.rated_kw > 0.0
        return replace(drawn, water_kw=own_water_kw(there) * there, water_first=0)

    def begin(self, step: int, setpoints: Setpoints) -> None:  # noqa: ARG002 - the protocol's signature
        """Let the thermostats choose: water, then room, then whether the compressor is enough."""
        data, outdoor_c = self._data, self._outdoor_c[step]
        hour = int((self._first_min + step * self._step_min) // 60) % 24
        wanted_c, water_kw = data.wanted_c[hour], self._water_kw[step]
        self._cop_water, self._cop_room = (of_step[step] for of_step in self._cops)
        # hot water: until the tank is full, at most what fills it within the step
        self._is_filling = np.where(self._is_filling, self._tank_c < TANK_C - 1e-6, self._tank_c < TANK_LOW_C)
        fill_kw = ((TANK_C - self._tank_c) * data.tank_kwh_per_k / self._step_h + water_kw).clip(0.0)
        water_el_kw = np.minimum(fill_kw / self._cop_water, data.compressor_kw) * self._is_filling
        # the room: what brings it to what is wanted at the end of the step
        room_c = self._building.room_c
        idle_c, per_kw = self._building.ahead(outdoor_c)
        self._is_heating = np.where(self._is_heating, room_c < wanted_c + BAND_K, room_c < wanted_c - BAND_K)
        heats = self._heats[step]
        self._is_heating = self._is_heating & heats
        need_kw = ((wanted_c - idle_c) / per_kw).clip(0.0) / self._cop_room * heats
        least_kw = LEAST_SHARE * data.compressor_kw
        room_el_kw = np.where(need_kw >= least_kw, need_kw, least_kw * self._is_heating)
        room_el_kw = np.minimum(room_el_kw, data.compressor_kw - water_el_kw)
        # an even pace holds what is wanted; who is cold already is not held back
        held_kw = (data.loss_kw_per_k * (wanted_c - outdoor_c) - data.gains_kw).clip(0.0) / self._cop_room
        held_kw = np.maximum(PACE_MARGIN * (held_kw + self._usual_water_kw / self._cop_water), 2.0 * least_kw)
        is_cold = (room_c < wanted_c - BACKUP_BELOW_K) | (self._tank_c < TANK_LEAST_C)
        self._pace_kw = np.where(is_cold, data.rated_kw, held_kw)
        # resistive heat is for what the compressor at full power leaves undone
        cold_kw = np.where(room_c < wanted_c - BACKUP_BELOW_K, (wanted_c - idle_c) / per_kw, 0.0) * heats
        cold_kw = cold_kw - room_el_kw * self._cop_room
        cool_tank_kw = np.where(self._tank_c < TANK_LEAST_C, fill_kw - water_el_kw * self._cop_water, 0.0)
        self._wanted_backup_kw = np.minimum(cold_kw.clip(0.0) + cool_tank_kw.clip(0.0), data.backup_kw) * self._there
        self._wanted_kw = (water_el_kw + room_el_kw) * self._there
        self._water_share = np.where(self._wanted_kw > 0.0, water_el_kw / np.fmax(self._wanted_kw, 1e-12), 0.0)
        self._backup_to_water = np.where(cool_tank_kw > 0.0, 1.0, 0.0)

    def power(self, moment: Moment) -> tuple[Float, Float]:
        """What the thermostats want, inside limit, cap and local curve."""
        compressor_kw, backup_kw = self._within(moment)
        return compressor_kw + backup_kw, np.zeros_like(backup_kw)

    def advance(self, step: int, kw: Float, kvar: Float) -> None:  # noqa: ARG002 - the protocol's signature
        """Warm tank and room with what was drawn, and cool them with what was lost."""
        data, outdoor_c = self._data, self._outdoor_c[step]
        # what was drawn less than wanted came off the backup heater first
        compressor_kw = np.minimum(kw, self._wanted_kw)
        backup_kw = kw - compressor_kw
        water_kw = compressor_kw * self._water_share
        to_water_kw = water_kw * self._cop_water + backup_kw * self._backup_to_water
        to_room_kw = (compressor_kw - water_kw) * self._cop_room + backup_kw * (1.0 - self._backup_to_water)
        self._tank_c = self._tank_c + (to_water_kw - self._water_kw[step]) * self._step_h / data.tank_kwh_per_k
        self._building.advance(outdoor_c, to_room_kw)
        self._kw, self._backup_kw = kw, backup_kw

    def observe(self) -> Mapping[str, Float]:
        """Power of the last step and temperatures at its end; nan where there is no heat pump."""
        return {
            "heat_pump_kw": self._kw,
            "backup_heater_kw": self._backup_kw,
            "indoor_c": np.where(self._there, self._building.room_c, np.nan),
            "hot_water_c": np.where(self._there, self._tank_c, np.nan),
        }

    def nameplate(self) -> Mapping[str, Float]:
        """Connected power, what a dimmed unit keeps, and the even pace that would keep room and tank warm now."""
        rated_kw = self._data.rated_kw
        return {
            "heat_pump_rated_kw": rated_kw,
            "heat_pump_guaranteed_kw": guaranteed_kw(rated_kw),
            "heat_pump_pace_kw": self._pace_kw,
        }

    def state(self) -> Mapping[str, Any]:
        """Temperatures, and what the thermostats do."""
        return {
            "start_c": self._building.room_c,
            "start_mass_c": self._building.mass_c,
            "start_tank_c": self._tank_c,
            "starts_heating": self._is_heating,
            "starts_filling": self._is_filling,
        }

    @staticmethod
    def measure(run: Trajectory) -> dict[str, float]:
        """Energy of all heat pumps, and comfort: how far and how long heated rooms were colder than their band.

        In steps above the heating limit nobody heats: sun through windows, which is not modelled, does it then.
        """
        data: HeatPumps = run.exogenous.devices["heat_pump"].data
        there = data.rated_kw > 0.0
        hours = (run.exogenous.start.hour + run.exogenous.start.minute / 60.0 + np.arange(run.steps) * run.step_h) % 24
        floor_c = data.wanted_c[hours.astype(int)] - data.comfort_k
        short_c = (floor_c - run.channels["indoor_c"]).clip(0.0) * _is_heated(run.exogenous)[:, None]
        short_kh = short_c[:, there].sum(axis=0) * run.step_h
        return {
            "heat_pump_kwh": float(run.channels["heat_pump_kw"].sum() * run.step_h),
            "backup_heater_kwh": float(run.channels["backup_heater_kw"].sum() * run.step_h),
            "comfort_short_mean_kh": float(short_kh.mean()) if there.any() else 0.0,
            "comfort_short_max_kh": float(short_kh.max(initial=0.0)),
            "hot_water_min_c": float(np.nanmin(run.channels["hot_water_c"], initial=np.inf)) if there.any() else np.nan,
        }

    def _within(self, moment: Moment) -> tuple[Float, Float]:
        data, curves = self._data, moment.setpoints.curves
        limit_kw = np.minimum(moment.asked(LIMIT), moment.headroom_kw + moment.support_kw)
        if curves is not None and curves.ev_volt_watt is not None:
            limit_kw = np.minimum(limit_kw, curves.ev_volt_watt(moment.voltage_v) * data.rated_kw)
        compressor_kw = np.minimum(self._wanted_kw, limit_kw)
        least_kw = np.minimum(LEAST_SHARE * data.compressor_kw, self._wanted_kw)
        compressor_kw = np.where(limit_kw >= least_kw - 1e-9, compressor_kw, 0.0).clip(0.0)
        # resistive heat only beside a compressor that does all it should: what is drawn then tells both apart
        backup_kw = np.where(compressor_kw >= self._wanted_kw, self._wanted_backup_kw, 0.0)
        return compressor_kw, np.minimum(backup_kw, limit_kw - compressor_kw).clip(0.0)
