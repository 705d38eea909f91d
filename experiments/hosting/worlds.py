"""One world of a hosting study: so many homes of a placement with the technology, on one day, under one controller."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from cosim import Trajectory
from cosim.contract import Exogenous, Feeder
from cosim.errors import PowerFlowError, RunStoppedError
from cosim.experiments.compose import compose, read_feeder
from cosim.experiments.day import Day
from cosim.experiments.devices import rated_kw
from cosim.experiments.hosting.config import Technology, scenario_of
from cosim.experiments.scenario import Run as RunSpec
from cosim.experiments.study.worlds import AS_BUILT as AS_BUILT
from cosim.experiments.study.worlds import Contents
from cosim.feeders.find import names as shipped_feeders
from cosim.measures import window_mean
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
        The same, or the folder of the reinforced circuit; a path is absolute in `as_it_lies`.
    base : dict
        What all its worlds have, as in a scenario.
    engine : str
        Power flow that can represent it.
    contents : str
        Hash of its circuit, and of the files that the base names: an edited one is another network at the same place.
    """

    name: str
    feeder: str
    circuit: str
    base: dict[str, Any]
    engine: str = "reduced"
    contents: str = ""

    def as_it_lies(self) -> Network:
        """Return it with the hash of its files as they are now; InputError where the circuit is not there."""
        held = Contents().of({"feeder": self.circuit, **self.base})
        text = json.dumps(held, sort_keys=True, default=str)
        circuit = self.circuit if self.circuit in shipped_feeders() else str(Path(self.circuit).resolve())
        return self._replace(circuit=circuit, contents=sha256(text.encode()).hexdigest()[:32])


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
def _site(feeder: str, base: str, _contents: str) -> Feeder:
    scenario = scenario_of(json.loads(base), name="hosting", feeder=feeder, start=datetime(2026, 1, 15), runs=[_NONE])
    return read_feeder(scenario)


def site(network: Network) -> Feeder:
    """Feeder of a network, read once a process; InputError where it cannot be."""
    return _site(network.circuit, json.dumps(network.base, sort_keys=True, default=str), network.contents)


class World(NamedTuple):
    """A composed world, and the name of its power flow."""

    day: Day
    engine: str

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
        Other keys of the scenario, also over those of the day.
    """
    feeder = site(network)
    told = {"horizon_h": 24.0 * when.days, technology: {"share": homes / len(feeder.homes)}, **own}
    scenario = scenario_of(
        network.base, name="hosting", feeder=network.circuit, seed=placement, start=when.start, runs=[_NONE], **told
    )
    return World(compose(scenario, feeder=feeder), network.engine)


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
        For each day: ``date``; ``import_kw`` and ``export_kw``, largest half-hour means of net power of all customers
        in what is run of it as a critical day of that kind, from noon or from midnight on; ``import_lost_kwh`` and
        ``export_lost_kwh``, what was not served in steps without a power flow, by their direction (of both inf
        where nothing could be); and ``available_kwh`` of the sun.
    """
    if not days:
        return []
    with ONE_THREAD:
        made = world(
            network, technology, homes, placement, CriticalDay(EXPORT, first.isoformat()), step_min=step_min,
            control_min=step_min, horizon_h=24.0 * days + 12.0, grid={"on_collapse": "shed"},
        )  # fmt: skip
        try:
            run, stopped = made.run("none", {}), None
        except RunStoppedError as error:
            if not collapsed(error):
                raise
            run, stopped = cast("Trajectory", error.trajectory), error
    of_day = round(1440 / step_min)
    steps = of_day * days + of_day // 2
    sun_kw = made.day.exogenous.pv_available_kw.sum(axis=1)  # of a run that stopped, beyond its end too
    sun_kw = sun_kw.reshape(steps, -1).mean(axis=1)
    net_kw, lost_kwh = np.zeros(steps), {kind: np.zeros(steps) for kind in (IMPORT, EXPORT)}
    net_kw[: run.steps] = run.net_kw.sum(axis=1)
    for one in run.collapses:
        lost_kwh[IMPORT if one.asked_kw.sum() >= 0.0 else EXPORT][one.step] = one.not_served_kwh.sum()
    if stopped:
        for of_kind in lost_kwh.values():
            of_kind[run.steps] = np.inf
    known = min(run.steps // of_day + 1, days) if stopped else days
    rows = []
    for number in range(known):
        some = slice(number * of_day, (number + 1) * of_day)
        night = slice(some.start + of_day // 2, some.stop + of_day // 2)
        rows.append({
            "date": (first + timedelta(days=number)).isoformat(),
            "import_kw": max(float(window_mean(net_kw[night], step_min, _WINDOW_MIN).max()), 0.0),
            "import_lost_kwh": float(lost_kwh[IMPORT][night].sum()),
            "export_kw": max(float(-window_mean(net_kw[some], step_min, _WINDOW_MIN).min()), 0.0),
            "export_lost_kwh": float(lost_kwh[EXPORT][some].sum()),
            "available_kwh": float(sun_kw[some].sum() * step_min / 60.0),
        })  # fmt: skip
    later = first + timedelta(days=known)
    return rows + peaks_of_days(network, technology, homes, placement, later, days - known, step_min)


def collapsed(stopped: RunStoppedError) -> bool:
    """Whether a run ended because a step had no power flow."""
    return isinstance(stopped.__cause__, PowerFlowError)


def worst_day(rows: Sequence[Mapping[str, Any]], kind: str) -> CriticalDay:
    """Return the day on which most is not served, and of all that are served that with the largest peak of its kind."""
    worst = max(rows, key=lambda row: (row[f"{kind}_lost_kwh"], row[f"{kind}_kw"]))
    return CriticalDay(kind, str(worst["date"]))
