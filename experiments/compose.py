"""From a scenario to a day: feeder, what is drawn, forecasts, controllers looked at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from cosim import controllers, feeders
from cosim.contract import Exogenous, Feeder, Float, Forecast, OilTransformer, TransformerSpec, ZipShares
from cosim.devices import EvFleet
from cosim.errors import Fault, InputError, collecting, refuse
from cosim.experiments.day import Day, LongDay
from cosim.experiments.devices import PLURALS, rated_kw, with_devices
from cosim.experiments.forecast import announced, make_forecast, too_perfect
from cosim.experiments.place import Place
from cosim.experiments.scenario import ForecastTable, Scenario, find, read
from cosim.experiments.words import counted
from cosim.feeders.chargers import with_chargers
from cosim.feeders.clock import Clock
from cosim.feeders.draw import DaySpec, draw_day
from cosim.feeders.find import CALENDAR, OF_THE_FEEDER, household_sets
from cosim.feeders.find import tariffs as shipped_tariffs
from cosim.feeders.households import read_profiles
from cosim.feeders.prices import PRICE, VOLTAGE, Tariff
from cosim.feeders.roofs import PV
from cosim.feeders.series import Series, read_series
from cosim.measures.own import find_own

_UNSERVABLE_KWH = 0.01
_EVERY_DAY, _WEEK_IN_BATTERY_KWH = 7.0, 70.0  # of the shipped sessions, see feeders/sessions.py
_CLEARLY_SHORT, _NEED_SPREAD = 0.15, 0.7  # shares of the mean
_WEEK_MIN = 7 * 1440


def load(name_or_path: str | Path, *, seed: int | None = None) -> Day:
    """Make a day from a scenario: the front door from Python.

    Parameters
    ----------
    name_or_path : str or Path
        A shipped scenario's name, or a TOML file.
    seed : int, optional
        Instead of the scenario's.

    Returns
    -------
    Day
        Ready to run under any controller, also under those that the scenario does not name.

    Raises
    ------
    InputError
        With every fault of the file and of the names in it; else with every fault of what it names.

    Examples
    --------
    >>> day = cosim.load("two_bus_evening")
    >>> day.run("equal_share", margin_percent=5).metrics["transformer_overload_min"]
    0.0
    """
    scenario, path = read(name_or_path), find(name_or_path)
    return compose(scenario if seed is None else scenario.model_copy(update={"seed": seed}), path)


def compose(scenario: Scenario, where: str | Path = "scenario", *, feeder: Feeder | None = None) -> Day:
    """Make everything that a scenario names.

    Parameters
    ----------
    scenario : Scenario
        Validated.
    where : str or Path
        Its file, for messages.
    feeder : Feeder, optional
        The scenario's, where it has been read before.

    Returns
    -------
    Day
        Ready to run; the controllers have been made once, so their options are right.

    Raises
    ------
    InputError
        With every fault of feeder, profiles, sessions and controllers; where there is no feeder, its own.
    """
    if scenario.parts > 1:
        return _in_parts(scenario, Path(where), feeder)
    faults: list[Fault] = []
    if feeder is None:
        with collecting(faults, "feeder", where):
            feeder = read_feeder(scenario)
    with collecting(faults, "metrics", where):
        find_own(scenario.metrics)
    day = None
    if feeder is not None:
        day = _on_the_feeder(scenario, Path(where), feeder, faults)
        place = day or Place(scenario, Path(where), feeder)
        for number, run in enumerate(scenario.runs, start=1):
            with collecting(faults, f"runs.{number}", where):
                controller = place.controller(run)
                if day:
                    forecast = day.forecast_of(run)
                    refuse(controllers.check(controller, day.feeder, forecast.expected, forecast.kind))
    if faults or day is None:
        raise InputError(faults)
    return _told_of_simple_plans(_told_of_missing_predictor(day))


def read_feeder(scenario: Scenario) -> Feeder:
    """Read the feeder of a scenario with all that it changes there; InputError with what a run could not honour."""
    grid, model, machine = scenario.grid, scenario.households.load_model, scenario.grid.transformer
    feeder = feeders.load(
        scenario.feeder,
        source_pu=grid.source_pu,
        nominal_voltage_v=grid.nominal_voltage_v,
        transformer=None if machine is None else TransformerSpec(**machine.model_dump(exclude={"tier"})),
        load_model=ZipShares(model.p, model.q) if model.p and model.q else model.model,
        standard=grid.standard,
        taps=grid.taps,
        accept=grid.accept,
        roofs=scenario.pv.from_file,
        thermal=OilTransformer(**scenario.thermal.model_dump()),
    )
    feeder.refuse_unhonoured()
    return feeder


def _told_of_simple_plans(day: Day) -> Day:
    """Name controllers that plan with one price for all where homes have several, or with cars on all phases."""
    several, apart = day.exogenous.customer_tariff_eur_per_kwh is not None, len(day.feeder.spurs[0])
    told = {
        "one_tariff": several
        and f"with the price of '{day.scenario.tariff}' for all homes, though some have another tariff "
        "(tariff_shares); their bills are right, its plans are not theirs",
        "even_charging": apart
        and f"with cars evenly on the phases of their homes, though {counted(apart, 'home')} of several phases "
        f"{'charges' if apart == 1 else 'charge'} on one",
    }
    for what, words in told.items():
        blind = [
            run.name for run in day.scenario.runs if words and controllers.simplifies(run.controller, what, run.options)
        ]
        if blind:
            day = replace(day, warnings=(*day.warnings, f"{', '.join(blind)} reckons {words}"))
    return day


def _in_parts(scenario: Scenario, where: Path, feeder: Feeder | None) -> LongDay:
    first = compose(scenario.part(0), where, feeder=feeder)

    def part(number: int) -> Day:
        return compose(scenario.part(number), where, feeder=first.feeder)

    def redraw(seed: int) -> Day:
        return compose(scenario.model_copy(update={"seed": seed}), where, feeder=first.feeder)

    return LongDay(scenario, where, first.feeder, first.exogenous, first.forecasts, first.warnings, redraw, part)


def _spec_of(scenario: Scenario, where: Path, faults: list[Fault]) -> DaySpec:
    """Read the series that a scenario names; where one cannot be, a drawn one stands for it, to find all else wrong."""
    homes, cars, roofs = scenario.households, scenario.ev, scenario.pv
    clock = Clock(scenario.start, scenario.zone, scenario.first_day)
    drawn = homes.profiles in (OF_THE_FEEDER, CALENDAR)
    profiles: str | Series = homes.profiles if drawn else household_sets()[0]
    pv_profiles = None
    if not drawn:
        with collecting(faults, "households", where):
            profiles = read_profiles(homes.profiles, clock, step_min=homes.profiles_step_min)
    if roofs.profiles is not None:
        with collecting(faults, "pv", where):
            pv_profiles = read_series(roofs.profiles, "profiles", PV, clock, step_min=roofs.profiles_step_min)
    source_profile = None
    if scenario.grid.source_profile is not None:
        with collecting(faults, "grid", where):
            source_profile = read_series(scenario.grid.source_profile, "source_profile", VOLTAGE, clock)

    def tariff(name: str, key: str) -> Tariff:
        if name in scenario.tariffs:
            return [(band.from_h, band.eur_per_kwh, band.days, band.months) for band in scenario.tariffs[name].bands]
        if name not in shipped_tariffs():
            with collecting(faults, "", where):
                return read_series(name, key, PRICE, clock)
            return shipped_tariffs()[0]
        return name

    return DaySpec(
        start=scenario.start,
        minutes=scenario.minutes,
        zone=scenario.zone,
        profiles=profiles,
        join=homes.join,
        power_factor=homes.power_factor,
        power_factor_sd=homes.power_factor_sd,
        power_factor_file=homes.power_factors,
        ev_share=cars.share,
        ev_sessions=cars.sessions,
        ev_plug_in_days=cars.plug_in_days_per_week,
        ev_weekly_energy_kwh=cars.weekly_energy_kwh,
        ev_efficiency=cars.efficiency,
        ev_rated_by_phases=cars.single_phase_share is not None,
        pv_share=roofs.share,
        pv_kwp=roofs.kwp,
        cloud=roofs.cloud,
        pv_profiles=pv_profiles,
        pv_inverters=roofs.inverters,
        tariff=tariff(scenario.tariff, "tariff"),
        tariff_groups=[(share, tariff(name, "tariff_shares")) for name, share in scenario.tariff_shares.items()],
        export_eur_per_kwh=scenario.export_eur_per_kwh,
        source_profile=source_profile,
        source_swing_percent=scenario.grid.source_swing_percent,
        source_lowest_h=scenario.grid.source_lowest_h,
        first_day=scenario.first_day,
    )


def _told_of_missing_predictor(day: Day) -> Day:
    planners = [run.name for run in day.scenario.runs if controllers.needs_predictor(run.controller)]
    sources = day.feeder.network.injectors
    if not planners or not (sources or day.without_predictor):
        return day
    warning = f"{', '.join(planners)} plans without {', '.join(sources)}: limits of import hold all the better, but "
    warning += "nobody foresees the voltage that they lift"
    if day.without_predictor:
        warning = f"{', '.join(planners)} plans without a predictor: {day.without_predictor}"
    if any(name.upper().startswith("PVSYSTEM.") for name in sources):
        warning += "; with [pv] from_file = true its PVSystems are roof plants of customers, which can be planned with"
    return replace(day, warnings=(*day.warnings, warning))


def _on_the_feeder(scenario: Scenario, where: Path, feeder: Feeder, faults: list[Fault]) -> Day | None:
    spec = _spec_of(scenario, where, faults)
    told = spec.clock.warnings(spec.minutes)
    with collecting(faults, "ev", where):
        cars = scenario.ev
        rng = scenario.stream("phases", feeder.customers)
        feeder = with_chargers(feeder, cars.single_phase_share, cars.phase_choice, cars.sessions, rng)
    forecasts: dict[ForecastTable, Forecast] = {}
    with collecting(faults, "", where):
        drawn = draw_day(feeder, spec, scenario.stream, told=told.append)
        said = announced(drawn, scenario.ev, scenario.stream("announced", feeder.customers))
        exogenous = with_devices(scenario, feeder, said, told.append)
        for table in dict.fromkeys([scenario.forecast, *map(scenario.forecast_of, scenario.runs)]):
            forecasts[table] = make_forecast(
                exogenous,
                table,
                scenario.stream("forecast", feeder.customers),
                lambda: with_devices(scenario, feeder, draw_day(feeder, spec, scenario.stream, day=-1), day=-1),
            )
    if not forecasts:
        return None
    told += _nowhere(scenario, feeder, exogenous)
    unservable = _unservable(EvFleet(feeder, exogenous.resample(scenario.step_min)).unservable_kwh)
    if unservable and scenario.strict:
        faults.append(Fault(str(where), "ev", unservable[0], "mend the sessions, or set strict = false"))
    perfect = [warning for forecast in forecasts.values() for warning in too_perfect(forecast, exogenous)]
    too_large = _beyond_connection(feeder, exogenous)
    if scenario.strict:
        faults += [Fault(str(where), "strict", one, "lower the ratings, or set strict = false") for one in too_large]
    short = _energy_short(scenario, exogenous)
    warnings = [*feeder.warnings, *told, *unservable, *short, *too_large, *perfect]

    def redraw(seed: int) -> Day:
        return compose(scenario.model_copy(update={"seed": seed}), where, feeder=feeder)

    return Day(scenario, where, feeder, exogenous, forecasts, tuple(dict.fromkeys(warnings)), redraw)


def _beyond_connection(feeder: Feeder, day: Exogenous) -> list[str]:
    """Chargers, batteries and heat pumps that alone draw more than the connection of their home allows."""
    charger_kw = np.zeros(len(feeder.customers))
    np.maximum.at(charger_kw, day.sessions.customer, day.sessions.charger_kw)
    told = []
    one_phase_kw, who = feeder.connection_kw.copy(), feeder.spurs[0]
    one_phase_kw[who] /= np.array([len(phases) for phases in feeder.customer_phases])[who]
    for name, of_kind in {"chargers": charger_kw, **rated_kw(day)}.items():
        allowed_kw = one_phase_kw if name == "chargers" else feeder.connection_kw
        above_kw = np.where(of_kind > allowed_kw * (1.0 + 1e-9), of_kind - allowed_kw, 0.0)
        if above_kw.any():
            worst = int(above_kw.argmax())
            told.append(
                f"{PLURALS.get(name, name)} of {counted(int((above_kw > 0.0).sum()), 'home')} are rated above their "
                f"connection, {feeder.customers[worst]}'s by most: {of_kind[worst]:.3g} kW at "
                f"{allowed_kw[worst]:.3g} kW{' on its phase' if name == 'chargers' and worst in who else ''}"
            )
    return told


def _energy_short(scenario: Scenario, day: Exogenous) -> list[str]:
    """Say where drawn cars take clearly less in a week than the scenario asks for."""
    table, cars = scenario.ev, round(scenario.ev.share * day.demand_kw.shape[1])
    if not cars or table.sessions or (table.plug_in_days_per_week == _EVERY_DAY and table.weekly_energy_kwh is None):
        return []
    asked_kwh = table.weekly_energy_kwh or _WEEK_IN_BATTERY_KWH / table.efficiency
    sessions = day.sessions
    drawn_kwh = float((sessions.energy_need_kwh / sessions.efficiency).sum()) / cars * _WEEK_MIN / scenario.minutes
    chance = 2.0 * _NEED_SPREAD / max(len(sessions), 1) ** 0.5
    if drawn_kwh >= asked_kwh * (1.0 - _CLEARLY_SHORT - chance):
        return []
    return [
        f"cars take {drawn_kwh:.0f} kWh a week at the meter on average, not the {asked_kwh:.0f} kWh asked for: their "
        "batteries and stays hold no more in so few sessions"
    ]


def _nowhere(scenario: Scenario, feeder: Feeder, day: Exogenous) -> list[str]:
    """Say where a share of chargers on one phase changes nothing."""
    share, count = scenario.ev.single_phase_share, len(feeder.spurs[0])
    if not share or (count and len(day.sessions)):
        return []
    several = sum(len(set(feeder.customer_phases[row])) > 1 for row in feeder.homes.tolist())
    why = (
        "there are no cars"
        if count
        else f"{counted(several, 'home')} {'has' if several == 1 else 'have'} several phases"
    )
    return [f"ev.single_phase_share = {share:g} puts no car on one phase: {why}"]


def _unservable(unservable_kwh: Float) -> list[str]:
    many = int((unservable_kwh > _UNSERVABLE_KWH).sum())
    told = (
        f"{many} of {unservable_kwh.size} EV sessions ask for {unservable_kwh.sum():.1f} kWh that nothing could serve"
    )
    return [told] if many else []
