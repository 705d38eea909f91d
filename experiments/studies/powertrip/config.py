"""Options of the PowerTrip study, and how its units are written on the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from cosim import feeders
from cosim.errors import Fault, InputError, collecting, refuse
from cosim.experiments.studies.config import StudyConfig

CHARGE_POINTS = "691.1@09-10,499.2@12-13,179.3@14-16"
PV_UNITS = ",".join(f"{bus}.{phase}:7.2" for bus in ("691", "499", "179", "100") for phase in (1, 2, 3))
WHERE = "powertrip"

Weights = tuple[float, float]
Read = TypeVar("Read")


@dataclass(frozen=True, kw_only=True)
class TripConfig(StudyConfig):
    """Options of the study: any feeder, with charge points and PV units anywhere on it."""

    feeder: Annotated[str, typer.Option(help="Shipped name, or path of an OpenDSS file.")] = "european_lv"
    charge_points: Annotated[str, typer.Option(help="BUS.PHASE@HH-HH,...")] = CHARGE_POINTS
    pv: Annotated[str, typer.Option(help="BUS.PHASE:KWP,...", show_default="7.2 on all of 4 buses")] = PV_UNITS
    pv_profile: Annotated[Path | None, typer.Option(help="CSV of kW by kWp over 2024-05-28, or over any day.")] = None
    source_pu: Annotated[float | None, typer.Option(min=0.8, max=1.2, help="Source voltage, if not its own.")] = None
    weights: Annotated[str, typer.Option(help="Pairs for unbalance and curtailment.")] = "0.5/0.5,0.8/0.2"
    voltage_pu: Annotated[str, typer.Option(help="Limits of voltage_control.")] = "0.94-1.10"
    population: Annotated[int, typer.Option(min=10, max=10_000, help="Of NSGA-II.")] = 40
    generations: Annotated[int, typer.Option(min=1, max=100_000, help="Of NSGA-II; descents follow.")] = 16
    seed: Annotated[int, typer.Option(min=0, help="Of profiles and search.")] = 1

    def faults(self) -> Iterator[Fault]:
        """Every entry of every option that cannot be read."""
        read: tuple[tuple[Callable[[str], object], str], ...] = (
            (parse_charge_points, self.charge_points), (parse_pv, self.pv), (parse_weights, self.weights),
            (parse_band, self.voltage_pu),
        )  # fmt: skip
        found: list[Fault] = []
        with collecting(found, "--feeder", WHERE):
            feeders.check(self.feeder)
        for parse, text in read:
            with collecting(found):
                parse(text)
        yield from found


@dataclass(frozen=True)
class Unit:
    """A single-phase unit, and how it was written on the command line."""

    entry: str
    bus: str
    phase: int


@dataclass(frozen=True)
class ChargePoint(Unit):
    """A charger, busy in its own hours."""

    begin_h: int
    end_h: int


@dataclass(frozen=True)
class PvUnit(Unit):
    """A PV unit."""

    kwp: float


def parse_charge_points(text: str) -> tuple[ChargePoint, ...]:
    """Read ``BUS.PHASE@HH-HH,…``; InputError names every entry that is none."""

    def read(entry: str) -> ChargePoint | None:
        match = re.fullmatch(r"([^.@:]+)\.([123])@(\d{1,2})-(\d{1,2})", entry)
        if not match or not int(match[3]) < int(match[4]) <= 24:
            return None
        return ChargePoint(entry, match[1], int(match[2]), int(match[3]), int(match[4]))

    return _parse("--charge-points", text, read, "BUS.PHASE@HH-HH", "691.1@09-10")


def parse_pv(text: str) -> tuple[PvUnit, ...]:
    """Read ``BUS.PHASE:KWP,…``; InputError names every entry that is none, and that there must be one."""

    def read(entry: str) -> PvUnit | None:
        match = re.fullmatch(r"([^.@:]+)\.([123]):(\d+(?:\.\d+)?)", entry)
        return PvUnit(entry, match[1], int(match[2]), float(match[3])) if match and float(match[3]) > 0 else None

    nothing = "names no unit, but PV curtailed is one of the two objectives"
    return _parse("--pv", text, read, "BUS.PHASE:KWP", "691.1:7.2", nothing)


def parse_weights(text: str) -> tuple[Weights, ...]:
    """Read ``0.5/0.5,0.8/0.2``; InputError names every pair that is none, is negative, repeats or does not sum to 1."""

    def read(entry: str) -> Weights | None:
        try:
            first, second = (float(part) for part in entry.split("/"))
        except ValueError:
            return None
        return first, second

    pairs = _parse("--weights", text, read, "pair of numbers", "0.8/0.2")
    names = [weights_name(pair) for pair in pairs]
    faults = []
    for row, (first, second) in enumerate(pairs):
        problem = (
            "holds a negative weight" if min(first, second) < 0
            else "is there twice" if names[row] in names[:row]
            else "" if abs(first + second - 1) < 1e-6 else "does not sum to 1"
        )  # fmt: skip
        if problem:
            faults.append(Fault(WHERE, "--weights", f"'{first:g}/{second:g}' {problem}", "give shares, e.g. 0.8/0.2"))
    refuse(faults)
    return pairs


def parse_band(text: str) -> tuple[float, float]:
    """Read ``0.94-1.10``; InputError where it is no band of voltages in pu."""
    try:
        low, high = (float(part) for part in text.split("-"))
    except ValueError:
        low, high = 0.0, 0.0
    if not 0.5 < low < high < 1.5:
        remedy = "give two voltages in pu, e.g. 0.94-1.10"
        raise InputError(Fault(WHERE, "--voltage-pu", f"'{text}' is no band", remedy))
    return low, high


def weights_name(pair: Weights) -> str:
    """Return the part of a case's name that tells its weights, in percent: ``80_20``, ``33.3_66.7``."""
    return "_".join(f"{100 * weight:g}" for weight in pair)


def _parse(
    option: str, text: str, read: Callable[[str], Read | None], wanted: str, example: str, nothing: str = "names none"
) -> tuple[Read, ...]:
    """Read a list's entries; InputError names those that are none, or that there is none."""
    found = [(part.strip(), read(part.strip())) for part in text.split(",") if part.strip()]
    faults = [
        Fault(WHERE, option, f"'{entry}' is no {wanted}", f"e.g. {example}") for entry, one in found if one is None
    ]
    if not found:
        faults = [Fault(WHERE, option, nothing, f"give at least one, e.g. {example}")]
    refuse(faults)
    return tuple(one for _, one in found if one is not None)
