"""Runs and studies in the background, as a client meets them: HTTP, to a server and its job processes."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from cosim.errors import InputError
from cosim.experiments import scenario as scenarios
from cosim.experiments.remedies import load_toml
from cosim.experiments.scenario import Scenario
from cosim.experiments.study import config as studies
from cosim.experiments.study.config import Study
from cosim.experiments.study.worlds import merged
from cosim.experiments.web.catalogue import Catalogue, JobRow
from cosim.experiments.web.job_records import ConflictError
from cosim.experiments.web.job_schemas import HostingRequest, RunRequest, StudyRequest
from cosim.experiments.web.job_work import check_hosting, scenario_of, worlds_of
from cosim.experiments.web.jobs import Jobs
from cosim.experiments.web.run_results import files
from cosim.experiments.web.settings import Settings
from cosim.folder import claimed, write_whole

RUN = {"scenario": "two_bus_evening", "controllers": ["none"], "engine": "reduced", "figures": False}
ENDED = ("done", "failed", "interrupted", "cancelled")
Place = tuple[str, ...]


def texts(schema: Mapping[str, Any], node: Mapping[str, Any], place: Place = ()) -> Iterator[Place]:
    """Places of a schema where any text may stand; ``[]`` is an item, ``{}`` a table by any name."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]]
    for part in node.get("anyOf", ()):
        yield from texts(schema, part, place)
    if node.get("type") == "string" and not {"enum", "const", "format", "pattern"} & node.keys():
        yield place
    for key, part in node.get("properties", {}).items():
        yield from texts(schema, part, (*place, key))
    if isinstance(node.get("items"), dict):
        yield from texts(schema, node["items"], (*place, "[]"))
    if isinstance(node.get("additionalProperties"), dict):
        yield from texts(schema, node["additionalProperties"], (*place, "{}"))


def with_text(data: dict[str, Any], place: Place, text: str) -> dict[str, Any]:
    """Content with a text at a place; what else stands there is left as it is."""

    def put(inside: Any, rest: Place) -> Any:
        if not rest:
            return text
        if rest[0] == "[]":
            return [put(inside[0] if isinstance(inside, list) and inside else None, rest[1:])]
        key = "mine" if rest[0] == "{}" else rest[0]
        table = inside if isinstance(inside, dict) else {}
        return {**table, key: put(table.get(key), rest[1:])}

    found: dict[str, Any] = put(data, place)
    return found


def key_of(place: Place) -> str:
    """A place as faults call it."""
    last = [index for index, part in enumerate(place) if part == "[]"]
    named = ["1" if part == "[]" else "mine" if part == "{}" else part for part in place]
    return ".".join(named[:-1] if last and last[-1] == len(place) - 1 else named)


NO_FILE = {
    ("name",), ("zone",), ("start",), ("grid", "accept", "[]"), ("pv", "from_file", "[]"), ("runs", "[]", "label"),
    ("runs", "[]", "forecast"), ("worst_by",), ("worlds", "[]", "forecast"), ("days", "seasons", "[]", "name"),
}  # fmt: skip
"""Texts that name neither files nor code: labels, a time zone, elements of the circuit, metrics, own forecasts."""
BESIDE: dict[str, dict[str, Any]] = {
    "heat_pump.water": {"heat_pump": {"share": 0.5}},
    "pv.inverters": {"pv": {"profiles": "there.csv"}},
}
"""Keys that are only looked at beside another; the latter stands beside a file, which is refused itself."""


