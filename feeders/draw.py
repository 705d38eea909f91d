"""A day on a feeder, drawn: households, cars, roofs and prices, each from a stream of random numbers of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from cosim.contract import Exogenous, Feeder, Float, Int, LoadShape
from cosim.errors import Fault, collecting, refuse
from cosim.feeders.find import MODELS, OF_THE_FEEDER
from cosim.feeders.households import DAY_MIN, Profiles, draw_households
from cosim.feeders.profiles import ambient_temperature_c, draw_pv, tariff_eur_per_kwh
from cosim.feeders.sessions import draw_sessions, read_sessions

_YEAR_DAYS = 365

Streams = Callable[[str], np.random.Generator]
"""Gives the random numbers of a part by its name, always from the stream's beginning: a part that draws more or less
leaves all others as they are, and the day before is of the same homes and cars."""


@dataclass(frozen=True, kw_only=True)
class DaySpec:
    """What a day on a feeder is drawn from.

    Attributes
    ----------
    start : datetime
        Local clock of the first minute.
    minutes : int
        Length [min].
    profiles : str or Profiles
        Household demand: a shipped set, a path, profiles as read, or ``feeder`` for the loads of the circuit's file.
    power_factor : float
        Of household demand, inductive.
    ev_share : float
        Share of homes with a car.
    ev_sessions : str, optional
        Path of own sessions, instead of a share; or the name of a shipped generator of the cars of that share.
    ev_plug_in_days : float
        Days of a week on which a car plugs in.
    ev_weekly_energy_kwh : float, optional
        Mean energy of a car at the meter in a week [kWh].
    ev_efficiency : float
        Battery energy per energy drawn.
    pv_share, pv_kwp : float
        Share of homes with a roof plant, and its size [kWp].
    cloud : str
        Kind of day: ``clear``, ``partly_cloudy``, ``overcast``.
    tariff : str
        A shipped tariff.
    """

    start: datetime
    minutes: int
    profiles: str | Profiles = "may_weekday"
    power_factor: float = 0.95
    ev_share: float = 0.0
    ev_sessions: str | None = None
    ev_efficiency: float = 0.9
    ev_plug_in_days: float = 7.0
    ev_weekly_energy_kwh: float | None = None
    pv_share: float = 0.0
    pv_kwp: float = 4.0
    cloud: str = "partly_cloudy"
    tariff: str = "three_band"


def draw_day(feeder: Feeder, spec: DaySpec, rng: Streams, *, day: int = 0) -> Exogenous:
    """Draw a day at one minute.

    Parameters
    ----------
    feeder : Feeder
        The place.
    spec : DaySpec
        What it is drawn from.
    rng : callable
        Random numbers by part: ``households``, ``cars``, ``roofs``.
    day : int
        -1 is the day before, of the same homes, cars and roofs.

    Returns
    -------
    Exogenous
        In steps of one minute; the source's voltage as in the feeder's file.

    Raises
    ------
    InputError
        With the faults of all parts, their keys beginning with ``households``, ``ev``, ``pv`` or ``tariff``.
    """
    start, minutes, count = spec.start, spec.minutes, len(feeder.customers)
    faults: list[Fault] = []
    with collecting(faults, "households"):
        if spec.profiles == OF_THE_FEEDER:
            demand_kw, demand_kvar = feeder_demand(feeder, start + timedelta(days=day), minutes)
        else:
            demand_kw = draw_households(spec.profiles, count, start, minutes, rng("households"), day=day)
            demand_kvar = demand_kw * float(np.tan(np.arccos(spec.power_factor)))
    with collecting(faults, "ev"):
        sessions = (
            read_sessions(spec.ev_sessions, feeder.customers, start, minutes, efficiency=spec.ev_efficiency)
            if spec.ev_sessions is not None and spec.ev_sessions not in MODELS
            else draw_sessions(
                count,
                spec.ev_share,
                start,
                minutes,
                rng("cars"),
                efficiency=spec.ev_efficiency,
                day=day,
                model=spec.ev_sessions,
                plug_in_days=spec.ev_plug_in_days,
                weekly_energy_kwh=spec.ev_weekly_energy_kwh,
            )
        )
    with collecting(faults, "pv"):
        pv = draw_pv(
            count, spec.pv_share, spec.pv_kwp, feeder.latitude_deg, feeder.longitude_deg, start, minutes, rng("roofs"),
            cloud=spec.cloud, day=day,
        )  # fmt: skip
    available_kw, inverter_kva = pv.pv_available_kw.copy(), pv.inverter_kva.copy()
    for customer, roof in feeder.roofs:
        value = _values(roof.available, start + timedelta(days=day), minutes)
        available_kw[:, customer] += roof.available.kw[value]
        inverter_kva[customer] += roof.inverter_kva
    with collecting(faults, "tariff"):
        tariff = tariff_eur_per_kwh(start, minutes, spec.tariff)
    refuse(faults)
    return Exogenous(
        start=start,
        step_min=1.0,
        demand_kw=demand_kw,
        demand_kvar=demand_kvar,
        pv_available_kw=available_kw,
        inverter_kva=inverter_kva,
        sessions=sessions,
        tariff_eur_per_kwh=tariff,
        ambient_c=ambient_temperature_c(start, minutes, feeder.latitude_deg),
        source_pu=np.full(minutes, np.nan),
    )


def feeder_demand(feeder: Feeder, begin: datetime, minutes: int) -> tuple[Float, Float]:
    """Demand that the circuit's own file gives its loads, by the shapes of the file.

    Parameters
    ----------
    feeder : Feeder
        The place.
    begin : datetime
        Local clock of the first minute. A shape of a year or more is entered at its day of the year (its first value
        is 1 January, 0 h); a shorter one begins at midnight of that day.
    minutes : int
        Length [min].

    Returns
    -------
    demand_kw, demand_kvar : ndarray, shape (minute, customer)
        [kW], [kvar].

    Raises
    ------
    InputError
        Where a shape has no values or no fixed interval.
    """
    shapes = list(zip(feeder.customers, feeder.load_shapes, strict=True))
    faults = [
        Fault(
            str(feeder.master), f"Load.{name}", "its LoadShape has no values at a fixed interval (interval=0?)",
            "give the shape an interval, or the scenario other profiles",
        )
        for name, shape in shapes
        if shape is not None and not (shape.interval_min > 0 and len(shape.kw))
    ]  # fmt: skip
    refuse(faults)
    demand_kw, demand_kvar = (np.tile(of_loads, (minutes, 1)) for of_loads in (feeder.load_kw, feeder.load_kvar))
    for column, (_, shape) in enumerate(shapes):
        if shape is not None:
            value = _values(shape, begin, minutes)
            demand_kw[:, column], demand_kvar[:, column] = shape.kw[value], shape.kvar[value]
    return demand_kw, demand_kvar


def _values(shape: LoadShape, begin: datetime, minutes: int) -> Int:
    """Which value of a shape holds in every minute."""
    whole_year = len(shape.kw) * shape.interval_min >= _YEAR_DAYS * DAY_MIN
    first_min = begin.hour * 60 + begin.minute + (begin.timetuple().tm_yday - 1) * DAY_MIN * whole_year
    return ((first_min + np.arange(minutes)) // shape.interval_min).astype(np.int64) % len(shape.kw)
