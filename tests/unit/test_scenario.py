import json
import tomllib
from datetime import datetime
from pathlib import Path

import pytest

import cosim
from cosim.errors import InputError
from cosim.experiments import scenario as scenarios
from cosim.experiments.choose import only

GOOD = """
name = "mine"
feeder = "two_bus"
start = 2026-05-15T12:00:00
[[runs]]
controller = "none"
"""


def faults_of(tmp_path: Path, text: str) -> dict[str, str]:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        scenarios.read(path)
    assert all(str(path) in fault.where and fault.remedy for fault in caught.value.faults)
    return {fault.key: f"{fault.problem} -> {fault.remedy}" for fault in caught.value.faults}


@pytest.mark.parametrize("name", scenarios.shipped())
def test_every_shipped_scenario_is_valid(name):
    scenario = scenarios.read(name)
    assert scenario.name == name
    assert scenario.runs


def test_the_example_shows_every_key():
    text = (scenarios.SHIPPED / "example.toml").read_text(encoding="utf-8")
    schema = scenarios.Scenario.model_json_schema()
    keys = set(schema["properties"])
    for table in schema["$defs"].values():
        keys |= set(table["properties"])
    missing = {key for key in keys if f"{key} =" not in text and f"[{key}]" not in text and f"[[{key}]]" not in text}
    assert not missing


def test_defaults_are_the_documented_ones(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD, encoding="utf-8")
    scenario = scenarios.read(path)
    assert (scenario.seed, scenario.horizon_h, scenario.step_min, scenario.control_min) == (1, 24, 5, 15)
    assert scenario.forecast.kind == "oracle"
    assert scenario.runs[0].name == "none"


def test_all_faults_of_a_file_come_at_once(tmp_path):
    found = faults_of(
        tmp_path,
        """
nam = "mine"
feeder = 3
start = "yesterday"
step_min = 0
[grid]
source_pu = 102
[ev]
share = 1.5
[[runs]]
controler = "none"
""",
    )
    assert "did you mean 'name'?" in found["nam"]
    assert "missing" in found["name"]
    assert {"feeder", "start", "step_min"} <= set(found)
    assert "for 102 % write 1.02" in found["grid.source_pu"]
    assert "write a number from 0 to 1, for example share = 0.67" in found["ev.share"]
    assert "did you mean 'controller'?" in found["runs.1.controler"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("control_min = 7", "multiple of step_min"),
        ("horizon_h = 0.99", "whole number of steps"),
        ("start = 2026-05-15T12:00:00Z", "without a zone"),
        ("grid = { transformer = { kva = 100, uk_percent = 1.0, load_loss_percent = 2.0 } }", "below uk_percent"),
        ("grid = { transformer = { kva = 100, tier = 1, no_load_loss_percent = 0.3 } }", "not both"),
        ("grid = { transformer = { kva = 4000, tier = 2 } }", "table ends before 4000 kVA"),
        ("grid = { transformer = { kva = 100, tier = true } }", "write 1 (of 2015) or 2 (of 2021)"),
        ("ev = { share = 0.5, sessions = 'cars.csv' }", "not both"),
        ("ev = { sessions = 'apartment' }", "without a share"),
        ("ev = { share = 0.5, sessions = 'apartement' }", "did you mean 'apartment'"),
        ("ev = { share = 0.5, sessions = 'apartment', plug_in_days_per_week = 3.0 }", "together with sessions"),
        ("ev = { share = 0.5, sessions = 'apartment', weekly_energy_kwh = 44.0 }", "together with sessions"),
        ("ev = { share = 0.5, plug_in_days_per_week = 8.0 }", "0.5 to 7"),
        ("ev = { share = 0.5, weekly_energy_kwh = -1.0 }", "above 0"),
    ],
)
def test_keys_that_do_not_fit_together(tmp_path, line, words):
    text = GOOD.replace(
        "start = 2026-05-15T12:00:00", line if line.startswith("start") else f"start = 2026-05-15T12:00:00\n{line}"
    )
    assert any(words in problem for problem in faults_of(tmp_path, text).values())


