"""Controllers, feeders and measures of others: by file, by module, from installed packages; refused with a remedy."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cosim import BaseController, Feeder, Setpoints, controllers, feeders, plugins, run
from cosim.artifacts import artifacts_of
from cosim.contract import Exogenous
from cosim.errors import CosimError, InputError, RunStoppedError
from cosim.measures.own import find_own, measure_own

PROJECT = Path(__file__).resolve().parents[2]

MINE = '''
from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from cosim import Setpoints
from {helper} import FACTOR


@dataclass
class Kept:
    limit_kw: np.ndarray


class Mine:
    """Let cars charge at a share of 7.4 kW."""

    def __init__(self, feeder, *, share: float = FACTOR):
        self.kept = Kept(np.full(len(feeder.customers), 7.4 * share))

    def plan(self, forecast):
        self.free = np.full_like(self.kept.limit_kw, np.inf)

    def decide(self, observation):
        return Setpoints(self.free, self.kept.limit_kw, self.free)

    def artifacts(self):
        return {{"shares": {{"home": ["a", "b", "c"], "limit_kw": self.kept.limit_kw}},
                "how": {{"factor": np.float64(FACTOR), "nothing": float("nan"), "rows": [np.arange(2)]}}}}


def energy(trajectory):
    return {{"my_peak_kw": trajectory.ev_kw.max(initial=0.0), "my_nan": float("nan")}}
'''

SCENARIO = """
name = "mine"
feeder = "two_bus"
start = 2026-05-15T22:30:00
horizon_h = 2
[ev]
share = 1.0
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A folder with a controller, a measure, a helper beside them, and a scenario that names both."""
    (tmp_path / "mine.py").write_text(MINE.format(helper="my_helper"), encoding="utf-8")
    (tmp_path / "my_helper.py").write_text("FACTOR = 0.25\n", encoding="utf-8")
    (tmp_path / "mine.toml").write_text(
        SCENARIO.replace("[ev]", 'metrics = ["mine.py:energy"]\n[ev]')
        + '[[runs]]\ncontroller = "none"\n[[runs]]\ncontroller = "mine.py:Mine"\n',
        encoding="utf-8",
    )
    return tmp_path


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of one test are no neighbours of the next one's."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(plugins, "_folders", set())
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith(("cosim_plugin_", "my_", "offered_")):
            del sys.modules[name]


@pytest.fixture
def cosim(
    cosim: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setenv("COLUMNS", "300")  # so that no message is broken
    return cosim


def offer(folder: Path, distribution: str, entries: dict[str, dict[str, str]], **modules: str) -> Path:
    """Install a distribution with modules and entry points, as an installer would leave it."""
    about = folder / f"{distribution.replace('-', '_')}-1.2.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n", encoding="utf-8")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in named.items()) for group, named in entries.items()]
    (about / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    (about / "RECORD").write_text("".join(f"{name}.py,,\n" for name in modules), encoding="utf-8")
    return folder


# ---- targets


@pytest.mark.parametrize(
    ("target", "place", "attribute"),
    [(r"C:\x.py:K", r"C:\x.py", "K"), ("a/b.py:K", "a/b.py", "K"), ("package.module:K", "package.module", "K")],
)
def test_targets_are_split_at_the_last_colon(target: str, place: str, attribute: str) -> None:
    assert plugins.split_target(target) == (place, attribute)
    assert plugins.safe_label(target) == "K"


def test_only_paths_are_made_absolute(tmp_path: Path) -> None:
    assert plugins.resolved("sub/mine.py:K", tmp_path) == f"{tmp_path.resolve()}/sub/mine.py:K"
    assert plugins.resolved("package.module:K", tmp_path) == "package.module:K"
    assert plugins.resolved("equal_share", tmp_path) == "equal_share"
    assert plugins.safe_label("mine.py:Contrôle") == "Contr_le"


def test_a_scenario_names_files_beside_it(mine: Path, cosim: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = cosim("run", str(mine / "mine.toml"), "--out", str(mine / "out"), "--no-figures")
    assert (code, err.count("error")) == (0, 0)
    metrics = json.loads((mine / "out" / "metrics.json").read_text())["controllers"]
    assert list(metrics) == ["none", "Mine"]
    assert 0.0 < metrics["Mine"]["my_peak_kw"] < metrics["none"]["my_peak_kw"]
    assert metrics["Mine"]["my_nan"] is None
    assert "my_peak_kw" in pd.read_csv(mine / "out" / "metrics.csv").columns
    assert "my_peak_kw" in cosim("compare", str(mine / "out"), "--all")[1]
    manifest = json.loads((mine / "out" / "manifest.json").read_text())
    hashes = {name: sha256((mine / name).read_bytes()).hexdigest() for name in ("mine.py", "my_helper.py")}
    assert manifest["plugins"]["controllers"] == {"Mine": {"target": f"{mine / 'mine.py'}:Mine", "sha256": hashes}}
    assert manifest["plugins"]["metrics"][f"{mine / 'mine.py'}:energy"]["sha256"] == hashes
    left = mine / "out" / "trajectories" / "Mine"
    assert pd.read_parquet(left / "shares.parquet").to_dict("list") == {"home": ["a", "b", "c"], "limit_kw": [1.85] * 3}
    assert json.loads((left / "how.json").read_text()) == {"factor": 0.25, "nothing": None, "rows": [[0, 1]]}


def test_the_command_line_names_files_from_where_it_is(
    mine: Path, cosim: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two files of one name and one class: neither stands in for the other."""
    (mine / "other").mkdir()
    (mine / "other" / "mine.py").write_text(MINE.format(helper="math").replace("FACTOR", "e"), encoding="utf-8")
    monkeypatch.chdir(mine)
    wanted = "none,mine.py:Mine,other/mine.py:Mine"
    options = ("--option", "Mine.share=0.5", "--out", "out", "--no-figures")
    code, _, err = cosim("run", "two_bus_evening", "--controllers", wanted, *options)
    assert (code, err.count("error")) == (0, 0)
    manifest = json.loads((mine / "out" / "manifest.json").read_text())
    assert list(manifest["runs"]) == ["none", "Mine", "Mine_2"]
    assert manifest["runs"]["Mine"]["options"] == {"share": 0.5}
    limits = {label: pd.read_parquet(f"out/trajectories/{label}/shares.parquet")["limit_kw"][0] for label in
              ("Mine", "Mine_2")}  # fmt: skip
    assert limits == pytest.approx({"Mine": 3.7, "Mine_2": 7.4 * np.e})


