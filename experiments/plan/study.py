"""``cosim plan``: from a demand table to a plan on disk, or make such a table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import typer

from cosim.controllers.planner import (
    Fairness,
    Formulation,
    Objective,
    Options,
    Planning,
    Rounding,
    Station,
    make_station,
    plan,
)
from cosim.errors import Fault, InputError, collecting
from cosim.experiments.figures.style import Drawing
from cosim.experiments.plan.draw import draw_plan
from cosim.experiments.plan.generate import generate_demand
from cosim.experiments.plan.read import Demand, read_demand
from cosim.experiments.plan.write import plan_metrics, write_plan
from cosim.experiments.studies.base import Progress, Study, StudyConfig, StudyResult, option_of
from cosim.experiments.tables import markdown, write_csv

USUAL_KW, USUAL_KWH = 1_000.0, 2_000.0  # beyond these a table is likely in W and Wh


@dataclass(frozen=True, kw_only=True)
class PlanConfig(StudyConfig):
    """What to plan, or how much demand to make."""

    demand: Annotated[Path | None, typer.Argument(help="Table of requests: .csv or .xlsx.")] = None
    capacity_kw: Annotated[float | None, typer.Option(min=0, help="Largest sum of charging powers; inf: none.")] = None
    formulation: Annotated[Formulation, typer.Option(help="milp: with on and off.")] = "lp"
    min_power_kw: Annotated[float, typer.Option(min=0, max=1000, help="Least power while charging (milp).")] = 0.0
    objective: Annotated[Objective, typer.Option(help="Service first, or one weighted sum.")] = "service"
    fairness: Annotated[Fairness, typer.Option(help="maxmin: raise the worst served first.")] = "total"
    time_step_s: Annotated[float, typer.Option(min=10, max=86_400, help="Length of a step.")] = 900.0
    rounding: Annotated[Rounding, typer.Option(help="Of stays to steps.")] = "prorata"
    tariff_eur_per_kwh: Annotated[float, typer.Option(min=-10_000, max=10_000, help="Price of energy drawn.")] = 0.13
    peak_eur_per_kw: Annotated[float, typer.Option(min=0, max=10_000, help="Price of the largest sum of powers.")] = 0.0
    efficiency: Annotated[float, typer.Option(min=0.01, max=1, help="Battery energy per energy drawn.")] = 0.9
    min_up_steps: Annotated[int, typer.Option(min=1, max=10_000, help="Steps that a vehicle stays on (milp).")] = 1
    max_starts: Annotated[int | None, typer.Option(min=1, max=10_000, help="Most starts of a vehicle (milp).")] = None
    n_sols: Annotated[int, typer.Option(min=1, max=1_000, help="Plans wanted: the best and others near it.")] = 1
    gap: Annotated[float, typer.Option(min=0, max=1, help="Relative gap at which the milp may stop.")] = 1e-4
    time_limit_s: Annotated[float, typer.Option(min=0, max=1e6, help="For all solves together.")] = 300.0
    generate: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, help="Make demand of so many vehicles instead; --out is the file."),
    ] = None
    seed: Annotated[int, typer.Option(min=0, help="Of --generate.")] = 1
    any_need: Annotated[bool, typer.Option("--any-need", help="With --generate: needs may be unservable.")] = False

    def faults(self) -> Iterator[Fault]:
        """Tell what is missing, else what is out of range."""
        if self.generate is not None:
            return
        given = {"DEMAND": self.demand, "--capacity-kw": self.capacity_kw}
        found = [Fault("cosim plan", key, "is missing", "give it") for key, value in given.items() if value is None]
        if not found:
            with collecting(found):
                self.options()
            with collecting(found):
                self.station(1)
        for fault in found:  # of the planner, by the option that says it
            yield replace(fault, where="cosim plan", key=option_of(fault.key.replace("step_s", "time_step_s")))

    def options(self) -> Options:
        """How to plan."""
        return Options(**{option.name: getattr(self, option.name) for option in fields(Options)})  # by the same names

    def station(self, steps: int) -> Station:
        """What stands behind the connection, over so many steps."""
        return make_station(
            steps, self.capacity_kw or 0.0, step_s=self.time_step_s, tariff_eur_per_kwh=self.tariff_eur_per_kwh,
            peak_eur_per_kw=self.peak_eur_per_kw,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class PlanResult(StudyResult):
    """Adds the demand and its plan."""

    config: PlanConfig
    demand: Demand
    planning: Planning


class PlanStudy(Study[PlanConfig, PlanResult]):
    """Plans a day of charging behind one connection."""

    name, config = "plan", PlanConfig
    packages = ("lv-feeder-cosim", "highspy", "numpy", "pandas", "pyarrow")
    source = "the table of requests"

    def folder_name(self, config: PlanConfig) -> str:
        """Name the folder after the table."""
        return f"plan-{config.demand.stem}" if config.demand else self.name

    def conduct(  # type: ignore[override]  # demand that is made is no plan
        self, config: PlanConfig, folder: Path, progress: Progress = lambda _: None
    ) -> PlanResult | StudyResult:
        """Plan and write a folder, or make demand and write a file."""
        return super().conduct(config, folder, progress) if config.generate is None else make_demand(config, folder)

    def run(self, config: PlanConfig, progress: Progress) -> PlanResult:
        """Read the requests and plan."""
        assert config.demand is not None  # noqa: S101 - or the config is none
        step_s, low_kw = config.time_step_s, config.min_power_kw
        demand = read_demand(config.demand, step_s, power_min_kw=low_kw, efficiency=config.efficiency)
        progress("Planning")
        planning = plan(demand.requests, config.station(demand.steps), config.options(), rounding=config.rounding)
        metrics = plan_metrics(planning)
        lines = [f"{key}: {value if isinstance(value, str) else f'{value:.6g}'}" for key, value in metrics.items()]
        if planning.others:
            lines.append(f"other plans: {len(planning.others)}")
        return PlanResult(
            cases={"plan": metrics}, lines=lines,
            warnings=list(_warnings(planning)), timing={"build_s": planning.build_s, "solve_s": planning.solve_s},
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


def make_demand(config: PlanConfig, out: Path) -> StudyResult:
    """Draw demand and write it into a CSV file; InputError where it is none."""
    if out.suffix.lower() != ".csv":
        raise InputError(Fault("cosim plan --generate", "--out", "is no CSV file", "give a file, such as demand.csv"))
    rng, count = np.random.default_rng(config.seed), config.generate or 0
    table = generate_demand(count, rng, feasible=not config.any_need, efficiency=config.efficiency)
    try:
        write_csv(table, out)
    except OSError as error:
        raise InputError(Fault(str(out), "--out", f"cannot be written ({error.strerror})", "give another")) from None
    marked = int((~table["feasible"]).sum())
    served = f", {marked} of them with needs that no plan can serve" if marked else ""
    return StudyResult(cases={}, lines=[f"{count} vehicles{served}"])


def _warnings(planning: Planning) -> Iterator[str]:
    requests = planning.requests
    for values, usual, unit in ((requests.power_max_kw, USUAL_KW, "W"), (requests.battery_kwh, USUAL_KWH, "Wh")):
        if (large := values > usual).any():
            yield f"{large.sum()} vehicles have {values.max():g} k{unit} and the like: is the table in {unit}?"
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
