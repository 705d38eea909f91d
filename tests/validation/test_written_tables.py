"""Every table that a run writes is read back and compared with what plain OpenDSS and textbook formulas give.

``OF_A_RUN`` and ``SHARED`` name each table with a function that returns what it must hold, column by column. A file or
a column that is written and not named there has no check, and fails.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cosim.experiments.manifest import make_manifest
from oracles import caps_tables, summary, tables
from oracles.street import Solved, Street, run_street, solve_again
from oracles.tables import LABELS

LAST_DIGIT = 2e-6  # tables of people are rounded to six digits
SOLVED = 2e-6  # two power flows, each to its own tolerance
SINGLE = 2e-5  # volts and amperes in single precision
CURVES = 0.0101  # kW to which local curves settle inside a step

OF_A_RUN: dict[str, tuple[Callable[[Street, str, Solved], tables.Columns], float]] = {
    "trajectories/{}/steps.parquet": (tables.steps_table, SOLVED),
    "trajectories/{}/customers.parquet": (tables.customers_table, CURVES),
    "trajectories/{}/nodes.parquet": (tables.nodes_table, SINGLE),
    "trajectories/{}/lines.parquet": (tables.lines_table, 0.6 / 1024.0),
    "trajectories/{}/decisions.parquet": (tables.decisions_table, 1e-9),
    "trajectories/{}/front.parquet": (tables.front_table, 0.0),
    "trajectories/{}/reference.parquet": (tables.reference_table, 0.0),
    "trajectories/{}/certificates.parquet": (tables.certificates_table, 1e-9),
    "unbalance/{}/buses.csv": (tables.buses_table, LAST_DIGIT),
    "unbalance/{}/lines.csv": (tables.branches_table, 1e-4),
    "unbalance/{}/causes.csv": (tables.causes_table, 1e-4),
}
SHARED: dict[str, Callable[..., tables.Columns]] = {
    "metrics.csv": summary.metrics_table,
    "areas.csv": summary.areas_table,
    "promise.csv": summary.promise_table,
}
CAPS: dict[str, tuple[Callable[[Street], tables.Columns], float]] = {
    "caps/bilevel_caps/caps.csv": (caps_tables.caps_table, 1e-6),
    "caps/bilevel_caps/responses.csv": (caps_tables.responses_table, 1e-6),
    "caps/bilevel_caps/deviation.csv": (caps_tables.deviation_table, 1e-6),
    "caps/bilevel_caps/export_caps.csv": (caps_tables.export_caps_table, 1e-6),
}
NO_TABLES = {
    ".cosim-files",
    "caps/bilevel_caps/proof.json",
    "manifest.json",
    "metrics.json",
    "timing.json",
    "report.html",
    "worst.json",
}
"""Checked below, or read by nobody but people."""
ONLY_OF_PARETO = {"front", "reference", "certificates"}


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Street:
    return run_street(tmp_path_factory.mktemp("street"))


@pytest.fixture(scope="module")
def solved(street: Street) -> Callable[[str], Solved]:
    """What plain OpenDSS gives for the powers that a run recorded."""

    @cache
    def of(label: str) -> Solved:
        net = (tables.by_home(street, label, key) for key in ("net_kw", "net_kvar"))
        return solve_again(street.day.feeder.master, *net)

    return of


def tables_of(label: str) -> list[str]:
    return [name for name in OF_A_RUN if label == "pareto" or name[16:].split(".")[0] not in ONLY_OF_PARETO]


def compare(written: pd.DataFrame, expected: tables.Columns, tolerance: float) -> None:
    """Hold a table against what it must hold: the same columns in the same order, and every value."""
    assert list(written.columns) == list(expected)
    wrong = {name: difference(written[name], expected[name]) for name in expected}
    assert {name: found for name, found in wrong.items() if not found <= tolerance} == {}


def difference(found: pd.Series, wanted: Any) -> float:
    """Largest difference, relative where values are large; of texts and clocks 0 or infinite."""
    values = np.broadcast_to(np.asarray(wanted), len(found)) if np.ndim(wanted) == 0 else np.asarray(wanted)
    if len(values) != len(found):
        return float("inf")
    if values.dtype.kind in "OUSM" or found.dtype.kind in "OUSM":
        alike = pd.Series(values).astype(str).to_numpy() == found.fillna("").astype(str).to_numpy()
        return 0.0 if alike.all() else float("inf")
    one, other = found.to_numpy(float), values.astype(float)
    undefined = np.isnan(one) & np.isnan(other)
    same = undefined | (one == other)  # infinite limits too
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(one - other) / np.maximum(np.abs(other), 1.0))
    return float(np.where(np.isnan(apart), np.inf, apart).max(initial=0.0))


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("name", OF_A_RUN)
def test_a_table_of_a_run(street: Street, solved: Callable[[str], Solved], name: str, label: str) -> None:
    if name not in tables_of(label):
        assert not (street.folder / name.format(label)).exists()
        return
    expected, tolerance = OF_A_RUN[name]
    compare(street.table(name.format(label)), expected(street, label, solved(label)), tolerance)


@pytest.mark.parametrize("name", SHARED)
def test_a_table_of_all_runs(street: Street, solved: Callable[[str], Solved], name: str) -> None:
    compare(street.table(name), SHARED[name](street, solved), 2e-5)


@pytest.mark.parametrize("name", CAPS)
def test_a_table_of_caps(street: Street, name: str) -> None:
    expected, tolerance = CAPS[name]
    compare(street.table(name), expected(street), tolerance)


def test_every_file_that_is_written_has_a_check(street: Street) -> None:
    written = {str(path.relative_to(street.folder)) for path in street.folder.rglob("*") if path.is_file()}
    checked = (
        {name.format(label) for label in LABELS for name in tables_of(label)} | set(SHARED) | set(CAPS) | NO_TABLES
    )
    assert written == checked


def test_metrics_are_the_same_in_both_files_and_none_is_lost(street: Street) -> None:
    told = json.loads((street.folder / "metrics.json").read_text(encoding="utf-8"))
    table = street.table("metrics.csv").set_index("controller")
    assert told["incomplete"] == []
    assert list(told["controllers"]) == list(table.index)
    for label, figures in told["controllers"].items():
        assert list(figures) == list(table.columns[:-1])
        values = [np.nan if value is None else value for value in figures.values()]
        np.testing.assert_array_equal(values, table.loc[label].iloc[:-1].to_numpy(float))
    timing = json.loads((street.folder / "timing.json").read_text(encoding="utf-8"))
    assert {label: all(value >= 0.0 for value in spent.values()) for label, spent in timing.items()} == dict.fromkeys(
        LABELS, True
    )


@pytest.mark.parametrize("label", LABELS)
def test_where_and_when_each_extreme_was(street: Street, solved: Callable[[str], Solved], label: str) -> None:
    told = json.loads((street.folder / "worst.json").read_text(encoding="utf-8"))["controllers"][label]
    metrics = json.loads((street.folder / "metrics.json").read_text(encoding="utf-8"))["controllers"][label]
    values = summary.extremes(solved(label))
    assert list(told) == list(values)
    for name, places in values.items():
        found = told[name]
        minutes = 10.0 if name == "vuf_max_percent" else tables.STEP_MIN
        step, rest = found["step"], {key: found[key] for key in ("customer", "bus", "element", "phase") if key in found}
        of_place = places[tuple(rest.values())]
        worst = min if name == "voltage_min_pu" else max
        assert found["area"] == "T1"
        assert found["value"] == pytest.approx(worst(worst(of_any) for of_any in places.values()), rel=2e-5), name
        assert found["value"] == pytest.approx(of_place[int(step * tables.STEP_MIN / minutes)], rel=2e-5), name
        assert found["value"] == pytest.approx(metrics[name], rel=1e-12)
        assert found["time"] == (tables.START + step * timedelta(minutes=tables.STEP_MIN)).isoformat()


def test_the_proof_of_the_caps_is_what_their_tables_say(street: Street) -> None:
    proof = json.loads((street.folder / "caps" / "bilevel_caps" / "proof.json").read_text(encoding="utf-8"))
    caps, answers = (street.table(f"caps/bilevel_caps/{name}.csv") for name in ("caps", "responses"))
    withheld = (
        ((caps["connection_kw"] - caps["cap_kw"]).clip(lower=0.0)[caps["plugged"] > 0]).sum() * caps_tables.SLOT_H
    )
    assert proof["withheld_kwh"] == pytest.approx(withheld, abs=1e-6)
    assert proof["withheld_bound_kwh"] <= withheld + 1e-9
    assert proof["unserved_kwh"] == pytest.approx(answers["unserved_kwh"].sum(), abs=1e-6)
    load = (caps["inflexible_kw"] + caps_tables.best_answer(caps)).groupby(caps["slot"]).sum()
    assert proof["planned_peak_kw"] == pytest.approx(load.max(), abs=1e-6)
    assert (proof["households"], proof["slots"], proof["status"]) == (5, 12, "optimal")
    assert proof["max_response_error_kw"] < 1e-6
    export = street.table("caps/bilevel_caps/export_caps.csv")
    assert proof["export"]["wanted_kwh"] == pytest.approx(export["wanted_kw"].sum() / 12.0, abs=1e-6)
    held_back = (export["wanted_kw"] - export["export_kw"]).sum() / 12.0
    assert proof["export"]["withheld_kwh"] == pytest.approx(held_back, abs=1e-6)


def test_the_manifest_says_what_was_read_and_who_did_not_comply(street: Street) -> None:
    manifest = json.loads((street.folder / "manifest.json").read_text(encoding="utf-8"))
    hashes = set(manifest["inputs_sha256"].values())
    for name in ("street.toml", "Master.dss", "feeder.toml", "own/cars.csv"):
        assert sha256((street.folder.parent / name).read_bytes()).hexdigest() in hashes, name
    assert (manifest["reproducible"], manifest["complete"], manifest["seed"]) == (True, True, 3)
    assert {
        label: (fact["steps"], fact["stubborn_homes"]) for label, fact in manifest["runs"].items()
    } == dict.fromkeys(LABELS, (tables.STEPS, 1))


@pytest.mark.parametrize("changed", [{"reproducible": False}, {"complete": False}])
def test_a_run_that_the_clock_or_an_error_changed_is_not_reproducible(street: Street, changed: dict[str, bool]) -> None:
    runs = street.results.trajectories
    assert make_manifest(street.day, runs, "opendss", {}, None, {})["reproducible"]
    one = replace(runs["droop"], **changed)
    assert not make_manifest(street.day, runs | {"droop": one}, "opendss", {}, None, {})["reproducible"]