def test_a_file_that_changed_is_read_again(mine: Path) -> None:
    target = f"{mine / 'mine.py'}:Mine"
    assert controllers.find(target) is controllers.find(target)
    assert controllers.options(target) == {"share": 0.25}
    text = (mine / "mine.py").read_text()
    (mine / "mine.py").write_text(text.replace("share: float = FACTOR", "share: float = 0.75"), encoding="utf-8")
    assert controllers.options(target) == {"share": 0.75}
    assert plugins.origin("cosim.controllers", target)["sha256"]["mine.py"] != sha256(text.encode()).hexdigest()


def test_a_worker_loads_from_the_target(mine: Path) -> None:
    target = f"{mine / 'mine.py'}:Mine"
    controllers.find(target)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(controllers.describe, target).result() == "Let cars charge at a share of 7.4 kW."


def test_what_is_installed_is_not_shadowed(mine: Path) -> None:
    for name in ("numpy", "json", "cosim"):
        (mine / f"{name}.py").write_text("raise RuntimeError('the wrong one')\n", encoding="utf-8")
    controllers.find(f"{mine / 'mine.py'}:Mine")
    assert str(mine) == sys.path[-1]


def test_helpers_of_one_name_in_two_folders_are_refused(mine: Path) -> None:
    (mine / "other").mkdir()
    for name in ("mine.py", "my_helper.py"):
        (mine / "other" / name).write_text((mine / name).read_text().replace("0.25", "0.1"), encoding="utf-8")
    controllers.find(f"{mine / 'mine.py'}:Mine")
    with pytest.raises(InputError, match=r"its helper 'my_helper' has the name of one .* → rename one"):
        controllers.find(f"{mine / 'other' / 'mine.py'}:Mine")


