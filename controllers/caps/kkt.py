"""The textbook form: every household's optimality conditions as mixed-integer rows, with big-M proven from data.

Lower level of one car, slots k with usable power ``u_k`` and room ``r_k`` under the cap (chosen by the upper level)::

    min Σ c_k Δ p_k    s.t.   need <= η Δ Σ p_k <= battery (λ+, λ-)
                              0 <= p_k (l2),   p_k <= r_k (l3),   p_k <= u_k (l4)

    stationarity           c_k - λ - l2_k + l3_k + l4_k = 0        (λ = λ+ - λ- scaled by η, the others by Δ)
    complementarity        l2_k p_k = 0,   l3_k (r_k - p_k) = 0,   l4_k (u_k - p_k) = 0
                           λ > 0: the need is just met;   λ < 0: the battery is full

A car that no price below zero makes charge beyond its need meets it exactly, and λ is free.

Only the order of slots and the sign of their prices decide the response, so ``c_k`` are levels (``merit_order``): whole
numbers in the order of prices, negative where the price is. Under the strict order they are all different; with levels
that slots of one price share, these are the conditions of the *optimistic* view, in which the upper level may choose
among a household's cheapest ways to charge.

Why the multipliers are bounded without loss of optimality: with ``m`` the last slot in merit order that is used in part
(or the dearest one), ``λ = c_m`` (0 where the energy lies between need and battery), ``l2_k = (c_k - λ)+`` and
``l3_k + l4_k = (λ - c_k)+``, all on one of the two, satisfy the conditions. Hence
``c_min <= λ <= c_max``, ``l2_k <= c_k - c_min`` and ``l3_k, l4_k <= c_max - c_k``. The primal bounds are
``p_k <= u_k``, ``r_k - p_k <= R_k`` (connection above inflexible load) and ``u_k - p_k <= u_k``.

A textbook big-M such as 1e14 times an integrality tolerance of 1e-6 enforces nothing at all; see Pineda & Morales,
"Solving linear bilevel problems using big-Ms: not all that glitters is gold", IEEE Trans. Power Syst. 34 (2019),
doi 10.1109/TPWRS.2019.2892607.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyomo.environ as pyo

from cosim.contract import Float
from cosim.controllers.caps.merit_order import band_levels, strict_levels
from cosim.controllers.caps.part import NEARLY_KW, Part, Plan, freed
from cosim.controllers.caps.upper_level import add_objective, limit_rows


@dataclass(frozen=True, eq=False)
class BigM:
    """Bounds on multipliers, in levels of the merit order; shape (slot, car).

    Attributes
    ----------
    level : ndarray, shape (slot, car)
        Cost of each slot.
    price_low, price_high : ndarray, shape (car,)
        Bounds of λ.
    unused : ndarray, shape (slot, car)
        Bound of l2.
    limited : ndarray, shape (slot, car)
        Bound of l3 and of l4.
    """

    level: Float
    price_low: Float
    price_high: Float
    unused: Float
    limited: Float


def proven_big_m(part: Part, *, bands: bool = False) -> BigM:
    """Return valid bounds of every multiplier, from the levels of the slots that each car can use."""
    levels = band_levels if bands else strict_levels
    level = levels(part.tariff_eur_per_kwh).astype(float)
    usable = part.usable_kw > 0
    low = np.where(usable, level, np.inf).min(axis=0)
    high = np.where(usable, level, -np.inf).max(axis=0)
    beyond = part.most_kw > part.draw_kw
    # λ = 0 must be possible: the energy may end strictly between need and full battery
    low, high = np.where(beyond, np.minimum(low, 0.0), low), np.where(beyond, np.maximum(high, 0.0), high)
    return BigM(level, low, high, np.maximum(level - low, 0.0), np.maximum(high - level, 0.0))


def build(part: Part, *, ordered: bool, bands: bool = False) -> pyo.ConcreteModel:
    """Return the mixed-integer model: least withheld energy under the limits [kWh].

    Parameters
    ----------
    part : Part
        One piece of the problem; its needs must be servable.
    ordered : bool
        Add the rows that put complementarities in merit order (valid, and much stronger; of the strict order only).
    bands : bool
        Slots of one price are alike to a household: the optimistic view.
    """
    big_m = proven_big_m(part, bands=bands)
    m = pyo.ConcreteModel()
    m.pairs = pyo.Set(initialize=part.pairs(), dimen=2, ordered=True)
    m.cars = pyo.Set(initialize=sorted({c for c, _ in m.pairs}), ordered=True)
    m.p = pyo.Var(m.pairs, bounds=lambda _, c, k: (0, float(part.usable_kw[k, c])))
    m.room = pyo.Var(m.pairs, bounds=lambda _, c, k: (_room_floor(part, c, k), float(part.room_kw[k, c])))
    m.price = pyo.Var(m.cars, bounds=lambda _, c: (float(big_m.price_low[c]), float(big_m.price_high[c])))
    m.l2 = pyo.Var(m.pairs, bounds=lambda _, c, k: (0, float(big_m.unused[k, c])))
    m.l3 = pyo.Var(m.pairs, bounds=lambda _, c, k: (0, float(big_m.limited[k, c])))
    m.l4 = pyo.Var(m.pairs, bounds=lambda _, c, k: (0, float(big_m.limited[k, c])))
    m.z2 = pyo.Var(m.pairs, within=pyo.Binary)
    m.z3 = pyo.Var(m.pairs, within=pyo.Binary)
    m.z4 = pyo.Var(m.pairs, within=pyo.Binary)
    _lower_level(m, part, big_m)
    _upper_level(m, part)
    if ordered:
        _merit_order_rows(m, part, big_m)
    return m


def read(part: Part, m: pyo.ConcreteModel) -> Plan:
    """Return the plan that the model's variables hold."""
    room, charge = part.room_kw.copy(), np.zeros_like(part.room_kw)
    for c, k in m.pairs:
        room[k, c] = min(max(m.room[c, k].value, 0.0), part.room_kw[k, c])
        charge[k, c] = max(m.p[c, k].value, 0.0)
    return freed(part, Plan(room, charge))


