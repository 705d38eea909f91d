"""What maps show of a run, a day at a time: made of its tables, and kept within bounds."""

from __future__ import annotations

from base64 import b64encode
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd

from cosim.errors import Fault, InputError
from cosim.experiments.web.dashboard.feeder_place import Place, place_of
from cosim.experiments.web.dashboard.feeder_tables import RunFolder, phases_percent, read_table
from cosim.experiments.web.dashboard.feeder_words import Single, binding_words

Quantity = Literal["voltage_pu", "voltage_v", "loading_percent"]
_KEPT_BYTES = 64_000_000
_NONE = 65_535
"""Of a value that is not known, in 16 bits."""
_STEP = {"pu": 2.0**-15, "percent": 2.0**-6}
"""Voltages of up to 2 pu are sent to the nearest 1/32768, loadings of up to 1000 % to the nearest 1/64."""
_Item = TypeVar("_Item")


@dataclass(frozen=True, eq=False)
class Day:
    """What maps show of one run's day.

    Attributes
    ----------
    line_pu : ndarray, shape (step, line)
        Voltage of every line of the map: the mean of its ends, of each bus the phase that is farthest from nominal
        [pu]; nan where it is not known.
    line_percent : ndarray, shape (step, line)
        Loading of the worst phase [%]; nan where it is not known.
    customer_pu : ndarray, shape (step, customer)
        Voltage at the meters [pu].
    transformer_percent : ndarray, shape (step,)
        Loading of the worst phase of the transformer of most customers [%].
    binding : list of str
        What binds at each step, in words.
    """

    line_pu: Single
    line_percent: Single
    customer_pu: Single
    transformer_percent: Single
    binding: list[str]

    def of(self, place: Place, quantity: Quantity) -> tuple[Single, Single]:
        """Values of lines, and of points: customers, and behind them transformers; nan of what has none."""
        homes = len(place.customers)
        points = np.full((len(self.binding), homes + len(place.transformers)), np.nan, dtype=np.float32)
        if quantity == "loading_percent":
            supplying = [homes + row for row, name in enumerate(place.transformers) if name in place.supplies]
            points[:, supplying] = self.transformer_percent[:, None]
            return self.line_percent, points
        points[:, :homes] = self.customer_pu
        return self.line_pu, points


def day_of(run: RunFolder, label: str, day: int = 0) -> Day:
    """Return a day of one of a folder's runs, counted from the first; those asked for last are kept.

    Raises
    ------
    InputError
        Where a file cannot be read, or the feeder is another by now.
    """

    def make() -> Day:
        place, steps = place_of(run.path), read_table(run, label, "steps", day)
        loading, customer_pu = _line_percent(run, label, place, day), _customer_pu(run, label, place, day)
        worst = phases_percent(steps).max(axis=1)
        each = zip(customer_pu, loading, steps["worst_phase_percent"].tolist(), strict=True)
        return Day(
            _line_pu(run, label, place, day, len(steps)), loading, customer_pu, worst.to_numpy(np.float32),
            [binding_words(place, *of_step) for of_step in each],
        )  # fmt: skip

    stamp = (run.path / "manifest.json").stat().st_mtime_ns  # another run may have been written there since
    return _kept.get((str(run.path), stamp, label, day), make, lambda made: made.line_pu.nbytes * 3)


def packed(values: Single, unit: str) -> str:
    """Pack values [pu] or [%] in 16 bits each, as base64; `_NONE` where there is none."""
    codes = np.where(np.isfinite(values), np.clip(np.nan_to_num(values) / _STEP[unit], 0, _NONE - 1).round(), _NONE)
    return b64encode(codes.astype("<u2").tobytes()).decode("ascii")


def day_values(run: RunFolder, label: str, quantity: Quantity, day: int) -> dict[str, Any]:
    """What a browser needs to colour a day of a run, whichever the step.

    ``lines`` and ``points`` are `packed`, ``step`` is what one of their units is, ``times`` and ``binding`` are a clock
    and a sentence of each step.
    """
    found, unit = day_of(run, label, day), "percent" if quantity == "loading_percent" else "pu"
    lines, points = found.of(place_of(run.path), quantity)
    return {
        "lines": packed(lines, unit),
        "points": packed(points, unit),
        "step": _STEP[unit],
        "steps": len(found.binding),
        "times": [run.clock(day, step) for step in range(len(found.binding))],
        "binding": found.binding,
    }


def _line_percent(run: RunFolder, label: str, place: Place, day: int) -> Single:
    table = read_table(run, label, "lines", day)
    values, of_line = table.to_numpy(np.float32), _columns(table)
    found = np.full((len(table), len(place.lines)), np.nan, dtype=np.float32)
    for row, line in enumerate(place.lines):
        if line in of_line:
            found[:, row] = values[:, of_line[line]].max(axis=1) * (100.0 / place.ratings_a[line])
    return found


def _line_pu(run: RunFolder, label: str, place: Place, day: int, count: int) -> Single:
    """Voltages of lines; of a run in parts voltages of nodes are not kept."""
    if not (run.path / "trajectories" / label / "nodes.parquet").is_file():
        return np.full((count, len(place.lines)), np.nan, dtype=np.float32)
    table = read_table(run, label, "nodes", day)
    values, of_bus = table.to_numpy(np.float32), _columns(table)
    buses = {bus: row for row, bus in enumerate(dict.fromkeys(bus for ends in place.line_buses for bus in ends))}
    extreme = np.full((count, len(buses)), np.nan, dtype=np.float32)
    for bus, row in buses.items():
        if bus in of_bus and bus in place.bus_v:
            of_phases = values[:, of_bus[bus]] / np.float32(place.bus_v[bus])
            farthest = np.abs(of_phases - 1.0).argmax(axis=1)
            extreme[:, row] = of_phases[np.arange(count), farthest]
    ends = np.array([[buses[one], buses[other]] for one, other in place.line_buses], dtype=int).reshape(-1, 2)
    return np.asarray(extreme[:, ends].mean(axis=2))


def _columns(table: pd.DataFrame) -> dict[str, list[int]]:
    """Columns of the phases of every line or bus, which are called ``name.phase``."""
    found: dict[str, list[int]] = {}
    for column, name in enumerate(map(str, table.columns)):
        element, _, phase = name.rpartition(".")
        if phase in ("1", "2", "3"):
            found.setdefault(element, []).append(column)
    return found


def _customer_pu(run: RunFolder, label: str, place: Place, day: int) -> Single:
    table = read_table(run, label, "customers", day, columns=["customer", "voltage_v"])
    if table["customer"].iloc[: len(place.customers)].tolist() != list(place.customers):
        problem = f"is of another feeder than {place.name} as it is now: its customers are others"
        raise InputError(Fault(str(run.path), label, problem, "run the scenario again"))
    voltage_v = table["voltage_v"].to_numpy().reshape(-1, len(place.customers))
    return np.asarray(voltage_v / place.customer_v, dtype=np.float32)


class _Kept:
    """What was made last, up to so many bytes in all; one thing is made at a time."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._made, self._lock = most_bytes, OrderedDict[Any, tuple[Any, int]](), Lock()

    def get(self, key: Any, make: Callable[[], _Item], size: Callable[[_Item], int]) -> _Item:
        with self._lock:
            if key not in self._made:
                made = make()
                self._made[key] = made, size(made)
            self._made.move_to_end(key)
            while len(self._made) > 1 and sum(own for _, own in self._made.values()) > self._most:
                self._made.popitem(last=False)
            return self._made[key][0]  # type: ignore[no-any-return]


_kept = _Kept(_KEPT_BYTES)