BROKEN = {
    "missing.py:K": ("", "No such file"),
    "file.py:Nope": ("class Nop: ...\n", "has no 'Nope' → did you mean 'Nop'?"),
    "file.py": ("", "name its class"),
    "file.py:": ("", "does not end in a colon and a Python name"),
    "file.py:K ": ("import no_such_module\n", "line 1: controller: cannot be imported: ModuleNotFoundError"),
    "file.py:A": ("x = 1\n\ny = 1 / 0\n", "file.py, line 3: controller: cannot be imported: ZeroDivisionError"),
    "file.py:B": ("x = 1\ndef f(:\n", "file.py, line 2: controller: cannot be imported: SyntaxError"),
    "file.py:C": ("import sys\nsys.exit(3)\n", "line 2: controller: cannot be imported: SystemExit"),
    "file.py:D": ("D = 3\n", "'D' is no class"),
    "file.py:E": ("class E:\n  def __init__(self, f): ...\n  def plan(self, f): ...\n", "'E' has no decide()"),
    "file.py:F": ("class F:\n  def __init__(self, f): ...\n  def decide(self, o): ...\n", "inherit from cosim.BaseCon"),
    "file.py:G": ("class G:\n  def plan(self, f): ...\n  def decide(self, o): ...\n", "G() takes no feeder"),
    "file.py:H": (
        "class H:\n  def __init__(self, feeder):\n    self.x = {}['k']\n  def plan(self, f): ...\n"
        "  def decide(self, o): ...\n",
        "file.py, line 3: controller: H cannot be made: KeyError: 'k'",
    ),
    "file.py:I": (
        "class I:\n  def __init__(self, feeder): ...\n  def plan(self, f): ...\n  def decide(self, o): ...\n"
        "  def check(self, feeder, day):\n    return feeder.nothing\n",
        "file.py, line 6: controller: I check() failed: AttributeError",
    ),
    "no_such_package.module:K": ("", "there is no module 'no_such_package'"),
}


@pytest.mark.parametrize("target", BROKEN)
def test_what_is_broken_is_named_with_its_line(
    target: str, tmp_path: Path, cosim: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    text, said = BROKEN[target]
    (tmp_path / "file.py").write_text(text, encoding="utf-8")
    (tmp_path / "mine.toml").write_text(f"{SCENARIO}[[runs]]\ncontroller = '{target.strip()}'\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    # the command line has a door of its own; behind it both are one
    door = ["run", "two_bus_evening", "--controllers", target] if target == "file.py" else ["check", "mine.toml"]
    code, _, err = cosim(*door)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert "→" in err


# ---- installed packages

OFFERED = MINE.format(helper="math").replace("FACTOR", "e")


def circuit(folder: Path) -> str:
    folder.mkdir()
    (folder / "Master.dss").write_text(
        "New Circuit.offered basekv=0.4 phases=3\nNew Line.L1 bus1=sourcebus bus2=b length=0.1 units=km\n"
        "New Load.home bus1=b phases=3 kv=0.4 kw=3 kvar=1\nSolve\n",
        encoding="utf-8",
    )
    (folder / "feeder.toml").write_text('title = "One home behind one cable"\n', encoding="utf-8")
    return str(folder)


def test_an_installed_package_offers_all_three(tmp_path: Path) -> None:
    """In a process of its own, as users have it."""
    text = f"{OFFERED}\n\ndef folder():\n    return {circuit(tmp_path / 'place')!r}\n"
    entries = {
        "cosim.controllers": {"offered_share": "offered_pack:Mine", "none": "offered_pack:Mine"},
        "cosim.feeders": {"offered_place": "offered_pack:folder"},
        "cosim.metrics": {"offered_energy": "offered_pack:energy"},
    }
    site = offer(tmp_path / "site", "offered-pack", entries, offered_pack=text)

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603 - our own code
            [sys.executable, "-m", "cosim.experiments", *arguments], cwd=tmp_path, capture_output=True, text=True,
            check=False, env={**os.environ, "PYTHONPATH": f"{PROJECT}{os.pathsep}{site}", "COLUMNS": "200"},
        )  # fmt: skip

    listed = call("list", "controllers").stdout
    assert "offered_share" in listed
    assert listed.count("Let cars charge at a share") == 1  # the shipped 'none' wins
    assert "One home behind one cable" in call("list", "feeders").stdout
    scenario = SCENARIO.replace('"two_bus"', '"offered_place"').replace("share = 1.0", "share = 0.0")
    runs = "".join(
        f'[[runs]]\ncontroller = "{name}"\n' for name in ("none", "offered_share", "offered_pack:Mine")
    )  # fmt: skip
    (tmp_path / "mine.toml").write_text(scenario + runs, encoding="utf-8")
    done = call("run", "mine.toml", "--out", "out", "--no-figures")
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert "offered_pack" not in manifest["runs"]["none"]["controller"]
    found = manifest["plugins"]
    assert found["controllers"].keys() == {"offered_share", "Mine"}
    for one in (*found["controllers"].values(), found["feeders"]["offered_place"], found["metrics"]["offered_energy"]):
        assert (one["distribution"], one["version"]) == ("offered-pack", "1.2")
        assert one["sha256"] == {"offered_pack.py": sha256((site / "offered_pack.py").read_bytes()).hexdigest()}
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())["controllers"]
    assert metrics["offered_share"]["my_peak_kw"] == 0.0


