"""The best plan of a day that keeps every limit: linear programmes in turn, each at the power flow of the last plan.

Every step's limits are linearised where the last plan is, and may be broken at a price that no plan is worth. What is
better by the full power flow is kept and linearised anew, all else halves the trust region (successive linear
programming with an exact penalty: R. Fletcher, E. Sainz de la Maza, Mathematical Programming 43, 1989).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.caps.network.box import VOLT_PU, Linear
from cosim.controllers.optimum.day import EV, Day, Draft
from cosim.controllers.optimum.objective import Objective
from cosim.controllers.solver import solve

ROUNDS = 16
MARGIN = 2e-5  # stress: 1e-6 pu of a voltage
WATCHED = 0.85  # stress from which on a step's limits are rows
NEAR = 0.3  # stress below the worst of a step at which a limit is no row
ROWS = 16
SAME = 2e-4  # of the value: less is no progress
SHRINK = 0.35
NO_BREACH_H = 1e-8
_SMALL_KW = 1e-6


@dataclass(frozen=True, eq=False)
class Point:
    """A plan as columns.

    Attributes
    ----------
    x : ndarray, shape (column,)
        Powers [kW].
    unserved_kwh : ndarray, shape (session,)
        Energy that batteries miss [kWh].
    value, breach_h : float
        Of the objective, by the full power flow, and how far and how long limits are exceeded [h].
    score : float
        Both, and what is unserved, at the objective's prices.
    """

    x: Float
    unserved_kwh: Float
    value: float
    breach_h: float
    score: float


def point(day: Day, objective: Objective, x: Float, unserved_kwh: Float) -> Point:
    """Judge powers by the full power flow."""
    net_kw = day.net_kw(x)
    value, breach_h = objective.value(day, x), day.breach_h(net_kw)
    score = objective.score(value, float(unserved_kwh.sum()), breach_h)
    return Point(x, unserved_kwh, value, breach_h, score)


def start(day: Day, objective: Objective) -> Point:
    """Cheapest hours first, and nothing else."""
    kind, step, customer, _ = day.columns
    x = np.where(kind == EV, day.cheapest[0][step, customer], 0.0)
    return point(day, objective, x, np.zeros(len(day.need_kwh)))


def improve(day: Day, objective: Objective, best: Point, low: Float, high: Float) -> Point:
    """Improve a plan within limits of its columns until nothing is won."""
    radius_kw = np.inf
    watched = np.zeros(len(day.base_kw), bool)
    for _ in range(ROUNDS):
        watched |= day.limits.stress(*day.flow(day.net_kw(best.x))).max(axis=1) > WATCHED
        cuts = limit_rows(day, best.x, np.flatnonzero(watched))
        draft, x, unserved, breach = objective.begin(day)
        add_rows(draft, cuts, x, breach)
        model = draft.model()
        reach = (np.maximum(low, best.x - radius_kw), np.minimum(high, best.x + radius_kw))
        model.low[x], model.high[x] = np.minimum(*reach), np.maximum(*reach)  # type: ignore[index]
        found = solve(model)
        if not len(found.x):
            break
        reached = np.clip(found.x[x], low, high)
        tried = point(day, objective, reached, found.x[unserved].clip(0.0))
        watched |= day.limits.stress(*day.flow(day.net_kw(tried.x))).max(axis=1) > WATCHED
        is_last = best.score - found.value < SAME * max(abs(best.score), 1e-3)
        if tried.score < best.score:
            best = tried
        else:
            radius_kw = SHRINK * min(radius_kw, float(np.abs(tried.x - best.x).max(initial=_SMALL_KW)))
        if is_last and best.breach_h < NO_BREACH_H:
            break
    return best


@dataclass(frozen=True, eq=False)
class Row:
    """``values @ x[columns] - breach[step] <= most``."""

    step: int
    columns: Int
    values: Float
    most: float


def add_rows(draft: Draft, rows: list[Row], x: Int, breach: Int) -> None:
    """Write rows, which may be broken at a price."""
    for row in rows:
        columns = np.append(x[row.columns], breach[row.step])
        draft.row(-np.inf, row.most - MARGIN, columns, np.append(row.values, -1.0))


def limit_rows(day: Day, x: Float, steps: Int) -> list[Row]:
    """Linearise the limits that are near in some steps, at a plan."""
    if not len(steps):
        return []
    limits, states = day.limits, day.states(day.net_kw(x))[steps]
    linear = Linear(limits, states)
    conductors, homes = limits.elements.conductors, day.base_kw.shape[1]
    turned = np.exp(-1j * np.angle(linear.current_a))[:, :, None] * linear.amps[:, :, :homes]
    volts = linear.radial[:, :, :homes] / (VOLT_PU * limits.elements.nominal_v[:, None])
    gain = np.concatenate([turned.real / limits.amps[:, None], volts, -volts], axis=1)
    rows, place = [], columns_of_steps(day)
    for at, step in enumerate(steps):
        stress, columns = linear.stress[at], place[step]
        signed = day.signs[columns]
        who = day.columns[2][columns]
        order = np.concatenate([np.argsort(-part, kind="stable")[:ROWS] + first for part, first in (
            (stress[:conductors], 0), (stress[conductors:], conductors))])  # fmt: skip
        for limit in order[stress[order] > stress[order].max() - NEAR]:
            values = gain[at, limit, who] * signed
            rows.append(Row(int(step), columns, values, 1.0 - stress[limit] + float(values @ x[columns])))
    return rows


def columns_of_steps(day: Day) -> list[Int]:
    step = day.columns[1]
    order = np.argsort(step, kind="stable")
    return np.split(order, np.searchsorted(step[order], np.arange(1, len(day.base_kw))))


def once(day: Day, objective: Objective, best: Point) -> Point:
    """The linear model's optimum about a plan, bills knowing the least power of chargers."""
    draft, x, unserved, breach = objective.begin(day, runs=True)
    add_rows(draft, limit_rows(day, best.x, np.arange(len(day.base_kw))), x, breach)
    found = solve(draft.model())
    return point(day, objective, found.x[x], found.x[unserved]) if len(found.x) else best


