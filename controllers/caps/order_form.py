"""The bilevel problem without dual variables: the order in which a household fills its slots says it all.

With a strict order, a plan is the household's response to its caps exactly if, from its cheapest slot to its dearest,
it uses every slot to its limit, then one slot in part, then none. So each slot of a car is one of four things:
``full`` (the charger binds, the cap stays at the connection), ``throttled`` (the cap binds), ``last`` (what remains of
the need, the cap stays at the connection), or after the last. These are the optimality conditions of ``kkt`` with
their multipliers eliminated: in merit order its complementarity binaries are monotone. No dual big-M remains, and
every primal coefficient is a power that the home could really draw.
"""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo

from controllers.caps.part import NEARLY_KW, Part, Plan, freed


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
    usable = {(c, k): float(part.usable_kw[k, c]) for c, k in m.pairs}

    def used(c: int, k: int) -> pyo.Expression:
        return m.full[c, k] + m.throttled[c, k] + (m.shut[c, k] if (c, k) in m.shut else 0)

    def drawn(c: int, k: int) -> pyo.Expression:
        return usable[c, k] * m.full[c, k] + m.throttled_kw[c, k] + m.last_kw[c, k]

    slots_of = _slots_of(part)
    before = {(c, k): earlier for c, slots in slots_of.items() for earlier, k in zip(slots, slots[1:], strict=False)}
    m.in_order = pyo.Constraint(
        m.pairs,
        rule=lambda m, c, k: used(c, k) + m.last[c, k] == (used(c, before[c, k]) if (c, k) in before else 1),
    )
    m.throttled_most = pyo.Constraint(
        m.pairs, rule=lambda m, c, k: m.throttled_kw[c, k] <= usable[c, k] * m.throttled[c, k]
    )
    m.throttled_least = pyo.Constraint(
        m.pairs, rule=lambda m, c, k: m.throttled_kw[c, k] >= part.least_room_kw(c, k) * m.throttled[c, k]
    )
    m.last_most = pyo.Constraint(m.pairs, rule=lambda m, c, k: m.last_kw[c, k] <= usable[c, k] * m.last[c, k])
    m.need = pyo.Constraint(
        list(slots_of), rule=lambda m, c: sum(drawn(c, k) for k in slots_of[c]) == float(part.draw_kw[c])
    )
    m.limit = pyo.ConstraintList()
    for k in range(part.slots):
        for phase in range(part.share.shape[1]):
            drawing = [c for c in slots_of if (c, k) in m.pairs and part.share[c, phase] > 0]
            if drawing:
                m.limit.add(
                    sum(float(part.share[c, phase]) * drawn(c, k) for c in drawing) <= float(part.headroom_kw[k, phase])
                )
    m.withheld_kwh = pyo.Objective(
        expr=part.slot_h
        * sum(
            float(part.room_kw[k, c]) * (used(c, k) - m.full[c, k]) - m.throttled_kw[c, k] for c, k in m.pairs
        )
    )
    return m


def read(part: Part, m: pyo.ConcreteModel) -> Plan:
    """Return the plan that the model's variables hold."""
    room, charge = part.room_kw.copy(), np.zeros_like(part.room_kw)
    for c, k in m.pairs:
        throttled_kw, last_kw = m.throttled_kw[c, k].value, m.last_kw[c, k].value
        if m.full[c, k].value > 0.5:
            charge[k, c] = part.usable_kw[k, c]
        elif m.throttled[c, k].value > 0.5:
            room[k, c] = charge[k, c] = max(throttled_kw, part.least_room_kw(c, k))
        elif (c, k) in m.shut and m.shut[c, k].value > 0.5:
            room[k, c] = 0.0
        else:
            charge[k, c] = max(last_kw, 0.0)
    return freed(part, Plan(room, charge))


def write_start(part: Part, m: pyo.ConcreteModel, plan: Plan) -> None:
    """Set the model's variables to a plan, as a start for the solver."""
    for c, slots in _slots_of(part).items():
        finished = False
        for k in slots:
            room, charge, usable = plan.room_kw[k, c], plan.charge_kw[k, c], part.usable_kw[k, c]
            full = not finished and charge >= usable - NEARLY_KW
            capped = not finished and not full and room <= charge + NEARLY_KW
            shut = capped and charge <= NEARLY_KW and (c, k) in m.shut
            throttled, last = capped and not shut, not (finished or full or capped)
            m.full[c, k].value, m.throttled[c, k].value, m.last[c, k].value = int(full), int(throttled), int(last)
            m.throttled_kw[c, k].value = float(charge) if throttled else 0.0
            m.last_kw[c, k].value = float(charge) if last else 0.0
            if (c, k) in m.shut:
                m.shut[c, k].value = int(shut)
            finished = finished or last


def _slots_of(part: Part) -> dict[int, list[int]]:
    slots: dict[int, list[int]] = {c: [] for c in range(len(part.cars))}
    for c, k in part.pairs():
        slots[c].append(k)
    return slots