def test_one_name_from_two_distributions_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cosim: Callable[..., tuple[int, str, str]]
) -> None:
    for name in ("one", "two"):
        groups = {f"cosim.{kind}": {"twin": f"offered_{name}:X"} for kind in ("controllers", "feeders", "metrics")}
        monkeypatch.syspath_prepend(str(offer(tmp_path / name, f"pack-{name}", groups)))
    for find in (lambda: controllers.find("twin"), lambda: feeders.load("twin"), lambda: find_own(["twin"])):
        with pytest.raises(InputError, match="is offered by pack-one and pack-two → uninstall one, or name a target"):
            find()
    code, out, _ = cosim("list", "controllers")
    assert code == 0  # the others are there all the same
    assert "pack-one and pack-two" in out
    assert "equal_share" in out


def test_an_installed_feeder_may_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"from pathlib import Path\nPLACE = Path({circuit(tmp_path / 'place')!r})\n"
    entries = {"cosim.feeders": {"my_street": "offered_street:PLACE", "two_bus": "offered_street:PLACE"}}
    monkeypatch.syspath_prepend(str(offer(tmp_path / "site", "offered-street", entries, offered_street=text)))
    assert feeders.load("my_street").customers == ("HOME",)
    assert feeders.names().count("two_bus") == 1
    assert len(feeders.load("two_bus").customers) == 3  # shipped names win
    with pytest.raises(InputError, match="my_street"):
        feeders.load("my_stret")


# ---- measures


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("def f(t): return {'losses_kwh': 1.0}", 3, "returns losses_kwh, which is measured already"),
        ("def f(t): return {'x': 'many'}", 3, "failed: ValueError"),
        ("def f(t): return t.nothing", 3, "failed: AttributeError"),
        ("f = 3", 2, "is no function"),
        ("g = 3", 2, "has no 'f'"),
    ],
)
def test_a_measure_that_does_not_work_loses_no_run(
    text: str, code: int, said: str, tmp_path: Path, cosim: Callable[..., tuple[int, str, str]]
) -> None:
    (tmp_path / "m.py").write_text(text + "\n", encoding="utf-8")
    scenario = SCENARIO.replace("[ev]", 'metrics = ["m.py:f"]\n[ev]') + '[[runs]]\ncontroller = "none"\n'
    (tmp_path / "mine.toml").write_text(scenario, encoding="utf-8")
    found, _, err = cosim("run", str(tmp_path / "mine.toml"), "--out", str(tmp_path / "out"), "--no-figures")
    assert found == code
    assert said in err
    if code == 3:
        assert len(pd.read_parquet(tmp_path / "out/trajectories/none/steps.parquet")) == 24
        assert "losses_kwh" in json.loads((tmp_path / "out/metrics.json").read_text())["controllers"]["none"]
        assert json.loads((tmp_path / "out/manifest.json").read_text())["complete"] is False


def test_a_measure_that_fails_marks_its_run_and_the_others_go_on(
    tmp_path: Path, cosim: Callable[..., tuple[int, str, str]]
) -> None:
    text = "def f(t): return {'x': 1 / (t.label != 'a')}\ndef g(t): return {'y': 1.0}\n"
    (tmp_path / "m.py").write_text(text, encoding="utf-8")
    runs = "".join(f'[[runs]]\ncontroller = "none"\nlabel = "{label}"\n' for label in "ab")
    scenario = SCENARIO.replace("[ev]", 'metrics = ["m.py:f", "m.py:g"]\n[ev]') + runs
    (tmp_path / "mine.toml").write_text(scenario, encoding="utf-8")
    code, _, err = cosim("run", str(tmp_path / "mine.toml"), "--out", str(tmp_path / "out"), "--no-figures")
    assert code == 3
    assert "a: metrics: " in err
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())["controllers"]
    assert [(label, "x" in found, "y" in found) for label, found in metrics.items()] == [
        ("a", False, True), ("b", True, True),
    ]  # fmt: skip


