"""Variables of the control loop: what an outlook lets be set, and what no objective may trade away."""

from __future__ import annotations

import numpy as np

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.controllers.pareto.outlook import Outlook

PAUSED_BELOW = 0.3
"""A car's variable below this pauses it; from here to 1 it runs from the least the charger can do to its rating."""

UNLIMITED_KW = 1e-3
"""A limit this near to what is available is none."""

_SMALL_KW = 0.05
_SAME_KW = 1e-6


class LoopSpace:
    """Limits for cars and roofs in the coming control periods; a ``Space``.

    One variable for every car that would charge and every roof in the sun, in each period. What no objective may trade
    away: a charger pauses or runs at least at 6 A; a car draws at least what its energy by departure needs; all cars
    together draw at least the even pace that finishes them in time. What a car drew in a period is no longer due in
    the next.

    Parameters
    ----------
    outlook : Outlook
        The periods.
    must_run : ndarray of bool, shape (customer,), optional
        Cars that may not be paused in the first period.
    least_kw : ndarray, shape (customer,), optional
        What roofs must be let feed in at least.
    """

    def __init__(self, outlook: Outlook, must_run: Bool | None = None, least_kw: Float | None = None) -> None:
        self.outlook, cars, scene = outlook, outlook.cars, outlook.scene
        periods = range(int(scene.period.max()) + 1)
        sun_kw = np.array([scene.sun_kw[: scene.steps][scene.period == one].max(axis=0) for one in periods])
        self._hours = np.bincount(scene.period, weights=scene.hours[: scene.steps])
        #: hours that cars are there in each period, shape (period, car)
        self._there_h = np.array([cars.in_period_h(one) for one in periods])
        is_sunny = np.isin(np.arange(sun_kw.shape[1]), outlook.roofs) & (sun_kw > _SMALL_KW)
        self.period, column = np.nonzero(np.hstack([self._there_h > 0.0, is_sunny]))
        self.car = np.where(column < len(cars), column, -1)
        self.customer = np.append(cars.customer, np.arange(sun_kw.shape[1]))[column]
        self.n_var, self.roof = len(self.car), self.car < 0
        self._columns = [np.flatnonzero(~self.roof & (self.period == one)) for one in periods]
        #: column of every car, that behind the last where it is not there, shape (period, car)
        self._column = np.full(self._there_h.shape, self.n_var)
        self._column[self.period[~self.roof], self.car[~self.roof]] = np.flatnonzero(~self.roof)
        self.least_kw, self._charger_kw = (np.append(kw, 0.0)[self.car] for kw in (cars.least_kw, cars.charger_kw))
        self._sun_kw = np.where(self.roof, sun_kw[self.period, self.customer], 0.0)
        self._bound(must_run, least_kw)

    @property
    def movable(self) -> bool:
        """Whether there is anything to decide; not where every car must charge all it can and no roof has sun."""
        return bool((self.high_kw > self.low_kw + _SAME_KW).any())

    def decode(self, x: Float) -> Float:
        """Powers of candidates, shape (candidate, variable) [kW]; always attainable."""
        kw = np.maximum(x * self._sun_kw, self.low_kw)  # roofs; columns of cars are overwritten below
        left_kwh = np.tile(self.outlook.cars.due_kwh, (len(x), 1))
        for period, columns in enumerate(self._columns):
            who = self.car[columns]
            kw[:, columns] = self._charging(x[:, columns], period, left_kwh)
            left_kwh[:, who] = (left_kwh[:, who] - kw[:, columns] * self._there_h[period, who]).clip(0.0)
        return kw

    def encode(self, kw: Float) -> Float:
        """Variables that give powers as near to these as can be attained, shape (candidate, variable)."""
        share = (kw - self.least_kw) / np.maximum(self._charger_kw - self.least_kw, 1e-9)
        running = PAUSED_BELOW + (1.0 - PAUSED_BELOW) * share.clip(0.0, 1.0)
        of_cars = np.where(kw < self.least_kw / 2.0, 0.0, running)
        of_roofs = np.divide(kw, self._sun_kw, out=np.ones_like(kw), where=self._sun_kw > 0.0)
        return np.asarray(np.where(self.roof, of_roofs, of_cars).clip(0.0, 1.0))

    def powers(self, kw: Float) -> tuple[Float, Float]:
        """Charging and generation at every point, each of shape (candidate, point, customer) [kW]."""
        scene, cars = self.outlook.scene, self.outlook.cars
        drawn_kwh, left_kwh = cars.drawn_kwh(np.pad(kw, ((0, 0), (0, 1)))[:, self._column[scene.period]])
        rest = len(scene.hours) - scene.steps
        if rest:
            # what is still due after the controlled periods is drawn evenly in the last point: energy cannot be put
            # off for free
            drawn_kwh = np.concatenate([drawn_kwh, left_kwh[:, None]], axis=1)
        limit_kw = np.full((len(kw), len(self._hours) + 1, scene.net_kw.shape[1]), np.inf)
        limit_kw[:, self.period[self.roof], self.customer[self.roof]] = kw[:, self.roof]
        limit_kw = limit_kw[:, np.pad(scene.period, (0, rest), constant_values=len(self._hours))]
        return cars.of_homes(drawn_kwh) / scene.hours[:, None], np.minimum(scene.sun_kw, limit_kw)

    def limits_kw(self, kw: Float) -> tuple[Float, Float]:
        """Setpoints of the first period: limits of charging and of feed-in, shape (customer,), inf for none."""
        limits_kw = np.full((2, self.outlook.scene.net_kw.shape[1]), np.inf)
        free_kw = np.where(self.roof, self.high_kw, self._charger_kw) - UNLIMITED_KW
        held = np.flatnonzero((self.period == 0) & (kw < free_kw))
        limits_kw[self.roof[held].astype(int), self.customer[held]] = np.where(kw[held] <= _SAME_KW, 0.0, kw[held])
        return limits_kw[0], limits_kw[1]

    def _charging(self, x: Float, period: int, left_kwh: Float) -> Float:
        """Semicontinuous rates, raised to each car's floor and then to the common pace."""
        columns = self._columns[period]
        cars, who = self.outlook.cars, self.car[columns]
        most_kw, floor_kw, pace_kw = (
            values[:, who] for values in cars.bounds_kw(period, self._hours[period], left_kwh)
        )
        charger_kw, there_h = self._charger_kw[columns], self._there_h[period, who]
        least_kw = np.minimum(self.least_kw[columns], charger_kw)

        def runnable(drawn_kw: Float) -> Float:
            """Lift what lies between a pause and the least that the charger can do."""
            return np.asarray(np.where(drawn_kw > _SAME_KW, np.maximum(drawn_kw, least_kw), 0.0))

        share = (x - PAUSED_BELOW) / (1.0 - PAUSED_BELOW)
        drawn_kw = np.where(x >= PAUSED_BELOW, np.minimum(least_kw + share * (charger_kw - least_kw), most_kw), 0.0)
        drawn_kw = np.maximum(drawn_kw, floor_kw)
        if period == 0:
            drawn_kw = np.maximum(drawn_kw, self.low_kw[columns])
        drawn_kw = runnable(drawn_kw)

        urgent = np.argsort((cars.window_h - cars.due_kwh / cars.charger_kw)[who], kind="stable")
        room_kwh = ((most_kw - drawn_kw).clip(0.0) * there_h)[:, urgent]
        missing_kwh = ((pace_kw - drawn_kw) * there_h).sum(axis=1, keepdims=True)
        # what is missing to the common pace goes to the most urgent first, as in a continuous knapsack
        raise_kwh = np.clip(missing_kwh - (np.cumsum(room_kwh, axis=1) - room_kwh), 0.0, room_kwh)
        drawn_kw[:, urgent] += raise_kwh / there_h[urgent]
        return runnable(drawn_kw)

    def _bound(self, must_run: Bool | None, least_kw: Float | None) -> None:
        """Bounds and rows of the powers, chargers' least power left out of account but where a car must run."""
        cars, there_h, is_first = self.outlook.cars, self._there_h, self.period == 0
        self.low_kw, self.high_kw, self.even_kw = np.zeros(self.n_var), self._sun_kw.copy(), self._sun_kw.copy()
        hours_h = np.pad(there_h, ((0, 0), (0, 1)))[self.period, self.car]  # of roofs 0
        left_kwh = cars.due_kwh
        for period, columns in enumerate(self._columns):
            who = self.car[columns]
            most_kw, _, _ = cars.bounds_kw(period, self._hours[period], cars.due_kwh)
            high_kw = np.maximum(most_kw, np.minimum(cars.least_kw, cars.charger_kw))
            _, floor_kw, pace_kw = cars.bounds_kw(period, self._hours[period], left_kwh)
            even_kw = np.maximum(floor_kw, pace_kw)
            left_kwh = left_kwh - even_kw * there_h[period]
            if period == 0:
                # who needs all that can be had is not held back at all
                urgent = floor_kw >= most_kw - _SAME_KW
                high_kw = np.where(urgent, cars.charger_kw, high_kw)
                self.low_kw[columns] = np.where(urgent, cars.charger_kw, floor_kw)[who]
                if must_run is not None:
                    least = np.where(must_run[self.customer[columns]], self.least_kw[columns], 0.0)
                    self.low_kw[columns] = np.maximum(self.low_kw[columns], least)
                # a hair less, or the row could exclude the even pace itself by rounding
                rows = [(np.where(is_first, hours_h, 0.0), float(pace_kw @ there_h[0]) - _SAME_KW, np.inf)]
            self.high_kw[columns] = high_kw[who]
            self.even_kw[columns] = np.clip(even_kw[who], self.low_kw[columns], high_kw[who])
        if least_kw is not None:
            of_roofs = np.minimum(least_kw[self.customer], self.high_kw)
            self.low_kw = np.where(self.roof & is_first, of_roofs, self.low_kw)
        self.low_kw = np.minimum(self.low_kw, self.high_kw)
        until_h = np.cumsum(there_h, axis=0)
        reach_kwh = cars.charger_kw * (cars.window_h - until_h - self._hours[:, None]).clip(0.0)
        must_kwh = np.minimum(cars.due_kwh - reach_kwh, cars.charger_kw * until_h)
        for period, car in np.argwhere(must_kwh[1:] > 0.0).tolist():
            mine = (self.car == car) & (self.period <= period + 1)
            rows.append((np.where(mine, hours_h, 0.0), float(must_kwh[period + 1, car]) - 1e-9, np.inf))
        for car in range(len(cars)) if len(self._columns) > 1 else ():  # nobody plans to draw more than is due
            row = np.where(self.car == car, hours_h, 0.0)
            least_kwh = float(np.maximum(self.even_kw, self.low_kw) @ row)
            rows.append((row, -np.inf, max(float(cars.due_kwh[car]), least_kwh)))
        self.rows, self.row_low, self.row_high = (np.array(column) for column in zip(*rows, strict=True))
