"""What can be proven about every row before the tree grows: that it is tight, that its multiplier is nil, the root cut.

Each statement is the outcome of a linear programme over the relaxation, hence a proof, never a guess; see
``relaxation`` for the cut. Where a best value is known already, statements need to hold for better points only, which
makes them stronger.
"""

from __future__ import annotations

import math

import numpy as np

from cosim.controllers.bilevel.relaxation import Relaxation
from cosim.controllers.solver import Clock, Termination

Rows = frozenset[int]

CUTOFF_MARGIN = 1e-7  # relative room above the best value, so that the best point itself stays feasible
WORTH_KEEPING = 1e-6  # relative rise of the bound below which the cut only slows the tree down


def strengthen(relaxation: Relaxation, tight: Rows, zero: Rows, best_value: float, until: Clock) -> tuple[Rows, Rows]:
    """Fix rows for the whole tree, and add the root cut where it raises the bound.

    Parameters
    ----------
    relaxation : Relaxation
        Changed in place.
    tight, zero : frozenset of int
        Rows already known to be tight, or to have a nil multiplier.
    best_value : float
        Leader's best value so far, inf where there is none.
    until : Clock
        When to leave the rest unproven.

    Returns
    -------
    tuple of frozenset
        Rows that are tight, and rows whose multiplier is nil, wherever the leader does better.
    """
    if math.isfinite(best_value):
        relaxation.limit_objective(best_value + CUTOFF_MARGIN * (1.0 + abs(best_value)))
    count = relaxation.game.followers * relaxation.game.rows
    reach = np.full(count, math.inf)
    for row in range(count):
        if until.over:
            break
        if row in zero:
            continue
        at_most = relaxation.reach(row, tight | {row}, zero)
        if at_most.termination is Termination.INFEASIBLE:
            zero |= {row}
            continue
        if at_most.termination is Termination.OPTIMAL:
            reach[row] = -at_most.value
        if row not in tight and relaxation.solve(tight, zero | {row}).termination is Termination.INFEASIBLE:
            tight |= {row}
    before = relaxation.solve(tight, zero)
    if relaxation.cut(reach, zero):
        after = relaxation.solve(tight, zero)
        helps = before.termination is not Termination.OPTIMAL or after.termination is not Termination.OPTIMAL
        if not helps and after.value - before.value <= WORTH_KEEPING * (1.0 + abs(before.value)):
            relaxation.uncut()
    return tight, zero
