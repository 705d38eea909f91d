"""A station's plan by a model of its own: one dense column per vehicle and step, solved by SciPy aim after aim."""

from __future__ import annotations

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, linprog, milp

from cosim.contract import Float
from cosim.controllers.planner.requests import Requests, Station


def aims_in_turn(requests: Requests, station: Station, objective: str, margin_step: float = 0.0) -> Float:
    """Least values, one aim after the other, each held at its value for those that follow.

    Returns
    -------
    ndarray, shape (aim,)
        ``service``: shortfall [kWh], energy drawn within ``margin_step`` of a departure [kWh], cost beside what the
        site costs without charging [EUR]. ``weighted``: that cost, with shortfall at 100 EUR per battery. Last, energy
        times the step in which it is drawn.
    """
    cars, steps = len(requests), station.steps
    edge = np.arange(steps)

    def overlap_h(begin: Float, end: Float) -> Float:
        inside = np.minimum(edge + 1, end[:, None]) - np.maximum(edge, begin[:, None])
        return station.step_s / 3600.0 * np.clip(inside, 0.0, None)

    hours = overlap_h(requests.arrival_step, requests.departure_step)
    begin = np.maximum(requests.departure_step - margin_step, requests.arrival_step)
    late_h = overlap_h(begin, requests.departure_step)
    each, gain = np.eye(cars), requests.efficiency[:, None] * hours
    lay = (cars * steps, cars, steps, 1)  # powers, shortfalls, imports of the site and their peak

    def row(*parts: Float | float) -> Float:
        """One or more rows of coefficients, block by block; a number stands for all columns of its block."""
        high = max([len(part) for part in parts if np.ndim(part) == 2], default=1)
        blocks = zip(parts, lay, strict=True)
        return np.hstack([np.broadcast_to(np.asarray(part, float), (high, size)) for part, size in blocks])

    site_kw, all_kw = station.site_kw, np.tile(np.eye(steps), cars)
    drawn_kw = all_kw * (hours / station.step_h).ravel()
    per_car = row(np.kron(each, np.ones(steps)) * gain.ravel(), each, 0.0, 0.0)
    blocks = [
        (-per_car, -requests.energy_need_kwh),
        (per_car, np.maximum(requests.headroom_kwh, requests.energy_need_kwh)),
        (row(all_kw, 0.0, 0.0, 0.0), station.capacity_kw),
        *((row(all_kw * np.repeat(share, steps), 0.0, 0.0, 0.0), most) for share, most in _phases(requests, station)),
        (row(drawn_kw, 0.0, -np.eye(steps), 0.0), -site_kw),
        (row(all_kw, 0.0, 0.0, -np.ones((steps, 1))), -site_kw),
    ]
    at_most, limits = (np.concatenate(part) for part in zip(*blocks, strict=True))
    owed_kw = max(station.peak_so_far_kw, float(site_kw.max()))
    power_kw = np.where(hours > 0, requests.power_max_kw[:, None], 0.0).ravel()
    high = np.concatenate([power_kw, requests.energy_need_kwh, np.full(steps + 1, np.inf)])
    low = np.append(np.zeros(len(high) - 1), owed_kw)
    price = station.step_h * station.tariff_eur_per_kwh
    without_eur = price @ np.maximum(site_kw, 0.0) + station.peak_eur_per_kw * owed_kw
    shortfall_eur = 100.0 / requests.battery_kwh if objective == "weighted" else 0.0
    aims = [row(0.0, 1.0, 0.0, 0.0), row(late_h.ravel(), 0.0, 0.0, 0.0)] if objective == "service" else []
    aims += [row(0.0, shortfall_eur, price, station.peak_eur_per_kw), row((gain * edge).ravel(), 0.0, 0.0, 0.0)]
    values = []
    for aim in aims:
        found = linprog(aim[0], at_most, limits, bounds=np.column_stack([low, high]))
        values.append(found.fun)
        at_most, limits = np.vstack([at_most, aim]), np.append(limits, found.fun + 1e-7)
    values[-2] -= without_eur
    return np.array(values)


def _phases(requests: Requests, station: Station) -> list[tuple[Float, Float]]:
    return [(requests.phase_share[:, k], station.phase_kw[:, k]) for k in range(station.phase_kw.shape[1])]


def switched_aims_in_turn(requests: Requests, station: Station, unserved_kwh: Float) -> Float:
    """Least shortfall [kWh], then least cost [EUR], then fewest starts, of stays of whole steps with least powers.

    The starts are of plans in which no vehicle misses more than ``unserved_kwh``.
    """
    cars, steps = len(requests), station.steps
    cells, each = cars * steps, np.eye(cars)
    edge = np.arange(steps)
    there = (edge >= requests.arrival_step[:, None]) & (edge < requests.departure_step[:, None])
    gain = (requests.efficiency[:, None] * station.step_h * there).ravel()
    none, one, of_car = np.zeros((cells, cells)), np.eye(cells), np.kron(each, np.ones(steps))
    free = np.zeros((cells, cars))
    before = np.kron(each, np.eye(steps, k=-1))  # the switch a step earlier, off before the first
    sums = np.tile(np.eye(steps), cars)
    wide = np.zeros((steps, 2 * cells + cars))
    low, high = (np.diag(np.repeat(limit, steps)) for limit in (requests.power_min_kw, requests.power_max_kw))
    blocks = [  # powers, switches, starts, shortfalls: at most
        (np.hstack([one, -high, none, free]), 0.0),
        (np.hstack([-one, low, none, free]), 0.0),
        (np.hstack([none, one - before, -one, free]), 0.0),
        (np.hstack([-of_car * gain, np.zeros((cars, 2 * cells)), -each]), -requests.energy_need_kwh),
        (np.hstack([of_car * gain, np.zeros((cars, 2 * cells)), each]), requests.headroom_kwh),
        (np.hstack([sums, wide]), station.capacity_kw),
        *((np.hstack([sums * np.repeat(share, steps), wide]), most) for share, most in _phases(requests, station)),
    ]
    rows = np.vstack([block for block, _ in blocks])
    limits = np.concatenate([np.broadcast_to(most, len(block)) for block, most in blocks])
    most = np.concatenate([np.full(cells, np.inf), there.ravel(), np.ones(cells), np.full(cars, np.inf)])
    whole = np.concatenate([np.zeros(cells), np.ones(2 * cells), np.zeros(cars)])
    price = np.tile(station.step_h * station.tariff_eur_per_kwh, cars)
    parts = (np.zeros(cells), np.zeros(cells), np.zeros(cells), np.zeros(cars))
    aims = [np.concatenate([*parts[:3], np.ones(cars)]), np.concatenate([price, *parts[1:]])]
    aims.append(np.concatenate([*parts[:2], np.ones(cells), parts[3]]))
    values = []
    for aim in aims:
        found = milp(aim, constraints=LinearConstraint(rows, -np.inf, limits), bounds=Bounds(0.0, most),
                     integrality=whole, options={"mip_rel_gap": 0.0})  # fmt: skip
        values.append(found.fun)
        rows, limits = np.vstack([rows, aim]), np.append(limits, found.fun + 1e-6)
        if len(values) == len(aims) - 1:
            most[-cars:] = unserved_kwh + 1e-4
    return np.array(values)
