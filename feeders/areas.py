"""Areas of a feeder, the nominal voltage of every customer, and what windings, lines and neutrals may carry."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median_low

import numpy as np

from cosim.contract import Area, Branch, Float, Limit, LoadFact, Survey
from cosim.contract.areas import joined
from cosim.errors import Fault, InputError
from cosim.feeders.topology import Feed, Part, Trace, head_line, passages_of

MACHINE_V = (239.59, 250.01)
"""Phase to neutral of 415 to 433 V, which transformers are rated for so that 400 V arrive: never a nominal voltage."""
PUBLIC_V = 230.0
_AS_THE_MACHINE = 2e-4
_LESS = 0.999
_NEAR = (0.7, 1.4)
"""Rated voltage of a load over a nominal voltage that is given for the whole feeder, where it is meant for the load."""
_SAME_LEVEL = 0.12
"""Loads of an area that are rated for about its nominal voltage have that one, so that one base holds for all."""
_PHASES = {1: "a", 2: "b", 3: "c", 4: "n"}

Nominal = float | Mapping[str, float] | None
"""As declared: for all customers that are rated for about it, or by the name of the area."""


def areas_of(
    survey: Survey, traced: Trace, rated_v: Sequence[float], declared: Nominal
) -> tuple[tuple[Area, ...], Float]:
    """Return the areas, parents first, and the nominal voltage of every customer.

    Parameters
    ----------
    survey : Survey
        What was found in the circuit.
    traced : Trace
        Its network, followed from the source.
    rated_v : sequence of float
        Rated phase-to-neutral voltage of every load [V]; nan where it cannot be meant.
    declared : float, mapping or None
        Nominal voltage, of the feeder or of areas by name [V].

    Raises
    ------
    InputError
        Where an area is named that is not there.
    """
    network = traced.network
    row_of_bus = {bus: row for row, part in enumerate(traced.parts) for bus in part.buses}
    inside: dict[int, list[int]] = defaultdict(list)
    for customer, load in enumerate(survey.loads):
        inside[row_of_bus.get(load.bus, -1)].append(customer)
    parts_fed = Counter(feed.branch for part in traced.parts for feed in part.feeds)
    names = [_name(part, row, parts_fed) for row, part in enumerate(traced.parts)]
    by_area = declared if isinstance(declared, Mapping) else {}
    unknown = [name for name in by_area if name.upper() not in {own.upper() for own in names}]
    if unknown:
        remedy = f"name one of {', '.join(names[:10])}"
        raise InputError([Fault("nominal_voltage_v", name, f"there is no area '{name}'", remedy) for name in unknown])
    given = {name.upper(): float(volts) for name, volts in by_area.items()}
    rated = [volts if np.isfinite(volts) else 1e3 * load.kv for volts, load in zip(rated_v, survey.loads, strict=True)]
    customer_v = np.array([nominal_of(volts, survey) for volts in rated])  # stays where no area is reached
    nominal_v = np.empty(len(traced.parts))
    for row, part in enumerate(traced.parts):
        own = [rated_v[customer] for customer in inside[row] if np.isfinite(rated_v[customer])]
        base_v = 1e3 * survey.voltage_bases_kv.get(part.buses[0], 0.0) if part.buses else 0.0
        # one that somebody has: half-way between two is nobody's
        nominal_v[row] = nominal_of(median_low(own or [base_v]), survey) or float("nan")
        if names[row].upper() in given:
            nominal_v[row] = given[names[row].upper()]
        elif isinstance(declared, (int, float)) and _NEAR[0] <= nominal_v[row] / declared <= _NEAR[1]:
            nominal_v[row] = declared
        for customer in inside[row]:
            is_another = abs(rated_v[customer] / nominal_v[row] - 1.0) > _SAME_LEVEL  # false of nan
            customer_v[customer] = nominal_of(rated_v[customer], survey) if is_another else nominal_v[row]
    lines_at: dict[str, list[Branch]] = defaultdict(list)
    for line in network.lines:
        for bus in line.buses:
            lines_at[bus].append(line)
    passages: dict[str, list[str]] = defaultdict(list)
    for one, other, _ in passages_of(network):
        passages[one].append(other)
        passages[other].append(one)
    has_lines = {row_of_bus.get(line.buses[0]) for line in network.lines}
    kept = [row for row, part in enumerate(traced.parts) if part.feeds or inside[row] or row in has_lines]
    areas = []
    for row in kept:
        part = traced.parts[row]
        areas.append(
            Area(
                name=names[row],
                parent=names[part.parent] if part.parent in kept and part.parent is not None else None,
                transformers=tuple(feed.branch for feed in part.feeds),
                rating_kva=sum(_kva(survey, network.branch(feed.branch), feed) for feed in part.feeds) or float("nan"),
                nominal_voltage_v=float(nominal_v[row]),
                buses=part.buses,
                customers=tuple(inside[row]),
                head_line=head_line(lines_at, passages, part.buses[0]) if part.buses else None,
            )
        )
    return tuple(areas), customer_v


def nominal_of(rated_v: float, survey: Survey) -> float:
    """A rated voltage, unless it is that of a machine: 415 to 433 V of a transformer stand for 400 V."""
    if not MACHINE_V[0] <= rated_v <= MACHINE_V[1]:
        return rated_v
    secondaries = {1e3 * kv / np.sqrt(3.0) for kvs in survey.winding_kvs.values() for kv in kvs}
    is_machine = any(abs(rated_v / volts - 1.0) < _AS_THE_MACHINE for volts in secondaries)
    return PUBLIC_V if is_machine else rated_v


def _name(part: Part, row: int, parts_fed: Mapping[str, int]) -> str:
    if part.feeds:  # a transformer that feeds several parts with the number of the winding, as OpenDSS counts
        names = [
            f"{feed.branch}.{feed.secondaries[0] + 1}" if parts_fed[feed.branch] > 1 else feed.branch
            for feed in part.feeds
        ]
        return joined(names)
    return "source" if row == 0 else f"source {part.buses[0]}"


def _kva(survey: Survey, branch: Branch, feed: Feed) -> float:
    """Rating of a transformer, or of the windings that feed this part where others feed another."""
    windings = len(branch.buses) - 1
    kvas = survey.winding_kvas[branch.name]
    return max(kvas) if len(feed.secondaries) == windings else sum(kvas[end] for end in feed.secondaries)


def limits_of(survey: Survey, areas: Sequence[Area], traced: Trace, watched: Sequence[str]) -> Iterator[Limit]:
    """Give every limit that is rated: windings, regulators, head lines and watched lines with their neutrals.

    A primary winding is one only where it is rated less than the windings that it feeds: else they are at their rating
    first.

    Parameters
    ----------
    survey : Survey
        Ratings of windings.
    areas : sequence of Area
        As made of the trace.
    traced : Trace
        The network with its phases.
    watched : sequence of str
        Further branches.
    """
    by_name = {branch.name: branch for branch in traced.network.branches}
    area_of_bus = {bus: area for area in areas for bus in area.buses}
    primaries: set[str] = set()
    for part in traced.parts:
        area = area_of_bus.get(part.buses[0]) if part.buses else None
        if area is None:
            continue
        fed = [(by_name[feed.branch], end) for feed in part.feeds for end in feed.secondaries]
        for parallel in _parallel(fed):
            yield from _grouped(traced, "transformer", area, area.nominal_voltage_v, parallel)
        for feed in part.feeds:
            branch, kvas = by_name[feed.branch], survey.winding_kvas[feed.branch]
            is_least = kvas[feed.primary] < _LESS * (sum(kvas) - kvas[feed.primary])
            centre_tapped = len(feed.secondaries) > 1
            if is_least and not centre_tapped and feed.branch not in primaries:
                primaries.add(feed.branch)
                primary = (branch, feed.primary)
                yield from _grouped(traced, "transformer", area, _voltage_v(traced, primary), [primary])
    for bank in _parallel([(by_name[name], end) for name, end in traced.regulators.items()]):
        branch, end = bank[0]
        if branch.buses[end] in area_of_bus:
            yield from _grouped(traced, "regulator", area_of_bus[branch.buses[end]], _voltage_v(traced, bank[0]), bank)
    lines = [*[area.head_line for area in areas if area.head_line], *[name.upper() for name in watched]]
    for name in dict.fromkeys(lines):
        line = by_name[name]
        if line.kind == "line" and line.buses[0] in area_of_bus:
            area = area_of_bus[line.buses[0]]
            yield from _grouped(traced, "line", area, area.nominal_voltage_v, [(line, 0)])


def _parallel(terminals: Sequence[tuple[Branch, int]]) -> Iterable[list[tuple[Branch, int]]]:
    """Terminals of units that join the same nodes. Others share a load as the network between them has it."""
    groups: dict[tuple[frozenset[int], ...], list[tuple[Branch, int]]] = defaultdict(list)
    for branch, end in terminals:
        ends = map(frozenset, branch.terminals.tolist())
        groups[tuple(sorted(ends, key=sorted))].append((branch, end))
    return groups.values()


def _voltage_v(traced: Trace, terminal: tuple[Branch, int]) -> float:
    """Voltage to neutral at a terminal without load [V]."""
    branch, end = terminal
    nodes = branch.terminals[end]
    return float(np.abs(traced.network.no_load_v[nodes[nodes >= 0]]).max(initial=0.0))


def _grouped(
    traced: Trace, kind: str, area: Area, nominal_v: float, terminals: Sequence[tuple[Branch, int]]
) -> Iterator[Limit]:
    """Limits of terminals in parallel, by phase: they share the current as their admittances have it."""
    by_phase: dict[str, list[tuple[Branch, int, float]]] = defaultdict(list)
    of_branch: dict[str, list[tuple[str, int, float]]] = defaultdict(list)
    for branch, end in terminals:
        width = len(branch.nodes) // len(branch.buses)
        rating_a = branch.terminal_ratings_a[end] if branch.terminal_ratings_a else branch.rating_a
        for position in range(end * width, (end + 1) * width):
            node = branch.nodes[position]
            phase = _PHASES.get(int(traced.node_phase[node])) if node >= 0 else None
            # the star point of a winding carries what its phases leave; only a line's neutral is a conductor of its own
            if phase is not None and (phase != "n" or kind == "line") and np.isfinite(rating_a):
                of_branch[branch.name].append((phase, position, float(rating_a)))
    by_name = {branch.name: branch for branch, _ in terminals}
    for name, conductors in of_branch.items():
        seen: Counter[str] = Counter()
        twice = {phase for phase, many in Counter(phase for phase, _, _ in conductors).items() if many > 1}
        for phase, position, rating in conductors:  # the halves behind a centre tap are of one phase
            seen[phase] += 1
            key = f"{phase}{seen[phase]}" if phase in twice else phase
            by_phase[key].append((by_name[name], position, rating))
    for phase, units in by_phase.items():
        admits_s = np.array([abs(branch.admittance_s[position, position]) for branch, position, _ in units])
        part = admits_s / admits_s.sum() if admits_s.sum() else np.full(len(units), 1.0 / len(units))
        yield Limit(
            asset="+".join(dict.fromkeys(branch.name for branch, _, _ in units)),
            kind=kind,
            area=area.name,
            phase=phase,
            rating_a=float(min(rating / share for (_, _, rating), share in zip(units, part, strict=True))),
            nominal_v=nominal_v,
            conductors=tuple((branch.name, position, rating) for branch, position, rating in units),
        )


def rated_v(load: LoadFact, voltage: Mapping[str, complex]) -> float:
    """Rated phase-to-neutral voltage of a load [V]; of one between two phases, as these stand to each other."""
    if not load.delta or len(load.node_numbers) != 2:
        return float(1e3 * load.kv / (np.sqrt(3) if len(load.node_numbers) > 1 else 1.0))
    one, other = (voltage.get(f"{load.bus}.{number}", 0j) for number in load.node_numbers)
    return float(1e3 * load.kv * abs(one) / (abs(one - other) or np.inf))
