"""The best few moves: every one and every pair by enumeration, more of them greedily with exchanges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from cosim.contract import Complex, Float, Int

ENUMERATED = 2  # moves up to which every combination is tried
LEAST_CHECKED, MOST_CHECKED = 10, 1000
SAMPLED = 100  # combinations drawn to see how wrong the linear model can be
SAFETY = 1.5  # times the largest difference seen between linear model and power flow
NEARLY_A2 = 1e-9


@dataclass(frozen=True)
class Choice:
    """Moves, and how sure it is that there are none better; names as in ``rephase.json``.

    Attributes
    ----------
    moves : tuple of int
        Rows of the moves chosen.
    verified : bool
        Whether every combination was compared by the linear model, and by power flow all that it might misjudge.
    unbalance_current_before_a2, unbalance_current_after_a2 : float
        Of the day without and with them, by power flow [A²].
    combinations_compared, combinations_checked_by_power_flow : int
        By the linear model, and by power flow.
    largest_overstatement_a2 : float
        Of the linear model against the power flow, among those checked [A²].
    """

    moves: tuple[int, ...]
    verified: bool
    unbalance_current_before_a2: float
    unbalance_current_after_a2: float
    combinations_compared: int
    combinations_checked_by_power_flow: int
    largest_overstatement_a2: float


class Quadratic:
    """The day's unbalance current as a quadratic function of which moves are made.

    Parameters
    ----------
    now : ndarray of complex, shape (entry,)
        Sequence currents before.
    change : ndarray of complex, shape (move, entry)
        What each move adds.
    """

    def __init__(self, now: Complex, change: Complex) -> None:
        self.before = float(np.vdot(now, now).real)
        self.gram: Float = (change.conj() @ change.T).real
        self.gain: Float = 2.0 * (change.conj() @ now).real + np.diag(self.gram)  # of a move alone

    def value(self, moves: Sequence[int]) -> float:
        """Return the unbalance current after some moves [A²]."""
        rows = list(moves)
        together = self.gram[np.ix_(rows, rows)]
        return self.before + float(self.gain[rows].sum() + together.sum() - np.trace(together))

    def added(self, moves: Sequence[int]) -> Float:
        """Return the unbalance current after some moves and each further one, shape (move,) [A²]."""
        return np.asarray(self.value(moves) + self.gain + 2.0 * self.gram[:, list(moves)].sum(axis=1))


def best_moves(
    quadratic: Quadratic,
    customer: Int,
    count: int,
    power_flow: Callable[[Sequence[int]], float],
    rng: np.random.Generator,
) -> Choice:
    """Choose at most ``count`` moves that leave least unbalance current.

    Up to two moves every combination is ranked by the linear model, and solved by power flow from the best on until
    the next could not be better even if the model overstated it by half as much again as the largest overstatement
    seen, among these and a hundred combinations drawn at random. More moves are added one by one to the best pair,
    each time exchanging moves while that helps; no proof comes with them.

    Parameters
    ----------
    quadratic : Quadratic
        The linear model.
    customer : ndarray of int, shape (move,)
        Whom each move concerns; nobody is moved twice.
    count : int
        Most moves.
    power_flow : callable
        Unbalance current after some moves [A²].
    rng : numpy.random.Generator
        Draws the combinations by which the linear model is judged.
    """
    ranked = _enumerated(quadratic, customer, min(count, ENUMERATED))
    compared = len(ranked)
    if count > ENUMERATED:
        grown = _grown(quadratic, customer, ranked[0], count)
        compared += len(grown)
        ranked = grown[::-1]
    before = power_flow(())
    best: tuple[float, tuple[int, ...]] = (before, ())
    checked, verified = 0, count <= ENUMERATED
    drawn: list[int] = rng.permutation(len(ranked))[:SAMPLED].tolist() if verified else []
    # what matters is by how much the model says too much: a combination that is better than it looks
    overstated = max((quadratic.value(ranked[k]) - power_flow(ranked[k]) for k in drawn), default=0.0)
    for moves in ranked:
        expected = quadratic.value(moves)
        if checked >= LEAST_CHECKED and expected - SAFETY * overstated > best[0]:
            break
        if checked >= MOST_CHECKED:
            verified = False
            break
        value = power_flow(moves) if moves else before
        checked += 1
        overstated = max(overstated, expected - value)
        best = min(best, (value, moves))
    return Choice(best[1], verified, before, best[0], compared, checked + len(drawn), overstated)


def _enumerated(quadratic: Quadratic, customer: Int, count: int) -> list[tuple[int, ...]]:
    """All combinations of at most so many moves, the best first."""
    every = range(len(customer))
    found: list[tuple[int, ...]] = [()]
    for size in range(1, count + 1):
        found += [rows for rows in combinations(every, size) if len({int(customer[r]) for r in rows}) == size]
    return sorted(found, key=quadratic.value)


def _grown(quadratic: Quadratic, customer: Int, start: tuple[int, ...], count: int) -> list[tuple[int, ...]]:
    """From a first choice, one move more at a time, each followed by exchanges; only while it gets better."""
    steps = [_exchanged(quadratic, customer, start)]
    while len(steps[-1]) < count:
        row, value = _best_addition(quadratic, customer, steps[-1])
        if row < 0 or value >= quadratic.value(steps[-1]) - NEARLY_A2:
            break
        steps.append(_exchanged(quadratic, customer, (*steps[-1], row)))
    return steps


def _exchanged(quadratic: Quadratic, customer: Int, moves: tuple[int, ...]) -> tuple[int, ...]:
    improving = True
    while improving:
        improving = False
        for place in range(len(moves)):
            others = moves[:place] + moves[place + 1 :]
            row, value = _best_addition(quadratic, customer, others)
            if row >= 0 and value < quadratic.value(moves) - NEARLY_A2:
                moves, improving = (*others, row), True
                break
    return moves


def _best_addition(quadratic: Quadratic, customer: Int, moves: tuple[int, ...]) -> tuple[int, float]:
    value = quadratic.added(moves)
    value[np.isin(customer, customer[list(moves)])] = np.inf
    row = int(value.argmin())
    return (row, float(value[row])) if np.isfinite(value[row]) else (-1, float("inf"))
