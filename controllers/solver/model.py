"""What is minimised: a linear, mixed-integer or convex quadratic model in numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from cosim.contract import Float, Int
from cosim.contract.signals import Bool


@dataclass(frozen=True, eq=False)
class Model:
    """Minimise ``cost @ x + x @ hessian @ x / 2 + offset`` over rows and columns within their limits.

    Attributes
    ----------
    cost : ndarray, shape (column,)
        Linear objective.
    matrix : sparse or dense array, shape (row, column)
        Coefficients of the rows.
    row_low, row_high : ndarray, shape (row,), or float
        Limits of the rows; infinite where there is none.
    low, high : ndarray, shape (column,), or float
        Limits of the columns.
    whole : ndarray of bool, shape (column,), optional
        Columns that are integer.
    offset : float
        Constant of the objective.
    hessian : ndarray, shape (column, column), optional
        Of a convex objective; without whole columns only.
    """

    cost: Float
    matrix: Any
    row_low: Float | float
    row_high: Float | float
    low: Float | float = 0.0
    high: Float | float = math.inf
    whole: Bool | None = None
    offset: float = 0.0
    hessian: Float | None = None


@dataclass
class Rows:
    """Rows of a model as they are added, block by block."""

    count: int = 0
    _entries: list[tuple[Int, Int, Float]] = field(default_factory=list)
    _limits: list[tuple[Float, Float]] = field(default_factory=list)

    def add(self, count: int, low: Float | float, high: Float | float, *entries: tuple[Int, Int, Float | float]) -> Int:
        """Append rows with entries (row within the block, columns, values), which add up; return their numbers."""
        for row, column, value in entries:
            values = np.broadcast_to(np.asarray(value, float), row.shape)
            self._entries.append((row + self.count, np.broadcast_to(column, row.shape), values))
        self._limits.append((np.broadcast_to(low, count), np.broadcast_to(high, count)))
        numbers = np.arange(self.count, self.count + count)
        self.count += count
        return numbers

    def model(self, cost: Float, low: Float, high: Float, whole: Bool | None = None, offset: float = 0.0) -> Model:
        """Return the model of these rows."""
        row, column, value = (np.concatenate([entry[i] for entry in self._entries]) for i in range(3))
        matrix = sparse.csc_array((value, (row, column)), (self.count, len(cost)))
        row_low, row_high = (np.concatenate([limit[i] for limit in self._limits]).astype(float) for i in range(2))
        return Model(cost, matrix, row_low, row_high, low, high, whole, offset)
