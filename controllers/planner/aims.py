"""What is minimised, one aim after the other; then other plans, nearly as good and different from each other.

These after E. D. Brill, S.-Y. Chang, L. D. Hopkins, "Modeling to generate alternatives", Management Science 28 (1982)
221-235 (hop, skip and jump): hold the aims at nearly their best values and minimise what the plans found so far use.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cosim.contract import Float
from cosim.contract.signals import Bool
from cosim.controllers.planner.model import PlanModel, servable_kwh
from cosim.controllers.planner.options import Options
from cosim.controllers.planner.requests import Requests, Station
from cosim.controllers.planner.solver import SHIFTED_KWH, AimSolver, Preference
from cosim.controllers.planner.stays import presence
from cosim.controllers.solver import SolveResult, Termination, worst

SEED_PENALTY_EUR = 100.0
"""Seed 002's price of a shortfall as large as the battery: divided by the battery's capacity, so per kWh it is dearer
for small batteries."""

KEPT_KWH, KEPT_SHARE = 1e-7, 1e-9  # how much of what an aim reached a later one may give up
LEVEL = 1e-7  # a share of shortfall below this is none

MOVED_SHARE = 0.01
"""Plans are different where at least this share of the energy is drawn by another vehicle or in another step."""

POOL_SLACK = 0.01  # how much more than the best cost another plan may have
ENOUGH_GAP = 0.05  # of the distance: any plan that is different will do
KEPT_EUR = 1e-6
EARLY_WEIGHT = 0.005  # of the dearest price, in the sum from which the aims begin: any more, and cost has far to go
EARLY_GAP = 0.02  # of the MILP: a little later than possible is early enough

Endings = dict[str, SolveResult]
"""How each aim ended, in order."""


def pursue(solver: AimSolver, model: PlanModel) -> tuple[Endings, Float]:
    """Minimise the aims, of which the last, shape (column,), is what other plans have to hold.

    ``weighted``: cost and priced shortfall in one sum. ``service``: least shortfall (after the fairest shares, where
    wanted), then least energy in the margins before the departures, then least cost among such plans.
    """
    station, pairs, options = model.station, model.pairs, model.options
    cost, shortfall = np.zeros((2, len(model.high)))
    cost[model.power] = station.tariff_eur_per_kwh[pairs.step] * station.step_h * pairs.share
    cost[model.sun] = -station.tariff_eur_per_kwh[model.sun_step] * station.step_h
    cost[model.peak] = station.peak_eur_per_kw
    shortfall[model.shortfall] = 1.0
    dearest = 0.1 + float(np.abs(station.tariff_eur_per_kwh).max())
    early = EARLY_WEIGHT * dearest * _lateness(model)
    if options.objective == "weighted":
        cost[model.shortfall] = shortfall_eur_per_kwh(model.requests, options)
        solver.begin(cost + early)
        return {"cost and shortfall": solver.minimise("cost and shortfall", cost)}, cost
    dearest += station.peak_eur_per_kw / station.step_h  # a kWh in one step
    solver.begin(cost + dearest * (10.0 * shortfall + 2.5 * _in_margins(model)) + early)
    endings = _fair_shares(solver, model) if options.fairness == "maxmin" else {}
    endings["shortfall"] = least = solver.minimise("shortfall", shortfall)
    solver.keep(shortfall, max(least.value, 0.0) * (1.0 + KEPT_SHARE), KEPT_KWH)
    if options.margin_min > 0:
        endings["margin"] = _free_margins(solver, model)
    endings["cost"] = solver.minimise("cost", cost)
    return endings, cost


def prefer(solver: AimSolver, model: PlanModel, last_aim: Float, value: float) -> Endings:
    """Choose among all plans that are as good: the fewest starts, and then energy as early as can be.

    A start is what a charger or a sleeping car may fail to make; what is in the battery a change of mind cannot take
    away. In the other order the earliest plan, nearly always one alone, would leave no choice of starts. No vehicle
    gets less by it, or the fewest starts would be those of few vehicles that get all.
    """
    wanted = [Preference("early energy", _lateness(model), EARLY_GAP)]
    if model.options.least_starts and len(model.start):
        starts = np.zeros(len(model.high))
        starts[model.start] = 1.0
        wanted.insert(0, Preference("starts", starts, 0.0, True, 0.5, _starts_at_least(solver, model)))
    return solver.settle(wanted, last_aim, value)


def _starts_at_least(solver: AimSolver, model: PlanModel) -> float:
    """Starts of every plan that gives each vehicle what the one found does: one for each that gets anything."""
    given_kwh = model.requests.energy_need_kwh - solver.point[model.shortfall]
    return float((given_kwh > 2.0 * SHIFTED_KWH).sum())


def _lateness(model: PlanModel) -> Float:
    """Energy in the battery times how far into the horizon it is drawn, from 0 to 1: coefficients, shape (column,)."""
    pairs, late = model.pairs, np.zeros(len(model.high))
    late[model.power] = pairs.battery_kwh_per_kw * pairs.step / model.station.steps
    return late


def shortfall_eur_per_kwh(requests: Requests, options: Options) -> Float:
    """Price of what is missing in each battery in the weighted sum, shape (vehicle,)."""
    if options.shortfall_eur_per_kwh is None:
        return SEED_PENALTY_EUR / requests.battery_kwh
    return np.full(len(requests), options.shortfall_eur_per_kwh)


def not_worth_charging(requests: Requests, station: Station, options: Options) -> Bool:
    """Tell whom the weighted sum charges nothing, shape (vehicle,): all its energy is dearer than the shortfall."""
    vehicle, step, _ = presence(requests.arrival_step, requests.departure_step)
    cheapest = np.full(len(requests), np.inf)
    np.minimum.at(cheapest, vehicle, np.where(station.sun_kw > 0, 0.0, station.tariff_eur_per_kwh)[step])
    wanted: Bool = (requests.energy_need_kwh > 0) & np.isfinite(cheapest)
    return wanted & (shortfall_eur_per_kwh(requests, options) < cheapest / requests.efficiency)


def _free_margins(solver: AimSolver, model: PlanModel) -> SolveResult:
    """Draw as little as service allows in the last minutes of each stay."""
    late = _in_margins(model)
    least = solver.minimise("margin", late)
    if least.value <= KEPT_KWH:  # as columns that are out, which makes what follows smaller
        solver.limit(np.flatnonzero(late), np.zeros(np.count_nonzero(late)), 0.0)
    else:
        solver.keep(late, least.value * (1.0 + KEPT_SHARE), KEPT_KWH)
    return least


def _in_margins(model: PlanModel) -> Float:
    """Energy drawn in the last minutes of each stay: coefficients, shape (column,)."""
    pairs, station, departure = model.pairs, model.station, model.requests.departure_step[model.pairs.vehicle]
    margin_step = 60.0 * model.options.margin_min / station.step_s
    after = np.minimum(pairs.step + 1.0, departure) - np.maximum(pairs.step, departure - margin_step)
    late = np.zeros(len(model.high))
    late[model.power] = station.step_h * np.clip(after, 0.0, pairs.share)
    return late


def _fair_shares(solver: AimSolver, model: PlanModel) -> Endings:
    """Make the worst share of shortfall as small as it can be, then the next worst, until none is left.

    Shares are of what a vehicle could get alone. After each round the vehicles whose rows have a multiplier are at
    their level and cannot be helped; the multipliers of a MILP say nothing, so that it stops after one round.
    """
    single, least = model.options.switched, servable_kwh(model.requests, model.pairs)
    unservable = model.requests.energy_need_kwh - least
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
        # complementary slackness: a row with a multiplier is tight in every optimum, so this share cannot be lowered
        stuck = open_ & (np.abs(solver.row_dual[model.worst_row]) > 1e-9) if clear else open_
        if not stuck.any():  # a degenerate optimum: hold everybody there
            stuck = open_
        # as bounds of columns, not rows: the basis stays as it is
        solver.limit(model.shortfall[stuck], unservable[stuck] + level * least[stuck], KEPT_KWH)
        solver.release(model.worst_row[stuck])
        open_ = open_ & ~stuck
    if not results:
        return {}
    ended = worst(result.termination for result in results)
    return {aim: replace(results[0], termination=ended, wall_s=sum(result.wall_s for result in results))}


def other_points(solver: AimSolver, model: PlanModel, last_aim: Float, value: float) -> list[Float]:
    """Points of further plans, at most ``n_sols - 1``; fewer where no more are found.

    Parameters
    ----------
    solver : AimSolver
        After its last aim, whose point is the best plan.
    last_aim : ndarray, shape (column,)
        Its coefficients; the sum may be worse by ``POOL_SLACK``.
    value : float
        What it reached.
    """
    wanted = model.options.n_sols - 1
    if wanted < 1 or not len(model.pairs):
        return []
    solver.keep(last_aim, value + POOL_SLACK * abs(value), KEPT_EUR)
    energy = np.zeros(len(model.high))
    energy[model.power] = model.pairs.battery_kwh_per_kw
    points = [solver.point * energy]
    found: list[Float] = []
    for direction in _directions(model, points, energy):
        solver.minimise("another plan", direction, gap=ENOUGH_GAP)
        drawn = solver.point * energy
        if min(_moved_share(drawn, other) for other in points) < MOVED_SHARE:
            continue
        points.append(drawn)
        found.append(solver.point.copy())
        if len(found) == wanted:
            break
    return found


def _moved_share(one: Float, other: Float) -> float:
    return float(np.abs(one - other).sum() / 2.0 / max(one.sum(), other.sum(), 1e-9))


def _directions(model: PlanModel, points: list[Float], energy: Float) -> Iterator[Float]:
    """Away from what the plans use, for as long as that finds new ones; then early, late, and vehicle by vehicle."""
    while True:
        before = len(points)
        used = np.sum([point > 1e-6 for point in points], axis=0)
        yield energy * used
        if len(points) == before:
            break
    pairs, position = model.pairs, np.zeros_like(energy)
    position[model.power] = (pairs.step - pairs.step.min()) / (1.0 + np.ptp(pairs.step))
    yield energy * position
    yield -energy * position
    owner = np.zeros(len(energy), np.int64)
    owner[model.power] = pairs.vehicle
    for turn in range(1, 8):  # other orders of the vehicles: neighbours first, then those farther apart
        yield energy * position * np.where(owner >> (turn - 1) & 1, 1.0, -1.0)
