"""Which column of a session file holds what: profiles of known makers (``profiles.toml``), and a user's own words."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from cosim.errors import Fault, InputError, meant, refuse
from cosim.experiments.plan.options import DateOrder, EnergyAt
from cosim.experiments.plan.table import Table
from cosim.experiments.remedies import load_toml

QUANTITIES = (
    "vehicle", "arrival", "departure", "stay_h", "energy_kwh", "energy_wh", "power_kw", "power_w", "power_min_kw",
    "battery_kwh", "battery_wh", "soe_arrival_kwh", "soc_arrival_percent", "soc_target_percent", "efficiency", "phases",
    "phase", "plug", "connector", "charger_type", "timezone", "arrival_zone", "departure_zone",
)  # fmt: skip
"""What a column may hold."""

JOIN = " + "
IGNORED = ("feasible", "chargingduration", "arrivalsoc")
"""Columns that seed 002 writes and nothing here needs, in small letters."""

SHORT = {"energy": "energy_kwh", "power": "power_kw", "battery": "battery_kwh", "start": "arrival", "end": "departure"}


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What is known of one maker's files; fields as at the top of ``profiles.toml``."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    columns: Mapping[str, Sequence[str]]
    title: str = ""
    known_by: Sequence[str] = ()
    energy: EnergyAt = "plug"
    zone: str | None = None
    timezone: str | None = None
    dates: DateOrder | None = None
    offsets: Literal["kept", "ignored"] = "kept"
    charger_kw: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Layout:
    """A profile laid over a table.

    Attributes
    ----------
    profile : Profile
        The one that was chosen.
    columns : dict of str to tuple of str
        Quantity to the columns of the file that hold it, several where they are joined.
    unknown : list of Fault
        Columns that nothing uses, and that may be mistyped.
    """

    profile: Profile
    columns: dict[str, tuple[str, ...]]
    unknown: list[Fault]

    def name(self, quantity: str) -> str:
        """Column of a quantity, as messages name it."""
        return JOIN.join(self.columns.get(quantity, (quantity,)))


@lru_cache(maxsize=1)
def _tables() -> dict[str, Any]:
    return tomllib.loads((files("cosim.experiments.plan") / "profiles.toml").read_text(encoding="utf-8"))


def zones() -> Mapping[str, str]:
    """Abbreviation to IANA name."""
    named: Mapping[str, str] = _tables()["zones"]
    return named


@lru_cache(maxsize=1)
def profiles() -> Mapping[str, Profile]:
    """All profiles by name."""
    return {name: _profile(name, table, Path("profiles.toml")) for name, table in _tables().items() if name != "zones"}


def _profile(name: str, table: Mapping[str, Any], where: Path) -> Profile:
    """Profile from a table as at the top of ``profiles.toml``; InputError with everything wrong with it."""
    others = {key: value for key, value in table.items() if key != "like"}
    faults = []
    if (base := table.get("like")) is not None:
        others["columns"] = {**_tables().get(str(base), {}).get("columns", {}), **others.get("columns", {})}
        if base not in _tables():
            faults.append(
                Fault(str(where), "like", f"unknown profile {base!r}", meant(str(base), _tables(), "name one"))
            )
    for quantity in others.get("columns", ()):
        if quantity not in QUANTITIES:
            remedy = meant(quantity, QUANTITIES, f"use {', '.join(QUANTITIES)}")
            faults.append(Fault(str(where), f"columns.{quantity}", "unknown quantity", remedy))
    try:
        made = TypeAdapter(Profile).validate_python({"name": name, **others})
    except ValidationError as error:
        keys = [one.name for one in fields(Profile)]
        for item in error.errors(include_url=False):
            key = ".".join(map(str, item["loc"]))
            remedy = meant(key, keys, "write it as in docs/plans.md")
            faults.append(Fault(str(where), key, item["msg"].lower(), remedy))
    refuse(faults)
    return made


def mapping_of(given: str | Mapping[str, str]) -> dict[str, str]:
    """Quantity to column from such a mapping or ``vehicle=Plate,arrival=Date + Time``; InputError where it is none."""
    found: dict[str, str] = {}
    faults = []
    parts = given.split(",") if isinstance(given, str) else [f"{name}={column}" for name, column in given.items()]
    for part in filter(None, (part.strip() for part in parts)):
        quantity, _, column = (piece.strip() for piece in part.partition("="))
        quantity = SHORT.get(quantity, quantity)
        if not column:
            faults.append(Fault("cosim plan", "--columns", f"{part!r} names no column", "write vehicle=Plate,..."))
        elif quantity not in QUANTITIES:
            remedy = meant(quantity, QUANTITIES, f"use {', '.join(QUANTITIES)}")
            faults.append(Fault("cosim plan", "--columns", f"unknown quantity {quantity!r}", remedy))
        found[quantity] = column
    refuse(faults)
    return found


def lay_out(table: Table, profile: str | None, own: Mapping[str, str]) -> Layout:
    """Find the columns of a table, by the profile's name or else by the header; ``own`` goes before both.

    Raises
    ------
    InputError
        Where columns are missing, named twice, or the profile is unknown; all at once.
    """
    where, header = f"{table.where}, row 1", [name.lower() for name in table.header]
    chosen = _named(profile) if profile is not None else _recognised(header)
    faults = list(_header_faults(table, where))
    columns: dict[str, tuple[str, ...]] = {}
    for quantity, options in chosen.columns.items():
        there = [found for option in options if (found := _found(option, table.header, header))]
        plain = [option for option in there if len(option) == 1]
        if quantity not in own and there:
            columns[quantity] = there[0]
            if chosen.name in ("plain", "seed") and len(plain) > 1 and quantity not in ("vehicle", "stay_h"):
                problem = f"means the same as column '{plain[0][0]}'"
                faults.append(Fault(where, plain[1][0], problem, "keep one of them, or choose by --columns"))
    for quantity, option in own.items():
        if found := _found(option, table.header, header):
            columns = {name: held for name, held in columns.items() if held != found}  # it holds nothing else
            columns[quantity] = found
        else:
            near = get_close_matches(option.lower(), header, n=1)
            remedy = f"did you mean '{table.header[header.index(near[0])]}'?" if near else "name columns of the file"
            faults.append(Fault(where, option, f"no such column (--columns {quantity}=...)", remedy))
    faults += _missing(where, chosen, columns)
    # makers write many columns that no plan needs; in a table made for planning, one may be mistyped
    unknown = [] if own or chosen.name not in ("plain", "seed") else list(_unknown(table, where, chosen, columns))
    refuse([*faults, *unknown] if faults else [])
    return Layout(chosen, columns, unknown)


def _named(profile: str) -> Profile:
    """Profile of a name, or of a TOML file of the user's own."""
    if profile.endswith(".toml"):
        if not os.path.isfile(profile):
            raise InputError(Fault(profile, "--profile", "no such file", "give the path of a TOML file, or a name"))
        return _profile(Path(profile).stem, load_toml(Path(profile)), Path(profile))
    if profile not in profiles():
        remedy = meant(profile, profiles(), f"use one of {', '.join(profiles())}, or a TOML file of your own")
        raise InputError(Fault("cosim plan", "--profile", f"unknown profile {profile!r}", remedy))
    return profiles()[profile]


