"""Folders of results: whose files may go, and who may write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from cosim.errors import InputError, WriteError
from cosim.folder import JOURNAL, claimed, new_file, write_whole

Cosim = Callable[..., tuple[int, str, str]]


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


def here(tmp_path: Path) -> str:
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nfeeder = "two_bus"\nstart = 2026-05-15T12:00:00\nhorizon_h = 1\n[ev]\nshare = 1.0\n'
        '[[runs]]\ncontroller = "none"\nlabel = "a"\n[[runs]]\ncontroller = "equal_share"\nlabel = "b"\n'
    )
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
    assert cosim(*command, "--controllers", "a", "--overwrite")[0] == 0
    assert [path.name for path in (tmp_path / "out" / "trajectories").iterdir()] == ["a"]
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
