"""What a run's folder says of buses, customers and branches, for a map: from files alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim.contract import Feeder
from cosim.errors import Fault, InputError, meant
from cosim.experiments.tables import as_written

_COLUMNS = {
    "bus": {
        "voltage_min_pu": "voltage_min_pu", "voltage_max_pu": "voltage_max_pu", "vuf_max_percent": "vuf_max_percent",
        "worst_time": "vuf_worst_time",
    },
    "branch": {
        "peak_percent": "peak_percent", "neutral_max_a": "neutral_max_a", "worst_time": "neutral_worst_time",
    },
}  # fmt: skip
"""Columns of ``unbalance/<label>``, and what they are called on the map."""

Facts = dict[tuple[str, str], dict[str, Any]]


def facts_of(folder: Path, controller: str | None, feeder: Feeder) -> Facts:
    """Return worst voltages, unbalance and peak loading of one run, by kind and name.

    Parameters
    ----------
    folder : Path
        That ``cosim run`` wrote.
    controller : str, optional
        Label of the run; not needed where there is one.
    feeder : Feeder
        The place of the run.

    Returns
    -------
    dict
        Buses: voltage to earth [V]; with three phases voltage [pu] and unbalance factor [%]. Customers: voltage between
        their own conductors [V, pu] and power [kW]. Rated lines, and branches with three phases: current [A] and
        loading [%] of the worst phase. Areas: the worst of their customers and transformers.

    Raises
    ------
    InputError
        Where the folder holds no such run, or one of another feeder.
    """
    label = _label(folder, controller)
    tables = folder / "trajectories" / label
    nodes = _read(tables / "nodes.parquet").drop(columns="step").agg(["min", "max"])
    customers = _read(tables / "customers.parquet")
    if set(nodes) != set(feeder.network.node_names) or set(customers["customer"]) != set(feeder.customers):
        problem = f"is of another feeder than {feeder.name}: its nodes or customers are others"
        raise InputError(Fault(str(folder), "--results", problem, "give the feeder of the run, or another folder"))
    facts: Facts = {}
    for node, (low, high) in zip(map(str, nodes), nodes.to_numpy().T.tolist(), strict=True):
        bus, _, number = node.rpartition(".")
        if int(number) <= 3:
            known = facts.setdefault(("bus", bus), {"voltage_to_earth_min_v": low, "voltage_to_earth_max_v": high})
            known["voltage_to_earth_min_v"] = min(known["voltage_to_earth_min_v"], low)
            known["voltage_to_earth_max_v"] = max(known["voltage_to_earth_max_v"], high)
    nominal_v = dict(zip(feeder.customers, feeder.customer_nominal_v.tolist(), strict=True))
    for name, rows in customers.groupby("customer", observed=True):
        low, high = float(rows["voltage_v"].min()), float(rows["voltage_v"].max())
        facts["customer", str(name)] = {
            "voltage_min_v": low, "voltage_max_v": high, "voltage_min_pu": low / nominal_v[str(name)],
            "voltage_max_pu": high / nominal_v[str(name)], "net_min_kw": float(rows["net_kw"].min()),
            "net_max_kw": float(rows["net_kw"].max()),
        }  # fmt: skip
    ratings_a = {branch.name: branch.rating_a for branch in feeder.network.branches}
    peaks_a = _read(tables / "lines.parquet").drop(columns="step").max()
    for conductor, peak_a in zip(peaks_a.index, peaks_a.tolist(), strict=True):
        line = conductor.rpartition(".")[0]
        if peak_a >= facts.get(("line", line), {}).get("peak_a", 0.0):
            facts["line", line] = {"peak_a": peak_a, "peak_percent": 100.0 * peak_a / ratings_a[line]}
    kinds = {branch.name: branch.kind for branch in feeder.network.branches}
    for key, file in (("bus", "buses"), ("branch", "lines")):
        path = folder / "unbalance" / label / f"{file}.csv"
        if not path.is_file():  # no bus with three phases
            continue
        table = pd.read_csv(path, dtype={key: str}, keep_default_na=False, na_values=[""])
        for row in table.to_dict("records"):
            name = as_written(row[key])
            known = facts.setdefault((kinds.get(name, key), name), {})
            known |= {new: row[old] for old, new in _COLUMNS[key].items() if new not in known}
    for area in feeder.areas:
        own = [facts["customer", feeder.customers[row]] for row in area.customers]
        peaks = [facts.get(("transformer", name), {}).get("peak_percent", np.nan) for name in area.transformers]
        facts["area", area.name] = {
            "voltage_min_pu": min((one["voltage_min_pu"] for one in own), default=np.nan),
            "voltage_max_pu": max((one["voltage_max_pu"] for one in own), default=np.nan),
            "peak_percent": float(np.fmax.reduce(peaks)) if peaks else np.nan,
        }
    return facts


def _label(folder: Path, controller: str | None) -> str:
    there = sorted(path.parent.name for path in (folder / "trajectories").glob("*/nodes.parquet"))
    if not there:
        raise InputError(Fault(str(folder), "--results", "holds no run", "give a folder that 'cosim run' wrote"))
    if controller is None and len(there) == 1:
        return there[0]
    if controller in there:
        return str(controller)
    problem = "is missing" if controller is None else f"there is no run '{controller}'"
    remedy = f"name one of {', '.join(there)}"
    raise InputError(Fault(str(folder), "--controller", problem, meant(controller or "", there, remedy)))


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InputError(Fault(str(path), "", f"cannot be read: {error}", "run the scenario again")) from None
