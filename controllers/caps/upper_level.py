"""What every mixed-integer form of the lower level is joined to: limits, what is withheld, and what it is minimised by.

A form says what each car is counted with, what its cap withholds and what it draws; rows and objectives are the same
for all forms, and so are the questions that can be asked of them.
"""

from __future__ import annotations

from collections.abc import Callable

import pyomo.environ as pyo

from cosim.controllers.caps.part import Part

Expression = Callable[[int, int], pyo.Expression]
"""Of a car and its row."""


def limit_rows(m: pyo.ConcreteModel, part: Part, counted_kw: Expression) -> None:
    """Keep anticipated load under every limit; ``more_kw`` would lift all of them alike, and is zero unless freed."""
    m.counted_load_kw = pyo.Expression(m.pairs, rule=lambda _, c, k: counted_kw(c, k))
    m.more_kw = pyo.Var(within=pyo.NonNegativeReals, initialize=0.0)
    m.more_kw.fix(0.0)
    together: dict[int, list[tuple[int, int]]] = {}
    for c, k in m.pairs:
        together.setdefault(part.limit_row(c, k), []).append((c, k))
    m.limit = pyo.ConstraintList()
    for row, pairs in sorted(together.items()):
        for phase in range(part.share.shape[1]):
            drawing = [(c, k) for c, k in pairs if part.share[c, phase] > 0]
            if drawing:
                load = sum(float(part.share[c, phase]) * m.counted_load_kw[c, k] for c, k in drawing)
                m.limit.add(load <= float(part.headroom_kw[row, phase]) + m.more_kw)


def add_objective(m: pyo.ConcreteModel, part: Part, withheld_kw: Expression, drawn_kw: Expression) -> None:
    """Let the model withhold as little as it can, and remember what it withholds and draws in every slot."""
    m.withheld_kw = pyo.Expression(m.pairs, rule=lambda _, c, k: withheld_kw(c, k))
    m.drawn_kw = pyo.Expression(m.pairs, rule=lambda _, c, k: drawn_kw(c, k))
    m.withheld_kwh = pyo.Objective(expr=part.slot_h * sum(m.withheld_kw[pair] for pair in m.pairs))


def cost_eur(m: pyo.ConcreteModel, part: Part) -> pyo.Expression:
    """Return what the charging of all cars costs at their tariffs [EUR]."""
    return part.slot_h * sum(float(part.tariff_eur_per_kwh[k, c]) * m.drawn_kw[c, k] for c, k in m.pairs)
