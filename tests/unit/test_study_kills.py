"""Long proofs: a study that is killed again and again loses nothing, and one on a cluster is the same study."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from cosim.errors import InputError, WriteError
from cosim.experiments.hosting.asked import Asked
from cosim.experiments.hosting.config import read as read_hosting
from cosim.experiments.hosting.study import hosting
from cosim.experiments.study.code import code_version
from cosim.experiments.study.conduct import conduct
from cosim.experiments.study.config import read
from cosim.experiments.study.dataset import column
from cosim.experiments.study.dataset import read as read_results
from cosim.experiments.study.runner import Counts, Task, run_tasks
from cosim.experiments.study.worlds import Worlds

pytestmark = pytest.mark.slow
PROJECT = Path(__file__).resolve().parents[2]

STUDY = """
name = "killed"
scenario = "two_bus_evening"
change = { horizon_h = 6, metrics = ["log.py:log"] }
factors = { placement = 300 }
runs = [{ controller = "none" }, { controller = "equal_share" }]
"""
LOG = """
import os, time
def log(trajectory):
    # one line for every time that a run is made: which, and when
    time.sleep(float(os.environ.get("SLEEP_S", 0.0)))
    which, token = float(trajectory.exogenous.demand_kw.sum()), time.time_ns() / 1e3
    file = os.open(os.path.join(os.path.dirname(__file__), "log.txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{trajectory.label} {which!r} {token!r}\\n".encode())
    return {"which_kw": which, "token_us": token}
"""


def study_of(folder: Path, text: str = STUDY) -> Path:
    (folder / "log.py").write_text(LOG)
    (folder / "killed.toml").write_text(text)
    return folder / "killed.toml"


def command(study: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "cosim", "study", str(study), "--out", str(out), "--resume", "--jobs", "2"]


def children(pid: int) -> list[int]:
    """Worker processes; not the one that looks after what multiprocessing shares."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == pid and "spawn_main" in (entry / "cmdline").read_text():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for worker processes in /proc")
def test_ten_kills_at_random_moments_repeat_nothing_that_is_committed_and_miss_nothing(tmp_path: Path) -> None:
    path, out, rng = study_of(tmp_path), tmp_path / "out", random.Random(7)  # noqa: S311 - no secret
    worlds, slow = Worlds(*read(path)), {**os.environ, "SLEEP_S": "0.25"}
    committed: dict[tuple[str, float], float] = {}
    kills: Counter[str] = Counter()
    driver: subprocess.Popen[bytes] | None = None
    while kills.total() < 10:
        if driver is None or driver.poll() is not None:
            driver = subprocess.Popen(command(path, out), env=slow)  # noqa: S603 - our own code
        finished = len(list(column(out, "hash")))
        # on a busy machine too, some kills must come after something was committed
        while not children(driver.pid) or (kills.total() % 3 and len(list(column(out, "hash"))) == finished):
            assert driver.poll() is None, "it ended before the kills did"
            time.sleep(0.2)
        time.sleep(rng.uniform(0.0, 12.0))
        whom = ("driver", "worker")[kills.total() % 2]
        os.kill(rng.choice([driver.pid] if whom == "driver" else children(driver.pid)), signal.SIGKILL)
        kills[whom] += 1
        if whom == "driver":
            driver.wait()
        if list(column(out, "hash")):
            now = read_results(out)
            committed |= {
                (row.controller, row.which_kw): row.token_us for row in now.itertuples() if row.status == "ok"
            }
    assert driver is not None
    driver.kill()
    driver.wait()
    subprocess.run(command(path, out), check=True)  # noqa: S603 - our own code
    found = read_results(out)
    assert 0 < len(committed) < len(found)
    missing = {(worlds.hash(p), run) for p in worlds for run in ("none", "equal_share")} - set(
        zip(found.hash, found.controller, strict=True)
    )
    assert (len(found), missing, set(found.status)) == (600, set(), {"ok"})
    final = {(row.controller, row.which_kw): row.token_us for row in found.itertuples()}
    assert {key: final[key] for key in committed} == committed  # what was committed is what is there
    made = [line.split() for line in (tmp_path / "log.txt").read_text().splitlines()]
    last_us = {(run, float(which)): float(token) for run, which, token in made}  # of each, the last time
    assert {key: last_us[key] for key in committed} == committed  # which was not made again either
    (tmp_path / "other").mkdir()
    conduct(Worlds(*read(study_of(tmp_path / "other"))), tmp_path / "again", jobs=2)
    own = ["run_s", "token_us"]
    pd.testing.assert_frame_equal(found.drop(columns=own), read_results(tmp_path / "again").drop(columns=own))


