"""From a scenario to the things that run: feeder, day, forecast, households, controllers.

Every random draw has a stream of its own, derived from the scenario's seed, so that changing one part (more cars, say)
leaves the others as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

import controllers
import feeders
from cosim import Behaviour, Controller, EvSessions, Exogenous, Feeder, Forecast, TransformerSpec
from cosim.contract import Float, Predictor
from cosim.devices import EvFleet
from cosim.errors import CosimError, Fault, InputError
from cosim.reduced import ReducedNetwork
from experiments.forecast import noisy
from experiments.scenario import Run, Scenario
from feeders.households import draw_households
from feeders.profiles import ambient_temperature_c, draw_pv, tariff_eur_per_kwh
from feeders.sessions import draw_sessions, read_sessions

_STREAMS = {"households": 0, "cars": 1, "roofs": 2, "stubborn": 3, "forecast": 4, "controllers": 5}
_UNSERVABLE_KWH = 0.01


@dataclass(frozen=True, eq=False)
class Composition:
    """Everything that a scenario's runs share.

    Attributes
    ----------
    scenario : Scenario
        The question.
    feeder : Feeder
        The place, with the scenario's changes.
    exogenous : Exogenous
        The day at one minute.
    forecast : Forecast
        What is told beforehand.
    behaviour : Behaviour
        How households react.
    warnings : tuple of str
        Of the feeder and of the day.
    """

    scenario: Scenario
    feeder: Feeder
    exogenous: Exogenous
    forecast: Forecast
    behaviour: Behaviour
    warnings: tuple[str, ...]

    @cached_property
    def predictor(self) -> Predictor:
        """The reduced network of this feeder; made when first asked for."""
        return ReducedNetwork(self.feeder)

    def controller(self, run: Run) -> Controller:
        """Make the controller of one run; InputError where its options are wrong."""
        reserved = sorted({"seed", "predictor"} & set(run.options))
        if reserved:
            remedy = "leave it out: the scenario's seed and feeder decide"
            raise InputError([Fault("options", key, "is not for a scenario to set", remedy) for key in reserved])
        predictor = self.predictor if controllers.needs_predictor(run.controller) else None
        seed = int(np.random.default_rng([self.scenario.seed, _STREAMS["controllers"]]).integers(2**31))
        return controllers.make(run.controller, self.feeder, predictor=predictor, seed=seed, **run.options)


def compose(scenario: Scenario, where: str | Path = "scenario") -> Composition:
    """Make everything that a scenario names.

    Parameters
    ----------
    scenario : Scenario
        Validated.
    where : str or Path
        Its file, for messages.

    Returns
    -------
    Composition
        Ready to run; the controllers have been made once, so their options are right.

    Raises
    ------
    InputError
        With every fault of feeder, profiles, sessions and controllers.
    """
    faults: list[Fault] = []
    feeder: Feeder | None = None
    exogenous: Exogenous | None = None
    with _collecting(faults, where, "feeder"):
        machine = scenario.grid.transformer
        feeder = feeders.load(
            scenario.feeder,
            source_pu=scenario.grid.source_pu,
            transformer=None if machine is None else TransformerSpec(**machine.model_dump()),
        )
    if feeder is not None:
        exogenous = _day(scenario, feeder, where, faults)
    if feeder is None or exogenous is None or faults:
        faults.extend(_unknown_controllers(scenario, where))
        raise InputError(faults)
    unservable = EvFleet(feeder, exogenous.resample(scenario.step_min)).unservable_kwh
    warnings = list(feeder.warnings)
    if (unservable > _UNSERVABLE_KWH).any():
        many = int((unservable > _UNSERVABLE_KWH).sum())
        problem = f"{many} of {unservable.size} EV sessions ask for {unservable.sum():.1f} kWh that nothing could serve"
        if scenario.strict:
            faults.append(Fault(str(where), "ev", problem, "mend the sessions, or set strict = false"))
        warnings.append(problem)
    forecast = Forecast("oracle", exogenous)
    with _collecting(faults, where, "forecast"):
        forecast = _forecast(scenario, feeder, exogenous, where)
    composition = Composition(
        scenario, feeder, exogenous, forecast, _behaviour(scenario, feeder), tuple(dict.fromkeys(warnings))
    )
    for number, run in enumerate(scenario.runs, start=1):
        with _collecting(faults, where, f"runs.{number}"):
            composition.controller(run)
    if faults:
        raise InputError(faults)
    return composition


@contextmanager
def _collecting(faults: list[Fault], where: str | Path, key: str) -> Iterator[None]:
    """Turn errors of a part into faults of the scenario's file, and go on."""
    try:
        yield
    except InputError as error:
        for fault in error.faults:
            if _names_a_file(fault.where):
                faults.append(fault)
            else:
                # a fault of a file that is not there, or of a function: the scenario's key is where to mend it
                inner = f"{key}.{fault.key}" if fault.key not in ("", key) else key
                faults.append(replace(fault, where=str(where), key=inner, problem=f"{fault.where}: {fault.problem}"))
    except CosimError as error:
        if error.exit_code != InputError.exit_code:
            raise
        faults.append(Fault(str(where), key, str(error), "choose another feeder or controller"))


