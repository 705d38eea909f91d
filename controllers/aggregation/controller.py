"""The aggregator in the loop: promises the power of a fleet by its aggregate, and makes the cars keep it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Literal

import numpy as np

from cosim.contract import Decision, EvSessions, Exogenous, Feeder, Float, Forecast, Int, Observation, Setpoints
from cosim.controllers.aggregation.aggregate import MAPS_H
from cosim.controllers.aggregation.disaggregate import disaggregate
from cosim.controllers.aggregation.fit import FitOptions
from cosim.controllers.aggregation.fleet import Fleet
from cosim.controllers.aggregation.model import ENVELOPE, SIMPLE, Model, Recipe, Week, make_week, train
from cosim.controllers.nowcast import WORTH_KWH, longer_steps, rest_of_day
from cosim.errors import Fault, InputError, SolverError, range_faults, refuse

WHERE = "controller 'aggregator'"
REGULARISATION = 0.01
OTHER_PRICES, PRICE_NOISE = 3, 0.2  # days to learn from beside the forecast one: its tariff, each step up to 20 % off
KICKS = 3
_ROUNDING = 1e-9


class Aggregator:
    """Plan all cars of a feeder as one battery, promise its power, and share that out among the cars.

    Before the day, the fleet of the forecast is aggregated, scheduled on the tariff, and its power promised. At every
    control step the promise for the rest of the horizon is shared out among the cars that are there and those still to
    come, by an exact linear programme: every need that can be met is met first, then the promise is followed as
    closely as the cars can. What is promised for the rest of the horizon and cannot be delivered is the decision's
    ``objective`` [kWh]; it is known beforehand, too (``promised_short_kwh``). A car that is forecast to come before the
    next decision finds its share waiting, or all of its charger where it has no time to spare; one that nobody expected
    waits for the next decision. The grid is not looked at: what the promise does to it, the power flow shows.

    Parameters
    ----------
    feeder : Feeder
        Only for the number of customers.
    aggregate : {"bilevel", "sum", "envelope"}
        ``bilevel``: units with factors on the envelope, fitted to the forecast fleet; ``sum``: the simple sum;
        ``envelope``: the virtual storage.
    units : int
        Of the bilevel aggregate; at most one for each stay.
    block_h : int
        Hours that share a factor, one of 1, 2, 3, 4, 6, 8, 12, 24, 168.
    plan_step_min : float
        Step of the promise [min].
    seed : int
        Of the search for factors, and of the prices that they are fitted to beside the tariff.

    Attributes
    ----------
    promise_kw : ndarray, shape (plan step,)
        Charging promised for the day; empty before ``plan`` [kW].
    promised_short_kwh : float
        Part of the promised energy that the forecast's own cars cannot take when promised [kWh].
    cut_kwh : float
        Wanted by the forecast's cars beyond what their chargers can give while they stay: never promised [kWh].

    Raises
    ------
    InputError
        Where an option is out of range.
    """

    one_tariff = True
    even_charging = True

    def __init__(
        self,
        feeder: Feeder,
        *,
        aggregate: Literal["bilevel", "sum", "envelope"] = "bilevel",
        units: int = 4,
        block_h: int = 6,
        plan_step_min: float = 15.0,
        seed: int = 0,
    ) -> None:
        refuse(_option_faults(units, block_h, plan_step_min))
        self._customers = len(feeder.customers)
        self._kind, self._units, self._block_h, self._seed = aggregate, units, block_h, seed
        self._step_min = plan_step_min
        self._expected: Exogenous | None = None
        self._slots: list[slice] = []  # steps of the run inside each step of the promise
        self.promise_kw: Float = np.empty(0)
        self.promised_short_kwh = self.cut_kwh = 0.0

    def plan(self, forecast: Forecast) -> None:
        """Aggregate the forecast fleet and promise its power."""
        expected = forecast.expected
        self._expected = expected
        self._slots = longer_steps(expected, self._step_min)
        steps = len(self._slots)
        stays = within(expected.sessions, steps * self._step_min)
        self.promise_kw, self.promised_short_kwh, self.cut_kwh = np.zeros(steps), 0.0, 0.0
        if not len(stays):
            return
        fleet = fleet_of_stays(stays, steps, self._step_min / 60.0)
        self.cut_kwh = cut_kwh(stays, fleet)
        tariff = np.array([expected.tariff_eur_per_kwh[slot].mean() for slot in self._slots])
        first_h = expected.start.hour + expected.start.minute / 60.0
        week = make_week(fleet, tariff, first_h)
        self.promise_kw = self._model(week).schedule(fleet, tariff, first_h).charge_kw
        self.promised_short_kwh = float(disaggregate(fleet, self.promise_kw).short_kw.sum() * fleet.step_h)

    def decide(self, observation: Observation) -> Setpoints:
        """Share out the promise for the rest of the horizon and hand out its first step."""
        if self._expected is None:
            raise InputError(Fault(WHERE, "plan", "was not called", "call plan(forecast) first"))
        began = time.perf_counter()
        first = min(int(observation.minute / self._step_min + 1e-9), len(self.promise_kw) - 1)
        wanted_kw = self.promise_kw[first:]
        stays = within(rest_of_day(self._expected, observation).sessions, len(wanted_kw) * self._step_min)
        unlimited, limit_kw = np.full(self._customers, np.inf), np.zeros(self._customers)
        planned_kva = self._planned_kva(self._expected, first)
        if not len(stays):
            missed_kwh = float(wanted_kw.sum() * self._step_min / 60.0)
            return Setpoints(
                unlimited, limit_kw, unlimited, planned_kva=planned_kva, decision=_decision(missed_kwh, began)
            )
        fleet = fleet_of_stays(stays, len(wanted_kw), self._step_min / 60.0)
        try:
            shares = disaggregate(fleet, wanted_kw)
        except SolverError as error:
            decision = Decision("no plan", fallback=f"every car as fast as it can: {error}")
            return Setpoints(unlimited, unlimited, unlimited, planned_kva=planned_kva, decision=decision)
        share = fleet.charge_high_kw[0] / stays.charger_kw  # a car that is not there for all of the step has less time
        wanted_now_kw = shares.charge_kw[0] / np.maximum(share, 1e-6)
        here = observation.plugged[stays.customer] & (stays.arrival_min <= 1e-6)
        power_kw = np.zeros(self._customers)
        power_kw[stays.customer[here]] = wanted_now_kw[here]
        limit_kw = keep_minimum(power_kw, observation)
        coming = np.flatnonzero(~here & (stays.arrival_min < self._step_min - 1e-6))
        coming_kw = awaiting_kw(stays, wanted_now_kw, coming, self._step_min)
        np.maximum.at(limit_kw, stays.customer[coming], coming_kw)
        return Setpoints(
            unlimited, limit_kw, unlimited,
            ev_at_once=np.ones(self._customers, dtype=bool),  # or homes wait for hours that are planned for others
            planned_kva=planned_kva, decision=_decision(shares.short_kwh(self._step_min / 60.0), began),
        )  # fmt: skip

    def _model(self, week: Week) -> Model:
        """Train the aggregate on the forecast fleet: on its tariff, and on others so that it is not made for one."""
        rng = np.random.default_rng(self._seed)
        if self._kind != "bilevel":
            return train([week], SIMPLE if self._kind == "sum" else ENVELOPE, rng)
        weeks = [week]
        for _ in range(OTHER_PRICES):
            price = week.price_eur_per_kwh * rng.uniform(1.0 - PRICE_NOISE, 1.0 + PRICE_NOISE, week.fleet.steps)
            weeks.append(make_week(week.fleet, price, week.first_h))
        recipe = Recipe("envelope", min(self._units, week.fleet.cars), self._block_h, REGULARISATION)
        return train(weeks, recipe, rng, FitOptions(kicks=KICKS))

    def _planned_kva(self, expected: Exogenous, k: int) -> float:
        """Apparent power expected at the transformer: homes and roofs as forecast, cars as promised."""
        slot = self._slots[k]
        net_kw = float(expected.inflexible_kw[slot].sum(axis=1).mean()) + self.promise_kw[k]
        return float(np.hypot(net_kw, expected.demand_kvar[slot].sum(axis=1).mean()))


def fleet_of_stays(stays: EvSessions, steps: int, step_h: float) -> Fleet:
    """Lay stays on steps.

    A level counts what a stay has charged so far; it is zero before arrival, and the need leaves as driving at
    departure, so that the horizon closes by itself. Needs that do not fit into a stay within the horizon are cut to
    what does.

    Parameters
    ----------
    stays : EvSessions
        At least one; each with some time inside the horizon.
    steps : int
        Length of the horizon.
    step_h : float
        Length of a step [h].
    """
    share = stays.share_of_steps(steps, step_h * 60.0)
    charge_high_kw = share * stays.charger_kw
    most_kwh = charge_high_kw.sum(axis=0) * step_h * stays.efficiency
    need_kwh = np.minimum(stays.energy_need_kwh, most_kwh) * (1.0 - _ROUNDING)
    zero = np.zeros_like(share)
    driving_kwh = zero.copy()
    last = steps - np.argmax(share[::-1] > 0.0, axis=0)  # first step after the stay
    driving_kwh[last % steps, np.arange(len(stays))] = need_kwh
    level_high_kwh = np.where(share > 0.0, need_kwh, 0.0)
    one = np.ones(len(stays))
    return Fleet(
        zero, charge_high_kw, zero, zero, zero, level_high_kwh, driving_kwh, stays.efficiency, one, step_h=step_h
    )


def cut_kwh(stays: EvSessions, fleet: Fleet) -> float:
    """What ``fleet_of_stays`` cut from needs: no schedule could charge it while the cars are there [kWh]."""
    return float(stays.energy_need_kwh.sum() - fleet.driving_kwh.sum() / (1.0 - _ROUNDING))


def within(stays: EvSessions, horizon_min: float) -> EvSessions:
    """Stays that need something and have some time inside the horizon."""
    kept = (stays.arrival_min < horizon_min - 1e-6) & (stays.departure_min > np.maximum(stays.arrival_min, 0.0) + 1e-6)
    return stays[kept & (stays.energy_need_kwh > WORTH_KWH)]


def awaiting_kw(stays: EvSessions, wanted_kw: Float, coming: Int, step_min: float) -> Float:
    """Limit that a car finds when it comes before the next decision, shape (coming,) [kW].

    Its share; all of its charger where waiting until the next decision would leave its need short.

    Parameters
    ----------
    stays : EvSessions
        All stays.
    wanted_kw : ndarray, shape (stay,)
        Share of each in this step, while it is there [kW].
    coming : ndarray of int
        Stays that begin within this step.
    step_min : float
        Until the next decision [min].
    """
    rating_kw = stays.charger_kw[coming]
    later_h = np.maximum(stays.departure_min[coming] - step_min, 0.0) / 60.0
    short = stays.energy_need_kwh[coming] > rating_kw * stays.efficiency[coming] * later_h - 1e-6
    return np.where(short, rating_kw, np.minimum(wanted_kw[coming], rating_kw))


def keep_minimum(power_kw: Float, now: Observation) -> Float:
    """Round small powers to a pause or to the charger's least, their sum kept as nearly as that allows.

    Those with the least time to spare come first.

    Parameters
    ----------
    power_kw : ndarray, shape (customer,)
        Wanted [kW].
    now : Observation
        Chargers and cars.
    """
    limit_kw = np.where(power_kw >= now.charger_min_kw - 1e-6, power_kw, 0.0)
    left_kw = float(power_kw.sum() - limit_kw.sum())
    small = np.flatnonzero((power_kw > 1e-6) & (limit_kw == 0.0) & now.plugged)
    hours = np.maximum(now.departure_min - now.minute, 1.0) / 60.0
    spare_h = hours - now.energy_left_kwh / np.maximum(now.efficiency * now.charger_kw, 1e-6)
    for customer in small[np.argsort(spare_h[small], kind="stable")]:
        least_kw = float(now.charger_min_kw[customer])
        if left_kw >= 0.5 * least_kw or spare_h[customer] < now.step_min / 60.0:
            limit_kw[customer] = least_kw
            left_kw -= least_kw
    return limit_kw


def _decision(missed_kwh: float, began: float) -> Decision:
    """The sharing is a linear programme, solved to its optimum; its value: what is promised and not delivered."""
    return Decision("optimal", missed_kwh, missed_kwh, 0.0, wall_s=time.perf_counter() - began)


def _option_faults(units: int, block_h: int, plan_step_min: float) -> Iterator[Fault]:
    if block_h not in MAPS_H:
        yield Fault(WHERE, "block_h", f"is {block_h}", f"choose among {', '.join(map(str, MAPS_H))}")
    ranges = (("units", units, 1, 1000, "a number"), ("plan_step_min", plan_step_min, 1.0, 240.0, "minutes"))
    yield from range_faults(WHERE, ranges)
