"""The feeder as a linear network: nodes, admittances, branches, and what follows from voltages alone.

Everything here is Ohm's law on the primitive admittance matrices that the power-flow engine built, so currents,
losses and powers are computed for a whole horizon at once, after the power flow, and in the same way for every engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import groupby, zip_longest
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Complex = NDArray[np.complex128]
Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Branch:
    """A passive element: its primitive admittance and the nodes it joins.

    Attributes
    ----------
    name : str
        Upper case; of lines and transformers without the class, as in ``LINE1``, of others with it: ``REACTOR.FUSE1``.
    kind : str
        ``"line"``, ``"transformer"``, or another class of OpenDSS: ``"reactor"``, ``"capacitor"``, ``"fault"`` (a
        resistance).
    buses : tuple of str
        One bus per terminal.
    nodes : ndarray of int, shape (terminal · conductor,)
        Row of ``Network.node_names``, terminal by terminal; -1 is earth.
    phases : tuple of int
        Phase of every conductor of the monitored terminal (the first; of a transformer the one that feeds customers):
        1, 2, 3 as traced from the source, 4 for a neutral, 0 for earth.
    admittance_s : ndarray of complex, shape (terminal · conductor, terminal · conductor)
        Primitive admittance [S].
    monitored : slice
        Rows of the monitored terminal in ``nodes``.
    rating_a : float
        Rated current of a conductor [A]; nan where the feeder gives none, and of other kinds.
    length_m : float
        Length of a line [m]; 0 of others.
    terminal_ratings_a : tuple of float
        Rated current of a conductor at every terminal [A].
    later : tuple of (int, ndarray of complex)
        Step of a run from which on the primitive admittance is another, and that one: taps and capacitors that moved.
    no_load_s : ndarray of complex or None
        Part of the primitive admittance that takes a transformer's no-load loss [S]; None where it has none.
    loss_percent : tuple of float
        Load loss at rated current and no-load loss at rated voltage of a transformer, of its rating [%]; nan of others.
    """

    name: str
    kind: str
    buses: tuple[str, ...]
    nodes: Int
    phases: tuple[int, ...]
    admittance_s: Complex
    monitored: slice
    rating_a: float
    length_m: float
    terminal_ratings_a: tuple[float, ...] = ()
    later: tuple[tuple[int, Complex], ...] = ()
    no_load_s: Complex | None = None
    loss_percent: tuple[float, float] = (float("nan"), float("nan"))

    @property
    def element(self) -> str:
        """Name with its class, as OpenDSS knows it."""
        return self.name if "." in self.name else f"{self.kind.capitalize()}.{self.name}"

    @property
    def terminals(self) -> Int:
        """``nodes`` of shape (terminal, conductor)."""
        return self.nodes.reshape(len(self.buses), -1)

    def watched_at(self, terminals: Sequence[int], node_phase: Int) -> Branch:
        """Return the branch monitored at those terminals, from first to last, with the phases of the nodes there."""
        width = len(self.nodes) // len(self.buses)
        monitored = slice(terminals[0] * width, (terminals[-1] + 1) * width)
        phases = tuple(int(node_phase[node]) if node >= 0 else 0 for node in self.nodes[monitored])
        return replace(self, monitored=monitored, phases=phases)

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """Of an array of three phases, the column of every conductor of the monitored terminal; -1 for a neutral.

        The second half of a centre-tapped winding, of the same phase as the first, takes a column that is free.
        """
        found: list[int] = []
        for phase in self.phases:
            free = [column for column in range(3) if column not in found and column + 1 not in self.phases]
            own = phase - 1 if 1 <= phase <= 3 else -1
            found.append(free[0] if own >= 0 and own in found and free else own)
        return tuple(found)

    @cached_property
    def neutral_rows(self) -> tuple[int, ...]:
        """Rows of ``nodes`` of the neutral conductors at the monitored terminal."""
        at_terminal = zip(range(self.nodes.size)[self.monitored], self.phases, strict=True)
        return tuple(row for row, phase in at_terminal if phase == 4 and self.nodes[row] >= 0)


class SteadySource(NamedTuple):
    """A source of the file's own that feeds in the same power at any voltage of its band.

    Attributes
    ----------
    ends : tuple of (int, int)
        Pairs of rows between which it feeds in equal parts, -1 being earth.
    fed_kva : complex
        What it feeds in as the file stands, P + jQ [kVA].
    nominal_v : float
        Its rated voltage from one end to the other [V].
    band_pu : tuple of float
        Of that voltage; outside, its power follows the voltage.
    """

    ends: tuple[tuple[int, int], ...]
    fed_kva: complex
    nominal_v: float
    band_pu: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Network:
    """Linear model of a feeder, loads taken out.

    Attributes
    ----------
    node_names : tuple of str, shape (node,)
        ``bus.phase``.
    admittance_s : scipy.sparse.csc_matrix of complex, shape (node, node)
        Nodal admittance with the source's own impedance, without loads [S].
    no_load_v : ndarray of complex, shape (node,)
        Phase-to-earth voltages without any load, at ``source_pu`` [V].
    source_pu : float
        Source voltage at which ``no_load_v`` holds.
    branches : tuple of Branch
        All passive elements but loads.
    source_buses : tuple of str
        Buses of the voltage sources, the first that of the circuit.
    injectors, controls : tuple of str
        Elements that are no part of a constant linear network: other sources of power, and automatic switching.
    frequency_hz : float
        At which admittances hold [Hz].
    injector_nodes : tuple of ndarray of int, shape (injector,)
        Row of the node of each conductor; -1 is earth.
    steady_sources : mapping of str to SteadySource
        Those of the injectors whose power does not follow their voltage.
    unhonoured : tuple of (str, str)
        Elements that a run cannot treat as the file means them, and what it does with them instead.
    """

    node_names: tuple[str, ...]
    admittance_s: sparse.csc_matrix
    no_load_v: Complex
    source_pu: float
    branches: tuple[Branch, ...]
    source_buses: tuple[str, ...]
    injectors: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    frequency_hz: float = 50.0
    injector_nodes: tuple[Int, ...] = ()
    steady_sources: Mapping[str, SteadySource] = field(default_factory=dict)
    unhonoured: tuple[tuple[str, str], ...] = ()

    def branch(self, name: str) -> Branch:
        """Return the branch of that name (KeyError where there is none)."""
        return self._by_name[name.upper()]

    @cached_property
    def _by_name(self) -> dict[str, Branch]:
        return {branch.name: branch for branch in self.branches}

    def moved(self, admittances_s: Mapping[str, Complex]) -> Network:
        """Return the network with other primitive admittances [S] of some branches; ``no_load_v`` stays."""
        change = sparse.lil_matrix(self.admittance_s.shape, dtype=complex)
        branches = []
        for branch in self.branches:
            admittance_s = admittances_s.get(branch.name, branch.admittance_s)
            wired = branch.nodes >= 0
            for row, column in zip(*np.nonzero(admittance_s - branch.admittance_s), strict=True):
                if wired[row] and wired[column]:
                    change[branch.nodes[row], branch.nodes[column]] += (
                        admittance_s[row, column] - branch.admittance_s[row, column]
                    )
            branches.append(replace(branch, admittance_s=admittance_s))
        return replace(self, admittance_s=self.admittance_s + change.tocsc(), branches=tuple(branches))

    @property
    def others_kva(self) -> Complex:
        """What each of ``injectors`` feeds in as the file stands, P + jQ, all being steady, shape (injector,) [kVA]."""
        return np.array([self.steady_sources[name].fed_kva for name in self.injectors], dtype=complex)

    @cached_property
    def node_buses(self) -> tuple[str, ...]:
        """Bus of every node, shape (node,)."""
        return tuple(node.rpartition(".")[0] for node in self.node_names)

    @property
    def highest_no_load_v(self) -> dict[str, float]:
        """Highest voltage to earth of every bus's nodes without load [V]."""
        found: dict[str, float] = {}
        for bus, volts in zip(self.node_buses, np.abs(self.no_load_v).tolist(), strict=True):
            found[bus] = max(found.get(bus, 0.0), volts)
        return found

    @property
    def lines(self) -> tuple[Branch, ...]:
        """Lines only."""
        return tuple(branch for branch in self.branches if branch.kind == "line")