def runnable(day: Day, objective: Objective, best: Point) -> Point:
    """Repair a plan to what chargers can do: pause, or draw at least 6 A.

    What a car draws below its least is gathered in as few of these steps as hold it, those first that drew most; the
    rest is planned again around that.
    """
    if objective.name == "cost":  # begin where less than the least costs what it does
        best = once(day, objective, best)
    kind, step, customer, high = day.columns
    low, high = np.zeros_like(high), high.copy()
    of_ev = np.flatnonzero(kind == EV)
    session = day.session[0][step[of_ev], customer[of_ev]]
    least_kw = (day.least_kw * day.session[1])[step[of_ev], customer[of_ev]]
    for row in range(len(day.need_kwh)):
        mine = np.flatnonzero(session == row)
        columns, least = of_ev[mine], least_kw[mine]
        drawn = best.x[columns]
        due_kw = (day.need_kwh[row] - best.unserved_kwh[row]) / day.day.sessions.efficiency[row] / day.step_h
        order = np.argsort(-drawn, kind="stable")
        runs = np.cumsum(least[order]) <= due_kw + _SMALL_KW
        full = drawn[order] >= least[order] - _SMALL_KW
        few = drawn[order] * ~full
        # as many of those below as their energy keeps running at the least
        kept = full | (np.cumsum(np.where(full, 0.0, least[order])) <= few.sum() + least.max(initial=0.0) / 2.0)
        most = day.columns[3][columns[order]]
        kept |= np.cumsum(most) - most < due_kw - _SMALL_KW  # what at the most would not do without
        kept &= runs
        on, off = columns[order[kept]], columns[order[~kept]]
        low[on], high[off] = least[order[kept]], 0.0
        if not len(on) and due_kw > _SMALL_KW:  # one step that ends early
            high[columns[order[0]]] = day.columns[3][columns[order[0]]]
    x = np.clip(best.x, low, high)
    short = np.zeros_like(best.unserved_kwh)
    energy = day.step_h * day.of_car(day.day.sessions.efficiency, 1.0)[step[of_ev], customer[of_ev]]
    np.add.at(short, session, energy * x[of_ev])
    begun = replace(best, x=x, unserved_kwh=(day.need_kwh - short).clip(0.0), score=np.inf)
    return improve(day, objective, begun, low, high)
