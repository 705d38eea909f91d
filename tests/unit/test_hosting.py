"""Hosting capacity: what violates, how a placement is searched, quantiles of few draws, what can be built instead."""

from __future__ import annotations

from datetime import date
from io import StringIO
from itertools import product
from math import comb
from pathlib import Path

import numpy as np
import opendssdirect
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cosim import run
from cosim.contract import Setpoints
from cosim.controllers.rules.none import NoControl
from cosim.errors import InputError
from cosim.experiments.cli import app
from cosim.experiments.figures import style
from cosim.experiments.hosting import worlds as hosting_worlds
from cosim.experiments.hosting.asked import Asked, built
from cosim.experiments.hosting.command import _shown
from cosim.experiments.hosting.config import read, scenario_of
from cosim.experiments.hosting.estimate import estimate
from cosim.experiments.hosting.figure import draw
from cosim.experiments.hosting.measures import figures, overloaded, places
from cosim.experiments.hosting.networks import Reinforced, limiting_path, reinforce
from cosim.experiments.hosting.quantile import quantile
from cosim.experiments.hosting.search import most_runs, search, search_days
from cosim.experiments.hosting.study import Hosting, _strained, critical_days
from cosim.experiments.hosting.summary import NO_LIMIT, capacities, placements_of
from cosim.experiments.hosting.tasks import placement, search_task, week_task
from cosim.experiments.hosting.worlds import AS_BUILT, CriticalDay, Network, peaks_of_days, site, world, worst_day
from cosim.experiments.study import dataset
from cosim.experiments.study.progress import shown_on
from cosim.experiments.study.runner import Counts
from cosim.folder import claimed

SHIPPED = read()
CONFIG = SHIPPED.model_copy(update={"method": SHIPPED.method.model_copy(update={"year_step_minutes": 60})})
STEPS = 288
WINTER = CriticalDay("import", "2026-01-15")


# --- quantile


def test_the_interval_holds_the_quantile_as_often_as_its_formula_says():
    rng, true, draws = np.random.default_rng(1), -np.log(0.95), 1500
    for count in (20, 100):
        found = [quantile(rng.exponential(size=count), 5.0) for _ in range(draws)]
        held = np.mean([not (one.low > true or one.high < true) for one in found])
        promised = found[0].confidence_percent / 100.0
        assert promised >= 0.95
        assert held == pytest.approx(promised, abs=4.0 * np.sqrt(promised * (1.0 - promised) / draws))


def test_the_interval_is_the_one_of_the_binomial():
    found = quantile(range(1, 101), 5.0)
    assert found[:3] == (5.0, 1.0, 11.0)
    assert found.confidence_percent == pytest.approx(
        100.0 * sum(comb(100, k) * 0.05**k * 0.95 ** (100 - k) for k in range(1, 11))
    )
    assert quantile(range(1, 72), 5.0).low != quantile(range(1, 72), 5.0).low  # 0.95 ** 71 > 0.025: no lower end
    assert quantile(range(1, 73), 5.0).low == 1.0
    assert quantile([7.0], 5.0)[:1] == (7.0,)
    assert np.isnan(quantile([], 5.0)[:4]).all()


# --- search


@pytest.mark.parametrize("count", [3, 7, 55])
def test_a_search_finds_the_first_violation_that_trying_every_number_does(count):
    for first, grid in product(range(count + 2), (1, 5)):
        asked = []
        found = search(count, grid, lambda many, first=first, asked=asked: asked.append(many) or many < first)
        assert found.capacity == max([many for many in range(count + 1) if many < first], default=0)
        assert found.monotone
        assert len(asked) == len(set(asked)) <= grid + 2 + np.ceil(np.log2(count))


def test_a_placement_that_is_hosted_again_above_a_violation_is_seen_at_steps_of_the_grid():
    found = search(50, 5, lambda many: not 15 <= many <= 25)
    assert (found.first, found.capacity, found.monotone) == (15, 14, False)


