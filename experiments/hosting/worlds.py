"""One world of a hosting study: so many homes of a placement with the technology, on one day, under one controller."""

from __future__ import annotations

import json
from collections.abc import Mapping
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


def week_of_a_year(
    network: Network, technology: Technology, homes: int, week: int, step_min: int
) -> list[dict[str, Any]]:
    """Run one week of a year without control, and tell each of its days.

    Returns
    -------
    list of dict
        ``date``, ``import_kw`` and ``export_kw``, largest half-hour means of net power of all customers, and
        ``available_kwh`` of the sun.
    """
    first = date(2026, 1, 1) + timedelta(days=7 * week)
    when = CriticalDay(EXPORT, first.isoformat(), min(7, (date(2027, 1, 1) - first).days))
    with ONE_THREAD:
        made = world(
            network, technology, homes, 1, when, step_min=step_min, control_min=step_min, draws_from=date(2026, 1, 1)
        )
        run = made.run("none", {})
    of_day = round(1440 / step_min)
    rows = []
    for number in range(when.days):
        some = slice(number * of_day, (number + 1) * of_day)
        net_kw = window_mean(run.net_kw[some].sum(axis=1), step_min, _WINDOW_MIN)
        rows.append({
            "date": (first + timedelta(days=number)).isoformat(),
            "import_kw": max(float(net_kw.max()), 0.0),
            "export_kw": max(float(-net_kw.min()), 0.0),
            "available_kwh": float(run.exogenous.pv_available_kw[some].sum() * run.step_h),
        })  # fmt: skip
    return rows
