"""Own homes for the host-capacity study: a table with one row per home and slot, as ``caps.csv`` has it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim.contract import Float
from cosim.controllers.caps import CapsProblem
from cosim.controllers.caps.result import spans
from cosim.errors import Fault, InputError, refuse
from cosim.experiments.tables import as_written
from cosim.feeders.tables import read_table

DAY_H = 24.0
PER_HOME = ("phase", "connection_kw")
PER_STAY = ("charger_kw", "charger_min_kw", "energy_need_kwh", "efficiency", "battery_room_kwh")
REQUIRED = (
    "household", "phase", "slot", "tariff_eur_per_kwh", "inflexible_kw", "plugged", "connection_kw", "charger_kw",
    "energy_need_kwh", "efficiency", "limit_kw",
)  # fmt: skip
LIMITS = ("limit_1_kw", "limit_2_kw", "limit_3_kw")
OPTIONAL = ("stay", "charger_min_kw", "battery_room_kwh", "slot_h", *LIMITS)
PHASES = (1, 2, 3, 12, 13, 23, 123)
REMEDY = f"give a CSV with the columns {', '.join(REQUIRED)} (and, as needed, {', '.join(OPTIONAL)})"
NOBODY = -1  # stay of a home without a car
AGREE_KW = 1e-6
MOST_NAMED = 20  # faults of single cells that are spelled out


def read_problem(path: Path, margin: float = 0.0) -> tuple[CapsProblem, list[str]]:
    """Read homes, tariffs and limits from a table, so that a ``caps.csv`` written earlier can be read again.

    One row per household and slot; slots 0, 1, ... share a day unless ``slot_h`` says how long they are. The tariff may
    differ by household. ``phase`` is 1, 2 or 3, or all that a home loads in equal parts (``123``); 1 throughout where
    one limit counts for all. ``limit_kw`` is that of the phase and slot, the smallest where a home loads several: then
    ``limit_1_kw`` and so on tell them apart, and without these a phase of no other home has the largest that its homes
    say. A household with several stays numbers them in ``stay`` (-1: no car), and in each slot shows the one that is
    there, or any. Charger, need, efficiency and what the battery takes are the same in all slots of a stay. Other
    columns are passed over; limits of cables and voltages are not in the table.

    Parameters
    ----------
    path : Path
        CSV or Parquet.
    margin : float
        Share of the limits to keep free.

    Returns
    -------
    CapsProblem
    list of str
        Names of the households, in the order in which they first occur.

    Raises
    ------
    InputError
        With every fault found: file, column, and households, slots and rows where they are.
    """
    table, where = read_table(path, "data", REMEDY), str(path)
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing or table.empty:
        text = f"misses the columns {', '.join(missing)}" if missing else "has no row"
        raise InputError(Fault(where, "columns", text, REMEDY))
    given = [*REQUIRED, *(name for name in OPTIONAL if name in table.columns)]
    table = table[given].assign(household=table["household"].astype(str).map(as_written))
    _refuse(_number_faults(table, where))
    _refuse(_layout_faults(table, where))
    table = table.astype(dict.fromkeys(given[1:], float)).astype({"slot": int})
    usual: dict[str, Any] = {
        "stay": np.where(table["charger_kw"] > 0, 0.0, NOBODY),
        "charger_min_kw": 0.0,
        "slot_h": DAY_H / table["slot"].nunique(),
    }
    table = table.assign(**{name: value for name, value in usual.items() if name not in given})
    _refuse(chain(_value_faults(table, where), _agreement_faults(table, where)))
    problem, off = _problem(table)
    _refuse(_named(off, "limit_kw", "is not the smallest limit of its phases in that slot, as others say",
                   "give one limit for each phase and slot", where))  # fmt: skip
    return replace(problem, limit_kw=problem.limit_kw * (1.0 - margin)), list(table["household"].unique())


def _refuse(faults: Iterable[Fault]) -> None:
    """Stop where there is any fault: what comes after could not make sense of the table."""
    refuse(faults)


def _problem(table: pd.DataFrame) -> tuple[CapsProblem, pd.DataFrame]:
    """Return the problem, and rows whose limit is another than that of their phases."""
    code, names = pd.factorize(table["household"])
    ordered = table.iloc[np.lexsort((table["slot"].to_numpy(int), code))]

    def grid(column: str) -> Float:
        """Shape (slot, home)."""
        return ordered[column].to_numpy(float).reshape(len(names), -1).T

    stay = grid("stay").astype(int)
    slot_of, home_of = (index.ravel() for index in np.indices(stay.shape))
    keys, first = np.unique(np.stack([stay.ravel(), home_of]), axis=1, return_index=True)
    cars = keys[0] > NOBODY
    home, at = keys[1, cars], (slot_of[first[cars]], keys[1, cars])
    tariff = grid("tariff_eur_per_kwh")
    loaded = _loaded(grid("phase")[0])
    limit = _limits(ordered, grid, loaded)
    problem = CapsProblem(
        slot_h=float(ordered["slot_h"].iloc[0]),
        tariff_eur_per_kwh=tariff[:, 0] if (tariff == tariff[:, :1]).all() else tariff,
        inflexible_kw=grid("inflexible_kw"),
        connection_kw=grid("connection_kw")[0],
        phase_share=loaded / loaded.sum(axis=1, keepdims=True),
        limit_kw=limit,
        home=home,
        plugged=np.where(stay[:, home] == keys[0, cars], grid("plugged")[:, home], 0.0),
        **{name: grid(name)[at] for name in PER_STAY if name in ordered},
    )
    smallest = np.stack([limit[:, row > 0].min(axis=1) for row in loaded], axis=1)
    return problem, ordered[(np.abs(smallest - grid("limit_kw")) > AGREE_KW).T.ravel()]


def _loaded(phase: Float) -> Float:
    """Which phases homes load, shape (home, phase); one phase where one limit counts for all."""
    written = [str(int(number)) for number in phase]
    if set(written) == {"1"}:
        return np.ones((len(written), 1))
    return np.array([[float(name in digits) for name in "123"] for digits in written])


def _limits(table: pd.DataFrame, grid: Callable[[str], Float], loaded: Float) -> Float:
    """Limit of each phase, shape (slot, phase); what all homes together may draw for a phase that no home loads."""
    of_home, alone = grid("limit_kw"), loaded.sum(axis=1) == 1
    limit = np.full((len(of_home), loaded.shape[1]), grid("connection_kw")[0].sum())
    for phase in range(loaded.shape[1]):
        on = loaded[:, phase] > 0
        if LIMITS[phase] in table.columns:
            limit[:, phase] = grid(LIMITS[phase])[:, 0]
        elif (on & alone).any():
            limit[:, phase] = of_home[:, int(np.argmax(on & alone))]
        elif on.any():
            limit[:, phase] = of_home[:, on].max(axis=1)
    return limit


def _number_faults(table: pd.DataFrame, where: str) -> Iterator[Fault]:
    for column in table.columns[1:]:
        values = pd.to_numeric(table[column], errors="coerce")
        bad = table[~np.isfinite(values.to_numpy(float))]
        yield from _named(bad, column, "is not a finite number", "give a number", where)


def _layout_faults(table: pd.DataFrame, where: str) -> Iterator[Fault]:
    """Every household must have every slot once."""
    slots = set(range(int(table["slot"].max()) + 1))
    for household, rows in table.groupby("household", sort=False)["slot"]:
        lacking, odd = slots - set(rows), (set(rows) - slots) | set(rows[rows.duplicated()])
        if lacking:
            text = f"household {household} lacks slots {spans(lacking)}: {len(set(rows))} of {len(slots)}"
            yield Fault(where, "slot", text, "give every household every slot, from 0")
        if odd:
            text = f"household {household} has slots {sorted(odd)[:5]} twice, or not whole"
            yield Fault(where, "slot", text, "mend the rows")


def _value_faults(table: pd.DataFrame, where: str) -> Iterator[Fault]:
    phase, plugged, stay, charger_kw, need_kwh = (
        table[name] for name in ("phase", "plugged", "stay", "charger_kw", "energy_need_kwh")
    )
    has_car = stay > NOBODY
    battery_kwh = table.get("battery_room_kwh", need_kwh)
    rules = [
        ("phase", phase.isin(PHASES), "names no phases", "give 1, 2, 3 or 123"),
        ("plugged", plugged.between(0, 1), "is outside 0..1", "give the share of the slot"),
        ("plugged", (plugged == 0) | has_car, "is there without a car", "give 0, or a charger and a stay"),
        ("connection_kw", table["connection_kw"] > 0, "is not positive", "give a power in kW"),
        ("charger_kw", charger_kw >= 0, "is negative", "give a power in kW"),
        ("energy_need_kwh", need_kwh >= 0, "is negative", "give an energy in kWh"),
        ("charger_kw", (charger_kw > 0) | ((need_kwh <= 0) & ~has_car), "is zero, but the home has a need",
         "give the charger's rating"),
        ("efficiency", table["efficiency"].between(1e-6, 1), "is outside 0..1", "give a share above 0"),
        ("stay", (stay % 1 == 0) & (stay >= NOBODY), "is no number of a stay", "give -1, 0, 1, ..."),
        ("charger_min_kw", table["charger_min_kw"].between(0, charger_kw) | ~has_car, "is outside 0..charger_kw",
         "give the least the charger runs at"),
        ("battery_room_kwh", (battery_kwh >= need_kwh - AGREE_KW) | ~has_car, "is less than is needed",
         "give what the battery takes"),
        ("slot_h", table["slot_h"] > 0, "is not positive", "give the length of a slot in hours"),
    ]  # fmt: skip
    for column, good, problem, remedy in rules:
        yield from _named(table[~good], column, problem, remedy, where)


def _agreement_faults(table: pd.DataFrame, where: str) -> Iterator[Fault]:
    """What belongs to a home must be the same in all its slots, what belongs to a stay in all slots of that."""
    if (table["slot_h"] != table["slot_h"].iloc[0]).any():
        yield Fault(where, "slot_h", "has several values", "give one length for all slots")
    for columns, keys in ((PER_HOME, ["household"]), (PER_STAY, ["household", "stay"]), (LIMITS, ["slot"])):
        for column in (name for name in columns if name in table):
            several = table.groupby(keys, sort=False)[column].nunique()
            for _, row in several[several > 1].reset_index()[:MOST_NAMED].iterrows():
                place = ", ".join(f"{name} {row[name]}".removesuffix(".0") for name in keys)
                yield Fault(where, column, f"has several values for {place}", "give one value")


def _named(bad: pd.DataFrame, column: str, problem: str, remedy: str, where: str) -> Iterator[Fault]:
    for household, rows in list(bad.groupby("household", sort=False))[:MOST_NAMED]:
        slots = pd.to_numeric(rows["slot"], errors="coerce").dropna().astype(int).tolist()
        at = f"household {household}, slots {spans(slots)}" if slots else f"household {household}"
        row = int(rows.index[0]) + 1
        yield Fault(where, column, f"{problem} ({at}, row {row}: {rows[column].iloc[0]})", remedy)
