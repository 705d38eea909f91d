"""The README's Python is run, its printed output compared, and its commands are looked for in the program."""

import contextlib
import io
import re
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from cosim.experiments.cli import app
from cosim.experiments.comparison import write
from cosim.experiments.comparison.paired import compare
from cosim.experiments.study.config import read
from cosim.experiments.study.world import run_world
from cosim.experiments.study.worlds import Worlds

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_the_python_examples_print_what_the_page_says(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == text.count("```python")
    names: dict[str, object] = {}
    for code, expected in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, page, "exec"), names)  # noqa: S102 - our own pages
        assert printed.getvalue() == expected


def test_every_command_of_the_readme_exists():
    commands = set(re.findall(r"`cosim (\w+)", README))
    assert commands == {
        "run", "compare", "check", "list", "feeder", "bench", "hosting", "ocpp", "optimum", "plan", "rephase",
        "reproduce", "serve", "study",
    }  # fmt: skip
    for command in commands:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_files_that_the_readme_names_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target.replace("\\", "")).exists(), target


SEASONS = ROOT / "tests" / "golden" / "values" / "seasons.csv"
"""What every controller measured in every world of the shipped study, as last run whole."""


def test_the_table_of_the_readme_is_the_comparison_of_the_shipped_study():
    measures = re.search(r"`MEASURES` = `([\w,\s]+)`", README)[1].replace("\n", "").split(",")
    board = write.board(compare(pd.read_csv(SEASONS)), measures)
    head, rows = re.findall(
        r"^\| mean of the year.*? \| (`none`.*) \|\n\|---.*\n((?:\|.*\n)+)", README, flags=re.MULTILINE
    )[0]
    assert re.findall(r"`(\w+)`", head) == list(board.columns[1:])
    shown = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows.splitlines()]
    assert shown == board.to_numpy().tolist()


@pytest.mark.slow
def test_a_world_of_the_shipped_study_is_as_it_was():
    """All eight controllers; the study whole takes half an hour."""
    worlds = Worlds(*read("seasons"))
    point = next(one for one in worlds if (one.placement, one.season) == (3, "summer"))
    payload = {"scenario": worlds.scenario(point), "where": worlds.scenario_path, "rows": worlds.rows(point)}
    found = pd.DataFrame(run_world({**payload, "engine": "reduced", "keep": None})).set_index("controller")
    kept = pd.read_csv(SEASONS).query("placement == 3 and season == 'summer'").set_index("controller")
    assert list(kept.index) == list(found.index)
    for metric in kept.columns[6:]:
        assert found[metric].to_numpy() == pytest.approx(kept[metric].to_numpy(), rel=2e-3, abs=2e-3), metric
