"""What the controller believes of the periods to come: demand, sun, and what cars would draw.

It knows the forecast and the last observation, nothing else. Households are taken to fill their cheapest hours first,
the earliest first among equals, because the tariff is public; a car that was seen charging all the same is taken to
charge at once.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    """

    customer: Int
    charger_kw: Float
    least_kw: Float
    due_kwh: Float
    window_h: Float
    there_h: Float
    period: Int

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
    parts = _parts(seen.step, period_steps, periods, expected.steps)
    steps = slice(seen.step, parts[-1].stop)
    period = np.repeat(np.arange(len(parts)), [part.stop - part.start for part in parts])
    step_h = seen.step_min / 60.0
    hours = np.full(len(period), step_h)
    last = max(seen.step - 1, 0)

    def corrected(forecast: Float, metered: Float | float) -> Float:
        error = np.nan_to_num(metered - forecast[last]) * (seen.step > 0)
        fading = (ERROR_PERSISTENCE ** (1 + period)).reshape(-1, *[1] * (forecast.ndim - 1))
        return np.asarray(forecast[steps] + fading * error)

    cars, at_once = _cars(seen, expected, parts, period, known_at_once)
    rows = {
        "net_kw": corrected(expected.inflexible_load_kw, seen.inflexible_load_kw).clip(0.0),
        "net_kvar": corrected(expected.demand_kvar, seen.demand_kvar),
        "sun_kw": np.clip(corrected(expected.pv_available_kw, seen.pv_available_kw), 0.0, seen.inverter_kva),
        "wanted_kw": drawn_kw(cars, hours, len(seen.demand_kw)),
        "tariff_eur_per_kwh": expected.tariff_eur_per_kwh[steps],
        "source_pu": corrected(expected.source_pu, seen.source_pu),
    }
    roofs = np.flatnonzero(rows["sun_kw"].max(axis=0) > _SMALL_KW)
    rest_h = float((cars.window_h - cars.there_h.sum(axis=0)).max(initial=0.0))
    rest = slice(steps.stop, min(steps.stop + round(rest_h / step_h), expected.steps))
    if rest.stop > rest.start:
        hours = np.append(hours, (rest.stop - rest.start) * step_h)
        later = {
            "net_kw": expected.inflexible_kw, "net_kvar": expected.demand_kvar,
            "tariff_eur_per_kwh": expected.tariff_eur_per_kwh, "source_pu": expected.source_pu,
        }  # fmt: skip
        for name, values in rows.items():
            mean = later[name][rest].mean(axis=0) if name in later else np.zeros(values.shape[1])
            rows[name] = np.concatenate([values, [mean]])
    others_kva = expected.others_kva
    if others_kva is not None:
        there, after = others_kva[steps], others_kva[rest]
        others_kva = np.concatenate([there, [after.mean(axis=0)]]) if len(after) else there
    scene = Scene(
        hours=hours,
        others_kva=others_kva,
        period=period,
        before_kw=float(seen.net_kw.sum()) if seen.step else float("nan"),
        charging=seen.ev_kw > _SMALL_KW,
        offered_kwh=history[0],
        curtailed_kwh=history[1],
        first_step=seen.step,
        export_eur_per_kwh=expected.export_eur_per_kwh,
        **rows,
    )
    return Outlook(scene, cars, roofs, at_once)


def _parts(begin: int, steps: int, periods: int, end: int) -> list[slice]:
    """Steps of the controlled periods; fewer where the horizon ends."""
    starts = [start for start in range(begin, begin + steps * periods, steps) if start < end]
    return [slice(start, min(start + steps, end)) for start in starts]


def drawn_kw(cars: Cars, hours: Float, customers: int) -> Float:
    """Charging without any limit in the controlled steps, shape (step, customer) [kW]."""
    found_kw, left_kwh = np.zeros((len(hours), customers)), cars.due_kwh.copy()
    for step, length_h in enumerate(hours):
        drawn_kwh = np.minimum(cars.charger_kw * cars.there_h[step], left_kwh)
        left_kwh -= drawn_kwh
        np.add.at(found_kw[step], cars.customer, drawn_kwh / length_h)
    return found_kw