def test_a_label_used_twice_is_refused(tmp_path):
    assert any(
        "used twice" in problem for problem in faults_of(tmp_path, GOOD + '[[runs]]\ncontroller = "none"\n').values()
    )


def test_keys_that_do_not_fit_and_names_of_nothing_are_told_beside_wrong_keys(tmp_path):
    found = faults_of(
        tmp_path,
        """
name = "not a name"
feeder = "two_buss"
start = "2026-05-15T12:00:00+02:00"
step_min = 7
tariff = "flat"
[households]
profiles = "nope.csv"
noncompliant_share = 20
[ev]
share = 0.5
sessions = "cars.csv"
[pv]
cloud = "sunny"
[[runs]]
controller = "nonee"
[[runs]]
controller = "equal_share"
label = "a label"
options = { marginpercent = 5, seed = 3 }
[[runs]]
contrller = "none"
[[runs]]
controller = "none"
[[runs]]
controller = "none"
""",
    )
    assert set(found) == {
        "name", "feeder", "start", "control_min", "horizon_h", "tariff", "households.profiles",
        "households.noncompliant_share", "ev.sessions", "pv.cloud", "runs.1.controller", "runs.2.label",
        "runs.2.marginpercent", "runs.2.seed", "runs.3.controller", "runs.3.contrller",
    }  # fmt: skip
    assert "multiple of step_min=7" in found["control_min"]
    assert "did you mean 'margin_percent'" in found["runs.2.marginpercent"]


def test_a_wrong_key_makes_no_faults_of_others(tmp_path):
    # the file's step would fit control_min = 12; the default would not
    assert set(faults_of(tmp_path, 'control_min = 12\nstep_min = "4"\n' + GOOD)) == {"step_min"}
    assert set(faults_of(tmp_path, GOOD.replace("2026-05-15T12:00:00", "20260515"))) == {"start"}
    assert set(faults_of(tmp_path, 'name = "a"\nfeeder = "two_bus"\nruns = []\n')) == {"start", "runs"}
    assert set(faults_of(tmp_path, GOOD + "[grid.transformer]\nuk_percent = 4\n")) == {"grid.transformer.kva"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("kwp", '"4"'), ("kwp", "true"), ("share", '"0.5"'), ("cloud", "3")],
)
def test_no_type_is_guessed(tmp_path, key, value):
    assert set(faults_of(tmp_path, GOOD + f"[pv]\n{key} = {value}\n")) == {f"pv.{key}"}


def test_whole_numbers_and_iso_text_are_as_good(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD.replace("2026-05-15T12:00:00", '"2026-05-15T12:00"') + "[pv]\nkwp = 4\n", encoding="utf-8")
    scenario = scenarios.read(path)
    assert (scenario.start, scenario.pv.kwp) == (datetime(2026, 5, 15, 12), 4.0)
    path.write_text(GOOD.replace("2026-05-15T12:00:00", '"1778846400"'), encoding="utf-8")
    with pytest.raises(InputError, match="local date and time"):
        scenarios.read(path)


OWN_WORLDS = """
[households]
noncompliant_share = 0.1
[forecast]
kind = "noisy"
pv_error_percent = 5.0
[[runs]]
controller = "none"
label = "told_all"
forecast = "oracle"
[[runs]]
controller = "none"
label = "defied"
noncompliant_share = 0.5
forecast = { demand_error_percent = 60.0 }
"""


def test_a_run_may_meet_a_world_of_its_own(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + OWN_WORLDS, encoding="utf-8")
    scenario = scenarios.read(path)
    usual, told_all, defied = scenario.runs
    assert [scenario.noncompliant_share_of(run) for run in scenario.runs] == [0.1, 0.1, 0.5]
    assert scenario.forecast_of(usual) == scenario.forecast
    assert scenario.forecast_of(told_all).kind == "oracle"
    own = scenario.forecast_of(defied)
    assert (own.kind, own.demand_error_percent, own.pv_error_percent) == ("noisy", 60.0, 5.0)
    assert defied.forecast == own  # what is recorded is whole
    assert scenarios.parse(scenario.model_dump(), path) == scenario


