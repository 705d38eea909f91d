"""From a scenario to the things that run: feeder, day, forecast, households, controllers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from cosim import Behaviour, Controller, EvSessions, Exogenous, Feeder, Forecast, TransformerSpec, controllers, feeders
from cosim.contract import Float, Predictor
from cosim.devices import EvFleet
from cosim.errors import Fault, InputError, UnsupportedError
from cosim.experiments.day import check_parts, collecting, make_day, read_homes, stream
from cosim.experiments.forecast import noisy
from cosim.experiments.scenario import ForecastTable, Run, Scenario
from cosim.feeders.households import Profiles
from cosim.measures.own import find_own
from cosim.reduced import ReducedNetwork

_UNSERVABLE_KWH = 0.01
_TIMES = {"start", "horizon_h", "step_min"}


@dataclass(frozen=True, eq=False)
class Place:
    """A scenario and its feeder, which is all that controllers are made of.

    Attributes
    ----------
    scenario : Scenario
        The question.
    feeder : Feeder
        The place, with the scenario's changes.
    """

    scenario: Scenario
    feeder: Feeder

    @cached_property
    def predictor(self) -> Predictor:
        """The reduced network of this feeder; made when first asked for."""
        return ReducedNetwork(self.feeder)

    def controller(self, run: Run) -> Controller:
        """Make the controller of one run; InputError where its options are wrong."""
        _check_options(run)
        # a controller that can do without a predictor is not refused for a feeder that has none
        asks = controllers.needs_predictor(run.controller)
        wanted = asks and controllers.needs_predictor(run.controller, strictly=bool(self.without_predictor))
        predictor = self.predictor if wanted else None
        seed = int(stream(self.scenario, "controllers").integers(2**31))
        return controllers.make(run.controller, self.feeder, predictor=predictor, seed=seed, **run.options)

    @cached_property
    def without_predictor(self) -> str:
        """Why the reduced network cannot represent this feeder; empty where it can."""
        try:
            self.predictor  # noqa: B018 - made here to see whether it can be
        except UnsupportedError as error:
            return str(error)
        return ""


@dataclass(frozen=True, eq=False)
class Composition(Place):
    """Everything that a scenario's runs share.

    Attributes
    ----------
    exogenous : Exogenous
        The day at one minute.
    forecasts : mapping of ForecastTable to Forecast
        What is told beforehand, by how it is made: the scenario's own first, then those that only some runs are told.
    warnings : tuple of str
        Of the feeder and of the day.
    """

    exogenous: Exogenous
    forecasts: Mapping[ForecastTable, Forecast]
    warnings: tuple[str, ...]

    @property
    def forecast(self) -> Forecast:
        """What is told beforehand where a run says nothing else."""
        return self.forecasts[self.scenario.forecast]

    @property
    def behaviour(self) -> Behaviour:
        """How households react where a run says nothing else."""
        return self._behaviour(self.scenario.households.stubborn_share)

    def forecast_of(self, run: Run) -> Forecast:
        """What is told beforehand in one run."""
        return self.forecasts[self.scenario.forecast_of(run)]

    def behaviour_of(self, run: Run) -> Behaviour:
        """How households react in one run; who ignores caps at a small share does so at every larger one."""
        return self._behaviour(self.scenario.stubborn_share_of(run))

    def _behaviour(self, stubborn_share: float) -> Behaviour:
        count = len(self.feeder.customers)
        stubborn = np.zeros(count, dtype=bool)
        stubborn[stream(self.scenario, "stubborn").permutation(count)[: round(stubborn_share * count)]] = True
        return Behaviour(response=self.scenario.households.response, stubborn=stubborn)


def compose(scenario: Scenario, where: str | Path = "scenario", stand_ins: Collection[str] = ()) -> Composition:
    """Make everything that a scenario names.

    Parameters
    ----------
    scenario : Scenario
        Validated.
    where : str or Path
        Its file, for messages.
    stand_ins : collection of str
        Keys whose values in the file are wrong, so that the scenario holds others in their stead: no fault is sought
        in what depends on them.

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
    feeder = None if "feeder" in stand_ins else _feeder(scenario, where, faults)
    profiles = read_homes(scenario, where, faults)
    with collecting(faults, where, "metrics"):
        find_own(scenario.metrics)
    timed = not _TIMES & set(stand_ins)
    composition = None
    if feeder is not None and timed:
        composition = _on_the_feeder(scenario, feeder, profiles, where, faults)
    else:
        customers = None if feeder is None else feeder.customers
        check_parts(scenario, profiles, customers, where, faults, timed=timed)
    place = composition or (Place(scenario, feeder) if feeder is not None else None)
    for number, run in enumerate(scenario.runs, start=1):
        with collecting(faults, where, f"runs.{number}"):
            if place is None:
                _check_options(run)
            else:
                _check_on_its_day(place.controller(run), composition, run)
    if faults or composition is None:
        raise InputError(faults)
    return _told_of_missing_predictor(composition)


