"""The bilevel aggregation as a mixed-integer programme: its optimum proven, for cases of a few dozen steps.

The inner programme is replaced by its Karush-Kuhn-Tucker conditions. Every big-M is proven, none is guessed:

* primal: a column is never farther from its bound than the largest scaled bound, ``high * H``;
* dual: energy missing or in surplus costs ``penalty``, so the dual of the balance is within +-penalty, and reduced
  costs are sums of it and of known costs.

Factors with which the balance cannot be kept are excluded, as in ``fit``. The absolute deviation makes this a MILP.
The squared one would make it a mixed-integer *quadratic* programme, which HiGHS cannot solve; it is solved by a
sequence of MILPs whose squares are replaced by tangents (outer approximation: M. A. Duran and I. E. Grossmann, Math.
Program. 36 (1986) 307-339, doi:10.1007/BF02592064). Tangents lie below a square, so every MILP's bound is a bound of
the true problem, and every MILP's point, valued with the true squares, is a solution: the gap between them is proven.
Branching on complementarities over quadratic programmes would need a tree of our own over a weaker solver.

What a MILP returns is not believed: the inner programme is solved again at its factors, by the simplex method, and the
value of *that* schedule is the objective. Where the two differ, tolerances have been used up and nothing is proven.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyomo.environ as pyo

from cosim.contract import Int
from cosim.controllers.aggregation.aggregate import Factors, block_of_step, scaled
from cosim.controllers.aggregation.deviation import Case, Weights, free_families, parts
from cosim.controllers.aggregation.kkt import Kkt, build
from cosim.controllers.aggregation.programme import StoreLp, penalty_eur_per_kwh
from cosim.controllers.aggregation.store import Schedule
from cosim.controllers.solver import Limits, SolveResult, Termination, judged, relative_gap
from cosim.controllers.solver.pyomo_model import solve
from cosim.errors import Fault, InputError, SolverError

MOST_STEPS = 96
FIRST_TANGENTS = 7
MOST_ROUNDS = 40
NEGLIGIBLE = 1e-6  # a mean square of a watt: an exact fit, whatever the relative gap
MISSING_KWH = 1e-3  # of the balance at the factors found: the MILP has none
SAME_SHARE, SAME = 1e-4, 1e-5  # the MILP's value and that of the inner programme solved again: relative, absolute


@dataclass(frozen=True, eq=False)
class Exact:
    """Proven outcome.

    Attributes
    ----------
    factors : Factors
        Best factors.
    schedule : Schedule
        The aggregate's schedule as the MILP has it.
    objective, bound, gap : float
        Weighted mean deviation (absolute or squared) of the inner programme solved again at the factors; its proven
        bound; relative distance.
    status : str
        ``optimal``: a gap of at most 1e-4, or an exact fit; ``gap_limit``: of at most what was asked for; otherwise
        the limit that struck; ``not_proven``: the MILP's schedule is not the inner optimum at its factors.
    rounds : int
        MILPs solved.
    wall_s : float
        Wall clock [s].
    """

    factors: Factors
    schedule: Schedule
    objective: float
    bound: float
    gap: float
    status: str
    rounds: int
    wall_s: float


def fit_exactly(
    case: Case,
    block_h: int,
    *,
    deviation: Literal["absolute", "squared"] = "absolute",
    weights: Weights | None = None,
    low: float = 0.0,
    high: float = 1.5,
    stop: Limits | None = None,
) -> Exact:
    """Find the best factors of one short horizon, with proof.

    Parameters
    ----------
    case : Case
        Unscaled aggregate, prices, reference; at most 96 steps.
    block_h : int
        Hours that share a factor.
    deviation : {"absolute", "squared"}
        Of the outer objective.
    weights : Weights, optional
        Of charging, discharging and level.
    low, high : float
        Bounds of every factor.
    stop : Limits, optional
        Gap, nodes and time of each MILP; the gap also ends the sequence.

    Raises
    ------
    InputError
        Where the horizon is too long or the bounds of the factors exclude 1.
    SolverError
        Where no solution is found within the limits.
    """
    if case.store.steps > MOST_STEPS or not 0.0 <= low <= 1.0 <= high:
        problem = f"{case.store.steps} steps, factors within {low}..{high}"
        raise InputError(Fault("exact fit", "case", problem, f"at most {MOST_STEPS} steps and a range around 1"))
    stop = stop or Limits()
    tau = block_of_step(case.store.steps, case.store.step_h, block_h, case.first_h)
    families = free_families([case.store])
    model = build(case, tau, families, low, high, penalty_eur_per_kwh(case.store, case.price_eur_per_kwh))
    weights = weights or Weights()
    terms = _terms(model, case, weights)
    search = _absolute if deviation == "absolute" else _squared
    found, rounds = search(model.model, terms, stop)
    factors, schedule = model.factors(block_h), model.schedule()
    objective = _value(case, factors, tau, weights, deviation)
    gap = 0.0 if objective <= NEGLIGIBLE else relative_gap(objective, found.bound)
    ended = Termination.OPTIMAL if gap == 0.0 else judged(
        objective, found.bound, stop.gap + 2.0 * SAME_SHARE, found.termination
    )  # fmt: skip
    is_same = abs(objective - found.value) <= SAME + SAME_SHARE * abs(objective)
    status = str(ended) if is_same and ended is not Termination.FEASIBLE else "not_proven"
    return Exact(factors, schedule, objective, found.bound, gap, status, rounds, found.wall_s)


def _value(case: Case, factors: Factors, tau: Int, weights: Weights, kind: str) -> float:
    """Weighted mean deviation of the inner optimum at some factors; inf where its balance cannot be kept."""
    lp = StoreLp(case.store.steps, case.store.keep)
    mine = lp.solve(scaled(case.store, factors, tau), case.price_eur_per_kwh)
    if np.abs(mine.missing_kwh).max() > MISSING_KWH:
        return float("inf")
    power = 1 if kind == "absolute" else 2
    return float(sum(weight * np.mean(np.abs(off) ** power) for weight, off in parts(case.target, mine, weights)))


@dataclass(frozen=True)
class _Term:
    """One deviation of the outer objective: weight, expression, and the range it can have."""

    weight: float
    expression: pyo.Expression
    low: float
    high: float


def _terms(kkt: Kkt, case: Case, weights: Weights) -> list[_Term]:
    steps = case.store.steps
    rows = (
        (weights.charge, kkt.charge_kw, case.target.charge_kw),
        (weights.discharge, kkt.discharge_kw, case.target.discharge_kw),
        (weights.level, kkt.level_kwh, case.target.level_kwh),
    )
    return [
        _Term(weight / steps, column[t] - float(target[t]), -float(target[t]), kkt.most(kind, t) - float(target[t]))
        for kind, (weight, column, target) in enumerate(rows)
        if weight > 0.0
        for t in range(steps)
        if kkt.most(kind, t) > 0.0 or target[t] > 0.0
    ]


def _absolute(model: pyo.ConcreteModel, terms: list[_Term], stop: Limits) -> tuple[SolveResult, int]:
    model.apart = pyo.Var(range(len(terms)), bounds=(0.0, None))
    model.apart_rows = pyo.ConstraintList()
    for k, term in enumerate(terms):
        model.apart_rows.add(model.apart[k] >= term.expression)
        model.apart_rows.add(model.apart[k] >= -term.expression)
    model.outer = pyo.Objective(expr=sum(term.weight * model.apart[k] for k, term in enumerate(terms)))
    return _solved(model, stop), 1


def _squared(model: pyo.ConcreteModel, terms: list[_Term], stop: Limits) -> tuple[SolveResult, int]:
    model.square = pyo.Var(range(len(terms)), bounds=(0.0, None))
    model.tangents = pyo.ConstraintList()
    for k, term in enumerate(terms):
        for at in np.linspace(term.low, term.high, FIRST_TANGENTS):
            _add_tangent(model, k, term, float(at))
    model.outer = pyo.Objective(expr=sum(term.weight * model.square[k] for k, term in enumerate(terms)))
    best, bound, wall_s = np.inf, -np.inf, 0.0
    variables = list(model.component_data_objects(pyo.Var))
    kept: list[float | None] = []
    for rounds in range(1, MOST_ROUNDS + 1):
        found = _solved(model, stop, use_start=rounds > 1)
        wall_s += found.wall_s
        bound = max(bound, found.bound)
        reached = [float(pyo.value(term.expression)) for term in terms]
        value = sum(term.weight * at**2 for term, at in zip(terms, reached, strict=True))
        if value < best:
            best = value
            kept = [variable.value for variable in variables]
        done = relative_gap(best, bound) <= stop.gap or best <= NEGLIGIBLE
        if done or not found.is_proven:
            break
        for k, term in enumerate(terms):
            _add_tangent(model, k, term, reached[k])
    for variable, held in zip(variables, kept, strict=True):
        variable.set_value(held, skip_validation=True)
    ended = Termination.ROUND_LIMIT if found.is_proven and not done else found.termination
    return replace(found, value=best, bound=min(bound, best), termination=ended, wall_s=wall_s), rounds


def _solved(model: pyo.ConcreteModel, stop: Limits, *, use_start: bool = False) -> SolveResult:
    found = solve(model, stop, use_start=use_start)
    if not found.has_point:
        raise SolverError(f"the exact fit ended with '{found.termination}' and no solution")
    return found


def _add_tangent(model: pyo.ConcreteModel, k: int, term: _Term, at: float) -> None:
    model.tangents.add(model.square[k] >= 2.0 * at * term.expression - at * at)
