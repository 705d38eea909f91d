"""Circuits that are not shipped are compiled by a child first, once: what crashes or never ends harms nobody."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cosim import dss_trial, feeders
from cosim.errors import InputError
from cosim.opendss import OpenDssEngine

PROJECT = Path(__file__).parents[2]
TWO_BUS = Path(feeders.__file__).parent / "two_bus"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write a copy of the two-bus feeder with a line in addition, none of which has been tried."""
    monkeypatch.setenv("COSIM_CIRCUITS_TRIED", "")

    def written(extra: str = "") -> Path:
        shutil.copytree(TWO_BUS, tmp_path / "own", dirs_exist_ok=True)
        master = tmp_path / "own" / "Master.dss"
        master.write_text(f"{(TWO_BUS / 'Master.dss').read_text()}\n{extra}\n")
        return master

    return written


@pytest.fixture
def children(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Calls of child processes, which are made all the same."""
    calls: list[list[str]] = []
    real = subprocess.run

    def counting(call: list[str], **options: object) -> object:
        calls.append(call)
        return real(call, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(dss_trial.subprocess, "run", counting)
    return calls


def the_fault(master: Path) -> tuple[str, str]:
    with pytest.raises(InputError) as refused:
        feeders.load(master)
    (fault,) = refused.value.faults
    assert fault.remedy
    return fault.where, fault.problem


def test_a_crash_is_a_fault_of_the_file(write: Write) -> None:
    master = write("New Load.X Phases=1 Bus1=2.-1 kV=0.23 kW=1")  # a segmentation fault in OpenDSS
    where, problem = the_fault(master)
    assert where == str(master)
    assert problem == "OpenDSS crashes on it (signal 11: Segmentation fault)"


def test_what_takes_for_ever_is_ended(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dss_trial, "TRIAL_LIMIT_S", 1.0)
    _, problem = the_fault(write("Solve mode=yearly number=2000000000"))
    assert problem == "OpenDSS has not compiled it after 1 s"


@pytest.mark.parametrize(
    ("extra", "line", "said"),
    [
        ("Redirect nowhere.dss", 30, '(#243) Redirect file not found: "nowhere.dss"'),
        ("New Load.X Phases=1 Bus1=2.1 kV=hello", 30, '(#303) Invalid inline math entry: "hello"'),
        ("New Load.LOAD1 Phases=1 Bus1=2.1 kV=0.23", 30, "(#266) Warning: Duplicate new element definition"),
    ],
)
def test_opendss_is_told_in_its_words_without_their_frame(write: Write, extra: str, line: int, said: str) -> None:
    master = write(extra)
    where, problem = the_fault(master)
    assert where == f"{master}, line {line}"
    assert problem.startswith(f"OpenDSS refuses it: {said}")
    assert "\n" not in problem


def test_files_are_tried_once_for_what_they_hold(write: Write, children: list[list[str]]) -> None:
    master = write("Redirect more.dss")
    (master.parent / "more.dss").write_text("New Load.LOAD4 Phases=1 Bus1=2.1 kV=0.23 kW=1\n")
    OpenDssEngine(feeders.load(master))
    feeders.load(os.path.relpath(master))
    assert len(children) == 1
    tried = os.environ["COSIM_CIRCUITS_TRIED"]  # inherited by worker processes
    (master.parent / "more.dss").write_text("New Load.LOAD4 Phases=1 Bus1=2.1 kV=0.23 kW=2\n")
    feeders.load(master)
    assert len(children) == 2
    assert os.environ["COSIM_CIRCUITS_TRIED"].startswith(f"{tried} ")


def test_shipped_feeders_are_not_tried(children: list[list[str]]) -> None:
    OpenDssEngine(feeders.load("two_bus"))
    assert children == []


def test_it_is_said_once_that_a_circuit_is_executed(write: Write, cosim: Callable[..., tuple[int, str, str]]) -> None:
    code, out, err = cosim("feeder", str(write()))
    assert code == 0
    assert (out + err).count("OpenDSS executes") == 1
    code, out, err = cosim("feeder", "two_bus")
    assert "OpenDSS executes" not in out + err


def test_a_script_without_guard_may_load_a_circuit(write: Write, tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    # modules of common names beside the script are for the script only
    (tmp_path / "signal.py").write_text("raise SystemExit('the wrong module')\n")
    script.write_text(f"from cosim import feeders\nprint(feeders.load({str(write())!r}).customers)\n")
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-P", str(script)], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )  # fmt: skip
    assert done.stdout == "('LOAD1', 'LOAD2', 'LOAD3')\n", done.stderr
