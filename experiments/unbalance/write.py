"""Tables of unbalance on disk."""

from __future__ import annotations

from pathlib import Path

from cosim.experiments.tables import write_table
from cosim.experiments.unbalance.tables import Unbalance


def write_unbalance(found: Unbalance, folder: Path) -> None:
    """Write ``buses.csv``, ``lines.csv`` and ``causes.csv``; tables without rows are left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (("buses", found.buses), ("lines", found.lines), ("causes", found.causes)):
        if not table.empty:
            write_table(table, folder / f"{name}.csv")