@pytest.mark.parametrize(("count", "grid"), [(1, 5), (7, 2), (55, 5)])
def test_the_day_that_bears_least_decides_and_no_search_takes_more_runs_than_the_most(count, grid):
    def taken(*firsts):
        ran = set()
        found = search_days(count, grid, [0, 1], lambda many, day: ran.add((many, day)) or many < firsts[day])
        assert found.capacity == max(min(*firsts, count + 1) - 1, 0)
        return len(ran)

    worst = max(taken(*firsts) for firsts in product(range(count + 2), repeat=2))
    assert 0.8 * most_runs(count, grid, 2) <= worst <= most_runs(count, grid, 2)


def test_a_placement_of_a_real_feeder_is_searched_as_a_full_grid_would():
    base = {**CONFIG.base_of("two_bus"), "grid": {"source_pu": 0.91}}  # low enough that a second car is too much
    network = Network(AS_BUILT, "two_bus", "two_bus", base)
    coarse = CONFIG.model_copy(update={"method": SHIPPED.method.model_copy(update={"grid": 1})})
    every = CONFIG.model_copy(update={"method": SHIPPED.method.model_copy(update={"grid": 3})})
    tables = [
        placements_of(pd.DataFrame([{**row, "hash": "h"} for row in placement(task.payload)]), {"two_bus": 3})
        for task in (search_task(network, "ev", "none", 1, config, [WINTER], 0.0, 1) for config in (coarse, every))
    ]
    assert tables[0]["capacity_homes"].tolist() == tables[1]["capacity_homes"].tolist()
    assert tables[1]["worlds"].tolist() == [4]
    assert tables[0]["capacity_homes"].iloc[0] == 1
    assert tables[0]["limit_binding"].iloc[0] == "voltage"
    assert tables[0]["where"].iloc[0].endswith(" low")


def test_a_run_in_which_a_limit_of_time_struck_says_so():
    network = Network(AS_BUILT, "two_bus", "two_bus", {**CONFIG.base_of("two_bus"), "decide_limit_s": 1e-9})
    told = placement(search_task(network, "ev", "even", 1, CONFIG, [WINTER], 0.0, 1).payload)
    assert {row["status"] for row in told} == {"limited"}
    assert told[0]["reason"].startswith("a wall-clock limit struck in 288 of 288 decisions: ")


# --- criteria


def criteria(feeder, day, controller=None):
    return CONFIG.broken(board(run(feeder, day, controller or NoControl(feeder), engine="reduced")))


def board(trajectory):
    return {**figures(trajectory), "pv_curtailed_year_percent": 0.0}


def test_nothing_is_violated_by_next_to_nothing(two_bus, make_day):
    assert criteria(two_bus, make_day(two_bus, 12, demand_kw=1.0)) == []


@pytest.mark.parametrize(("windows", "violated"), [(7, []), (8, ["voltage"])])
def test_a_day_may_spend_seven_of_144_windows_below_the_band(two_bus, make_day, windows, violated):
    source_pu = np.where(np.arange(STEPS) < 2 * windows, 0.89, 1.0)
    day = make_day(two_bus, STEPS, demand_kw=0.5, source_pu=source_pu)
    assert criteria(two_bus, day) == violated
    worst = places(run(two_bus, day, NoControl(two_bus), engine="reduced"))
    assert worst["voltage_compliant_customers_percent"] == "LOAD1 low"


def test_a_cable_may_carry_too_much_for_less_than_half_an_hour(two_bus, make_day):
    demand_kw = np.zeros((12, 3))
    demand_kw[:3, 1] = 50.0  # a quarter of an hour at about 230 A, of 180
    short = run(two_bus, make_day(two_bus, 12, demand_kw=demand_kw), NoControl(two_bus), engine="reduced")
    demand_kw[3:6, 1] = 35.0
    long = run(two_bus, make_day(two_bus, 12, demand_kw=demand_kw), NoControl(two_bus), engine="reduced")
    for one in (short, long):
        half_hours = np.abs(one.line_current_a).reshape(2, 6, 3).mean(axis=1) / 1.8
        assert figures(one)["line_peak_30min_percent"] == pytest.approx(half_hours.max())
        assert figures(one)["line_peak_percent"] > 120.0
    assert "cable" not in CONFIG.broken(board(short))
    assert "cable" in CONFIG.broken(board(long))
    assert list(overloaded(long)) == ["LINE1"]
    assert places(long)["line_peak_30min_percent"] == "LINE1"


