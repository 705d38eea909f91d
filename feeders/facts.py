"""``feeder.toml``: what OpenDSS has no word for, and what a circuit's own file lacks."""

from __future__ import annotations

import math
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from cosim.contract import STANDARDS, Finding, Survey, out_of_range
from cosim.contract.intake import Severity
from cosim.errors import Fault, InputError, collecting, refuse
from cosim.feeders.catalogue import Cable, cables, like
from cosim.feeders.findings import grouped
from cosim.feeders.lines import ohm_per_km

_TEXT = "give text in quotes, not empty, e.g. {}"
_TEXTS = {
    "name": _TEXT.format('name = "my_street"'),
    "title": _TEXT.format('title = "My street"'),
    "head_line": _TEXT.format('head_line = "LINE1"'),
    "coordinates": _TEXT.format('coordinates = "Buscoords.csv", of lines bus,x,y'),
    "standard": f"write one of {', '.join(STANDARDS)}, e.g. {{}}".format('standard = "en50160"'),
    "ratings_from": 'write ratings_from = "catalogue", or leave it out',
}
_CHOICES: dict[str, tuple[str, ...]] = {"ratings_from": ("catalogue",), "standard": tuple(STANDARDS)}
_NUMBERS = ("nominal_voltage_v", "latitude_deg", "longitude_deg", "connection_kw_per_phase")
_MONITORED = 'name one branch or more, none twice, e.g. monitored = ["TR1"]; without the key: the transformer'
_TABLES = {
    "nominal_voltage_v": "nominal_voltage_v",
    "ratings_a": "rating_a",
    "transformer_kva": "kva",
    "cables": _TEXT.format('"LC3" = "NAYY 4x150"'),
    "customer_names": _TEXT.format('LOAD1 = "12 High Street"'),
    "customer_types": _TEXT.format('LOAD1 = "shop"'),
}
"""Tables by the name of an area, line or line code, transformer or load: the range of their numbers, else of texts what
to write."""

_NOTE: Severity = "note"
_WARNING: Severity = "warning"

KEYS = tuple(dict.fromkeys([*_TEXTS, "monitored", *_NUMBERS, *_TABLES]))
"""All that a ``feeder.toml`` may hold."""


def read_facts(path: Path) -> dict[str, Any]:
    """Read a ``feeder.toml``; empty where there is none.

    Raises
    ------
    InputError
        With every key that is unknown or has a value that it cannot have.
    """
    if not path.exists():
        return {}
    try:
        facts = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        said = error.strerror if isinstance(error, OSError) else error
        remedy = "give a text file in UTF-8 with lines such as nominal_voltage_v = 230, or none"
        raise InputError(Fault(str(path), "", f"is not TOML: {said}", remedy)) from error
    faults = [fault for key, value in facts.items() for fault in _faults_of(str(path), key, value)]
    refuse(faults)
    return facts


def _faults_of(where: str, key: str, value: object) -> Iterator[Fault]:
    if key not in KEYS:
        near = get_close_matches(key, KEYS, n=1)
        yield Fault(where, key, "unknown key", f"write {near[0]}" if near else f"use only {', '.join(KEYS)}")
    elif key in _TABLES and isinstance(value, dict):
        yield from _faults_of_table(where, key, value)
    elif key in _NUMBERS:
        yield from out_of_range(where, {key: value})
    elif key in _TABLES:
        yield Fault(where, key, f"is {value!r}", f"write a table: a line [{key}], and below it NAME = VALUE")
    elif key == "monitored":
        if not all(map(_is_text, _members(value))):
            yield Fault(where, key, f"is {value!r}", _MONITORED)
    elif not _is_text(value) or str(value) not in _CHOICES.get(key, (value,)):
        yield Fault(where, key, f"is {value!r}", _TEXTS[key])


