"""Options of ``powertrip``, and what they say as arrays: charge points, PV units and the feeder they stand on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, TypeVar

import numpy as np
import typer

from cosim import Connection, Feeder, feeders
from cosim.contract import Branch, Float, Int
from cosim.errors import Fault, InputError, collecting
from cosim.experiments.studies.base import StudyConfig
from cosim.feeders.draw import OF_THE_FEEDER, DaySpec, draw_day
from cosim.feeders.profiles import clear_sky, specific_power

STEP_MIN, STEPS = 5, 288
DAY = datetime(2024, 5, 28)
CHARGER_KW = 11.0
CHARGE_POINTS = "691.1@09-10,499.2@12-13,179.3@14-16"
PV_UNITS = ",".join(f"{bus}.{phase}:7.2" for bus in ("691", "499", "179", "100") for phase in (1, 2, 3))
TILT_DEG, AZIMUTH_DEG = 35.0, 180.0
PROFILES = "may_weekday"
WHERE = "powertrip"

Weights = tuple[float, float]
Read = TypeVar("Read")


@dataclass(frozen=True, kw_only=True)
class TripConfig(StudyConfig):
    """Options of the study: any feeder, with charge points and PV units anywhere on it."""

    feeder: Annotated[str, typer.Option(help="Shipped name, or path of an OpenDSS file.")] = "european_lv"
    charge_points: Annotated[str, typer.Option(help="BUS.PHASE@HH-HH,...")] = CHARGE_POINTS
    pv: Annotated[str, typer.Option(help="BUS.PHASE:KWP,...", show_default="7.2 on all of 4 buses")] = PV_UNITS
    source_pu: Annotated[float | None, typer.Option(min=0.8, max=1.2, help="Source voltage, if not its own.")] = None
    weights: Annotated[str, typer.Option(help="Pairs for unbalance and curtailment.")] = "0.5/0.5,0.8/0.2"
    voltage_pu: Annotated[str, typer.Option(help="Limits of voltage_control.")] = "0.94-1.10"
    population: Annotated[int, typer.Option(min=10, max=10_000, help="Of NSGA-II.")] = 40
    generations: Annotated[int, typer.Option(min=1, max=100_000, help="Of NSGA-II, at most.")] = 40
    seed: Annotated[int, typer.Option(min=0, help="Of profiles and search.")] = 1

    def faults(self) -> Iterator[Fault]:
        """Every entry of every option that cannot be read."""
        read: tuple[tuple[Callable[[str], object], str], ...] = (
            (parse_charge_points, self.charge_points), (parse_pv, self.pv), (parse_weights, self.weights),
            (parse_band, self.voltage_pu),
        )  # fmt: skip
        found: list[Fault] = []
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


@dataclass(frozen=True, eq=False)
class Place:
    """The feeder with charge points and PV units, and one day of 5-minute steps.

    Attributes
    ----------
    feeder : Feeder
        Its own customers first, then charge points, then PV units.
    lines : tuple of Branch
        The line that feeds each charge point's bus.
    demand_kw, demand_kvar : ndarray, shape (step, customer)
        Of the feeder's own customers; 0 of the others [kW], [kvar].
    ev_kw : ndarray, shape (step, charge point)
        What vehicles ask for [kW].
    pv_available_kw : ndarray, shape (step, PV unit)
        What PV units could feed in [kW].
    """

    feeder: Feeder
    lines: tuple[Branch, ...]
    demand_kw: Float
    demand_kvar: Float
    ev_kw: Float
    pv_available_kw: Float

    @property
    def chargers(self) -> Int:
        """Columns of the charge points."""
        first = len(self.feeder.customers) - self.ev_kw.shape[1] - self.pv_available_kw.shape[1]
        return np.arange(first, first + self.ev_kw.shape[1])

    @property
    def pv_columns(self) -> Int:
        """Columns of the PV units."""
        count = len(self.feeder.customers)
        return np.arange(count - self.pv_available_kw.shape[1], count)

    @property
    def active(self) -> Int:
        """Steps in which a vehicle asks for power."""
        return np.flatnonzero(self.ev_kw.any(axis=1))

    def net_kw(self, step: int, ev_kw: Float, pv_kw: Float) -> Float:
        """Net load of all customers for a batch of candidates, shape (candidate, customer) [kW]."""
        net = np.repeat(self.demand_kw[step][None, :], len(ev_kw), axis=0)
        net[:, self.chargers] += ev_kw
        net[:, self.pv_columns] -= pv_kw
        return net


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
    if faults:
        raise InputError(faults)
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
    if faults:
        raise InputError(faults)
    return tuple(one for _, one in found if one is not None)


def make_place(config: TripConfig) -> Place:
    """Put charge points and PV units on a feeder.

    The feeder's own customers draw what the load shapes of the circuit's file say, if it has them for every load, else
    ``may_weekday``.

    Raises
    ------
    InputError
        Where a bus or phase does not exist, no line with three phases feeds a charge point's bus, or no PV power
        in any step in which a vehicle charges.
    """
    points, pv_units = parse_charge_points(config.charge_points), parse_pv(config.pv)
    bare = feeders.load(config.feeder)
    nodes = {name.upper() for name in bare.network.node_names}
    connections: list[Connection] = []
    unknown: list[Fault] = []
    for option, kind, units in (("--charge-points", "CP", points), ("--pv", "PV", pv_units)):
        for row, one in enumerate(units, 1):
            connections.append(Connection(f"{kind}_{row}", one.bus, (one.phase,)))
            if f"{one.bus}.{one.phase}".upper() not in nodes:
                problem = f"'{one.entry}': there is no node '{one.bus}.{one.phase}' on {bare.name}"
                unknown.append(Fault(WHERE, option, problem, "name a bus and a phase of the feeder"))
    if unknown:
        raise InputError(unknown)
    feeder = feeders.load(config.feeder, connections=connections, source_pu=config.source_pu)
    taken = set(bare.customers) & {one.customer for one in connections}
    if taken:
        problem = f"the feeder has customers of the names {', '.join(sorted(taken))}"
        raise InputError(Fault(str(feeder.master), "customers", problem, "rename them in the circuit's file"))
    lines = _feeding_lines(feeder, points)
    demand_kw, demand_kvar = _demand(bare, len(connections), config.seed)
    hour = np.arange(STEPS) * STEP_MIN / 60.0
    busy = np.array([(point.begin_h <= hour) & (hour < point.end_h) for point in points]).T
    sky = clear_sky(feeder.latitude_deg, feeder.longitude_deg, DAY, STEPS * STEP_MIN)
    specific = _steps(specific_power(sky, TILT_DEG, AZIMUTH_DEG)[:, None])
    pv_available_kw = specific * np.array([unit.kwp for unit in pv_units])
    if not (pv_available_kw[busy.any(axis=1)] > 0.0).any():
        problem = "no PV unit has any sun while a vehicle charges, but PV curtailed is one of the two objectives"
        raise InputError(Fault(WHERE, "--charge-points", problem, "choose hours of daylight, e.g. 12-13"))
    return Place(feeder, lines, demand_kw, demand_kvar, CHARGER_KW * busy, pv_available_kw)


def _demand(bare: Feeder, added: int, seed: int) -> tuple[Float, Float]:
    """Demand of the feeder's own customers; nothing of those that are added."""
    shaped = all(shape is not None for shape in bare.load_shapes)
    spec = DaySpec(start=DAY, minutes=STEPS * STEP_MIN, profiles=OF_THE_FEEDER if shaped else PROFILES)
    day = draw_day(bare, spec, lambda _: np.random.default_rng(seed))
    demand_kw, demand_kvar = (np.pad(power, ((0, 0), (0, added))) for power in (day.demand_kw, day.demand_kvar))
    return _steps(demand_kw), _steps(demand_kvar)


def _steps(minutes: Float) -> Float:
    """Means over steps of a series by the minute."""
    return np.asarray(minutes.reshape(STEPS, STEP_MIN, -1).mean(axis=1))


def _feeding_lines(feeder: Feeder, points: Sequence[ChargePoint]) -> tuple[Branch, ...]:
    """Of each charge point, the line that ends at its bus, seen from the transformer."""
    distance, faults, found = feeder.distance_m, [], []
    for point in points:
        bus = point.bus.upper()
        arriving = [
            line
            for line in feeder.network.lines
            if {1, 2, 3} <= set(line.phases)
            and bus in line.buses
            and all(distance.get(other, np.inf) < distance.get(bus, np.inf) for other in line.buses if other != bus)
        ]
        found += arriving[:1]
        if not arriving:
            problem = f"'{point.entry}': no line with three phases feeds bus {point.bus}, so no unbalance to measure"
            faults.append(Fault(WHERE, "--charge-points", problem, "choose a bus on a three-phase line"))
    if faults:
        raise InputError(faults)
    return tuple(found)
