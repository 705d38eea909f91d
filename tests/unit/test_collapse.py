"""Steps without a power flow: what is served, what is not, and that both engines and textbooks agree on it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import opendssdirect
import pandas as pd
import pytest

from cosim import Behaviour, Stepper, Trajectory, feeders, run
from cosim.collapse import largest_share
from cosim.contract import Curve, Feeder, LocalCurves, Setpoints
from cosim.errors import CosimError, PowerFlowError, RunStoppedError
from cosim.experiments.keep import cross_check
from cosim.measures import scoreboard
from cosim.network import TerminalPu, is_constant_power
from cosim.opendss import OpenDssEngine
from cosim.record import write_trajectory

Make = Callable[..., Any]
FREE = Setpoints.free(3)
ENGINES = ("opendss", "reduced")
E_V, Z_OHM = 400.0 / np.sqrt(3.0), 0.10 + 0.08j  # of feeder two_bus, see its SOURCE.md
MOST_KW = E_V**2 / (2.0 * (abs(Z_OHM) + Z_OHM.real)) / 1e3
"""Largest active power that an impedance carries to a load of power factor one: 116.9 kW."""

VALLEY = """
Clear
New Circuit.valley Bus1=SourceBus BasekV=11 pu=1.0 phases=3 R1=0.2 X1=0.5 R0=0.2 X0=0.5
New LineCode.overhead nphases=3 R1=0.5 X1=0.4 R0=0.8 X0=1.2 C1=0 C0=0 Units=km NormAmps=200
New LineCode.cable nphases=3 R1=0.4 X1=0.1 R0=0.4 X0=0.1 C1=0 C0=0 Units=km NormAmps=180
New Line.MV Bus1=SourceBus Bus2=M Phases=3 LineCode=overhead Length=3 Units=km
New Transformer.T_NEAR Phases=3 Windings=2 Buses=[M A0] Conns=[Delta Wye] kVs=[11 0.4] kVAs=[250 250] XHL=4 %Rs=[1 1]
New Transformer.T_FAR Phases=3 Windings=2 Buses=[M B0] Conns=[Delta Wye] kVs=[11 0.4] kVAs=[100 100] XHL=4 %Rs=[0.6 0.6]
New Line.A Bus1=A0 Bus2=A1 Phases=3 LineCode=cable Length=100 Units=m
New Line.B Bus1=B0 Bus2=B1 Phases=3 LineCode=cable Length=300 Units=m
New Load.A Phases=3 Bus1=A1 kV=0.4 kW=9 kvar=2
New Load.B Phases=3 Bus1=B1 kV=0.4 kW=9 kvar=2
New Load.C Phases=3 Bus1=B1 kV=0.4 kW=5 kvar=1
Set VoltageBases=[11 0.4]
CalcVoltageBases
"""


@pytest.fixture(scope="module")
def valley(tmp_path_factory: pytest.TempPathFactory) -> Feeder:
    """One line at 11 kV, two transformers, each with a street of its own."""
    master = tmp_path_factory.mktemp("valley") / "Master.dss"
    master.write_text(VALLEY)
    return feeders.load(master)


def plain_share(master: Path, asked_kw: dict[str, float]) -> float:
    """Largest share of all loads at which OpenDSS by itself converges, at half of nominal voltage or more."""
    dss = opendssdirect.NewContext()
    dss.Basic.AllowChangeDir(False)
    low, high = 0.0, 1.0
    while high - low > 1e-4:
        share = (low + high) / 2.0
        dss.Text.Command(f'compile "{master}"')
        dss.Text.Command("batchedit load..* model=1 vminpu=0.5 vlowpu=0.5 vmaxpu=1.5 kvar=0")
        dss.Text.Command("set mode=snap controlmode=off tolerance=1e-9 maxiterations=5000")
        for name, kw in asked_kw.items():
            dss.Text.Command(f"edit load.{name} kw={kw * share} kvar=0")
        dss.Solution.Solve()
        pu = [abs(v) for v in dss.Circuit.AllBusMagPu()[3:]]
        low, high = (share, high) if dss.Solution.Converged() and min(pu) > 0.5 else (low, share)
    return low


@pytest.fixture(scope="module", params=ENGINES)
def evening(request: pytest.FixtureRequest, two_bus: Feeder, make_day: Make, scripted: Make) -> tuple[Any, Trajectory]:
    """Four steps; in the second, home 1 asks for more than its cable can carry."""
    demand = np.ones((4, 3))
    demand[1] = 150.0, 40.0, 20.0
    controller = scripted(FREE)
    day = make_day(two_bus, 4, demand_kw=demand)
    return controller, run(two_bus, day, controller, engine=request.param, on_collapse="shed", control_min=5)


def test_what_is_served_is_what_a_cable_can_carry(two_bus: Feeder, evening: tuple[Any, Trajectory]) -> None:
    _, told = evening
    (collapse,) = told.collapses
    share = collapse.served_share[0]
    assert 0.99 < share * 150.0 / MOST_KW < 1.0
    plain = plain_share(two_bus.master, {"LOAD1": 150.0, "LOAD2": 40.0, "LOAD3": 20.0})
    assert 0.99 < share / plain < 1.0001
    np.testing.assert_allclose(told.net_kw[1], share * np.array([150.0, 40.0, 20.0]))
    assert (collapse.step, collapse.customers) == (1, (3,))
    assert collapse.asked_kw.tolist() == [150.0, 40.0, 20.0]


def test_a_run_goes_on_as_if_nothing_had_been(
    two_bus: Feeder, make_day: Make, scripted: Make, evening: tuple[Any, Trajectory]
) -> None:
    _, told = evening
    assert (told.complete, told.degraded.tolist()) == (True, [False, True, False, False])
    quiet = run(two_bus, make_day(two_bus, 4, demand_kw=1.0), scripted(FREE), engine=told.engine)
    np.testing.assert_allclose(told.node_v[[0, 2, 3]], quiet.node_v[[0, 2, 3]], rtol=1e-7)
    notes = [note for step, note in told.notes if step == 1]
    assert re.fullmatch(r"collapse: 77\.\d % of consumption served in \S+ \(3 customers\)", notes[0])
    assert notes[1].startswith("voltage below 0.80 pu: 0.5")
    assert len(told.notes) == 2


def test_what_is_not_served_is_counted_and_the_balance_closes(evening: tuple[Any, Trajectory]) -> None:
    _, told = evening
    board = scoreboard(told)
    assert board["energy_not_served_kwh"] == pytest.approx((210.0 - told.net_kw[1].sum()) / 12.0)
    assert board["deep_undervoltage_minutes"] == 5.0
    assert board["balance_error_percent"] < 1e-3
    assert board["import_kwh"] == pytest.approx(told.net_kw.sum() / 12.0)


def test_a_controller_sees_what_the_meters_saw(evening: tuple[Any, Trajectory]) -> None:
    controller, told = evening
    seen = controller.seen[2]
    for name in ("demand_kw", "demand_kvar", "net_kw", "net_kvar", "ev_kw"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(told, name)[1], err_msg=name)
    np.testing.assert_array_equal(seen.voltage_v, told.voltage_v[1])


def test_the_table_of_a_run_holds_what_was_served(evening: tuple[Any, Trajectory], tmp_path: Path) -> None:
    _, told = evening
    write_trajectory(told, tmp_path)
    table = pd.read_parquet(tmp_path / "collapses.parquet")
    customers = pd.read_parquet(tmp_path / "customers.parquet")
    assert list(table.columns) == ["step", "area", "customers", "served_share", "energy_not_served_kwh"]
    (row,) = table.to_dict("records")
    served_kw = customers[customers["step"] == row["step"]]["demand_kw"].sum()
    assert (row["step"], row["area"], row["customers"]) == (1, told.feeder.areas[0].name, 3)
    assert row["served_share"] == pytest.approx(served_kw / 210.0)
    assert row["energy_not_served_kwh"] == pytest.approx((210.0 - served_kw) * 5.0 / 60.0)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_run_that_stops_says_how_much_would_have_been_served(
    two_bus: Feeder, make_day: Make, scripted: Make, engine: str
) -> None:
    demand = np.ones((4, 3))
    demand[2, 0] = 150.0
    said = r"step 2 of 4: .*; 77\.\d % of consumption served in \S+ \(3 customers\) would have one"
    with pytest.raises(RunStoppedError, match=said) as stopped:
        run(two_bus, make_day(two_bus, 4, demand_kw=demand), scripted(FREE), engine=engine)
    told: Any = stopped.value.trajectory
    assert (told.steps, [one.step for one in told.collapses]) == (2, [2])
    assert scoreboard(told)["energy_not_served_kwh"] == 0.0  # of the steps that the run has
    assert cross_check(told)["collapses"] == 1.0


@pytest.mark.parametrize("engine", ENGINES)
def test_cars_get_less_sun_stays_and_the_rest_is_caught_up(
    two_bus: Feeder, make_day: Make, make_sessions: Make, scripted: Make, engine: str
) -> None:
    demand = np.ones((4, 3))
    demand[1, 0] = 140.0
    cars = make_sessions((0, 0.0, 99.0, 40.0, 11.0), (1, 0.0, 99.0, 1.2, 7.4))
    day = make_day(two_bus, 4, demand_kw=demand, pv_available_kw=2.0, inverter_kva=3.0, sessions=cars)
    told = run(two_bus, day, scripted(FREE), engine=engine, behaviour=Behaviour("immediate"), on_collapse="shed")
    share = told.collapses[0].served_share[0]
    assert 0.99 < (share * (140.0 + 11.0) - 2.0) / MOST_KW < 1.0
    np.testing.assert_allclose(told.ev_kw[:, 0], [11.0, 11.0 * share, 11.0, 11.0])
    np.testing.assert_allclose(told.pv_kw, 2.0)
    np.testing.assert_allclose(np.diff(told.soc_kwh[:2, 0]), 11.0 * share * 0.9 / 12.0)
    np.testing.assert_allclose(told.net_kw, told.demand_kw + told.ev_kw - told.pv_kw)
    assert told.delivered_kwh[1] == pytest.approx(1.2)  # what the second car lacked came a step later
    assert scoreboard(told)["balance_error_percent"] < 1e-3


def test_local_curves_settle_at_what_is_served(
    two_bus: Feeder, make_day: Make, make_sessions: Make, scripted: Make
) -> None:
    """A charger on its curve draws its least at such voltages, the home's demand alone is too much."""
    curve = Curve((207.0, 218.5), (6.0 / 32.0, 1.0), "test")
    day = make_day(
        two_bus, 2, demand_kw=[[1.0] * 3, [150.0, 1.0, 1.0]], sessions=make_sessions((0, 0.0, 99.0, 40.0, 7.4))
    )
    droop = replace(FREE, curves=LocalCurves(ev_volt_watt=curve))
    found = {}
    for engine in ENGINES:
        told = run(two_bus, day, scripted(droop), engine=engine, behaviour=Behaviour("immediate"), on_collapse="shed")
        found[engine] = share = told.collapses[0].served_share[0]
        assert told.ev_kw[1, 0] / share == pytest.approx(1.3875, abs=0.01)
        assert 0.99 < told.net_kw[1, 0] / MOST_KW < 1.0
    assert found["opendss"] == found["reduced"]


