"""Voltage magnitude against its limits: 10-minute windows, EN 50160, extremes and minutes of overvoltage."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from cosim.measures._arrays import Bool, Float, positive

WINDOW_MIN = 10.0
_ALL_LOW_PU, _MOST_LOW_PU, _HIGH_PU = 0.85, 0.90, 1.10
_ROUNDING = 1e-9


def ten_minute_mean(x: ArrayLike, step_min: float) -> Float:
    """Mean of a quantity over consecutive windows of 10 minutes.

    Each step holds for ``step_min`` and counts in a window by the minutes it spends in it:

    - steps that divide 10 minutes: plain mean of the steps of the window;
    - steps that do not (3, 4, 6 … minutes): a step across the border counts in both windows, pro rata;
    - steps of 10 minutes or more are their own windows (a mean over 15 minutes cannot be made finer: its extremes are
      smoother than those of 10-minute windows would be);
    - an incomplete last window is the mean of the minutes that it does have.

    Parameters
    ----------
    x : array_like, shape (step, ...)
        Mean over each step. [any unit]
    step_min : float
        Length of a step. [min]

    Returns
    -------
    ndarray, shape (window, ...)
        In the unit of the input.

    Raises
    ------
    InputError
        ``step_min`` is not positive.
    """
    positive(step_min, "ten_minute_mean", "step_min")
    values = np.asarray(x, dtype=float)
    if step_min >= WINDOW_MIN:
        return values
    count = round(WINDOW_MIN / step_min)
    if math.isclose(count * step_min, WINDOW_MIN, rel_tol=_ROUNDING) and len(values) % count == 0:
        return np.asarray(values.reshape(len(values) // count, count, *values.shape[1:]).mean(axis=1))
    start_min = step_min * np.arange(len(values))
    windows = []
    for window in range(math.ceil(len(values) * step_min / WINDOW_MIN - _ROUNDING)):
        low, high = WINDOW_MIN * window, WINDOW_MIN * (window + 1)
        inside_min = np.minimum(start_min + step_min, high) - np.maximum(start_min, low)
        held = inside_min > _ROUNDING
        windows.append(np.average(values[held], axis=0, weights=inside_min[held]))
    return np.stack(windows) if windows else values


def ten_minute_rms(x: ArrayLike, step_min: float) -> Float:
    """Root of the mean square over windows of 10 minutes, the aggregation of IEC 61000-4-30.

    Parameters
    ----------
    x : array_like, shape (step, ...)
        Rms value, or unbalance ratio, of each step. [any unit]
    step_min : float
        Length of a step; windows as in :func:`ten_minute_mean`. [min]

    Returns
    -------
    ndarray, shape (window, ...)
        In the unit of the input, not negative.
    """
    return np.asarray(np.sqrt(ten_minute_mean(np.square(np.asarray(x, dtype=float)), step_min)))


def en50160_compliant(voltage_v: ArrayLike, nominal_voltage_v: float, step_min: float) -> Bool:
    """Whether each customer's supply voltage keeps the magnitude limits of EN 50160 (low voltage, clause 4.2.2).

    10-minute rms values: all within +10/-15 % of nominal, and 95 % of them within ±10 %. The standard judges a week
    (1008 windows); what is given here is judged with the same rule, at least ``ceil(0.95 n)`` of n windows, so a day
    needs 137 of 144: a *day-equivalent*, to be labelled as such.

    Parameters
    ----------
    voltage_v : array_like, shape (step, customer)
        Rms voltage at the customers' terminals, phase to neutral; of three-phase customers one column per phase. [V]
    nominal_voltage_v : float
        Declared nominal voltage, phase to neutral. [V]
    step_min : float
        Length of a step. [min]

    Returns
    -------
    ndarray of bool, shape (customer,)
        A window whose voltage is not a number counts as outside the limits.
    """
    positive(nominal_voltage_v, "en50160_compliant", "nominal_voltage_v")
    window_pu = ten_minute_rms(voltage_v, step_min) / nominal_voltage_v
    below_high = window_pu <= _HIGH_PU + _ROUNDING
    all_within = (below_high & (window_pu >= _ALL_LOW_PU - _ROUNDING)).all(axis=0)
    within_ten = (below_high & (window_pu >= _MOST_LOW_PU - _ROUNDING)).sum(axis=0)
    needed = -(-95 * len(window_pu) // 100)  # ceil in whole numbers: 0.95 is no binary fraction
    return np.asarray(all_within & (within_ten >= needed))


def voltage_extremes_pu(voltage_v: ArrayLike, nominal_voltage_v: float) -> tuple[float, float]:
    """Lowest and highest voltage over everything given.

    Parameters
    ----------
    voltage_v : array_like, any shape
        Voltage magnitudes; nan is skipped. [V]
    nominal_voltage_v : float
        Declared nominal voltage, phase to neutral. [V]

    Returns
    -------
    lowest_pu, highest_pu : float
        [pu of nominal]; nan when there is no voltage at all.
    """
    positive(nominal_voltage_v, "voltage_extremes_pu", "nominal_voltage_v")
    voltage = np.asarray(voltage_v, dtype=float)
    lowest = float(np.fmin.reduce(voltage, axis=None, initial=np.nan))
    highest = float(np.fmax.reduce(voltage, axis=None, initial=np.nan))
    return lowest / nominal_voltage_v, highest / nominal_voltage_v


def overvoltage_min(voltage_v: ArrayLike, nominal_voltage_v: float, step_min: float, limit_pu: float = 1.10) -> float:
    """Minutes in which at least one customer is above a limit.

    Parameters
    ----------
    voltage_v : array_like, shape (step, customer)
        Voltage at the customers' terminals. [V]
    nominal_voltage_v : float
        Declared nominal voltage, phase to neutral. [V]
    step_min : float
        Length of a step. [min]
    limit_pu : float
        Limit; a voltage equal to it is not above. [pu of nominal]

    Returns
    -------
    float
        [min]
    """
    positive(nominal_voltage_v, "overvoltage_min", "nominal_voltage_v")
    voltage = np.asarray(voltage_v, dtype=float)
    above = (voltage > limit_pu * nominal_voltage_v * (1 + _ROUNDING)).any(axis=1)
    return float(above.sum() * step_min)
