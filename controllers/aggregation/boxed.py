"""A convex quadratic over a box, by projected Newton steps."""

from __future__ import annotations

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from cosim.contract import Float

_ROUNDS = 60
_SMALL = 1e-10


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
    for _ in range(_ROUNDS):
        slope = hessian @ z + gradient
        held = ((z <= low) & (slope > 0.0)) | ((z >= high) & (slope < 0.0))
        free = np.flatnonzero(~held)
        if not len(free) or np.abs(slope[free]).max() <= _SMALL * (1.0 + np.abs(gradient).max()):
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
