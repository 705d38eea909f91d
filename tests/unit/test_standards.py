"""The standard that a scenario names decides over bands, limits, texts and what is not applicable."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import cosim
from cosim import feeders
from cosim.contract import ANSI_C84_1, AS_61000, EN_50160, ESQCR, STANDARDS
from cosim.errors import InputError
from cosim.experiments.metric_table import metric_of
from cosim.measures import scoreboard

SCENARIO = """name = "judged"
feeder = "{}"
seed = 1
start = 2026-01-15T18:00:00
horizon_h = 1
[ev]
share = 0.67
{}
[[runs]]
controller = "none"
"""
GRID = '[grid]\nstandard = "{}"\n'


def write(folder: Path, grid: str = "", feeder: str = "two_bus") -> Path:
    path = folder / "judged.toml"
    path.write_text(SCENARIO.format(feeder, grid), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", STANDARDS)
def test_the_scenario_names_the_standard(tmp_path, name):
    assert cosim.load(write(tmp_path, GRID.format(name))).feeder.standard is STANDARDS[name]


def test_the_feeder_may_name_it_and_the_scenario_knows_better(tmp_path):
    for file in feeders.load("two_bus").master.parent.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    with (tmp_path / "feeder.toml").open("a", encoding="utf-8") as facts:
        facts.write('\nstandard = "as_61000"\n')
    assert cosim.load(write(tmp_path, feeder="Master.dss")).feeder.standard is AS_61000
    assert cosim.load(write(tmp_path, GRID.format("esqcr"), "Master.dss")).feeder.standard is ESQCR
    assert feeders.load("two_bus").standard is EN_50160


def test_a_standard_that_is_not_known_is_refused_with_those_that_are(tmp_path):
    with pytest.raises(InputError, match="esqcr"):
        feeders.load("two_bus", standard="en50161")
    with pytest.raises(InputError, match="ansi_c84_1"):
        cosim.load(write(tmp_path, GRID.format("ansi")))


def test_what_a_run_writes_follows_the_standard(tmp_path, cosim):
    path = write(tmp_path, GRID.format("esqcr"))
    assert cosim("run", str(path), "--out", str(tmp_path / "out"), "--no-figures")[0] == 0
    told = json.loads((tmp_path / "out" / "metrics.json").read_text())["controllers"]["none"]
    assert told["en50160_compliant_customers_percent"] is None
    assert told["neutral_voltage_max_v"] is None
    assert told["voltage_compliant_customers_percent"] == 100.0
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["voltage_standard"] == "esqcr"
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "customers within ESQCR 2002" in report
    assert "regulation 27(3)" in report
    assert "voltages are judged by ESQCR 2002" in report
    assert "Worst places under none: lowest voltage: LOAD" in report
    shown = cosim("compare", str(tmp_path / "out"), "--all")[1]
    line = next(line for line in shown.splitlines() if "en50160_compliant" in line)
    assert line.split() == ["en50160_compliant_customers_percent", "n/a"]


def test_a_folder_is_shown_with_the_limits_of_its_own_standard(tmp_path, cosim):
    (tmp_path / "metrics.json").write_text(json.dumps(
        {"controllers": {"none": {"voltage_min_pu": 0.93, "vuf_p95_percent": 2.5}}, "incomplete": []}
    ))  # fmt: skip

    def marked(**manifest: str) -> dict[str, bool]:
        whole = {"scenario": {"horizon_h": 1, "step_min": 5}, "runs": {}, **manifest}
        (tmp_path / "manifest.json").write_text(json.dumps(whole))
        lines = cosim("compare", str(tmp_path))[1].splitlines()
        return {line.split()[0]: "!" in line for line in lines if "_p" in line}

    assert marked(voltage_standard="en50160") == {"voltage_min_pu": False, "vuf_p95_percent": True}
    assert marked() == marked(voltage_standard="en50160")  # of an earlier version
    assert marked(voltage_standard="esqcr") == {"voltage_min_pu": True, "vuf_p95_percent": False}


def test_limits_and_words_of_metrics_are_those_of_the_standard():
    assert [metric_of("voltage_max_pu", each).limit for each in STANDARDS.values()] == [1.10, 1.10, 1.05, 1.10]
    assert [metric_of("voltage_min_pu", each).limit for each in STANDARDS.values()] == [0.90, 0.94, 0.95, 0.94]
    assert [metric_of("vuf_p95_percent", each).limit for each in STANDARDS.values()] == [2.0, None, None, None]
    assert [metric_of("lvur_max_percent", each).limit for each in STANDARDS.values()] == [None, None, 3.0, None]
    assert metric_of("undervoltage_min", ESQCR).meaning == "time with a customer below 0.94 pu"
    assert metric_of("vuf_max_percent", ESQCR).limit is None
    assert "ESQCR 2002 has no limit." in metric_of("vuf_p95_percent", ESQCR).definition
    assert (
        "95 % within 0.9–1.1 pu and all within 0.85–1.1 pu"
        in metric_of("voltage_compliant_customers_percent").definition
    )


def test_a_day_that_one_standard_accepts_another_does_not(tmp_path):
    day = cosim.load(write(tmp_path, '[grid]\nsource_pu = 0.93\nstandard = "en50160"\n'))
    strict = cosim.load(write(tmp_path, '[grid]\nsource_pu = 0.93\nstandard = "ansi_c84_1"\n'))
    one, other = (scoreboard(each.run("none").trajectory) for each in (day, strict))
    assert one["voltage_min_pu"] == other["voltage_min_pu"] < ANSI_C84_1.low[0].lower_pu
    assert (one["voltage_compliant_customers_percent"], one["undervoltage_min"]) == (100.0, 0.0)
    assert other["voltage_compliant_customers_percent"] < 100.0
    assert other["undervoltage_min"] > 0.0
    assert one["en50160_compliant_customers_percent"] == 100.0
    assert np.isnan(other["en50160_compliant_customers_percent"])
