"""The same network without OpenDSS in the loop: predictor of controllers, and what an engine of its own solves with.

The admittance matrix that OpenDSS built is factorised once and reduced to the *ports* where customers draw: one port
per phase of every customer, from its phase conductor to its neutral (or to earth), or from phase to phase. With the
voltages ``U0`` of the unloaded network and the port impedance ``Z``, constant-power loads satisfy

    U = U0 - Z conj(S / U)

which is iterated for many candidates at once; a transformer is linear, so it is inside. Currents of watched branches
and all other node voltages follow from the port currents by one more matrix product each.

The iteration is the implicit Z-bus method (T.-H. Chen et al., "Distribution system power flow analysis - a rigid
approach", IEEE Transactions on Power Delivery 6(3), 1991).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from cosim.contract import Complex, Feeder, Float, Prediction
from cosim.contract.signals import Bool
from cosim.contract.wiring import incidence
from cosim.errors import UnsupportedError
from cosim.network import monitored_currents
from cosim.reduction import (
    Transfer,
    branches_of,
    default_watched,
    refuse_what_is_not_linear,
)
from cosim.threads import ONE_THREAD

TOLERANCE_PU = 1e-9
"""Largest change of a port voltage in the last iteration, of nominal voltage."""

FIXED_POINT_ITERATIONS = 100
NEWTON_ITERATIONS = 20
"""The fixed point is the fast way; near the point of collapse it stops contracting and Newton's method takes over."""

VOLTAGE_BAND_PU = (0.5, 1.5)
"""Outside it OpenDSS turns loads into impedances; an answer that claims constant power there would be another model."""


