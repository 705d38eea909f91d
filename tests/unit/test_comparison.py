"""Comparisons of a study: pairing, weights and intervals against formulas by hand; what is written."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

from cosim.errors import InputError
from cosim.experiments.cli import app
from cosim.experiments.comparison.paired import compare, over_placements
from cosim.experiments.comparison.write import board, lines

DAYS = {"winter": ("2026-01-15", 90.0), "summer": ("2026-07-15", 275.0)}


def study(placements=6, controllers=("none", "even", "dimming"), seed=1):
    """Made up: placements differ far more than controllers do."""
    rng = np.random.default_rng(seed)
    rows = []
    for placement in range(placements):
        home = rng.normal(0.0, 30.0)
        for season, (date, weight) in DAYS.items():
            day = rng.normal(0.0, 5.0)
            for at, controller in enumerate(controllers):
                rows.append({
                    "feeder": "european_lv", "network": "as_built", "date": date, "season": season, "weight": weight,
                    "hash": f"{placement}{season}", "ev_share": 0.6,
                    "placement": placement, "controller": controller, "status": "ok", "reason": "",
                    "transformer_peak_percent": 150.0 + home + day - 12.0 * at + rng.normal(0.0, 1.0),
                    "voltage_min_pu": 0.95 + 0.01 * at, "cost_with_penalty_eur": 80.0 + home + at,
                    "overvoltage_min": 155.0 + day, "pv_curtailed_kwh": np.nan if at == 2 else 5.0 * at,
                })  # fmt: skip
    return pd.DataFrame(rows)


def test_means_differences_and_wins_are_those_by_hand():
    rows = study()
    found = compare(rows).of("transformer_peak_percent").set_index("controller")
    wide = rows.pivot_table(index=["placement", "season"], columns="controller", values="transformer_peak_percent")
    weight = np.array([DAYS[season][1] for season in wide.index.get_level_values("season")])
    total = sum(weight for _, weight in DAYS.values())
    of_placement = wide.mul(weight, axis=0).groupby("placement").sum() / total
    apart = of_placement["even"] - of_placement["none"]
    low, high = stats.ttest_1samp(apart, 0.0).confidence_interval(0.95)
    assert found.loc["even", "mean"] == pytest.approx(of_placement["even"].mean())
    assert found.loc["even", ["difference", "difference_low", "difference_high"]].tolist() == pytest.approx([
        apart.mean(), low, high,
    ])  # fmt: skip
    assert found.loc["even", "wins_percent"] == pytest.approx(100.0 * (wide["even"] < wide["none"]).mean())
    assert found.loc["even", "worst"] == wide["even"].max()
    assert found.loc["none", "placements"] == 6
    # pairing is what finds 12 points among placements that differ by 30
    assert found.loc["even", "high"] - found.loc["even", "low"] > 5.0 * (high - low)
    lowest = compare(rows).of("voltage_min_pu").set_index("controller")
    assert lowest.loc["even", ["wins_percent", "ties_percent"]].tolist() == [100.0, 0.0]
    assert lowest.loc["even", "worst"] == pytest.approx(0.96)


def test_a_world_that_one_controller_did_not_end_counts_for_none():
    rows = study()
    lost = (rows["placement"] == 0) & (rows["controller"] == "dimming") & (rows["season"] == "winter")
    rows.loc[lost, ["status", "transformer_peak_percent"]] = ["collapsed", np.nan]
    found = compare(rows)
    assert (found.compared, found.left_out) == (11, 1)
    assert "dimming: 1 collapsed" in " ".join(lines(found))
    assert found.worlds["season", "winter"] == (5, 6)
    assert "season winter: 5 of 6" in " ".join(lines(found))
    without = rows[~((rows["placement"] == 0) & (rows["season"] == "winter"))]
    won = ["wins_percent", "ties_percent"]
    pd.testing.assert_frame_equal(found.table.drop(columns=won), compare(without).table.drop(columns=won))
    won_percent = found.told("transformer_peak_percent")
    assert won_percent["even"]["wins_percent"] == 100.0  # also where dimming collapsed
    of_days = sum(
        weight for _, weight in DAYS.values()
    )  # a collapse wins nothing, and costs as many as its day stands for
    assert won_percent["dimming"]["wins_percent"] == pytest.approx(100.0 * (1.0 - DAYS["winter"][1] / (6 * of_days)))
    rows["status"] = np.where(rows["controller"] == "dimming", "failed", rows["status"])
    with pytest.raises(InputError, match="no world was ended by every controller"):
        compare(rows)


def test_a_measure_that_a_controller_does_not_have_is_compared_among_the_others():
    found = compare(study()).of("pv_curtailed_kwh").set_index("controller")
    assert found.index.tolist() == ["none", "even"]
    assert found.loc["even", "difference"] == pytest.approx(5.0)
    assert found.loc["even", "wins_percent"] == 0.0


def test_what_belongs_to_a_run_is_no_factor():
    """A controller with a forecast of its own is on the same worlds as the others."""
    rows = study()
    rows["forecast"] = np.where(rows["controller"] == "even", "persistence", "oracle")
    found = compare(rows)
    assert (found.compared, found.factors) == (12, ["season"])


def test_one_controller_alone_has_means_and_nothing_to_compare():
    found = compare(study(controllers=("none",)))
    assert board(found, ["transformer_peak_percent"])["none"].str.contains("±").all()
    assert found.table["difference"].isna().all()


def test_one_placement_has_no_interval_and_no_mark():
    found = compare(study(placements=1))
    assert found.table[["low", "difference_low"]].isna().all(axis=None)
    assert "no spread" in " ".join(lines(found))
    assert not board(found, ["transformer_peak_percent"]).map(lambda cell: cell.endswith(("*", "!"))).any(axis=None)


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Days of a placement are alike: if they counted as independent, intervals would be too short."""
    rng = np.random.default_rng(7)
    placement, weight, covered = np.repeat(np.arange(12), 4), np.tile([1.0, 2.0, 3.0, 1.0], 12), 0
    for _ in range(2000):
        values = 3.0 + np.repeat(rng.normal(0.0, 2.0, 12), 4) + rng.normal(0.0, 1.0, 48)
        _, low, high, count = over_placements(values, weight, placement)
        covered += low <= 3.0 <= high
    assert count == 12
    assert covered / 2000 == pytest.approx(0.95, abs=0.015)


