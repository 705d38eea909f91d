"""Everything that has a limit, conductors of rated branches and voltages at customers, on one scale: 1 is the limit.

A conductor's loading is its current over its rating. A customer's is the share used of the voltage drop that is
allowed: 0 at the voltage without any load, 1 at the lowest voltage permitted. So that a plan can treat both alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cosim.contract import Branch, Complex, Feeder, Float, Int, Predictor, monitored_currents, terminal_currents
from cosim.contract.wiring import NEUTRAL
from cosim.controllers.caps.day import Background

CONDUCTORS = NEUTRAL  # of a branch: three phases and a neutral
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
    neutrals : bool
        Whether neutral conductors of rated lines are among the conductors.

    Attributes
    ----------
    names : tuple of str, shape (element,)
        Conductors first, then customers.
    phase : ndarray of int, shape (element,)
        1, 2 or 3; 4 of a neutral conductor.
    conductors : int
        How many of the elements are conductors.
    lines : ndarray of bool, shape (element,)
        Conductors of lines, which leaves out those of the transformer.
    rated_a : ndarray, shape (conductor,)
        Ratings [A].
    no_load_a : ndarray of complex, shape (conductor,)
        Currents without any load, at the file's own source voltage [A].
    per_port_a : ndarray of complex, shape (port, conductor)
        Currents for one ampere drawn at a port.
    port_customer : ndarray of int, shape (port,)
        Whose ports.
    nominal_v : ndarray, shape (port,)
        Declared voltages [V].
    """

    def __init__(self, feeder: Feeder, predictor: Predictor, voltage_min_pu: float, *, neutrals: bool = False) -> None:
        self.feeder, self._predictor = feeder, predictor
        phases = feeder.customer_phases
        self.port_customer = np.array([c for c, on in enumerate(phases) for _ in on], np.int64)
        self.nominal_v = feeder.customer_nominal_v[self.port_customer]
        self._minimum_v = voltage_min_pu * self.nominal_v
        port_phase = np.array([phase for on in phases for phase in on], np.int64)
        none = np.zeros((1, len(phases)))
        no_load_v = np.abs(predictor.predict(none, none).voltage_v[0])
        self._drop_v = np.maximum(no_load_v - self._minimum_v, LEAST_DROP_PU * self.nominal_v)
        branches = [b for b in feeder.network.branches if np.isfinite(b.rating_a)]
        rated = np.repeat([b.rating_a for b in branches], CONDUCTORS)
        # the star point of a winding carries what its phases leave: only a line's neutral has a rating of its own
        own = [neutrals and b.kind == "line" and bool(b.neutral_rows) for b in branches]
        there = np.array(
            [[*(phase in b.phases for phase in (1, 2, 3)), n] for b, n in zip(branches, own, strict=True)], bool
        ).ravel()
        no_load_a, per_port_a = currents_of_ports(feeder, branches)  # sources last
        order = np.flatnonzero(there)[np.argsort(rated[there], kind="stable")]  # of equals, the smallest rating
        line = np.array([branches[row // CONDUCTORS].kind == "line" for row in order], bool)
        # equal shares of every customer's current: the same current always, as in sections of a cable without a
        # branch
        told_apart = np.concatenate([np.round(per_port_a[:, order], SAME_CURRENT), line[None, :]])
        first = np.sort(np.unique(told_apart, axis=1, return_index=True)[1])
        kept = order[first]
        self.rated_a, self.no_load_a = rated[kept], no_load_a[kept]
        self.per_port_a, self._per_source_a = np.split(per_port_a[:, kept], [len(port_phase)])
        self.conductors = len(kept)
        self.names = (
            *(branches[row // CONDUCTORS].name for row in kept),
            *(f"{feeder.customers[customer]}" for customer in self.port_customer),
        )
        self.lines = np.concatenate([line[first], np.zeros(len(port_phase), bool)])
        self.phase: Int = np.concatenate([kept % CONDUCTORS + 1, port_phase])

    @cached_property
    def port_ohm(self) -> Complex:
        """Voltage that one ampere drawn at a port takes from every port, shape (port, port) [ohm]."""
        return np.asarray(self.feeder.ports.T @ self.feeder.drop_of_ports()[:, : len(self.nominal_v)])

    def solve(
        self, p_kw: Float, q_kvar: Float, source: Float, ev_kw: Float | float = 0.0, others_kva: Complex | None = None
    ) -> tuple[Complex, Complex]:
        """Solve states, shape (state, customer) each, at shares of the file's own source voltage, shape (state,).

        What cars draw of ``p_kw`` lies on their chargers' phases, the rest evenly on those of the homes; the file's own
        sources feed in ``others_kva``, shape (state, source).

        Returns
        -------
        port_v : ndarray of complex, shape (state, port)
            Voltages at customers [V]; nan where there is no power flow.
        current_a : ndarray of complex, shape (state, conductor)
            Currents [A].
        """
        source_pu = None if (source == 1.0).all() else source * self.feeder.network.source_pu
        p_kw, q_kvar = self.feeder.loads(p_kw, q_kvar, np.broadcast_to(ev_kw, p_kw.shape))
        found = self._predictor.predict(p_kw, q_kvar, source_pu, others_kva)
        port_va = 1e3 * self.feeder.at_ports(p_kw + 1j * q_kvar)
        with np.errstate(invalid="ignore"):  # nan where there is no power flow
            current_a = np.conj(port_va / found.voltage_v) @ self.per_port_a + self.no_load_a * source[:, None]
            return found.voltage_v, current_a + found.source_a @ self._per_source_a

    def loading(self, conductors: Float, voltage_pu: Float) -> Float:
        """Loading of all elements, from currents over ratings and voltages at customers, shape (state, element)."""
        drop = 1.0 + (self._minimum_v - voltage_pu * self.nominal_v) / self._drop_v
        return np.concatenate([conductors, drop], axis=1)

    def where(self, element: int) -> str:
        """Name a conductor or a customer, with its phase."""
        phase = int(self.phase[element])
        return f"{self.names[element]} {'neutral' if phase == NEUTRAL else f'phase {phase}'}"

    def flow(self, background: Background, ev_kw: Float | float = 0.0) -> Flow:
        """Solve states, shape (state, customer) each, with what cars draw on top."""
        source = source_share(self.feeder, background.source_pu)
        port_v, current_a = self.solve(background.p_kw + ev_kw, background.q_kvar, source, ev_kw, background.others_kva)
        voltage_pu = np.abs(port_v) / self.nominal_v
        return Flow(self.loading(np.abs(current_a) / self.rated_a, voltage_pu), voltage_pu)


def source_share(feeder: Feeder, source_pu: Float) -> Float:
    """Return the source's voltage as a share of the file's own; nan: that one."""
    return np.where(np.isnan(source_pu), 1.0, source_pu / feeder.network.source_pu)


def slopes(of: Callable[[Float], Float], state_kw: Float, step_kw: float) -> Float:
    """Return by how much what is told of states changes per kW at each home, shape (home, ...); state_kw of (home,)."""
    homes = len(state_kw)
    # one more state for each home and one untouched last: a whole column of differences in one batch
    states = np.tile(state_kw, (homes + 1, 1))
    states[np.arange(homes), np.arange(homes)] += step_kw
    found = of(states)
    return np.asarray((found[:homes] - found[homes]) / step_kw)


def currents_of_ports(feeder: Feeder, branches: list[Branch]) -> tuple[Complex, Complex]:
    """Currents [A] without load, shape (conductor,), and per ampere at ``all_ports``, shape (port, conductor)."""
    # consumption takes current out of the phase node and gives it back at the neutral
    states_v = np.concatenate([feeder.network.no_load_v[None, :], -feeder.drop_of_ports().T])
    currents = np.zeros((len(states_v), len(branches), CONDUCTORS), complex)
    currents[:, :, :3] = monitored_currents(branches, states_v)
    with_neutral = [row for row, branch in enumerate(branches) if branch.neutral_rows]
    own = terminal_currents([branches[row] for row in with_neutral], states_v)
    for row, into_a in zip(with_neutral, own, strict=True):
        currents[:, row, 3] = into_a[:, branches[row].neutral_rows].sum(axis=1)
    return currents[0].ravel(), currents[1:].reshape(len(states_v) - 1, -1)
