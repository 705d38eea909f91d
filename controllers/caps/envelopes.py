"""Operating envelopes: limits of import and export for every home that keep the network whatever homes do in them.

One slot after the other: limits are shared out by a linear programme, linearised at the envelope's own corners, until
its worst corner by full power flow keeps every limit.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from cosim.contract import Artifact, Decision, Exogenous, Feeder, Float, Forecast, Observation, Predictor, Setpoints
from cosim.contract.signals import Bool
from cosim.controllers.caps.day import SLOT_MIN, slot_faults, steps_per_slot
from cosim.controllers.caps.network.box import Limits
from cosim.controllers.caps.network.elements import Elements
from cosim.controllers.caps.network.envelope import BEYOND, Planner, Slot, assumed
from cosim.controllers.caps.result import spans
from cosim.controllers.solver import Termination, judged, relative_gap
from cosim.errors import Fault, range_faults, refuse

NAME = "controller 'envelopes'"

Allocation = Literal["equal", "proportional", "max_sum", "max_min"]
Promise = Literal["joint", "separate"]


class Envelopes:
    """Give every home an operating envelope: limits of import and export that hold whatever homes do inside them.

    Every home has one, with or without a car, a roof or a battery. The day ahead is shared out slot by slot in one
    linear programme, linearised at the envelope's own worst corners until these keep every rated conductor and every
    customer's voltage, both ways. The limits as sent are then judged by full power flow at their worst corners, and by
    a bound on what the linear model leaves out: ``proven`` where the linear worst case and that bound keep a limit
    everywhere inside the envelope, ``tested`` where only corners do.

    The promise rests on reactive powers and a source voltage as forecast, give or take the options below, and on
    homes whose load that no cap moves (demand, heat) is at most as forecast: their import limit is never below the
    highest forecast of the slot. Where that load alone breaks a limit, nobody who counts there is given more, and the
    limit is named as relaxed. Homes that lose communication keep the smallest limits of the day.

    Parameters
    ----------
    feeder : Feeder
        The place.
    predictor : Predictor
        The power flow.
    allocation : str
        ``max_min``: the smallest share of what each home could use (its connection, its inverter and battery) as large
        as possible, then the most kilowatts; ``equal``: one share of connections and one of ratings for all;
        ``proportional``: the sum of the logarithms of all limits as large as possible; ``max_sum``: the most kilowatts.
    promise : str
        ``joint``: every home anywhere between its two limits, whatever the others do; ``separate``: all homes import,
        or all export, which a street of cars and roofs does not keep.
    slot_min : float
        Length of a slot: whole steps; its default is rounded up to such [min].
    margin : float
        Share of ratings that stays free.
    voltage_min_pu : float
        Lowest voltage permitted at a customer, of the declared one; the statutory 230 V - 6 % of Great Britain.
    voltage_max_pu : float
        Highest voltage permitted at a customer; that of EN 50160.
    kvar_percent : float
        By how much reactive powers may differ from the forecast's range in a slot, of its largest [%].
    source_percent : float
        By how much the source's voltage may [%].

    Attributes
    ----------
    slots : list of Slot
        As planned.

    Raises
    ------
    InputError
        Where an option is unknown or out of range.
    """

    even_charging = True
    without_sources = True
    every_step = True  # limits change with the slot, whatever the control interval

    def __init__(
        self,
        feeder: Feeder,
        *,
        predictor: Predictor,
        allocation: Allocation = "max_min",
        promise: Promise = "joint",
        slot_min: float = SLOT_MIN,
        margin: float = 0.0,
        voltage_min_pu: float = 0.94,
        voltage_max_pu: float = 1.10,
        kvar_percent: float = 10.0,
        source_percent: float = 0.0,
    ) -> None:
        ranges = (
            ("slot_min", slot_min, 5.0, 60.0, "minutes"),
            ("margin", margin, 0.0, 0.99, "a share"),
            ("voltage_min_pu", voltage_min_pu, 0.5, 0.999, "a voltage"),
            ("voltage_max_pu", voltage_max_pu, 1.001, 1.5, "a voltage"),
            ("kvar_percent", kvar_percent, 0.0, 100.0, "a percentage"),
            ("source_percent", source_percent, 0.0, 20.0, "a percentage"),
        )
        refuse(list(range_faults(NAME, ranges)))
        self.feeder, self.slots, self._steps = feeder, list[Slot](), 1
        elements = Elements(feeder, predictor, voltage_min_pu, neutrals=True)
        self._limits = Limits(elements, voltage_min_pu, voltage_max_pu, margin)
        self._options = allocation, promise
        self._slot_min, self._aside = slot_min, (kvar_percent, source_percent)
        self._setpoints = Setpoints.free(len(feeder.customers))
        self._caps_kw = self._fallback_kw = np.full((1, 2, len(feeder.customers)), np.inf)
        self._assumptions = (
            f"reactive power of every home within {kvar_percent:g} % of its forecast range in the slot",
            f"voltage of the source within {source_percent:g} % of its forecast",
            "load that no cap moves at most as forecast, at its highest step of the slot",
        )

    def check(self, _: Feeder, day: Exogenous) -> list[Fault]:
        """Slots that are no whole steps of the day."""
        return slot_faults(day, self._slot_min, NAME)

    def plan(self, forecast: Forecast) -> None:
        """Share out every slot of the day."""
        began, day = time.perf_counter(), forecast.expected
        self._steps = steps_per_slot(day, self._slot_min, NAME)
        of = assumed(self.feeder, day, self._steps, *self._aside)
        planner, caps_kw = Planner(self._limits, of, *self._options), None
        for slot in range(len(of.least_kw)):
            self.slots.append(planner.slot(slot, caps_kw))
            caps_kw = self.slots[-1].caps_kw
        caps = np.repeat(np.stack([slot.caps_kw for slot in self.slots]), self._steps, axis=0)
        told, unlimited = self.proof(), np.full(len(self.feeder.customers), np.inf)
        self._caps_kw = caps
        # the smallest limits of the day are inside every envelope of it, and never below what no cap moves
        self._fallback_kw = np.repeat(
            np.maximum(caps.min(axis=0), np.stack([of.least_kw, 0.0 * of.least_kw], axis=1)), self._steps, axis=0
        )
        self._setpoints = Setpoints(
            import_cap_kw=caps[0, 0],
            ev_limit_kw=unlimited,
            pv_limit_kw=unlimited,
            published_cap_kw=caps[:, 0],
            export_cap_kw=caps[0, 1],
            fallback_kw=self._fallback_kw[0],
            decision=Decision(
                **{key: told[key] for key in ("status", "objective", "bound", "gap")},
                fallback="; ".join(told["broken"]),
                wall_s=time.perf_counter() - began,
            ),
        )

    def decide(self, observation: Observation) -> Setpoints:
        """Limits of the step that begins."""
        step = min(observation.step, len(self._caps_kw) - 1)
        now, agreed = self._caps_kw[step], self._fallback_kw[step] if self.slots else None
        return replace(self._setpoints, import_cap_kw=now[0], export_cap_kw=now[1], fallback_kw=agreed)

    def artifacts(self) -> Mapping[str, Artifact]:
        """Limits of every slot and home, and what is proven of them."""
        if not self.slots:
            return {}
        caps = np.stack([slot.caps_kw for slot in self.slots])
        slots, _, homes = caps.shape
        table = {
            "slot": np.repeat(np.arange(slots), homes),
            "customer": np.tile(np.array(self.feeder.customers), slots),
            "import_cap_kw": caps[:, 0].ravel(),
            "export_cap_kw": caps[:, 1].ravel(),
        }
        return {"envelopes": table, "proof": self.proof()}

    def proof(self) -> dict[str, Any]:
        """Return what is proven of the limits as they were sent.

        Returns
        -------
        dict
            ``status``: ``fallback`` where a limit is broken, else how near ``objective`` is to ``bound``, the most that
            linear programmes at the envelopes' own corners allow with what the proof takes off;
            ``loosest_programme``: the most that any of them allowed on the way, before a proof took anything off;
            ``verified``: ``proven``, ``tested``, or ``broken``;
            ``proven_share`` of all pairs of slot and limit; ``worst``: the tightest limit; ``relaxations``, ``broken``
            by name.
        """
        names, limits = self._limits.name, self._limits
        stress, bound, base, base_bound = (
            np.stack(values)
            for values in zip(
                *[(s.worst.stress, s.worst.bound, s.inside.stress, s.inside.bound) for s in self.slots], strict=True
            )
        )
        may = np.maximum(1.0, base)
        broken, proven = stress > may + BEYOND, bound <= np.maximum(1.0, base_bound) + BEYOND
        relaxed = base > 1.0 + BEYOND

        def listed(where: Bool, of: Float) -> list[str]:
            found = []
            for limit in np.flatnonzero(where.any(axis=0)).tolist():
                slot = int(np.where(where[:, limit], of[:, limit], -np.inf).argmax())
                amount, unit = limits.amount(float(of[slot, limit]), limit)
                slots = spans(np.flatnonzero(where[:, limit]).tolist(), 3)
                found.append(f"{names(limit)} by up to {amount:.3g} {unit} in slots {slots}")
            return found

        aim, most, loosest = (sum(getattr(slot, key) for slot in self.slots) for key in ("aim", "bound", "loosest"))
        slot, limit = np.unravel_index(stress.argmax(), stress.shape)
        return {
            "status": str(Termination.FALLBACK if broken.any() else judged(-aim, -most, 0.01)),
            "objective": aim,
            "bound": most,
            "gap": relative_gap(-aim, -most),
            "loosest_programme": loosest,
            "verified": "broken" if broken.any() else "proven" if proven.all() else "tested",
            "proven_share": float(proven.mean()),
            "broken_limits": int(broken.sum()),
            "worst": f"{names(int(limit))} at {100.0 * stress[slot, limit]:.1f} % of its limit in slot {slot}",
            "promise": self._options[1],
            "allocation": self._options[0],
            "assumptions": self._assumptions,
            "relaxations": [f"{text}, by load that no cap moves" for text in listed(relaxed, base)],
            "broken": listed(broken, stress),
        }