@pytest.mark.parametrize("engine", ENGINES)
def test_only_the_area_that_is_too_weak_is_shed(valley: Feeder, make_day: Make, scripted: Make, engine: str) -> None:
    day = make_day(valley, 2, demand_kw=[[60.0, 9.0, 9.0], [60.0, 450.0, 50.0]])
    told = run(valley, day, scripted(FREE), engine=engine, on_collapse="shed")
    (collapse,) = told.collapses
    shares = dict(zip(collapse.areas, collapse.served_share, strict=True))
    assert [valley.areas[row].name for row in valley.area_of_customer] == [collapse.areas[0]] + [collapse.areas[1]] * 2
    assert collapse.customers == (1, 2)
    near, far = shares.values()
    assert near == 1.0
    plain = plain_share(valley.master, {"A": 60.0, "B": 450.0, "C": 50.0})
    assert far == pytest.approx(plain, rel=0.03)  # there the near street has less too
    engines = [OpenDssEngine(valley)]
    engines[0].solve(np.array([60.0, 450.0 * far, 50.0 * far]), np.zeros(3), np.nan)
    with pytest.raises(PowerFlowError):
        engines[0].solve(np.array([60.0, 450.0, 50.0]) * [1.0, far * 1.03, far * 1.03], np.zeros(3), np.nan)
    assert told.notes[0][1].count("of consumption served") == 1
    many = replace(
        collapse, areas=tuple("ABCDE"), customers=(1, 2, 3, 4, 5), served_share=np.array([0.5, 0.5, 1.0, 0.5, 0.5])
    )
    assert str(many) == "50.0 % of consumption served in A, B, D, … (12 customers)"


