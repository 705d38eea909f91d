"""``cosim plan``: from a demand table to a plan on disk, or make such a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cosim.controllers.planner.aims import not_worth_charging
from cosim.controllers.planner.options import Options
from cosim.controllers.planner.plan import Planning, plan
from cosim.controllers.planner.requests import EFFICIENCY
from cosim.errors import Fault, InputError
from cosim.experiments.charging_profiles import (
    Schedule,
    paused_kwh,
    plan_schedules,
    refuse_without_zone,
    set_charging_profile,
)
from cosim.experiments.figures.style import Drawing
from cosim.experiments.plan.config import PlanConfig
from cosim.experiments.plan.draw import draw_plan
from cosim.experiments.plan.generate import generate_demand
from cosim.experiments.plan.options import OcppUnit
from cosim.experiments.plan.read import Demand, read_demand
from cosim.experiments.plan.station import read_station
from cosim.experiments.plan.write import durations, plan_metrics, write_plan
from cosim.experiments.studies.base import Progress, Study, StudyResult
from cosim.experiments.tables import markdown, write_csv
from cosim.folder import new_file


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanResult(StudyResult):
    """Adds the demand and its plan."""

    config: PlanConfig
    demand: Demand
    planning: Planning


class PlanStudy(Study[PlanConfig, PlanResult]):
    """Plans a day of charging behind one connection."""

    name = "plan"
    packages = ("lv-feeder-cosim", "highspy", "numpy", "pandas", "pyarrow")
    source = "the table of requests"

    def folder_name(self, config: PlanConfig) -> str:
        """Name the folder after the table."""
        return f"plan-{config.demand.stem}" if config.demand else self.name

    def conduct(  # type: ignore[override]  # demand that is made is no plan
        self, config: PlanConfig, folder: Path, progress: Progress = lambda _: None, *, overwrite: bool = False
    ) -> PlanResult | StudyResult:
        """Plan and write a folder, or make demand and write a file."""
        if config.generate is not None:
            return make_demand(config, folder, overwrite=overwrite)
        return super().conduct(config, folder, progress, overwrite=overwrite)

    def read(self, config: PlanConfig) -> Demand:
        """Read the requests."""
        assert config.demand is not None  # noqa: S101 - or the config is none
        return read_demand(config.demand, config.time_step_s, config.reading())

    def run(self, config: PlanConfig, progress: Progress) -> PlanResult:
        """Read the requests and plan."""
        demand = self.read(config)
        by_battery = config.objective == "weighted" and config.shortfall_eur_per_kwh is None
        if by_battery and np.isinf(demand.requests.battery_kwh).any():
            problem = "divides shortfalls by the battery's capacity, which the file does not say"
            remedy = "use --objective service, give --shortfall-eur-per-kwh, or add a column battery_kwh"
            raise InputError(Fault("cosim plan", "--objective", problem, remedy))
        if config.ocpp is not None:
            refuse_without_zone(demand)
        progress("Planning")
        station, notes = read_station(config, demand)
        planning = plan(demand.requests, station, config.options(), rounding=config.rounding)
        metrics = plan_metrics(planning)
        counts = demand.counts
        told = "rows: {rows}, planned: {planned} (changed: {changed}), left out: {left_out}"
        lines = [f"{told.format(**counts)}, profile: {demand.profile}"]
        lines += [f"{key}: {value if isinstance(value, str) else f'{value:.6g}'}" for key, value in metrics.items()]
        if planning.others:
            lines.append(f"other plans: {len(planning.others)}")
        schedules = plan_schedules(planning, demand) if config.ocpp is not None else []
        warnings = [*demand.warnings, *notes, *_warnings(planning, config.options())]
        warnings += _sent_less(schedules, config.ocpp_unit)
        messages = set_charging_profile(schedules, config.ocpp, config.ocpp_unit) if config.ocpp is not None else []
        return PlanResult(
            cases={"plan": metrics}, lines=lines, warnings=warnings, timing=durations(planning),
            documents={"ocpp.json": {"ocpp": config.ocpp, "messages": messages}} if config.ocpp is not None else {},
            config=config, demand=demand, planning=planning,
        )  # fmt: skip

    def figures(self, result: PlanResult) -> dict[str, Drawing]:
        """Draw who charges when, and the station under its capacity."""
        return draw_plan(result.planning, result.demand.start)

    def write(self, result: PlanResult, folder: Path) -> None:
        """Write the plan, vehicles, other plans and ``plan.json``."""
        write_plan(result.planning, result.demand, result.config.options(), result.config.rounding, folder)

    def report(self, result: PlanResult, captions: Mapping[str, str]) -> str:
        """Tell how it ended, and the station's figures."""
        kpis = pd.DataFrame(list(result.cases["plan"].items()), columns=["figure", "value"])
        warnings, pictures = (f"- {text}" for text in result.warnings), (f"![{t}]({n})" for n, t in captions.items())
        title = f"# {self.folder_name(result.config)}\n"
        return "\n".join([title, *warnings, "", markdown(kpis, digits=6), *pictures, ""])


