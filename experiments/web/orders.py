"""Requests of planning as `cosim plan` and `replan` take them."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from cosim.errors import Fault, InputError
from cosim.experiments.plan.config import PlanConfig
from cosim.experiments.plan.options import ReadOptions
from cosim.experiments.web.schemas import PlanRequest, Series, SessionReading
from cosim.experiments.web.settings import Settings
from cosim.folder import write_whole

_SERIES = ("capacity", "tariff", "site_load", "pv")


def read_options(reading: SessionReading, request: PlanRequest | None = None) -> ReadOptions:
    """Options of reading, by the same names, with what a request says of them."""
    said = {} if request is None else {"min_power_kw": request.min_power_kw, "day": request.day or reading.day}
    return ReadOptions(**{**reading.model_dump(), **said})


def config_of(
    request: PlanRequest, reading: SessionReading, sessions: Path, folder: Path, settings: Settings
) -> PlanConfig:
    """Configuration of `cosim plan` for a request and how its sessions are read; its series are written into a folder.

    Raises
    ------
    InputError
        With everything that does not go together.
    """
    asked = vars(read_options(reading, request))
    asked |= {name: getattr(request, name) for name in PlanRequest.model_fields if name not in (*_SERIES, "day")}
    asked["columns"] = ",".join(f"{quantity}={column}" for quantity, column in reading.columns.items()) or None
    asked |= {name: _written(folder / f"{name}.csv", series) for name in _SERIES if (series := getattr(request, name))}
    if request.capacity_kw == "unlimited":
        asked["capacity_kw"] = math.inf
    limit_s = settings.plan_time_limit_s
    asked["time_limit_s"] = limit_s if request.time_limit_s is None else min(request.time_limit_s, limit_s)
    return PlanConfig(demand=sessions, **asked)


def series_text(series: Series, key: str) -> str:
    """Series as the CSV file that ``cosim plan`` reads; InputError where its start is no time."""
    numbers = series.values or []
    if series.csv is not None:
        return series.csv
    if series.start is None:  # minutes from midnight
        return "value\n" + "\n".join(f"{value!r}" for value in np.repeat(numbers, series.step_min).tolist())
    try:
        begin = datetime.fromisoformat(str(series.start))
        times = [begin + timedelta(minutes=k * series.step_min) for k in range(len(numbers))]
    except (ValueError, OverflowError):
        problem, remedy = f"is no ISO time: {series.start!r}", "write 2026-05-15T00:00, or with an offset +02:00"
        raise InputError(Fault(key, "start", problem, remedy)) from None
    rows = (f"{time.isoformat()},{value!r}" for time, value in zip(times, numbers, strict=True))
    return "\n".join(["time,value", *rows])


def _written(path: Path, series: Series) -> Path:
    """Write a series as a file that ``cosim plan`` reads."""
    text = series_text(series, path.stem)
    write_whole(path, lambda temporary: temporary.write_text(f"{text}\n", encoding="utf-8"))
    return path
