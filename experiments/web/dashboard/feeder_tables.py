"""A run's folder: what is said of it, and rows of its tables a day at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from cosim.errors import Fault, InputError
from cosim.experiments.show import read_metrics, read_stopped
from cosim.experiments.words import clock_text

_DAY_MIN = 1440
_DAYS_OF_PART = 7


@dataclass(frozen=True)
class RunFolder:
    """A finished run, or as much of one as is whole on disk.

    Attributes
    ----------
    path : Path
        That ``cosim run`` wrote.
    name : str
        Of the scenario.
    start : datetime
        Clock of the first step.
    step_min : float
        Length of a step [min].
    steps : dict of str to int
        How many there are, by label of those runs that were measured.
    stopped : dict of str to str
        Runs that are not whole, and why.
    metrics : dict of str to dict
        Scoreboards by label.
    """

    path: Path
    name: str
    start: datetime
    step_min: float
    steps: dict[str, int]
    stopped: dict[str, str]
    metrics: dict[str, dict[str, float]]

    @property
    def labels(self) -> list[str]:
        """Of what can be shown."""
        return list(self.steps)

    @property
    def per_day(self) -> int:
        """Steps of a day."""
        return max(round(_DAY_MIN / self.step_min), 1)

    @property
    def days(self) -> int:
        """How many days, the last perhaps not whole."""
        return -(-max(self.steps.values(), default=0) // self.per_day)

    def times(self, day: int, count: int) -> list[datetime]:
        """Clock of so many steps of a day."""
        first = day * self.per_day
        return [self.start + timedelta(minutes=self.step_min * (first + step)) for step in range(count)]

    def clock(self, day: int, step: int) -> str:
        """Clock of a step of a day, with its date where there are several days."""
        whole = self.step_min * max(self.steps.values(), default=0)
        return clock_text(self.start, self.step_min * (day * self.per_day + step), whole)


def read_run(folder: Path) -> RunFolder:
    """Read what is said of a folder's runs.

    Raises
    ------
    InputError
        Where it holds none, or its files cannot be read.
    """
    metrics, path = read_metrics(folder), folder / "manifest.json"
    if not metrics:
        raise InputError(Fault(str(path), "", "holds no run that came to its end", "run the scenario again"))
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        scenario = told["scenario"]
        steps = {label: int(told["runs"][label]["steps"]) for label in metrics}
        start = datetime.fromisoformat(scenario["start"]).replace(tzinfo=None)
        return RunFolder(
            folder, scenario["name"], start, float(scenario["step_min"]), steps, read_stopped(folder), metrics
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(Fault(str(path), "", f"cannot be read ({error!r})", "run the scenario again")) from None


def customer_day(run: RunFolder, label: str, customer: str, day: int = 0) -> pd.DataFrame:
    """Rows of one customer over a day: columns of ``customers.parquet``, with ``time``, by step."""
    rows = read_table(run, label, "customers", day, [("customer", "==", customer)]).reset_index(drop=True)
    return rows.assign(time=run.times(day, len(rows)))


def charging_kw(run: RunFolder, label: str, day: int = 0) -> pd.DataFrame:
    """Charging power of every home that charges at all, one column a home, by step [kW]."""
    rows = read_table(run, label, "customers", day, columns=["step", "customer", "ev_kw"])
    wide = rows.pivot_table(index="step", columns="customer", values="ev_kw", observed=True, sort=False)
    return wide.loc[:, (wide > 0.0).any()]


def read_table(
    run: RunFolder,
    label: str,
    name: str,
    day: int,
    only: Sequence[tuple[str, str, Any]] = (),
    columns: list[str] | None = None,
) -> pd.DataFrame:
    """Rows of a day of one of a run's tables; of a run in parts only the parts of that day are opened.

    Raises
    ------
    InputError
        Where it cannot be read.
    """
    path = run.path / "trajectories" / label / f"{name}.parquet"
    first, last = day * run.per_day, (day + 1) * run.per_day
    if not path.is_file():  # weeks, of which each has whole days
        path = path.with_suffix("") / f"part-{day // _DAYS_OF_PART:03d}.parquet"
    of_day = [("step", ">=", first), ("step", "<", last)] if run.days > 1 else []
    try:
        return _read(path, [*of_day, *only], columns)
    except (OSError, ValueError) as error:
        raise InputError(Fault(str(path), "", f"cannot be read: {error}", "run the scenario again")) from None


def _read(file: Path, only: list[tuple[str, str, Any]], columns: list[str] | None) -> pd.DataFrame:
    """Rows of a file; of the whole by the quicker way, for thousands of columns are most of the work."""
    if only:
        rows = pq.read_table(file, filters=only, columns=columns)
    else:
        with pq.ParquetFile(file, memory_map=True) as opened:
            rows = opened.read(columns)
    found: pd.DataFrame = rows.to_pandas()
    return found


def phases_percent(steps: pd.DataFrame) -> pd.DataFrame:
    """Loading of the transformer by phase [%], columns ``a``, ``b``, ``c``; nan of a run that did not keep it yet."""
    names = {f"transformer_{phase}_percent": phase for phase in "abc"}
    return steps.reindex(columns=list(names)).rename(columns=names).astype(float)
