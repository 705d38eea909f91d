"""Several aims in order of importance: a plan once found is never given up because a later aim has no time left."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cosim.contract import Float
from cosim.controllers.solver.highs import Solver
from cosim.controllers.solver.result import Clock, Limits, SolveResult, Termination

SLACK = 1e-6  # of what an aim reached, relative to 1 + its size, that later aims may give up
WIDER = 10.0  # times as much, where rounding in a solver leaves the next aim no point at all


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
        worst = Termination.OPTIMAL
        if any(one.termination is Termination.GAP_LIMIT for one in reached):
            worst = Termination.GAP_LIMIT
        return InTurn(worst, values, result.x)
    if not reached:
        return InTurn(result.termination, values, result.x)
    is_limit = result.has_point or result.termination is Termination.TIME_LIMIT
    return InTurn(result.termination if is_limit else Termination.FEASIBLE, values, reached[-1].x)


def minimise_in_turn(
    solver: Solver, aims: Sequence[Float], time_s: float = 600.0, slack: float = SLACK, *, warm: bool = True
) -> InTurn:
    """Minimise ``aim @ x`` for several aims in order of importance; the solver's own objective is lost.

    Parameters
    ----------
    solver : Solver
        A model; rows added for the aims are taken out again.
    aims : sequence of ndarray, shape (column,)
        In order of importance.
    time_s : float
        Wall clock for all of them [s].
    slack : float
        As for `solve_in_turn`.
    warm : bool
        Start each aim from the optimum of the one before; else from scratch, so that of several optima of the last
        aim the one found does not depend on what the others came by.
    """
    clock, kept = Clock(time_s), solver.rows

    def solve_aim(aim: int, most: list[float]) -> SolveResult:
        solver.set_cost(aims[aim])
        if solver.rows < kept + len(most):
            solver.add_rows(aims[aim - 1], -math.inf, most[-1])
        solver.set_rows(np.arange(kept, solver.rows), np.full(len(most), -math.inf), np.array(most))
        if not warm:
            solver.forget()
        return solver.solve(Limits(time_s=clock.left_s))

    found = solve_in_turn(solve_aim, len(aims), slack)
    solver.delete_rows(np.arange(kept, solver.rows))
    return found
