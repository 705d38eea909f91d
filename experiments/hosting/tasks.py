"""What is done once each: a week of the year, the search of one placement, its whole weeks."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from functools import lru_cache
from hashlib import sha256
from json import dumps, loads
from typing import Any

from cosim.errors import CosimError, RunStoppedError
from cosim.experiments.hosting.config import HostingConfig, Technology
from cosim.experiments.hosting.measures import figures, places
from cosim.experiments.hosting.search import search_days
from cosim.experiments.hosting.worlds import (
    SEASONS,
    CriticalDay,
    Network,
    collapsed,
    installed_kw,
    peaks_of_days,
    site,
    world,
    worst_day,
)
from cosim.experiments.study.code import code_version
from cosim.experiments.study.tasks import Task
from cosim.experiments.study.world import status_of

YEAR, SEARCH, WEEK = "year", "search", "week"
COLLAPSE = "collapse"
WEEKS_OF_A_YEAR = 53
_NEW_YEAR = date(2026, 1, 1)
_SHARES = ("ev", "pv", "heat_pump", "battery")
_HERE = "cosim.experiments.hosting.tasks"
_DOES = {YEAR: "year", SEARCH: "placement", WEEK: "week"}


def year_task(network: Network, technology: Technology, homes: int, week: int, step_min: int) -> Task:
    """A week of the year of `none`."""
    payload = {"network": network, "technology": technology, "homes": homes, "week": week, "step_min": step_min}
    return _task(YEAR, payload)


def search_task(
    network: Network,
    technology: Technology,
    controller: str,
    placement: int,
    config: HostingConfig,
    days: Sequence[CriticalDay],
    bright: float,
    typical_homes: int,
) -> Task:
    """Search of one placement.

    ``bright`` is the share of a year's sun that days as bright as the critical one have; with ``typical_homes`` the
    worst days are chosen.
    """
    judged = {
        "violation": _dumped(config.violation), "service": _dumped(config.service),
        "grid": config.method.grid, "options": config.options.get(controller, {}),
    }  # fmt: skip
    payload = {
        "network": network, "technology": technology, "controller": controller, "placement": placement,
        "days": list(days), "bright": bright, "typical_homes": typical_homes,
        "step_min": config.method.year_step_minutes, **judged,
    }  # fmt: skip
    return _task(SEARCH, payload)


def week_task(searched: Task, homes: int) -> Task:
    """The whole weeks around the critical days of a search, at one number of homes."""
    return _task(WEEK, {**searched.payload, "homes": homes, "days": [when.week for when in searched.payload["days"]]})


def _dumped(criteria: Mapping[str, Any]) -> dict[str, Any]:
    return {name: one.model_dump() for name, one in criteria.items()}


def _task(kind: str, payload: dict[str, Any]) -> Task:
    network: Network = payload["network"]
    known = {**payload, "network": network._replace(circuit="", base={})}  # whose contents it has, wherever these lie
    told = dumps([kind, known, code_version()], sort_keys=True, default=str)
    return Task(sha256(told.encode()).hexdigest()[:32], f"{_HERE}:{_DOES[kind]}", payload, (_about(kind, payload),))


def _about(kind: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """What every row of a task says of it; a year is one of no control."""
    network: Network = payload["network"]
    return {
        "kind": kind, "feeder": network.feeder, "network": network.name, "technology": payload["technology"],
        "controller": payload.get("controller", "none"), "placement": payload.get("placement", 1),
    }  # fmt: skip


def year(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run one week without control; a row for each of its days."""
    first = _NEW_YEAR + timedelta(days=7 * payload["week"])
    days = min(7, (date(_NEW_YEAR.year + 1, 1, 1) - first).days)
    same = payload["network"], payload["technology"], payload["homes"]
    rows = peaks_of_days(*same, 1, first, days, payload["step_min"])
    return [{**_about(YEAR, payload), **row} for row in rows]


def week(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Run the whole weeks; a row for each."""
    config = _config(payload)
    return [_judged(payload, config, payload["homes"], when, WEEK) for when in payload["days"]]


def placement(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Search one placement; a row for every world that was run.

    Its own worst days of the weeks around the critical days are run: what is drawn differs from placement to placement.
    """
    config, days = _config(payload), [_own_day(payload, when) for when in payload["days"]]
    rows: dict[tuple[int, CriticalDay], dict[str, Any]] = {}

    def hosted(homes: int, when: CriticalDay) -> bool:
        if (homes, when) not in rows:
            rows[homes, when] = _judged(payload, config, homes, when, SEARCH)
        return bool(rows[homes, when]["hosted"])

    found = search_days(len(site(payload["network"]).homes), payload["grid"], days, hosted)
    return [{**row, "decides": homes in found.tested} for (homes, _), row in rows.items()]


def _own_day(payload: Mapping[str, Any], when: CriticalDay) -> CriticalDay:
    """Worst day of a placement in the week around a critical day."""
    typical = [payload[name] for name in ("network", "technology", "typical_homes", "placement", "step_min")]
    return _worst_of(dumps([*typical, when], sort_keys=True, default=str))


@lru_cache(maxsize=8)  # the same under every controller
def _worst_of(asked: str) -> CriticalDay:
    network, technology, homes, placement, step_min, told = loads(asked)
    when = CriticalDay(*told)
    first, days = date.fromisoformat(when.week.date), when.week.days
    return worst_day(peaks_of_days(Network(*network), technology, homes, placement, first, days, step_min), when.kind)


def _config(payload: Mapping[str, Any]) -> HostingConfig:
    return HostingConfig.model_validate({name: payload[name] for name in ("violation", "service")})


def _judged(
    payload: Mapping[str, Any], config: HostingConfig, homes: int, when: CriticalDay, kind: str
) -> dict[str, Any]:
    """Run one world and say whether it is hosted."""
    network, technology, began = payload["network"], payload["technology"], time.process_time()
    made = world(network, technology, homes, payload["placement"], when)
    scenario, count = made.day.scenario, len(made.day.feeder.homes)
    row: dict[str, Any] = {
        **_about(kind, payload), "date": when.date, "days": when.days,
        "season": SEASONS[when.kind], "weight": 1.0, "homes": homes, "penetration_percent": 100.0 * homes / count,
        **{f"{name}_share": getattr(scenario, name).share for name in _SHARES},
        "forecast": scenario.forecast.kind, "noncompliant_share": scenario.households.noncompliant_share,
        "installed_kw": installed_kw(technology, made.day.exogenous),
    }  # fmt: skip
    try:
        run = made.run(payload["controller"], payload["options"])
    except RunStoppedError as stopped:
        if not collapsed(stopped):
            raise
        told = {"status": "collapsed", "reason": str(stopped), "broken": COLLAPSE, "where": network.feeder}
        return {**row, **told, "hosted": False, "run_s": time.process_time() - began}
    if run.invalid:
        raise CosimError(f"{run.label}: {run.invalid}")
    board = figures(run)
    board["pv_curtailed_year_percent"] = payload["bright"] * board["pv_curtailed_max_home_percent"]
    broken = config.broken(board)
    worst = places(run) if broken else {}
    where = "; ".join(worst.get(config.criteria[name].metric, "?") for name in broken)
    return {
        **row, "status": "ok", **status_of(run), "hosted": not broken, "broken": ",".join(broken),
        "where": where, "run_s": time.process_time() - began, **board,
    }  # fmt: skip
