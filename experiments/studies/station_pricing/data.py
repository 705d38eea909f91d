"""Options, instances and random streams of ``station_pricing``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from cosim.controllers import pricing
from cosim.controllers.pricing.generate import POWER_KW
from cosim.controllers.pricing.model import Formulation
from cosim.errors import Fault, InputError, collecting, meant, refuse
from cosim.experiments.remedies import load_toml
from cosim.experiments.studies.station_pricing.config import PricingConfig

REFERENCE = Path(__file__).with_name("reference.toml")
REQUIRED = ("budgets", "demands_kwh", "travel_h", "power_kw", "capacity_kwh", "beta_h")
OPTIONAL = ("preferred_period", "delay_h")
DELAY_H = 1.0
LARGE_USERS, LARGE_GAP = 25, 0.01
STREET_KW = (7.4, 11.0, 22.0)
"""Powers of drawn stations on a feeder."""

_STREAMS = {"instance": 0, "periods": 1, "search": 2, "certify": 3, "scaling": 4, "day": 5}


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
    refuse(faults)
    return instance, {key: table[key] for key in OPTIONAL if key in table}


def _key_faults(where: str, table: Mapping[str, Any]) -> Iterator[Fault]:
    known = REQUIRED + OPTIONAL
    for key in REQUIRED:
        if key not in table:
            yield Fault(where, key, "is missing", "add it; the study's reference.toml is an example")
    for key in table:
        if key not in known:
            yield Fault(where, key, "unknown key", meant(key, known, f"use only {', '.join(known)}"))
    if type(delay := table.get("delay_h", 0.0)) not in (int, float):
        yield Fault(where, "delay_h", f"is {delay!r}", "give hours")
    own = table.get("preferred_period", [])
    if not isinstance(own, list) or any(type(k) is not int for k in own):
        yield Fault(where, "preferred_period", "is no list of whole numbers", "give one per driver, from 0")
