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
    Prices and the sun that is charged with are means. Where a file has columns L1, L2 and L3, or sessions say their
    phase, each phase has its limit, too: of files with one column a third.

    Raises
    ------
    InputError
        With all faults of all files; see `read_series`.
    """
    faults: list[Fault] = []
    notes: list[str] = []

    def minutes(path: Path | None, key: str, quantity: Quantity, otherwise: float) -> Float:
        """Values of each step minute by minute, shape (step, minute, 1), or (step, minute, 3) of three phases."""
        if path is None:
            return np.full((demand.steps, 1, 1), otherwise)
        with collecting(faults):
            values, doubts = _read(path, key, quantity, demand, round(config.time_step_s / 60.0))
            notes.extend(doubts)
            return values
        return np.full((demand.steps, 1, 1), otherwise)

    capacity_kw = minutes(config.capacity, "--capacity", CAPACITY, config.capacity_kw or 0.0)
    price = minutes(config.tariff, "--tariff", PRICE, config.tariff_eur_per_kwh)
    load_kw, sun_kw = minutes(config.site_load, "--site-load", LOAD, 0.0), minutes(config.pv, "--pv", SUN, 0.0)
    refuse(faults)
    series = (capacity_kw, load_kw, sun_kw)
    by_phase = demand.says_phase or any(one.shape[2] > 1 for one in series)
    if by_phase and any(one.shape[2] == 1 and one.any() for one in series):
        told = "phases are told apart: a third of what is given in one sum (capacity, load, sun) counts on each"
        notes.append(f"{told} → files with columns L1, L2, L3 say otherwise")
    whole_kw = [one.sum(axis=2, keepdims=True) for one in series]
    each_kw = [one if one.shape[2] > 1 else np.repeat(one / 3.0, 3, axis=2) for one in series]
    left_kw, phase_kw = ((most - (load - sun)).min(axis=1) for most, load, sun in (whole_kw, each_kw))
    over = (left_kw < 0).any(axis=1) | by_phase & (phase_kw < 0).any(axis=1)
    if over.any():
        notes.append(f"the site alone exceeds the capacity in {over.sum()} steps: no charging there")
    station = make_station(
        demand.steps, np.maximum(left_kw[:, 0], 0.0), step_s=config.time_step_s,
        tariff_eur_per_kwh=price.mean(axis=(1, 2)), peak_eur_per_kw=config.peak_eur_per_kw,
        site_kw=(whole_kw[1] - whole_kw[2]).mean(axis=(1, 2)), peak_so_far_kw=config.peak_so_far_kw,
        phase_kw=np.maximum(phase_kw, 0.0) if by_phase else None,
    )  # fmt: skip
    return station, notes


def _read(path: Path, key: str, quantity: Quantity, demand: Demand, step_min: int) -> tuple[Float, tuple[str, ...]]:
    start = demand.start
    zone = None if start is None or start.tzinfo is None else str(start.tzinfo)
    begin = ANY_MIDNIGHT if start is None else start.tz_localize(None).to_pydatetime()
    series = read_series(path, key, quantity, Clock(begin, zone))
    order = np.argsort(np.array(series.names))
    by_phase = quantity is not PRICE and [name.strip().upper() for name in sorted(series.names)] == ["L1", "L2", "L3"]
    if len(series.names) != 1 and not by_phase:
        problem = f"has {len(series.names)} columns of {quantity.unit}"
        remedy = "keep one (or L1, L2, L3 for power by phase), and `time` where it is dated"
        raise InputError(Fault(str(path), key, problem, remedy))
    if start is None and series.start is not None:
        problem = "has dates, and the sessions have steps only"
        raise InputError(Fault(str(path), key, problem, "leave `time` out: whole days from midnight"))
    values = series.over(begin, demand.steps * step_min)[:, order]
    return values.reshape(demand.steps, step_min, len(order)), series.warnings
