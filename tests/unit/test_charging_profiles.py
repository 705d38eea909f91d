"""Limits sent to chargers: held against the protocol's own schemas, and followed second by second."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ocpp.messages import MessageType, get_validator

from cosim.errors import InputError
from cosim.experiments.charging_profiles import (
    Schedule,
    accepted,
    paused_kwh,
    plan_schedules,
    run_schedules,
    set_charging_profile,
)

VERSIONS = ("1.6", "2.0.1", "2.1")
BEGIN = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
FILE = """vehicle,plug,connector,charger_kw,phases,power_min_kw,energy_kwh,arrival,departure
a,P1,2,11,3,4.14,9,2025-03-30 00:10:20,2025-03-30 04:00
b,P1,2,11,3,4.14,6,2025-03-30 04:00,2025-03-30 06:05
c,P2,,3.7,,1.38,7,2025-03-29 23:00,2025-03-30 05:00
d,P3,,22,,4.14,20,2025-03-30 01:00,2025-03-30 07:00
"""


def check_schema(payload: dict[str, Any], version: str) -> None:
    """By the schemas that the package ``ocpp`` ships, with decimals, so that 0.1 is a tenth."""
    validator = get_validator(MessageType.Call, "SetChargingProfile", version, parse_float=Decimal)
    validator.validate(json.loads(json.dumps(payload), parse_float=Decimal))


def schedule_of(payload: dict[str, Any]) -> dict[str, Any]:
    profile = payload.get("csChargingProfiles") or payload["chargingProfile"]
    plan = profile["chargingSchedule"]
    return plan[0] if isinstance(plan, list) else plan


def followed(payload: dict[str, Any], second: np.ndarray, volt: float = 230.0) -> np.ndarray:
    """Power that a charger may take at seconds from 1970 [kW], as a reader of the message would work it out."""
    plan = schedule_of(payload)
    begin = datetime.strptime(plan["startSchedule"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    since, found = second - begin, np.zeros(len(second))
    for period in plan["chargingSchedulePeriod"]:
        per_unit = 1e-3 if plan["chargingRateUnit"] == "W" else 1e-3 * volt * period["numberPhases"]
        found[since >= period["startPeriod"]] = period["limit"] * per_unit
    found[(since < 0) | (since >= plan["duration"])] = 0.0
    return found


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    from cosim.controllers.planner.options import Options
    from cosim.controllers.planner.plan import plan
    from cosim.controllers.planner.requests import make_station
    from cosim.experiments.plan.options import ReadOptions
    from cosim.experiments.plan.read import read_demand

    path = tmp_path_factory.mktemp("plan") / "s.csv"
    path.write_text(FILE)
    demand = read_demand(path, 900.0, ReadOptions(timezone="Europe/Berlin"))
    tariff = 0.2 + 0.1 * np.sin(np.arange(demand.steps) / 3.0)  # so that charging stops and goes on
    station = make_station(demand.steps, 14.0, tariff_eur_per_kwh=tariff)
    return plan(demand.requests, station, Options(formulation="milp")), demand


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("unit", ["A", "W"])
def test_a_plan_as_sent_is_the_plan_never_more_and_hardly_less(planned, version, unit):
    planning, demand = planned
    messages = set_charging_profile(plan_schedules(planning, demand), version, unit)
    for message in messages:
        check_schema(message["payload"], version)
        periods = schedule_of(message["payload"])["chargingSchedulePeriod"]
        starts = [period["startPeriod"] for period in periods]
        assert starts[0] == 0
        assert starts == sorted(set(starts))
    assert {one["charger"] for one in messages} == {"P1", "P2", "P3"}
    begin_s, step_s = demand.start.timestamp(), 900
    second = np.arange(demand.steps * step_s)
    sent_kw = {one["charger"]: followed(one["payload"], begin_s + second) for one in messages}
    assert sum(sent_kw.values()).max() <= 14.0 + 1e-9
    arrival_s, departure_s = (900.0 * ends for ends in (demand.requests.arrival_step, demand.requests.departure_step))
    meant_kw = {name: np.zeros(len(second)) for name in sent_kw}
    for vehicle, plug in enumerate(demand.plug):
        there = (second >= arrival_s[vehicle]) & (second < departure_s[vehicle])
        meant_kw[plug] += there * np.repeat(planning.best.power_kw[:, vehicle], step_s)
    slack = {"A": 0.1 * 0.23 * 3, "W": 1e-3}[unit]
    for name, kw in sent_kw.items():
        less = meant_kw[name] - kw
        assert less.min() >= -1e-6
        assert less.max() <= slack + 1e-6


def test_words_of_each_version(planned):
    planning, demand = planned
    first = {version: set_charging_profile(plan_schedules(planning, demand), version, "A")[0] for version in VERSIONS}
    old, new = first["1.6"]["payload"], first["2.0.1"]["payload"]
    assert {one["charger"] for one in first.values()} == {"P2"}
    assert (old["connectorId"], new["evseId"]) == (1, 1)
    assert new == first["2.1"]["payload"]
    profile = old["csChargingProfiles"]
    assert (profile["chargingProfilePurpose"], profile["chargingProfileKind"]) == ("TxDefaultProfile", "Absolute")
    assert (profile["validFrom"], profile["validTo"]) == ("2025-03-29T22:00:00Z", "2025-03-30T03:00:00Z")
    assert profile["chargingSchedule"]["startSchedule"] == "2025-03-29T22:00:00Z"
    assert profile["chargingSchedule"]["duration"] == 5 * 3600  # an hour less by the clock
    assert profile["chargingSchedule"]["chargingSchedulePeriod"][0]["numberPhases"] == 1
    by_name = {
        one["charger"]: one["payload"] for one in set_charging_profile(plan_schedules(planning, demand), "1.6", "A")
    }
    assert by_name["P1"]["connectorId"] == 2
    assert {period["numberPhases"] for period in schedule_of(by_name["P3"])["chargingSchedulePeriod"]} == {3}


def test_limits_are_rounded_down_and_pause_below_six_ampere():
    limit_kw = np.array([11.0, 4.14, 4.139, 1.0, 0.0, -1e-9, 16.1 * 0.69])
    three = Schedule("x", 1, BEGIN, 900 * np.arange(7), limit_kw, 6300, 3, 4.14)
    assert accepted(three, "A").tolist() == [15.9, 6.0, 0.0, 0.0, 0.0, 0.0, 16.1]
    assert accepted(three, "W").tolist() == [11_000, 4_140, 0, 0, 0, 0, 11_109]
    assert paused_kwh(three, "A") == pytest.approx((4.139 + 1.0) / 4)
    one = Schedule("x", 1, BEGIN, np.array([0, 900]), np.array([7.4, 1.39]), 1800, 1, 1.38)
    assert accepted(one, "A").tolist() == [32.1, 6.0]
    dc = Schedule("x", 1, BEGIN, np.array([0]), np.array([2.0]), 900, 3, 0.0)
    assert accepted(dc, "W").tolist() == [2000.0]


def test_a_message_holds_no_more_than_its_schema_says():
    many = Schedule("x", 1, BEGIN, np.arange(1025), np.arange(1025.0) + 9, 1025, 3)
    with pytest.raises(InputError, match="1025 changes of its limit, a message 1024 at most"):
        set_charging_profile([many], "2.0.1", "W")
    flat = Schedule("x", 1, BEGIN, np.arange(5000), np.full(5000, 9.0), 5000, 3)
    assert len(schedule_of(set_charging_profile([flat], "2.0.1", "W")[0]["payload"])["chargingSchedulePeriod"]) == 1


def test_the_command(cosim, tmp_path):
    path = tmp_path / "s.csv"
    path.write_text(FILE)
    command = ("plan", str(path), "--capacity-kw", "3", "--ocpp", "1.6", "--out", str(tmp_path / "out"))
    code, _, err = cosim(*command)
    assert code == 2
    assert "--ocpp: needs UTC" in err
    code, _, err = cosim(*command, "--timezone", "Europe/Berlin")
    assert code == 0, err
    assert "below 6 A a charger pauses" in err
    written = json.loads((tmp_path / "out" / "ocpp.json").read_text())
    assert written["ocpp"] == "1.6"
    for message in written["messages"]:
        check_schema(message["payload"], "1.6")


SCENARIO = """name = "hour"
feeder = "two_bus"
start = 2026-05-15T12:00:00
zone = "Europe/London"
horizon_h = 1
step_min = 15
control_min = 15
seed = 1
[ev]
share = 1.0
[[runs]]
controller = "none"
[[runs]]
controller = "envelopes"
"""


def test_caps_of_a_run(cosim, tmp_path):
    """In British summer time 12:00 is 11:00 UTC."""
    (tmp_path / "hour.toml").write_text(SCENARIO)
    folder, out = tmp_path / "run", tmp_path / "out"
    code, _, err = cosim("run", str(tmp_path / "hour.toml"), "--out", str(folder), "--no-figures", "--quiet")
    assert code == 0, err
    caps = pd.read_parquet(folder / "trajectories" / "envelopes" / "customers.parquet")
    caps_kw = caps.pivot_table(index="step", columns="customer", values="import_cap_kw", observed=True)
    begin = datetime(2026, 5, 15, 11, tzinfo=UTC)
    seconds = begin.timestamp() + 900 * np.arange(4) + 450
    for version in VERSIONS:
        code, said, err = cosim("ocpp", str(folder), "--version", version, "--out", str(out), "--overwrite")
        assert code == 0, err
        assert "envelopes: 3 customers" in said
        assert [path.name for path in out.glob("*.json")] == ["envelopes.json"]
        messages = json.loads((out / "envelopes.json").read_text())["messages"]
        assert [one["charger"] for one in messages] == list(caps_kw.columns)
        purpose = "ChargePointMaxProfile" if version == "1.6" else "ChargingStationMaxProfile"
        for message in messages:
            payload = message["payload"]
            check_schema(payload, version)
            assert payload.get("connectorId", payload.get("evseId")) == 0
            assert purpose in json.dumps(payload)
            less_kw = caps_kw[message["charger"]].to_numpy() - followed(payload, seconds)
            assert less_kw.min() >= -1e-6
            assert less_kw.max() <= 1e-3 + 1e-6
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["scenario"]["zone"] = None
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="nothing says of which zone its clock is"):
        run_schedules(folder)
    other = run_schedules(folder, "Asia/Kolkata")["envelopes"][0]
    assert other.begin == begin - timedelta(hours=4, minutes=30)
    (folder / "trajectories" / "envelopes" / "customers.parquet").unlink()
    with pytest.raises(InputError, match="no run has caps"):
        run_schedules(folder, "UTC")
    assert cosim("ocpp", str(tmp_path), "--out", str(out))[0] == 2
