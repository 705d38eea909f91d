"""Four wires: voltages are phase to neutral, the neutral's current and voltage its own; against plain OpenDSS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import opendssdirect
import pytest

import cosim
from cosim import feeders
from cosim.experiments.unbalance_tables import analyse
from cosim.measures import scoreboard, worst_moments
from cosim.trajectory import Trajectory

CIRCUIT = """Clear
Set DefaultBaseFrequency=50
New Circuit.lane Bus1=src BasekV=11 pu=1.0 R1=0 X1=0.0001 R0=0 X0=0.0001
New Transformer.T1 Phases=3 Windings=2 Buses=[src lv.1.2.3.4] Conns=[Delta Wye] kVs=[11 0.4] kVAs=[100 100] XHL=4
~ %Rs=[0.5 0.5] ppm_antifloat=0
New Reactor.EARTH Phases=1 Bus1=lv.4 Bus2=lv.0 R=5 X=0
New LineCode.pole nphases=4 BaseFreq=50 Units=km NormAmps=120 EmergAmps=120
~ rmatrix=[0.4 | 0.05 0.4 | 0.05 0.05 0.4 | 0.05 0.05 0.05 0.5]
~ xmatrix=[0.7 | 0.4 0.7 | 0.36 0.4 0.7 | 0.33 0.36 0.4 0.7]
~ cmatrix=[0 | 0 0 | 0 0 0 | 0 0 0 0]
New Line.HEAD Bus1=lv.1.2.3.4 Bus2=a.1.2.3.4 Phases=4 LineCode=pole Length=200 Units=m
New Line.TAIL Bus1=a.1.2.3.4 Bus2=b.1.2.3.4 Phases=4 LineCode=pole Length=0.3 Units=km
New Reactor.STAKE Phases=1 Bus1=b.4 Bus2=b.0 R=20 X=0
New Load.H1 Phases=1 Bus1=a.1.4 kV=0.23 kW=4 PF=1 Vminpu=0.5 Vmaxpu=1.5
New Load.H2 Phases=1 Bus1=a.2.4 kV=0.23 kW=2 PF=1 Vminpu=0.5 Vmaxpu=1.5
New Load.H3 Phases=1 Bus1=b.1.4 kV=0.23 kW=6 PF=0.95 Vminpu=0.5 Vmaxpu=1.5
New Load.SHOP Phases=3 Bus1=b.1.2.3.4 kV=0.4 kW=9 PF=0.95 Vminpu=0.5 Vmaxpu=1.5
Set VoltageBases=[11 0.4]
CalcVoltageBases
Set Tolerance=1e-10 MaxIterations=200
Solve
"""
SCENARIO = """name = "lane"
feeder = "Master.dss"
start = 2026-05-15T12:00:00
horizon_h = 1
step_min = 5
[grid]
standard = "{}"
[households]
profiles = "feeder"
[[runs]]
controller = "none"
"""
A = np.exp(2j * np.pi / 3)


def write(folder: Path, standard: str = "en50160") -> Path:
    (folder / "Master.dss").write_text(CIRCUIT, encoding="utf-8")
    (folder / "feeder.toml").write_text("nominal_voltage_v = 230.0\n", encoding="utf-8")
    (folder / "lane.toml").write_text(SCENARIO.format(standard), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Trajectory:
    return cosim.load(write(tmp_path_factory.mktemp("lane")) / "lane.toml").run("none").trajectory


@pytest.fixture(scope="module")
def opendss(run: Trajectory):
    """The circuit as OpenDSS itself solves it; constant loads, so every step of the run is the same."""
    dss = opendssdirect.NewContext()
    dss.Basic.AllowChangeDir(False)
    dss.Text.Command(f'compile "{run.feeder.master}"')
    assert dss.Solution.Converged()
    return dss


@pytest.fixture(scope="module")
def nodes(opendss) -> dict[str, complex]:
    volts = np.array(opendss.Circuit.AllBusVolts()).view(complex)
    return dict(zip((name.upper() for name in opendss.Circuit.AllNodeNames()), volts, strict=True))


def currents_a(dss, element: str) -> np.ndarray:
    dss.Circuit.SetActiveElement(element)
    return np.array(dss.CktElement.Currents()).view(complex)


def test_voltages_of_customers_are_phase_to_neutral_everywhere(run, nodes):
    homes = {"H1": ("A", 1), "H2": ("A", 2), "H3": ("B", 1)}
    own_v = [abs(nodes[f"{bus}.{phase}"] - nodes[f"{bus}.4"]) for bus, phase in homes.values()]
    shop = np.array([nodes[f"B.{phase}"] - nodes["B.4"] for phase in (1, 2, 3)])
    of_shop_v = np.abs(shop)[np.abs(np.abs(shop) - 230.0).argmax()]
    assert run.voltage_v[0] == pytest.approx([*own_v, of_shop_v], rel=1e-6)
    metrics = scoreboard(run)
    every_v = [*own_v, *np.abs(shop)]
    assert metrics["voltage_min_pu"] == pytest.approx(min(every_v) / run.feeder.nominal_voltage_v, rel=1e-6)
    assert metrics["voltage_max_pu"] == pytest.approx(max(every_v) / run.feeder.nominal_voltage_v, rel=1e-6)
    at_a = np.array([nodes[f"A.{phase}"] - nodes["A.4"] for phase in (1, 2, 3)])
    zero, one, two = (np.abs(np.stack([at_a, shop]) @ turn) for turn in ([1, 1, 1], [1, A, A**2], [1, A**2, A]))
    assert metrics["vuf_max_percent"] == pytest.approx((100 * two / one).max(), rel=1e-5)
    assert metrics["v0_p95_percent"] == pytest.approx(np.percentile(np.tile(100 * zero / one, 6), 95), rel=1e-5)


def test_every_bus_is_measured_against_its_own_neutral_also_without_a_customer(run, nodes):
    buses = analyse(run).buses.set_index("bus")
    assert set(buses.index) == {"SRC", "LV", "A", "B"}
    for bus in ("LV", "A", "B"):
        magnitude = np.abs([nodes[f"{bus}.{phase}"] - nodes[f"{bus}.4"] for phase in (1, 2, 3)])
        assert buses.loc[bus, "voltage_min_pu"] == pytest.approx(
            magnitude.min() / run.feeder.nominal_voltage_v, rel=1e-6
        )


def test_the_neutral_current_is_that_of_the_conductor_not_what_earth_returns_too(run, opendss):
    head, tail = (currents_a(opendss, f"Line.{name}") for name in ("HEAD", "TAIL"))
    winding = currents_a(opendss, "Transformer.T1")[4:8]
    assert abs(abs(tail[3]) - abs(tail[:3].sum())) > 0.1  # the stake in the ground returns the rest
    metrics = scoreboard(run)
    assert metrics["neutral_current_p95_a"] == pytest.approx(abs(winding[3]), rel=1e-5)
    assert metrics["neutral_current_max_a"] == pytest.approx(max(abs(winding[3]), abs(head[3]), abs(tail[3])), rel=1e-5)
    lines = analyse(run).lines.set_index("branch")
    assert lines.loc["TAIL", "neutral_max_a"] == pytest.approx(abs(tail[3]), rel=1e-5)
    assert lines.loc["HEAD", "neutral_max_a"] == pytest.approx(abs(head[3]), rel=1e-5)


def test_what_each_customer_adds_is_of_the_neutral_conductor(run):
    found = analyse(run)
    shares = found.causes.set_index("customer")["neutral_share_a"]
    assert shares["H3"] > shares["H1"] > 0 > shares["H2"]


def test_the_largest_voltage_of_a_neutral_is_reported_with_its_place(run, nodes):
    against_earth = {bus: abs(nodes[f"{bus}.4"]) for bus in ("LV", "A", "B")}
    assert scoreboard(run)["neutral_voltage_max_v"] == pytest.approx(max(against_earth.values()), rel=1e-6)
    worst = worst_moments(run)
    assert worst["neutral_voltage_max_v"]["bus"] == max(against_earth, key=lambda bus: against_earth[bus]) == "B"
    assert worst["neutral_current_max_a"]["element"] in ("T1", "HEAD")


def test_a_street_of_three_wires_has_no_voltage_of_a_neutral():
    two_bus = cosim.load("two_bus_evening").run("none").trajectory
    assert two_bus.feeder.neutral_nodes.size == 0
    assert np.isnan(scoreboard(two_bus)["neutral_voltage_max_v"])
    assert "neutral_voltage_max_v" not in worst_moments(two_bus)


def test_a_feeder_of_sixty_hertz_is_told_that_its_standard_is_of_fifty(tmp_path):
    master = write(tmp_path) / "Master.dss"
    assert not any("Hz" in warning for warning in feeders.load(master).warnings)
    assert any(
        "50 Hz" in warning and "ANSI" in warning for warning in feeders.load(master, standard="ansi_c84_1").warnings
    )


def test_a_line_of_one_phase_without_any_current_is_still_named(run):
    still = np.zeros_like(run.node_v)
    tail = replace(run.feeder.network.branch("TAIL"), phases=(0, 2, 0, 4))
    head = [branch for branch in run.feeder.network.branches if branch.kind != "line"]
    network = replace(run.feeder.network, branches=(*head, tail))
    worst = worst_moments(replace(run, node_v=still, feeder=replace(run.feeder, network=network, limits=())))
    assert worst["line_peak_percent"]["element"] == "TAIL"
    assert (worst["line_peak_percent"]["phase"], worst["line_peak_percent"]["value"]) == ("b", 0.0)
