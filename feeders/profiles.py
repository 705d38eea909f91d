"""Sun and temperature of a day. The only module that imports pvlib."""

from __future__ import annotations

import warnings
from datetime import datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pandas as pd
import pvlib
from numpy.typing import NDArray

from cosim.contract.streams import each
from cosim.feeders.clouds import CLOUDS, DAY_MIN, clear_sky_index
from cosim.feeders.tables import refuse_out_of_range

Float = NDArray[np.float64]

TEMPERATURE_PER_KELVIN = -0.0035  # power of a silicon module
DC_LOSSES = 0.0635  # soiling 2 %, mismatch 2 %, wiring 2 %, connections 0.5 %, as PVWatts has them; no shading
INVERTER_EFFICIENCY = 0.96
INVERTER_KVA_PER_KWP = (0.85, 1.0)
AZIMUTH_SD_DEG, AZIMUTH_MOST_DEG = 45.0, 90.0
TILT_MEAN_DEG, TILT_SD_DEG, TILT_RANGE_DEG = 35.0, 7.0, (15.0, 50.0)
WIND_M_PER_S = 2.0


# Mean daily minimum and maximum of each month at Manchester Ringway, 1981-2010 (Met Office climate averages) [C].
MONTH_LOW_C = (1.7, 1.6, 3.3, 4.9, 7.7, 10.5, 12.6, 12.4, 10.3, 7.4, 4.2, 1.8)
MONTH_HIGH_C = (7.3, 7.6, 10.0, 12.6, 16.1, 18.6, 20.6, 20.3, 17.6, 13.9, 10.0, 7.4)
REFERENCE_LATITUDE_DEG = 53.4
KELVIN_PER_DEGREE_OF_LATITUDE = -0.5
WARMEST_HOUR = 15.0


class PvFleet(NamedTuple):
    """Roofs of a feeder.

    Attributes
    ----------
    pv_available_kw : ndarray, shape (minute, customer)
        What each roof could feed in, at most the inverter's rating [kW].
    kwp : ndarray, shape (customer,)
        Peak power of the modules, 0 where there are none [kWp].
    inverter_kva : ndarray, shape (customer,)
        Rating of the inverter, 0 where there is none [kVA].
    """

    pv_available_kw: Float
    kwp: Float
    inverter_kva: Float


class Sky(NamedTuple):
    """Sun and irradiance on the horizontal, each of shape (minute,)."""

    zenith_deg: Float
    azimuth_deg: Float
    ghi_w_per_m2: Float
    dni_w_per_m2: Float
    dhi_w_per_m2: Float
    ambient_c: Float


