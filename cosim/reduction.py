"""From a feeder to the ports of its reduced network: what is linear, where customers draw, and what that does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from cosim.contract import Branch, Complex, Feeder, Int
from cosim.contract.signals import Bool
from cosim.errors import Fault, PowerFlowError, UnsupportedError, refuse

_AT_ONCE = 16
"""Right-hand sides: their voltages stay in the processor's cache."""
_LEAN = 20
"""Entries of the dense matrix that are multiplied in the time of one of the factors."""
_DENSE = 4_000_000
"""Complex numbers, 64 MB: a matrix of ports times nodes is the quickest for many candidates on a street."""


def refuse_what_is_not_linear(feeder: Feeder, *, regulating: bool = True, told: bool = True) -> None:
    """Refuse, by name, what a constant linear network with constant power cannot represent.

    A prediction may take taps as they are at the start (``regulating``), a run may not. Of other sources it must be
    ``told`` what they feed in.
    """
    network = feeder.network
    sources = [name for name in network.injectors if not (told and name in network.steady_sources)]
    reasons = [
        (
            network.controls if feeder.taps == "controlled" and not regulating else (),
            "controls that act ([grid] taps)",
        ),
        (sources, f"sources {'whose power follows their voltage' if told else 'of power other than customers'}"),
        (_following_voltage(feeder), "loads that follow their voltage ([households] load_model)"),
    ]
    found = [f"{what}: {', '.join(elements)}" for elements, what in reasons if elements]
    if found:
        raise UnsupportedError("the reduced network cannot represent " + "; ".join(found) + " (use the OpenDSS engine)")


def _following_voltage(feeder: Feeder) -> tuple[str, ...]:
    if feeder.load_laws is None:
        return ()
    return tuple(f"Load.{feeder.customers[row]}" for row in np.flatnonzero(feeder.load_laws.varying))


def default_watched(feeder: Feeder) -> tuple[str, ...]:
    """Names of transformer, head line, monitored branches, and all others that have a limit."""
    limited = (name for limit in feeder.limits for name in limit.asset.split("+"))
    wanted = (feeder.transformer, feeder.head_line, *feeder.monitored, *limited)
    return tuple(dict.fromkeys(name for name in wanted if name))


def branches_of(feeder: Feeder, names: Sequence[str]) -> list[Branch]:
    """Return the branches of those names; InputError names those that are not there."""
    by_name = {branch.name: branch for branch in feeder.network.branches}
    refuse(
        Fault(feeder.name, "watched", f"there is no branch '{name}'", "name a Line or Transformer of the feeder")
        for name in names
        if name not in by_name
    )
    return [by_name[name] for name in names]


