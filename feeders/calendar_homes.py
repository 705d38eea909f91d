"""Homes drawn anew for every day of the calendar, as many as are asked for.

The model is of the CREST type (Richardson, Thomson, Infield and Clifford 2010, doi:10.1016/j.enbuild.2010.05.023):
residents who are up and at home drive activities, activities start appliances, appliances have power traces, and
darkness with presence switches lamps. It shares the idea with CREST, but no code and no tables: residents' days,
activity bumps and appliance figures below are this project's own round assumptions about British homes of about 2010.
They were calibrated by hand, for January, to the published diversity of the 100 profiles of the IEEE European LV test
feeder (energy, percentiles of power, demand against number of homes); the other months follow from daylight, heating
season, drying weather and warmer kitchens, weekends from residents who stay at home. See `data/SOURCE.md`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from cosim.contract.streams import Keyed
from cosim.feeders.find import DATA

Float = NDArray[np.float64]
Int = NDArray[np.int64]
Bool = NDArray[np.bool_]

DAY_MIN = 1440
LATITUDE_DEG = 53.5
HOUR_OF_DAY = np.arange(DAY_MIN) / 60.0
_TABLES = tomllib.loads((DATA / "homes.toml").read_text(encoding="utf-8"))
RESIDENTS_SHARE = {int(number): share for number, share in _TABLES["residents_share"].items()}
WEEKEND_LATER_H = (1.2, 0.5, 1.2)
"""How much later the kinds of residents get up: out at work, at home, at school."""
WEEK_AND_WARM_UP = (True, False, False, False, False, False, True, True)
"""Weekend or not: a Sunday that is thrown away, then Monday to Sunday."""


@dataclass(frozen=True)
class Season:
    """What the time of year changes; `drying` and `cold` are against January."""

    day_of_year: int
    heating: float  # share of the timed heating hours in which the boiler's pump and fan run
    drying: float  # starts of the tumble dryer and of the portable heater
    cold: float  # running share of fridges and freezers


SEASONS = {name: Season(**season) for name, season in _TABLES["seasons"].items()}
ACTIVITIES: dict[str, list[tuple[float, float, float]]] = _TABLES["activities"]
"""When an activity is likely, given that somebody is up and at home: bumps of hour, width in hours, weight."""


@dataclass(frozen=True)
class Appliance:
    """One kind of appliance: share of homes that own one, starts a day of an average owner, usual length and power.

    `spread` is the relative deviation of the length; `duty` below one is a thermostat; `attended` ones go off when
    the last resident goes out or to bed; `heating_parts` are the parts of a wet programme that heat.
    """

    name: str
    activity: str
    owned: float
    starts: float
    minutes: float
    watts: float
    standby_w: float = 0.0
    duty: float = 1.0
    spread: float = 0.4
    attended: bool = False
    heating_parts: tuple[tuple[float, float], ...] = ()
    motor_w: float = 0.0
    watts_spread: float = 0.1


APPLIANCES = tuple(Appliance(**one) for one in _TABLES["appliances"])
SEASONAL = ("tumble dryer", "portable heater")

LAMPS_USUAL = 20
LAMP_WATTS = {int(watts): share for watts, share in _TABLES["lamp_watts"].items()}
LAMP_STARTS_A_DARK_HOUR = 0.40  # of a lamp of average use, per hour dark with one resident up
LAMP_MINUTES_MEDIAN = 16.0
DARK_BELOW_W_PER_M2 = 40.0
HEATING_HOURS = ((6.0, 8.5), (16.5, 22.5))


def presence(residents_up: Int) -> Float:
    """Chance that an activity has somebody to do it, against one resident: grows less than their number."""
    return (1.0 - np.power(0.6, residents_up)).astype(np.float64) / 0.4


def draw_residents(rng: np.random.Generator) -> Int:
    """Kinds of the residents of one home: 0 out at work, 1 at home, 2 at school."""
    number = rng.choice(list(RESIDENTS_SHARE), p=list(RESIDENTS_SHARE.values()))
    adults = min(int(number), 2)
    return np.concatenate([rng.choice([0, 1], adults, p=[0.5, 0.5]), rng.choice([2, 1], number - adults, p=[0.8, 0.2])])


def draw_up_at_home(kind: int, rng: np.random.Generator, weekend: Sequence[bool]) -> Bool:
    """Minutes in which one resident is up and at home; on days of a weekend all get up later and nobody is at work."""
    up = np.zeros(len(weekend) * DAY_MIN, bool)
    wake_usual_h = rng.normal((7.0, 7.9, 7.4)[kind], 0.8)
    sleep_usual_h = rng.normal((23.4, 23.6, 21.8)[kind], 0.7)
    leave_usual_h = wake_usual_h + rng.uniform(0.8, 1.6)
    return_usual_h = (rng.normal(17.5, 1.2), 0.0, rng.normal(15.8, 0.4))[kind]

    def minutes(day: int, from_h: float, to_h: float) -> slice:
        return slice(max(0, int(day * DAY_MIN + from_h * 60)), max(0, int(day * DAY_MIN + to_h * 60)))

    for day, is_free in enumerate(weekend):
        later_h = WEEKEND_LATER_H[kind] if is_free else 0.0
        up[minutes(day, wake_usual_h + later_h + rng.normal(0, 0.25), sleep_usual_h + rng.normal(0, 0.4))] = True
        if kind != 1 and not is_free and rng.random() < 0.93:
            up[minutes(day, leave_usual_h + rng.normal(0, 0.15), return_usual_h + rng.normal(0, 0.5))] = False
        at_home = kind == 1 or is_free
        for _ in range(rng.poisson(1.2 if at_home else 0.3)):
            leave_h = rng.uniform(9.0, 19.5) if at_home else rng.uniform(18.0, 20.5)
            up[minutes(day, leave_h, leave_h + rng.lognormal(np.log(1.5), 0.6))] = False
    return up


def bumps(activity: str, days: int) -> Float:
    """Likelihood of an activity over the minutes of whole days, shape (minute,)."""
    day = np.zeros(DAY_MIN)
    for hour, width_h, weight in ACTIVITIES[activity]:
        away_h = (HOUR_OF_DAY - hour + 12.0) % 24.0 - 12.0
        day += weight * np.exp(-0.5 * (away_h / width_h) ** 2)
    return np.tile(day, days)


def draw_length_min(mean_min: float, spread: float, rng: np.random.Generator) -> int:
    """Length of one use: log-normal with this mean and relative deviation, at least a minute."""
    sigma = np.sqrt(np.log1p(spread**2))
    return max(1, round(float(rng.lognormal(np.log(mean_min) - sigma**2 / 2, sigma))))


def trace_w(kind: Appliance, watts: float, length_min: int, rng: np.random.Generator) -> Float:
    """Power of one use, minute by minute, shape (length,)."""
    if kind.heating_parts:
        part = np.arange(length_min) / length_min
        heats = np.any([(part >= a) & (part < b) for a, b in kind.heating_parts], axis=0)
        return np.where(heats, watts, kind.motor_w)
    if kind.duty < 1.0:
        on = np.repeat(rng.random(length_min // 3 + 1) < kind.duty, 3)[:length_min]
        on[: max(1, length_min // 6)] = True
        return np.where(on, watts, 0.0)
    return np.full(length_min, watts)


def add_uses(load_w: Float, chance: Float, up: Int, kind: Appliance, rng: np.random.Generator) -> None:
    """Add the uses of one appliance in one home, never two at once; attended ones stop when nobody is up."""
    watts = kind.watts * max(0.6, rng.normal(1.0, kind.watts_spread))
    free_at = 0
    for start in map(int, np.flatnonzero(rng.random(up.size) < chance)):
        if start < free_at:
            continue
        use_w = trace_w(kind, watts, draw_length_min(kind.minutes, kind.spread, rng), rng)[: up.size - start]
        if kind.attended:
            gone = np.flatnonzero(up[start : start + use_w.size] == 0)
            use_w = use_w[: gone[0]] if gone.size else use_w
        load_w[start : start + use_w.size] += use_w
        free_at = start + use_w.size


def cold_w(watts: float, running_share: float, total_min: int, rng: np.random.Generator) -> Float:
    """Compressor of a fridge or freezer: on and off in turn, shape (minute,)."""
    on_min = rng.uniform(12.0, 20.0)
    cycles = int(total_min / (on_min / running_share)) + 8
    lengths = np.empty(2 * cycles)
    lengths[::2] = on_min * rng.normal(1.0, 0.08, cycles)
    lengths[1::2] = on_min * (1.0 / running_share - 1.0) * rng.normal(1.0, 0.08, cycles)
    edges = np.round(np.cumsum(np.maximum(lengths, 1.0))).astype(int)
    trace = np.repeat(np.tile([watts, 0.0], cycles), np.diff(edges, prepend=0))
    first = rng.integers(0, trace.size - total_min) if trace.size > total_min else 0
    return trace[first : first + total_min]


def daylight_w_per_m2(season: Season, days: int, rng: np.random.Generator) -> Float:
    """Horizontal irradiance common to all homes: sun's height (Cooper's declination) under slowly changing cloud."""
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + season.day_of_year) / 365)
    latitude = np.radians(LATITUDE_DEG)
    hour_angle = np.radians(15.0 * (HOUR_OF_DAY - 12.0))
    height = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    clear = np.tile(1000.0 * np.maximum(height, 0.0) ** 1.2, days)
    half_hours = np.clip(rng.normal(0.5, 0.2, days * DAY_MIN // 30 + 1), 0.15, 1.0)
    return clear * np.interp(np.arange(days * DAY_MIN), 30.0 * np.arange(half_hours.size), half_hours)


def lighting_w(dark: Bool, up: Int, lamps_against_usual: float, rng: np.random.Generator) -> Float:
    """Lamps of one home, shape (minute,): each has its own power and use; all go off when nobody is up."""
    load_w = np.zeros(up.size)
    watts = list(LAMP_WATTS)
    for _ in range(max(4, round(LAMPS_USUAL * lamps_against_usual))):
        lamp_w = rng.choice(watts, p=list(LAMP_WATTS.values()))
        chance = LAMP_STARTS_A_DARK_HOUR / 60 * rng.exponential() * dark * presence(up)
        on = np.zeros(up.size, bool)
        for start in np.flatnonzero(rng.random(up.size) < chance):
            on[start : start + max(1, round(rng.lognormal(np.log(LAMP_MINUTES_MEDIAN), 1.2)))] = True
        load_w += lamp_w * (on & (up > 0))
    return load_w


def steady_w(season: Season, days: int, rng: np.random.Generator) -> Float:
    """What runs by itself in one home: standby, cold appliances, pump of the boiler, in few a dehumidifier or tank."""
    load_w = np.full(days * DAY_MIN, rng.lognormal(np.log(40.0), 0.08))
    load_w += cold_w(rng.uniform(80, 120), 0.30 * season.cold, days * DAY_MIN, rng)
    if rng.random() < 0.4:
        load_w += cold_w(rng.uniform(70, 110), 0.28 * season.cold, days * DAY_MIN, rng)
    if rng.random() < 0.08:
        load_w += rng.uniform(100, 450)
    has_pump = rng.random() < 0.8
    shift_h = rng.normal(0.0, 0.6)
    hours = np.tile(HOUR_OF_DAY, days)
    timed = np.any([(hours >= a + shift_h) & (hours < b + shift_h) for a, b in HEATING_HOURS], axis=0)
    runs = np.repeat(rng.random(days * DAY_MIN // 15) < season.heating, 15)
    load_w += (90.0 * has_pump) * (timed & runs)
    return load_w


@lru_cache(maxsize=1)
def usual_likelihoods() -> dict[str, float]:
    """Likelihood of every activity on a weekday of an average home, against which starts are counted."""
    rng = np.random.default_rng(0)
    homes = [draw_residents(rng) for _ in range(300)]
    up = np.array([np.sum([draw_up_at_home(kind, rng, (False,) * 3) for kind in home], axis=0) for home in homes])
    here = presence(up).mean(axis=0)
    return {name: float((bumps(name, 3) * here).sum()) / 3 for name in ACTIVITIES}


def season_of(day: datetime) -> Season:
    """What the time of year changes, between the four months that are given."""
    number = day.timetuple().tm_yday
    anchors = sorted(SEASONS.values(), key=lambda season: season.day_of_year)
    days = [season.day_of_year for season in anchors]
    between = {
        field.name: float(np.interp(number, days, [getattr(season, field.name) for season in anchors], period=365))
        for field in fields(Season)[1:]
    }
    return Season(number, **between)


def home_w(
    season: Season, dark: Bool, weekend: Sequence[bool], people: np.random.Generator, rng: np.random.Generator
) -> Float:
    """Power of one home on consecutive days, shape (minute,); who lives there and what is owned is from `people`."""
    residents = draw_residents(people)
    owned = people.random(len(APPLIANCES)) < [kind.owned for kind in APPLIANCES]
    thrift = people.lognormal(-0.5 * 0.30**2, 0.30)
    lamps = thrift * people.lognormal(-0.5 * 0.4**2, 0.4)
    days = len(weekend)
    up = np.sum([draw_up_at_home(kind, rng, weekend) for kind in residents], axis=0)
    load_w = steady_w(season, days, rng) + lighting_w(dark, up, lamps, rng)
    here, usual = presence(up), usual_likelihoods()
    for kind in (kind for kind, there in zip(APPLIANCES, owned, strict=True) if there):
        starts = kind.starts * thrift * (season.drying if kind.name in SEASONAL else 1.0)
        add_uses(load_w, starts * bumps(kind.activity, days) * here / usual[kind.activity], up, kind, rng)
        load_w += kind.standby_w
    return load_w


def draw_calendar(count: int, begin: datetime, minutes: int, rng: np.random.Generator) -> Float:
    """Draw homes and their demand over any time: no two homes and no two days are alike.

    A home keeps its residents, appliances and thrift. Weeks of the calendar are drawn one by one, each after a day that
    is thrown away, and seeded by their date: a day is the same from whatever horizon it is seen. What runs over
    midnight from Sunday to Monday is cut there, and usual hours are those of a week.

    Parameters
    ----------
    count : int
        Number of homes.
    begin : datetime
        Local clock of the first minute.
    minutes : int
        Length [min].
    rng : numpy.random.Generator
        Source of the draw; in the same state it draws the same homes.

    Returns
    -------
    ndarray, shape (minute, home)
        Demand [kW].
    """
    root = int(rng.integers(2**62))
    homes = [int(rng.of(home).integers(1, 2**62)) if isinstance(rng, Keyed) else home for home in range(count)]
    first_min = (begin.toordinal() - 1) * DAY_MIN + begin.hour * 60 + begin.minute
    week_min = 7 * DAY_MIN
    demand_kw = np.empty((minutes, count))
    for week in range(first_min // week_min, (first_min + minutes - 1) // week_min + 1):
        season = season_of(datetime.fromordinal(week * 7 + 4))
        light = daylight_w_per_m2(season, 8, np.random.default_rng([root, week, 0]))
        start = week * week_min - first_min
        rows = slice(max(start, 0), min(start + week_min, minutes))
        of_week = slice(DAY_MIN + rows.start - start, DAY_MIN + rows.stop - start)
        for column, home in enumerate(homes):
            people = np.random.default_rng([root, home])
            load_w = home_w(
                season,
                light < DARK_BELOW_W_PER_M2,
                WEEK_AND_WARM_UP,
                people,
                np.random.default_rng([root, week, home + 1]),
            )
            demand_kw[rows, column] = load_w[of_week] / 1000.0
    return demand_kw
