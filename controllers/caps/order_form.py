"""The bilevel problem without dual variables: the order in which a household fills its slots says it all.

With a strict order, a plan is the household's response to its caps exactly if, from its cheapest slot to its dearest,
it uses every slot to its limit, then one slot in part, then none. So each slot of a car is one of four things:
``full`` (the charger binds, the cap stays at the connection), ``throttled`` (the cap binds), ``last`` (what remains
of the need, the cap stays at the connection), or after the last. Where the beginning of a slot counts too, a last
slot may also be ``held``: its cap lies anywhere between the need left and all that the car draws at once, and counts as
load. So may the cap of a slot in which a car is plugged in for a part only, that it uses to the full: it is ``wide``.
These are the optimality conditions of ``kkt`` with their multipliers eliminated: in merit order its complementarity
binaries are monotone. No dual big-M remains, and every primal coefficient is a power that the home could really draw.

Where a price is below zero a car charges until its battery is full: a last slot there means a full battery. A car that
has drawn more than its need (``beyond``) stops before the slots that cost something (``done``).
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyomo.environ as pyo

from cosim.controllers.caps.merit_order import strict_levels
from cosim.controllers.caps.part import NEARLY_KW, Part, Plan, freed
from cosim.controllers.caps.upper_level import add_objective, limit_rows


def build(part: Part) -> pyo.ConcreteModel:
    """Return the mixed-integer model: least withheld energy under the limits [kWh].

    Parameters
    ----------
    part : Part
        One piece of the problem; its needs must be servable.
    """
    m = pyo.ConcreteModel()
    m.pairs = pyo.Set(initialize=part.pairs(), dimen=2, ordered=True)
    shuttable = [pair for pair in m.pairs if part.may_shut(*pair)]
    m.full = pyo.Var(m.pairs, within=pyo.Binary)
    m.throttled = pyo.Var(m.pairs, within=pyo.Binary)
    m.shut = pyo.Var(shuttable, within=pyo.Binary)
    m.last = pyo.Var(m.pairs, within=pyo.Binary)
    m.throttled_kw = pyo.Var(m.pairs, within=pyo.NonNegativeReals)
    m.last_kw = pyo.Var(m.pairs, within=pyo.NonNegativeReals)
    # where means count, a last slot adds exactly its need: a cap there would withhold and gain nothing
    holdable = [pair for pair in m.pairs if part.counts_peaks]
    m.held = pyo.Var(holdable, within=pyo.Binary)
    m.held_kw = pyo.Var(holdable, within=pyo.NonNegativeReals)
    m.held_room_kw = pyo.Var(holdable, within=pyo.NonNegativeReals)
    # only a car there for a part of the slot can draw more at once than its mean over the slot
    widenable = [(c, k) for c, k in holdable if part.peak_kw[k, c] > part.usable_kw[k, c] + NEARLY_KW]
    m.wide = pyo.Var(widenable, within=pyo.Binary)
    m.wide_room_kw = pyo.Var(widenable, within=pyo.NonNegativeReals)
    _household_rows(m, part)
    limit_rows(m, part, lambda c, k: _counted_kw(m, part, c, k))
    capped = [m.throttled, m.shut, m.held, m.wide]
    left = [m.throttled_kw, m.held_room_kw, m.wide_room_kw]

    def withheld_kw(c: int, k: int) -> pyo.Expression:
        states = sum(state[c, k] for state in capped if (c, k) in state)
        return float(part.room_kw[k, c]) * states - sum(room_kw[c, k] for room_kw in left if (c, k) in room_kw)

    add_objective(m, part, withheld_kw, lambda c, k: _drawn_kw(m, part, c, k))
    return m


def read(part: Part, m: pyo.ConcreteModel) -> Plan:
    """Return the plan that the model's variables hold."""
    room, charge = part.room_kw.copy(), np.zeros_like(part.room_kw)
    for c, k in m.pairs:
        if m.full[c, k].value > 0.5:
            charge[k, c] = part.usable_kw[k, c]
        elif m.throttled[c, k].value > 0.5:
            # a hair below the least, by the solver's tolerance, would shut the car
            room[k, c] = charge[k, c] = max(m.throttled_kw[c, k].value, part.least_room_kw(c, k))
        elif (c, k) in m.shut and m.shut[c, k].value > 0.5:
            room[k, c] = 0.0
        elif (c, k) in m.held and m.held[c, k].value > 0.5:
            room[k, c] = max(m.held_room_kw[c, k].value, part.least_room_kw(c, k))
            charge[k, c] = max(m.held_kw[c, k].value, 0.0)
        elif (c, k) in m.wide and m.wide[c, k].value > 0.5:
            room[k, c] = max(m.wide_room_kw[c, k].value, part.least_room_kw(c, k))
            charge[k, c] = part.usable_kw[k, c]
        else:
            charge[k, c] = max(m.last_kw[c, k].value, 0.0)
    return freed(part, Plan(room, charge))


