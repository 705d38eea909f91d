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
from cosim.controllers.optimum.day import Day
from cosim.controllers.optimum.forms import Form

ROWS = 60  # of the limits that are stressed most at the corner
NEAR = 0.98  # stress
ROUNDS = 60
LARGEST = 0.4  # of its voltage that a port may change by
REFINED = 4


@dataclass(frozen=True, eq=False)
class Box:
    """What devices may do in a step.

    Attributes
    ----------
    low, high : ndarray, shape (column,)
        Limits of powers [kW].
    least_kw, most_kw : ndarray, shape (class,)
        Least and most that the columns of a class sum up to [kW].
    """

    low: Float
    high: Float
    least_kw: Float
    most_kw: Float


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
    known : Enclosure
        Where z is.
    """

    matrix: sparse.csr_array
    most: Float
    is_limit: Bool
    low: Float
    high: Float
    change: Float
    x: Float
    of_pair: Int
    known: Enclosure

    def astray(self, x: Float, others: Float) -> Float:
        """By how much the products of each column are off at a point, shape (column,) [kW]."""
        pairs = len(self.of_pair)
        change, z = self.change @ (x - self.x), others[2 * pairs :].reshape(2, -1)[:, self.of_pair]
        off = np.abs(others[: 2 * pairs].reshape(2, pairs) - change * z).sum(axis=0)
        return np.asarray(off @ (self.change != 0.0))


@dataclass(frozen=True, eq=False)
class Enclosure:
    """Where the real part ``x`` and the imaginary part ``y`` of ``z`` of every port are, and what follows for ``t``.

    ``Re t`` is at most ``x² / (1 + x)``, which is convex, and at least ``-y² / (1 + x)³``; ``abs(Im t)`` is at most
    ``abs(y) abs(1 - abs(1 + z)⁻²)``. Chords are bounds that are linear in ``z``.
    """

    x_low: Float
    x_high: Float
    y_low: Float
    y_high: Float

    @cached_property
    def turn(self) -> Float:
        """Largest size of ``y``."""
        return np.maximum(np.abs(self.y_low), np.abs(self.y_high))

    @cached_property
    def real(self) -> tuple[Float, Float]:
        """Bounds of the real part of ``t``."""
        ends = [x**2 / (1.0 + x) for x in (self.x_low, self.x_high)]
        return -(self.turn**2) / (1.0 + self.x_low) ** 3, np.maximum(*ends)

    @cached_property
    def imaginary(self) -> Float:
        """Largest size of the imaginary part of ``t``."""
        least, most = (1.0 + self.x_low) ** 2, (1.0 + self.x_high) ** 2 + self.turn**2
        return np.asarray(self.turn * np.maximum(np.abs(1.0 - 1.0 / least), np.abs(1.0 - 1.0 / most)))

    @cached_property
    def chords(self) -> tuple[Chord, Chord, Chord]:
        """Below the real part, above it, and above the size of the imaginary part: for ``x``, for ``y``, constant."""
        nothing, curve = np.zeros_like(self.x_low), -1.0 / (1.0 + self.x_low) ** 3
        below = nothing, curve * (self.y_low + self.y_high), -curve * self.y_low * self.y_high
        first, last = (x**2 / (1.0 + x) for x in (self.x_low, self.x_high))
        width = self.x_high - self.x_low
        slope = np.divide(last - first, width, out=np.zeros_like(width), where=width > 0.0)
        above = slope, nothing, np.maximum(first, last - slope * width) - slope * self.x_low
        rate = self.turn * (2.0 + self.x_high.clip(0.0))
        rest = self.turn * ((1.0 + self.x_low) ** -2.0 - 1.0).clip(0.0) + self.turn**3
        return below, above, (rate, nothing, rest - rate * self.x_low)


Chord = tuple[Float, Float, Float]


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
    classes : ndarray of int, shape (column,)
        Columns of which a box limits the sum; -1: none.
    form : Form, optional
        Objective of currents, whose parts are linearised too.
    """

    def __init__(
        self, day: Day, step: int, columns: Int, is_high: Bool, classes: Int, form: Form | None = None
    ) -> None:
        self._classes = classes
        who: Int = day.columns[2][columns]
        self.high = day.columns[3][columns]
        self.is_high, self._limits = is_high, day.limits
        self._sign = day.signs[columns]
        self._x = np.where(is_high, self.high, 0.0)
        net_kw = day.fixed_kw[step].copy()
        np.add.at(net_kw, who, self._sign * self._x)
        state = np.concatenate([net_kw, day.day.demand_kvar[step], day.source[[step]]])
        linear = Linear(day.limits, state[None, :])
        self._port_v, self._current_a, self._power = linear.port_v[0], linear.current_a[0], linear.power_va[0] / 1e3
        self.stress = linear.stress[0]
        of_conj, of_own = linear.of_w[0][0], linear.of_w[1][0]
        if form is not None:
            drawn = np.conj(linear.power_va[0] / self._port_v)
            self._parts = form.parts(drawn[None, :], day.source[[step]])[0]
            bent = form.per_port * (drawn / np.conj(self._port_v))
            drop_conj, drop_own = (of_w[self._conductors :] for of_w in (of_conj, of_own))
            of_conj = np.concatenate([of_conj, form.per_port - bent @ np.conj(drop_own)])
            of_own = np.concatenate([of_own, -bent @ np.conj(drop_conj)])
        of_conj, of_own = of_conj * (1e3 / np.conj(self._port_v)), of_own * (1e3 / self._port_v)
        self._active, self._reactive = of_conj + of_own, 1j * (of_own - of_conj)
        self._norm = np.abs(of_conj) + np.abs(of_own)
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
        base = self._port_v[:, None]
        at = slice(self._conductors, self._conductors + len(base))
        return self._active[at] / base, self._reactive[at] / base, self._norm[at] / np.abs(base)

    def _farthest(self, effect: Float, box: Box, *, at_corner: bool = True) -> Float:
        """Largest sum of effects (row, pair of column and port) in a box, from the corner or of distances from it."""
        of_column = np.zeros((len(effect), len(self.high)))
        np.add.at(of_column.T, self._column, (effect * self._part).T)
        # the corner is at an end, or beyond: a distance is a change with a sign
        of_column *= self._sign if at_corner else np.where(self.is_high, -1.0, 1.0)
        low, width = box.low - self._x, box.high - box.low
        farthest = of_column @ low
        free = self._classes < 0
        farthest += of_column[:, free].clip(0.0) @ width[free]
        for one, (least, most) in enumerate(zip(box.least_kw, box.most_kw, strict=True)):
            mine = self._classes == one
            gain, room = of_column[:, mine], width[mine]
            order = np.argsort(-gain, axis=1)
            gain = np.take_along_axis(gain, order, axis=1)
            filled = np.cumsum(room[order], axis=1)
            begun = float(box.low[mine].sum())
            limit = np.where(gain > 0.0, most - begun, max(least - begun, 0.0))
            farthest += (gain * np.clip(np.minimum(filled, limit) - (filled - room[order]), 0.0, None)).sum(axis=1)
        return np.asarray(farthest)

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
        known = Enclosure(-q, q, -q, q)
        for _ in range(REFINED):
            known = self._refined(known, box)
        return known

    def _refined(self, known: Enclosure, box: Box) -> Enclosure:
        """Bounds of z that follow from its equation and from bounds that hold."""
        ends: list[Float] = []
        active, reactive, _ = self._of_volts
        x_low, x_high, signed = known.x_low[self._port], known.x_high[self._port], self._box_sign(box)
        for of_p, of_q in ((active.real, reactive.real), (active.imag, reactive.imag)):
            stray_low, stray_high = self._stray(of_p, of_q, known)
            turn = np.abs(of_q[:, self._port]) * known.turn[self._port]
            for sign, stray in ((1.0, stray_high), (-1.0, -stray_low)):  # largest of the change, and of its negative
                linear = sign * of_p[:, self._port]
                # change times x, by the size of the change
                by_sign = np.maximum(linear * signed * x_low, linear * signed * x_high)
                either = np.abs(linear) * np.maximum(np.abs(x_low), np.abs(x_high))
                grown = np.where(signed == 0.0, either, by_sign) + turn
                ends.append(self._farthest(linear, box) + self._farthest(grown, box, at_corner=False) + stray)
        most, least = known.real[1], known.real[0]
        # z = -d / vb + t
        return Enclosure(
            np.maximum(known.x_low, least - ends[0]), np.minimum(known.x_high, ends[1] + most),
            np.maximum(known.y_low, -ends[2] - known.imaginary), np.minimum(known.y_high, ends[3] + known.imaginary),
        )  # fmt: skip

    def _box_sign(self, box: Box) -> Float:
        """Sign of a home's change from the corner over a box by pair: 0 where either is possible."""
        low, high = ((end - self._x) * self._sign for end in (box.low, box.high))
        least, most = np.minimum(low, high), np.maximum(low, high)
        return np.where(least >= 0.0, 1.0, np.where(most <= 0.0, -1.0, 0.0))[self._column]

    def _shares(self, of_p: Float, of_q: Float) -> tuple[Float, Float]:
        """What real and imaginary part of t do to rows of effects per kilowatt and per kilovar at the ports."""
        p, q = self._power.real, self._power.imag
        return of_p * p + of_q * q, of_q * p - of_p * q

    def _stray(self, of_p: Float, of_q: Float, known: Enclosure) -> tuple[Float, Float]:
        """Bounds of what S t does to rows."""
        straight, across = self._shares(of_p, of_q)
        turned, ends = np.abs(across) * known.imaginary, [straight * t for t in known.real]
        return (np.minimum(*ends) - turned).sum(axis=1), (np.maximum(*ends) + turned).sum(axis=1)

    def _chords(self, of_p: Float, of_q: Float, known: Enclosure) -> tuple[Chord, Chord]:
        """The same below and above, linear in z: for x, for y (row, port), constant (row,)."""
        straight, across = self._shares(of_p, of_q)
        below, above, beside = known.chords
        up, down, off = straight.clip(0.0), straight.clip(max=0.0), np.abs(across)
        low = [up * b + down * a - off * c for b, a, c in zip(below, above, beside, strict=True)]
        high = [up * a + down * b + off * c for b, a, c in zip(below, above, beside, strict=True)]
        return (low[0], low[1], low[2].sum(axis=1)), (high[0], high[1], high[2].sum(axis=1))

    def relaxed(self, box: Box) -> Relaxation | None:
        """Return the relaxation of a box; None where nothing is proven."""
        known = self.enclose(box)
        if known is None:
            return None
        columns, pairs, conductors = len(self.high), len(self._port), self._conductors
        few, of_pair = len(self._port_v), self._port
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
            (real, z_real, known.x_low, known.x_high),
            (imag, z_imag, known.y_low, known.y_high),
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
        limits += [(known.x_low, known.x_high), (known.y_low, known.y_high)]
        active, reactive, _ = self._of_volts
        least, most_t, beside = known.chords
        for of_p, of_q, part, t in (
            (active.real, reactive.real, z_real, (least, most_t)),
            (active.imag, reactive.imag, z_imag, (tuple(-part for part in beside), beside)),
        ):
            linear, turned, own = of_p[:, self._port], of_q[:, self._port], np.eye(few)
            moved, start = linear @ to_pair, linear @ constant
            stray = self._chords(of_p, of_q, known)
            # z + change + S t = t: at most with t above and S t below, at least the other way
            for sign, of_t, of_stray in ((1.0, t[1], stray[0]), (-1.0, t[0], stray[1])):
                put(
                    sign * (of_t[2] - of_stray[2] - start), (part, sign * own), (power, sign * moved),
                    (real, sign * linear), (imag, sign * turned),
                    (z_real, sign * (of_stray[0] - np.diag(of_t[0]))),
                    (z_imag, sign * (of_stray[1] - np.diag(of_t[1]))),
                )  # fmt: skip
        is_limit = [np.zeros(len(part), bool) for part in most]
        upper = self.stress[: conductors + len(self._port_v)]
        first = np.argsort(-upper, kind="stable")[:ROWS]
        first = first[upper[first] > NEAR]
        nominal_v = self._limits.elements.nominal_v
        scale = np.concatenate([1.0 / self._limits.amps, 1.0 / (VOLT_PU * nominal_v)])[first, None]
        turn = np.exp(-1j * np.angle(np.concatenate([self._current_a, self._port_v])))[first, None]
        of_p, of_q = ((effect[first] * turn).real * scale for effect in (self._active, self._reactive))
        limit, at_least = self._below(of_p, of_q, known, to_pair)
        rows.append(limit)
        most.append(1.0 - upper[first] - at_least)
        is_limit.append(np.ones(len(first), bool))
        return Relaxation(
            sparse.csr_array(np.concatenate(rows)), np.concatenate(most), np.concatenate(is_limit),
            np.concatenate([part[0] for part in limits]), np.concatenate([part[1] for part in limits]),
            to_pair, self._x, of_pair, known,
        )  # fmt: skip

    def _below(self, of_p: Float, of_q: Float, known: Enclosure, change: Float) -> tuple[Float, Float]:
        """What rows of effects per kilowatt and per kilovar are at least: over powers and others, and constant."""
        (of_x, of_y, rest), _ = self._chords(of_p, of_q, known)
        linear, turned = of_p[:, self._port], of_q[:, self._port]
        return np.concatenate([linear @ change, linear, turned, of_x, of_y], axis=1), rest - linear @ change @ self._x

    def parts(self, relaxed: Relaxation, x: Float, others: Float) -> Complex:
        """Parts of the form where a relaxation is, but for what is of second order, shape (part,)."""
        pairs, first = len(self._port), len(self._active) - len(self._parts)
        products = relaxed.change @ (x - self._x) + others[:pairs], others[pairs : 2 * pairs]
        active, reactive = (effect[first:, self._port] for effect in (self._active, self._reactive))
        return np.asarray(self._parts + active @ products[0] + reactive @ products[1])

    def above(self, relaxed: Relaxation, weights: Complex) -> tuple[Float, Float]:
        """Rows that real parts of weighted sums of the parts, shape (row, part), are at least; and their constants."""
        first = len(self._active) - len(self._parts)
        of_p, of_q = ((weights @ effect[first:]).real for effect in (self._active, self._reactive))
        row, least = self._below(of_p, of_q, relaxed.known, relaxed.change)
        return row, least + (weights @ self._parts).real
