"""Every way to connect a single-phase customer to another phase, and what that does to the unbalance of a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cosim import Connection, Feeder, Trajectory, feeders
from cosim.contract import Complex, Float, Int
from cosim.errors import Fault, InputError
from cosim.measures import sequence_components, unbalance_current_a2
from cosim.reduced import ReducedNetwork

PHASES = (1, 2, 3)
BLOCK = 2000  # operating points solved at once


@dataclass(frozen=True)
class Move:
    """One customer, connected to another phase.

    Attributes
    ----------
    customer : str
        Its name.
    connection : Connection
        Its new connection.
    from_phase, to_phase : int
        Before and after.
    """

    customer: str
    connection: Connection
    from_phase: int
    to_phase: int

    def __str__(self) -> str:
        return f"{self.customer} at bus {self.connection.bus}: phase {self.from_phase} to {self.to_phase}"


class Rephasing:
    """A day's loads on a feeder whose single-phase customers may stand on any phase of their bus.

    Parameters
    ----------
    trajectory : Trajectory
        The day as it was: net power of every customer at every step.
    candidates : sequence of str
        Customers that may be moved; all of them where none is named.

    Attributes
    ----------
    moves : tuple of Move
        All that can be done.
    customer : ndarray of int, shape (move,)
        Column of each move's customer.

    Raises
    ------
    InputError
        Where a candidate or no customer can be moved, or no watched branch has three phases.
    UnsupportedError
        Where the reduced network cannot represent the feeder.
    """

    def __init__(self, trajectory: Trajectory, candidates: Sequence[str] = ()) -> None:
        feeder = trajectory.feeder
        wanted = [name.upper() for name in candidates]
        possible = list(_moves(feeder))
        self.moves = tuple(move for move in possible if not wanted or move.customer.upper() in wanted)
        watched = [branch.name for branch in feeder.monitored_branches if set(PHASES) <= set(branch.phases)]
        where = str(feeder.master)
        stuck = [name for name in wanted if name not in {move.customer.upper() for move in possible}]
        if stuck:
            known = ", ".join(dict.fromkeys(move.customer for move in possible)) or "none"
            problem = f"{', '.join(stuck)}: no single-phase customer at a bus with three phases"
            raise InputError(Fault("cosim rephase", "--candidates", problem, f"name some of {known}"))
        if not self.moves:
            problem = "no single-phase customer is at a bus with three phases"
            raise InputError(Fault(where, "customers", problem, "use a feeder whose customers could be moved"))
        if not watched:
            raise InputError(Fault(where, "monitored", "names no branch with three phases", "name one in feeder.toml"))
        self._trajectory = trajectory
        self._count = len(feeder.customers)
        self.customer: Int = np.array([feeder.customers.index(move.customer) for move in self.moves], dtype=np.int64)
        stand_ins = [replace(move.connection, customer=f"{move.customer}__{move.to_phase}") for move in self.moves]
        self._feeder = with_connections(feeder, stand_ins)
        self._network = ReducedNetwork(self._feeder, watched=watched)

    def value_a2(self, moves: Sequence[int] = ()) -> float:
        """Return the day's unbalance current after some moves, by power flow of every step.

        Parameters
        ----------
        moves : sequence of int
            Rows of ``moves``; at most one of each customer.

        Returns
        -------
        float
            Mean over the day of ``Σ |I2|² + |I0|²`` over the watched branches [A²]; nan where a step has no solution.
        """
        p_kw, q_kvar = self._powers(moves)
        return float(unbalance_current_a2(self._currents(p_kw, q_kvar)).sum(axis=1).mean())

    def linear(self) -> tuple[Complex, Complex]:
        """Return the sequence currents of the day, and what each move adds to them at the day's own voltages.

        Returns
        -------
        now : ndarray of complex, shape (entry,)
            Zero- and negative-sequence current of every step and watched branch, divided by the root of the number of
            steps, so that the squared norm is the day's mean [A].
        change : ndarray of complex, shape (move, entry)
            What each move adds [A].
        """
        p_kw, q_kvar = self._powers(())
        source_pu = self._trajectory.exogenous.source_pu
        network, steps = self._network, len(p_kw)
        predicted = network.predict(p_kw, q_kvar, source_pu)
        port_of = {int(customer): port for port, customer in enumerate(network.port_customer)}
        changes = []
        for row, customer in enumerate(self.customer):
            power_va = 1e3 * (p_kw[:, customer] + 1j * q_kvar[:, customer])
            old, new = port_of[int(customer)], port_of[self._count + row]
            drawn = [(power_va / predicted.voltage_v[:, port]).conj() for port in (new, old)]
            moved = drawn[0][:, None, None] * network.branch_share[new]
            changes.append(_sequences(moved - drawn[1][:, None, None] * network.branch_share[old], steps))
        return _sequences(predicted.current_a, steps), np.array(changes)

    def _powers(self, moves: Sequence[int]) -> tuple[Float, Float]:
        day = self._trajectory
        nothing = np.zeros((day.steps, len(self.moves)))
        p_kw, q_kvar, cars_kw = (np.hstack([of, nothing]) for of in (day.net_kw, day.net_kvar, day.ev_kw))
        for row in moves:
            old, new = self.customer[row], self._count + row
            for power in (p_kw, q_kvar):
                power[:, new], power[:, old] = power[:, old], 0.0
        return self._feeder.loads(p_kw, q_kvar, cars_kw)

    def _currents(self, p_kw: Float, q_kvar: Float) -> Complex:
        source_pu = self._trajectory.exogenous.source_pu
        blocks = [slice(begin, begin + BLOCK) for begin in range(0, len(p_kw), BLOCK)]
        return np.concatenate([self._network.predict(p_kw[b], q_kvar[b], source_pu[b]).current_a for b in blocks])


def with_connections(feeder: Feeder, connections: Sequence[Connection]) -> Feeder:
    """Return the same feeder, changes and all, with further connections."""
    changed = {one.customer.upper() for one in connections}
    kept = [one for one in feeder.connections if one.customer.upper() not in changed]
    loaded = feeders.load(
        feeder.master,
        source_pu=feeder.source_pu,
        transformer=feeder.replaced_transformer,
        connections=(*kept, *connections),
        load_model=feeder.load_model,
        standard=feeder.standard.name,
        taps=feeder.taps,
        accept=feeder.accepted,
        roofs=[roof.name for _, roof in feeder.roofs],
        thermal=feeder.thermal,
    )
    chargers = dict(zip(feeder.customers, feeder.charger_phase, strict=False))
    # a home of one phase takes its charger along
    phases = tuple(
        chargers.get(name, 0) if len(set(on)) > 1 else 0
        for name, on in zip(loaded.customers, loaded.customer_phases, strict=True)
    )
    return replace(loaded, name=feeder.name, charger_phase=phases if feeder.charger_phase else ())


def _moves(feeder: Feeder) -> list[Move]:
    nodes, names = set(feeder.network.node_names), feeder.network.node_names
    found = []
    for column, (customer, bus) in enumerate(zip(feeder.customers, feeder.customer_bus, strict=True)):
        phases, neutral = feeder.customer_phases[column], feeder.customer_neutral[column]
        if len(phases) > 1 or customer in feeder.delta_customers:
            continue
        earth = 0 if neutral < 0 else int(names[neutral].rsplit(".", 1)[1])
        found += [
            Move(customer, Connection(customer, bus, (phase,), earth), phases[0], phase)
            for phase in PHASES
            if phase != phases[0] and f"{bus}.{phase}" in nodes
        ]
    return found


def _sequences(current_a: Complex, steps: int) -> Complex:
    zero, _, negative = sequence_components(current_a)
    return np.asarray(np.concatenate([zero.ravel(), negative.ravel()]) / np.sqrt(steps))
