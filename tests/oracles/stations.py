"""A station's plan by a model of its own: one dense column per vehicle and step, solved by SciPy aim after aim."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linprog

from cosim.contract import Float
from cosim.controllers.planner.requests import Requests, Station


def aims_in_turn(requests: Requests, station: Station, objective: str, margin_step: float = 0.0) -> Float:
    """Least values, one aim after the other, each held at its value for those that follow.

    Returns
    -------
    ndarray, shape (aim,)
        ``service``: shortfall [kWh], energy drawn within ``margin_step`` of a departure [kWh], cost [EUR].
        ``weighted``: cost, with shortfall at 100 EUR per battery. Last, energy times the step it is drawn in.
    """
    cars, steps = len(requests), station.steps
    edge = np.arange(steps)

    def overlap_h(begin: Float, end: Float) -> Float:
        inside = np.minimum(edge + 1, end[:, None]) - np.maximum(edge, begin[:, None])
        return station.step_s / 3600.0 * np.clip(inside, 0.0, None)

    hours = overlap_h(requests.arrival_step, requests.departure_step)
    begin = np.maximum(requests.departure_step - margin_step, requests.arrival_step)
    late_h = overlap_h(begin, requests.departure_step)
    none, each = np.zeros(cars), np.eye(cars)
    gain = requests.efficiency[:, None] * hours
    per_car = np.hstack([np.kron(each, np.ones(steps)) * gain.ravel(), each])
    per_step = np.hstack([np.tile(np.eye(steps), cars), np.zeros((steps, cars))])
    at_most = [
        *zip(-per_car, -requests.energy_need_kwh, strict=True),
        *zip(per_car, np.maximum(requests.headroom_kwh, requests.energy_need_kwh), strict=True),
        *zip(per_step, station.capacity_kw, strict=True),
    ]
    high = np.append(np.where(hours > 0, requests.power_max_kw[:, None], 0.0).ravel(), requests.energy_need_kwh)
    cost = (hours * station.tariff_eur_per_kwh).ravel()
    shortfall = np.append(np.zeros(cars * steps), np.ones(cars))
    if objective == "weighted":
        aims = [np.append(cost, 100.0 / requests.battery_kwh)]
    else:
        aims = [shortfall, np.append(late_h.ravel(), none), np.append(cost, none)]
    values = []
    for aim in [*aims, np.append((gain * edge).ravel(), none)]:
        rows, limits = (np.array(part) for part in zip(*at_most, strict=True))
        found = linprog(aim, rows, limits, bounds=np.column_stack([np.zeros_like(high), high]))
        values.append(found.fun)
        at_most.append((aim, found.fun + 1e-9))
    return np.array(values)