def write_start(part: Part, m: pyo.ConcreteModel, plan: Plan) -> None:
    """Set the model's variables to a plan under the strict order, as a start for the solver."""
    level = proven_big_m(part).level
    for c in m.cars:
        slots = [k for car, k in m.pairs if car == c]
        limits = [min(float(plan.room_kw[k, c]), float(part.usable_kw[k, c])) for k in slots]
        to_limit = [plan.charge_kw[k, c] >= limit - NEARLY_KW for k, limit in zip(slots, limits, strict=True)]
        # the first slot not used to its limit is the marginal one, and sets λ
        last = to_limit.index(False) if False in to_limit else len(slots) - 1
        price = float(level[slots[last], c])
        if c in m.need_binds:
            drawn_kw = float(plan.charge_kw[:, c].sum())
            full, need = drawn_kw >= part.most_kw[c] - NEARLY_KW, drawn_kw <= part.draw_kw[c] + NEARLY_KW
            price = min(price, 0.0) if full else max(price, 0.0) if need else 0.0
            # complementarity of the two energy rows: λ > 0 only at the need, λ < 0 only at the full battery
            m.need_binds[c].value, m.battery_full[c].value = int(price > 0), int(price < 0)
        m.price[c].value = price
        for position, k in enumerate(slots):
            usable, charge = float(part.usable_kw[k, c]), float(plan.charge_kw[k, c])
            room = min(max(float(plan.room_kw[k, c]), _room_floor(part, c, k)), float(part.room_kw[k, c]))
            charge = min(max(charge, 0.0), usable)
            early, idle = position < last, charge <= NEARLY_KW
            cap_binds, slack = early and room < usable, max(price - float(level[k, c]), 0.0)
            m.p[c, k].value, m.room[c, k].value = charge, room
            m.l2[c, k].value = max(float(level[k, c]) - price, 0.0)
            m.l3[c, k].value, m.l4[c, k].value = (slack, 0.0) if cap_binds else (0.0, slack)
            m.z2[c, k].value = int(position > last or (position == last and idle))
            m.z3[c, k].value = int(cap_binds)
            m.z4[c, k].value = int(early and not cap_binds)
            if (c, k) in m.open:
                m.open[c, k].value = int(room > NEARLY_KW)
            if part.counts_peaks:
                peak = float(part.peak_kw[k, c])
                held = position <= last and not idle and not cap_binds and room < peak
                m.held[c, k].value = int(held)
                free = position <= last and not held and not cap_binds
                m.counted_kw[c, k].value = 0.0 if idle else peak if free else room if held else charge
            if m.find_component("used") is not None:
                m.used[c, k].value = int(early)


