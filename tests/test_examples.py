"""The README's Python is run, its printed output compared, and its commands are looked for in the program."""

import contextlib
import io
import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cosim.experiments.cli import app

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
    assert {
        "run",
        "compare",
        "check",
        "list",
        "feeder",
        "bench",
        "optimum",
        "plan",
        "rephase",
        "reproduce",
        "study",
        "hosting",
    } == commands
    for command in commands:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_files_that_the_readme_names_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target.replace("\\", "")).exists(), target


ROWS = {
    "worst phase of the transformer, peak [%]": "transformer_peak_percent",
    "worst line, peak [%]": "line_peak_percent",
    "minutes of overload": "transformer_overload_min",
    "minutes above 253 V": "overvoltage_min",
    "VUF, 95 % [%]": "vuf_p95_percent",
    "neutral current, 95 % [A]": "neutral_current_p95_a",
    "losses [kWh]": "losses_kwh",
    "PV curtailed [kWh]": "pv_curtailed_kwh",
    "delivered to cars [kWh]": "ev_delivered_kwh",
    "what all homes pay [EUR]": "cost_eur",
}


def test_the_table_of_the_default_day_holds_the_figures_that_are_pinned():
    """Whole days run in make test-all only, against the same goldens; of pareto those hold only what is not tied."""
    goldens = json.loads((ROOT / "tests" / "golden" / "values" / "scenarios.json").read_text(encoding="utf-8"))
    head, rows = re.findall(r"^\| \| (`none`.*) \|\n\|---.*\n((?:\|.*\n)+)", README, flags=re.MULTILINE)[0]
    names = re.findall(r"`(\w+)`", head)
    assert {"even", "on_arrival"} <= set(names)
    compared = 0
    for row in rows.splitlines():
        label, *cells = [cell.strip() for cell in row.strip("|").split("|")]
        for name, cell in zip(names, cells, strict=True):
            golden = goldens[f"scenarios european_lv_may_day {name} 24h"]
            metric = ROWS[label]
            value = golden.get(f"metrics.{metric}", golden.get(f"about.{metric}"))
            if value is not None:
                digits = len(cell.partition(".")[2])
                assert f"{value:.{digits}f}" == cell, (label, name)
                compared += 1
    assert compared > 60
