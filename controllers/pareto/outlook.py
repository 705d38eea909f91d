"""What the controller believes of the coming control period: demand, sun, and what cars would draw.

It knows the forecast and the last observation, nothing else. Households are taken to fill their cheapest hours first,
the earliest first among equals, because the tariff is public; a car that was seen charging all the same is taken to
charge at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Exogenous, Float, Int, Observation
from cosim.contract.signals import Bool

ERROR_PERSISTENCE = 0.5
"""Share of the forecast's last error that is expected to last into the coming period."""

_SMALL_KW = 0.05  # below it a roof or a car is not worth a variable
_SAME_PRICE = 1e-9


@dataclass(frozen=True, eq=False)
class Cars:
    """Cars that will charge in the coming period unless they are limited.

    Attributes
    ----------
    customer : ndarray of int, shape (car,)
        Column of the customer.
    charger_kw, least_kw : ndarray, shape (car,)
        Rating, and the least that the charger runs at.
    due_kwh : ndarray, shape (car,)
        Energy from the grid that the household wants to draw in its window.
    window_h : ndarray, shape (car,)
        Hours left for it: plugged in, at the present price.
    most_kw : ndarray, shape (car,)
        Largest mean power of the period.
    floor_kw : ndarray, shape (car,)
        Smallest mean power of the period that leaves the rest of ``due_kwh`` within reach of the charger; where it is
        ``most_kw`` nothing can be moved.
    """

    customer: Int
    charger_kw: Float
    least_kw: Float
    due_kwh: Float
    window_h: Float
    most_kw: Float
    floor_kw: Float

    def __len__(self) -> int:
        return len(self.customer)

    @property
    def fixed(self) -> Bool:
        """Cars that must charge as much as they can, shape (car,)."""
        return np.asarray(self.floor_kw >= self.most_kw)

    @property
    def pace_kw(self) -> float:
        """Power of all together that would finish every car at the end of its window, evenly."""
        return float(np.minimum(self.due_kwh / self.window_h, self.most_kw).sum())

    @property
    def most_urgent_first(self) -> Int:
        """Cars in the order of their slack."""
        order: Int = np.argsort(self.window_h - self.due_kwh / self.charger_kw, kind="stable")
        return order


@dataclass(frozen=True, eq=False)
class Outlook:
    """The coming period, and the mean of the rest of the cars' window after it.

    Attributes
    ----------
    period_h, rest_h : float
        Lengths [h]; the rest is 0 where no car waits.
    net_kw, net_kvar : ndarray, shape (customer,)
        Consumption in the period without cars and roofs.
    rest_net_kw, rest_net_kvar : ndarray, shape (customer,)
        The same of the rest, its roofs taken off.
    source_pu : float or None
        Source voltage; None for the feeder's own.
    cars : Cars
        Who will charge.
    roofs : ndarray of int, shape (roof,)
        Customers whose sun is worth a limit.
    sun_kw : ndarray, shape (customer,)
        What the roofs could give in the period.
    at_once : ndarray of bool, shape (customer,)
        Homes whose cars charge although a cheaper hour is to come.
    """

    period_h: float
    rest_h: float
    net_kw: Float
    net_kvar: Float
    rest_net_kw: Float
    rest_net_kvar: Float
    source_pu: float | None
    cars: Cars
    roofs: Int
    sun_kw: Float
    at_once: Bool


