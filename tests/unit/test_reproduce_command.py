"""The command of the host-capacity study: what it writes, its options, own data, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
import typer

from cosim.controllers.caps import CapsOptions, CapsProblem, share_of_phase, solve_caps
from cosim.errors import InputError
from cosim.experiments import caps_output, caps_tables, cli
from cosim.experiments.studies import STUDIES
from cosim.experiments.studies.command import study_command
from cosim.experiments.studies.host_capacity import study
from cosim.experiments.studies.host_capacity.homes import check, draw_problem, refuse_lowered
from cosim.experiments.studies.host_capacity.table import read_problem
from cosim.plugins import shipped


@pytest.fixture
def cosim(cosim: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    return partial(cosim, "reproduce")


def test_the_command_writes_its_folder(undrawn, cosim, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study, "HOUSEHOLDS", 8)  # size at which plans are compared
    monkeypatch.setattr(study, "SLOTS", 24)
    code, out, _ = cosim("host_capacity", "--out", str(tmp_path))
    assert code == 0
    assert "infeasible" in out
    told = json.loads((tmp_path / "metrics.json").read_text())["cases"]
    assert told["single_house"]["single_house_cost"] == pytest.approx(2.4047, abs=1e-4)
    assert told["thirty_houses"]["thirty_house_cost"] == pytest.approx(29.9, abs=0.05)
    assert told["thirty_houses"]["published_cost"] == pytest.approx(62.8, abs=0.05)
    assert told["thirty_houses"]["peak_charging_kwh"] == 0.0
    assert len(pd.read_csv(tmp_path / "caps.csv")) == 30 * 24
    names = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert names == {"without_ev", "with_ev", "charging", "cost", "single_house"}
    report = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "2.4047 $" in report
    assert "8 homes and 24 slots" in report
    assert told["released"]["released_withheld_kwh"] > 0
    assert set(pd.read_csv(tmp_path / "deviation.csv")["plan"]) == {
        "thirty_houses", "anticipated", "sum_of_caps", "anticipated_margin_15",
    }  # fmt: skip
    assert all(f"figures/{name}.png" in report for name in names)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["reproducible"]
    assert manifest["options"]["households"] is None


@pytest.mark.slow
def test_the_command_runs_a_size_of_ones_own(cosim, tmp_path: Path) -> None:
    arguments = ("--households", "5", "--slots", "24", "--gap", "0.05", "--limits", "total", "--ties", "unique")
    code, out, _ = cosim("host_capacity", "--out", str(tmp_path), *arguments)
    assert code == 0
    assert "5 homes x 24 slots" in out
    told = json.loads((tmp_path / "metrics.json").read_text())["cases"]
    proof = json.loads((tmp_path / "proof.json").read_text())
    assert told["own_size"]["withheld_kwh"] == proof["withheld_kwh"]
    assert "wall_s" not in told["own_size"]
    assert "single_house" in told
    assert (tmp_path / "figures" / "sized_load.png").stat().st_size > 0
    assert json.loads((tmp_path / "manifest.json").read_text())["options"]["households"] == 5


def test_wrong_options_are_named_all_at_once(cosim, tmp_path: Path) -> None:
    wrong = {
        "--households": "0", "--slots": "7", "--form": "magic", "--objective": "beauty", "--coordination": "none",
        "--ties": "magic", "--limits": "none", "--gap": "3", "--margin": "1", "--time-limit": "-1", "--seed": "-1",
        "--floor-kw": "3",
    }  # fmt: skip
    code, _, err = cosim("host_capacity", "--out", str(tmp_path), *(part for pair in wrong.items() for part in pair))
    assert code == 2
    for option in wrong:
        assert f"{option}:" in err, option
    for known in ("auto, kkt", "least_restriction", "sum_of_caps", "unique", "per-phase"):  # what could be used
        assert known in err, known
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_floor_that_does_not_fit_is_refused_with_one_that_does(cosim, tmp_path: Path) -> None:
    base = ("host_capacity", "--households", "4", "--slots", "24", "--objective", "floor_then_least")
    code, _, err = cosim(*base, "--floor-kw", "7", "--out", str(tmp_path))
    assert code == 2
    assert "slots" in err
    assert "households" in err
    fits = float(err.split("a floor of ")[1].split(" kW")[0])
    config = study.HostConfig(households=4, slots=24, objective="floor_then_least", floor_kw=fits)
    problem, _ = study.make_problem(config)
    result = solve_caps(problem, config.options)
    refuse_lowered(problem, result, config.options, range(4), 1)
    room = (result.caps_kw - problem.inflexible_kw)[:, problem.home]
    held = problem.is_plugged & (result.charge_kw < problem.usable_kw - 1e-5)
    assert room[held].min() >= fits - 1e-5
    proven = float(err.split("more than ")[1].split(" kW")[0])
    assert fits <= proven <= fits * 1.02
    more = replace(config.options, floor_kw=proven + 0.01)
    with pytest.raises(InputError, match="was not kept"):
        refuse_lowered(problem, solve_caps(problem, more), more, range(4), 1)


def test_floors_under_sum_of_caps_have_to_fit_by_their_sum() -> None:
    problem = draw_problem(4, 24)
    with pytest.raises(InputError) as refused:
        check(problem, range(4), "here", 7.0)
    fits = float(str(refused.value).split("a floor of ")[1].split(" kW")[0])
    check(problem, range(4), "here", fits)
    with pytest.raises(InputError):
        check(problem, range(4), "here", fits + 0.002)


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    problem = draw_problem(3, 24)
    return caps_tables.caps_table(problem, solve_caps(problem), [1, 2, 3])


@pytest.mark.parametrize(
    ("rows", "column", "value", "words"),
    [
        ("household == 2 and slot == 3", "inflexible_kw", np.nan, "household 2, slots 3"),
        ("household == 3 and slot < 2", "plugged", 2.0, "household 3, slots 0-1"),
        ("household == 2", "energy_need_kwh", 900.0, "household 2 needs 900 kWh"),
        ("household == 1 and slot == 7", "charger_kw", 9.0, "several values for household 1"),
        ("household == 2 and slot == 6", "limit_kw", 90.0, "household 2, slots 6"),
        ("household == 3 and slot == 4", "stay", 0.5, "household 3, slots 4, row 53"),
        ("slot == 5", "limit_kw", 0.01, "above the limit of phase 1 in slots 5"),
        ("household == 1", "phase", 4, "household 1"),
        ("household == 1 and slot == 2", "slot", 3, "household 1 lacks slots 2"),
    ],
)
def test_own_data_are_refused_by_household_and_slot(
    cosim, table: pd.DataFrame, tmp_path: Path, rows: str, column: str, value: float, words: str
) -> None:
    table[column] = table[column].astype(float) if column not in ("slot", "phase") else table[column]
    table.loc[table.query(rows).index, column] = value
    table.to_csv(tmp_path / "own.csv", index=False)
    code, _, err = cosim("host_capacity", "--data", str(tmp_path / "own.csv"), "--out", str(tmp_path / "out"))
    assert code == 2
    assert words in err
    assert column in err


def test_a_run_with_everything_in_it_is_read_back(tmp_path: Path) -> None:
    """Tariffs home by home, phases alone and together, two stays, batteries beyond the need, twelve hours."""
    rng = np.random.default_rng(5)
    slots, homes = 24, 5
    plugged = np.zeros((slots, 5))
    for car, (begin, end) in enumerate(((0, 9), (2, 20), (12, 24), (5, 22), (3, 24))):
        plugged[begin:end, car] = 1.0
    plugged[2, 1] = 0.4
    share = np.vstack([share_of_phase(np.array([0, 1, 2, 0])), np.full((1, 3), 1 / 3)])
    problem = CapsProblem(
        slot_h=0.5, tariff_eur_per_kwh=rng.uniform(-0.05, 0.4, (slots, homes)),
        inflexible_kw=rng.uniform(-1.0, 1.0, (slots, homes)), connection_kw=np.array([9.0, 14, 14, 14, 22]),
        phase_share=share, limit_kw=rng.uniform(9.0, 12.0, (slots, 3)), home=np.array([1, 0, 1, 2, 4]), plugged=plugged,
        charger_kw=np.array([3.7, 7.4, 7.4, 3.7, 11.0]), charger_min_kw=np.array([1.4, 1.4, 0.0, 1.4, 4.1]),
        energy_need_kwh=np.array([4.0, 9.0, 6.0, 5.0, 8.0]), efficiency=np.array([0.9, 0.9, 0.92, 0.88, 0.9]),
        battery_room_kwh=np.array([5.0, 9.0, 8.0, 5.0, 12.0]),
    )  # fmt: skip
    result = solve_caps(problem, CapsOptions("least_restriction", "sum_of_caps"))
    caps_output.write_caps(tmp_path, problem, result, households=list("abcde"))
    again, names = read_problem(tmp_path / "caps.csv")
    assert names == list("abcde")
    for field in fields(CapsProblem):
        mine, read = getattr(problem, field.name), getattr(again, field.name)
        assert read == (pytest.approx(mine) if isinstance(mine, np.ndarray) else mine), field.name


def test_a_tariff_of_the_wrong_length_names_the_households_that_lack_slots(table: pd.DataFrame, tmp_path: Path) -> None:
    table[~((table.household == 2) & (table.slot > 20))].to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(InputError, match="household 2 lacks slots 21-23"):
        read_problem(tmp_path / "own.csv")
    table.drop(columns="tariff_eur_per_kwh").to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(InputError, match="tariff_eur_per_kwh"):
        read_problem(tmp_path / "own.csv")


def test_no_help_text_loses_words_in_brackets() -> None:
    """Rich takes what looks like a tag for one."""

    def texts(command: click.Command) -> Iterator[str]:
        yield command.help or ""
        yield from (getattr(parameter, "help", None) or "" for parameter in command.params)
        for one in getattr(command, "commands", {}).values():
            yield from texts(one)

    commands = [typer.main.get_command(cli.app), *map(study_command, STUDIES)]
    everything = [text for command in commands for text in texts(command)]
    assert any("default least_restriction" in text for text in everything)
    assert [text for text in everything if re.search(r"\[[a-z#/@]", text)] == []


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_goes_by_its_name_and_says_what_each_option_means(name: str) -> None:
    command = study_command(name)
    found, config = shipped(STUDIES[name].target), shipped(STUDIES[name].config)
    assert command.name == found.name == name
    assert found.source
    assert [parameter.name for parameter in command.params] == [
        "out", "overwrite", *(f.name for f in fields(config)),
    ]  # fmt: skip
    assert all(parameter.help for parameter in command.params)


def test_a_folder_that_was_made_for_nothing_is_taken_away(cosim, tmp_path: Path) -> None:
    out = tmp_path / "new"
    code, _, err = cosim("host_capacity", "--data", str(tmp_path / "none.csv"), "--out", str(out))
    assert code == 2
    assert "no such file" in err
    assert not out.exists()