def test_an_installed_measure_that_is_broken_stops_only_who_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cosim: Callable[..., tuple[int, str, str]]
) -> None:
    entries = {"cosim.metrics": {"broken": "offered_broken:f"}}
    site = offer(tmp_path / "site", "offered-broken", entries, offered_broken="import no_such_module\n")
    monkeypatch.syspath_prepend(str(site))
    scenario = SCENARIO + '[[runs]]\ncontroller = "none"\n'
    (tmp_path / "mine.toml").write_text(scenario, encoding="utf-8")
    with pytest.warns(UserWarning, match="the installed measure 'broken' is left out: .*no_such_module"):
        code, _, _ = cosim("run", str(tmp_path / "mine.toml"), "--out", str(tmp_path / "out"), "--no-figures")
    assert code == 0
    assert json.loads((tmp_path / "out/manifest.json").read_text())["plugins"]["metrics"] == {}
    (tmp_path / "mine.toml").write_text(scenario.replace("[ev]", 'metrics = ["broken"]\n[ev]'), encoding="utf-8")
    code, _, err = cosim("check", str(tmp_path / "mine.toml"))
    assert code == 2
    assert "no_such_module" in err


def test_two_measures_of_one_name_and_an_unknown_one(
    tmp_path: Path, two_bus: Feeder, make_day: Callable[..., Exogenous]
) -> None:
    trajectory = run(two_bus, make_day(two_bus, 2), controllers.make("none", two_bus), control_min=5)
    (tmp_path / "m.py").write_text("def a(t): return {'x': t.steps}\ndef b(_): return {'y': 1}\nc = a\n")
    board = {"z": 0.0}
    failed = measure_own(trajectory, [f"{tmp_path}/m.py:{name}" for name in "acb"], board)
    assert board == {"x": 2.0, "y": 1.0, "z": 0.0}
    assert len(failed) == 1
    assert "m.py:c' returns x, which is measured already" in str(failed[0])
    with pytest.raises(InputError, match="no metric 'nothing' → write my_file"):
        find_own(["nothing"])


# ---- the protocol's defaults


class Leaves(BaseController):
    """Leaves something behind."""

    def __init__(self, left: object) -> None:
        self.left = left

    def decide(self, observation):
        return Setpoints.free(len(observation.net_kw))

    def artifacts(self):
        return self.left()


def test_everything_but_decide_has_a_default(two_bus: Feeder, make_day: Callable[..., Exogenous]) -> None:
    class Least:
        def plan(self, forecast): ...

        def decide(self, observation):
            return Setpoints.free(len(observation.net_kw))

    day = make_day(two_bus, 6)
    assert controllers.check(Least(), two_bus, day) == []
    assert len(run(two_bus, day, Least()).decisions) == 2  # not at every step
    assert run(two_bus, day, Least()).artifacts == {}
    assert controllers.check(Leaves(dict), two_bus, day) == []
    assert BaseController.option_faults({"anything": 1}) == []


@pytest.mark.parametrize(
    ("left", "said"),
    [
        ({"steps": {}}, "'steps' is no name"),
        ({"a/b": {}}, "'a/b' is no name"),
        ({"x": 3}, "'x' is a int"),
        ({"x": {"y": {1, 2}}}, "holds a set"),
        ({"x": pd.DataFrame({"y": [1, "a"]})}, "cannot be written as a table"),
        ({"front": {"step": [1], "point": [0]}}, "'front' has no column chosen"),
    ],
)
def test_what_cannot_be_written_is_named(left: dict[str, object], said: str) -> None:
    with pytest.raises(CosimError, match=said):
        artifacts_of(Leaves(lambda: left))


def test_a_controller_that_fails_at_the_end_loses_no_step(two_bus: Feeder, make_day: Callable[..., Exogenous]) -> None:
    with pytest.raises(RunStoppedError, match=r"Leaves.artifacts\(\) failed: ZeroDivisionError") as stop:
        run(two_bus, make_day(two_bus, 6), Leaves(lambda: 1 / 0))
    assert stop.value.exit_code == 3
    assert stop.value.trajectory.steps == 6
