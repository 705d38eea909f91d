"""The textbook form: optimality conditions of every home as mixed-integer rows, with bounds proven from data.

With price levels ``B`` (import) and ``F`` (export) times the number of slots ``K`` (see `ExportProblem.levels`), and
the position ``k`` of a slot as the price that makes early charging the better of equals, the conditions of a home are::

    i_k - e_k - c_k - p_k = demand_k - sun_k        (nu_k: what one more kW of load costs)
    sum_k p_k = need                                 (lam)
    B_k - nu_k = a_i - b_i     nu_k - F_k = a_e - b_e     nu_k = a_c - b_c     k + nu_k - lam = a_p - b_p
    a_x > 0 only where x = 0,   b_x > 0 only where x is at its upper bound (caps of import and export among them)

Bounds without loss of optimality: let ``V_k`` be the least cost of a slot as a function of its load, convex with slopes
among 0, F and B. ``nu_k`` can be a slope of ``V_k`` or, where the load is as large as the import cap lets it be,
``lam - k``; ``lam`` is the rank (level times K, plus position) of the segment that is used last. So with the lowest and
the highest level (0 among them) ``K min <= lam <= K max + K - 1`` and ``K min - K <= nu <= K max + K``; the bounds of
``a`` and ``b`` follow from the four equations, as one of the two is always 0.
"""

from __future__ import annotations

import numpy as np
import pyomo.environ as pyo

from cosim.contract import Float
from cosim.controllers.caps import ExportProblem
from oracles.export.upper_level import add_import_caps, add_upper_level, cells, import_most_kw, stays


def build(problem: ExportProblem, wanted_kw: Float, *, decide_import: bool) -> pyo.ConcreteModel:
    """Return the model: least withheld under the limits, every home at its own optimum.

    Parameters
    ----------
    problem : ExportProblem
        The data.
    wanted_kw : ndarray, shape (slot, home)
        Export without caps [kW].
    decide_import : bool
        Whether import caps are decided too, below those given.
    """
    K, most = problem.slots, import_most_kw(problem)
    bought, sold = (level * K for level in problem.levels)
    low = min(0.0, float(bought.min()), float(sold.min()))
    high = max(0.0, float(bought.max()), float(sold.max()))
    m = pyo.ConcreteModel()
    m.cells = pyo.Set(initialize=cells(problem), dimen=2, ordered=True)
    m.stays = pyo.Set(initialize=stays(problem), dimen=2, ordered=True)
    cars = sorted({c for _, c in m.stays})
    add_import_caps(m, problem, decided=decide_import)
    m.ecap = pyo.Var(m.cells, bounds=lambda _, __, h: (0.0, float(problem.rated_kw[h])))
    m.i = pyo.Var(m.cells, bounds=lambda _, k, h: (0.0, float(most[k, h])))
    m.e = pyo.Var(m.cells, bounds=lambda _, __, h: (0.0, float(problem.rated_kw[h])))
    m.c = pyo.Var(m.cells, bounds=lambda _, k, h: (0.0, float(problem.sun_kw[k, h])))
    m.p = pyo.Var(m.stays, bounds=lambda _, k, c: (0.0, float(problem.car_kw[k, c])))
    m.nu = pyo.Var(m.cells, bounds=(low - K, high + K))
    m.lam = pyo.Var(cars, bounds=(low, high + K - 1))
    m.balance = pyo.Constraint(m.cells, rule=lambda m, k, h: _balance(m, problem, k, h))
    m.need = pyo.Constraint(
        cars, rule=lambda m, c: sum(m.p[k, one] for k, one in m.stays if one == c) == float(problem.need_kw[c])
    )
    m.conditions = pyo.ConstraintList()
    m.multiplier = pyo.VarList(within=pyo.NonNegativeReals)
    m.binds = pyo.VarList(within=pyo.Binary)
    for k, h in m.cells:
        price = m.nu[k, h]
        buys, sells = float(bought[k, h]), float(sold[k, h])
        _optimal(m, m.i[k, h], m.icap[k, h], float(most[k, h]), buys - price, buys - high - K, buys - low + K)
        _optimal(
            m, m.e[k, h], m.ecap[k, h], float(problem.rated_kw[h]), price - sells, low - K - sells, high + K - sells
        )
        sun = float(problem.sun_kw[k, h])
        _optimal(m, m.c[k, h], sun, sun, price, low - K, high + K)
    for k, c in m.stays:
        gain = k + m.nu[k, int(problem.home[c])] - m.lam[c]
        charger = float(problem.car_kw[k, c])
        _optimal(m, m.p[k, c], charger, charger, gain, k + low - high - 2 * K, k + high + K - low)
    add_upper_level(m, problem, wanted_kw, lambda k, h: m.e[k, h], lambda k, h: m.i[k, h], lambda k, h: m.ecap[k, h])
    return m


def read(problem: ExportProblem, m: pyo.ConcreteModel) -> tuple[Float, Float, Float]:
    """Return import caps, export caps and net load that the model's variables hold, shape (slot, home) [kW].

    Where export earns what import costs a home may do both at once in a model; its net load is what counts.
    """
    shape = problem.demand_kw.shape
    icap, ecap, bought, sold = (
        np.array([variable[pair].value for pair in m.cells]).reshape(shape) for variable in (m.icap, m.ecap, m.i, m.e)
    )
    return icap, np.clip(ecap, 0.0, problem.rated_kw), bought - sold


def _balance(m: pyo.ConcreteModel, problem: ExportProblem, k: int, h: int) -> pyo.Expression:
    charge = sum(m.p[k, c] for c in np.flatnonzero(problem.home == h).tolist() if (k, c) in m.stays)
    surplus = float(problem.sun_kw[k, h] - problem.demand_kw[k, h])
    return m.i[k, h] - m.e[k, h] - m.c[k, h] - charge == -surplus


def _optimal(
    m: pyo.ConcreteModel,
    x: pyo.Var,
    upper: pyo.Expression,
    most: float,
    reduced_cost: pyo.Expression,
    cost_low: float,
    cost_high: float,
) -> None:
    """Stationarity and complementarity of one variable between 0 and ``upper`` (at most ``most``)."""
    at_zero, at_upper = m.multiplier.add(), m.multiplier.add()
    zero_binds, upper_binds = m.binds.add(), m.binds.add()
    m.conditions.add(x <= upper)
    m.conditions.add(reduced_cost == at_zero - at_upper)
    m.conditions.add(at_zero <= max(cost_high, 0.0) * zero_binds)
    m.conditions.add(at_upper <= max(-cost_low, 0.0) * upper_binds)
    m.conditions.add(x <= most * (1 - zero_binds))
    m.conditions.add(upper - x <= most * (1 - upper_binds))
