"""What is minimised, one aim after the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.planner.model import Pairs, PlanModel, servable_kwh
from cosim.controllers.planner.options import SEED_PENALTY_EUR, Options
from cosim.controllers.planner.requests import Requests, Station
from cosim.controllers.planner.solver import AimSolver
from cosim.controllers.solver import SolveResult, Termination, worst

KEPT_KWH, KEPT_SHARE = 1e-7, 1e-9  # how much of what an aim reached a later one may give up
LEVEL = 1e-7  # a share of shortfall below this is none

Endings = dict[str, SolveResult]
"""How each aim ended, in order."""


def cost_of(model: PlanModel, station: Station, pairs: Pairs) -> Float:
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


def weighted(solver: AimSolver, model: PlanModel, cost: Float, price: Float) -> tuple[Endings, Float]:
    """Cost and priced shortfall in one sum; also what the pool has to hold."""
    total = cost.copy()
    total[model.shortfall] = price
    return {"cost and shortfall": solver.minimise("cost and shortfall", total)}, total


def service_first(
    solver: AimSolver, model: PlanModel, requests: Requests, pairs: Pairs, cost: Float, options: Options
) -> tuple[Endings, Float]:
    """Least shortfall (after the fairest shares, where wanted), then least cost among such plans."""
    endings: Endings = {}
    if options.fairness == "maxmin":
        endings |= _fair_shares(solver, model, requests, pairs, single=options.switched)
    shortfall = np.zeros_like(cost)
    shortfall[model.shortfall] = 1.0
    endings["shortfall"] = least = solver.minimise("shortfall", shortfall)
    solver.keep(shortfall, max(least.value, 0.0) * (1.0 + KEPT_SHARE), KEPT_KWH)
    endings["cost"] = solver.minimise("cost", cost)
    return endings, cost


def _fair_shares(solver: AimSolver, model: PlanModel, requests: Requests, pairs: Pairs, *, single: bool) -> Endings:
    """Make the worst share of shortfall as small as it can be, then the next worst, until none is left.

    Shares are of what a vehicle could get alone. After each round the vehicles whose rows have a multiplier are at
    their level and cannot be helped; the multipliers of a MILP say nothing, so that it stops after one round.
    """
    least = servable_kwh(requests, pairs)
    unservable = requests.energy_need_kwh - least
    worst_share = np.zeros(len(model.high))
    worst_share[model.worst] = 1.0
    aim, open_, results = "worst share of shortfall", least > 0, []
    solver.release(model.worst_row[~open_])
    while open_.any():
        result = solver.minimise(aim, worst_share)
        results.append(result)
        if result.termination is Termination.TIME_LIMIT and not single:
            break  # whoever is still open stays as served as the next aims happen to leave it
        level = max(result.value, 0.0)
        clear = not single and level > LEVEL and len(solver.row_dual) > 0
        stuck = open_ & (np.abs(solver.row_dual[model.worst_row]) > 1e-9) if clear else open_
        if not stuck.any():  # a degenerate optimum: hold everybody there
            stuck = open_
        solver.limit(model.shortfall[stuck], unservable[stuck] + level * least[stuck], KEPT_KWH)
        solver.release(model.worst_row[stuck])
        open_ = open_ & ~stuck
    if not results:
        return {}
    ended = worst(result.termination for result in results)
    return {aim: replace(results[0], termination=ended, wall_s=sum(result.wall_s for result in results))}
