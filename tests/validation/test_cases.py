"""Every folder under ``cases`` is a validation case: what to run, what to compare with, and how close it must be.

``pytest tests/validation --log-cli-level=INFO`` shows the deviations that were found.
"""

from __future__ import annotations

import json
import logging
import tomllib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cosim import feeders
from cosim.contract import Complex, Feeder, Float
from cosim.network import branch_losses_kw, monitored_currents
from cosim.opendss import OpenDssEngine
from cosim.reduced import ReducedNetwork
from oracles.four_wire import FourWire

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
CASES = sorted(path.parent for path in HERE.glob("cases/*/case.toml"))

LOG = logging.getLogger(__name__)
MINUTES = 1440
KVAR_PER_KW = np.tan(np.arccos(0.95))  # every load of the test feeder
Case = dict[str, Any]


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_case(folder: Path) -> None:
    case = tomllib.loads((folder / "case.toml").read_text(encoding="utf-8"))
    deviations = KINDS[case["kind"]](case)
    LOG.info("%s: %s", folder.name, ", ".join(f"{quantity} {value:.3g}" for quantity, value in deviations.items()))
    assert deviations.keys() == case["tolerance"].keys()
    too_far = {q: f"{d:.3g} > {case['tolerance'][q]:g}" for q, d in deviations.items() if not d <= case["tolerance"][q]}
    assert not too_far


def test_every_case_is_explained() -> None:
    assert {folder.name for folder in CASES} >= {"two_bus", "european_lv_day"}
    assert [folder.name for folder in CASES if not (folder / "README.md").is_file()] == []


def snapshot(case: Case) -> dict[str, float]:
    """All node voltages of one minute, against two published columns."""
    reference = reference_folder(case)
    published = pd.read_csv(reference / case["reference"]["voltages"], dtype={"bus": str})
    feeder = feeders.load(case["feeder"])
    load_kw = household_profiles(reference, feeder.customers)[[case["minute"] - 1]]
    node_v = solve(feeder, load_kw, load_kw * KVAR_PER_KW)
    voltage_v = dict(zip(feeder.network.node_names, np.abs(node_v[0]), strict=True))
    nodes = [f"{bus}.{phase}".upper() for bus, phase in zip(published["bus"], published["phase"], strict=True)]
    low_voltage = {node for node in voltage_v if not node.startswith("SOURCEBUS.")}
    solved_v = np.array([voltage_v.get(node, np.nan) for node in nodes])
    return {
        "missing_nodes": len(low_voltage ^ set(nodes)),
        "v_gridlabd_v": largest(solved_v - published["v_gridlabd_v"]),
        "v_opendss_v": largest(solved_v - published["v_opendss_v"]),
    }


def day(case: Case) -> dict[str, float]:
    """Energy, peak, every phase power and three voltages of 1440 minutes."""
    expected = case["reference"]
    reference = reference_folder(case)
    published = pd.read_csv(reference / expected["table"])
    assert published["minute"].tolist() == list(range(1, MINUTES + 1))
    feeder = feeders.load(case["feeder"])
    load_kw = household_profiles(reference, feeder.customers)
    node_v = solve(feeder, load_kw, load_kw * KVAR_PER_KW)
    phase_kva = transformer_kva(feeder, node_v)
    total_kva = np.abs(phase_kva.sum(axis=1))
    at_load_v = {
        name: np.abs(node_v[:, node]) for name, (node,) in zip(feeder.customers, feeder.customer_nodes, strict=True)
    }
    return {
        "energy_kwh": abs(phase_kva.real.sum() / 60.0 - expected["energy_kwh"]),
        "peak_kva": abs(total_kva.max() - expected["peak_kva"]),
        "peak_minute": abs(int(total_kva.argmax()) + 1 - expected["peak_minute"]),
        "phase_power_kw": largest(phase_kva.real - published[["p_a_kw", "p_b_kw", "p_c_kw"]]),
        "phase_power_kvar": largest(phase_kva.imag - published[["q_a_kvar", "q_b_kvar", "q_c_kvar"]]),
        "load_voltage_v": max(largest(at_load_v[f"LOAD{n}"] - published[f"v_load{n}_v"]) for n in (1, 32, 53)),
    }


def hand_calculation(case: Case) -> dict[str, float]:
    """Everything that can be worked out by hand on the feeder of two buses."""
    hand = case["hand"]
    no_load_v = hand["no_load_v"]
    base_ohm = hand["transformer_kv"] ** 2 / hand["transformer_kva"] * 1e3
    transformer_ohm = complex(hand["resistance_percent"], hand["reactance_percent"]) / 100.0 * base_ohm
    line_ohm = complex(*hand["line_ohm_per_km"]) * hand["line_km"]
    total_ohm = transformer_ohm + line_ohm
    load_va = (np.array(hand["load_kw"]) + 1j * np.array(hand["load_kvar"])) * 1e3

    # |E|² = |V + Z conj(S) / V|² is a quadratic in V²:  V⁴ + (2 (PR + QX) - E²) V² + |S|² |Z|² = 0
    linear = 2.0 * (load_va * total_ohm.conjugate()).real - no_load_v**2
    constant = np.abs(load_va) ** 2 * abs(total_ohm) ** 2
    home_v = np.sqrt((-linear + np.sqrt(linear**2 - 4.0 * constant)) / 2.0)

    current_a = load_va.conj() / home_v  # against the phase's own home voltage
    terminal_v = home_v + line_ohm * current_a
    # turn each phase so that its no-load voltage points to 0, -120, 120 degrees
    turn = np.exp(-1j * np.angle(home_v + total_ohm * current_a)) * np.exp(-2j * np.pi / 3.0 * np.arange(3))
    terminal_kva = terminal_v * current_a.conj() / 1e3

    feeder = feeders.load(case["feeder"])
    solved_v = solve(feeder, np.array([hand["load_kw"]]), np.array([hand["load_kvar"]]))
    node_v = dict(zip(feeder.network.node_names, np.abs(solved_v[0]), strict=True))
    solved_a = monitored_currents([feeder.network.branch("LINE1")], solved_v)[0, 0]
    solved_losses_kw = branch_losses_kw(feeder.network.branches, solved_v).sum()
    return {
        "home_voltage_pu": largest(np.array([node_v[f"2.{p}"] for p in (1, 2, 3)]) - home_v) / no_load_v,
        "terminal_voltage_pu": largest(np.array([node_v[f"1.{p}"] for p in (1, 2, 3)]) - np.abs(terminal_v))
        / no_load_v,
        "line_current_a": largest(np.abs(solved_a) - np.abs(current_a)),
        "neutral_current_a": abs(abs(solved_a.sum()) - abs((current_a * turn).sum())),
        "transformer_kva": largest(transformer_kva(feeder, solved_v)[0] - terminal_kva),
        "losses_kw": abs(solved_losses_kw - (np.abs(current_a) ** 2 * total_ohm.real).sum() / 1e3),
    }