def write_start(part: Part, m: pyo.ConcreteModel, plan: Plan) -> None:
    """Set the model's variables to a plan, as a start for the solver."""
    for c, slots in slots_of(part).items():
        finished, drawn_kw = False, float(plan.charge_kw[:, c].sum())
        drawing = [k for k in slots if plan.charge_kw[k, c] > NEARLY_KW]
        ending = drawing[-1] if drawing and part.counts_peaks and c not in m.beyond else -1
        for k in slots:
            if (c, k) in m.done:
                stops = not finished and drawn_kw > part.draw_kw[c] + NEARLY_KW
                m.done[c, k].value, finished = int(stops), finished or stops
            room, charge = plan.room_kw[k, c], plan.charge_kw[k, c]
            free = room >= part.peak_kw[k, c] - NEARLY_KW
            to_limit = not finished and k != ending and charge >= part.usable_kw[k, c] - NEARLY_KW
            full = to_limit and free
            capped = not (finished or full or k == ending) and room <= charge + NEARLY_KW
            wide = to_limit and not (full or capped) and (c, k) in m.wide
            shut = capped and charge <= NEARLY_KW and (c, k) in m.shut
            held = not (finished or full or capped or wide or free) and (c, k) in m.held
            throttled, last = capped and not shut, not (finished or full or capped or wide or held)
            m.full[c, k].value, m.throttled[c, k].value, m.last[c, k].value = int(full), int(throttled), int(last)
            m.throttled_kw[c, k].value = float(charge) if throttled else 0.0
            m.last_kw[c, k].value = float(charge) if last else 0.0
            if (c, k) in m.shut:
                m.shut[c, k].value = int(shut)
            if (c, k) in m.held:
                m.held[c, k].value = int(held)
                m.held_kw[c, k].value = float(charge) if held else 0.0
                m.held_room_kw[c, k].value = float(room) if held else 0.0
            if (c, k) in m.wide:
                m.wide[c, k].value, m.wide_room_kw[c, k].value = int(wide), float(room) if wide else 0.0
            finished = finished or last or held
        if c in m.beyond:
            m.beyond[c].value = int(drawn_kw > part.draw_kw[c] + NEARLY_KW)


def _optional(variable: pyo.Var, c: int, k: int) -> pyo.Expression:
    """Not every slot has every state."""
    pair = (c, k)
    return variable[pair] if pair in variable else 0  # noqa: SIM401 - an indexed variable has no get


