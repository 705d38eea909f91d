"""The engine: right voltages, own context, and no silent failure."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosim import feeders
from cosim.contract import Feeder, TransformerSpec
from cosim.errors import InputError, PowerFlowError
from cosim.opendss import OpenDssEngine

OWN = float("nan")
NOTHING = np.zeros(3)


def test_solves_what_a_quadratic_equation_gives(two_bus: Feeder) -> None:
    voltage = OpenDssEngine(two_bus).solve(np.array([12.0, 6.0, 3.0]), np.array([4.0, 2.0, 0.0]), OWN)
    at_home = np.abs(voltage[[nodes[0] for nodes in two_bus.customer_nodes]])
    np.testing.assert_allclose(at_home, [224.1453, 227.5976, 229.6313], atol=1e-4)  # SOURCE.md of the feeder


def test_without_load_it_agrees_with_the_linear_network(european_lv: Feeder) -> None:
    nobody = np.zeros(len(european_lv.customers))
    voltage = OpenDssEngine(european_lv).solve(nobody, nobody, OWN)
    np.testing.assert_allclose(voltage, european_lv.network.no_load_v, rtol=1e-6)


def test_the_source_voltage_is_set_and_goes_back_to_the_feeders_own(two_bus: Feeder) -> None:
    engine = OpenDssEngine(two_bus)
    own, high, again = (np.abs(engine.solve(NOTHING, NOTHING, pu)[0]) for pu in (OWN, 1.05, OWN))
    assert high == pytest.approx(1.05 * own, rel=1e-6)
    assert again == pytest.approx(own, rel=1e-9)


def test_two_engines_do_not_disturb_each_other(two_bus: Feeder, european_lv: Feeder) -> None:
    some, load = np.full(55, 1.0), np.array([12.0, 6.0, 3.0])
    alone = OpenDssEngine(two_bus).solve(load, NOTHING, OWN).copy()
    first, second = OpenDssEngine(two_bus), OpenDssEngine(european_lv)
    second.solve(some, some * 0.0, OWN)
    between = first.solve(load, NOTHING, OWN).copy()
    second.solve(2 * some, some * 0.0, OWN)
    assert between.tobytes() == alone.tobytes()


def test_the_working_directory_stays(two_bus: Feeder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    OpenDssEngine(two_bus)
    assert Path(os.getcwd()) == tmp_path


def test_a_power_flow_without_solution_is_an_error_and_the_engine_recovers(two_bus: Feeder) -> None:
    engine = OpenDssEngine(two_bus)
    before = engine.solve(np.ones(3), NOTHING, OWN).copy()
    with pytest.raises(PowerFlowError, match=r"did not converge in 100 iterations .* \(largest customer 5000.0 kW"):
        engine.solve(np.full(3, 5000.0), NOTHING, OWN)
    np.testing.assert_allclose(engine.solve(np.ones(3), NOTHING, OWN), before, rtol=1e-7)


def test_a_file_that_changed_since_it_was_read_is_refused(two_bus: Feeder, tmp_path: Path) -> None:
    shutil.copytree(two_bus.master.parent, tmp_path / "copy")
    master = tmp_path / "copy" / "Master.dss"
    feeder = feeders.load(master)
    text = master.read_text().replace(
        "Set VoltageBases", "New Line.X Bus1=2 Bus2=3 Phases=3 Length=1\nSet VoltageBases"
    )
    master.write_text(text)
    with pytest.raises(InputError, match="load the feeder again"):
        OpenDssEngine(feeder)


@pytest.mark.parametrize(
    "habit",
    [
        "Set LoadMult=0.4 Mode=Daily Number=24 Hour=12 Year=5 %growth=10",
        "Set LoadModel=Admittance Tolerance=0.1 MaxIterations=2 MaxControlIter=1",
        "BatchEdit Load..* Model=2 Status=Fixed Vminpu=0.99 Vmaxpu=1.01 Vlowpu=0.99",
        "BatchEdit Load..* Model=5 Status=Exempt",
    ],
)
def test_what_a_file_sets_for_its_own_studies_changes_no_power_flow(
    two_bus: Feeder, tmp_path: Path, habit: str
) -> None:
    """A user's file is often left as its last study needed it: another load multiplier, mode, load model, tolerance."""
    shutil.copytree(two_bus.master.parent, tmp_path / "mine")
    with (tmp_path / "mine" / "Master.dss").open("a") as file:
        file.write(f"{habit}\n")
    feeder = feeders.load(tmp_path / "mine" / "Master.dss")
    np.testing.assert_allclose(feeder.network.no_load_v, two_bus.network.no_load_v, rtol=1e-6)
    for load_kw in ([12.0, 6.0, 3.0], [1.0, 0.0, 30.0]):
        voltage, expected = (
            OpenDssEngine(one).solve(np.array(load_kw), np.array([4.0, 2.0, 0.0]), OWN) for one in (feeder, two_bus)
        )
        np.testing.assert_allclose(voltage, expected, rtol=1e-7)


def test_a_regulator_of_the_file_stays_where_the_file_has_it(two_bus: Feeder, tmp_path: Path) -> None:
    """Its taps would move with what was solved before, so that the same loads gave other voltages."""
    shutil.copytree(two_bus.master.parent, tmp_path / "mine")
    with (tmp_path / "mine" / "Master.dss").open("a") as file:
        file.write("New RegControl.R1 Transformer=TR1 Winding=2 Vreg=125 Band=1 PTratio=2 Delay=0\n")
    feeder = feeders.load(tmp_path / "mine" / "Master.dss")
    load = np.array([12.0, 6.0, 3.0])
    voltage, expected = (OpenDssEngine(one).solve(load, NOTHING, OWN) for one in (feeder, two_bus))
    np.testing.assert_allclose(voltage, expected, rtol=1e-6)


def test_a_replaced_transformer_has_the_impedance_and_the_losses_of_its_nameplate() -> None:
    """uk is the impedance, not the reactance: of a small machine, whose resistance is large, 4 % are 10 % too much."""
    feeder = feeders.load("two_bus", transformer=TransformerSpec(kva=15, uk_percent=4.0, load_loss_percent=2.4))
    machine = feeder.network.branch("TR1")
    base_ohm = 400.0**2 / 15e3
    # the other side short-circuited, a phase of the star shows the short-circuit impedance to its own voltage
    first = machine.monitored.start
    short_circuit_ohm = 1.0 / machine.admittance_s[first, first]
    assert abs(short_circuit_ohm) == pytest.approx(0.04 * base_ohm, rel=1e-4)
    assert short_circuit_ohm.real == pytest.approx(0.024 * base_ohm, rel=1e-4)
    assert feeder.transformer_rating_a == pytest.approx(15e3 / (np.sqrt(3.0) * 400.0))


def test_voltages_stand_at_their_nodes_in_whatever_order_they_come(two_bus: Feeder) -> None:
    """The order is OpenDSS's own, and may be another in its next version or after a file was edited."""
    backwards = replace(two_bus, network=replace(two_bus.network, node_names=two_bus.network.node_names[::-1]))
    load = np.array([12.0, 6.0, 3.0])
    voltage, expected = (OpenDssEngine(one).solve(load, NOTHING, OWN) for one in (backwards, two_bus))
    np.testing.assert_allclose(voltage[::-1], expected, rtol=1e-7)
