"""Make `ev_sessions.parquet` beside this script from the home charging sessions that OCHRE ships.

    pip download --no-deps ochre-nrel==0.9.2
    python feeders/data/make_sessions.py ochre_nrel-0.9.2-py3-none-any.whl [--out DIR]

Needs numpy, pandas and pyarrow. Kept are the arrival (minute of the day) and the stay (minutes) of a seeded sample of
`ochre/defaults/EV/BEV_level_2.csv`, all of them on weekdays; vehicle, energy and charger are not kept. `SOURCE.md` has
origin, licence and what the project puts in their place.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

MEMBER = "ochre/defaults/EV/BEV_level_2.csv"
SEED = 1
SAMPLE = 5000
WEEKDAYS = (2, 3, 4, 5, 6)  # Monday to Friday as the file counts; it holds no other


def read_sessions(wheel: Path) -> pd.DataFrame:
    """All sessions of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return pd.read_csv(io.BytesIO(archive.read(MEMBER)))


def sample_sessions(sessions: pd.DataFrame) -> pd.DataFrame:
    """A seeded sample without replacement of arrival and stay, sorted, int16 minutes."""
    weekday = sessions[sessions["day_of_week"].isin(WEEKDAYS) & (sessions["destination_type"] == "home")]
    rows = np.random.default_rng(SEED).choice(len(weekday), SAMPLE, replace=False)
    kept = weekday.iloc[rows][["start_time", "duration"]].astype("int16")
    kept.columns = ["arrival_min", "stay_min"]
    return kept.sort_values(["arrival_min", "stay_min"], ignore_index=True)


def main() -> None:
    """Convert and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()
    sessions = read_sessions(options.wheel)
    kept = sample_sessions(sessions)
    table = pa.Table.from_pandas(kept, preserve_index=False)
    table = table.replace_schema_metadata({"unit": "min", "origin": f"ochre-nrel 0.9.2, {MEMBER}", "seed": str(SEED)})
    pq.write_table(table, options.out / "ev_sessions.parquet", compression="zstd", write_statistics=False)
    print(f"kept {len(kept)} of {len(sessions)} sessions; median arrival {kept['arrival_min'].median() / 60:.1f} h")


if __name__ == "__main__":
    main()