def _names_a_file(where: str) -> bool:
    """Whether a fault already says in which file it is (perhaps followed by a line), not only in which function."""
    return Path(where.split(",")[0]).is_file()


def _unknown_controllers(scenario: Scenario, where: str | Path) -> Iterator[Fault]:
    for number, run in enumerate(scenario.runs, start=1):
        if run.controller not in controllers.names():
            known = ", ".join(controllers.names())
            yield Fault(
                str(where), f"runs.{number}.controller", f"no controller '{run.controller}'", f"use one of {known}"
            )


def _rng(scenario: Scenario, stream: str) -> np.random.Generator:
    return np.random.default_rng([scenario.seed, _STREAMS[stream]])


def _day(scenario: Scenario, feeder: Feeder, where: str | Path, faults: list[Fault], day: int = 0) -> Exogenous | None:
    """The day at one minute; ``day=-1`` is the one before, of the same homes, cars and roofs."""
    start, minutes, count = scenario.start, scenario.minutes, len(feeder.customers)
    empty = np.zeros((minutes, count))
    demand_kw, demand_kvar, pv_kw, inverter_kva = empty, empty, empty, np.zeros(count)
    sessions, tariff = EvSessions.none(), np.zeros(minutes)
    before = len(faults)
    with _collecting(faults, where, "households"):
        demand_kw, demand_kvar = _demand(scenario, feeder, day)
    with _collecting(faults, where, "ev"):
        cars, rng = scenario.ev, _rng(scenario, "cars")
        sessions = (
            read_sessions(cars.sessions, feeder.customers, start, minutes, efficiency=cars.efficiency)
            if cars.sessions
            else draw_sessions(count, cars.share, start, minutes, rng, efficiency=cars.efficiency, day=day)
        )
    with _collecting(faults, where, "pv"):
        roofs = scenario.pv
        pv = draw_pv(
            count, roofs.share, roofs.kwp, feeder.latitude_deg, feeder.longitude_deg, start, minutes,
            _rng(scenario, "roofs"), cloud=roofs.cloud, day=day,
        )  # fmt: skip
        pv_kw, inverter_kva = pv.pv_available_kw, pv.inverter_kva
    with _collecting(faults, where, "tariff"):
        tariff = tariff_eur_per_kwh(start, minutes, scenario.tariff)
    if len(faults) > before:
        return None
    return Exogenous(
        start=start,
        step_min=1.0,
        demand_kw=demand_kw,
        demand_kvar=demand_kvar,
        pv_available_kw=pv_kw,
        inverter_kva=inverter_kva,
        sessions=sessions,
        tariff_eur_per_kwh=tariff,
        ambient_c=ambient_temperature_c(start, minutes, feeder.latitude_deg),
        source_pu=np.full(minutes, np.nan),
    )


def _demand(scenario: Scenario, feeder: Feeder, day: int) -> tuple[Float, Float]:
    homes = scenario.households
    if homes.profiles == "feeder":
        minute = scenario.start.hour * 60 + scenario.start.minute + np.arange(scenario.minutes)
        columns = [
            np.full(scenario.minutes, kw) if shape is None
            else shape.kw[(minute // shape.interval_min).astype(int) % len(shape.kw)]
            for kw, shape in zip(feeder.load_kw, feeder.load_shapes, strict=True)
        ]  # fmt: skip
        demand_kw = np.stack(columns, axis=1)
        ratio = np.divide(
            feeder.load_kvar, feeder.load_kw, out=np.zeros_like(feeder.load_kw), where=feeder.load_kw != 0
        )
        return demand_kw, demand_kw * ratio
    demand_kw = draw_households(
        homes.profiles, len(feeder.customers), scenario.start, scenario.minutes, _rng(scenario, "households"), day=day
    )
    return demand_kw, demand_kw * float(np.tan(np.arccos(homes.power_factor)))


def _forecast(scenario: Scenario, feeder: Feeder, truth: Exogenous, where: str | Path) -> Forecast:
    kind = scenario.forecast.kind
    if kind == "noisy":
        return Forecast(kind, noisy(truth, scenario.forecast, _rng(scenario, "forecast")))
    if kind == "persistence":
        faults: list[Fault] = []
        yesterday = _day(scenario, feeder, where, faults, day=-1)
        if yesterday is None:
            raise InputError(faults)
        return Forecast(kind, replace(yesterday, tariff_eur_per_kwh=truth.tariff_eur_per_kwh))
    return Forecast(kind, truth)


def _behaviour(scenario: Scenario, feeder: Feeder) -> Behaviour:
    homes, count = scenario.households, len(feeder.customers)
    stubborn = np.zeros(count, dtype=bool)
    chosen = _rng(scenario, "stubborn").permutation(count)[: round(homes.stubborn_share * count)]
    stubborn[chosen] = True
    return Behaviour(response=homes.response, stubborn=stubborn)
