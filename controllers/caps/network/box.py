"""A box of what homes may draw, and the power flow linearised at its corners.

The coordinates of a state are what every home draws [kW], its reactive power [kvar], and the source's voltage as a
share of the file's own. Every limit is put on one scale, its *stress*, 1 at the limit: of a conductor current over
rating, of a customer's voltage ``1 + (v - highest) / 0.05`` and ``1 + (lowest - v) / 0.05`` in per unit.

With voltages ``v``, port currents ``conj(s / v)``, and ``d`` the change of voltage from a reference ``vb, sb``, the
change of power ``D`` and ``w = D / vb`` give exactly, up to terms of second order that `proof` bounds,

    d = -Z conj(w - sb / vb² d)     so     d = M1 conj(w) + M2 w,
    P = Z diag(conj(sb / vb²)),  K = (1 - P conj(P))^-1,
    M1 = -K Z,  M2 = -K P conj(Z),  and for the source's voltage  K (u0 + P conj(u0)).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import product

import numpy as np

from cosim.contract import Complex, Float, Int
from cosim.controllers.caps.network.elements import Elements

VOLT_PU = 0.05
"""A voltage this far beyond its limit has a stress of 2."""


@dataclass(frozen=True, eq=False)
class Limits:
    """What is kept.

    Attributes
    ----------
    elements : Elements
        Conductors and customers.
    voltage_min_pu, voltage_max_pu : float
        Of the declared voltage.
    margin : float
        Share of ratings that stays free.
    """

    elements: Elements
    voltage_min_pu: float
    voltage_max_pu: float
    margin: float = 0.0

    @property
    def count(self) -> int:
        """Number of limits: conductors, highest voltages, lowest voltages."""
        return self.elements.conductors + 2 * len(self.elements.nominal_v)

    @property
    def amps(self) -> Float:
        """What conductors may carry [A]."""
        kept: Float = self.elements.rated_a * (1.0 - self.margin)
        return kept

    def stress(self, port_v: Complex, current_a: Complex) -> Float:
        """Stress of every limit, shape (state, limit); inf where there is no power flow."""
        voltage = np.abs(port_v) / self.elements.nominal_v
        high = 1.0 + (voltage - self.voltage_max_pu) / VOLT_PU
        low = 1.0 + (self.voltage_min_pu - voltage) / VOLT_PU
        stress = np.concatenate([np.abs(current_a) / self.amps, high, low], axis=1)
        return np.where(np.isnan(stress), np.inf, stress)

    def of_states(self, states: Float) -> Float:
        """Stress of every limit by full power flow, shape (state, limit); states of shape (state, coordinate)."""
        homes = states.shape[1] // 2
        return self.stress(*self.elements.solve(states[:, :homes], states[:, homes:-1], states[:, -1]))

    def name(self, limit: int) -> str:
        """Name of a limit: where, and of what."""
        conductors, ports = self.elements.conductors, len(self.elements.nominal_v)
        if limit < conductors:
            return f"current of {self.elements.where(limit)}"
        port = (limit - conductors) % ports
        which = "highest" if limit < conductors + ports else "lowest"
        return f"{which} voltage at {self.elements.where(conductors + port)}"

    def amount(self, stress: float, limit: int) -> tuple[float, str]:
        """By how much a stress is beyond the limit, and its unit."""
        if limit < self.elements.conductors:
            return (stress - 1.0) * float(self.amps[limit]), "A"
        return (stress - 1.0) * VOLT_PU, "pu"


@dataclass(frozen=True, eq=False)
class Box:
    """What states are possible: every coordinate anywhere between two limits.

    Attributes
    ----------
    low, high : ndarray, shape (coordinate,)
        Of what homes draw [kW], of their reactive power [kvar], and of the source's voltage, as a share of the file's.
    """

    low: Float
    high: Float

    @cached_property
    def _key(self) -> tuple[bytes, bytes]:
        return self.low.tobytes(), self.high.tobytes()

    def __eq__(self, other: object) -> bool:
        """Whether the same is possible: what is known of a box is known of its like."""
        return isinstance(other, Box) and self._key == other._key

    def __hash__(self) -> int:
        """Of both limits."""
        return hash(self._key)

    @property
    def homes(self) -> int:
        """Number of homes."""
        return len(self.low) // 2

    def corners_of_phases(self, phase_share: Float) -> Float:
        """All corners in which the homes of a phase do the same, shape (8, coordinate); reactive powers in the middle.

        A home on several phases does what most of them do.
        """
        middle = (self.low + self.high) / 2.0
        states = np.tile(middle, (8, 1))
        for row, draws in enumerate(product((-1.0, 1.0), repeat=3)):
            leaning = phase_share @ np.array(draws)
            states[row, : self.homes] = np.where(leaning > 0, self.high[: self.homes], self.low[: self.homes])
        return np.unique(states, axis=0)


@lru_cache(maxsize=8)  # who plans and who judges ask at the same places
def linear_at_corners(limits: Limits, box: Box) -> Linear:
    """The power flow linearised at the corners of a box in which phases do the same."""
    return Linear(limits, box.corners_of_phases(limits.elements.feeder.phase_matrix))


class Linear:
    """The power flow linearised at references.

    Parameters
    ----------
    limits : Limits
        What is kept.
    states : ndarray, shape (reference, coordinate)
        Where; those without a power flow are left out.

    Attributes
    ----------
    corners : ndarray, shape (corner, coordinate)
        All that was asked for.
    states : ndarray, shape (reference, coordinate)
        Where it is linearised.
    port_v, current_a : ndarray of complex, shape (reference, port) and (reference, conductor)
        There [V], [A].
    power_va : ndarray of complex, shape (reference, port)
        What is drawn there [VA].
    volts, amps : ndarray of complex, shape (reference, port or conductor, coordinate)
        Change for one unit of each coordinate [V], [A].
    of_w : tuple of two ndarrays of complex, shape (reference, conductor + port, port)
        What conductors and voltages change by for ``conj(w)`` and for ``w``.
    """

    def __init__(self, limits: Limits, states: Float) -> None:
        elements = limits.elements
        homes = states.shape[1] // 2
        port_v, current_a = elements.solve(states[:, :homes], states[:, homes:-1], states[:, -1])
        there = ~np.isnan(port_v).any(axis=1)
        self.limits, self.corners, self.states = limits, states, states[there]
        self.port_v, self.current_a = port_v[there], current_a[there]
        states, port_v = self.states, self.port_v
        customer, ohm, per_port = elements.port_customer, elements.port_ohm, elements.per_port_a.T
        self.va = 1e3 / np.bincount(customer)[customer]
        drawn = states[:, :homes] + 1j * states[:, homes:-1]
        self.power_va: Complex = np.asarray(drawn[:, customer] * self.va, dtype=complex)
        slope = np.conj(self.power_va / port_v**2)
        pull = ohm * slope[:, None, :]
        inverse = np.linalg.inv(np.eye(len(customer)) - pull @ np.conj(pull))
        of_conj, of_own = -inverse @ ohm, -inverse @ (pull @ np.conj(ohm))
        bent = per_port * slope[:, None, :]
        amps_conj, amps_own = per_port - bent @ np.conj(of_own), -bent @ np.conj(of_conj)
        self.of_w = (
            np.concatenate([amps_conj, of_conj], axis=1),
            np.concatenate([amps_own, of_own], axis=1),
        )
        # at the file's own source voltage, without load: by the reference itself, which is exact
        no_load_v = (port_v + np.conj(self.power_va / port_v) @ ohm.T) / states[:, -1:]
        source_v = np.einsum("rij,rj->ri", inverse, no_load_v + np.einsum("rij,rj->ri", pull, np.conj(no_load_v)))
        source_a = elements.no_load_a - np.einsum("rcj,rj->rc", bent, np.conj(source_v))
        one, other = (
            self.of_w[0] * (self.va / np.conj(port_v))[:, None, :],
            self.of_w[1] * (self.va / port_v)[:, None, :],
        )
        source = np.concatenate([source_a, source_v], axis=1)[:, :, None]
        of_homes = (_of_homes(values, customer, homes) for values in (one + other, 1j * (other - one)))
        per_unit = np.concatenate([*of_homes, source], axis=2)
        self.amps, self.volts = np.split(per_unit, [elements.conductors], axis=1)

    @cached_property
    def radial(self) -> Float:
        """Change of the magnitude of voltages for one unit, shape (reference, port, coordinate) [V]."""
        return np.asarray((self.volts * np.exp(-1j * np.angle(self.port_v))[:, :, None]).real)

    @cached_property
    def stress(self) -> Float:
        """At the references, shape (reference, limit)."""
        return self.limits.stress(self.port_v, self.current_a)

    def rows(self, directions: int) -> tuple[Float, Float, Int]:
        """Linear rows of every limit, at the reference where it is stressed most, currents in so many directions.

        Returns
        -------
        per_unit, offset : ndarray, shape (row, coordinate) and (row,)
            ``per_unit @ state + offset <= 1`` keeps the limit.
        limit : ndarray of int, shape (row,)
            Which limit.
        """
        elements, conductors = self.limits.elements, self.limits.elements.conductors
        turn = np.exp(-2j * np.pi * np.arange(directions) / directions)
        # a polygon inside the circle: what keeps all of its sides keeps the rating
        scale = 1.0 / (self.limits.amps * np.cos(np.pi / directions))
        flows = (self.current_a[:, :, None] * turn).real * scale[:, None]
        # every direction has a reference of its own: import and export are far apart
        at, which = flows.argmax(axis=0).ravel(), np.repeat(np.arange(conductors), directions)
        gain = (self.amps[at, which] * np.tile(turn, conductors)[:, None]).real * scale[which, None]
        of_voltage = self.stress[:, conductors:].argmax(axis=0)
        ports = np.tile(np.arange(len(elements.nominal_v)), 2)
        sign = np.repeat([1.0, -1.0], len(ports) // 2) / (VOLT_PU * np.tile(elements.nominal_v, 2))
        of_volts = self.radial[of_voltage, ports] * sign[:, None]
        there = self.stress[of_voltage, np.arange(conductors, self.limits.count)]
        value = np.concatenate([flows.max(axis=0).ravel(), there])
        per_unit, limit = np.concatenate([gain, of_volts]), np.concatenate([which, conductors + np.arange(len(there))])
        state = self.states[np.concatenate([at, of_voltage])]
        return per_unit, value - (per_unit * state).sum(axis=1), limit


def _of_homes(of_ports: Complex, customer: Int, homes: int) -> Complex:
    """What is told of ports, summed over those of each home, along the last axis."""
    if np.array_equal(customer, np.arange(homes)):  # one each, as on most streets: spares a tenth of all planning
        return of_ports
    return np.asarray(of_ports @ np.eye(homes)[customer])
