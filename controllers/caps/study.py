"""One horizon while it is planned: problem, solution, power flow, tighter limits where that shows an excess, again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from cosim.contract import Exogenous, Feeder, Float, Int, Predictor
from cosim.contract.signals import Bool
from cosim.controllers.caps.day import background_of, excess_within_slots, in_slots
from cosim.controllers.caps.follower import best_response
from cosim.controllers.caps.horizon import HorizonPlan
from cosim.controllers.caps.network import Answers, Elements, Round, Row, WhateverHomesDo, certain
from cosim.controllers.caps.network.verify import clock_of
from cosim.controllers.caps.options import Manner
from cosim.controllers.caps.phase_limits import PEAK_SHARE, expected_kva, phase_limits_kw
from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.caps.result import CapsResult, lowered
from cosim.controllers.caps.safe import SlotLimits, own_limits
from cosim.controllers.caps.solve import solve_caps
from cosim.controllers.solver import Clock

BY_WITHHELD = ("floor_then_least", "least_restriction")  # objectives that tell a kept plan from a better one
AGAIN_NODES = 100  # the wall clock must not be what ends a look
AGAIN_GAP = 0.05  # a plan that is soon made anew need not be proven as closely as that of the day ahead
ROUGH = 2  # rounds of caps that hold whatever homes do, in which limits are looked for
NEAR_KW = 5.0  # of caps that stand: limits that are nearer than this are likely to bind
KEPT_OVER_KW = 0.5  # a phase may be above its limit by this before caps are planned anew: the margin is far more
KEPT_SHORT_KWH = 0.05  # a car may be left short by this before caps are planned anew
_OF_CARS = (
    "home", "plugged", "charger_kw", "charger_min_kw", "energy_need_kwh", "efficiency", "battery_room_kwh",
)  # fmt: skip


class Study:
    """One horizon while it is planned.

    Parameters
    ----------
    planner : Planner
        What to plan with.
    manner : Manner
        How.
    day : Exogenous
        What is expected, step by step.
    steps : int
        Steps of a slot.

    Attributes
    ----------
    problem : CapsProblem
        Of all cars.
    cars : ndarray of bool, shape (car,)
        Which of them are to be planned; the caps of the others' homes are ``standing_kw``, shape (step, home).
    clock : Clock
        Of all solves together.
    start_kw : ndarray, shape (slot, home), or None
        Caps to start from: those that stand, later those of the round before.
    """

    def __init__(self, planner: Planner, manner: Manner, day: Exogenous, steps: int) -> None:
        self.feeder, self.predictor, self.seed = planner.feeder, planner.predictor, planner.seed
        self.elements, self.manner, self.day, self.steps = planner.elements, manner, day, steps
        self.by_step = background_of(day)
        # caps that hold whatever households do count on no sun, and on no slot's mean
        self.slots = (certain(day, steps) if manner.holds_whatever else day).resample(steps * day.step_min)
        self.by_slot = background_of(self.slots)
        self.problem = self._problem(self.slots, self._limit_kw())
        self.cars = np.ones(self.problem.cars, bool)  # to be planned; the others' caps stand
        self.standing_kw = np.full_like(day.demand_kw, np.inf)
        self.clock = Clock(manner.options.time_limit_s)
        self.start_kw: Float | None = None

    def planned(self, rows: Sequence[Row] = (), guide_kw: Float | None = None) -> HorizonPlan:
        """Choose caps; rows known from an earlier plan are laid through what cars are guessed to draw, ``guide_kw``."""
        if self.elements is None or self.manner.holds_whatever:
            return self._solved(())
        return self._within_the_network(self._network(self.elements), list(rows), guide_kw)

    def _solved(self, rows: Sequence[Row], limit_kw: Float | None = None) -> HorizonPlan:
        """Solve once, with extra limits."""
        problem = self.problem
        if limit_kw is not None and len(rows):
            problem = replace(
                problem,
                phase_share=np.column_stack([problem.phase_share, *(row.share for row in rows)]),
                charger_share=np.column_stack([self.feeder.charger_phase_matrix, *(row.share for row in rows)]),
                limit_kw=np.column_stack([problem.limit_kw, limit_kw]),
                extra_limits=tuple(self.elements.where(row.element) for row in rows) if self.elements else (),
            )
        rounds: tuple[Round, ...] = ()
        if self.manner.holds_whatever and self.elements is not None:
            result, found = self._kept(self.elements, problem)
            rounds = (found,)
        else:
            result = self._caps(problem)
        # rounds differ by a few rows: the last caps are nearly those of the next
        self.start_kw = result.caps_kw
        struck = bool(rounds) and self.clock.over and bool(np.isfinite(self.standing_kw).all())
        plan = self._plan(problem, result, self._published(result), rows, rounds)
        return replace(plan, struck=struck)

    def _plan(
        self, problem: CapsProblem, result: CapsResult | None, caps_kw: Float, rows: Sequence[Row],
        rounds: tuple[Round, ...],
    ) -> HorizonPlan:  # fmt: skip
        kva = expected_kva(self.feeder, self.predictor, self.by_step, self.response(caps_kw))
        coordination = self.manner.options.coordination
        return HorizonPlan(problem, result, caps_kw, kva, coordination, tuple(rows), rounds, len(rounds))

    def _caps(
        self, problem: CapsProblem, limits: Sequence[SlotLimits] | None = None, *, is_rough: bool = False
    ) -> CapsResult:
        options = replace(self.manner.options, time_limit_s=self.clock.left_s)
        options = replace(options, node_limit=0) if is_rough else options
        of = _of_cars(problem, self.cars)
        return solve_caps(of, options, seed=self.seed, start_kw=self.start_kw, limits=limits)

    def _kept(self, elements: Elements, problem: CapsProblem) -> tuple[CapsResult, Round]:
        """Solve with what the network allows at the caps' own worst corners, and take down what is still beyond it.

        Caps of homes that are left stand.
        """
        whatever = WhateverHomesDo(elements, self.day, self.steps, self.manner.voltage_min_pu)
        stands = np.isin(np.arange(problem.homes), np.unique(problem.home[~self.cars]))
        limits, caps_kw = own_limits(problem), self.standing_kw[:: self.steps]
        more: list[SlotLimits | None] = [None] * problem.slots
        if np.isfinite(caps_kw).all():  # near those that stand will be the next
            more = [whatever.limits(slot, caps, stands, NEAR_KW) for slot, caps in enumerate(caps_kw)]
        for number in range(ROUGH + 1):
            limits = [one.joined(other) for one, other in zip(limits, more, strict=True)]
            # switches need not be the best while limits are still to come
            result = self._caps(problem, limits, is_rough=number < ROUGH)
            caps_kw = self._published(result)[:: self.steps]
            if self.clock.over or number == ROUGH:
                break
            more = [whatever.limits(slot, caps, stands) for slot, caps in enumerate(caps_kw)]
        of = _of_cars(problem, self.cars)
        # what cars are to draw goes before the rest, at no less than their chargers run at
        at_once_kw = result.planned_kw / np.where(of.plugged > 0.0, of.plugged, 1.0)
        runs = np.where(at_once_kw > 0.0, np.maximum(at_once_kw, of.charger_min_kw), 0.0)
        first_kw = problem.inflexible_kw + of.per_home(runs)
        first_kw[:, stands] = caps_kw[:, stands]
        slots = whatever.kept(caps_kw, first_kw, self.standing_kw[:: self.steps], self.clock)
        kept_kw = np.stack([slot.caps_kw[0] for slot in slots])
        return lowered(of, self.manner.options, result, kept_kw), whatever.look(slots, clock_of(self.slots)).found

    def _published(self, result: CapsResult) -> Float:
        """Caps of homes that are expected to have a car; no limit where there is nothing to steer.

        Caps that hold whatever households do are everybody's: also a home without a car has one.

        A plan may want a home to give its neighbours what its roof yields, a cap below zero. That would be an order to
        export, so the cap is zero: the home may charge from its own roof.
        """
        planned = np.repeat(np.maximum(result.caps_kw, 0.0), self.steps, axis=0)
        caps = planned.copy() if self.manner.holds_whatever else np.full_like(planned, np.inf)
        standing = np.unique(self.problem.home[~self.cars])
        caps[:, standing] = self.standing_kw[:, standing]
        steered = np.unique(self.problem.home[self.cars])
        caps[:, steered] = planned[:, steered]
        return caps

    def response(self, caps_kw: Float) -> Float:
        """What cars draw under caps, shape (step, home)."""
        stepwise = self._problem(self.day, np.repeat(self.problem.limit_kw, self.steps, axis=0))
        return stepwise.per_home(best_response(stepwise, caps_kw))

    def judged(self, rows: Sequence[Row], caps_kw: Float) -> tuple[Bool, HorizonPlan]:
        """Look at caps published before: homes where they overload a phase or leave a car short, and all as a plan."""
        problem = self.problem
        charge = best_response(problem, np.minimum(caps_kw[:: self.steps], problem.connection_kw))
        over = charge @ problem.car_share - problem.headroom_kw > KEPT_OVER_KW
        if self.manner.holds_whatever:  # what was kept at its worst when published is kept whoever comes
            over[:] = False
        broken: Bool = (problem.phase_share[:, over.any(axis=0)] > 0).sum(axis=1) > 0
        broken[problem.home[problem.unserved_kwh(charge) > KEPT_SHORT_KWH]] = True
        rounds: tuple[Round, ...] = ()
        if self.elements is not None and not self.manner.holds_whatever:
            look = self._network(self.elements).look(self.response(caps_kw), 1, len(rows))
            rounds = (look.found,)
            phases = np.unique(self.elements.phase[(look.excess > 0).any(axis=0)])
            broken |= np.array([bool(set(on) & set(phases)) for on in self.feeder.customer_phases])
        return broken, self._plan(problem, None, caps_kw, rows, rounds)

    def phase_mates(self, homes: Int) -> Bool:
        """Return the cars that share a phase with homes, and with their mates in turn, shape (car,)."""
        share = self.problem.car_share > 0
        phases = (self.problem.phase_share[homes] > 0).any(axis=0)
        while True:
            cars: Bool = share[:, phases].sum(axis=1) > 0
            more = phases | share[cars].any(axis=0)
            if (more == phases).all():
                return cars
            phases = more

    def _within_the_network(self, network: Answers, rows: list[Row], guide_kw: Float | None) -> HorizonPlan:
        """Solve, ask the power flow, tighten what it shows to be broken, and solve again."""
        limit_kw = None if guide_kw is None or not rows else network.limits(rows, guide_kw)
        rounds: list[Round] = []
        best: HorizonPlan | None = None
        best_rank = (np.inf, np.inf)
        for number in range(1, self.manner.rounds + 1):
            plan = self._solved(rows, limit_kw)
            ev_kw = self.response(plan.caps_kw)
            look = network.look(ev_kw, number, len(rows))
            rounds.append(look.found)
            # tightening one row can break another: the best round is kept, not the last
            rank = look.found.over_limit, float(look.excess.max())
            if best is None or rank < best_rank:
                best_rank = rank
                best = replace(plan, kept_round=number, not_from_charging=look.not_from_charging)
            if not look.worst:
                break
            known = {row.element for row in rows}
            fresh = network.rows_for([pair for pair in look.worst if pair[0] not in known], ev_kw)
            tighter = network.tightened(rows, limit_kw, look, ev_kw)
            rows = [*rows, *fresh]
            if not rows:
                break  # nobody's charging has an influence
            if self.clock.over:
                best = replace(best, struck=True)
                break
            limit_kw = np.column_stack([tighter, network.limits(fresh, ev_kw)])
        assert best is not None  # noqa: S101 - there is at least one round
        return replace(best, rounds=tuple(rounds))

    def _network(self, elements: Elements) -> Answers:
        return Answers(elements, self.day, self.slots, self.manner)

    def _limit_kw(self) -> Float:
        """Limits of each slot; where its peaks count, what the highest forecast step exceeds its mean by comes off.

        The margin is there for such peaks, so only what exceeds it is taken off.
        """
        feeder, margin = self.feeder, self.manner.margin
        has_car = np.zeros(len(feeder.customers), bool)
        has_car[self.day.sessions.customer] = True
        kept_a = self.manner.limit_a * (1.0 - margin)
        limit_kw = phase_limits_kw(feeder, self.predictor, self.by_slot, kept_a, has_car)
        if not self.manner.peaks_count:
            return limit_kw
        excess_kw = excess_within_slots(self.by_step.p_kw @ feeder.phase_matrix, self.steps)
        # limit_kw / (1 - margin) is the limit itself: peaks may use the margin, means may not
        return np.minimum(limit_kw, limit_kw * PEAK_SHARE / (1.0 - margin) - excess_kw)

    def _problem(self, day: Exogenous, limit_kw: Float) -> CapsProblem:
        feeder, cars = self.feeder, day.sessions
        return CapsProblem(
            slot_h=day.step_min / 60.0,
            tariff_eur_per_kwh=(
                day.tariff_eur_per_kwh if day.customer_tariff_eur_per_kwh is None else day.customer_tariff_eur_per_kwh
            ),
            inflexible_kw=day.inflexible_kw,
            connection_kw=feeder.connection_kw,
            phase_share=feeder.phase_matrix,
            charger_share=feeder.charger_phase_matrix,
            limit_kw=limit_kw,
            # what holds at every moment is not made up for by the part of a slot in which a car is not there
            room_while_there=self.manner.holds_whatever,
            charger_min_kw=np.minimum(feeder.charger_min_kw[cars.customer], cars.charger_kw),
            energy_need_kwh=np.minimum(cars.energy_need_kwh, cars.battery_kwh - cars.soc_arrival_kwh),
            **in_slots(cars, day.steps, day.step_min),
        )


def _of_cars(problem: CapsProblem, cars: Bool) -> CapsProblem:
    """Return the same problem with some of its cars."""
    if cars.all():
        return problem
    columns = {key: getattr(problem, key)[..., cars] for key in _OF_CARS if getattr(problem, key) is not None}
    return replace(problem, **columns)


@dataclass(frozen=True, eq=False)
class Planner:
    """What horizons of one feeder are planned with.

    Attributes
    ----------
    feeder : Feeder
        The place.
    predictor : Predictor or None
        The power flow.
    manner : Manner
        How.
    seed : int
        Of every search.
    """

    feeder: Feeder
    predictor: Predictor | None
    manner: Manner
    seed: int

    @cached_property
    def elements(self) -> Elements | None:
        """Everything that has a limit; None where only the transformer's limits are planned with."""
        if self.predictor is None or not self.manner.whole_network:
            return None
        whatever = self.manner.holds_whatever  # rows of what is expected never join phases, as neutrals do
        return Elements(self.feeder, self.predictor, self.manner.voltage_min_pu, neutrals=whatever)

    def plan(self, day: Exogenous, steps: int) -> HorizonPlan:
        """Choose caps for a horizon of what is expected, step by step, in slots of so many steps."""
        return Study(self, self.manner, day, steps).planned()

    def again(
        self, day: Exogenous, steps: int, before: HorizonPlan, caps_kw: Float, freed: Collection[int]
    ) -> HorizonPlan:
        """Choose caps for what is left of a horizon.

        The caps published before stand on phases where they keep every limit and serve every need that can be served.
        Where less is needed than was expected, other caps take their place if less is withheld then. Either way they
        are what the solver starts from, and one clock counts for all that it does.

        Parameters
        ----------
        day : Exogenous
            What is expected from now on.
        steps : int
            Steps of a slot.
        before : HorizonPlan
            Whose extra limits are known to be needed.
        caps_kw : ndarray, shape (step, home)
            Published before, from now on [kW].
        freed : collection of int
            Homes that need less than was expected, where a better plan is worth looking for.
        """
        options = self.manner.options
        quick = replace(
            options,
            gap=max(options.gap, AGAIN_GAP),
            node_limit=min(options.node_limit, AGAIN_NODES),
            time_limit_s=min(options.time_limit_s, self.manner.again_s),
        )
        manner = replace(self.manner, options=quick)
        study = Study(self, manner, day, steps)
        study.standing_kw, study.start_kw = caps_kw, caps_kw[::steps]
        broken, kept = study.judged(before.rows, caps_kw)
        homes = np.flatnonzero(broken)
        study.cars = study.phase_mates(np.union1d(homes, np.array(sorted(freed), np.int64)))
        if not study.cars.any():
            return kept
        new = study.planned(before.rows, study.response(caps_kw))
        as_good = options.objective in BY_WITHHELD and kept.withheld_kwh <= new.withheld_kwh
        return replace(kept, struck=not new.reproducible) if not len(homes) and as_good else new
