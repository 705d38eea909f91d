"""What follows from voltages alone: currents, losses, and the check on what was served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cosim import feeders
from cosim.contract import Complex, Feeder
from cosim.network import ServedPower, branch_losses_kw, monitored_currents, terminal_currents
from cosim.opendss import OpenDssEngine
from cosim.trajectory import meter_voltage_v

NET_KW = np.array([12.0, 6.0, 3.0])
NET_KVAR = np.array([4.0, 2.0, 0.0])


@pytest.fixture(scope="module")
def voltages(two_bus: Feeder) -> Complex:
    return OpenDssEngine(two_bus).solve(NET_KW, NET_KVAR, float("nan")).copy()[None, :]


def test_currents_flow_towards_the_customers_and_agree_at_both_ends(two_bus: Feeder, voltages: Complex) -> None:
    cable, machine = two_bus.network.branch("LINE1"), two_bus.network.branch("tr1")
    in_cable, in_machine = monitored_currents((cable, machine), voltages)[0]
    np.testing.assert_allclose(in_machine, in_cable, atol=1e-6)
    np.testing.assert_allclose(np.abs(in_cable), [56.4326, 27.7883, 13.0644], atol=1e-3)  # SOURCE.md of the feeder
    home_v = voltages[0, [nodes[0] for nodes in two_bus.customer_nodes]]
    np.testing.assert_allclose(home_v * in_cable.conj() / 1e3, NET_KW + 1j * NET_KVAR, atol=1e-6)
    (all_terminals,) = terminal_currents([cable], voltages)
    np.testing.assert_allclose(all_terminals[0, :3], -all_terminals[0, 3:], atol=1e-6)


def test_losses_are_those_of_the_hand_calculation(two_bus: Feeder, voltages: Complex) -> None:
    losses = branch_losses_kw(two_bus.network.branches, voltages)[0]
    by_name = dict(zip((branch.name for branch in two_bus.network.branches), losses, strict=True))
    assert by_name == pytest.approx({"LINE1": 0.33020, "TR1": 0.08255}, abs=1e-4)


def test_an_unknown_branch(two_bus: Feeder) -> None:
    with pytest.raises(KeyError):
        two_bus.network.branch("nowhere")


def test_served_power_is_what_was_asked_for(two_bus: Feeder, voltages: Complex) -> None:
    check = ServedPower(two_bus.network, two_bus.load_ports)
    assert check.mismatch_kva(voltages[:1], (NET_KW + 1j * NET_KVAR)[None]).tolist() == pytest.approx([0.0], abs=1e-5)


def test_served_power_sees_every_node_and_not_only_the_sum(two_bus: Feeder, voltages: Complex) -> None:
    check = ServedPower(two_bus.network, two_bus.load_ports)
    wrong = NET_KW + 1j * NET_KVAR + np.array([[0.5, -0.5, 0.0], [0.0, 0.3j, 0.0]])
    found_kva = check.mismatch_kva(np.repeat(voltages[:1], 2, axis=0), wrong)
    assert found_kva.tolist() == pytest.approx([0.5, 0.3], abs=1e-4)


def test_frozen_arrays_are_copies_that_cannot_be_written(two_bus: Feeder) -> None:
    with pytest.raises(ValueError, match="read-only"):
        two_bus.load_kw[0] = 99.0


@pytest.mark.parametrize(
    ("phases_v", "told_v"),
    [
        ((231.0, 238.0, 228.0), 238.0),  # too high is as bad as too low
        ((231.0, 238.0, 221.0), 221.0),
        ((229.5, 230.0, 230.2), 229.5),
    ],
)
def test_the_meter_of_a_three_phase_customer_tells_the_phase_farthest_from_nominal(
    two_bus: Feeder, tmp_path: Path, phases_v: tuple[float, ...], told_v: float
) -> None:
    text = two_bus.master.read_text().replace("Buscoords Buscoords.csv", "")
    (tmp_path / "Master.dss").write_text(text + "New Load.SHOP Phases=3 Bus1=2 kV=0.4 kW=9 kvar=0\n")
    feeder = feeders.load(tmp_path / "Master.dss")
    node_v = np.full((1, len(feeder.network.node_names)), 230.0, complex)
    node_v[0, list(feeder.customer_nodes[feeder.customers.index("SHOP")])] = np.array(phases_v) * np.exp(
        -2j * np.pi / 3.0 * np.arange(3)
    )
    meter_v = dict(zip(feeder.customers, meter_voltage_v(feeder, node_v)[0], strict=True))
    assert meter_v == pytest.approx(dict(zip(("LOAD1", "LOAD2", "LOAD3", "SHOP"), (*phases_v, told_v), strict=True)))


def test_the_meter_reads_against_the_neutral_where_there_is_one(two_bus: Feeder) -> None:
    names = list(two_bus.network.node_names)
    wired = replace(two_bus, customer_neutral=(names.index("1.3"), -1, -1))  # any node will do
    node_v = np.full((1, len(names)), 230.0, complex)
    node_v[0, names.index("1.3")] = 5.0 - 3.0j
    assert meter_voltage_v(wired, node_v)[0].tolist() == pytest.approx([abs(225.0 + 3.0j), 230.0, 230.0])