def test_a_machine_may_be_loaded_as_rated_and_not_at_140_percent(two_bus, make_day):
    for times, violated in ((0.9, set()), (1.4, {"hot_spot", "ageing"})):
        day = make_day(two_bus, 48, demand_kw=times * 100.0 / 3.0 * 0.96, source_pu=1.05)
        found = criteria(two_bus, day)
        assert {"hot_spot", "ageing"} & set(found) == violated, (times, found)


def test_one_phase_alone_unbalances_the_voltage(two_bus, make_day):
    assert "unbalance" in criteria(two_bus, make_day(two_bus, 12, demand_kw=[45.0, 0.0, 0.0], source_pu=1.1))


def test_a_controller_that_forbids_charging_hosts_nothing(two_bus, make_day, make_sessions, scripted):
    sessions = make_sessions((0, 0.0, 240.0, 8.0, 3.7), (1, 0.0, 240.0, 8.0, 3.7))
    day = make_day(two_bus, 48, sessions=sessions)
    assert criteria(two_bus, day) == []
    free = np.full(3, np.inf)
    one_waits = Setpoints(import_cap_kw=free, ev_limit_kw=np.array([0.0, np.inf, np.inf]), pv_limit_kw=free)
    starved = run(two_bus, day, scripted(one_waits), engine="reduced")
    assert CONFIG.broken(board(starved)) == ["ev_energy", "each_ev"]
    assert places(starved)["ev_served_min_percent"] == "LOAD1"


def test_curtailment_and_comfort_have_limits_of_their_own():
    fine = {"pv_curtailed_year_percent": 3.0, "comfort_short_max_kh_per_day": 2.0}
    assert CONFIG.broken(fine) == []
    assert CONFIG.broken({name: 1.01 * value for name, value in fine.items()}) == ["pv", "comfort"]


@pytest.mark.slow  # a week in which every step is shed
def test_a_step_without_a_power_flow_is_a_violation_that_is_recorded(tmp_path):
    network = low_two_bus(homes_file(tmp_path, [99.0] * 1440))
    task = search_task(network, "ev", "none", 1, CONFIG, [WINTER], 0.0, 1)
    found = placement(task.payload)
    assert {row["status"] for row in found} == {"collapsed"}
    assert {row["broken"] for row in found} == {"collapse"}
    assert not any(row["hosted"] for row in found)


# --- reinforcements


def strained(two_bus, make_day):
    return [run(two_bus, make_day(two_bus, 12, demand_kw=[48.0, 5.0, 0.0]), NoControl(two_bus), engine="reduced")]


def plain_opendss(folder):
    dss = opendssdirect.NewContext()
    dss.Text.Command(f'compile "{folder}/Master.dss"')
    return dss


def test_cables_and_moves_are_what_plain_opendss_reads(two_bus, make_day, tmp_path):
    runs, as_built = strained(two_bus, make_day), Network(AS_BUILT, "two_bus", "two_bus", {})
    assert [line.name for line in limiting_path(runs)] == ["LINE1"]
    ohm = {"second_cable": 0.4 / 2.0, "thicker_cable": 0.125}
    amps = {"second_cable": 360.0, "thicker_cable": 364.0}
    for name, ohm_per_km in ohm.items():
        found = reinforce(name, CONFIG.reinforcement[name], as_built, runs, tmp_path / name)
        assert found.cost_eur == (200 * 60.0, 200 * 100.0)
        dss = plain_opendss(found.network.circuit)
        dss.Lines.Name("LINE1")
        total_ohm = np.array(dss.Lines.RMatrix()).reshape(3, 3) * dss.Lines.Length()
        assert total_ohm == pytest.approx(0.2 * ohm_per_km * np.eye(3), abs=1e-9)
        assert dss.Lines.NormAmps() == pytest.approx(amps[name])
        read_back = site(Network(name, "two_bus", found.network.circuit, {}))
        assert read_back.network.branch("LINE1").rating_a == pytest.approx(amps[name])
        assert read_back.distance_m == two_bus.distance_m
    even = [run(two_bus, make_day(two_bus, 12, demand_kw=5.0), NoControl(two_bus), engine="reduced")]
    with pytest.raises(InputError, match="no other phase"):
        reinforce("rephasing", CONFIG.reinforcement["rephasing"], as_built, even, tmp_path / "none")
    moved = reinforce("rephasing", CONFIG.reinforcement["rephasing"], as_built, runs, tmp_path / "rephasing")
    dss = plain_opendss(moved.network.circuit)
    phases = {
        name: dss.CktElement.BusNames()[0]
        for name in dss.Loads.AllNames()
        if dss.Circuit.SetActiveElement(f"Load.{name}") >= 0
    }
    assert f"to {phases['load1'][-1]}" in moved.what or f"to {phases['load2'][-1]}" in moved.what


