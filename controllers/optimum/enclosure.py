"""What every control keeps in a step: limits as linear rows, valid for all that devices may do in a box.

The power flow is linearised at a corner of the box, ``vb, S``. With ``D`` the change of power of a port from there and
``z = vb / v - 1``, exactly

    d / vb = T (D (1 + z) + S t),    z = -d / vb + t,    t = z² / (1 + z),

and every current is linear in ``D (1 + z) + S t`` too. Products ``D z`` are columns between McCormick's planes, exact
where a device is at either of its ends; ``z`` is a column within ``[low, high]``; ``t`` is of second order and bounded
with its sign (``z²`` is hardly negative, and roofs feed in: it works against what is feared). Bounds of ``|d / vb|``
that contain what they imply hold everywhere (Brouwer), there is one power flow where the map from voltages to voltages
contracts, and bounds of ``z`` follow from its own equation, each part with its sign.

A limit of a magnitude is a row by ``|v| >= Re(v exp(-j th))``, for any angle. A lowest voltage has no such row: a bound
does without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import sparse

from cosim.contract import Complex, Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.network.box import VOLT_PU, Linear
from cosim.controllers.optimum.day import CUT, Day

ROWS = 60  # of the limits that are stressed most at the corner
NEAR = 0.98  # stress
ROUNDS = 60
LARGEST = 0.4  # of its voltage that a port may change by
REFINED = 4
HAIR = 1e-9


@dataclass(frozen=True, eq=False)
class Box:
    """What devices may do in a step.

    Attributes
    ----------
    low, high : ndarray, shape (column,)
        Limits of powers [kW].
    cut_kw : (float, float)
        Least and most that is curtailed together [kW].
    """

    low: Float
    high: Float
    cut_kw: tuple[float, float]


@dataclass(frozen=True, eq=False)
class Relaxation:
    """What every control in a box keeps: ``matrix @ (powers, others) - breach of limits <= most``.

    Attributes
    ----------
    matrix : sparse array, shape (row, column + other)
        Of powers, and of columns that say how voltages move.
    most : ndarray, shape (row,)
        Right-hand sides.
    is_limit : ndarray of bool, shape (row,)
        Rows of limits, which may be broken at a price.
    low, high : ndarray, shape (other,)
        Limits of the other columns: products of every pair of column and port with both parts of z, and these.
    change : ndarray, shape (pair, column)
        What a power changes at its ports from the corner, which is at ``x``.
    x : ndarray, shape (column,)
        Powers at the corner.
    of_pair : ndarray of int, shape (pair,)
        Place of a pair's port among those of z.
    """

    matrix: sparse.csr_array
    most: Float
    is_limit: Bool
    low: Float
    high: Float
    change: Float
    x: Float
    of_pair: Int

    def astray(self, x: Float, others: Float) -> Float:
        """By how much the products of each column are off at a point, shape (column,) [kW]."""
        pairs = len(self.of_pair)
        change, z = self.change @ (x - self.x), others[2 * pairs :].reshape(2, -1)[:, self.of_pair]
        off = np.abs(others[: 2 * pairs].reshape(2, pairs) - change * z).sum(axis=0)
        return np.asarray(off @ (self.change != 0.0))


@dataclass(frozen=True, eq=False)
class Enclosure:
    """Where ``z`` of every port is, and ``t``: its real part between two bounds, its imaginary part within one."""

    z_low: Float
    z_high: Float
    z_turn: Float
    t_low: Float
    t_high: Float
    t_turn: Float


class Corner:
    """One step, its power flow linearised at a corner.

    Parameters
    ----------
    day : Day
        All that is known.
    step : int
        Which step.
    columns : ndarray of int
        Its columns.
    is_high : ndarray of bool, shape (column,)
        Those that are at their most at the corner.
    """

    def __init__(self, day: Day, step: int, columns: Int, is_high: Bool) -> None:
        who: Int = day.columns[2][columns]
        self.high = day.columns[3][columns]
        self.is_cut, self.is_high, self._limits, self.step = day.columns[0][columns] == CUT, is_high, day.limits, step
        self._sign = day.signs[columns]
        self._x = np.where(is_high, self.high, 0.0)
        net_kw = day.fixed_kw[step].copy()
        np.add.at(net_kw, who, self._sign * self._x)
        state = np.concatenate([net_kw, day.day.demand_kvar[step], day.source[[step]]])
        linear = Linear(day.limits, state[None, :])
        self._port_v, self._current_a = linear.port_v[0], linear.current_a[0]
        self.stress = linear.stress[0]
        of_conj, of_own = linear.of_w[0][0] * (1e3 / np.conj(self._port_v)), linear.of_w[1][0] * (1e3 / self._port_v)
        self._active, self._reactive = of_conj + of_own, 1j * (of_own - of_conj)
        self._norm = np.abs(of_conj) + np.abs(of_own)
        self._power = linear.power_va[0] / 1e3
        # a column acts at every port of its home
        customer = day.limits.elements.port_customer
        self._column, self._port = np.nonzero(who[:, None] == customer)
        self._part = 1.0 / np.bincount(customer)[who][self._column]

    @property
    def _conductors(self) -> int:
        return self._limits.elements.conductors

    @cached_property
    def _of_volts(self) -> tuple[Complex, Complex, Float]:
        """Relative change of every port's voltage for a kilowatt and a kilovar at each port, and its norm."""
        first, base = self._conductors, self._port_v[:, None]
        return self._active[first:] / base, self._reactive[first:] / base, self._norm[first:] / np.abs(base)

    def _farthest(self, effect: Float, box: Box, *, at_corner: bool = True) -> Float:
        """Largest sum of effects (row, pair of column and port) in a box, from the corner or of distances from it."""
        of_column = np.zeros((len(effect), len(self.high)))
        np.add.at(of_column.T, self._column, (effect * self._part).T)
        low, high = box.low - self._x, box.high - self._x
        cut_low, cut_high = box.cut_kw
        if at_corner:
            of_column *= self._sign
        else:  # what counts is how far
            low, high = np.minimum(np.abs(low), np.abs(high)) * (low * high > 0), np.maximum(np.abs(low), np.abs(high))
        others, cut = of_column[:, ~self.is_cut], of_column[:, self.is_cut]
        farthest = np.maximum(others * low[~self.is_cut], others * high[~self.is_cut]).sum(axis=1)
        low, width = low[self.is_cut], (high - low)[self.is_cut]
        order = np.argsort(-cut, axis=1)
        sorted_cut = np.take_along_axis(cut, order, axis=1)
        filled = np.cumsum(width[order], axis=1)
        limit = np.where(sorted_cut > 0.0, cut_high - low.sum(), max(cut_low - low.sum(), 0.0))
        taken = np.clip(np.minimum(filled, limit) - np.minimum(filled - width[order], limit), 0.0, None)
        return np.asarray(farthest + cut @ low + (sorted_cut * taken).sum(axis=1))

    def enclose(self, box: Box) -> Enclosure | None:
        """Enclose the voltages of all that is possible in a box; None where nothing is proven."""
        active, _, norm = self._of_volts
        power = np.abs(self._power)
        first = np.hypot(
            np.maximum(*(self._farthest(sign * active.real[:, self._port], box) for sign in (1.0, -1.0))),
            np.maximum(*(self._farthest(sign * active.imag[:, self._port], box) for sign in (1.0, -1.0))),
        )

        def implied(r: Float) -> Float:
            q = r / (1.0 - r)
            own = self._farthest((norm * q)[:, self._port], box, at_corner=False)
            return np.asarray(first + own + norm @ (power * r * q))

        r = first
        for _ in range(ROUNDS):
            new = implied(r) * (1.0 + 1e-7)
            if not (new < LARGEST).all():
                return None
            if still := bool((new <= r * (1.0 + 1e-6)).all()):
                break
            r = np.maximum(new, r)
        r = r * (1.0 + 2e-6)
        most_kw = np.zeros(len(r))
        reach = np.maximum(np.abs(box.low - self._x), np.abs(box.high - self._x))
        np.add.at(most_kw, self._port, (reach[self._column]) * self._part)
        least_v = np.abs(self._port_v) * (1.0 - r)
        alone = (np.abs(self._limits.elements.port_ohm) / least_v) @ (1e3 * (power + most_kw) / least_v)
        if not still or not (implied(r) <= r).all() or not (alone < 1.0).all():
            return None
        q = r / (1.0 - r)
        known = _with_t(-q, q, q)
        for _ in range(REFINED):
            known = self._refined(known, box)
        return known

    def _refined(self, known: Enclosure, box: Box) -> Enclosure:
        """Bounds of z that follow from its equation and from bounds that hold."""
        parts, (active, reactive, _) = [], self._of_volts
        for of_p, of_q in ((active.real, reactive.real), (active.imag, reactive.imag)):
            stray_low, stray_high = self._stray(of_p, of_q, known)
            ends = []
            for sign in (-1.0, 1.0):  # largest of the change, and of its negative
                linear, turn = -sign * of_p[:, self._port], np.abs(of_q[:, self._port]) * known.z_turn[self._port]
                # D z, whatever the sign of D: by its distance
                z = np.maximum(np.abs(known.z_low), np.abs(known.z_high))[self._port]
                signed = self._box_sign(box)
                by_sign = np.maximum(
                    linear * signed * known.z_low[self._port], linear * signed * known.z_high[self._port]
                )
                grown = np.where(signed == 0.0, np.abs(linear) * z, by_sign) + turn
                far = self._farthest(linear, box) + self._farthest(grown, box, at_corner=False)
                ends.append(far + (stray_high if sign < 0 else -stray_low))
            parts.append(ends)
        (fall, rise), (left, right) = ((-parts[0][0], parts[0][1]), parts[1])  # of -d / vb
        # z = -d / vb + t
        z_low = np.maximum(known.z_low, fall + known.t_low)
        z_high = np.minimum(known.z_high, rise + known.t_high)
        z_turn = np.minimum(known.z_turn, np.maximum(left, right) + known.t_turn)
        return _with_t(z_low, z_high, z_turn)

    def _box_sign(self, box: Box) -> Float:
        """Sign of a home's change from the corner over a box by pair: 0 where either is possible."""
        low, high = ((end - self._x) * self._sign for end in (box.low, box.high))
        least, most = np.minimum(low, high), np.maximum(low, high)
        return np.where(least >= 0.0, 1.0, np.where(most <= 0.0, -1.0, 0.0))[self._column]

    def _stray(self, of_p: Float, of_q: Float, known: Enclosure) -> tuple[Float, Float]:
        """Bounds of what S t does to rows of effects per kilowatt and per kilovar at the ports."""
        p, q = self._power.real, self._power.imag
        straight, turned = of_p * p + of_q * q, np.abs(of_q * p - of_p * q) * known.t_turn
        low = np.minimum(straight * known.t_low, straight * known.t_high) - turned
        high = np.maximum(straight * known.t_low, straight * known.t_high) + turned
        return low.sum(axis=1), high.sum(axis=1)

    def relaxed(self, box: Box) -> Relaxation | None:
        """Return the relaxation of a box; None where nothing is proven."""
        known = self.enclose(box)
        if known is None:
            return None
        columns, pairs, conductors = len(self.high), len(self._port), self._conductors
        ports, of_pair = np.unique(self._port, return_inverse=True)
        few = len(ports)
        # columns: powers, changes times both parts of z, both parts of z
        power, real, imag = (slice(first, first + size) for first, size in (
            (0, columns), (columns, pairs), (columns + pairs, pairs)))  # fmt: skip
        z_real, z_imag = (slice(columns + 2 * pairs + first, columns + 2 * pairs + first + few) for first in (0, few))
        width = z_imag.stop
        to_pair = np.zeros((pairs, columns))
        to_pair[np.arange(pairs), self._column] = self._part * self._sign[self._column]
        to_port = np.eye(few)[of_pair]
        constant = -to_pair @ self._x
        ends = to_pair * (box.low - self._x), to_pair * (box.high - self._x)
        low, high = np.minimum(*ends).sum(axis=1), np.maximum(*ends).sum(axis=1)
        rows: list[Float] = []
        most: list[Float] = []

        def put(up_to: Float, *parts: tuple[slice, Float]) -> None:
            row = np.zeros((len(up_to), width))
            for where, values in parts:
                row[:, where] += values
            rows.append(row)
            most.append(up_to)

        limits = []
        for product, z, z_low, z_high in (
            (real, z_real, known.z_low[ports], known.z_high[ports]),
            (imag, z_imag, -known.z_turn[ports], known.z_turn[ports]),
        ):
            below, above, one = z_low[of_pair], z_high[of_pair], np.eye(pairs)
            for d, end, sign in ((low, below, -1.0), (high, above, -1.0), (low, above, 1.0), (high, below, 1.0)):
                # sign * (p - end * change - d * z + d * end) <= 0
                put(
                    -sign * d * end + sign * end * constant,
                    (product, sign * one), (power, -sign * end[:, None] * to_pair), (z, -sign * d[:, None] * to_port),
                )  # fmt: skip
            corners = np.stack([low * below, low * above, high * below, high * above])
            limits.append((corners.min(axis=0), corners.max(axis=0)))
        limits += [(known.z_low[ports], known.z_high[ports]), (-known.z_turn[ports], known.z_turn[ports])]
        active, reactive, _ = (part[ports] for part in self._of_volts)
        for of_p, of_q, z, t in (
            (active.real, reactive.real, z_real, (known.t_low, known.t_high)),
            (active.imag, reactive.imag, z_imag, (-known.t_turn, known.t_turn)),
        ):
            stray_low, stray_high = self._stray(of_p, of_q, known)
            linear, turned = of_p[:, self._port], of_q[:, self._port]
            moved = linear @ to_pair
            start = linear @ constant
            for sign, up_to in ((1.0, t[1][ports] - stray_low - start), (-1.0, -(t[0][ports] - stray_high - start))):
                put(
                    up_to, (z, sign * np.eye(few)), (power, sign * moved), (real, sign * linear),
                    (imag, sign * turned),
                )  # fmt: skip
        is_limit = [np.zeros(len(part), bool) for part in most]
        upper = self.stress[: conductors + len(self._port_v)]
        first = np.argsort(-upper, kind="stable")[:ROWS]
        first = first[upper[first] > NEAR]
        nominal_v = self._limits.elements.nominal_v
        scale = np.concatenate([1.0 / self._limits.amps, 1.0 / (VOLT_PU * nominal_v)])[first, None]
        turn = np.exp(-1j * np.angle(np.concatenate([self._current_a, self._port_v])))[first, None]
        of_p, of_q = ((effect[first] * turn).real * scale for effect in (self._active, self._reactive))
        stray_low, _ = self._stray(of_p, of_q, known)
        linear, turned = of_p[:, self._port], of_q[:, self._port]
        put(
            1.0 - upper[first] - stray_low - linear @ constant,
            (power, linear @ to_pair), (real, linear), (imag, turned),
        )  # fmt: skip
        is_limit.append(np.ones(len(first), bool))
        return Relaxation(
            sparse.csr_array(np.concatenate(rows)), np.concatenate(most), np.concatenate(is_limit),
            np.concatenate([part[0] for part in limits]), np.concatenate([part[1] for part in limits]),
            to_pair, self._x, of_pair,
        )  # fmt: skip


def _with_t(z_low: Float, z_high: Float, z_turn: Float) -> Enclosure:
    """Bounds of t = z² / (1 + z) from those of z."""
    least, most = 1.0 + z_low, 1.0 + z_high
    t_high = np.maximum(z_low**2 / least, z_high**2 / most)
    t_low = -(z_turn**2) / least**3
    t_turn = z_turn * np.maximum(np.abs(1.0 - 1.0 / least**2), np.abs(1.0 - 1.0 / (most**2 + z_turn**2)))
    return Enclosure(z_low, z_high, z_turn, t_low, t_high, t_turn)
