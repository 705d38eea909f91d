"""The shape of a study: options from a config, one way to run and write, and a command that imports it when called."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pandas as pd
import pytest
import typer
from matplotlib.figure import Figure
from threadpoolctl import threadpool_info
from typer.testing import CliRunner

from cosim.errors import Fault, InputError
from cosim.experiments import studies
from cosim.experiments.figures.style import Drawing
from cosim.experiments.files import sha256_of
from cosim.experiments.studies.base import Progress, Study, StudyConfig, StudyResult, timed
from cosim.experiments.studies.command import StudyCommand, study_command


@dataclass(frozen=True, kw_only=True)
class DiceConfig(StudyConfig):
    throws: Annotated[int, typer.Option(help="Of one die.")] = 4
    table: Annotated[Path | None, typer.Option(help="Read as well.")] = None
    seed: Annotated[int, typer.Option(help="Of the die.")] = 1

    def faults(self) -> Iterator[Fault]:
        if self.throws < 1:
            yield Fault("dice", "--throws", f"is {self.throws}", "throw once")
        if self.seed < 0:
            yield Fault("dice", "--seed", f"is {self.seed}", "give 0")


class Dice(Study[DiceConfig, StudyResult]):
    name = "dice"
    packages: ClassVar[tuple[str, ...]] = ("numpy",)
    source = "a die"

    def run(self, config: DiceConfig, progress: Progress) -> StudyResult:
        progress("Throwing")
        if config.table is not None and not config.table.read_text():
            raise InputError(Fault(str(config.table), "--table", "is empty", "give another"))
        timing: dict[str, float] = {}
        with timed(timing, "throw_s"):
            eyes = np.random.default_rng(config.seed).integers(1, 7, config.throws)
        return StudyResult(
            cases={"die": {"mean": eyes.mean(), "worst": np.inf}}, lines=[f"mean [{eyes.mean():.1f}]"],
            warnings=["no die is fair"], tables={"throws.csv": pd.DataFrame({"eyes": eyes})}, timing=timing,
            documents={"more/throws.json": {"eyes": eyes, "nothing": np.nan}}, facts={"sides": 6},
        )  # fmt: skip

    def figures(self, result: StudyResult) -> dict[str, Drawing]:  # noqa: ARG002
        return {"figures/none.png": Drawing(Figure(figsize=(1, 1)), "Nothing", "Nothing is drawn.")}

    def report(self, result: StudyResult, captions: Mapping[str, str]) -> str:
        return f"# {len(result.tables)} table\n{captions['figures/none.png']}\n"


def told(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_study_writes_its_folder(tmp_path: Path) -> None:
    own = tmp_path / "own.csv"
    own.write_text("a\n")
    heard: list[str] = []
    result = Dice().conduct(DiceConfig(table=own), tmp_path / "out", heard.append)
    out = tmp_path / "out"
    assert heard[0] == "Throwing"
    assert told(out / "metrics.json") == {"cases": {"die": {"mean": result.cases["die"]["mean"], "worst": None}}}
    assert len(pd.read_csv(out / "throws.csv")) == 4
    assert told(out / "more/throws.json")["nothing"] is None
    assert told(out / "timing.json").keys() == {"throw_s"}
    assert (out / "report.md").read_text() == "# 1 table\nNothing. Nothing is drawn.\n"
    manifest = told(out / "manifest.json")
    assert (manifest["study"], manifest["seed"], manifest["sides"], manifest["reproducible"]) == ("dice", 1, 6, True)
    assert manifest["options"] == {"throws": 4, "table": "own.csv", "seed": 1}  # where it lies is nobody's business
    assert manifest["inputs_sha256"] == {"own.csv": sha256_of(own)}
    assert manifest["versions"]["numpy"] == np.__version__


def test_what_is_wrong_with_a_config_is_told_at_once() -> None:
    with pytest.raises(InputError) as refused:
        DiceConfig(throws=0, seed=-1)
    assert [fault.key for fault in refused.value.faults] == ["--throws", "--seed"]


@pytest.mark.parametrize("there", [False, True])
def test_wrong_data_leave_no_folder_that_was_not_there(tmp_path: Path, there: bool) -> None:
    out = tmp_path / "out"
    if there:
        out.mkdir()
    own = tmp_path / "own.csv"
    with pytest.raises(InputError, match="no such file"):
        DiceConfig(table=own)
    own.write_text("")
    with pytest.raises(InputError, match="is empty"):
        Dice().conduct(DiceConfig(table=own), out)
    assert out.exists() == there


def test_a_command_has_the_options_of_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = studies.Entry(f"{__name__}:Dice", f"{__name__}:DiceConfig", "Throws a die.")
    monkeypatch.setitem(studies.STUDIES, "dice", entry)
    app = typer.Typer()
    app.command("other")(lambda: None)
    app.command("dice", cls=StudyCommand, help="Throws a die.")(lambda: None)
    ended = CliRunner().invoke(app, ["dice", "--throws", "9", "--out", str(tmp_path)])
    assert ended.exit_code == 0, ended.output
    assert "mean [" in ended.output  # not taken for markup
    assert len(pd.read_csv(tmp_path / "throws.csv")) == 9
    assert [parameter.name for parameter in study_command("dice").params] == [
        "out", "overwrite", "throws", "table", "seed",
    ]  # fmt: skip
    assert CliRunner().invoke(app, ["dice", "--throws", "many"]).exit_code == 2


def test_the_command_line_imports_no_study_before_it_is_called() -> None:
    code = (
        "import sys; from cosim.experiments.cli import app; from typer.testing import CliRunner; "
        "[CliRunner().invoke(app, [*words, '--help']) for words in ([], ['reproduce'])]; "
        "print([name for name in sys.modules if name.startswith('cosim.experiments.studies.')]); "
        "print('matplotlib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "['cosim.experiments.studies.command']\nFalse"


def test_a_study_runs_on_one_thread_of_linear_algebra(tmp_path: Path) -> None:
    class Counting(Dice):
        def run(self, config: DiceConfig, progress: Progress) -> StudyResult:
            found = super().run(config, progress)
            found.cases["die"]["threads"] = [pool["num_threads"] for pool in threadpool_info()]
            return found

    threads = Counting().conduct(DiceConfig(), tmp_path).cases["die"]["threads"]
    assert threads
    assert set(threads) == {1}
