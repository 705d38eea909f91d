"""A day in Python's hands: what it can be run under, how runs are compared, and what is saved of one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import cosim
from cosim import BaseController, Setpoints
from cosim.controllers.rules.equal_share import EqualShare
from cosim.errors import InputError
from cosim.experiments import scenario as scenarios
from cosim.experiments.choose import only
from cosim.experiments.compose import compose
from cosim.experiments.execute import execute
from cosim.experiments.files import sha256_of


class HalfPower(BaseController):
    """Let every charger draw a share of its rating."""

    def __init__(self, feeder, share=0.5):
        assert len(feeder.customers) == 3
        self.share = share

    def decide(self, observation):
        free = np.full_like(observation.voltage_v, np.inf)
        return Setpoints(free, np.full_like(free, 7.4 * self.share), free)


@pytest.fixture(scope="module")
def day():
    return cosim.load("two_bus_evening")


def test_a_name_takes_options(day):
    loose, tight = day.run("equal_share"), day.run("equal_share", label="tight", margin_percent=40.0)
    assert (loose.label, tight.label, tight.spec.options) == ("equal_share", "tight", {"margin_percent": 40.0})
    assert tight.metrics["withheld_kwh"] > loose.metrics["withheld_kwh"]
    with pytest.raises(InputError, match="margin_percent"):
        day.run("equal_share", margin_percnt=40.0)


def test_a_class_is_made_from_the_feeder_and_an_instance_is_taken_as_it_is(day):
    of_class = day.run(HalfPower, share=0.25)
    instance = HalfPower(day.feeder, 0.25)
    of_instance = day.run(instance, label="mine")
    assert (of_class.label, of_instance.label) == ("HalfPower", "mine")
    assert of_instance.controller is instance
    assert of_class.trajectory.ev_kw.max() == pytest.approx(1.85, rel=0.01)
    assert np.array_equal(of_class.trajectory.ev_kw, of_instance.trajectory.ev_kw)


def test_a_class_runs_as_its_name_does(day):
    named, of_class = day.run("equal_share", margin_percent=10.0), day.run(EqualShare, margin_percent=10.0)
    assert named.metrics == pytest.approx(of_class.metrics, nan_ok=True)


def test_runs_are_compared_by_label_and_equal_labels_are_refused(day):
    first, second = day.run("none"), day.run("equal_share")
    table = cosim.compare([first, second])
    assert list(table.columns) == ["none", "equal_share"]
    assert table.loc["cost_eur", "none"] == first.metrics["cost_eur"]
    with pytest.raises(ValueError, match="two runs are labelled 'none'"):
        cosim.compare([first, second, day.run("none")])


def test_a_saved_run_is_what_the_command_writes(undrawn, day, tmp_path):
    commanded, saved = tmp_path / "commanded", tmp_path / "saved"
    path = scenarios.find("two_bus_evening")
    execute(compose(only(scenarios.read("two_bus_evening"), "bilevel_caps"), path), commanded)
    run = day.run("bilevel_caps")
    run.save(str(saved))
    files = {path.relative_to(saved) for path in saved.rglob("*") if path.is_file()}
    assert files == {path.relative_to(commanded) for path in commanded.rglob("*") if path.is_file()}
    assert {"caps", "figures", "metrics.csv", "promise.csv", "report.html", "trajectories", "unbalance"} < {
        str(file).partition("/")[0] for file in files
    }
    timed = {"manifest.json", "timing.json", "report.html", "proof.json"}
    for file in files:
        assert file.name in timed or (saved / file).read_bytes() == (commanded / file).read_bytes(), file
    assert (saved / "manifest.json").read_bytes() == (commanded / "manifest.json").read_bytes()


def test_a_controller_of_ones_own_is_saved_into_a_folder_that_held_another(undrawn, day, tmp_path):
    day.run("none").save(tmp_path)
    assert (tmp_path / "figures" / "voltage_band.png").exists()
    (tmp_path / "notes.txt").write_text("mine")
    run = day.run(HalfPower(day.feeder), label="half")
    with pytest.raises(InputError, match="holds the results of an earlier run"):
        run.save(tmp_path)
    run.save(tmp_path, figures=False, overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".cosim-files", "areas.csv", "manifest.json", "metrics.csv", "metrics.json", "notes.txt", "report.html",
        "timing.json", "trajectories", "unbalance", "worst.json",
    ]  # fmt: skip
    assert [path.name for path in (tmp_path / "trajectories").iterdir()] == ["half"]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert list(manifest["runs"]) == ["half"]
    assert manifest["runs"]["half"]["controller"].endswith("test_day:HalfPower")
    assert list(manifest["plugins"]["controllers"]["half"]["sha256"]) == ["test_day.py"]
    assert pd.read_csv(tmp_path / "metrics.csv", index_col=0).loc["half", "cost_eur"] == run.metrics["cost_eur"]


def test_a_class_defined_in_a_function_and_a_part_of_a_run_can_be_saved(day, tmp_path):
    class Local(HalfPower):
        """Nobody can import it."""

    run = day.run(Local, label="local")
    replace(run, trajectory=replace(run.trajectory, engine="reduced", complete=False)).save(tmp_path, figures=False)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert (manifest["complete"], manifest["engine"]) == (False, "reduced")
    assert manifest["engine_crosscheck"]["local"]["voltage_max_pu"] < 1e-6


def test_a_folder_that_cannot_be_made_is_named(day, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="it is no folder"):
        day.run("none").save(tmp_path / "file")


def test_a_run_is_not_saved_over_what_no_run_wrote(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "mine.png").write_bytes(b"mine")
    run = cosim.load("two_bus_evening").run("none", engine="reduced")
    with pytest.raises(InputError, match=r"holds what cosim did not write \(figures\)"):
        run.save(tmp_path, figures=False, overwrite=True)
    assert (tmp_path / "figures" / "mine.png").read_bytes() == b"mine"


def test_what_is_edited_after_a_run_was_not_its_input(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(scenarios.find("two_bus_evening").read_text("utf-8"), encoding="utf-8")
    day = cosim.load(path)
    before = sha256_of(path)
    run = day.run("none")
    path.write_text("nothing", encoding="utf-8")
    run.save(tmp_path / "out", figures=False)
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["inputs_sha256"]["scenario/mine.toml"] == before
