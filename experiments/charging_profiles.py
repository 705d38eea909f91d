"""Limits for chargers as OCPP messages ``SetChargingProfile``: of a plan, and of the caps of a run.

Sources: OCPP 1.6 edition 2, 3.13 and 7.8; OCPP 2.0.1 part 2, K01; OCPP 2.1 part 2, K01; IEC 61851-1:2017, Annex A.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from cosim.contract import Float, Int
from cosim.controllers.planner.plan import Planned
from cosim.controllers.planner.stays import presence
from cosim.errors import Fault, InputError
from cosim.experiments.plan.options import OcppUnit, OcppVersion
from cosim.experiments.plan.read import Demand
from cosim.feeders.clock import Clock

NOMINAL_V = 230.0
LEAST_A = 6.0  # IEC 61851-1: below it a control pilot can only say "not at all"
ONE_PHASE_KW = 7.5  # chargers up to 32 A at 230 V have one phase, unless the file says otherwise
AC_KW = 44.0  # 63 A on three phases; larger ones are direct current and know no control pilot
MOST_PERIODS = 1024  # of the schemas of 2.0.1 and 2.1


@dataclass(frozen=True, eq=False)
class Schedule:
    """Limits of one charger, or of all that stands behind a connection.

    Attributes
    ----------
    charger : str
        Its name, or the customer's.
    connector : int
        From 1; 0: the whole station.
    begin : datetime
        With its zone.
    second : ndarray of int, shape (period,)
        Begin of each period after ``begin``, the first 0 [s].
    limit_kw : ndarray, shape (period,)
        Largest power.
    duration_s : int
        Of the whole; afterwards the charger does as it would without.
    phases : int or None
        That are charged on; None: not said, as limits in W need not.
    least_kw : float
        Below it a charger can only pause.
    """

    charger: str
    connector: int
    begin: datetime
    second: Int
    limit_kw: Float
    duration_s: int
    phases: int | None = None
    least_kw: float = 0.0


def accepted(schedule: Schedule, unit: OcppUnit) -> Float:
    """Limits as a charger accepts them, rounded down: to 0.1 A or 1 W, and to 0 below the least, shape (period,)."""
    limit_w = 1e3 * np.maximum(schedule.limit_kw, 0.0)
    if unit == "A":
        values = np.floor(10.0 * limit_w / (NOMINAL_V * (schedule.phases or 1)) + 1e-6) / 10.0
        least = 1e3 * schedule.least_kw / (NOMINAL_V * (schedule.phases or 1))
    else:
        values, least = np.floor(limit_w + 1e-4), 1e3 * schedule.least_kw
    return np.where(values >= least - 1e-6, values, 0.0)


def paused_kwh(schedule: Schedule, unit: OcppUnit) -> float:
    """Energy of the periods in which the charger must pause, as it cannot charge as little as was meant [kWh]."""
    paused = accepted(schedule, unit) == 0.0
    length_h = np.diff(np.append(schedule.second, schedule.duration_s)) / 3600.0
    return float(schedule.limit_kw[paused] @ length_h[paused])


def set_charging_profile(schedules: Sequence[Schedule], version: OcppVersion, unit: OcppUnit) -> list[dict[str, Any]]:
    """One message for each schedule: ``charger``, ``action`` and the ``payload`` of the request.

    Profiles are absolute, in UTC, and valid as long as their schedule: for a connector the default of whatever
    transaction there is (``TxDefaultProfile``), for a whole station its largest power (``ChargePointMaxProfile``, since
    2.0.1 ``ChargingStationMaxProfile``).

    Parameters
    ----------
    schedules : sequence of Schedule
        Of different chargers.
    version : {"1.6", "2.0.1", "2.1"}
        Of the protocol.
    unit : {"A", "W"}
        Of the limits.

    Raises
    ------
    InputError
        Where a schedule has more periods than a message can hold.
    """
    return [
        {"charger": one.charger, "action": "SetChargingProfile", "payload": _payload(one, number, version, unit)}
        for number, one in enumerate(schedules, start=1)
    ]


def _payload(schedule: Schedule, number: int, version: OcppVersion, unit: OcppUnit) -> dict[str, Any]:
    limits = accepted(schedule, unit)
    new = np.append(True, np.diff(limits) != 0)
    if new.sum() > MOST_PERIODS:
        problem = f"has {new.sum()} changes of its limit, a message {MOST_PERIODS} at most"
        raise InputError(Fault("ocpp", schedule.charger, problem, "take longer steps, or one day"))
    phases = {} if schedule.phases is None else {"numberPhases": schedule.phases}
    begin = schedule.begin.astimezone(ZoneInfo("UTC"))
    span = {"validFrom": _utc(begin), "validTo": _utc(begin + timedelta(seconds=schedule.duration_s))}
    periods = [
        {"startPeriod": second, "limit": round(limit, 1), **phases}
        for second, limit in zip(schedule.second[new].tolist(), limits[new].tolist(), strict=True)
    ]
    plan = {
        "startSchedule": span["validFrom"],
        "duration": schedule.duration_s,
        "chargingRateUnit": unit,
        "chargingSchedulePeriod": periods,
    }
    station = "ChargePointMaxProfile" if version == "1.6" else "ChargingStationMaxProfile"
    profile = {
        "stackLevel": 0,
        "chargingProfilePurpose": "TxDefaultProfile" if schedule.connector else station,
        "chargingProfileKind": "Absolute",
        **span,
    }
    if version == "1.6":
        profile = {"chargingProfileId": number, **profile, "chargingSchedule": plan}
        return {"connectorId": schedule.connector, "csChargingProfiles": profile}
    profile = {"id": number, **profile, "chargingSchedule": [{"id": number, **plan}]}
    return {"evseId": schedule.connector, "chargingProfile": profile}


def _utc(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def plan_schedules(planning: Planned, demand: Demand) -> list[Schedule]:
    """Limits of every plug that a plan knows, from its first arrival to its last departure; 0 while nobody is there.

    Raises
    ------
    InputError
        Where nothing says of which zone the file's times are.
    """
    refuse_without_zone(demand)
    assert demand.start is not None  # noqa: S101 - or there is no zone
    requests, step_s = planning.requests, planning.station.step_s
    arrival_s, departure_s = requests.arrival_step * step_s, requests.departure_step * step_s
    vehicle, step, _ = presence(requests.arrival_step, requests.departure_step)
    power_kw = planning.best.power_kw[step, vehicle]
    there = pd.DataFrame({"second": np.maximum(step * step_s, arrival_s[vehicle]), "limit_kw": power_kw})
    plug = np.array(demand.plug, object)
    there["plug"] = plug[vehicle]
    leaving = pd.DataFrame({"second": departure_s, "limit_kw": 0.0, "plug": plug})
    # one that leaves as the next comes: the later row of a second stands
    events = pd.concat([leaving, there]).round({"second": 0}).sort_values("second", kind="stable")
    events = events.drop_duplicates(["plug", "second"], keep="last")
    first = {name: int(np.flatnonzero(plug == name)[0]) for name in dict.fromkeys(demand.plug)}
    schedules = []
    for name, rows in events.groupby("plug", sort=False):
        row, second = first[str(name)], rows["second"].to_numpy(np.int64)
        rating_kw = float(requests.power_max_kw[plug == name].max())
        phases = _phases(float(demand.phases[row]), rating_kw)
        schedules.append(
            Schedule(
                str(name), _number(demand.connector[row]), (demand.start + pd.Timedelta(seconds=int(second[0]))),
                second[:-1] - second[0], rows["limit_kw"].to_numpy(np.float64)[:-1], int(second[-1] - second[0]),
                phases, LEAST_A * NOMINAL_V * phases / 1e3 if rating_kw <= AC_KW else 0.0,
            )
        )  # fmt: skip
    return schedules


def refuse_without_zone(demand: Demand) -> None:
    """Raise InputError where times are step indices, or nothing says of which zone they are."""
    if demand.start is None or demand.start.tzinfo is None:
        problem = "needs UTC, and the file does not say of which zone its times are"
        remedy = (
            "say it: --timezone Europe/Berlin" if demand.start is not None else "give dates instead of step indices"
        )
        raise InputError(Fault("cosim plan", "--ocpp", problem, remedy))


def _phases(given: float, rating_kw: float) -> int:
    return int(given) if np.isfinite(given) else 1 if rating_kw <= ONE_PHASE_KW else 3


def _number(connector: str) -> int:
    return int(connector) if connector.isdecimal() and int(connector) > 0 else 1


def run_schedules(folder: Path, timezone: str | None = None) -> Mapping[str, list[Schedule]]:
    """Limits of import of every customer in every run of a folder that has any, by the run's label.

    Parameters
    ----------
    folder : Path
        Of ``cosim run``.
    timezone : str, optional
        Of its clock, where the scenario does not say.

    Raises
    ------
    InputError
        Where it is no such folder, no run has caps, or nothing says of which zone its clock is.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise InputError(Fault(str(folder), "FOLDER", "holds no manifest.json", "give a folder that cosim run wrote"))
    manifest = json.loads(path.read_text(encoding="utf-8"))
    scenario = manifest.get("scenario", {})
    zone = timezone or scenario.get("zone")
    if zone is None:
        remedy = "say it: --timezone Europe/Berlin, or zone in the scenario"
        raise InputError(Fault(str(path), "scenario.zone", "nothing says of which zone its clock is", remedy))
    tables = sorted((folder / "trajectories").glob("*/customers.parquet"))
    found = {table.parent.name: list(_of_tables(table, zone)) for table in tables}
    if not any(found.values()):
        remedy = "run bilevel_caps or envelopes, or another controller that caps import"
        raise InputError(Fault(str(folder), "import_cap_kw", "no run has caps", remedy))
    return {label: schedules for label, schedules in found.items() if schedules}


def _of_tables(path: Path, zone: str) -> Iterator[Schedule]:
    """Schedules from the tables of one run; customers without a cap have none."""
    times = pd.read_parquet(path.with_name("steps.parquet"), columns=["time"])["time"].sort_values()
    start = times.iloc[0].to_pydatetime()
    step_s = int((times.iloc[1] - times.iloc[0]).total_seconds()) if len(times) > 1 else 60
    ahead = Clock(start, zone).ahead_of_utc  # this clock does not jump
    assert ahead is not None  # noqa: S101 - there is a zone
    begin = (start - ahead).replace(tzinfo=ZoneInfo("UTC"))
    caps = pd.read_parquet(path, columns=["step", "customer", "import_cap_kw"])
    wide = caps.pivot_table(index="step", columns="customer", values="import_cap_kw", observed=True, sort=False)
    for customer in wide.columns:
        limit_kw = wide[customer].to_numpy(np.float64)
        if np.isfinite(limit_kw).all():
            second = step_s * np.arange(len(limit_kw))
            yield Schedule(str(customer), 0, begin, second, limit_kw, step_s * len(limit_kw))
