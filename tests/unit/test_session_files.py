"""Session files as their owners have them: what is planned of each, and what is said of rows at fault."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from cosim.controllers.planner.plan import plan
from cosim.controllers.planner.requests import make_station
from cosim.errors import InputError
from cosim.experiments.plan.columns import profiles, zones
from cosim.experiments.plan.options import ReadOptions
from cosim.experiments.plan.read import Demand, read_demand
from cosim.experiments.plan.write import vehicle_kpis

SEED = "vehicle,powerNom,energyRequired,energyMax,arrivalTime,departureTime"
BERLIN = "Europe/Berlin"


def read(folder: Path, text: str, name: str = "s.csv", **options: Any) -> Demand:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_demand(path, 900.0, ReadOptions(**options))


def refused(folder: Path, text: str, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        read(folder, text, **options)
    return str(caught.value)


def spans(demand: Demand) -> list[tuple[str, str]]:
    """Arrival and departure in UTC, by arithmetic of the standard library."""
    start = demand.start.to_pydatetime().astimezone(UTC)
    requests = demand.requests
    ends = zip(requests.arrival_step, requests.departure_step, strict=True)
    return [
        tuple((start + timedelta(seconds=round(900 * step))).strftime("%Y-%m-%d %H:%M:%S") for step in pair)
        for pair in ends
    ]


def test_an_hour_that_summer_time_takes_is_no_charging(tmp_path):
    text = f"{SEED}\n1,11,20,60,2025-03-30 01:30:00,2025-03-30 03:30:00\n"
    demand = read(tmp_path, text, timezone=BERLIN)
    stay_h = (demand.requests.departure_step - demand.requests.arrival_step) / 4
    assert stay_h == pytest.approx([1.0])
    assert demand.steps == 92
    without = read(tmp_path, text)
    assert (without.steps, without.start.tzinfo) == (96, None)


def test_an_hour_that_comes_twice_is_read_as_the_shorter_stay_and_told(tmp_path):
    text = f"{SEED}\n1,11,5,60,2025-10-26 02:30,2025-10-26 06:00\n2,11,5,60,2025-10-25 20:00,2025-10-26 02:30\n"
    text += "3,11,1,60,2025-10-26 02:15,2025-10-26 02:45\n4,11,1,60,2025-10-26 02:45,2025-10-26 02:15\n"
    demand = read(tmp_path, text, timezone=BERLIN)
    assert spans(demand) == [
        ("2025-10-26 01:30:00", "2025-10-26 05:00:00"), ("2025-10-25 18:00:00", "2025-10-26 00:30:00"),
        ("2025-10-26 00:15:00", "2025-10-26 01:45:00"), ("2025-10-26 00:45:00", "2025-10-26 01:15:00"),
    ]  # fmt: skip
    assert any("comes twice" in warning and "later of both" in warning for warning in demand.warnings)
    assert any("the clock changes" in warning for warning in demand.warnings)
    skipped = read(tmp_path, f"{SEED}\n1,11,5,60,2025-03-30 02:30,2025-03-30 06:00\n", timezone=BERLIN)
    assert spans(skipped) == [("2025-03-30 01:00:00", "2025-03-30 04:00:00")]
    assert "does not exist" in skipped.warnings[0]


MAKERS = {
    "elaad": """TransactionId;ChargePoint;Connector;UTCTransactionStart;UTCTransactionStop;TotalEnergy;MaxPower
1;CP01;1;03/01/2019 10:08;03/01/2019 18:41;7,42;3,64
2;CP02;2;03/01/2019 17:30;04/01/2019 08:12;21,90;7,30
""",
    "dft": """ChargingEvent,CPID,StartDate,StartTime,EndDate,EndTime,Energy,PluginDuration
1,AN1,2017-06-30,14:46:00,2017-06-30,18:00:00,2.4,3.23
2,AN2,2017-06-30,18:25:18,2017-07-01,13:09:18,6.1,18.73
""",
    "boulder": """ObjectID,Start_Date___Time,Start_Time_Zone,End_Date___Time,End_Time_Zone,Energy__kWh_,Port_Type
1,2018/01/01 17:49:00+00,MDT,2018/01/01 19:52:00+00,MDT,6.504,Level 2
2,1/1/2018 17:50,MST,1/1/2018 19:52,MST,16.8,Level 2
""",
    "connections": """Session,ConnectionStartDateTime,ConnectionEndDateTime,Power,Energy
