"""Promise against delivery: measured from real runs of a small feeder, paired, written, and in the report."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cosim.experiments import scenario as scenarios
from cosim.experiments.compose import compose
from cosim.experiments.execute import Results, execute
from cosim.experiments.promise_table import ABOVE_KVA, PromiseRow, excess_kva, promise_rows, releases, write_promises

RUNS = [
    {"controller": "none"},
    *(
        {
            "controller": "bilevel_caps",
            "label": f"{coordination}_{share:.0%}",
            "options": {"coordination": coordination},
            "noncompliant_share": share,
        }
        for coordination in ("anticipated", "sum_of_caps")
        for share in (0.0, 1.0)
    ),
]


@pytest.fixture(scope="module")
def executed(tmp_path_factory, undrawn_module) -> Results:
    path = scenarios.find("two_bus_evening")
    data = scenarios.read("two_bus_evening").model_dump()
    for run in RUNS:
        run["label"] = run.get("label", "none").replace("%", "")
    composition = compose(scenarios.parse({**data, "runs": RUNS, "horizon_h": 12.0}, path), path)
    results = execute(composition, tmp_path_factory.mktemp("promise"))
    assert results.stopped is None
    return results


@pytest.fixture(scope="module")
def rows(executed) -> dict[str, PromiseRow]:
    manifest = json.loads((executed.folder / "manifest.json").read_text())
    return {row.label: row for row in promise_rows(executed.trajectories, executed.metrics, manifest["runs"])}


def test_a_row_says_what_was_promised_and_what_was_delivered(executed, rows):
    assert not rows["none"].promised
    assert np.isnan(rows["none"].excess_max_kva)
    for label, row in rows.items():
        run, metrics = executed.trajectories[label], executed.metrics[label]
        assert row.withheld_kwh == metrics["withheld_kwh"]
        assert row.delivered_peak_kva == metrics["transformer_peak_kva"]
        over = [step for step in range(run.steps) if run.transformer_percent[step].max() > 100]
        assert row.overload_min >= 5 * len(over) == metrics["transformer_overload_min"]
    defied, run = rows["anticipated_100"], executed.trajectories["anticipated_100"]
    above = [
        abs(total) - planned
        for total, planned in zip(run.transformer_kva.sum(axis=1), run.planned_kva, strict=True)
        if total.real > 0
    ]
    assert defied.excess_max_kva == pytest.approx(max(above))
    assert defied.above_promise_min == 5 * sum(one > ABOVE_KVA for one in above)
    assert defied.excess_max_kva > 1.0 > rows["anticipated_0"].excess_max_kva
    assert defied.promised_peak_kva == pytest.approx(rows["anticipated_0"].promised_peak_kva, rel=0.05)
    assert defied.delivered_peak_kva == pytest.approx(rows["none"].delivered_peak_kva)  # all ignore their caps


def test_what_roofs_export_is_no_excess(executed):
    run = executed.trajectories["anticipated_0"]
    exporting = replace(run, node_v=run.node_v, planned_kva=np.zeros(run.steps))
    exporting.__dict__["transformer_kva"] = -np.abs(run.transformer_kva)
    assert np.isnan(excess_kva(exporting)).all()


def test_pairs_differ_in_coordination_only(rows):
    pairs = releases(list(rows.values()))
    assert [(pair.anticipated.label, pair.safe.label) for pair in pairs] == [
        ("anticipated_0", "sum_of_caps_0"),
        ("anticipated_100", "sum_of_caps_100"),
    ]
    obedient, defied = pairs
    assert obedient.released_kwh == rows["sum_of_caps_0"].withheld_kwh - rows["anticipated_0"].withheld_kwh
    assert obedient.overload_by_behaviour_min == 0.0
    assert defied.as_modelled is rows["anticipated_0"]
    assert defied.overload_by_behaviour_min == rows["anticipated_100"].overload_min - rows["anticipated_0"].overload_min
    other = [replace(row, forecast="noisy") if row.coordination == "sum_of_caps" else row for row in rows.values()]
    assert releases(other) == []
    noisier = [
        replace(row, options="energy_error_percent = 5.0") for row in rows.values() if row.noncompliant_share == 0
    ]
    assert releases([*noisier, rows["sum_of_caps_100"], rows["anticipated_100"]])[1].as_modelled is None


def test_files_and_report_tell_every_run_and_its_world(executed, rows, tmp_path):
    table = pd.read_csv(executed.folder / "promise.csv", index_col="label")
    assert list(table.index) == list(rows)
    assert table.loc["anticipated_100", "excess_max_kva"] == pytest.approx(rows["anticipated_100"].excess_max_kva)
    manifest = json.loads((executed.folder / "manifest.json").read_text())
    assert [fact["stubborn_homes"] for fact in manifest["runs"].values()] == [0, 0, 3, 0, 3]
    page = (executed.folder / "report.html").read_text(encoding="utf-8")
    for text in (
        'id="promises"', "What anticipation releases", 'id="behaviour"',
        "3 of 3 homes (100 %) in anticipated_100, sum_of_caps_100",
    ):  # fmt: skip
        assert text in page
    write_promises(tmp_path / "promise.csv", [rows["none"]])
    assert not (tmp_path / "promise.csv").exists()  # nobody promised anything


def test_caps_of_a_run_come_with_the_deviation_test(executed):
    for label, safe in (("anticipated_0", False), ("sum_of_caps_0", True)):
        folder = executed.folder / "caps" / label
        table = pd.read_csv(folder / "deviation.csv", index_col="behaviour")
        proof = json.loads((folder / "proof.json").read_text())
        assert [row["behaviour"] for row in proof["deviation"]] == list(table.index)
        assert set(table["plan"]) == {label}
        inside = table[table["respects_caps"]]
        assert (inside["max_excess_kw"].max() < 1e-3) == safe
