"""Folders of results: whose files may go, who may write, and what is left whatever ends a program."""

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

from cosim.errors import InputError, WriteError
from cosim.experiments import day as days
from cosim.experiments import execute as executing
from cosim.experiments import keep, results
from cosim.experiments import scenario as scenarios
from cosim.experiments.compose import compose
from cosim.folder import JOURNAL, claimed, default_folder, new_file, write_whole
from cosim.plant import Plant

Cosim = Callable[..., tuple[int, str, str]]

LONG = 'name = "mine"\nfeeder = "two_bus"\nstart = 2026-05-15T12:00:00\nhorizon_h = 24\n[ev]\nshare = 1.0\n' + "".join(
    f'[[runs]]\ncontroller = "{controller}"\nlabel = "{label}"\n'
    for label, controller in zip("abcdef", ["none", "equal_share", "dimming"] * 2, strict=True)
)
SHORT = LONG.replace("= 24", "= 1").partition('[[runs]]\ncontroller = "none"\nlabel = "d"')[0]
TABLES = ("steps", "customers", "nodes", "lines", "decisions")


def put(path: Path, text: str = "ours") -> None:
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A folder that was written before, to which the user has added."""
    folder = tmp_path / "old"
    with claimed(folder):
        put(folder / "metrics.json")
        put(folder / "figures" / "voltage.png")
        put(folder / "caps" / "a" / "caps.csv")
    (folder / "figures" / "mine.png").write_text("mine")
    (folder / "notes.txt").write_text("mine")
    return folder


def here(tmp_path: Path, text: str = SHORT) -> str:
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    return str(tmp_path / "mine.toml")


# ---- whose files may go


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_without_our_journal_is_refused_and_not_touched(tmp_path: Path, overwrite: bool) -> None:
    for name in ("metrics.json", "figures/a.png", "trajectories/none/steps.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"--out: holds what cosim did not write \(figures, .*new or an empty folder"):
        claimed(tmp_path, overwrite=overwrite).__enter__()
    (tmp_path / JOURNAL).write_text("a file of that name is no proof")
    with pytest.raises(InputError, match="holds what cosim did not write"):
        claimed(tmp_path, overwrite=overwrite).__enter__()
    (tmp_path / JOURNAL).unlink()
    assert contents(tmp_path) == before


def test_an_earlier_run_is_replaced_when_asked_and_nothing_else(old: Path) -> None:
    with pytest.raises(InputError, match=r"an earlier run \(3 files\) → give another folder, or --overwrite"):
        claimed(old).__enter__()
    with claimed(old, overwrite=True) as owned:
        assert contents(old).keys() > {"metrics.json"}  # until it is cleared
        owned.clear()
        assert {name for name in contents(old) if name != JOURNAL} == {"figures/mine.png", "notes.txt"}
        assert not (old / "caps").exists()
        put(old / "metrics.json")
        for name in ("notes.txt", "figures/mine.png"):
            with pytest.raises(WriteError, match="a file that cosim did not write is there"):
                put(old / name)
    assert (contents(old)["notes.txt"], contents(old)["figures/mine.png"]) == ("mine", "mine")


def test_a_folder_in_which_nothing_was_written_is_gone_again(tmp_path: Path, old: Path) -> None:
    with claimed(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / JOURNAL).exists()
    assert not (tmp_path / "a").exists()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ZeroDivisionError), claimed(tmp_path / "empty"):
        raise ZeroDivisionError
    assert list((tmp_path / "empty").iterdir()) == []
    before = contents(old)
    with claimed(old, overwrite=True):
        pass
    assert contents(old) == before


def test_no_link_leads_to_what_lies_outside(tmp_path: Path, old: Path) -> None:
    outside = tmp_path / "outside"
    (old / "figures").rename(outside)
    (old / "figures").symlink_to(outside)
    before = contents(outside)
    with pytest.raises(InputError, match=r"on the way to figures/voltage\.png → remove the link"):
        claimed(old, overwrite=True).__enter__()
    (old / "figures").unlink()
    with claimed(old, overwrite=True) as owned:
        (old / "figures").symlink_to(outside)  # meanwhile
        owned.clear()
        with pytest.raises(WriteError, match="a link on the way leads out"):
            put(old / "figures" / "voltage.png")
    assert contents(outside) == before


def test_names_in_a_journal_that_lead_outside_are_not_ours(tmp_path: Path, old: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with (old / JOURNAL).open("a") as file:
        file.write(
            f"../mine.txt\n{tmp_path}/mine.txt\n{JOURNAL}\n./{JOURNAL}\n.\nnotes.t"
        )  # the last was cut short by the end of the program
    with claimed(old, overwrite=True) as owned:
        owned.clear()
        put(old / "xt")
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert (old / "notes.txt").read_text() == "mine"
    assert (old / JOURNAL).read_text().splitlines()[1:] == ["xt"]
    (old / JOURNAL).rename(tmp_path / "journal")
    (old / JOURNAL).symlink_to(tmp_path / "journal")
    with pytest.raises(InputError, match="holds what cosim did not write"):
        claimed(old, overwrite=True).__enter__()


def test_a_folder_may_itself_be_a_link(tmp_path: Path, old: Path) -> None:
    (tmp_path / "link").symlink_to(old)
    with claimed(tmp_path / "link", overwrite=True) as owned:
        owned.clear()
        put(tmp_path / "link" / "metrics.json", "new")
    assert contents(old)["metrics.json"] == "new"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "metrics.json").write_text("mine")
    (tmp_path / "other").symlink_to(tmp_path / "mine")
    with pytest.raises(InputError, match="holds what cosim did not write"):
        claimed(tmp_path / "other", overwrite=True).__enter__()


def test_what_a_killed_program_left_half_written_is_ours(old: Path) -> None:
    (old / ".metrics.json.part").write_text("half")
    with claimed(old, overwrite=True) as owned:
        owned.clear()
    assert not (old / ".metrics.json.part").exists()


@pytest.mark.parametrize(
    ("place", "why"),
    [("file", "it is no folder"), ("file/below", "Not"), ("/proc/nothing", "No"), ("x" * 300, "File name")],
)
def test_places_that_cannot_be_folders_are_named(tmp_path: Path, place: str, why: str) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match=rf"--out: cannot be written to \({why}.*\) → give another folder"):
        claimed(tmp_path / place).__enter__()
    assert (tmp_path / "file").read_text() == "mine"


def test_single_files_are_replaced_only_when_asked(tmp_path: Path, cosim: Cosim) -> None:
    out = tmp_path / "demand.csv"
    out.write_text("mine")
    for command in (("plan", "--generate", "3"), ("bench", "step")):
        code, _, err = cosim(*command, "--out", str(out))
        assert (code, "--out: is there already → give another file, or --overwrite" in err) == (2, True)
        assert out.read_text() == "mine"
    (tmp_path / "rows.png").write_text("mine")
    code, _, err = cosim("bench", "caps", "--out", str(tmp_path / "rows.json"))  # which draws beside it
    assert (code, "rows.png: --out: is there already" in err) == (2, True)
    assert cosim("plan", "--generate", "3", "--out", str(out), "--overwrite")[0] == 0
    assert len(pd.read_csv(out)) == 3
    long = tmp_path / f"{'x' * 300}.csv"
    for wrong, told in (
        (tmp_path, "is a folder"),
        (out / "below.csv", "demand.csv is no folder"),
        (long, "File name too long → give another file"),
    ):
        with pytest.raises(InputError, match=told):
            new_file(wrong, overwrite=True)


def test_a_run_into_the_users_own_folder_is_refused(
    tmp_path: Path, cosim: Cosim, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here(tmp_path)
    for name in ("figures", "caps", "trajectories"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "own.txt").write_text("mine")
    before = contents(tmp_path)
    for more in ((), ("--overwrite",)):
        for command in (("run", "mine.toml"), ("rephase", "two_bus_evening"), ("reproduce", "cpo_planner")):
            code, out, err = cosim(*command, "--out", ".", *more)
            assert (code, out, err.count("error:")) == (2, "", 1)
            assert ".: --out: holds what cosim did not write" in err
    assert contents(tmp_path) == before


def test_a_run_replaces_a_run_and_keeps_what_was_added(tmp_path: Path, cosim: Cosim) -> None:
    command = ("run", here(tmp_path), "--out", str(tmp_path / "out"), "--quiet", "--no-figures")
    assert cosim(*command, "--controllers", "a,b")[0] == 0
    added = tmp_path / "out" / "caps" / "own.csv"
    added.parent.mkdir()
    added.write_text("mine")
    code, _, err = cosim(*command)
    assert (code, "or --overwrite to replace them" in err) == (2, True)
    assert cosim(*command, "--controllers", "c", "--overwrite")[0] == 0
    assert [path.name for path in (tmp_path / "out" / "trajectories").iterdir()] == ["c"]
    assert added.read_text() == "mine"


# ---- who may write


def test_a_folder_in_use_is_refused_until_its_process_is_gone(tmp_path: Path) -> None:
    hold = (
        "import sys, time; from pathlib import Path; from cosim.folder import claimed\n"
        f"with claimed(Path({str(tmp_path)!r})):\n    print('claimed', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True) as other:  # noqa: S603
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        for overwrite in (False, True):
            with pytest.raises(InputError, match="--out: is in use by another process → wait until it ends"):
                claimed(tmp_path, overwrite=overwrite).__enter__()
        other.kill()
        other.wait()
    with claimed(tmp_path), pytest.raises(InputError, match="in use"):
        claimed(tmp_path, overwrite=True).__enter__()


# ---- what is left


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
