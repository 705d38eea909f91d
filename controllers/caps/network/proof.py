"""What the linear model leaves out, bounded over a whole box: a limit that keeps this too is kept everywhere in it.

With a reference ``vb, sb`` inside the box, ``D`` the change of power at a port, ``d`` that of its voltage and
``z = vb / (vb + d) - 1``, exactly

    w = (D + D z + sb t) / vb,    t = z + d / vb,    |z| <= q = r / (1 - r),    |t| <= r q   where   |d / vb| <= r.

The first term is the linear model; of the others every coefficient is at most its absolute value. Bounds ``r`` hold for
all of the box if they contain what they imply (Brouwer), which is reached from below; where the map from voltages to
voltages contracts there is one power flow only, so it is the one that a run solves. A limit's linear row gets
``|row of w| (q |D| + |sb| q |d|) / |vb|`` with ``|d|`` at most linear in all ``|D|``. This grows with the distance from
the reference as the row itself falls: at a limit's own worst corner little is lost.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.network.box import VOLT_PU, Box, Limits, Linear, linear_at_corners

ROUNDS = 100
STILL = 1e-6
LARGEST = 0.5  # of its voltage that a port may change by; beyond, nothing is proven
ANGLES = 64


@lru_cache(maxsize=16)  # limits that were found are judged again before they are sent
def bound_of_box(limits: Limits, box: Box) -> Float:
    """Return what no state of a box exceeds, as stress of every limit, shape (limit,); inf where nothing is proven."""
    found = np.full(limits.count, np.inf)
    linear = linear_at_corners(limits, box)
    for reference in range(len(linear.states)):
        found = np.minimum(found, _bound(linear, reference, box))
    return found


def _bound(linear: Linear, at: int, box: Box) -> Float:
    limits = linear.limits
    elements, conductors = limits.elements, limits.elements.conductors
    base_v, base_va = np.abs(linear.port_v[at]), np.abs(linear.power_va[at])
    down, up = box.low - linear.states[at], box.high - linear.states[at]
    reach = np.maximum(np.abs(down), np.abs(up))
    homes, customer = box.homes, elements.port_customer
    # what one unit of w does, as a norm: of a map x -> a conj(x) + b x it is |a| + |b|
    norm = np.abs(linear.of_w[0][at]) + np.abs(linear.of_w[1][at])
    change_va = (reach[:homes] + reach[homes : 2 * homes])[customer] * linear.va
    turned = linear.volts[at] * np.exp(-1j * np.angle(linear.port_v[at]))[:, None] / base_v[:, None]
    wide = _largest(turned.real, down, up), _largest(-turned.real, down, up)
    across = np.maximum(_largest(turned.imag, down, up), _largest(-turned.imag, down, up))
    first = np.hypot(np.maximum(*wide), across)
    of_volts = norm[conductors:] / base_v[:, None] / base_v
    nothing = np.full(limits.count, np.inf)
    r = first
    for _ in range(ROUNDS):
        q = r / (1.0 - r)
        new = first + of_volts @ (change_va * q + base_va * r * q)
        if not (new < LARGEST).all():
            return nothing
        still, r = bool((new <= r * (1.0 + STILL)).all()), np.maximum(new, r)
        if still:
            break
    else:
        return nothing
    r = r * (1.0 + 2.0 * STILL)  # a hair wider, so that it contains what it implies
    q = r / (1.0 - r)
    if not (first + of_volts @ (change_va * q + base_va * r * q) <= r).all():
        return nothing
    least_v = base_v * (1.0 - r)
    if not ((np.abs(elements.port_ohm) / least_v) @ ((base_va + change_va) / least_v) < 1.0).all():
        return nothing
    # |d| by how far each coordinate is from the reference: d <= of_volts ((1 + q) |D| + |sb| q d)
    spread = np.linalg.inv(np.eye(len(q)) - of_volts * (base_va * q))
    to_home = np.eye(homes)[customer] * linear.va[:, None]
    per_kw = spread @ (of_volts * (1.0 + q)) @ to_home
    moved = np.concatenate([per_kw, per_kw, spread @ np.abs(turned[:, -1:])], axis=1)
    own = (norm * (q / base_v)) @ to_home
    own = np.concatenate([own, own, np.zeros((len(own), 1))], axis=1)
    rate = own + (norm * (base_va * q / base_v)) @ moved
    of_amps, of_port = np.split(rate, [conductors])
    # |1 + d| <= 1 + Re d + (Im d)² / (2 (1 - r)), one factor of the square by its largest value
    sideways = np.abs(turned.imag) + of_port / base_v[:, None]
    bent = (sideways @ reach * base_v / (2.0 * (1.0 - r)))[:, None] * sideways
    rise = _farthest(linear.radial[at], of_port + bent, down, up)
    drop = _farthest(-linear.radial[at], of_port, down, up)
    per_volt = 1.0 / (VOLT_PU * elements.nominal_v)
    stress = limits.stress(linear.port_v[[at]], linear.current_a[[at]])[0, conductors:]
    high, low = (stress.reshape(2, -1) + np.stack([rise, drop]) * per_volt).reshape(2, -1)
    return np.concatenate([_currents(linear, at, of_amps, down, up), high, low])


def _currents(linear: Linear, at: int, rate: Float, down: Float, up: Float) -> Float:
    """Bound of currents in every direction, those between two directions included."""
    amps, reach = linear.limits.amps, np.maximum(np.abs(down), np.abs(up))
    rough = np.abs(linear.current_a[at]) + (np.abs(linear.amps[at]) + rate) @ reach
    bound = np.asarray(rough / amps)
    turn = np.exp(-2j * np.pi * np.arange(ANGLES) / ANGLES)
    for conductor in np.flatnonzero(bound > 1.0):
        gain = (linear.amps[at, conductor] * turn[:, None]).real
        most = (linear.current_a[at, conductor] * turn).real + _farthest(gain, rate[conductor], down, up)
        bound[conductor] = most.max() / np.cos(np.pi / ANGLES) / amps[conductor]
    return bound


def _largest(per_unit: Float, down: Float, up: Float) -> Float:
    """Largest change of linear rows in a box."""
    return np.asarray(np.maximum(per_unit * down, per_unit * up).sum(axis=1))


def _farthest(per_unit: Float, rate: Float, down: Float, up: Float) -> Float:
    """Largest change of linear rows and of what grows with the distance; convex, so at one end, or nowhere."""
    ends = np.maximum(per_unit * down + rate * np.abs(down), per_unit * up + rate * np.abs(up))
    return np.asarray(np.maximum(ends, 0.0).sum(axis=1))