def look_ahead(seen: Observation, expected: Exogenous, period_steps: int, known_at_once: Bool) -> Outlook:
    """Make the outlook of the period that begins.

    Parameters
    ----------
    seen : Observation
        Means of the last step, and the cars that stand there now.
    expected : Exogenous
        The forecast, on the steps of the run.
    period_steps : int
        Steps until the next decision.
    known_at_once : ndarray of bool, shape (customer,)
        ``at_once`` of the last outlook: a car that was paused since does not show what it wants.
    """
    begin, last = seen.step, max(seen.step - 1, 0)
    period = slice(begin, min(begin + period_steps, expected.steps))
    period_h = (period.stop - begin) * seen.step_min / 60.0

    def corrected(forecast: Float, metered: Float) -> Float:
        error = metered - forecast[last] if begin else 0.0
        return np.asarray(forecast[period].mean(axis=0) + ERROR_PERSISTENCE * error)

    cars, at_once = _cars(seen, expected, period_h, known_at_once)
    rest_h = float((cars.window_h - period_h).max(initial=0.0))
    rest = slice(period.stop, min(period.stop + round(rest_h * 60.0 / seen.step_min), expected.steps))
    rest_h = (rest.stop - rest.start) * seen.step_min / 60.0
    after = rest if rest_h else period
    sun_kw = np.clip(corrected(expected.pv_available_kw, seen.pv_available_kw), 0.0, seen.inverter_kva)
    return Outlook(
        period_h=period_h,
        rest_h=rest_h,
        net_kw=corrected(expected.demand_kw, seen.demand_kw).clip(0.0),
        net_kvar=corrected(expected.demand_kvar, seen.demand_kvar),
        rest_net_kw=(expected.demand_kw[after] - expected.pv_available_kw[after]).mean(axis=0),
        rest_net_kvar=expected.demand_kvar[after].mean(axis=0),
        source_pu=seen.source_pu if np.isfinite(seen.source_pu) else None,
        cars=cars,
        roofs=np.flatnonzero(sun_kw > _SMALL_KW),
        sun_kw=sun_kw,
        at_once=at_once,
    )


def _cars(seen: Observation, expected: Exogenous, period_h: float, known_at_once: Bool) -> tuple[Cars, Bool]:
    """Cars that would charge in the period, within which bounds, and which homes do not wait for cheaper hours."""
    tariff = expected.tariff_eur_per_kwh[seen.step :]
    starts_min = (seen.step + np.arange(len(tariff))) * seen.step_min
    departure_min = np.nan_to_num(seen.departure_min)
    there_h = (departure_min - starts_min[:, None]).clip(0.0, seen.step_min) / 60.0  # (step, customer)
    cheaper_h = there_h[tariff < tariff[0] - _SAME_PRICE].sum(axis=0)
    # what does not fit into cheaper hours, all of them full, is left for the hours of the present price
    as_dear_h = there_h[np.abs(tariff - tariff[0]) <= _SAME_PRICE].sum(axis=0)
    left_kwh = np.where(seen.plugged, seen.energy_left_kwh / seen.efficiency, 0.0)
    due_kwh = (left_kwh - seen.charger_kw * cheaper_h).clip(0.0)

    # a household that was seen charging at this very price does not wait for a cheaper one
    same_price = seen.step > 0 and abs(expected.tariff_eur_per_kwh[seen.step - 1] - tariff[0]) <= _SAME_PRICE
    at_once = same_price & seen.plugged & ((seen.ev_kw > _SMALL_KW) | known_at_once) & (due_kwh <= 0.0)
    due_kwh = np.where(at_once, left_kwh, due_kwh)
    window_h = np.where(at_once, there_h.sum(axis=0), as_dear_h)

    who = np.flatnonzero((due_kwh > _SMALL_KW * period_h) & (window_h > 0.0))
    due_kwh, window_h, charger_kw = due_kwh[who], window_h[who], seen.charger_kw[who]
    most_kw = np.minimum(charger_kw * np.minimum(window_h / period_h, 1.0), due_kwh / period_h)
    # one period is kept in reserve: a charger cannot run between 0 and 6 A, and forecasts err
    within_reach_kwh = charger_kw * (window_h - 2.0 * period_h).clip(0.0)
    floor_kw = ((due_kwh - within_reach_kwh) / period_h).clip(0.0)
    cars = Cars(
        customer=who,
        charger_kw=charger_kw,
        least_kw=np.minimum(seen.charger_min_kw[who], charger_kw),
        due_kwh=due_kwh,
        window_h=window_h,
        most_kw=most_kw,
        floor_kw=np.minimum(floor_kw, most_kw),
    )
    return cars, np.asarray(at_once)
