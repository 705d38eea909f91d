"""What the controller believes of the periods to come: demand, sun, and what cars would draw.

It knows the forecast and the last observation, nothing else. Households are taken to fill their cheapest hours first,
the earliest first among equals, because the tariff is public; a car that was seen charging all the same is taken to
charge at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cosim.contract import Exogenous, Float, Int, Observation
from cosim.contract.signals import Bool
from cosim.controllers.nowcast import rest_of_day
from cosim.controllers.pareto.scene import Scene

ERROR_PERSISTENCE = 0.5
"""Share of the forecast's last error that is expected to last into the coming period; halved with every further one."""

LEAST_OF_ARRIVING_KW = 1.38
"""Least power of a charger that no car has shown yet: 6 A on one phase of 230 V."""

_SMALL_KW = 0.05  # below it a roof or a car is not worth a variable
_SAME_PRICE = 1e-9


@dataclass(frozen=True, eq=False)
class Cars:
    """Charging that will take place in the coming periods unless it is limited, one row per car and price.

    Attributes
    ----------
    customer : ndarray of int, shape (car,)
        Column of the customer.
    charger_kw, least_kw : ndarray, shape (car,)
        Rating, and the least that the charger runs at.
    due_kwh : ndarray, shape (car,)
        Energy from the grid that the household wants to draw in its window.
    window_h : ndarray, shape (car,)
        Hours left for it: plugged in, at the price in question.
    there_h : ndarray, shape (step, car)
        How much of them lies in each controlled step.
    period : ndarray of int, shape (step,)
        Control period of the steps.
    customers : int
        Number of customers.
    """

    customer: Int
    charger_kw: Float
    least_kw: Float
    due_kwh: Float
    window_h: Float
    there_h: Float
    period: Int
    customers: int

    def __len__(self) -> int:
        return len(self.customer)

    def in_period_h(self, period: int) -> Float:
        """How much of the windows lies in a period, shape (car,)."""
        return np.asarray(self.there_h[self.period == period].sum(axis=0))

    def bounds_kw(self, period: int, length_h: float, left_kwh: Float) -> tuple[Float, Float, Float]:
        """Bounds of the rate in a period, while the car is there, given what is left to draw.

        Parameters
        ----------
        period : int
            Which of the controlled periods.
        length_h : float
            Its length [h].
        left_kwh : ndarray, shape (..., car)
            Of ``due_kwh`` at the beginning of the period.

        Returns
        -------
        most_kw, floor_kw, pace_kw : ndarray, shape (..., car)
            The most that has an effect; the least that leaves the rest within reach of the charger (where both are
            equal nothing can be moved); and what would finish at the end of the window, evenly.
        """
        window_h = self.window_h - self.there_h[self.period < period].sum(axis=0)
        there_h = self.in_period_h(period)
        some_h = np.maximum(there_h, 1e-9)
        most_kw = np.minimum(self.charger_kw, np.where(there_h > 0.0, left_kwh / some_h, 0.0))
        # one period is kept in reserve: a charger cannot run between 0 and 6 A, and forecasts err
        within_reach_kwh = self.charger_kw * (window_h - there_h - length_h).clip(0.0)
        floor_kw = np.minimum(((left_kwh - within_reach_kwh) / some_h).clip(0.0), most_kw)
        pace_kw = np.minimum(left_kwh / np.maximum(window_h, 1e-9), most_kw)
        return most_kw, floor_kw, pace_kw

    def drawn_kwh(self, rate_kw: Float) -> tuple[Float, Float]:
        """What is drawn in each step at rates, shape (..., step, car) both, and what is still due then, (..., car)."""
        until_kwh = np.minimum(np.cumsum(rate_kw * self.there_h, axis=-2), self.due_kwh)
        start_kwh = np.zeros_like(until_kwh[..., :1, :])
        return np.diff(until_kwh, axis=-2, prepend=start_kwh), np.asarray(self.due_kwh - until_kwh[..., -1, :])

    def of_homes(self, kwh: Float) -> Float:
        """Sums by customer of what is (..., car), shape (..., customer)."""
        return np.asarray(kwh @ (self.customer[:, None] == np.arange(self.customers)))


