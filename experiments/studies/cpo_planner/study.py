"""The charge-point operator's planner: forty vehicles behind 100 kW, as an LP and as a MILP that deserves the name.

The seed's demand is drawn without a seed; only the first five rows of its table are published. They are kept as they
are, with the optima computed for them beforehand by an independent model, and thirty-five more are drawn from a seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cosim.controllers.planner.options import Options, Rounding
from cosim.controllers.planner.plan import Planning, plan
from cosim.controllers.planner.requests import Requests, make_requests, make_station
from cosim.experiments.figures.style import Drawing
from cosim.experiments.plan.draw import draw_plan
from cosim.experiments.plan.generate import generate_demand
from cosim.experiments.plan.options import ReadOptions
from cosim.experiments.plan.read import Demand, read_demand
from cosim.experiments.plan.table import Table
from cosim.experiments.plan.write import durations, plan_metrics, write_plan
from cosim.experiments.remedies import load_toml
from cosim.experiments.studies.base import Cases, Progress, Study, StudyResult, from_template, lines_of
from cosim.experiments.studies.cpo_planner.config import CpoConfig

VEHICLES, STEP_S = 40, 900.0
LEAST_POWER_KW = 4.14  # 6 A on three phases at 230 V (IEC 61851-1)
ROUNDING: Rounding = "down"  # the seed's: 11:59:53 is step 47, 16:46:38 step 67
DRAWN = ("lp", "milp")
"""Plans that get tables and figures."""

_TABLES: dict[str, Any] = load_toml(Path(__file__).with_name("tables.toml"))
PUBLISHED = pd.DataFrame(**_TABLES["published"])
"""First rows of the seed's table."""
REFERENCE: dict[str, dict[str, Any]] = _TABLES["reference"]
"""By name: requests, capacity, step, least power, and the weighted optimum, known from another model."""


@dataclass(frozen=True, kw_only=True, eq=False)
class CpoResult(StudyResult):
    """Adds the demand and how each plan of it was made."""

    demand: Demand
    plans: Mapping[str, tuple[Options, Planning]]


class CpoPlanner(Study[CpoConfig, CpoResult]):
    """Plans the forty vehicles in several ways."""

    name = "cpo_planner"
    packages = ("lv-feeder-cosim", "highspy", "numpy", "pandas", "pyarrow", "matplotlib")
    source = "seed 002: five rows of its table, formulation, default prices"

    def run(self, config: CpoConfig, progress: Progress) -> CpoResult:
        """Solve the cases whose optima are known, then every plan of the forty."""
        station = make_station(round(86_400 / STEP_S), config.capacity_kw, step_s=STEP_S)
        table = demand_table(config.seed)
        rows = [list(row) for row in table.itertuples(index=False)]
        cells = Table("demand.csv", list(table.columns), rows, list(range(2, len(rows) + 2)))
        demand = read_demand(cells, STEP_S, ReadOptions(min_power_kw=LEAST_POWER_KW))
        cases, plans = reference_cases(), {}
        for name, requests, options in _runs(demand.requests):
            progress(f"Planning {name}")
            plans[name] = options, plan(requests, station, options, rounding=ROUNDING)
            cases[name] = plan_metrics(plans[name][1])
        far_eur = max(abs(cases[name]["objective_eur"] - cases[name]["reference_objective_eur"]) for name in REFERENCE)
        return CpoResult(
            cases=cases, lines=lines_of(self.name, cases=cases, reference=REFERENCE, far_eur=far_eur),
            demand=demand, plans=plans,
            tables={"demand.csv": table, "demand_steps.csv": _in_steps(table, demand)},
            timing={name: durations(made) for name, (_, made) in plans.items()},
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
    for name, one in REFERENCE.items():
        rows, low_kw = np.array(_TABLES["requests"][one["requests"]], float), one["power_min_kw"]
        requests = make_requests([str(k) for k in range(len(rows))], *rows.T, power_min_kw=low_kw)
        options = Options(formulation="milp" if low_kw else "lp", objective="weighted")
        planning = plan(requests, make_station(96, one["capacity_kw"], step_s=one["step_s"]), options)
        cases[name] = {**plan_metrics(planning), "reference_objective_eur": one["optimum_eur"]}
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
