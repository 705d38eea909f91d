"""``cosim reproduce station_pricing``: its folder, its options, what it refuses; scaling, certificate and loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from cosim.controllers.pricing import FORMULATIONS, Leader, scip_missing
from cosim.errors import InputError
from cosim.experiments.studies.station_pricing import benchmarks, config, day
from cosim.experiments.studies.station_pricing.config import PricingConfig
from cosim.experiments.studies.station_pricing.data import REFERENCE, read_data, read_instance, stream
from cosim.experiments.studies.station_pricing.model import prices_text
from cosim.experiments.studies.station_pricing.study import StationPricing

TOML = REFERENCE.read_text(encoding="utf-8")


@pytest.fixture
def cosim(cosim: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    return partial(cosim, "reproduce", "station_pricing")


def test_the_study_of_the_reference_instance(cosim, tmp_path: Path) -> None:
    code, out, _ = cosim("--out", str(tmp_path))
    assert code == 0
    assert "42.50" in out
    cases = json.loads((tmp_path / "metrics.json").read_text())["cases"]
    assert next(iter(cases)) == "best"
    assert cases["best"]["best_optimistic"] == cases["best"]["weighted_pessimistic"] == pytest.approx(42.5)
    assert cases["best"]["prices"] in ([0.3, 0.5], [0.5, 0.3])
    missed = cases["0.40,0.30"]
    assert [missed[key] for key in ("best_optimistic", "best_pessimistic", "weighted_optimistic")] == pytest.approx(
        [40.0, 38.5, 38.5]
    )
    assert missed["served"] == 4
    assert missed["prices"] == [0.4, 0.3]
    assert cases["0.30,0.40"]["gap_eur"] == pytest.approx(3.0)
    assert cases["evolutionary"]["missing_weighted_optimistic_eur"] == pytest.approx(0.0, abs=1e-6)
    assert sum("," in name for name in cases) == 9
    for name in ("report.md", "manifest.json", "timing.json", "figures/incomes.png", "figures/efficient.png"):
        assert (tmp_path / name).stat().st_size > 50, name


def test_the_same_seed_gives_the_same_numbers(tmp_path: Path) -> None:
    for name in ("one", "two"):
        config = PricingConfig(generate="4,2", seed=4, generations=2, population=4)
        StationPricing().conduct(config, tmp_path / name)
    assert (tmp_path / "one/metrics.json").read_bytes() == (tmp_path / "two/metrics.json").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "case", "key", "value"),
    [
        (("--price-order",), "best", "best_optimistic", 42.5),
        (("--selfish",), "0.30,0.40", "better_moves", 0),
        (("--lost-sales", "0.2"), "0.30,0.30", "lost_kwh", 0.0),
    ],
)
def test_options_change_the_drivers_or_the_operator(cosim, tmp_path, arguments, case, key, value) -> None:
    code, _, err = cosim("--out", str(tmp_path), "--population", "4", "--generations", "2", *arguments)
    assert code == 0, err
    cases = json.loads((tmp_path / "metrics.json").read_text())["cases"]
    assert cases[case][key] == pytest.approx(value)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("0.30, 0.40, 0.50", "0.30, -0.40, 0.50", ["budgets[2]", "-0.4"]),
        ("[0.3, 0.2],", "[0.3],", ["travel_h", "ragged"]),
        ("[80, 80]", "[8, 8]", ["capacity_kwh", "cannot serve", "0.40 EUR/kWh"]),
        ("[80, 80]", "[80, nan]", ["capacity_kwh[2]", "finite"]),
        ("power_kw =", "powr_kw =", ["powr_kw", "did you mean 'power_kw'", "is missing"]),
        ("[80, 80]", "[80, 80", ["is not TOML"]),
    ],
)
def test_a_bad_instance_is_named_and_ends_with_2(cosim, tmp_path, old, new, words) -> None:
    (tmp_path / "own.toml").write_text(TOML.replace(old, new, 1), encoding="utf-8")
    code, _, err = cosim("--instance", str(tmp_path / "own.toml"), "--out", str(tmp_path / "out"))
    assert code == 2
    assert "own.toml" in err
    for word in words:
        assert word in err, err
    assert not (tmp_path / "out").exists()


def test_an_unservable_instance_runs_with_lost_sales(cosim, tmp_path) -> None:
    (tmp_path / "own.toml").write_text(TOML.replace("[80, 80]", "[8, 20]"), encoding="utf-8")
    asked = ("--instance", str(tmp_path / "own.toml"), "--out", str(tmp_path / "out"), "--lost-sales", "0.1")
    code, _, err = cosim(*asked, "--generations", "3")
    assert code == 0, err
    best = json.loads((tmp_path / "out/metrics.json").read_text())["cases"]["best"]
    assert best["best_optimistic"] == pytest.approx(20 * 0.3 - 0.1 * 95)  # only the smallest need fits


def test_needs_that_fit_nowhere_are_refused_where_that_is_proven(cosim, tmp_path) -> None:
    """60 kWh fit into 70 in all, and the largest need into one station, but not two needs of 30 into 50 and 20."""
    (tmp_path / "own.toml").write_text(
        "demands_kwh = [30, 30]\npower_kw = [22, 50]\nbeta_h = [0.05, 0.05]\nbudgets = [0.4, 0.4]\n"
        "travel_h = [[0.1, 0.2], [0.3, 0.1]]\ncapacity_kwh = [50, 20]\n", encoding="utf-8",
    )  # fmt: skip
    asked = ("--instance", str(tmp_path / "own.toml"), "--out", str(tmp_path / "out"))
    code, _, err = cosim(*asked)
    assert code == 2
    for word in ("capacity_kwh", "50, 20 kWh", "proven", "lost sales"):
        assert word in err, err
    assert not (tmp_path / "out").exists()
    code, _, err = cosim(*asked, "--gap", "0.01", "--generations", "1", "--population", "4")  # proves nothing
    assert code == 0
    assert "no price vector that can be served was met" in err


def test_prices_that_leave_no_room_are_said(cosim, tmp_path) -> None:
    (tmp_path / "own.toml").write_text(TOML.replace("[80, 80]", "[50, 50]"), encoding="utf-8")
    code, _, err = cosim("--instance", str(tmp_path / "own.toml"), "--out", str(tmp_path / "out"))
    assert code == 0
    assert "where the lowest price is 0.30 EUR/kWh (115 kWh" in err


def test_wrong_options_are_named_all_at_once(cosim, tmp_path) -> None:
    wrong = {"--formulation": "magic", "--seed": "-1", "--lost-sales": "-2", "--periods": "0", "--population": "1",
             "--generations": "0", "--gap": "2", "--certify": "-1", "--stations": "1",
             "--generate": "many"}  # fmt: skip
    code, _, err = cosim("--out", str(tmp_path / "out"), *(part for pair in wrong.items() for part in pair))
    assert code == 2
    for option in wrong:
        assert f"{option}:" in err, option
    assert not (tmp_path / "out").exists()
    assert set(config.FORMULATIONS) == set(FORMULATIONS)  # written again where no solver is loaded


@pytest.mark.skipif(not scip_missing(), reason="SCIP is installed")
def test_the_nonlinear_form_says_what_it_needs(cosim, tmp_path) -> None:
    code, _, err = cosim("--formulation", "nonlinear", "--out", str(tmp_path))
    assert code == 2
    assert "lv-feeder-cosim[scip]" in err


def test_an_instance_too_large_to_prove_is_searched(tmp_path) -> None:
    config = PricingConfig(generate="26,4", gap=0.05, generations=1, population=4)
    cases = StationPricing().conduct(config, tmp_path).cases
    assert "best" not in cases
    assert cases["evolutionary"]["lower_level_gap"] <= 0.05
    assert not cases["evolutionary"]["proven"]
    assert "too many price vectors" in (tmp_path / "report.md").read_text(encoding="utf-8")


def test_scaling_measures_every_way_and_answers(monkeypatch) -> None:
    monkeypatch.setattr(benchmarks, "USERS", (4, 6))
    monkeypatch.setattr(benchmarks, "STATIONS", (2,))
    monkeypatch.setattr(benchmarks, "AT_USERS", 5)
    rows = benchmarks.measure(stream(1, "scaling"), draws=1)
    assert {row["formulation"] for row in rows} >= {"cuts", "products", "products_lean"}
    assert all(row["unproven"] == 0 and row["solves"] == 2 for row in rows)
    sizes = {(row["formulation"], row["users"]): row["columns"] for row in rows}
    assert sizes["products", 6] > sizes["cuts", 6]
    assert "cuts" in " ".join(benchmarks.answer(rows))
    without = benchmarks.answer([row for row in rows if row["solver"] == "highs"])
    assert "not answered" in without[0]
    assert "The linear forms alone" in without[1]


def test_the_certificate_compares_with_the_proven_optimum(monkeypatch) -> None:
    monkeypatch.setattr(benchmarks, "CERTIFIED", ((5, 2), (4, 3)))
    case = benchmarks.summary(benchmarks.certify(2, seed=3))
    assert case["instances"] == 2
    assert 0.0 <= case["share_optimal"] <= min(case["share_optimal_weighted_optimistic"], 1.0)
    assert case["mean_gap_percent"] >= 0.0


def test_drivers_load_the_feeder_where_they_charge(tmp_path) -> None:
    # two_bus has one bus behind its cable: a station at each end
    config = PricingConfig(feeder="two_bus", stations="1,2")
    data = read_data(config)
    chosen = {"optimistic": np.array([0.3, 0.4]), "pessimistic": np.array([0.5, 0.3])}
    cases, lines, warnings = day.charge(config, data, Leader(data.instance, data.rules), chosen)
    assert len(lines) == len(cases) == 9
    assert not warnings
    assert {case["price_vector"] for case in cases.values()} == {"optimistic", "pessimistic", "flat"}
    free = cases["loop_optimistic_none"]
    assert free["drivers"] == 4
    assert sum(free["drivers_by_station"]) == 4
    assert free["ev_delivered_kwh"] == pytest.approx(115.0, abs=0.1)
    assert free["ev_unserved_kwh"] == pytest.approx(0.0, abs=0.1)
    assert cases["loop_optimistic_equal_share"]["transformer_peak_percent"] < free["transformer_peak_percent"]
    assert free["prices"].tolist() == [0.3, 0.4]
    with pytest.raises(InputError, match="--stations"):
        day.make_site("two_bus", "1", np.array([22.0, 50.0]), 2)


def test_sessions_are_what_drivers_paid_for() -> None:
    data = read_data(PricingConfig(feeder="two_bus", stations="1,2", periods=2))
    leader = Leader(data.instance, data.rules)
    assert leader.count == 3**4  # a price for each station in each period
    answer = leader.answer("optimistic", np.full(4, 0.3))
    assert answer is not None
    site = day.make_site("two_bus", "1,2", data.instance.power_kw[:2], 4)
    cars = day.sessions(data.instance, answer, site, np.full(4, 300.0))
    assert sorted(cars.energy_need_kwh) == [20, 25, 30, 40]
    assert len(set(cars.customer.tolist())) == 4  # a plug for each
    assert (cars.departure_min - cars.arrival_min > 60.0 * cars.energy_need_kwh / cars.charger_kw).all()
    late = answer.station // 2  # period
    assert (np.sort(cars.arrival_min) >= 300.0 + 180.0 * np.sort(late)).all()


def test_names_of_price_vectors_do_not_collide() -> None:
    assert prices_text(np.array([0.3, 0.455])) == "0.30,0.455"


def test_the_shipped_instance_is_readable() -> None:
    instance, more = read_instance(REFERENCE)
    assert instance.users == 4
    assert more == {}
