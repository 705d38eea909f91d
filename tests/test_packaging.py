"""One import name: nothing that a user's folder holds gets in the way, and what is shipped is whole."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import grimp
import pytest

import cosim
from cosim import feeders
from cosim.experiments import scenario as scenarios

PROJECT = Path(__file__).resolve().parents[1]
ROOMS = ("cosim", "controllers", "experiments", "feeders")
UPPER_ROOMS = ROOMS[1:]
SOURCES = sorted(path for room in ROOMS for path in (PROJECT / room).rglob("*.py"))


def python(folder: Path, *arguments: str, path: str | None = str(PROJECT)) -> subprocess.CompletedProcess[str]:
    """Run an interpreter in a folder, as a user does who has the project on the path."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"PYTHONPATH": path} if path else {}
    return subprocess.run(  # noqa: S603 - our own code
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_the_public_names_are_these_and_each_is_there() -> None:
    assert cosim.__all__ == [
        "BaseController", "BatchResult", "Behaviour", "Connection", "Controller", "Day", "Decision", "EvSessions",
        "Exogenous", "Feeder", "Forecast", "Observation", "ReducedNetwork", "Run", "Sensitivity", "Setpoints",
        "Stepper", "Trajectory", "TransformerSpec", "__version__", "compare", "load", "run",
    ]  # fmt: skip
    assert all(getattr(cosim, name) is not None for name in cosim.__all__)
    assert set(cosim.__all__) <= set(dir(cosim))
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        cosim.lod  # noqa: B018 - the access is the test


def test_every_public_name_has_an_example_that_runs() -> None:
    """The page of names is run by test_examples; here: that it leaves none out."""
    page = (PROJECT / "docs" / "python.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL))
    assert [name for name in cosim.__all__ if not re.search(rf"\b{name}\b", code)] == []


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A research folder with packages of its own that are called as the rooms are."""
    folder = tmp_path_factory.mktemp("research")
    for room in UPPER_ROOMS:
        (folder / room).mkdir()
        (folder / room / "__init__.py").write_text(f"raise RuntimeError('{room} of the research folder')\n", "utf-8")
    return folder


def test_the_command_works_in_a_folder_of_hostile_packages(hostile: Path) -> None:
    command = "from cosim.experiments.__main__ import main; main()"  # -c puts the folder itself first on the path
    for arguments in (["list", "controllers"], ["run", "two_bus_evening", "--controllers", "none", "--out", "results"]):
        done = python(hostile, "-c", command, *arguments)
        assert done.returncode == 0, done.stderr
    assert (hostile / "results" / "metrics.json").is_file()


@pytest.mark.slow
def test_the_readmes_examples_work_in_a_folder_of_hostile_packages(hostile: Path) -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, flags=re.DOTALL)
    done = python(hostile, "-c", "\n".join(code for code, _ in blocks))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "".join(printed for _, printed in blocks)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second clone, whose feeders are broken."""
    folder = tmp_path_factory.mktemp("clone")
    for room in ROOMS:
        shutil.copytree(PROJECT / room, folder / room, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "feeders" / "find.py").open("a", encoding="utf-8") as source:
        source.write("\nraise RuntimeError('broken in the clone')\n")
    return folder


def test_a_module_broken_in_a_second_clone_fails_there_and_only_there(clone: Path, tmp_path: Path) -> None:
    there = python(clone, "-c", "import cosim.feeders")
    assert "broken in the clone" in there.stderr
    assert str(clone) in there.stderr
    assert python(tmp_path, "-c", "import cosim.feeders").returncode == 0


def test_without_links_the_rooms_are_found_beside(clone: Path, tmp_path: Path) -> None:
    """A checkout on Windows has text files where links should be."""
    shutil.copytree(clone, tmp_path / "copy", symlinks=True)
    for room in UPPER_ROOMS:
        (tmp_path / "copy" / "cosim" / room).unlink()
        (tmp_path / "copy" / "cosim" / room).write_text(f"../{room}", encoding="utf-8")
    done = python(tmp_path / "copy", "-c", "import cosim.controllers as c; print(c.__file__)", path=None)
    assert (done.stdout.strip(), done.stderr) == (str(tmp_path / "copy" / "controllers" / "__init__.py"), "")


@pytest.mark.parametrize("room", UPPER_ROOMS)
def test_a_room_is_not_imported_by_its_bare_name(room: str) -> None:
    done = python(PROJECT, "-c", f"import {room}")
    assert f"ImportError: import cosim.{room}, not {room}" in done.stderr


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheel built from the tree, and the one built from the source distribution."""
    folder = tmp_path_factory.mktemp("dist")
    built = python(PROJECT, "-m", "hatchling", "build", "-d", str(folder))
    assert built.returncode == 0, built.stderr
    (direct,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    shutil.unpack_archive(sdist, folder / "sdist", filter="data")
    (unpacked,) = (folder / "sdist").iterdir()
    again = python(unpacked, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "again"))
    assert again.returncode == 0, again.stderr
    (indirect,) = (folder / "again").glob("*.whl")
    return {"direct": direct, "from the sdist": indirect}


def test_both_wheels_hold_the_same_files_and_all_of_them(wheels: dict[str, Path]) -> None:
    held = {name: sorted(zipfile.ZipFile(wheel).namelist()) for name, wheel in wheels.items()}
    assert held["direct"] == held["from the sdist"]
    tops = {name.split("/")[0] for name in held["direct"]}
    assert tops == {"cosim", f"lv_feeder_cosim-{cosim.__version__}.dist-info"}
    expected = {path.relative_to(PROJECT).as_posix() for path in SOURCES}
    expected = {name if name.startswith("cosim/") else f"cosim/{name}" for name in expected}
    assert expected <= set(held["direct"])
    assert {"cosim/py.typed", "cosim/feeders/european_lv/Master.dss"} <= set(held["direct"])


@pytest.mark.slow
def test_a_wheel_loads_every_shipped_feeder_and_scenario(wheels: dict[str, Path], tmp_path: Path) -> None:
    site = tmp_path / "site"
    zipfile.ZipFile(wheels["direct"]).extractall(site)
    code = (
        "import cosim; from cosim import feeders; from cosim.experiments import scenario; "
        "print(cosim.__file__); print([feeders.load(name).name for name in feeders.names()]); "
        "print([cosim.load(name).scenario.name for name in scenario.shipped()])"
    )
    done = python(tmp_path, "-c", code, path=str(site))
    assert done.returncode == 0, done.stderr
    file, places, days = done.stdout.splitlines()
    assert file == str(site / "cosim" / "__init__.py")
    assert places == str([feeders.load(name).name for name in feeders.names()])
    assert days == str(list(scenarios.shipped()))


def test_the_import_linter_sees_the_whole_house() -> None:
    graph = grimp.build_graph("cosim", cache_dir=None)
    assert len(graph.modules) >= 0.95 * len(SOURCES)


def test_mypy_sees_the_whole_house(monkeypatch: pytest.MonkeyPatch) -> None:
    main = pytest.importorskip("mypy.main")
    monkeypatch.chdir(PROJECT)
    sources, _ = main.process_options([])
    assert len({source.path for source in sources}) >= 0.95 * len(SOURCES)


@pytest.mark.slow
def test_coverage_names_all_four_folders(tmp_path: Path) -> None:
    pytest.importorskip("coverage")
    data = ["--rcfile", str(PROJECT / "pyproject.toml"), "--data-file", str(tmp_path / "coverage")]
    program = [str(PROJECT / "experiments" / "__main__.py"), "list", "controllers"]
    assert python(PROJECT, "-m", "coverage", "run", *data, *program).returncode == 0
    told = python(PROJECT, "-m", "coverage", "report", *data).stdout
    measured = {line.partition("/")[0] for line in told.splitlines() if ".py" in line and not line.endswith(" 0%")}
    assert measured == set(ROOMS)


@pytest.mark.slow
def test_a_users_file_gets_real_types(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    (tmp_path / "mine.py").write_text(
        "import cosim\n"
        "run = cosim.load('two_bus_evening').run('none')\n"
        "reveal_type(run)\n"
        "reveal_type(run.metrics)\n"
        "reveal_type(cosim.Stepper)\n"
        "run.trajectory.nett_kw\n",
        encoding="utf-8",
    )
    done = python(tmp_path, "-m", "mypy", "mine.py", "--ignore-missing-imports")
    assert 'Revealed type is "cosim.experiments.day.Run"' in done.stdout
    assert 'Revealed type is "dict[str, float]"' in done.stdout.replace("builtins.", "")
    assert "cosim.stepper.Stepper" in done.stdout
    assert '"Trajectory" has no attribute "nett_kw"' in done.stdout
