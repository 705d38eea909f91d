"""The shipped feeders are what their SOURCE.md says, for the product and for OpenDSS alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import opendssdirect
import pytest

import cosim
from cosim import feeders

FOLDER = Path(feeders.__file__).resolve().parent
SHIPPED = ("european_lv", "mv_lv_village", "rural_four_wire", "two_bus")

EVENING = """
name = "evening"
feeder = "{}"
start = 2026-01-15T16:00:00
horizon_h = 8
step_min = 15
[households]
profiles = "january_weekday"
[ev]
share = 0.6
[[runs]]
controller = "none"
"""

# Conductor area [mm²]: (resistance at 20 °C by IEC 60228 [ohm/km], current in the ground by DIN VDE 0276-603 [A])
COPPER = {
    4: (4.61, 47),
    6: (3.08, 59),
    10: (1.83, 79),
    16: (1.15, 102),
    25: (0.727, 133),
    35: (0.524, 159),
    50: (0.387, 188),
    70: (0.268, 232),
    95: (0.193, 280),
    120: (0.153, 318),
    150: (0.124, 359),
    185: (0.0991, 406),
    240: (0.0754, 473),
}
ALUMINIUM = {
    35: (0.868, 123),
    50: (0.641, 144),
    70: (0.443, 179),
    95: (0.320, 215),
    120: (0.253, 245),
    150: (0.206, 275),
    185: (0.164, 313),
    240: (0.125, 364),
}
ALUMINIUM_CODES = {"35_sac_xsc", "4c_185", "4c_70", "4c_95_sac_xc"}


@pytest.fixture(params=SHIPPED)
def plain_opendss(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compile a feeder as a user of OpenDSS would: from anywhere, and with no options set by the product."""
    monkeypatch.chdir(tmp_path)  # compiling changes the working directory; this puts it back
    dss = opendssdirect.NewContext()
    dss.Text.Command(f'compile "{FOLDER / request.param / "Master.dss"}"')
    return dss


def test_compiles_and_serves_its_loads_in_plain_opendss(plain_opendss: Any) -> None:
    dss = plain_opendss
    dss.Solution.Solve()
    assert dss.Solution.Converged()
    assert dss.Solution.Convergence() == 1e-8
    for load in dss.Loads.AllNames():
        dss.Loads.Name(load)
        assert dss.Circuit.SetActiveElement(f"Load.{load}") >= 0
        served_kva = complex(*np.reshape(dss.CktElement.Powers(), (-1, 2)).sum(axis=0))
        # constant power: a load outside its voltage band would be served as an impedance, several percent off
        assert served_kva == pytest.approx(complex(dss.Loads.kW(), dss.Loads.kvar()), rel=1e-6)


def test_has_voltage_bases_and_coordinates_in_plain_opendss(plain_opendss: Any) -> None:
    dss = plain_opendss
    for bus in dss.Circuit.AllBusNames():
        dss.Circuit.SetActiveBus(bus)
        assert dss.Bus.kVBase() > 0
        assert dss.Bus.Coorddefined()


def test_european_lv_is_whole() -> None:
    feeder = feeders.load("european_lv")
    assert len(feeder.network.node_names) == 3 * 907
    assert len(feeder.network.lines) == 905
    assert sum(line.length_m for line in feeder.network.lines) == pytest.approx(1431.5146, abs=1e-4)
    assert feeder.customers == tuple(f"LOAD{n}" for n in range(1, 56))
    assert feeder.phase_matrix.sum(axis=0).tolist() == [21, 19, 15]
    assert feeder.load_kw.sum() == pytest.approx(57.358, abs=1e-6)
    np.testing.assert_allclose(feeder.load_kw / np.hypot(feeder.load_kw, feeder.load_kvar), 0.95, rtol=1e-9)
    assert len(feeder.coordinates) == 907
    assert (feeder.nominal_voltage_v, feeder.transformer_kva, feeder.network.source_pu) == (230.0, 800.0, 1.05)
    assert feeder.network.branch("LINE1").rating_a == 179.0
    assert feeder.warnings == ()


def test_two_bus_is_what_its_calculation_assumes() -> None:
    feeder = feeders.load("two_bus")
    assert feeder.load_kw.tolist() == [12.0, 6.0, 3.0]
    assert feeder.load_kvar.tolist() == [4.0, 2.0, 0.0]
    assert feeder.customer_phases == ((1,), (2,), (3,))
    assert feeder.transformer_rating_a == pytest.approx(100.0 / (np.sqrt(3) * 0.4))
    assert feeder.phase_limit_a == pytest.approx(144.34, abs=0.01)  # the transformer binds before the 180 A cable
    assert feeder.warnings == ()