S1,2018-10-08T05:22:14Z,2018-10-08T09:34:08Z,3.7,6.34
""",
    "palo_alto": """Station Name,MAC Address,Start Date,Start Time Zone,End Date,End Time Zone,Energy (kWh),\
Port Type,Port Number
A,00:01,7/29/2011 8:17 PM,PDT,7/29/2011 11:20 PM,PDT,6.249,Level 2,2
B,00:02,7/29/2011 20:17,UTC,7/29/2011 23:20,UTC,0.107,Level 1,1
""",
    "seed": f"{SEED}\n1,11,10,60,2025-03-10 06:30:00,2025-03-10 08:30:00\n",
    "plain": "charger_kw\tenergy_kwh\tstart\tend\n11\t7,25\t10.03.2025 06:30\t10.03.2025 08:30\n",
}
RECORDS = {
    "acn": {"_meta": {"page": 1}, "_items": [{
        "_id": "a", "connectionTime": "Wed, 25 Apr 2018 11:08:04 GMT",
        "disconnectTime": "Wed, 25 Apr 2018 13:20:10 GMT",
        "kWhDelivered": 7.932, "stationID": "2-39-79-378", "timezone": "America/Los_Angeles",
        "userInputs": [{"kWhRequested": 25.0}], "doneChargingTime": None,
    }]},
    "ocpi_sessions": {"status_code": 1000, "data": [{
        "id": "101", "start_date_time": "2015-06-29T22:39:09", "end_date_time": "2015-06-29T23:50:16Z", "kwh": 4.1,
        "auth_method": "WHITELIST", "location_id": "L", "evse_uid": "3256", "connector_id": "1", "status": "COMPLETED",
    }, {
        "id": "102", "start_date_time": "2015-06-29T22:39:09Z", "end_date_time": None, "kwh": 0.5, "status": "ACTIVE",
        "auth_method": "WHITELIST", "location_id": "L", "evse_uid": "3257", "connector_id": "1",
    }]},
    "ocpi_cdrs": [{
        "id": "12345", "start_date_time": "2015-06-29T21:39:09Z", "end_date_time": "2015-06-29T23:37:32+00:00",
        "cdr_location": {"id": "L", "evse_uid": "3256", "connector_id": "2", "connector_power_type": "AC_3_PHASE"},
        "total_energy": 15.342, "total_time": 1.973,
    }],
}  # fmt: skip
RIGHT: dict[str, tuple[list[tuple[str, str]], list[float], list[float], list[str]]] = {
    "elaad": (
        [("2019-01-03 10:08:00", "2019-01-03 18:41:00"), ("2019-01-03 17:30:00", "2019-01-04 08:12:00")],
        [3.64, 7.3], [7.42, 21.9], ["CP01/1", "CP02/2"],
    ),
    "dft": (  # British summer time
        [("2017-06-30 13:46:00", "2017-06-30 17:00:00"), ("2017-06-30 17:25:18", "2017-07-01 12:09:18")],
        [7.0, 7.0], [2.4, 6.1], ["AN1", "AN2"],
    ),
    "boulder": (  # the second drew more than its kind of charger usually gives
        [("2018-01-02 00:49:00", "2018-01-02 02:52:00"), ("2018-01-02 00:50:00", "2018-01-02 02:52:00")],
        [7.2, 16.8 / (122 / 60)], [6.504, 16.8], ["1", "2"],
    ),
    "connections": ([("2018-10-08 05:22:14", "2018-10-08 09:34:08")], [3.7], [6.34], ["S1"]),
    "palo_alto": (
        [("2011-07-30 03:17:00", "2011-07-30 06:20:00"), ("2011-07-29 20:17:00", "2011-07-29 23:20:00")],
        [7.2, 1.9], [6.249, 0.107], ["00:01/2", "00:02/1"],
    ),
    "seed": ([("2025-03-10 05:30:00", "2025-03-10 07:30:00")], [11.0], [10.0], ["1"]),
    "plain": ([("2025-03-10 05:30:00", "2025-03-10 07:30:00")], [11.0], [7.25], ["row 2"]),
    "acn": ([("2018-04-25 11:08:04", "2018-04-25 13:20:10")], [6.656], [7.932], ["2-39-79-378"]),
    "ocpi_sessions": ([("2015-06-29 22:39:09", "2015-06-29 23:50:16")], [7.4], [4.1], ["L/3256/1"]),
    "ocpi_cdrs": ([("2015-06-29 21:39:09", "2015-06-29 23:37:32")], [22.0], [15.342], ["L/3256/2"]),
}  # fmt: skip


@pytest.mark.parametrize("name", RIGHT)
def test_a_maker_is_known_by_its_columns(tmp_path, name):
    text = MAKERS.get(name) or json.dumps(RECORDS[name])
    file = "s.csv" if name in MAKERS else "s.json"
    zone = {"timezone": BERLIN} if name in ("seed", "plain") else {}
    demand = read(tmp_path, text, file, **zone)
    times, power_kw, need_kwh, plugs = RIGHT[name]
    assert demand.profile == name
    assert spans(demand) == times
    assert demand.requests.power_max_kw == pytest.approx(power_kw)
    assert demand.requests.energy_need_kwh == pytest.approx(need_kwh)
    assert list(demand.plug) == plugs
    assert (demand.requests.efficiency == (0.9 if name == "seed" else 1.0)).all()


def test_every_profile_has_a_file_here_and_every_zone_is_known():
    assert set(profiles()) == set(RIGHT)
    for name in (*zones().values(), *(one.timezone or "UTC" for one in profiles().values())):
        ZoneInfo(name)


@pytest.mark.parametrize(
    "write",
    [
        lambda at: at.strftime("%Y-%m-%dT%H:%M:%S%z"),
        lambda at: at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ"),
        lambda at: at.astimezone(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
        lambda at: at.strftime("%a, %d %b %Y %H:%M:%S %z"),
        lambda at: at.strftime("%d.%m.%Y %H:%M:%S"),
        lambda at: at.strftime("%d.%m.%y %H:%M:%S"),
        lambda at: at.strftime("%m/%d/%Y %I:%M:%S %p"),
        lambda at: at.strftime("%Y/%m/%d %H:%M:%S.000"),
        lambda at: at.astimezone(ZoneInfo("Asia/Kolkata")).isoformat(),
    ],
)  # fmt: skip
def test_one_moment_in_many_words(tmp_path, write):
    rng = np.random.default_rng(5)
    begin = datetime(2025, 7, 1, tzinfo=ZoneInfo(BERLIN))
    arrival = [begin + timedelta(seconds=int(second)) for second in rng.integers(0, 28 * 86_400, 40)]
    rows = [f'{k},11,1,"{write(at)}","{write(at + timedelta(hours=3))}"' for k, at in enumerate(arrival)]
    demand = read(tmp_path, "vehicle,charger_kw,energy_kwh,arrival,departure\n" + "\n".join(rows), timezone=BERLIN)
    right = [
        tuple((at.astimezone(UTC) + timedelta(hours=h)).strftime("%Y-%m-%d %H:%M:%S") for h in (0, 3)) for at in arrival
    ]
    assert spans(demand) == right
    assert not demand.warnings


def test_day_and_month_that_cannot_be_told_apart_are_asked_for(tmp_path):
    text = "charger_kw,energy_kwh,arrival,departure\n11,1,3/4/2025 08:00,3/4/2025 10:00\n"
    assert "--dates dmy or --dates mdy" in refused(tmp_path, text, timezone="UTC")
    assert spans(read(tmp_path, text, timezone="UTC", dates="mdy"))[0][0] == "2025-03-04 08:00:00"
    assert spans(read(tmp_path, text, timezone="UTC", dates="dmy"))[0][0] == "2025-04-03 08:00:00"


def test_marks_that_a_spreadsheet_changed_in_some_rows_keep_their_order(tmp_path):
    """As a published file has it: days up to the twelfth with points, all others with strokes, months first in both."""
    text = "charger_kw,energy_kwh,arrival,departure\n11,1,01.03.17 22:17,01.04.17 02:56\n"
    assert "is 30.2 days after the arrival" in refused(tmp_path, text, timezone="UTC")
    text += "11,1,1/14/2017 08:00,1/14/2017 10:00\n"
    demand = read(tmp_path, text, timezone="UTC")
    assert spans(demand)[0] == ("2017-01-03 22:17:00", "2017-01-04 02:56:00")
    assert "read month first" in demand.warnings[0]


def test_more_than_any_charger_gives_is_a_fault_of_the_row(tmp_path):
    text = (
        "energy_kwh,arrival,departure\n9,2025-03-10 06:00:00,2025-03-10 06:00:40\n9,2025-03-10 06:00,2025-03-10 06:40\n"
    )
    demand = read(tmp_path, text)
    assert demand.requests.power_max_kw.tolist() == [13.5]
    assert "row 2: energy_kwh: 810 kW were drawn" in demand.warnings[0]


def test_the_same_table_in_every_format(tmp_path):
    pytest.importorskip("openpyxl")
    table = pd.DataFrame({
        "charger_kw": [11.0, 7.4], "energy_kwh": [10.5, 3.25], "battery_kwh": [60.0, np.nan],
        "arrival": pd.to_datetime(["2025-03-10 06:30:00", "2025-03-10 07:00:30"]),
        "departure": pd.to_datetime(["2025-03-10 08:30", "2025-03-10 19:00"]),
    })  # fmt: skip
    table.to_csv(tmp_path / "s.csv", index=False)
    table.to_excel(tmp_path / "s.xlsx", index=False)
    table.to_parquet(tmp_path / "s.parquet")
    table.to_json(tmp_path / "s.json", orient="records", date_format="iso")
    for name in ("s.csv", "s.xlsx", "s.parquet", "s.json"):
        demand = read_demand(tmp_path / name, 900.0)
        assert demand.requests.arrival_step == pytest.approx([26.0, 28 + 1 / 30]), name
        assert demand.requests.departure_step == pytest.approx([34.0, 76.0]), name
        assert demand.requests.battery_kwh.tolist() == [60.0, np.inf], name
    with_zone = table.assign(
        arrival=table["arrival"].dt.tz_localize(BERLIN), departure=table["departure"].dt.tz_localize(BERLIN)
    )
    with_zone.to_parquet(tmp_path / "z.parquet")
    assert spans(read_demand(tmp_path / "z.parquet", 900.0))[0] == ("2025-03-10 05:30:00", "2025-03-10 07:30:00")


def test_titles_and_further_sheets_are_told(tmp_path, cosim):
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.title = "May"
    rows = [["Depot"], [], ["vehicle", "arrival", "departure", "energy_kwh"], ["a", "08:00", "12:00", 10]]
    rows[3][1:3] = (datetime(2025, 5, 2, hour) for hour in (8, 12))
    for row in rows:
        book.active.append(row)
    book.create_sheet("June").append(["b"])
    book.create_sheet("Empty")
    path = tmp_path / "s.xlsx"
    book.save(path)
    code, out, err = cosim("plan", str(path), "--capacity-kw", "100", "--out", str(tmp_path / "out"))
    assert code == 0, err
    assert "planned: 1" in out
    assert "is read from its sheet 'May' alone, not from 'June' →" in " ".join(err.split())
    assert "has its header in row 3" in " ".join(err.split())
    book.move_sheet("June", -1)
    book.save(path)
    code, _, err = cosim("plan", str(path), "--capacity-kw", "100", "--out", str(tmp_path / "other"))
    assert (code, "not from 'May'" in " ".join(err.split())) == (2, True)
    below = "Depot\nvehicle;arrival;departure;energy, kWh;energy_kwh\na;2025-05-02 08:00;2025-05-02 12:00;1;10,5\n"
    assert read(tmp_path, below).requests.energy_need_kwh.tolist() == [10.5]


def test_bad_rows_are_named_and_the_others_planned(tmp_path, cosim):
    text = f"""{SEED}
