"""The exact front of convex objectives, by quadratic programmes on the linearised network, and what chargers can run.

On a linear network the objectives are convex in the powers, so weighted sums reach every point of their front. The
network is linearised anew around every point found, and every point is evaluated on the full reduced network before
anything is compared. Chargers' 6 A minimum is not convex: the front of the *relaxation* leaves it out, so it judges
attainable points too strictly rather than too kindly. `Attained` points have it: which cars run is searched from the
relaxed optimum, one car at a time, and the programme is solved again for the rest.

Of two objectives, points are placed where most is unknown (NISE: J. L. Cohon, "Multiobjective Programming and
Planning", 1978); of three, weights lie on a grid.

Of equal optima the one nearest to an even pace without curtailment is taken (`TIE` per kW²).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise, product

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.pareto.objectives import OBJECTIVES, Form
from cosim.controllers.pareto.problem import HOPELESS, DispatchProblem
from cosim.controllers.pareto.scale import Scale, undominated
from cosim.controllers.pareto.scene import Space
from cosim.controllers.solver import Model
from cosim.controllers.solver.convex import least_excess, solve_within
from cosim.errors import SolverError

POINTS = 8
"""Most corners of a front of two objectives."""

UNKNOWN = 2e-3
"""The sweep ends when no gap between neighbours could hide more hypervolume than this."""

GAP = 1e-3
"""Largest duality gap that counts as solved, of the objectives' scale."""

TIE = 1e-6
THEN = 0.02
PRICE = 1e3
"""Of a per unit of violation, on the objectives' scale, while which cars run is searched."""

_END = 1e-3  # weight of other objectives at the ends of the front
_PASSES, _HALVINGS = 4, 3  # linearisations of a corner, at most; of a step that overshoots
_SETTLED = 1e-5  # of the scale
_INSIDE = 1e-5  # per unit: what one linearisation after the other leaves of a violation
_SAME_KW = 1e-6
_EXCHANGES = 8
_GRID = 3  # weights of three objectives: multiples of a third


@dataclass(frozen=True, eq=False)
class Corner:
    """An optimum of a weighted sum.

    Attributes
    ----------
    kw : ndarray, shape (variable,)
        Powers.
    scaled : ndarray, shape (objective,)
        Objectives on the full network, over their scale.
    excess : float
        Largest excess of a limit [pu].
    weights : ndarray, shape (objective,)
        Of the sum that it minimises.
    """

    kw: Float
    scaled: Float
    excess: float
    weights: Float

    @property
    def merit(self) -> float:
        """The sum, with what limits are exceeded by at a high price."""
        return float(self.weights @ self.scaled) + PRICE * max(self.excess - _INSIDE / 2.0, 0.0)


