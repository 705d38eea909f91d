"""Cars as measured at home: users who differ, and whole weeks of each, drawn from fitted tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from cosim.contract import EvSessions
from cosim.contract.streams import each, on
from cosim.feeders.find import DATA
from cosim.feeders.households import DAY_MIN

Float = NDArray[np.float64]

CHARGER_KW = 7.2
"""One phase of 32 A; the measured sessions were never faster on average over their stay."""
BATTERY_KWH = (40.0, 52.0, 60.0, 77.0, 100.0)
LARGEST_NEED_SHARE = 0.95
FEASIBLE_SHARE = 0.95  # largest need, of what the charger can give in the stay
LEAST_STAY_MIN, LEAST_GAP_MIN, LONGEST_STAY_MIN = 10.0, 10.0, 72 * 60.0
WEEK_MIN = 7 * DAY_MIN
TURN_MIN = 240.0
"""A week begins on Monday at 4 h, when fewest cars are plugged in."""
_MONDAY = date(2018, 1, 1).toordinal()


@dataclass(frozen=True)
class Fit:
    """What was fitted to measured sessions (``data/make_apartment.py``); scores are standard normal deviates.

    Attributes
    ----------
    rate : ndarray, shape (2, knot)
        Score of a user, and its sessions a week.
    users_cov : ndarray, shape (4, 4)
        Covariance over users of the scores of rate, energy, stay and hour of plug-in.
    within_cov : ndarray, shape (3, 3)
        Covariance over the sessions of one user of the scores of energy, stay and hour.
    away : float
        Share of weeks in which a user does not plug in at all.
    trials : float
        Chances of a session in a week, against the sessions expected: the more, the more weeks of a user differ.
    days : ndarray, shape (7,)
        Share of the sessions that begins on each day, from Monday.
    hours : ndarray, shape (2, 25)
        Share of the sessions begun by each full hour since 4 h: on weekdays, on weekends.
    slots : ndarray, shape (slot,)
        Hours since 4 h at which another distribution of stays begins.
    stay : ndarray, shape (slot, 2, knot)
        Score and stay [h].
    energy : ndarray, shape (2, knot)
        Score and energy at the meter [kWh].
    """

    rate: Float
    users_cov: Float
    within_cov: Float
    away: float
    trials: float
    days: Float
    hours: Float
    slots: Float
    stay: Float
    energy: Float


def fit_from(tables: dict[str, Any]) -> Fit:
    """Tables as written in the file."""
    values: dict[str, Any] = {
        name: value if isinstance(value, float) else np.array(value, np.float64) for name, value in tables.items()
    }
    return Fit(**values)


@lru_cache(maxsize=1)
def fitted() -> Fit:
    """Tables that are shipped."""
    return fit_from(json.loads((DATA / "ev_apartment.json").read_text(encoding="utf-8"))["tables"])


def draw_apartment(
    customer: NDArray[np.int64],
    start: datetime,
    minutes: int,
    rng: np.random.Generator,
    *,
    efficiency: float = 0.9,
    fit: Fit | None = None,
) -> EvSessions:
    """Draw users and all their stays that touch the horizon.

    Every user has its own frequency, and its own leaning to much or little energy, long or short stays, early or late
    plug-ins. Weeks are drawn one by one, seeded by the calendar: a day is the same from whatever horizon it is seen.

    Parameters
    ----------
    customer : ndarray, shape (car,)
        Customers with a car.
    start : datetime
        Local clock of the first minute.
    minutes : int
        Length of the horizon [min].
    rng : numpy.random.Generator
        Source of the draw; in the same state it draws the same cars.
    efficiency : float
        Battery energy per energy drawn.
    fit : Fit, optional
        Other tables than the shipped ones.

    Returns
    -------
    EvSessions
        In any order and not cut: arrivals may be negative, departures beyond the horizon. No two of a customer overlap,
        and every need can be met inside its stay.

    Notes
    -----
    Fitted to S\u00f8rensen et al., Data in Brief 36 (2021) 106883, doi:10.1016/j.dib.2021.106883 (see
    ``data/SOURCE.md``). Assumptions of this project: chargers of 7.2 kW; batteries of 40, 52, 60, 77 or 100 kWh, the
    larger the more a user's sessions take, left at 80-100 %.
    """
    fit = fit or fitted()

    def like(one: np.random.Generator, who: NDArray[np.int64]) -> tuple[Float]:
        return (one.multivariate_normal(np.zeros(4), fit.users_cov, size=len(who), method="cholesky"),)

    (scores,) = each(rng, customer, like, axis=0)
    root = int(rng.integers(2**62))
    share = ndtr(scores[:, 1] / np.sqrt(fit.users_cov[1, 1]))
    battery_kwh = np.array(BATTERY_KWH)[np.minimum((share * len(BATTERY_KWH)).astype(int), len(BATTERY_KWH) - 1)]
    midnight_min = -(start.hour * 60 + start.minute)
    first_day = (start - timedelta(minutes=LONGEST_STAY_MIN + TURN_MIN)).toordinal() - _MONDAY
    last_day = (start + timedelta(minutes=minutes)).toordinal() - _MONDAY
    weeks = range(first_day // 7, last_day // 7 + 2)  # the week after the horizon ends the last stay
    drawn = [_draw_week(fit, scores, on(rng, root, week + 10_000), customer) for week in weeks]
    offset_min = [midnight_min + (week * 7 + _MONDAY - start.toordinal()) * DAY_MIN for week in weeks]
    car = np.concatenate([one[0] for one in drawn])
    arrival_min = np.concatenate([one[1] + since for one, since in zip(drawn, offset_min, strict=True)])
    stay_min, energy_kwh, full_share = (np.concatenate([one[part] for one in drawn]) for part in (2, 3, 4))
    order = np.lexsort((arrival_min, car))
    car, arrival_min, stay_min, energy_kwh, full_share = (
        values[order] for values in (car, arrival_min, stay_min, energy_kwh, full_share)
    )
    same = car[1:] == car[:-1]
    until_next_min = np.append(np.where(same, np.diff(arrival_min), np.inf), np.inf)[: car.size]
    stay_min = np.minimum(stay_min, until_next_min - LEAST_GAP_MIN)
    need_kwh = np.minimum(energy_kwh, FEASIBLE_SHARE * CHARGER_KW * stay_min / 60.0) * efficiency
    need_kwh = np.minimum(need_kwh, LARGEST_NEED_SHARE * battery_kwh[car])
    full_kwh = np.maximum(full_share * battery_kwh[car], need_kwh + 0.05 * battery_kwh[car])
    kept = stay_min >= LEAST_STAY_MIN
    car = car[kept]
    return EvSessions(
        customer=customer[car].astype(np.int64),
        arrival_min=arrival_min[kept],
        departure_min=(arrival_min + stay_min)[kept],
        energy_need_kwh=need_kwh[kept],
        charger_kw=np.full(car.size, CHARGER_KW),
        efficiency=np.full(car.size, efficiency),
        battery_kwh=battery_kwh[car],
        soc_arrival_kwh=(full_kwh - need_kwh)[kept],
    )


def _draw_week(
    fit: Fit, scores: Float, rng: np.random.Generator, customer: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Float, Float, Float, Float]:
    """Car, minute of arrival since Monday 0 h, stay [min], energy [kWh] and how full the car leaves, of one week.

    All sessions that a week could have are drawn, whoever plugs in how often: so a day does not depend on what other
    cars do.
    """
    expected = np.interp(scores[:, 0], *fit.rate) / (1.0 - fit.away)
    trials = np.maximum(np.ceil(fit.trials * expected), 1.0).astype(np.int64)
    chance = np.minimum(expected / trials, 1.0)
    most = int(np.ceil(fit.trials * fit.rate[1, -1] / (1.0 - fit.away)))

    def of_week(one: np.random.Generator, who: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
        cars = len(who)
        return (
            one.binomial(trials[who], chance[who]), one.random(cars), one.random((cars, most)), one.random((cars, 1)),
            one.multivariate_normal(np.zeros(3), fit.within_cov, size=(cars, most), method="cholesky"),
            one.uniform(0.8, 1.0, (cars, most)),
        )  # fmt: skip

    count, there, part, turn, noise, full_share = each(rng, customer, of_week, axis=0)
    count *= there >= fit.away
    # one session in each of `count` equal parts of the week, which begin anywhere: seldom two on a day
    part = (np.arange(most) + part) / np.maximum(count, 1)[:, None]
    day_score = (part + turn) % 1.0
    day = np.searchsorted(np.cumsum(fit.days), day_score, side="right").clip(max=6)
    energy_score, stay_score, hour_score = np.moveaxis(noise + scores[:, None, 1:], -1, 0)
    car, session = np.nonzero(np.arange(most) < count[:, None])
    day, energy_score, stay_score, hour_score, full_share = (
        values[car, session] for values in (day, energy_score, stay_score, hour_score, full_share)
    )
    by_hour = ndtr(hour_score)
    hour = np.where(
        day < 5, np.interp(by_hour, fit.hours[0], np.arange(25.0)), np.interp(by_hour, fit.hours[1], np.arange(25.0))
    )
    slot = np.searchsorted(fit.slots, hour, side="right")
    stay_h = np.empty(car.size)
    for number, (score, value_h) in enumerate(fit.stay):
        rows = slot == number
        stay_h[rows] = np.interp(stay_score[rows], score, value_h)
    stay_min = np.clip(np.round(stay_h * 60.0), LEAST_STAY_MIN, LONGEST_STAY_MIN)
    arrival_min = np.floor(day * DAY_MIN + TURN_MIN + hour * 60.0)
    return car, arrival_min, stay_min, np.interp(energy_score, *fit.energy), full_share
