"""The day of a scenario: households, cars, roofs and prices, each drawn from a stream of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from cosim import EvSessions, Exogenous, Feeder
from cosim.contract import Float
from cosim.contract.place import LoadShape
from cosim.errors import CosimError, Fault, InputError
from cosim.experiments.scenario import Scenario
from cosim.feeders.households import DAY_MIN, Profiles, draw_households, read_profiles
from cosim.feeders.profiles import ambient_temperature_c, draw_pv, tariff_eur_per_kwh
from cosim.feeders.sessions import check_sessions, draw_sessions, read_sessions

OF_THE_FEEDER = "feeder"
"""As ``households.profiles``: the loads of the circuit's own file."""

_STREAMS = {
    name: row
    for row, name in enumerate(
        ("households", "cars", "roofs", "stubborn", "forecast", "controllers", "deviation", "rephase")
    )
}
_YEAR_DAYS = 365


def stream(scenario: Scenario, name: str) -> np.random.Generator:
    """Random stream of one part, derived from the scenario's seed: changing another part leaves it as it is."""
    return np.random.default_rng([scenario.seed, _STREAMS[name]])


@contextmanager
def collecting(faults: list[Fault], where: str | Path, key: str) -> Iterator[None]:
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


def read_homes(scenario: Scenario, where: str | Path, faults: list[Fault]) -> Profiles | None:
    """Household profiles that the scenario names; None where it names the feeder's own, or they are at fault."""
    if scenario.households.profiles != OF_THE_FEEDER:
        with collecting(faults, where, "households"):
            return read_profiles(scenario.households.profiles)
    return None


def make_day(
    scenario: Scenario,
    feeder: Feeder,
    profiles: Profiles | None,
    where: str | Path,
    faults: list[Fault],
    day: int = 0,
) -> Exogenous:
    """Make the day at one minute.

    Parameters
    ----------
    scenario : Scenario
        The question.
    feeder : Feeder
        The place.
    profiles : Profiles or None
        As `read_homes` gives them.
    where : str or Path
        The scenario's file, for messages.
    faults : list of Fault
        Takes what is wrong; a part at fault is zero in the day, which is then only good for finding more faults.
    day : int
        -1 is the day before, of the same homes, cars and roofs.
    """
    start, minutes, count = scenario.start, scenario.minutes, len(feeder.customers)
    empty = np.zeros((minutes, count))
    demand_kw, demand_kvar, pv_kw, inverter_kva = empty, empty, empty, np.zeros(count)
    sessions, tariff = EvSessions.none(), np.zeros(minutes)
    with collecting(faults, where, "households"):
        if scenario.households.profiles == OF_THE_FEEDER:
            demand_kw, demand_kvar = feeder_demand(feeder, start + timedelta(days=day), minutes)
        elif profiles is not None:
            demand_kw = draw_households(profiles, count, start, minutes, stream(scenario, "households"), day=day)
            demand_kvar = demand_kw * float(np.tan(np.arccos(scenario.households.power_factor)))
    with collecting(faults, where, "ev"):
        cars, rng = scenario.ev, stream(scenario, "cars")
        sessions = (
            read_sessions(cars.sessions, feeder.customers, start, minutes, efficiency=cars.efficiency)
            if cars.sessions is not None
            else draw_sessions(count, cars.share, start, minutes, rng, efficiency=cars.efficiency, day=day)
        )
    with collecting(faults, where, "pv"):
        roofs = scenario.pv
        pv = draw_pv(
            count, roofs.share, roofs.kwp, feeder.latitude_deg, feeder.longitude_deg, start, minutes,
            stream(scenario, "roofs"), cloud=roofs.cloud, day=day,
        )  # fmt: skip
        pv_kw, inverter_kva = pv.pv_available_kw, pv.inverter_kva
    with collecting(faults, where, "tariff"):
        tariff = tariff_eur_per_kwh(start, minutes, scenario.tariff)
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


def check_parts(
    scenario: Scenario,
    profiles: Profiles | None,
    customers: Sequence[str] | None,
    where: str | Path,
    faults: list[Fault],
    *,
    timed: bool,
) -> None:
    """Find the faults of a day that cannot be made: of what a scenario names, each part looked at alone.

    Parameters
    ----------
    scenario, profiles, where, faults
        As for `make_day`.
    customers : sequence of str, optional
        Names of the feeder's customers, where it is known.
    timed : bool
        Whether start and horizon are right, so that what has dates can be held against them.
    """
    start = scenario.start.replace(tzinfo=None)  # where a zone is one of the faults
    minutes, sessions = scenario.minutes, scenario.ev.sessions
    with collecting(faults, where, "households"):
        if timed and profiles is not None:
            draw_households(profiles, 1, start, minutes, stream(scenario, "households"))
    with collecting(faults, where, "ev"):
        if sessions is not None and timed:
            read_sessions(sessions, customers, start, minutes)
        elif sessions is not None:
            check_sessions(sessions, customers)
    with collecting(faults, where, "pv"):
        draw_pv(1, 0.0, 0.0, 0.0, 0.0, start, 1, stream(scenario, "roofs"), cloud=scenario.pv.cloud)
    with collecting(faults, where, "tariff"):
        tariff_eur_per_kwh(start, 1, scenario.tariff)


def feeder_demand(feeder: Feeder, begin: datetime, minutes: int) -> tuple[Float, Float]:
    """Demand that the circuit's own file gives its loads, by the shapes of the file.

    Parameters
    ----------
    feeder : Feeder
        The place.
    begin : datetime
        Local clock of the first minute. A shape of a year or more is entered at its day of the year (its first value
        is 1 January, 0 h); a shorter one begins at midnight of that day.
    minutes : int
        Length [min].

    Returns
    -------
    demand_kw, demand_kvar : ndarray, shape (minute, customer)
        [kW], [kvar].

    Raises
    ------
    InputError
        Where a shape has no values or no fixed interval.
    """
    shapes = list(zip(feeder.customers, feeder.load_kw, feeder.load_shapes, strict=True))
    faults = [
        Fault(
            str(feeder.master), f"Load.{name}", "its LoadShape has no values at a fixed interval (interval=0?)",
            "give the shape an interval, or the scenario other profiles",
        )
        for name, _, shape in shapes
        if shape is not None and not (shape.interval_min > 0 and len(shape.kw))
    ]  # fmt: skip
    if faults:
        raise InputError(faults)
    columns = [np.full(minutes, kw) if shape is None else _shape_kw(shape, begin, minutes) for _, kw, shape in shapes]
    demand_kw = np.stack(columns, axis=1)
    ratio = np.divide(feeder.load_kvar, feeder.load_kw, out=np.zeros_like(feeder.load_kw), where=feeder.load_kw != 0)
    return demand_kw, demand_kw * ratio


def _shape_kw(shape: LoadShape, begin: datetime, minutes: int) -> Float:
    whole_year = len(shape.kw) * shape.interval_min >= _YEAR_DAYS * DAY_MIN
    first_min = begin.hour * 60 + begin.minute + (begin.timetuple().tm_yday - 1) * DAY_MIN * whole_year
    step = ((first_min + np.arange(minutes)) // shape.interval_min).astype(int) % len(shape.kw)
    kw: Float = shape.kw[step]
    return kw
