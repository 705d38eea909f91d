"""The controller: caps for the whole day, published in advance, applied slot by slot, planned anew where need be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from cosim.contract import Artifact, Exogenous, Feeder, Forecast, Observation, Predictor, Setpoints
from cosim.controllers.caps.day import SLOT_MIN, slot_faults, steps_per_slot
from cosim.controllers.caps.options import FLOOR_KW, CapsOptions, Manner
from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.caps.receding import CapsRecord, RunningPlan
from cosim.controllers.caps.result import CapsResult
from cosim.controllers.caps.study import Planner
from cosim.controllers.limits import known_phase_limit_a
from cosim.errors import Fault, collecting, range_faults, refuse

NAME = "controller 'bilevel_caps'"

Objective = Literal["floor_then_least", "least_restriction", "max_min", "proportional", "min_cost"]


class BilevelCaps:
    """Cap every home's import (and export, if asked), day-ahead, so that what its household chooses fits every phase.

    The lower level is each household's cheapest charging inside its caps; the upper level withholds as little of the
    connection as the limits allow. Limits are the smaller of transformer and head line, per phase, in kW after forecast
    reactive power and losses. With a predictor the power flow then judges what households are expected to do: where it
    shows that charging overloads another rated cable or takes a customer's voltage too low, that becomes a limit too,
    and it is tightened until the day is clean. During the day the rest is looked at again: caps of phases where cars
    came otherwise than forecast are planned anew, from the next slot on.

    Homes where no car is expected are not capped. No cap is below zero: what its own roof gives is a home's to use,
    even where the plan counted on it for others; the margin has to bear what is then missing.

    Parameters
    ----------
    feeder : Feeder
        The place.
    predictor : Predictor, optional
        Predicts currents, so that losses and voltage drop are inside the limits; without one they are assumed.
    seed : int
        Of the search for a plan to start from.
    objective, coordination, form, ties, levels, floor_kw, gap, node_limit, time_limit_s
        See `CapsOptions`.
    limit_on : str
        See `CapsOptions`; ``auto``: the ``peak``, or the ``mean`` where ties are not unique.
    margin : float
        Share of the limits kept free, for forecast errors and for peaks within a slot.
    slot_min : float
        Length of a slot: whole steps, at least so many that they divide the day; its default is rounded up to a step
        [min].
    network : str
        ``all``: other rated cables and voltages are limits too, where a predictor is given; ``transformer``: not.
    voltage_min_pu : float
        Lowest voltage permitted at a customer; the statutory 230 V - 6 % of Great Britain (ESQCR 2002) by default.
    rounds : int
        Most solves of one plan while limits are tightened.
    replan_min : float
        Time after which the rest of the day is looked at again in any case; 0: the day-ahead plan stands [min].
    replan_time_limit_s : float
        Wall clock of one such look, all its solves together: keep it well below the control interval. A look that it
        ends is flagged as not reproducible; its gap (5 %) and nodes (100) are meant to end it long before [s].
    export : bool
        Cap what homes feed in too: phases of transformer and head line both ways, and with a predictor the other rated
        cables and customers' highest voltage.
    export_objective : str
        ``max_min``: the largest share of its export that any home loses as small as possible, then least withheld;
        ``least``: least withheld energy. Equal shares of ratings are what the controller envelopes offers.
    voltage_max_pu : float
        Highest voltage permitted at a customer, for export caps.

    Attributes
    ----------
    problem, result : CapsProblem, CapsResult or None
        Of the day-ahead plan.
    running : RunningPlan or None
        The plan as it stands, what was verified, and all later looks.

    Raises
    ------
    InputError
        Where an option is unknown or out of range, or the feeder has no rating to keep.
    """

    every_step = True  # caps change with the slot, whatever the control interval

    @staticmethod
    def without_sources(options: Mapping[str, Any]) -> bool:
        """What holds whatever homes do counts on nothing that sources of the circuit's own file feed in."""
        return options.get("coordination") == "sum_of_caps"

    @staticmethod
    def even_charging(options: Mapping[str, Any]) -> bool:
        """What holds whatever homes do, and caps on export, reckon with cars evenly on the phases of their homes."""
        return options.get("coordination") == "sum_of_caps" or bool(options.get("export"))

    def __init__(
        self,
        feeder: Feeder,
        *,
        predictor: Predictor | None = None,
        seed: int = 0,
        objective: Objective = "floor_then_least",
        coordination: Literal["anticipated", "sum_of_caps"] = "anticipated",
        form: Literal["auto", "kkt"] = "auto",
        ties: Literal["unique", "optimistic", "pessimistic"] = "unique",
        levels: int = 3,
        floor_kw: float = FLOOR_KW,
        margin: float = 0.1,
        slot_min: float = SLOT_MIN,
        gap: float = 0.01,
        node_limit: int = 300,
        time_limit_s: float = 120.0,
        limit_on: Literal["auto", "peak", "mean"] = "auto",
        network: Literal["all", "transformer"] = "all",
        voltage_min_pu: float = 0.94,
        rounds: int = 6,
        replan_min: float = 60.0,
        replan_time_limit_s: float = 10.0,
        export: bool = False,
        export_objective: Literal["max_min", "least"] = "max_min",
        voltage_max_pu: float = 1.10,
    ) -> None:
        ranges = (
            ("margin", margin, 0.0, 0.99, "a share"),
            ("slot_min", slot_min, 1.0, 1440.0, "minutes"),
            ("voltage_min_pu", voltage_min_pu, 0.5, 0.999, "a voltage"),
            ("voltage_max_pu", voltage_max_pu, 1.001, 1.5, "a voltage"),
            ("rounds", rounds, 1, 1000, "a whole number"),
            ("replan_min", replan_min, 0.0, 1e5, "minutes (0: never)"),
            ("replan_time_limit_s", replan_time_limit_s, 1e-3, 1e6, "seconds"),
        )
        faults = list(range_faults("caps", ranges))
        with collecting(faults):
            if limit_on == "auto":
                limit_on = "peak" if ties == "unique" else "mean"
            self.options = CapsOptions(
                objective=objective,
                coordination=coordination,
                form=form,
                floor_kw=floor_kw,
                gap=gap,
                node_limit=node_limit,
                time_limit_s=time_limit_s,
                limit_on=limit_on,
                ties=ties,
                levels=levels,
            )
        refuse(faults)
        limit_a = known_phase_limit_a(feeder, "bilevel_caps", lines=network == "all")
        manner = Manner(
            self.options, limit_a, margin, network == "all", voltage_min_pu, rounds, replan_time_limit_s,
            export, export_objective, voltage_max_pu,
        )  # fmt: skip
        self.feeder, self.slot_min, self.replan_min = feeder, slot_min, replan_min
        self.running: RunningPlan | None = None
        self._planner = Planner(feeder, predictor, manner, seed)

    def check(self, _: Feeder, day: Exogenous) -> list[Fault]:
        """Slots that are no whole steps of the day."""
        return slot_faults(day, self.slot_min, NAME)

    def plan(self, forecast: Forecast) -> None:
        """Solve the day and keep its caps, step by step; the day may have any length."""
        steps = steps_per_slot(forecast.expected, self.slot_min, NAME)
        self.running = RunningPlan(self._planner, forecast.expected, steps, self.replan_min)

    def decide(self, observation: Observation) -> Setpoints:
        """Return the caps of the step that begins, and those of all steps as published."""
        unlimited = np.full(len(self.feeder.customers), np.inf)
        running = self.running
        if running is None:
            return Setpoints.free(len(unlimited))
        running.learn(observation)
        step = min(observation.step, len(running.caps_kw) - 1)
        return Setpoints(
            import_cap_kw=running.caps_kw[step],
            ev_limit_kw=unlimited,
            pv_limit_kw=unlimited if running.export is None else running.export.pv_limit_kw(observation),
            published_cap_kw=running.caps_kw,
            planned_kva=float(running.planned_kva[step]),
            fallback_kw=running.fallback_kw(step),
            decision=running.decision,
        )

    def artifacts(self) -> Mapping[str, Artifact]:
        """The plan, what was verified, and all later looks, from which a run writes ``caps/<label>/``."""
        return {} if self.running is None or self.result is None else {"caps": CapsRecord.of(self.running)}

    @property
    def problem(self) -> CapsProblem | None:
        """Of the plan of the day ahead."""
        return None if self.running is None else self.running.day_ahead.problem

    @property
    def result(self) -> CapsResult | None:
        """Of the plan of the day ahead."""
        return None if self.running is None else self.running.day_ahead.result
