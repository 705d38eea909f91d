"""A day on a feeder, drawn: households, cars, roofs and prices, each from a stream of random numbers of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from cosim.contract import EXPORT_EUR_PER_KWH, Exogenous, Feeder, Float, Int, LoadShape
from cosim.errors import Fault, collecting, refuse
from cosim.feeders.chargers import rated_by_phases
from cosim.feeders.clock import Clock
from cosim.feeders.find import MODELS, OF_THE_FEEDER, Join, household_sets
from cosim.feeders.households import draw_columns, draw_households
from cosim.feeders.join import Told, by_customer, unheard
from cosim.feeders.prices import Tariff, own_source_pu, power_factors, source_pu, tariff_eur_per_kwh, who_has_which
from cosim.feeders.profiles import PvFleet, ambient_temperature_c, draw_pv
from cosim.feeders.roofs import read_pv
from cosim.feeders.series import DAY_MIN, Series
from cosim.feeders.sessions import draw_sessions, read_sessions

_YEAR_DAYS = 365

Streams = Callable[[str, Sequence[str]], np.random.Generator]
"""Gives the random numbers of a part by its name and customers, always from the stream's beginning: a part that draws
more or less leaves all others as they are, and the day before is of the same homes and cars. Where they are `Keyed`, so
does a customer who draws more or less."""


@dataclass(frozen=True, kw_only=True)
class DaySpec:
    """What a day on a feeder is drawn from.

    Attributes
    ----------
    start : datetime
        Local clock of the first minute.
    minutes : int
        Length [min].
    zone : str, optional
        Zone of that clock; None: standard time of the place's hour zone, all year.
    profiles : str or Series
        Household demand: a shipped set, own profiles as read, or ``feeder`` for the loads of the circuit's file.
    join : {"name", "order", "draw"}, optional
        How own profiles are given to customers; see `join_columns`.
    power_factor, power_factor_sd : float
        Of household demand, inductive, and its spread from home to home.
    power_factor_file : str, optional
        Path of a table of them.
    ev_share : float
        Share of homes with a car.
    ev_sessions : str, optional
        Path of own sessions, instead of a share; or the name of a shipped generator of the cars of that share.
    ev_plug_in_days : float
        Days of a week on which a car plugs in.
    ev_weekly_energy_kwh : float, optional
        Mean energy of a car at the meter in a week [kWh].
    ev_rated_by_phases : bool
        Whether drawn chargers on three phases have 11 kW; else what chargers on one have.
    ev_efficiency : float
        Battery energy per energy drawn.
    pv_share, pv_kwp : float
        Share of homes with a roof plant, and its size [kWp].
    cloud : str
        Kind of day: ``clear``, ``partly_cloudy``, ``overcast``.
    pv_profiles : Series, optional
        What own roof plants could feed in, instead of a share.
    pv_inverters : str, optional
        Path of a table of their ratings.
    tariff : str, sequence of Band, or Series
        Of all homes, but those of groups.
    tariff_groups : sequence of (float, Tariff)
        Shares of homes with other tariffs.
    export_eur_per_kwh : float
        Price of export.
    source_profile : Series, optional
        Source voltage [pu].
    source_swing_percent, source_lowest_h : float
        Daily shape of the source's voltage around the feeder's own, see `prices.source_pu`.
    first_day : int
        Days that came before the start, where it is a part of a longer run: of the same homes, each day is drawn as it
        is in the whole.
    """

    start: datetime
    minutes: int
    zone: str | None = None
    profiles: str | Series = "may_weekday"
    join: Join | None = None
    power_factor: float = 0.95
    power_factor_sd: float = 0.0
    power_factor_file: str | None = None
    ev_share: float = 0.0
    ev_sessions: str | None = None
    ev_efficiency: float = 0.9
    ev_rated_by_phases: bool = False
    ev_plug_in_days: float = 7.0
    ev_weekly_energy_kwh: float | None = None
    pv_share: float = 0.0
    pv_kwp: float = 4.0
    cloud: str = "partly_cloudy"
    pv_profiles: Series | None = None
    pv_inverters: str | None = None
    tariff: Tariff = "three_band"
    tariff_groups: Sequence[tuple[float, Tariff]] = ()
    export_eur_per_kwh: float = EXPORT_EUR_PER_KWH
    source_profile: Series | None = None
    source_swing_percent: float = 0.0
    source_lowest_h: float = 18.0
    first_day: int = 0

    @property
    def clock(self) -> Clock:
        """Local clock of the day."""
        return Clock(self.start, self.zone, self.first_day)


def draw_day(feeder: Feeder, spec: DaySpec, rng: Streams, *, day: int = 0, told: Told = unheard) -> Exogenous:
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
    told : callable
        Takes warnings of own data.

    Returns
    -------
    Exogenous
        In steps of one minute.

    Raises
    ------
    InputError
        With the faults of all parts, their keys beginning with ``households``, ``ev``, ``pv``, ``tariff`` or ``grid``.
    """
    start, minutes, homes = spec.start, spec.minutes, feeder.homes
    of_homes = [feeder.customers[row] for row in homes.tolist()]
    faults: list[Fault] = []
    with collecting(faults, "households"):
        if spec.profiles == OF_THE_FEEDER:
            demand_kw, demand_kvar = feeder_demand(
                feeder, start + timedelta(days=day), minutes, first_day=spec.first_day
            )
        else:
            demand_kw = _households(feeder, spec, rng, day, told)
            factor = power_factors(
                feeder.customers, spec.power_factor, spec.power_factor_sd, spec.power_factor_file, told,
                rng("power_factors", feeder.customers),
            )  # fmt: skip
            demand_kvar = demand_kw * np.tan(np.arccos(factor))
    with collecting(faults, "ev"):
        if spec.ev_sessions is not None and spec.ev_sessions not in MODELS:
            sessions = read_sessions(
                spec.ev_sessions, feeder.customers, spec.clock, minutes, efficiency=spec.ev_efficiency
            )
        else:
            sessions = draw_sessions(
                len(homes), spec.ev_share, start, minutes, rng("cars", of_homes), day=day,
                efficiency=spec.ev_efficiency, first_day=spec.first_day, model=spec.ev_sessions,
                plug_in_days=spec.ev_plug_in_days, weekly_energy_kwh=spec.ev_weekly_energy_kwh,
            )  # fmt: skip
            sessions = replace(sessions, customer=homes[sessions.customer])
        if spec.ev_rated_by_phases:
            sessions = rated_by_phases(sessions, feeder)
    with collecting(faults, "pv"):
        pv = _roofs(feeder, spec, rng("roofs", of_homes), day, told)
    with collecting(faults, "tariff"):
        tariff = tariff_eur_per_kwh(start, minutes, spec.tariff)
        of_customers = _tariffs(spec, tariff, feeder, rng)
    with collecting(faults, "grid"):
        source = _source(feeder, spec, day)
    refuse(faults)
    available_kw, inverter_kva = pv.pv_available_kw.copy(), pv.inverter_kva.copy()
    for customer, roof in feeder.roofs:
        value = _values(roof.available, start + timedelta(days=day), minutes, spec.first_day)
        available_kw[:, customer] += roof.available.kw[value]
        inverter_kva[customer] += roof.inverter_kva
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
        source_pu=source,
        customer_tariff_eur_per_kwh=of_customers,
        export_eur_per_kwh=spec.export_eur_per_kwh,
    )


