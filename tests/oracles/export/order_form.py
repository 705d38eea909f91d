"""The segment-order form: a home fills (slot, block) segments in a known order, so no multiplier is needed.

With the blocks of a home's choice (`BLOCKS`) a plan is the response to caps exactly if, along the home's order of
segments, each is used to its limit (all of its width, or all that the charger has left in that slot) until the need is
met. Orders do not depend on caps, only widths do: ``surplus - x``, ``x`` and ``room``, ``x`` being what of the surplus
may be sold. Hence one falling binary per segment, one that says which limit binds, and powers of the home itself as the
only big-M.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyomo.environ as pyo

from cosim.contract import Float
from cosim.controllers.caps import ExportProblem
from oracles.export.upper_level import add_import_caps, add_upper_level, cells, import_most_kw, stays

BLOCKS = 3  # sun that would be curtailed, sun that would be sold, import


def build(problem: ExportProblem, wanted_kw: Float, *, decide_import: bool) -> pyo.ConcreteModel:
    """Return the model: least withheld under the limits, every home at its own optimum.

    Parameters
    ----------
    problem : ExportProblem
        The data; tariffs must not be below zero where a car is plugged in.
    wanted_kw : ndarray, shape (slot, home)
        Export without caps [kW].
    decide_import : bool
        Whether import caps are decided too, below those given.
    """
    there = problem.per_home(problem.car_kw) > 0
    assert (problem.levels[0][there] >= 0).all(), "the order of segments knows no tariff below zero"
    most = import_most_kw(problem)
    m = pyo.ConcreteModel()
    m.cells = pyo.Set(initialize=cells(problem), dimen=2, ordered=True)
    add_import_caps(m, problem, decided=decide_import)
    most_sold = problem.sellable_kw
    m.x = pyo.Var(
        m.cells,
        bounds=lambda _, k, h: (0.0, float(most_sold[k, h])),
        initialize=lambda _, k, h: float(most_sold[k, h]),  # of homes that no limit knows
    )
    segments = [(k, b, c) for k, c in stays(problem) for b in range(BLOCKS)]

    def widest(k: int, b: int, c: int) -> float:
        h = problem.home[c]
        width = (problem.surplus_kw[k, h], problem.sellable_kw[k, h], most[k, h] - problem.deficit_kw[k, h])[b]
        return float(min(width, problem.car_kw[k, c]))

    m.q = pyo.Var(segments, bounds=lambda _, k, b, c: (0.0, widest(k, b, c)))
    m.used = pyo.Var(segments, within=pyo.Binary)
    m.charger_binds = pyo.Var(segments, within=pyo.Binary)
    m.rows = pyo.ConstraintList()
    for k, b, c in segments:
        _segment_rows(m, problem, k, b, c)
    for c in sorted({c for _, _, c in segments}):
        own = _in_order(problem, [segment for segment in segments if segment[2] == c])
        m.rows.add(sum(m.q[segment] for segment in own) == float(problem.need_kw[c]))
        for one, following in pairwise(own):
            m.rows.add(m.used[following] <= m.used[one])
            m.rows.add(m.q[following] <= widest(*following) * m.used[one])
    car_at = {(k, int(problem.home[c])): c for k, c in stays(problem)}

    def sold(k: int, h: int) -> pyo.Expression:
        return m.x[k, h] - (m.q[k, 1, car_at[k, h]] if (k, h) in car_at else 0.0)

    def drawn(k: int, h: int) -> pyo.Expression:
        return float(problem.deficit_kw[k, h]) + (m.q[k, 2, car_at[k, h]] if (k, h) in car_at else 0.0)

    m.net_kw = pyo.Expression(m.cells, rule=lambda _, k, h: drawn(k, h) - sold(k, h))
    add_upper_level(m, problem, wanted_kw, sold, drawn, lambda k, h: m.x[k, h])
    return m


def read(problem: ExportProblem, m: pyo.ConcreteModel) -> tuple[Float, Float, Float]:
    """Return import caps, export caps and net load that the model's variables hold, shape (slot, home) [kW]."""
    shape = problem.demand_kw.shape
    icap, x = (np.array([variable[pair].value for pair in m.cells]).reshape(shape) for variable in (m.icap, m.x))
    net = np.array([pyo.value(m.net_kw[pair]) for pair in m.cells]).reshape(shape)
    x = np.clip(x, 0.0, problem.sellable_kw)
    return icap, np.where(x >= problem.sellable_kw, problem.rated_kw, x), net


def _segment_rows(m: pyo.ConcreteModel, problem: ExportProblem, k: int, b: int, c: int) -> None:
    """A segment is not used beyond its limits; where it is used to its limit, one of them binds."""
    h = int(problem.home[c])
    widths = (
        float(problem.surplus_kw[k, h]) - m.x[k, h],
        m.x[k, h],
        m.icap[k, h] - float(problem.deficit_kw[k, h]),
    )
    most = (problem.surplus_kw, problem.sellable_kw, import_most_kw(problem) - problem.deficit_kw)[b][k, h]
    used, charger = m.used[k, b, c], float(problem.car_kw[k, c])
    until = sum(m.q[k, block, c] for block in range(b + 1))
    m.rows.add(m.q[k, b, c] <= widths[b])
    m.rows.add(until <= charger)
    m.rows.add(m.charger_binds[k, b, c] <= used)
    m.rows.add(until >= charger * m.charger_binds[k, b, c])
    m.rows.add(m.q[k, b, c] >= widths[b] - float(most) * (1 - used + m.charger_binds[k, b, c]))


def _in_order(problem: ExportProblem, segments: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    bought, sold = problem.levels

    def rank(segment: tuple[int, int, int]) -> tuple[float, int, int]:
        k, b, c = segment
        h = problem.home[c]
        return (0.0, max(sold[k, h], 0.0), bought[k, h])[b], k, b

    return sorted(segments, key=rank)
