"""Instances drawn from a seed: users and stations in a square town."""

from __future__ import annotations

import numpy as np

from cosim.controllers.pricing.instance import WHERE, Instance, make_instance, servable_levels
from cosim.errors import Fault, InputError, refuse

TOWN_KM, SPEED_KM_PER_H = 20.0, 40.0
BUDGET_EUR_PER_KWH = (0.25, 0.80)
LEVELS = (5, 10)
DEMAND_KWH = (10.0, 60.0)
POWER_KW = (11.0, 22.0, 50.0, 150.0)
SPARE = 1.5
WAIT_H = 0.25
_ATTEMPTS = 100


def generate(
    users: int,
    stations: int,
    rng: np.random.Generator,
    *,
    spare: float = SPARE,
    power_kw: tuple[float, ...] = POWER_KW,
) -> Instance:
    """Draw an instance.

    Parameters
    ----------
    users, stations : int
        Size.
    rng : numpy.random.Generator
        Source of every draw.
    spare : float
        Capacity of all stations together over the energy of all users, shared equally.
    power_kw : tuple of float
        Powers that a station may have [kW].

    Returns
    -------
    Instance
        Users and stations uniform in a square of 20 km, straight ways at 40 km/h; 5 to 10 budgets from 0.25 to 0.80
        EUR/kWh; needs uniform from 10 to 60 kWh, needs and capacities in whole kWh; waiting such that an even share of
        users waits a quarter of an hour each. All of this is an assumption of this project: the slides give none.

    Raises
    ------
    InputError
        Where sizes are below 1, or a station is too small for the needs drawn, whatever the prices.
    """
    faults = [
        Fault(WHERE, key, f"is {value}", "give a whole number from 1")
        for key, value in (("users", users), ("stations", stations))
        if value < 1
    ]
    if not 0.0 < spare < np.inf:
        faults.append(Fault(WHERE, "spare", f"is {spare}", "give capacity over demand, such as 1.1, 1.5 or 3"))
    refuse(faults)
    for _ in range(_ATTEMPTS):
        instance = _draw(users, stations, rng, spare, power_kw)
        if servable_levels(instance).any():
            return instance
    problem = f"{_ATTEMPTS} draws of {users} users and {stations} stations had no price that could be served"
    raise InputError(Fault(WHERE, "spare", problem, "give more capacity or fewer stations"))


def _draw(users: int, stations: int, rng: np.random.Generator, spare: float, power_kw: tuple[float, ...]) -> Instance:
    levels = int(rng.integers(LEVELS[0], LEVELS[1] + 1))
    budget = np.round(np.linspace(*BUDGET_EUR_PER_KWH, levels), 2)
    demands_kwh = np.round(rng.uniform(*DEMAND_KWH, users))
    home_km, station_km = rng.uniform(0.0, TOWN_KM, (users, 2)), rng.uniform(0.0, TOWN_KM, (stations, 2))
    apart_km = np.linalg.norm(home_km[:, None, :] - station_km, axis=2)
    return make_instance(
        budgets=rng.choice(budget, users),
        demands_kwh=demands_kwh,
        travel_h=apart_km / SPEED_KM_PER_H,
        power_kw=rng.choice(power_kw, stations),
        capacity_kwh=np.full(stations, np.floor(spare * demands_kwh.sum() / stations)),
        beta_h=np.full(stations, WAIT_H * stations / users),
        refuse_unservable=False,
    )
