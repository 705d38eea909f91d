"""The physical world: what setpoints turn into, and what is marked when it is not what was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cosim import Behaviour, Trajectory, feeders, run
from cosim.contract import Curve, Decision, Feeder, LocalCurves, Setpoints, Units
from cosim.devices import pv_output
from cosim.devices.battery import Batteries, Battery
from cosim.errors import RunStoppedError
from cosim.opendss import OpenDssEngine

Make = Callable[..., Any]
NOW = Behaviour("immediate")
FREE = Setpoints.free(3)


@pytest.fixture
def day_with_cars(two_bus: Feeder, make_day: Make, make_sessions: Make) -> Any:
    """Six steps; every home draws 1 kW and has a car that wants more than it can get."""
    cars = make_sessions((0, 0.0, 99.0, 30.0, 7.4), (1, 0.0, 99.0, 30.0, 7.4), (2, 7.5, 22.5, 30.0, 3.7))
    return make_day(two_bus, 6, demand_kw=1.0, sessions=cars)


def test_cars_charge_for_the_part_of_a_step_that_they_are_there(
    two_bus: Feeder, day_with_cars: Any, scripted: Make
) -> None:
    trajectory = run(two_bus, day_with_cars, scripted(FREE), behaviour=NOW)
    np.testing.assert_allclose(trajectory.ev_kw[:, 0], 7.4)
    np.testing.assert_allclose(trajectory.ev_kw[:, 2], [0.0, 1.85, 3.7, 3.7, 1.85, 0.0])
    np.testing.assert_allclose(trajectory.plugged[:, 2], [0.0, 0.5, 1.0, 1.0, 0.5, 0.0])
    np.testing.assert_allclose(trajectory.net_kw, 1.0 + trajectory.ev_kw)
    assert trajectory.delivered_kwh[2] == pytest.approx(3.7 * 0.9 * 15 / 60)
    np.testing.assert_allclose(np.diff(trajectory.soc_kwh[:, 0]), 7.4 * 0.9 / 12)


def test_caps_bind_the_net_import_and_below_six_amperes_the_charger_pauses(
    two_bus: Feeder, day_with_cars: Any, scripted: Make
) -> None:
    caps = replace(FREE, import_cap_kw=np.array([4.0, 2.3, 2.5]))
    trajectory = run(two_bus, day_with_cars, scripted(caps), behaviour=NOW)
    np.testing.assert_allclose(trajectory.net_kw[:, 0], 4.0)
    np.testing.assert_allclose(trajectory.ev_kw[:, 1], 0.0)  # 1.3 kW would be less than 6 A
    np.testing.assert_allclose(trajectory.ev_kw[:, 2], [0.0, 0.75, 1.5, 1.5, 0.75, 0.0])


def test_noncompliant_homes_ignore_caps_but_not_their_charger(
    two_bus: Feeder, day_with_cars: Any, scripted: Make
) -> None:
    noncompliant = Behaviour("immediate", np.array([True, False, False]))
    caps = replace(FREE, import_cap_kw=np.full(3, 0.0))
    trajectory = run(two_bus, day_with_cars, scripted(caps), behaviour=noncompliant)
    np.testing.assert_allclose(trajectory.ev_kw[:, 0], 7.4)
    np.testing.assert_allclose(trajectory.ev_kw[:, 1:], 0.0)
    # a limit on the charger itself is not the household's to ignore
    limits = replace(FREE, ev_limit_kw=np.full(3, 3.0))
    trajectory = run(two_bus, day_with_cars, scripted(limits), behaviour=noncompliant)
    np.testing.assert_allclose(trajectory.ev_kw[:, :2], 3.0)


def test_the_roof_of_a_home_makes_room_under_its_cap(
    two_bus: Feeder, make_day: Make, make_sessions: Make, scripted: Make
) -> None:
    day = make_day(
        two_bus, 3, demand_kw=1.0, pv_available_kw=2.0, inverter_kva=4.0,
        sessions=make_sessions((0, 0.0, 99.0, 30.0, 7.4)),
    )  # fmt: skip
    caps = replace(FREE, import_cap_kw=np.full(3, 1.0), pv_limit_kw=np.array([np.inf, 0.5, 0.0]))
    trajectory = run(two_bus, day, scripted(caps), behaviour=NOW)
    np.testing.assert_allclose(trajectory.ev_kw[:, 0], 2.0)
    np.testing.assert_allclose(trajectory.net_kw[:, 0], 1.0)
    np.testing.assert_allclose(trajectory.pv_kw, [[2.0, 0.5, 0.0]] * 3)


def test_the_inverter_bounds_what_the_roof_gives(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    day = make_day(two_bus, 2, pv_available_kw=5.0, inverter_kva=[4.0, 5.0, 0.0])
    trajectory = run(two_bus, day, scripted(FREE))
    np.testing.assert_allclose(trajectory.pv_kw, [[4.0, 5.0, 0.0]] * 2)
    np.testing.assert_allclose(trajectory.net_kw, [[-4.0, -5.0, 0.0]] * 2)
    assert (trajectory.voltage_v[:, 0] > 231.0).all()


def test_a_fallback_of_the_controller_degrades_the_step(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    setpoints = replace(FREE, decision=Decision("gap_limit", fallback="the solver found nothing"), planned_kva=7.0)
    trajectory = run(two_bus, make_day(two_bus, 4, demand_kw=1.0), scripted(setpoints), control_min=10)
    assert trajectory.degraded.tolist() == [True, False, True, False]
    assert trajectory.notes == ((0, "fallback: the solver found nothing"), (2, "fallback: the solver found nothing"))
    assert trajectory.planned_kva.tolist() == [7.0] * 4
    assert trajectory.reproducible


def test_a_wall_clock_decision_makes_the_run_irreproducible(two_bus: Feeder, make_day: Make, scripted: Make) -> None:
    setpoints = replace(FREE, decision=Decision("time_limit", reproducible=False))
    assert not run(two_bus, make_day(two_bus, 2), scripted(setpoints)).reproducible


@pytest.mark.parametrize(("rated_kv", "served"), [(0.4, True), (0.23, False), (0.85, False)])
def test_power_that_is_not_served_as_requested_is_noticed(
    two_bus: Feeder, make_day: Make, scripted: Make, tmp_path: Path, rated_kv: float, served: bool
) -> None:
    """Outside half to one and a half times its rating OpenDSS makes a load an impedance, converges, says nothing.

    A three-phase load that is rated by its phase-to-neutral voltage is a common slip.
    """
    text = two_bus.master.read_text().replace("Buscoords Buscoords.csv", "")
    (tmp_path / "Master.dss").write_text(text + f"New Load.SHOP Phases=3 Bus1=2 kV={rated_kv} kW=9 kvar=0 Model=1\n")
    feeder = feeders.load(tmp_path / "Master.dss")
    trajectory = run(feeder, make_day(feeder, 2, demand_kw=[1.0, 1.0, 1.0, 9.0]), scripted(Setpoints.free(4)))
    assert trajectory.degraded.tolist() == [not served] * 2
    notes = [note for _, note in trajectory.notes]
    assert all("power served differs from power requested by" in note for note in notes)
    assert len(notes) == (0 if served else 2)


STEEP = Curve((253.0, 253.5), (1.0, 0.0), "test")
STANDARD = Curve((253.0, 260.0), (1.0, 0.2), "test")
VOLT_VAR = Curve((207.0, 220.0, 240.0, 258.0), (-0.44, 0.0, 0.0, 0.6), "test")


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Feeder:
    """Twelve homes on 1.4 km of thin cable: at the far end a kilowatt moves the voltage by more than a volt."""
    lines = [
        "Clear", "Set DefaultBaseFrequency=50", "New Circuit.weak Bus1=src BasekV=11 pu=1.03 R1=0 X1=0.001",
        "New Transformer.T Phases=3 Windings=2 Buses=[src b0] Conns=[Delta Wye] kVs=[11 0.4] kVAs=[100 100] XHL=4",
        "New LineCode.thin nphases=3 R1=0.6 X1=0.08 R0=1.8 X0=0.3 C1=0 C0=0 Units=km NormAmps=150 EmergAmps=150",
    ]  # fmt: skip
    for home in range(1, 13):
        lines.append(f"New Line.L{home} Bus1=b{home - 1} Bus2=b{home} Phases=3 LineCode=thin Length=120 Units=m")
        lines.append(f"New Load.H{home} Phases=1 Bus1=b{home}.{(home - 1) % 3 + 1} kV=0.23 kW=1 kvar=0")
    master = tmp_path_factory.mktemp("weak") / "Master.dss"
    master.write_text("\n".join([*lines, "Set VoltageBases=[11 0.4]", "CalcVoltageBases"]))
    return feeders.load(master)


@pytest.mark.parametrize("volt_watt", [STANDARD, STEEP], ids=["standard", "steep"])
@pytest.mark.parametrize("volt_var", [None, VOLT_VAR], ids=["volt_watt", "with_volt_var"])
def test_local_curves_settle_inside_the_step_on_a_weak_feeder(
    weak: Feeder, make_day: Make, scripted: Make, volt_watt: Curve, volt_var: Curve | None
) -> None:
    sun = np.array([0.5, 2.0, 4.0, 5.0])[:, None]
    curves = LocalCurves(pv_volt_watt=volt_watt, pv_volt_var=volt_var)
    day = make_day(weak, 4, demand_kw=0.3, pv_available_kw=sun, inverter_kva=5.0)
    trajectory = run(weak, day, scripted(replace(Setpoints.free(12), curves=curves)))
    assert trajectory.notes == ()
    assert trajectory.pv_kw[-1].sum() < 0.95 * 60.0  # they had something to do
    for step in range(4):
        at_meter_v = trajectory.voltage_v[step]
        answer = pv_output(day.pv_available_kw[step], np.full(12, np.inf), day.inverter_kva, at_meter_v, curves)
        np.testing.assert_allclose(trajectory.pv_kw[step], answer[0], atol=0.0101)
        np.testing.assert_allclose(trajectory.pv_kvar[step], answer[1], atol=0.0101)
        apparent = np.hypot(trajectory.pv_kw[step], trajectory.pv_kvar[step])
        assert (apparent <= 5.0 + 0.01).all()


def test_chargers_settle_on_their_curve_at_low_voltage(
    weak: Feeder, make_day: Make, make_sessions: Make, scripted: Make
) -> None:
    """Without the curve, twelve cars at once are more than the cable can carry at any voltage."""
    curve = Curve((207.0, 218.5), (6.0 / 32.0, 1.0), "test")
    cars = make_sessions(*[(home, 0.0, 999.0, 40.0, 7.4 if home % 3 else 3.7) for home in range(12)])
    day = make_day(weak, 3, demand_kw=0.3, sessions=cars)
    with pytest.raises(RunStoppedError, match="did not converge"):
        run(weak, day, scripted(Setpoints.free(12)), behaviour=NOW)
    setpoints = replace(Setpoints.free(12), curves=LocalCurves(ev_volt_watt=curve))
    trajectory = run(weak, day, scripted(setpoints), behaviour=NOW)
    assert trajectory.notes == ()
    rating = np.where(np.arange(12) % 3, 7.4, 3.7)
    expected = np.maximum(curve(trajectory.voltage_v) * rating, 1.38)
    np.testing.assert_allclose(trajectory.ev_kw, expected, atol=0.0101)
    assert trajectory.ev_kw.min() < 2.0 < trajectory.ev_kw.max()


def test_curves_that_nothing_can_satisfy_are_marked(weak: Feeder, make_day: Make, scripted: Make) -> None:
    """A jump within a microvolt on a cable where a kilowatt moves volts: neither on nor off is an answer."""
    jump = Curve((250.0, 250.0 + 1e-6), (1.0, 0.0), "test")
    day = make_day(weak, 1, demand_kw=0.0, pv_available_kw=5.0, inverter_kva=5.0)
    trajectory = run(weak, day, scripted(replace(Setpoints.free(12), curves=LocalCurves(pv_volt_watt=jump))))
    assert trajectory.degraded.tolist() == [True]
    assert "local curves did not settle" in trajectory.notes[0][1]


def same(first: Trajectory, second: Trajectory) -> bool:
    return first.node_v.tobytes() == second.node_v.tobytes() and first.ev_kw.tobytes() == second.ev_kw.tobytes()


def test_a_day_without_cars_and_sun_takes_the_short_way_to_the_same_result(
    two_bus: Feeder, make_day: Make, make_sessions: Make, scripted: Make
) -> None:
    demand = np.random.default_rng(3).uniform(0.2, 4.0, (5, 3))
    short = run(two_bus, make_day(two_bus, 5, demand_kw=demand, demand_kvar=0.2), scripted(FREE))
    late = make_sessions((0, 900.0, 999.0, 5.0, 7.4))  # a car that never comes within the horizon
    long = run(two_bus, make_day(two_bus, 5, demand_kw=demand, demand_kvar=0.2, sessions=late), scripted(FREE))
    assert same(short, long)


@pytest.mark.parametrize("source_pu", [0.45, 1.6])
@pytest.mark.parametrize("with_car", [False, True], ids=["short_way", "with_car"])
def test_voltages_at_which_nobody_is_served_stop_the_run_with_cars_and_without(
    two_bus: Feeder, make_day: Make, make_sessions: Make, scripted: Make, source_pu: float, with_car: bool
) -> None:
    """OpenDSS converges there, since loads are impedances then: a day without cars takes a way of its own to this."""
    cars = {"sessions": make_sessions((0, 0.0, 99.0, 5.0, 7.4))} if with_car else {}
    day = make_day(two_bus, 3, demand_kw=1.0, source_pu=[1.0, source_pu, 1.0], **cars)
    with pytest.raises(RunStoppedError, match=r"step 1 of 3: voltage collapse") as stopped:
        run(two_bus, day, scripted(FREE))
    assert stopped.value.trajectory.steps == 1


def test_recorded_powers_are_those_that_the_recorded_voltages_belong_to(
    weak: Feeder, make_day: Make, make_sessions: Make, scripted: Make
) -> None:
    """With inverters that absorb: a record with reactive power of the wrong sign is of another feeder."""
    curves = LocalCurves(pv_volt_watt=STANDARD, pv_volt_var=VOLT_VAR)
    day = make_day(
        weak, 3, demand_kw=0.3, demand_kvar=0.1, pv_available_kw=5.0, inverter_kva=5.0,
        sessions=make_sessions((2, 0.0, 99.0, 5.0, 3.7)),
    )  # fmt: skip
    trajectory = run(weak, day, scripted(replace(Setpoints.free(12), curves=curves)), behaviour=NOW)
    assert trajectory.pv_kvar.max() > 0.5
    np.testing.assert_allclose(trajectory.net_kvar, day.demand_kvar + trajectory.pv_kvar)
    np.testing.assert_allclose(trajectory.net_kw, day.demand_kw + trajectory.ev_kw - trajectory.pv_kw)
    assert trajectory.pv_kw.sum() < day.pv_available_kw.sum() - 1.0  # what is recorded is not what was available
    engine = OpenDssEngine(weak)
    for k in range(3):
        again = engine.solve(trajectory.net_kw[k], trajectory.net_kvar[k], float("nan"))
        np.testing.assert_allclose(again, trajectory.node_v[k], rtol=1e-6)


def test_an_export_cap_holds_back_the_battery_first_and_then_the_roof(
    two_bus: Feeder, make_day: Make, scripted: Make
) -> None:
    each = np.ones(3)
    battery = Units(Battery, Batteries(8.0 * each, 2.0 * each, each, each, 8.0 * each))
    day = make_day(
        two_bus, 2, demand_kw=1.0, pv_available_kw=4.0, inverter_kva=4.0, devices={"battery": battery}
    )  # fmt: skip
    asked = replace(FREE, export_cap_kw=np.array([np.inf, 4.0, 1.5]), channels={"battery_target_kw": np.full(3, -2.0)})
    held = run(two_bus, day, scripted(asked))
    np.testing.assert_allclose(held.net_kw, [[-5.0, -4.0, -1.5]] * 2)
    np.testing.assert_allclose(held.channels["battery_kw"], [[-2.0, -1.0, 0.0]] * 2)
    np.testing.assert_allclose(held.pv_kw, [[4.0, 4.0, 2.5]] * 2)
    np.testing.assert_allclose(held.channels["export_cap_kw"], [[np.inf, 4.0, 1.5]] * 2)
    ignored = run(two_bus, day, scripted(asked), behaviour=Behaviour(noncompliant=np.array([False, False, True])))
    np.testing.assert_allclose(ignored.net_kw[:, 2], -5.0)


@pytest.mark.parametrize("agreed", [None, np.array([[2.5, 2.5, 2.5], [0.5, 0.5, 0.5]])])
def test_homes_without_communication_keep_what_was_agreed_else_what_they_heard_last(
    two_bus: Feeder, make_day: Make, make_sessions: Make, scripted: Make, agreed: np.ndarray | None
) -> None:
    day = make_day(
        two_bus, 6, demand_kw=1.0, sessions=make_sessions((0, 0.0, 99.0, 30.0, 7.4), (1, 0.0, 99.0, 30.0, 7.4))
    )
    silent = np.zeros((6, 3), bool)
    silent[2:4, 0] = True

    def caps(seen: Any) -> Setpoints:
        return replace(FREE, import_cap_kw=np.full(3, 4.0 + seen.step), fallback_kw=agreed)

    behaviour = Behaviour("immediate", silent=silent)
    held = run(two_bus, day, scripted(caps), behaviour=behaviour, control_min=5.0)
    kept = [5.0, 5.0] if agreed is None else [2.5, 2.5]
    np.testing.assert_allclose(held.net_kw[:, 0], [4.0, 5.0, *kept, 8.0, 8.4])
    np.testing.assert_allclose(held.net_kw[:, 1], [4.0, 5.0, 6.0, 7.0, 8.0, 8.4])
    np.testing.assert_allclose(held.import_cap_kw[:, 0], [4.0, 5.0, *kept, 8.0, 9.0])
