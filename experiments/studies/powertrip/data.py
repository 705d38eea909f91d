"""Charge points, roofs and the feeder they stand on: what ``powertrip`` is told on the command line, as arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from cosim import Connection, Feeder, feeders
from cosim.contract import Branch, Float, Int
from cosim.errors import Fault, InputError
from cosim.experiments.day import OF_THE_FEEDER, feeder_demand
from cosim.feeders.households import draw_households, read_profiles
from cosim.feeders.profiles import clear_sky, specific_power

STEP_MIN, STEPS = 5, 288
DAY = datetime(2024, 5, 28)
CHARGER_KW = 11.0
CHARGE_POINTS = "691.1@09-10,499.2@12-13,179.3@14-16"
PV_UNITS = ",".join(f"{bus}.{phase}:7.2" for bus in ("691", "499", "179", "100") for phase in (1, 2, 3))
TILT_DEG, AZIMUTH_DEG = 35.0, 180.0
PROFILES, POWER_FACTOR = "may_weekday", 0.95
WHERE = "powertrip"

_CHARGE_POINT = re.compile(r"(?P<bus>[^.@:]+)\.(?P<phase>[123])@(?P<begin>\d{1,2})-(?P<end>\d{1,2})")
_PV_UNIT = re.compile(r"(?P<bus>[^.@:]+)\.(?P<phase>[123]):(?P<kwp>\d+(\.\d+)?)")


@dataclass(frozen=True)
class ChargePoint:
    """A single-phase charger, busy in its own hours."""

    bus: str
    phase: int
    begin_h: int
    end_h: int

    @property
    def entry(self) -> str:
        """As on the command line."""
        return f"{self.bus}.{self.phase}@{self.begin_h:02d}-{self.end_h:02d}"


@dataclass(frozen=True)
class PvUnit:
    """A single-phase roof."""

    bus: str
    phase: int
    kwp: float

    @property
    def entry(self) -> str:
        """As on the command line."""
        return f"{self.bus}.{self.phase}:{self.kwp:g}"


@dataclass(frozen=True, eq=False)
class Place:
    """The feeder with charge points and roofs, and one day of 5-minute steps.

    Attributes
    ----------
    feeder : Feeder
        Its own customers first, then charge points, then roofs.
    lines : tuple of Branch
        The line that feeds each charge point's bus.
    demand_kw, demand_kvar : ndarray, shape (step, customer)
        Of the feeder's own customers; 0 of the others [kW], [kvar].
    ev_kw : ndarray, shape (step, charge point)
        What vehicles ask for [kW].
    sun_kw : ndarray, shape (step, roof)
        What roofs could feed in [kW].
    """

    feeder: Feeder
    lines: tuple[Branch, ...]
    demand_kw: Float
    demand_kvar: Float
    ev_kw: Float
    sun_kw: Float

    @property
    def chargers(self) -> Int:
        """Columns of the charge points."""
        first = len(self.feeder.customers) - self.ev_kw.shape[1] - self.sun_kw.shape[1]
        return np.arange(first, first + self.ev_kw.shape[1])

    @property
    def roofs(self) -> Int:
        """Columns of the roofs."""
        count = len(self.feeder.customers)
        return np.arange(count - self.sun_kw.shape[1], count)

    @property
    def active(self) -> Int:
        """Steps in which a vehicle asks for power."""
        return np.flatnonzero(self.ev_kw.any(axis=1))

    def net_kw(self, step: int, ev_kw: Float, pv_kw: Float) -> Float:
        """Net load of all customers for a batch of candidates, shape (candidate, customer) [kW]."""
        net = np.repeat(self.demand_kw[step][None, :], len(ev_kw), axis=0)
        net[:, self.chargers] += ev_kw
        net[:, self.roofs] -= pv_kw
        return net


def parse_charge_points(text: str) -> tuple[ChargePoint, ...]:
    """Read ``BUS.PHASE@HH-HH,…``; InputError names every entry that is none."""
    found, faults = [], []
    for entry in _entries(text):
        match = _CHARGE_POINT.fullmatch(entry)
        if not match or not int(match["begin"]) < int(match["end"]) <= 24:
            faults.append(Fault(WHERE, "--charge-points", f"'{entry}' is no BUS.PHASE@HH-HH", "e.g. 691.1@09-10"))
        else:
            found.append(ChargePoint(match["bus"], int(match["phase"]), int(match["begin"]), int(match["end"])))
    if not found and not faults:
        faults.append(Fault(WHERE, "--charge-points", "names none", "give at least one, e.g. 691.1@09-10"))
    if faults:
        raise InputError(faults)
    return tuple(found)


def parse_pv(text: str) -> tuple[PvUnit, ...]:
    """Read ``BUS.PHASE:KWP,…``; InputError names every entry that is none, and that there must be one."""
    found, faults = [], []
    for entry in _entries(text):
        match = _PV_UNIT.fullmatch(entry)
        if not match or float(match["kwp"]) <= 0:
            faults.append(Fault(WHERE, "--pv", f"'{entry}' is no BUS.PHASE:KWP", "e.g. 691.1:7.2"))
        else:
            found.append(PvUnit(match["bus"], int(match["phase"]), float(match["kwp"])))
    if not found and not faults:
        problem = "names no roof, but curtailed sun is one of the two objectives"
        faults.append(Fault(WHERE, "--pv", problem, "give at least one, e.g. 691.1:7.2"))
    if faults:
        raise InputError(faults)
    return tuple(found)


def make_place(
    feeder: str,
    charge_points: Sequence[ChargePoint],
    pv_units: Sequence[PvUnit],
    households: str | None,
    seed: int,
    source_pu: float | None = None,
) -> Place:
    """Put charge points and roofs on a feeder.

    Parameters
    ----------
    feeder : str
        Shipped name, or path of an OpenDSS file.
    charge_points, pv_units : sequence
        Where they are connected.
    households : str or None
        What the feeder's own customers draw: a shipped set of profiles, a path, or ``feeder`` for the load shapes of
        the circuit's file. None: those, if the file has them for every load, else the shipped ``may_weekday``.
    seed : int
        Of the draw of profiles.
    source_pu : float, optional
        Source voltage; the feeder's own without.

    Raises
    ------
    InputError
        Where a bus or phase does not exist, no line with three phases feeds a charge point's bus, or there is no sun
        in any step in which a vehicle charges.
    """
    bare = feeders.load(feeder)
    faults = list(_node_faults(bare, charge_points, pv_units))
    if faults:
        raise InputError(faults)
    connections = [
        *(Connection(f"CP_{row}", cp.bus, (cp.phase,)) for row, cp in enumerate(charge_points, 1)),
        *(Connection(f"PV_{row}", pv.bus, (pv.phase,)) for row, pv in enumerate(pv_units, 1)),
    ]
    place = feeders.load(feeder, connections=connections, source_pu=source_pu)
    taken = set(bare.customers) & {one.customer for one in connections}
    if taken:
        problem = f"the feeder has customers of the names {', '.join(sorted(taken))}"
        raise InputError(Fault(str(place.master), "customers", problem, "rename them in the circuit's file"))
    lines = list(_feeding_lines(place, charge_points))
    demand_kw, demand_kvar = _demand(place, len(connections), households, seed)
    hour = np.arange(STEPS) * STEP_MIN / 60.0
    busy = np.array([(cp.begin_h <= hour) & (hour < cp.end_h) for cp in charge_points]).T
    sky = clear_sky(place.latitude_deg, place.longitude_deg, DAY, STEPS * STEP_MIN)
    specific = _steps(specific_power(sky, TILT_DEG, AZIMUTH_DEG)[:, None])
    sun_kw = specific * np.array([pv.kwp for pv in pv_units])
    if not (sun_kw[busy.any(axis=1)] > 0.0).any():
        problem = "no sun reaches any roof while a vehicle charges, but curtailed sun is one of the two objectives"
        raise InputError(Fault(WHERE, "--charge-points", problem, "choose hours of daylight, e.g. 12-13"))
    return Place(place, tuple(lines), demand_kw, demand_kvar, CHARGER_KW * busy, sun_kw)


def _node_faults(feeder: Feeder, charge_points: Sequence[ChargePoint], pv_units: Sequence[PvUnit]) -> Iterator[Fault]:
    """Name every entry of the command line whose bus or phase does not exist."""
    nodes = {name.upper() for name in feeder.network.node_names}
    asked: list[tuple[str, ChargePoint | PvUnit]] = [
        *(("--charge-points", one) for one in charge_points),
        *(("--pv", one) for one in pv_units),
    ]
    for option, one in asked:
        node = f"{one.bus}.{one.phase}"
        if node.upper() not in nodes:
            problem = f"'{one.entry}': there is no node '{node}' on {feeder.name}"
            yield Fault(WHERE, option, problem, "name a bus and a phase of the feeder")


def _demand(place: Feeder, added: int, households: str | None, seed: int) -> tuple[Float, Float]:
    """Demand of the feeder's own customers; nothing of those that were added."""
    own, minutes = len(place.customers) - added, STEPS * STEP_MIN
    shaped = own > 0 and all(shape is not None for shape in place.load_shapes[:own])
    profiles = households or (OF_THE_FEEDER if shaped else PROFILES)
    if profiles == OF_THE_FEEDER:
        demand_kw, demand_kvar = feeder_demand(place, DAY, minutes)
    else:
        drawn = draw_households(read_profiles(profiles), own, DAY, minutes, np.random.default_rng(seed))
        demand_kw = np.hstack([drawn, np.zeros((minutes, added))])
        demand_kvar = demand_kw * float(np.tan(np.arccos(POWER_FACTOR)))
    return _steps(demand_kw), _steps(demand_kvar)


def _entries(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _steps(minutes: Float) -> Float:
    """Means over steps of a series by the minute."""
    means: Float = minutes.reshape(STEPS, STEP_MIN, -1).mean(axis=1)
    return means


def _feeding_lines(feeder: Feeder, charge_points: Sequence[ChargePoint]) -> Iterator[Branch]:
    """Of each charge point, the line that ends at its bus, seen from the transformer."""
    distance, faults, found = feeder.distance_m, [], []
    for point in charge_points:
        bus = point.bus.upper()
        arriving = [
            line
            for line in feeder.network.lines
            if {1, 2, 3} <= set(line.phases)
            and bus in line.buses
            and all(distance.get(other, np.inf) < distance.get(bus, np.inf) for other in line.buses if other != bus)
        ]
        if arriving:
            found.append(arriving[0])
        else:
            problem = f"'{point.entry}': no line with three phases feeds bus {point.bus}, so no unbalance to measure"
            faults.append(Fault(WHERE, "--charge-points", problem, "choose a bus on a three-phase line"))
    if faults:
        raise InputError(faults)
    yield from found
