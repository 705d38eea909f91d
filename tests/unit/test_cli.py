import json
import multiprocessing
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from cosim.experiments import cli
from cosim.experiments import scenario as scenarios
from cosim.experiments.choose import only
from cosim.experiments.compose import compose
from cosim.experiments.execute import execute

ODD_CIRCUIT = "New Circuit.odd basekv=0.4 pu=1.0 phases=3\nNew Line.L1 bus1=sourcebus bus2=b length=0.1 units=km\n"


@pytest.fixture
def run(cosim):
    return cosim


def test_run_writes_the_documented_folder(run, tmp_path):
    folder = tmp_path / "out"
    code, out, _ = run("run", "two_bus_evening", "--out", str(folder), "--controllers", "none,equal_share")
    assert code == 0
    assert "Scoreboard" in out
    for name in ("manifest.json", "metrics.json", "metrics.csv", "timing.json", "report.html"):
        assert (folder / name).stat().st_size > 0
    assert list((folder / "figures").glob("*.png"))
    metrics = json.loads((folder / "metrics.json").read_text())["controllers"]
    assert list(metrics) == ["none", "equal_share"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["reproducible"]
    assert manifest["seed"] == 4
    assert {run["elsewhere"]["relative"] for run in manifest["runs"].values()} == {
        1e-6
    }  # of rules, nothing is searched
    for label in metrics:
        tables = folder / "trajectories" / label
        steps = pd.read_parquet(tables / "steps.parquet")
        assert list(steps.columns) == [
            "step", "time", "tariff_eur_per_kwh", "p_kw", "q_kvar", "s_kva", "worst_phase_percent", "hot_spot_c",
            "losses_kw", "other_sources_kw", "degraded", "p_hv_kw", "q_hv_kvar", "source_kw", "consumption_kw",
            "generation_kw", "losses_lines_kw", "losses_transformers_kw", "losses_others_kw", "losses_no_load_kw",
            "balance_error_percent", "ambient_c", "source_pu", "transformer_a_percent", "transformer_b_percent",
            "transformer_c_percent", "vuf_max_percent",
        ]  # fmt: skip
        assert len(steps) == 192
        customers = pd.read_parquet(tables / "customers.parquet")
        assert len(customers) == 192 * 3
        delivered = metrics[label]["transformer_peak_kva"]
        assert steps["s_kva"].max() == pytest.approx(delivered)
        assert (tables / "nodes.parquet").exists()
        assert (tables / "decisions.parquet").exists()
    assert not list(folder.rglob("*.part"))
    code, out, _ = run("compare", str(folder))
    assert code == 0
    assert "equal_share" in out


def test_planned_caps_come_with_their_proof(run, tmp_path):
    folder = tmp_path / "out"
    arguments = ("--out", str(folder), "--controllers", "none,bilevel_caps", "--no-figures")
    assert run("run", "two_bus_evening", *arguments)[0] == 0
    assert [path.name for path in (folder / "caps").iterdir()] == ["bilevel_caps"]
    proof = json.loads((folder / "caps" / "bilevel_caps" / "proof.json").read_text())
    assert proof["withheld_bound_kwh"] <= proof["withheld_kwh"] + 1e-9
    assert proof["max_response_error_kw"] < 1e-6
    caps = pd.read_csv(folder / "caps" / "bilevel_caps" / "caps.csv")
    assert set(caps["household"]) == {"LOAD1", "LOAD2", "LOAD3"}


def test_another_seed_another_day(run, tmp_path):
    for seed in ("1", "2"):
        arguments = ("--out", str(tmp_path / seed), "--seed", seed, "--controllers", "dimming", "--no-figures")
        assert run("run", "two_bus_evening", *arguments)[0] == 0
    assert (tmp_path / "1" / "metrics.json").read_bytes() != (tmp_path / "2" / "metrics.json").read_bytes()


def test_the_reduced_engine_is_cross_checked(run, tmp_path):
    folder = tmp_path / "out"
    arguments = ("--engine", "reduced", "--out", str(folder), "--controllers", "none", "--no-figures")
    assert run("run", "two_bus_evening", *arguments)[0] == 0
    check = json.loads((folder / "manifest.json").read_text())["engine_crosscheck"]["none"]
    assert check["steps"] == 24
    assert check["voltage_max_pu"] < 1e-6


def test_an_odd_circuit_of_ones_own_runs(undrawn, run, tmp_path):
    master = tmp_path / "Master.dss"
    master.write_text(ODD_CIRCUIT + "New Load.home bus1=b phases=3 kv=0.4 kw=3 kvar=1\nSolve\n", encoding="utf-8")
    code, out, _ = run("feeder", str(master))
    assert code == 0
    for word in ("no coordinates", "no transformer", "no voltage bases", "rating"):
        assert word in out
    scenario = tmp_path / "mine.toml"
    scenario.write_text(
        'name = "mine"\nfeeder = "Master.dss"\nstart = 2026-05-15T12:00:00\nhorizon_h = 2\n'
        '[households]\nprofiles = "feeder"\n[[runs]]\ncontroller = "none"\n',
        encoding="utf-8",
    )
    code, _, _ = run("run", str(scenario), "--out", str(tmp_path / "out"))
    assert code == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())["controllers"]["none"]
    assert metrics["import_kwh"] == pytest.approx(6.0)
    assert metrics["transformer_peak_percent"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "no_such_day"], "no such scenario"),
        (["run", "two_bus_evening", "--controllers", "magic"], "no run or controller 'magic'"),
        (["compare", "nowhere"], "no such file"),
        (["feeder", "nowhere.dss"], "no such feeder"),
        (["run", "x" * 5000], "no such scenario"),
        (["compare", "x" * 5000], "no such file"),
        (["feeder", "x" * 5000], "no such feeder"),
        (["run", "two_bus_evening", "--out", "x" * 5000], "(File name too long) → give another folder"),
        (["check"], "is missing"),
        (["check", "nothing.toml"], "no such scenario"),
    ],
)
def test_bad_input_is_one_message_and_exit_2(run, arguments, words):
    code, _, err = run(*arguments)
    assert code == 2
    assert words in err.replace("\n", " ")
    assert "Traceback" not in err


