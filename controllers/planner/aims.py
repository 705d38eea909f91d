"""What is minimised, one aim after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.planner.model import Model, Pairs, servable_kwh
from cosim.controllers.planner.options import SEED_PENALTY_EUR, Options
from cosim.controllers.planner.requests import Requests, Station
from cosim.controllers.planner.solver import Ending, Solver
from cosim.errors import SolverError

KEPT_KWH, KEPT_SHARE = 1e-7, 1e-9  # how much of what an aim reached a later one may give up
LEVEL = 1e-7  # a share of shortfall below this is none


def cost_of(model: Model, station: Station, pairs: Pairs) -> Float:
    """Energy and peak charge, coefficient of every column [EUR]."""
    cost = np.zeros(len(model.high))
    cost[model.power] = station.tariff_eur_per_kwh[pairs.step] * station.step_h * pairs.share
    if model.peak >= 0:
        cost[model.peak] = station.peak_eur_per_kw
    return cost


def shortfall_price(requests: Requests, options: Options) -> Float:
    """Price of a missing kWh, shape (vehicle,) [EUR/kWh]."""
    if options.shortfall_eur_per_kwh is None:
        return np.asarray(SEED_PENALTY_EUR / requests.battery_kwh)
    return np.full(len(requests), options.shortfall_eur_per_kwh)


def weighted(solver: Solver, model: Model, cost: Float, price: Float) -> tuple[list[Ending], Float]:
    """Cost and priced shortfall in one sum; also what the pool has to hold."""
    total = cost.copy()
    total[model.shortfall] = price
    return [solver.minimise("cost and shortfall", total)], total


def service_first(
    solver: Solver, model: Model, requests: Requests, pairs: Pairs, cost: Float, options: Options
) -> tuple[list[Ending], Float]:
    """Least shortfall (after the fairest shares, where wanted), then least cost among such plans."""
    endings = []
    if options.fairness == "maxmin":
        endings += _fair_shares(solver, model, requests, pairs, single=options.switched)
    shortfall = np.zeros_like(cost)
    shortfall[model.shortfall] = 1.0
    ending = solver.minimise("shortfall", shortfall)
    solver.keep(shortfall, max(ending.objective, 0.0) * (1.0 + KEPT_SHARE) + KEPT_KWH)
    return [*endings, ending, solver.minimise("cost", cost)], cost


def _fair_shares(solver: Solver, model: Model, requests: Requests, pairs: Pairs, *, single: bool) -> list[Ending]:
    """Make the worst share of shortfall as small as it can be, then the next worst, until none is left.

    Shares are of what a vehicle could get alone. After each round the vehicles whose rows have a multiplier are at
    their level and cannot be helped; the multipliers of a MILP say nothing, so that it stops after one round.
    """
    least = servable_kwh(requests, pairs)
    unservable = requests.energy_need_kwh - least
    worst = np.zeros(len(model.high))
    worst[model.worst] = 1.0
    open_, endings = least > 0, []
    solver.release(model.worst_row[~open_])
    while open_.any():
        ending = solver.minimise("worst share of shortfall", worst)
        endings.append(ending)
        level = max(ending.objective, 0.0)
        if ending.status == "time_limit" and not single:
            raise SolverError("no time left for fair shares: give a longer time limit, or fairness total")
        stuck = open_ if single or level <= LEVEL else open_ & (np.abs(solver.row_dual[model.worst_row]) > 1e-9)
        if not stuck.any():  # a degenerate optimum: hold everybody there
            stuck = open_
        solver.limit(model.shortfall[stuck], unservable[stuck] + level * least[stuck] + KEPT_KWH)
        solver.release(model.worst_row[stuck])
        open_ = open_ & ~stuck
    if not endings:
        return endings
    return [
        replace(
            endings[-1],
            objective=endings[0].objective,
            bound=endings[0].bound,
            gap=max(e.gap for e in endings),
            solve_s=sum(e.solve_s for e in endings),
        )
    ]