def _faults_of_table(where: str, key: str, table: Mapping[str, object]) -> Iterator[Fault]:
    expected = _TABLES[key]
    upper = [name.upper() for name in table]
    for name, value in table.items():
        if upper.count(name.upper()) > 1:
            yield Fault(where, f"{key}.{name}", "is there twice: OpenDSS makes no difference of capitals", "keep one")
        elif isinstance(value, dict):
            yield Fault(where, f"{key}.{name}", "is a table", 'put a name with a dot in quotes, e.g. "4c_.06" = 150')
        elif expected in ("nominal_voltage_v", "rating_a", "kva"):
            for fault in out_of_range(where, {expected: value}):
                yield replace(fault, key=f"{key}.{name}")
        elif not _is_text(value):
            yield Fault(where, f"{key}.{name}", f"is {value!r}", expected)
        elif key == "cables" and value not in cables():
            near = get_close_matches(str(value), cables(), n=3) or list(cables())[:3]
            problem = f"is {value!r}, which is not in the catalogue"
            yield Fault(where, f"{key}.{name}", problem, f"write {' or '.join(near)}, or give amperes in [ratings_a]")


def _members(value: object) -> list[object]:
    """What is in a list, in which nothing comes twice; of anything else nothing that is text."""
    once = isinstance(value, list) and value and len({str(one).upper() for one in value}) == len(value)
    return list(value) if once else [None]  # type: ignore[call-overload]


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def of_customers(facts: Mapping[str, Any], key: str, survey: Survey) -> Iterator[str]:
    """Give the text of every load from a table; empty where there is none."""
    table = {name.upper(): str(text) for name, text in facts.get(key, {}).items()}
    yield from (table.get(load.name, "") for load in survey.loads)


def apply(facts: Mapping[str, Any], survey: Survey, path: Path) -> tuple[Survey, tuple[Finding, ...]]:
    """Put the ratings and coordinates of a ``feeder.toml`` into what was found in its circuit.

    Parameters
    ----------
    facts : mapping
        As `read_facts` reads them.
    survey : Survey
        What was found.
    path : Path
        The ``feeder.toml``, for messages; a file of coordinates is sought from its folder.

    Returns
    -------
    survey : Survey
        With ratings of lines and transformers; impedances stay as they are.
    findings : tuple of Finding
        Which ratings are from the catalogue.

    Raises
    ------
    InputError
        Where a line, line code, transformer or load is named that is not there, or the file of coordinates cannot be
        read.
    """
    transformers = {name.upper(): float(kva) for name, kva in facts.get("transformer_kva", {}).items()}
    of_lines = [*_codes(survey), *_codes(survey).values()]
    loads = [load.name for load in survey.loads]
    faults = [
        *_unknown(path, facts, "ratings_a", "line or line code", of_lines),
        *_unknown(path, facts, "cables", "line or line code", of_lines),
        *_unknown(path, facts, "transformer_kva", "transformer", survey.winding_kvas),
        *_unknown(path, facts, "customer_names", "load", loads),
        *_unknown(path, facts, "customer_types", "load", loads),
    ]
    coordinates = dict(survey.bus_xy)
    if "coordinates" in facts:
        with collecting(faults):
            coordinates |= _coordinates(path.parent / facts["coordinates"], {*survey.voltage_bases_kv})
    refuse(faults)
    own_a = {line: float(amps) for line, amps in _by_line(facts.get("ratings_a", {}), _codes(survey)).items()}
    catalogue_a, findings = _catalogue_ratings(facts, survey, own_a)
    rating_a = catalogue_a | own_a
    kvas = dict(survey.winding_kvas)
    branches = []
    for branch in survey.network.branches:
        rated = branch
        if branch.kind == "line" and branch.name in rating_a:
            amps = rating_a[branch.name]
            rated = replace(branch, rating_a=amps, terminal_ratings_a=(amps,) * len(branch.buses))
        elif branch.kind == "transformer" and branch.name in transformers:
            times = transformers[branch.name] / max(kvas[branch.name])
            kvas[branch.name] = tuple(kva * times for kva in kvas[branch.name])
            every_a = tuple(amps * times for amps in branch.terminal_ratings_a)
            rated = replace(branch, rating_a=branch.rating_a * times, terminal_ratings_a=every_a)
        branches.append(rated)
    network = replace(survey.network, branches=tuple(branches))
    return replace(survey, network=network, winding_kvas=kvas, bus_xy=coordinates), tuple(findings)