_BLOCK, _STEPS = 16, 288  # branches and steps at once: their voltages and currents stay in the processor's cache


def _at_terminals(
    branches: Sequence[Branch], voltages_v: Complex
) -> Iterator[tuple[list[int], slice, Complex, Complex]]:
    """Give positions of some branches, some steps, and voltages at and currents into all conductors there.

    Both arrays are of shape (branch, conductor, step), and of whoever takes them.
    """
    for first in range(0, len(voltages_v), _STEPS):
        some = slice(first, first + _STEPS)
        for block, nodes, place, admittance in _blocks(tuple(branches)):
            of_node = np.ascontiguousarray(voltages_v[some, nodes].T)
            of_node[nodes < 0] = 0.0  # earth
            v = of_node[place]
            current = admittance @ v
            for row, position in enumerate(block):
                later = branches[position].later
                ends = [step for step, _ in later[1:]]
                for (step, moved_s), end in zip_longest(later, ends):
                    there = slice(max(step - first, 0), None if end is None else max(end - first, 0))
                    current[row, :, there] = moved_s @ v[row, :, there]
            yield block, some, v, current


@lru_cache(maxsize=16)  # a run asks for the currents of the same branches at every decision
def _blocks(branches: tuple[Branch, ...]) -> list[tuple[list[int], Int, Int, Complex]]:
    """Branches of one size together: their positions, nodes, each branch's places among these, and admittances."""
    blocks = []
    by_size = sorted(range(len(branches)), key=lambda i: len(branches[i].nodes))
    for _, group in groupby(by_size, key=lambda i: len(branches[i].nodes)):
        members = list(group)
        for first in range(0, len(members), _BLOCK):
            block = members[first : first + _BLOCK]
            nodes, place = np.unique([branches[i].nodes for i in block], return_inverse=True)
            admittance = np.stack([branches[i].admittance_s for i in block])
            blocks.append((block, nodes, place.reshape(len(block), -1), admittance))
    return blocks


