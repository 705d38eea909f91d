"""The linear bilevel problem as the user states it, and its checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cosim.contract import Float
from cosim.errors import Fault, refuse

Matrix = ArrayLike | None
Pair = Sequence[float | None] | None
Bounds = Pair | Sequence[Pair] | Float

WHERE = "bilevel problem"
NO_LIMIT = 1e20  # a bound or right-hand side from here on is none, as HiGHS reads it


@dataclass(frozen=True)
class BilevelLP:
    """Leader: ``min c_x x + c_y y`` over x, with ``A x + B y <= a``; follower: ``min d y`` with ``C x + D y <= b``.

    Attributes
    ----------
    c_x : array-like, shape (leader variable,)
        Leader's cost of its own variables; its length is their number, and may be zero.
    c_y : array-like, shape (follower variable,), or None
        Leader's cost of the follower's answer; None is zero.
    A, B : array-like, shape (leader row, leader variable) and (leader row, follower variable), or None
        Leader's rows; None or empty is zero. Rows with a coefficient in B are coupling constraints: the follower does
        not know them.
    a : array-like, shape (leader row,), or None
        Their right-hand side; inf (or 1e20 and more) is no limit.
    d : array-like, shape (follower variable,)
        Follower's cost.
    C, D : array-like, shape (follower row, leader variable) and (follower row, follower variable), or None
        Follower's rows.
    b : array-like, shape (follower row,), or None
        Their right-hand side.
    x_bounds, y_bounds : bounds
        None (free), one pair ``(low, high)`` for all, or one pair per variable; None or an infinite number (1e20 and
        more) is no bound. Bounds on x belong to the leader, **bounds on y belong to the follower**: they are part of
        its feasible set and carry multipliers. A limit on y that only the leader knows is a row of A and B.

    Notes
    -----
    A constant, or a cost of x in the follower's objective, does not change its answer and is left out. One-dimensional
    matrices are read as one row, or as one column where there is one variable; equalities are two rows.
    """

    c_x: ArrayLike
    c_y: ArrayLike | None
    A: Matrix
    B: Matrix
    a: ArrayLike | None
    d: ArrayLike
    C: Matrix
    D: Matrix
    b: ArrayLike | None
    x_bounds: Bounds = None
    y_bounds: Bounds = None


@dataclass(frozen=True)
class Data:
    """A bilevel problem as checked arrays of floats; see ``BilevelLP`` for the meaning.

    Attributes
    ----------
    c_x, c_y, A, B, a, d, C, D, b : ndarray
        As stated, without rows that limit nothing.
    x_low, x_high, y_low, y_high : ndarray
        Bounds, infinite where there is none.
    """

    c_x: Float
    c_y: Float
    A: Float
    B: Float
    a: Float
    d: Float
    C: Float
    D: Float
    b: Float
    x_low: Float
    x_high: Float
    y_low: Float
    y_high: Float


def checked(problem: BilevelLP) -> Data:
    """Read a problem into arrays.

    Raises
    ------
    InputError
        With every fault found: a shape that does not fit, a number that is not finite, a lower bound above its upper.
    """
    faults: list[Fault] = []

    def read(key: str, instead: Any, reader: Callable[..., Any], *size: int) -> Any:
        """One argument; something harmless in its place where it cannot be read."""
        try:
            return reader(getattr(problem, key), *size)
        except _ShapeError as fault:
            faults.append(Fault(WHERE, key, "has the wrong shape", str(fault)))
        except (TypeError, ValueError) as fault:
            faults.append(Fault(WHERE, key, f"cannot be read ({fault})", "give numbers, in rows of equal length"))
        return instead

    c_x, d = read("c_x", np.zeros(0), _vector), read("d", np.zeros(0), _vector)
    nx, ny = len(c_x), len(d)
    if ny == 0 and not faults:
        faults.append(Fault(WHERE, "d", "no follower variable", "give the follower at least one variable"))
    c_y = read("c_y", np.zeros(ny), _vector, ny)
    a, b = read("a", np.zeros(0), _vector), read("b", np.zeros(0), _vector)
    A, B, C, D = (
        read(key, np.zeros((len(limit), count)), _matrix, len(limit), count)
        for key, limit, count in (("A", a, nx), ("B", a, ny), ("C", b, nx), ("D", b, ny))
    )
    (x_low, x_high), (y_low, y_high) = (
        read(key, np.zeros((2, count)), _bounds, count) for key, count in (("x_bounds", nx), ("y_bounds", ny))
    )
    faults += _not_finite({"c_x": c_x, "c_y": c_y, "A": A, "B": B, "a": a, "d": d, "C": C, "D": D, "b": b})
    faults += _crossed("x_bounds", x_low, x_high) + _crossed("y_bounds", y_low, y_high)
    refuse(faults)
    upper, lower = a < NO_LIMIT, b < NO_LIMIT
    leader, follower = (A[upper], B[upper], a[upper]), (C[lower], D[lower], b[lower])
    return Data(c_x, c_y, *leader, d, *follower, x_low, x_high, y_low, y_high)


class _ShapeError(ValueError):
    """A shape that does not fit; the message is the remedy."""


def _plain(values: Any) -> Float:
    """Float of a list, an array or a sparse matrix; nothing for None."""
    if values is None:
        return np.zeros(0)
    return np.array(values.toarray() if hasattr(values, "toarray") else values, dtype=np.float64)


def _vector(values: Any, length: int | None = None) -> Float:
    vector = np.atleast_1d(np.squeeze(_plain(values)))
    if values is None and length is not None:
        return np.zeros(length)
    if vector.ndim > 1 or (length is not None and len(vector) != length):
        raise _ShapeError("give one number per " + ("entry" if length is None else f"follower variable ({length})"))
    return vector


def _matrix(values: Any, rows: int, columns: int) -> Float:
    matrix = _plain(values)
    if matrix.size == 0 and (values is None or matrix.ndim < 2 or 0 in (rows, columns)):
        return np.zeros((rows, columns))
    if matrix.ndim < 2 and matrix.size == rows * columns and 1 in (rows, columns):
        return matrix.reshape(rows, columns)
    if matrix.shape != (rows, columns):
        raise _ShapeError(
            f"give {rows} row(s), as many as right-hand sides, of {columns} column(s); found {matrix.shape}"
        )
    return matrix


def _bounds(bounds: Any, count: int) -> tuple[Float, Float]:
    if bounds is None:
        return np.full(count, -np.inf), np.full(count, np.inf)
    pairs = list(bounds)
    if len(pairs) == 2 and not any(isinstance(end, (Sequence, np.ndarray)) for end in pairs):
        pairs = [pairs] * count
    elif len(pairs) == 1 and count != 1:
        pairs = pairs * count
    if len(pairs) != count or any(pair is not None and len(pair) != 2 for pair in pairs):
        raise _ShapeError(f"give one pair (low, high), or one per variable ({count})")
    ends = [(None, None) if pair is None else pair for pair in pairs]
    low = np.array([-np.inf if one is None else one for one, _ in ends], dtype=np.float64)
    high = np.array([np.inf if other is None else other for _, other in ends], dtype=np.float64)
    return np.where(low <= -NO_LIMIT, -np.inf, low), np.where(high >= NO_LIMIT, np.inf, high)


def _not_finite(arrays: dict[str, Float]) -> list[Fault]:
    faults = []
    for key, values in arrays.items():
        may_be_unlimited = key in ("a", "b")
        wrong = np.isnan(values) | (values <= -NO_LIMIT if may_be_unlimited else np.isinf(values))
        if wrong.any():
            place = ", ".join(map(str, np.argwhere(wrong)[0]))
            remedy = "give a finite number" + (", or inf for no limit" if may_be_unlimited else "")
            faults.append(
                Fault(WHERE, f"{key}[{place}]", f"{values[wrong][0]} is not a number to calculate with", remedy)
            )
    return faults


def _crossed(key: str, low: Float, high: Float) -> list[Fault]:
    wrong = ~(low <= high) | np.isposinf(low) | np.isneginf(high)
    return [
        Fault(WHERE, f"{key}[{i}]", f"no number lies between {low[i]} and {high[i]}", "give low <= high")
        for i in np.flatnonzero(wrong)
    ]