@dataclass(frozen=True, eq=False)
class Outlook:
    """The coming periods, and the mean of the rest of the cars' window after them.

    Attributes
    ----------
    scene : Scene
        What cannot be influenced.
    cars : Cars
        Who will charge.
    roofs : ndarray of int, shape (roof,)
        Customers whose sun is worth a limit.
    at_once : ndarray of bool, shape (customer,)
        Homes whose cars charge although a cheaper hour is to come.
    """

    scene: Scene
    cars: Cars
    roofs: Int
    at_once: Bool


def look_ahead(
    seen: Observation, expected: Exogenous, period_steps: int, known_at_once: Bool, periods: int = 1,
    history: Float | None = None,
) -> Outlook:  # fmt: skip
    """Make the outlook of the periods that begin.

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
    periods : int
        Number of periods with decisions of their own; only the first is carried out.
    history : ndarray, shape (2, customer), optional
        What roofs could have given so far, and what of it was to be curtailed [kWh].
    """
    history = np.zeros((2, len(seen.demand_kw))) if history is None else history
    steps = slice(seen.step, min(seen.step + period_steps * periods, expected.steps))
    period = np.arange(steps.stop - steps.start) // period_steps
    step_h, last = seen.step_min / 60.0, max(seen.step - 1, 0)
    cars, at_once = _cars(seen, expected, period, known_at_once)
    rest_h = float((cars.window_h - cars.there_h.sum(axis=0)).max(initial=0.0))
    rest = slice(steps.stop, min(steps.stop + round(rest_h / step_h), expected.steps))
    rest_h = max(rest.stop - rest.start, 0) * step_h

    def corrected(forecast: Float, metered: Float | float) -> Float:
        error = np.nan_to_num(metered - forecast[last]) * (seen.step > 0)
        fading = (ERROR_PERSISTENCE ** (1 + period)).reshape(-1, *[1] * (forecast.ndim - 1))
        return np.asarray(forecast[steps] + fading * error)

    def and_rest(values: Any, forecast: Any = None) -> Any:
        """Values of the steps, and after them the mean of a forecast of the rest, or nothing."""
        mean = 0.0 * values[:1] if forecast is None else forecast[rest].mean(axis=0, keepdims=True) if rest_h else None
        return np.concatenate([values, mean]) if rest_h else values

    sun_kw = np.clip(corrected(expected.pv_available_kw, seen.pv_available_kw), 0.0, seen.inverter_kva)
    net_kw = corrected(expected.inflexible_load_kw, seen.inflexible_load_kw).clip(0.0)
    drawn_kwh, _ = cars.drawn_kwh(np.broadcast_to(cars.charger_kw, cars.there_h.shape))
    others_kva = expected.others_kva
    scene = Scene(
        hours=np.append(np.full(len(period), step_h), [rest_h] * (rest_h > 0.0)),
        period=period,
        net_kw=and_rest(net_kw, expected.inflexible_kw),
        net_kvar=and_rest(corrected(expected.demand_kvar, seen.demand_kvar), expected.demand_kvar),
        sun_kw=and_rest(sun_kw),
        wanted_kw=and_rest(cars.of_homes(drawn_kwh) / step_h),
        tariff_eur_per_kwh=and_rest(expected.tariff_eur_per_kwh[steps], expected.tariff_eur_per_kwh),
        source_pu=and_rest(corrected(expected.source_pu, seen.source_pu), expected.source_pu),
        before_kw=float(seen.net_kw.sum()) if seen.step else float("nan"),
        charging=seen.ev_kw > _SMALL_KW,
        offered_kwh=history[0],
        curtailed_kwh=history[1],
        others_kva=None if others_kva is None else and_rest(others_kva[steps], others_kva),
        first_step=seen.step,
        export_eur_per_kwh=expected.export_eur_per_kwh,
    )
    return Outlook(scene, cars, np.flatnonzero(sun_kw.max(axis=0) > _SMALL_KW), at_once)