def terminal_currents(branches: Sequence[Branch], voltages_v: Complex) -> list[Complex]:
    """Current into every conductor of every terminal, for each branch.

    Parameters
    ----------
    branches : sequence of Branch
        Which branches.
    voltages_v : ndarray of complex, shape (step, node)
        Node voltages [V].

    Returns
    -------
    list of ndarray of complex
        Per branch, shape (step, terminal · conductor) [A], + into the element: ``I = Y_prim V``.
    """
    currents = [np.empty((len(voltages_v), len(branch.nodes)), complex) for branch in branches]
    for block, some, _, current in _at_terminals(branches, voltages_v):
        for position, into_a in zip(block, current, strict=True):
            currents[position][some] = into_a.T
    return currents


def monitored_currents(branches: Sequence[Branch], voltages_v: Complex) -> Complex:
    """Currents at the monitored terminals by phase.

    Parameters
    ----------
    branches : sequence of Branch
        Which branches.
    voltages_v : ndarray of complex, shape (step, node)
        Node voltages [V].

    Returns
    -------
    ndarray of complex, shape (step, branch, 3)
        Current flowing *towards the customers* in phases 1, 2, 3 [A]; 0 where a phase is not there.
    """
    result = np.zeros((len(voltages_v), len(branches), 3), complex)
    for block, some, _, current in _at_terminals(branches, voltages_v):
        for position, into_a in zip(block, current, strict=True):
            _put_monitored(branches[position], into_a, result[some, position].T)
    return result


def _put_monitored(branch: Branch, current_a: Complex, phases_a: Complex) -> None:
    """Add currents into all conductors of a branch to those of its phases, shapes (conductor, step) and (3, step)."""
    # at a transformer's low-voltage terminal the current towards the customers leaves the element
    add = np.subtract if branch.kind == "transformer" else np.add
    for into_a, column in zip(current_a[branch.monitored], branch.columns, strict=True):
        if column >= 0:
            add(phases_a[column], into_a, out=phases_a[column])


