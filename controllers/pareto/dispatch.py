"""Variables of the control loop: what an outlook lets be set, and what no objective may trade away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.pareto.outlook import Outlook

PAUSED_BELOW = 0.3
"""A car's variable below this pauses it; from here to 1 it runs from the least the charger can do to its rating."""

UNLIMITED_FROM = 0.999

_SMALL_KW = 0.05
_SAME_KW = 1e-6

Memory = Mapping[tuple[bool, int, int], float]
"""Variables of a decision by (roof, period, customer)."""

NO_MEMORY: Memory = MappingProxyType({})


class LoopSpace:
    """Limits for cars and roofs in the coming control periods; a ``Space``.

    One variable in 0..1 for every car that would charge and every roof in the sun, in each period; 1 is no limit.
    Decoding keeps what no objective may trade away: a charger pauses or runs at least at 6 A; a car draws at least what
    its energy by departure needs; all cars together draw at least the even pace that finishes them in time. What a car
    drew in a period is no longer due in the next.

    Parameters
    ----------
    outlook : Outlook
        The periods.
    """

    def __init__(self, outlook: Outlook) -> None:
        self.outlook, cars, scene = outlook, outlook.cars, outlook.scene
        self._hours = scene.hours
        self.cars_in = [np.flatnonzero(cars.there_h[period] > 0.0) for period in range(scene.controlled)]
        self.roofs_in = [
            outlook.roofs[scene.sun_kw[period, outlook.roofs] > _SMALL_KW] for period in range(scene.controlled)
        ]
        sizes = [(len(of_cars), len(of_roofs)) for of_cars, of_roofs in zip(self.cars_in, self.roofs_in, strict=True)]
        ends = np.cumsum([0, *(many + few for many, few in sizes)])
        self.car_columns = [slice(end, end + many) for end, (many, _) in zip(ends[:-1], sizes, strict=True)]
        self.roof_columns = [slice(cut.stop, end) for cut, end in zip(self.car_columns, ends[1:], strict=True)]
        self.n_var = int(ends[-1])
        self.roof = np.zeros(self.n_var, dtype=bool)
        self.period = np.zeros(self.n_var, dtype=np.int64)
        self.customer = np.zeros(self.n_var, dtype=np.int64)
        for period in range(scene.controlled):
            of_cars, of_roofs = self.car_columns[period], self.roof_columns[period]
            self.roof[of_roofs] = True
            self.period[of_cars], self.period[of_roofs] = period, period
            self.customer[of_cars] = cars.customer[self.cars_in[period]]
            self.customer[of_roofs] = self.roofs_in[period]
        self._sun_kw = np.where(self.roof, scene.sun_kw[self.period, self.customer], 0.0)
        self._bound()

    @property
    def movable(self) -> bool:
        """Whether there is anything to decide; not where every car must charge all it can and no roof has sun."""
        return bool((self.high_kw > self.low_kw + _SAME_KW).any())

    def decode(self, x: Float) -> Float:
        """Mean powers of candidates, shape (candidate, variable) [kW]; always attainable."""
        kw = x * self._sun_kw  # roofs; columns of cars are overwritten below
        left_kwh = np.tile(self.outlook.cars.due_kwh, (len(x), 1))
        for period, (who, columns) in enumerate(zip(self.cars_in, self.car_columns, strict=True)):
            kw[:, columns] = self._charging(x[:, columns], period, left_kwh)
            left_kwh[:, who] -= kw[:, columns] * self._hours[period]
        return kw

    def encode(self, kw: Float) -> Float:
        """Variables that give powers as near to these as can be attained, shape (candidate, variable)."""
        x = np.divide(kw, self._sun_kw, out=np.ones_like(kw), where=self._sun_kw > 0.0)
        cars = self.outlook.cars
        for who, columns in zip(self.cars_in, self.car_columns, strict=True):
            least_kw, charger_kw, wanted_kw = cars.least_kw[who], cars.charger_kw[who], kw[:, columns]
            share = (wanted_kw - least_kw) / np.maximum(charger_kw - least_kw, 1e-9)
            running = PAUSED_BELOW + (1.0 - PAUSED_BELOW) * share.clip(0.0, 1.0)
            free = wanted_kw >= self.high_kw[columns] - 1e-6
            x[:, columns] = np.where(free, 1.0, np.where(wanted_kw < least_kw / 2.0, 0.0, running))
        return x.clip(0.0, 1.0)

    def powers(self, kw: Float) -> tuple[Float, Float]:
        """Charging and generation, each of shape (candidate, period, customer) [kW]; affine in the argument."""
        scene, cars = self.outlook.scene, self.outlook.cars
        shape = (len(kw), len(scene.hours), scene.net_kw.shape[1])
        ev_kw, pv_kw = np.zeros(shape), np.tile(scene.sun_kw, (len(kw), 1, 1))
        pv_kw[:, self.period[self.roof], self.customer[self.roof]] = kw[:, self.roof]
        left_kwh = np.tile(cars.due_kwh, (len(kw), 1))
        for period, (who, columns) in enumerate(zip(self.cars_in, self.car_columns, strict=True)):
            left_kwh[:, who] -= kw[:, columns] * self._hours[period]
            np.add.at(ev_kw[:, period].T, cars.customer[who], kw[:, columns].T)
        if len(scene.hours) > scene.controlled:
            # what is still due after the controlled periods is drawn evenly in the last one: energy cannot be put off
            # for free
            np.add.at(ev_kw[:, -1].T, cars.customer, (left_kwh / self._hours[-1]).T)
        return ev_kw, pv_kw

    def limits_kw(self, x: Float, customers: int) -> tuple[Float, Float]:
        """Setpoints of the first period: limits of charging and of feed-in, shape (customer,), inf for none."""
        kw, cars = self.decode(x[None, :])[0], self.outlook.cars
        ev_limit_kw, pv_limit_kw = np.full(customers, np.inf), np.full(customers, np.inf)
        of_cars, of_roofs, who = self.car_columns[0], self.roof_columns[0], self.cars_in[0]
        least_kw, charger_kw = cars.least_kw[who], cars.charger_kw[who]
        most_kw, floor_kw, _ = cars.bounds_kw(0, self._hours, cars.due_kwh)
        running = np.maximum(kw[of_cars], least_kw)
        limited = (running < charger_kw) & (floor_kw < most_kw)[who]
        ev_limit_kw[cars.customer[who]] = np.where(kw[of_cars] <= 0.0, 0.0, np.where(limited, running, np.inf))
        free = x[of_roofs] >= UNLIMITED_FROM
        pv_limit_kw[self.roofs_in[0]] = np.where(free, np.inf, kw[of_roofs])
        return ev_limit_kw, pv_limit_kw

    def remember(self, x: Float) -> Memory:
        """The plan of a candidate, for `recall` at the next decision."""
        keys = zip(self.roof.tolist(), self.period.tolist(), self.customer.tolist(), strict=True)
        return dict(zip(keys, x.tolist(), strict=True))

    def recall(self, memory: Memory) -> Float:
        """The last plan, its first period gone by, as a candidate of these; what was not limited is free."""
        keys = zip(self.roof.tolist(), self.period.tolist(), self.customer.tolist(), strict=True)

        def before() -> Iterator[float]:
            for roof, period, customer in keys:
                now = memory.get((roof, period, customer), 1.0)
                yield memory.get((roof, period + 1, customer), now)

        return np.fromiter(before(), float, self.n_var)

    def _charging(self, x: Float, period: int, left_kwh: Float) -> Float:
        """Semicontinuous charging power, raised to each car's floor and then to the common pace."""
        cars, who = self.outlook.cars, self.cars_in[period]
        most_kw, floor_kw, pace_kw = (
            values[:, who] for values in cars.bounds_kw(period, self._hours, left_kwh.clip(0.0))
        )
        least_kw, charger_kw = cars.least_kw[who], cars.charger_kw[who]

        def runnable(drawn_kw: Float) -> Float:
            """Lift what lies between a pause and the least that the charger can do."""
            return np.where(drawn_kw > 0.0, np.maximum(drawn_kw, np.minimum(least_kw, most_kw)), 0.0)

        share = (x - PAUSED_BELOW) / (1.0 - PAUSED_BELOW)
        running_kw = least_kw + share * (charger_kw - least_kw)
        drawn_kw = np.where(x >= PAUSED_BELOW, np.minimum(running_kw, most_kw), 0.0)
        drawn_kw = np.maximum(drawn_kw, runnable(floor_kw))

        urgent = self._urgent(who)
        room_kw = (most_kw - drawn_kw)[:, urgent]
        missing_kw = pace_kw.sum(axis=1, keepdims=True) - drawn_kw.sum(axis=1, keepdims=True)
        # what is missing to the common pace goes to the most urgent first, as in a continuous knapsack
        raise_kw = np.clip(missing_kw - (np.cumsum(room_kw, axis=1) - room_kw), 0.0, room_kw)
        drawn_kw[:, urgent] += raise_kw
        return runnable(drawn_kw)

    def _urgent(self, who: Int) -> Int:
        """Positions in ``who``, the most urgent car first."""
        position = np.full(len(self.outlook.cars), -1)
        position[who] = np.arange(len(who))
        ordered = position[self.outlook.cars.most_urgent_first]
        return np.asarray(ordered[ordered >= 0])

    def _even_kw(self) -> Float:
        cars, even_kw, left_kwh = self.outlook.cars, self._sun_kw.copy(), self.outlook.cars.due_kwh
        for period, (who, columns) in enumerate(zip(self.cars_in, self.car_columns, strict=True)):
            _, floor_kw, pace_kw = cars.bounds_kw(period, self._hours, left_kwh)
            drawn_kw = np.maximum(floor_kw, pace_kw)
            even_kw[columns] = drawn_kw[who]
            left_kwh = left_kwh - drawn_kw * self._hours[period]
        return even_kw

    def _bound(self) -> None:
        """Bounds and rows of the powers, chargers' least power left out of account."""
        cars, hours = self.outlook.cars, self._hours
        self.low_kw, self.high_kw = np.zeros(self.n_var), self._sun_kw.copy()
        rows: list[Float] = []
        lows: list[float] = []
        highs: list[float] = []
        _, floor_kw, pace_kw = cars.bounds_kw(0, hours, cars.due_kwh)
        for period, (who, columns) in enumerate(zip(self.cars_in, self.car_columns, strict=True)):
            available_kw = cars.charger_kw * np.minimum(cars.there_h[period] / hours[period], 1.0)
            self.high_kw[columns] = np.minimum(available_kw, cars.due_kwh / hours[period])[who]
        self.even_kw = self._even_kw()
        first, who = self.car_columns[0], self.cars_in[0]
        self.low_kw[first] = floor_kw[who]
        together_kw = float(pace_kw[who].sum())
        if len(who) == 1:
            self.low_kw[first] = np.maximum(self.low_kw[first], together_kw)
        elif together_kw > self.low_kw[first].sum():
            rows.append(np.zeros(self.n_var))
            rows[-1][first] = 1.0
            # a hair less, or the row could exclude the even pace itself by rounding
            lows.append(together_kw - _SAME_KW)
            highs.append(np.inf)
        for period in range(1, len(self.cars_in)):
            reach_kwh = np.minimum(
                cars.due_kwh,
                cars.charger_kw * (cars.window_h - cars.there_h[: period + 1].sum(axis=0) - hours[period]).clip(0.0),
            )
            could_kwh = cars.charger_kw * cars.there_h[: period + 1].sum(axis=0)
            for car in self.cars_in[period]:
                row = np.zeros(self.n_var)
                for before in range(period + 1):
                    here = np.flatnonzero(self.cars_in[before] == car)
                    row[self.car_columns[before].start + here] = hours[before]
                rows.append(row)
                lows.append(float(min(cars.due_kwh[car] - reach_kwh[car], could_kwh[car])) - 1e-9)
                highs.append(float(cars.due_kwh[car]))
        self.rows = np.array(rows).reshape(len(rows), self.n_var)
        self.row_low, self.row_high = np.array(lows), np.array(highs)
