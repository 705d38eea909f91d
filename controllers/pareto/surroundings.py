"""What does not change from decision to decision: predictor, limits, and what the objectives watch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import splu

from cosim.contract import Branch, Complex, Feeder, Float, Int, Predictor, monitored_currents
from cosim.controllers.pareto.objectives import OBJECTIVES
from cosim.errors import Fault, refuse

VOLTAGE_LIMITS_PU = (0.90, 1.10)
"""Of nominal: the band of EN 50160 for 95 % of a week, kept at all times."""

LOADING_LIMIT_PERCENT = 100.0
"""Of the rated current, on every phase."""

WHERE = "controller 'pareto'"


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What does not change from decision to decision.

    Attributes
    ----------
    predictor : Predictor
        Answers for batches.
    nominal_v : ndarray, shape (port,)
        Base of the voltage limits [V].
    terminals : tuple of str
        Customer of every port.
    phase : ndarray of int, shape (customer,)
        The phase of each, the first of several.
    port_customer : ndarray of int, shape (port,)
        Customer of every phase voltage that the predictor gives.
    port_va_per_kw : ndarray, shape (port,)
        Power of the port per kW of its customer.
    no_load_v : ndarray of complex, shape (port,)
        Voltages of the ports without any load, at the network's own source voltage.
    network_pu : float
        That source voltage.
    branches : tuple of str
        The predictor's branches.
    rating_a : ndarray, shape (branch,)
        Rated current of these and of the probe's lines; inf where there is none.
    neutral_a : ndarray, shape (branch,)
        Rated current of their neutral conductors; inf where there is none. What the phases leave over is held below
        it: all of it where the neutral is not earthed on the way, else more than the conductor carries.
    voltage_limits_pu : tuple of (float, float) or None
        Lowest and highest voltage at every terminal of a customer, of nominal; None for no limit.
    loading_limit_percent : float or None
        Highest current of every phase of every branch, of its rating; None for no limit.
    max_ramp_kw : float
        Largest change of the net power of all homes from step to step; inf for no limit.
    lines : tuple of str
        Lines and transformers that the objectives watch, all of them among ``branches`` or in ``probe``.
    monitored : ndarray of int
        Rows of ``lines`` in the currents of the predictor, followed by those of the probe.
    probe : Probe
        Bus voltages and further lines, as linear functions of the currents that customers draw.
    objectives : tuple of str
        Names in ``OBJECTIVES``.
    """

    predictor: Predictor
    nominal_v: Float
    terminals: tuple[str, ...]
    phase: Int
    port_customer: Int
    port_va_per_kw: Float
    no_load_v: Complex
    network_pu: float
    branches: tuple[str, ...]
    rating_a: Float
    neutral_a: Float
    voltage_limits_pu: tuple[float, float] | None
    loading_limit_percent: float | None
    max_ramp_kw: float
    lines: tuple[str, ...]
    monitored: Int
    probe: Probe
    objectives: tuple[str, ...]

    @classmethod
    def of(
        cls,
        feeder: Feeder,
        predictor: Predictor,
        objectives: Sequence[str],
        lines: Sequence[str] | None = None,
        buses: Sequence[str] | None = None,
        voltage_limits_pu: tuple[float, float] | None = VOLTAGE_LIMITS_PU,
        loading_limit_percent: float | None = LOADING_LIMIT_PERCENT,
        max_ramp_kw: float = np.inf,
    ) -> Surroundings:
        """Read them from a feeder; one power flow tells which branches the predictor watches.

        Parameters
        ----------
        feeder : Feeder
            The place.
        predictor : Predictor
            Of that place.
        objectives : sequence of str
            Names in ``OBJECTIVES``.
        lines : sequence of str, optional
            Lines and transformers whose currents objectives watch and the loading limit holds; the feeder's monitored
            ones without.
        buses : sequence of str, optional
            Buses of three phases that objectives watch; those of the customers without.
        voltage_limits_pu : tuple of (float, float), optional
            Lowest and highest voltage at every terminal of a customer, of nominal; None for no limit.
        loading_limit_percent : float, optional
            Highest current of every phase of every branch that the predictor watches or ``lines`` names, of its
            rating; None for no limit. Branches without a rating have none either.

        Raises
        ------
        InputError
            With every line or bus that does not exist or lacks phases, where an objective has nothing to watch, and
            where buses are named that no objective watches.
        """
        refuse(watch_faults(feeder, objectives, lines, buses))
        wanted, chosen = _watched(feeder, objectives, lines, buses)
        nothing = np.zeros((1, len(feeder.customers)))
        answer = predictor.predict(nothing, nothing)
        further = tuple(name for name in wanted if name not in answer.branches)
        probe = Probe(feeder, chosen, further)
        rating_a = [feeder.network.branch(name).rating_a for name in (*answer.branches, *further)]
        names = (*answer.branches, *further)
        neutral_a = {limit.asset: limit.rating_a for limit in feeder.limits if limit.phase == "n"}
        phases = np.array([len(nodes) for nodes in feeder.customer_nodes])
        port_customer = feeder.terminals[0]
        return cls(
            predictor=predictor,
            nominal_v=feeder.customer_nominal_v[port_customer],
            phase=feeder.phase_matrix.argmax(axis=1),
            terminals=tuple(feeder.customers[customer] for customer in port_customer),
            port_customer=port_customer,
            port_va_per_kw=1e3 / phases[port_customer],
            no_load_v=answer.voltage_v[0],
            network_pu=feeder.network.source_pu,
            branches=answer.branches,
            rating_a=np.nan_to_num(np.array(rating_a, dtype=float), nan=np.inf),
            neutral_a=np.array([neutral_a.get(name, np.inf) for name in names]),
            voltage_limits_pu=voltage_limits_pu,
            loading_limit_percent=loading_limit_percent,
            max_ramp_kw=max_ramp_kw,
            lines=wanted,
            monitored=np.array([names.index(name) for name in wanted], dtype=np.int64),
            probe=probe,
            objectives=tuple(objectives),
        )