def branch_losses_kw(branches: Sequence[Branch], voltages_v: Complex) -> Float:
    """Active power lost in every branch, from its own currents.

    Parameters
    ----------
    branches : sequence of Branch
        Which branches.
    voltages_v : ndarray of complex, shape (step, node)
        Node voltages [V].

    Returns
    -------
    ndarray of float, shape (step, branch)
        Losses [kW]: ``Re(Σ V conj(I))`` over all terminals.
    """
    return losses_and_currents(branches, voltages_v)[0]


def losses_and_currents(
    branches: Sequence[Branch], voltages_v: Complex, watched: Sequence[Branch] = ()
) -> tuple[Float, Complex]:
    """`branch_losses_kw` of branches and `monitored_currents` of some of them at once, which takes half the time."""
    losses = np.empty((len(branches), len(voltages_v))).T
    currents = np.zeros((len(watched), 3, len(voltages_v)), complex).transpose(2, 0, 1)  # quick to fill and to read
    row = {id(branch): row for row, branch in enumerate(watched)}
    wires, rest = _wires(tuple(branches))
    for first in range(0, len(voltages_v) if wires else 0, _STEPS):
        some = slice(first, first + _STEPS)
        by_node, of_some = np.ascontiguousarray(voltages_v[some].T), currents[some].transpose(1, 2, 0)
        for positions, here, there, admittance, columns in wires:
            v = by_node[here] - by_node[there]
            current = admittance @ v
            losses[some, positions] = ((v.real * current.real + v.imag * current.imag).sum(axis=1) / 1e3).T
            places = np.array([row.get(id(branches[position]), -1) for position in positions])
            wanted = places >= 0
            of_some[places[wanted, None], columns] = current[wanted]
    for block, some, v, current in _at_terminals([branches[position] for position in rest], voltages_v):
        for number, into_a in zip(block, current, strict=True):
            if (place := row.get(id(branches[rest[number]]))) is not None:
                _put_monitored(branches[rest[number]], into_a, currents[some, place].T)
        np.multiply(v, np.conjugate(current, out=current), out=current)
        losses[some, [rest[number] for number in block]] = (current.sum(axis=1).real / 1e3).T
    return losses, currents


class _Wires(NamedTuple):
    """Lines that charge nothing, in which the same flows at both ends, some of one kind together.

    Their positions, the nodes at both ends and series admittances, of shapes (line, conductor) and (line, conductor,
    conductor), and the columns of their phases.
    """

    positions: list[int]
    here: Int
    there: Int
    admittance_s: Complex
    columns: tuple[int, ...]


@lru_cache(maxsize=4)
def _wires(branches: tuple[Branch, ...]) -> tuple[list[_Wires], list[int]]:
    """All such lines, and the positions of all other branches."""
    alike, rest = dict[tuple[int, ...], list[int]](), list[int]()
    for position, branch in enumerate(branches):
        half = len(branch.nodes) // 2
        series_s = branch.admittance_s[:half, :half]
        is_wire = branch.kind == "line" and len(branch.buses) == 2 and branch.monitored == slice(0, half)
        is_wire &= not branch.later and min((*branch.nodes.tolist(), *branch.columns)) >= 0
        if is_wire and np.array_equal(np.block([[series_s, -series_s], [-series_s, series_s]]), branch.admittance_s):
            alike.setdefault(branch.columns, []).append(position)
        else:
            rest.append(position)
    found = []
    for columns, positions in alike.items():
        for first in range(0, len(positions), _BLOCK):
            some = positions[first : first + _BLOCK]
            ends = np.array([branches[position].terminals for position in some])
            series = np.array([branches[position].admittance_s[: len(columns), : len(columns)] for position in some])
            found.append(_Wires(some, ends[:, 0], ends[:, 1], series, columns))
    return found, rest


SERVED_TOLERANCE_KVA = 0.01
"""Largest difference at a node between what was asked for and what solved voltages serve; beyond, a step is marked."""