def _household_rows(m: pyo.ConcreteModel, part: Part) -> None:
    """What makes a plan the household's own choice: its slots in order, and its need met."""
    slots = slots_of(part)
    before = {(c, k): earlier for c, its in slots.items() for earlier, k in pairwise(its)}

    def usable(c: int, k: int) -> float:
        return float(part.usable_kw[k, c])

    def used(c: int, k: int) -> pyo.Expression:
        return m.full[c, k] + m.throttled[c, k] + _optional(m.shut, c, k) + _optional(m.wide, c, k)

    def ends(c: int, k: int) -> pyo.Expression:
        return m.last[c, k] + _optional(m.held, c, k)

    m.done = pyo.Var(_first_costing(part, slots), within=pyo.Binary)
    m.in_order = pyo.Constraint(
        m.pairs,
        rule=lambda m, c, k: (
            # a slot is touched exactly if the one before was used to its limit: complementarity in merit order,
            # without a multiplier
            used(c, k) + ends(c, k) + _optional(m.done, c, k) == (used(c, before[c, k]) if (c, k) in before else 1)
        ),
    )
    exact = [c for c in slots if part.most_kw[c] <= part.draw_kw[c]]
    m.need = pyo.Constraint(
        exact, rule=lambda m, c: sum(_drawn_kw(m, part, c, k) for k in slots[c]) == float(part.draw_kw[c])
    )
    _rows_beyond_need(m, part, {c: its for c, its in slots.items() if c not in exact})
    m.last_most = pyo.Constraint(m.pairs, rule=lambda m, c, k: m.last_kw[c, k] <= usable(c, k) * m.last[c, k])
    m.rooms = pyo.ConstraintList()
    for c, k in m.pairs:
        least, peak = part.least_room_kw(c, k), float(part.peak_kw[k, c])
        states = [(m.throttled[c, k], m.throttled_kw[c, k], least, usable(c, k))]
        if (c, k) in m.held:
            states.append((m.held[c, k], m.held_room_kw[c, k], least, peak))
            # a last slot's cap must leave what is still needed, or it would be throttled instead
            m.rooms.add(m.held_kw[c, k] <= m.held_room_kw[c, k])
            m.rooms.add(m.held_kw[c, k] <= usable(c, k) * m.held[c, k])
        if (c, k) in m.wide:
            states.append((m.wide[c, k], m.wide_room_kw[c, k], max(least, usable(c, k)), peak))
        for state, room_kw, lowest, highest in states:
            if lowest > highest:
                state.fix(0)  # no room that the car could use lies between nothing and all it can draw
            m.rooms.add(room_kw <= highest * state)
            m.rooms.add(room_kw >= lowest * state)


def _rows_beyond_need(m: pyo.ConcreteModel, part: Part, rows_of: dict[int, list[int]]) -> None:
    """Energy of cars that a price below zero lets charge beyond their need."""
    m.beyond = pyo.Var(list(rows_of), within=pyo.Binary)
    m.energy = pyo.ConstraintList()
    level = strict_levels(part.tariff_eur_per_kwh)
    for c, slots in rows_of.items():
        need, more = float(part.draw_kw[c]), float(part.most_kw[c] - part.draw_kw[c])
        paid = [k for k in slots if level[k, c] < 0]
        drawn = sum(_drawn_kw(m, part, c, k) for k in slots)
        full = sum(m.last[c, k] + _optional(m.held, c, k) for k in paid)
        m.energy.add(drawn <= need + more * m.beyond[c])
        m.energy.add(drawn >= need + more * full)
        if len(paid) < len(slots):
            costing = sum(_drawn_kw(m, part, c, k) for k in slots if k not in paid)
            m.energy.add(costing <= need * (1 - m.beyond[c]))


def _first_costing(part: Part, rows_of: dict[int, list[int]]) -> list[tuple[int, int]]:
    """First row that costs something, of each car that a price below zero lets charge beyond its need."""
    level = strict_levels(part.tariff_eur_per_kwh)
    costing = {c: [k for k in rows if level[k, c] > 0] for c, rows in rows_of.items()}
    return [(c, rows[0]) for c, rows in costing.items() if rows and part.most_kw[c] > part.draw_kw[c]]


def _drawn_kw(m: pyo.ConcreteModel, part: Part, c: int, k: int) -> pyo.Expression:
    """What the car draws, mean over the slot."""
    full = m.full[c, k] + _optional(m.wide, c, k)
    return float(part.usable_kw[k, c]) * full + m.throttled_kw[c, k] + m.last_kw[c, k] + _optional(m.held_kw, c, k)


def _counted_kw(m: pyo.ConcreteModel, part: Part, c: int, k: int) -> pyo.Expression:
    """What the car adds to the load that must respect the limits."""
    peak = float(part.peak_kw[k, c])
    last = peak * m.last[c, k] + m.held_room_kw[c, k] if part.counts_peaks else m.last_kw[c, k]
    return peak * m.full[c, k] + m.throttled_kw[c, k] + _optional(m.wide_room_kw, c, k) + last


def slots_of(part: Part) -> dict[int, list[int]]:
    """Return the rows in which each car could draw, in merit order."""
    slots: dict[int, list[int]] = {c: [] for c in range(len(part.cars))}
    for c, k in part.pairs():
        slots[c].append(k)
    return slots
