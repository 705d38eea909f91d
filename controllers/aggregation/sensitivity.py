"""How an optimal schedule moves with the bounds, exactly, from the optimal basis.

Within the set of bounds for which a basis stays optimal, the optimum is linear in the bounds: basic columns answer
x_B = B^-1 (b - N x_N), and columns out of the basis move with the bound they sit at. That derivative, not a difference
of two solves, is what the scalable fit follows.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from cosim.contract import Float, Int
from cosim.controllers.aggregation.programme import CHARGE, DISCHARGE, LEVEL
from cosim.controllers.aggregation.store import BOUNDS, Store
from cosim.controllers.solver import Basis
from cosim.errors import SolverError


def sensitivity(
    matrix: sparse.csc_array, store: Store, basis: Basis, tau: Int, blocks: int, families: Int
) -> tuple[Float, Float, Float]:
    """Derivatives of charging, discharging and level with respect to the factors.

    Parameters
    ----------
    matrix : sparse array
        Rows of the programme (``StoreLp.matrix``).
    store : Store
        The *unscaled* aggregate.
    basis : Basis
        Of the optimum of the scaled one.
    tau : ndarray of int, shape (step,)
        Block of each step.
    blocks : int
        Number of blocks.
    families : ndarray of int
        Rows of ``BOUNDS`` that are free.

    Returns
    -------
    charge_kw, discharge_kw, level_kwh : ndarray, shape (step, family * block)

    Raises
    ------
    SolverError
        Where the basis is singular.
    """
    steps, count = store.steps, len(families) * blocks
    weight = {CHARGE: store.into, DISCHARGE: store.out, LEVEL: 1.0}
    in_basis = np.zeros(5 * steps, dtype=bool)
    in_basis[basis.columns] = True
    moves = np.zeros((5 * steps, count), order="F")  # of the columns out of the basis, per unit of every factor
    for place, family in enumerate(families):
        kind, is_high = divmod(int(family), 2)
        at = np.arange(kind * steps, (kind + 1) * steps)
        # out of the basis a column sits at a bound and moves with that bound's factor; a factor of the other bound
        # moves nothing
        free = ~in_basis[at] & (basis.at_high[at] == bool(is_high))
        moves[at[free], place * blocks + tau[free]] = weight[kind] * getattr(store, BOUNDS[family])[free]
    slack = sparse.csc_array(
        (np.ones(len(basis.rows)), (basis.rows, np.arange(len(basis.rows)))),
        (steps, len(basis.rows)),
    )
    square = sparse.csc_array(sparse.hstack([matrix[:, basis.columns], slack], format="csc"))
    if square.shape[0] != square.shape[1]:
        raise SolverError("the schedule of a battery has no basis")
    try:
        # B dx_B = -N dx_N: the rows still hold while the basis stays the same
        answer = splu(square).solve(-(matrix @ sparse.csc_array(moves)).toarray())
    except RuntimeError as error:
        raise SolverError(f"the basis of a battery's schedule is singular: {error}") from None
    moves[basis.columns] = answer[: len(basis.columns)]
    part = moves.reshape(5, steps, count)
    return part[CHARGE] / store.into, part[DISCHARGE] / store.out, part[LEVEL]