def four_wire(case: Case) -> dict[str, float]:
    """The published snapshot and random states, feed-in too, against the fixed point on the published matrices."""
    data = json.loads((HERE / "cases" / case["feeder"] / "network.json").read_text(encoding="ascii"))
    feeder = feeders.load(case["feeder"])
    published = {
        (one["bus"], one["phases"][0]): complex(*one["powers"][0]) / 1e3
        for one in data["loads"]
        if one["id"].endswith("_consumption")
    }
    random_kw = np.random.default_rng(case["seed"]).uniform(-6.0, 12.0, (case["states"], len(published)))
    load_kva = np.array([list(published.values()), *random_kw * (1 + 0.3j)])
    solved_v = solve(feeder, load_kva.real, load_kva.imag)
    replayed_v = ReducedNetwork(feeder).solve(load_kva.real, load_kva.imag).node_v
    losses_kw = branch_losses_kw(feeder.network.branches, solved_v).sum(axis=1)

    whole, lossless = (FourWire(data, conductance=some) for some in (True, False))
    row = {f"{bus}.{'abcn'.index(phase) + 1}".upper(): node for (bus, phase), node in lossless.nodes.items()}
    names = feeder.network.node_names
    here = [position for position, name in enumerate(names) if not name.startswith("MVLV00326.")]
    there = [row[names[position]] for position in here]
    deviations: dict[str, list[float]] = defaultdict(list)
    for step, power in enumerate(load_kva):
        load_va = dict(zip(published, power * 1e3, strict=True))
        right_v = lossless.solve(load_va)
        lost_kw = lossless.source_va(right_v).real / 1e3 - power.sum().real
        for name, off_v in (
            ("opendss_pu", solved_v[step, here] - right_v[there]),
            ("reduced_pu", replayed_v[step, here] - right_v[there]),
            ("without_dielectric_losses_pu", (whole.solve(load_va) - right_v)[there]),
        ):
            deviations[name].append(largest(off_v) / feeder.nominal_voltage_v)
        deviations["losses_kw"].append(abs(losses_kw[step] - lost_kw))
    return {name: max(values) for name, values in deviations.items()}


KINDS: dict[str, Callable[[Case], dict[str, float]]] = {
    "snapshot": snapshot,
    "day": day,
    "hand_calculation": hand_calculation,
    "four_wire": four_wire,
}


def reference_folder(case: Case) -> Path:
    """Return the folder of published figures, or skip: they may be used, but not shipped."""
    folder: Path = PROJECT.parent / "shared" / "reference" / case["reference"]["folder"]
    if not folder.is_dir():
        pytest.skip(f"the published figures are not here: {folder} is missing")
    return folder


def solve(feeder: Feeder, p_kw: Float, q_kvar: Float) -> Complex:
    """Node voltages of every row [V], shape (step, node)."""
    engine = OpenDssEngine(feeder)
    return np.array([engine.solve(p, q, float("nan")).copy() for p, q in zip(p_kw, q_kvar, strict=True)])


def transformer_kva(feeder: Feeder, node_v: Complex) -> Complex:
    """P + jQ of every phase at the low-voltage terminals, towards the customers [kVA], shape (step, 3)."""
    branch = feeder.network.branch("TR1")
    terminals = [feeder.network.node_names.index(f"1.{phase}") for phase in (1, 2, 3)]
    return node_v[:, terminals] * monitored_currents([branch], node_v)[:, 0].conj() / 1e3


def household_profiles(reference: Path, customers: tuple[str, ...]) -> Float:
    """Active power of every customer in every minute [kW], shape (1440, customer), as the test feeder assigns it."""
    folder = reference / "opendss"
    shape_file = {}
    for line in (folder / "LoadShapes.txt").read_text(encoding="ascii").splitlines():
        if line.lower().startswith("new loadshape."):
            shape_file[line.split()[1].split(".")[1]] = line.split("file=")[1].split(")")[0]
    profile = {}
    for line in (folder / "Loads.txt").read_text(encoding="ascii").splitlines():
        if line.lower().startswith("new load."):
            profile[line.split()[1].split(".")[1].upper()] = shape_file[line.split("Yearly=")[1].split()[0]]
    assert set(profile) == set(customers)
    power_kw = np.column_stack([np.loadtxt(folder / profile[customer]) for customer in customers])
    assert power_kw.shape == (MINUTES, len(customers))
    return power_kw


def largest(deviation: Any) -> float:
    """Largest magnitude; nan where anything is missing."""
    return float(np.abs(np.asarray(deviation)).max())
