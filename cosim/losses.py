"""What each element of a network loses, and what its sources deliver: by voltages and the elements' own currents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from cosim.network import Branch, Complex, Float, Network, branch_losses_kw, losses_and_currents, terminal_currents

_TRANSFORMERS = ("transformer", "autotrans", "gictransformer")


class Losses(NamedTuple):
    """Active power lost in each step, by what loses it, each of shape (step,) [kW].

    Attributes
    ----------
    total : ndarray
        Of all that is passive: lines, transformers and others.
    lines, transformers, others : ndarray
        Others are reactors, capacitors and resistances, of the earth too.
    no_load : ndarray
        Part of the transformers' that their cores take, loaded or not; of one whose taps move as at its first tap.
    """

    total: Float
    lines: Float
    transformers: Float
    others: Float
    no_load: Float


def losses_of(network: Network, node_v: Complex, watched: Sequence[Branch]) -> tuple[Losses, Complex]:
    """Losses at node voltages [V] of shape (step, node), and `monitored_currents` of the watched branches [A]."""
    branches = network.branches
    of_branch, current_a = losses_and_currents(branches, node_v, watched)
    is_line, is_transformer = (
        np.array([branch.kind in kinds for branch in branches], dtype=float) for kinds in (("line",), _TRANSFORMERS)
    )
    cores = [replace(one, admittance_s=one.no_load_s, later=()) for one in branches if one.no_load_s is not None]
    losses = Losses(
        total=of_branch.sum(axis=1),
        lines=of_branch @ is_line,  # a product copies nothing
        transformers=of_branch @ is_transformer,
        others=of_branch @ (1.0 - is_line - is_transformer),
        no_load=branch_losses_kw(cores, node_v).sum(axis=1),
    )
    return losses, current_a


def entering_kva(branch: Branch, current_a: Complex, node_v: Complex, terminals: np.ndarray) -> Complex:
    """Complex power P + jQ that enters an element at some of its terminals, all conductors together.

    Parameters
    ----------
    branch : Branch
        Which element.
    current_a : ndarray of complex, shape (step, terminal · conductor)
        Into it, see `cosim.network.terminal_currents` [A].
    node_v : ndarray of complex, shape (step, node)
        Node voltages [V].
    terminals : ndarray of bool, shape (terminal · conductor,)
        Which conductors count.

    Returns
    -------
    ndarray of complex, shape (step,)
        [kVA]
    """
    there = terminals & (branch.nodes >= 0)  # earth has no voltage
    return np.asarray((node_v[:, branch.nodes[there]] * current_a[:, there].conj()).sum(axis=1) / 1e3)


def leaving_sources_kw(network: Network, node_v: Complex) -> Float:
    """Active power that leaves the buses of the circuit's sources through branches, shape (step,) [kW]."""
    is_there = np.array([*(bus in network.source_buses for bus in network.node_buses), False])  # the last is earth
    branches = [branch for branch in network.branches if is_there[branch.nodes].any()]
    power_kw = np.zeros(len(node_v))
    for branch, current in zip(branches, terminal_currents(branches, node_v), strict=True):
        power_kw += entering_kva(branch, current, node_v, is_there[branch.nodes]).real
    return power_kw
