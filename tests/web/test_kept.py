"""What is kept when a server ends, however it ends; and what many clients at once find."""

from __future__ import annotations

import itertools
import sqlite3
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event, Lock
from typing import Any

import httpx
import pytest

from cosim.errors import InputError
from cosim.experiments.web.catalogue import Catalogue, NotFoundError, PlanRow, new_id, now
from cosim.experiments.web.planning import Planning
from cosim.experiments.web.schemas import PlanRequest
from cosim.experiments.web.settings import Settings
from tests.web.conftest import Serve, Served
from tests.web.test_api import DATED, planned, table


def consistent(served: Served) -> tuple[int, int]:
    """Every row of the catalogue names files that are whole; numbers of sessions and of plans that are done."""
    with sqlite3.connect(served.data / "catalogue.sqlite3") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    with served.client() as client:
        sessions, plans = client.get("/sessions").json(), client.get("/plans").json()
        for one in sessions:
            answer = client.get(f"/sessions/{one['id']}")
            assert answer.status_code == 200
            assert answer.json()["counts"]["planned"] > 0
        done = [one for one in plans if one["status"] == "done"]
        for one in done:
            answer = client.get(f"/plans/{one['id']}").json()
            assert answer["metrics"]["status"] == "optimal"
            for name in answer["files"]:
                assert client.get(f"/plans/{one['id']}/files/{name}").content
            table(client, one["id"], "plan")
            assert client.get(f"/plans/{one['id']}/ocpp").status_code == 200
    return len(sessions), len(done)


def at_once(works: list[Callable[[], Any]]) -> list[Any]:
    with ThreadPoolExecutor(len(works)) as pool:
        return [one.result() for one in [pool.submit(work) for work in works]]


@pytest.mark.slow
def test_killed_in_the_middle_nothing_that_was_answered_is_lost(serve: Serve) -> None:
    served = serve()
    answered: dict[str, list[str]] = {"sessions": [], "plans": []}
    enough, lock = Event(), Lock()

    def keep(kind: str, answer: httpx.Response) -> str:
        assert answer.status_code == 201, answer.text
        with lock:
            answered[kind].append(answer.json()["id"])
            if sum(map(len, answered.values())) >= 12:
                enough.set()
        return str(answer.json()["id"])

    def work(seed: int) -> None:
        with served.client() as client:
            try:
                for number in itertools.count():
                    asked = {"vehicles": 30, "seed": 100 * seed + number, "timezone": "Europe/Berlin"}
                    sessions = keep("sessions", client.post("/demand", json=asked))
                    keep("plans", client.post("/plans", json={"sessions": sessions, "capacity_kw": 60}))
            except httpx.HTTPError:
                return  # it is gone

    def end() -> None:
        assert enough.wait(60)
        served.kill()

    at_once([*(lambda seed=seed: work(seed) for seed in range(3)), end])
    (served.data / "sessions" / "0123456789ab").mkdir()  # an upload that got no row
    served.begin()
    sessions, done = consistent(served)
    assert sessions >= len(answered["sessions"])
    assert done >= len(answered["plans"])
    with served.client() as client:
        there = {kind: {one["id"]: one for one in client.get(f"/{kind}").json()} for kind in answered}
        assert set(answered["sessions"]) <= there["sessions"].keys()
        for one in answered["plans"]:
            assert there["plans"][one]["status"] == "done"
        assert {one["status"] for one in there["plans"].values()} <= {"done", "interrupted"}
    assert not (served.data / "sessions" / "0123456789ab").exists()
    assert served.stop() == 0


def test_a_plan_that_was_interrupted_is_told_and_planned_on_request(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    catalogue = Catalogue(tmp_path / "catalogue.sqlite3")
    planning = Planning(settings, catalogue)
    first = planning.plan(planning.upload("cars.csv", DATED.encode()).id, PlanRequest(capacity_kw=9.0))
    row = catalogue.get(PlanRow, first.id)
    assert row is not None
    left = replace(row, id=new_id(), created=now(), status="planning")  # by a server that was killed while it planned
    catalogue.add(left)
    catalogue.close()
    assert not list(tmp_path.glob("catalogue.sqlite3-*"))  # all of it is in the one file
    catalogue = Catalogue(tmp_path / "catalogue.sqlite3")
    planning = Planning(settings, catalogue)
    assert planning.get_plan(left.id).status == "interrupted"
    with pytest.raises(NotFoundError):
        planning.kept(left.id)
    again = planning.restart(left.id)
    assert (again.status, again.metrics) == ("done", first.metrics)
    assert planning.get_plan(first.id).metrics == first.metrics
    with pytest.raises(InputError, match="is done"):
        planning.restart(left.id)
    catalogue.close()


@pytest.mark.slow
def test_eight_clients_plan_forty_vehicles_and_none_is_lost(serve: Serve) -> None:
    served = serve()
    with served.client() as client:
        sessions = client.post("/demand", json={"vehicles": 40}).json()["id"]
    took_s: list[float] = []

    def work() -> list[str]:
        made = []
        with served.client() as client:
            for _ in range(10):
                began = time.perf_counter()
                made.append(planned(client, sessions)["id"])
                took_s.append(time.perf_counter() - began)
        return made

    began = time.perf_counter()
    made = [one for some in at_once([work] * 8) for one in some]
    passed_s = time.perf_counter() - began
    print(f"{len(made) / passed_s:.1f} plans a second, p95 {statistics.quantiles(took_s, n=20)[-1]:.2f} s")  # noqa: T201 - shown with -s
    with served.client() as client:
        done = {one["id"] for one in client.get("/plans").json() if one["status"] == "done"}
    assert len(set(made)) == 80
    assert set(made) == done


@pytest.mark.slow
def test_more_than_may_wait_are_told_to_come_again(serve: Serve, tmp_path: Any) -> None:
    config = tmp_path / "serve.toml"
    config.write_text("jobs_at_once = 1\njobs_waiting = 1\n")
    served = serve("--config", str(config))
    with served.client() as client:
        sessions = client.post("/demand", json={"vehicles": 200}).json()["id"]

    def work() -> httpx.Response:
        with served.client() as client:
            return client.post("/plans", json={"sessions": sessions, "capacity_kw": 200})

    codes = [answer.status_code for answer in at_once([work] * 6)]
    assert set(codes) == {201, 429}
    assert codes.count(201) >= 2