class Probe:
    """Voltages of buses and currents of lines beyond those that the predictor gives.

    Both are linear in the currents that the customers draw, so one factorisation of the admittance matrix serves all
    decisions.

    Parameters
    ----------
    feeder : Feeder
        The place.
    buses, lines : sequence of str
        What to watch; both may be empty.
    """

    def __init__(self, feeder: Feeder, buses: Sequence[str], lines: Sequence[str]) -> None:
        network = feeder.network
        nodes = _nodes_of(feeder)
        rows = [nodes[bus][phase] for bus in buses for phase in (1, 2, 3)]
        branches: list[Branch] = [network.branch(name) for name in lines]
        self.buses, self.lines = tuple(buses), tuple(lines)
        if not rows and not branches:
            return
        ports = feeder.ports
        to_nodes: Complex = splu(network.admittance_s.tocsc()).solve(ports.toarray().astype(complex))
        self._bus_no_load_v = network.no_load_v[rows]
        self._to_buses = np.ascontiguousarray(to_nodes[rows].T)
        self._line_no_load_a = monitored_currents(branches, network.no_load_v[None, :]).reshape(-1)
        drawn_a = monitored_currents(branches, -to_nodes.T)
        self._to_lines = np.ascontiguousarray(drawn_a.reshape(len(drawn_a), -1))

    def bus_v(self, drawn_a: Complex, scale: Float) -> Complex:
        """Voltages of the buses, shape (candidate, bus, 3) [V], from currents (candidate, port) and scale (candidate, 1)."""
        if not self.buses:
            return np.empty((len(drawn_a), 0, 3), complex)
        voltage_v = self._bus_no_load_v * scale - drawn_a @ self._to_buses
        return np.asarray(voltage_v.reshape(len(drawn_a), -1, 3))

    def line_a(self, drawn_a: Complex, scale: Float) -> Complex:
        """Currents of the lines towards the customers, shape (candidate, line, 3) [A]."""
        if not self.lines:
            return np.empty((len(drawn_a), 0, 3), complex)
        current_a = self._line_no_load_a * scale + drawn_a @ self._to_lines
        return np.asarray(current_a.reshape(len(drawn_a), -1, 3))


