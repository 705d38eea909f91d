"""Everything that has a limit, conductors of rated branches and voltages at customers, on one scale: 1 is the limit.

A conductor's loading is its current over its rating. A customer's is the share used of the voltage drop that is
allowed: 0 at the voltage without any load, 1 at the lowest voltage permitted. So that a plan can treat both alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.sparse.linalg import splu

from cosim.contract import Branch, Complex, Feeder, Float, Int, Predictor, monitored_currents
from cosim.controllers.caps.phase_limits import Background

LEAST_DROP_PU = 0.02  # the drop allowed counts as at least this, or a high lower limit would make loadings meaningless
SAME_CURRENT = 3  # digits: conductors that carry the same current are one, with the smallest of their ratings


@dataclass(frozen=True, eq=False)
class Flow:
    """What the power flow says of some states; nan where there is none.

    Attributes
    ----------
    loading : ndarray, shape (state, element)
        1 is the limit.
    voltage_pu : ndarray, shape (state, port)
        Of the declared voltage, customer by customer, phase by phase.
    """

    loading: Float
    voltage_pu: Float


class Elements:
    """Conductors and customers of a feeder, and their loading in states of the network.

    Parameters
    ----------
    feeder : Feeder
        The place.
    predictor : Predictor
        Gives the voltages at customers; currents of all rated branches follow from them by Ohm's law.
    voltage_min_pu : float
        Lowest voltage permitted at a customer, of the declared one.

    Attributes
    ----------
    names : tuple of str, shape (element,)
        Conductors first, then customers.
    phase : ndarray of int, shape (element,)
        1, 2 or 3.
    conductors : int
        How many of the elements are conductors.
    lines : ndarray of bool, shape (element,)
        Conductors of lines, which leaves out those of the transformer.
    """

    def __init__(self, feeder: Feeder, predictor: Predictor, voltage_min_pu: float) -> None:
        self.feeder, self._predictor = feeder, predictor
        phases = feeder.customer_phases
        self._port_customer = np.array([c for c, on in enumerate(phases) for _ in on], np.int64)
        self._nominal_v = feeder.customer_nominal_v[self._port_customer]
        self._minimum_v = voltage_min_pu * self._nominal_v
        port_phase = np.array([phase for on in phases for phase in on], np.int64)
        none = np.zeros((1, len(phases)))
        no_load_v = np.abs(predictor.predict(none, none).voltage_v[0])
        self._drop_v = np.maximum(no_load_v - self._minimum_v, LEAST_DROP_PU * self._nominal_v)
        names, is_line, phase = self._conductors
        self.conductors = len(names)
        self.names = (*names, *(f"{feeder.customers[customer]}" for customer in self._port_customer))
        self.lines = np.concatenate([is_line, np.zeros(len(port_phase), bool)])
        self.phase: Int = np.concatenate([phase, port_phase])

    @property
    def rated_a(self) -> Float:
        """Rating of every conductor, shape (conductor,) [A]."""
        return self._rated_a

    @property
    def per_port_a(self) -> Complex:
        """Current in every conductor for one ampere drawn at a port, shape (port, conductor)."""
        return self._per_port

    @property
    def no_load_a(self) -> Complex:
        """Current in every conductor without any load, at the file's own source voltage, shape (conductor,) [A]."""
        return self._no_load_a

    @property
    def port_customer(self) -> Int:
        """Customer of every port, shape (port,)."""
        return self._port_customer

    @property
    def nominal_v(self) -> Float:
        """Declared voltage at every port, shape (port,) [V]."""
        return self._nominal_v

    @cached_property
    def port_ohm(self) -> Complex:
        """Voltage that one ampere drawn at a port takes from every port, shape (port, port) [ohm]."""
        return np.asarray(self.feeder.ports.T @ drop_of_ports(self.feeder))

    def solve(self, p_kw: Float, q_kvar: Float, source: Float) -> tuple[Complex, Complex]:
        """Solve states, shape (state, customer) each, at shares of the file's own source voltage, shape (state,).

        Returns
        -------
        port_v : ndarray of complex, shape (state, port)
            Voltages at customers [V]; nan where there is no power flow.
        current_a : ndarray of complex, shape (state, conductor)
            Currents [A].
        """
        source_pu = None if (source == 1.0).all() else source * self.feeder.network.source_pu
        port_v = self._predictor.predict(p_kw, q_kvar, source_pu).voltage_v
        return port_v, self._currents(p_kw, q_kvar, port_v, source[:, None])

    def loading(self, conductors: Float, voltage_pu: Float) -> Float:
        """Loading of all elements, from currents over ratings and voltages at customers, shape (state, element)."""
        drop = 1.0 + (self._minimum_v - voltage_pu * self._nominal_v) / self._drop_v
        return np.concatenate([conductors, drop], axis=1)

    def where(self, element: int) -> str:
        """Name a conductor or a customer, with its phase."""
        return f"{self.names[element]} phase {self.phase[element]}"

    def flow(self, background: Background, ev_kw: Float) -> Flow:
        """Solve states, shape (state, customer) each."""
        conductor = np.full((len(ev_kw), self.conductors), np.nan)
        voltage_v = np.full((len(ev_kw), len(self._port_customer)), np.nan)
        keys = np.nan_to_num(background.source_pu, nan=-1.0)
        for key in np.unique(keys):
            rows = keys == key
            source_pu = None if key < 0 else float(key)
            p_kw, q_kvar = background.p_kw[rows] + ev_kw[rows], background.q_kvar[rows]
            port_v = self._predictor.predict(p_kw, q_kvar, source_pu).voltage_v
            scale = 1.0 if source_pu is None else source_pu / self.feeder.network.source_pu
            conductor[rows] = np.abs(self._currents(p_kw, q_kvar, port_v, scale)) / self._rated_a
            voltage_v[rows] = np.abs(port_v)
        voltage_pu = voltage_v / self._nominal_v
        return Flow(self.loading(conductor, voltage_pu), voltage_pu)

    def _currents(self, p_kw: Float, q_kvar: Float, port_v: Complex, scale: float | Float) -> Complex:
        phases = np.bincount(self._port_customer)[self._port_customer]
        port_va = (p_kw + 1j * q_kvar)[:, self._port_customer] * (1e3 / phases)
        with np.errstate(invalid="ignore"):  # nan where there is no power flow
            return np.conj(port_va / port_v) @ self._per_port + self._no_load_a * scale

    @cached_property
    def _conductors(self) -> tuple[tuple[str, ...], np.ndarray[tuple[int], np.dtype[np.bool_]], Int]:
        """Name, kind and phase of every conductor that is told apart; prepares how currents follow from the ports'."""
        branches = [b for b in self.feeder.network.branches if np.isfinite(b.rating_a)]
        rated = np.repeat([b.rating_a for b in branches], 3)
        there = np.array([[phase in b.phases for phase in (1, 2, 3)] for b in branches], bool).reshape(-1)
        no_load_a, per_port = currents_of_ports(self.feeder, branches)
        order = np.flatnonzero(there)[np.argsort(rated[there], kind="stable")]  # of equals, the smallest rating
        line = np.array([branches[row // 3].kind == "line" for row in order], bool)
        # equal shares of every customer's current: the same current always, as in sections of a cable without a
        # branch
        told_apart = np.concatenate([np.round(per_port[:, order], SAME_CURRENT), line[None, :]])
        _, first = np.unique(told_apart, axis=1, return_index=True)
        kept = order[np.sort(first)]
        self._rated_a, self._no_load_a, self._per_port = rated[kept], no_load_a[kept], per_port[:, kept]
        names = tuple(branches[row // 3].name for row in kept)
        return names, line[np.sort(first)], (kept % 3 + 1).astype(np.int64)


def currents_of_ports(feeder: Feeder, branches: list[Branch]) -> tuple[Complex, Complex]:
    """Currents [A] without load, shape (conductor,), and per ampere drawn at each port, shape (port, conductor)."""
    # consumption takes current out of the phase node and gives it back at the neutral
    states_v = np.concatenate([feeder.network.no_load_v[None, :], -drop_of_ports(feeder).T])
    currents = monitored_currents(branches, states_v).reshape(len(states_v), -1)
    return currents[0], currents[1:]


def drop_of_ports(feeder: Feeder) -> Complex:
    """Voltage that one ampere drawn at a port takes from every node, shape (node, port) [ohm]."""
    return np.asarray(splu(feeder.network.admittance_s.tocsc()).solve(feeder.ports.toarray().astype(complex)))
