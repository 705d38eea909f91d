"""Tables of unbalance on disk."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from cosim.record import write_whole
from experiments.unbalance.tables import Unbalance

DIGITS = 6


def write_unbalance(found: Unbalance, folder: Path) -> None:
    """Write ``buses.csv``, ``lines.csv`` and ``causes.csv``; tables without rows are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("buses", found.buses), ("lines", found.lines), ("causes", found.causes)):
        if not table.empty:
            write_table(table, folder / f"{name}.csv")


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a CSV, whole or not at all."""
    write_whole(path, lambda temporary: table.round(DIGITS).to_csv(temporary, index=False, lineterminator="\n"))
