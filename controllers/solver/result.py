"""How a solve may end, when it may end, and what was proven; and several aims in order of importance.

A plan once found is never given up because a later aim has no time left.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from cosim.contract import Float
from cosim.errors import SolverError

OPTIMAL_GAP = 1e-4  # a relative gap up to here is called optimal
UNLIMITED = 2**31 - 1
SLACK = 1e-6  # of what an aim reached, relative to 1 + its size, that later aims may give up
WIDER = 10.0  # times as much, where rounding in a solver leaves the next aim no point at all
_NOTHING: Float = np.empty(0)


class Termination(StrEnum):
    """How a solve ended, and so what is known about its point."""

    OPTIMAL = "optimal"  # proven within OPTIMAL_GAP
    GAP_LIMIT = "gap_limit"  # proven within the gap asked for
    FEASIBLE = "feasible"  # a point, and nothing proven about it
    FALLBACK = "fallback"  # what stands in for what was asked for, whatever is proven about that
    FIRST_PLAN = "first_plan"  # as good, or as many, points as were asked for
    NODE_LIMIT = "node_limit"
    ROUND_LIMIT = "round_limit"  # of a sequence of models
    ITERATION_LIMIT = "iteration_limit"
    TIME_LIMIT = "time_limit"
    INFEASIBLE = "infeasible"
    UNBOUNDED = "unbounded"
    ERROR = "error"  # HiGHS said nothing, with any settings


def worst(terminations: Iterable[Termination]) -> Termination:
    """Return the least proven of several endings, ``time_limit`` where it is among them; ``optimal`` of none."""
    return max(terminations, key=list(Termination).index, default=Termination.OPTIMAL)


CROSSED = 1e-4
"""A bound further above the value than this, relative to 1 + its size, is no rounding."""


class OutOfTimeError(SolverError):
    """The time limit was reached before there was an answer."""


def relative_gap(value: float, bound: float, rounding: float = 0.0) -> float:
    """Return (value - bound) / abs(value); 0 up to a difference of ``rounding``, inf where one is unknown."""
    if not (math.isfinite(value) and math.isfinite(bound)):
        return float("inf")
    apart = value - bound
    return 0.0 if apart <= rounding else apart / max(abs(value), 1e-9)


def judged(
    value: float, bound: float, gap: float, ended: Termination = Termination.OPTIMAL, rounding: float = 0.0
) -> Termination:
    """Return what a bound proves about a value: ``ended`` only where it is neither optimal nor within the gap.

    So a solve that ended at the optimum of something else (a relaxation, a part) leaves a point ``feasible`` at best.
    """
    if bound > value + CROSSED * (1.0 + abs(value)):  # no bound at all: what it claims to prove is wrong
        return Termination.ERROR
    apart = relative_gap(value, bound, rounding)
    if apart <= max(OPTIMAL_GAP, gap):
        return Termination.OPTIMAL if apart <= OPTIMAL_GAP else Termination.GAP_LIMIT
    return Termination.FEASIBLE if ended in (Termination.OPTIMAL, Termination.GAP_LIMIT) else ended


class Clock:
    """Counts down from when it is made: a safety, where it is reached results differ between machines.

    Parameters
    ----------
    time_s : float
        Wall clock allowed [s].
    """

    def __init__(self, time_s: float) -> None:
        self._began = time.perf_counter()
        self._end = self._began + time_s

    @property
    def passed_s(self) -> float:
        """Time since it was made [s]."""
        return time.perf_counter() - self._began

    @property
    def left_s(self) -> float:
        """What is left, at least 0 [s]."""
        return max(self._end - time.perf_counter(), 0.0)

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.left_s <= 0.0


@dataclass(frozen=True)
class Limits:
    """When a solve may end before it is proven optimal.

    Attributes
    ----------
    gap : float
        Relative gap, (value - bound) / value.
    nodes : int
        Nodes of the branch-and-bound tree; the same on every machine.
    time_s : float
        Wall clock [s].
    plans : int
        Better and better points after which to stop; 1: at the first.
    target : float
        Value to stop at.
    """

    gap: float = OPTIMAL_GAP
    nodes: int = 10_000
    time_s: float = 600.0
    plans: int = UNLIMITED
    target: float = -math.inf


@dataclass(frozen=True, eq=False)
class SolveResult:
    """How a solve ended, and what it found.

    Attributes
    ----------
    termination : Termination
        How it ended.
    value, bound : float
        Objective of the point (inf without one, -inf where unbounded), and its proven lower bound.
    x : ndarray, shape (column,)
        The point; empty without one.
    row_dual : ndarray, shape (row,)
        Multipliers of a linear programme, non-positive for a binding upper limit; else empty.
    nodes : int
        Branch-and-bound nodes.
    wall_s, process_s : float
        Wall clock, and processor time [s].
    retries : tuple of str
        Settings that were tried after a failure, the last of them those that the result is from.
    rounding : float
        A difference of value and bound up to here is none.
    """

    termination: Termination
    value: float = math.inf
    bound: float = -math.inf
    x: Float = field(default_factory=lambda: _NOTHING)
    row_dual: Float = field(default_factory=lambda: _NOTHING)
    nodes: int = 0
    wall_s: float = 0.0
    process_s: float = 0.0
    retries: tuple[str, ...] = ()
    rounding: float = 0.0

    @property
    def gap(self) -> float:
        """Relative gap between value and bound."""
        return relative_gap(self.value, self.bound, self.rounding)

    @property
    def has_point(self) -> bool:
        """Whether there is a feasible point."""
        return math.isfinite(self.value) and self.termination is not Termination.ITERATION_LIMIT

    @property
    def is_proven(self) -> bool:
        """Whether its point is optimal, or within the gap asked for."""
        return self.termination in (Termination.OPTIMAL, Termination.GAP_LIMIT)

    def proven(self, what: str) -> SolveResult:
        """Return itself where it is proven.

        Raises
        ------
        OutOfTimeError
            Where the time limit was reached first.
        SolverError
            Where it ended otherwise; both messages name ``what``.
        """
        if self.termination is Termination.TIME_LIMIT:
            raise OutOfTimeError(f"the clock struck in {what}")
        if not self.is_proven:
            tried = f", with {', '.join(self.retries)} too" if self.retries else ""
            raise SolverError(f"{what} ended with '{self.termination}'{tried}")
        return self


@dataclass(frozen=True, eq=False)
class InTurn:
    """What came of several aims.

    Attributes
    ----------
    termination : Termination
        The least proven of the aims; where one was cut off, how that ended (``feasible`` where HiGHS found no point
        for it, though there is one).
    values : tuple of float
        What each aim reached; those that were cut off are missing.
    x : ndarray, shape (column,)
        The plan of the last aim that was reached; where the first was cut off, what was found by then, if anything.
    """

    termination: Termination
    values: tuple[float, ...]
    x: Float

    @property
    def reached(self) -> int:
        """How many aims were reached."""
        return len(self.values)


def solve_in_turn(solve_aim: Callable[[int, list[float]], SolveResult], aims: int, slack: float = SLACK) -> InTurn:
    """Minimise several aims, the first above all, the next among its optima, and so on, as far as time allows.

    Parameters
    ----------
    solve_aim : callable
        Given the number of an aim, and how much each aim before it may be at most, minimises it.
    aims : int
        How many there are.
    slack : float
        How much of what was reached may be given up later, relative to 1 + its size; ten times as much where rounding
        leaves the next aim without any point.
    """
    reached: list[SolveResult] = []
    for aim in range(aims):
        for wide in (slack, WIDER * slack):
            result = solve_aim(aim, [one.value + wide * (1.0 + abs(one.value)) for one in reached])
            if result.has_point or result.termination is Termination.TIME_LIMIT or not reached:
                break
        if not result.is_proven:
            break
        reached.append(result)
    values = tuple(one.value for one in reached)
    if len(reached) == aims:
        return InTurn(worst(one.termination for one in reached), values, result.x)
    if not reached:
        return InTurn(result.termination, values, result.x)
    is_limit = result.has_point or result.termination is Termination.TIME_LIMIT
    return InTurn(result.termination if is_limit else Termination.FEASIBLE, values, reached[-1].x)
