"""The charge-point operator's planner: forty vehicles behind 100 kW, as an LP and as a MILP that deserves the name.

The seed's demand is drawn without a seed; only the first five rows of its table are published. They are kept as they
are, with the optima computed for them beforehand by an independent model, and thirty-five more are drawn from a seed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim.controllers.planner import Options, Planning, Requests, Rounding, make_requests, make_station, plan
from cosim.experiments.files import origin, write_json
from cosim.experiments.plan.generate import generate_demand
from cosim.experiments.plan.read import Demand, read_demand
from cosim.experiments.plan.report import write_all
from cosim.experiments.plan.write import station_kpis
from cosim.measures import json_safe
from cosim.record import write_whole

VEHICLES, CAPACITY_KW, STEP_S = 40, 100.0, 900.0
LEAST_POWER_KW = 4.14  # 6 A on three phases at 230 V (IEC 61851-1)
ROUNDING: Rounding = "down"  # the seed's: 11:59:53 is step 47, 16:46:38 step 67
PACKAGES = ("lv-feeder-cosim", "highspy", "numpy", "pandas", "pyarrow", "matplotlib")

PUBLISHED = pd.DataFrame(
    [
        (22.0, 26.0, 52.0, "2025-08-18 11:59:53", "2025-08-18 16:46:38"),
        (7.0, 17.6711, 30.0, "2025-08-18 08:18:18", "2025-08-18 10:49:46"),
        (11.0, 45.815, 52.0, "2025-08-18 10:26:38", "2025-08-18 14:36:32"),
        (11.0, 27.9156, 88.0, "2025-08-18 14:47:47", "2025-08-18 17:20:03"),
        (6.0, 20.305, 88.0, "2025-08-18 08:10:04", "2025-08-18 11:33:07"),
    ],
    columns=["powerNom", "energyRequired", "energyMax", "arrivalTime", "departureTime"],
)
"""First rows of the seed's table."""

REFERENCE = {"five_100kw": 37.2029, "five_20kw": 38.9883, "five_20kw_milp": 39.7672,
             "pair_18kw_900s": 5.1499, "pair_18kw_600s": 14.8899, "dashboard_pair": 4.6222}  # fmt: skip
"""Optima of the weighted form, computed beforehand with an independent model [EUR]."""

_FIVE = ((22, 26, 52, 47, 67), (7, 17.6711, 30, 33, 43), (11, 45.815, 52, 41, 58), (11, 27.9156, 88, 59, 69),
         (6, 20.305, 88, 32, 46))  # fmt: skip
_PAIR = ((7, 16.59, 52, 31, 41), (11, 8.72, 100, 38, 43))
_DASHBOARD = ((7, 16, 52, 21, 36), (7, 16, 52, 21, 36))


@dataclass(frozen=True)
class Told:
    """What the study says on the screen, and its numbers."""

    cases: dict[str, dict[str, Any]]
    lines: list[str]


def reproduce(folder: Path, *, capacity_kw: float = CAPACITY_KW, seed: int = 1) -> Told:
    """Plan the forty vehicles in several ways and write the study's folder.

    Parameters
    ----------
    folder : Path
        Receives ``demand.csv``, ``demand_steps.csv``, ``metrics.json``, ``timing.json``, ``report.md``,
        ``manifest.json`` and a folder with plan and figures for each of ``lp`` and ``milp``.
    capacity_kw : float
        Of the connection [kW].
    seed : int
        Of the vehicles that are not published.

    Returns
    -------
    Told

    Raises
    ------
    InputError
        Where the capacity is no number of kW.
    """
    station = make_station(round(86_400 / STEP_S), capacity_kw, step_s=STEP_S)
    table = demand_table(seed)
    write_whole(folder / "demand.csv", lambda temporary: table.to_csv(temporary, index=False))
    demand = read_demand(folder / "demand.csv", STEP_S, power_min_kw=LEAST_POWER_KW)
    cases: dict[str, dict[str, Any]] = reference_cases()
    timing = {}
    for name, requests, options in _runs(demand.requests):
        planning = plan(requests, station, options, rounding=ROUNDING)
        cases[name] = _metrics(planning)
        timing[name] = {"build_s": planning.build_s, "solve_s": planning.solve_s}
        if name in ("lp", "milp"):
            write_all(planning, demand, options, ROUNDING, folder / name, name.upper())
    _write_steps(folder, table, demand)
    write_json(folder / "metrics.json", {"cases": cases})
    write_json(folder / "timing.json", timing)
    write_json(folder / "manifest.json", {
        "study": "cpo_planner", **origin(PACKAGES), "seed": seed, "capacity_kw": capacity_kw,
        "source": "seed 002: five rows of its table, formulation, default prices",
    })  # fmt: skip
    report = _report(table, cases)
    write_whole(folder / "report.md", lambda temporary: temporary.write_text(report, encoding="utf-8"))
    return Told(cases, _lines(cases))


def demand_table(seed: int) -> pd.DataFrame:
    """Forty vehicles: the five published, then others drawn as the seed's generator does, needs within reach."""
    drawn = generate_demand(VEHICLES - len(PUBLISHED), np.random.default_rng(seed))
    first = PUBLISHED.assign(
        arrivalTime=pd.to_datetime(PUBLISHED["arrivalTime"]), departureTime=pd.to_datetime(PUBLISHED["departureTime"])
    )
    table = pd.concat([first, drawn[list(PUBLISHED.columns)]], ignore_index=True)
    table.insert(0, "vehicle", np.arange(len(table)))
    stay = table["departureTime"] - table["arrivalTime"]
    table["parkingDuration"] = (stay.dt.total_seconds() / 3600.0).round(5)
    return table