def test_rural_four_wire_has_the_neutral_of_its_data() -> None:
    feeder = feeders.load("rural_four_wire")
    names = feeder.network.node_names
    assert feeder.phase_matrix.sum(axis=0).tolist() == [8, 4, 4]
    assert [names[row] for row in feeder.customer_neutral] == [f"{bus}.4" for bus in feeder.customer_bus]
    head = feeder.network.branch(str(feeder.head_line))
    assert [names[row].split(".")[1] for row in head.nodes] == ["1", "2", "3", "4"] * 2
    assert abs(feeder.network.no_load_v[head.nodes[3]]) < 1e-6  # earthed at the transformer
    assert sum(line.length_m for line in feeder.network.lines) == pytest.approx(1203.8293, abs=1e-4)
    assert {line.rating_a for line in feeder.network.lines} == {325.0, 187.0}
    assert feeder.load_kw.sum() == pytest.approx(87.011)
    assert feeder.warnings == ()


def test_mv_lv_village_is_two_areas_behind_one_line() -> None:
    feeder = feeders.load("mv_lv_village")
    found = {area.name: (area.parent, area.rating_kva, len(area.customers), area.head_line) for area in feeder.areas}
    assert found == {
        "PRIMARY": (None, 5000.0, 1, "M12"),
        "VILLAGE": ("PRIMARY", 250.0, 20, None),  # two cables leave it, and both are watched
        "HAMLET": ("PRIMARY", 100.0, 8, "B01"),
    }
    assert {limit.asset for limit in feeder.limits} == {*found, "REG", "M12", "B01", "A01", "A07", "M45"}
    assert feeder.customer_nominal_v[-1] == pytest.approx(11e3 / np.sqrt(3))
    assert set(feeder.customer_nominal_v[:-1]) == {230.0}
    start_v = dict(zip(feeder.network.node_names, np.abs(feeder.network.no_load_v), strict=True))
    taps = {"MV3.1": 1.025, "MV5.1": 1.025 * 1.01875}  # of 11 kV; cables charge a little
    for node, tap in taps.items():
        assert start_v[node] == pytest.approx(tap * 11e3 / np.sqrt(3), rel=1e-3)
    assert start_v["A5.1"] == pytest.approx(taps["MV5.1"] * 400 / np.sqrt(3), rel=1e-3)


@pytest.mark.parametrize("place", ["mv_lv_village", "rural_four_wire"])
def test_an_evening_runs_with_and_without_control(place: str, tmp_path: Path) -> None:
    scenario = tmp_path / "evening.toml"
    scenario.write_text(EVENING.format(place))
    day = cosim.load(scenario)
    free, shared = day.run("none").metrics, day.run("equal_share").metrics
    for metrics in (free, shared):
        assert metrics["degraded_steps"] == 0
        assert metrics["balance_error_percent"] < 1e-3
        assert metrics["balance_error_max_percent"] < 1e-4
    # a transformer of this size has room for all, and shares of it hold nobody back
    assert free["transformer_overload_min"] == shared["transformer_overload_min"] == 0
    assert free["ev_delivered_kwh"] >= shared["ev_delivered_kwh"] > 20.0


@pytest.mark.parametrize("plain_opendss", ["mv_lv_village"], indirect=True)
def test_taps_of_mv_lv_village_stand_where_its_controls_leave_them(plain_opendss: Any) -> None:
    dss = plain_opendss
    before = taps_of(dss)
    dss.Solution.Solve()
    assert taps_of(dss) == before == pytest.approx({"primary": 1.025, "reg": 1.01875, "village": 1.0, "hamlet": 1.0})


def taps_of(dss: Any) -> dict[str, float]:
    """Tap of the second winding of every transformer."""
    taps = {}
    for name in dss.Transformers.AllNames():
        dss.Transformers.Name(name)
        dss.Transformers.Wdg(2)
        taps[name] = dss.Transformers.Tap()
    return taps


@pytest.mark.parametrize("plain_opendss", ["european_lv"], indirect=True)
def test_cables_are_rated_by_the_published_table(plain_opendss: Any) -> None:
    dss = plain_opendss
    rated: dict[str, set[tuple[float, float]]] = {}
    for line in dss.Lines.AllNames():
        dss.Lines.Name(line)
        assert dss.Circuit.SetActiveElement(f"Line.{line}") >= 0
        ohm_per_km = round(dss.Lines.R1() * 1e3, 6)  # lengths are in metres
        rated.setdefault(dss.Lines.LineCode().lower(), set()).add((ohm_per_km, dss.CktElement.NormalAmps()))
    assert len(rated) == 10
    assert all(len(values) == 1 for values in rated.values())
    for code, ((ohm_per_km, rated_a),) in rated.items():
        table_a = table_current_a(ALUMINIUM if code in ALUMINIUM_CODES else COPPER, ohm_per_km)
        assert 0.95 * table_a <= rated_a <= 1.01 * table_a, code


def table_current_a(table: dict[int, tuple[float, int]], ohm_per_km: float) -> float:
    """Current of the cable of that resistance: the table, interpolated in both logarithms [A]."""
    resistance, current = np.log(np.array(sorted(table.values()))).T
    assert resistance[0] <= np.log(ohm_per_km) <= resistance[-1]
    return float(np.exp(np.interp(np.log(ohm_per_km), resistance, current)))
