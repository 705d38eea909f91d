"""Planning: requests and a station in, a plan out."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from cosim.controllers.planner.aims import cost_of, service_first, shortfall_price, weighted
from cosim.controllers.planner.model import build, find_pairs, servable_kwh
from cosim.controllers.planner.options import Options
from cosim.controllers.planner.pool import other_points
from cosim.controllers.planner.requests import Requests, Station, request_faults
from cosim.controllers.planner.result import Planning, plan_of
from cosim.controllers.planner.solver import AimSolver
from cosim.controllers.planner.times import Rounding, round_stays, stay_change_step
from cosim.controllers.solver import worst
from cosim.errors import Fault, InputError

UNSERVABLE_KWH = 1e-9  # less is rounding of numbers


def plan(
    requests: Requests, station: Station, options: Options | None = None, *, rounding: Rounding = "prorata"
) -> Planning:
    """Plan the charging of all requests behind one connection.

    Parameters
    ----------
    requests : Requests
        One row per vehicle.
    station : Station
        Capacity and tariff per step.
    options : Options, optional
        Linear programme, service first, cost second, unless told otherwise.
    rounding : str
        What happens to stays that begin or end inside a step; see ``Rounding``.

    Returns
    -------
    Planning
        The best plan, others where asked for, and how sure the solver is.

    Raises
    ------
    InputError
        With everything that is wrong with the requests.
    SolverError
        Where there is no plan that can be trusted, such as none within the time limit.
    """
    options = options or Options()
    if not len(requests):
        raise InputError(Fault("planner", "requests", "there are none", "give at least one vehicle"))
    faults = request_faults(requests, station.steps)
    if faults:
        raise InputError(faults)
    began = time.perf_counter()
    arrival, departure = round_stays(requests.arrival_step, requests.departure_step, rounding)
    lost, gained = stay_change_step(requests.arrival_step, requests.departure_step, arrival, departure)
    rounded = replace(requests, arrival_step=arrival, departure_step=departure)
    pairs = find_pairs(rounded, station, options)
    model = build(rounded, station, options, pairs)
    solver = AimSolver(model, options)
    cost = cost_of(model, station, pairs)
    build_s = time.perf_counter() - began
    if options.objective == "weighted":
        endings, last_aim = weighted(solver, model, cost, shortfall_price(rounded, options))
    else:
        endings, last_aim = service_first(solver, model, rounded, pairs, cost, options)
    results = tuple(endings.values())
    last = results[-1]
    best = plan_of(rounded, station, pairs, solver.point[model.power], last.value)
    pool_began = time.perf_counter()
    points = other_points(solver, model, pairs, last_aim, last.value, options)
    pool_s = time.perf_counter() - pool_began
    others = [plan_of(rounded, station, pairs, point[model.power], float(last_aim @ point)) for point in points]
    missing_kwh = rounded.energy_need_kwh - servable_kwh(rounded, pairs)
    return Planning(
        rounded,
        station,
        best,
        tuple(sorted(others, key=lambda other: other.objective)),
        np.where(missing_kwh > UNSERVABLE_KWH, missing_kwh, 0.0),
        lost,
        gained,
        endings,
        worst(result.termination for result in results),
        last.bound,
        max(result.gap for result in results),
        build_s,
        sum(result.wall_s for result in results),
        pool_s,
    )