def test_machines_are_larger_or_hold_their_voltage(two_bus, make_day, tmp_path):
    runs, as_built = strained(two_bus, make_day), Network(AS_BUILT, "two_bus", "two_bus", {})
    larger = reinforce("larger_transformer", CONFIG.reinforcement["larger_transformer"], as_built, runs, tmp_path)
    assert larger.network.base["grid"]["transformer"]["kva"] == 250
    assert larger.what == "100 to 250 kVA"
    oltc = reinforce("oltc", CONFIG.reinforcement["oltc"], as_built, runs, tmp_path / "oltc")
    assert (oltc.network.engine, oltc.network.base["grid"]["taps"]) == ("opendss", "controlled")
    dss = plain_opendss(oltc.network.circuit)
    for source_pu in (0.94, 1.07):
        dss.Text.Command(f"edit Vsource.source pu={source_pu}")
        dss.Text.Command("set mode=snap controlmode=static maxcontroliter=50")
        dss.Text.Command("solve")
        dss.Circuit.SetActiveBus("1")
        assert min(dss.Bus.VMagAngle()[:1]) == pytest.approx(230.0, rel=0.02)


def test_a_reinforcement_that_was_edited_is_searched_anew(two_bus, make_day, tmp_path):
    runs, as_built = strained(two_bus, make_day), Network(AS_BUILT, "two_bus", "two_bus", {})
    found = []
    for set_pu in (1.0, 0.93, 0.93):
        oltc = CONFIG.reinforcement["oltc"].model_copy(update={"set_pu": set_pu})
        made = reinforce("oltc", oltc, as_built, runs, tmp_path / "oltc").network
        assert made == found[-1][1] if found else made.contents == ""
        found.append((search_task(made.as_it_lies(), "ev", "none", 1, CONFIG, [WINTER], 0.0, 1).hash, made))
    assert found[0][0] != found[1][0] == found[2][0]
    shipped, there = as_built.as_it_lies(), Network("oltc", "two_bus", str(tmp_path / "oltc"), {})
    before, contents = site(there.as_it_lies()), there.as_it_lies().contents
    facts = tmp_path / "oltc" / "feeder.toml"
    facts.write_text(facts.read_text(encoding="utf-8").replace("two_bus_oltc", "other"), encoding="utf-8")
    assert there.as_it_lies().contents != contents
    assert (before.name, site(there.as_it_lies()).name) == ("two_bus_oltc", "other")  # read again in one process
    assert as_built.as_it_lies() == shipped


# --- what is told


def worlds(capacity, controller="none", network=AS_BUILT, broken="cable", first=1):
    """Rows of placements of ten homes with such capacities."""
    rows = []
    for number, homes in enumerate(capacity, start=first):
        same = {
            "feeder": "street", "technology": "ev", "network": network, "controller": controller, "placement": number,
            "hash": f"{network}{controller}{number}", "decides": True, "status": "ok",
        }  # fmt: skip
        for many in range(11):
            told = {"broken": "", "where": ""} if many <= homes else {"broken": broken, "where": "LINE1"}
            rows.append({**same, **told, "homes": many, "hosted": many <= homes, "installed_kw": 7.0 * many})
    return rows


