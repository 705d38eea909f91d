"""Planning: requests and a station in, a plan out, with what each vehicle gets and how sure the solver is."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from cosim.contract import Float
from cosim.contract.survey import FrozenArrays
from cosim.controllers.planner.aims import other_points, prefer, pursue
from cosim.controllers.planner.model import PlanModel, build, servable_kwh
from cosim.controllers.planner.options import Options, Rounding
from cosim.controllers.planner.requests import Requests, Station, request_faults
from cosim.controllers.planner.solver import AimSolver
from cosim.controllers.planner.stays import round_stays, stay_change_step
from cosim.controllers.solver import SolveResult, Termination, worst
from cosim.errors import Fault, InputError, refuse

OFF_KW = 1e-7  # solver dust
UNSERVABLE_KWH = 1e-9  # less is rounding of numbers


MOST_CELLS = 10**8  # of a table of powers, 0.8 GB


@dataclass(frozen=True, eq=False)
class Plan(FrozenArrays):
    """One plan.

    Attributes
    ----------
    power_kw : ndarray, shape (step, vehicle)
        Charging power while the vehicle is there [kW].
    energy_kwh : ndarray, shape (step, vehicle)
        Drawn in each step: less than power × step where the vehicle is there for a part of it [kWh].
    delivered_kwh, unserved_kwh : ndarray, shape (vehicle,)
        Into the battery by departure, and what is missing of the need [kWh].
    objective : float
        Value of the last aim: cost, with priced shortfall in the weighted form [EUR].
    sun_kwh : float
        Sun that is charged with instead of energy from the grid [kWh].
    energy_cost_eur, peak_cost_eur : float
        Tariff × energy drawn from the grid; what charging adds to the peak charge.
    """

    power_kw: Float
    energy_kwh: Float
    delivered_kwh: Float
    unserved_kwh: Float
    objective: float
    sun_kwh: float
    energy_cost_eur: float
    peak_cost_eur: float

    @property
    def peak_kw(self) -> float:
        """Largest sum of powers [kW]; of vehicles that follow each other inside a step, both."""
        return float(self.power_kw.sum(axis=1).max(initial=0.0))

    @property
    def cost_eur(self) -> float:
        """Energy and peak charge [EUR]."""
        return self.energy_cost_eur + self.peak_cost_eur


class Planned(Protocol):
    """What figures and messages to chargers need of a plan."""

    @property
    def requests(self) -> Requests:
        """As planned."""

    @property
    def station(self) -> Station:
        """As planned."""

    @property
    def best(self) -> Plan:
        """The plan."""


@dataclass(frozen=True, eq=False)
class Planning(FrozenArrays):
    """Outcome of planning.

    Attributes
    ----------
    requests, station : Requests, Station
        As planned: with stays after rounding.
    best : Plan
        The best plan found.
    others : tuple of Plan
        Further plans near it, all different, cheapest first.
    unservable_kwh : ndarray, shape (vehicle,)
        Part of each need that no plan can serve, found before solving [kWh].
    lost_step, gained_step : ndarray, shape (vehicle,)
        What rounding took from each stay, and what it planned while the vehicle is not there [steps].
    endings : dict of str to SolveResult
        Of every aim by its name, in order; the last are ``starts`` of the MILP, and ``early energy``:
        choices among plans that are as good.
    status : Termination
        The least proven of the aims, these choices aside.
    bound, gap : float
        Proven bound of the last aim; largest gap of the aims.
    build_s, solve_s : float
        Time for the model, and in the solver for the best plan [s].
    pool_s : float
        Time in the solver for the other plans [s].
    """

    requests: Requests
    station: Station
    best: Plan
    others: tuple[Plan, ...]
    unservable_kwh: Float
    lost_step: Float
    gained_step: Float
    endings: dict[str, SolveResult]
    status: Termination
    bound: float
    gap: float
    build_s: float
    solve_s: float
    pool_s: float = 0.0

    @property
    def phase_peak_kw(self) -> Float:
        """Largest sums of the best plan on L1, L2 and L3; empty where they are not told apart [kW]."""
        phases = self.station.phase_kw.shape[1]
        return np.asarray((self.best.power_kw @ self.requests.phase_share[:, :phases]).max(axis=0, initial=0.0))


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
        Where there is no plan that can be trusted.
    """
    options = options or Options()
    if not len(requests):
        raise InputError(Fault("planner", "requests", "there are none", "give at least one vehicle"))
    if len(requests) * station.steps > MOST_CELLS:
        problem = f"{len(requests)} vehicles in {station.steps} steps are more than {MOST_CELLS:.0e} powers"
        raise InputError(Fault("planner", "time_step_s", problem, "give longer steps, or plan in parts"))
    refuse(request_faults(requests, station.steps))
    began = time.perf_counter()
    arrival, departure = round_stays(requests.arrival_step, requests.departure_step, rounding)
    lost, gained = stay_change_step(requests.arrival_step, requests.departure_step, arrival, departure)
    rounded = replace(requests, arrival_step=arrival, departure_step=departure)
    model = build(rounded, station, options)
    solver = AimSolver(model)
    build_s = time.perf_counter() - began
    endings, last_aim = pursue(solver, model)
    results = tuple(endings.values())
    last = results[-1]
    if last.termination in (Termination.OPTIMAL, Termination.GAP_LIMIT):
        # preferences: what is proven of the plan does not depend on them
        endings |= prefer(solver, model, last_aim, last.value)
    best = _plan_of(model, solver.point[model.power], float(last_aim @ solver.point))
    pool_began = time.perf_counter()
    points = other_points(solver, model, last_aim, last.value)
    pool_s = time.perf_counter() - pool_began
    others = [_plan_of(model, point[model.power], float(last_aim @ point)) for point in points]
    missing_kwh = rounded.energy_need_kwh - servable_kwh(rounded, model.pairs)
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
        sum(result.wall_s for result in endings.values()),
        pool_s,
    )


def _plan_of(model: PlanModel, pair_kw: Float, objective: float) -> Plan:
    """Plan from the powers of the pairs, shape (pair,) [kW]."""
    requests, station, pairs = model.requests, model.station, model.pairs
    off = pair_kw < np.maximum(pairs.low_kw / 2.0, OFF_KW)  # a switch is whole up to the solver's tolerance only
    held_kw = np.where(off, 0.0, np.clip(pair_kw, pairs.low_kw, pairs.high_kw))
    power_kw, energy_kwh = np.zeros((2, station.steps, len(requests)))
    power_kw[pairs.step, pairs.vehicle] = held_kw
    energy_kwh[pairs.step, pairs.vehicle] = held_kw * pairs.share * station.step_h
    drawn_kwh = energy_kwh.sum(axis=1)
    sun_kwh = np.minimum(station.sun_kw * station.step_h, drawn_kwh)
    above_kw = power_kw.sum(axis=1) - station.peak_room_kw
    delivered_kwh = pairs.per_vehicle(pairs.battery_kwh_per_kw * held_kw, len(requests))
    return Plan(
        power_kw,
        energy_kwh,
        delivered_kwh,
        np.maximum(requests.energy_need_kwh - delivered_kwh, 0.0),
        objective,
        float(sun_kwh.sum()),
        float(station.tariff_eur_per_kwh @ (drawn_kwh - sun_kwh)),
        station.peak_eur_per_kw * float(above_kw.max(initial=0.0)),
    )
