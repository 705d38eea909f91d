"""Options of the study of prices at charging stations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from cosim import feeders
from cosim.errors import Fault, collecting
from cosim.experiments.studies.config import StudyConfig

WHERE = "cosim reproduce station_pricing"
FORMULATIONS = ("cuts", "products", "products_lean", "nonlinear")


@dataclass(frozen=True, kw_only=True)
class PricingConfig(StudyConfig):
    """Options of the study: the instance, the drivers' behaviour and what else to measure."""

    instance: Annotated[Path | None, typer.Option(help="TOML; without it four drivers and two stations.")] = None
    generate: Annotated[str | None, typer.Option(help="Draw DRIVERS,STATIONS instead, such as 20,4.")] = None
    seed: Annotated[int, typer.Option(min=0, help="Of every draw.")] = 1
    formulation: Annotated[str, typer.Option(help="Lower level: cuts, products, products_lean, nonlinear.")] = "cuts"
    lost_sales: Annotated[
        float | None,
        typer.Option(
            min=0, max=1000, help="Drivers may be turned away, at EUR/kWh; else prices without room are refused."
        ),
    ] = None
    price_order: Annotated[bool, typer.Option("--price-order", help="More power must not be cheaper.")] = False
    selfish: Annotated[bool, typer.Option("--selfish", help="Each driver for itself (user equilibrium).")] = False
    periods: Annotated[int, typer.Option(min=1, max=24, help="Prices and capacities of so many periods.")] = 1
    population: Annotated[int, typer.Option(min=4, max=10_000, help="Of the evolutionary algorithm.")] = 40
    generations: Annotated[int, typer.Option(min=1, max=100_000, help="Of the evolutionary algorithm, at most.")] = 60
    gap: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="Relative gap of a lower level [0; 0.01 above 25 drivers].")
    ] = None
    certify: Annotated[
        int, typer.Option(min=0, max=10_000, help="Instances to check the algorithm on; 30 take minutes.")
    ] = 0
    scaling: Annotated[bool, typer.Option("--scaling", help="Measure every formulation against size.")] = False
    feeder: Annotated[str | None, typer.Option(help="Charge on this feeder at the prices found.")] = None
    stations: Annotated[str | None, typer.Option(help="Buses of the stations, comma-separated.")] = None

    @property
    def size(self) -> tuple[int, int] | None:
        """Drivers and stations to draw; None where that was not asked for, or not understood."""
        match = re.fullmatch(r"\s*(\d+)\s*[,x]\s*(\d+)\s*", self.generate or "")
        users, stations = (int(match[1]), int(match[2])) if match else (0, 0)
        return (users, stations) if 1 <= users <= 2000 and 1 <= stations <= 50 else None

    def faults(self) -> Iterator[Fault]:
        """Every option that is out of range or does not go with another."""
        missing = self.formulation == "nonlinear" and not find_spec("pyscipopt")
        rules = (
            (self.formulation not in FORMULATIONS, "--formulation", f"is '{self.formulation}'",
             f"use one of {', '.join(FORMULATIONS)}"),
            (missing, "--formulation", "nonlinear needs the package pyscipopt", "pip install 'lv-feeder-cosim[scip]'"),
            (self.instance and self.generate is not None, "--generate", "is given together with --instance",
             "give one of them"),
            (self.generate is not None and not self.size, "--generate", f"is '{self.generate}'",
             "give DRIVERS,STATIONS such as 20,4: 1 to 2000 drivers and 1 to 50 stations"),
            (self.stations and not self.feeder, "--stations", "is given without --feeder",
             "give a feeder for these buses, such as european_lv"),
        )  # fmt: skip
        found = [Fault(WHERE, key, problem, remedy) for wrong, key, problem, remedy in rules if wrong]
        if self.feeder is not None:
            with collecting(found, "--feeder", WHERE):
                feeders.check(self.feeder)
        yield from found