def _check_on_its_day(controller: Controller, composition: Composition | None, run: Run) -> None:
    """Raise the InputError of what a controller finds wrong with the day that it will be told."""
    if composition is not None:
        faults = controllers.check(controller, composition.feeder, composition.forecast_of(run).expected)
        if faults:
            raise InputError(faults)


def _told_of_missing_predictor(composition: Composition) -> Composition:
    planners = [run.name for run in composition.scenario.runs if controllers.needs_predictor(run.controller)]
    if not planners or not composition.without_predictor:
        return composition
    warning = f"{', '.join(planners)} plans without a predictor: {composition.without_predictor}"
    return replace(composition, warnings=(*composition.warnings, warning))


def _feeder(scenario: Scenario, where: str | Path, faults: list[Fault]) -> Feeder | None:
    machine = scenario.grid.transformer
    with collecting(faults, where, "feeder"):
        return feeders.load(
            scenario.feeder,
            source_pu=scenario.grid.source_pu,
            transformer=None if machine is None else TransformerSpec(**machine.model_dump()),
        )
    return None


def _check_options(run: Run) -> None:
    """Raise the InputError of what is wrong with a run wherever it takes place."""
    remedy = "leave it out: the scenario's seed and feeder decide"
    reserved = sorted({"seed", "predictor"} & set(run.options))
    faults = [Fault("options", key, "is not for a scenario to set", remedy) for key in reserved]
    others = {key: value for key, value in run.options.items() if key not in reserved}
    faults += controllers.option_faults(run.controller, others)
    if faults:
        raise InputError(faults)


def _on_the_feeder(
    scenario: Scenario, feeder: Feeder, profiles: Profiles | None, where: str | Path, faults: list[Fault]
) -> Composition:
    exogenous = make_day(scenario, feeder, profiles, where, faults)
    unservable_kwh = EvFleet(feeder, exogenous.resample(scenario.step_min)).unservable_kwh
    unservable = _unservable(unservable_kwh)
    if unservable and scenario.strict:
        faults.append(Fault(str(where), "ev", unservable[0], "mend the sessions, or set strict = false"))
    tables = dict.fromkeys([scenario.forecast, *map(scenario.forecast_of, scenario.runs)])
    forecasts = {
        table: Forecast(table.kind, _expected(scenario, table, feeder, profiles, exogenous, where, faults))
        for table in tables
    }
    perfect = [warning for forecast in forecasts.values() for warning in _too_perfect(forecast, exogenous)]
    warnings = [*feeder.warnings, *_reused(profiles, feeder), *unservable, *perfect]
    return Composition(scenario, feeder, exogenous, forecasts, tuple(dict.fromkeys(warnings)))


def _unservable(unservable_kwh: Float) -> list[str]:
    many = int((unservable_kwh > _UNSERVABLE_KWH).sum())
    told = (
        f"{many} of {unservable_kwh.size} EV sessions ask for {unservable_kwh.sum():.1f} kWh that nothing could serve"
    )
    return [told] if many else []


def _reused(profiles: Profiles | None, feeder: Feeder) -> list[str]:
    homes = len(feeder.customers)
    if profiles is None or len(profiles.names) >= homes:
        return []
    return [
        f"{profiles.source} holds {len(profiles.names)} profiles for {homes} homes: several homes share one, so their "
        "peaks coincide more than those of different homes would"
    ]


def _expected(
    scenario: Scenario,
    table: ForecastTable,
    feeder: Feeder,
    profiles: Profiles | None,
    truth: Exogenous,
    where: str | Path,
    faults: list[Fault],
) -> Exogenous:
    """The day as it is told beforehand."""
    if table.kind == "noisy":
        return noisy(truth, table, stream(scenario, "forecast"))
    if table.kind == "persistence":
        of_yesterday: list[Fault] = []
        yesterday = make_day(scenario, feeder, profiles, where, of_yesterday, day=-1)
        faults.extend(fault for fault in of_yesterday if fault not in faults)
        return replace(yesterday, tariff_eur_per_kwh=truth.tariff_eur_per_kwh)
    return truth


def _too_perfect(forecast: Forecast, truth: Exogenous) -> list[str]:
    """Say where a forecast by the day before is the truth, because there is no other day to take it from."""
    if forecast.kind != "persistence":
        return []
    expected = forecast.expected
    same = {
        "the homes' demand": truth.demand_kw.any() and np.array_equal(expected.demand_kw, truth.demand_kw),
        "the cars' sessions": len(truth.sessions) and _same_sessions(expected.sessions, truth.sessions),
    }
    return [
        f"forecast 'persistence' knows {what} perfectly: the day before is the same, for want of other data"
        for what, is_same in same.items()
        if is_same
    ]


def _same_sessions(one: EvSessions, other: EvSessions) -> bool:
    return all(np.array_equal(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