def test_a_circuit_that_does_not_compile(run, tmp_path):
    master = tmp_path / "Master.dss"
    master.write_text("New Circuit.x\nRedirect Missing.dss\n", encoding="utf-8")
    code, _, err = run("feeder", str(master))
    assert code == 2
    assert "OpenDSS refuses it" in err


def test_lists(run):
    assert "european_lv" in run("list", "feeders")[1]
    assert "pareto" in run("list", "controllers", "--options")[1]
    assert "two_bus_evening" in run("list", "scenarios")[1]
    assert json.loads(run("check", "--schema")[1])["title"] == "Scenario"
    assert "valid" in run("check", "two_bus_evening")[1]


def test_nothing_is_written_where_nothing_may_be(run, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("", encoding="utf-8")
    code, _, err = run("run", "two_bus_evening", "--out", str(Path(blocker) / "out"))
    assert code == 2
    assert "--out" in err


def test_options_of_single_runs_can_be_set(run, tmp_path):
    command = ["run", "two_bus_evening", "--controllers", "none,equal_share", "--out", str(tmp_path), "--no-figures"]
    assert run(*command, "--option", "equal_share.margin_percent=5.0")[0] == 0
    runs = json.loads((tmp_path / "manifest.json").read_text())["runs"]
    assert runs["equal_share"]["options"] == {"margin_percent": 5.0}
    assert runs["none"]["options"] == {}


@pytest.mark.parametrize(("entry", "said"), [("margin=5", "RUN.OPTION=VALUE"), ("nobody.margin=5", "nobody")])
def test_wrong_options_are_named(run, entry, said):
    code, _, err = run("run", "two_bus_evening", "--option", entry)
    assert code == 2
    assert said in err


def test_the_version_is_that_of_the_distribution(run):
    code, out, _ = run("--version")
    assert code == 0
    assert out.split() == ["cosim", version("lv-feeder-cosim")]


def test_quiet_says_nothing_and_no_figures_draws_none(run, tmp_path):
    command = ["run", "two_bus_evening", "--controllers", "none", "--out", str(tmp_path)]
    assert run(*command, "--quiet", "--no-figures") == (0, "", "")
    assert not (tmp_path / "figures").exists()
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<h2>Figures</h2>" not in page
    assert "<img" not in page
    code, out, err = run("run", "two_bus_evening", "--controllers", "magic", "--quiet")
    assert (code, out) == (2, "")
    assert "magic" in err


def test_every_phase_of_a_run_is_told(undrawn, tmp_path):
    path = scenarios.find("two_bus_evening")
    composition = compose(only(scenarios.read("two_bus_evening"), "none"), path)
    told: dict[str, list[str]] = {}
    execute(composition, tmp_path, progress=lambda label, phase, *_: told.setdefault(label, []).append(phase))
    assert list(dict.fromkeys(told["none"])) == [
        "planning", "steps", "writing", "measures", "unbalance", "cross-check", "done",
    ]  # fmt: skip
    drawn = [phase.removeprefix("figures: ") for phase in told["all runs"] if phase.startswith("figures: ")]
    assert {path.stem for path in (tmp_path / "figures").iterdir()} <= set(drawn)
    assert told["all runs"][-2:] == ["report", "done"]


def test_runs_at_once_write_the_same_bytes(run, tmp_path):
    command = ["run", "two_bus_evening", "--controllers", "none,equal_share,bilevel_caps", "--no-figures", "--quiet"]
    for name, jobs in (("one", "1"), ("two", "2")):
        assert run(*command, "--out", str(tmp_path / name), "--jobs", jobs)[0] == 0
    written = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()}
    assert written == {path.relative_to(tmp_path / "two") for path in (tmp_path / "two").rglob("*") if path.is_file()}
    clock_or_command = {Path(name) for name in ("manifest.json", "timing.json", "report.html")}
    for path in written - clock_or_command:
        assert (tmp_path / "one" / path).read_bytes() == (tmp_path / "two" / path).read_bytes(), path
    one, two = (json.loads((tmp_path / name / "manifest.json").read_text()) for name in ("one", "two"))
    assert {**one, "command": ""} == {**two, "command": ""}
    timing = json.loads((tmp_path / "two" / "timing.json").read_text())
    assert [*timing] == ["none", "equal_share", "bilevel_caps"]
    assert all(set(durations) == {"wall_s", "plan_s", "decide_s", "decide_max_s"} for durations in timing.values())
    assert 0 < timing["bilevel_caps"]["plan_s"] <= timing["bilevel_caps"]["decide_s"]