def _cars(
    seen: Observation, expected: Exogenous, parts: list[slice], period: Int, known_at_once: Bool
) -> tuple[Cars, Bool]:
    """Cars that would charge in the periods, within which bounds, and which homes do not wait for cheaper hours."""
    tariff = expected.tariff_eur_per_kwh[seen.step :]
    starts_min = (seen.step + np.arange(len(tariff))) * seen.step_min
    near_min = (parts[-1].stop - seen.step) * seen.step_min
    stays = rest_of_day(expected, seen).sessions
    there = seen.plugged[stays.customer] & (stays.arrival_min <= 0.0)
    stays = stays[there | (stays.arrival_min < near_min)]
    customers, first = np.unique(stays.customer, return_index=True)  # the first of a home counts
    stays = stays[first]

    def of_car(values: Float) -> Float:
        per_customer = np.zeros(len(seen.plugged))
        per_customer[customers] = values
        return per_customer

    left_kwh, charger_kw = of_car(stays.energy_need_kwh / stays.efficiency), of_car(stays.charger_kw)
    least_kw = np.minimum(np.where(seen.plugged, seen.charger_min_kw, LEAST_OF_ARRIVING_KW), charger_kw)
    arrival_min = seen.minute + of_car(stays.arrival_min)
    departure_min = seen.minute + of_car(stays.departure_min)
    ends_min = np.minimum(departure_min, starts_min[:, None] + seen.step_min)
    there_h = (ends_min - np.maximum(arrival_min, starts_min[:, None])).clip(0.0) / 60.0  # (step, customer)

    # a household that was seen charging at this very price does not wait for a cheaper one
    needs_now_kwh = _needs_at(tariff[0], tariff, there_h, left_kwh, charger_kw)
    same_price = seen.step > 0 and abs(expected.tariff_eur_per_kwh[seen.step - 1] - tariff[0]) <= _SAME_PRICE
    at_once = same_price & seen.plugged & ((seen.ev_kw > _SMALL_KW) | known_at_once) & (needs_now_kwh <= 0.0)

    prices = dict.fromkeys(float(tariff[part.start - seen.step]) for part in parts)
    rows: list[tuple[Int, Float, Float, Float]] = []
    for price in prices:
        due_kwh = _needs_at(price, tariff, there_h, left_kwh, charger_kw)
        hours_h = np.where((np.abs(tariff - price) <= _SAME_PRICE)[:, None], there_h, 0.0)
        if price == float(tariff[0]):
            due_kwh, hours_h = np.where(at_once, left_kwh, due_kwh), np.where(at_once, there_h, hours_h)
        else:
            # what is beyond these hours as well belongs to the dearer ones
            due_kwh = np.where(at_once, 0.0, np.minimum(due_kwh, charger_kw * hours_h.sum(axis=0)))
        in_steps_h = hours_h[: len(period)]
        length_h = (parts[0].stop - parts[0].start) * seen.step_min / 60.0
        who = np.flatnonzero((due_kwh > _SMALL_KW * length_h) & (in_steps_h.sum(axis=0) > 0.0))
        rows.append((who, due_kwh[who], hours_h[:, who].sum(axis=0), in_steps_h[:, who]))
    who = np.concatenate([row[0] for row in rows])
    cars = Cars(
        customer=who,
        charger_kw=charger_kw[who],
        least_kw=least_kw[who],
        due_kwh=np.concatenate([row[1] for row in rows]),
        window_h=np.concatenate([row[2] for row in rows]),
        there_h=np.concatenate([row[3] for row in rows], axis=1),
        period=period,
    )
    return cars, np.asarray(at_once)


def _needs_at(price: float, tariff: Float, there_h: Float, left_kwh: Float, charger_kw: Float) -> Float:
    """Energy that does not fit into cheaper hours, all of them full: left for the hours of this price and above."""
    cheaper_h = there_h[tariff < price - _SAME_PRICE].sum(axis=0)
    return np.asarray((left_kwh - charger_kw * cheaper_h).clip(0.0))