1,11,10,60,2025-03-10 06:30:00,2025-03-10 08:30:00
2,11,53.38,30,2025-03-10 06:30:00,2025-03-10 11:30:00
3,11,10,60,2025-03-10 06:30:00,2025-03-10 08:30:00
4,11,ten,60,2025-03-10 06:30:00,2025-03-10 08:30:00
5,11,10,60,2025-03-10 20:30:00,
6,-3,10,60,2025-03-10 06:30:00,2025-03-10 08:30:00
7,11,10,60,2025-03-10 09:30:00,2025-03-10 08:30:00
"""
    path = tmp_path / "s.csv"
    path.write_text(text)
    command = ("plan", str(path), "--capacity-kw", "100", "--out", str(tmp_path / "out"))
    code, out, err = cosim(*command)
    assert code == 0, err
    assert "rows: 7, planned: 3 (changed: 1), left out: 4, profile: seed" in out
    assert "row 3: energyRequired: 53.38 kWh wanted, 30 kWh of room in the battery; clipped to 30 kWh" in err
    vehicles = pd.read_csv(tmp_path / "out" / "vehicles.csv")
    assert vehicles["energy_delivered_kwh"].to_numpy() == pytest.approx([10.0, 30.0, 10.0], abs=1e-4)
    rows = pd.read_csv(tmp_path / "out" / "rows.csv")
    assert list(zip(rows["row"], rows["column"], rows["action"], strict=True)) == [
        (3, "energyRequired", "clipped to 30 kWh"), (5, "energyRequired", "left out"), (6, "departureTime", "left out"),
        (7, "powerNom", "left out"), (8, "departureTime", "left out"),
    ]  # fmt: skip
    assert json.loads((tmp_path / "out" / "plan.json").read_text())["rows"] == {
        "rows": 7, "planned": 3, "changed": 1, "left_out": 4
    }  # fmt: skip
    code, _, err = cosim(*command, "--strict", "--overwrite")
    assert (code, err.count("error:")) == (2, 5)
    usual = read(tmp_path, text, stay_h=4.0)
    assert usual.requests.vehicle == ("1", "2", "3", "5")
    assert (usual.requests.departure_step - usual.requests.arrival_step)[-1] == 16


def test_watts_are_noticed_and_read_when_told(tmp_path):
    text = f"{SEED}\n1,11000,30000,60000,2025-03-10 19:30:00,2025-03-11 07:30:00\n"
    demand = read(tmp_path, text)
    assert "'powerNom' holds up to 11000 kW: is it in W? → if so, --columns power_w=powerNom" in "\n".join(
        demand.warnings
    )
    watts = read(tmp_path, text, columns="power_w=powerNom,energy_wh=energyRequired,battery_wh=energyMax")
    requests = watts.requests
    assert (requests.power_max_kw[0], requests.energy_need_kwh[0], requests.battery_kwh[0]) == (11.0, 30.0, 60.0)
    assert not watts.warnings


def test_a_battery_need_not_be_known(tmp_path, cosim):
    text = "powerNom,energyRequired,arrivalTime,departureTime\n11,30,2025-03-10 19:30,2025-03-11 07:30\n"
    demand = read(tmp_path, text)
    planning = plan(demand.requests, make_station(demand.steps, 100.0))
    assert planning.best.delivered_kwh == pytest.approx([30.0], abs=1e-4)
    assert np.isnan(vehicle_kpis(planning)["soe_departure_percent"][0])
    command = ("plan", str(tmp_path / "s.csv"), "--capacity-kw", "100", "--out", str(tmp_path / "out"))
    code, _, err = cosim(*command, "--objective", "weighted")
    assert code == 2
    assert "use --objective service" in err


DELIVERED = {
    "an hour less": ("1,11,20,60,2025-03-30 01:30:00,2025-03-30 03:30:00\n", [9.9]),
    "over midnight": ("1,11,30,60,2025-03-10 19:30:00,2025-03-11 07:30:00\n", [30.0]),
    "nothing wanted": ("1,11,0,60,2025-03-10 19:30:00,2025-03-11 07:30:00\n", [0.0]),
    "more than fits": ("1,11,53.38,30,2025-03-10 06:30:00,2025-03-10 11:30:00\n", [30.0]),
    "a week apart": (
        "1,11,10,60,2025-03-10 06:30,2025-03-10 08:30\n2,11,10,60,2025-03-18 06:30,2025-03-18 08:30\n", [10.0, 10.0],
    ),
    "twice": (
        "A,11,10,60,2025-03-10 06:30,2025-03-10 08:30\nA,11,10,60,2025-03-10 19:30,2025-03-11 07:30\n", [10.0, 10.0],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DELIVERED)
def test_what_is_delivered(tmp_path, name):
    """In the battery, with 0.9 of what is drawn."""
    rows, delivered_kwh = DELIVERED[name]
    demand = read(tmp_path, f"{SEED}\n{rows}", timezone=BERLIN)
    planning = plan(demand.requests, make_station(demand.steps, 100.0))
    assert planning.best.delivered_kwh == pytest.approx(delivered_kwh, abs=1e-4)


def test_a_vehicle_may_come_twice_but_not_at_once(tmp_path):
    text = f"{SEED}\nKL-123,11,10,60,2025-03-10 06:30,2025-03-10 08:30\n"
    text += "KL-123,11,10,60,2025-03-10 19:30,2025-03-11 07:30\n"
    demand = read(tmp_path, text)
    assert demand.requests.vehicle == ("KL-123 (1)", "KL-123 (2)")
    assert not demand.warnings
    at_once = read(tmp_path, text.replace("10 19:30", "10 08:00"))
    assert len(at_once.requests) == 1
    assert "row 3: vehicle: 'KL-123' is still there from a row before; left out" in at_once.warnings[0]


def test_a_plug_has_one_vehicle_at_a_time(tmp_path):
    text = """vehicle,plug,charger_kw,energy_kwh,arrival,departure
