"""The place: a feeder, frozen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from scipy import sparse

from cosim.contract.areas import Area, Limit, LimitCurrents
from cosim.contract.changes import Connection, TransformerSpec, ZipShares, out_of_range
from cosim.contract.intake import Finding
from cosim.contract.survey import FrozenArrays, LoadShape, Roof
from cosim.contract.thermal import OilTransformer
from cosim.errors import Fault, refuse
from cosim.load_laws import LoadLaws
from cosim.network import Branch, Float, Int, Network
from cosim.standards import EN_50160, Standard

MINIMUM_CURRENT_A = 6.0
"""A charger either pauses or draws at least this on every phase that it uses (IEC 61851-1)."""
NEUTRAL = 4
"""Phase of a neutral conductor, beside 1, 2, 3."""


@dataclass(frozen=True, eq=False)
class Feeder(FrozenArrays):
    """The place: OpenDSS files, customers with bus and phases, ratings, coordinates.

    Attributes
    ----------
    name : str
        Short name.
    master : Path
        The OpenDSS file that compiles the circuit.
    nominal_voltage_v : float
        Declared phase-to-neutral voltage of the area with most customers [V].
    customers, customer_bus : tuple of str, shape (customer,)
        Names of the loads, and their buses.
    customer_phases : tuple of tuple of int, shape (customer,)
        Phases that the customer is connected to, as traced from the source: one or three.
    customer_nodes : tuple of tuple of int, shape (customer,)
        Rows of ``network.node_names``, in the order of the phases.
    customer_neutral : tuple of int, shape (customer,)
        Row of the neutral conductor's node; -1 where the load returns to earth.
    customer_ends : tuple of tuple of (int, int), shape (customer,)
        Pairs of rows between which the customer draws equal parts of its power, -1 being earth; of all that are not
        connected between phases from each of its nodes to its neutral, which need not be said.
    load_model : str or ZipShares
        What households are: ``constant_power``, or ``file`` for the loads' own models, or the same shares for all.
    load_laws : LoadLaws or None
        How the households' power follows their voltage; None where all of it is constant power.
    load_kw, load_kvar : ndarray, shape (customer,)
        Power that the OpenDSS file itself gives the load [kW], [kvar].
    load_shapes : tuple of LoadShape or None, shape (customer,)
        Power over time that the file itself gives the load.
    connection_kw : ndarray, shape (customer,)
        Largest net import that the connection allows without any cap [kW].
    network : Network
        Linear model, rated lines, transformer.
    customer_nominal_v : ndarray, shape (customer,)
        Phase-to-neutral nominal voltage, base of every per-unit figure of a customer [V].
    areas : tuple of Area
        What each transformer feeds, parents first.
    limits : tuple of Limit
        What windings, head lines, watched lines and their neutral conductors may carry, as far as they are rated.
    transformer : str or None
        Name of the branch that feeds the area with most customers; None where there is none.
    transformer_kva : float
        Rating of that area [kVA]; nan where there is none.
    head_line : str or None
        Name of the line that carries all customers of that area.
    monitored : tuple of str
        Branches whose currents controllers and unbalance measures watch.
    coordinates : mapping of bus to (x, y)
        As in the file; empty where there are none.
    distance_m : mapping of bus to float
        Length of the path from the transformer [m].
    source_pu, replaced_transformer, connections
        Changes that were made to the file's own circuit.
    latitude_deg, longitude_deg : float
        For the sun.
    customer_names, customer_types : tuple of str, shape (customer,)
        What ``feeder.toml`` calls them, and what they are; empty texts where it does not say.
    line_codes : mapping of str to str
        Line code by line, in capitals; empty where a line has none.
    standard : Standard
        By which voltages are judged.
    delta_customers : tuple of str
        Customers that are connected between phases.
    taps : str
        ``"frozen"`` where the file has them, or ``"controlled"`` by the file's own regulators and capacitor controls.
    roofs : tuple of (int, Roof)
        PVSystems of the file that are roof plants of customers, with the customer's row.
    accepted : tuple of str
        Elements of ``network.unhonoured`` with which it is run all the same.
    findings : tuple of Finding
        What is missing, implausible or will mislead.
    thermal : OilTransformer
        Thermal constants of its transformers.

    Raises
    ------
    InputError
        Where a number is outside its range: nan and infinities pass no comparison, and so no check of a controller.
    """

    name: str
    master: Path
    nominal_voltage_v: float
    customers: tuple[str, ...]
    customer_bus: tuple[str, ...]
    customer_phases: tuple[tuple[int, ...], ...]
    customer_nodes: tuple[tuple[int, ...], ...]
    customer_neutral: tuple[int, ...]
    load_kw: Float
    load_kvar: Float
    load_shapes: tuple[LoadShape | None, ...]
    connection_kw: Float
    network: Network
    customer_nominal_v: Float
    areas: tuple[Area, ...]
    limits: tuple[Limit, ...]
    transformer: str | None
    transformer_kva: float
    head_line: str | None
    monitored: tuple[str, ...]
    coordinates: Mapping[str, tuple[float, float]]
    distance_m: Mapping[str, float]
    source_pu: float | None = None
    replaced_transformer: TransformerSpec | None = None
    connections: tuple[Connection, ...] = ()
    latitude_deg: float = 53.48
    longitude_deg: float = -2.24
    customer_names: tuple[str, ...] = ()
    customer_types: tuple[str, ...] = ()
    line_codes: Mapping[str, str] = field(default_factory=dict)
    standard: Standard = EN_50160
    delta_customers: tuple[str, ...] = ()
    taps: Literal["frozen", "controlled"] = "frozen"
    roofs: tuple[tuple[int, Roof], ...] = ()
    accepted: tuple[str, ...] = ()
    customer_ends: tuple[tuple[tuple[int, int], ...], ...] = ()
    load_model: str | ZipShares = "constant_power"
    load_laws: LoadLaws | None = None
    findings: tuple[Finding, ...] = ()
    thermal: OilTransformer = field(default_factory=OilTransformer)

    def __post_init__(self) -> None:
        super().__post_init__()
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        faults = out_of_range(f"feeder {self.name}", {key: value for key, value in own.items() if value is not None})
        for key in ("connection_kw", "load_kw", "load_kvar"):
            wrong = ~np.isfinite(own[key]) | (key == "connection_kw") & (own[key] < 0)
            if wrong.any():
                who = ", ".join(np.array(self.customers)[wrong][:5])
                problem = f"is negative or no finite number for {who}"
                faults.append(Fault(f"feeder {self.name}", key, problem, "give kilowatts, e.g. 14"))
        refuse(faults)

    def refuse_unhonoured(self) -> None:
        """Refuse, by name, what a run cannot treat as the file means it, unless it was accepted.

        Raises
        ------
        InputError
            With every such element, and every name accepted that is none.
        """
        accepted = {name.upper() for name in self.accepted}
        known = {name.upper() for name, _ in self.network.unhonoured}
        accept = 'change the file, or run with it all the same: [grid] accept = ["{0}"], or --accept {0}'
        faults = [
            Fault(str(self.master), name, why, accept.format(name))
            for name, why in self.network.unhonoured
            if name.upper() not in accepted
        ]
        faults += [
            Fault(str(self.master), "accept", f"'{name}' is nothing that would be refused", "leave it out")
            for name in self.accepted
            if name.upper() not in known
        ]
        refuse(faults)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a run repeats of the findings."""
        return tuple(finding.message for finding in self.findings if finding.severity == "warning")

    @property
    def supplies(self) -> tuple[str, ...]:
        """The transformer that feeds the area with most customers, and those in parallel with it."""
        together = [area.transformers for area in self.areas if self.transformer in area.transformers]
        return together[0] if together else (self.transformer,) if self.transformer else ()

    @property
    def area_of_customer(self) -> Int:
        """Row of ``areas`` of every customer, shape (customer,); -1 where a customer is in none."""
        found = np.full(len(self.customers), -1, dtype=np.int64)
        for row, area in enumerate(self.areas):
            found[list(area.customers)] = row
        return found

    @cached_property
    def area_of_bus(self) -> Mapping[str, Area]:
        """Area of every bus; without buses in no area."""
        return {bus: area for area in self.areas for bus in area.buses}

    @cached_property
    def limit_currents(self) -> LimitCurrents:
        """Currents of ``limits`` from voltages."""
        return LimitCurrents(self.network, self.limits)

    @cached_property
    def ports(self) -> sparse.csc_matrix:
        """Where customers are metered, shape (node, port): +1 at a phase conductor, -1 at the neutral if any."""
        return _incidence(len(self.network.node_names), *self.terminals[1:])

    @cached_property
    def load_ports(self) -> sparse.csc_matrix:
        """Where customers draw, as `ports`; other than these only where some are connected between phases."""
        return _incidence(len(self.network.node_names), *self.load_ends[1:])

    @cached_property
    def limit_share(self) -> Float:
        """Kilowatts that one of a customer adds to each of ``limits``, shape (limit, customer)."""
        nominal_v = np.array([limit.nominal_v for limit in self.limits])
        return self.limit_currents.share(self.load_ports, self.load_ends[0], nominal_v, self.port_nominal_v)

    @cached_property
    def port_nominal_v(self) -> Float:
        """Nominal voltage across every one of ``load_ports``, shape (port,) [V].

        Between three phases √3 of that to neutral, wherever earth is; between two as the voltages without load stand
        to the first one's: halves of a centre-tapped winding are opposite to each other.
        """
        customer, there, _ = self.load_ends
        across_v, first_v = np.abs(self.load_ports.T @ self.network.no_load_v), np.abs(self.network.no_load_v[there])
        between = np.isin(customer, self.delta_rows)
        width = np.array([len(nodes) for nodes in self.customer_nodes])[customer]
        ratio = np.divide(across_v, first_v, out=np.ones(len(customer)), where=between & (first_v > 0.0))
        return np.asarray(self.customer_nominal_v[customer] * np.where(between & (width == 3), np.sqrt(3.0), ratio))

    @property
    def transformer_rating_a(self) -> float:
        """Rated current of a phase at the terminals that feed the area with most customers [A]; nan where unknown."""
        if self.transformer is None:
            return float("nan")
        supplies, of_terminal = set(self.supplies), defaultdict[tuple[str, str, float], float](float)
        for limit in self.limits:
            if limit.kind != "line" and set(limit.asset.split("+")) <= supplies:
                # a primary winding that is rated less counts with what it lets through
                ratio = limit.nominal_v / self.nominal_voltage_v if limit.kind == "transformer" else 1.0
                of_terminal[limit.area, limit.phase, limit.nominal_v] += limit.rating_a * ratio
        return min(of_terminal.values(), default=float("nan"))

    @property
    def monitored_branches(self) -> tuple[Branch, ...]:
        """The branches that are watched."""
        return tuple(self.network.branch(name) for name in self.monitored)

    @property
    def phase_matrix(self) -> Float:
        """Share of a customer's power on phases 1, 2, 3; shape (customer, 3), rows sum to 1."""
        shares = np.zeros((len(self.customers), 3))
        for row, phases in enumerate(self.customer_phases):
            for phase in phases:
                shares[row, phase - 1] = 1.0 / len(phases)
        return shares

    @cached_property
    def terminals(self) -> tuple[Int, Int, Int]:
        """Customer, node and neutral's node (-1: earth) of every phase of every customer, each of shape (terminal,)."""
        customer = np.repeat(np.arange(len(self.customers)), [len(nodes) for nodes in self.customer_nodes])
        node = np.array([node for nodes in self.customer_nodes for node in nodes], dtype=np.int64)
        return customer, node, np.array(self.customer_neutral, dtype=np.int64)[customer]

    @cached_property
    def meter_nodes(self) -> tuple[Int, Int]:
        """Nodes of every customer's phases, shape (customer, most phases), the first repeated; neutral's, -1: earth."""
        width = max((len(nodes) for nodes in self.customer_nodes), default=1)
        padded = [nodes + (nodes[0],) * (width - len(nodes)) for nodes in self.customer_nodes]
        return np.array(padded, dtype=int).reshape(len(padded), width), np.array(self.customer_neutral, dtype=int)

    @cached_property
    def node_phase(self) -> Int:
        """Phase of every node as traced from the source: 1, 2, 3, 4 for a neutral; 0 where it is not known."""
        numbers = [name.rpartition(".")[2] for name in self.network.node_names]
        phase = np.array([int(number) if number in ("1", "2", "3") else 0 for number in numbers], dtype=np.int64)
        for branch in self.network.branches:
            # a line has the same conductors at both ends, the windings of a transformer have each their own
            for nodes in branch.terminals if branch.kind == "line" else [branch.nodes[branch.monitored]]:
                there = nodes >= 0
                phase[nodes[there]] = np.array(branch.phases)[there]
        phase[[node for node in self.customer_neutral if node >= 0]] = NEUTRAL
        return phase

    @property
    def neutral_nodes(self) -> Int:
        """Rows of ``network.node_names`` of all neutral conductors that are not earth itself."""
        return np.flatnonzero(self.node_phase == NEUTRAL)

    @cached_property
    def node_neutral(self) -> Int:
        """For every node the row of the neutral conductor at its bus; -1 where the bus has none but earth."""
        buses = self.network.node_buses
        neutral = {buses[node]: node for node in self.neutral_nodes.tolist()}
        return np.array([neutral.get(bus, -1) for bus in buses], dtype=np.int64)

    @cached_property
    def three_phase_nodes(self) -> Mapping[str, tuple[int, int, int]]:
        """Rows of phases a, b, c at every bus that has all three, by the bus."""
        found: dict[str, dict[int, int]] = {}
        for node, (bus, phase) in enumerate(zip(self.network.node_buses, self.node_phase.tolist(), strict=True)):
            found.setdefault(bus, {})[phase] = node
        return {bus: (rows[1], rows[2], rows[3]) for bus, rows in found.items() if {1, 2, 3} <= set(rows)}

    @cached_property
    def delta_rows(self) -> tuple[int, ...]:
        """Row of every one of ``delta_customers``."""
        row = {name: index for index, name in enumerate(self.customers)}
        return tuple(row[name] for name in self.delta_customers)

    @cached_property
    def load_ends(self) -> tuple[Int, Int, Int]:
        """Customer, and the two nodes (-1: earth) between which it draws an equal part, each of shape (port,)."""
        if not self.customer_ends:
            return self.terminals
        customer = np.repeat(np.arange(len(self.customers)), [len(ends) for ends in self.customer_ends])
        there, back = np.array([pair for ends in self.customer_ends for pair in ends], dtype=np.int64).T
        return customer, there, back

    @property
    def charger_min_kw(self) -> Float:
        """6 A on every phase of each customer, at nominal voltage; shape (customer,) [kW]."""
        phases = np.array([len(phases) for phases in self.customer_phases], dtype=float)
        return MINIMUM_CURRENT_A * phases * self.customer_nominal_v / 1e3

    @property
    def phase_limit_a(self) -> float:
        """The smaller of the transformer's and the head line's rated current of a phase [A]; inf where unknown."""
        head = self.network.branch(self.head_line).rating_a if self.head_line else float("nan")
        return float(np.fmin(np.fmin(self.transformer_rating_a, head), np.inf))


def _incidence(nodes: int, there: Int, back: Int) -> sparse.csc_matrix:
    wired = np.flatnonzero(back >= 0)  # ports that return by a conductor, not by earth
    rows, columns = np.concatenate([there, back[wired]]), np.concatenate([np.arange(len(there)), wired])
    signs = np.repeat([1.0, -1.0], [len(there), len(wired)])
    return sparse.csc_matrix((signs, (rows, columns)), shape=(nodes, len(there)))
