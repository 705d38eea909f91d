"""Horizons of more than 31 days: run week by week, and the same as in one piece."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cosim import opendss
from cosim.errors import InputError
from cosim.experiments import scenario as scenarios
from cosim.experiments.cli import app
from cosim.experiments.compose import compose
from cosim.experiments.execute import execute
from cosim.experiments.parts import perform_parts
from cosim.feeders.find import in_season
from cosim.measures.areas import worst_hot_spot_c

DAY, WHOLE = 24, 60
BASE = {
    "name": "long", "feeder": "two_bus", "start": "2026-01-26T00:00:00", "horizon_h": WHOLE, "step_min": 60,
    "control_min": 60, "pv": {"share": 1.0}, "households": {"profiles": "january_weekday"},
    "runs": [{"controller": "none"}],
}  # fmt: skip
DEVICES = {"battery": {"share": 1.0, "start_share": 0.9}, "heat_pump": {"share": 0.7}}
CARS = {"ev": {"share": 1.0}}

RAISES = """
from cosim import BaseController, Setpoints
class {name}(BaseController):
    def __init__(self, feeder):
        self.homes = len(feeder.customers)
    def plan(self, forecast):
        self.day = forecast.expected.start.day
    def decide(self, observation):
        if self.day == 27 and observation.step == 5:
            raise {error}
        return Setpoints.free(self.homes)
