"""The fleet study at a small size, whole: numbers, files, figures, command and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cosim.controllers.aggregation import FitOptions
from cosim.experiments.cli import app
from cosim.experiments.studies.base import Cases
from cosim.experiments.studies.fleet_aggregation import checks, model
from cosim.experiments.studies.fleet_aggregation.config import FleetConfig
from cosim.experiments.studies.fleet_aggregation.data import HOURS, draw_cars, draw_prices, draw_week
from cosim.experiments.studies.fleet_aggregation.study import FleetAggregation

SMALL = FleetConfig(vehicles=16, training_weeks=2, validation_weeks=1, test_weeks=1)
WANTED = ("rmse_simple_kw", "rmse_envelope_kw", "rmse_bilevel_kw", "reduction_in_sample_percent",
          "reduction_out_of_sample_percent")  # fmt: skip


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Cases]:
    folder = tmp_path_factory.mktemp("fleet")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model, "MAPS_H", (168, 24, 12))
        patch.setattr(model, "FAMILY_UNITS", (1, 4))
        patch.setattr(model, "FAMILY_MAPS_H", (24,))
        patch.setattr(model, "FAMILY_REGULARISATION", (0.1,))
        patch.setattr(model, "MAP_FIT", FitOptions(kicks=0, most_steps=3))
        patch.setattr(model, "FAMILY_FIT", FitOptions(kicks=0, most_steps=3))
        patch.setattr(checks, "MAPS_H", (24,))
        patch.setattr(checks, "HOURS", 12)
        patch.setattr(checks, "RUNS", {"simple": {"aggregate": "sum"}})
        # the report speaks of the hourly map, which is too long for a test: the finest one stands in for it
        patch.setattr(model, "HOURLY", "map_12h")
        return folder, FleetAggregation().conduct(SMALL, folder).cases


def test_every_case_has_its_numbers(done: tuple[Path, Cases]) -> None:
    folder, cases = done
    written = json.loads((folder / "metrics.json").read_text())
    assert written["cases"].keys() == cases.keys()
    for case in written["cases"].values():
        assert all(isinstance(case[key], float) for key in WANTED)
        expected = 100.0 * (1.0 - case["rmse_bilevel_kw"] / case["rmse_simple_kw"])
        assert case["reduction_out_of_sample_percent"] == pytest.approx(expected)


def test_finer_nested_maps_fit_the_training_weeks_better(done: tuple[Path, Cases]) -> None:
    errors = [done[1][f"map_{hours}h"]["rmse_bilevel_in_sample_kw"] for hours in (168, 24, 12)]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] < done[1]["simple"]["rmse_bilevel_in_sample_kw"]


def test_the_chosen_aggregate_is_the_best_on_validation_and_beats_the_baselines(
    done: tuple[Path, Cases],
) -> None:
    cases = done[1]
    chosen = cases["chosen"]
    assert chosen["rmse_bilevel_validation_kw"] <= min(case["rmse_bilevel_validation_kw"] for case in cases.values())
    assert chosen["rmse_bilevel_kw"] <= min(chosen["rmse_simple_kw"], chosen["rmse_envelope_kw"])
    assert cases["one_week_hourly"]["reduction_in_sample_percent"] > 95.0
    assert chosen["unfollowed_percent"] < cases["simple"]["unfollowed_percent"]


def test_everything_is_written(done: tuple[Path, Cases]) -> None:
    folder, _ = done
    report = (folder / "report.md").read_text()
    for name in ("factors.png", "family.png", "week.png", "promise.png"):
        assert (folder / "figures" / name).stat().st_size > 5_000
        assert f"figures/{name}" in report
    check = json.loads((folder / "metrics.json").read_text())["exact"][0]
    assert check["bound"] <= check["exact"] + 1e-9 <= check["scalable"] + 2e-3 * check["exact"] + 1e-6
    assert check["same_kw"] < 1e-5
    assert json.loads((folder / "manifest.json").read_text())["options"]["vehicles"] == 16
    assert "family.csv" in {path.name for path in folder.iterdir()}


def test_the_same_seed_draws_the_same_weeks() -> None:
    one, two = ([draw_week(draw_cars(5, rng), rng), draw_prices(rng)] for rng in map(np.random.default_rng, (3, 3)))
    assert one[0].driving_kwh.tobytes() == two[0].driving_kwh.tobytes()
    assert one[1].tobytes() == two[1].tobytes()
    assert one[1].shape == (HOURS,)
    assert (one[0].charge_high_kw[one[0].driving_kwh > 0.0] == 0.0).all()


def test_units_are_never_nearly_the_cars(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model, "FAMILY_MAPS_H", (168,))
    monkeypatch.setattr(model, "FAMILY_FIT", FitOptions(kicks=0, most_steps=1))
    config = FleetConfig(vehicles=8, training_weeks=1, validation_weeks=1, test_weeks=1)
    training, _, _ = model.draw_weeks(config)
    made = model.fit_family(training, np.random.default_rng(0), config.vehicles)
    assert {model.recipe.units for model in made} == {1, 2}


def test_sizes_out_of_range_are_refused_all_at_once() -> None:
    arguments = ["reproduce", "fleet_aggregation", "--vehicles", "2", "--training-weeks", "0", "--test-weeks", "99"]
    ended = CliRunner().invoke(app, arguments)
    assert ended.exit_code != 0
    faults = str(ended.exception) if ended.exception else ""
    assert all(key in faults + ended.output for key in ("--vehicles", "--training-weeks", "--test-weeks"))
