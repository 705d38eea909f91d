"""Buildings that heat pumps warm: what they are, how they are drawn, and two nodes of heat."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.contract.streams import each
from cosim.contract.survey import FrozenArrays

WEEK_MIN = 7 * 24 * 60
DESIGN_C, DESIGN_ROOM_C, DESIGN_COP = -3.0, 21.0, 2.6
"""A compressor is chosen for this outdoor and room temperature; what it gives for its power there."""
SPARE = 1.15
LOSS_PER_M2 = 0.002  # kW/K of a home between built and renovated standards
ROOM_KWH_PER_K_M2 = 20.0 / 3600.0  # air and furniture
MASS_KWH_PER_K_M2 = 165.0 / 3600.0  # medium class of ISO 13790:2008, table 12
COUPLING_KW_PER_K_M2 = 3.45e-3 * 4.5  # 3.45 W/(m2 K) over 4.5 m2 of surface a m2 of floor: ISO 13790:2008, 7.2.2.2
GAINS_KW_PER_M2 = 0.003
LITRE_KWH_PER_K = 1.163e-3
SHOWER_KWH, SMALL_KWH, SMALL_A_DAY = 1.4, 0.12, 25.0
"""Hot water of 5.8 kWh a day, as profile M of Regulation (EU) 814/2013 has it: two showers and small draws."""


@dataclass(frozen=True, eq=False)
class HeatPumps(FrozenArrays):
    """Heat pumps of a feeder with their buildings; ratings of 0 where a customer has none, its building is then idle.

    Attributes
    ----------
    compressor_kw, backup_kw : ndarray, shape (customer,)
        Largest electric power of compressor and backup heater [kW].
    loss_kw_per_k : ndarray, shape (customer,)
        Heat that the building loses for a kelvin between room and outdoors [kW/K].
    room_kwh_per_k, mass_kwh_per_k, coupling_kw_per_k : ndarray, shape (customer,)
        Heat capacity of air and furniture, of walls and floors, and what flows between them [kWh/K], [kW/K].
    gains_kw : ndarray, shape (customer,)
        Heat of people, devices and sun [kW].
    wanted_c : ndarray, shape (24, customer)
        Room temperature that the thermostat is set to, by hour of the day [C].
    comfort_k : ndarray, shape (customer,)
        How far the room may be below it before comfort is missed [K].
    tank_kwh_per_k : ndarray, shape (customer,)
        Heat capacity of the hot-water tank [kWh/K].
    water_kw : ndarray, shape (minute, customer)
        Heat drawn as hot water; repeats from the beginning [kW].
    water_first : int
        Its row in the first minute of the day.
    start_c : ndarray, shape (customer,)
        Temperature of room and mass at the start [C].
    start_mass_c, start_tank_c : ndarray, shape (customer,), optional
        Of the mass where it differs from the room's; of the tank, else the middle of its thermostat's band [C].
    starts_heating, starts_filling : ndarray of bool, shape (customer,), optional
        Whether thermostats of room and tank are on at the start; else off.
    """

    compressor_kw: Float
    backup_kw: Float
    loss_kw_per_k: Float
    room_kwh_per_k: Float
    mass_kwh_per_k: Float
    coupling_kw_per_k: Float
    gains_kw: Float
    wanted_c: Float
    comfort_k: Float
    tank_kwh_per_k: Float
    water_kw: Float
    water_first: int
    start_c: Float
    start_mass_c: Float | None = None
    start_tank_c: Float | None = None
    starts_heating: Bool | None = None
    starts_filling: Bool | None = None

    @property
    def rated_kw(self) -> Float:
        """Connected power, backup heater included, shape (customer,) [kW]."""
        return self.compressor_kw + self.backup_kw


class TwoNodes:
    """Room and mass of every building, exact over steps in which heat and outdoor temperature are constant.

    ``C_room dT_room/dt = heat + gains - loss (T_room - T_out) - coupling (T_room - T_mass)``,
    ``C_mass dT_mass/dt = coupling (T_room - T_mass)``; both end at ``T_out + (heat + gains) / loss``.

    Parameters
    ----------
    data : HeatPumps
        The buildings.
    step_h : float
        Length of a step [h].
    """

    def __init__(self, data: HeatPumps, step_h: float) -> None:
        self._data = data
        self.room_c = data.start_c
        self.mass_c = data.start_c if data.start_mass_c is None else data.start_mass_c
        a = -(data.loss_kw_per_k + data.coupling_kw_per_k) / data.room_kwh_per_k
        b, c = data.coupling_kw_per_k / data.room_kwh_per_k, data.coupling_kw_per_k / data.mass_kwh_per_k
        # exponential of [[a, b], [c, -c]] in closed form; its eigenvalues are real, since b and c are positive
        middle, half = (a - c) / 2.0, np.sqrt(((a + c) / 2.0) ** 2 + b * c)
        decay = np.exp(middle * step_h)
        grown, swing = decay * np.cosh(half * step_h), decay * np.sinh(half * step_h)
        self._room_room = grown + swing * (a - middle) / half
        self._room_mass, self._mass_room = swing * b / half, swing * c / half
        self._mass_mass = grown + swing * (-c - middle) / half

    def ahead(self, outdoor_c: float) -> tuple[Float, Float]:
        """Room temperature at the end of a step without heating, and what each kW adds, shape (customer,) each."""
        end_c = outdoor_c + self._data.gains_kw / self._data.loss_kw_per_k
        idle_c = end_c + self._room_room * (self.room_c - end_c) + self._room_mass * (self.mass_c - end_c)
        return idle_c, (1.0 - self._room_room - self._room_mass) / self._data.loss_kw_per_k

    def advance(self, outdoor_c: float, heat_kw: Float) -> None:
        """Let a step pass with that heat."""
        end_c = outdoor_c + (heat_kw + self._data.gains_kw) / self._data.loss_kw_per_k
        room_k, mass_k = self.room_c - end_c, self.mass_c - end_c
        self.room_c = end_c + self._room_room * room_k + self._room_mass * mass_k
        self.mass_c = end_c + self._mass_room * room_k + self._mass_mass * mass_k


def draw_heat_pumps(
    customers: int,
    share: float,
    rng: np.random.Generator,
    *,
    loss_kw_per_k: float,
    backup_kw: float,
    homes: Int | None = None,
    first_minute: int = 0,
    units: Mapping[str, Float] | None = None,
) -> HeatPumps:
    """Give a share of the homes a heat pump, each with a building and habits of its own.

    Parameters
    ----------
    customers : int
        Their number.
    share : float
        Of homes, rounded. In the same state the generator draws the same ones, and a larger share contains a smaller.
    rng : numpy.random.Generator
        Source of the draw.
    loss_kw_per_k : float
        Median heat loss of a home; they spread by 30 % [kW/K].
    backup_kw : float
        Backup heater of each.
    homes : ndarray of int, shape (home,), optional
        Rows of the customers that may get one; else all.
    first_minute : int
        Minute of the week, from Monday, in which the day begins.
    units : mapping of str to ndarray, shape (customer,), optional
        Own ``compressor_kw``, and where given ``loss_kw_per_k``, ``backup_kw``, ``wanted_c``; nan where a customer has
        no heat pump. They stand for what is drawn, and for the share.

    Returns
    -------
    HeatPumps
        Compressors warm their home at -3 C with 15 % to spare.

    Notes
    -----
    Assumptions of this project: floor area is loss over 2 W/(K m2); rooms are wanted at 20.5 C (deviation 1 K), half of
    the homes lower them by 2-3 K in the night; tanks hold 150-250 litres; gains are 3 W/m2. Heat capacities and
    coupling are those of ISO 13790:2008.
    """
    there = np.zeros(customers, dtype=bool)
    of = np.arange(customers) if homes is None else homes
    there[rng.permutation(of)[: round(share * len(of))]] = True

    def like(one: np.random.Generator, who: Int) -> tuple[NDArray[Any], ...]:
        several = len(who)
        return (
            one.normal(0.0, 0.3, several), one.normal(20.5, 1.0, several), one.random(several),
            one.uniform(2.0, 3.0, several), one.integers(5, 9, several), one.integers(21, 25, several),
            one.uniform(150.0, 250.0, several), *_draws_of_water(one, several),
        )  # fmt: skip

    spread, day_c, lowers, lowered_k, wakes, sleeps, litres, *water = each(rng, range(customers), like)
    loss = loss_kw_per_k * np.exp(spread.clip(-0.9, 0.9))
    own = units or {}
    if units is not None:
        there = ~np.isnan(units["compressor_kw"])
    loss = _told(own, "loss_kw_per_k", loss)
    area_m2 = loss / LOSS_PER_M2
    compressor_kw = _told(own, "compressor_kw", SPARE * loss * (DESIGN_ROOM_C - DESIGN_C) / DESIGN_COP)
    lowered_k = np.where(lowers < 0.5, lowered_k, 0.0)
    day_c, hour = _told(own, "wanted_c", day_c.clip(18.0, 23.0)), np.arange(24)[:, None]
    wanted_c = day_c - lowered_k * ((hour < wakes) | (hour >= sleeps))
    return HeatPumps(
        compressor_kw=compressor_kw * there,
        backup_kw=_told(own, "backup_kw", np.full(customers, backup_kw)) * there,
        loss_kw_per_k=loss,
        room_kwh_per_k=ROOM_KWH_PER_K_M2 * area_m2,
        mass_kwh_per_k=MASS_KWH_PER_K_M2 * area_m2,
        coupling_kw_per_k=COUPLING_KW_PER_K_M2 * area_m2,
        gains_kw=GAINS_KW_PER_M2 * area_m2,
        wanted_c=wanted_c,
        comfort_k=np.full(customers, 1.0),
        tank_kwh_per_k=LITRE_KWH_PER_K * litres,
        water_kw=_hot_water_kw(*water) * there,
        water_first=first_minute % WEEK_MIN,
        start_c=day_c,
    )


def _told(own: Mapping[str, Float], column: str, drawn: Float) -> Float:
    """What a user's table says, else what was drawn."""
    return np.where(np.isnan(own[column]), drawn, own[column]) if column in own else drawn