def _room_floor(part: Part, c: int, k: int) -> float:
    return 0.0 if part.may_shut(c, k) else min(part.least_room_kw(c, k), float(part.room_kw[k, c]))


def _lower_level(m: pyo.ConcreteModel, part: Part, big_m: BigM) -> None:
    def usable(c: int, k: int) -> float:
        return float(part.usable_kw[k, c])

    def room(c: int, k: int) -> float:
        return float(part.room_kw[k, c])

    _energy_rows(m, part, big_m)
    m.under_cap = pyo.Constraint(m.pairs, rule=lambda m, c, k: m.p[c, k] <= m.room[c, k])
    m.stationarity = pyo.Constraint(
        m.pairs,
        rule=lambda m, c, k: float(big_m.level[k, c]) - m.price[c] - m.l2[c, k] + m.l3[c, k] + m.l4[c, k] == 0,
    )
    m.l2_off = pyo.Constraint(m.pairs, rule=lambda m, c, k: m.l2[c, k] <= float(big_m.unused[k, c]) * m.z2[c, k])
    m.l2_on = pyo.Constraint(m.pairs, rule=lambda m, c, k: m.p[c, k] <= usable(c, k) * (1 - m.z2[c, k]))
    m.l3_off = pyo.Constraint(m.pairs, rule=lambda m, c, k: m.l3[c, k] <= float(big_m.limited[k, c]) * m.z3[c, k])
    m.l3_on = pyo.Constraint(m.pairs, rule=lambda m, c, k: m.room[c, k] - m.p[c, k] <= room(c, k) * (1 - m.z3[c, k]))
    m.l4_off = pyo.Constraint(m.pairs, rule=lambda m, c, k: m.l4[c, k] <= float(big_m.limited[k, c]) * m.z4[c, k])
    m.l4_on = pyo.Constraint(m.pairs, rule=lambda m, c, k: usable(c, k) - m.p[c, k] <= usable(c, k) * (1 - m.z4[c, k]))


def _energy_rows(m: pyo.ConcreteModel, part: Part, big_m: BigM) -> None:
    """Let the need be met exactly, or, where a price below zero invites it, charging end between need and battery."""
    drawn = {c: sum(m.p[car, k] for car, k in m.pairs if car == c) for c in m.cars}
    beyond = [c for c in m.cars if part.most_kw[c] > part.draw_kw[c]]
    most = {c: float(part.most_kw[c] - part.draw_kw[c]) for c in beyond}
    m.need = pyo.Constraint([c for c in m.cars if c not in most], rule=lambda _, c: drawn[c] == float(part.draw_kw[c]))
    m.need_binds = pyo.Var(beyond, within=pyo.Binary)
    m.battery_full = pyo.Var(beyond, within=pyo.Binary)
    m.one_of_both = pyo.Constraint(beyond, rule=lambda m, c: m.need_binds[c] + m.battery_full[c] <= 1)
    m.price_most = pyo.Constraint(
        beyond, rule=lambda m, c: m.price[c] <= max(float(big_m.price_high[c]), 0.0) * m.need_binds[c]
    )
    m.price_least = pyo.Constraint(
        beyond, rule=lambda m, c: m.price[c] >= min(float(big_m.price_low[c]), 0.0) * m.battery_full[c]
    )
    m.drawn_most = pyo.Constraint(
        beyond, rule=lambda m, c: drawn[c] <= float(part.draw_kw[c]) + most[c] * (1 - m.need_binds[c])
    )
    m.drawn_least = pyo.Constraint(
        beyond, rule=lambda m, c: drawn[c] >= float(part.draw_kw[c]) + most[c] * m.battery_full[c]
    )