def _recognised(header: Sequence[str]) -> Profile:
    """The profile of which most columns are there; plain names otherwise."""
    fitting = [one for one in profiles().values() if one.known_by and {n.lower() for n in one.known_by} <= {*header}]
    return max(fitting, key=lambda one: len(one.known_by), default=profiles()["plain"])


def _found(option: str, names: Sequence[str], lower: Sequence[str]) -> tuple[str, ...] | None:
    """Columns of one way to hold a quantity, as the file writes them; a name with a plus sign in it goes before."""
    if option.lower() in lower:
        return (names[lower.index(option.lower())],)
    parts = [part.strip().lower() for part in option.split("+")]
    if len(parts) > 1 and all(part in lower for part in parts):
        return tuple(names[lower.index(part)] for part in parts)
    return None


def _header_faults(table: Table, where: str) -> Iterator[Fault]:
    for number, name in enumerate(table.header, start=1):
        if not name and not _is_no_data([row[number - 1] for row in table.rows]):
            remedy = "name it, or leave it out (merged cells have a name in the first only)"
            yield Fault(where, f"column {number}", "has no name", remedy)
        elif name and name in table.header[: number - 1]:
            yield Fault(where, name, "is the name of several columns", "give each its own")


def _missing(where: str, profile: Profile, columns: Mapping[str, object]) -> Iterator[Fault]:
    energy = {"energy_kwh", "energy_wh", "battery_kwh", "battery_wh"}
    needed = {"arrival": {"arrival"}, "departure": {"departure", "stay_h"}, "energy_kwh": energy}
    for quantity, either in needed.items():
        if not either & columns.keys():
            options = profile.columns.get(quantity, (quantity,))
            remedy = f"add it, as {' or '.join(options)}, or say which column it is: --columns {quantity}=NAME"
            yield Fault(where, options[0], "column is missing", remedy)
    for quantity in ("soc_arrival_percent", "soc_target_percent"):
        if quantity in columns and not {"battery_kwh", "battery_wh"} & columns.keys():
            yield Fault(where, quantity, "needs the battery's capacity", "add a column battery_kwh")


def _unknown(table: Table, where: str, profile: Profile, columns: Mapping[str, Sequence[str]]) -> Iterator[Fault]:
    used = {name for held in columns.values() for name in held}
    known = {alias.lower(): alias for options in profile.columns.values() for alias in options}
    for name in table.header:
        if name and name not in used and name.lower() not in (*IGNORED, *known):
            near = get_close_matches(name.lower(), known, n=1)
            remedy = f"did you mean '{known[near[0]]}'?" if near else "leave it out, or map it by --columns"
            yield Fault(where, name, "unknown column, not used", remedy)


def _is_no_data(cells: Sequence[Any]) -> bool:
    """Whether a column without a name is empty, or the index that pandas writes, as published tables have it."""
    filled = ["" if cell is None else str(cell) for cell in cells]
    return not any(filled) or filled == list(map(str, range(len(filled))))
