"""A ``feeder.toml`` of what was found in a circuit, to be corrected and completed by hand."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator

from cosim.contract import Feeder, out_of_range


def template(feeder: Feeder) -> str:
    """Write what was found as TOML; what is only an assumption, or unknown, as comments.

    Parameters
    ----------
    feeder : Feeder
        As loaded.

    Returns
    -------
    str
        A ``feeder.toml`` with which the feeder loads as it did.
    """
    return "\n".join([*_head(feeder), "", *_tables(feeder)]) + "\n"


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)  # TOML's basic strings are JSON's


def _head(feeder: Feeder) -> Iterator[str]:
    yield f"# Facts beside {feeder.master.name}. Lines that begin with # are assumptions, or examples."
    yield f"name = {_text(feeder.name)}"
    yield '# title = "One line about the place"'
    yield f"# latitude_deg = {feeder.latitude_deg}        # for the sun; assumed"
    yield f"# longitude_deg = {feeder.longitude_deg}"
    yield "# connection_kw_per_phase = 14.0  # largest net import of a customer; assumed"
    if feeder.head_line:
        yield f"head_line = {_text(feeder.head_line)}  # the only line that leaves the transformer"
    if feeder.monitored:
        yield f"monitored = [{', '.join(map(_text, feeder.monitored))}]  # branches that are watched"
    found = f"coordinates of {len(feeder.coordinates)} buses are in the circuit" if feeder.coordinates else "none found"
    yield f'# coordinates = "Buscoords.csv"  # lines of bus,x,y; {found}'
    yield '# ratings_from = "catalogue"      # rate lines without rating as the common cable of their resistance'


def _tables(feeder: Feeder) -> Iterator[str]:
    yield "[nominal_voltage_v]  # phase to neutral, by area; or above all tables, for all: nominal_voltage_v = 230.0"
    names = Counter(area.name for area in feeder.areas)
    feeds = Counter(name for area in feeder.areas for name in area.transformers)
    for area in feeder.areas:
        volts = area.nominal_voltage_v
        alike = bool(area.customers) and (feeder.customer_nominal_v[list(area.customers)] == volts).all()
        sure = alike and names[area.name] == 1 and not out_of_range("", {"nominal_voltage_v": volts})
        yield f"{'' if sure else '# '}{_text(area.name)} = {volts!r}"
    yield ""
    yield "[transformer_kva]  # ratings; impedances stay as they are in the circuit"
    for area in feeder.areas:
        name, *parallel = area.transformers or ("",)
        # of windings that feed areas of their own, and of units in parallel, only the circuit knows the parts
        if not parallel and feeds[name] == 1 and not out_of_range("", {"kva": area.rating_kva}):
            yield f"{_text(name)} = {area.rating_kva!r}"
    yield ""
    yield "[ratings_a]  # by line code or line, whose own wins; 275.0 stands where none was found"
    yield from _ratings(feeder)
    yield ""
    yield "# [cables]  # a cable of the catalogue instead of a rating, by line code or line"
    yield f'# {_text(next((code for code in feeder.line_codes.values() if code), "LC1"))} = "NAYY 4x150"'
    for key, example in (("customer_names", "12 High Street"), ("customer_types", "home")):
        found = dict(zip(feeder.customers, getattr(feeder, key), strict=False))
        named = {name: text for name, text in found.items() if text}
        yield ""
        yield f"[{key}]" if named else f"# [{key}]"
        yield from (f"{_text(name)} = {_text(text)}" for name, text in named.items())
        yield from (f"# {_text(name)} = {_text(example)}" for name in feeder.customers[:3] if not named)


def _ratings(feeder: Feeder) -> Iterator[str]:
    """One row a line code whose lines are all rated alike, and one a line for the others."""
    rated: dict[str, set[str]] = defaultdict(set)
    for line in feeder.network.lines:
        rated[feeder.line_codes[line.name]].add(repr(line.rating_a))
    rows: dict[str, tuple[float, int]] = {}
    for line in feeder.network.lines:
        code = feeder.line_codes[line.name]
        name = code if code and len(rated[code]) == 1 else line.name
        rows[name] = line.rating_a, rows.get(name, (0.0, 0))[1] + 1
    for name, (rating_a, lines) in rows.items():
        known = not out_of_range("", {"rating_a": rating_a})
        count = f"  # {lines} lines" if lines > 1 else ""
        yield f"{_text(name)} = {rating_a!r}{count}" if known else f"# {_text(name)} = 275.0{count}"
