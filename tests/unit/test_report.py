"""The report as a page: whole, alone, and honest about what is missing or went wrong."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from cosim import load, run
from cosim.experiments import scenario as scenarios
from cosim.experiments.compose import compose
from cosim.experiments.figures import write_figures
from cosim.experiments.figures.runs import Runs
from cosim.experiments.keep import RunResult
from cosim.experiments.manifest import make_manifest
from cosim.experiments.metric_table import metric_of
from cosim.experiments.report import assumptions, degradations, write_report
from cosim.experiments.results import Results
from cosim.measures import scoreboard, worst_moments

OUTSIDE = re.compile(r"""(?:src|href)\s*=\s*["']?\s*(?:https?:)?//|url\(|@import|<script""", re.IGNORECASE)
VOID = {"meta", "img", "br", "hr", "link", "input", "wbr"}


class Page(HTMLParser):
    """Checks that tags close in order, and keeps text and images."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []
        self.images: list[str] = []
        self.targets: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        self.ids |= {found["id"]} if "id" in found else set()
        if tag == "a":
            self.targets.append(found["href"])
        if tag == "img":
            self.images.append(found["src"])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def day():
    composition = compose(scenarios.read("two_bus_evening"), scenarios.find("two_bus_evening"))
    runs = {
        item.name: run(composition.feeder, composition.exogenous, composition.controller(item), label=item.name)
        for item in composition.scenario.runs
    }
    return composition, runs


def page(day, folder, runs=None, extra=(), manifest_changes=None, drawn=True):
    composition, whole = day
    runs = whole if runs is None else runs
    metrics = {label: scoreboard(trajectory) for label, trajectory in runs.items()}
    worst = {label: worst_moments(trajectory) for label, trajectory in runs.items()}
    shown = Runs(runs, metrics, composition.exogenous, worst)
    figures = write_figures(shown, folder / "figures") if drawn else []
    manifest = make_manifest(composition, runs, "opendss", composition.inputs_sha256, None, {}) | (
        manifest_changes or {}
    )
    told = replace(composition, warnings=(*composition.warnings, *extra))
    kept = {label: RunResult(trajectory, metrics[label], worst=worst[label]) for label, trajectory in runs.items()}
    file = write_report(Results(folder, told, "opendss", {}, kept), shown, manifest, figures, ())
    content = file.read_text(encoding="utf-8")
    parsed = Page()
    parsed.feed(content)
    assert parsed.open == []
    return content, parsed, figures


def test_the_page_is_whole_and_needs_nothing_else(day, tmp_path):
    content, parsed, figures = page(day, tmp_path)
    assert OUTSIDE.search(content) is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["figures", "report.html"]
    drawn = [figure for figure in figures if figure.path is not None]
    assert len(parsed.images) == len(drawn)
    assert all(source.startswith("data:image/png;base64,iVBOR") for source in parsed.images)
    assert {target.removeprefix("#") for target in parsed.targets} <= parsed.ids


def test_it_names_every_controller_assumption_and_reason(undrawn, day, tmp_path):
    composition, runs = day
    content, parsed, figures = page(day, tmp_path, extra=["the moon <is> full"])
    text = "".join(parsed.text)
    for label in runs:
        assert label in text
    for line in assumptions(composition, "opendss"):
        assert line in text
    assert "Controllers see each customer's mean power" in text
    assert "the moon <is> full" in text
    assert "<is>" not in content
    missing = [figure for figure in figures if figure.path is None]
    assert missing
    for figure in missing:
        assert figure.caption in text
    assert "what all homes pay" in text
    place = worst_moments(runs["none"])["line_peak_percent"]
    assert f'<span class="place">{place["element"]} {place["phase"]}, {place["time"][11:16]}</span>' in content
    assert '<td data-run="none" class="value' in content
    assert "import × tariff - export × 0.05 EUR/kWh" in text
    assert "inputs_sha256.feeder/Master.dss" in text


def test_degraded_steps_and_stopped_runs_are_in_sight(day, tmp_path):
    _, whole = day
    marked = np.zeros(whole["none"].steps, dtype=bool)
    marked[[3, 7, 9]] = True
    notes = ((3, "curves 0.12 kW apart"), (7, "curves 3.4 kW apart"), (9, "fallback: no plan"))
    runs = {**whole, "none": replace(whole["none"], degraded=marked, notes=notes, complete=False)}
    content, parsed, _ = page(day, tmp_path, runs, manifest_changes={"stopped": "none: gave up"}, drawn=False)
    text = "".join(parsed.text)
    assert 'class="alarm"' in content
    assert "Run none stopped at" in text
    assert "none: gave up" in text
    assert [(item.reason, item.steps, item.first_step) for item in degradations("none", runs["none"])] == [
        ("curves 0.12 kW apart", 2, 3),
        ("fallback: no plan", 1, 9),
    ]
    assert "curves 0.12 kW apart" in text
    assert "No step of any run is degraded" not in text


@pytest.mark.parametrize(("name", "good", "bad"), [("voltage_min_pu", 0.95, 0.85), ("voltage_max_pu", 1.05, 1.15)])
def test_a_limit_is_passed_in_the_bad_direction_only(name, good, bad):
    metric = metric_of(name)
    assert [metric.violated(value) for value in (good, bad, metric.limit, float("nan"))] == [False, True, False, False]


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ('"constant_power"', "Customers are constant-power loads;"),
        ('"file"', "as each load of the circuit's file says;"),
        ("{ p = [1, 0, 0], q = [1, 0, 0] }", "by shares of impedance, current and power;"),
    ],
)
def test_assumptions_say_how_demand_follows_the_voltage(tmp_path, model, said):
    path = tmp_path / "loads.toml"
    path.write_text(
        'name = "loads"\nfeeder = "two_bus"\nstart = 2026-01-15T06:00:00\nhorizon_h = 1\n[grid]\non_collapse = "shed"\n'
        f'[households]\nload_model = {model}\n[[runs]]\ncontroller = "none"\n'
    )
    told = assumptions(load(str(path)), "opendss")
    assert [said in line for line in told].count(True) == 1
    assert "Where a step has no power flow, as much of the consumption of each area is served as solves." in told
