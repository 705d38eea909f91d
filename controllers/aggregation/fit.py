"""Fitting factors to weeks of reference schedules: a scalable method for weeks of hours and any number of cars.

The cars appear only in the reference, which is separable, so their number does not matter here. The aggregate's
schedule is a piecewise linear function of the factors whose derivative ``sensitivity`` gives exactly; squared
deviations are minimised by Gauss-Newton steps inside a trust region, every step proved by solving the inner programme
again. Kinks make that a local method, so it starts from several points, among them factors read off the reference,
and is restarted from kicked ones (basin hopping, after D. J. Wales and J. P. K. Doye, J. Phys. Chem. A 101 (1997)
5111-5116, doi:10.1021/jp970984n). How far it stays from the global optimum, the exact method (``exact``) tells on cases
small enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from cosim.contract import Float
from cosim.controllers.aggregation.aggregate import Factors, block_of_step, scaled
from cosim.controllers.aggregation.deviation import Case, Weights, deviation, free_families, parts
from cosim.controllers.aggregation.programme import StoreLp
from cosim.controllers.aggregation.sensitivity import sensitivity
from cosim.controllers.aggregation.start import factors_from_reference
from cosim.controllers.aggregation.store import PAIRS, Schedule
from cosim.errors import Fault, refuse

FIRST_RADIUS, LEAST_RADIUS, MOST_RADIUS = 0.25, 1e-3, 1.0
WORTH_GOING_ON = 1e-4  # relative gain of a step below which the fit ends
DESCENTS = 3  # from the best points to start from
KICK_SIZES, KICK_REACHES = (0.05, 0.15, 0.4), (0.1, 0.5, 1.0)
NEGLIGIBLE_KWH = 1e-6
_RIDGE = 1e-9
_BOX_ROUNDS, _FLAT = 60, 1e-10


@dataclass(frozen=True)
class FitOptions:
    """What makes a fit a good one, and how long to search.

    Attributes
    ----------
    weights : Weights
        Of the squared deviations.
    regularisation : float
        Weight of the factors' mean squared distance from 1, against the deviation of the unscaled aggregate.
    low, high : float
        Bounds of every factor.
    most_steps : int
        Gauss-Newton steps of one descent.
    kicks : int
        Restarts from kicked factors.
    """

    weights: Weights = Weights()  # noqa: RUF009 - frozen
    regularisation: float = 0.01
    low: float = 0.0
    high: float = 1.5
    most_steps: int = 40
    kicks: int = 10


@dataclass(frozen=True, eq=False)
class Fit:
    """Factors and how they were found.

    Attributes
    ----------
    factors : Factors
        The best found.
    deviation : float
        Weighted mean squared deviation over all weeks, without regularisation.
    objective : float
        With regularisation.
    """

    factors: Factors
    deviation: float
    objective: float


def fit_factors(
    cases: Sequence[Case],
    block_h: int,
    rng: np.random.Generator,
    options: FitOptions | None = None,
    *,
    starts: Sequence[Factors] = (),
) -> Fit:
    """Fit factors on one map to several weeks.

    Parameters
    ----------
    cases : sequence of Case
        Weeks to learn from, of equal length.
    block_h : int
        Hours that share a factor, one of ``MAPS_H``.
    rng : numpy.random.Generator
        Of the kicks.
    options : FitOptions, optional
        Weights, regularisation, bounds of the factors, length of the search.
    starts : sequence of Factors
        Points to start from beside the factors 1 and those read off the reference. The objective is no worse than at
        any of them, hence no worse than on any coarser map in which this one is nested and that they come from.

    Raises
    ------
    InputError
        Where there is no week, weeks differ in length, or bounds of factors exclude 1.
    """
    options = options or FitOptions()
    problem = _Problem(cases, block_h, options)
    points = [Factors.ones(block_h), *factors_from_reference(cases, block_h, options.low, options.high)]
    points += [start.on(block_h) for start in starts]
    seen = sorted((problem.look(point.value) for point in points), key=lambda one: one.objective)
    kept = [one for one in seen if np.isfinite(one.objective)][:DESCENTS]
    best = min((problem.descend(one) for one in kept), key=lambda one: one.objective)
    for _ in range(options.kicks):
        one = problem.look(problem.kicked(best.value, rng))
        if np.isfinite(one.objective):
            best = min(best, problem.descend(one), key=lambda one: one.objective)
    return Fit(Factors(best.value, block_h), best.deviation, best.objective)


@dataclass(frozen=True, eq=False)
class _Seen:
    value: Float
    solved: tuple[Schedule, ...]
    deviation: float
    objective: float


class _Problem:
    """Objective and Gauss-Newton model of one fit."""

    def __init__(self, cases: Sequence[Case], block_h: int, options: FitOptions) -> None:
        _check(cases, options)
        self.cases, self.options = cases, options
        first = cases[0].store
        self._lps = [StoreLp(first.steps, first.keep) for _ in cases]  # one each: the last basis is worth most
        self._tau = [block_of_step(case.store.steps, case.store.step_h, block_h, case.first_h) for case in cases]
        self._blocks = Factors.ones(block_h).value.shape[1]
        self._families = free_families([case.store for case in cases])
        self._share = np.mean([np.bincount(tau, minlength=self._blocks) / len(tau) for tau in self._tau], axis=0)
        # regularisation is measured in deviations of the unscaled aggregate, which `look` must give first, without
        # any
        self._unscaled = 0.0
        self._unscaled = max(self.look(Factors.ones(block_h).value).deviation, 1e-12)

    def look(self, value: Float) -> _Seen:
        """Solve all weeks at these factors; an infinite objective where bounds cross or cannot be kept."""
        stores = [scaled(case.store, _factors(value), tau) for case, tau in zip(self.cases, self._tau, strict=True)]
        if any((getattr(s, low) > getattr(s, high) + 1e-9).any() for s in stores for low, high in PAIRS):
            return _Seen(value, (), np.inf, np.inf)
        solved = tuple(
            lp.solve(store, case.price_eur_per_kwh)
            for lp, store, case in zip(self._lps, stores, self.cases, strict=True)
        )
        # such factors describe no battery: excluded, not penalised, as in the exact fit
        if any(np.abs(one.missing_kwh).max() > NEGLIGIBLE_KWH for one in solved):
            return _Seen(value, (), np.inf, np.inf)
        weights = self.options.weights
        apart = [deviation(case.target, one, weights) for case, one in zip(self.cases, solved, strict=True)]
        mean = float(np.mean(apart))
        away = float((self._share * (value - 1.0) ** 2).sum())
        return _Seen(value, solved, mean, mean + self.options.regularisation * self._unscaled * away)

    def descend(self, seen: _Seen) -> _Seen:
        """Gauss-Newton steps in a trust region until none helps."""
        radius = FIRST_RADIUS
        for _ in range(self.options.most_steps):
            hessian, gradient = self._model(seen)
            flat = seen.value[self._families].ravel()
            gained = 0.0
            while radius >= LEAST_RADIUS and gained <= 0.0:
                low, high = np.maximum(self.options.low - flat, -radius), np.minimum(self.options.high - flat, radius)
                # rounding may leave a factor a hair outside its bounds: staying where it is must remain possible
                step = minimise_in_box(hessian, gradient, np.minimum(low, 0.0), np.maximum(high, 0.0))
                promised = -float(step @ (0.5 * hessian @ step + gradient))
                trial_value = seen.value.copy()
                trial_value[self._families] = (flat + step).reshape(len(self._families), -1)
                trial = self.look(trial_value)
                gained = seen.objective - trial.objective
                # trust region: wider where the model foresaw the gain, half as wide where it did not
                if gained > 0.7 * promised:
                    radius = min(2.0 * radius, MOST_RADIUS)
                elif gained <= max(0.25 * promised, 0.0):
                    radius *= 0.5
            if gained <= WORTH_GOING_ON * seen.objective:
                return trial if gained > 0.0 else seen
            seen = trial
        return seen

    def kicked(self, value: Float, rng: np.random.Generator) -> Float:
        """Factors after a kick of random size and reach."""
        moved = value.copy()
        shape, size, reach = moved[self._families].shape, rng.choice(KICK_SIZES), rng.choice(KICK_REACHES)
        kick = size * rng.standard_normal(shape) * (rng.uniform(size=shape) < reach)
        moved[self._families] = np.clip(value[self._families] + kick, self.options.low, self.options.high)
        return moved

    def _model(self, seen: _Seen) -> tuple[Float, Float]:
        """Hessian and gradient of the objective where the schedule is linear in the factors."""
        count = len(self._families) * self._blocks
        hessian, gradient = np.zeros((count, count)), np.zeros(count)
        weights = self.options.weights
        for lp, case, tau, solved in zip(self._lps, self.cases, self._tau, seen.solved, strict=True):
            lp.solve(scaled(case.store, _factors(seen.value), tau), case.price_eur_per_kwh)  # back to this optimum
            moves = sensitivity(lp.matrix, case.store, lp.basis(), tau, self._blocks, self._families)
            scale = 2.0 / (case.store.steps * len(self.cases))
            for (weight, off), move in zip(parts(case.target, solved, weights), moves, strict=True):
                if weight > 0.0:
                    # Gauss-Newton: the schedule is piecewise linear in the factors, so second derivatives of it are
                    # zero inside a basis
                    hessian += scale * weight * move.T @ move
                    gradient += scale * weight * move.T @ off
        pull = 2.0 * self.options.regularisation * self._unscaled * np.tile(self._share, len(self._families))
        gradient += pull * (seen.value[self._families].ravel() - 1.0)
        ridge = _RIDGE * (1.0 + np.trace(hessian) / count)
        # factors that move nothing leave a zero row: the Cholesky factors need a positive diagonal
        hessian[np.diag_indices(count)] += pull + ridge
        return hessian, gradient


def minimise_in_box(hessian: Float, gradient: Float, low: Float, high: Float) -> Float:
    """Minimise ``z H z / 2 + g z`` over ``low <= z <= high`` where 0 lies in the box.

    Parameters
    ----------
    hessian : ndarray, shape (n, n)
        Positive definite.
    gradient, low, high : ndarray, shape (n,)
        With ``low <= 0 <= high``.

    Returns
    -------
    ndarray, shape (n,)
        Never worse than 0. Near the optimum; the caller only needs descent.

    Notes
    -----
    D. P. Bertsekas, "Projected Newton methods for optimization problems with simple constraints", SIAM J. Control
    Optim. 20 (1982) 221-246, doi:10.1137/0320018.
    """
    z = np.zeros_like(gradient)
    value = 0.0
    for _ in range(_BOX_ROUNDS):
        slope = hessian @ z + gradient
        # at a bound and pushed outwards: only the others take part in the Newton step
        held = ((z <= low) & (slope > 0.0)) | ((z >= high) & (slope < 0.0))
        free = np.flatnonzero(~held)
        if not len(free) or np.abs(slope[free]).max() <= _FLAT * (1.0 + np.abs(gradient).max()):
            break
        step = np.zeros_like(z)
        step[free] = -cho_solve(cho_factor(hessian[np.ix_(free, free)]), slope[free])
        length, better = 1.0, False
        while length > 1e-6 and not better:
            trial = np.clip(z + length * step, low, high)
            reached = float(trial @ (0.5 * hessian @ trial + gradient))
            better = reached < value - 1e-14 * (1.0 + abs(value))
            length *= 0.5
        if not better:
            break
        z, value = trial, reached
    return z


def _factors(value: Float) -> Factors:
    return Factors(value, 0)


def _check(cases: Sequence[Case], options: FitOptions) -> None:
    faults = []
    if not cases:
        faults.append(Fault("fit", "cases", "there is no week to learn from", "give at least one"))
    if len({(case.store.steps, case.store.keep) for case in cases}) > 1:
        faults.append(Fault("fit", "cases", "weeks differ in length or self-discharge", "give weeks of one kind"))
    if not 0.0 <= options.low <= 1.0 <= options.high:
        problem = f"{options.low}..{options.high} does not include 1"
        faults.append(Fault("fit", "low, high", problem, "let factors stay at 1"))
    refuse(faults)