"""


def parsed(**changed):
    return scenarios.parse({**BASE, **changed}, Path("scenario.toml"))


def in_days(monkeypatch):
    """Let a day be a week, and all that is longer be run in parts: three days are enough to try it."""
    monkeypatch.setattr(scenarios, "WEEK_MIN", DAY * 60)
    monkeypatch.setattr(scenarios, "MOST_AT_ONCE_MIN", DAY * 60)


def both(tmp_path, monkeypatch, **changed):
    """One scenario in one piece and in weeks: run, metrics, and the result of the weeks."""
    asked = parsed(**changed)
    whole = compose(asked).run_spec(asked.runs[0], engine="reduced")
    in_days(monkeypatch)
    result, failed = perform_parts(compose(asked), asked.runs[0], tmp_path, "reduced")
    assert not failed
    assert result.is_whole
    return whole.trajectory, whole.metrics, result


def table(folder, name):
    return pd.read_parquet(folder / "trajectories" / "none" / name)


def test_weeks_with_devices_are_the_run_in_one_piece(tmp_path, monkeypatch):
    run, metrics, result = both(tmp_path, monkeypatch, **DEVICES)
    homes, steps = table(tmp_path, "customers"), table(tmp_path, "steps")
    shape = run.net_kw.shape
    for name in ("net_kw", "voltage_v", "battery_soc_kwh", "indoor_c", "hot_water_c", "heat_pump_kw", "pv_kw"):
        wanted = run.channels[name] if name in run.channels else getattr(run, name)
        np.testing.assert_allclose(homes[name].to_numpy().reshape(shape), wanted, rtol=1e-9, atol=1e-9, err_msg=name)
    np.testing.assert_array_equal(steps["step"], np.arange(run.steps))
    np.testing.assert_array_equal(homes["step"], np.repeat(np.arange(run.steps), shape[1]))
    assert list(steps["time"].dt.to_pydatetime()) == run.exogenous.times
    # the first part starts from its own mean load, not from that of all; two days later nothing is left of it
    np.testing.assert_allclose(steps["hot_spot_c"][48:], worst_hot_spot_c(run)[48:], atol=1e-5)
    told = {name: value for name, value in result.metrics.items() if np.isfinite(value)}
    of_the_start = ("transformer_ageing_h", "transformer_hot_spot_max_c", "balance_error_max_percent")
    for name, value in told.items():
        if name not in of_the_start:
            assert value == pytest.approx(metrics[name], rel=1e-8, abs=1e-9), name
    assert told["transformer_ageing_h"] == pytest.approx(metrics["transformer_ageing_h"], rel=0.1)
    worst = result.worst["transformer_peak_percent"]
    row = steps.set_index("step").loc[worst["step"]]
    assert row["worst_phase_percent"] == steps["worst_phase_percent"].max() == pytest.approx(worst["value"])
    assert row["time"].isoformat() == worst["time"]
    assert worst["part"] == worst["step"] // DAY
    assert {"import_kwh", "cost_eur", "voltage_min_pu", "heat_pump_kwh", "battery_losses_kwh"} <= told.keys()
    assert metrics["vuf_p95_percent"] > 0
    assert np.isnan(result.metrics["vuf_p95_percent"])  # a percentile of weeks is none of the whole


def test_all_weeks_are_solved_by_one_circuit_as_if_each_had_its_own(tmp_path, monkeypatch):
    in_days(monkeypatch)
    whole, compiled = compose(parsed(**CARS)), []
    monkeypatch.setattr(opendss, "_compile", lambda *given, of=opendss._compile: compiled.append(given) or of(*given))
    result, failed = perform_parts(whole, whole.scenario.runs[0], tmp_path, "opendss")
    assert (len(compiled), failed, result.is_whole) == (1, [], True)
    alone = whole.part(1).run_spec(whole.scenario.runs[0], engine="opendss").trajectory
    of_homes = table(tmp_path, "customers").query(f"{DAY} <= step < {2 * DAY}")
    np.testing.assert_array_equal(of_homes["voltage_v"], alone.voltage_v.reshape(-1))


def test_cars_over_an_edge_keep_their_energy(tmp_path, monkeypatch):
    run, metrics, result = both(tmp_path, monkeypatch, **CARS)
    assert result.metrics["ev_delivered_kwh"] == pytest.approx(metrics["ev_delivered_kwh"], abs=3 * 3 * 0.1)
    assert result.metrics["ev_served_min_percent"] == pytest.approx(100.0)
    demand_kw = table(tmp_path, "customers")["demand_kw"].to_numpy().reshape(run.demand_kw.shape)
    np.testing.assert_array_equal(demand_kw, run.demand_kw)
    assert sum(part["ev_delivered_kwh"] for part in result.parts) == result.metrics["ev_delivered_kwh"]


def test_a_part_alone_is_that_part_of_the_whole(monkeypatch):
    whole = compose(parsed(**CARS))
    in_days(monkeypatch)
    alone = compose(parsed(**CARS).part(1))
    minutes = slice(DAY * 60, 2 * DAY * 60)
    for name in ("demand_kw", "pv_available_kw", "ambient_c", "tariff_eur_per_kwh"):
        np.testing.assert_array_equal(
            getattr(alone.exogenous, name), getattr(whole.exogenous, name)[minutes], err_msg=name
        )
    again = compose(parsed(**CARS, start="2026-01-27T00:00:00", draws_from="2026-01-26", horizon_h=DAY))
    np.testing.assert_array_equal(again.exogenous.pv_available_kw, alone.exogenous.pv_available_kw)
    mine, theirs = alone.exogenous.sessions, whole.exogenous.sessions
    here = (theirs.arrival_min > DAY * 60) & (theirs.departure_min < 2 * DAY * 60)
    np.testing.assert_array_equal(
        np.sort(mine.arrival_min[(mine.arrival_min > 0) & (mine.departure_min < DAY * 60)]),
        np.sort(theirs.arrival_min[here] - DAY * 60),
    )
    other = compose(parsed(start="2026-01-27T00:00:00", horizon_h=DAY))
    assert (other.exogenous.pv_available_kw != alone.exogenous.pv_available_kw).any()  # other clouds, drawn anew


def test_days_of_a_file_without_dates_go_on(tmp_path, monkeypatch):
    file = tmp_path / "homes.csv"
    days = np.repeat(np.linspace(0.1, 1.0, 10), 24)
    pd.DataFrame(dict.fromkeys(("HOME1", "HOME2", "HOME3"), days)).to_csv(file, index=False)
    homes = {"profiles": str(file), "profiles_step_min": 60.0, "join": "order"}
    asked = parsed(households=homes)
    whole = compose(asked)
    in_days(monkeypatch)
    alone = compose(asked.part(1))
    np.testing.assert_array_equal(alone.exogenous.demand_kw, whole.exogenous.demand_kw[DAY * 60 : 2 * DAY * 60])


@pytest.mark.parametrize(
    ("error", "code"),
    [("ValueError('a fault')", 3), pytest.param("KeyboardInterrupt", 130, marks=pytest.mark.slow)],
)
def test_a_run_that_stops_leaves_its_parts_whole(tmp_path, monkeypatch, error, code):
    in_days(monkeypatch)
    file = tmp_path / "own.py"
    file.write_text(RAISES.format(name="Stops", error=error))
    asked = parsed(runs=[{"controller": f"{file}:Stops", "label": "stops"}, {"controller": "none"}])
    results = execute(compose(asked), tmp_path / "out", engine="reduced", figures=False)
    assert results.stopped.exit_code == code
    out, interrupted = tmp_path / "out", code == 130
    told = json.loads((out / "metrics.json").read_text())
    assert told["incomplete"] == ["stops", "none"] if interrupted else told["incomplete"] == ["stops"]
    rows = pd.read_csv(out / "parts.csv").query("controller == 'stops'")
    assert rows["complete"].tolist() == [True, False]
    assert rows["steps"].tolist() == [DAY, 5]
    steps = pd.read_parquet(out / "trajectories" / "stops" / "steps")
    np.testing.assert_array_equal(steps["step"], np.arange(DAY + 5))
    assert not list(out.rglob("*.part"))
    manifest = json.loads((out / "manifest.json").read_text())
    assert "part 1: " in manifest["runs"]["stops"]["stopped"]
    assert manifest["runs"]["stops"]["steps"] == DAY + 5
    assert (out / "report.html").exists() is not interrupted
    again = execute(
        compose(parsed(horizon_h=DAY + 1)), tmp_path / "out", engine="reduced", figures=False, overwrite=True
    )
    assert again.stopped is None
    assert not (out / "trajectories" / "stops").exists()


def test_the_command_line_writes_weeks_their_figure_and_a_report(tmp_path):
    file, out = tmp_path / "long.toml", tmp_path / "out"
    file.write_text(
        'name = "long"\nfeeder = "two_bus"\nstart = 2026-03-02T00:00:00\nhorizon_h = 768\nstep_min = 60\n'
        'control_min = 60\n[households]\nprofiles = "seasons"\n[[runs]]\ncontroller = "none"\n'
    )
    done = CliRunner().invoke(app, ["run", str(file), "--engine", "reduced", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert (out / "figures" / "weeks.png").stat().st_size > 10_000
    report = (out / "report.html").read_text()
    assert "week by week" in report
    assert "Transformer up to" in report
    told = json.loads((out / "metrics.json").read_text())["controllers"]["none"]
    assert told["vuf_p95_percent"] is None
    assert told["import_kwh"] == pytest.approx(pd.read_csv(out / "parts.csv")["import_kwh"].sum())
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["left_out"].keys() == {"trajectories/*/nodes", "unbalance", "caps"}
    assert "Left out of so long a run are trajectories/*/nodes (voltages of all nodes" in report
    hashed = manifest["inputs_sha256"]
    assert {"data/january_weekday.parquet", "data/may_weekday.parquet"} <= hashed.keys()
    assert not (out / "trajectories" / "none" / "nodes").exists()
    shown = CliRunner().invoke(app, ["compare", str(out)])
    assert shown.exit_code == 0
    assert "voltage_min_pu" in shown.output


def test_what_cannot_be_run_in_parts_is_refused(monkeypatch):
    in_days(monkeypatch)
    wrong = {
        "horizon_h": {"horizon_h": 24.0 * 400},
        "draws_from": {"draws_from": "2026-02-01"},
        "weather.outdoor_c": {"weather": {"outdoor_c": -2.0}},
        "control_min": {"control_min": 108, "step_min": 1},
    }
    for key, changed in wrong.items():
        with pytest.raises(InputError) as caught:
            parsed(**changed)
        assert caught.value.exit_code == 2
        assert [fault.key for fault in caught.value.faults] == [key]
        assert all(fault.remedy for fault in caught.value.faults)
    day = compose(parsed())
    with pytest.raises(InputError, match=r"horizon_h.* run in 3 parts"):
        day.run("none", engine="reduced")
    with pytest.raises(InputError, match="stepper"):
        day.stepper()
    assert day.part(2).exogenous.steps == 12 * 60


def test_seasons_take_the_set_of_the_nearest_month():
    wanted = {"01-01": "january", "02-28": "january", "03-30": "may", "06-01": "may", "06-20": "july", "08-20": "july",
              "09-10": "october", "11-20": "october", "12-10": "january", "12-31": "january"}  # fmt: skip
    moments = {day: parsed(start=f"2026-{day}").start for day in wanted}
    assert {day: str(in_season("seasons", moment)).split("_")[0] for day, moment in moments.items()} == wanted
    assert in_season("may_weekday", moments["01-01"]) == "may_weekday"
