"""Every figure on real runs of a small feeder, and on what a feeder or a run may lack."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from cosim import run
from cosim.contract import AS_61000, ESQCR, Decision, EvSessions, Setpoints
from cosim.errors import PowerFlowError, RunStoppedError
from cosim.experiments import scenario as scenarios
from cosim.experiments.compose import compose
from cosim.experiments.figures import (
    devices,
    feeder_map,
    front,
    homes,
    loading,
    promise,
    style,
    substation,
    unbalance,
    voltage,
    write_figures,
)
from cosim.experiments.figures.charging import binding_homes, homes_with_cars
from cosim.experiments.figures.runs import NothingToDrawError, Runs
from cosim.experiments.figures.summary import paragraph
from cosim.experiments.figures.voltage import extreme_moment
from cosim.experiments.metric_table import ABSENT
from cosim.experiments.promise_table import promise_rows
from cosim.experiments.report import rows
from cosim.experiments.words import clock_text, minutes
from cosim.measures import scoreboard, worst_moments
from cosim.measures.derived import home_bills_eur

NAMES = {
    "transformer_loading", "cable_loading", "substation", "devices", "voltage_band", "voltage_distribution",
    "voltage_profile", "unbalance", "charging", "caps", "photovoltaics", "homes", "promise", "behaviour",
    "pareto_front", "feeder_map", "cable_map", "diversity",
}  # fmt: skip
PNG = b"\x89PNG\r\n\x1a\n"


class Planner:
    """Caps every home at what is left of 5 kW, promises a power, and shows a front of three points."""

    every_step = False

    def __init__(self, customers: int) -> None:
        self.free = np.full(customers, np.inf)

    def plan(self, forecast):
        self.expected_kw = forecast.expected.demand_kw.sum(axis=1)

    def decide(self, observation):
        return Setpoints(
            np.full_like(self.free, 5.0), self.free, np.full_like(self.free, 1.0),
            planned_kva=float(self.expected_kw[observation.step]),
            decision=Decision("optimal", 1.0, 1.0, 0.0),
        )  # fmt: skip

    def artifacts(self):
        front = {"point": [0, 1, 2], "chosen": [False, True, False], "unbalance_current": [1, 2, 3], "x": [3, 2, 1]}
        return {"front": {"step": [0, 0, 0], **front}}


class Failing(Planner):
    """Gives up after an hour, or when told to."""

    def __init__(self, customers: int, after_min: float = 60.0) -> None:
        super().__init__(customers)
        self.after_min = after_min

    def decide(self, observation):
        if observation.minute >= self.after_min:
            raise PowerFlowError("no solution")
        return super().decide(observation)


def composed(**updates):
    path = scenarios.find("two_bus_evening")
    data = scenarios.read("two_bus_evening").model_dump()
    data["runs"] = [{"controller": "none"}, {"controller": "equal_share"}]
    return compose(scenarios.parse({**data, **updates}, path), path)


def trajectories(day, *, planner=True, failing=False):
    found = {}
    makers = {item.name: day.controller(item) for item in day.scenario.runs}
    makers |= {"planner": Planner(3)} if planner else {}
    makers |= {"failing": Failing(3)} if failing else {}
    for label, controller in makers.items():
        try:
            found[label] = run(day.feeder, day.exogenous, controller, label=label)
        except RunStoppedError as stop:
            found[label] = stop.trajectory
    return found


def of_run(noncompliant_share):
    """Facts of a run as the manifest has them."""
    return {
        "controller": "none",
        "options": {},
        "forecast": {"kind": "oracle"},
        "noncompliant_share": noncompliant_share,
    }


@pytest.fixture(scope="module")
def sunny():
    """Noon to evening with cars and roofs, one run stopped early."""
    day = composed(start=datetime(2026, 5, 15, 12), horizon_h=14.0, ev={"share": 1.0}, pv={"share": 1.0, "kwp": 4.0})
    return day, trajectories(day, failing=True)


def boards(runs):
    return {label: scoreboard(trajectory) for label, trajectory in runs.items()}


def shown(runs, metrics=None):
    worst = {label: worst_moments(trajectory) for label, trajectory in runs.items()}
    return Runs(runs, metrics or boards(runs), next(iter(runs.values())).exogenous, worst)


def test_all_figures_are_drawn(sunny, tmp_path):
    _, runs = sunny
    facts = {label: of_run(share) for label, share in zip(runs, (0.0, 0.0, 0.0, 0.5), strict=True)}
    promises = promise_rows(runs, boards(runs), facts)
    files = write_figures(shown(runs), tmp_path, promises=promises)
    assert {file.name for file in files} == NAMES
    assert [file.name for file in files if file.path is None] == []
    for file in files:
        content = file.path.read_bytes()
        assert content.startswith(PNG)
        assert len(content) > 5_000
        assert file.title
        assert file.caption.endswith(".")
    assert {path.name for path in tmp_path.iterdir()} == {f"{name}.png" for name in NAMES}


def test_without_cars_and_roofs_the_reason_is_given_and_an_old_file_goes(undrawn, tmp_path):
    day = composed(ev={"share": 0.0}, pv={"share": 0.0}, horizon_h=3.0)
    runs = trajectories(day, planner=False)
    (tmp_path / "charging.png").write_bytes(b"of another day")
    files = {file.name: file for file in write_figures(shown(runs), tmp_path)}
    missing = {name: file.caption for name, file in files.items() if file.path is None}
    assert set(missing) == {"charging", "caps", "photovoltaics", "promise", "behaviour", "pareto_front"}
    assert missing["charging"] == "there is no car on this feeder."
    assert not (tmp_path / "charging.png").exists()


def test_a_bare_feeder_has_no_map_no_profile_and_no_limit(undrawn, sunny, tmp_path):
    day, _ = sunny
    bare = replace(
        day.feeder, transformer=None, transformer_kva=float("nan"), head_line=None, monitored=(), coordinates={},
        distance_m={},
    )  # fmt: skip
    only = {"planner": run(bare, day.exogenous.first(240), Planner(3), label="planner")}
    files = {file.name: file for file in write_figures(shown(only), tmp_path)}
    assert {name for name, file in files.items() if file.path is None} == {
        "transformer_loading", "substation", "voltage_profile", "promise", "behaviour", "feeder_map", "cable_map"
    }  # fmt: skip
    assert files["feeder_map"].caption == "the feeder gives no coordinates."


def test_a_transformer_without_rating_shows_amperes(undrawn, sunny, tmp_path):
    _, runs = sunny
    feeder = runs["none"].feeder
    unrated = [replace(branch, rating_a=float("nan")) for branch in feeder.network.branches]
    network = replace(feeder.network, branches=tuple(unrated))
    place = replace(feeder, transformer_kva=float("nan"), network=network, limits=())
    single = {"none": replace(runs["none"], feeder=place)}
    files = {file.name: file for file in write_figures(shown(single), tmp_path)}
    assert "no rating" in files["transformer_loading"].title


def test_scoreboard_marks_best_and_violated_but_never_a_run_that_stopped(sunny):
    _, runs = sunny
    metrics = boards(runs)
    metrics["failing"]["cost_with_penalty_eur"] = -100.0
    metrics["planner"]["cost_with_penalty_eur"] = -50.0
    metrics["none"]["voltage_max_pu"] = 1.2
    found = {row.name: row for _, group in rows(shown(runs, metrics)) for row in group}
    column = {label: number for number, label in enumerate(runs)}
    cost = found["cost_with_penalty_eur"]
    assert [cell.best for cell, _ in cost.cells] == [label == "planner" for label in runs]
    assert cost.metric.direction[1] == "lower is better"
    assert found["voltage_max_pu"].cells[column["none"]][0].violated
    assert not found["voltage_max_pu"].cells[column["planner"]][0].violated
    cell, why = found["setpoint_error_max_kw"].cells[column["none"]]
    assert (cell.text, why) == (ABSENT, "sets no import cap")
    assert not any(cell.best for cell, _ in found["import_kwh"].cells)


def test_unknown_measures_are_shown_without_judgement(sunny):
    _, runs = sunny
    groups = dict(rows(shown(runs, {label: {"something_new": float(k)} for k, label in enumerate(runs)})))
    assert [cell.text for cell, _ in groups["Others"][0].cells] == ["0.0", "1.0", "2.0", "3.0"]
    assert not any(cell.best for cell, _ in groups["Others"][0].cells)


def test_summary_names_troubles_cures_and_stopped_runs(sunny):
    _, runs = sunny
    metrics = boards(runs)
    metrics["none"].update(transformer_peak_percent=150.0, transformer_overload_min=45.0, overvoltage_min=130.0)
    metrics["none"]["undervoltage_min"] = 150.0
    metrics["equal_share"].update(transformer_overload_min=0.0, overvoltage_min=130.0)
    metrics["planner"].update(transformer_overload_min=20.0, overvoltage_min=60.0)
    text = " ".join(paragraph(shown(runs, metrics)))
    assert "150 % of its rating, above its rating for 45 min" in text
    assert "for 2 h 10 min, some below their lower limit for 2 h 30 min" in text
    assert ", some below 207 V in 1 of " in voltage.draw_band(shown(runs, metrics)).title
    assert "Overload of the transformer is gone under equal_share; left under others: planner 20 min." in text
    assert "Voltage above its limit is shortest under planner: 60 min instead of 2 h 10 min." in text
    assert "Stopped early: failing at 13:00" in text


def test_which_homes_moments_and_orders_are_chosen(sunny):
    _, runs = sunny
    planner = runs["planner"]
    assert planner.voltage_v[extreme_moment(planner, highest=True)] == planner.voltage_v.max()
    assert planner.voltage_v[extreme_moment(planner, highest=False)] == planner.voltage_v.min()
    assert binding_homes(runs["none"]).size == 0


def test_a_line_that_binds_is_named_where_the_transformer_is_shown(sunny):
    _, runs = sunny
    metrics = boards(runs)
    metrics["none"].update(transformer_peak_percent=90.0, line_peak_percent=120.0, line_overload_min=15.0)
    line = worst_moments(runs["none"])["line_peak_percent"]["element"]
    assert f"line {line} binds first: 120 %" in loading.draw(shown(runs, metrics)).title
    assert f"line {line} binds at 120 %, above its rating for 15 min" in " ".join(paragraph(shown(runs, metrics)))
    metrics["none"]["transformer_peak_percent"] = 130.0
    assert "binds" not in loading.draw(shown(runs, metrics)).title


def test_powers_of_devices_sum_to_what_the_meters_see(sunny):
    _, runs = sunny
    none = runs["none"]
    assert set(devices.powers_kw(none)) == {"household", "cars", "sun"}
    assert sum(devices.powers_kw(none).values()) == pytest.approx(none.net_kw.sum(axis=1), abs=1e-9)
    battery_kw = np.full_like(none.net_kw, -0.5)
    channels = {"battery_kw": battery_kw, "battery_soc_kwh": battery_kw}
    with_battery = replace(none, exogenous=replace(none.exogenous, devices={"battery": {}}), channels=channels)
    found = devices.powers_kw(with_battery)
    assert found["battery"] == pytest.approx(-1.5)
    assert set(found) == {"household", "cars", "sun", "battery"}
    assert "battery" in {
        text.get_text() for text in devices.draw(shown({"none": with_battery})).figure.legends[0].texts
    }


def test_bills_distributions_and_kept_promises(sunny):
    _, runs = sunny
    board = boards(runs)
    assert home_bills_eur(runs["planner"]).sum() == pytest.approx(board["planner"]["cost_eur"])
    assert homes.cut_percent(runs["planner"]).max() == pytest.approx(board["planner"]["pv_curtailed_max_home_percent"])
    windows = voltage.windows_v(runs["none"])
    assert windows.shape == (runs["none"].steps // 2, runs["none"].terminal_v.shape[1])
    assert np.all(windows <= runs["none"].terminal_v.max(axis=0) + 1e-9)
    only = {"planner": replace(runs["planner"], planned_kva=np.abs(substation.power_kva(runs["planner"])))}
    with pytest.raises(NothingToDrawError, match=r"every promise is kept to 0\.0 kVA"):
        promise.draw(shown(only))


def test_fronts_are_shown_in_amperes_and_kilowatt_hours(sunny):
    _, runs = sunny
    table = pd.DataFrame({"step": 0, "point": [0, 1], "chosen": [True, False], "unbalance_current": [9.0, 16.0],
                          "pv_curtailment": [4.0, 0.0]})  # fmt: skip
    run_of_front = replace(runs["none"], artifacts={"front": table}, control_min=30.0)
    (found,) = front.fronts_of(run_of_front)
    assert found.points.tolist() == [[3.0, 4.0], [4.0, 0.0]]
    assert [front.axis_name(name) for name in found.names] == ["unbalance current [A]", "PV curtailment [kWh]"]


def test_homes_are_ordered_by_arrival(sunny):
    _, runs = sunny
    sessions = EvSessions(
        np.array([0, 1, 2]), np.array([300.0, 0.0, 100.0]), np.array([400.0, 800.0, 600.0]), *[np.ones(3)] * 5
    )
    day = replace(runs["none"].exogenous, sessions=sessions)
    assert homes_with_cars(replace(runs["none"], exogenous=day)).tolist() == [1, 2, 0]


def test_clock_times_and_minutes():
    start = datetime(2026, 5, 15, 22)
    assert clock_text(start, 135.0) == "00:15"
    assert clock_text(start, 135.0, 2880.0) == "16 May 00:15"
    borders = style.edges(start, 30.0, 4)
    assert len(borders) == 5
    assert np.diff(borders) * 24 == pytest.approx(0.5)
    assert [minutes(value) for value in (45.0, 200.0, float("nan"))] == ["45 min", "3 h 20 min", "–"]


@pytest.mark.parametrize("standard", [ESQCR, replace(AS_61000, low=())])
def test_voltages_and_unbalance_are_drawn_with_the_limits_of_the_standard_or_with_none(sunny, standard):
    _, runs = sunny
    judged = {label: replace(run, feeder=replace(run.feeder, standard=standard)) for label, run in runs.items()}
    drawn = shown(judged, {label: scoreboard(run) for label, run in judged.items()})
    upper_v, lower_v = voltage.limits_v(drawn.reference.feeder)
    assert (upper_v, lower_v) == pytest.approx({"esqcr": (253.0, 216.2), "as_61000": (np.inf, -np.inf)}[standard.name])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        band, profile, curves, places = (
            draw(drawn) for draw in (voltage.draw_band, voltage.draw_profile, unbalance.draw, feeder_map.draw)
        )
    texts = [each.title for each in (band, profile, curves, places)] + paragraph(drawn)
    assert not any(word in text.split() for text in texts for word in ("inf", "-inf", "nan"))
    assert standard.title in band.caption
    assert ("has no limit for it" in curves.caption) == np.isnan(standard.vuf_percent)