def test_capacities_costs_and_what_control_avoids():
    rows = [*worlds([2, 3, 4, 5]), *worlds([6, 6, 7, 10], "even"), *worlds([7, 8, 9, 10], network="second_cable")]
    rows += [*worlds([3, 3, 3, 3], network="oltc"), *worlds([10, 8], "optimum")]
    placements = placements_of(pd.DataFrame(rows), {"street": 10})
    empty = Network("", "street", "street", {})
    reinforced = {
        "street": {"second_cable": Reinforced(empty, "", (5e3, 9e3)), "oltc": Reinforced(empty, "", (1e3, 2e3))}
    }
    weeks = pd.DataFrame([{**worlds([2])[0], "placement": number, "hosted": number > 1} for number in (1, 2)])
    failed = pd.DataFrame(worlds([0, 0], "even", first=5)).assign(status="failed")
    table = capacities(placements, failed, weeks, CONFIG, reinforced).set_index(["network", "controller"])
    assert table["placements"].tolist() == [4, 4, 4, 4, 2]
    assert table["placements_failed"].tolist() == [0, 2, 0, 0, 0]
    console = Console(file=StringIO(), width=200)
    console.print(_shown(table.reset_index(), "street", CONFIG))
    (row,) = [line for line in console.file.getvalue().splitlines() if "even" in line]
    assert row.split("│")[-2].strip() == "2 of 6"
    assert table["capacity_percent"].tolist() == [20.0, 60.0, 70.0, 30.0, 80.0]
    assert table["capacity_kw"].tolist() == pytest.approx([14.0, 42.0, 49.0, 21.0, 56.0])
    assert table["of_possible_percent"].tolist() == pytest.approx([100 * n / 18 for n in (5, 12, 15, 6, 18)])
    assert table["low"].isna().all()
    none, even = table.loc[AS_BUILT, "none"], table.loc[AS_BUILT, "even"]
    assert (none["weeks_run"], none["weeks_violated"], none["where"]) == (2, 1, "LINE1")
    assert (even["limit_binding"], even["at_all_homes_percent"]) == ("cable", 25.0)
    assert even["limits"] == f"cable 75 %, {NO_LIMIT} 25 %"
    assert (even["avoided"], even["avoided_eur_low"], even["avoided_eur_high"]) == ("second_cable", 5e3, 9e3)
    cable = table.loc["second_cable", "none"]
    assert cable["eur_per_added_kw_low"] == pytest.approx(5e3 / 35.0)
    assert table.loc["oltc", "none"]["eur_per_added_kw_high"] == pytest.approx(2e3 / 7.0)
    with style.house_style():
        drawing = draw(Hosting(table.reset_index(), placements, {"street": (WINTER,)}, reinforced, ()), "ev", CONFIG)
    texts = [text.get_text() for axes in drawing.figure.axes for text in axes.texts]
    assert texts[:2] == [f"{told}, open below: cable, LINE1" for told in ("20 %, 14 kW", "60 %, 42 kW")]
    curves, bars = drawing.figure.axes
    widths = [line.get_linewidth() for line in curves.lines[: len(table)]]
    assert np.all(np.diff(widths) < 0.0)  # of two that coincide the later, which lies above, is the thinner
    assert [(line.get_marker(), line.get_linestyle(), *line.get_xdata()) for line in bars.lines[:2]] == [
        ("<", ":", 0.0, 20.0), ("|", "-", table["high"].iloc[0], 20.0)
    ]  # fmt: skip
    free = placements_of(pd.DataFrame(worlds([10])), {"street": 10})
    assert free["limit_binding"].tolist() == [NO_LIMIT]


