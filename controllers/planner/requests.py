"""What is asked of a charging station, and what the station has: the planner's two tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from cosim.contract import Float
from cosim.contract.place import FrozenArrays
from cosim.controllers.planner.faults import Place, row_faults
from cosim.errors import Fault, InputError

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
        Capacity, and content on arrival [kWh].
    arrival_step, departure_step : ndarray, shape (vehicle,)
        Stay in steps from the start of the horizon; 47.25 is a quarter into the 48th step. A departure that equals
        the number of steps is the end of the horizon.
    efficiency : ndarray, shape (vehicle,)
        Battery energy per energy drawn.
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
        Largest sum of charging powers; ``inf``: no limit [kW].
    tariff_eur_per_kwh : ndarray, shape (step,)
        Price of energy drawn.
    peak_eur_per_kw : float
        Charge on the largest sum of powers of the horizon.
    """

    step_s: float
    capacity_kw: Float
    tariff_eur_per_kwh: Float
    peak_eur_per_kw: float = 0.0

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.capacity_kw)

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
) -> Requests:
    """Requests from columns; a single number stands for every vehicle. Units as in ``Requests``; nothing is checked."""
    count = len(vehicle)
    columns = (power_max_kw, power_min_kw, energy_need_kwh, battery_kwh, soe_arrival_kwh, arrival_step, departure_step)
    return Requests(
        tuple(vehicle), *[np.broadcast_to(np.asarray(part, float), count) for part in (*columns, efficiency)]
    )


def make_station(
    steps: int,
    capacity_kw: ArrayLike,
    *,
    step_s: float = 900.0,
    tariff_eur_per_kwh: ArrayLike = 0.13,
    peak_eur_per_kw: float = 0.0,
) -> Station:
    """Station with capacity and tariff given as one number or per step.

    Raises
    ------
    InputError
        Where a length does not fit, or a value is out of range (all at once).
    """
    faults: list[Fault] = []
    arrays = []
    for key, given in (("capacity_kw", capacity_kw), ("tariff_eur_per_kwh", tariff_eur_per_kwh)):
        values = np.asarray(given, float)
        if values.ndim > 1 or (values.ndim == 1 and len(values) != steps):
            faults.append(Fault("station", key, f"has shape {values.shape}", f"give one number or {steps} of them"))
            values = np.zeros(())
        arrays.append(np.broadcast_to(values, steps))
    faults += _station_faults(steps, step_s, arrays[0], arrays[1], peak_eur_per_kw)
    if faults:
        raise InputError(faults)
    return Station(step_s, arrays[0], arrays[1], peak_eur_per_kw)


def _station_faults(steps: int, step_s: float, capacity_kw: Float, tariff: Float, peak: float) -> Iterator[Fault]:
    if steps < 1:
        yield Fault("station", "steps", f"is {steps}", "give at least one step")
    if not 0.0 < step_s < np.inf:
        yield Fault("station", "step_s", f"is {step_s}", "give seconds above 0")
    if (np.isnan(capacity_kw) | (capacity_kw < 0)).any():
        yield Fault("station", "capacity_kw", "is negative or no number", "give kW, 0 or more")
    if not np.isfinite(tariff).all():
        yield Fault("station", "tariff_eur_per_kwh", "is not finite", "give a price for every step")
    if not 0.0 <= peak < np.inf:
        yield Fault("station", "peak_eur_per_kw", f"is {peak}", "give EUR/kW, 0 or more")


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
    faults = _number_faults(requests, where)
    names = np.array(requests.vehicle, dtype=object)
    _, first, group = np.unique(names.astype(str), return_index=True, return_inverse=True)
    again = first[group] != np.arange(len(names)) if len(names) else np.zeros(0, bool)
    faults += row_faults(again, names, where, "vehicle", "{!r} is there twice", "give every vehicle a name of its own")
    arrival, departure = requests.arrival_step, requests.departure_step
    backwards = departure <= arrival
    faults += row_faults(
        backwards, departure, where, "departure", "step {:.6g} is not after the arrival", "let it stay for some time"
    )
    late = (departure > steps + 1e-9) & ~backwards
    remedy = f"make the horizon longer than {steps} steps, or end the stay there"
    faults += row_faults(late, departure, where, "departure", "step {:.6g} is after the horizon", remedy)
    need, room = requests.energy_need_kwh, requests.headroom_kwh
    above = (need > room + ROUNDING_KWH) & (room >= 0)
    text = [f"{wanted:.6g} kWh wanted, {free:.6g} kWh of room in the battery" for wanted, free in zip(need, room)]  # noqa: B905
    faults += row_faults(above, text, where, "energy_need_kwh", "{}", "ask for what the battery can take")
    return faults


def _number_faults(requests: Requests, where: Place) -> list[Fault]:
    faults: list[Fault] = []
    for key in ("power_max_kw", "energy_need_kwh", "battery_kwh", "soe_arrival_kwh", "arrival_step", "power_min_kw"):
        values = getattr(requests, key)
        least = "above 0" if key in ("power_max_kw", "battery_kwh") else "0 or more"
        bad = ~np.isfinite(values) | (values < 0) | ((values == 0) & (least == "above 0"))
        faults += row_faults(bad, values, where, key, "is {:.6g}", f"give a number, {least}")
    faults += row_faults(
        ~np.isfinite(requests.departure_step), requests.departure_step, where, "departure_step", "is {}", "give a step"
    )
    wrong = ~((requests.efficiency > 0) & (requests.efficiency <= 1))
    faults += row_faults(
        wrong, requests.efficiency, where, "efficiency", "is {:.6g}", "give a share above 0, at most 1"
    )
    high = (requests.power_min_kw > requests.power_max_kw) & (requests.power_max_kw > 0)
    text = [f"{low:.6g} kW" for low in requests.power_min_kw]
    faults += row_faults(high, text, where, "power_min_kw", "{} is above the largest power", "lower it")
    over = requests.soe_arrival_kwh > requests.battery_kwh
    faults += row_faults(
        over,
        requests.soe_arrival_kwh,
        where,
        "soe_arrival_kwh",
        "{:.6g} kWh is more than the battery holds",
        "lower it",
    )
    return faults
