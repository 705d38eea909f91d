"""First candidates of a search: what was, what looks good on paper, and what lies around."""

from __future__ import annotations

import numpy as np

from cosim.contract import Float
from cosim.controllers.pareto.dispatch import LoopSpace
from cosim.controllers.pareto.exact import applies, exact_front
from cosim.controllers.pareto.feasible import within_limits
from cosim.controllers.pareto.front import Scale, Start
from cosim.controllers.pareto.objectives import CONVEX_PAIR
from cosim.controllers.pareto.problem import DispatchProblem
from cosim.controllers.pareto.scene import Space

SUN_SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)
_RELATED = 40
_ALIKE = "neutral_current"
_PATTERNS = 4  # per member of the population
_NEARBY = 0.15  # standard deviation of the variables around the last decision


def first_candidates(
    space: LoopSpace, phase_share: Float, last: Float, population: int, rng: np.random.Generator
) -> Float:
    """Candidates to choose the first population from, shape (candidate, variable).

    The first is the one without any limit, the second pauses and curtails everything, the third the last decision.
    """
    free, nothing = np.ones(space.n_var), np.zeros(space.n_var)
    around = nearby(last, population, rng)
    return np.vstack([free, nothing, last, phase_patterns(space, phase_share, _PATTERNS * population, rng), around])


def within_reach(problem: DispatchProblem, pool: Float) -> Start:
    """Evaluate first candidates, joined by `levels` and, for those of them that break limits, the nearest that do not.

    Limits that nothing keeps are relaxed, and candidates within the relaxed limits join. Where neutral current is
    traded against curtailment, so does the exact front of unbalance current, which is much like it.
    """
    space = problem.space
    some = np.unique(levels(space), axis=0)
    some_kw = space.decode(some)
    start = Start.of(problem, np.vstack([pool, some, space.encode(within_limits(problem, some_kw))]))
    if start.relaxed:
        start = start.joined_by(problem, space.encode(within_limits(problem, some_kw)))
    related = _related(problem, start)
    return start if related is None else start.joined_by(problem, space.encode(related))


def _related(problem: DispatchProblem, start: Start) -> Float | None:
    """Powers of the exact front of the convex pair, where that resembles the objectives and is not the one wanted.

    It does not for the phase unbalance index, which is smallest where much flows.
    """
    names = problem.around.objectives
    alike = _ALIKE in names and CONVEX_PAIR[1] in names
    if applies(names) or not alike or not problem.space.roof.any():
        return None
    twin = problem.with_objectives(CONVEX_PAIR)
    values, _ = twin.values(problem.space.decode(start.pool))
    exact = exact_front(twin, Scale.of(twin, values), _RELATED)
    return None if exact is None else exact.kw


def levels(space: Space) -> Float:
    """Shares of the sun from all to none, cars without limit and at their least, shape (candidate, variable)."""
    share = np.repeat(SUN_SHARES, 2)[:, None]
    cars = np.tile([1.0, 0.0], len(SUN_SHARES))[:, None]
    return np.where(space.roof, share, cars)


def nearby(centre: Float, count: int, rng: np.random.Generator) -> Float:
    """Candidates around another, shape (candidate, variable)."""
    return (centre + rng.normal(0.0, _NEARBY, (count, len(centre)))).clip(0.0, 1.0)


def phase_patterns(space: LoopSpace, phase_share: Float, count: int, rng: np.random.Generator) -> Float:
    """Candidates that treat the cars, and the roofs, of a phase alike: a level per phase, the same cut for each roof.

    Unbalance is a matter of phases, so good candidates look like this; the search refines them customer by customer.
    """
    x = np.ones((count, space.n_var))
    for period in range(space.outlook.scene.controlled):
        x[:, space.car_columns[period]] = _cars_by_phase(space, phase_share, period, count, rng)
        x[:, space.roof_columns[period]] = _roofs_by_phase(space, phase_share, period, count, rng)
    return x


def _cars_by_phase(space: LoopSpace, phase_share: Float, period: int, count: int, rng: np.random.Generator) -> Float:
    """On each phase the most urgent cars run, as many as make a random multiple of the even pace."""
    cars, who = space.outlook.cars, space.cars_in[period]
    many = len(who)
    if not many:
        return np.ones((count, 0))
    share = phase_share[cars.customer[who]]
    most_kw, _, pace_kw = (values[who] for values in cars.bounds_kw(period, space.outlook.scene.hours, cars.due_kwh))
    wanted_kw = rng.gamma(2.0, 0.5, (count, 3)) * (pace_kw @ share)
    rank = np.argsort(rng.permuted(np.tile(np.arange(many), (count, 1)), axis=1), axis=1)
    slack_h = (cars.window_h - cars.due_kwh / cars.charger_kw)[who]
    rank[: count // 2] = np.argsort(slack_h, kind="stable")
    sorted_kw = most_kw[rank][:, :, None] * share[rank]  # (count, car, phase)
    before_kw = np.cumsum(sorted_kw, axis=1) - sorted_kw
    runs = ((before_kw < wanted_kw[:, None, :]) & (sorted_kw > 0.0)).any(axis=2)
    x = np.ones((count, many))
    np.put_along_axis(x, rank, runs.astype(float), axis=1)
    return x


def _roofs_by_phase(space: LoopSpace, phase_share: Float, period: int, count: int, rng: np.random.Generator) -> Float:
    roofs = space.roofs_in[period]
    if not len(roofs):
        return np.ones((count, 0))
    roof_kw = space.outlook.scene.sun_kw[period, roofs]
    deepest_kw = rng.random((count, 3)) ** 2 * (rng.random((count, 3)) < 0.6) * roof_kw.max()
    return np.asarray((1.0 - (deepest_kw @ phase_share[roofs].T) / roof_kw).clip(0.0))
