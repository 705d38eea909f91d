"""How a feeder hangs together: areas behind transformers, phases traced from the source, distances, head lines."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix
from scipy.sparse.csgraph import connected_components, dijkstra

from cosim.contract import Branch, Int, Network

NEARLY_EQUAL_VOLTAGES = 1.25
"""Up to this ratio a transformer is a regulator or isolates, and customers behind it are in the same area."""

_DEAD_V = 1.0
_NEUTRAL_SHARE = 0.1
"""Of the highest voltage at its bus: below it a node is a neutral, which without load is near earth."""
_SAME_ANGLE_DEG = 10.0
_NEUTRAL = 4

Edge = tuple[str, str, float]  # two buses, and the metres between them


@dataclass(frozen=True)
class Feed:
    """A transformer that feeds a part of the network.

    Attributes
    ----------
    branch : str
        Its name.
    primary : int
        Terminal at the side of the source.
    secondaries : tuple of int
        Terminals in the part that it feeds.
    """

    branch: str
    primary: int
    secondaries: tuple[int, ...]


@dataclass(frozen=True)
class Part:
    """Buses that lines and regulators join.

    Attributes
    ----------
    parent : int or None
        Row of the part that feeds it.
    feeds : tuple of Feed
        Transformers that feed it; none at the source.
    buses : tuple of str
        Nearest first.
    """

    parent: int | None
    feeds: tuple[Feed, ...]
    buses: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Trace:
    """What following a network from its source shows.

    Attributes
    ----------
    network : Network
        The same, with traced phases, and with the terminals of transformers watched that feed customers.
    parts : tuple of Part
        Parents first.
    distance_m : mapping of bus to float
        Length of the shortest path from the transformer of its part, or from the source.
    node_phase : ndarray of int, shape (node,)
        1, 2, 3; 4 of a neutral; 0 where there is no voltage.
    regulators : mapping of str to int
        Transformers inside a part, and the terminal that is farther from the source.
    """

    network: Network
    parts: tuple[Part, ...]
    distance_m: Mapping[str, float]
    node_phase: Int
    regulators: Mapping[str, int]


def trace(network: Network) -> Trace:
    """Follow a network from its sources."""
    edges = edges_of(network)
    transformers = [branch for branch in network.branches if branch.kind == "transformer"]
    buses, graph = _graph(edges, [*network.source_buses, *network.node_buses])
    group = connected_components(graph, directed=False)[1]
    inner = {one.name for one in transformers if len({group[buses[bus]] for bus in one.buses}) == 1}
    by_group: dict[int, list[Branch]] = defaultdict(list)
    for one in transformers:
        if one.name not in inner:
            for where in {group[buses[bus]] for bus in one.buses}:
                by_group[where].append(one)
    row_of: dict[int, int] = {}
    found: list[tuple[int | None, list[Feed]]] = []
    ahead: deque[int] = deque()
    for bus in network.source_buses:
        if group[buses[bus]] not in row_of:
            row_of[group[buses[bus]]] = len(found)
            found.append((None, []))
            ahead.append(group[buses[bus]])
    turned: set[str] = set()
    while ahead:
        here = ahead.popleft()
        for one in by_group[here]:
            if one.name in turned:
                continue
            turned.add(one.name)
            sides = [group[buses[bus]] for bus in one.buses]
            for there in dict.fromkeys(side for side in sides if side != here):
                if there not in row_of:
                    row_of[there] = len(found)
                    found.append((row_of[here], []))
                    ahead.append(there)
                ends = tuple(i for i, side in enumerate(sides) if side == there)
                found[row_of[there]][1].append(Feed(one.name, sides.index(here), ends))
    starts = dict.fromkeys(network.source_buses, 0.0)
    by_name = {one.name: one for one in transformers}
    for _, feeds in found:
        starts |= {by_name[feed.branch].buses[end]: 0.0 for feed in feeds for end in feed.secondaries}
    metres = _from_nearest(graph, [buses[bus] for bus in starts])
    order = sorted(buses, key=lambda bus: metres[buses[bus]])
    members: dict[int, list[str]] = defaultdict(list)
    for bus in order:
        members[row_of.get(group[buses[bus]], -1)].append(bus)
    parts = tuple(Part(parent, tuple(feeds), tuple(members[row])) for row, (parent, feeds) in enumerate(found))
    distance_m = {bus: round(float(metres[row]), 6) for bus, row in buses.items() if np.isfinite(metres[row])}
    far = {
        one.name: int(np.argmax([metres[buses[bus]] for bus in one.buses])) if one.name in inner else -1
        for one in transformers
    }
    regulators = {name: end for name, end in far.items() if end >= 0}
    phase = _phases(network, parts, by_name)
    # of a transformer that feeds several parts, the side of the largest is watched
    by_size = sorted(parts, key=lambda part: len(part.buses))
    terminal = {feed.branch: feed.secondaries for part in by_size for feed in part.feeds}
    terminal |= {name: (end,) for name, end in regulators.items()}
    branches = tuple(_labelled(branch, phase, terminal.get(branch.name, (0,))) for branch in network.branches)
    return Trace(replace(network, branches=branches), parts, distance_m, phase, regulators)


def _phases(network: Network, parts: Sequence[Part], transformers: Mapping[str, Branch]) -> Int:
    """Phase of every node: that of the terminal of its part's transformers whose no-load voltage has its angle.

    A three-phase transformer turns angles as its vector group has it and keeps the order of phases; a single-phase
    one, each half of a centre-tapped winding included, keeps the phase that it hangs on.
    """
    voltage = network.no_load_v
    names, bus_row = np.unique(network.node_buses, return_inverse=True)
    highest = np.zeros(len(names))
    np.maximum.at(highest, bus_row, np.abs(voltage))
    alive = (np.abs(voltage) > _DEAD_V) & (np.abs(voltage) >= _NEUTRAL_SHARE * highest[bus_row])
    phase = np.where(highest[bus_row] > _DEAD_V, _NEUTRAL, 0)
    row_of_bus = {str(name): row for row, name in enumerate(names)}
    nodes_at: list[list[int]] = [[] for _ in names]
    for node, row in enumerate(bus_row):
        nodes_at[row].append(node)
    number = [int(node.rsplit(".", 1)[1]) for node in network.node_names]
    for part in parts:
        inside = np.array([node for bus in part.buses if bus in row_of_bus for node in nodes_at[row_of_bus[bus]]], int)
        inside = inside[alive[inside]]
        reference: list[tuple[complex, int]] = []
        if not part.feeds:
            start = [node for node in nodes_at[row_of_bus[part.buses[0]]] if alive[node]] if part.buses else []
            reference = [(voltage[node], number[node]) for node in start if 1 <= number[node] <= 3]
        for feed in part.feeds:
            reference += _through(transformers[feed.branch], feed, phase, np.where(alive, voltage, 0.0))
        if not reference or not len(inside):
            continue
        angle = np.angle(voltage[inside])
        away = np.abs(np.exp(1j * angle)[:, None] - np.exp(1j * np.angle([v for v, _ in reference])))
        phase[inside] = np.array([label for _, label in reference])[away.argmin(axis=1)]
    return phase


def _through(branch: Branch, feed: Feed, phase: Int, voltage: np.ndarray) -> list[tuple[complex, int]]:
    """Voltage and phase at the live ends of a transformer's secondary windings; voltages of neutrals are 0."""
    live = [[int(node) for node in ends if node >= 0 and voltage[node] != 0] for ends in branch.terminals]
    above = [int(phase[node]) for node in live[feed.primary] if 1 <= phase[node] <= 3]
    return [
        (voltage[node], above[min(position, len(above) - 1)])
        for end in feed.secondaries
        for position, node in enumerate(live[end])
        if above
    ]


