"""Make the household sets `<month>_weekday.parquet` that lie beside this script.

    python feeders/data/make_households.py [--out DIR]

Same seed, same watts; the model is `cosim.feeders.calendar_homes`. Every set holds the same homes on three consecutive
weekdays, simulated without a break at midnight (a fourth day before them is simulated and thrown away), as int16 watts:
one column per home, one row per minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from cosim.feeders.calendar_homes import (
    ACTIVITIES,
    APPLIANCES,
    DARK_BELOW_W_PER_M2,
    DAY_MIN,
    SEASONAL,
    SEASONS,
    Season,
    add_uses,
    bumps,
    daylight_w_per_m2,
    draw_residents,
    draw_up_at_home,
    lighting_w,
    presence,
    steady_w,
)

SEED = 1
HOMES = 120
WARM_UP_DAYS = 1
DAYS = 4
TOTAL_MIN = DAYS * DAY_MIN


def make_set(season: Season, index: int) -> np.ndarray:
    """Watts of all homes on three days, shape (minute, home), int16. Homes are the same in every season."""
    people = np.random.default_rng([SEED, 0])
    kinds = [draw_residents(people) for _ in range(HOMES)]
    owns = people.random((HOMES, len(APPLIANCES))) < [kind.owned for kind in APPLIANCES]
    thrift = people.lognormal(-0.5 * 0.30**2, 0.30, HOMES)
    lamps = thrift * people.lognormal(-0.5 * 0.4**2, 0.4, HOMES)
    days = np.random.default_rng([SEED, 1 + index])
    up = np.array([np.sum([draw_up_at_home(kind, days, (False,) * DAYS) for kind in home], axis=0) for home in kinds])
    dark = daylight_w_per_m2(season, DAYS, days) < DARK_BELOW_W_PER_M2
    likely = {name: bumps(name, DAYS) * presence(up) for name in ACTIVITIES}
    usual = {name: chance.sum(axis=1).mean() / DAYS for name, chance in likely.items()}
    homes_w = np.empty((TOTAL_MIN, HOMES))
    for home in range(HOMES):
        load_w = steady_w(season, DAYS, days) + lighting_w(dark, up[home], lamps[home], days)
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
