"""What makes a circuit that OpenDSS compiles no feeder: loads without voltage, data that no cable or machine has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path

import numpy as np

from cosim.contract import Branch, LoadFact, Network, Survey, out_of_range
from cosim.errors import Fault

_DEAD_V = 1.0
"""Without load; OpenDSS leaves a billionth where nothing is connected."""
_DEAD_SHARE = 0.5
"""Of the highest voltage at the same bus: an open conductor beside live ones floats at up to a third."""
_FAR_OFF = 10.0
"""Rated voltage over the voltage there is, or the reverse: volts for kilovolts, or another level of voltage."""
_LARGEST_KW = 1e5
_LARGEST_IMPEDANCE_PU = 2.0
"""Of a transformer. Machines have 0.01 to 0.2; OpenDSS puts 7 in the place of xhl = 0 without a word."""
_OPEN_S = 1e-9
"""What OpenDSS leaves of an open conductor is smaller."""
_PASSIVE = 1e-2
"""Of the largest conductance: as much power may a line generate by rounded data."""


def de_energised(survey: Survey) -> tuple[LoadFact, ...]:
    """Loads none of whose ends has a voltage, with or without load: behind what is open, or disabled.

    Parameters
    ----------
    survey : Survey
        What was found in a circuit.

    Returns
    -------
    tuple of LoadFact
        None where all are: then it is the source that is missing.
    """
    numbers, voltage = node_numbers(survey.network), no_load_voltages(survey.network)
    found = tuple(
        load
        for load in survey.loads
        if (load.bus not in numbers and load.bus in survey.disabled_buses)
        or (
            set(load.node_numbers) <= set(numbers.get(load.bus, ()))
            and len(_dead(load, numbers, voltage)) == len(load.node_numbers)
        )
    )
    return found if len(found) < len(survey.loads) else ()


def circuit_faults(master: Path, survey: Survey) -> Iterator[Fault]:
    """Find all loads and branches that cannot be what was meant.

    Parameters
    ----------
    master : Path
        The circuit's file, for messages.
    survey : Survey
        What was found in it.

    Yields
    ------
    Fault
        One for every load and branch at fault.
    """
    network, where = survey.network, str(master)
    yield from out_of_range(where, {"source_pu": network.source_pu})
    numbers, voltage = node_numbers(network), no_load_voltages(network)
    for load in survey.loads:
        found = _load_fault(load, numbers, voltage)
        if found:
            yield Fault(where, f"Load.{load.name}", *found)
    for branch in network.branches:
        found = _branch_fault(branch, survey.transformer_kva.get(branch.name))
        if found:
            yield Fault(where, branch.element, *found)


def no_load_voltages(network: Network) -> dict[str, complex]:
    """Voltage of every node to earth, without any load [V]."""
    return dict(zip(network.node_names, network.no_load_v.tolist(), strict=True))


def node_numbers(network: Network) -> dict[str, list[int]]:
    """Nodes of every bus."""
    numbers: dict[str, list[int]] = defaultdict(list)
    for node in network.node_names:
        bus, number = node.rsplit(".", 1)
        numbers[bus].append(int(number))
    return numbers


def _dead(load: LoadFact, numbers: Mapping[str, list[int]], voltage: Mapping[str, complex]) -> list[int]:
    """Nodes of a load at which there is no voltage, though there may be at others of its bus."""
    at_node_v = {number: abs(voltage[f"{load.bus}.{number}"]) for number in numbers[load.bus]}
    alive_v = max(_DEAD_V, _DEAD_SHARE * max(at_node_v.values()))
    return [number for number in load.node_numbers if not at_node_v[number] >= alive_v]


def over_rated(load: LoadFact, voltage: Mapping[str, complex]) -> float:
    """Voltage without any load over the rated one, both as the load is connected."""
    there, back = (voltage.get(f"{load.bus}.{number}", 0.0) for number in load.ends[0])  # 0 is earth
    return abs(there - back) / load.base_v if load.base_v else float("inf")


def _load_fault(
    load: LoadFact, numbers: Mapping[str, list[int]], voltage: Mapping[str, complex]
) -> tuple[str, str] | None:
    """Problem and remedy, the first that there is."""
    ends = [*load.node_numbers, *([load.neutral_number] if load.neutral_number else [])]
    if load.bus not in numbers:
        near = get_close_matches(load.bus, numbers, n=3, cutoff=0.5) or list(numbers)[-3:]
        problem = f"hangs on bus '{load.bus}', which nothing that is connected and enabled reaches"
        return problem, f"name a bus of the feeder, such as {', '.join(near)}, or disable the load"
    if (0, 0) in load.ends:
        return f"begins at node 0 of bus '{load.bus}', which is earth", "name a phase, e.g. .1"
    missing = [number for number in ends if number not in numbers[load.bus]]
    if missing:
        has = ", ".join(map(str, numbers[load.bus]))
        problem = f"hangs on node {_listed(missing)} of bus '{load.bus}', which has only {has}"
        return problem, "name nodes that a line carries there, or give the line more phases"
    if len(set(ends)) < len(ends) or any(there == back for there, back in load.ends):
        return f"begins and ends at node {ends[-1]} of bus '{load.bus}'", "name two nodes, or leave the second out"
    dead = _dead(load, numbers, voltage)
    if dead:
        problem = f"hangs on node {_listed(dead)} of bus '{load.bus}', where there is no voltage without load either"
        return problem, "close the switch or enable the line that feeds it, or disable the load"
    if not (np.isfinite(load.kv) and load.kv > 0 and 1 / _FAR_OFF <= over_rated(load, voltage) <= _FAR_OFF):
        there_kv = abs(voltage[f"{load.bus}.{load.node_numbers[0]}"]) / 1e3
        problem = f"is rated kv={load.kv:g} where there are {there_kv:.3g} kV from phase to earth"
        return problem, "give its rated voltage in kilovolts, e.g. kv=0.23"
    if not max(abs(load.kw), abs(load.kvar)) <= _LARGEST_KW:
        return f"has kw={load.kw:g} kvar={load.kvar:g}", f"give at most {_LARGEST_KW:g} kW and kvar"
    if load.shape is not None and not (np.isfinite(load.shape.kw).all() and np.isfinite(load.shape.kvar).all()):
        return "has a LoadShape with values that are no finite numbers", "mend the shape's values"
    return None


def _branch_fault(branch: Branch, kva: float | None) -> tuple[str, str] | None:
    admittance = branch.admittance_s
    if not np.isfinite(admittance).all():
        return "has an impedance that is no number", "mend its data"
    if branch.length_m < 0:
        return f"is {branch.length_m:g} m long", "give a length above 0"
    if kva is not None and not 0 < branch.rating_a < np.inf:
        return f"is rated {kva:g} kVA and {branch.rating_a:g} A a phase", "give kvas and kvs above 0"
    conductance = (admittance.real + admittance.real.T) / 2
    weakest, strongest = np.linalg.eigvalsh(conductance)[[0, -1]]
    diagonal = admittance.diagonal()
    if weakest < -_PASSIVE * max(abs(strongest), np.abs(diagonal).max()):
        return "has a negative resistance, so it would generate power", "give resistances of 0 or more"
    if branch.kind not in ("line", "transformer"):
        return None  # a capacitor's reactance is negative
    half = len(branch.nodes) // 2
    series = -admittance[:half, half:].diagonal() if branch.kind == "line" else diagonal
    if (series.imag > np.maximum(0.5 * np.abs(series), _OPEN_S)).any():
        return "has a negative reactance", "give reactances (xhl, x1, x0) above 0"
    admits_s = abs(diagonal[branch.monitored.start])
    if kva is not None and admits_s > _OPEN_S:
        impedance_pu = (3.0 if len(branch.phases) > 1 else 1.0) * branch.rating_a**2 / (1e3 * kva * admits_s)
        if impedance_pu > _LARGEST_IMPEDANCE_PU:
            problem = f"has a short-circuit impedance of {100 * impedance_pu:.0f} %"
            return problem, "give xhl in percent, e.g. xhl=4; OpenDSS replaces xhl=0 by something else"
    return None


def _listed(numbers: list[int]) -> str:
    return " and ".join(map(str, numbers))
