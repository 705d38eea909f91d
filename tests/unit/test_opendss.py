"""The engine: right voltages, own context, and no silent failure."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from cosim import feeders
from cosim.contract import Feeder
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
