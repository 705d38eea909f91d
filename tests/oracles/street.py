"""A street small enough to solve again in plain OpenDSS, with cars, roofs and a shop on three phases, and its runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import opendssdirect
import pandas as pd

from cosim.experiments.compose import load
from cosim.experiments.day import Day
from cosim.experiments.execute import execute
from cosim.experiments.results import Results

CIRCUIT = """Clear
Set DefaultBaseFrequency=50
New Circuit.street Bus1=src BasekV=11 pu=1.075 R1=0 X1=0.0001 R0=0 X0=0.0001
New Transformer.T1 Phases=3 Windings=2 Buses=[src lv] Conns=[Delta Wye] kVs=[11 0.4] kVAs=[20 20] XHL=3.8
~ %Rs=[0.8 0.8] %NoLoadLoss=0.2 ppm_antifloat=0
New LineCode.cable nphases=3 R1=0.4 X1=0.08 R0=1.2 X0=0.3 C1=0 C0=0 Units=km NormAmps=40 EmergAmps=40
New Line.HEAD Bus1=lv Bus2=a Phases=3 LineCode=cable Length=250 Units=m
New Line.TAIL Bus1=a Bus2=b Phases=3 LineCode=cable Length=0.2 Units=km
New Load.H1 Phases=1 Bus1=a.1 kV=0.23 kW=1 kvar=0 Vminpu=0.5 Vmaxpu=1.5
New Load.H2 Phases=1 Bus1=a.2 kV=0.23 kW=1 kvar=0 Vminpu=0.5 Vmaxpu=1.5
New Load.H3 Phases=1 Bus1=b.1 kV=0.23 kW=1 kvar=0 Vminpu=0.5 Vmaxpu=1.5
New Load.H4 Phases=1 Bus1=b.3 kV=0.23 kW=1 kvar=0 Vminpu=0.5 Vmaxpu=1.5
New Load.SHOP Phases=3 Bus1=b kV=0.4 kW=3 kvar=0 Vminpu=0.5 Vmaxpu=1.5
Set VoltageBases=[11 0.4]
CalcVoltageBases
Set Tolerance=1e-10 MaxIterations=200
"""
FACTS = 'nominal_voltage_v = 230.0\nhead_line = "HEAD"\nmonitored = ["T1", "TAIL"]\nconnection_kw_per_phase = 8.0\n'
CARS = """customer,arrival,departure,energy_kwh,charger_kw,battery_kwh,soc_arrival_kwh,efficiency
H1,2026-05-15T14:20:00,2026-05-15T16:10:00,5,7.4,40,12,0.9
H1,2026-05-15T17:02:00,2026-05-15T19:31:00,9,7.4,60,20,0.92
H2,2026-05-15T16:00:00,2026-05-15T17:00:00,8,3.7,40,10,0.9
H3,2026-05-15T14:00:00,2026-05-15T19:45:00,12,7.4,52,20,0.9
SHOP,2026-05-15T15:30:00,2026-05-15T18:30:00,20,11,77,30,0.9
"""
"""Two cars after one another, one that its stay cannot serve, and one on three phases."""
SCENARIO = """name = "street_evening"
feeder = "Master.dss"
seed = 3
start = 2026-05-15T14:00:00
horizon_h = 6
step_min = 5
control_min = 60
strict = false
[households]
profiles = "may_weekday"
noncompliant_share = 0.2
[ev]
sessions = "own/cars.csv"
[pv]
share = 0.8
kwp = 5.0
[forecast]
kind = "noisy"
[[runs]]
controller = "none"
[[runs]]
controller = "droop"
[[runs]]
controller = "bilevel_caps"
options = { export = true, replan_min = 0.0 }
[[runs]]
controller = "pareto"
options = { control_min = 60.0 }
"""


@dataclass(frozen=True, eq=False)
class Street:
    """Runs on the street, and where they are written."""

    day: Day
    folder: Path
    results: Results

    def table(self, name: str) -> pd.DataFrame:
        """Read a table that was written."""
        path = self.folder / name
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)


def run_street(folder: Path) -> Street:
    """Write circuit and scenario, run it as the command line does, and read the day once more."""
    (folder / "own").mkdir(exist_ok=True)
    for name, text in (
        ("Master.dss", CIRCUIT),
        ("feeder.toml", FACTS),
        ("own/cars.csv", CARS),
        ("street.toml", SCENARIO),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    day = load(folder / "street.toml")
    return Street(day, folder / "out", execute(day, folder / "out", figures=False))


@dataclass(frozen=True, eq=False)
class Solved:
    """What OpenDSS itself says of the steps of a run.

    Attributes
    ----------
    voltage_v : dict of str to ndarray of complex, shape (step,)
        By node, upper case.
    current_a : dict of str to ndarray of complex, shape (step, 3)
        Towards the customers, by element.
    transformer_kva : ndarray of complex, shape (step,)
        Out of its low-voltage terminals.
    transformer_hv_kva : ndarray of complex, shape (step,)
        Into its other terminals.
    losses_kw, source_kw : ndarray, shape (step,)
        Of all lines and transformers; delivered by the source.
    losses_lines_kw, losses_transformers_kw : ndarray, shape (step,)
        Each alone, as the elements themselves say.
    """

    voltage_v: dict[str, np.ndarray]
    current_a: dict[str, np.ndarray]
    transformer_kva: np.ndarray
    transformer_hv_kva: np.ndarray
    losses_kw: np.ndarray
    source_kw: np.ndarray
    losses_lines_kw: np.ndarray
    losses_transformers_kw: np.ndarray

    def bus_v(self, bus: str) -> np.ndarray:
        """Phasors of a bus with three phases, shape (step, 3)."""
        return np.stack([self.voltage_v[f"{bus}.{phase}"] for phase in (1, 2, 3)], axis=1)


def solve_again(master: Path, net_kw: pd.DataFrame, net_kvar: pd.DataFrame) -> Solved:
    """Solve every step in plain OpenDSS, as a user of OpenDSS would; a column per customer."""
    dss = opendssdirect.NewContext()
    dss.Basic.AllowChangeDir(False)
    dss.Text.Command(f'compile "{master}"')
    lines = [name.upper() for name in dss.Lines.AllNames()]
    rows: list[dict[str, Any]] = []
    for k in range(len(net_kw)):
        for customer in net_kw.columns:
            dss.Loads.Name(customer)
            dss.Loads.kW(net_kw[customer].iloc[k])
            dss.Loads.kvar(net_kvar[customer].iloc[k])
        dss.Solution.Solve()
        assert dss.Solution.Converged()
        volts = np.array(dss.Circuit.AllBusVolts()).view(complex)
        lost: dict[str, float] = {"Line": 0.0, "Transformer": 0.0}
        row: dict[str, Any] = dict(zip((name.upper() for name in dss.Circuit.AllNodeNames()), volts, strict=True))
        for element in [*(f"Line.{name}" for name in lines), "Transformer.T1"]:
            dss.Circuit.SetActiveElement(element)
            currents, powers = (np.array(of()).view(complex) for of in (dss.CktElement.Currents, dss.CktElement.Powers))
            lost[element.split(".")[0]] += dss.CktElement.Losses()[0] / 1e3
            if element.startswith("Line"):
                row[f"current {element}"] = currents[:3]
            else:  # the second terminal, which has a neutral; into the element is against the customers
                row[f"current {element}"] = -currents[4:7]
                row["power"], row["power_hv"] = -powers[4:7].sum(), powers[:3].sum()
        row["losses"] = np.array(dss.Circuit.Losses())[0] / 1e3
        row["source"] = -dss.Circuit.TotalPower()[0]
        row["lines"], row["transformers"] = lost["Line"], lost["Transformer"]
        rows.append(row)
    table = pd.DataFrame(rows)
    return Solved(
        {name: table[name].to_numpy(complex) for name in table if "." in name and " " not in name},
        {name.rsplit(".", 1)[1].upper(): np.stack(list(table[name])) for name in table if name.startswith("current")},
        table["power"].to_numpy(complex),
        table["power_hv"].to_numpy(complex),
        table["losses"].to_numpy(float),
        table["source"].to_numpy(float),
        table["lines"].to_numpy(float),
        table["transformers"].to_numpy(float),
    )
