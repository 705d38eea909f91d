"""The recipes of CONTRIBUTING.md, as a newcomer would follow them: files written, commands run, in an empty folder."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILE = re.compile(r"^`([\w./]+)`:\n\n```\w+\n(.*?)```", re.MULTILINE | re.DOTALL)
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL) for line in block.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the page, whose commands have not been run yet."""
    folder = tmp_path_factory.mktemp("newcomer")
    for name, content in FILE.findall(PAGE):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


def test_there_is_a_recipe_for_each_door() -> None:
    headings = re.findall(r"^## (.*)$", PAGE, flags=re.MULTILINE)
    assert {"A controller", "A metric", "A feeder", "A device"} <= set(headings)
    assert len(FILE.findall(PAGE)) == 5
    assert len(COMMANDS) == 5


def test_every_command_works_on_the_files_of_the_page(folder: Path) -> None:
    for command in COMMANDS:
        program, *arguments = shlex.split(command)
        assert program == "cosim"
        done = subprocess.run(  # noqa: S603 - our own page
            [sys.executable, "-m", "cosim.experiments", *arguments],
            cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    metrics = (folder / "runs" / "night" / "metrics.json").read_text(encoding="utf-8")
    assert "night_import_kwh" in metrics
    assert (folder / "runs" / "solar_first" / "trajectories" / "SolarFirst" / "customers.parquet").is_file()


def test_the_recipe_of_a_device_prints_what_the_page_says() -> None:
    (recipe,) = re.findall(r"```python\n([^`]*?)```\n\n```text\n(.*?)```", PAGE, flags=re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(recipe[0], "CONTRIBUTING.md", "exec"), {})  # noqa: S102 - our own page
    assert printed.getvalue() == recipe[1]