@pytest.mark.parametrize(
    ("near_kw", "far_kw", "shed"),
    [(300.0, 180.0, [True, True]), (300.0, 250.0, [False, True]), (1.0, 1.0, [])],
    ids=["each alone would solve", "one would not", "all is well"],
)
def test_a_long_line_before_both_areas(
    tmp_path: Path, make_day: Make, near_kw: float, far_kw: float, shed: list[bool]
) -> None:
    """What neither area is alone, too much, both are together: then both give way; else the one that is."""
    master = tmp_path / "Master.dss"
    master.write_text(VALLEY.replace("Length=3 ", "Length=60 "))
    far_away = feeders.load(master)
    day = make_day(far_away, 1, demand_kw=[[near_kw, far_kw / 2.0, far_kw / 2.0]])
    found = []
    for engine in ENGINES:
        stepper = Stepper(far_away, day, engine=engine, on_collapse="shed")
        stepper.reset()
        stepper.step(Setpoints.free(3))
        told = stepper.trajectory()
        found.append([one.served_share.tolist() for one in told.collapses])
        assert scoreboard(told)["balance_error_percent"] < 1e-3
    assert found[0] == found[1]
    assert [share < 1.0 for one in found[0] for share in one] == shed
    if shed == [True, True]:
        assert len(set(found[0][0])) == 1  # by one factor


