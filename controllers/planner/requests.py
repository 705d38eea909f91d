"""What is asked of a charging station, and what the station has: the planner's two tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.contract.survey import FrozenArrays
from cosim.errors import Fault, range_faults, refuse

MOST_KW, MOST_KWH, MOST_EUR = 1e5, 1e6, 1e4
"""Beyond these a number is no charger, battery or price, whatever its unit was meant to be."""

MOST_ROWS = 20
"""Rows named for one kind of fault; the others are counted."""

Place = Callable[[int], str]
"""From the row of a request to the words that lead a reader there."""

EFFICIENCY = 0.9
ROUNDING_KWH = 1e-6  # a table's last digit is no fault


@dataclass(frozen=True, eq=False)
class Requests(FrozenArrays):
    """Charging requests, one row per vehicle.

    Attributes
    ----------
    vehicle : tuple of str
        Names, all different.
    power_max_kw, power_min_kw : ndarray, shape (vehicle,)
        Grid-side range while charging; the minimum counts in the MILP only (6 A rule, IEC 61851-1) [kW].
    energy_need_kwh : ndarray, shape (vehicle,)
        Wanted *in the battery*, on top of what is there [kWh].
    battery_kwh, soe_arrival_kwh : ndarray, shape (vehicle,)
        Capacity, ``inf`` where it is not known, and content on arrival [kWh].
    arrival_step, departure_step : ndarray, shape (vehicle,)
        Stay in steps from the start of the horizon; 47.25 is a quarter into the 48th step. A departure that equals
        the number of steps is the end of the horizon.
    efficiency : ndarray, shape (vehicle,)
        Battery energy per energy drawn.
    phase_share : ndarray, shape (vehicle, 3)
        Part of the power on L1, L2 and L3: 1 on one of them, or even on two or three. Counts where the station has
        limits per phase.
    """

    vehicle: tuple[str, ...]
    power_max_kw: Float
    power_min_kw: Float
    energy_need_kwh: Float
    battery_kwh: Float
    soe_arrival_kwh: Float
    arrival_step: Float
    departure_step: Float
    efficiency: Float
    phase_share: Float

    def __len__(self) -> int:
        return len(self.vehicle)

    @property
    def headroom_kwh(self) -> Float:
        """Room in the battery on arrival, shape (vehicle,) [kWh]."""
        return self.battery_kwh - self.soe_arrival_kwh


@dataclass(frozen=True, eq=False)
class Station(FrozenArrays):
    """The connection and its price, on a regular grid of steps.

    Attributes
    ----------
    step_s : float
        Length of a step [s].
    capacity_kw : ndarray, shape (step,)
        Largest sum of charging powers, beside the site's own load; ``inf``: no limit [kW].
    tariff_eur_per_kwh : ndarray, shape (step,)
        Price of energy drawn from the grid; below 0, sun fed in is charged at it, so that it replaces nothing.
    peak_eur_per_kw : float
        Charge on the largest import of the horizon, as far as charging raises it.
    site_kw : ndarray, shape (step,)
        Mean load of the site beside the chargers minus its generation: below 0 there is sun to charge with, which
        costs nothing [kW].
    peak_so_far_kw : float
        Import for which the peak charge is owed already [kW].
    phase_kw : ndarray, shape (step, 3) or (step, 0)
        Largest sum of charging powers on L1, L2 and L3; of no width where phases are not told apart [kW].
    """

    step_s: float
    capacity_kw: Float
    tariff_eur_per_kwh: Float
    peak_eur_per_kw: float
    site_kw: Float
    peak_so_far_kw: float
    phase_kw: Float

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.capacity_kw)

    @property
    def sun_kw(self) -> Float:
        """Sun that is left for charging and worth something, shape (step,) [kW]."""
        return np.where(self.tariff_eur_per_kwh > 0, np.maximum(-self.site_kw, 0.0), 0.0)

    @property
    def peak_room_kw(self) -> Float:
        """Power of the chargers up to which the peak charge is what it is without them, shape (step,) [kW]."""
        return np.asarray(max(self.peak_so_far_kw, float(self.site_kw.max(initial=0.0))) - self.site_kw)

    @property
    def step_h(self) -> float:
        """Length of a step [h]."""
        return self.step_s / 3600.0


def make_requests(
    vehicle: list[str],
    power_max_kw: ArrayLike,
    energy_need_kwh: ArrayLike,
    battery_kwh: ArrayLike,
    arrival_step: ArrayLike,
    departure_step: ArrayLike,
    *,
    soe_arrival_kwh: ArrayLike = 0.0,
    power_min_kw: ArrayLike = 0.0,
    efficiency: ArrayLike = EFFICIENCY,
    phase_share: ArrayLike = 1.0 / 3.0,
) -> Requests:
    """Requests from columns; a single number stands for every vehicle. Units as in ``Requests``; nothing is checked."""
    count = len(vehicle)
    columns = (power_max_kw, power_min_kw, energy_need_kwh, battery_kwh, soe_arrival_kwh, arrival_step, departure_step)
    sizes = [*[(count,)] * 8, (count, 3)]
    given = zip((*columns, efficiency, phase_share), sizes, strict=True)
    return Requests(tuple(vehicle), *[np.broadcast_to(np.asarray(part, float), size) for part, size in given])


def limits_of(requests: Requests, station: Station) -> list[tuple[Float, Float]]:
    """Everything that limits a sum of charging powers.

    Returns
    -------
    list of (ndarray, ndarray)
        Part of each power that counts, shape (vehicle,), and the limit, shape (step,) [kW]: of all together, and of
        each phase where these are told apart.
    """
    phases = [(share, limit_kw) for share, limit_kw in zip(requests.phase_share.T, station.phase_kw.T, strict=False)]
    return [(np.ones(len(requests)), station.capacity_kw), *phases]


def make_station(
    steps: int,
    capacity_kw: ArrayLike,
    *,
    step_s: float = 900.0,
    tariff_eur_per_kwh: ArrayLike = 0.13,
    peak_eur_per_kw: float = 0.0,
    site_kw: ArrayLike = 0.0,
    peak_so_far_kw: float = 0.0,
    phase_kw: ArrayLike | None = None,
) -> Station:
    """Station with capacity, tariff and the site's own load given as one number or per step.

    ``phase_kw`` holds limits of L1, L2 and L3, three numbers or three per step.

    Raises
    ------
    InputError
        Where a length does not fit, or a value is out of range (all at once).
    """
    faults: list[Fault] = []
    arrays = []
    series = {"capacity_kw": capacity_kw, "tariff_eur_per_kwh": tariff_eur_per_kwh, "site_kw": site_kw}
    for key, given in series.items():
        values = np.asarray(given, float)
        if values.ndim > 1 or (values.ndim == 1 and len(values) != steps):
            faults.append(Fault("station", key, f"has shape {values.shape}", f"give one number or {steps} of them"))
            values = np.zeros(())
        arrays.append(np.broadcast_to(values, steps))
    capacity, tariff, site = arrays
    phase = np.empty((steps, 0)) if phase_kw is None else np.asarray(phase_kw, float)
    if phase_kw is not None and phase.shape not in ((3,), (steps, 3)):
        problem, remedy = f"has shape {phase.shape}", f"give three numbers, or {steps} times three"
        faults.append(Fault("station", "phase_kw", problem, remedy))
        phase = np.zeros(3)
    limits = np.concatenate([capacity, phase.ravel()])
    limited = np.where(np.isposinf(limits), 0.0, limits)
    ranges = [
        ("steps", steps, 1, 10**6, "whole steps"),
        ("step_s", step_s, 1.0, 86_400.0, "seconds"),
        ("peak_eur_per_kw", peak_eur_per_kw, 0.0, MOST_EUR, "EUR/kW"),
    ]
    ranges += [("capacity_kw", end, 0.0, 1e2 * MOST_KW, "kW, or inf for no limit,") for end in _ends(limited)]
    ranges += [("peak_so_far_kw", peak_so_far_kw, 0.0, 1e2 * MOST_KW, "kW")]
    ranges += [("site_kw", end, -1e2 * MOST_KW, 1e2 * MOST_KW, "kW") for end in _ends(site)]
    ranges += [("tariff_eur_per_kwh", end, -MOST_EUR, MOST_EUR, "EUR/kWh") for end in _ends(tariff)]
    faults += range_faults("station", ranges)
    refuse(faults)
    if phase_kw is not None:
        phase = np.broadcast_to(phase, (steps, 3))
    return Station(step_s, capacity, tariff, peak_eur_per_kw, site, peak_so_far_kw, phase)


def _ends(values: Float) -> list[float]:
    """Smallest and largest value, or nan where there is one."""
    ends: list[float] = np.unique([values.min(initial=0.0), values.max(initial=0.0)]).tolist()
    return ends


def request_faults(requests: Requests, steps: int, place: Place | None = None) -> list[Fault]:
    """Everything wrong with the requests, each named by its place.

    Parameters
    ----------
    requests : Requests
        Any numbers at all.
    steps : int
        Of the horizon.
    place : callable, optional
        Words for a row; the vehicle's name otherwise.
    """
    where = place or (lambda row: f"vehicle {requests.vehicle[row]!r}")
    rules = request_rules(requests, steps)
    return [fault for bad, values, *words in rules for fault in row_faults(bad, values, where, *words)]


def request_rules(requests: Requests, steps: int) -> Iterator[tuple[Bool, Sequence[Any] | Float, str, str, str]]:
    """Rows that break a rule, what stands there, and key, problem and remedy of the fault; one rule after another."""
    for key in ("power_max_kw", "energy_need_kwh", "battery_kwh", "soe_arrival_kwh", "arrival_step", "power_min_kw"):
        values = getattr(requests, key)
        least = "above 0" if key in ("power_max_kw", "battery_kwh") else "0 or more"
        most = MOST_KW if key.endswith("kw") else MOST_KWH
        bad = ~((values >= 0) & (values <= most)) | ((values == 0) & (least == "above 0"))
        if key == "battery_kwh":
            bad &= ~np.isposinf(values)
        yield bad, values, key, "is {:.6g}", f"give a number, {least}, at most {most:g}"
    arrival, departure, efficiency = requests.arrival_step, requests.departure_step, requests.efficiency
    yield ~np.isfinite(departure), departure, "departure_step", "is {}", "give a step"
    share, remedy = requests.phase_share, "give shares of three phases that add up to 1"
    yield ~((share >= 0).all(axis=1) & (abs(share.sum(axis=1) - 1.0) < 1e-6)), share, "phase_share", "is {}", remedy
    wrong = ~((efficiency > 0) & (efficiency <= 1))
    yield wrong, efficiency, "efficiency", "is {:.6g}", "give a share above 0, at most 1"
    low_kw, high_kw, soe_kwh = requests.power_min_kw, requests.power_max_kw, requests.soe_arrival_kwh
    problem = "{:.6g} kW is above the largest power"
    yield (low_kw > high_kw) & (high_kw > 0), low_kw, "power_min_kw", problem, "lower it"
    problem = "{:.6g} kWh is more than the battery holds"
    yield soe_kwh > requests.battery_kwh, soe_kwh, "soe_arrival_kwh", problem, "lower it"
    names = np.array(requests.vehicle, dtype=object)
    _, first, group = np.unique(names.astype(str), return_index=True, return_inverse=True)
    again = first[group] != np.arange(len(names))
    yield again, requests.vehicle, "vehicle", "{!r} is there twice", "give every vehicle a name of its own"
    backwards = departure <= arrival
    yield backwards, departure, "departure", "step {:.6g} is not after the arrival", "let it stay for some time"
    late, remedy = departure > steps + 1e-9, f"make the horizon longer than {steps} steps, or end the stay there"
    yield late & ~backwards, departure, "departure", "step {:.6g} is after the horizon", remedy
    need, room = requests.energy_need_kwh, requests.headroom_kwh
    both, problem = np.column_stack([need, room]), "{0[0]:.6g} kWh wanted, {0[1]:.6g} kWh of room in the battery"
    above = (need > room + ROUNDING_KWH) & (room >= 0)
    yield above, both, "energy_need_kwh", problem, "ask for what the battery can take"


def row_faults(
    bad: Bool, values: Sequence[Any] | Float, place: Place, key: str, problem: str, remedy: str
) -> list[Fault]:
    """One fault for every bad row, up to ``MOST_ROWS``; the last of them counts those that follow.

    Parameters
    ----------
    bad : ndarray of bool, shape (row,)
        Which rows are at fault.
    values : sequence, length (row,)
        What stands there; ``problem`` is formatted with it.
    place : callable
        Words for a row.
    key, problem, remedy : str
        Of the fault.
    """
    rows = np.flatnonzero(bad)
    faults = [Fault(place(int(row)), key, problem.format(values[int(row)]), remedy) for row in rows[:MOST_ROWS]]
    if len(rows) > MOST_ROWS:
        last = faults[-1]
        faults[-1] = Fault(last.where, key, f"{last.problem} (and {len(rows) - MOST_ROWS} more rows)", remedy)
    return faults