def _cars(seen: Observation, expected: Exogenous, period: Int, known_at_once: Bool) -> tuple[Cars, Bool]:
    """Cars that would charge in the periods, within which bounds, and which homes do not wait for cheaper hours."""
    tariff = expected.tariff_eur_per_kwh[seen.step :]
    starts_min = (np.arange(len(tariff)) * seen.step_min)[:, None]
    stays = rest_of_day(expected, seen).sessions
    stays = stays[stays.arrival_min < len(period) * seen.step_min]
    home, first = np.unique(stays.customer, return_index=True)  # the first of a home counts
    stays = stays[first]
    left_kwh, charger_kw = stays.energy_need_kwh / stays.efficiency, stays.charger_kw
    least_kw = np.where(seen.plugged, seen.charger_min_kw, LEAST_OF_ARRIVING_KW)[home]
    ends_min = np.minimum(stays.departure_min, starts_min + seen.step_min)
    there_h = (ends_min - np.maximum(stays.arrival_min, starts_min)).clip(0.0) / 60.0  # (step, stay)

    # a household that was seen charging at this very price does not wait for a cheaper one
    needs_now_kwh = _needs_at(tariff[0], tariff, there_h, left_kwh, charger_kw)
    same_price = seen.step > 0 and abs(expected.tariff_eur_per_kwh[seen.step - 1] - tariff[0]) <= _SAME_PRICE
    at_once = (same_price & seen.plugged & ((seen.ev_kw > _SMALL_KW) | known_at_once))[home] & (needs_now_kwh <= 0.0)

    rows: list[tuple[Int, Float, Float]] = []
    for price in dict.fromkeys(tariff[np.flatnonzero(np.diff(period, prepend=-1))].tolist()):
        due_kwh = _needs_at(price, tariff, there_h, left_kwh, charger_kw)
        hours_h = np.where((np.abs(tariff - price) <= _SAME_PRICE)[:, None], there_h, 0.0)
        if price == tariff[0]:
            due_kwh, hours_h = np.where(at_once, left_kwh, due_kwh), np.where(at_once, there_h, hours_h)
        else:
            # what is beyond these hours as well belongs to the dearer ones
            due_kwh = np.where(at_once, 0.0, np.minimum(due_kwh, charger_kw * hours_h.sum(axis=0)))
        worth_kwh = _SMALL_KW * np.count_nonzero(period == 0) * seen.step_min / 60.0
        who = np.flatnonzero((due_kwh > worth_kwh) & (hours_h[: len(period)].sum(axis=0) > 0.0))
        rows.append((who, due_kwh[who], hours_h[:, who]))
    who, due_kwh, hours_h = (np.concatenate(column, axis=-1) for column in zip(*rows, strict=True))
    cars = Cars(
        customer=home[who],
        charger_kw=charger_kw[who],
        least_kw=np.minimum(least_kw, charger_kw)[who],
        due_kwh=due_kwh,
        window_h=hours_h.sum(axis=0),
        there_h=hours_h[: len(period)],
        period=period,
        customers=len(seen.plugged),
    )
    of_homes = np.zeros(len(seen.plugged), dtype=bool)
    of_homes[home] = at_once
    return cars, of_homes


def _needs_at(price: float, tariff: Float, there_h: Float, left_kwh: Float, charger_kw: Float) -> Float:
    """Energy that does not fit into cheaper hours, all of them full: left for the hours of this price and above."""
    cheaper_h = there_h[tariff < price - _SAME_PRICE].sum(axis=0)
    return np.asarray((left_kwh - charger_kw * cheaper_h).clip(0.0))
