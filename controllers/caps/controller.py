"""The controller: caps for the whole day from the forecast, published in advance, applied slot by slot."""

from __future__ import annotations

from typing import Literal

import numpy as np

from controllers.caps.day import background_of, excess_within_slots, stays_in_slots, steps_per_slot
from controllers.caps.follower import best_response
from controllers.caps.options import CapsOptions
from controllers.caps.phase_limits import expected_kva, phase_limits_kw
from controllers.caps.problem import CapsProblem
from controllers.caps.result import CapsResult
from controllers.caps.sharing import FLOOR_KW
from controllers.caps.solve import solve_caps
from controllers.limits import known_phase_limit_a
from cosim.contract import Decision, Exogenous, Feeder, Float, Forecast, Observation, Predictor, Setpoints
from cosim.errors import Fault, InputError

PEAK_SHARE = 0.98  # of the rating that the highest forecast step of a slot may reach


class BilevelCaps:
    """Cap every home's import, day-ahead, so that the charging its household chooses at the tariff fits every phase.

    The lower level is each household's cheapest charging inside its caps; the upper level withholds as little of the
    connection as the limits allow. Limits are the smaller of transformer and head line, per phase, in kW after forecast
    reactive power and losses. Homes where no car is expected are not capped. No cap is below zero: what its own roof
    gives is a home's to use, even where the plan counted on it for others; the margin has to bear what is then missing.

    Parameters
    ----------
    feeder : Feeder
        The place.
    predictor : Predictor, optional
        Predicts currents, so that losses and voltage drop are inside the limits; without one they are assumed.
    seed : int
        Of the search for a plan to start from.
    objective, coordination, form, floor_kw, gap, node_limit, time_limit_s, limit_on
        See `CapsOptions`.
    margin : float
        Share of the limits kept free, for forecast errors and for peaks within a slot.
    slot_min : float
        Length of a slot [min].

    Attributes
    ----------
    problem, result : CapsProblem, CapsResult or None
        Of the last plan.

    Raises
    ------
    InputError
        Where an option is unknown or out of range, or the feeder has no rating to keep.
    """

    every_step = True  # caps change with the slot, whatever the control interval

    def __init__(
        self,
        feeder: Feeder,
        *,
        predictor: Predictor | None = None,
        seed: int = 0,
        objective: Literal["floor_then_least", "least_restriction", "max_min"] = "floor_then_least",
        coordination: Literal["anticipated", "sum_of_caps"] = "anticipated",
        form: Literal["order", "kkt_ordered", "kkt"] = "order",
        floor_kw: float = FLOOR_KW,
        margin: float = 0.1,
        slot_min: float = 30.0,
        gap: float = 0.01,
        node_limit: int = 300,
        time_limit_s: float = 120.0,
        limit_on: Literal["peak", "mean"] = "peak",
    ) -> None:
        faults = []
        if not 0.0 <= margin < 1.0:
            faults.append(Fault("caps", "margin", f"is {margin}, out of range", "give a share from 0 to below 1"))
        if not slot_min > 0.0:
            faults.append(Fault("caps", "slot_min", f"is {slot_min}, out of range", "give minutes above 0"))
        try:
            self.options = CapsOptions(
                objective, coordination, form, floor_kw, gap, node_limit, time_limit_s, limit_on=limit_on
            )
        except InputError as error:
            faults.extend(error.faults)
        if faults:
            raise InputError(faults)
        self.rated_a = known_phase_limit_a(feeder, "bilevel_caps")
        self.margin = margin
        self.feeder = feeder
        self.predictor = predictor
        self.seed = seed
        self.slot_min = slot_min
        self.peaks_count = limit_on == "peak"
        self.problem: CapsProblem | None = None
        self.result: CapsResult | None = None
        self._caps_kw: Float | None = None
        self._planned_kva = np.empty(0)

    def plan(self, forecast: Forecast) -> None:
        """Solve the day and keep its caps, step by step; the day may have any length."""
        day = forecast.expected
        steps = steps_per_slot(day, self.slot_min)
        slots = day.resample(steps * day.step_min)
        self.problem = self._problem(slots, self._limit_kw(day, slots, steps))
        self.result = solve_caps(self.problem, self.options, seed=self.seed)
        self._caps_kw = np.repeat(self._published(self.problem, self.result), steps, axis=0)
        stepwise = self._problem(day, np.repeat(self.problem.limit_kw, steps, axis=0))
        ev_kw = stepwise.per_home(best_response(stepwise, self._caps_kw))
        self._planned_kva = expected_kva(self.feeder, self.predictor, background_of(day), ev_kw)

    def decide(self, observation: Observation) -> Setpoints:
        """Return the caps of the step that begins, and those of all steps as published."""
        unlimited = np.full(len(self.feeder.customers), np.inf)
        if self._caps_kw is None or self.result is None:
            return Setpoints.free(len(unlimited))
        step = min(observation.step, len(self._caps_kw) - 1)
        return Setpoints(
            import_cap_kw=self._caps_kw[step],
            ev_limit_kw=unlimited,
            pv_limit_kw=unlimited,
            published_cap_kw=self._caps_kw,
            planned_kva=float(self._planned_kva[step]),
            decision=_decision(self.result),
        )

    def _limit_kw(self, day: Exogenous, slots: Exogenous, steps: int) -> Float:
        """Limits of each slot; where its peaks count, what the highest forecast step exceeds its mean by comes off.

        The margin is there for such peaks, so only what exceeds it is taken off.
        """
        has_car = np.zeros(len(self.feeder.customers), bool)
        has_car[day.sessions.customer] = True
        kept_a = self.rated_a * (1.0 - self.margin)
        limit_kw = phase_limits_kw(self.feeder, self.predictor, background_of(slots), kept_a, has_car)
        if not self.peaks_count:
            return limit_kw
        excess_kw = excess_within_slots(background_of(day).p_kw @ self.feeder.phase_matrix, steps)
        return np.minimum(limit_kw, limit_kw * PEAK_SHARE / (1.0 - self.margin) - excess_kw)

    def _problem(self, day: Exogenous, limit_kw: Float) -> CapsProblem:
        stays = stays_in_slots(self.feeder, day.sessions, day.steps, day.step_min)
        return CapsProblem(
            slot_h=day.step_min / 60.0,
            tariff_eur_per_kwh=day.tariff_eur_per_kwh,
            inflexible_kw=background_of(day).p_kw,
            connection_kw=self.feeder.connection_kw,
            phase_share=self.feeder.phase_matrix,
            limit_kw=limit_kw,
            home=stays.home,
            plugged=stays.plugged,
            charger_kw=stays.charger_kw,
            charger_min_kw=stays.charger_min_kw,
            energy_need_kwh=stays.energy_need_kwh,
            efficiency=stays.efficiency,
        )

    def _published(self, problem: CapsProblem, result: CapsResult) -> Float:
        """Caps of homes that are expected to have a car; no limit where there is nothing to steer.

        A plan may want a home to give its neighbours what its roof yields, a cap below zero. That would be an order to
        export, so the cap is zero: the home may charge from its own roof.
        """
        caps = np.full_like(result.caps_kw, np.inf)
        steered = np.unique(problem.home)
        caps[:, steered] = np.maximum(result.caps_kw[:, steered], 0.0)
        return caps


def _decision(result: CapsResult) -> Decision:
    return Decision(
        status=result.status,
        objective=result.objective,
        bound=result.bound,
        gap=result.gap,
        fallback=result.fallback,
        reproducible=result.reproducible,
        wall_s=result.wall_s,
    )