def test_the_command_writes_a_comparison_beside_the_study(tmp_path):
    (tmp_path / "results.parquet").mkdir()
    study().to_parquet(tmp_path / "results.parquet" / "part-000001-000001.parquet")
    ended = CliRunner().invoke(
        app, ["compare", str(tmp_path), "--measures", "transformer_peak_percent,cost_with_penalty_eur"]
    )
    assert ended.exit_code == 0, ended.output
    assert "12 worlds, 6 placements" in ended.output
    made = tmp_path / "comparison"
    kept = pd.read_csv(made / "comparison.csv")
    assert set(kept["factor"]) == {"all", "season"}
    assert list(dict.fromkeys(kept.loc[kept["factor"] == "season", "level"])) == ["winter", "summer"]
    page = (made / "comparison.html").read_text()
    assert page.count("data:image/png") == 3  # differences, bills against voltages, seasons
    assert "http" not in page.replace("http-equiv", "")
    assert "| 150" in (made / "comparison.md").read_text() or "±" in (made / "comparison.md").read_text()
    book = pd.read_excel(made / "comparison.xlsx", sheet_name="comparison") if _has_openpyxl() else kept
    assert len(book) == len(kept)
    for asked, word in (("--baseline", "no controller of the study"), ("--measures", "no measure of the study")):
        refused = CliRunner().invoke(app, ["compare", str(tmp_path), asked, "nobody"])
        assert word in str(refused.exception)


def _has_openpyxl():
    try:
        import openpyxl  # noqa: F401
    except ImportError:
        return False
    return True