def _upper_level(m: pyo.ConcreteModel, part: Part) -> None:
    gapped = [(c, k) for c, k in m.pairs if part.may_shut(c, k) and part.charger_min_kw[c] > 0]
    m.open = pyo.Var(gapped, within=pyo.Binary)  # a room between zero and what the charger can run at is of no use
    m.open_least = pyo.Constraint(gapped, rule=lambda m, c, k: m.room[c, k] >= part.least_room_kw(c, k) * m.open[c, k])
    m.open_most = pyo.Constraint(gapped, rule=lambda m, c, k: m.room[c, k] <= float(part.room_kw[k, c]) * m.open[c, k])
    if part.counts_peaks:
        _peak_rows(m, part)
    counted = m.counted_kw if part.counts_peaks else m.p
    limit_rows(m, part, lambda c, k: counted[c, k])
    add_objective(m, part, lambda c, k: float(part.room_kw[k, c]) - m.room[c, k], lambda c, k: m.p[c, k])


def _peak_rows(m: pyo.ConcreteModel, part: Part) -> None:
    """A car that draws, and that no cap holds at its mean, counts with its room (``held``) or with all it can draw."""
    m.held = pyo.Var(m.pairs, within=pyo.Binary)
    m.counted_kw = pyo.Var(m.pairs, bounds=lambda _, c, k: (0, float(part.peak_kw[k, c])))
    m.drawn_counts = pyo.Constraint(m.pairs, rule=lambda m, c, k: m.counted_kw[c, k] >= m.p[c, k])
    m.held_counts = pyo.Constraint(
        m.pairs,
        rule=lambda m, c, k: m.counted_kw[c, k] >= m.room[c, k] - float(part.room_kw[k, c]) * (1 - m.held[c, k]),
    )
    m.free_counts = pyo.Constraint(
        m.pairs,
        rule=lambda m, c, k: (
            m.counted_kw[c, k] >= float(part.peak_kw[k, c]) * (1 - m.z2[c, k] - m.z3[c, k] - m.held[c, k])
        ),
    )


def _merit_order_rows(m: pyo.ConcreteModel, part: Part, big_m: BigM) -> None:
    """Let ``used`` fall from 1 to 0 once along a car's merit order; its price is the cost of the slot where it does."""
    slots = {c: [k for car, k in m.pairs if car == c] for c in m.cars}
    after = {(c, k): later for c in m.cars for k, later in pairwise(slots[c])}
    m.used = pyo.Var(m.pairs, within=pyo.Binary)
    m.falls_once = pyo.Constraint(list(after), rule=lambda m, c, k: m.used[c, after[c, k]] <= m.used[c, k])
    m.drawn_in_order = pyo.Constraint(
        list(after),
        rule=lambda m, c, k: m.p[c, after[c, k]] <= float(part.usable_kw[after[c, k], c]) * m.used[c, k],
    )
    # used and not the last: some limit, cap or charger, must be tight there
    m.used_to_limit = pyo.Constraint(m.pairs, rule=lambda m, c, k: m.z3[c, k] + m.z4[c, k] >= m.used[c, k])
    exact = [c for c in m.cars if c not in m.need_binds]
    m.price_of_last = pyo.Constraint(
        exact,
        rule=lambda m, c: (
            m.price[c]
            == float(big_m.price_low[c])
            + sum(
                float(big_m.level[after[c, k], c] - big_m.level[k, c]) * m.used[c, k]
                for k in slots[c]
                if (c, k) in after
            )
        ),
    )
