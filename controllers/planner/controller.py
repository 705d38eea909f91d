"""The charge-point operator in the loop: all chargers of a feeder as terminals behind one connection."""

from __future__ import annotations

import numpy as np

from cosim.contract import Decision, EvSessions, Exogenous, Feeder, Forecast, Observation, Setpoints
from cosim.controllers.limits import known_phase_limit_a
from cosim.controllers.nowcast import longer_steps, rest_of_day
from cosim.controllers.planner.options import Fairness, Formulation, Options
from cosim.controllers.planner.plan import Planning, plan
from cosim.controllers.planner.requests import MOST_KW, Requests, Station, make_requests, make_station
from cosim.errors import Fault, InputError, SolverError, range_faults, refuse


class CpoPlanner:
    """Plan all chargers as one operator's terminals under a common capacity, again at every control step.

    Cars that are plugged in are planned with what their drivers announced, cars that are still to come as forecast
    (see `cosim.controllers.nowcast`); one that nobody expected waits for the next control step. The capacity is given,
    or what three phases of the transformer or head line, whichever carries less, leave beside the demand forecast. It
    is one number for the station: how the cars load each phase is not planned.

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
        Of each plan; where it is reached, the run is marked as not reproducible [s].

    Raises
    ------
    InputError
        Where an option is out of range, or there is neither capacity nor rating.
    """

    one_tariff = True
    even_charging = True

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
        ranges = (
            ("margin_percent", margin_percent, 0.0, 99.0, "a percentage"),
            ("capacity_kw", capacity_kw or 0.0, 0.0, MOST_KW, "kW"),
            ("plan_step_min", plan_step_min, 1.0, 240.0, "minutes"),
            ("time_limit_s", time_limit_s, 1e-3, 1e6, "seconds"),
        )
        refuse(range_faults("controller 'cpo_planner'", ranges))
        self._options = Options(  # only the first step is followed: later starts are planned anew
            formulation=formulation, fairness=fairness, gap=0.01, time_limit_s=time_limit_s, least_starts=False
        )
        self._capacity_kw = capacity_kw
        self._rating_kw = np.inf
        if capacity_kw is None:
            limit_a = known_phase_limit_a(feeder, "cpo_planner")
            self._rating_kw = 3.0 * limit_a * feeder.nominal_voltage_v / 1e3 * (1.0 - margin_percent / 100.0)
        self._least_kw = feeder.charger_min_kw
        self._plan_step_min = plan_step_min
        self._expected: Exogenous | None = None

    def plan(self, forecast: Forecast) -> None:
        """Take note of the sessions, demand and tariff to come."""
        self._expected = forecast.expected

    def decide(self, observation: Observation) -> Setpoints:
        """Plan the rest of the horizon and hand out its first step."""
        if self._expected is None:
            raise InputError(Fault("controller 'cpo_planner'", "plan", "was not called", "call plan(forecast) first"))
        rest = rest_of_day(self._expected, observation)
        slots, cars = longer_steps(rest, self._plan_step_min), rest.sessions
        unlimited, limit_kw = np.full(len(self._least_kw), np.inf), np.zeros(len(self._least_kw))
        if not len(cars):
            return Setpoints(unlimited, limit_kw, unlimited)
        station = self._station(rest, slots)
        try:
            planning = plan(self._requests(cars, len(slots)), station, self._options)
        except SolverError as error:
            limit_kw[observation.plugged] = station.capacity_kw[0] / max(int(observation.plugged.sum()), 1)
            decision = Decision(status="no plan", fallback=f"equal shares: {error}", reproducible=False)
            return Setpoints(unlimited, limit_kw, unlimited, decision=decision)
        np.add.at(limit_kw, cars.customer, planning.best.power_kw[0])
        # or homes wait for hours that are cheaper and planned for others
        at_once = np.ones(len(limit_kw), dtype=bool)
        return Setpoints(unlimited, limit_kw, unlimited, ev_at_once=at_once, decision=_decision(planning))

    def _requests(self, cars: EvSessions, steps: int) -> Requests:
        """Requests in steps from now; stays that go on after the last one are planned as ending there."""
        need_kwh = cars.energy_need_kwh
        return make_requests(
            [str(row) for row in range(len(cars))],
            cars.charger_kw,
            need_kwh,
            need_kwh * 1.02 + 0.1,  # room for a last step at the least power
            cars.arrival_min / self._plan_step_min,
            np.minimum(cars.departure_min / self._plan_step_min, steps),
            power_min_kw=np.minimum(self._least_kw[cars.customer], cars.charger_kw),
            efficiency=cars.efficiency,
        )

    def _station(self, rest: Exogenous, slots: list[slice]) -> Station:
        """Capacity and tariff of the steps from now."""
        net_kw = rest.inflexible_kw.sum(axis=1)
        if self._capacity_kw is None:
            worst_kw = np.array([net_kw[slot].max() for slot in slots])
            capacity_kw = np.maximum(self._rating_kw - worst_kw, 0.0)
        else:
            capacity_kw = np.full(len(slots), self._capacity_kw)
        tariff = np.array([rest.tariff_eur_per_kwh[slot].mean() for slot in slots])
        return make_station(len(slots), capacity_kw, step_s=60.0 * self._plan_step_min, tariff_eur_per_kwh=tariff)


def _decision(planning: Planning) -> Decision:
    return Decision(
        status=planning.status,
        objective=planning.best.objective,
        bound=planning.bound,
        gap=planning.gap,
        reproducible=all(ending.termination != "time_limit" for ending in planning.endings.values()),
        wall_s=planning.build_s + planning.solve_s,
    )
