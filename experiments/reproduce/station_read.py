"""Options and instances of ``station_pricing``, checked all at once."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast

import numpy as np

from cosim.controllers.pricing import FORMULATIONS, Instance, Rules, generate, make_instance, scip_missing, with_periods
from cosim.controllers.pricing.generate import POWER_KW
from cosim.controllers.pricing.model import Formulation
from cosim.errors import Fault, InputError

WHERE = "cosim reproduce station_pricing"
REFERENCE = Path(__file__).with_name("station_reference.toml")
REQUIRED = ("budgets", "demands_kwh", "travel_h", "power_kw", "capacity_kwh", "beta_h")
OPTIONAL = ("preferred_period", "delay_h")
DELAY_H = 1.0
LARGE_USERS, LARGE_GAP = 25, 0.01
STREET_KW = (7.4, 11.0, 22.0)
"""Powers of drawn stations on a feeder."""

_STREAMS = {"instance": 0, "periods": 1, "search": 2, "certify": 3, "scaling": 4, "day": 5}


@dataclass(frozen=True)
class Wishes:
    """What the command line said; None where it said nothing."""

    instance: Path | None = None
    generate: str | None = None
    seed: int = 1
    formulation: str = "cuts"
    lost_sales: float | None = None
    price_order: bool = False
    selfish: bool = False
    periods: int = 1
    population: int = 40
    generations: int = 60
    gap: float | None = None
    certify: int = 0
    scaling: bool = False
    feeder: str | None = None
    stations: str | None = None


@dataclass(frozen=True, eq=False)
class Order:
    """What to run.

    Attributes
    ----------
    wishes : Wishes
        As asked for.
    name : str
        Of the instance, for people.
    instance : Instance
        Users and stations, of all periods.
    rules : Rules
        How users behave and are solved.
    """

    wishes: Wishes
    name: str
    instance: Instance
    rules: Rules

    @property
    def is_reference(self) -> bool:
        """Whether this is the instance whose results are known."""
        return self.wishes.instance is None and self.wishes.generate is None


def stream(seed: int, name: str) -> np.random.Generator:
    """Random stream of one part of the study."""
    return np.random.default_rng([seed, _STREAMS[name]])


def checked(wishes: Wishes) -> Order:
    """Return what to run.

    Raises
    ------
    InputError
        With every option and every number of the instance that is wrong.
    """
    faults = _option_faults(wishes)
    size = None
    if wishes.generate is not None:
        size = _size(wishes.generate, faults)
    if faults:
        raise InputError(faults)
    refuse = wishes.lost_sales is None
    if size is not None:
        rng = stream(wishes.seed, "instance")
        name, more = f"generated, {size[0]} drivers and {size[1]} stations", dict[str, Any]()
        instance = generate(*size, rng, power_kw=POWER_KW if wishes.feeder is None else STREET_KW)
    else:
        path = wishes.instance or REFERENCE
        name = "reference" if wishes.instance is None else path.name
        instance, more = read_instance(path, refuse_unservable=refuse)
    instance = _in_periods(instance, more, wishes)
    large = instance.users > LARGE_USERS
    gap = (LARGE_GAP if large else 0.0) if wishes.gap is None else wishes.gap
    rules = Rules(
        congestion="equilibrium" if wishes.selfish else "system",
        lost_sales=wishes.lost_sales is not None,
        formulation=cast(Formulation, wishes.formulation),
        solver="scip" if wishes.formulation == "nonlinear" else "highs",
        gap=gap,
    )
    return Order(wishes, name, instance, rules)


def read_instance(path: Path, *, refuse_unservable: bool = True) -> tuple[Instance, dict[str, Any]]:
    """Read an instance from a TOML file, and its optional keys.

    Raises
    ------
    InputError
        With every fault: no such file, no TOML, keys that lack or are unknown, and what `make_instance` refuses.
    """
    if not path.is_file():
        raise InputError(Fault(str(path), "--instance", "no such file", "give the path of a TOML file"))
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(Fault(str(path), "", f"is not TOML: {error}", "mend the syntax there")) from None
    faults = _key_faults(path, table)
    given = {key: table.get(key) for key in REQUIRED}
    if any(value is None for value in given.values()):
        raise InputError(faults)
    try:
        instance = make_instance(**cast(Any, given), where=str(path), refuse_unservable=refuse_unservable)
    except InputError as error:
        raise InputError([*faults, *error.faults]) from None
    if faults:
        raise InputError(faults)
    return instance, {key: table[key] for key in OPTIONAL if key in table}


def _key_faults(path: Path, table: Mapping[str, Any]) -> list[Fault]:
    known = REQUIRED + OPTIONAL
    faults = [Fault(str(path), key, "is missing", "add it; station_reference.toml is an example")
              for key in REQUIRED if key not in table]  # fmt: skip
    for key in table:
        if key not in known:
            near = get_close_matches(key, known, 1)
            remedy = f"did you mean '{near[0]}'?" if near else f"use only {', '.join(known)}"
            faults.append(Fault(str(path), key, "unknown key", remedy))
    delay = table.get("delay_h", 0.0)
    if isinstance(delay, bool) or not isinstance(delay, (int, float)):
        faults.append(Fault(str(path), "delay_h", f"is {delay!r}", "give hours"))
    own = table.get("preferred_period", [])
    if not isinstance(own, list) or not all(isinstance(k, int) and not isinstance(k, bool) for k in own):
        faults.append(
            Fault(str(path), "preferred_period", "is no list of whole numbers", "give one per driver, from 0")
        )
    return faults


def _in_periods(instance: Instance, more: Mapping[str, Any], wishes: Wishes) -> Instance:
    if wishes.periods == 1:
        return instance
    drawn = stream(wishes.seed, "periods").integers(wishes.periods, size=instance.users)
    own = more.get("preferred_period", drawn)
    return with_periods(instance, own, float(more.get("delay_h", DELAY_H)), [1.0 / wishes.periods] * wishes.periods)


def _option_faults(wishes: Wishes) -> list[Fault]:
    lost, gap = wishes.lost_sales, wishes.gap
    missing = scip_missing() if wishes.formulation == "nonlinear" else ""
    rules = (
        (wishes.formulation not in FORMULATIONS, "--formulation", f"is '{wishes.formulation}'",
         f"use one of {', '.join(FORMULATIONS)}"),
        (bool(missing), "--formulation", f"nonlinear needs SCIP: {missing}", "pip install 'lv-feeder-cosim[scip]'"),
        (wishes.instance is not None and wishes.generate is not None, "--generate", "is given together with --instance",
         "give one of them"),
        (wishes.seed < 0, "--seed", f"is {wishes.seed}", "give a whole number from 0"),
        (lost is not None and not 0.0 <= lost < np.inf, "--lost-sales", f"is {lost}", "give EUR/kWh, 0 or more"),
        (not 1 <= wishes.periods <= 24, "--periods", f"is {wishes.periods}", "give 1 to 24"),
        (wishes.population < 4, "--population", f"is {wishes.population}", "give 4 or more"),
        (wishes.generations < 1, "--generations", f"is {wishes.generations}", "give 1 or more"),
        (gap is not None and not 0.0 <= gap < 1.0, "--gap", f"is {gap}", "give a share from 0 to below 1"),
        (wishes.certify < 0, "--certify", f"is {wishes.certify}", "give a number of instances"),
        (wishes.stations is not None and wishes.feeder is None, "--stations", "is given without --feeder",
         "give a feeder for these buses, such as european_lv"),
    )  # fmt: skip
    return [Fault(WHERE, key, problem, remedy) for wrong, key, problem, remedy in rules if wrong]


def _size(text: str, faults: list[Fault]) -> tuple[int, int] | None:
    parts = text.replace("x", ",").split(",")
    try:
        users, stations = (int(part) for part in parts)
    except ValueError:
        faults.append(Fault(WHERE, "--generate", f"is '{text}'", "give DRIVERS,STATIONS such as 20,4"))
        return None
    if not (1 <= users <= 2000 and 1 <= stations <= 50):
        faults.append(Fault(WHERE, "--generate", f"is '{text}'", "give 1 to 2000 drivers and 1 to 50 stations"))
    return users, stations
