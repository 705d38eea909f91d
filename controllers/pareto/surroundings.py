"""What does not change from decision to decision: predictor, limits, and what the objectives watch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosim.contract import Complex, Feeder, Float, Int, Predictor
from cosim.controllers.pareto.objectives import OBJECTIVES
from cosim.errors import Fault, refuse


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
    lossy : ndarray of complex, shape (port, loss)
        As of `Evaluated`, of all ports; without columns where no objective needs it.
    network_pu : float
        That source voltage.
    branches : tuple of str
        The predictor's branches.
    rating_a : ndarray, shape (branch,)
        Their rated current; inf where there is none.
    neutral_a : ndarray, shape (branch,)
        Rated current of their neutral conductors; inf where there is none. What the phases leave over is held below
        it: all of it where the neutral is not earthed on the way, else more than the conductor carries.
    low_pu, high_pu : float
        Lowest and highest voltage at every terminal of a customer, of nominal; 0 and inf for no limit.
    loading_limit_percent : float
        Highest current of every phase of every branch, of its rating; inf for no limit.
    max_ramp_kw : float
        Largest change of the net power of all homes from step to step; inf for no limit.
    monitored : ndarray of int
        Rows of the lines and transformers that the objectives watch, in the currents of the predictor.
    bus_no_load_v, to_buses : ndarray of complex, shape (3 bus,) and (port, 3 bus)
        Of the buses that objectives watch: voltages without load, and what a current drawn at any port takes from them.
    objectives : tuple of str
        Names in ``OBJECTIVES``.
    """

    predictor: Predictor
    nominal_v: Float
    terminals: tuple[str, ...]
    phase: Int
    port_customer: Int
    port_va_per_kw: Float
    lossy: Complex
    network_pu: float
    branches: tuple[str, ...]
    rating_a: Float
    neutral_a: Float
    low_pu: float
    high_pu: float
    loading_limit_percent: float
    max_ramp_kw: float
    monitored: Int
    bus_no_load_v: Complex
    to_buses: Complex
    objectives: tuple[str, ...]

    @classmethod
    def of(
        cls,
        feeder: Feeder,
        predictor: Predictor,
        objectives: Sequence[str],
        *,
        lines: Sequence[str] | None = None,
        voltage_limits_pu: Sequence[float] = (0.0, np.inf),
        loading_limit_percent: float = np.inf,
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
            Lines and transformers that objectives watch, among those of the predictor; the feeder's monitored ones
            without.
        voltage_limits_pu : (float, float)
            Lowest and highest voltage.
        loading_limit_percent, max_ramp_kw : float
            As of the attributes.

        Raises
        ------
        InputError
            Where an objective has nothing to watch, or a line lacks a phase.
        """
        refuse(watch_faults(feeder, objectives, lines))
        nothing = np.zeros((1, len(feeder.customers)))
        answer = predictor.predict(nothing, nothing)
        neutral_a = {limit.asset: limit.rating_a for limit in feeder.limits if limit.phase == "n"}
        rating_a = [feeder.network.branch(name).rating_a for name in answer.branches]
        phases = np.array([len(nodes) for nodes in feeder.customer_nodes])
        port_customer = feeder.terminals[0]
        rows = [row for bus in _three_phase_buses(feeder) for row in bus] if _needed("buses", objectives) else []
        to_buses = lossy = np.zeros((feeder.all_ports.shape[1], 0), complex)
        if rows or "losses" in objectives:
            # linear in the currents that are drawn: one factorisation serves all decisions
            drop = feeder.drop_of_ports()
            to_buses = np.ascontiguousarray(drop[rows].T)
            lossy = _lossy(np.asarray(feeder.all_ports.T @ drop))
        return cls(
            predictor=predictor,
            nominal_v=feeder.customer_nominal_v[port_customer],
            terminals=tuple(feeder.customers[customer] for customer in port_customer),
            phase=feeder.phase_matrix.argmax(axis=1),
            port_customer=port_customer,
            port_va_per_kw=1e3 / phases[port_customer],
            lossy=lossy,
            network_pu=feeder.network.source_pu,
            branches=answer.branches,
            rating_a=np.nan_to_num(np.array(rating_a, dtype=float), nan=np.inf),
            neutral_a=np.array([neutral_a.get(name, np.inf) for name in answer.branches]),
            low_pu=float(voltage_limits_pu[0]),
            high_pu=float(voltage_limits_pu[1]),
            loading_limit_percent=loading_limit_percent,
            max_ramp_kw=max_ramp_kw,
            monitored=np.array(
                [answer.branches.index(name) for name in _watched(feeder, objectives, lines)], dtype=np.int64
            ),
            bus_no_load_v=feeder.network.no_load_v[rows],
            to_buses=to_buses,
            objectives=tuple(objectives),
        )


def _lossy(port_ohm: Complex) -> Complex:
    """As of `Evaluated`, from the voltages that currents take from ports, shape (port, port) [ohm]."""
    size, direction = np.linalg.eigh(0.5 * (port_ohm + port_ohm.conj().T))
    # of a passive network it is positive; rounding is cut off
    return np.asarray(direction.conj() * np.sqrt(size.clip(0.0) / 1e3))


def watch_faults(feeder: Feeder, objectives: Sequence[str], lines: Sequence[str] | None = None) -> list[Fault]:
    """What objectives would watch that is not there; unknown objectives watch nothing."""
    found, known = [], {branch.name: branch for branch in feeder.network.branches}
    watched = _watched(feeder, objectives, lines)
    if _needed("lines", objectives) and not watched:
        problem = "there is no monitored line or transformer to watch"
        found.append(Fault(feeder.name, "lines", problem, "name lines, or 'monitored' in feeder.toml"))
    lacking = [name for name in watched if not {1, 2, 3} <= set(known[name].phases)]
    if lacking:
        problem = f"{', '.join(lacking)}: lacks a phase"
        found.append(Fault(feeder.name, "lines", problem, "watch branches with phases 1, 2 and 3"))
    if _needed("buses", objectives) and not _three_phase_buses(feeder):
        problem = "has no customer's bus with three phases"
        found.append(Fault(feeder.name, "buses", problem, "leave out what watches buses"))
    return found


def _watched(feeder: Feeder, objectives: Sequence[str], lines: Sequence[str] | None) -> tuple[str, ...]:
    """Names of lines; none of those that were not named where no objective needs them."""
    if lines is None:
        lines = feeder.monitored if _needed("lines", objectives) else ()
    return tuple(name.upper() for name in lines)


def _needed(kind: str, objectives: Sequence[str]) -> bool:
    return any(OBJECTIVES[name].needs == kind for name in objectives if name in OBJECTIVES)


def _three_phase_buses(feeder: Feeder) -> list[list[int]]:
    """Rows of the three phases of every customer's bus that has them."""
    rows = {name.upper(): row for row, name in enumerate(feeder.network.node_names)}
    buses = dict.fromkeys(bus.upper() for bus in feeder.customer_bus)
    of_phases = [[rows.get(f"{bus}.{phase}", -1) for phase in (1, 2, 3)] for bus in buses]
    return [bus for bus in of_phases if min(bus) >= 0]
