"""How buses hang together: which transformer feeds the customers, which line carries them all, and how far they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import combinations

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra

from cosim.contract import Branch, Network, Survey

NEARLY_EQUAL_VOLTAGES = 1.25
"""Up to this ratio a transformer is a regulator or isolates, and customers behind it are on the same feeder."""

Edge = tuple[str, str, float]  # two buses, and the metres between them


def supply_of(survey: Survey) -> Branch | None:
    """The transformer behind which most customers are; one that changes the voltage, where there is any."""
    network = survey.network
    transformers = [branch for branch in network.branches if branch.kind == "transformer"]
    feeds = {branch.name: branch.buses[low_voltage_terminal(branch)] for branch in transformers}
    buses, graph = _graph(edges_of(network), [*feeds.values(), *(load.bus for load in survey.loads)])
    # parts of the network once, not what each transformer reaches: a rural feeder has a thousand of them
    part = connected_components(graph, directed=False)[1]
    loads_in = Counter(part[buses[load.bus]] for load in survey.loads)
    changing = [branch for branch in transformers if not _levels_joined(network, branch)]
    return max(changing or transformers, key=lambda one: loads_in[part[buses[feeds[one.name]]]], default=None)


def low_voltage_terminal(transformer: Branch) -> int:
    """Return which terminal of a transformer feeds the customers."""
    return int(transformer.monitored.start) // len(transformer.phases)


def distances_m(edges: list[Edge], start: str) -> dict[str, float]:
    """Length of the shortest path from a bus [m]; only buses that can be reached."""
    buses, graph = _graph(edges, [start])
    metres = np.asarray(dijkstra(graph, directed=False, indices=[0])).reshape(-1)
    return {bus: round(float(metres[index]), 6) for bus, index in buses.items() if np.isfinite(metres[index])}


def _graph(edges: list[Edge], first: Iterable[str]) -> tuple[dict[str, int], csr_matrix]:
    """Row of every bus, ``first`` and then those of the edges, and the metres between neighbours."""
    buses = {bus: row for row, bus in enumerate(dict.fromkeys([*first, *(bus for e in edges for bus in e[:2])]))}
    ends = np.array([[buses[one], buses[other]] for one, other, _ in edges]).reshape(-1, 2)
    # An edge without length still joins its ends; zero would mean "no edge" to the graph routine.
    length = np.array([max(metres, 1e-9) for _, _, metres in edges])
    return buses, coo_matrix((length, (ends[:, 0], ends[:, 1])), shape=(len(buses), len(buses))).tocsr()


def head_line(network: Network, start: str) -> str | None:
    """The only line that leaves the transformer's bus, or the regulator there; None where several share the load."""
    near = distances_m(_passages(network), start)
    leaving = [line.name for line in network.lines if (line.buses[0] in near) != (line.buses[1] in near)]
    return leaving[0] if len(leaving) == 1 else None


def edges_of(network: Network) -> list[Edge]:
    """Lines, and all else that joins buses without changing the voltage, as edges between buses."""
    lines = [(line.buses[0], line.buses[1], line.length_m) for line in network.lines]
    return [*lines, *_passages(network)]


def _passages(network: Network) -> list[Edge]:
    """Transformers, reactors and the like whose terminals have nearly the same voltage, as lines without length."""
    others = (branch for branch in network.branches if branch.kind != "line")
    return [(*pair, 0.0) for branch in others for pair in _levels_joined(network, branch)]


def _levels_joined(network: Network, branch: Branch) -> list[tuple[str, str]]:
    """Pairs of buses that a branch joins at nearly the same voltage."""
    nodes = branch.nodes.reshape(len(branch.buses), -1)
    at_terminal_v = np.where(nodes < 0, 0.0, np.abs(network.no_load_v[nodes])).max(axis=1)
    return [
        (one, other)
        for (one, one_v), (other, other_v) in combinations(zip(branch.buses, at_terminal_v, strict=True), 2)
        if one != other and 0.0 < max(one_v, other_v) <= NEARLY_EQUAL_VOLTAGES * min(one_v, other_v)
    ]