def reference_cases() -> dict[str, dict[str, Any]]:
    """Solve the small cases whose optima are known."""
    sizes: dict[str, tuple[tuple[tuple[float, ...], ...], float, float, float]] = {
        "five_100kw": (_FIVE, 100.0, 900.0, 0.0),
        "five_20kw": (_FIVE, 20.0, 900.0, 0.0),
        "five_20kw_milp": (_FIVE, 20.0, 900.0, 4.2),
        "pair_18kw_900s": (_PAIR, 18.0, 900.0, 0.0),
        "pair_18kw_600s": (_PAIR, 18.0, 600.0, 0.0),
        "dashboard_pair": (_DASHBOARD, 100.0, 900.0, 0.0),
    }
    cases: dict[str, dict[str, Any]] = {}
    for name, (rows, capacity_kw, step_s, low_kw) in sizes.items():
        requests = make_requests([str(k) for k in range(len(rows))], *np.array(rows).T, power_min_kw=low_kw)
        options = Options(formulation="milp" if low_kw else "lp", objective="weighted")
        planning = plan(requests, make_station(96, capacity_kw, step_s=step_s), options)
        cases[name] = {**_metrics(planning), "reference_objective_eur": REFERENCE[name]}
    return cases


def _runs(requests: Requests) -> list[tuple[str, Requests, Options]]:
    """Name, requests and options of every plan of the forty."""
    free = replace(requests, power_min_kw=np.zeros(len(requests)))
    milp = Options(objective="weighted", formulation="milp")
    return [
        ("lp", requests, Options(objective="weighted")),
        ("milp_as_published", free, milp),
        ("milp", requests, milp),
        ("lp_service_first", requests, Options()),
        ("lp_fair", requests, Options(fairness="maxmin")),
        ("milp_calm", requests, replace(milp, min_up_steps=4, max_starts=1, gap=0.01)),
    ]


def _metrics(planning: Planning) -> dict[str, Any]:
    """Numbers that do not depend on the clock."""
    numbers = {"objective_eur": planning.best.objective, "bound_eur": planning.bound, "gap": planning.gap}
    return {"status": planning.status, **json_safe({**numbers, **station_kpis(planning)})}


def _write_steps(folder: Path, table: pd.DataFrame, demand: Demand) -> None:
    """The seed's second table: the same demand in step indices."""
    steps = table.drop(columns="parkingDuration").assign(
        arrivalTime=np.floor(demand.requests.arrival_step + 1e-9).astype(int),
        departureTime=np.floor(demand.requests.departure_step + 1e-9).astype(int),
    )
    write_whole(folder / "demand_steps.csv", lambda temporary: steps.to_csv(temporary, index=False))


def _lines(cases: dict[str, dict[str, Any]]) -> list[str]:
    far = max(abs(cases[name]["objective_eur"] - value) for name, value in REFERENCE.items())
    lines = [f"Reference optima: {len(REFERENCE)} met within {far:.1e} EUR"]
    for name, case in cases.items():
        if name not in REFERENCE:
            lines.append(
                f"{name}: {case['objective_eur']:.4f} EUR ({case['status']}), {case['energy_kwh']:.1f} kWh drawn, "
                f"{case['unserved_kwh']:.2f} kWh unserved, worst served {case['served_min_percent']:.0f} %, "
                f"peak {case['peak_kw']:.1f} kW"
            )
    return lines


def _compared(cases: dict[str, dict[str, Any]], name: str) -> str:
    """How an objective differs from the LP's, in words."""
    more_eur = cases[name]["objective_eur"] - cases["lp"]["objective_eur"]
    return "at no cost here" if more_eur < 1e-4 else f"{more_eur:.2f} EUR more than the LP"


def _report(table: pd.DataFrame, cases: dict[str, dict[str, Any]]) -> str:
    head = "| " + " | ".join(table.columns) + " |\n|" + "---|" * len(table.columns)
    first = "\n".join("| " + " | ".join(str(cell) for cell in row) + " |" for row in table.head().to_numpy())
    plans = "\n".join(
        f"| {name} | {c['status']} | {c['objective_eur']:.4f} | {c['energy_kwh']:.1f} | {c['unserved_kwh']:.2f} | "
        f"{c['served_min_percent']:.1f} | {c['peak_kw']:.1f} |"
        for name, c in cases.items()
    )
    return f"""# A charge-point operator's day ahead: {len(table)} vehicles behind one connection

The seed plans with an LP and a MILP. As published, its MILP has a switch that costs nothing and has no least power, so
that it equals the LP (`milp_as_published`). `milp` obeys the 6 A rule of the charging standard ({LEAST_POWER_KW} kW on
three phases): {_compared(cases, "milp")}. `milp_calm` also stays on for four steps and starts once per vehicle:
{_compared(cases, "milp_calm")}.

The seed divides its penalty by the battery's capacity, which favours small batteries; `lp_service_first` counts all
kilowatt-hours alike, and `lp_fair` raises the worst-served vehicle first.

The first rows of the demand, as published (all of it: `demand.csv`, in steps: `demand_steps.csv`):

{head}
{first}

| case | status | objective [EUR] | drawn [kWh] | unserved [kWh] | worst served [%] | peak [kW] |
|---|---|---|---|---|---|---|
{plans}

![Who charges when](lp/heatmap.png)
![The station under its capacity](lp/stack.png)
![Who charges when, MILP](milp/heatmap.png)
![The station under its capacity, MILP](milp/stack.png)
"""