def draw_pv(
    count: int,
    share: float,
    kwp: float,
    latitude: float,
    longitude: float,
    start: datetime,
    minutes: int,
    rng: np.random.Generator,
    *,
    cloud: str = "partly_cloudy",
    day: int = 0,
    ahead_of_utc: timedelta | None = None,
    first_day: int = 0,
) -> PvFleet:
    """Draw roofs for a share of the customers, and what the sun gives them under clouds common to the feeder.

    Parameters
    ----------
    count : int
        Number of customers.
    share : float
        Share of customers with a roof; ``round(share * count)`` distinct customers get one.
    kwp : float
        Peak power of each roof [kWp].
    latitude, longitude : float
        Place, north and east positive [deg].
    start : datetime
        Local clock of the first minute.
    minutes : int
        Length of the horizon [min].
    rng : numpy.random.Generator
        Source of the draw; in the same state it draws the same roofs.
    cloud : {"clear", "partly_cloudy", "overcast"}
        Kind of sky.
    day : int
        Which day against the horizon's own: -1 is the day before, with its own clouds over the same roofs.
    ahead_of_utc : timedelta, optional
        Local clock minus UTC, in summer with summer time; else standard time of the place's hour zone, all year.
    first_day : int
        Days of a longer run before the start, whose clouds are not drawn again.

    Returns
    -------
    PvFleet

    Raises
    ------
    InputError
        Where share, kwp, place or cloud is out of range.

    Notes
    -----
    Assumptions of this project: roofs face the equator within a deviation of 45 degrees (90 at most) and are tilted
    35 +- 7 degrees; inverters are rated at 85-100 % of the modules. A passing edge reaches the roofs within a minute.
    """
    rules = (
        ("share", 0.0 <= share <= 1.0, share, "give a share of homes between 0 and 1"),
        ("kwp", 0.0 <= kwp <= 100.0, kwp, "give kWp per roof between 0 and 100"),
        ("latitude", -90.0 <= latitude <= 90.0, latitude, "give degrees north"),
        ("longitude", -180.0 <= longitude <= 180.0, longitude, "give degrees east"),
        ("cloud", cloud in CLOUDS, cloud, f"use one of {', '.join(CLOUDS)}"),
    )
    refuse_out_of_range("roofs", rules)
    roofs = round(share * count)
    customer = rng.choice(count, roofs, replace=False)
    equator_deg = 180.0 if latitude >= 0 else 0.0

    def like(one: np.random.Generator, who: NDArray[np.int64]) -> tuple[Float, ...]:
        several = len(who)
        return (
            one.normal(0.0, AZIMUTH_SD_DEG, several), one.normal(TILT_MEAN_DEG, TILT_SD_DEG, several),
            one.uniform(*INVERTER_KVA_PER_KWP, several), one.random(several),
        )  # fmt: skip

    turn_deg, tilt_deg, inverter_kva, edge_share = each(rng, customer, like)
    turn_deg = np.clip(turn_deg, -AZIMUTH_MOST_DEG, AZIMUTH_MOST_DEG)
    tilt_deg = np.clip(tilt_deg, *TILT_RANGE_DEG)
    inverter_kva = kwp * inverter_kva
    root = int(rng.integers(2**62))

    begin = start + timedelta(days=day)
    clear = clear_sky(latitude, longitude, begin, minutes, ahead_of_utc)
    sky = _under_cloud(clear, clear_sky_index(cloud, begin, minutes, root, day + first_day))
    fleet = PvFleet(np.zeros((minutes, count)), np.zeros(count), np.zeros(count))
    fleet.kwp[customer] = kwp
    fleet.inverter_kva[customer] = inverter_kva
    lit = (sky.ghi_w_per_m2 > 0.0).nonzero()[0]  # at night, half of the time, there is nothing to be computed
    lit_sky = Sky(*(values[lit, None] for values in sky))
    yield_kw = np.zeros((minutes, roofs))
    yield_kw[lit] = kwp * specific_power(lit_sky, tilt_deg, (equator_deg + turn_deg) % 360.0)
    before_kw = np.concatenate([yield_kw[:1], yield_kw[:-1]])
    blended_kw = (1.0 - edge_share) * yield_kw + edge_share * before_kw
    fleet.pv_available_kw[:, customer] = np.minimum(blended_kw, inverter_kva)
    return fleet


@lru_cache(maxsize=4)  # of the same days as those of other seeds
def clear_sky(
    latitude: float, longitude: float, start: datetime, minutes: int, ahead_of_utc: timedelta | None = None
) -> Sky:
    """Sun and clear-sky irradiance at the middle of every minute.

    Ineichen and Perez 2002 (doi:10.1016/S0038-092X(02)00045-2) with the monthly Linke turbidity of the place, both from
    pvlib, which carries its map of turbidity with it.
    """
    if ahead_of_utc is None:
        ahead_of_utc = timedelta(hours=round(longitude / 15.0))
    middle = pd.Timestamp(start) - ahead_of_utc + pd.Timedelta(seconds=30)
    times = pd.date_range(middle, periods=minutes, freq="1min", tz="UTC")
    with warnings.catch_warnings():
        # pvlib lags behind pandas' renamings (DatetimeIndex.dayofyear); the results are the same
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        sun = pvlib.solarposition.get_solarposition(times, latitude, longitude)
        turbidity = pvlib.clearsky.lookup_linke_turbidity(times, latitude, longitude)
        extra = pvlib.irradiance.get_extra_radiation(times)
        airmass = pvlib.atmosphere.get_relative_airmass(sun["apparent_zenith"])
        irradiance = pvlib.clearsky.ineichen(sun["apparent_zenith"], airmass, turbidity, dni_extra=extra)
    ghi, dni, dhi = (irradiance[part].fillna(0.0).to_numpy(np.float64) for part in ("ghi", "dni", "dhi"))
    zenith, azimuth = (sun[part].to_numpy(np.float64) for part in ("apparent_zenith", "azimuth"))
    return Sky(zenith, azimuth, ghi, dni, dhi, ambient_temperature_c(start, minutes, latitude))


