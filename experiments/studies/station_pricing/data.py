"""Options, instances and random streams of ``station_pricing``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer

from cosim.controllers import pricing
from cosim.controllers.pricing.generate import POWER_KW
from cosim.controllers.pricing.model import Formulation
from cosim.errors import Fault, InputError, collecting
from cosim.experiments.scenario import load_toml
from cosim.experiments.studies.base import StudyConfig

WHERE = "cosim reproduce station_pricing"
REFERENCE = Path(__file__).with_name("reference.toml")
REQUIRED = ("budgets", "demands_kwh", "travel_h", "power_kw", "capacity_kwh", "beta_h")
OPTIONAL = ("preferred_period", "delay_h")
DELAY_H = 1.0
LARGE_USERS, LARGE_GAP = 25, 0.01
STREET_KW = (7.4, 11.0, 22.0)
"""Powers of drawn stations on a feeder."""

_STREAMS = {"instance": 0, "periods": 1, "search": 2, "certify": 3, "scaling": 4, "day": 5}


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
        missing = pricing.scip_missing() if self.formulation == "nonlinear" else ""
        rules = (
            (self.formulation not in pricing.FORMULATIONS, "--formulation", f"is '{self.formulation}'",
             f"use one of {', '.join(pricing.FORMULATIONS)}"),
            (missing, "--formulation", f"nonlinear needs SCIP: {missing}", "pip install 'lv-feeder-cosim[scip]'"),
            (self.instance and self.generate is not None, "--generate", "is given together with --instance",
             "give one of them"),
            (self.generate is not None and not self.size, "--generate", f"is '{self.generate}'",
             "give DRIVERS,STATIONS such as 20,4: 1 to 2000 drivers and 1 to 50 stations"),
            (self.stations and not self.feeder, "--stations", "is given without --feeder",
             "give a feeder for these buses, such as european_lv"),
        )  # fmt: skip
        yield from (Fault(WHERE, key, problem, remedy) for wrong, key, problem, remedy in rules if wrong)


@dataclass(frozen=True, eq=False)
class PricingData:
    """What the study is about.

    Attributes
    ----------
    name : str
        Of the instance, for people.
    instance : Instance
        Users and stations, of all periods.
    rules : Rules
        How users behave and are solved.
    """

    name: str
    instance: pricing.Instance
    rules: pricing.Rules

    def leader(self, config: PricingConfig) -> pricing.Leader:
        """Operator of the stations."""
        return pricing.Leader(
            self.instance, self.rules, lost_eur_per_kwh=config.lost_sales or 0.0, price_order=config.price_order
        )


def stream(seed: int, name: str) -> np.random.Generator:
    """Random stream of one part of the study."""
    return np.random.default_rng([seed, _STREAMS[name]])


def read_data(config: PricingConfig) -> PricingData:
    """Draw or read the instance; InputError with every fault of its file."""
    more: dict[str, Any] = {}
    if config.size is not None:
        name = "generated, {} drivers and {} stations".format(*config.size)
        power_kw = POWER_KW if config.feeder is None else STREET_KW
        instance = pricing.generate(*config.size, stream(config.seed, "instance"), power_kw=power_kw)
    else:
        path = config.instance or REFERENCE
        name = "reference" if config.instance is None else path.name
        instance, more = read_instance(path, refuse_unservable=config.lost_sales is None)
    if config.periods > 1:
        drawn = stream(config.seed, "periods").integers(config.periods, size=instance.users)
        own, delay_h = more.get("preferred_period", drawn), float(more.get("delay_h", DELAY_H))
        instance = pricing.with_periods(instance, own, delay_h, [1.0 / config.periods] * config.periods)
    default_gap = LARGE_GAP if instance.users > LARGE_USERS else 0.0
    rules = pricing.Rules(
        congestion="equilibrium" if config.selfish else "system",
        lost_sales=config.lost_sales is not None,
        formulation=cast(Formulation, config.formulation),
        solver="scip" if config.formulation == "nonlinear" else "highs",
        gap=default_gap if config.gap is None else config.gap,
    )
    return PricingData(name, instance, rules)


def read_instance(path: Path, *, refuse_unservable: bool = True) -> tuple[pricing.Instance, dict[str, Any]]:
    """Read an instance from a TOML file, and its optional keys.

    Raises
    ------
    InputError
        With every fault: no such file, no TOML, keys that lack or are unknown, and what `make_instance` refuses.
    """
    if not path.is_file():
        raise InputError(Fault(str(path), "--instance", "no such file", "give the path of a TOML file"))
    table = load_toml(path)
    faults = list(_key_faults(str(path), table))
    if set(REQUIRED) <= set(table):
        given: Any = {key: table[key] for key in REQUIRED}
        with collecting(faults):
            instance = pricing.make_instance(**given, where=str(path), refuse_unservable=refuse_unservable)
    if faults:
        raise InputError(faults)
    return instance, {key: table[key] for key in OPTIONAL if key in table}


def _key_faults(where: str, table: Mapping[str, Any]) -> Iterator[Fault]:
    known = REQUIRED + OPTIONAL
    for key in REQUIRED:
        if key not in table:
            yield Fault(where, key, "is missing", "add it; the study's reference.toml is an example")
    for key in table:
        if key not in known:
            near = get_close_matches(key, known, 1)
            remedy = f"did you mean '{near[0]}'?" if near else f"use only {', '.join(known)}"
            yield Fault(where, key, "unknown key", remedy)
    if type(delay := table.get("delay_h", 0.0)) not in (int, float):
        yield Fault(where, "delay_h", f"is {delay!r}", "give hours")
    own = table.get("preferred_period", [])
    if not isinstance(own, list) or any(type(k) is not int for k in own):
        yield Fault(where, "preferred_period", "is no list of whole numbers", "give one per driver, from 0")
