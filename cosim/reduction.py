"""From a feeder to the ports of its reduced network: what is linear, where customers draw, and what that does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from cosim.contract import Branch, Complex, Feeder
from cosim.errors import Fault, PowerFlowError, UnsupportedError, refuse

_DENSE = 4_000_000
"""Complex numbers: 64 MB."""
_AT_ONCE = 64


def refuse_what_is_not_linear(feeder: Feeder, *, between_phases: bool, regulating: bool = True) -> None:
    """Refuse, by name, what a constant linear network with constant-power loads cannot represent.

    Loads between phases can be solved, but not predicted: what controllers expect is a voltage to neutral. A prediction
    may take taps as they are at the start (``regulating``), a run may not.
    """
    network = feeder.network
    reasons = [
        (
            network.controls if feeder.taps == "controlled" and not regulating else (),
            "controls that act ([grid] taps)",
        ),
        (network.injectors, "sources of power other than customers"),
        (
            () if between_phases else tuple(f"Load.{name}" for name in feeder.delta_customers),
            "loads between phases (delta)",
        ),
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

    Parameters
    ----------
    feeder : Feeder
        The place.
    ports : scipy.sparse.csc_matrix, shape (node, port)
        +1 where a port begins, -1 where it ends, unless that is earth.

    Raises
    ------
    PowerFlowError
        Where the matrix is singular.
    """

    def __init__(self, feeder: Feeder, ports: sparse.csc_matrix) -> None:
        self._ports = ports
        try:
            self._factors = splu(feeder.network.admittance_s.tocsc())
        except RuntimeError as error:
            raise PowerFlowError(
                f"{feeder.name}: the admittance matrix cannot be factorised ({error}): some part of the network has no "
                "connection to the source or to earth"
            ) from error
        # a matrix of ports times nodes is the quickest for a street, but would fill the memory for a town
        self._whole = self._solve(ports) if ports.shape[0] * ports.shape[1] <= _DENSE else None

    def _solve(self, drawn: sparse.csc_matrix) -> Complex:
        return np.ascontiguousarray(self._factors.solve(drawn.toarray().astype(complex)).T)

    def blocks(self) -> Iterator[tuple[slice, Complex]]:
        """Give ports, some at a time, and the voltage that each takes from every node, shape (port, node) [ohm]."""
        for first in range(0, self._ports.shape[1], _AT_ONCE):
            some = slice(first, min(first + _AT_ONCE, self._ports.shape[1]))
            yield some, self._solve(self._ports[:, some]) if self._whole is None else self._whole[some]

    def drop_v(self, port_a: Complex) -> Complex:
        """Voltage that currents drawn at the ports take from every node, shape (candidate, node) [V]."""
        if self._whole is not None:
            return np.asarray(port_a @ self._whole)
        return np.ascontiguousarray(self._factors.solve(np.asarray(self._ports @ port_a.T, dtype=complex)).T)
