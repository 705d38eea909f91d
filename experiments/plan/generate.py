"""Demand of a day at a charging station, drawn from a seed: the table that ``cosim plan`` reads."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.random import Generator

from cosim.controllers.planner.requests import EFFICIENCY

POWER_KW = (6.0, 7.0, 11.0, 22.0)
BATTERY_KWH = (30.0, 52.0, 88.0, 100.0)
NEED_KWH = (5.0, 80.0)
ARRIVAL_H, STAY_H, CLOSED_H = (5.0, 16.0), (1.0, 5.0), 23.0
FIRST_DAY = datetime(2025, 8, 18)


def generate_demand(
    count: int, rng: Generator, *, feasible: bool = True, efficiency: float = EFFICIENCY
) -> pd.DataFrame:
    """Requests as seed 002 draws them, with the seed's column names.

    Chargers and batteries are picked evenly from ``POWER_KW`` and ``BATTERY_KWH``; arrival, stay and need are uniform;
    nobody stays after 23:00.

    Parameters
    ----------
    count : int
        Vehicles.
    rng : Generator
        Of every draw.
    feasible : bool
        Needs are lowered to what each vehicle, alone, could get in its battery. Otherwise to rating × stay only, as
        the seed did, and the column ``feasible`` tells which can be met.
    efficiency : float
        Battery energy per energy drawn.

    Returns
    -------
    DataFrame
        ``vehicle, powerNom [kW], energyRequired [kWh], energyMax [kWh], arrivalTime, departureTime,
        parkingDuration [h], feasible``; times to the second.
    """
    power_kw, battery_kwh = rng.choice(POWER_KW, count), rng.choice(BATTERY_KWH, count)
    arrival_s = np.round(3600.0 * rng.uniform(*ARRIVAL_H, count))
    departure_s = np.minimum(np.round(arrival_s + 3600.0 * rng.uniform(*STAY_H, count)), 3600.0 * CLOSED_H)
    stay_h = (departure_s - arrival_s) / 3600.0
    most_kwh = np.minimum(power_kw * stay_h * (efficiency if feasible else 1.0), battery_kwh)
    need_kwh = np.floor(1e4 * np.minimum(rng.uniform(*NEED_KWH, count), most_kwh)) / 1e4  # down: stays feasible
    return pd.DataFrame(
        {
            "vehicle": np.arange(count),
            "powerNom": power_kw,
            "energyRequired": need_kwh,
            "energyMax": battery_kwh,
            "arrivalTime": [FIRST_DAY + timedelta(seconds=second) for second in arrival_s.tolist()],
            "departureTime": [FIRST_DAY + timedelta(seconds=second) for second in departure_s.tolist()],
            "parkingDuration": np.round(stay_h, 5),
            "feasible": need_kwh <= efficiency * power_kw * stay_h + 1e-9,
        }
    )