def _unknown(path: Path, facts: Mapping[str, Any], key: str, what: str, known: Iterable[str]) -> Iterator[Fault]:
    names = {name.upper() for name in known} - {""}
    for name in facts.get(key, {}):
        if name.upper() not in names:
            near = get_close_matches(name.upper(), names, n=3, cutoff=0.5) or sorted(names)[:3]
            remedy = f"write {' or '.join(near)}" if near else "leave the table out"
            yield Fault(str(path), f"{key}.{name}", f"there is no {what} of that name", remedy)


def _by_line(table: Mapping[str, Any], code_of: Mapping[str, str]) -> dict[str, Any]:
    """Values by line of a table by line or line code; a line's own wins."""
    upper = {name.upper(): value for name, value in table.items()}
    return {line: upper[key] for line, code in code_of.items() for key in (code, line) if key in upper}


def _catalogue_ratings(
    facts: Mapping[str, Any], survey: Survey, own_a: Mapping[str, float]
) -> tuple[dict[str, float], list[Finding]]:
    """Ratings of named cables, and of other lines without rating by resistance where that is asked for."""
    by_line = _by_line(facts.get("cables", {}), _codes(survey))
    named = {line: cables()[name] for line, name in by_line.items() if line not in own_a}
    guessed = _by_resistance(survey, {*named, *own_a}) if "ratings_from" in facts else {}
    findings = []
    for found, code, how, severity in (
        (named, "ratings_of_cables", "as feeder.toml names it", _NOTE),
        (guessed, "ratings_by_resistance", "which has that resistance: check that it is the one", _WARNING),
    ):
        together = defaultdict(list)
        for line, cable in found.items():
            together[cable].append(line)
        for cable, lines in together.items():
            text = f"{len(lines)} lines rated {cable.rating_a:g} A, of the catalogue's {cable.name}, {how}"
            findings.append(Finding(code, grouped("Line", lines), f"{text} ({grouped('', lines)})", severity))
    return {line: cable.rating_a for line, cable in (named | guessed).items()}, findings


def _codes(survey: Survey) -> dict[str, str]:
    return {name: fact.code for name, fact in survey.lines.items()}


def _by_resistance(survey: Survey, others: set[str]) -> dict[str, Cable]:
    volts = np.abs(survey.network.no_load_v) * math.sqrt(3.0)
    unrated = [
        line
        for line in survey.network.lines
        if not math.isfinite(line.rating_a) and line.name not in others and survey.lines[line.name].has_unit
    ]
    impedance = ohm_per_km(unrated)
    found = {}
    for line in unrated:
        at_v = float(volts[line.nodes[line.nodes >= 0]].max(initial=0.0))
        cable = like(impedance[line.name], at_v) if line.name in impedance else None
        if cable is not None:
            found[line.name] = cable
    return found


def _coordinates(path: Path, buses: set[str]) -> dict[str, tuple[float, float]]:
    """Read lines ``bus,x,y``, or with blanks between; a head line and buses that are not there are left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        remedy = "give a text file of lines bus,x,y beside feeder.toml"
        raise InputError(Fault(str(path), "coordinates", f"cannot be read ({error})", remedy)) from None
    found = {}
    for line in text.splitlines():
        cells = re.split(r"[\s,;]+", line.strip())
        try:
            bus, x, y = cells[0].upper(), float(cells[1]), float(cells[2])
        except (IndexError, ValueError):
            continue
        if bus in buses and math.isfinite(x) and math.isfinite(y):
            found[bus] = (x, y)
    if not found:
        remedy = "give lines bus,x,y with the names of the circuit's buses"
        raise InputError(Fault(str(path), "coordinates", "holds no bus of the circuit", remedy))
    return found
