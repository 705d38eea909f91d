"""Formulas of measures, written from their sources once more: nothing here is taken from the product."""

from __future__ import annotations

import numpy as np

A = -0.5 + 0.5j * np.sqrt(3.0)


def sequences(v: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Zero, positive and negative sequence of phasors of shape (..., 3), after Fortescue."""
    a, b, c = v[..., 0], v[..., 1], v[..., 2]
    return (a + b + c) / 3.0, (a + A * b + A * A * c) / 3.0, (a + A * A * b + A * c) / 3.0


def vuf(v: np.ndarray) -> np.ndarray:
    """Negative over positive sequence [%]."""
    _, one, two = sequences(v)
    return 100.0 * np.abs(two) / np.abs(one)


def v0(v: np.ndarray) -> np.ndarray:
    """Zero over positive sequence [%]."""
    zero, one, _ = sequences(v)
    return 100.0 * np.abs(zero) / np.abs(one)


def spread(magnitudes: np.ndarray) -> np.ndarray:
    """Largest deviation from the mean of the phases, over the mean [%]: PVUR, LVUR, phase unbalance index."""
    mean = magnitudes.mean(axis=-1, keepdims=True)
    return np.asarray(100.0 * (np.abs(magnitudes - mean) / mean).max(axis=-1))


def line_to_line(v: np.ndarray) -> np.ndarray:
    """Magnitudes ab, bc, ca."""
    return np.abs(np.stack([v[..., 0] - v[..., 1], v[..., 1] - v[..., 2], v[..., 2] - v[..., 0]], axis=-1))


def pairs_rms(x: np.ndarray) -> np.ndarray:
    """10-minute values of steps of 5 minutes: root of the mean square of each pair."""
    return np.asarray(np.sqrt((x[0::2] ** 2 + x[1::2] ** 2) / 2.0))


def pui(current_a: np.ndarray, rating_a: float) -> np.ndarray:
    """Phase unbalance index [%], nan where the mean is not above 5 % of the rating."""
    magnitudes = np.abs(current_a)
    return np.where(magnitudes.mean(axis=-1) > 0.05 * rating_a, spread(magnitudes), np.nan)


def hot_spot(load: np.ndarray, ambient_c: np.ndarray, step_min: float, loss_ratio: float) -> np.ndarray:
    """Hot-spot temperature at the end of each step after IEC 60076-7, distribution transformer, ONAN [deg C].

    No overshoot (k21 = 1): top oil and winding rise are first-order lags of 180 min and 2 x 4 min, from the steady
    state of the mean load.
    """

    def oil(k: float) -> float:
        return float(55.0 * ((1.0 + loss_ratio * k * k) / (1.0 + loss_ratio)) ** 0.8)

    def winding(k: float) -> float:
        return float(23.0 * k**1.6)

    mean = float(load.mean())
    top, rise, hottest = ambient_c[0] + oil(mean), winding(mean), []
    for k, outside in zip(load, ambient_c, strict=True):
        top += (1.0 - np.exp(-step_min / 180.0)) * (outside + oil(k) - top)
        rise += (1.0 - np.exp(-step_min / 8.0)) * (winding(k) - rise)
        hottest.append(top + rise)
    return np.array(hottest)


def hypervolume_of_two(points: np.ndarray) -> float:
    """Area of the unit square that points of two objectives dominate; both are minimised."""
    inside = sorted((x, y) for x, y in points if x < 1.0 and y < 1.0)
    area, lowest = 0.0, 1.0
    for x, y in inside:
        if y < lowest:
            area += (1.0 - x) * (lowest - y)
            lowest = y
    return area


def stays(cars: list[tuple[float, float]], steps: int, step_min: float) -> np.ndarray:
    """Share of every step in which each car of a home is there, shape (car, step)."""
    start = step_min * np.arange(steps)
    return np.array([np.clip(np.minimum(start + step_min, b) - np.maximum(start, a), 0, None) for a, b in cars]) / (
        step_min
    )
