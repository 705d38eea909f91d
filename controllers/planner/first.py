"""A plan and a bound without a solver, for when there is no time for one: least room first, and everybody alone."""

from __future__ import annotations

import numpy as np

from cosim.contract import Float
from cosim.controllers.planner.model import PlanModel
from cosim.controllers.planner.requests import ROUNDING_KWH, limits_of


def first_point(model: PlanModel) -> Float:
    """Charge step by step whoever has to leave first, as far as the capacity goes.

    Returns
    -------
    ndarray, shape (column,)
        Within all limits of the model; where starts are limited, nobody is charged.
    """
    requests, station, pairs = model.requests, model.station, model.pairs
    left_kwh, room_kwh = requests.energy_need_kwh.copy(), requests.headroom_kwh.copy()
    power_kw = np.zeros(len(pairs))
    limits = limits_of(requests, station)
    by_step = np.lexsort((requests.departure_step[pairs.vehicle], pairs.step))
    ends = np.searchsorted(pairs.step[by_step], np.arange(station.steps + 1))
    is_limited = model.options.min_up_steps > 1 or model.options.max_starts is not None
    for step in range(0 if is_limited else station.steps):
        now = by_step[ends[step] : ends[step + 1]]
        vehicle, gain, low_kw = pairs.vehicle[now], pairs.battery_kwh_per_kw[now], pairs.low_kw[now]
        wanted_kw = np.minimum(np.maximum(left_kwh[vehicle] / gain, low_kw), pairs.high_kw[now])
        wanted_kw[(left_kwh[vehicle] <= ROUNDING_KWH) | (wanted_kw * gain > room_kwh[vehicle] + ROUNDING_KWH)] = 0.0
        given_kw = wanted_kw
        for share, limit_kw in limits:
            part = share[vehicle]
            before_kw = np.cumsum(part * wanted_kw) - part * wanted_kw
            left_kw = np.maximum(limit_kw[step] - before_kw, 0.0)
            given_kw = np.where(part * given_kw > left_kw, left_kw / np.maximum(part, 1e-9), given_kw)
        given_kw[given_kw < low_kw] = 0.0
        power_kw[now] = given_kw
        left_kwh[vehicle] -= given_kw * gain
        room_kwh[vehicle] -= given_kw * gain
    point = np.zeros(len(model.high))
    point[model.power], point[model.shortfall] = power_kw, np.maximum(left_kwh, 0.0)
    sums_kw = np.bincount(pairs.step, power_kw, station.steps)
    mean_kw = np.bincount(pairs.step, power_kw * pairs.share, station.steps)
    point[model.peak] = max(float((sums_kw - station.peak_room_kw).max()), 0.0)
    point[model.sun] = np.minimum(station.sun_kw, mean_kw)[model.sun_step]
    point[model.worst] = 1.0
    point[model.switch] = power_kw[: len(model.switch)] > 0
    point[model.start] = pairs.starts(power_kw > 0)[: len(model.start)]
    return point


def bound_alone(model: PlanModel, cost: Float) -> float:
    """What ``cost @ columns`` cannot fall below: the sum of what it is if every vehicle is alone with all the sun."""
    requests, pairs = model.requests, model.pairs
    need_kwh, room_kwh = requests.energy_need_kwh, np.maximum(requests.headroom_kwh, requests.energy_need_kwh)
    price = cost[model.power] / pairs.battery_kwh_per_kw
    order = np.lexsort((price, pairs.vehicle))
    vehicle, price = pairs.vehicle[order], price[order]
    most_kwh = (pairs.battery_kwh_per_kw * pairs.high_kw)[order]
    before_kwh = np.cumsum(most_kwh) - most_kwh
    before_kwh -= before_kwh[np.searchsorted(vehicle, vehicle)]
    missing_price = cost[model.shortfall]
    until_kwh = np.select([price < 0, price < missing_price[vehicle]], [room_kwh[vehicle], need_kwh[vehicle]], 0.0)
    taken_kwh = np.clip(until_kwh - before_kwh, 0.0, most_kwh)
    missing_kwh = np.maximum(need_kwh - np.bincount(vehicle, taken_kwh, len(requests)), 0.0)
    sun = np.minimum(cost[model.sun], 0.0) @ model.high[model.sun]
    return float(price @ taken_kwh + missing_price @ missing_kwh + sun)
