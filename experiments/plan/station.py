"""The connection of a plan: capacity, prices, load and sun beside the chargers, as numbers or from files."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

from cosim.contract import Float
from cosim.controllers.planner.requests import MOST_KW, Station, make_station
from cosim.errors import Fault, InputError, collecting, refuse
from cosim.experiments.plan.config import PlanConfig
from cosim.experiments.plan.read import Demand
from cosim.feeders.clock import Clock
from cosim.feeders.prices import PRICE
from cosim.feeders.series import Quantity, read_series

ANY_MIDNIGHT = datetime(2025, 1, 1)
CAPACITY, LOAD, SUN = (Quantity(name, "kW", 0.0, MOST_KW) for name in ("capacity", "load", "generation"))


def read_station(config: PlanConfig, demand: Demand) -> tuple[Station, list[str]]:
    """Capacity and prices over the horizon of the demand, and what is doubtful in their files.

    What is left for charging is the least of each step, minute by minute: capacity, less load, and generation on top.
    Prices and the sun that is charged with are means.

    Raises
    ------
    InputError
        With all faults of all files; see `read_series`.
    """
    faults: list[Fault] = []
    notes: list[str] = []

    def minutes(path: Path | None, key: str, quantity: Quantity, otherwise: float) -> Float:
        """Values of each step minute by minute, shape (step, minute)."""
        if path is None:
            return np.full((demand.steps, 1), otherwise)
        with collecting(faults):
            values, doubts = _read(path, key, quantity, demand, round(config.time_step_s / 60.0))
            notes.extend(doubts)
            return values
        return np.full((demand.steps, 1), otherwise)

    capacity_kw = minutes(config.capacity, "--capacity", CAPACITY, config.capacity_kw or 0.0)
    price = minutes(config.tariff, "--tariff", PRICE, config.tariff_eur_per_kwh)
    site_kw = minutes(config.site_load, "--site-load", LOAD, 0.0) - minutes(config.pv, "--pv", SUN, 0.0)
    refuse(faults)
    left_kw = (capacity_kw - site_kw).min(axis=1)
    if (left_kw < 0).any():
        notes.append(f"the site alone exceeds the capacity in {(left_kw < 0).sum()} steps: no charging there")
    station = make_station(
        demand.steps, np.maximum(left_kw, 0.0), step_s=config.time_step_s, tariff_eur_per_kwh=price.mean(axis=1),
        peak_eur_per_kw=config.peak_eur_per_kw, site_kw=site_kw.mean(axis=1), peak_so_far_kw=config.peak_so_far_kw,
    )  # fmt: skip
    return station, notes


def _read(path: Path, key: str, quantity: Quantity, demand: Demand, step_min: int) -> tuple[Float, tuple[str, ...]]:
    start = demand.start
    zone = None if start is None or start.tzinfo is None else str(start.tzinfo)
    begin = ANY_MIDNIGHT if start is None else start.tz_localize(None).to_pydatetime()
    series = read_series(path, key, quantity, Clock(begin, zone))
    if len(series.names) != 1:
        problem = f"has {len(series.names)} columns of {quantity.unit}"
        raise InputError(Fault(str(path), key, problem, "keep one, and `time` where it is dated"))
    if start is None and series.start is not None:
        problem = "has dates, and the sessions have steps only"
        raise InputError(Fault(str(path), key, problem, "leave `time` out: whole days from midnight"))
    return series.over(begin, demand.steps * step_min)[:, 0].reshape(demand.steps, step_min), series.warnings
