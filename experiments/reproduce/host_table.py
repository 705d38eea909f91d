"""Own homes for the host-capacity study: a table with one row per home and slot, as ``caps.csv`` has it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from controllers.caps import CapsProblem, share_of_phase
from controllers.caps.result import spans
from cosim.contract import Float
from cosim.errors import Fault, InputError
from feeders.tables import read_table

DAY_H = 24.0
PER_SLOT = ("inflexible_kw", "plugged")
PER_HOME = ("connection_kw", "charger_kw", "energy_need_kwh", "efficiency")
KEYS = ("household", "phase", "slot")
REQUIRED = (*KEYS, "tariff_eur_per_kwh", *PER_SLOT, *PER_HOME, "limit_kw")
REMEDY = "give a CSV with the columns " + ", ".join(REQUIRED)
MOST_NAMED = 20  # faults of single cells that are spelled out


def read_problem(path: Path, margin: float = 0.0) -> tuple[CapsProblem, list[str]]:
    """Read homes, tariff and limits from a table.

    One row per household and slot; slots 0, 1, ... share a day. Tariff and limit must be the same for all households of
    a slot (of a slot and phase); connection, charger, need and efficiency the same in all slots of a household. One
    stay per household. ``phase`` is 1, 2 or 3 (1 throughout where one limit counts for all). Other columns are passed
    over, so that a ``caps.csv`` written earlier can be read again.

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
        With every fault found, households and slots named.
    """
    table, where = read_table(path, "data", REMEDY), str(path)
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing or table.empty:
        problem = f"misses the columns {', '.join(missing)}" if missing else "has no row"
        raise InputError(Fault(where, "columns", problem, REMEDY))
    table = table.assign(household=table["household"].astype(str))
    faults = list(_number_faults(table, where)) or list(_layout_faults(table, where))
    if faults:
        raise InputError(faults)
    table = table.astype(dict.fromkeys(REQUIRED[3:], float))
    faults = list(_value_faults(table, where)) + list(_agreement_faults(table, where))
    if faults:
        raise InputError(faults)
    return _problem(table, margin), list(table["household"].unique())


def _problem(table: pd.DataFrame, margin: float) -> CapsProblem:
    names = table["household"].unique()
    slots = table["slot"].nunique()
    ordered = table.set_index(["slot", "household"]).sort_index(level="slot")

    def cells(column: str) -> Float:
        return np.asarray(ordered[column].unstack("household")[names], dtype=np.float64)  # noqa: PD010 - keys are unique

    first = table.drop_duplicates("household")
    phase = first["phase"].to_numpy(int) - 1
    phases = 1 if phase.max() == 0 else 3
    limit = table.drop_duplicates(["slot", "phase"]).pivot_table(index="slot", columns="phase", values="limit_kw")
    nobody_kw = float(first["connection_kw"].sum())  # limit of a phase that no home loads
    limit = limit.reindex(columns=range(1, phases + 1)).fillna(nobody_kw)
    driven = first[first["charger_kw"].to_numpy(float) > 0]
    home = np.flatnonzero(first["charger_kw"].to_numpy(float) > 0)
    return CapsProblem(
        slot_h=DAY_H / slots,
        tariff_eur_per_kwh=cells("tariff_eur_per_kwh")[:, 0],
        inflexible_kw=cells("inflexible_kw"),
        connection_kw=first["connection_kw"].to_numpy(float),
        phase_share=share_of_phase(phase, phases),
        limit_kw=limit.to_numpy(float) * (1.0 - margin),
        home=home,
        plugged=cells("plugged")[:, home],
        charger_kw=driven["charger_kw"].to_numpy(float),
        charger_min_kw=np.zeros(len(home)),
        energy_need_kwh=driven["energy_need_kwh"].to_numpy(float),
        efficiency=driven["efficiency"].to_numpy(float),
    )


def _number_faults(table: pd.DataFrame, where: str) -> Iterator[Fault]:
    for column in REQUIRED[1:]:
        values = pd.to_numeric(table[column], errors="coerce")
        bad = table[~np.isfinite(values.to_numpy(float))]
        yield from _named(bad, column, "is not a finite number", "give a number", where)


def _layout_faults(table: pd.DataFrame, where: str) -> Iterator[Fault]:
    """Every household must have every slot once."""
    slots = range(int(table["slot"].max()) + 1)
    for household, rows in table.groupby("household", sort=False)["slot"]:
        lacking = sorted(set(slots) - set(rows.tolist()))
        odd = sorted(set(rows[rows.duplicated()].tolist()) | (set(rows.tolist()) - set(slots)))
        if lacking:
            text = f"household {household} lacks slots {spans(lacking)}: {len(set(rows))} of {len(slots)}"
            yield Fault(where, "slot", text, "give every household every slot, from 0")
        if odd:
            yield Fault(
                where, "slot", f"household {household} has slots {odd[:5]} twice, or not whole", "mend the rows"
            )


def _value_faults(table: pd.DataFrame, where: str) -> Iterator[Fault]:
    rules = (
        ("phase", table["phase"].isin([1, 2, 3]), "is not 1, 2 or 3", "name the phase of the home"),
        ("plugged", table["plugged"].between(0, 1), "is outside 0..1", "give the share of the slot"),
        ("connection_kw", table["connection_kw"] > 0, "is not positive", "give a power in kW"),
        ("charger_kw", table["charger_kw"] >= 0, "is negative", "give a power in kW"),
        ("energy_need_kwh", table["energy_need_kwh"] >= 0, "is negative", "give an energy in kWh"),
        (
            "charger_kw",
            (table["charger_kw"] > 0) | (table["energy_need_kwh"] <= 0),
            "is nil, but the home has a need",
            "give the charger's rating",
        ),
        ("efficiency", table["efficiency"].between(1e-6, 1), "is outside 0..1", "give a share above 0"),
    )
    for column, good, problem, remedy in rules:
        yield from _named(table[~good], column, problem, remedy, where)


def _agreement_faults(table: pd.DataFrame, where: str) -> Iterator[Fault]:
    """What belongs to a slot must be the same for all homes, what belongs to a home in all slots."""
    for column, keys in (
        ("tariff_eur_per_kwh", ["slot"]),
        ("limit_kw", ["slot", "phase"]),
        *((name, ["household"]) for name in ("phase", *PER_HOME)),
    ):
        several = table.groupby(keys, sort=False)[column].nunique()
        for key in several.index[several > 1][:MOST_NAMED]:
            place = " ".join(f"{name} {part}" for name, part in zip(keys, np.atleast_1d(key), strict=True))
            yield Fault(where, column, f"has several values for {place}", "give one value")


def _named(bad: pd.DataFrame, column: str, problem: str, remedy: str, where: str) -> Iterator[Fault]:
    for household, rows in list(bad.groupby("household", sort=False))[:MOST_NAMED]:
        slots = pd.to_numeric(rows["slot"], errors="coerce").dropna().astype(int).tolist()
        at = f"household {household}, slots {spans(slots)}" if slots else f"household {household}"
        yield Fault(where, column, f"{problem} ({at}: {rows[column].iloc[0]})", remedy)
