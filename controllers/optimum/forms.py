"""Objectives of currents: squares or largest magnitudes of what is linear in the currents of the ports.

Unbalance is ``|I2|² + |I0|²`` at the monitored branches, losses are a positive quadratic form of the port currents (the
network is passive), the peak is the largest of the phases' magnitudes at the transformer. All are convex, and a linear
model gets them by tangents, which are below everywhere and stay valid wherever the power flow is linearised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from cosim.contract import Branch, Complex, Feeder, Float, Int
from cosim.controllers.caps.network.elements import CONDUCTORS, currents_of_ports

APART = 2  # parts of losses that have tangents of their own, the largest first
_TURN = np.exp(2j * np.pi / 3.0)
SEQUENCES = np.array([[1.0, _TURN**2, _TURN], [1.0, 1.0, 1.0]]) / 3.0


@dataclass(frozen=True, eq=False)
class Form:
    """Convex objective of currents.

    Attributes
    ----------
    per_port : ndarray of complex, shape (part, port)
        Parts for one ampere drawn at each port.
    no_load : ndarray of complex, shape (part,)
        Parts without any load, at the file's own source voltage.
    groups : tuple of ndarray of int
        Parts whose squares are added up under one set of tangents; of one part each where it is the largest.
    scale, constant : float
        Of the sum over steps of all squares; of the square of the voltage of the source in every step.
    largest : bool
        Whether it is the largest magnitude of all parts and steps instead.
    """

    per_port: Complex
    no_load: Complex
    groups: tuple[Int, ...]
    scale: float
    constant: float = 0.0
    largest: bool = False

    def parts(self, port_a: Complex, source: Float) -> Complex:
        """Parts, shape (step, part)."""
        return np.asarray(port_a @ self.per_port.T + source[:, None] * self.no_load)

    def value(self, parts: Complex, source: Float) -> float:
        """Value of a day."""
        if self.largest:
            return float(np.abs(parts).max() * self.scale)
        return float((np.abs(parts) ** 2).sum() * self.scale + self.constant * (source**2).sum())

    def of_groups(self, parts: Complex) -> Float:
        """Sums of squares, or magnitudes, shape (..., group); parts of shape (..., part)."""
        size = np.abs(parts) if self.largest else np.abs(parts) ** 2
        return np.stack([size[..., group].sum(axis=-1) for group in self.groups], axis=-1)

    def tangent(self, z: Complex) -> tuple[Complex, float]:
        """Weights and constant: a group is at least the real part of ``weights @ parts``, less the constant."""
        return (np.exp(-1j * np.angle(z)), 0.0) if self.largest else (2.0 * z.conj(), float((np.abs(z) ** 2).sum()))


def form_of(name: str, feeder: Feeder, steps: int, step_h: float) -> Form:
    """Return the form of an objective on a feeder."""
    if name == "losses":
        return _losses(feeder, step_h)
    if name == "peak":
        branches = [feeder.network.branch(supply) for supply in feeder.supplies]
        no_load, per_port = (phases.sum(axis=-2) for phases in _phases_of(feeder, branches))
        phases = tuple(np.array([phase]) for phase in range(3))
        return Form(per_port.T, no_load, phases, 100.0 / feeder.transformer_rating_a, largest=True)
    turned = [phases @ SEQUENCES.T for phases in _phases_of(feeder, list(feeder.monitored_branches))]
    parts = turned[0].size
    groups = tuple(np.array([part]) for part in range(parts))
    return Form(turned[1].reshape(-1, parts).T, turned[0].ravel(), groups, 1.0 / steps)


def _phases_of(feeder: Feeder, branches: list[Branch]) -> list[Complex]:
    """Phase currents without load, shape (branch, phase), and per ampere at each port, shape (port, branch, phase)."""
    return [one.reshape(*one.shape[:-1], -1, CONDUCTORS)[..., :3] for one in currents_of_ports(feeder, branches)]


def _losses(feeder: Feeder, step_h: float) -> Form:
    network, drop = feeder.network, feeder.drop_of_ports()
    loss: Any = sparse.lil_matrix((len(network.node_names),) * 2, dtype=complex)
    for branch in network.branches:
        there = branch.nodes >= 0
        at = np.ix_(branch.nodes[there], branch.nodes[there])
        own = (branch.admittance_s + branch.admittance_s.conj().T)[np.ix_(there, there)] / 2.0
        loss[at] = loss[at].toarray() + own
    loss = loss.tocsr()
    # voltages are no-load voltages less the drop: v = v0 - drop i
    square, mixed = drop.conj().T @ (loss @ drop), -drop.conj().T @ (loss @ network.no_load_v)
    values, vectors = np.linalg.eigh((square + square.conj().T) / 2.0)
    order = np.argsort(-values)
    values, vectors = values[order], vectors[:, order]
    root = np.sqrt(np.maximum(values, 1e-12 * values[0]))
    per_port = root[:, None] * vectors.conj().T
    no_load = (vectors.conj().T @ mixed) / root
    at_rest = float((network.no_load_v.conj() @ (loss @ network.no_load_v)).real - (np.abs(no_load) ** 2).sum())
    count = min(APART, len(root))
    groups = (*(np.array([part]) for part in range(count)), np.arange(count, len(root)))
    scale = step_h / 1e3
    return Form(per_port, no_load, tuple(group for group in groups if len(group)), scale, at_rest * scale)