@pytest.fixture
def tricks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Texts that name files which are there, from the working directory too, and code."""
    monkeypatch.chdir(tmp_path)
    for name in ("there.csv", "there", "mine.py", "there.dss"):
        (tmp_path / name).write_text("Controller = 1\n")
    (tmp_path / "circuit").mkdir()
    (tmp_path / "circuit" / "Master.dss").write_text("new circuit.a\n")
    return [str(tmp_path / "there.csv"), "there", "circuit", "mine.py:Controller"]


def refused_at(parse: Callable[[], object], *keys: str) -> bool:
    try:
        parse()
    except InputError as error:
        known = [key.removesuffix(".mine") for key in keys]
        return any(fault.key in known and "registered" in fault.problem for fault in error.faults)
    return False


@pytest.mark.parametrize("kind", ["scenario", "study"])
def test_no_key_of_a_request_names_a_file_or_code(kind: str, tricks: list[str]) -> None:
    model, module = (Scenario, scenarios) if kind == "scenario" else (Study, studies)
    schema = model.model_json_schema()
    places = set(texts(schema, schema)) - NO_FILE
    data: dict[str, Any] = {"name": "a", "scenario": "two_bus_evening"}
    if kind == "scenario":
        data = load_toml(scenarios.SHIPPED / "two_bus_evening.toml") | {
            "ev": {}
        }  # without a share: files stand instead
    assert len(places) >= (14 if kind == "scenario" else 4)
    for place in places:
        key = key_of(place)
        for trick in tricks[:2]:
            content = merged(with_text(data, place, trick), BESIDE.get(key, {}))
            keys = [key, "pv.profiles"] if key == "pv.inverters" else [key]
            assert refused_at(lambda content=content: module.parse(content, Path("request"), ()), *keys), (key, trick)


def test_a_change_of_a_study_names_no_file_either(tricks: list[str]) -> None:
    days = {"seasons": [{"name": "a", "dates": ["2026-01-15"], "weight": 1}]}
    for trick in [*tricks, "./there", "../" * 20 + "etc/hostname"]:
        changes = [{"feeder": trick}, {"households": {"profiles": trick}}, {"metrics": [trick]}, {"tariff": trick}]
        for change in changes:
            in_season = {"seasons": [{**days["seasons"][0], "change": change}]}
            for more in ({"change": change}, {"days": in_season}):
                request = StudyRequest(study={"name": "a", "scenario": "two_bus_evening", **more})
                with pytest.raises(
                    InputError, match=f"'{re.escape(trick)}' is no registered"
                ):  # as given: none is looked for
                    worlds_of(request, (), 100)
        with pytest.raises(InputError, match="registered"):
            scenario_of(RunRequest(scenario="two_bus_evening", controllers=(trick,)), ())
        for name in ("scenario", "study"):
            with pytest.raises(InputError, match="registered"):
                scenario_of(RunRequest(scenario=trick), ()) if name == "scenario" else worlds_of(
                    StudyRequest(study=trick), (), 100
                )
        with pytest.raises(InputError, match="registered"):
            check_hosting(HostingRequest(feeders=(trick,)), (), 10_000)


def test_a_plug_in_that_the_server_allows_may_be_named_and_no_other() -> None:
    own = "cosim.controllers.rules.even:Even"
    asked = {**load_toml(scenarios.SHIPPED / "two_bus_evening.toml"), "runs": [{"controller": own}]}
    scenario, _ = scenario_of(RunRequest(scenario=asked), (own,))
    assert scenario.runs[0].controller == own
    with pytest.raises(InputError, match="registered"):
        scenario_of(RunRequest(scenario=asked), ("cosim.controllers.rules.even:Other",))


def test_every_shipped_scenario_and_study_may_be_asked_for() -> None:
    assert all(scenario_of(RunRequest(scenario=name), ())[0].runs for name in scenarios.shipped())
    assert all(len(worlds_of(StudyRequest(study=name), (), 1000)) for name in studies.shipped())


def test_overrides_are_keys_of_the_scenario() -> None:
    request = RunRequest(
        scenario="two_bus_evening", seed=9, ev_share=0.5, noncompliant_share=0.2, controllers=("even",)
    )
    scenario, _ = scenario_of(request, ())
    found = scenario.seed, scenario.ev.share, scenario.households.noncompliant_share, scenario.grid.transformer
    assert found[:3] == (9, 0.5, 0.2)
    assert found[3] is not None
    assert [run.name for run in scenario.runs] == ["even"]


def test_a_study_has_no_more_worlds_than_a_request_may() -> None:
    with pytest.raises(InputError, match="has 48 worlds; a request may have 47"):
        worlds_of(StudyRequest(study="example"), (), 47)
    assert len(worlds_of(StudyRequest(study="example"), (), 48)) == 48
    large = {"name": "a", "scenario": "two_bus_evening", "most_worlds": 10_000_000, "factors": {"placement": 100_000}}
    with pytest.raises(InputError, match="has 100000 worlds"):
        worlds_of(StudyRequest(study=large), (), 2000)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"scenario": {"name": "\\ud800"}}', "surrogate"),
        ('{"scenario": {"horizon_h": 1e999}}', "not finite"),
        ('{"scenario": ' + '{"a": ' * 60 + "1" + "}" * 61, "nested"),
    ],
)
def test_what_nobody_could_write_again_is_refused(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        scenario_of(RunRequest.model_validate(json.loads(text)), ())


def test_jobs_of_a_server_that_was_killed_are_interrupted_unless_they_had_come_to_their_end(tmp_path: Path) -> None:
    catalogue, row = Catalogue(tmp_path / "c.sqlite3"), {"message": "", "created": "", "started": "", "ended": None}
    for name in ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"):
        told = {"status": "done" if name[0] == "c" else "running", "done": 3, "total": 9, **row}
        catalogue.add(JobRow(id=name, kind="run", request=json.dumps(RUN), **told))  # type: ignore[arg-type]
    (tmp_path / "jobs").mkdir()
    left = json.dumps({"status": "done", "message": "1 runs, 0 warnings"})
    (tmp_path / "jobs" / "bbbbbbbbbbbb.json").write_text(left)
    jobs = Jobs(Settings(data=tmp_path), catalogue)
    try:
        found = {job.id[0]: job for job in jobs.all()}
        assert {name: job.status for name, job in found.items()} == {"a": "interrupted", "b": "done", "c": "done"}
        assert (found["a"].done, found["a"].total, found["a"].name) == (3, 9, "two_bus_evening")
        with pytest.raises(ConflictError, match="is done"):
            jobs.restart(found["b"].id)
        jobs.remove(found["b"].id)
        assert sorted(job.id[0] for job in jobs.all()) == ["a", "c"]
    finally:
        catalogue.close()


def test_only_files_of_the_journal_are_listed_and_none_that_a_link_leads_to(tmp_path: Path) -> None:
    with claimed(tmp_path / "job"):
        for name in ("a.csv", "sub/b.csv", "c.csv"):
            write_whole(tmp_path / "job" / name, lambda path: path.write_text("x"))
    (tmp_path / "job" / "own.txt").write_text("not ours")
    (tmp_path / "job" / "c.csv").unlink()
    (tmp_path / "job" / "c.csv").symlink_to("/etc/hostname")
    assert list(files(tmp_path / "job")) == ["a.csv", "sub/b.csv"]


def events(client: httpx.Client, job: str, last: str = "") -> Iterator[dict[str, str]]:
    headers = {"Last-Event-ID": last} if last else {}
    with client.stream("GET", f"/jobs/{job}/events", headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        event: dict[str, str] = {}
        for line in stream.iter_lines():
            if line:
                key, _, value = line.partition(": ")
                event[key] = value
            elif event:
                yield event
                event = {}


def configured(folder: Path, **limits: object) -> list[str]:
    path = folder / "limits.toml"
    path.write_text("".join(f"{key} = {value}\n" for key, value in limits.items()))
    return ["--config", str(path)]


def until(client: httpx.Client, is_so: Callable[[list[dict[str, Any]]], bool], within_s: float = 600.0) -> list[Any]:
    """Wait until jobs are so; all of them, the oldest first."""
    end_s = time.monotonic() + within_s
    while not is_so(found := client.get("/jobs").json()[::-1]):
        assert time.monotonic() < end_s, found
        time.sleep(0.2)
    return found


def rows_of(client: httpx.Client, study: str) -> int:
    return int(client.get(f"/jobs/{study}/results", params={"limit": 1}).json()["total"])


def test_a_run_from_request_to_files(serve: Callable[..., Any], tmp_path: Path) -> None:
    served = serve(*configured(tmp_path, jobs_at_once=1, jobs_waiting=1))
    with served.client() as client:
        first = client.post("/runs", json=RUN)
        assert first.status_code == 202
        assert first.json()["status"] in ("waiting", "running")
        job, second = first.json()["id"], client.post("/runs", json=RUN).json()["id"]
        assert first.headers["location"] == f"jobs/{job}"
        third = client.post("/runs", json=RUN)
        assert (third.status_code, third.headers["retry-after"]) == (429, "10")
        assert client.post(f"/jobs/{second}/cancel").json()["status"] == "cancelled"
        assert client.delete(f"/jobs/{job}").status_code == 409
        heard = list(events(client, job))
        assert [event["event"] for event in heard] == [*["progress"] * (len(heard) - 1), "end"]
        told = [json.loads(event["data"]) for event in heard]
        assert all(one["done"] <= other["done"] for one, other in pairwise(told))
        assert (told[-1]["status"], told[-1]["done"], told[-1]["total"]) == ("done", 192, 192)
        again = list(events(client, job, heard[-1]["id"]))
        assert [event["event"] for event in again] == ["end"]
        board = client.get(f"/jobs/{job}/scoreboard").json()
        lowest = next(metric for metric in board["metrics"] if metric["name"] == "voltage_min_pu")
        assert board["runs"] == ["none"]
        assert 0.9 < lowest["values"]["none"] < 1.0
        names = [file["name"] for file in client.get(f"/jobs/{job}/files").json()]
        assert {"metrics.json", "manifest.json", "report.html", "trajectories/none/customers.parquet"} <= set(names)
        metrics = json.loads(client.get(f"/jobs/{job}/files/metrics.json").content)
        assert metrics["controllers"]["none"]["voltage_min_pu"] == lowest["values"]["none"]
        for trick in (".cosim-files", f"../{job}.json", f"..%2f{job}.json", "%2e%2e/%2e%2e/README.txt", "/etc/passwd"):
            assert client.get(f"/jobs/{job}/files/{trick}").status_code == 404, trick
        report = client.get(f"/jobs/{job}/files/report.html")
        assert "sandbox" in report.headers["content-security-policy"]
        command = json.loads(client.get(f"/jobs/{job}/files/manifest.json").content)["command"]
        assert command == "cosim serve run two_bus_evening"  # not the server's own, which may tell where its secret is
        assert client.get(f"/jobs/{job}/results").status_code == 404
        assert client.delete(f"/jobs/{job}").status_code == 204
        assert not (served.data / "jobs" / job).exists()
        assert client.get(f"/jobs/{job}").status_code == 404


def test_what_may_be_named_is_listed(client: httpx.Client) -> None:
    for path in ("feeders", "scenarios", "studies", "controllers"):
        listed = client.get(f"/{path}").json()
        assert all(one["name"] and one["about"] for one in listed), path
    assert "two_bus" in [one["name"] for one in client.get("/feeders").json()]
    assert "may_weekday" in client.get("/household-profiles").json()


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task").glob("*/children")
    own = [int(child) for path in children for child in path.read_text().split()]
    return [*own, *(inner for child in own for inner in descendants(child))]


@pytest.mark.slow
@pytest.mark.parametrize(("scenario", "worlds"), [("two_bus_evening", 300), ("european_lv_may_day", 100)])
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
def test_a_server_killed_amid_ten_jobs_loses_nothing_that_is_finished(
    serve: Callable[..., Any], tmp_path: Path, scenario: str, worlds: int
) -> None:
    served = serve(*configured(tmp_path, jobs_at_once=2, jobs_waiting=20))
    runs = [{"controller": "none"}]
    study = {"name": "many", "scenario": scenario, "factors": {"placement": worlds}, "runs": runs}
    with served.client() as client:
        run = {**RUN, "scenario": scenario}
        asked = [("/runs", run)] * 3 + [("/studies", {"study": study})] + [("/runs", run)] * 6
        ids = [client.post(path, json=body).json()["id"] for path, body in asked]
        until(client, lambda jobs: jobs[2]["status"] == "done" and rows_of(client, ids[3]) > 0)
        assert [job["id"] for job in client.get("/jobs").json()[::-1]] == ids
    processes = descendants(served.process.pid)
    served.kill()
    until_s = time.monotonic() + 10.0
    while any(map(alive, processes)):
        assert time.monotonic() < until_s, "a job outlives its server"
        time.sleep(0.05)
    finished = [path for job in ids[:3] for path in files(served.data / "jobs" / job).values()]
    committed = list((served.data / "jobs" / ids[3]).rglob("part-*.parquet"))
    kept = {path: path.read_bytes() for path in [*finished, *committed]}
    assert committed
    served.begin()
    with served.client() as client:
        before = client.get("/jobs").json()[::-1]
        assert [job["id"] for job in before] == ids
        lost = [job for job in before if job["status"] == "interrupted"]
        assert [job["status"] for job in before[:3]] == ["done"] * 3
        assert ids[3] in [job["id"] for job in lost]
        assert 1 <= len(lost) <= 2  # what was under way; all else waits, and begins by itself
        for job in lost:
            assert client.post(f"/jobs/{job['id']}/restart").status_code == 202
        after = until(client, lambda jobs: all(job["status"] in ENDED for job in jobs))
        assert [job["status"] for job in after] == ["done"] * 10, after
        assert {path: path.read_bytes() for path in kept} == kept  # so what was finished was not made again
        page = client.get(f"/jobs/{ids[3]}/results", params={"limit": 7, "offset": worlds - 2}).json()
        assert (page["total"], len(page["rows"])) == (worlds, 2)
        table = pd.read_parquet(BytesIO(client.get(f"/jobs/{ids[3]}/results.parquet").content))
        assert sorted(table["placement"]) == list(range(1, worlds + 1))


@pytest.mark.slow
def test_jobs_are_ended_by_request_and_by_the_limit_of_time_and_keep_what_they_have(
    serve: Callable[..., Any], tmp_path: Path
) -> None:
    served = serve(*configured(tmp_path, jobs_at_once=2, run_time_limit_s=60))
    runs = [{"controller": "equal_share", "label": f"run_{number}"} for number in range(40)]
    month = load_toml(scenarios.SHIPPED / "two_bus_evening.toml") | {"horizon_h": 744, "step_min": 1, "runs": runs}
    month["start"] = month["start"].isoformat()
    many = {"name": "many", "scenario": "two_bus_evening", "factors": {"placement": 2000}, "runs": runs[:1]}
    with served.client() as client:
        long = client.post("/runs", json={"scenario": month, "engine": "reduced"}).json()["id"]
        study = client.post("/studies", json={"study": many}).json()["id"]
        until(client, lambda jobs: jobs[0]["done"] > 0 and rows_of(client, study) > 0)
        assert client.post(f"/jobs/{study}/cancel").status_code == 200
        found = until(client, lambda jobs: all(job["status"] in ENDED for job in jobs))
        assert [job["status"] for job in found] == ["failed", "cancelled"]
        assert "run_time_limit_s" in found[0]["message"]
        assert json.loads(client.get(f"/jobs/{long}/files/manifest.json").content)["complete"] is False
        assert 0 < found[0]["done"] < found[0]["total"]
        rows = rows_of(client, study)
        assert rows > 0
        assert client.get(f"/jobs/{study}/results.csv").text.count("\n") == rows + 1
        assert client.post(f"/jobs/{study}/restart").status_code == 202
        until(client, lambda jobs: jobs[1]["status"] == "running" and jobs[1]["done"] > rows)
        pids = descendants(served.process.pid) if os.path.exists("/proc/self/task") else []
        assert served.stop() in (0, 130)
        assert not any(map(alive, pids))
    served.begin()
    with served.client() as client:
        assert client.get(f"/jobs/{study}").json()["status"] == "interrupted"
        assert rows_of(client, study) > rows


@pytest.mark.slow
def test_hosting_capacities_go_on_where_they_were_cancelled(serve: Callable[..., Any]) -> None:
    asked = {"feeders": ["two_bus"], "controllers": ["none"], "placements": 2, "reinforce": False}
    with serve().client() as client:
        job = client.post("/hosting", json=asked).json()["id"]
        until(client, lambda jobs: jobs[0]["message"].startswith("year") and jobs[0]["done"] > 5)
        assert client.get(f"/jobs/{job}/files/hosting.csv").status_code == 404
        client.post(f"/jobs/{job}/cancel")
        until(client, lambda jobs: jobs[0]["status"] == "cancelled")
        rows = rows_of(client, job)
        assert rows > 5
        client.post(f"/jobs/{job}/restart")
        (ended,) = until(client, lambda jobs: jobs[0]["status"] in ENDED)
        assert ended["status"] == "done", ended
        assert rows_of(client, job) > rows
        table = pd.read_csv(BytesIO(client.get(f"/jobs/{job}/files/hosting.csv").content))
        assert list(table["controller"]) == ["none"]
