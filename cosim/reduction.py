"""From a feeder to the ports of its reduced network: what is linear, where customers draw, and what that does."""

from __future__ import annotations

from collections.abc import Sequence

from scipy import sparse
from scipy.sparse.linalg import splu

from cosim.contract import Branch, Complex, Feeder
from cosim.errors import Fault, InputError, PowerFlowError, UnsupportedError


def refuse_what_is_not_linear(feeder: Feeder) -> None:
    """Refuse, by name, what a constant linear network with constant-power loads cannot represent."""
    network = feeder.network
    reasons = [
        (network.injectors, "sources of power other than customers"),
        (network.controls, "automatic switching or regulation"),
        (tuple(f"Load.{name}" for name in feeder.delta_customers), "loads between phases (delta)"),
    ]
    found = [f"{what}: {', '.join(elements)}" for elements, what in reasons if elements]
    if found:
        raise UnsupportedError("the reduced network cannot represent " + "; ".join(found) + " (use the OpenDSS engine)")


def default_watched(feeder: Feeder) -> tuple[str, ...]:
    """Names of transformer, head line, monitored branches, and all others that have a limit."""
    limited = (name for limit in feeder.limits for name in limit.asset.split("+"))
    wanted = (feeder.transformer, feeder.head_line, *feeder.monitored, *limited)
    return tuple(dict.fromkeys(name for name in wanted if name))


def branches_of(feeder: Feeder, names: Sequence[str]) -> list[Branch]:
    """Return the branches of those names; InputError names those that are not there."""
    by_name = {branch.name: branch for branch in feeder.network.branches}
    faults = [
        Fault(feeder.name, "watched", f"there is no branch '{name}'", "name a Line or Transformer of the feeder")
        for name in names
        if name not in by_name
    ]
    if faults:
        raise InputError(faults)
    return [by_name[name] for name in names]


def transfer_impedance(feeder: Feeder, ports: sparse.csc_matrix) -> Complex:
    """Columns of the inverse of the admittance matrix that belong to the ports, shape (node, port) [ohm]."""
    try:
        factors = splu(feeder.network.admittance_s.tocsc())
    except RuntimeError as error:
        raise PowerFlowError(
            f"{feeder.name}: the admittance matrix cannot be factorised ({error}): some part of the network has no "
            "connection to the source or to earth"
        ) from error
    impedance: Complex = factors.solve(ports.toarray().astype(complex))
    return impedance
