"""Import caps that hold whatever households do inside them: taken down to where their worst corners are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from cosim.contract import Exogenous, Float
from cosim.contract.signals import Bool
from cosim.controllers.caps.network.allocation import AT_ONCE
from cosim.controllers.caps.network.box import VOLT_PU, Limits
from cosim.controllers.caps.network.corners import Worst
from cosim.controllers.caps.network.elements import Elements, Flow
from cosim.controllers.caps.network.envelope import BEYOND, SAFE, STEP, Planner, Slot, assumed, holds, unmoved_kw
from cosim.controllers.caps.network.verify import Look, look_at
from cosim.controllers.caps.safe import SlotLimits
from cosim.controllers.solver import Clock

NO_UPPER_PU = 10.0  # import caps do not hold voltages down


def certain(day: Exogenous, steps: int) -> Exogenous:
    """Return what such caps may count on: no sun, no battery, and in every slot the highest load that is forecast.

    Sources of the circuit's own file feed in nothing: boxes of states do not know them.

    Parameters
    ----------
    day : Exogenous
        As forecast.
    steps : int
        Steps of a slot.
    """
    load = unmoved_kw(day)
    load = np.repeat(load.reshape(-1, steps, load.shape[1]).max(axis=1), steps, axis=0)
    return replace(
        day, demand_kw=load, devices_kw=None, devices_load_kw=None, pv_available_kw=np.zeros_like(load), others_kva=None
    )


class WhateverHomesDo:
    """Every home anywhere between all that sun and battery could feed in and its import cap, at the same time.

    Parameters
    ----------
    elements : Elements
        Of the feeder.
    day : Exogenous
        As forecast.
    steps : int
        Steps of a slot.
    voltage_min_pu : float
        Lowest voltage permitted at a customer.
    """

    def __init__(self, elements: Elements, day: Exogenous, steps: int, voltage_min_pu: float) -> None:
        self._elements = elements
        self._limits = Limits(elements, voltage_min_pu, NO_UPPER_PU)
        self._planner = Planner(self._limits, assumed(elements.feeder, day, steps, 0.0, 0.0), "max_sum", "joint")
        self._short = dict[int, Float]()

    def limits(self, slot: int, caps_kw: Float, given: Bool, near_kw: float = 0.0) -> SlotLimits | None:
        """Return the limits that caps of a slot break, as linear rows where they are; None where all are kept.

        Parameters
        ----------
        slot : int
            Which.
        caps_kw : ndarray, shape (home,)
            Caps [kW].
        given : ndarray of bool, shape (home,)
            Homes whose caps stand.
        near_kw : float
            Limits that are nearer than this count too [kW].
        """
        planner = self._planner
        least, kw = planner.ends(slot, caps_kw)
        found, inside = planner.judged(slot, kw, 0), planner.borne(slot)
        if not near_kw and holds(found, inside):
            return None
        may = np.maximum(1.0, inside.stress)
        beyond, over = found.stress - may, found.bound - np.maximum(1.0, inside.bound)
        over = np.where(np.isfinite(inside.bound) & (inside.stress <= 1.0), over, beyond)
        while (rows := planner.rows(slot, kw, 0)) is None:
            kw = (least + kw) / 2.0
        use, there, limit = rows
        short = np.full(len(may), SAFE)
        if slot in self._short:  # the caps keep rows: what those leave out comes off, in steps, as it shrinks with caps
            over = np.where(np.isfinite(over), np.minimum(over, np.maximum(beyond, 0.0) + STEP), STEP)
            short = np.maximum(self._short[slot] + np.where(over > 0.0, over, 0.3 * over), SAFE)
        self._short[slot] = short
        left = np.maximum((may - short)[limit] - there - use @ least.ravel(), 0.0)
        share, added = use[:, : len(given)], kw[0] - least[0]
        excess = share @ added - left
        rows_kept = np.argsort(-excess, kind="stable")[:AT_ONCE]
        rows_kept = rows_kept[excess[rows_kept] > -near_kw]
        share, left = share[rows_kept], left[rows_kept] - share[rows_kept][:, given] @ added[given]
        per_kw = np.maximum(share.max(axis=1, keepdims=True), 1e-9)  # so that rows read in kW
        return SlotLimits(np.where(given, 0.0, share / per_kw).T, np.maximum(left / per_kw[:, 0], 0.0))

    def kept(self, caps_kw: Float, first_kw: Float, standing_kw: Float, clock: Clock) -> list[Slot]:
        """Take off as little as possible of caps, shape (slot, home), those parts last that go first.

        Once the clock is over, slots keep the caps that stand, which hold; there are none before the day begins.
        """
        slots = []
        for slot, standing in enumerate(standing_kw):
            caps, first = caps_kw[slot], first_kw[slot]
            if clock.over and np.isfinite(standing).all():
                caps = first = standing
            slots.append(self._planner.within(slot, caps, np.minimum(first, caps)))
        return slots

    def look(self, slots: Sequence[Slot], clock: Callable[[int], str]) -> Look:
        """Say what is known of caps at their worst."""
        flow, base = self._flow([slot.worst for slot in slots]), self._flow([slot.inside for slot in slots])
        look = look_at(self._elements, (flow, base), (flow, base), clock, 1, 0)
        # voltages may be as high as they like
        of_import = np.r_[
            0 : self._elements.conductors, self._limits.count - len(self._elements.nominal_v) : self._limits.count
        ]
        proven = [
            slot.worst.bound[of_import] <= np.maximum(1.0, slot.inside.bound[of_import]) + BEYOND for slot in slots
        ]
        told = replace(look.found, proven_share=float(np.mean(proven)), voltage_max_pu=np.nan, highest_voltage="")
        return replace(look, found=told)

    def _flow(self, worst: Sequence[Worst]) -> Flow:
        """As loading of elements: each at its own worst corner."""
        stress = np.stack([one.stress for one in worst])
        stress = np.where(np.isinf(stress), np.nan, stress)
        lowest = self._limits.voltage_min_pu + VOLT_PU * (1.0 - stress[:, -len(self._elements.nominal_v) :])
        return Flow(self._elements.loading(stress[:, : self._elements.conductors], lowest), lowest)