def test_nothing_is_shed_where_not_even_nothing_solves(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    assert np.isnan(largest_share(lambda _: False))
    day = make_day(two_bus, 3, demand_kw=1.0, source_pu=[1.0, 0.45, 1.0])
    with pytest.raises(RunStoppedError, match=r"step 1 of 3: voltage collapse"):
        run(two_bus, day, scripted(FREE), on_collapse="shed")


def test_the_first_observation_is_of_what_could_be_served(two_bus: Feeder, make_day: Make) -> None:
    day = make_day(two_bus, 1, demand_kw=[[150.0, 1.0, 1.0]])
    seen = Stepper(two_bus, day, engine="reduced", on_collapse="shed").reset()
    assert 0.99 < seen.net_kw[0] / MOST_KW < 1.0
    with pytest.raises(PowerFlowError):
        Stepper(two_bus, day, engine="reduced").reset()


def test_engines_that_disagree_are_told(evening: tuple[Any, Trajectory]) -> None:
    _, told = evening
    other = {"opendss": "reduced", "reduced": "opendss"}[told.engine]
    assert cross_check(told)["collapses"] == 1.0
    light = replace(told.collapses[0], asked_kw=np.ones(3))
    with pytest.raises(CosimError, match=f"step 1 has a solution in {other}, and none in {told.engine}"):
        cross_check(replace(told, collapses=(light,)))
    if told.engine == "reduced":
        with pytest.raises(PowerFlowError, match="step 1 has a solution in reduced only"):
            cross_check(replace(told, net_kw=told.net_kw * 1.05))


def test_an_unknown_way_of_going_on_is_refused(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    with pytest.raises(ValueError, match="on_collapse='go on' must be one of stop, shed"):
        run(two_bus, make_day(two_bus, 1), scripted(FREE), on_collapse="go on")


def test_the_command_line_says_that_not_all_was_served(cosim: Make, two_bus: Feeder, tmp_path: Path) -> None:
    weak = two_bus.master.read_text().replace("Length=200", "Length=6000").replace("Buscoords Buscoords.csv", "")
    (tmp_path / "Master.dss").write_text(weak)
    text = (
        'name = "weak"\nfeeder = "Master.dss"\nstart = 2026-05-15T16:00:00\nhorizon_h = 2\n[ev]\nshare = 1.0\n'
        '[households]\nresponse = "immediate"\n[[runs]]\ncontroller = "none"\n[[runs]]\ncontroller = "dimming"\n'
    )
    (tmp_path / "weak.toml").write_text(text + '[grid]\non_collapse = "shed"\n')
    folder = tmp_path / "out"
    code, out, _ = cosim(
        "run", str(tmp_path / "weak.toml"), "--engine", "reduced", "--out", str(folder), "--no-figures"
    )
    assert code == 0
    metrics = json.loads((folder / "metrics.json").read_text())["controllers"]
    table = pd.read_parquet(folder / "trajectories" / "none" / "collapses.parquet")
    assert metrics["none"]["energy_not_served_kwh"] == pytest.approx(table["energy_not_served_kwh"].sum())
    assert metrics["none"]["energy_not_served_kwh"] > 0.1
    manifest = json.loads((folder / "manifest.json").read_text())
    told = manifest["runs"]["none"]["collapses"]
    assert len(told) == len(table)
    assert told[0].startswith(f"step {table['step'][0]}: ")
    assert (manifest["complete"], manifest["engine_crosscheck"]["none"]["collapses"]) == (True, min(len(told), 24))
    report = (folder / "report.html").read_text()
    assert "collapse: " in report
    assert "of consumption served in" in report
    assert "energy_not_served_kwh" in out
    assert "energy_not_served_kwh" in "".join(cosim("compare", str(folder))[1].split()).replace("_\n", "_")
    (tmp_path / "weak.toml").write_text(text)
    code, _, err = cosim("run", str(tmp_path / "weak.toml"), "--out", str(tmp_path / "stopped"), "--no-figures")
    assert code == 3
    assert "of consumption served in" in err
    assert "would have one" in err


@pytest.mark.parametrize("engine", ENGINES)
def test_a_neutral_that_carries_nothing_is_no_collapse(
    tmp_path: Path, make_day: Make, scripted: Make, engine: str
) -> None:
    """Without a voltage base OpenDSS asks such a neutral to stand still within a part of its own nanovolts."""
    master = tmp_path / "Master.dss"
    earth = "New Reactor.Earth phases=1 bus1=sourcebus.4 bus2=sourcebus.0 R=0 X=1e-10\n"
    cable = "New Line.L{0} bus1={1}.1.2.3.4 bus2={2}.1.2.3.4 phases=4 r1=0.3 x1=0.1 r0=0.9 x0=0.3 length=0.1 units=km\n"
    master.write_text(
        "Clear\nNew Circuit.four_wire basekv=0.416 pu=1.0 phases=3\n" + earth + cable.format(1, "sourcebus", "b")
        + cable.format(2, "b", "c") + "New Load.H1 bus1=b.1.4 phases=1 kv=0.24 kw=2 kvar=0\n"
        "New Load.H2 bus1=c.2.4 phases=1 kv=0.24 kw=2 kvar=0\nSolve\n"
    )  # fmt: skip
    feeder = feeders.load(master)
    demand = np.zeros((4, 2))
    demand[1:3] = [[3.0, 1.0], [900.0, 1.0]]
    day = make_day(feeder, 4, demand_kw=demand)
    told = run(feeder, day, scripted(Setpoints.free(2)), engine=engine, on_collapse="shed")
    assert [one.step for one in told.collapses] == [2]
    neutral_v = np.abs(told.node_v[:, [name.endswith(".4") for name in feeder.network.node_names]]).max(axis=1)
    assert neutral_v[0] < 1e-3 < neutral_v[1]
    assert 0.05 < told.collapses[0].served_share[0] < 0.5


def test_loads_feel_the_voltage_to_their_neutral_each_of_its_own_nominal() -> None:
    terminal_pu = TerminalPu(np.array([0, 0, 2]), np.array([1, -1, -1]), np.array([230.0, 230.0, 6350.0]))
    pu = terminal_pu(np.array([230.0, 120.0, 6350.0j]))
    np.testing.assert_allclose(pu, [110.0 / 230.0, 1.0, 1.0])
    assert not is_constant_power(pu)
    assert is_constant_power(pu[1:])


def test_opendss_finds_the_next_solution_after_the_wildest_load(two_bus: Feeder) -> None:
    engine, one = OpenDssEngine(two_bus), np.array([1.0, 0.0, 0.0])
    before = engine.solve(50.0 * one, 0.0 * one, np.nan).copy()
    with pytest.raises(PowerFlowError, match="did not converge in 100 iterations"):
        engine.solve(1e6 * one, 0.0 * one, np.nan)
    np.testing.assert_allclose(engine.solve(50.0 * one, 0.0 * one, np.nan), before, rtol=1e-6)
