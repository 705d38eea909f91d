"""Areas of a feeder, and the limits of the assets that feed them: one list that measures and controllers share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse

from cosim.errors import PowerFlowError
from cosim.network import Complex, Float, Int, Network, times_voltages

_AT_ONCE = 64
"""Rows of limits solved together: enough for the library's own blocks, little beside the network."""
_NAMED = 4
_LEAST_SHARE = 1e-3
"""What a customer adds to a limit's current below this is charging and coupling, not supply."""


@dataclass(frozen=True)
class Area:
    """Part of a feeder behind one transformer, or behind several in parallel.

    Attributes
    ----------
    name : str
        Its transformers, joined by ``+``; ``source`` for the part at the source. Of a transformer that feeds several
        areas with the winding, as in ``T1.2``.
    parent : str or None
        The area that feeds it.
    transformers : tuple of str
        Branches that feed it.
    rating_kva : float
        Sum of their ratings [kVA]; nan where there is none.
    nominal_voltage_v : float
        Phase to neutral, of most of its customers; where it has none of its own, of its voltage base [V].
    buses : tuple of str
        In it, the first at the transformer.
    customers : tuple of int
        Those that are connected in it, not those of areas behind it.
    head_line : str or None
        The only line that leaves its first bus.
    """

    name: str
    parent: str | None
    transformers: tuple[str, ...]
    rating_kva: float
    nominal_voltage_v: float
    buses: tuple[str, ...]
    customers: tuple[int, ...]
    head_line: str | None


@dataclass(frozen=True)
class Limit:
    """What a conductor may carry: of a winding, of windings in parallel, of a line.

    Attributes
    ----------
    asset : str
        Name of the branch; of several in parallel, joined by ``+``.
    kind : str
        ``transformer``, ``regulator`` or ``line``.
    area : str
        Area that the asset feeds; of a line and of a regulator, that it lies in.
    phase : str
        ``a``, ``b``, ``c`` as traced from the source, ``n`` for a neutral conductor; halves of a centre-tapped winding
        are ``a1`` and ``a2``.
    rating_a : float
        Sum of the currents at which the first of its conductors is at its rating [A].
    nominal_v : float
        Voltage to neutral there [V].
    conductors : tuple of (str, int, float)
        Branch, position in the branch's ``nodes``, and rated current [A]; several where units are in parallel.
    """

    asset: str
    kind: str
    area: str
    phase: str
    rating_a: float
    nominal_v: float
    conductors: tuple[tuple[str, int, float], ...]

    @property
    def name(self) -> str:
        """For messages."""
        return f"{self.kind.capitalize()}.{joined(self.asset.split('+'))} phase {self.phase}"


def joined(names: Sequence[str]) -> str:
    """Names of assets in parallel as one name; of very many the ends, and their number."""
    return "+".join(names) if len(names) <= _NAMED else f"{names[0]}+…+{names[-1]} ({len(names)})"


class LimitCurrents:
    """Currents of limits from voltages, for any number of states at once.

    Parameters
    ----------
    network : Network
        The network without loads.
    limits : sequence of Limit
        Which ones.
    """

    def __init__(self, network: Network, limits: Sequence[Limit]) -> None:
        branches = {branch.name: branch for branch in network.branches}
        rows, columns, values = [], [], []
        self._later: list[tuple[int, int, Int, Complex]] = []  # conductor, step from which on, nodes, admittances
        count = 0
        for limit in limits:
            for name, position, _ in limit.conductors:
                branch = branches[name]
                there = branch.nodes >= 0
                columns.append(branch.nodes[there])
                values.append(branch.admittance_s[position, there])
                rows.append(np.full(int(there.sum()), count))
                self._later += [(count, step, branch.nodes[there], y[position, there]) for step, y in branch.later]
                count += 1
        shape = (count, len(network.node_names))
        flat = [np.concatenate(part) if part else np.empty(0) for part in (values, rows, columns)]
        self._rows = sparse.csr_matrix((flat[0].astype(complex), (flat[1].astype(int), flat[2].astype(int))), shape)
        self._first = np.cumsum([0, *(len(limit.conductors) for limit in limits)])[:-1]
        self._rating_a = np.array([rating for limit in limits for _, _, rating in limit.conductors])
        self._network = network

    def percent(self, voltages_v: Complex) -> Float:
        """Current over rated current of the most loaded conductor of every limit, shape (step, limit) [%]."""
        if not len(self._first):
            return np.empty((len(voltages_v), 0))
        current = times_voltages(self._rows, voltages_v).T
        for row, step, nodes, admittance_s in self._later:
            current[row, step:] = voltages_v[step:, nodes] @ admittance_s
        loading = 100.0 * np.abs(current) / self._rating_a[:, None]
        return np.ascontiguousarray(np.maximum.reduceat(loading, self._first, axis=0).T)

    def share(self, ports: sparse.csc_matrix, port_customer: Int, nominal_v: Float, port_v: Float) -> Float:
        """Power that one kilowatt of a customer adds to a limit, shape (limit, customer).

        From the linear network: exact for moved phases, vector groups, centre taps and meshes; without losses. A
        customer's power lies evenly on its ports, so one on three phases adds nothing to a neutral. Where several
        customers load a limit at different angles the sum of their parts is more than flows.

        Parameters
        ----------
        ports : scipy.sparse.csc_matrix, shape (node, port)
            +1 at the phase conductor, -1 at the neutral.
        port_customer : ndarray of int, shape (port,)
            Customer of every port.
        nominal_v : ndarray, shape (limit,)
            Voltage to neutral at the limit [V].
        port_v : ndarray, shape (port,)
            Nominal voltage across the ports [V].
        """
        from scipy.sparse.linalg import splu  # a quarter of a second, which only controllers of limits need

        try:
            factors = splu(self._network.admittance_s.T.tocsc())
        except RuntimeError as error:
            raise PowerFlowError(f"the admittance matrix cannot be factorised ({error})") from error
        limits, count = len(self._first), np.bincount(port_customer)
        found = np.zeros((limits, len(count)))
        # amperes at the ports for a watt of the customer, each at the angle of its voltage
        no_load_v = ports.T @ self._network.no_load_v
        amperes = no_load_v / np.abs(no_load_v) / (count[port_customer] * port_v)
        into = sparse.csr_matrix((amperes, (np.arange(len(port_customer)), port_customer)))
        last = [*self._first[1:], self._rows.shape[0]]
        for begin in range(0, limits, _AT_ONCE):
            block = range(begin, min(begin + _AT_ONCE, limits))
            summed = np.stack([self._rows[self._first[i] : last[i]].sum(axis=0).A1 for i in block])
            # the current of a limit for one ampere drawn at each port: rows of (selector Y⁻¹) ports
            found[begin : begin + len(summed)] = np.abs((factors.solve(summed.T).T @ ports) @ into)
        found *= nominal_v[:, None]
        even = np.round(6.0 * found) / 6.0  # halves and thirds, which the charging of lines moves a little
        return np.where(np.abs(found - even) < _LEAST_SHARE, even, found)