def _labelled(branch: Branch, phase: Int, terminals: Sequence[int]) -> Branch:
    """The branch with its conductors' phases, watched at those terminals (next to one another where there are two)."""
    ratings = branch.terminal_ratings_a
    rating_a = ratings[terminals[0]] if ratings else branch.rating_a
    return replace(branch.watched_at(terminals, phase), rating_a=rating_a)


def _from_nearest(graph: csr_matrix, starts: Sequence[int]) -> np.ndarray:
    if not starts:
        return np.full(graph.shape[0], np.inf)
    return np.asarray(dijkstra(graph, directed=False, indices=list(starts), min_only=True)).reshape(-1)


def _graph(edges: list[Edge], first: Iterable[str]) -> tuple[dict[str, int], csr_matrix]:
    """Row of every bus, ``first`` and then those of the edges, and the metres between neighbours."""
    buses = {bus: row for row, bus in enumerate(dict.fromkeys([*first, *(bus for e in edges for bus in e[:2])]))}
    ends = np.array([[buses[one], buses[other]] for one, other, _ in edges], dtype=int).reshape(-1, 2)
    # An edge without length still joins its ends; zero would mean "no edge" to the graph routine.
    length = np.array([max(metres, 1e-9) for _, _, metres in edges])
    return buses, coo_matrix((length, (ends[:, 0], ends[:, 1])), shape=(len(buses), len(buses))).tocsr()


def head_line(
    lines_at: Mapping[str, Sequence[Branch]], passages: Mapping[str, Sequence[str]], start: str
) -> str | None:
    """The only line that leaves a bus, or the regulators there; None where several share the load."""
    near, ahead = {start}, [start]
    while ahead:
        for bus in passages.get(ahead.pop(), ()):
            if bus not in near:
                near.add(bus)
                ahead.append(bus)
    leaving = {line.name for bus in near for line in lines_at.get(bus, ()) if not set(line.buses) <= near}
    return leaving.pop() if len(leaving) == 1 else None


def edges_of(network: Network) -> list[Edge]:
    """Lines, and all else that joins buses without changing the voltage, as edges between buses."""
    lines = [(line.buses[0], line.buses[1], line.length_m) for line in network.lines]
    return [*lines, *passages_of(network)]


def passages_of(network: Network) -> list[Edge]:
    """Transformers, reactors and the like whose terminals have nearly the same voltage, as lines without length."""
    others = (branch for branch in network.branches if branch.kind != "line")
    return [(*pair, 0.0) for branch in others for pair in _levels_joined(network, branch)]


def _levels_joined(network: Network, branch: Branch) -> list[tuple[str, str]]:
    """Pairs of buses that a branch joins at nearly the same voltage, and at the same angle.

    Of a transformer between three buses none: two secondaries of one voltage are two areas, each with its own rating.
    """
    if branch.kind == "transformer" and len(set(branch.buses)) > 2:
        return []
    nodes = branch.terminals
    voltage = np.where(nodes < 0, 0.0, network.no_load_v[nodes])
    first = voltage[np.arange(len(nodes)), np.abs(voltage).argmax(axis=1)]
    return [
        (branch.buses[one], branch.buses[other])
        for one, other in combinations(range(len(nodes)), 2)
        if branch.buses[one] != branch.buses[other]
        and 0.0 < max(abs(first[[one, other]])) <= NEARLY_EQUAL_VOLTAGES * min(abs(first[[one, other]]))
        and any(
            abs(np.angle(here / there, deg=True)) < _SAME_ANGLE_DEG
            for here in voltage[one][np.abs(voltage[one]) > _DEAD_V]
            for there in voltage[other][np.abs(voltage[other]) > _DEAD_V]
        )
    ]
