"""Broken scenarios: values by kind and key, and files that are none."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Iterator
from typing import Any

from tests.border.case import Case

BASE = """name = "a"
feeder = "two_bus"
start = 2026-01-15T16:00:00
horizon_h = 2
[[runs]]
controller = "none"
"""

WEIRD: dict[str, str] = {
    "nan": "nan",
    "inf": "inf",
    "minus one": "-1",
    "minus half": "-0.5",
    "zero": "0",
    "1e300": "1e300",
    "20 digits": "1" + "0" * 20,
    "true": "true",
    "a list": "[1, 2]",
    "a table": "{ a = 1 }",
    "a text": '"much"',
    "no text": '""',
    "other letters": '"Straße ☃"',
    "50 kB of text": '"' + "x" * 50_000 + '"',
    "a control": '"\\u0007"',
    "dots": '"../.."',
    "a time": "2026-01-15T16:00:00",
}
"""TOML by what it is."""

Fits = Callable[[Any], bool]


def _number(low: float, high: float, *, open_low: bool = False) -> Fits:
    return lambda value: (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and (low < value if open_low else low <= value)
        and value <= high
    )


def _whole(low: int, high: float) -> Fits:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


LABELLED: Fits = lambda value: value == "much"  # noqa: E731
NEVER: Fits = lambda _: False  # noqa: E731
KEYS: dict[str, Fits] = {
    "name": LABELLED,
    "feeder": NEVER,
    "start": lambda value: type(value).__name__ == "datetime",
    "zone": NEVER,
    "seed": _whole(0, math.inf),
    "horizon_h": NEVER,
    "step_min": NEVER,
    "control_min": NEVER,
    "tariff": NEVER,
    "strict": lambda v: v is True,
    "decide_limit_s": NEVER,
    "metrics": NEVER,
    "grid": NEVER,
    "grid.source_pu": NEVER,
    "grid.source_swing_percent": _number(0, 15),
    "grid.source_lowest_h": _number(0, 23.999),
    "grid.source_profile": NEVER,
    "tariff_shares": NEVER,
    "tariffs": NEVER,
    "export_eur_per_kwh": _number(-1, 2),
    "meters.noise_percent": _number(0, 50),
    "meters.voltage_noise_percent": _number(0, 10),
    "meters.latency_steps": _whole(0, 288),
    "meters.missing_share": _number(0, 1),
    "grid.taps": NEVER,
    "grid.accept": NEVER,
    "grid.nominal_voltage_v": NEVER,
    "grid.transformer": NEVER,
    "grid.transformer.kva": _number(0, 10_000, open_low=True),
    "grid.transformer.uk_percent": NEVER,
    "grid.transformer.no_load_loss_percent": _number(0, 10),
    "grid.transformer.tier": NEVER,
    "thermal.loss_ratio": NEVER,
    "thermal.k21": NEVER,
    "thermal.ambient_surcharge_k": _number(0, 40),
    "households.profiles": NEVER,
    "households.join": NEVER,
    "households.profiles_step_min": NEVER,
    "households.response": NEVER,
    "households.noncompliant_share": _number(0, 1),
    "households.power_factor": NEVER,
    "households.power_factor_sd": _number(0, 0.3),
    "households.power_factors": NEVER,
    "households.responses": NEVER,
    "households.start_delay_s": _number(0, 3600),
    "households.load_model": NEVER,
    "ev.share": _number(0, 1),
    "ev.sessions": NEVER,
    "ev.efficiency": NEVER,
    "ev.announced_departure_error_min": _number(0, 240),
    "ev.announced_energy_error_percent": _number(0, 200),
    "pv.share": _number(0, 1),
    "pv.kwp": _number(0, 100, open_low=True),
    "pv.cloud": NEVER,
    "pv.profiles": NEVER,
    "pv.profiles_step_min": NEVER,
    "pv.inverters": NEVER,
    "pv.from_file": lambda value: value is True,
    "forecast.kind": NEVER,
    "forecast.demand_error_percent": _number(0, 200),
    "forecast.arrival_error_min": _number(0, 240),
    "runs": NEVER,
    "runs.controller": NEVER,
    "runs.label": LABELLED,
    "runs.options": NEVER,
    "runs.noncompliant_share": _number(0, 1),
    "runs.forecast": NEVER,
    "colour": NEVER,
    "ev.shares": NEVER,
}
"""Which of the values a key takes, by its documentation."""

_TRANSFORMER_HAS_KVA = "kva = 100"


def with_value(key: str, toml: str) -> str:
    """The base scenario with one key set."""
    lines = BASE.splitlines()
    table, _, last = key.rpartition(".")
    top = [line for line in lines[:4] if not line.startswith(f"{key} =")]
    runs = lines[4:]
    if table == "runs":
        runs = [line for line in runs if not line.startswith(f"{last} =")] + [f"{last} = {toml}"]
    elif table:
        more = [_TRANSFORMER_HAS_KVA] if table == "grid.transformer" and last != "kva" else []
        runs = [f"[{table}]", f"{last} = {toml}", *more, *runs]
    else:
        top += [f"{key} = {toml}"]
        runs = runs if key != "runs" else []
    return "\n".join([*top, *runs]) + "\n"


def by_key() -> Iterator[Case]:
    """Every value at every key."""
    values = {kind: tomllib.loads(f"value = {toml}")["value"] for kind, toml in WEIRD.items()}
    for key, fits in KEYS.items():
        for kind, value in values.items():
            if key in _FREE and isinstance(value, dict | list):
                continue
            words = (key.split(".")[-1],)
            verdict = "accepted" if fits(value) else "refused"
            yield Case(
                "scenario",
                f"{key} is {kind}",
                ("check", "a.toml"),
                {"a.toml": with_value(key, WEIRD[kind])},
                verdict,
                words,
            )


_FREE = ("runs.options",)


def by_file() -> Iterator[Case]:
    """Files that hold no scenario, and keys that do not agree."""
    check = ("check", "a.toml")
    contents: dict[str, tuple[Any, str]] = {
        "no file": ({}, "a.toml"),
        "a folder": ({"a.toml": None}, "a.toml"),
        "empty": ({"a.toml": ""}, "name"),
        "binary": ({"a.toml": bytes(range(256))}, "a.toml"),
        "in Latin-1": ({"a.toml": BASE.replace('"a"', '"ä"').encode("latin-1")}, "a.toml"),
        "in UTF-16": ({"a.toml": BASE.encode("utf-16")}, "a.toml"),
        "cut short": ({"a.toml": BASE[:-8]}, "a.toml"),
        "a key twice": ({"a.toml": 'name = "b"\n' + BASE}, "a.toml"),
        "a table twice": ({"a.toml": BASE + "[ev]\n[ev]\n"}, "a.toml"),
        "JSON": ({"a.toml": '{"name": "a"}'}, "a.toml"),
        "YAML": ({"a.toml": "name: a\nfeeder: two_bus\n"}, "a.toml"),
        "1,000 brackets": ({"a.toml": "name = " + "[" * 1000}, "a.toml"),
        "without name": ({"a.toml": BASE.replace('name = "a"\n', "")}, "name"),
        "without feeder": ({"a.toml": BASE.replace('feeder = "two_bus"\n', "")}, "feeder"),
        "without start": ({"a.toml": BASE.replace("start = 2026-01-15T16:00:00\n", "")}, "start"),
        "without runs": ({"a.toml": BASE[: BASE.index("[[")]}, "runs"),
        "one label twice": ({"a.toml": BASE + '[[runs]]\ncontroller = "none"\n'}, "runs"),
        "control no multiple": ({"a.toml": "control_min = 7\n" + BASE}, "control_min"),
        "horizon no multiple": ({"a.toml": BASE.replace("horizon_h = 2", "horizon_h = 2.01")}, "horizon_h"),
        "start with a zone": ({"a.toml": BASE.replace("16:00:00", "16:00:00Z")}, "start"),
        "start in year 1": ({"a.toml": BASE.replace("2026-01-15", "0001-01-01")}, "start"),
        "start in year 9999": ({"a.toml": BASE.replace("2026-01-15", "9999-12-31")}, "start"),
        "start that the clock leaves out": (
            {"a.toml": BASE.replace("start = 2026-01-15T16", 'zone = "Europe/London"\nstart = 2026-03-29T01')},
            "zone",
        ),
        "start that comes twice": (
            {"a.toml": BASE.replace("start = 2026-01-15T16", 'zone = "Europe/London"\nstart = 2026-10-25T01')},
            "zone",
        ),
        "share and own roofs": ({"a.toml": BASE + '[pv]\nshare = 0.5\nprofiles = "x.csv"\n'}, "pv"),
        "roofs that are not there": ({"a.toml": BASE + '[pv]\nprofiles = "x.csv"\n'}, "x.csv"),
        "how to join a shipped set": ({"a.toml": BASE + '[households]\njoin = "name"\n'}, "join"),
        "share and sessions": ({"a.toml": BASE + '[ev]\nshare = 0.5\nsessions = "x.csv"\n'}, "ev"),
        "sessions that are not there": ({"a.toml": BASE + '[ev]\nsessions = "x.csv"\n'}, "x.csv"),
        "profiles that are not there": ({"a.toml": BASE + '[households]\nprofiles = "x.csv"\n'}, "profiles"),
        "losses above impedance": (
            {"a.toml": BASE + "[grid]\ntransformer = { kva = 10, uk_percent = 1, load_loss_percent = 2 }\n"},
            "percent",
        ),
        "shares of 120 %": (
            {"a.toml": BASE + "[households]\nload_model = { p = [0.6, 0.3, 0.3], q = [1, 0, 0] }\n"},
            "p",
        ),
        "two shares": ({"a.toml": BASE + "[households]\nload_model = { p = [0.5, 0.5], q = [1, 0, 0] }\n"}, "p"),
        "share 120 %": ({"a.toml": BASE + "[ev]\nshare = 1.2\n"}, "share"),
        "volts for pu": ({"a.toml": BASE + "[grid]\nsource_pu = 230.0\n"}, "source_pu"),
        "label of dots": ({"a.toml": BASE + 'label = ".."\n'}, "label"),
        "label of 300 letters": ({"a.toml": BASE + f'label = "{"x" * 300}"\n'}, "label"),
        "label with markup": ({"a.toml": BASE + 'label = "<b>[red]"\n'}, "label"),
        "feeder of markup": ({"a.toml": BASE.replace("two_bus", "[red]x[/red]")}, "[red]x[/red]"),
    }
    for name, (files, word) in contents.items():
        yield Case("scenario", name, check, files, words=(word,))
    for name, old, new in (
        ("comments and blank lines", "name", "# hello\n\nname"),
        ("CRLF", "\n", "\r\n"),
        ("start as text", "2026-01-15T16:00:00", '"2026-01-15T16:00"'),
        ("start without seconds", "2026-01-15T16:00:00", "2026-01-15 16:00:00"),
        ("29 February", "2026-01-15", "2028-02-29"),
    ):
        yield Case("scenario", name, check, {"a.toml": BASE.replace(old, new).encode()}, "accepted")
