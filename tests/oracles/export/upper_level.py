"""What both mixed-integer forms share: caps, limits both ways, and what is withheld."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyomo.environ as pyo

from cosim.contract import Float
from cosim.controllers.caps import ExportProblem, ExportResponse, export_response

Of = Callable[[int, int], pyo.Expression]
"""Of a slot and a home."""


def cells(problem: ExportProblem) -> list[tuple[int, int]]:
    """Return all pairs of slot and home."""
    return [(k, h) for k in range(problem.slots) for h in range(problem.homes)]


def stays(problem: ExportProblem) -> list[tuple[int, int]]:
    """Return the pairs of slot and car in which it can charge."""
    return [(int(k), int(c)) for k, c in np.argwhere(problem.car_kw > 0)]


def import_most_kw(problem: ExportProblem) -> Float:
    """Return the highest import caps, shape (slot, home): load that nobody moves is always served [kW]."""
    return np.maximum(problem.import_cap_kw, problem.deficit_kw)


def uncontrolled(problem: ExportProblem) -> ExportResponse:
    """Return what homes do without any cap but their connection and their rating."""
    shape = problem.demand_kw.shape
    free = np.broadcast_to(np.maximum(problem.connection_kw, problem.import_cap_kw), shape)
    return export_response(problem, free, np.broadcast_to(problem.rated_kw, shape))


def reverse_rows(problem: ExportProblem) -> list[tuple[int, Float, float]]:
    """Return every limit on what flows back as slot, share of each home, and most [kW]."""
    finite = np.argwhere(np.isfinite(problem.reverse_limit_kw)).tolist()
    of_phases = [(k, problem.phase_share[:, j], float(problem.reverse_limit_kw[k, j])) for k, j in finite]
    return of_phases + [(row.slot, row.share, float(row.limit_kw)) for row in problem.rows]


def add_import_caps(m: pyo.ConcreteModel, problem: ExportProblem, *, decided: bool) -> None:
    """Add ``m.icap``, fixed where import caps are given."""
    most, least = import_most_kw(problem), problem.deficit_kw
    m.icap = pyo.Var(
        cells(problem),
        bounds=lambda _, k, h: (float(least[k, h] if decided else most[k, h]), float(most[k, h])),
        initialize=lambda _, k, h: float(most[k, h]),
    )


def add_upper_level(
    m: pyo.ConcreteModel, problem: ExportProblem, wanted_kw: Float, sold: Of, drawn: Of, allowed: Of
) -> None:
    """Keep limits both ways, and let as little as possible be withheld of import and export together [kWh].

    Parameters
    ----------
    m : ConcreteModel
        With ``m.icap``.
    problem : ExportProblem
        The data.
    wanted_kw : ndarray, shape (slot, home)
        Export without caps [kW].
    sold, drawn, allowed : callable
        Export, import, and the export cap, or what of it matters.
    """
    homes = range(problem.homes)
    m.limits = pyo.ConstraintList()

    def add(expression: pyo.Expression, most: float) -> None:
        if not isinstance(expression, (int, float)):
            m.limits.add(expression <= most)

    for slot, share, limit in reverse_rows(problem):
        add(sum(float(share[h]) * (sold(slot, h) - drawn(slot, h)) for h in homes if share[h]), limit)
    for slot, phase in np.argwhere(np.isfinite(problem.limit_kw)).tolist():
        share = problem.phase_share[:, phase]
        load = sum(float(share[h]) * (drawn(slot, h) - sold(slot, h)) for h in homes if share[h])
        add(load, float(problem.limit_kw[slot, phase]))
    wanted = [(int(k), int(h)) for k, h in np.argwhere(wanted_kw > 0)]
    m.withheld = pyo.Var(wanted, bounds=lambda _, k, h: (0.0, float(wanted_kw[k, h])))
    m.withholds = pyo.Constraint(
        wanted, rule=lambda m, k, h: m.withheld[k, h] >= float(wanted_kw[k, h]) - allowed(k, h)
    )
    most = import_most_kw(problem)
    plugged = sorted({(k, int(problem.home[c])) for k, c in stays(problem)})
    import_kw = sum(float(most[k, h]) - m.icap[k, h] for k, h in plugged)
    m.withheld_kwh = pyo.Objective(expr=problem.slot_h * (sum(m.withheld.values()) + import_kw))
