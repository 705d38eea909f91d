"""Options of ``cosim plan``."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated

import typer

from cosim.controllers.planner.options import Fairness, Formulation, Objective, Options, Rounding
from cosim.errors import Fault, collecting
from cosim.experiments.plan.options import DateOrder, EnergyAt, OcppUnit, OcppVersion, ReadOptions
from cosim.experiments.studies.config import StudyConfig, option_of


@dataclass(frozen=True, kw_only=True)
class PlanConfig(StudyConfig):
    """What to plan, or how much demand to make."""

    demand: Annotated[Path | None, typer.Argument(help="Sessions: .csv, .xlsx, .json or .parquet.")] = None
    capacity_kw: Annotated[float | None, typer.Option(min=0, help="Of the connection; inf: no limit.")] = None
    capacity: Annotated[Path | None, typer.Option(help="Its series instead, in kW.")] = None
    formulation: Annotated[Formulation, typer.Option(help="milp: with on and off.")] = "lp"
    min_power_kw: Annotated[float, typer.Option(min=0, max=1000, help="Least power while charging (milp).")] = 0.0
    objective: Annotated[Objective, typer.Option(help="Service first, or one weighted sum.")] = "service"
    fairness: Annotated[Fairness, typer.Option(help="maxmin: raise the worst served first.")] = "total"
    shortfall_eur_per_kwh: Annotated[
        float | None, typer.Option(min=0, max=10_000, help="Of weighted; else 100 EUR per battery.")
    ] = None
    margin_min: Annotated[float, typer.Option(min=0, max=1440, help="Minutes before departure kept free.")] = 0.0
    derate: Annotated[float, typer.Option(min=0.1, max=1, help="Part of each rating to plan with, such as 0.9.")] = 1.0
    time_step_s: Annotated[float, typer.Option(min=1, max=86_400, help="Length of a step.")] = 900.0
    rounding: Annotated[Rounding, typer.Option(help="Of stays to steps.")] = "prorata"
    tariff_eur_per_kwh: Annotated[float, typer.Option(min=-10_000, max=10_000, help="Price of energy drawn.")] = 0.13
    tariff: Annotated[Path | None, typer.Option(help="Its series instead [EUR/kWh].")] = None
    peak_eur_per_kw: Annotated[float, typer.Option(min=0, max=10_000, help="Of what charging adds to the peak.")] = 0.0
    peak_so_far_kw: Annotated[float, typer.Option(min=0, max=1e7, help="Peak that is paid for already.")] = 0.0
    site_load: Annotated[Path | None, typer.Option(help="Series of load beside the chargers, in kW.")] = None
    pv: Annotated[Path | None, typer.Option(help="Series of the site's generation, in kW.")] = None
    profile: Annotated[str | None, typer.Option(help="acn, elaad, ..., own.toml; else by header.")] = None
    columns: Annotated[str | None, typer.Option(help="Own names: vehicle=Plate,arrival=Date + Time,...")] = None
    timezone: Annotated[str | None, typer.Option(help="The station's clock, such as Europe/Berlin.")] = None
    day: Annotated[str | None, typer.Option(help="Only who arrives on it: 2025-03-18.")] = None
    dates: Annotated[DateOrder | None, typer.Option(help="What comes first in 3/12/2025.")] = None
    energy: Annotated[EnergyAt | None, typer.Option(help="Where it is measured; else by profile.")] = None
    efficiency: Annotated[
        float | None, typer.Option(min=0.01, max=1, help="Battery energy per energy drawn; metered at the plug: 1.")
    ] = None
    charger_kw: Annotated[float | None, typer.Option(min=0.1, max=1000, help="Where no column says it.")] = None
    stay_h: Annotated[float | None, typer.Option(min=0.1, max=336, help="Of sessions without a departure.")] = None
    ocpp: Annotated[OcppVersion | None, typer.Option(help="Write SetChargingProfile messages: ocpp.json.")] = None
    ocpp_unit: Annotated[OcppUnit, typer.Option(help="Of their limits.")] = "A"
    strict: Annotated[bool, typer.Option("--strict", help="Refuse the file if any row is at fault.")] = False
    min_up_steps: Annotated[int, typer.Option(min=1, max=10_000, help="Steps that a vehicle stays on (milp).")] = 1
    max_starts: Annotated[int | None, typer.Option(min=1, max=10_000, help="Most starts of a vehicle (milp).")] = None
    least_starts: Annotated[bool, typer.Option(help="Of equal plans the one with the fewest starts (milp).")] = True
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
            if self.demand is not None:
                remedy = "leave one of them out; --out is the file that is made"
                yield Fault("cosim plan", "--generate", f"makes demand, and {self.demand} is given", remedy)
            return
        capacity = self.capacity if self.capacity_kw is None else self.capacity_kw
        given = {"DEMAND": (self.demand, "demand.csv"), "--capacity-kw": (capacity, "--capacity-kw 100")}
        for key, (value, example) in given.items():
            if value is None:
                yield Fault("cosim plan", key, "is missing", f"give it, such as {example}")
        if self.capacity is not None and self.capacity_kw is not None:
            yield Fault("cosim plan", "--capacity", "is given twice", "leave --capacity-kw or --capacity out")
        whole_minutes = self.time_step_s % 60 == 0
        if not whole_minutes and any((self.capacity, self.tariff, self.site_load, self.pv)):
            remedy = "give whole minutes, such as 900, where series are read"
            yield Fault("cosim plan", "--time-step-s", f"is {self.time_step_s:g}", remedy)
        if 1e7 < (self.capacity_kw or 0.0) < math.inf:
            remedy = "give kW, or inf for no limit, from 0 to 10000000"
            yield Fault("cosim plan", "--capacity-kw", f"is {self.capacity_kw:g}, out of range", remedy)
        found: list[Fault] = []
        with collecting(found):
            self.options()
        yield from (replace(fault, where="cosim plan", key=option_of(fault.key)) for fault in found)

    def reading(self) -> ReadOptions:
        """How the file is understood."""
        return ReadOptions(**{option.name: getattr(self, option.name) for option in fields(ReadOptions)})

    def options(self) -> Options:
        """How to plan."""
        return Options(**{option.name: getattr(self, option.name) for option in fields(Options)})  # by the same names