@dataclass(frozen=True, eq=False)
class BatchResult(Prediction):
    """A batch of operating points, solved; **one without a solution is nan throughout**, and moves no other.

    Attributes
    ----------
    voltage_v : ndarray of complex, shape (candidate, port)
        Voltages across the ports, from phase to neutral but of loads between phases [V].
    current_a : ndarray of complex, shape (candidate, branch, 3)
        Currents of the watched branches towards the customers [A].
    branches : tuple of str
        Names of the watched branches.
    port_a : ndarray of complex, shape (candidate, port)
        Currents drawn at the ports [A].
    source_a : ndarray of complex, shape (candidate, source's port)
        The same of the file's own sources, as ``ReducedNetwork.source_ports``: what they feed in is negative [A].
    """

    port_a: Complex
    source_a: Complex
    _network: ReducedNetwork
    _scale: Float

    @property
    def solved(self) -> Bool:
        """Which candidates have a solution, shape (candidate,)."""
        return np.asarray(np.isfinite(self.voltage_v).all(axis=1))

    @cached_property
    def node_v(self) -> Complex:
        """Phase-to-earth voltages of all nodes, as ``Network.node_names``, shape (candidate, node) [V].

        Computed when first asked for: it takes longer than all else on a large feeder.
        """
        return self._network._node_voltages(np.hstack([self.port_a, self.source_a]), self._scale)


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Exact first derivatives at a batch of operating points; nan where there is no solution.

    The last axis is that of the powers: customers, then spurs where they were given.

    Attributes
    ----------
    voltage_v_per_kw, voltage_v_per_kvar : ndarray of complex, shape (candidate, port, customer)
        Of the voltage across every port; the magnitude moves by ``Re(conj(V) dV) / |V|``.
    current_a_per_kw, current_a_per_kvar : ndarray of complex, shape (candidate, branch, 3, customer)
        Of the currents of the watched branches.
    """

    voltage_v_per_kw: Complex
    voltage_v_per_kvar: Complex
    current_a_per_kw: Complex
    current_a_per_kvar: Complex


class ReducedNetwork:
    """Solves batches of operating points of one feeder; a ``Predictor``.

    Parameters
    ----------
    feeder : Feeder
        The place.
    watched : sequence of str, optional
        Branches whose currents are predicted; transformer, head line and monitored branches where not given.
    others_kva : ndarray of complex, shape (source,), optional
        P + jQ that the file's own sources (``Network.injectors``) feed in [kVA], such as ``Network.others_kva``; a
        feeder with sources is refused without it.

    Attributes
    ----------
    branches : tuple of str
        The watched branches.
    port_customer : ndarray of int, shape (port,)
        Customer of every port, in the order of ``Prediction.voltage_v``.
    branch_share : ndarray of complex, shape (port, branch, 3)
        Current in the watched branches, towards the customers, for one ampere drawn at a port.

    Raises
    ------
    UnsupportedError
        Where the circuit holds what a constant linear network with constant power cannot represent: sources and loads
        that follow their voltage. The message names them.
    InputError
        Where there is no branch of a watched name.
    PowerFlowError
        Where the admittance matrix is singular (a part of the network hangs in the air).
    """

    @ONE_THREAD
    def __init__(
        self, feeder: Feeder, *, watched: Sequence[str] | None = None, others_kva: Complex | None = None
    ) -> None:
        refuse_what_is_not_linear(feeder, told=others_kva is not None)
        network = feeder.network
        names = default_watched(feeder) if watched is None else tuple(name.upper() for name in watched)
        branches = branches_of(feeder, names)
        sources = [network.steady_sources[name] for name in network.injectors]
        there, back = np.array([pair for one in sources for pair in one.ends], dtype=np.int64).reshape(-1, 2).T
        ports_each = np.array([len(one.ends) for one in sources], dtype=np.int64)
        #: where the file's own sources feed in, shape (node, their port)
        self.source_ports = incidence(len(network.node_names), there, back)
        ports = sparse.hstack([feeder.load_ports, self.source_ports], format="csc")
        transfer = Transfer(feeder, ports, branches)
        self.branches = names
        self.port_customer, _, _ = feeder.load_ends
        self._port_source = np.repeat(np.arange(len(sources)), ports_each)
        self._per_port = 1e3 / ports_each
        self._others_kva = network.others_kva if others_kva is None else others_kva
        self._spur_port = feeder.spurs[1]
        self._va_per_kw = 1e3 / np.bincount(self.port_customer)[self.port_customer]  # even over a customer's phases
        bands = [VOLTAGE_BAND_PU] * len(self.port_customer) + [sources[row].band_pu for row in self._port_source]
        self._band_pu = np.array(bands).T
        of_sources_v = [sources[row].nominal_v for row in self._port_source]
        self._nominal_v = np.concatenate([feeder.port_nominal_v, of_sources_v])
        self._between_phases = feeder.delta_customers
        self._close_v = float(TOLERANCE_PU * self._nominal_v.min())
        self._customers = len(feeder.customers)
        self._network_pu = network.source_pu
        self._sources = network.source_buses
        self._no_load_v: Complex = np.asarray(ports.T @ network.no_load_v)
        # Row vectors times matrices, so every factor is kept transposed and contiguous.
        self._impedance = np.empty((ports.shape[1], ports.shape[1]), complex)
        self._no_load_a = monitored_currents(branches, network.no_load_v[None, :])[0]
        share: Complex = np.empty((ports.shape[1], *self._no_load_a.shape), complex)
        for some, self._impedance[some], to_kept in transfer.blocks():
            # drawing lowers voltages: the response to one ampere is minus its transfer impedance
            share[some] = monitored_currents(transfer.branches, -to_kept)
        self._to_branches = share.reshape(len(share), -1)
        self.branch_share = share[: len(self.port_customer)]
        self._node_no_load_v = network.no_load_v
        self._transfer = transfer

    @ONE_THREAD
    def solve(
        self,
        p_kw: Float,
        q_kvar: Float,
        source_pu: float | Float | None = None,
        others_kva: Complex | None = None,
    ) -> BatchResult:
        """Solve a batch of operating points.

        Parameters
        ----------
        p_kw, q_kvar : ndarray, shape (candidate, customer)
            Net consumption of every customer; or (candidate, customer + spur), see `Feeder.at_loads`.
        source_pu : float or ndarray of shape (candidate,), optional
            Source voltage; the network's own where not given or nan.
        others_kva : ndarray of complex, shape (source,) or (candidate, source), optional
            What the file's own sources feed in [kVA]; as the network was made where not given.

        Returns
        -------
        BatchResult
            Nan where there is no solution: not converged, or a voltage outside 0.5..1.5 of nominal, or outside the band
            in which one of the file's own sources feeds in constant power.

        Raises
        ------
        ValueError
            Where the shapes are others.
        UnsupportedError
            Where one source voltage is asked of a feeder with several sources.
        """
        scale, ports = self._scale(source_pu), len(self.port_customer)
        port_v, port_a = self._solve(p_kw, q_kvar, scale, self._others_kva if others_kva is None else others_kva)
        current_a = (port_a @ self._to_branches).reshape(len(port_a), *self._no_load_a.shape)
        current_a += self._no_load_a * scale[:, :, None]
        own_a = port_a[:, ports:]
        return BatchResult(port_v[:, :ports], current_a, self.branches, port_a[:, :ports], own_a, self, scale)

    def predict(self, p_kw: Float, q_kvar: Float, source_pu: float | Float | None = None) -> BatchResult:
        """Solve for controllers, who are told voltages to neutral: as `solve`, but not of loads between phases.

        Raises
        ------
        ValueError, UnsupportedError
            As `solve`; and where there are loads between phases, by name.
        """
        if self._between_phases:
            named = ", ".join(f"Load.{name}" for name in self._between_phases)
            raise UnsupportedError(f"voltages to neutral are not predicted of loads between phases (delta): {named}")
        return self.solve(p_kw, q_kvar, source_pu)

    @ONE_THREAD
    def sensitivity(self, p_kw: Float, q_kvar: Float, source_pu: float | Float | None = None) -> Sensitivity:
        """Differentiate voltages and currents by the powers, at every operating point of a batch.

        Of ``U = U0 - Z conj(S / U)`` the differential is ``dU - Z diag(I / conj(U)) conj(dU) = -Z conj(dS / U)``, a
        real linear system of twice the number of ports, factorised once for each point.

        Parameters
        ----------
        p_kw, q_kvar, source_pu
            As in `solve`.

        Returns
        -------
        Sensitivity

        Raises
        ------
        ValueError, UnsupportedError
            As `solve`.
        """
        port_v, port_a = self._solve(p_kw, q_kvar, self._scale(source_pu), self._others_kva)
        points, columns, (ports, wide) = len(p_kw), p_kw.shape[1], self._to_branches.shape
        own = len(self.port_customer)
        per_v, per_a = (np.full((2, points, rows, columns), complex("nan")) for rows in (own, wide))
        drawn_va = np.zeros((ports, columns))
        drawn_va[np.arange(own), self.port_customer] = self._va_per_kw
        drawn_va[self._spur_port, np.arange(self._customers, columns)] = 1e3
        for row in np.flatnonzero(np.isfinite(port_v).all(axis=1)):
            voltage_v, current_a = port_v[row], port_a[row]
            at_fixed_v = drawn_va / voltage_v.conj()[:, None]
            at_fixed_v = np.concatenate([at_fixed_v, -1j * at_fixed_v], axis=1)  # conj(dS / U) of kW, then of kvar
            moved = -(self._impedance.T @ at_fixed_v)
            moved = _complex(np.linalg.solve(self._jacobian(voltage_v, current_a), np.vstack([moved.real, moved.imag])))
            drawn_a = at_fixed_v - (current_a / voltage_v.conj())[:, None] * moved.conj()
            per_v[:, row] = moved[:own].reshape(own, 2, columns).swapaxes(0, 1)
            per_a[:, row] = (self._to_branches.T @ drawn_a).reshape(wide, 2, columns).swapaxes(0, 1)
        shape = (2, points, *self._no_load_a.shape, columns)
        return Sensitivity(*per_v, *per_a.reshape(shape))

    @ONE_THREAD
    def _node_voltages(self, port_a: Complex, scale: Float) -> Complex:
        node_v = self._transfer.drop_v(port_a)
        scale = scale[:1] if (scale == scale[0]).all() else scale
        np.subtract(self._node_no_load_v * scale, node_v, out=node_v)
        return node_v

    def _scale(self, source_pu: float | Float | None) -> Float:
        """Source voltage over the one of the network's no-load voltages, shape (candidate or 1, 1)."""
        if source_pu is None or (isinstance(source_pu, float) and np.isnan(source_pu)):
            return np.ones((1, 1))
        pu = np.atleast_1d(np.asarray(source_pu, dtype=float))
        pu = np.where(np.isnan(pu), self._network_pu, pu)
        if len(self._sources) > 1 and (pu != self._network_pu).any():
            raise UnsupportedError(f"one source voltage cannot be set: sources at {', '.join(self._sources)}")
        # the network without loads is linear: no-load voltages and currents scale with the only source
        return np.asarray(pu[:, None] / self._network_pu)

    def _solve(self, p_kw: Float, q_kvar: Float, scale: Float, others_kva: Complex) -> tuple[Complex, Complex]:
        """Port voltages and currents drawn at the ports, shape (candidate, port); rows of nan without solution."""
        widths = (self._customers, self._customers + len(self._spur_port))
        if p_kw.ndim != 2 or p_kw.shape != q_kvar.shape or p_kw.shape[1] not in widths:
            raise ValueError(
                f"p_kw and q_kvar must be (candidate, {self._customers}), not {p_kw.shape} and {q_kvar.shape}"
            )
        power_va, ports = np.empty((len(p_kw), len(self._nominal_v)), dtype=complex), len(self.port_customer)
        np.multiply(p_kw[:, self.port_customer], self._va_per_kw, out=power_va.real[:, :ports])
        np.multiply(q_kvar[:, self.port_customer], self._va_per_kw, out=power_va.imag[:, :ports])
        power_va[:, ports:] = -(others_kva * self._per_port)[..., self._port_source]
        if p_kw.shape[1] > self._customers:
            apart_kva = p_kw[:, self._customers :] + 1j * q_kvar[:, self._customers :]
            power_va[:, self._spur_port] += 1e3 * apart_kva
        if len(p_kw) == 1:
            return self._solve_one(power_va[0], scale)
        with np.errstate(all="ignore"):  # a candidate that runs away must not disturb the others; it becomes nan below
            port_v, settled = self._settle(power_va, np.broadcast_to(self._no_load_v * scale, power_va.shape))
            magnitude_pu = np.abs(port_v) / self._nominal_v
            low, high = self._band_pu
            # the power flow has more solutions than the one in use; those at collapsed voltages are none of
            # OpenDSS's, see the band
            settled &= ((magnitude_pu >= low) & (magnitude_pu <= high)).all(axis=1)
            port_v[~settled] = complex(np.nan, np.nan)
            # conj(S / V), in place: a batch of thousands is bound by memory traffic
            port_a = np.divide(power_va, port_v, out=power_va)
        return port_v, np.conjugate(port_a, out=port_a)

    def _solve_one(self, power_va: Complex, scale: Float) -> tuple[Complex, Complex]:
        """Solve a single candidate, without the bookkeeping of a batch: steps of a run are solved one by one."""
        low, high = self._band_pu
        with np.errstate(all="ignore"):
            port_v, settled = self._settle_one(power_va, self._no_load_v * scale[0], 0)
            magnitude_pu = np.abs(port_v[0]) / self._nominal_v
            if not (settled[0] and ((magnitude_pu >= low) & (magnitude_pu <= high)).all()):
                port_v[:] = complex(np.nan, np.nan)
            return port_v, (power_va / port_v).conj()

    def _settle(self, power_va: Complex, no_load_v: Complex, done: int = 0) -> tuple[Complex, NDArray[np.bool_]]:
        """Iterate until every candidate stands still; those that lag behind go on alone."""
        if len(power_va) == 1:
            return self._settle_one(power_va[0], no_load_v[0], done)
        voltage, following = no_load_v.copy(), np.empty_like(power_va)
        current = np.empty_like(power_va)
        still = np.zeros(len(power_va), dtype=bool)
        for iteration in range(done, FIXED_POINT_ITERATIONS):
            # U <- U0 - Z conj(S / U), without temporaries
            np.divide(power_va, voltage, out=current)
            np.conjugate(current, out=current)
            np.subtract(no_load_v, self._drop_v(current, following), out=following)
            np.subtract(following, voltage, out=current)  # from here on: the change
            voltage, following = following, voltage
            # the change, not the mismatch: where the map contracts, both are of one size
            still = self._stands_still(current)
            if still.all():
                return voltage, still
            # with most settled, a smaller product for the rest pays for copying it
            if 2 * np.count_nonzero(still) > len(still):
                rest = ~still
                voltage[rest], still[rest] = self._settle(power_va[rest], no_load_v[rest], iteration + 1)
                return voltage, still
        # few, near collapse: one by one, as each needs a factorisation of its own
        for row in np.flatnonzero(~still):
            voltage[row], still[row] = self._newton(power_va[row], no_load_v[row])
        return voltage, still

    def _settle_one(self, power_va: Complex, no_load_v: Complex, done: int) -> tuple[Complex, NDArray[np.bool_]]:
        voltage, close_v = no_load_v, self._close_v
        for _ in range(done, FIXED_POINT_ITERATIONS):
            following = no_load_v - self._drop_v((power_va / voltage).conj())
            change, voltage = following - voltage, following
            if np.abs(change.view(float)).max(initial=0.0) <= close_v:
                return voltage[None, :], np.ones(1, dtype=bool)
        voltage, still = self._newton(power_va, no_load_v)
        return voltage[None, :], np.array([still])

    def _drop_v(self, port_a: Complex, out: Complex | None = None) -> Complex:
        """Voltage that currents take from every port, shape (candidate, port), or (port,) [V]."""
        if self._transfer.is_lean:
            return self._transfer.port_drop_v(port_a)
        return np.matmul(port_a, self._impedance, out=out)

    def _stands_still(self, change_v: Complex) -> NDArray[np.bool_]:
        largest: Float = np.abs(change_v.view(float)).max(axis=-1, initial=0.0)
        # nan is not <=: a candidate that ran away never settles
        return np.asarray(largest <= self._close_v)

    def _newton(self, power_va: Complex, no_load_v: Complex) -> tuple[Complex, bool]:
        """Newton's method for one candidate: ``dU + A conj(dU) = -mismatch`` in real and imaginary parts."""
        impedance, voltage = self._impedance.T, no_load_v.copy()
        for _ in range(NEWTON_ITERATIONS):
            current = (power_va / voltage).conj()
            mismatch = voltage - no_load_v + impedance @ current
            jacobian = self._jacobian(voltage, current)
            if not np.isfinite(jacobian).all():
                break
            try:
                change_v = _complex(np.linalg.solve(jacobian, -np.concatenate([mismatch.real, mismatch.imag])))
            except np.linalg.LinAlgError:
                break
            voltage = voltage + change_v
            if self._stands_still(change_v):
                return voltage, True
        return voltage, False

    def _jacobian(self, voltage: Complex, current: Complex) -> Float:
        """``dU -> dU + A conj(dU)`` in real and imaginary parts: ``A = -Z diag(I / conj(U))``.

        d conj(S / U) = -conj(S / U) / conj(U) conj(dU): the derivative is in conj(dU) only.
        """
        slope, unit = -self._impedance.T * (current / voltage.conj()), np.eye(len(voltage))
        # A conj(dU) = (Ar + j Ai)(dr - j di), split into real and imaginary part
        return np.block([[unit + slope.real, slope.imag], [slope.imag, unit - slope.real]])


def _complex(parts: Float) -> Complex:
    """Real parts, and below them imaginary ones, as one array."""
    half = len(parts) // 2
    return np.ascontiguousarray(parts[:half] + 1j * parts[half:])
