"""power-grid-model solves every shipped place whose neutral is reduced: another program, another method, same voltages.

It is given name plates as plain OpenDSS reads them from the file: sequence impedances, rated voltages, taps. So it also
says whether the admittances that this project's engines share are those of the machines.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import opendssdirect
import pytest

from cosim import feeders
from cosim.contract import Complex, Feeder, Float
from cosim.opendss import OpenDssEngine
from cosim.reduced import ReducedNetwork

grid = pytest.importorskip("power_grid_model")  # of the extra `test`
Input, Kind, Winding = grid.DatasetType.input, grid.ComponentType, grid.WindingType

THREE_WIRES = ("european_lv", "mv_lv_village", "two_bus")
STATES = 24
LIMIT_PU = 1e-6
LOG = logging.getLogger(__name__)

Rows = list[dict[str, Any]]


def test_no_place_of_three_wires_is_left_out() -> None:
    places = {name: feeders.load(name).network.node_names for name in feeders.names()}
    reduced = [name for name, nodes in places.items() if not any(node.endswith(".4") for node in nodes)]
    assert tuple(reduced) == THREE_WIRES


@pytest.mark.parametrize("place", THREE_WIRES)
def test_agrees_on_random_states(place: str) -> None:
    feeder = feeders.load(place)
    feeder = replace(feeder, network=replace(feeder.network, controls=()))  # taps where the file puts them: linear
    rng = np.random.default_rng(1)
    # all alike, from feed-in at noon to an evening with cars, and everyone for himself on top
    kw = feeder.load_kw * (rng.uniform(-2.0, 3.0, (STATES, 1)) + rng.normal(0.0, 1.5, (STATES, len(feeder.customers))))
    kvar = kw * rng.uniform(-0.3, 0.4, kw.shape)
    engine = OpenDssEngine(feeder)
    seen_v = {
        "opendss": np.array([engine.solve(p, q, float("nan")).copy() for p, q in zip(kw, kvar, strict=True)]),
        "reduced": ReducedNetwork(feeder).solve(kw, kvar).node_v,
    }
    witness_v, base_v = solve(feeder, kw, kvar)
    assert np.ptp(np.abs(witness_v) / base_v) > 0.02  # the states are far apart, so agreement says something
    off_pu = {name: float((np.abs(node_v - witness_v) / base_v).max()) for name, node_v in seen_v.items()}
    LOG.info("%s: %s", place, off_pu)
    assert max(off_pu.values()) < LIMIT_PU, off_pu


def solve(feeder: Feeder, kw: Float, kvar: Float) -> tuple[Complex, Float]:
    """Voltages of all nodes as power-grid-model finds them, and their rated phase-to-neutral voltages [V]."""
    dss = opendssdirect.NewContext()
    dss.Basic.AllowChangeDir(False)
    dss.Text.Command(f'compile "{feeder.master}"')
    buses = {name.upper(): number for number, name in enumerate(dss.Circuit.AllBusNames())}
    kilovolts = []
    for bus in dss.Circuit.AllBusNames():
        dss.Circuit.SetActiveBus(bus)
        kilovolts.append(dss.Bus.kVBase() * np.sqrt(3.0))
    nodes = [{"u_rated": 1e3 * kv} for kv in kilovolts]
    loads = [
        {"node": buses[bus], "status": 1, "type": grid.LoadGenType.const_power, "p_specified": 0.0, "q_specified": 0.0}
        for bus in feeder.customer_bus
    ]
    plates = {
        Kind.node: nodes,
        Kind.source: [source(dss, buses)],
        Kind.line: list(lines(dss, buses)),
        Kind.transformer: list(transformers(dss, buses)),
        Kind.asym_load: loads,
    }
    data, number = {}, 0
    for component, rows in plates.items():
        data[component] = grid.initialize_array(Input, component, len(rows))
        data[component]["id"] = range(number, number + len(rows))  # buses first: a row is its number
        number += len(rows)
        for name in rows[0]:
            data[component][name].T[...] = [row[name] for row in rows]  # the transpose: powers have three columns
    states = grid.initialize_array(grid.DatasetType.update, Kind.asym_load, kw.shape)
    states["id"] = data[Kind.asym_load]["id"]
    for name, power in (("p_specified", kw), ("q_specified", kvar)):
        states[name] = 1e3 * power[:, :, None] * feeder.phase_matrix
    solved = grid.PowerGridModel(data, system_frequency=50.0).calculate_power_flow(
        symmetric=False, error_tolerance=1e-10, update_data={Kind.asym_load: states}
    )[Kind.node]
    phasor_v = solved["u"] * np.exp(1j * solved["u_angle"])  # (state, bus, phase)
    where = [(buses[bus], int(phase) - 1) for bus, phase in (name.split(".") for name in feeder.network.node_names)]
    bus_rows, phases = np.array(where).T
    return phasor_v[:, bus_rows, phases], 1e3 * np.array(kilovolts)[bus_rows] / np.sqrt(3.0)


def source(dss: Any, buses: dict[str, int]) -> dict[str, Any]:
    """The only source, which feeds a delta: its zero sequence does not matter."""
    dss.Circuit.SetActiveElement(f"Vsource.{dss.Vsources.AllNames()[0]}")
    ohm = complex(*(float(dss.Properties.Value(name)) for name in ("R1", "X1")))
    return {
        "node": buses[bus_of(dss, 0)],
        "status": 1,
        "u_ref": dss.Vsources.PU(),
        "sk": (1e3 * dss.Vsources.BasekV()) ** 2 / abs(ohm),
        "rx_ratio": ohm.real / ohm.imag,
        "z01_ratio": 1.0,
    }


def lines(dss: Any, buses: dict[str, int]) -> Rows:
    """Sequence impedances and capacitances, times the length."""
    rows = []
    for name in dss.Lines.AllNames():
        dss.Circuit.SetActiveElement(f"Line.{name}")
        dss.Lines.Name(name)
        length = dss.Lines.Length()
        row = {"from_node": buses[bus_of(dss, 0)], "to_node": buses[bus_of(dss, 1)], "from_status": 1, "to_status": 1}
        for part in ("R1", "X1", "R0", "X0"):
            row[part.lower()] = length * getattr(dss.Lines, part)()
        for part in ("1", "0"):
            row[f"c{part}"] = 1e-9 * length * getattr(dss.Lines, f"C{part}")()
            row[f"tan{part}"] = 0.0
        rows.append(row)
    return rows


def transformers(dss: Any, buses: dict[str, int]) -> Rows:
    """Two windings without magnetisation; a tap changes the rated voltage of its winding, as both programs have it."""
    rows = []
    for name in dss.Transformers.AllNames():
        dss.Circuit.SetActiveElement(f"Transformer.{name}")
        dss.Transformers.Name(name)
        windings = []
        for number in (1, 2):
            dss.Transformers.Wdg(number)
            kind = Winding.delta if dss.Transformers.IsDelta() else Winding.wye_n
            volts = 1e3 * dss.Transformers.kV() * dss.Transformers.Tap()
            windings.append((kind, volts, dss.Transformers.R(), 1e3 * dss.Transformers.kVA()))
        (high, u1, r1, rated_va), (low, u2, r2, _) = windings
        resistance, reactance = (r1 + r2) / 100.0, dss.Transformers.Xhl() / 100.0
        leads = dss.Properties.Value("LeadLag").lower() in ("lead", "euro")
        rows.append(
            {
                "from_node": buses[bus_of(dss, 0)],
                "to_node": buses[bus_of(dss, 1)],
                "from_status": 1,
                "to_status": 1,
                "u1": u1,
                "u2": u2,
                "sn": rated_va,
                "uk": np.hypot(resistance, reactance),
                "pk": resistance * rated_va,
                "i0": 0.0,
                "p0": 0.0,
                "winding_from": high,
                "winding_to": low,
                "clock": 0 if high == low else 11 if leads else 1,
                "tap_side": 0,
                "tap_pos": 0,
                "tap_min": -1,
                "tap_max": 1,
                "tap_nom": 0,
                "tap_size": 0.0,
            }
        )
    return rows


def bus_of(dss: Any, end: int) -> str:
    """Bus of the active element at an end."""
    return str(dss.CktElement.BusNames()[end]).split(".")[0].upper()
