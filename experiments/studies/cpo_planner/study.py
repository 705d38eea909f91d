"""The charge-point operator's planner: forty vehicles behind 100 kW, as an LP and as a MILP that deserves the name.

The seed's demand is drawn without a seed; only the first five rows of its table are published. They are kept as they
are, with the optima computed for them beforehand by an independent model, and thirty-five more are drawn from a seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from cosim.controllers.planner import Options, Planning, Requests, Rounding, make_requests, make_station, plan
from cosim.experiments.figures.style import Drawing
from cosim.experiments.plan.draw import draw_plan
from cosim.experiments.plan.generate import generate_demand
from cosim.experiments.plan.read import Demand, read_demand
from cosim.experiments.plan.table import Table
from cosim.experiments.plan.write import plan_metrics, write_plan
from cosim.experiments.studies.base import Cases, Progress, Study, StudyConfig, StudyResult, from_template

VEHICLES, STEP_S = 40, 900.0
LEAST_POWER_KW = 4.14  # 6 A on three phases at 230 V (IEC 61851-1)
ROUNDING: Rounding = "down"  # the seed's: 11:59:53 is step 47, 16:46:38 step 67
DRAWN = ("lp", "milp")
"""Plans that get tables and figures."""

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

_FIVE = ((22, 26, 52, 47, 67), (7, 17.6711, 30, 33, 43), (11, 45.815, 52, 41, 58), (11, 27.9156, 88, 59, 69),
         (6, 20.305, 88, 32, 46))  # fmt: skip
_PAIR = ((7, 16.59, 52, 31, 41), (11, 8.72, 100, 38, 43))
_DASHBOARD = ((7, 16, 52, 21, 36), (7, 16, 52, 21, 36))

REFERENCE: dict[str, tuple[tuple[tuple[float, ...], ...], float, float, float, float]] = {
    "five_100kw": (_FIVE, 100.0, 900.0, 0.0, 37.2029),
    "five_20kw": (_FIVE, 20.0, 900.0, 0.0, 38.9883),
    "five_20kw_milp": (_FIVE, 20.0, 900.0, 4.2, 39.7672),
    "pair_18kw_900s": (_PAIR, 18.0, 900.0, 0.0, 5.1499),
    "pair_18kw_600s": (_PAIR, 18.0, 600.0, 0.0, 14.8899),
    "dashboard_pair": (_DASHBOARD, 100.0, 900.0, 0.0, 4.6222),
}
"""Requests, capacity [kW], step [s], least power [kW], and the weighted optimum [EUR], known from another model."""


@dataclass(frozen=True, kw_only=True)
class CpoConfig(StudyConfig):
    """Options of the study."""

    capacity_kw: Annotated[float, typer.Option(min=0, max=100_000, help="Of the connection.")] = 100.0
    seed: Annotated[int, typer.Option(min=0, help="Of the vehicles that are not published.")] = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class CpoResult(StudyResult):
    """Adds the demand and how each plan of it was made."""

    demand: Demand
    plans: Mapping[str, tuple[Options, Planning]]


class CpoPlanner(Study[CpoConfig, CpoResult]):
    """Plans the forty vehicles in several ways."""

    name, config = "cpo_planner", CpoConfig
    packages = ("lv-feeder-cosim", "highspy", "numpy", "pandas", "pyarrow", "matplotlib")
    source = "seed 002: five rows of its table, formulation, default prices"

    def run(self, config: CpoConfig, progress: Progress) -> CpoResult:
        """Solve the cases whose optima are known, then every plan of the forty."""
        station = make_station(round(86_400 / STEP_S), config.capacity_kw, step_s=STEP_S)
        table = demand_table(config.seed)
        rows = [list(row) for row in table.itertuples(index=False)]
        cells = Table("demand.csv", list(table.columns), rows, list(range(2, len(rows) + 2)), ())
        demand = read_demand(cells, STEP_S, power_min_kw=LEAST_POWER_KW)
        cases, plans = reference_cases(), {}
        for name, requests, options in _runs(demand.requests):
            progress(f"Planning {name}")
            plans[name] = options, plan(requests, station, options, rounding=ROUNDING)
            cases[name] = plan_metrics(plans[name][1])
        return CpoResult(
            cases=cases, lines=_lines(cases), demand=demand, plans=plans,
            tables={"demand.csv": table, "demand_steps.csv": _in_steps(table, demand)},
            timing={name: {"build_s": made.build_s, "solve_s": made.solve_s} for name, (_, made) in plans.items()},
        )  # fmt: skip

    def figures(self, result: CpoResult) -> dict[str, Drawing]:
        """Draw who charges when, and the station under its capacity."""
        return {
            f"{name}/{file}": drawing
            for name in DRAWN
            for file, drawing in draw_plan(result.plans[name][1], result.demand.start, name.upper()).items()
        }

    def write(self, result: CpoResult, folder: Path) -> None:
        """Write the plans as ``cosim plan`` does."""
        for name in DRAWN:
            options, planning = result.plans[name]
            write_plan(planning, result.demand, options, ROUNDING, folder / name)

    def report(self, result: CpoResult, captions: Mapping[str, str]) -> str:
        """Tell what the published MILP lacked, and what each plan costs."""
        demand = result.tables["demand.csv"]
        return from_template(
            self.name, demand=demand, cases=result.cases, least_power_kw=LEAST_POWER_KW, figures=captions
        )


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


def reference_cases() -> Cases:
    """Solve the small cases whose optima are known."""
    cases: Cases = {}
    for name, (rows, capacity_kw, step_s, low_kw, optimum_eur) in REFERENCE.items():
        requests = make_requests([str(k) for k in range(len(rows))], *np.array(rows).T, power_min_kw=low_kw)
        options = Options(formulation="milp" if low_kw else "lp", objective="weighted")
        planning = plan(requests, make_station(96, capacity_kw, step_s=step_s), options)
        cases[name] = {**plan_metrics(planning), "reference_objective_eur": optimum_eur}
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


def _in_steps(table: pd.DataFrame, demand: Demand) -> pd.DataFrame:
    """The seed's second table: the same demand in step indices."""
    return table.drop(columns="parkingDuration").assign(
        arrivalTime=np.floor(demand.requests.arrival_step + 1e-9).astype(int),
        departureTime=np.floor(demand.requests.departure_step + 1e-9).astype(int),
    )


def _lines(cases: Cases) -> list[str]:
    far = max(abs(cases[name]["objective_eur"] - cases[name]["reference_objective_eur"]) for name in REFERENCE)
    lines = [f"Reference optima: {len(REFERENCE)} met within {far:.1e} EUR"]
    for name, case in cases.items():
        if name not in REFERENCE:
            lines.append(
                f"{name}: {case['objective_eur']:.4f} EUR ({case['status']}), {case['energy_kwh']:.1f} kWh drawn, "
                f"{case['unserved_kwh']:.2f} kWh unserved, worst served {case['served_min_percent']:.0f} %, "
                f"peak {case['peak_kw']:.1f} kW"
            )
    return lines
