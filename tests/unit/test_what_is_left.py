"""What is left of runs whatever ends them: bugs, interruptions, code of others, full disks, kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cosim.experiments import day as days
from cosim.experiments import execute as executing
from cosim.experiments import keep, results
from cosim.experiments import scenario as scenarios
from cosim.experiments.compose import compose
from cosim.folder import claimed, default_folder
from cosim.plant import Plant

Cosim = Callable[..., tuple[int, str, str]]

LONG = 'name = "mine"\nfeeder = "two_bus"\nstart = 2026-05-15T12:00:00\nhorizon_h = 24\n[ev]\nshare = 1.0\n' + "".join(
    f'[[runs]]\ncontroller = "{controller}"\nlabel = "{label}"\n'
    for label, controller in zip("abcdef", ["none", "equal_share", "dimming"] * 2, strict=True)
)
SHORT = LONG.replace("= 24", "= 1").partition('[[runs]]\ncontroller = "none"\nlabel = "d"')[0]
TABLES = ("steps", "customers", "nodes", "lines", "decisions")


def here(tmp_path: Path, text: str = SHORT) -> str:
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    return str(tmp_path / "mine.toml")


def runs_of(folder: Path) -> tuple[list[str], list[str]]:
    """Labels that are whole by the metrics, whose files are looked at, and labels that are not."""
    metrics = json.loads((folder / "metrics.json").read_text())
    manifest = json.loads((folder / "manifest.json").read_text())
    labels = [run["label"] for run in manifest["scenario"]["runs"]]
    whole = [label for label in labels if label not in metrics["incomplete"]]
    assert set(whole) <= set(metrics["controllers"])
    table = pd.read_csv(folder / "metrics.csv", index_col=0)
    timing = json.loads((folder / "timing.json").read_text())
    for label in whole:
        assert (manifest["runs"][label]["complete"], table["complete"][label], label in timing) == (True, True, True)
        tables = {name: pd.read_parquet(folder / "trajectories" / label / f"{name}.parquet") for name in TABLES}
        assert len(tables["steps"]) == manifest["runs"][label]["steps"] == 60 * manifest["scenario"]["horizon_h"] / 5
        assert len(pd.read_csv(folder / "unbalance" / label / "buses.csv"))
    return whole, metrics["incomplete"]


@pytest.mark.parametrize("where", ["plant", "scoreboard", "unbalance"])
def test_a_bug_marks_its_run_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    if where == "plant":
        step, planned = Plant.step, iter([False] * 17 + [True] + [False] * 99)  # of the second run

        def failing(plant: Plant, setpoints: object) -> None:
            step(plant, {}["key"] if next(planned) else setpoints)  # type: ignore[arg-type]

        monkeypatch.setattr(Plant, "step", failing)
    else:
        room, name = {"scoreboard": (days, "scoreboard"), "unbalance": (keep, "analyse")}[where]
        measure = getattr(room, name)
        monkeypatch.setattr(room, name, lambda run: {}["key"] if run.label == "b" else measure(run))
    path = Path(here(tmp_path))
    found = executing.execute(compose(scenarios.read(path), path), tmp_path / "out", figures=False)
    whole, incomplete = runs_of(tmp_path / "out")
    assert ("".join(whole), incomplete) == ("ac", ["b"])
    assert found.stopped is not None
    assert found.stopped.exit_code == 3
    why = json.loads((tmp_path / "out" / "manifest.json").read_text())["runs"]["b"]["stopped"]
    assert why == str(found.stopped)
    assert "KeyError: 'key' (" in why
    kept = pd.read_parquet(tmp_path / "out" / "trajectories" / "b" / "steps.parquet")
    assert len(kept) == (5 if where == "plant" else 12)
    assert "b: " in (tmp_path / "out" / "report.html").read_text()


def test_an_interruption_while_tables_are_written_is_not_forgotten(
    tmp_path: Path, cosim: Cosim, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, falls = results.write_tables, iter([False, True, False, False, False])  # as the second run ends

    def interrupted(found: results.Results) -> object:
        return signal.raise_signal(signal.SIGINT) if next(falls) else write(found)

    monkeypatch.setattr(results, "write_tables", interrupted)
    code, _, err = cosim("run", here(tmp_path), "--out", str(tmp_path / "out"), "--no-figures", "--quiet")
    assert code == 130
    assert "interrupted; not finished: c" in " ".join(err.split())
    assert runs_of(tmp_path / "out") == (["a", "b"], ["c"])


OTHERS = """
from cosim import BaseController, Setpoints
class Unspeakable(BaseException):
    def __str__(self): raise ValueError