@pytest.fixture
def broken(tmp_path) -> Path:
    """A scenario whose power flow fails in the second hour, under every controller."""
    (tmp_path / "Master.dss").write_text(
        ODD_CIRCUIT.replace("length=0.1", "length=5 r1=1 x1=1 r0=1 x0=1")
        + "New Load.home bus1=b phases=3 kv=0.4 kw=1 kvar=0\n",
        encoding="utf-8",
    )
    minutes = ["time,home", *(f"2026-05-15T{12 + k // 60:02}:{k % 60:02},{1 if k < 60 else 99}" for k in range(120))]
    (tmp_path / "homes.csv").write_text("\n".join(minutes) + "\n", encoding="utf-8")
    scenario = tmp_path / "mine.toml"
    scenario.write_text(
        'name = "mine"\nfeeder = "Master.dss"\nstart = 2026-05-15T12:00:00\nhorizon_h = 2\n'
        '[households]\nprofiles = "homes.csv"\n[[runs]]\ncontroller = "none"\n'
        '[[runs]]\ncontroller = "none"\nlabel = "again"\n',
        encoding="utf-8",
    )
    return scenario


@pytest.mark.parametrize("jobs", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_a_power_flow_that_fails_keeps_what_was_computed(run, broken, tmp_path, jobs):
    folder = tmp_path / "out"
    code, _, err = run("run", str(broken), "--out", str(folder), "--jobs", jobs, "--no-figures")
    assert code == 3
    assert "none: step 12 of 24" in err.replace("\n", " ")
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["complete"] is False
    assert manifest["runs"]["none"]["steps"] == 12
    assert len(pd.read_parquet(folder / "trajectories" / "none" / "steps.parquet")) == 12
    assert (folder / "report.html").exists()


def test_an_interruption_ends_all_workers_and_keeps_what_was_finished(tmp_path):
    path, folder = scenarios.find("two_bus_evening"), tmp_path / "out"
    data = scenarios.read("two_bus_evening").model_dump()
    long = {"controller": "pareto", "label": "long", "options": {"method": "nsga2", "generations": 5000}}
    scenario = scenarios.parse({**data, "runs": [{"controller": "none"}, long]}, path)
    finished: list[str] = []

    def progress(label: str, phase: str, done: int, _total: int) -> None:
        finished.extend([label] if phase == "done" else [])
        if finished and label == "long" and phase in ("planning", "steps") and multiprocessing.active_children():
            raise KeyboardInterrupt

    results = execute(compose(scenario, path), folder, jobs=2, progress=progress, figures=False)
    assert results.stopped is not None
    assert results.stopped.exit_code == 130
    assert "long" in str(results.stopped)
    assert not multiprocessing.active_children()
    complete = {label: result.trajectory.complete for label, result in results.runs.items()}
    assert complete in ({"none": True}, {"none": True, "long": False})  # if it came to the end of a step
    assert {path.name for path in (folder / "trajectories").iterdir()} == set(complete)
    manifest = json.loads((folder / "manifest.json").read_text())
    told = [label for label in ("none", "long") if label in complete or label in results.failures]
    assert (manifest["complete"], list(manifest["runs"])) == (False, told)
    assert not (folder / "report.html").exists()


BAD = """
import numpy as np
from cosim import BaseController, Setpoints
class Bad(BaseController):
    def __init__(self, feeder): ...
    def decide(self, observation):
        if observation.step >= 5:
            raise ValueError("tired")
        return Setpoints.free(len(observation.net_kw))
class Slow(BaseController):
    def __init__(self, feeder): ...
    def decide(self, observation):
        import time
        time.sleep(0.3)
        return Setpoints.free(len(observation.net_kw))
"""


def test_a_stopped_run_is_named_and_never_the_best(run, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "_out", Console(width=400))
    (tmp_path / "bad.py").write_text(BAD, encoding="utf-8")
    folder = str(tmp_path / "out")
    command = ["run", "two_bus_evening", "--controllers", f"none,{tmp_path}/bad.py:Bad", "--no-figures"]
    code, out, _ = run(*command, "--out", folder)
    assert code == 3
    steps = json.loads((tmp_path / "out" / "manifest.json").read_text())["runs"]["Bad"]["steps"]
    assert 0 < steps < 192
    for told in (out, run("compare", folder)[1]):
        assert f"Bad (stopped at step {steps}/192)" in told
        assert "*" not in told.split("limit violated")[1]  # none has nobody to win against
    code, out, _ = run("compare", folder, folder)
    rows = {line.split("@")[0].strip(): line for line in out.splitlines() if "@" in line}
    assert f"(stopped at step {steps}/192)" in rows["Bad"]
    assert "*" not in rows["Bad"]
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["incomplete"] == ["Bad"]
    assert pd.read_csv(tmp_path / "out" / "metrics.csv", index_col=0)["complete"].to_dict() == {
        "none": True, "Bad": False,
    }  # fmt: skip


def test_a_worker_that_is_interrupted_keeps_the_steps_it_completed(tmp_path):
    (tmp_path / "bad.py").write_text(BAD, encoding="utf-8")
    path, folder = scenarios.find("two_bus_evening"), tmp_path / "out"
    data = scenarios.read("two_bus_evening").model_dump()
    runs = [{"controller": f"{tmp_path}/bad.py:Slow", "label": label} for label in ("one", "two")]
    begun: set[str] = set()

    def progress(label: str, phase: str, done: int, _total: int) -> None:
        begun.update([label] if phase == "steps" and done > 2 else [])
        if len(begun) == 2:
            raise KeyboardInterrupt

    composition = compose(scenarios.parse({**data, "runs": runs}, path), path)
    results = execute(composition, folder, jobs=2, progress=progress, figures=False)
    assert (results.stopped.exit_code, "not finished: one, two" in str(results.stopped)) == (130, True)
    for label in ("one", "two"):
        kept = results.runs[label].trajectory
        assert (kept.complete, kept.steps > 2) == (False, True)
        assert len(pd.read_parquet(folder / "trajectories" / label / "steps.parquet")) == kept.steps
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("jobs", [1, 2])
def test_what_cannot_be_sent_loses_no_run(tmp_path, jobs):
    (tmp_path / "left.py").write_text(
        BAD + "from dataclasses import dataclass\n@dataclass\nclass Kept:\n    what: object\n"
        "class Left(Slow):\n    def decide(self, o):\n        return Setpoints.free(len(o.net_kw))\n"
        "    def artifacts(self):\n        return {'kept': Kept(lambda: 1)}\n",
        encoding="utf-8",
    )
    path, folder = scenarios.find("two_bus_evening"), tmp_path / "out"
    data = scenarios.read("two_bus_evening").model_dump()
    runs = [{"controller": f"{tmp_path}/left.py:Left"}, {"controller": "none"}]
    composition = compose(scenarios.parse({**data, "runs": runs}, path), path)
    results = execute(composition, folder, jobs=jobs, figures=False)
    assert {path.name for path in (folder / "trajectories").iterdir()} == {"Left", "none"}
    assert list(results.runs) == ["Left", "none"]
    assert results.stopped is None


def test_a_bug_becomes_a_stopped_run(tmp_path, monkeypatch):
    path, folder = scenarios.find("two_bus_evening"), tmp_path / "out"
    data = scenarios.read("two_bus_evening").model_dump()
    runs = [{"controller": "none"}, {"controller": "none", "label": "again"}]
    composition = compose(scenarios.parse({**data, "runs": runs}, path), path)
    run_spec = type(composition).run_spec

    def buggy(self, item, **options):
        return run_spec(self, item, **options) if item.name == "none" else {}["key"]

    monkeypatch.setattr(type(composition), "run_spec", buggy)
    results = execute(composition, folder, figures=False)
    assert results.stopped.exit_code == 3
    assert str(results.stopped).startswith("again: KeyError: 'key' (")
    assert isinstance(results.stopped.__cause__, KeyError)
    assert list(json.loads((folder / "metrics.json").read_text())["controllers"]) == ["none"]


def test_folders_are_compared_run_by_run(run, tmp_path, monkeypatch):
    monkeypatch.setattr(cli, "_out", Console(width=600))
    for name, margin in (("loose", "0.0"), ("tight", "20.0")):
        command = ["run", "two_bus_evening", "--controllers", "none,equal_share", "--out", str(tmp_path / name)]
        assert run(*command, "--option", f"equal_share.margin_percent={margin}", "--quiet", "--no-figures")[0] == 0
    code, out, _ = run("compare", str(tmp_path / "loose"), str(tmp_path / "tight"))
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if "@" in line}
    assert list(rows) == ["none@loose", "none@tight", "equal_share@loose", "equal_share@tight"]
    peak_kva = [
        json.loads((tmp_path / name / "metrics.json").read_text())["controllers"]["equal_share"]["transformer_peak_kva"]
        for name in ("loose", "tight")
    ]
    assert f"({peak_kva[1] - peak_kva[0]:+.1f})" in rows["equal_share@tight"]
    assert "(" not in rows["none@loose"] + rows["none@tight"] + rows["equal_share@loose"]
    assert "lvur" not in out
    assert "lvur" in run("compare", "--all", str(tmp_path / "loose"), str(tmp_path / "tight"))[1]
    assert "voltage_min_pu: LOAD" in run("compare", str(tmp_path / "loose"))[1]
    (tmp_path / "loose" / "worst.json").unlink()  # metrics may be kept alone
    code, out, _ = run("compare", str(tmp_path / "loose"))
    assert code == 0
    assert "voltage_min_pu: " not in out
    code, _, err = run("compare", str(tmp_path / "loose"), "nowhere", "neither")
    assert code == 2
    assert "nowhere" in err
    assert "neither" in err


def test_the_command_line_alone_loads_nothing_heavy():
    heavy = {
        "pandas",
        "pyarrow",
        "pydantic",
        "matplotlib",
        "jinja2",
        "highspy",
        "pyomo",
        "pymoo",
        "pvlib",
        "opendssdirect",
    }
    code = (
        "import sys, cosim; before = set(sys.modules)\n"  # what the package itself loads is its own affair
        "import cosim.experiments.cli\n"
        f"print(*({heavy!r} & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603 - own text
    assert done.stdout.split() == []
