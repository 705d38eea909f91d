"""The charge-point operator in the loop: all chargers of a feeder as terminals behind one connection."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np

from cosim.contract import Decision, Exogenous, Feeder, Float, Forecast, Int, Observation, Setpoints
from cosim.controllers.limits import known_phase_limit_a, percent_fault
from cosim.controllers.planner.options import Fairness, Formulation, Options
from cosim.controllers.planner.plan import plan
from cosim.controllers.planner.requests import Requests, Station, make_requests, make_station
from cosim.controllers.planner.result import Planning
from cosim.errors import Fault, InputError, SolverError

_MINIMUM_CURRENT_A = 6.0  # IEC 61851-1
_WORTH_KWH = 0.01  # a smaller need is met


class CpoPlanner:
    """Plan all chargers as one operator's terminals under a common capacity, again at every control step.

    Cars that are plugged in are planned with what their drivers announced, cars that are still to come as forecast;
    a car that is expected but not there has no claim until it comes, and one that nobody expected waits for the next
    control step. The capacity is given, or what three phases of the transformer or head line, whichever carries less,
    leave beside the demand forecast. It is one number for the station: how the cars load each phase is not planned.

    Parameters
    ----------
    feeder : Feeder
        Ratings and phases.
    capacity_kw : float or None
        Of all chargers together; None: the feeder's spare rating [kW].
    margin_percent : float
        Part of the rating that is not planned with; with the spare rating only [%].
    formulation : str
        ``milp``: chargers keep the 6 A rule; ``lp``: any power.
    fairness : str
        See `Options`.
    plan_step_min : float
        Step of the plan [min].
    time_limit_s : float
        Of each plan; where it strikes, the run is marked as not reproducible [s].

    Raises
    ------
    InputError
        Where an option is out of range, or there is neither capacity nor rating.
    """

    every_step = False

    def __init__(
        self,
        feeder: Feeder,
        *,
        capacity_kw: float | None = None,
        margin_percent: float = 5.0,
        formulation: Formulation = "milp",
        fairness: Fairness = "total",
        plan_step_min: float = 15.0,
        time_limit_s: float = 60.0,
    ) -> None:
        faults = list(_option_faults(capacity_kw, margin_percent, plan_step_min))
        if faults:
            raise InputError(faults)
        self._options = Options(formulation=formulation, fairness=fairness, gap=0.01, time_limit_s=time_limit_s)
        self._capacity_kw = capacity_kw
        self._rating_kw = np.inf
        if capacity_kw is None:
            limit_a = known_phase_limit_a(feeder, "cpo_planner")
            self._rating_kw = 3.0 * limit_a * feeder.nominal_voltage_v / 1e3 * (1.0 - margin_percent / 100.0)
        phases = (feeder.phase_matrix > 0).sum(axis=1)
        self._least_kw = _MINIMUM_CURRENT_A * phases * feeder.nominal_voltage_v / 1e3
        self._plan_step_min = plan_step_min
        self._expected: Exogenous | None = None

    def plan(self, forecast: Forecast) -> None:
        """Take note of the sessions, demand and tariff to come."""
        self._expected = forecast.expected

    def decide(self, observation: Observation) -> Setpoints:
        """Plan the rest of the horizon and hand out its first step."""
        if self._expected is None:
            raise InputError(Fault("controller 'cpo_planner'", "plan", "was not called", "call plan(forecast) first"))
        customers = len(observation.plugged)
        steps = self._steps_left(self._expected, observation.minute)
        customer, requests = self._requests(self._expected, observation, steps)
        unlimited, limit_kw = np.full(customers, np.inf), np.zeros(customers)
        if not len(requests):
            return Setpoints(unlimited, limit_kw, unlimited)
        try:
            planning = plan(requests, self._station(self._expected, observation.minute, steps), self._options)
        except SolverError as error:
            limit_kw = self._equal_kw(self._expected, observation)
            decision = Decision(status="no plan", fallback=f"equal shares: {error}", reproducible=False)
            return Setpoints(unlimited, limit_kw, unlimited, decision=decision)
        np.add.at(limit_kw, customer, planning.best.power_kw[0])
        published_kw = self._published(self._expected, observation, customer, planning)
        return Setpoints(unlimited, limit_kw, unlimited, published_cap_kw=published_kw, decision=_decision(planning))

    def _steps_left(self, expected: Exogenous, minute: float) -> int:
        """Planned steps: to the end of the horizon; stays that go on after it are planned as ending there."""
        end_min = expected.steps * expected.step_min
        return max(1, ceil((end_min - minute) / self._plan_step_min - 1e-9))

    def _requests(self, expected: Exogenous, now: Observation, steps: int) -> tuple[Int, Requests]:
        """Columns of customers and their requests in steps from now: cars that are there, then those to come."""
        here = np.flatnonzero(
            now.plugged & (now.energy_left_kwh > _WORTH_KWH) & (now.departure_min > now.minute + 1e-6)
        )
        cars = expected.sessions
        leaves_min = np.where(now.plugged, np.nan_to_num(now.departure_min, nan=0.0), now.minute)
        end_min = now.minute + steps * self._plan_step_min
        comes = (cars.arrival_min >= leaves_min[cars.customer] - 1e-6) & (cars.arrival_min > now.minute - 1e-6)
        later = np.flatnonzero(comes & (cars.energy_need_kwh > _WORTH_KWH) & (cars.arrival_min < end_min - 1e-6))
        customer = np.concatenate([here, cars.customer[later]])

        def both(present: Float, coming: Float) -> Float:
            return np.concatenate([present[here], coming[later]])

        need_kwh = both(now.energy_left_kwh, cars.energy_need_kwh)
        high_kw = both(now.charger_kw, cars.charger_kw)
        arrival = both(np.full(len(now.plugged), now.minute), cars.arrival_min)
        departure = np.minimum(both(now.departure_min, cars.departure_min), end_min)
        least_kw = np.minimum(both(now.charger_min_kw, self._least_kw[cars.customer]), high_kw)
        requests = make_requests(
            [str(row) for row in range(len(customer))],
            high_kw,
            need_kwh,
            need_kwh * 1.02 + 0.1,  # room for a last step at the least power
            (arrival - now.minute) / self._plan_step_min,
            (departure - now.minute) / self._plan_step_min,
            power_min_kw=least_kw,
            efficiency=both(now.efficiency, cars.efficiency),
        )
        return customer.astype(np.int64), requests

    def _station(self, expected: Exogenous, minute: float, steps: int) -> Station:
        """Capacity and tariff of the steps from now."""
        net_kw = (expected.demand_kw - expected.pv_available_kw).sum(axis=1)
        if self._capacity_kw is None:
            capacity_kw = np.maximum(self._rating_kw - self._worst(expected, net_kw, minute, steps), 0.0)
        else:
            capacity_kw = np.full(steps, self._capacity_kw)
        tariff = self._mean(expected, expected.tariff_eur_per_kwh, minute, steps)
        return make_station(steps, capacity_kw, step_s=60.0 * self._plan_step_min, tariff_eur_per_kwh=tariff)

    def _slots(self, expected: Exogenous, minute: float, steps: int) -> Iterator[slice]:
        """Steps of the run inside each step of the plan; the last one where the plan goes on after the horizon."""
        for k in range(steps):
            first = int((minute + k * self._plan_step_min) / expected.step_min + 1e-9)
            last = ceil((minute + (k + 1) * self._plan_step_min) / expected.step_min - 1e-9)
            first = min(first, expected.steps - 1)
            yield slice(first, max(min(last, expected.steps), first + 1))

    def _mean(self, expected: Exogenous, values: Float, minute: float, steps: int) -> Float:
        return np.array([values[slot].mean() for slot in self._slots(expected, minute, steps)])

    def _worst(self, expected: Exogenous, values: Float, minute: float, steps: int) -> Float:
        return np.array([values[slot].max() for slot in self._slots(expected, minute, steps)])

    def _equal_kw(self, expected: Exogenous, now: Observation) -> Float:
        """Capacity of this step shared by the cars that are there, shape (customer,) [kW]."""
        capacity_kw = float(self._station(expected, now.minute, 1).capacity_kw[0])
        return np.where(now.plugged, capacity_kw / max(int(now.plugged.sum()), 1), 0.0)

    def _published(self, expected: Exogenous, now: Observation, customer: Int, planning: Planning) -> Float:
        """Announce each home's expected net demand with its planned charging, shape (step, customer) [kW].

        So a home knows that cheaper steps to come hold no more than what is planned for it there.
        """
        planned_kw = np.zeros((planning.station.steps, len(now.plugged)))
        np.add.at(planned_kw.T, customer, planning.best.power_kw.T)
        published_kw = np.zeros((expected.steps, len(now.plugged)))
        for k, slot in enumerate(self._slots(expected, now.minute, planning.station.steps)):
            published_kw[slot] = planned_kw[k]
        net_kw = expected.demand_kw - expected.pv_available_kw
        return np.maximum(published_kw + net_kw, 0.0)


def _decision(planning: Planning) -> Decision:
    return Decision(
        status=planning.status,
        objective=planning.best.objective,
        bound=planning.bound,
        gap=planning.gap,
        reproducible=planning.status != "time_limit",
        wall_s=planning.build_s + planning.solve_s,
    )


def _option_faults(capacity_kw: float | None, margin_percent: float, plan_step_min: float) -> Iterator[Fault]:
    yield from percent_fault("cpo_planner", "margin_percent", margin_percent, 0.0, 99.0)
    if capacity_kw is not None and not 0.0 <= capacity_kw < np.inf:
        yield Fault("controller 'cpo_planner'", "capacity_kw", f"is {capacity_kw}", "give kW, 0 or more")
    if not 1.0 <= plan_step_min <= 240.0:
        yield Fault("controller 'cpo_planner'", "plan_step_min", f"is {plan_step_min}", "give 1 to 240 minutes")