@contextmanager
def running(folder: Path, *arguments: str, project: Path = PROJECT) -> Iterator[subprocess.Popen[bytes]]:
    """A part of a cluster, as a process of its own, told where the scheduler is by a file."""
    environment = {**os.environ, "PYTHONPATH": f"{project}{os.pathsep}{PROJECT / 'tests'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"distributed.cli.dask_{arguments[0]}", "--scheduler-file", str(folder / "where")]
    process = subprocess.Popen(  # noqa: S603 - our own code
        [*command, *arguments[1:], "--no-dashboard"], cwd=folder, env=environment, stderr=subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[str]:
    with running(tmp_path, "scheduler", "--host", "127.0.0.1", "--port", "0"):
        where = tmp_path / "where"
        while not where.exists() or "address" not in where.read_text():
            time.sleep(0.1)
        yield json.loads(where.read_text())["address"]


def wait_for_workers(address: str, many: int) -> None:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(many, timeout=60)


@pytest.mark.filterwarnings("ignore")  # Dask's own, of sockets that it leaves to the end
def test_a_cluster_gives_the_same_study_and_outlives_a_worker(tmp_path: Path, scheduler: str) -> None:
    worlds = Worlds(*read(study_of(tmp_path, STUDY.replace("300", "12"))))
    here = tmp_path / "here"
    conduct(worlds, here, jobs=2)
    with running(tmp_path, "worker", "--nthreads", "1") as first, running(tmp_path, "worker", "--nthreads", "2"):
        wait_for_workers(scheduler, 2)
        killed = []

        def kill_one(counts: Counts) -> None:
            if counts.done == 3 and not killed:
                killed.extend(children(first.pid) or [first.pid])
                for pid in [*killed, first.pid]:
                    os.kill(pid, signal.SIGKILL)

        counts = conduct(worlds, tmp_path / "there", scheduler=scheduler, progress=kill_one)
    assert killed
    assert (counts.done, counts.failed) == (12, 0)
    own = ["run_s", "token_us"]
    pd.testing.assert_frame_equal(
        read_results(tmp_path / "there").drop(columns=own), read_results(here).drop(columns=own)
    )


@pytest.mark.filterwarnings("ignore")
def test_a_cluster_gives_the_same_hosting_capacity(
    tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(PROJECT / "feeders" / "two_bus", tmp_path / "streets" / "street")
    monkeypatch.chdir(tmp_path / "streets")  # which is not the workers' folder
    shipped = read_hosting()
    method = shipped.method.model_copy(update={"placements": 1, "weeks": 0, "year_step_minutes": 60})
    own = {"method": method, "reinforcement": {"oltc": shipped.reinforcement["oltc"]}}
    asked = Asked(["street"], "ev", ["none"], shipped.model_copy(update=own))
    with running(tmp_path, "worker", "--nworkers", "2", "--nthreads", "1"):
        wait_for_workers(scheduler, 2)
        there = hosting(asked, Path("there"), scheduler=scheduler)
    here = hosting(asked, Path("here"))
    assert set(here.table["network"]) == {"as_built", "oltc"}
    pd.testing.assert_frame_equal(there.table, here.table)
    rows = [read_results(Path(name)).drop(columns="run_s") for name in ("there", "here")]
    pd.testing.assert_frame_equal(*rows)


@pytest.mark.filterwarnings("ignore")
def test_what_fails_on_a_cluster_is_recorded_and_a_full_disk_stops_it(tmp_path: Path, scheduler: str) -> None:
    def task(number: int, **payload: object) -> Task:
        about = ({"number": number},)
        return Task(f"h{number}", "oracles.study_tasks:square", {"number": number, **payload}, about)

    with running(tmp_path, "worker", "--nthreads", "1"):
        wait_for_workers(scheduler, 1)
        tasks = [task(1), task(2, what="raises"), task(3, what="kills"), task(4)]
        counts = run_tasks(tasks, tmp_path / "out", scheduler=scheduler)
        assert (counts.done, counts.failed) == (4, 2)
        reasons = read_results(tmp_path / "out").set_index("number").reason
        assert "seven is no number" in reasons[2]
        assert "KilledWorker" in reasons[3]
        wait_for_workers(scheduler, 1)  # the last of those that it killed is being replaced
        with pytest.raises(WriteError, match="No space left"):
            run_tasks([task(5), task(6, what="full")], tmp_path / "out", scheduler=scheduler)


@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_cannot_be_used_is_refused_before_anything_starts(tmp_path: Path, scheduler: str) -> None:
    def refusal(address: str) -> str:
        with pytest.raises(InputError) as caught:
            run_tasks([], tmp_path / "out", scheduler=address)
        return str(caught.value)

    assert "no scheduler answers at tcp://127.0.0.1:1 → start one with 'dask scheduler'" in refusal("tcp://127.0.0.1:1")
    assert f"has no workers → start some: dask worker {scheduler}" in refusal(scheduler)
    worlds = Worlds(*read(study_of(tmp_path)))
    with pytest.raises(InputError, match="has no workers"):
        conduct(worlds, tmp_path / "out", scheduler=scheduler)
    clone = tmp_path / "clone"
    for room in ("cosim", "controllers", "experiments", "feeders"):
        shutil.copytree(PROJECT / room, clone / room, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    with (clone / "experiments" / "labels.py").open("a") as file:
        file.write("# another version\n")
    with running(tmp_path, "worker", "--nthreads", "1", project=clone):
        wait_for_workers(scheduler, 1)
        told = refusal(scheduler)
    assert f"not {code_version()} → install the same version there" in told
    assert not (tmp_path / "out").exists()
