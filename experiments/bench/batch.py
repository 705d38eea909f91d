"""The batch engine against OpenDSS, and power-grid-model where it is installed, at three sizes of a town."""

from __future__ import annotations

import re
import resource
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy.sparse.linalg import splu

from cosim import Feeder, ReducedNetwork, feeders
from cosim.contract import Complex, Float
from cosim.experiments.bench import Row, interleaved
from cosim.opendss import OpenDssEngine
from cosim.threads import ONE_THREAD

SIZES = (55, 350, 1050)
POINTS = 16
MV_CIRCUIT = "Clear\nSet DefaultBaseFrequency=50\nNew Circuit.town Bus1=SourceBus BasekV=11 pu=1.05 ISC3=3000 ISC1=5\n"
END = "Set VoltageBases=[11 0.416]\nCalcVoltageBases\n"


def measure(repeats: int) -> list[Row]:
    """Time one operating point in a batch and alone, with customers' voltages and with those of all nodes.

    The reference writes every load, solves and hands voltages over, point by point. Making either is not counted, but
    stated for the product. power-grid-model solves the same lines in its own batch on one thread, each street behind a
    source of its own in place of its transformer: what streets do to one another is left out there.

    Parameters
    ----------
    repeats : int
        Interleaved repetitions.
    """
    with ONE_THREAD, tempfile.TemporaryDirectory() as folder:
        return [row for homes in SIZES for row in _rows(town(Path(folder), homes), repeats)]


def town(folder: Path, homes: int) -> Feeder:
    """So many homes on copies of ``european_lv``, each behind a transformer of its own, all at one source."""
    street = feeders.load("european_lv").master.parent
    code, lines, machine, loads = (
        (street / f"{name}.dss").read_text() for name in ("LineCode", "Lines", "Transformers", "Loads")
    )
    parts, every = [MV_CIRCUIT, code], [line for line in loads.splitlines() if line.startswith("New")]
    for number, first in enumerate(range(0, homes, len(every))):
        text = "\n".join([lines, machine.replace(" sub=y", ""), *every[: homes - first]])
        text = re.sub(r"New (Line|Load|Transformer)\.", rf"New \1.S{number}_", text)
        parts.append(re.sub(r"(Bus[12]=|SourceBus )(\d)", rf"\1S{number}_\2", text))
    master = folder / f"town_{homes}.dss"
    master.write_text("\n".join([*parts, END]))
    return feeders.load(master)


def _rows(feeder: Feeder, repeats: int) -> Iterator[Row]:
    began = perf_counter()
    network = ReducedNetwork(feeder, watched=())
    made_s, homes = perf_counter() - began, len(feeder.customers)
    p_kw = np.random.default_rng(1).uniform(-2.0, 3.0, (POINTS, homes))
    q_kvar, engine = 0.3 * p_kw, OpenDssEngine(feeder)

    def opendss() -> Complex:
        return np.array([engine.solve(p, q, float("nan")).copy() for p, q in zip(p_kw, q_kvar, strict=True)])

    def alone() -> list[Complex]:
        return [network.solve(p_kw[[k]], q_kvar[[k]]).voltage_v for k in range(POINTS)]

    def alone_all_nodes() -> list[Complex]:
        return [network.solve(p_kw[[k]], q_kvar[[k]]).node_v for k in range(POINTS)]

    def batch() -> Complex:
        return network.solve(p_kw, q_kvar).voltage_v

    def batch_all_nodes() -> Complex:
        return network.solve(p_kw, q_kvar).node_v

    others: list[tuple[str, Callable[[], Complex]]] = [("OpenDSS", opendss)]
    if (solve := power_grid_model(feeder, p_kw, q_kvar)) is not None:
        others.append(("power-grid-model", solve))
    off_v = {"OpenDSS": float(np.abs(batch_all_nodes() - opendss()).max())}
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    size = {"nodes": len(feeder.network.node_names), "made_s": made_s, "process_peak_mb": peak_mb}
    for who, reference in others:
        if who not in off_v:
            off_v[who] = float(np.abs(batch() - reference()).max())
        for what, product in (
            ("step by step, customers", alone), ("step by step, all nodes", alone_all_nodes),
            (f"{POINTS} at once, customers", batch), (f"{POINTS} at once, all nodes", batch_all_nodes),
        ):  # fmt: skip
            row = interleaved(f"{homes} customers, {POINTS} points against {who}: {what}", product, reference, repeats)
            row.more.update(size, largest_voltage_difference_v=off_v[who])
            row.more["product_ms_per_point"] = 1e3 * row.product_s / POINTS
            yield row


