"""Variables of the control loop: what an outlook lets be set, and what no objective may trade away."""

from __future__ import annotations

import numpy as np

from cosim.contract import Float, Int
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
        self._hours = np.array([scene.hours[: scene.steps][scene.period == one].sum() for one in periods])
        cars_in = [np.flatnonzero(cars.in_period_h(one) > 0.0) for one in periods]
        roofs_in = [outlook.roofs[sun_kw[one, outlook.roofs] > _SMALL_KW] for one in periods]
        self.car: Int = np.concatenate(
            [np.append(who, np.full(len(of), -1)) for who, of in zip(cars_in, roofs_in, strict=True)]
        )
        self.customer: Int = np.concatenate(
            [np.append(cars.customer[who], of) for who, of in zip(cars_in, roofs_in, strict=True)]
        )
        self.period = np.repeat(periods, [len(who) + len(of) for who, of in zip(cars_in, roofs_in, strict=True)])
        self.n_var, self.roof = len(self.car), self.car < 0
        self._columns = [np.flatnonzero(~self.roof & (self.period == one)) for one in periods]
        self.least_kw = np.where(self.roof, 0.0, cars.least_kw[self.car] if len(cars) else 0.0)
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
            drawn_kwh = kw[:, columns] * self.outlook.cars.in_period_h(period)[who]
            left_kwh[:, who] = (left_kwh[:, who] - drawn_kwh).clip(0.0)
        return kw

    def encode(self, kw: Float) -> Float:
        """Variables that give powers as near to these as can be attained, shape (candidate, variable)."""
        charger_kw = np.where(self.roof, 0.0, self.outlook.cars.charger_kw[self.car] if len(self.outlook.cars) else 0.0)
        share = (kw - self.least_kw) / np.maximum(charger_kw - self.least_kw, 1e-9)
        running = PAUSED_BELOW + (1.0 - PAUSED_BELOW) * share.clip(0.0, 1.0)
        of_cars = np.where(kw < self.least_kw / 2.0, 0.0, running)
        of_roofs = np.divide(kw, self._sun_kw, out=np.ones_like(kw), where=self._sun_kw > 0.0)
        return np.asarray(np.where(self.roof, of_roofs, of_cars).clip(0.0, 1.0))

    def powers(self, kw: Float) -> tuple[Float, Float]:
        """Charging and generation at every point, each of shape (candidate, point, customer) [kW]."""
        scene, cars = self.outlook.scene, self.outlook.cars
        shape = (len(kw), len(scene.hours), scene.net_kw.shape[1])
        ev_kw, pv_kw = np.zeros(shape), np.tile(scene.sun_kw, (len(kw), 1, 1))
        left_kwh = np.tile(cars.due_kwh, (len(kw), 1))
        for step, period in enumerate(scene.period):
            columns = self._columns[period]
            who = self.car[columns]
            drawn_kwh = np.minimum(kw[:, columns] * cars.there_h[step, who], left_kwh[:, who])
            left_kwh[:, who] -= drawn_kwh
            np.add.at(ev_kw[:, step].T, cars.customer[who], drawn_kwh.T / scene.hours[step])
            roofs = np.flatnonzero(self.roof & (self.period == period))
            home = self.customer[roofs]
            pv_kw[:, step, home] = np.minimum(pv_kw[:, step, home], kw[:, roofs])
        if len(scene.hours) > scene.steps:
            # what is still due after the controlled periods is drawn evenly in the last point: energy cannot be put
            # off for free
            np.add.at(ev_kw[:, -1].T, cars.customer, (left_kwh / scene.hours[-1]).T)
        return ev_kw, pv_kw

    def limits_kw(self, kw: Float) -> tuple[Float, Float]:
        """Setpoints of the first period: limits of charging and of feed-in, shape (customer,), inf for none."""
        cars, customers = self.outlook.cars, self.outlook.scene.net_kw.shape[1]
        ev_limit_kw, pv_limit_kw = np.full(customers, np.inf), np.full(customers, np.inf)
        for column in np.flatnonzero(self.period == 0):
            home, asked_kw = self.customer[column], kw[column]
            if self.roof[column]:
                pv_limit_kw[home] = asked_kw if asked_kw < self.high_kw[column] - UNLIMITED_KW else np.inf
            else:
                free = asked_kw >= cars.charger_kw[self.car[column]] - UNLIMITED_KW
                ev_limit_kw[home] = np.inf if free else 0.0 if asked_kw <= _SAME_KW else asked_kw
        return ev_limit_kw, pv_limit_kw

    def _charging(self, x: Float, period: int, left_kwh: Float) -> Float:
        """Semicontinuous rates, raised to each car's floor and then to the common pace."""
        columns = self._columns[period]
        cars, who = self.outlook.cars, self.car[columns]
        most_kw, floor_kw, pace_kw = (
            values[:, who] for values in cars.bounds_kw(period, self._hours[period], left_kwh)
        )
        least_kw, charger_kw, there_h = cars.least_kw[who], cars.charger_kw[who], cars.in_period_h(period)[who]
        least_kw = np.minimum(least_kw, charger_kw)

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
        cars, car = self.outlook.cars, np.where(self.roof, 0, self.car)
        self.low_kw, self.high_kw, self.even_kw = np.zeros(self.n_var), self._sun_kw.copy(), self._sun_kw.copy()
        rows: list[Float] = []
        lows: list[float] = []
        left_kwh, reach_kwh = cars.due_kwh, np.zeros(len(cars))
        for period, columns in enumerate(self._columns):
            who, there_h = self.car[columns], cars.in_period_h(period)
            most_kw, _, _ = cars.bounds_kw(period, self._hours[period], cars.due_kwh)
            high_kw = np.maximum(most_kw, np.minimum(cars.least_kw, cars.charger_kw))
            _, floor_kw, pace_kw = cars.bounds_kw(period, self._hours[period], left_kwh)
            even_kw = np.maximum(floor_kw, pace_kw)
            left_kwh = left_kwh - even_kw * there_h
            until_h = cars.there_h[self.outlook.scene.period <= period].sum(axis=0)
            reach_kwh = cars.charger_kw * (cars.window_h - until_h - self._hours[period]).clip(0.0)
            must_kwh = np.minimum(cars.due_kwh - reach_kwh, cars.charger_kw * until_h)
            if period == 0:
                # who needs all that can be had is not held back at all
                urgent = floor_kw >= most_kw - _SAME_KW
                high_kw = np.where(urgent, cars.charger_kw, high_kw)
                self.low_kw[columns] = np.where(urgent, cars.charger_kw, floor_kw)[who]
                if must_run is not None:
                    least = np.where(must_run[self.customer[columns]], self.least_kw[columns], 0.0)
                    self.low_kw[columns] = np.maximum(self.low_kw[columns], least)
                rows.append(np.zeros(self.n_var))
                rows[0][columns] = there_h[who]
                # a hair less, or the row could exclude the even pace itself by rounding
                lows.append(float((pace_kw * there_h)[who].sum()) - _SAME_KW)
            self.high_kw[columns] = high_kw[who]
            self.even_kw[columns] = np.clip(even_kw[who], self.low_kw[columns], high_kw[who])
            if period == 0:
                continue
            for row in np.flatnonzero(must_kwh > 0.0):
                mine = ~self.roof & (car == row) & (self.period <= period)
                rows.append(np.where(mine, [cars.in_period_h(one)[row] for one in self.period], 0.0))
                lows.append(float(must_kwh[row]) - 1e-9)
        if least_kw is not None:
            of_roofs = self.roof & (self.period == 0)
            self.low_kw = np.where(of_roofs, np.minimum(least_kw[self.customer], self.high_kw), self.low_kw)
        self.low_kw = np.minimum(self.low_kw, self.high_kw)
        self.rows = np.array(rows).reshape(len(rows), self.n_var)
        self.row_low, self.row_high = np.array(lows), np.full(len(lows), np.inf)
        if len(self._columns) > 1:  # over several periods nobody plans to draw more than is due
            for one_car in range(len(cars)):
                mine = ~self.roof & (car == one_car)
                both = np.where(mine, [cars.in_period_h(one)[one_car] for one in self.period], 0.0)
                self.rows = np.vstack([self.rows, both])
                self.row_low = np.append(self.row_low, -np.inf)
                least_kwh = float(np.maximum(self.even_kw, self.low_kw) @ both)
                self.row_high = np.append(self.row_high, max(float(cars.due_kwh[one_car]), least_kwh))
