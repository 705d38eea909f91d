"""Options of ``powertrip``, and what they say as arrays: charge points, PV units and the feeder they stand on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from cosim import Connection, Feeder, feeders
from cosim.contract import Branch, Float, Int
from cosim.dss_files import files_of
from cosim.errors import Fault, InputError, refuse
from cosim.experiments.studies.powertrip.config import (
    WHERE,
    ChargePoint,
    TripConfig,
    parse_charge_points,
    parse_pv,
)
from cosim.feeders.clock import Clock
from cosim.feeders.draw import DaySpec, draw_day
from cosim.feeders.find import OF_THE_FEEDER
from cosim.feeders.profiles import clear_sky, specific_power
from cosim.feeders.roofs import PV
from cosim.feeders.series import read_series

STEP_MIN, STEPS = 5, 288
DAY = datetime(2024, 5, 28)
CHARGER_KW = 11.0
TILT_DEG, AZIMUTH_DEG = 35.0, 180.0
PROFILES = "may_weekday"


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
    refuse(unknown)
    _refuse_own_units(bare, connections)
    feeder = feeders.load(config.feeder, connections=connections, source_pu=config.source_pu)
    lines = _feeding_lines(feeder, points)
    demand_kw, demand_kvar = _demand(bare, len(connections), config.seed)
    hour = np.arange(STEPS) * STEP_MIN / 60.0
    busy = np.array([(point.begin_h <= hour) & (hour < point.end_h) for point in points]).T
    pv_available_kw = _steps(_specific(feeder, config)) * np.array([unit.kwp for unit in pv_units])
    if not (pv_available_kw[busy.any(axis=1)] > 0.0).any():
        problem = "no PV unit has any sun while a vehicle charges, but PV curtailed is one of the two objectives"
        raise InputError(Fault(WHERE, "--charge-points", problem, "choose hours of daylight, e.g. 12-13"))
    return Place(feeder, lines, demand_kw, demand_kvar, CHARGER_KW * busy, pv_available_kw)


def _refuse_own_units(bare: Feeder, connections: Sequence[Connection]) -> None:
    """Refuse a circuit with loads of the names that units get, and say what to leave out of which file."""
    taken = sorted(set(bare.customers) & {one.customer for one in connections}, key=bare.customers.index)
    if not taken:
        return
    named = re.compile(rf"(?i)^\s*new\s+\"?load\.({'|'.join(taken)})\"?\s")
    texts = {file: file.read_text(errors="replace").splitlines() for file in files_of(bare.master) if file.suffix}
    there = [file.name for file, lines in texts.items() if any(named.match(line) for line in lines)]
    redirects = " and ".join(f"'Redirect {name}'" for name in there if name != bare.master.name)
    raise InputError(
        Fault(
            str(bare.master), "customers", f"the circuit has loads of its own called {', '.join(taken)}",
            f"put a '!' before {redirects or 'their lines'}: the study adds them by --charge-points and --pv",
        )
    )  # fmt: skip


def _specific(feeder: Feeder, config: TripConfig) -> Float:
    """What 1 kWp gives minute by minute, shape (minute, 1) [kW]: from a file, else of a clear sky."""
    minutes = STEPS * STEP_MIN
    if config.pv_profile is None:
        return specific_power(
            clear_sky(feeder.latitude_deg, feeder.longitude_deg, DAY, minutes), TILT_DEG, AZIMUTH_DEG
        )[:, None]
    series = read_series(config.pv_profile, "--pv-profile", PV, Clock(DAY))
    if len(series.names) != 1:
        problem = f"holds {len(series.names)} columns of values"
        raise InputError(Fault(str(config.pv_profile), "--pv-profile", problem, "give one, beside 'time': kW by kWp"))
    return series.over(DAY, minutes)


def _demand(bare: Feeder, added: int, seed: int) -> tuple[Float, Float]:
    """Demand of the feeder's own customers; nothing of those that are added."""
    shaped = all(shape is not None for shape in bare.load_shapes)
    spec = DaySpec(start=DAY, minutes=STEPS * STEP_MIN, profiles=OF_THE_FEEDER if shaped else PROFILES)
    day = draw_day(bare, spec, lambda *_: np.random.default_rng(seed))
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
    refuse(faults)
    return tuple(found)
