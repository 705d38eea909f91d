"""The README's Python is run, its printed output compared, and its commands are looked for in the program."""

import contextlib
import io
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
    assert {"run", "compare", "check", "list", "feeder", "bench", "plan", "rephase", "reproduce"} == commands
    for command in commands:
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_files_that_the_readme_names_are_there():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target.replace("\\", "")).exists(), target