@pytest.mark.parametrize(
    ("line", "key", "words"),
    [
        ("noncompliant_share = 1.5", "noncompliant_share", "write a number from 0 to 1"),
        ('forecast = "nosy"', "forecast.kind", "'oracle', 'persistence' or 'noisy'"),
        ("forecast = { pv_error = 5.0 }", "forecast.pv_error", "did you mean 'pv_error_percent'?"),
        ("forecast = 3", "forecast", "should be a table"),
    ],
)
def test_faults_of_a_world_of_its_own_are_named_beside_others(tmp_path, line, key, words):
    found = faults_of(tmp_path, GOOD + line + "\n[pv]\nkwp = -1\n")
    assert set(found) == {f"runs.1.{key}", "pv.kwp"}
    assert words in found[f"runs.1.{key}"]


def test_not_toml(tmp_path):
    assert "not TOML" in next(iter(faults_of(tmp_path, "name = [").values()))


def test_an_unknown_name_suggests_a_near_one():
    with pytest.raises(InputError, match="did you mean 'two_bus_evening'"):
        scenarios.read("two_bus_evning")


def test_paths_beside_the_file_are_found(tmp_path):
    (tmp_path / "homes.csv").write_text("a\n1\n", encoding="utf-8")
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + '[households]\nprofiles = "homes.csv"\n', encoding="utf-8")
    assert scenarios.read(path).households.profiles == str(tmp_path / "homes.csv")


def test_the_schema_is_json():
    assert json.loads(json.dumps(scenarios.Scenario.model_json_schema()))["properties"]["seed"]["minimum"] == 0


@pytest.mark.parametrize("key", ["noncompliant_share", "stubborn_share"])
def test_the_share_of_homes_that_ignore_caps_is_read_under_its_former_name_too(tmp_path, key):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD + f"[households]\n{key} = 0.25\n", encoding="utf-8")
    assert scenarios.read(path).households.noncompliant_share == 0.25
    path.write_text(GOOD + "[households]\nnoncompliant_share = 0.25\nstubborn_share = 0.5\n", encoding="utf-8")
    with pytest.raises(InputError, match="stubborn_share"):
        scenarios.read(path)


@pytest.mark.parametrize(
    "label",
    [
        ".",
        "..",
        ".hidden",
        "-rf",
        "a/b",
        "../a",
        "a b",
        "[red]a",
        "a\\b",
        "a.",
        "x" * 81,
        "CON",
        "nul.a",
        "lpt1",
        "\u00e4",
    ],
)
@pytest.mark.parametrize("key", ["label", "name"])
def test_names_that_are_no_folders_everywhere_are_refused(tmp_path: Path, label: str, key: str) -> None:
    text = GOOD.replace('name = "mine"', f"name = '{label}'") if key == "name" else f"{GOOD}label = '{label}'\n"
    assert list(faults_of(tmp_path, text)) == ["name" if key == "name" else "runs.1.label"]


def test_labels_that_differ_by_case_only_and_classes_called_like_a_device_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("from cosim import BaseController\nclass Aux(BaseController): ...\n")
    text = GOOD + 'label = "Night"\n[[runs]]\ncontroller = "none"\nlabel = "nigHt"\n'
    assert "label Night, nigHt is used twice (case does not count)" in faults_of(tmp_path, text)["runs"]
    assert "'Aux' is a device" in faults_of(tmp_path, GOOD.replace('"none"', '"mine.py:Aux"'))["runs"]
    with pytest.raises(InputError, match=r"--controllers: .*'Aux' is a device"):
        only(scenarios.parse(tomllib.loads(GOOD), tmp_path / "mine.toml"), "none,mine.py:Aux")
    with pytest.raises(InputError, match=r"run\(\): label: '\.\.' is no label → use at most"):
        cosim.load("two_bus_evening").run("none", label="..")
    for fine in ("a", "7", "_a", "x" * 80, "console", "a..b", "com10"):
        assert scenarios.parse(tomllib.loads(f'{GOOD}label = "{fine}"\n'), tmp_path).runs[0].name == fine