def test_progress_without_a_terminal_is_a_line_a_minute():
    console = Console(file=StringIO())
    with shown_on(console, "Beginning") as progress:
        for done, elapsed_s in ((0, 0.0), (1, 10.0), (2, 60.0), (3, 62.0), (4, 63.0), (4, 64.0)):
            progress("placements", Counts(5, 1, done, done // 4, elapsed_s))
    assert console.file.getvalue().splitlines() == [
        "placements: 1 of 5", "placements: 3 of 5, 120 an hour, 0.02 h left",
        "placements: 5 of 5, 228.6 an hour, 0.00 h left, 1 failed",
    ]  # fmt: skip


def test_critical_days_are_of_their_season_and_of_the_technology():
    days = pd.date_range("2026-01-01", "2026-12-31").strftime("%Y-%m-%d")
    year = pd.DataFrame(
        {"date": days, "import_kw": 1.0, "export_kw": 0.5, "import_lost_kwh": 0.0, "export_lost_kwh": 0.0}
    )
    year.loc[days == "2026-07-04", ["import_kw", "export_kw"]] = 9.0
    year.loc[days == "2026-12-20", "import_kw"] = 2.0
    winter, summer = CriticalDay("import", "2026-12-20"), CriticalDay("export", "2026-07-04")
    assert critical_days(year, Asked([], "ev", [], CONFIG)) == (winter, summer)
    assert critical_days(year, Asked([], "pv", [], CONFIG)) == (summer, winter)
    assert critical_days(year.assign(export_kw=0.0), Asked([], "ev", [], CONFIG)) == (winter,)
    year.loc[days == "2026-01-03", "import_lost_kwh"] = 0.1  # a step without a power flow, whatever it served
    assert critical_days(year, Asked([], "ev", [], CONFIG)) == (CriticalDay("import", "2026-01-03"), summer)
    assert winter.week == CriticalDay("import", "2026-12-17", 7)
    assert winter.start.hour == 12
    assert summer.start.hour == 0


@pytest.mark.parametrize("technology", ["ev", "heat_pump"])
def test_the_run_of_a_critical_day_has_the_peak_that_it_was_chosen_for(technology):
    network = Network(AS_BUILT, "two_bus", "two_bus", CONFIG.base_of("two_bus"))
    found = peaks_of_days(network, technology, 3, 1, date(2026, 1, 10), 2, 30)
    assert [row["date"] for row in found] == ["2026-01-10", "2026-01-11"]
    for kind, row in product(("import", "export"), found):
        when = worst_day([row], kind)
        half_hours = world(network, technology, 3, 1, when, step_min=30, control_min=30).run("none", {}).net_kw
        peak = max((half_hours if kind == "import" else -half_hours).sum(axis=1).max(), 0.0)
        # a thermostat begins the day anew, and the cycles of three homes meet by chance
        assert row[f"{kind}_kw"] == pytest.approx(peak, rel=1e-9 if technology == "ev" else 0.15)
    assert half_hours.shape[0] == 48


@pytest.mark.parametrize("sheds", [True, False])
def test_a_day_without_a_power_flow_is_the_critical_one(tmp_path, monkeypatch, sheds):
    if not sheds:  # as where not even a part of what is wanted can be served
        monkeypatch.setattr(hosting_worlds, "world", lambda *given, **own: world(*given, **{**own, "grid": {}}))
    evening = np.where(np.arange(1440) // 60 == 20, 99.0, 1.0)
    found = peaks_of_days(low_two_bus(homes_file(tmp_path, evening)), "pv", 1, 1, date(2026, 1, 13), 2, 30)
    assert [row["date"] for row in found] == ["2026-01-13", "2026-01-14"]
    for row in found:
        assert 0.0 < row["import_lost_kwh"] < 3 * 99.0 if sheds else row["import_lost_kwh"] == np.inf
        assert row["export_lost_kwh"] == (0.0 if sheds else np.inf)
        assert row["available_kwh"] > 1.0
    served = {**found[1], "date": "2026-01-15", "import_kw": 999.0, "import_lost_kwh": 0.0}
    assert worst_day([served, found[1]], "import").date == "2026-01-14"


def test_reinforcements_are_laid_out_for_what_has_a_power_flow(tmp_path):
    network, warnings = low_two_bus(homes_file(tmp_path, [60.0] * 1440)), []
    runs = _strained(Asked([], "ev", [], CONFIG), network, [WINTER], warnings)
    assert len(runs) == 2
    assert "laid out for" in warnings[0]


def low_two_bus(demand_kw):
    """A network whose source is so low that at most some 60 kW a phase get through the cable."""
    base = {**CONFIG.base_of("two_bus"), "grid": {"source_pu": 0.8}, "step_min": 30, "control_min": 30}
    base["households"] = {"profiles": str(demand_kw), "profiles_step_min": 1.0}
    return Network(AS_BUILT, "two_bus", "two_bus", base)


def homes_file(folder, demand_kw):
    pd.DataFrame({f"LOAD{n}": demand_kw for n in (1, 2, 3)}, dtype=float).to_csv(folder / "homes.csv", index=False)
    return folder / "homes.csv"


def test_a_task_is_known_by_what_it_depends_on(tmp_path):
    network = Network(AS_BUILT, "two_bus", "two_bus", CONFIG.base_of("two_bus"))
    one = search_task(network, "ev", "none", 1, CONFIG, [WINTER], 0.0, 1)
    more = CONFIG.model_copy(update={"method": CONFIG.method.model_copy(update={"placements": 7})})
    assert one.hash == search_task(network, "ev", "none", 1, more, [WINTER], 0.0, 1).hash
    others = [
        search_task(network._replace(contents="y"), "ev", "none", 1, CONFIG, [WINTER], 0.0, 1),
        search_task(network, "pv", "none", 1, CONFIG, [WINTER], 0.0, 1),
        search_task(network, "ev", "even", 1, CONFIG, [WINTER], 0.0, 1),
        search_task(network, "ev", "none", 2, CONFIG, [WINTER], 0.0, 1),
        search_task(network, "ev", "none", 1, CONFIG, [WINTER.week], 0.0, 1),
        week_task(one, 2),
        week_task(one, 3),
    ]
    assert len({one.hash, *(other.hash for other in others)}) == 8


# --- refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[violation.x]\nmetric='losses_kwh'\nat_most=1.0\nat_least=1.0\nmeaning='m'", "give one of the two"),
        ("[violation.x]\nmetric='losses_kwh'\nat_most=1.0\nmeaning='m'\n[method]\nplacement=3",
         "did you mean 'placements'"),
        ("[violation.x]\nmetric='losses_kwh'\nat_most=1.0\nmeaning='m'\n[reinforcement.y]\nkind='thicker_cable'\n"
         "cable='NAYY'\nsource='s'", "NAYY 4x240"),
        ("[violation.x]\nmetric='losses_kwh'\nat_most=1.0\nmeaning='m'\n[reinforcement.y]\nkind='oltc'\neur=[2,1]\nsource='s'",
         "give low and high"),
        ("[violation.x]\nmetric='transformer_hotspot_max_c'\nat_most=1.0\nmeaning='m'\nundefined='leave_out'",
         "violation.x.metric: .* did you mean 'transformer_hot_spot_max_c'"),
        ("[violation.x]\nmetric='losses_kwh'\nat_mst=1.0\nmeaning='m'",
         "violation.x.at_mst: .* did you mean 'at_most'"),
        ("[reinforcement.y]\nkind='oltc'\nsource='s'\nvolt=1.0", "use one of kind, times, cable, set_pu"),
    ],
)  # fmt: skip
def test_wrong_keys_are_named_with_what_to_write(tmp_path, text, said):
    file = tmp_path / "own.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=said):
        read(file)
    with pytest.raises(InputError, match="no such file"):
        read(tmp_path / "other.toml")


def test_what_cannot_be_asked_of_a_feeder_is_refused_before_anything_runs(tmp_path):
    unrated = tmp_path / "street"
    unrated.mkdir()
    text = Path(__file__).parents[2].joinpath("feeders/two_bus/Master.dss").read_text(encoding="utf-8")
    bare = text.replace(" NormAmps=180 EmergAmps=180", "").replace("Buscoords Buscoords.csv", "")
    (unrated / "Master.dss").write_text(bare, encoding="utf-8")
    with pytest.raises(InputError) as refused:
        built(Asked([str(unrated), "nowhere"], "ev", ["evn"], CONFIG), [])
    said = [str(fault) for fault in refused.value.faults]
    assert len(said) == 3
    assert "did you mean 'even'" in said[0]
    assert "line_peak_30min_percent" in said[1]
    assert "ratings_a" in said[1]
    assert "nowhere" in said[2]
    own = CONFIG.model_copy(update={"options": {"evn": {}}})
    with pytest.raises(InputError) as refused:
        built(Asked([], "ev", [], own), [])
    assert [str(fault).partition(" → ")[0] for fault in refused.value.faults] == [
        "cosim hosting: --controllers: names none", "hosting: options.evn: there is no controller 'evn'"
    ]  # fmt: skip
    with pytest.raises(InputError, match="is for the method to set"):
        scenario_of({"seed": 3}, name="x")


def test_what_is_left_out_is_told_and_tables_are_of_the_feeder_that_is_named(tmp_path):
    tables = {"two_bus": {"step_min": 15}, "Master": {"step_min": 20}, "street": {"step_min": 30}}
    config = CONFIG.model_copy(update={"options": {"even": {}}, "feeder": tables})
    for name, step_min in {
        "two_bus": 15, "a/two_bus": 15, "a/two_bus/Master.dss": 15, "b/street.dss": 30, str(tmp_path): 5, "x/y.dss": 5,
    }.items():  # fmt: skip
        assert config.base_of(name)["step_min"] == step_min, name
    told = []
    built(Asked(["two_bus"], "ev", ["none"], config), told)
    assert sorted(told) == [
        "left out on two_bus: comfort: 'comfort_short_max_kh_per_day' is not defined there",
        "left out: [feeder.Master], as no feeder that is asked is called that",
        "left out: [feeder.street], as no feeder that is asked is called that",
        "left out: [options.even], as it is not among --controllers",
    ]


def test_a_study_says_what_it_would_take_and_refuses_a_scheduler_before_anything_is_touched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    asked = ["hosting", "two_bus", "--placements", "3", "--controllers", "none,even"]
    told = CliRunner().invoke(app, [*asked, "--dry-run", "--jobs", "2"])
    # two controllers and five reinforcements, of each 8 runs of the first day's search and its other halvings at most
    assert "21 searches of a placement: at most 189 days and 42 weeks are run" in told.output
    assert "processor hours (a day: none 0." in told.output
    assert list(tmp_path.iterdir()) == []
    kept = tmp_path / "out" / "hosting.csv"
    with claimed(kept.parent):
        kept.write_text("kept", encoding="utf-8")
    for more, said in (("1", "no scheduler answers"), ("2", "--jobs: is given beside")):
        scheduled = [*asked, "--overwrite", "--out", "out", "--jobs", more, "--scheduler", "foo"]
        assert said in str(CliRunner().invoke(app, scheduled).exception)
        assert kept.read_text(encoding="utf-8") == "kept"


@pytest.mark.slow
def test_a_study_from_beginning_to_end_and_again(tmp_path):
    from cosim.experiments.hosting.study import hosting

    method = CONFIG.method.model_copy(update={"placements": 2, "weeks": 1, "year_step_minutes": 60})
    config = CONFIG.model_copy(update={"method": method})
    told = []
    found = [
        hosting(
            Asked(["two_bus"], "ev", ["none", "even"], config),
            tmp_path / "out",
            progress=lambda _, now: told.append(now.done),
        )
        for _ in range(2)
    ]
    rows = dataset.read(tmp_path / "out")
    assert 5 < (rows["kind"] == "search").sum() <= estimate(Asked(["two_bus"], "ev", ["none", "even"], config)).runs
    assert max(told[len(told) // 2 :]) == 0 or told[-1] == 0
    pd.testing.assert_frame_equal(found[0].table, found[1].table)
    assert {"hosting.csv", "placements.csv", "hosting.png", "manifest.json"} <= {
        f.name for f in (tmp_path / "out").iterdir()
    }
    written = pd.read_csv(tmp_path / "out" / "hosting.csv")
    assert written["controller"].tolist()[:2] == ["none", "even"]
