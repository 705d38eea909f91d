"""The interface as a client meets it: HTTP, to a server in a process of its own."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from ocpp.messages import MessageType, get_validator
from PIL import Image

from cosim.errors import InputError
from cosim.experiments.figures.style import Drawing
from cosim.experiments.plan.config import PlanConfig
from cosim.experiments.plan.study import PlanResult, PlanStudy
from cosim.experiments.web.catalogue import Catalogue
from cosim.experiments.web.planning import Planning
from cosim.experiments.web.problems import by_request_names
from cosim.experiments.web.schemas import PlanRequest, SessionReading
from cosim.experiments.web.settings import Settings
from tests.web.conftest import TOKEN, Served

HEADER = "vehicle,powerNom,energyRequired,energyMax,arrivalTime,departureTime"
ROWS = f"""{HEADER}
1,22,26,52,47,67
2,7,17.6711,30,33,43
3,11,45.815,52,41,58
4,11,27.9156,88,59,69
5,6,20.305,88,32,46
"""
PAIR = f"{HEADER}\n1,7,16.59,52,31,41\n2,11,8.72,100,38,43\n"
DASHBOARD = (
    f"{HEADER}\n1,7,16,52,2025-08-18 05:15:44,2025-08-18 09:04:16\n2,7,16,52,2025-08-18 05:15:44,2025-08-18 09:04:16\n"
)
DATED = f"""{HEADER}
a,11,20,60,2025-08-18 08:00:00,2025-08-18 16:00:00
b,22,30,80,2025-08-18 09:30:00,2025-08-18 15:15:00
"""
CASES = {
    "clocks go forward": f"{HEADER}\n1,11,20,60,2025-03-30 01:30:00,2025-03-30 03:30:00\n",
    "no departure": f"{HEADER}\n1,11,30,60,2025-03-10 19:30:00,2025-03-11 07:30:00\n2,11,30,60,2025-03-10 20:30:00,\n",
    "more than the battery": f"{HEADER}\n1,11,10,60,2025-03-10 06:30:00,2025-03-10 08:30:00\n"
    "2,11,53.38,30,2025-03-10 06:30:00,2025-03-10 11:30:00\n",
    "watts": f"{HEADER}\n1,11000,30000,60000,2025-03-10 19:30:00,2025-03-11 07:30:00\n",
    "eight days": f"{HEADER}\n1,11,10,60,2025-03-10 06:30:00,2025-03-10 08:30:00\n"
    "2,11,10,60,2025-03-18 06:30:00,2025-03-18 08:30:00\n",
    "open transactions": "TransactionId;ChargePoint;Connector;UTCTransactionStart;UTCTransactionStop;TotalEnergy;"
    "MaxPower\n1;CP01;1;01/01/2019 10:08;01/01/2019 18:41;7,42;3,64\n"
    "2;CP02;2;01/01/2019 17:30;02/01/2019 08:12;21,90;7,30\n",
}


def first(count: int, values: Iterable[str]) -> list[Any]:
    """Parameters of a test, of which all after the first few are left to the long run."""
    slow = pytest.mark.slow
    return [value if k < count else pytest.param(value, marks=slow) for k, value in enumerate(values)]


def uploaded(client: httpx.Client, text: str | bytes = ROWS, name: str = "five.csv", **reading: Any) -> str:
    content = text.encode() if isinstance(text, str) else text
    answer = client.post("/sessions", files={"file": (name, content)}, data={"reading": json.dumps(reading)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def planned(client: httpx.Client, sessions: str, **asked: Any) -> dict[str, Any]:
    answer = client.post("/plans", json={"sessions": sessions, "capacity_kw": 100, **asked})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"/api/v1/plans/{found['id']}"
    return found


def table(client: httpx.Client, plan: str, name: str) -> pd.DataFrame:
    return pd.read_parquet(BytesIO(client.get(f"/plans/{plan}/tables/{name}.parquet").content))


def problem_of(answer: httpx.Response, status: int = 422) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["detail"]
    return found


@pytest.mark.parametrize(
    ("rows", "asked", "objective_eur", "drawn_kwh"),
    [
        (ROWS, {"capacity_kw": 100}, 37.2029, [141.6389]),
        (ROWS, {"capacity_kw": 40}, 37.2029, [141.6389]),
        (ROWS, {"capacity_kw": 20}, 38.9883, [139.6389]),
        (ROWS, {"capacity_kw": 15}, 49.1017, [129.5]),
        (ROWS, {"capacity_kw": 20, "formulation": "milp", "min_power_kw": 4.2}, 39.7672, None),
        (ROWS, {"capacity_kw": 20, "formulation": "milp"}, 38.9883, None),
        (PAIR, {"capacity_kw": 18}, 5.1499, [17.5, 9.6889]),
        (PAIR, {"capacity_kw": 18, "time_step_s": 600}, 14.8899, [11.6667, 9.1667]),
        (DASHBOARD, {"capacity_kw": 100, "rounding": "down"}, 4.6222, [17.7778, 17.7778]),
    ],
)
def test_reference_optima(
    client: httpx.Client, rows: str, asked: dict[str, Any], objective_eur: float, drawn_kwh: list[float] | None
) -> None:
    found = planned(client, uploaded(client, rows), objective="weighted", **asked)
    within = 5e-5 if asked.get("formulation") != "milp" else 4e-3  # its gap
    assert found["metrics"]["objective_eur"] == pytest.approx(objective_eur, abs=within)
    if drawn_kwh is not None:
        of_each = table(client, found["id"], "vehicles")["energy_drawn_kwh"]
        drawn = [of_each.sum()] if len(drawn_kwh) == 1 else of_each.tolist()
        assert drawn == pytest.approx(drawn_kwh, abs=1e-3)


class Undrawn(PlanStudy):
    """As the command plans, for speed without its figures."""

    def figures(self, _: PlanResult) -> dict[str, Drawing]:
        return {}


@pytest.mark.parametrize("case", first(2, CASES))
def test_it_answers_as_the_command_does(client: httpx.Client, tmp_path: Path, case: str) -> None:
    path = tmp_path / "cars.csv"
    path.write_text(CASES[case])
    config = PlanConfig(demand=path, capacity_kw=20.0, timezone="Europe/Berlin", formulation="milp", min_power_kw=1.38)
    found = planned(
        client, uploaded(client, CASES[case], "cars.csv", timezone="Europe/Berlin"), capacity_kw=20.0,
        formulation="milp", min_power_kw=1.38,
    )  # fmt: skip
    result = Undrawn().conduct(config, tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())["cases"]["plan"]
    assert found["metrics"] == metrics
    told = [by_request_names(text.replace(str(path), "cars.csv")) for text in result.warnings]
    assert found["warnings"] == told
    ours = set(found["files"])
    assert {one.name for one in (tmp_path / "out").iterdir() if one.suffix not in (".png", "")} == ours
    for name in ("plan.csv", "vehicles.csv", *(["rows.csv"] if "rows.csv" in ours else [])):
        assert client.get(f"/plans/{found['id']}/files/{name}").content == (tmp_path / "out" / name).read_bytes()


def test_a_fault_names_file_row_and_column(client: httpx.Client) -> None:
    backwards, no_number = "1,11,10,60,2025-03-10 06:30,2025-03-10 05:30", "2,x,10,60,2025-03-10 06:30,2025-03-10 09:30"
    bad = f"{HEADER}\n{backwards}\n{no_number}\n"
    answer = client.post("/sessions", files={"file": ("cars.csv", bad.encode())})
    faults = problem_of(answer)["faults"]
    assert [(fault["where"], fault["row"], fault["key"]) for fault in faults] == [
        ("cars.csv", 2, "departureTime"), ("cars.csv", 3, "powerNom"),
    ]  # fmt: skip
    assert all(fault["remedy"] for fault in faults)
    some = f"{bad}3,11,10,60,2025-03-10 06:30:00,2025-03-10 09:30:00\n"
    found = client.get(f"/sessions/{uploaded(client, some, 'cars.csv')}").json()
    assert found["counts"] == {"rows": 3, "planned": 1, "changed": 0, "left_out": 2}
    assert [(one["row"], one["column"], one["action"]) for one in found["findings"]] == [
        (2, "departureTime", "left out"), (3, "powerNom", "left out"),
    ]  # fmt: skip
    strict = client.post("/sessions", files={"file": ("cars.csv", some.encode())}, data={"reading": '{"strict": true}'})
    assert len(problem_of(strict)["faults"]) == 2


def test_what_is_kept_of_a_plan_says_how_it_was_read_and_not_where_it_lies(
    client: httpx.Client, server: Served
) -> None:
    text = "Plate,Date,Until,kWh\na,26.10.2025 02:30,26.10.2025 06:00,10\nb,26.10.2025 08:00,,5\n"
    columns = {"vehicle": "Plate", "arrival": "Date", "departure": "Until", "energy_kwh": "kWh"}
    sent = uploaded(client, text, "cars.csv", columns=columns, timezone="Europe/Berlin")
    found = planned(client, sent)
    assert any("cars.csv, row 2: Date: comes twice" in told for told in found["warnings"])
    assert any("charger_kw" in told for told in found["warnings"])  # by the request's names
    kept = {name: client.get(f"/plans/{found['id']}/files/{name}").text for name in found["files"] if ".p" not in name}
    assert "cars.csv, row 2" in kept["report.md"]
    assert not [name for name, content in kept.items() if str(server.data) in content]
    options = json.loads(kept["manifest.json"])["options"]
    read = {"columns": "vehicle=Plate,arrival=Date,departure=Until,energy_kwh=kWh", "timezone": "Europe/Berlin"}
    assert {name: options[name] for name in read} == read
    refused = problem_of(client.post("/sessions", files={"file": ("own.csv", b"a,b\n1,2\n")}))
    assert "--" not in json.dumps(refused)


def test_a_file_of_unknown_columns_is_kept_and_mapped(client: httpx.Client) -> None:
    text = "Plate,Date,Time,Until,Wh\nKL-1,10.03.2025,08:00,10.03.2025 16:00,12000\n"
    found = problem_of(client.post("/sessions", files={"file": ("own.csv", text.encode())}))
    assert found["columns"] == ["Plate", "Date", "Time", "Until", "Wh"]
    assert {fault["key"] for fault in found["faults"]} >= {"arrivalTime", "departureTime"} or len(found["faults"]) >= 3
    problem_of(client.post("/plans", json={"sessions": found["id"], "capacity_kw": 10}))
    columns = {"vehicle": "Plate", "arrival": "Date + Time", "departure": "Until", "energy_wh": "Wh"}
    mapped = client.post(f"/sessions/{found['id']}/map", json={"columns": columns, "timezone": "Europe/Berlin"})
    assert (mapped.status_code, mapped.json()["parent"]) == (201, found["id"])
    assert planned(client, mapped.json()["id"])["metrics"]["delivered_kwh"] == pytest.approx(12.0)


@pytest.mark.parametrize(
    "reading",
    [
        {"profile": "own.toml"}, {"profile": "/etc/passwd"}, {"profile": "../profiles.toml"}, {"profile": "nobody"},
        {"columns": {"arival": "x"}}, {"columns": {"arrival": 3}}, {"timezone": "Mars/Olympus"}, {"charger_kw": -1},
        {"efficiency": 1e9}, {"path": "/etc/passwd"}, {"dates": "ymd"}, {"day": "tomorrow"}, [], None, "text",
    ],
)  # fmt: skip
def test_readings_that_are_wrong_or_a_path_are_refused(client: httpx.Client, reading: Any) -> None:
    files = {"file": ("five.csv", DATED.encode())}
    for route in ("/sessions", "/sessions/check"):
        answer = client.post(route, files=files, data={"reading": json.dumps(reading)})
        if route == "/sessions" or answer.status_code != 200:
            assert problem_of(answer)["faults"]
        else:
            assert answer.json()["faults"]


@pytest.mark.parametrize("kind", first(1, ["xlsx", "csv", "json", "parquet"]))
def test_every_kind_of_file_says_the_same_and_comes_out_again(client: httpx.Client, kind: str) -> None:
    frame, content = pd.read_csv(BytesIO(DATED.encode())), BytesIO()
    if kind == "csv":
        frame.to_csv(content, index=False)
    elif kind == "json":
        content.write(frame.to_json(orient="records").encode())
    else:
        (frame.to_excel if kind == "xlsx" else frame.to_parquet)(content, index=False)
    sessions = uploaded(client, content.getvalue(), f"cars.{kind}")
    assert client.get(f"/sessions/{sessions}/file").content == content.getvalue()
    plan = planned(client, sessions, capacity_kw=9.0)
    assert plan["metrics"]["unserved_kwh"] == pytest.approx(0.0, abs=1e-6)
    read = {"csv": pd.read_csv, "xlsx": pd.read_excel, "json": pd.read_json, "parquet": pd.read_parquet}[kind]
    for place in (f"/plans/{plan['id']}/tables/plan", f"/plans/{plan['id']}/tables/station"):
        answer = client.get(f"{place}.{kind}")
        assert "attachment" in answer.headers["content-disposition"]
        again, right = read(BytesIO(answer.content)), pd.read_csv(BytesIO(client.get(f"{place}.csv").content))
        pd.testing.assert_frame_equal(again.drop(columns="time"), right.drop(columns="time"), check_dtype=False)


def test_figures_are_drawn_when_they_are_asked_for(client: httpx.Client) -> None:
    plan = planned(client, uploaded(client, DATED), capacity_kw=9.0)["id"]
    for figure in ("heatmap", "stack"):
        picture = Image.open(BytesIO(client.get(f"/plans/{plan}/figures/{figure}.png").content))
        assert picture.size[0] > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 20


def test_series_come_as_arrays_or_as_text(client: httpx.Client) -> None:
    sessions = uploaded(client, DATED, timezone="Europe/Berlin")
    hourly = [0.3] * 12 + [0.1] * 12
    by_array = planned(client, sessions, tariff={"values": hourly, "step_min": 60})
    dated = {"values": hourly * 2, "step_min": 60, "start": "2025-08-17T22:00:00+00:00"}
    by_date = planned(client, sessions, tariff=dated)
    rows = "".join(f"2025-08-18T{hour:02d}:00,{price}\n" for hour, price in enumerate(hourly))
    by_text = planned(client, sessions, tariff={"csv": f"time,price\n{rows}"})
    assert by_array["metrics"] == by_date["metrics"] == by_text["metrics"]
    assert by_array["metrics"]["energy_cost_eur"] == pytest.approx(50 / 0.9 * 0.1, abs=1e-6)
    low = planned(
        client, sessions, capacity_kw=None, capacity={"values": [12.0] * 24}, site_load={"values": [4.0] * 24}
    )
    assert low["metrics"]["peak_kw"] == pytest.approx(8.0)
    for wrong in ({"values": [1.0] * 7}, {"values": [1.0], "step_min": 1440, "start": "noon"}, {"csv": "/etc/passwd"},
                  {"values": [1e9] * 24}, {"values": []}, {}, {"values": [1.0], "csv": "x"}, "tariff.csv",
                  {"values": [0.1] * 50_000, "step_min": 1440}):  # fmt: skip
        answer = client.post("/plans", json={"sessions": sessions, "capacity_kw": 9, "tariff": wrong})
        assert "/tmp" not in json.dumps(problem_of(answer))  # noqa: S108 - no path of the server


def test_a_live_state_is_planned_and_told_side_by_side(client: httpx.Client) -> None:
    sessions = uploaded(client, DATED, timezone="Europe/Berlin")
    first = planned(client, sessions, capacity_kw=11.0)
    same = client.post(f"/plans/{first['id']}/replan", json={"time": "2025-08-18T08:00:00Z"}).json()
    assert same["parent"] == first["id"]
    changes = table(client, same["id"], "changes")
    assert changes["unserved_after_kwh"].sum() <= changes["unserved_before_kwh"].sum() + 1e-5
    diff = table(client, same["id"], "diff")
    assert diff["is_past"].any()
    assert (diff.loc[diff["is_past"], "change_kw"] == 0).all()
    state = {
        "time": "2025-08-18T15:30:00",
        "vehicles": [{"vehicle": "b", "status": "plugged", "drawn_kwh": 20.0}, {"vehicle": "a", "status": "gone"}],
        "new": [{"vehicle": "c", "energy_kwh": 5.0, "power_kw": 11.0, "departure": "2025-08-19T07:00:00"}],
        "further_stay_h": 2.0,
    }
    later = client.post(f"/plans/{same['id']}/replan", json=state)
    assert later.status_code == 201, later.text
    told = table(client, later.json()["id"], "changes").set_index("vehicle")
    assert told["what"].to_dict() == {"a": "gone", "b": "overstays", "c": "new"}
    assert told.loc["b", "delivered_kwh"] == pytest.approx(18.0)
    assert told.loc["b", "by_departure_after_kwh"] == pytest.approx(30.0, abs=1e-5)
    assert any("assumed to stay 2 h more" in text for text in later.json()["warnings"])
    assert len(table(client, later.json()["id"], "station")) == 2 * 96
    wrong = {"time": "noon", "vehicles": [{"vehicle": "b", "departure": "25:00"}, {"vehicle": "z", "soc_percent": 3}]}
    keys = {fault["key"] for fault in problem_of(client.post(f"/plans/{first['id']}/replan", json=wrong))["faults"]}
    assert keys == {"time", "vehicle 'b': departure"}
    empty = {"time": "2025-08-18T20:00:00"}
    assert "nobody is left" in problem_of(client.post(f"/plans/{first['id']}/replan", json=empty))["detail"]
    problem_of(client.post("/plans/0123456789ab/replan", json=empty), 404)


def test_phases_keep_their_limits_when_the_rest_is_planned_anew(client: httpx.Client) -> None:
    text = "vehicle,arrival,departure,energy_kwh,charger_kw,phase\n"
    text += "".join(f"{name},40,60,15,7,{phase}\n" for name, phase in zip("abc", ("L1", "L1", "L2"), strict=True))
    of_each = {"csv": "L1,L2,L3\n" + "7,7,7\n" * 1440}
    first = planned(client, uploaded(client, text), capacity_kw=None, capacity=of_each)
    state = {"time": 44, "vehicles": [{"vehicle": "c", "status": "gone"}]}
    second = client.post(f"/plans/{first['id']}/replan", json=state).json()
    for plan in (first, second):
        power_kw = table(client, plan["id"], "plan").pivot_table(index="step", columns="vehicle", values="power_kw")
        assert power_kw[["a", "b"]].sum(axis=1).max() == pytest.approx(7.0, abs=1e-6)
        assert plan["metrics"]["peak_l1_kw"] == pytest.approx(7.0, abs=1e-6)
    assert second["metrics"]["unserved_kwh"] == pytest.approx(0.0, abs=1e-4)


def test_messages_for_chargers_keep_to_the_schemas(client: httpx.Client) -> None:
    plan = planned(client, uploaded(client, DATED, timezone="Europe/Berlin"), capacity_kw=11.0)["id"]
    again = client.post(f"/plans/{plan}/replan", json={"time": "2025-08-18T10:07:00"}).json()["id"]
    for one, version in itertools.product((plan, again), ("1.6", "2.0.1", "2.1")):
        document = client.get(f"/plans/{one}/ocpp", params={"version": version, "unit": "W"}).json()
        assert document["ocpp"] == version
        assert [message["charger"] for message in document["messages"]] == ["a", "b"]
        for message in document["messages"]:
            payload = json.loads(json.dumps(message["payload"]), parse_float=Decimal)
            get_validator(MessageType.Call, message["action"], version, parse_float=Decimal).validate(payload)
    bare = planned(client, uploaded(client, DATED))["id"]
    assert "Europe/Berlin" in problem_of(client.get(f"/plans/{bare}/ocpp"))["faults"][0]["remedy"]


@pytest.mark.parametrize(
    "name",
    [
        "../../../etc/passwd",
        "C:\\boot.ini",
        "a/b\\c.csv",
        "<img src=x onerror=alert(1)>.csv",
        "x" * 2000,
        "\x01\n.csv",
        "",
    ],
)
def test_a_clients_name_is_shown_and_never_a_path(client: httpx.Client, server: Any, name: str) -> None:
    before = {path for path in server.data.parent.rglob("*") if path.parent.name != "sessions"}
    answer = client.post("/sessions", files={"file": (name, DATED.encode())})
    if answer.status_code == 422 and not name:
        return  # a part without a name is no file
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert "/" not in found["name"]
    assert "\\" not in found["name"]
    assert len(found["name"]) <= 200
    new = {path for path in server.data.parent.rglob("*") if path.parent.name != "sessions"} - before
    assert {path.relative_to(server.data).as_posix() for path in new} == {f"sessions/{found['id']}/table.csv"}


def test_what_is_not_there_is_told_as_a_problem(client: httpx.Client) -> None:
    for path in ("/sessions/0123456789ab", "/plans/0123456789ab", "/plans/0123456789ab/figures/stack.png",
                 "/plans/0123456789ab/tables/plan.csv", "/nothing"):  # fmt: skip
        problem_of(client.get(path), 404)
    plan = planned(client, uploaded(client))["id"]
    for name in ("catalogue.sqlite3", "standing", ".cosim-files", "..%2f..%2fcatalogue.sqlite3", "plan.exe"):
        assert client.get(f"/plans/{plan}/files/{name}").status_code in (404, 422), name
    problem_of(client.get(f"/plans/{plan}/tables/diff.csv"), 404)
    problem_of(client.post(f"/plans/{plan}/restart"))
    problem_of(client.get("/demand"), 405)


def malformed() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Requests that no careful client sends."""
    rng = np.random.default_rng(3)
    bodies: list[bytes] = [
        b"", b"{", b"null", b"[]", b"3", b'"x"', b"\xff\xfe", b"NaN", b"{\"capacity_kw\": NaN}", b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000, b'{"time": "\\ud800"}', b'{"vehicles": 1e999}', b'{"seed": -1}',
        b'{"vehicles": 1' + b"0" * 5000 + b"}", b'{"vehicles": 100' + b"0" * 300 + b"}", b'{"vehicles": true}',
        b'{"sessions": "\\u0000", "capacity_kw": 1}', b'{"sessions": "0123456789ab", "capacity_kw": -Infinity}',
        b'{"sessions": "0123456789ab\\n", "capacity_kw": 1}', b'{"\\ud800": 1}', b'{"columns": {"arrival": "\\udfff"}}',
        b'{"time": 1e400}', b'{"time": 5, "vehicles": [{"vehicle": "\\ud83d"}]}', b'{"seed": 9223372036854775808}',
        bytes(rng.integers(0, 256, 500, dtype=np.uint8)),
    ]  # fmt: skip
    types = ["application/json", "text/plain", "multipart/form-data", "application/x-www-form-urlencoded", "x", ""]
    routes = [
        "/plans",
        "/demand",
        "/sessions",
        "/sessions/check",
        "/plans/0123456789ab/replan",
        "/sessions/0123456789ab/map",
    ]
    for number, body in enumerate(bodies):
        for route in routes:
            kind = types[0] if number % 2 else types[number // 2 % len(types)]
            yield "POST", route, {"content": body, "headers": {"Content-Type": kind}}
    files: dict[str, bytes] = {
        "a.xlsx": b"PK\x03\x04nothing", "a.parquet": b"PAR1" + b"\0" * 100, "a.json": b"[" * 90_000, "a.csv": b"\0\0",
        "b.json": b'[{"arrival": "\\ud800", "\\udfff": 1, "departure": 1' + b"0" * 4000 + b', "energy_kwh": NaN}]',
        "b.csv": b"a,b\n\xff,\xfe\n", "c.csv": b'"', "d.csv": (b"arrival,departure,energy_kwh\n1e308,1e309,1e400\n"),
        "e.csv": b"arrival,departure,energy_kwh\n" + b"9" * 5000 + b",1,1\n", "c.json": b"{}", "d.json": b'{"a": [[]]}',
        "f.csv": b"arrival,departure,energy_kwh\n\xed\xa0\x80,1,1\n", "g.csv": b",,,\n,,,\n",
        "x.xls": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
    }  # fmt: skip
    for name, content in files.items():
        for route in ("/sessions", "/sessions/check"):
            yield "POST", route, {"files": {"file": (name, content)}, "data": {"reading": "{}"}}
    for reading in ("{", "NaN", '{"charger_kw": NaN}', '{"columns": {"\\ud800": "x"}}', "[" * 15_000, "\x00", "ÿ"):
        yield "POST", "/sessions", {"files": {"file": ("a.csv", DATED.encode())}, "data": {"reading": reading}}
    for path in ("/plans/%00", "/plans/%ff%fe", "/plans/" + "9" * 8000, "/sessions/..%2f..",
                 "/plans/0123456789ab/ocpp?unit=%ff", "/plans/0123456789ab/tables/plan.exe",
                 "/sessions/0123456789ab/table.csv?x=%00"):  # fmt: skip
        yield "GET", path, {}


@pytest.mark.parametrize("every", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_no_malformed_request_is_an_error_of_the_server(client: httpx.Client, every: int) -> None:
    asked = list(malformed())[::every]
    assert len(asked) >= 190 / every
    for method, path, content in asked:
        answer = client.request(method, path, **content)
        assert answer.status_code < 500, (path, content, answer.text)
        if answer.status_code == 200:
            assert path == "/sessions/check"
            assert answer.json()["faults"]
        else:
            problem_of(answer, answer.status_code)
    assert client.get("/plans").status_code == 200


def test_limits_are_kept(secret: Served) -> None:
    with secret.client(Authorization=f"Bearer {TOKEN}") as client:
        problem_of(client.post("/sessions", files={"file": ("a.csv", ROWS.encode())}))
        problem_of(client.post("/demand", json={"vehicles": 4}))
        sessions = uploaded(client, PAIR)
        document = client.get(f"/plans/{planned(client, sessions, time_limit_s=3000)['id']}/files/manifest.json").json()
        assert document["options"]["time_limit_s"] == 0.5
        problem_of(client.post("/plans", json={"sessions": sessions, "capacity_kw": 9, "time_limit_s": 1e5}))
        long = f"{HEADER}\n1,11,10,60,2025-03-01 06:30:00,2025-03-14 08:30:00\n"
        wide = {"sessions": uploaded(client, long), "capacity_kw": 9, "time_step_s": 60}
        assert planned(client, **wide)["status"] == "done"


def test_a_wrong_plan_leaves_nothing(client: httpx.Client) -> None:
    count = len(client.get("/plans").json())
    with pytest.raises(InputError):
        PlanConfig(formulation="lp", max_starts=3)
    sessions = uploaded(client)
    for wrong in (
        {"max_starts": 3},
        {"fairness": "maxmin", "objective": "weighted"},
        {"capacity_kw": None},
        {"day": "2025-08-18"},
    ):
        problem_of(client.post("/plans", json={"sessions": sessions, "capacity_kw": 9, **wrong}))
    assert len(client.get("/plans").json()) == count


def test_an_odd_table_comes_out_in_every_form(client: httpx.Client) -> None:
    """Columns of one name, without one, or called as ours; texts that are formulas or that no sheet can hold."""
    text = "row,x,x,,arrival,departure,energy_kwh\n=1+1,\x01a,b,c,08:00,16:00,5\n"
    found = problem_of(client.post("/sessions", files={"file": ("odd.csv", text.encode())}))
    for form in ("csv", "json", "parquet", "xlsx"):
        answer = client.get(f"/sessions/{found['id']}/table.{form}")
        assert answer.status_code == 200, (form, answer.text)
        assert b"=1+1" not in answer.content.replace(b"'=1+1", b"") or form in ("json", "parquet")


def test_what_is_forgotten_is_gone(client: httpx.Client, server: Served) -> None:
    sessions = uploaded(client)
    plan = planned(client, sessions)["id"]
    assert plan in problem_of(client.delete(f"/sessions/{sessions}"))["detail"]
    assert client.delete(f"/plans/{plan}").status_code == 204
    problem_of(client.get(f"/plans/{plan}"), 404)
    assert client.delete(f"/sessions/{sessions}").status_code == 204
    problem_of(client.get(f"/sessions/{sessions}"), 404)
    problem_of(client.delete(f"/sessions/{sessions}"), 404)
    assert not list(server.data.rglob(f"*{sessions}*")) + list(server.data.rglob(f"*{plan}*"))


@pytest.mark.parametrize("kind", first(1, ["xlsx", "csv", "json", "parquet"]))
def test_a_table_that_is_edited_is_a_new_one_and_reads_the_same(tmp_path: Path, kind: str) -> None:
    planning = Planning(Settings(data=tmp_path), Catalogue(tmp_path / "catalogue.sqlite3"))
    frame, content = pd.read_csv(BytesIO(DATED.encode()), parse_dates=["arrivalTime", "departureTime"]), BytesIO()
    frame["vehicle"] = [7, 8]
    if kind == "csv":
        frame.to_csv(content, index=False)
    elif kind == "json":
        content.write(frame.to_json(orient="records", date_format="iso").encode())
    else:
        (frame.to_excel if kind == "xlsx" else frame.to_parquet)(content, index=False)
    first = planning.upload(f"cars.{kind}", content.getvalue(), SessionReading(timezone="Europe/Berlin"))
    same = planning.edit(first.id, first.table)
    asked = PlanRequest(capacity_kw=9.0)
    one, two = planning.plan(first.id, asked), planning.plan(same.id, asked)
    assert one.metrics == two.metrics
    assert (one.folder / "plan.csv").read_bytes() == (two.folder / "plan.csv").read_bytes()
    rows = first.table.copy()
    rows.loc[rows.index[0], "energyRequired"] = "x"
    edited = planning.edit(first.id, rows)
    assert (edited.parent, edited.reading, edited.counts["left_out"]) == (first.id, first.reading, 1)
    assert planning.sessions(first.id).counts["left_out"] == 0
