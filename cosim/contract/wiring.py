"""How customers are connected: phases, conductors, and the ports at which they draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from scipy import sparse

from cosim.contract.survey import FrozenArrays
from cosim.network import Complex, Float, Int, Network

MINIMUM_CURRENT_A = 6.0
"""A charger either pauses or draws at least this on every phase that it uses (IEC 61851-1)."""
NEUTRAL = 4
"""Phase of a neutral conductor, beside 1, 2, 3."""
Power = TypeVar("Power", Float, Complex)


@dataclass(frozen=True, eq=False, kw_only=True)
class Wiring(FrozenArrays):
    """How customers are connected to a network.

    Attributes
    ----------
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
    network : Network
        Linear model, rated lines, transformer.
    customer_nominal_v : ndarray, shape (customer,)
        Phase-to-neutral nominal voltage, base of every per-unit figure of a customer [V].
    delta_customers : tuple of str
        Customers that are connected between phases.
    charger_phase : tuple of int, shape (customer,), or ()
        Phase that a home of several phases charges on; 0: on all that it has, and so do all where it is empty.
    """

    customers: tuple[str, ...]
    customer_bus: tuple[str, ...]
    customer_phases: tuple[tuple[int, ...], ...]
    customer_nodes: tuple[tuple[int, ...], ...]
    customer_neutral: tuple[int, ...]
    network: Network
    customer_nominal_v: Float
    delta_customers: tuple[str, ...] = ()
    customer_ends: tuple[tuple[tuple[int, int], ...], ...] = ()
    charger_phase: tuple[int, ...] = ()

    @cached_property
    def ports(self) -> sparse.csc_matrix:
        """Where customers are metered, shape (node, port): +1 at a phase conductor, -1 at the neutral if any."""
        return incidence(len(self.network.node_names), *self.terminals[1:])

    @cached_property
    def source_ports(self) -> sparse.csc_matrix:
        """Where the file's own sources feed in, as `ports`; without those whose power follows their voltage."""
        steady = [self.network.steady_sources.get(name) for name in self.network.injectors]
        ends = [pair for one in steady if one is not None for pair in one.ends]
        return incidence(len(self.network.node_names), *np.array(ends, dtype=np.int64).reshape(-1, 2).T)

    @cached_property
    def all_ports(self) -> sparse.csc_matrix:
        """``ports``, and behind them ``source_ports``."""
        return sparse.csc_matrix(sparse.hstack([self.ports, self.source_ports]))

    def drop_of_ports(self) -> Complex:
        """Voltage that one ampere drawn at each of ``all_ports`` takes from every node, shape (node, port) [ohm]."""
        from scipy.sparse.linalg import splu  # a quarter of a second, which only controllers of limits need

        return np.asarray(splu(self.network.admittance_s.tocsc()).solve(self.all_ports.toarray().astype(complex)))

    @cached_property
    def load_ports(self) -> sparse.csc_matrix:
        """Where customers draw, as `ports`; other than these only where some are connected between phases."""
        return incidence(len(self.network.node_names), *self.load_ends[1:])

    @cached_property
    def spurs(self) -> tuple[Int, Int]:
        """Chargers on one phase of a home with several: its customer, and column of ``load_ports``, each (spur,)."""
        port_of = {pair: port for port, pair in enumerate(zip(*(x.tolist() for x in self.load_ends[:2]), strict=True))}
        found = [
            (row, port_of[row, self.customer_nodes[row][phases.index(phase)]])
            for row, (phase, phases) in enumerate(zip(self.charger_phase, self.customer_phases, strict=False))
            if phase and len(set(phases)) > 1  # halves of a centre-tapped winding are of one phase
        ]
        customer, port = np.array(found, dtype=np.int64).reshape(-1, 2).T
        return customer, port

    def at_loads(self, net_kw: Power, car_kw: Power) -> Power:
        """Take apart what engines solve for: homes, and chargers on one phase of a home with several.

        Parameters
        ----------
        net_kw, car_kw : ndarray, shape (..., customer)
            Of the whole home, cars included, and of its cars alone.

        Returns
        -------
        ndarray, shape (..., customer + spur)
            Homes without those chargers, then those chargers; ``net_kw`` itself where there is none.
        """
        who, _ = self.spurs
        if not len(who):
            return net_kw
        apart = np.broadcast_to(car_kw[..., who], (*net_kw.shape[:-1], len(who)))
        homes = net_kw.copy()
        homes[..., who] -= apart
        return np.concatenate([homes, apart], axis=-1)

    def loads(self, net_kw: Float, net_kvar: Float, car_kw: Float) -> tuple[Float, Float]:
        """Active and reactive power of `at_loads`: cars draw no reactive power."""
        return self.at_loads(net_kw, car_kw), self.at_loads(net_kvar, np.zeros_like(car_kw))

    def at_ports(self, loads: Complex) -> Complex:
        """What `at_loads` gives, or homes alone, at each of ``load_ports``: homes evenly, shape (..., port)."""
        customers = len(self.customers)
        of_ports: Complex = (loads[..., :customers] / self._ports_each)[..., self.load_ends[0]]
        if loads.shape[-1] > customers:
            of_ports[..., self.spurs[1]] += loads[..., customers:]
        return of_ports

    @cached_property
    def _ports_each(self) -> Int:
        return np.bincount(self.load_ends[0], minlength=len(self.customers))

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
    def phase_matrix(self) -> Float:
        """Share of a customer's power on phases 1, 2, 3; shape (customer, 3), rows sum to 1."""
        shares = np.zeros((len(self.customers), 3))
        for row, phases in enumerate(self.customer_phases):
            for phase in phases:
                shares[row, phase - 1] = 1.0 / len(phases)
        return shares

    @property
    def charger_phase_matrix(self) -> Float:
        """As `phase_matrix`, of what charges there."""
        shares = self.phase_matrix
        for row in self.spurs[0].tolist():
            shares[row] = np.arange(1, 4) == self.charger_phase[row]
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
        """6 A on every phase that each customer charges on, at nominal voltage; shape (customer,) [kW]."""
        phases = np.array([len(phases) for phases in self.customer_phases], dtype=float)
        phases[self.spurs[0]] = 1.0
        return MINIMUM_CURRENT_A * phases * self.customer_nominal_v / 1e3


def incidence(nodes: int, there: Int, back: Int) -> sparse.csc_matrix:
    """Ports from their two nodes, shape (node, port): +1 at the first, -1 at the second unless that is earth."""
    wired = np.flatnonzero(back >= 0)  # ports that return by a conductor, not by earth
    rows, columns = np.concatenate([there, back[wired]]), np.concatenate([np.arange(len(there)), wired])
    signs = np.repeat([1.0, -1.0], [len(there), len(wired)])
    return sparse.csc_matrix((signs, (rows, columns)), shape=(nodes, len(there)))