def _draws_of_water(rng: np.random.Generator, customers: int) -> tuple[NDArray[Any], ...]:
    """How much each uses against the mean, begins of its showers, number and begins of its small draws, in a week."""
    size = np.exp(rng.normal(-0.08, 0.4, customers))  # of mean 1: households differ
    days, showers = 1440 * np.arange(7)[:, None], []
    for usual_min, spread_min in ((435.0, 60.0), (1230.0, 90.0)):
        own_min = rng.normal(usual_min, spread_min, customers)
        showers.append((days + rng.normal(own_min, 20.0, (7, customers))).astype(int))
    count = rng.poisson(SMALL_A_DAY * 7 * size)
    begins = 1440 * rng.integers(0, 7, count.sum()) + rng.integers(360, 1380, count.sum())
    return size, *showers, count, begins


def _hot_water_kw(size: Float, morning: Int, evening: Int, count: Int, begins: Int) -> Float:
    """Heat drawn in every minute of a week: a morning and an evening shower, and small draws from 6 to 23 h."""
    customers = np.arange(len(size))
    heat_kw = np.zeros((WEEK_MIN, len(size)))
    for shower in (morning, evening):
        for minute in range(7):
            np.add.at(heat_kw, ((shower + minute) % WEEK_MIN, customers), SHOWER_KWH * size * 60.0 / 7.0)
    np.add.at(heat_kw, (begins, np.repeat(customers, count)), SMALL_KWH * 60.0)
    return heat_kw