def make_demand(config: PlanConfig, out: Path, *, overwrite: bool = False) -> StudyResult:
    """Draw demand and write it into a CSV file; InputError where it is none, or there already."""
    if out.suffix.lower() != ".csv":
        raise InputError(
            Fault("cosim plan --generate", "--out", "is no CSV file", "give a file, such as --out demand.csv")
        )
    new_file(out, overwrite=overwrite)
    rng, count = np.random.default_rng(config.seed), config.generate or 0
    table = generate_demand(count, rng, feasible=not config.any_need, efficiency=config.efficiency or EFFICIENCY)
    write_csv(table, out)
    marked = int((~table["feasible"]).sum())
    served = f", {marked} of them with needs that no plan can serve" if marked else ""
    return StudyResult(cases={}, lines=[f"{count} vehicles{served}"])


def _sent_less(schedules: Sequence[Schedule], unit: OcppUnit) -> Iterator[str]:
    """Say what chargers that know no current below 6 A leave out of the plan."""
    paused = np.array([paused_kwh(schedule, unit) for schedule in schedules])
    if paused.sum() > 0.01:
        remedy = "plan with --formulation milp --min-power-kw 4.14 (three phases; one: 1.38)"
        where = f"{(paused > 0.01).sum()} of {len(paused)} chargers"
        yield f"below 6 A a charger pauses: {paused.sum():.2f} kWh of the plan are not sent, at {where} → {remedy}"


def _warnings(planning: Planning, options: Options) -> Iterator[str]:
    unworthy = options.objective == "weighted" and not_worth_charging(planning.requests, planning.station, options)
    if np.any(unworthy):
        first = ", ".join(planning.requests.vehicle[k] for k in np.flatnonzero(unworthy)[:5])
        told = f"{np.sum(unworthy)} vehicles get nothing, for a kWh costs more than one that is missing, first {first}"
        yield f"{told} → use --objective service, or a higher --shortfall-eur-per-kwh"
    short = planning.lost_step > 1e-9
    if short.any():
        most_min = planning.lost_step.max() * planning.station.step_s / 60.0
        yield f"rounding shortens {short.sum()} stays, by up to {most_min:.1f} min (vehicles.csv); prorata does not"
    lengthened = planning.gained_step > 1e-9
    if lengthened.any():
        yield f"rounding plans {lengthened.sum()} vehicles while they are not there (vehicles.csv)"
    unservable = planning.unservable_kwh > 1e-6
    if unservable.any():
        most = (-planning.unservable_kwh).argsort(kind="stable")[: min(5, unservable.sum())]
        worst = ", ".join(planning.requests.vehicle[k] for k in most)
        amount_kwh = planning.unservable_kwh.sum()
        yield f"no plan can serve {amount_kwh:.2f} kWh of {unservable.sum()} vehicles, most of all {worst}"
