"""Sharing out the room of a slot: linear programmes at the envelope's own corners, until what is sent holds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Exogenous, Feeder, Float, Int
from cosim.controllers.caps.network.allocation import Shares
from cosim.controllers.caps.network.box import Box, Limits, linear_at_corners
from cosim.controllers.caps.network.corners import TIGHTEST, Worst, worst_of_box
from cosim.controllers.caps.network.proof import bound_of_box

DIRECTIONS = 24  # of currents: 0.9 % of a rating is what the polygon leaves of the circle
ROUNDS = 8
BEYOND = 1e-4  # of a limit: rounding
STEP_KW = 0.01  # limits are sent in whole tens of watts
CLOSE = 5e-3  # of what the linear programme allows: near enough
STEP = 0.05  # of a limit, at most, by which it is tightened for a proof at once
SMALLER = (0.99, 0.97, 0.95, 0.9, 0.8, 0.6, 0.3, 0.0)
LITTLE_LESS = (1.0, 0.98, 0.95)  # of what caps leave beyond what goes first
PROOF_COSTS = 0.1  # of the limits, at most
SAFE = 2e-4  # of a limit: what is aimed below it, so that rounding of the linearisation does not count


@dataclass(frozen=True, eq=False)
class Assumed:
    """What a promise rests on, slot by slot.

    Attributes
    ----------
    low_kvar, high_kvar : ndarray, shape (slot, home)
        Reactive power of homes.
    low_source, high_source : ndarray, shape (slot,)
        Voltage of the source, as a share of the file's own.
    least_kw : ndarray, shape (slot, home)
        Load that no cap moves, at most.
    most_kw : ndarray, shape (2, home)
        Connections, and what inverters and batteries could feed in.
    sun_kw : ndarray, shape (slot, home)
        What the sun of a slot and batteries could feed in, at most.
    """

    low_kvar: Float
    high_kvar: Float
    low_source: Float
    high_source: Float
    least_kw: Float
    most_kw: Float
    sun_kw: Float


def unmoved_kw(day: Exogenous) -> Float:
    """Return the load that no cap moves, shape (step, home): an empty battery feeds nothing into it [kW]."""
    devices = day.devices_kw if day.devices_load_kw is None else day.devices_load_kw
    return np.maximum(day.demand_kw, 0.0) + (0.0 if devices is None else np.maximum(devices, 0.0))


def assumed(feeder: Feeder, day: Exogenous, steps: int, kvar_percent: float, source_percent: float) -> Assumed:
    """Take the assumptions of a promise from a forecast."""

    def of_slots(values: Float) -> Float:
        return values.reshape(-1, steps, *values.shape[1:])

    kvar = of_slots(day.demand_kvar)
    wider = np.abs(kvar).max(axis=1) * kvar_percent / 100.0
    source = np.where(np.isnan(day.source_pu), 1.0, day.source_pu / feeder.network.source_pu)
    source = of_slots(source)
    least = unmoved_kw(day)
    battery = day.devices["battery"].data.rated_kw if "battery" in day.devices else 0.0
    return Assumed(
        low_kvar=kvar.min(axis=1) - wider,
        high_kvar=kvar.max(axis=1) + wider,
        low_source=source.min(axis=1) * (1.0 - source_percent / 100.0),
        high_source=source.max(axis=1) * (1.0 + source_percent / 100.0),
        least_kw=np.ceil(of_slots(least).max(axis=1) / STEP_KW - 1e-9) * STEP_KW,
        most_kw=np.stack([feeder.connection_kw, day.inverter_kva + battery]),
        sun_kw=of_slots(np.minimum(day.pv_available_kw, day.inverter_kva)).max(axis=1) + battery,
    )


@dataclass(frozen=True, eq=False)
class Slot:
    """The envelope of one slot.

    Attributes
    ----------
    caps_kw : ndarray, shape (2, home)
        Limits of import and of export, as sent [kW].
    aim : float
        Sum of the limits (``proportional``: of their logarithms).
    bound : float
        The most that a linear programme at these limits' own corners allows, with what their proof takes off.
    loosest : float
        The most that any linear programme on the way allowed: also what the proof costs is in between.
    worst : Worst
        Of the limits as sent.
    inside : Worst
        Where homes may do nothing but what no cap moves: stress that has to be borne whatever is allowed.
    """

    caps_kw: Float
    aim: float
    bound: float
    loosest: float
    worst: Worst
    inside: Worst


@dataclass(frozen=True, eq=False)
class _Try:
    """Limits that were found, what they are worth, and what came off every limit meanwhile."""

    kw: Float
    worth: float
    short: Float


def holds(found: Worst, inside: Worst) -> bool:
    """Whether limits hold and are proven, as far as load that no cap moves does not break them alone."""
    unproven = (found.bound > np.maximum(1.0, inside.bound) + BEYOND) & (inside.stress <= 1.0)
    return not unproven.any() and bool((found.stress <= np.maximum(1.0, inside.stress) + BEYOND).all())


class Planner:
    """Shares out the room of slots.

    Parameters
    ----------
    limits : Limits
        What is kept.
    assumptions : Assumed
        What is taken for granted.
    allocation, promise : str
        See `Envelopes`.
    """

    def __init__(self, limits: Limits, assumptions: Assumed, allocation: str, promise: str) -> None:
        self.limits, self.of, self.allocation, self.promise = limits, assumptions, allocation, promise
        self._borne = dict[int, Worst]()

    def boxes(self, slot: int, caps_kw: Float) -> list[Box]:
        """What homes may do under limits: anything between export and import, or each of them alone."""
        of, nothing = self.of, np.zeros_like(caps_kw[0])
        ends = [(-caps_kw[1], caps_kw[0])]
        if self.promise == "separate":
            ends = [(nothing, caps_kw[0]), (-caps_kw[1], nothing)]
        return [
            Box(
                np.concatenate([low, of.low_kvar[slot], of.low_source[[slot]]]),
                np.concatenate([high, of.high_kvar[slot], of.high_source[[slot]]]),
            )
            for low, high in ends
        ]

    def slot(self, slot: int, start_kw: Float | None = None) -> Slot:
        """Share out the room of one slot.

        Parameters
        ----------
        slot : int
            Which.
        start_kw : ndarray, shape (2, home), optional
            Limits of import and export that are near those sought [kW].
        """
        low = np.stack([self.of.least_kw[slot], np.zeros(len(self.of.least_kw[slot]))])
        high = np.maximum(self.of.most_kw, low)
        inside = self.judged(slot, low, TIGHTEST)
        best, loosest = self._shared_out(slot, 0.3 * high if start_kw is None else start_kw, low, high, inside)
        last = self._shares(slot, best.kw, np.maximum(1.0, inside.stress) - best.short, low, high)
        bound = max(best.worth, loosest if last is None else last.allocate(self.allocation)[1])
        judged = self.judged(slot, best.kw, TIGHTEST)
        return Slot(best.kw, best.worth, bound, max(loosest, bound), judged, inside)

    def _shared_out(self, slot: int, start_kw: Float, low: Float, high: Float, inside: Worst) -> tuple[_Try, float]:
        """Limits between the least and the most, (2, home), and the most that a programme allowed."""
        may, provable = np.maximum(1.0, inside.stress), np.isfinite(inside.bound)
        may_be_proven = np.where(provable, np.maximum(1.0, inside.bound), 0.0)
        kw = np.clip(start_kw, low, high)
        short = np.full(len(may), SAFE)
        best = tested = _Try(low, -np.inf, short)
        loosest = -np.inf
        for _ in range(ROUNDS):
            shares = self._shares(slot, kw, may - short, low, high)
            if shares is None:
                kw = (low + kw) / 2.0
                continue
            new, most = shares.allocate(self.allocation)
            loosest = max(loosest, most)
            new = new.reshape(low.shape)
            # who may have all that is wanted has that: a hair less may shut a charger out
            kw = np.where(new >= high - 1e-6, high, np.maximum(np.floor(new / STEP_KW + 1e-6) * STEP_KW, low))
            found = self.judged(slot, kw, 0)
            beyond = found.stress - may
            over = np.where(provable, found.bound - may_be_proven, beyond)
            this = _Try(kw, shares.worth(kw.ravel(), self.allocation), short)
            if beyond.max() <= BEYOND:
                tested = max(tested, this, key=lambda plan: plan.worth)
            if over.max() <= BEYOND:
                best = max(best, this, key=lambda plan: plan.worth)
            if most - best.worth <= CLOSE * max(abs(most), 1.0):
                break
            # what the linear rows leave out comes off, in steps, as it shrinks with the limits themselves
            over = np.where(np.isfinite(over), np.minimum(over, np.maximum(beyond, 0.0) + STEP), STEP)
            short = np.maximum(short + np.where(over > 0.0, over, 0.3 * over), SAFE)
        if tested.worth == -np.inf:
            tested = self._shrunk(slot, low, kw, may)
        # what can be proven, unless that would cost too much
        if best.kw.sum() < (1.0 - PROOF_COSTS) * tested.kw.sum():
            best = tested
        return best, loosest

    def _shares(self, slot: int, kw: Float, may: Float, low: Float, high: Float) -> Shares | None:
        """What there is to share where limits are linearised at the corners of an envelope; None without power flow."""
        rows = [self.rows(slot, kw, number) for number in range(len(self.boxes(slot, kw)))]
        if any(row is None for row in rows):
            return None
        use, there, limit = (np.concatenate(part) for part in zip(*rows, strict=True))
        room = np.maximum(may[limit] - there, use @ low.ravel())
        tight = use @ high.ravel() > room
        return Shares(use[tight], room[tight], low.ravel(), high.ravel())

    def _shrunk(self, slot: int, low: Float, kw: Float, may: Float) -> _Try:
        """Limits on the way from ``kw`` to ``low`` whose corners hold, where no round found any."""
        for part in SMALLER:
            less = np.maximum(np.floor((low + part * (kw - low)) / STEP_KW) * STEP_KW, low)
            if (worst_of_box(self.limits, self.boxes(slot, less)).stress <= may + BEYOND).all():
                break
        high = np.maximum(self.of.most_kw, low).ravel()
        nothing = Shares(np.zeros((0, high.size)), np.zeros(0), low.ravel(), high)
        return _Try(less, nothing.worth(less.ravel(), self.allocation), np.full(len(may), SAFE))

    def within(self, slot: int, caps_kw: Float, first_kw: Float) -> Slot:
        """Take off as little as possible of import caps that homes keep, whatever sun and batteries feed in.

        Parameters
        ----------
        slot : int
            Which.
        caps_kw, first_kw : ndarray, shape (home,)
            Caps, and the part of them that goes before the rest [kW].
        """
        least, caps = self.ends(slot, caps_kw)
        inside = self.borne(slot)
        first = np.clip(np.stack([first_kw, caps[1]]), least, caps)
        for part in LITTLE_LESS:
            less = np.maximum(np.floor((first + part * (caps - first)) / STEP_KW + 1e-6) * STEP_KW, first)
            # single homes are moved only where corners hold
            if holds(self.judged(slot, less, 0), inside) and holds(found := self.judged(slot, less, TIGHTEST), inside):
                return Slot(less, float(less.sum()), float(caps.sum()), float(caps.sum()), found, inside)
        inside = self.judged(slot, least, TIGHTEST)  # what has to be borne, as closely as what is sent
        kept, _ = self._shared_out(slot, first, least, first, inside)
        best, loosest = self._shared_out(slot, caps, kept.kw, np.maximum(caps, kept.kw), inside)
        most = max(loosest, best.worth)
        return Slot(best.kw, best.worth, most, most, self.judged(slot, best.kw, TIGHTEST), inside)

    def ends(self, slot: int, caps_kw: Float) -> tuple[Float, Float]:
        """The least that import caps can be, and these, (2, home) each: below, what sun and batteries feed in."""
        exports = self.of.sun_kw[slot]
        least = np.stack([self.of.least_kw[slot], exports])
        return least, np.stack([np.maximum(caps_kw, least[0]), exports])

    def borne(self, slot: int) -> Worst:
        """What comes of the least that import caps of a slot can be."""
        if slot not in self._borne:
            least, _ = self.ends(slot, np.zeros_like(self.of.least_kw[slot]))
            self._borne[slot] = self.judged(slot, least, 0)
        return self._borne[slot]

    def judged(self, slot: int, caps_kw: Float, tightest: int) -> Worst:
        """Judge limits as they are sent."""
        boxes = self.boxes(slot, caps_kw)
        found = worst_of_box(self.limits, boxes, tightest)
        return replace(found, bound=np.max([bound_of_box(self.limits, box) for box in boxes], axis=0))

    def rows(self, slot: int, kw: Float, number: int) -> tuple[Float, Float, Int] | None:
        """Rows on limits: what import and export limits may add, and the rest at its worst; None without power flow."""
        box = self.boxes(slot, kw)[number]
        linear = linear_at_corners(self.limits, box)
        if not len(linear.states):
            return None
        per_unit, offset, limit = linear.rows(DIRECTIONS)
        homes = box.homes
        rest = np.where(per_unit[:, homes:] > 0, box.high[homes:], box.low[homes:])
        there = offset + (per_unit[:, homes:] * rest).sum(axis=1)
        use = np.concatenate([np.maximum(per_unit[:, :homes], 0.0), np.maximum(-per_unit[:, :homes], 0.0)], axis=1)
        if self.promise == "separate":
            use[:, :homes] *= number == 0
            use[:, homes:] *= number == 1
        return use, there, limit