def watch_faults(
    feeder: Feeder, objectives: Sequence[str], lines: Sequence[str] | None, buses: Sequence[str] | None
) -> list[Fault]:
    """What is wrong with lines and buses, whether or not objectives watch them; unknown objectives watch nothing."""
    wanted, chosen = _watched(feeder, objectives, lines, buses)
    found = list(_line_faults(feeder, wanted)) if lines is not None or _needed("lines", objectives) else []
    if buses is not None:
        chosen = tuple(name.upper() for name in buses)
    if buses is not None or _needed("buses", objectives):
        found += _bus_faults(feeder, chosen)
    if buses and not _needed("buses", objectives) and all(name in OBJECTIVES for name in objectives):
        remedy = f"leave it out, or add {' or '.join(name for name in OBJECTIVES if _needed('buses', [name]))}"
        found.append(Fault(WHERE, "buses", "no objective watches buses", remedy))
    return found


def _watched(
    feeder: Feeder, objectives: Sequence[str], lines: Sequence[str] | None, buses: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of lines and buses; none of those that were not named where no objective needs them."""
    if lines is None:
        lines = feeder.monitored if _needed("lines", objectives) else ()
    if not _needed("buses", objectives):
        buses = ()
    elif buses is None:
        buses = _default_buses(feeder)
    return tuple(name.upper() for name in lines), tuple(name.upper() for name in buses)


def _needed(kind: str, objectives: Sequence[str]) -> bool:
    return any(OBJECTIVES[name].needs == kind for name in objectives if name in OBJECTIVES)


def _nodes_of(feeder: Feeder) -> dict[str, dict[int, int]]:
    """Row of every phase of every bus."""
    found: dict[str, dict[int, int]] = {}
    for row, name in enumerate(feeder.network.node_names):
        bus, _, phase = name.rpartition(".")
        found.setdefault(bus.upper(), {})[int(phase)] = row
    return found


def _default_buses(feeder: Feeder) -> tuple[str, ...]:
    nodes = _nodes_of(feeder)
    buses = dict.fromkeys(bus.upper() for bus in feeder.customer_bus)
    return tuple(bus for bus in buses if {1, 2, 3} <= set(nodes.get(bus, ())))


def _line_faults(feeder: Feeder, lines: Sequence[str]) -> Iterator[Fault]:
    known = {branch.name: branch for branch in feeder.network.branches}
    if not lines:
        remedy = "name lines, or 'monitored' in feeder.toml"
        yield Fault(feeder.name, "lines", "there is no monitored line or transformer to watch", remedy)
    for name in lines:
        if name not in known:
            yield Fault(WHERE, "lines", f"there is no branch '{name}'", f"name a line or transformer of {feeder.name}")
        elif not {1, 2, 3} <= set(known[name].phases):
            yield Fault(WHERE, "lines", f"'{name}' lacks a phase", "name a branch with phases 1, 2 and 3")


def _bus_faults(feeder: Feeder, buses: Sequence[str]) -> Iterator[Fault]:
    nodes = _nodes_of(feeder)
    if not buses:
        yield Fault(WHERE, "buses", f"{feeder.name} has no customer's bus with three phases", "name a bus that has")
    for name in buses:
        if name not in nodes:
            yield Fault(WHERE, "buses", f"there is no bus '{name}'", f"name a bus of {feeder.name}")
        elif not {1, 2, 3} <= set(nodes[name]):
            yield Fault(WHERE, "buses", f"'{name}' lacks a phase", "name a bus with phases 1, 2 and 3")
