"""The rooms and the arrows between them: what may import what, and proof that the checks can fail."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

PROJECT = Path(__file__).resolve().parents[1]
ROOMS = ("cosim", "feeders", "controllers", "experiments")
"""Folders; everything is imported as cosim or from it."""

MAY_IMPORT = {
    "cosim": {"numpy", "pandas", "pyarrow", "scipy", "opendssdirect", "dss_python_backend", "threadpoolctl"},
    "feeders": {"numpy", "pandas", "pyarrow", "scipy", "pvlib"},
    "controllers": {"numpy", "scipy", "pyomo", "highspy", "pymoo", "pyscipopt"},
}
"""Distributions by room; experiments may import any."""

MAY_KNOW = {
    "feeders": {"contract", "errors", "lazy", "plugins"},
    "controllers": {"contract", "errors", "lazy", "measures", "plugins"},
}
"""Parts of cosim by room."""

MAY_IMPORT_BY_NAME = {
    "cosim/lazy.py", "cosim/stepper.py", "cosim/plugins.py", "experiments/cli.py",
}  # fmt: skip
"""Where a module's name is looked up: public names, engines, controllers, studies and code of others, benchmarks."""

HEAVY = (
    "opendssdirect",
    "dss",
    "dss_python_backend",
    "pyomo",
    "pymoo",
    "highspy",
    "matplotlib",
    "pvlib",
    "cosim.experiments",
)


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter that imports the rooms from a folder."""
    return subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(folder), "NO_COLOR": "1", "COLUMNS": "200"},
    )  # fmt: skip


def contracts(folder: Path) -> dict[str, bool]:
    """Check ``.importlinter`` in a folder; name of every contract, and whether it is kept."""
    arguments = "['--no-cache', '--config', '.importlinter']"
    done = python(f"from importlinter.cli import lint_imports_command; lint_imports_command({arguments})", folder)
    verdicts = re.findall(r"^(\S.*?) (KEPT|BROKEN)", done.stdout, re.MULTILINE)
    assert verdicts, done.stdout + done.stderr
    assert done.returncode == int(any(verdict == "BROKEN" for _, verdict in verdicts))
    return {name: verdict == "KEPT" for name, verdict in verdicts}


def test_all_contracts_are_kept() -> None:
    verdicts = contracts(PROJECT)
    assert len(verdicts) == 10
    assert [name for name, kept in verdicts.items() if not kept] == []


PLANTS = {
    "Rooms: imports point down only": ("cosim/record.py", "from cosim import controllers"),
    "Inside cosim: loop on plant on devices and measures on trajectory on contract": (
        "cosim/measures/energy.py", "from cosim.plant import Plant",
    ),
    "Feeders know the contract and the errors, not the machinery": ("feeders/read.py", "import cosim.trajectory"),
    "Controllers know the contract, the errors and the measures, not the machinery": (
        "controllers/rules/droop.py", "def later():\n    from cosim.devices import EvFleet",
    ),
    "Only cosim.opendss speaks OpenDSS, and the program that tries circuits for it": (
        "experiments/compose.py", "import opendssdirect",
    ),
    "The engine is imported by name only, when a run begins": ("cosim/plant.py", "from cosim import opendss"),
    "The front doors stay light": ("cosim/__init__.py", "from cosim.opendss import OpenDssEngine"),
    "Only controllers speak to solvers, and only their solver door to HiGHS": (
        "controllers/planner/plan.py", "import highspy",
    ),
    "Only feeders.profiles asks pvlib": ("experiments/compose.py", "import pvlib"),
    "Only experiments draws": ("controllers/rules/equal_share.py", "import matplotlib.pyplot"),
}  # fmt: skip


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for room in ROOMS:
        ignored = shutil.ignore_patterns("*.parquet", "__pycache__")
        shutil.copytree(PROJECT / room, tmp_path / room, ignore=ignored, symlinks=True)
    shutil.copy(PROJECT / ".importlinter", tmp_path)
    return tmp_path


def test_there_is_a_planted_violation_for_every_contract() -> None:
    assert PLANTS.keys() == contracts(PROJECT).keys()


@pytest.mark.parametrize("contract", PLANTS)
def test_a_contract_catches_its_violation(copy: Path, contract: str) -> None:
    file, line = PLANTS[contract]
    with (copy / file).open("a", encoding="utf-8") as source:
        source.write(f"\n{line}\n")
    assert not contracts(copy)[contract]


@pytest.fixture(scope="module")
def direct_imports() -> dict[str, set[str]]:
    """What is imported directly by the modules of each room."""
    graph = grimp.build_graph(
        "cosim", include_external_packages=True, exclude_type_checking_imports=True, cache_dir=None
    )
    imported: dict[str, set[str]] = {room: set() for room in ROOMS}
    for module in {"cosim"} | graph.find_descendants("cosim"):
        below = module.split(".")[1:2]
        room = below[0] if below and below[0] in ROOMS else "cosim"
        imported[room] |= graph.find_modules_directly_imported_by(module)
    return imported


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_only_what_it_may(room: str, direct_imports: dict[str, set[str]]) -> None:
    direct = direct_imports[room]
    foreign = {name.partition(".")[0] for name in direct} - set(sys.stdlib_module_names) - {"cosim"}
    assert foreign <= MAY_IMPORT[room]
    if room in MAY_KNOW:
        parts = {name.split(".")[1] for name in direct if name.startswith("cosim.")}
        assert parts - {room} <= MAY_KNOW[room]
        assert "cosim" not in direct  # the front door leads to everything


def test_nothing_is_imported_in_a_circle() -> None:
    """Between modules; what only the type checker imports does not count."""
    graph = grimp.build_graph("cosim", exclude_type_checking_imports=True, cache_dir=None)
    arrows = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    TopologicalSorter(arrows).prepare()  # CycleError names the circle


def test_imports_by_name_are_where_they_are_known_to_be() -> None:
    by_name = re.compile(r"\bimport_module\(|__import__\(|\bexec\(")
    sources = (path for room in ROOMS for path in (PROJECT / room).rglob("*.py"))
    found = {path.relative_to(PROJECT).as_posix() for path in sources if by_name.search(path.read_text("utf-8"))}
    assert found == MAY_IMPORT_BY_NAME


LOADED = "print(sorted(name for name in {names} if name in sys.modules))"


@pytest.mark.parametrize("rooms", ["cosim, cosim.measures", "cosim.feeders", "cosim.controllers"])
def test_importing_a_room_loads_nothing_heavy(rooms: str) -> None:
    done = python(f"import sys, {rooms}; {LOADED.format(names=HEAVY)}", PROJECT)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_solver_door_loads_no_pyomo() -> None:
    done = python(f"import sys, cosim.controllers.solver; {LOADED.format(names=('highspy', 'pyomo'))}", PROJECT)
    assert (done.stdout.strip(), done.stderr) == ("['highspy']", "")


def test_a_baseline_loads_no_solver() -> None:
    code = "import sys; from cosim import controllers as c; [c.describe(n) for n in ('none', 'dimming', 'droop')]; "
    done = python(code + LOADED.format(names=HEAVY), PROJECT)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")
