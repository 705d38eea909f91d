"""The same question twice gives the same bytes; under another BLAS kernel, figures within what is promised."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cosim.threads import blas

Command = Callable[..., tuple[int, str, str]]

STUDIES = {
    "host_capacity": "reproduce host_capacity",
    "powertrip": "reproduce powertrip --generations 3 --population 10",
    "cpo_planner": "reproduce cpo_planner",
    "fleet_aggregation": "reproduce fleet_aggregation --vehicles 30",
    "station_pricing": "reproduce station_pricing --certify 2",
    "rephase": "rephase two_bus_evening",
    "plan": "plan ../demand.csv --capacity-kw 60 --formulation milp --n-sols 2",
}
KERNELS = ("Haswell", "Prescott")
ALIKE = {"cost_eur", "import_kwh", "losses_kwh", "ev_delivered_kwh", "vuf_p95_percent"}
"""Of what the manifest promises of runs whose controller searches."""


@pytest.fixture
def twice(cosim: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Run a command in two folders, and return the files that are not the same, but for what measures time."""

    def run(command: str) -> list[str]:
        outs = []
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            monkeypatch.chdir(tmp_path / name)
            assert cosim(*command.split(), "--out", "out")[0] == 0
            outs.append(tmp_path / name / "out")
        files = {path.relative_to(out) for out in outs for path in out.rglob("*") if path.is_file()}
        assert len(files) > 3
        timeless = sorted(name for name in files if name.name != "timing.json")
        return [str(name) for name in timeless if len({(out / name).read_bytes() for out in outs}) > 1]

    return run


@pytest.mark.slow  # with --jobs beside it a quick one is among those of the command line
def test_a_run_repeats_in_every_file(twice: Callable[[str], list[str]]) -> None:
    assert twice("run two_bus_evening --quiet") == []


@pytest.mark.slow
@pytest.mark.parametrize("study", STUDIES)
def test_a_study_repeats_in_every_file(
    twice: Callable[[str], list[str]], cosim: Command, tmp_path: Path, study: str
) -> None:
    assert cosim("plan", "--generate", "12", "--out", str(tmp_path / "demand.csv"))[0] == 0
    assert twice(STUDIES[study]) == []


@pytest.mark.slow
@pytest.mark.skipif(not any("openblas" in one for one in blas()), reason="only OpenBLAS lets its kernel be chosen")
def test_another_kernel_of_blas_stays_within_what_the_manifest_promises(tmp_path: Path) -> None:
    manifests, boards = [], []
    for kernel in KERNELS:
        command = (
            sys.executable,
            "-m",
            "cosim.experiments",
            "run",
            "two_bus_evening",
            "--quiet",
            "--no-figures",
            "--controllers",
            "none,equal_share,bilevel_caps",
        )
        done = subprocess.run(  # noqa: S603 - our own command
            [*command, "--out", str(tmp_path / kernel)], check=False, env={**os.environ, "OPENBLAS_CORETYPE": kernel}
        )
        assert done.returncode == 0
        manifests.append(json.loads((tmp_path / kernel / "manifest.json").read_text()))
        boards.append(json.loads((tmp_path / kernel / "metrics.json").read_text())["controllers"])
    assert manifests[0]["blas"] != manifests[1]["blas"]
    searched = {label for label, run in manifests[0]["runs"].items() if run["elsewhere"]["relative"] > 1e-3}
    assert {"bilevel_caps"} <= searched < set(boards[0])
    for label, board in boards[0].items():
        relative = manifests[0]["runs"][label]["elsewhere"]["relative"]
        for name in (ALIKE if label in searched else set(board)) - {"balance_error_percent"}:
            expected = board[name] if board[name] is None else pytest.approx(board[name], rel=relative)
            assert boards[1][label][name] == expected, (label, name)