def specific_power(sky: Sky, tilt_deg: Float | float, azimuth_deg: Float | float) -> Float:
    """AC power of a roof per kWp before the inverter's limit, shape of sky and angles together [kW/kWp].

    Isotropic sky on the tilted plane, cell temperature after Faiman 2008 (doi:10.1002/pip.813), PVWatts version 5 for
    modules and inverter (Dobos 2014, NREL/TP-6A20-62641).
    """
    plane = pvlib.irradiance.get_total_irradiance(
        tilt_deg, azimuth_deg, sky.zenith_deg, sky.azimuth_deg, sky.dni_w_per_m2, sky.ghi_w_per_m2, sky.dhi_w_per_m2
    )["poa_global"]
    cell_c = pvlib.temperature.faiman(plane, sky.ambient_c, WIND_M_PER_S)
    dc_kw = pvlib.pvsystem.pvwatts_dc(plane, cell_c, 1.0, TEMPERATURE_PER_KELVIN) * (1.0 - DC_LOSSES)
    return np.asarray(np.maximum(pvlib.inverter.pvwatts(dc_kw, 1.0, INVERTER_EFFICIENCY), 0.0))


def ambient_temperature_c(start: datetime, minutes: int, latitude: float = REFERENCE_LATITUDE_DEG) -> Float:
    """Temperature of the air, minute by minute: a sine over the day between the month's usual low and high.

    Parameters
    ----------
    start : datetime
        Local clock of the first minute.
    minutes : int
        Length of the horizon [min].
    latitude : float
        North positive [deg].

    Returns
    -------
    ndarray, shape (minute,)
        Temperature [C], warmest at 15 h.

    Notes
    -----
    Monthly figures are those of Manchester Ringway (Met Office averages 1981-2010). Elsewhere they are moved by half a
    kelvin per degree of latitude, and by half a year south of the equator: a rough assumption.
    """
    months = [(start + timedelta(minutes=minute)).month - 1 for minute in range(0, minutes, 60)]
    month = np.repeat(months, 60)[:minutes]
    if latitude < 0:
        month = (month + 6) % 12
    low_c, high_c = np.array(MONTH_LOW_C)[month], np.array(MONTH_HIGH_C)[month]
    wave = np.cos(2.0 * np.pi * (_hour_of_day(start, minutes) - WARMEST_HOUR) / 24.0)
    shift_k = KELVIN_PER_DEGREE_OF_LATITUDE * (abs(latitude) - REFERENCE_LATITUDE_DEG)
    return np.asarray(0.5 * (low_c + high_c) + 0.5 * (high_c - low_c) * wave + shift_k)


def _hour_of_day(start: datetime, minutes: int) -> Float:
    return (start.hour * 60 + start.minute + np.arange(minutes)) % DAY_MIN / 60.0


def _under_cloud(clear: Sky, index: Float) -> Sky:
    """Beam and diffuse under cloud: the beam fades linearly from clear sky to nothing at an index of 0.4."""
    beam_share = np.clip((index - 0.4) / 0.6, 0.0, 1.0)
    beam = clear.dni_w_per_m2 * beam_share
    clear_beam = clear.ghi_w_per_m2 - clear.dhi_w_per_m2  # on the horizontal
    ghi = clear.ghi_w_per_m2 * index
    diffuse = np.maximum(ghi - clear_beam * beam_share, 0.0)
    return clear._replace(ghi_w_per_m2=ghi, dni_w_per_m2=beam, dhi_w_per_m2=diffuse)
