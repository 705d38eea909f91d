"""The textbook form: every household's optimality conditions as mixed-integer rows, with big-M proven from data.

Lower level of one car, rows k with usable power ``u_k`` and room ``r_k`` under the cap (chosen by the upper level), and
a last row for need left unserved, which is dearer than all others and has no limit::

    min Σ c_k p_k    s.t.   need <= Σ p_k <= battery (λ+, λ-)
                            0 <= p_k (l2),   p_k <= r_k (l3),   p_k <= u_k (l4)

    stationarity           c_k - λ - l2_k + l3_k + l4_k = 0        (λ = λ+ - λ-)
    complementarity        l2_k p_k = 0,   l3_k (r_k - p_k) = 0,   l4_k (u_k - p_k) = 0
                           λ > 0: the need is just met;   λ < 0: the battery is full

A car that no price below zero makes charge beyond its need meets it exactly, and λ is free.

Only the order of slots and the sign of their prices decide the response, so ``c_k`` are levels: whole numbers in the
order of prices, negative where the price is. Under the strict order they are all different; with levels that slots of
one price share, these are the conditions of the *optimistic* view, in which the upper level may choose among a
household's cheapest ways to charge. The *pessimistic* view lets every slot reckon with the most that any of these ways
draws there: what the need leaves beyond all cheaper slots, as far as the limit of the slot goes.

Why the multipliers are bounded without loss of optimality: with ``m`` the last row in merit order that is used in part
(or the dearest one), ``λ = c_m`` (0 where the energy lies between need and battery), ``l2_k = (c_k - λ)+`` and
``l3_k + l4_k = (λ - c_k)+``, all on one of the two, satisfy the conditions. Hence
``c_min <= λ <= c_max``, ``l2_k <= c_k - c_min`` and ``l3_k, l4_k <= c_max - c_k``. The primal bounds are
``p_k <= u_k``, ``r_k - p_k <= R_k`` (the largest room that matters) and ``u_k - p_k <= u_k``.

A textbook big-M such as 1e14 times an integrality tolerance of 1e-6 enforces nothing at all; see Pineda & Morales,
"Solving linear bilevel problems using big-Ms: not all that glitters is gold", IEEE Trans. Power Syst. 34 (2019),
doi 10.1109/TPWRS.2019.2892607.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyomo.environ as pyo

from cosim.contract import Float
from cosim.controllers.caps.core.finishing import PRESOLVE, Kept
from cosim.controllers.caps.core.subproblem import SMALLEST_KW, TOLERANCE_KW, Plan, Subproblem
from cosim.controllers.caps.merit_order import price_in_steps
from cosim.controllers.solver import Limits, SolveResult, Termination
from cosim.controllers.solver.pyomo_model import solve

MOST_ROWS = 1_500  # slots of all cars: ten homes over a day of half hours are 300
Pair = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Answer:
    """What the programme found.

    Attributes
    ----------
    room_kw, drawn_kw, counted_kw : ndarray, shape (car, row)
        Room that caps leave, what is drawn, and what counts towards the limits [kW].
    ended : SolveResult
        How; its bound is that of the objective.
    """

    room_kw: Float
    drawn_kw: Float
    counted_kw: Float
    ended: SolveResult


def solve_textbook(
    sub: Subproblem, limits: Limits, *, start: Plan | None = None, kept: Sequence[Kept] = (), ties: str = "unique"
) -> Answer:
    """Minimise the objective of a piece; without a plan the arrays are empty.

    Parameters
    ----------
    sub : Subproblem
        The piece.
    limits : Limits
        When to stop.
    start : Plan, optional
        Under the strict order, to start from.
    kept : sequence of Kept
        Earlier aims; what they count as is taken out of the objective.
    ties : str
        Which of its cheapest ways to charge a household takes, see `CapsOptions`.
    """
    m = _build(sub, kept, ties)
    if start is not None:
        _write_start(sub, m, start)
    for presolve in PRESOLVE:
        ended = solve(m, limits, use_start=start is not None, presolve=presolve)
        if ended.termination is not Termination.INFEASIBLE:
            break
    if not ended.has_point:
        return Answer(*(np.empty((0, 0)),) * 3, ended)
    room, drawn, counted = (np.zeros_like(sub.usable_kw) for _ in range(3))
    for i, k in m.rows:
        drawn[i, k] = max(m.p[i, k].value, 0.0)
    for i, k in m.slots:
        room[i, k] = m.room[i, k].value if m.on[i, k].value > 0.5 else 0.0
        counted[i, k] = max(m.counted[i, k].value, 0.0) if (i, k) in m.counted else drawn[i, k]
    return Answer(room, drawn, counted, ended)


def plan_of_answer(sub: Subproblem, answer: Answer) -> Plan:
    """Return where cars finish under the strict order."""
    limit = np.where(answer.room_kw >= sub.least_kw - TOLERANCE_KW, np.minimum(answer.room_kw, sub.usable_kw), 0.0)
    limit = np.where(limit > SMALLEST_KW, limit, 0.0)
    before = np.cumsum(limit, axis=1) - limit
    reach = before + np.where(sub.is_slot, limit, sub.last_kw)
    ends = (sub.last_kw > 0.0) & (reach >= sub.target_kw - SMALLEST_KW)
    car, last = np.arange(sub.size), ends.argmax(axis=1)
    drawn = np.where(np.arange(limit.shape[1]) < last[:, None], limit, 0.0)
    counted = drawn * sub.counted
    rest = np.clip(sub.target_kw[car, last] - before[car, last], 0.0, sub.last_kw[car, last])
    drawn[car, last] = rest
    at_end = np.maximum(answer.counted_kw[car, last], sub.last_least_kw[car, last]) if sub.peaks else rest
    counted[car, last] = np.where(sub.is_slot[car, last], np.maximum(at_end, rest), 0.0)
    return Plan(last, drawn, counted)


def _levels(sub: Subproblem, ties: str) -> Float:
    """Cost of each row in levels, shape (car, row)."""
    rows = np.arange(sub.slot.shape[1])[None, :]
    is_short = sub.unserved_kwh > 0.0
    if ties == "unique":
        fills = (sub.last_kw > 0.0) & ~sub.is_slot & ~is_short
        paid = np.where(fills.any(axis=1), fills.argmax(axis=1), -1)[:, None]
        return (rows - paid).astype(float)
    level = np.zeros(sub.slot.shape)
    for car in range(sub.size):
        price = price_in_steps(sub.tariff_eur_per_kwh[car, sub.is_slot[car]])
        bands = np.unique(np.append(price, 0.0))
        level[car, sub.is_slot[car]] = np.searchsorted(bands, price) - np.searchsorted(bands, 0.0)
    return np.where(is_short, level.max(axis=1, keepdims=True) + 1.0, level)


def _build(sub: Subproblem, kept: Sequence[Kept], ties: str) -> pyo.ConcreteModel:
    level = _levels(sub, ties)
    m = pyo.ConcreteModel()
    slots = [(int(i), int(k)) for i, k in np.argwhere(sub.is_slot & (sub.usable_kw > 0.0))]
    short = [(int(i), int(k)) for i, k in np.argwhere(sub.unserved_kwh > 0.0)]
    m.slots = pyo.Set(initialize=slots, dimen=2, ordered=True)
    m.rows = pyo.Set(initialize=[*slots, *short], dimen=2, ordered=True)
    of_car: dict[int, list[int]] = {i: [] for i in range(sub.size)}
    for i, k in m.rows:
        of_car[i].append(k)
    most = np.where(sub.is_slot, sub.usable_kw, sub.last_kw)
    runs_at = np.where(sub.forced, np.maximum(sub.least_kw, sub.minimum_kw[:, None]), sub.minimum_kw[:, None])
    top = np.maximum(sub.usable_kw, runs_at)  # a larger room is a free one
    low = {i: min(level[i, k] for k in rows) for i, rows in of_car.items()}
    high = {i: max(level[i, k] for k in rows) for i, rows in of_car.items()}
    need = {i: float(sub.target_kw[i, of_car[i][-1]]) for i in of_car}
    full = {i: float(sub.target_kw[i].max()) for i in of_car}
    for i in of_car:
        if not (sub.unserved_kwh[i] > 0.0).any():
            need[i] = 0.0
    fills = [i for i in of_car if full[i] > need[i] + SMALLEST_KW]
    for i in fills:  # λ = 0 must be possible: the energy may end strictly between need and full battery
        low[i], high[i] = min(low[i], 0.0), max(high[i], 0.0)
    m.p = pyo.Var(m.rows, bounds=lambda _, i, k: (0.0, float(most[i, k])))
    m.room = pyo.Var(m.slots, bounds=lambda _, i, k: (0.0, float(top[i, k])))
    m.on = pyo.Var(m.slots, within=pyo.Binary)
    # where the largest room is above what is usable, the charger's least is: then a room is all or nothing
    m.withheld = {(i, k): float(sub.usable_kw[i, k]) * (1 - m.room[i, k] / float(top[i, k])) for i, k in m.slots}
    m.price = pyo.Var(list(of_car), bounds=lambda _, i: (float(low[i]), float(high[i])))
    m.l2 = pyo.Var(m.rows, bounds=lambda _, i, k: (0.0, max(float(level[i, k] - low[i]), 0.0)))
    m.l3 = pyo.Var(m.slots, bounds=lambda _, i, k: (0.0, max(float(high[i] - level[i, k]), 0.0)))
    m.l4 = pyo.Var(m.slots, bounds=lambda _, i, k: (0.0, max(float(high[i] - level[i, k]), 0.0)))
    m.z2 = pyo.Var(m.rows, within=pyo.Binary)
    m.z3, m.z4 = pyo.Var(m.slots, within=pyo.Binary), pyo.Var(m.slots, within=pyo.Binary)
    m.level = {pair: float(level[pair]) for pair in m.rows}
    c = m.c = pyo.ConstraintList()
    for i, k in m.rows:
        limited = m.l3[i, k] + m.l4[i, k] if (i, k) in m.l3 else 0.0
        c.add(m.level[i, k] - m.price[i] - m.l2[i, k] + limited == 0.0)
        c.add(m.l2[i, k] <= m.l2[i, k].ub * m.z2[i, k])
        c.add(m.p[i, k] <= float(most[i, k]) * (1 - m.z2[i, k]))
    for i, k in m.slots:
        u, r = float(sub.usable_kw[i, k]), float(top[i, k])
        c.add(m.p[i, k] <= m.room[i, k])
        c.add(m.l3[i, k] <= m.l3[i, k].ub * m.z3[i, k])
        c.add(m.room[i, k] - m.p[i, k] <= r * (1 - m.z3[i, k]))
        c.add(m.l4[i, k] <= m.l4[i, k].ub * m.z4[i, k])
        c.add(u - m.p[i, k] <= u * (1 - m.z4[i, k]))
        # a room between zero and what the charger can run at is of no use
        c.add(m.room[i, k] >= float(runs_at[i, k]) * m.on[i, k])
        c.add(m.room[i, k] <= r * m.on[i, k])
        if sub.forced[i, k]:
            m.on[i, k].fix(1)
    _energy(m, of_car, need, full, fills)
    _limits(m, sub, need, full, of_car, ties, top)
    per_kw = sub.per_kw_kwh - sum(aim.counts_kwh * aim.per_kw for aim in kept)
    drawn = pyo.quicksum(float(per_kw[i, k]) * m.p[i, k] for i, k in m.rows if per_kw[i, k])
    withheld = pyo.quicksum(float(sub.weight_kwh[i]) * m.withheld[i, k] for i, k in m.slots)
    for aim in kept:
        counted = [float(aim.per_kw[i, k]) * m.p[i, k] for i, k in m.rows if aim.per_kw[i, k]]
        if counted:  # where all slots are free of charge, a bill holds by itself
            c.add(pyo.quicksum(counted) <= aim.most)
    m.objective = pyo.Objective(expr=withheld + drawn)
    return m


def _energy(
    m: pyo.ConcreteModel, of_car: dict[int, list[int]], need: dict[int, float], full: dict[int, float], fills: list[int]
) -> None:
    """Let the need be met exactly, or, where a price below zero invites it, charging end between need and battery."""
    drawn = {i: pyo.quicksum(m.p[i, k] for k in rows) for i, rows in of_car.items()}
    m.need_binds, m.battery_full = pyo.Var(fills, within=pyo.Binary), pyo.Var(fills, within=pyo.Binary)
    for i, total in drawn.items():
        if i not in fills:
            m.c.add(total == need[i])
            continue
        more = full[i] - need[i]
        m.c.add(m.need_binds[i] + m.battery_full[i] <= 1)
        m.c.add(m.price[i] <= max(m.price[i].ub, 0.0) * m.need_binds[i])
        m.c.add(m.price[i] >= min(m.price[i].lb, 0.0) * m.battery_full[i])
        m.c.add(total <= need[i] + more * (1 - m.need_binds[i]))
        m.c.add(total >= need[i] + more * m.battery_full[i])


def _limits(
    m: pyo.ConcreteModel, sub: Subproblem, need: dict[int, float], full: dict[int, float],
    of_car: dict[int, list[int]], ties: str, top: Float,
) -> None:  # fmt: skip
    special = list(m.slots) if sub.peaks or ties == "pessimistic" else []
    m.counted = pyo.Var(special, bounds=lambda _, i, k: (0.0, float(top[i, k])))
    m.counts_all = pyo.Var(special, within=pyo.Binary)
    for i, k in special:
        if sub.peaks:  # whoever draws at all, draws all that the cap allows at the beginning
            m.c.add(m.p[i, k] <= float(sub.usable_kw[i, k]) * m.counts_all[i, k])
            m.c.add(m.counted[i, k] >= m.room[i, k] - float(top[i, k]) * (1 - m.counts_all[i, k]))
            m.c.add(m.counted[i, k] >= m.p[i, k])
            continue
        allowed = {j: float(sub.usable_kw[i, j]) - m.withheld[i, j] for j in of_car[i] if (i, j) in m.withheld}
        wanted = full[i] if m.level[i, k] <= 0.0 else need[i]
        cheaper = pyo.quicksum(kw for j, kw in allowed.items() if m.level[i, j] < m.level[i, k])
        # the smaller of what is still wanted and what is allowed; ``counts_all``: it is what is allowed
        m.c.add(m.counted[i, k] >= wanted - cheaper - wanted * m.counts_all[i, k])
        m.c.add(m.counted[i, k] >= allowed[k] - float(sub.usable_kw[i, k]) * (1 - m.counts_all[i, k]))
    together: dict[int, list[Pair]] = {}
    for i, k in m.slots:
        together.setdefault(int(sub.slot[i, k]), []).append((i, k))
    for slot, pairs in sorted(together.items()):
        for limit, most in enumerate(sub.headroom_kw[slot].tolist()):
            on = [(i, k) for i, k in pairs if sub.share[i, limit] > 0]
            if on:
                kw = m.counted if special else m.p
                m.c.add(pyo.quicksum(float(sub.share[i, limit]) * kw[i, k] for i, k in on) <= most)


def _write_start(sub: Subproblem, m: pyo.ConcreteModel, plan: Plan) -> None:
    """Set what follows from a plan under the strict order; the solver completes the rest."""
    for i, k in m.rows:
        last = int(plan.last[i])
        m.p[i, k].value = float(plan.drawn_kw[i, k])
        m.z2[i, k].value = int(k > last)
        if (i, k) not in m.room:
            continue
        usable = float(sub.usable_kw[i, k])
        held = float(plan.drawn_kw[i, k]) if k < last else usable
        m.on[i, k].value = int(held > 0.0)
        if k != last or not sub.peaks:
            m.room[i, k].value = held if held < usable else m.room[i, k].ub
        m.z3[i, k].value = int(k < last and held < usable)
        m.z4[i, k].value = int(k < last and held >= usable)