def _tariffs(spec: DaySpec, tariff: Float, feeder: Feeder, rng: Streams) -> Float | None:
    """Price of every home where groups have tariffs of their own, shape (minute, customer)."""
    if not spec.tariff_groups:
        return None
    shares = [share for share, _ in spec.tariff_groups]
    group = who_has_which(shares, len(feeder.customers), rng("tariffs", feeder.customers))
    prices = [tariff_eur_per_kwh(spec.start, spec.minutes, own) for _, own in spec.tariff_groups]
    return np.column_stack([*prices, tariff])[:, group]  # -1 reads the last


def _source(feeder: Feeder, spec: DaySpec, day: int) -> Float:
    """Source voltage, minute by minute; nan where it is the feeder's own."""
    start, minutes = spec.start, spec.minutes
    if spec.source_profile is not None:
        return own_source_pu(spec.source_profile, start, minutes, day=day)
    if spec.source_swing_percent:
        return source_pu(start, minutes, feeder.network.source_pu, spec.source_swing_percent, spec.source_lowest_h)
    return np.full(minutes, np.nan)


def _households(feeder: Feeder, spec: DaySpec, rng: Streams, day: int, told: Told) -> Float:
    """Demand of the homes: own profiles by name, sets and pools drawn."""
    profiles, count = spec.profiles, len(feeder.customers)
    of_customers = rng("households", feeder.customers)
    if isinstance(profiles, str) or profiles.source in household_sets():
        return draw_households(profiles, count, spec.start, spec.minutes, of_customers, day=day)

    def draws() -> Int:
        if (many := len(profiles.names)) < count:
            told(
                f"{profiles.source} holds {many} profiles for {count} homes: several homes share one, so their peaks "
                "coincide more than those of different homes would"
            )
        return draw_columns(many, count, of_customers)

    demand_kw, _ = by_customer(
        profiles, feeder.customers, spec.start, spec.minutes, told, day=day, how=spec.join, draws=draws
    )
    return demand_kw


def _roofs(feeder: Feeder, spec: DaySpec, rng: np.random.Generator, day: int, told: Told) -> PvFleet:
    """Roof plants: own ones by name, else drawn."""
    if spec.pv_profiles is not None:
        return read_pv(
            spec.pv_profiles, feeder.customers, spec.start, spec.minutes, told, day=day, inverters=spec.pv_inverters
        )
    drawn = draw_pv(
        len(feeder.homes), spec.pv_share, spec.pv_kwp, feeder.latitude_deg, feeder.longitude_deg, spec.start,
        spec.minutes, rng, cloud=spec.cloud, day=day, ahead_of_utc=spec.clock.ahead_of_utc,
        first_day=spec.first_day,
    )  # fmt: skip
    return PvFleet(*(_of_homes(feeder, values) for values in drawn))


def _of_homes(feeder: Feeder, values: Float) -> Float:
    """Values of homes, as those of all customers: 0 for the others."""
    found = np.zeros((*values.shape[:-1], len(feeder.customers)))
    found[..., feeder.homes] = values
    return found


def feeder_demand(feeder: Feeder, begin: datetime, minutes: int, *, first_day: int = 0) -> tuple[Float, Float]:
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
    first_day : int
        Days that came before, after which a shorter shape goes on.

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
            value = _values(shape, begin, minutes, first_day)
            demand_kw[:, column], demand_kvar[:, column] = shape.kw[value], shape.kvar[value]
    return demand_kw, demand_kvar


def _values(shape: LoadShape, begin: datetime, minutes: int, first_day: int) -> Int:
    """Which value of a shape holds in every minute."""
    whole_year = len(shape.kw) * shape.interval_min >= _YEAR_DAYS * DAY_MIN
    day = begin.timetuple().tm_yday - 1 if whole_year else first_day
    first_min = begin.hour * 60 + begin.minute + day * DAY_MIN
    return ((first_min + np.arange(minutes)) // shape.interval_min).astype(np.int64) % len(shape.kw)