class Quits(BaseController):
    def __init__(self, feeder): pass
    def decide(self, seen):
        if seen.step == 6: raise Unspeakable
        return Setpoints.free(len(seen.net_kw))
    def artifacts(self): raise SystemExit(0)
def quits(run): raise SystemExit("no \\ud800" if run.label == "a" else 0)
def hours(run): return {"hours": 1.0}
"""


def test_code_of_others_cannot_end_the_runs(tmp_path: Path, cosim: Cosim) -> None:
    (tmp_path / "others.py").write_text(OTHERS)
    metrics = 'metrics = ["others.py:quits", "others.py:hours"]\n[ev]'
    path = here(tmp_path, SHORT.replace("[ev]", metrics).replace('"equal_share"', '"others.py:Quits"'))
    code, _, err = cosim("run", path, "--out", str(tmp_path / "out"), "--quiet", "--no-figures")
    assert (code, "Traceback" in err) == (3, False)
    assert "b: step 6 of 12: Unspeakable: (its text cannot be made)" in err
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {label: found["hours"] for label, found in written["controllers"].items()} == {"a": 1, "b": 1, "c": 1}
    why = {
        label: run["stopped"] for label, run in json.loads((tmp_path / "out/manifest.json").read_text())["runs"].items()
    }
    assert r"a: metrics: '" in why["a"]
    assert r"others.py:quits' failed: SystemExit: no \ud800" in why["a"]
    assert "SystemExit: 0" in why["c"]


def test_results_begun_in_one_second_do_not_meet() -> None:
    assert len({(default_folder("day"), time.sleep(0.002)) for _ in range(5)}) == 5


ENDS = """
import os, resource, signal
from cosim import BaseController, Setpoints
class Ends(BaseController):
    def __init__(self, feeder, how): self.how = how
    def decide(self, seen):
        if seen.step == 6:
            if self.how == "full":
                resource.setrlimit(resource.RLIMIT_FSIZE, (1500, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
            else:
                os.kill(os.getpid(), getattr(signal, self.how))
        return Setpoints.free(len(seen.net_kw))
"""


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Make a scenario whose second run meets a full disk or a signal; undo what this leaves in the process."""
    (tmp_path / "ends.py").write_text(ENDS)
    handlers = {s: signal.getsignal(s) for s in (1, 15)}

    def make(how: str) -> str:
        run = f'"ends.py:Ends"\noptions = {{ how = "{how}" }}\n'
        return here(tmp_path, SHORT.replace('"equal_share"\n', run, 1))

    yield make
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_full_disk_costs_only_what_is_written_then(tmp_path: Path, cosim: Cosim, ends: Callable[[str], str]) -> None:
    # in a process of its own: the limit holds for the file that this one's output may go to as well
    command = [sys.executable, "-m", "cosim", "run", ends("full"), "--out", str(tmp_path / "out")]
    done = subprocess.run([*command, "--no-figures", "--quiet"], stderr=subprocess.PIPE, text=True, check=False)  # noqa: S603
    assert done.returncode == 3
    assert "b/steps.parquet: cannot be written" in "".join(done.stderr.splitlines())
    assert "File too large" in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.stderr
    whole, incomplete = runs_of(tmp_path / "out")
    assert "a" in whole
    assert "b" in incomplete
    assert not list((tmp_path / "out").rglob("*.part"))
    code, out, _ = cosim("compare", str(tmp_path / "out"))
    assert (code, "missing: c (did not end)" in out) == (0, True)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_to_be_ended_is_an_interruption(tmp_path: Path, cosim: Cosim, ends: Callable[[str], str], name: str) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    code, _, err = cosim("run", ends(name), "--out", str(tmp_path / "out"), "--no-figures", "--quiet")
    assert code == 130
    assert "interrupted; not finished: b, c" in " ".join(err.split())
    assert runs_of(tmp_path / "out") == (["a"], ["b", "c"])
    assert len(pd.read_parquet(tmp_path / "out" / "trajectories" / "b" / "steps.parquet")) == 6
    out = cosim("compare", str(tmp_path / "out"))[1]
    assert "missing: c (did not end)" in out


@pytest.mark.slow
def test_a_worker_that_is_killed_costs_its_own_run_only(
    tmp_path: Path, cosim: Cosim, ends: Callable[[str], str]
) -> None:
    code, _, err = cosim(
        "run", ends("SIGKILL"), "--out", str(tmp_path / "out"), "--no-figures", "--quiet", "--jobs", "2"
    )
    assert code == 3
    assert "b: its process ended without a result (exit code -9: killed" in " ".join(err.split())
    whole, incomplete = runs_of(tmp_path / "out")
    assert ("".join(whole), incomplete) == ("ac", ["b"])


@pytest.mark.slow
def test_an_interruption_of_all_processes_is_told_once(tmp_path: Path) -> None:
    command = ["run", here(tmp_path, LONG), "--out", str(tmp_path / "out"), "--no-figures", "--jobs", "2", "--quiet"]
    with subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "cosim", *command], start_new_session=True, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as program:  # fmt: skip
        while program.poll() is None and not (tmp_path / "out" / "metrics.json").exists():
            time.sleep(0.01)
        time.sleep(0.1)  # workers begin to load what they need
        os.killpg(program.pid, signal.SIGINT)  # as Ctrl-C does
        _, err = program.communicate(timeout=60)
    assert program.returncode == 130
    assert err.count("\n") == 1
    assert err.startswith("stopped: interrupted; not finished: a, b, c, d, e, f")


@pytest.mark.slow
@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_program_that_is_killed_loses_only_the_runs_in_progress(tmp_path: Path, cosim: Cosim, jobs: str) -> None:
    rng, out = np.random.default_rng(int(jobs)), tmp_path / "out"
    (tmp_path / "mine.toml").write_text(LONG)
    command = ["run", str(tmp_path / "mine.toml"), "--out", str(out), "--no-figures", "--jobs", jobs]
    for _ in range(10):
        with subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "cosim.experiments", *command, "--overwrite", "--quiet"]
        ) as program:
            while program.poll() is None and not (out / "trajectories").is_dir():
                time.sleep(0.01)
            time.sleep(rng.uniform(0.0, 3.0))
            program.kill()
        time.sleep(0.5)  # of workers, which end with it
        _, incomplete = runs_of(out)
        # of those that are not counted, only runs in progress had come as far as the last table of a trajectory
        finished = [label for label in incomplete if (out / f"trajectories/{label}/decisions.parquet").exists()]
        assert len(finished) <= int(jobs)
        code, told, _ = cosim("compare", str(out))
        assert (code, told.count("missing: ")) == (0, len(incomplete))
        assert cosim(*command)[0] == 2
        with claimed(out, overwrite=True) as owned:
            owned.clear()
        assert not out.exists() or not os.listdir(out)


@pytest.mark.parametrize("limit_kb", [150_000, 600_000])
def test_a_limit_of_memory_below_what_is_needed_is_said(limit_kb: int) -> None:
    command = f"ulimit -v {limit_kb}; exec '{sys.executable}' -m cosim.experiments run two_bus_evening"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603, S607
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (3, "", 1)
    assert "is too low: cosim needs 1200 MB or more → raise the limit" in done.stderr