class ServedPower:
    """Power that solved voltages serve at the customers, by Kirchhoff's current law on the linear network.

    This is independent of what an engine believes it did: a load that silently changed its model shows here. Nothing
    can be said of customers at the bus of a source.

    Parameters
    ----------
    network : Network
        The network without loads.
    ports : scipy.sparse.csc_matrix, shape (node, port)
        Where customers draw: +1 where a port begins, -1 where it ends, unless that is earth.

    Attributes
    ----------
    across : scipy.sparse.csr_matrix, shape (port, node)
        From node voltages to those across the ports.
    """

    def __init__(self, network: Network, ports: sparse.csc_matrix) -> None:
        by_node = ports.tocsr()
        of_source = np.isin(network.node_buses, network.source_buses)  # what the source gives there, nobody asked for
        self._rows = np.flatnonzero((np.diff(by_node.indptr) > 0) & ~of_source)
        self._admittance = network.admittance_s.tocsr()[self._rows]
        self._ports = by_node[self._rows]
        self.across = ports.T.tocsr()

    def mismatch_kva(self, voltage_v: Complex, port_kva: Complex, fed_kva: Complex | None = None) -> Float:
        """Largest difference at a node between served and requested power.

        Parameters
        ----------
        voltage_v : ndarray of complex, shape (step, node)
            Node voltages [V].
        port_kva : ndarray of complex, shape (step, port)
            P + jQ asked for at every port [kVA].
        fed_kva : ndarray of complex, shape (step, node), optional
            P + jQ that the circuit's own sources feed in at every node [kVA].

        Returns
        -------
        ndarray, shape (step,)
            [kVA]; nan where a voltage is.
        """
        here_v = voltage_v[:, self._rows]
        asked_a = (self._ports @ (1e3 * port_kva / times_voltages(self.across, voltage_v)).conj().T).T
        if fed_kva is not None:
            asked_a = asked_a - (1e3 * fed_kva[:, self._rows] / here_v).conj()
        missing_a = times_voltages(self._admittance, voltage_v) + asked_a  # the network takes back what loads draw
        return np.asarray(np.abs(here_v * missing_a).max(axis=1, initial=0.0) / 1e3)


def times_voltages(rows: sparse.csr_matrix, voltages_v: Complex) -> Complex:
    """Product of sparse rows, shape (row, node), with voltages of shape (step, node), shape (step, row).

    Only the nodes that the rows touch are read: to turn whole days of a large feeder round takes longer than all else.
    """
    if len(voltages_v) == 1:
        return np.asarray(rows @ voltages_v[0], dtype=complex)[None]
    touched, column = np.unique(rows.indices, return_inverse=True)
    few = sparse.csr_matrix((rows.data, column, rows.indptr), shape=(rows.shape[0], len(touched)))
    return np.asarray((few @ np.ascontiguousarray(voltages_v[:, touched].T)).T, dtype=complex)


CONSTANT_POWER_PU = (0.5, 1.5)
"""Voltages of nominal between which OpenDSS keeps loads at constant power; beyond, a "solution" serves other powers."""


class TerminalPu:
    """Voltages that every customer's loads feel, to its neutral or between phases, per unit of its own nominal.

    Parameters
    ----------
    nodes, neutrals : ndarray of int, shape (terminal,)
        Rows of the phase nodes, and of the neutrals or other phases; -1 for earth.
    nominal_v : float or ndarray of shape (terminal,)
        Between them [V].
    """

    def __init__(self, nodes: Int, neutrals: Int, nominal_v: float | Float) -> None:
        self.nodes, self.nominal_v = nodes, np.broadcast_to(nominal_v, len(nodes))
        self._neutrals = neutrals if (neutrals >= 0).any() else None

    def __call__(self, voltage: Complex) -> Float:
        """Magnitudes at node voltages [V] of shape (..., node), shape (..., terminal) [pu]."""
        across = voltage[..., self.nodes]
        if self._neutrals is not None:
            across = across - np.where(self._neutrals >= 0, voltage[..., self._neutrals], 0.0)
        return np.asarray(np.abs(across) / self.nominal_v)


def is_constant_power(terminal_pu: Float) -> bool:
    """Whether all loads are still constant power at these voltages."""
    low, high = CONSTANT_POWER_PU
    return bool(terminal_pu.min(initial=1.0) > low and terminal_pu.max(initial=1.0) < high)