class Transfer:
    """What one ampere drawn at a port does to voltages: columns of the inverse of the admittance matrix.

    A feeder is drawn as it lies in the ground: most buses only pass on what their two neighbours draw. They are
    eliminated first, exactly (Kron), which leaves customers, junctions and what is watched: a street of 2,721 nodes
    keeps 456.

    Parameters
    ----------
    feeder : Feeder
        The place.
    ports : scipy.sparse.csc_matrix, shape (node, port)
        +1 where a port begins, -1 where it ends, unless that is earth.
    branches : sequence of Branch
        What is watched.

    Attributes
    ----------
    branches : list of Branch
        The same, with their rows among the kept nodes.
    is_lean : bool
        Whether back-substitution is quicker than a product with the dense matrix of ports: with many customers at few
        nodes.

    Raises
    ------
    PowerFlowError
        Where the matrix is singular.
    """

    def __init__(self, feeder: Feeder, ports: sparse.csc_matrix, branches: Sequence[Branch]) -> None:
        admittance = feeder.network.admittance_s.tocsr()
        bus = np.unique(feeder.network.node_buses, return_inverse=True)[1].reshape(-1)
        watched = [branch.nodes[branch.nodes >= 0] for branch in branches]
        kept = (_neighbours(admittance, bus) > 2) | np.isin(bus, bus[np.concatenate([ports.indices, *watched])])
        try:
            self._onto = _from_kept(admittance, kept)
            self._factors = splu((admittance[kept] @ self._onto).tocsc())
        except RuntimeError as error:
            raise PowerFlowError(
                f"{feeder.name}: the admittance matrix cannot be factorised ({error}): some part of the network has no "
                "connection to the source or to earth"
            ) from error
        self._ports = ports.tocsr()[kept].astype(complex)
        self._across = self._ports.T.tocsr()
        self.is_lean = ports.shape[1] ** 2 > _LEAN * (self._factors.L.nnz + self._factors.U.nnz)
        row = np.full(len(kept) + 1, -1)  # the last for earth, which is -1
        row[np.flatnonzero(kept)] = np.arange(kept.sum())
        self.branches = [replace(branch, nodes=row[branch.nodes]) for branch in branches]

    def blocks(self) -> Iterator[tuple[slice, Complex, Complex]]:
        """Give ports, some at a time, and the voltage that each takes from ports, and from kept nodes [ohm].

        Of shapes (port, port) and (port, kept).
        """
        for first in range(0, self._ports.shape[1], _AT_ONCE):
            some = slice(first, min(first + _AT_ONCE, self._ports.shape[1]))
            to_kept = self._factors.solve(self._ports[:, some].toarray())
            yield some, (self._across @ to_kept).T, to_kept.T

    def port_drop_v(self, port_a: Complex) -> Complex:
        """Voltage that currents drawn at the ports take from every port, shape (candidate, port), or (port,) [V]."""
        return np.asarray(self._across @ self._factors.solve(self._ports @ port_a.T), dtype=complex).T

    def drop_v(self, port_a: Complex) -> Complex:
        """Voltage that currents drawn at the ports take from every node, shape (candidate, node) [V]."""
        if len(port_a) > 1 and self._ports.shape[1] * self._onto.shape[0] <= _DENSE:
            return np.asarray((self._whole.T @ port_a.T).T)  # node by node in memory, as measures read it
        return self._drop_v(port_a)

    def _drop_v(self, port_a: Complex) -> Complex:
        found = np.empty((len(port_a), self._onto.shape[0]), complex)
        for first in range(0, len(port_a), _AT_ONCE):
            some = slice(first, first + _AT_ONCE)
            found[some] = (self._onto @ self._factors.solve(self._ports @ port_a[some].T)).T
        return found

    @cached_property
    def _whole(self) -> Complex:
        """Voltage that one ampere drawn at a port takes from every node, shape (port, node) [ohm]."""
        return self._drop_v(np.eye(self._ports.shape[1], dtype=complex))


def _neighbours(admittance: sparse.csr_matrix, bus: Int) -> Int:
    """How many other buses each node's bus is joined to, from the number of every node's bus."""
    joined, many = admittance.tocoo(), len(bus)
    here, there = np.divmod(np.unique(bus[joined.row] * many + bus[joined.col]), many)
    return np.bincount(here[here != there], minlength=many)[bus]


def _from_kept(admittance: sparse.csr_matrix, kept: Bool) -> sparse.csr_matrix:
    """Voltages of all nodes from those kept, shape (node, kept), where nothing is drawn at the others.

    What is eliminated falls into chains, and each sees few nodes that are kept: right-hand sides of all chains are
    solved together, the first neighbour of each, then the second ones.
    """
    stay, others = np.flatnonzero(kept), np.flatnonzero(~kept)
    whole = sparse.csr_matrix((np.ones(len(stay), complex), (stay, np.arange(len(stay)))), (len(kept), len(stay)))
    if not len(others):
        return whole
    rows = admittance[others]
    inside, seen = rows[:, others].tocsc(), rows[:, stay].tocoo()
    chains, chain = connected_components(abs(inside), directed=False)
    of_chain, pair = np.unique(chain[seen.row] * len(stay) + seen.col, return_inverse=True)
    first = np.searchsorted(of_chain, np.arange(chains) * len(stay))
    rank = np.arange(len(of_chain)) - first[of_chain // len(stay)]
    neighbour = np.full((chains, rank.max(initial=-1) + 1), -1)
    neighbour[of_chain // len(stay), rank] = of_chain % len(stay)
    drawn = np.zeros((len(others), neighbour.shape[1]), complex)
    drawn[seen.row, rank[pair.reshape(-1)]] = -seen.data
    share, column = splu(inside).solve(drawn), neighbour[chain]
    there = column >= 0
    row = np.repeat(others, there.sum(axis=1))
    return whole + sparse.csr_matrix((share[there], (row, column[there])), whole.shape)