def power_grid_model(feeder: Feeder, p_kw: Float, q_kvar: Float) -> Callable[[], Complex] | None:
    """The batch in power-grid-model, as a call that returns what it finds; None where it is not installed."""
    try:
        import power_grid_model as grid
    except ImportError:
        return None
    network, kinds = feeder.network, grid.ComponentType
    bus = {name: row for row, name in enumerate(dict.fromkeys(network.node_buses))}
    node = {name: row for row, name in enumerate(network.node_names)}
    heads = [branch.buses[-1] for branch in network.branches if branch.kind == "transformer"]
    factors, sources = splu(network.admittance_s.tocsc()), []
    for head in heads:
        rows = [node[f"{head}.{phase}"] for phase in (1, 2, 3)]
        unit = np.zeros((len(node), 3), complex)
        unit[rows, range(3)] = 1.0
        z1, z0 = _sequence(factors.solve(unit)[rows])
        rated_v = float(np.abs(network.no_load_v[rows[0]])) * np.sqrt(3.0)
        sources.append({
            "node": bus[head], "status": 1, "u_ref": 1.0, "u_ref_angle": float(np.angle(network.no_load_v[rows[0]])),
            "sk": rated_v**2 / abs(z1), "rx_ratio": z1.real / z1.imag, "z01_ratio": abs(z0) / abs(z1),
        })  # fmt: skip
    lines = []
    for line in network.lines:
        z1, z0 = _sequence(np.linalg.inv(line.admittance_s[:3, :3]))
        ends = {"from_node": bus[line.buses[0]], "to_node": bus[line.buses[1]], "from_status": 1, "to_status": 1}
        charge = {"c1": 0.0, "c0": 0.0, "tan1": 0.0, "tan0": 0.0}
        lines.append({**ends, **charge, "r1": z1.real, "x1": z1.imag, "r0": z0.real, "x0": z0.imag})
    rated = float(np.abs(network.no_load_v[node[f"{heads[0]}.1"]])) * np.sqrt(3.0)
    upstream = {branch.buses[0] for branch in network.branches if branch.kind == "transformer"}
    buses = [{"id": row, "u_rated": rated} for name, row in bus.items() if name not in upstream]
    homes = [
        {"node": bus[name], "status": 1, "type": 0, "p_specified": 0.0, "q_specified": 0.0}
        for name in feeder.customer_bus
    ]
    data: dict[Any, Any] = {}
    first = len(bus)
    for kind, entries in ((kinds.node, buses), (kinds.source, sources), (kinds.line, lines), (kinds.asym_load, homes)):
        data[kind] = grid.initialize_array(grid.DatasetType.input, kind, len(entries))
        if kind != kinds.node:
            data[kind]["id"] = range(first, first := first + len(entries))
        for name in entries[0]:
            data[kind][name].T[...] = [entry[name] for entry in entries]  # the transpose: powers have three columns
    states = grid.initialize_array(grid.DatasetType.update, kinds.asym_load, p_kw.shape)
    states["id"] = data[kinds.asym_load]["id"]
    for name, power in (("p_specified", p_kw), ("q_specified", q_kvar)):
        states[name] = 1e3 * power[:, :, None] * feeder.phase_matrix
    model = grid.PowerGridModel(data, system_frequency=50.0)
    at = [np.flatnonzero(data[kinds.node]["id"] == bus[name])[0] for name in feeder.customer_bus]
    phase = feeder.phase_matrix.argmax(axis=1)

    def solve() -> Complex:
        found = model.calculate_power_flow(
            symmetric=False, error_tolerance=1e-9, update_data={kinds.asym_load: states}, threading=-1
        )[kinds.node]
        return np.asarray((found["u"] * np.exp(1j * found["u_angle"]))[:, at, phase])

    return solve


def _sequence(ohm: Any) -> tuple[complex, complex]:
    """Positive and zero sequence of a symmetrical three-phase impedance."""
    own, mutual = complex(np.trace(ohm)) / 3.0, complex(ohm.sum() - np.trace(ohm)) / 6.0
    return own - mutual, own + 2.0 * mutual
