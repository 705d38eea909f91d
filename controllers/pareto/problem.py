"""The decision of one control period as a pymoo problem, evaluated a population at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from pymoo.core.problem import Problem

from controllers.pareto.objectives import OBJECTIVES, Evaluated
from controllers.pareto.outlook import Outlook
from cosim.contract import Feeder, Float, Int, Prediction, Predictor
from cosim.errors import Fault, InputError

VOLTAGE_LIMITS_PU = (0.90, 1.10)
"""Of nominal: the band of EN 50160 for 95 % of a week, kept at all times."""

PAUSED_BELOW = 0.3
"""A car's variable below this pauses it; from here to 1 it runs from the least the charger can do to its rating."""

UNLIMITED_FROM = 0.999

_ROUNDING = 1e-9  # the same candidate in another batch differs by as little
_HOPELESS = 1e9  # value of a candidate that has no power flow: finite, so that ranking works


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What does not change from decision to decision.

    Attributes
    ----------
    predictor : Predictor
        Answers for batches.
    nominal_v : float
        Base of the voltage limits [V].
    phase_share : ndarray, shape (customer, 3)
        Share of a customer's power on each phase.
    rating_a : ndarray, shape (branch,)
        Rated current of the predictor's branches; inf where there is none.
    monitored : ndarray of int
        Which of the predictor's branches the objectives watch.
    objectives : tuple of str
        Names in ``OBJECTIVES``.
    """

    predictor: Predictor
    nominal_v: float
    phase_share: Float
    rating_a: Float
    monitored: Int
    objectives: tuple[str, ...]

    @classmethod
    def of(cls, feeder: Feeder, predictor: Predictor, objectives: tuple[str, ...]) -> Surroundings:
        """Read them from a feeder; one power flow tells which branches the predictor watches.

        Raises
        ------
        InputError
            Where it watches none of the feeder's monitored branches.
        """
        nothing = np.zeros((1, len(feeder.customers)))
        names = predictor.predict(nothing, nothing).branches
        if not set(names) & set(feeder.monitored):
            problem = "the predictor watches none of the feeder's monitored branches"
            raise InputError(Fault(feeder.name, "monitored", problem, "name one in feeder.toml"))
        rating_a = np.array([feeder.network.branch(name).rating_a for name in names])
        return cls(
            predictor=predictor,
            nominal_v=feeder.nominal_voltage_v,
            phase_share=feeder.phase_matrix,
            rating_a=np.nan_to_num(rating_a, nan=np.inf),
            monitored=np.array([names.index(name) for name in feeder.monitored if name in names], dtype=np.int64),
            objectives=objectives,
        )


class DispatchProblem(Problem):  # type: ignore[misc]  # pymoo is not typed
    """Limits for cars and roofs in one control period.

    One variable in 0..1 for every car that would charge and every roof in the sun; 1 is no limit. Decoding keeps what
    no objective may trade away: a charger pauses or runs at least at 6 A; a car draws at least what its energy by
    departure needs; all cars together draw at least the even pace that finishes them in time.

    Parameters
    ----------
    surroundings : Surroundings
        Feeder, predictor, objectives.
    outlook : Outlook
        The period.
    """

    def __init__(self, surroundings: Surroundings, outlook: Outlook) -> None:
        self.around = surroundings
        self.outlook = outlook
        self.cars = len(outlook.cars)
        low, high = VOLTAGE_LIMITS_PU
        self._limits = np.array([high, -low, *np.ones(len(surroundings.rating_a))])
        super().__init__(
            n_var=self.cars + len(outlook.roofs),
            n_obj=len(surroundings.objectives),
            n_ieq_constr=len(self._limits),
            xl=0.0,
            xu=1.0,
        )

    def decode(self, x: Float) -> tuple[Float, Float]:
        """Mean power of cars and roofs, shapes (candidate, car) and (candidate, roof) [kW]."""
        return self._charging(x[:, : self.cars]), x[:, self.cars :] * self.outlook.sun_kw[self.outlook.roofs]

    def excess(self, quantity: Float) -> Float:
        """How far quantities are above their limits, same shape; negative within them."""
        return np.asarray(quantity - self._limits)

    def relax_what_cannot_be_met(self, tried: Float, uncontrolled: Float) -> None:
        """Where no candidate tried keeps a limit, ask for "no worse than without control" instead.

        Parameters
        ----------
        tried : ndarray, shape (candidate, constraint)
            Quantities that the constraints limit, as in the output ``"quantity"`` of an evaluation.
        uncontrolled : ndarray, shape (constraint,)
            The same without control.
        """
        out_of_reach = tried.min(axis=0) > self._limits
        no_worse = np.maximum(self._limits, uncontrolled + _ROUNDING)
        self._limits = np.where(out_of_reach, no_worse, self._limits)

    def _evaluate(self, x: Float, out: dict[str, Any], *_: object, **__: object) -> None:
        ev_kw, pv_kw = self.decode(x)
        batch, now = self._predict(ev_kw, pv_kw)
        with np.errstate(invalid="ignore"):
            objectives = np.column_stack([OBJECTIVES[name](batch) for name in self.around.objectives])
            quantity = self._quantities(now)
        out["quantity"] = np.nan_to_num(quantity, nan=_HOPELESS)
        out["F"] = np.nan_to_num(objectives, nan=_HOPELESS)
        out["G"] = self.excess(out["quantity"])

    def _charging(self, x: Float) -> Float:
        """Semicontinuous charging power, raised to each car's floor and then to the common pace."""
        cars = self.outlook.cars
        share = (x - PAUSED_BELOW) / (1.0 - PAUSED_BELOW)
        running_kw = cars.least_kw + share * (cars.charger_kw - cars.least_kw)
        drawn_kw = np.where(x >= PAUSED_BELOW, np.minimum(running_kw, cars.most_kw), 0.0)
        drawn_kw = np.maximum(drawn_kw, self._runnable(cars.floor_kw))

        urgent = cars.most_urgent_first
        room_kw = (cars.most_kw - drawn_kw)[:, urgent]
        missing_kw = cars.pace_kw - drawn_kw.sum(axis=1, keepdims=True)
        raise_kw = np.clip(missing_kw - (np.cumsum(room_kw, axis=1) - room_kw), 0.0, room_kw)
        drawn_kw[:, urgent] = self._runnable(drawn_kw[:, urgent] + raise_kw, urgent)
        return drawn_kw

    def _runnable(self, drawn_kw: Float, order: Int | slice = slice(None)) -> Float:
        """Lift what lies between a pause and the least that the charger can do."""
        cars = self.outlook.cars
        least_kw = np.minimum(cars.least_kw, cars.most_kw)[order]
        return np.where(drawn_kw > 0.0, np.maximum(drawn_kw, least_kw), 0.0)

    def _predict(self, ev_kw: Float, pv_kw: Float) -> tuple[Evaluated, Prediction]:
        """Power flow of the period, and of the rest of the cars' window where cars wait."""
        outlook, count = self.outlook, len(ev_kw)
        charging_kw = np.zeros((count, len(outlook.net_kw)))
        charging_kw[:, outlook.cars.customer] = ev_kw
        sun_kw = np.tile(outlook.sun_kw, (count, 1))
        sun_kw[:, outlook.roofs] = pv_kw
        net_kw, net_kvar = outlook.net_kw + charging_kw - sun_kw, np.broadcast_to(outlook.net_kvar, charging_kw.shape)
        if outlook.rest_h > 0.0:
            left_kwh = outlook.cars.due_kwh - ev_kw * outlook.period_h
            later_kw = np.tile(outlook.rest_net_kw, (count, 1))
            later_kw[:, outlook.cars.customer] += left_kwh / outlook.rest_h
            later_kvar = np.broadcast_to(outlook.rest_net_kvar, later_kw.shape)
            net_kw, net_kvar = np.concatenate([net_kw, later_kw]), np.concatenate([net_kvar, later_kvar])
        found = self.around.predictor.predict(net_kw, net_kvar, outlook.source_pu)
        now = Prediction(found.voltage_v[:count], found.current_a[:count], found.branches)
        rest = found.current_a[count:] if outlook.rest_h > 0.0 else now.current_a
        monitored = self.around.monitored
        return Evaluated(outlook, charging_kw, sun_kw, now.current_a[:, monitored], rest[:, monitored]), now

    def _quantities(self, now: Prediction) -> Float:
        """What is limited: highest voltage, lowest (negative) [pu], worst phase over rating per branch."""
        voltage_pu = np.abs(now.voltage_v) / self.around.nominal_v
        loading = np.abs(now.current_a).max(axis=2) / self.around.rating_a
        return np.column_stack([voltage_pu.max(axis=1), -voltage_pu.min(axis=1), loading])


def limits_for_customers(problem: DispatchProblem, x: Float, customers: int) -> tuple[Float, Float]:
    """Setpoints of one candidate: limits of charging and of feed-in, shape (customer,), inf for none."""
    (ev_kw,), (pv_kw,) = problem.decode(x[None, :])
    cars, outlook = problem.outlook.cars, problem.outlook
    ev_limit_kw, pv_limit_kw = np.full(customers, np.inf), np.full(customers, np.inf)
    running = np.maximum(ev_kw, cars.least_kw)
    limited = (running < cars.charger_kw) & ~cars.fixed
    ev_limit_kw[cars.customer] = np.where(ev_kw <= 0.0, 0.0, np.where(limited, running, np.inf))
    free = x[problem.cars :] >= UNLIMITED_FROM
    pv_limit_kw[outlook.roofs] = np.where(free, np.inf, pv_kw)
    return ev_limit_kw, pv_limit_kw