class Exact:
    """Optima of weighted sums of one decision.

    Parameters
    ----------
    problem : DispatchProblem
        The decision.
    then_peak : bool
        Whether ``peak_current`` decides between points that are as good, up to ``THEN`` of what they are without
        control.
    """

    def __init__(self, problem: DispatchProblem, then_peak: bool) -> None:
        names = problem.around.objectives
        self._count = len(names)
        if then_peak and "peak_current" not in names:
            allowed, names = problem.allowed, (*names, "peak_current")
            problem = DispatchProblem(replace(problem.around, objectives=names), problem.scene, problem.space)
            problem.allowed = allowed  # the same array: what cannot be kept is known to both
        self._problem, self._scale, self._space = problem, Scale.of(problem), problem.space
        self._near: dict[bytes, tuple[list[Form], Float, Float, Int]] = {}
        self.gap = 0.0

    def front(self) -> list[Corner]:
        """Corners of the relaxation's front, in the order of the first objective.

        Raises
        ------
        SolverError
            Where a programme was not solved.
        """
        count = self._count
        varies = self._scale.varies[:count]
        ends = np.where(np.eye(count, dtype=bool), 1.0, _END)[varies if varies.any() else slice(0, 1)]
        corners = [self.settled(end) for end in ends]
        if count > 2 and len(ends) > 1:
            grid = [np.array(one, float) / _GRID for one in product(range(_GRID), repeat=count) if sum(one) == _GRID]
            return _undominated([*corners, *(self.settled(one.clip(_END), corners[0].kw) for one in grid)])
        corners, done = _undominated(corners), set[tuple[int, int]]()
        for _ in range(2 * POINTS):
            # the rectangle between neighbours: all that an unseen piece of the front could add to the hypervolume
            gaps = [
                (float(np.prod(np.abs(left.scaled - right.scaled)[:count])), index)
                for index, (left, right) in enumerate(pairwise(corners))
                if (id(left), id(right)) not in done
            ]
            unknown, index = max(gaps, default=(0.0, 0))
            if unknown < UNKNOWN or len(corners) >= POINTS:
                break
            left, right = corners[index], corners[index + 1]
            done.add((id(left), id(right)))
            # normal to the chord (NISE): with these weights both neighbours are worth the same
            across = np.abs(left.scaled - right.scaled)[:count][::-1]
            weights = across / across.sum()
            near = min((left, right), key=lambda corner: float(weights @ corner.scaled[:count]))
            found = self.settled(weights, near.kw)
            # not below the chord: a convex front follows the chord here, and the pair is done
            if weights @ found.scaled[:count] < float(weights @ near.scaled[:count]) - 1e-6:
                corners = _undominated([*corners, found])
        return corners

    def settled(
        self, weights: Float, start_kw: Float | None = None, low: Float | None = None, high: Float | None = None,
    ) -> Corner:  # fmt: skip
        """Linearise and minimise a weighted sum until that gains nothing; a step that overshoots is halved.

        Parameters
        ----------
        weights : ndarray, shape (objective,)
            Of the scaled objectives.
        start_kw : ndarray, shape (variable,), optional
            Where to begin; the even pace without it.
        low, high : ndarray, shape (variable,), optional
            Bounds; the space's without.

        Raises
        ------
        SolverError
            Where a programme was not solved.
        """
        space = self._space
        if len(weights) == self._count < len(self._scale.width):
            there = self._scale.there_anyway[: self._count]
            weights = np.append(weights, THEN * weights[there if there.any() else ~there].max())
        bounds = (space.low_kw if low is None else low, space.high_kw if high is None else high)
        start_kw = space.even_kw if start_kw is None else start_kw
        best = self._placed(self._minimum(weights, start_kw, bounds), weights)
        for _ in range(_PASSES - 1):
            again = self._placed(self._minimum(weights, best.kw, bounds), weights)
            for _ in range(_HALVINGS):
                if again.merit < best.merit or np.abs(again.kw - best.kw).max(initial=0.0) < _SAME_KW:
                    break
                again = self._placed(0.5 * (best.kw + again.kw), weights)
            gained = best.merit - again.merit
            best = again if gained > 0.0 else best
            if gained < _SETTLED:
                break
        return best

    def attained(self, relaxed: Corner) -> Corner:
        """The optimum that chargers can run, near one of the relaxation.

        Parameters
        ----------
        relaxed : Corner
            Optimum without the least power of chargers.
        """
        space, kw = self._space, relaxed.kw
        cars = ~space.roof & (space.high_kw > _SAME_KW)
        between = cars & (kw > _SAME_KW) & (kw < space.least_kw - _SAME_KW)
        must = cars & (space.low_kw > _SAME_KW)
        if not between.any():
            return relaxed
        kw = self._runnable(kw, between & ~must, np.where(must, np.maximum(kw, space.least_kw), kw), relaxed.weights)
        runs = cars & (kw > _SAME_KW)
        low = np.where(runs, np.maximum(space.low_kw, np.minimum(space.least_kw, space.high_kw)), space.low_kw)
        high = np.where(cars & ~runs, 0.0, space.high_kw)
        try:
            found = self.settled(relaxed.weights, kw, low, high)
        except SolverError:
            return self._placed(kw, relaxed.weights)
        return found

    def _runnable(self, kw: Float, between: Bool, start_kw: Float, weights: Float) -> Float:
        """Pause each car in question or let it run: one exchange after the other, the best first."""
        space, rows = self._space, np.flatnonzero(between)
        here = np.where(between, np.where(kw >= 0.5 * space.least_kw, space.least_kw, 0.0), start_kw)
        best = np.inf
        for _ in range(_EXCHANGES + len(rows) // 4):
            tried = np.tile(here, (1 + len(rows), 1))
            tried[1 + np.arange(len(rows)), rows] = np.where(here[rows] > _SAME_KW, 0.0, space.least_kw[rows])
            batch = self._problem.evaluated(tried)
            merit = (self._problem.values(batch) / self._scale.width) @ weights
            merit += PRICE * self._problem.excess(batch).max(axis=1, initial=0.0)
            missing = (space.row_low - tried @ space.rows.T).clip(0.0).sum(axis=1)
            merit += missing  # kWh that would be put off
            row = int(np.argmin(merit))
            if merit[row] >= best - 1e-9:
                break
            best, here = float(merit[row]), tried[row]
        return here

    def _placed(self, kw: Float, weights: Float) -> Corner:
        batch = self._problem.evaluated(kw[None, :])
        worst = float(self._problem.excess(batch).max(initial=-1.0))
        return Corner(kw, self._problem.values(batch)[0] / self._scale.width, worst, weights)

    def _forms(self, kw: Float, first: bool) -> tuple[list[Form], Float, Float, Int]:
        """Objectives over their scale near a point, and rows of limits that some point could break."""
        key = kw.tobytes() + bytes([first])
        if key not in self._near:
            problem, space = self._problem, self._space
            slopes, margin, rise = problem.near(kw, first=first)
            if margin.max(initial=-1.0) >= HOPELESS / 2.0:
                raise SolverError("there is no power flow around a point of the exact front")
            names = problem.around.objectives
            shapes = [form for name in names if (form := OBJECTIVES[name].form)]
            forms = [_scaled(form(slopes), width) for form, width in zip(shapes, self._scale.width, strict=True)]
            reach = margin + np.maximum(rise.T * (space.low_kw - kw), rise.T * (space.high_kw - kw)).sum(axis=1)
            binding = np.flatnonzero(reach > -_INSIDE)
            self._near = {key: (forms, margin[binding], rise[:, binding].T, binding)}
        return self._near[key]

    def _minimum(self, weights: Float, kw: Float, bounds: tuple[Float, Float]) -> Float:
        """Minimise near a point; what no point keeps is allowed."""
        first = kw is self._space.even_kw
        try:
            return self._within(weights, kw, bounds, first=first)
        except SolverError:
            if bounds[0] is not self._space.low_kw or bounds[1] is not self._space.high_kw:
                raise
        if not first and not self._problem.allowed.any():  # a roof that the sun does not fill here is in no slope
            with suppress(SolverError):
                return self._within(weights, kw, bounds, first=True)
        return self._within(weights, kw, bounds, first=first, gives=True)

    def _within(
        self, weights: Float, kw: Float, bounds: tuple[Float, Float], *, first: bool, gives: bool = False
    ) -> Float:
        """Minimise near a point within limits, which give as little as they must."""
        forms, margin, rise, binding = self._forms(kw, first)
        quadratic = _Quadratic(self._space, kw, *bounds, forms, weights)
        # volts and amperes alike: the solver's tolerance is absolute
        size = np.abs(rise).max(axis=1, initial=0.0)
        size[size <= 0.0] = 1.0
        high = (-_INSIDE - margin) / size
        if gives:
            slack = quadratic.least_excess(rise / size[:, None], high)
            self._problem.allowed[binding] += slack * size + np.where(slack > 0.0, _INSIDE, 0.0)
            self._near.clear()
            high = high + slack + _INSIDE / size
        found, gap = quadratic.solve(rise / size[:, None], high)
        self.gap = max(self.gap, gap)
        return np.clip(found, *bounds)


def _scaled(form: Form, width: float) -> Form:
    root = np.sqrt(width)
    largest = tuple((value / width, slope / width) for value, slope in form.largest)
    falling = tuple((row, breaks, price / width) for row, breaks, price in form.falling)
    return Form(form.offset / root, form.slope / root, largest, falling)


class _Quadratic:
    """One programme in the change of the powers, and a column for every sum of largest rows.

    Parameters
    ----------
    space : Space
        Rows and the even pace.
    kw, low, high : ndarray, shape (variable,)
        Where it is linearised, and bounds.
    forms : list of Form
        Scaled objectives.
    weights : ndarray, shape (objective,)
        Of their sum.
    """

    def __init__(self, space: Space, kw: Float, low: Float, high: Float, forms: list[Form], weights: Float) -> None:
        count = len(kw)
        used = np.flatnonzero(weights > 0.0).tolist()
        change, square = 2.0 * TIE * (kw - space.even_kw), 2.0 * TIE * np.eye(count)
        falling: dict[int, tuple[Float, Float]] = {}
        for weight, form in ((weights[row], forms[row]) for row in used):
            if len(form.offset):
                change = change + 2.0 * weight * form.offset @ form.slope
                square += 2.0 * weight * form.slope.T @ form.slope
            falling |= {row: (breaks, weight * price) for row, breaks, price in form.falling}
        # a column for every power, or one for every stretch of it where what it costs to lower it rises
        start, parts = np.zeros(count), list[tuple[int, float, float, float, float]]()
        for row in range(count):
            if row not in falling:
                parts.append((row, 1.0, low[row] - kw[row], high[row] - kw[row], 0.0))
                continue
            breaks, price = falling[row]
            start[row] = high[row] - kw[row]
            edges = np.append(breaks, 0.0).clip(low[row], high[row])
            parts += [
                (row, -1.0, 0.0, wide, cost)
                for wide, cost in zip(-np.diff(edges), price, strict=True)
                if wide > _SAME_KW
            ]
        groups = [(weights[row], *group) for row in used for group in forms[row].largest if len(group[0])]
        self._own, columns = len(parts), len(parts) + len(groups)
        sign = np.array([part[1] for part in parts])
        self._to_powers: Float = np.zeros((count, self._own))
        self._to_powers[[part[0] for part in parts], np.arange(self._own)] = sign
        self._start_kw, self._from = kw, start
        low_, high_, cost = np.zeros(columns), np.zeros(columns), np.zeros(columns)
        low_[: self._own], high_[: self._own], prices = np.array([part[2:] for part in parts]).reshape(-1, 3).T
        cost[: self._own] = (change + square @ start) @ self._to_powers + prices
        hessian = np.zeros((columns, columns))
        hessian[: self._own, : self._own] = self._to_powers.T @ square @ self._to_powers
        hessian[: self._own, : self._own] += 2.0 * TIE * np.diag(sign < 0.0)
        tops, values = [np.zeros((0, columns))], [np.zeros(0)]
        for column, (weight, value, slope) in enumerate(groups, self._own):
            value, slope = value + slope @ start, slope @ self._to_powers
            reach = np.stack([slope * low_[: self._own], slope * high_[: self._own]])
            low_[column] = (value + reach.min(axis=0).sum(axis=1)).max()
            high_[column] = (value + reach.max(axis=0).sum(axis=1)).max() + 1.0
            cost[column] = weight
            top = np.zeros((len(value), columns))
            top[:, : self._own], top[:, column] = -slope, 1.0
            tops.append(top)
            values.append(value)
        # where a tie is all that is curved the model is linear
        curved = any(len(forms[row].offset) for row in used)
        at = space.rows @ (kw + start)
        wide = np.pad(space.rows @ self._to_powers, ((0, 0), (0, len(groups))))
        self.model = Model(
            cost, np.concatenate([wide, *tops]), np.concatenate([space.row_low - at, *values]),
            np.append(space.row_high - at, np.full(sum(map(len, values)), np.inf)), low_, high_,
            hessian=hessian if curved else None,
        )  # fmt: skip

    def _wide(self, rows: Float) -> Float:
        """Rows in powers as rows in columns."""
        return np.pad(rows @ self._to_powers, ((0, 0), (0, len(self.model.cost) - self._own)))

    def solve(self, rows: Float, row_high: Float) -> tuple[Float, float]:
        """Powers that are best below further limits, shape (limit, variable), and the proven gap to the optimum."""
        found = solve_within(self.model, self._wide(rows), row_high - rows @ self._from, GAP)
        return self._start_kw + self._from + self._to_powers @ found.x[: self._own], found.value - found.bound

    def least_excess(self, rows: Float, row_high: Float) -> Float:
        """What each further limit has to give so that there is a point at all, shape (limit,)."""
        return least_excess(self.model, self._wide(rows), row_high - rows @ self._from)


def _undominated(corners: list[Corner]) -> list[Corner]:
    """Corners that no other betters, in the order of the first objective.

    On the full network an end of the front can come out worse than a corner found later. Kept, it would stand between
    two others and hide the gap that is still to be looked into.
    """
    kept = undominated(np.array([corner.scaled for corner in corners]))
    return sorted((corners[row] for row in kept), key=lambda one: (float(one.scaled[0]), -float(one.scaled[1])))