a,P1,11,5,2025-03-10 06:00,2025-03-10 10:00
b,P1,11,5,2025-03-10 09:00,2025-03-10 12:00
c,P1,11,5,2025-03-10 07:00,2025-03-10 09:30
d,P2,11,5,2025-03-10 07:00,2025-03-10 09:30
"""
    demand = read(tmp_path, text)
    assert demand.requests.vehicle == ("a", "b", "d")
    assert demand.requests.arrival_step.tolist() == [24.0, 40.0, 28.0]
    assert demand.findings[["row", "action"]].to_numpy().tolist() == [
        [3, "its stay begins when that one leaves"], [4, "left out"]
    ]  # fmt: skip


def test_months_are_planned_a_day_at_a_time(tmp_path):
    days = [
        f"{k},11,10,2025-{1 + k // 28:02}-{1 + k % 28:02} 20:00,2025-{1 + k // 28:02}-{1 + k % 28:02} 23:59"
        for k in range(100)
    ]
    text = "vehicle,charger_kw,energy_kwh,arrival,departure\n" + "\n".join(days)
    text += "\nlate,11,10,2025-02-09 23:00,2025-02-10 07:00\nnoon,11,0,2025-02-10 12:00,2025-02-10 13:00\n"
    assert "--day 2025-02-09" in refused(tmp_path, text)
    demand = read(tmp_path, text, day="2025-02-10")
    assert demand.requests.vehicle == ("37", "noon")
    assert "2 of 102 rows arrive on 2025-02-10" in demand.warnings[0]
    assert "1 of days before are still there" in demand.warnings[0]
    assert "nobody arrives on 2024-01-01" in refused(tmp_path, text, day="2024-01-01")
    assert "is 'tomorrow'" in refused(tmp_path, text, day="tomorrow")
    eight = f"{SEED}\n1,11,10,60,2025-03-10 06:30,2025-03-10 08:30\n2,11,10,60,2025-03-18 06:30,2025-03-18 08:30\n"
    assert (len(read(tmp_path, eight).requests), read(tmp_path, eight).steps) == (2, 9 * 96)


def test_energy_at_the_plug_and_in_the_battery(tmp_path):
    text = "charger_kw,energy_kwh,arrival,departure\n10,20,2025-03-10 06:00,2025-03-10 08:00\n"
    at = {
        "plug": read(tmp_path, text), "battery": read(tmp_path, text, energy="battery"),
        "both": read(tmp_path, text, efficiency=0.85),
        "seed": read(tmp_path, text.replace("energy_kwh", "energyRequired")),
    }  # fmt: skip
    found = {key: (one.requests.energy_need_kwh[0], one.requests.efficiency[0]) for key, one in at.items()}
    assert found == {"plug": (20.0, 1.0), "battery": (20.0, 0.9), "both": (17.0, 0.85), "seed": (20.0, 0.9)}


def test_states_of_charge(tmp_path):
    head = "charger_kw,battery_kwh,soc_arrival_percent,soc_target_percent,arrival,departure\n"
    stay = "2025-03-10 06:00,2025-03-10 12:00"
    demand = read(tmp_path, f"{head}11,60,20,80,{stay}\n11,40,50,40,{stay}\n11,40,120,40,{stay}\n")
    assert demand.requests.energy_need_kwh == pytest.approx([36.0, 0.0])
    assert demand.requests.soe_arrival_kwh == pytest.approx([12.0, 20.0])
    assert demand.requests.efficiency.tolist() == [0.9, 0.9]
    assert "row 4: soc_arrival_percent: is 120 %" in demand.warnings[0]
    shares = read(tmp_path, f"{head}11,60,0.2,0.8,{stay}\n")
    assert shares.requests.energy_need_kwh == pytest.approx([36.0])
    assert "shares from 0 to 1" in shares.warnings[0]
    filled = read(tmp_path, f"powerNom,energyMax,session_start,session_end\n11,60,{stay}\n")
    assert filled.requests.energy_need_kwh == pytest.approx([60.0])
    assert "batteries are filled" in filled.warnings[0]


def test_decimal_commas_where_they_are_such(tmp_path):
    stay = "2025-03-10 06:00,2025-03-10 12:00"
    head = "charger_kw,energy_kwh,arrival,departure\n"
    assert read(tmp_path, f'{head}"7,4","12,125",{stay}\n"7,4","9,5",{stay}\n').requests.energy_need_kwh.tolist() == [
        12.125,
        9.5,
    ]
    assert "is not a number: '1,234'" in refused(tmp_path, f'{head}11,"1,234",{stay}\n')


def test_own_columns(tmp_path):
    text = "Plate,From,At,Until,kWh,Box\nKL 1,10.03.2025,06:30,10.03.2025 08:30,5.5,A\n"
    text += "KL 2,10.03.2025,,10.03.2025 08:30,1,B\n"
    mapped = "vehicle=Plate,arrival=From + At,departure=until,energy=kWh,plug=Box"
    demand = read(tmp_path, text, columns=mapped, charger_kw=22.0)
    assert (demand.requests.vehicle, demand.requests.power_max_kw.tolist()) == (("KL 1",), [22.0])
    assert demand.requests.arrival_step.tolist() == [26.0]
    assert "row 3: From + At: is empty" in demand.warnings[0]
    assert "did you mean 'Plate'?" in refused(tmp_path, text, columns=mapped.replace("=Plate", "=Plat"))
    assert "did you mean 'vehicle'?" in refused(tmp_path, text, columns="vehicl=Plate")
    assert "arrivalTime: column is missing" in refused(tmp_path, text, columns="vehicle=Plate")
    assert "did you mean 'elaad'?" in refused(tmp_path, text, profile="elad")
    assert "unknown time zone" in refused(tmp_path, text, columns=mapped, timezone="Europe/Berlinn")


def test_a_profile_of_ones_own(tmp_path):
    text = "kWh,From,Until,kW\n5,3/4/2025 08:00,3/4/2025 10:00,11\n"
    own = tmp_path / "depot.toml"
    own.write_text(
        'dates = "dmy"\ntimezone = "Europe/Berlin"\nenergy = "battery"\n'
        '[columns]\narrival = ["From"]\ndeparture = ["Until"]\nenergy_kwh = ["kWh"]\npower_kw = ["kW"]\n'
    )
    demand = read(tmp_path, text, profile=str(own))
    assert spans(demand) == [("2025-04-03 06:00:00", "2025-04-03 08:00:00")]
    assert (demand.profile, demand.requests.efficiency.tolist()) == ("depot", [0.9])
    own.write_text('date = "dmy"\nenergy = "car"\nlike = "plane"\n[columns]\narival = ["From"]\n')
    told = refused(tmp_path, text, profile=str(own))
    for words in ("date: unexpected keyword", "did you mean 'dates'?", "energy: ", "'plain'?", "mean 'arrival'?"):
        assert words in told
    assert "no such file" in refused(tmp_path, text, profile=str(tmp_path / "none.toml"))


@pytest.mark.parametrize("text", ["{", "[1, 2]", "{}", '{"a": [{"b": 1}], "c": [{"b": 1}]}'])
def test_documents_that_hold_no_sessions(tmp_path, text):
    path = tmp_path / "s.json"
    path.write_text(text)
    with pytest.raises(InputError):
        read_demand(path, 900.0)
