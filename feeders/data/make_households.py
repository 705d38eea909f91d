"""Make the household sets `<month>_weekday.parquet` that lie beside this script.

    python feeders/data/make_households.py [--out DIR]

Needs numpy and pyarrow only; same seed, same watts. The model is of the CREST type (Richardson, Thomson, Infield and
Clifford 2010, doi:10.1016/j.enbuild.2010.05.023): residents who are up and at home drive activities, activities start
appliances, appliances have power traces, and darkness with presence switches lamps. It shares the idea with CREST, but
no code and no tables: residents' days, activity bumps and appliance figures below are this project's own round
assumptions about British homes of about 2010. They were calibrated by hand, for January, to the published diversity of
the 100 profiles of the IEEE European LV test feeder (energy, percentiles of power, demand against number of homes);
the other months follow from daylight, heating season, drying weather and warmer kitchens. See `SOURCE.md`.

Every set holds the same homes on three consecutive weekdays, simulated without a break at midnight (a fourth day before
them is simulated and thrown away), as int16 watts: one column per home, one row per minute.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SEED = 1
HOMES = 120
DAY_MIN = 1440
WARM_UP_DAYS = 1
DAYS = 4
TOTAL_MIN = DAYS * DAY_MIN
LATITUDE_DEG = 53.5
HOUR_OF_DAY = np.arange(DAY_MIN) / 60.0
RESIDENTS_SHARE = {1: 0.30, 2: 0.35, 3: 0.16, 4: 0.13, 5: 0.06}


@dataclass(frozen=True)
class Season:
    """What the time of year changes; `drying` and `cold` are against January."""

    day_of_year: int
    heating: float  # share of the timed heating hours in which the boiler's pump and fan run
    drying: float  # starts of the tumble dryer and of the portable heater
    cold: float  # running share of fridges and freezers


SEASONS = {
    "january_weekday": Season(15, heating=0.75, drying=1.0, cold=1.0),
    "may_weekday": Season(136, heating=0.15, drying=0.6, cold=1.1),
    "july_weekday": Season(197, heating=0.0, drying=0.4, cold=1.2),
    "october_weekday": Season(288, heating=0.4, drying=0.8, cold=1.05),
}

# When an activity is likely, given that somebody is up and at home: bumps of (hour, width in hours, weight).
ACTIVITIES: dict[str, list[tuple[float, float, float]]] = {
    "tea": [(8.0, 1.6, 1.0), (10.5, 1.4, 1.1), (13.0, 1.4, 1.1), (16.5, 1.7, 0.8), (20.5, 2.2, 0.5)],
    "screen": [(9.0, 1.5, 0.8), (13.0, 2.2, 0.7), (17.5, 1.8, 0.9), (21.5, 2.2, 1.6)],
    "cooking": [(8.5, 1.2, 0.7), (12.2, 1.4, 1.0), (17.2, 2.2, 0.60), (21.5, 2.0, 0.35)],
    "washing": [(7.8, 1.7, 1.0), (11.0, 2.2, 0.9), (15.0, 2.0, 0.5), (22.0, 1.6, 0.7)],
    "laundry": [(9.2, 1.8, 1.2), (12.5, 2.2, 1.0), (17.0, 3.5, 0.35)],
    "cleaning": [(10.0, 1.8, 1.2), (13.5, 2.5, 0.8), (18.0, 2.5, 0.5)],
}


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


APPLIANCES = (
    Appliance("television", "screen", 0.97, 3.4, 100, 140, standby_w=2, spread=0.7, attended=True),
    Appliance("second television", "screen", 0.70, 1.6, 80, 110, standby_w=2, spread=0.7, attended=True),
    Appliance("computer", "screen", 0.75, 2.0, 110, 140, standby_w=2, spread=0.7, attended=True),
    Appliance("games and music", "screen", 0.80, 1.2, 70, 90, standby_w=2, spread=0.7, attended=True),
    Appliance("kettle", "tea", 0.97, 3.8, 3, 2700),
    Appliance("microwave", "cooking", 0.88, 0.9, 4, 1250, standby_w=2, spread=0.6),
    Appliance("toaster", "cooking", 0.80, 0.5, 3, 950),
    Appliance("oven", "cooking", 0.62, 0.40, 35, 2400, standby_w=1, duty=0.45),
    Appliance("hob", "cooking", 0.45, 0.8, 20, 2000, duty=0.6, spread=0.5),
    Appliance("electric shower", "washing", 0.40, 0.85, 4, 9000, watts_spread=0.12),
    Appliance("hair dryer", "washing", 0.60, 0.3, 5, 1300, spread=0.5),
    Appliance("immersion heater", "washing", 0.12, 0.6, 45, 2900),
    Appliance("washing machine", "laundry", 0.92, 0.60, 80, 2200, heating_parts=((0.06, 0.28),), motor_w=180),
    Appliance("tumble dryer", "laundry", 0.45, 0.45, 65, 2400, duty=0.8),
    Appliance("dishwasher", "cooking", 0.38, 0.60, 85, 2100, heating_parts=((0.05, 0.22), (0.68, 0.84)), motor_w=70),
    Appliance("iron", "cleaning", 0.90, 0.25, 25, 1600, duty=0.45, spread=0.5),
    Appliance("vacuum cleaner", "cleaning", 0.93, 0.3, 14, 1500, spread=0.5),
    Appliance("portable heater", "screen", 0.12, 0.6, 60, 1500, duty=0.7, spread=0.5, attended=True),
)
SEASONAL = ("tumble dryer", "portable heater")

LAMPS_USUAL = 20
LAMP_WATTS = {11: 0.30, 40: 0.20, 50: 0.20, 60: 0.20, 100: 0.10}
LAMP_STARTS_A_DARK_HOUR = 0.40  # of a lamp of average use, per hour dark with one resident up
LAMP_MINUTES_MEDIAN = 16.0
DARK_BELOW_W_PER_M2 = 40.0
HEATING_HOURS = ((6.0, 8.5), (16.5, 22.5))


def presence(residents_up: np.ndarray) -> np.ndarray:
    """Chance that an activity has somebody to do it, against one resident: grows less than their number."""
    return (1.0 - 0.6**residents_up) / 0.4


def draw_residents(rng: np.random.Generator) -> np.ndarray:
    """Kinds of the residents of one home: 0 out at work, 1 at home, 2 at school."""
    number = rng.choice(list(RESIDENTS_SHARE), p=list(RESIDENTS_SHARE.values()))
    adults = min(int(number), 2)
    return np.concatenate([rng.choice([0, 1], adults, p=[0.5, 0.5]), rng.choice([2, 1], number - adults, p=[0.8, 0.2])])


def draw_up_at_home(kind: int, rng: np.random.Generator) -> np.ndarray:
    """Minutes in which one resident is up and at home."""
    up = np.zeros(TOTAL_MIN, bool)
    wake_usual_h = rng.normal((7.0, 7.9, 7.4)[kind], 0.8)
    sleep_usual_h = rng.normal((23.4, 23.6, 21.8)[kind], 0.7)
    leave_usual_h = wake_usual_h + rng.uniform(0.8, 1.6)
    return_usual_h = (rng.normal(17.5, 1.2), 0.0, rng.normal(15.8, 0.4))[kind]

    def minutes(day: int, from_h: float, to_h: float) -> slice:
        return slice(max(0, int(day * DAY_MIN + from_h * 60)), max(0, int(day * DAY_MIN + to_h * 60)))

    for day in range(DAYS):
        up[minutes(day, wake_usual_h + rng.normal(0, 0.25), sleep_usual_h + rng.normal(0, 0.4))] = True
        if kind != 1 and rng.random() < 0.93:
            up[minutes(day, leave_usual_h + rng.normal(0, 0.15), return_usual_h + rng.normal(0, 0.5))] = False
        for _ in range(rng.poisson(1.2 if kind == 1 else 0.3)):
            leave_h = rng.uniform(9.0, 19.5) if kind == 1 else rng.uniform(18.0, 20.5)
            up[minutes(day, leave_h, leave_h + rng.lognormal(np.log(1.5), 0.6))] = False
    return up


def bumps(activity: str) -> np.ndarray:
    """Likelihood of an activity over the minutes of the horizon, shape (minute,)."""
    day = np.zeros(DAY_MIN)
    for hour, width_h, weight in ACTIVITIES[activity]:
        away_h = (HOUR_OF_DAY - hour + 12.0) % 24.0 - 12.0
        day += weight * np.exp(-0.5 * (away_h / width_h) ** 2)
    return np.tile(day, DAYS)


def draw_length_min(mean_min: float, spread: float, rng: np.random.Generator) -> int:
    """Length of one use: log-normal with this mean and relative deviation, at least a minute."""
    sigma = np.sqrt(np.log1p(spread**2))
    return max(1, round(rng.lognormal(np.log(mean_min) - sigma**2 / 2, sigma)))


def trace_w(kind: Appliance, watts: float, length_min: int, rng: np.random.Generator) -> np.ndarray:
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


def add_uses(load_w: np.ndarray, chance: np.ndarray, up: np.ndarray, kind: Appliance, rng: np.random.Generator) -> None:
    """Add the uses of one appliance in one home, never two at once; attended ones stop when nobody is up."""
    watts = kind.watts * max(0.6, rng.normal(1.0, kind.watts_spread))
    free_at = 0
    for start in np.flatnonzero(rng.random(TOTAL_MIN) < chance):
        if start < free_at:
            continue
        use_w = trace_w(kind, watts, draw_length_min(kind.minutes, kind.spread, rng), rng)[: TOTAL_MIN - start]
        if kind.attended:
            gone = np.flatnonzero(up[start : start + use_w.size] == 0)
            use_w = use_w[: gone[0]] if gone.size else use_w
        load_w[start : start + use_w.size] += use_w
        free_at = start + use_w.size


def cold_w(watts: float, running_share: float, rng: np.random.Generator) -> np.ndarray:
    """Compressor of a fridge or freezer: on and off in turn, shape (minute,)."""
    on_min = rng.uniform(12.0, 20.0)
    cycles = int(TOTAL_MIN / (on_min / running_share)) + 8
    lengths = np.empty(2 * cycles)
    lengths[::2] = on_min * rng.normal(1.0, 0.08, cycles)
    lengths[1::2] = on_min * (1.0 / running_share - 1.0) * rng.normal(1.0, 0.08, cycles)
    edges = np.round(np.cumsum(np.maximum(lengths, 1.0))).astype(int)
    trace = np.repeat(np.tile([watts, 0.0], cycles), np.diff(edges, prepend=0))
    first = rng.integers(0, trace.size - TOTAL_MIN) if trace.size > TOTAL_MIN else 0
    return trace[first : first + TOTAL_MIN]


def daylight_w_per_m2(season: Season, rng: np.random.Generator) -> np.ndarray:
    """Horizontal irradiance common to all homes: sun's height (Cooper's declination) under slowly changing cloud."""
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + season.day_of_year) / 365)
    latitude = np.radians(LATITUDE_DEG)
    hour_angle = np.radians(15.0 * (HOUR_OF_DAY - 12.0))
    height = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    clear = np.tile(1000.0 * np.maximum(height, 0.0) ** 1.2, DAYS)
    half_hours = np.clip(rng.normal(0.5, 0.2, TOTAL_MIN // 30 + 1), 0.15, 1.0)
    return clear * np.interp(np.arange(TOTAL_MIN), 30.0 * np.arange(half_hours.size), half_hours)


def lighting_w(dark: np.ndarray, up: np.ndarray, lamps_against_usual: float, rng: np.random.Generator) -> np.ndarray:
    """Lamps of one home, shape (minute,): each has its own power and use; all go off when nobody is up."""
    load_w = np.zeros(TOTAL_MIN)
    watts = list(LAMP_WATTS)
    for _ in range(max(4, round(LAMPS_USUAL * lamps_against_usual))):
        lamp_w = rng.choice(watts, p=list(LAMP_WATTS.values()))
        chance = LAMP_STARTS_A_DARK_HOUR / 60 * rng.exponential() * dark * presence(up)
        on = np.zeros(TOTAL_MIN, bool)
        for start in np.flatnonzero(rng.random(TOTAL_MIN) < chance):
            on[start : start + max(1, round(rng.lognormal(np.log(LAMP_MINUTES_MEDIAN), 1.2)))] = True
        load_w += lamp_w * (on & (up > 0))
    return load_w


def steady_w(season: Season, rng: np.random.Generator) -> np.ndarray:
    """What runs by itself in one home: standby, cold appliances, pump of the boiler, in few a dehumidifier or tank."""
    load_w = np.full(TOTAL_MIN, rng.lognormal(np.log(40.0), 0.08))
    load_w += cold_w(rng.uniform(80, 120), 0.30 * season.cold, rng)
    if rng.random() < 0.4:
        load_w += cold_w(rng.uniform(70, 110), 0.28 * season.cold, rng)
    if rng.random() < 0.08:
        load_w += rng.uniform(100, 450)
    has_pump = rng.random() < 0.8
    shift_h = rng.normal(0.0, 0.6)
    hours = np.tile(HOUR_OF_DAY, DAYS)
    timed = np.any([(hours >= a + shift_h) & (hours < b + shift_h) for a, b in HEATING_HOURS], axis=0)
    runs = np.repeat(rng.random(TOTAL_MIN // 15) < season.heating, 15)
    return load_w + (90.0 * has_pump) * (timed & runs)


def make_set(season: Season, index: int) -> np.ndarray:
    """Watts of all homes on three days, shape (minute, home), int16. Homes are the same in every season."""
    people = np.random.default_rng([SEED, 0])
    kinds = [draw_residents(people) for _ in range(HOMES)]
    owns = people.random((HOMES, len(APPLIANCES))) < [kind.owned for kind in APPLIANCES]
    thrift = people.lognormal(-0.5 * 0.30**2, 0.30, HOMES)
    lamps = thrift * people.lognormal(-0.5 * 0.4**2, 0.4, HOMES)
    days = np.random.default_rng([SEED, 1 + index])
    up = np.array([np.sum([draw_up_at_home(kind, days) for kind in home], axis=0) for home in kinds])
    dark = daylight_w_per_m2(season, days) < DARK_BELOW_W_PER_M2
    likely = {name: bumps(name) * presence(up) for name in ACTIVITIES}
    usual = {name: chance.sum(axis=1).mean() / DAYS for name, chance in likely.items()}
    homes_w = np.empty((TOTAL_MIN, HOMES))
    for home in range(HOMES):
        load_w = steady_w(season, days) + lighting_w(dark, up[home], lamps[home], days)
        for column, kind in enumerate(APPLIANCES):
            if owns[home, column]:
                starts = kind.starts * thrift[home] * (season.drying if kind.name in SEASONAL else 1.0)
                chance = starts * likely[kind.activity][home] / usual[kind.activity]
                add_uses(load_w, chance, up[home], kind, days)
                load_w += kind.standby_w
        homes_w[:, home] = load_w
    return np.round(homes_w[WARM_UP_DAYS * DAY_MIN :]).astype(np.int16)


def write_set(path: Path, watts: np.ndarray) -> None:
    """Write one set: columns `home_001`..., int16 watts, delta-coded and compressed."""
    names = [f"home_{home + 1:03d}" for home in range(watts.shape[1])]
    table = pa.table({name: pa.array(watts[:, home]) for home, name in enumerate(names)})
    table = table.replace_schema_metadata({"unit": "W", "step_min": "1", "seed": str(SEED)})
    pq.write_table(table, path, compression="zstd", compression_level=19, use_dictionary=True, write_statistics=False)


def main() -> None:
    """Make and write every season's set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    out = parser.parse_args().out
    for index, (name, season) in enumerate(SEASONS.items()):
        watts = make_set(season, index)
        write_set(out / f"{name}.parquet", watts)
        print(f"{name}: {watts.shape[1]} homes, {watts.sum() / 60e3 / watts.shape[1] / (DAYS - 1):.2f} kWh a day")


if __name__ == "__main__":
    main()
