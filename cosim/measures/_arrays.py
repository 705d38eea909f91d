"""What the measures share: array types, checks of shape, and division that says when it is undefined."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cosim.errors import Fault, InputError
from cosim.network import Complex, Float

__all__ = ["Bool", "Complex", "Float", "positive", "ratio", "three_phases"]

Bool = NDArray[np.bool_]


def three_phases(values: ArrayLike, where: str, key: str) -> NDArray[Any]:
    """Return an array whose last axis holds the three phases; ``InputError`` where it does not."""
    array = np.asarray(values)
    if array.ndim == 0 or array.shape[-1] != 3:
        problem = f"shape {array.shape} has no last axis of three phases"
        raise InputError(Fault(where, key, problem, "pass phases a, b, c on the last axis"))
    return array


def positive(value: ArrayLike, where: str, key: str) -> None:
    """Raise ``InputError`` unless a number, or every one of several, is positive and finite."""
    numbers = np.asarray(value, dtype=float)
    if not (np.isfinite(numbers) & (numbers > 0)).all():
        raise InputError(Fault(where, key, f"{value!r} is not a positive number", f"pass a positive {key}"))


def ratio(part: ArrayLike, whole: ArrayLike) -> Float:
    """Elementwise ``part / whole``; nan, without a warning, where ``whole`` is not above zero."""
    top, bottom = np.broadcast_arrays(np.asarray(part, dtype=float), np.asarray(whole, dtype=float))
    undefined = np.full(top.shape, np.nan)
    return np.asarray(np.divide(top, bottom, out=undefined, where=bottom > 0))
