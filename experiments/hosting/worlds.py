"""One world of a hosting study: so many homes of a placement with the technology, on one day, under one controller."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from cosim import Trajectory
from cosim.contract import Engine, Exogenous, Feeder
from cosim.experiments.compose import compose
from cosim.experiments.day import Day
from cosim.experiments.devices import rated_kw
from cosim.experiments.hosting.config import Technology, scenario_of
from cosim.experiments.scenario import Run as RunSpec
from cosim.experiments.study.world import feeder_of
from cosim.experiments.study.worlds import AS_BUILT as AS_BUILT
from cosim.measures import window_mean
from cosim.plugins import shipped
from cosim.stepper import ENGINES
from cosim.threads import ONE_THREAD

IMPORT, EXPORT = "import", "export"
SEASONS = {IMPORT: "winter_peak", EXPORT: "summer_noon"}
_WINDOW_MIN = 30.0
_NONE = {"controller": "none"}


class Network(NamedTuple):
    """A feeder as it is run.

    Attributes
    ----------
    name : str
        ``as_built``, or a reinforcement's.
    feeder : str
        Name or path that was asked for.
    circuit : str
        The same, or the folder of the reinforced circuit.
    base : dict
        What all its worlds have, as in a scenario.
    engine : str
        Power flow that can represent it.
    """

    name: str
    feeder: str
    circuit: str
    base: dict[str, Any]
    engine: str = "reduced"


class CriticalDay(NamedTuple):
    """A day that is run for every penetration.

    Attributes
    ----------
    kind : str
        ``import``: from noon on, with evening and night inside; ``export``: from midnight on, with noon inside.
    date : str
        Of its first step, ISO.
    days : int
        1; 7 of a week.
    """

    kind: str
    date: str
    days: int = 1

    @property
    def start(self) -> datetime:
        """Local clock of its first step."""
        return datetime.fromisoformat(self.date) + timedelta(hours=12 if self.kind == IMPORT else 0)

    @property
    def week(self) -> CriticalDay:
        """The week around it, three days before and three after."""
        return CriticalDay(self.kind, (date.fromisoformat(self.date) - timedelta(days=3)).isoformat(), 7)


@lru_cache(maxsize=8)  # the networks of one feeder, which are run in turns
def _site(feeder: str, base: str, engine: str) -> tuple[Feeder, Engine]:
    """Read a feeder once, and make its power flow."""
    scenario = scenario_of(json.loads(base), name="hosting", feeder=feeder, start=datetime(2026, 1, 15), runs=[_NONE])
    read = feeder_of(scenario)
    return read, shipped(ENGINES[engine])(read)


def site(network: Network) -> Feeder:
    """Feeder of a network, read once a process; InputError where it cannot be."""
    return _site(network.circuit, json.dumps(network.base, sort_keys=True, default=str), network.engine)[0]


class World(NamedTuple):
    """A composed world, and the power flow of its feeder."""

    day: Day
    engine: str | Engine

    def run(self, controller: str, options: Mapping[str, Any]) -> Trajectory:
        """Run it under a controller; raises as `cosim.experiments.day.Day.run_spec`."""
        spec = RunSpec(controller=controller, options=dict(options))
        return self.day.run_spec(spec, engine=self.engine).trajectory


def world(network: Network, technology: Technology, homes: int, placement: int, when: CriticalDay, **own: Any) -> World:
    """Compose a world.

    Parameters
    ----------
    network : Network
        The feeder.
    technology : str
        Table of the scenario whose share is set.
    homes : int
        So many have it.
    placement : int
        Seed of all that is drawn.
    when : CriticalDay
        The day, or week.
    **own
        Other keys of the scenario.
    """
    base = json.dumps(network.base, sort_keys=True, default=str)
    feeder, engine = _site(network.circuit, base, network.engine)
    scenario = scenario_of(
        network.base, name="hosting", feeder=network.circuit, seed=placement, start=when.start, runs=[_NONE],
        horizon_h=24.0 * when.days, **{technology: {"share": homes / len(feeder.homes)}}, **own,
    )  # fmt: skip
    day = compose(scenario, feeder=feeder)
    # chargers on single phases are a part of the wiring, drawn with the day
    return World(day, engine if day.feeder is feeder else network.engine)


def installed_kw(technology: Technology, day: Exogenous) -> float:
    """Rated power of all units of a technology on a day [kW]."""
    if technology == "pv":
        return float(day.inverter_kva.sum())
    if technology == "ev":
        of_home = np.zeros(day.demand_kw.shape[1])
        np.maximum.at(of_home, day.sessions.customer, day.sessions.charger_kw)
        return float(of_home.sum())
    return float(rated_kw(day).get("heat_pump", np.zeros(1)).sum())


def peaks_of_days(
    network: Network, technology: Technology, homes: int, placement: int, first: date, days: int, step_min: int
) -> list[dict[str, Any]]:
    """Run days without control, and tell the peaks of each.

    Returns
    -------
    list of dict
        For each day: ``import_kw`` and ``export_kw``, largest half-hour means of net power of all customers,
        ``import_date`` and ``export_date``, the first day of a critical day with that peak inside (a peak before noon
        is of the night that began the day before), and ``available_kwh`` of the sun.
    """
    when = CriticalDay(EXPORT, first.isoformat(), days)
    with ONE_THREAD:
        made = world(
            network, technology, homes, placement, when, step_min=step_min, control_min=step_min,
            grid={"on_collapse": "shed"},
        )  # fmt: skip
        run = made.run("none", {})
    of_day = round(1440 / step_min)
    rows = []
    for number in range(when.days):
        some, day = slice(number * of_day, (number + 1) * of_day), first + timedelta(days=number)
        net_kw = window_mean(run.net_kw[some].sum(axis=1), step_min, _WINDOW_MIN)
        night_before = 2 * int(net_kw.argmax()) < len(net_kw)
        rows.append({
            "import_kw": max(float(net_kw.max()), 0.0),
            "import_date": (day - timedelta(days=1) if night_before else day).isoformat(),
            "export_kw": max(float(-net_kw.min()), 0.0),
            "export_date": day.isoformat(),
            "available_kwh": float(run.exogenous.pv_available_kw[some].sum() * run.step_h),
        })  # fmt: skip
    return rows


def worst_day(rows: Sequence[Mapping[str, Any]], kind: str) -> CriticalDay:
    """Return the day with the largest peak of its kind."""
    return CriticalDay(kind, str(max(rows, key=lambda row: row[f"{kind}_kw"])[f"{kind}_date"]))
