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

from cosim.contract import Int
from cosim.controllers.aggregation.aggregate import Factors, block_of_step, scaled
from cosim.controllers.aggregation.deviation import Case, Weights, free_families, parts
from cosim.controllers.aggregation.kkt import Kkt
from cosim.controllers.aggregation.programme import StoreLp, penalty_eur_per_kwh
from cosim.controllers.aggregation.store import Schedule
from cosim.controllers.solver import Limits, SolveResult, Termination, judged, relative_gap, solve
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
    objective, bound : float
        Weighted mean deviation (absolute or squared) of the inner programme solved again at the factors; its proven
        bound.
    status : str
        ``optimal``: a gap of at most 1e-4, or an exact fit; ``gap_limit``: of at most what was asked for; otherwise
        the limit that ended it; ``not_proven``: the MILP's schedule is not the inner optimum at its factors.
    rounds : int
        MILPs solved.
    """

    factors: Factors
    schedule: Schedule
    objective: float
    bound: float
    status: str
    rounds: int


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
    weights, is_squared = weights or Weights(), deviation == "squared"
    penalty = penalty_eur_per_kwh(case.store, case.price_eur_per_kwh)
    model = Kkt(case, tau, families, low, high, penalty, weights)
    found, rounds = _search(model, stop, is_squared=is_squared)
    factors, schedule = model.factors(found.x, block_h), model.schedule(found.x)
    objective = _value(case, factors, tau, weights, power=2 if is_squared else 1)
    gap = 0.0 if objective <= NEGLIGIBLE else relative_gap(objective, found.bound)
    ended = Termination.OPTIMAL if gap == 0.0 else judged(
        # the value solved again may differ from the MILP's by SAME_SHARE on either side
        objective, found.bound, stop.gap + 2.0 * SAME_SHARE, found.termination
    )  # fmt: skip
    is_same = abs(objective - found.value) <= SAME + SAME_SHARE * abs(objective)
    status = str(ended) if is_same and ended is not Termination.FEASIBLE else "not_proven"
    return Exact(factors, schedule, objective, found.bound, status, rounds)


def _value(case: Case, factors: Factors, tau: Int, weights: Weights, *, power: int) -> float:
    """Weighted mean deviation of the inner optimum at some factors; inf where its balance cannot be kept."""
    lp = StoreLp(case.store.steps, case.store.keep)
    mine = lp.solve(scaled(case.store, factors, tau), case.price_eur_per_kwh)
    if np.abs(mine.missing_kwh).max() > MISSING_KWH:
        return float("inf")
    return float(sum(weight * np.mean(np.abs(off) ** power) for weight, off in parts(case.target, mine, weights)))


def _search(model: Kkt, stop: Limits, *, is_squared: bool) -> tuple[SolveResult, int]:
    """Solve the MILP, for squares again and again with tangents at what was found; the best point, and rounds."""
    terms = model.terms
    for term, (target, most) in enumerate(zip(terms.target, terms.most, strict=True)):
        if is_squared:
            for at in np.linspace(-target, most - target, FIRST_TANGENTS):
                model.add_cut(term, 2.0 * at, at * at)
        else:
            model.add_cut(term, 1.0, 0.0)
            # |off| as the larger of off and -off
            model.add_cut(term, -1.0, 0.0)
    best, bound, found = SolveResult(Termination.ERROR), -np.inf, SolveResult(Termination.ERROR)
    for rounds in range(1, MOST_ROUNDS + 1):
        found = solve(model.model(), stop, start=found.x if rounds > 1 else None)
        if not found.has_point:
            raise SolverError(f"the exact fit ended with '{found.termination}' and no solution")
        if not is_squared:
            return found, rounds
        # tangents are only added: every round's bound holds
        bound, off = max(bound, found.bound), terms.off(found.x)
        value = float(sum(terms.weight * off**2))
        if value < best.value:
            best = replace(found, value=value)
        done = relative_gap(best.value, bound) <= stop.gap or best.value <= NEGLIGIBLE
        if done or not found.is_proven:
            break
        for term, at in enumerate(off.tolist()):
            model.add_cut(term, 2.0 * at, at * at)
    ended = Termination.ROUND_LIMIT if found.is_proven and not done else found.termination
    return replace(best, bound=min(bound, best.value), termination=ended), rounds
