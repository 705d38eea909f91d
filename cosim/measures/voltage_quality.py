"""Voltage magnitude against its limits: windows, standards, extremes, and minutes beyond a limit.

Nominal voltages are one number, or one a customer: an 11 kV customer and a home are each judged by their own.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from cosim.contract import EN_50160, Standard
from cosim.measures._arrays import Bool, Float, positive

WINDOW_MIN = 10.0
_ROUNDING = 1e-9


def window_mean(x: ArrayLike, step_min: float, window_min: float) -> Float:
    """Mean of a quantity over consecutive windows.

    Each step holds for ``step_min`` and counts in a window by the minutes it spends in it:

    - steps that divide the window: plain mean of the steps of the window;
    - steps that do not (3, 4, 6 … minutes): a step across the border counts in both windows, pro rata;
    - steps as long as the window or longer are their own windows (a mean over 15 minutes cannot be made finer: its
      extremes are smoother than those of 10-minute windows would be);
    - an incomplete last window is the mean of the minutes that it does have.

    Parameters
    ----------
    x : array_like, shape (step, ...)
        Mean over each step. [any unit]
    step_min, window_min : float
        Length of a step and of a window. [min]

    Returns
    -------
    ndarray, shape (window, ...)
        In the unit of the input.

    Raises
    ------
    InputError
        ``step_min`` is not positive.
    """
    positive(step_min, "window_mean", "step_min")
    values = np.asarray(x, dtype=float)
    if step_min >= window_min:
        return values
    count = round(window_min / step_min)
    if math.isclose(count * step_min, window_min, rel_tol=_ROUNDING) and len(values) % count == 0:
        return np.asarray(values.reshape(len(values) // count, count, *values.shape[1:]).mean(axis=1))
    start_min = step_min * np.arange(len(values))
    windows = []
    for window in range(math.ceil(len(values) * step_min / window_min - _ROUNDING)):
        low, high = window_min * window, window_min * (window + 1)
        inside_min = np.minimum(start_min + step_min, high) - np.maximum(start_min, low)
        held = inside_min > _ROUNDING
        windows.append(np.average(values[held], axis=0, weights=inside_min[held]))
    return np.stack(windows) if windows else values


def ten_minute_mean(x: ArrayLike, step_min: float) -> Float:
    """Mean of a quantity over consecutive windows of 10 minutes; all else as in :func:`window_mean`."""
    return window_mean(x, step_min, WINDOW_MIN)


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


def voltage_compliant(
    voltage_v: ArrayLike, nominal_voltage_v: ArrayLike, step_min: float, standard: Standard = EN_50160
) -> Bool:
    """Whether each customer's supply voltage keeps every band of a standard at its own level of voltage.

    A band that asks for 95 % of the windows lets ``ceil(0.95 n)`` of n windows be enough at each limit. EN 50160 and
    AS 61000.3.100 judge a week (1008 windows); what is given here is judged by the same shares, so a day under EN 50160
    needs 137 of 144: a *day-equivalent*, to be labelled as such.

    Parameters
    ----------
    voltage_v : array_like, shape (step, customer)
        Rms voltage at the customers' terminals, phase to neutral; of three-phase customers one column per phase. [V]
    nominal_voltage_v : array_like, shape (customer,) or ()
        Declared nominal voltage, phase to neutral. [V]
    step_min : float
        Length of a step. [min]
    standard : Standard
        By which is judged.

    Returns
    -------
    ndarray of bool, shape (customer,)
        A window whose voltage is not a number counts as outside the limits. True where the standard says nothing of the
        level: leave those out (`Standard.bands`).
    """
    positive(nominal_voltage_v, "voltage_compliant", "nominal_voltage_v")
    voltage = np.asarray(voltage_v, dtype=float)
    nominal_v = np.broadcast_to(np.asarray(nominal_voltage_v, dtype=float), voltage.shape[1:])
    window_pu = (ten_minute_rms(voltage, step_min) if standard.window_min else voltage) / nominal_v
    kept = np.ones(voltage.shape[1:], dtype=bool)
    for level_v in np.unique(nominal_v):
        here = nominal_v == level_v
        for band in standard.bands(float(level_v)):
            needed = math.ceil(band.share_percent * len(window_pu) / 100 - _ROUNDING)
            above = (window_pu[:, here] >= band.lower_pu - _ROUNDING).sum(axis=0)
            below = (window_pu[:, here] <= band.upper_pu + _ROUNDING).sum(axis=0)
            kept[here] &= (above >= needed) & (below >= needed)
    return kept


def voltage_extremes_pu(voltage_v: ArrayLike, nominal_voltage_v: ArrayLike) -> tuple[float, float]:
    """Lowest and highest voltage over everything given.

    Parameters
    ----------
    voltage_v : array_like, any shape
        Voltage magnitudes; nan is skipped. [V]
    nominal_voltage_v : array_like, broadcast against the voltages
        Declared nominal voltage, phase to neutral. [V]

    Returns
    -------
    lowest_pu, highest_pu : float
        [pu of nominal]; nan when there is no voltage at all.
    """
    positive(nominal_voltage_v, "voltage_extremes_pu", "nominal_voltage_v")
    voltage_pu = np.asarray(voltage_v, dtype=float) / nominal_voltage_v
    lowest = float(np.fmin.reduce(voltage_pu, axis=None, initial=np.nan))
    return lowest, float(np.fmax.reduce(voltage_pu, axis=None, initial=np.nan))


def overvoltage_min(
    voltage_v: ArrayLike, nominal_voltage_v: ArrayLike, step_min: float, limit_pu: ArrayLike = 1.10
) -> float:
    """Minutes in which at least one customer is above a limit.

    Parameters
    ----------
    voltage_v : array_like, shape (step, customer)
        Voltage at the customers' terminals. [V]
    nominal_voltage_v : array_like, shape (customer,) or ()
        Declared nominal voltage, phase to neutral. [V]
    step_min : float
        Length of a step. [min]
    limit_pu : array_like, shape (customer,) or ()
        Limit; a voltage equal to it is not above. nan where there is none. [pu of nominal]

    Returns
    -------
    float
        [min]; nan where nobody has a limit.
    """
    positive(nominal_voltage_v, "overvoltage_min", "nominal_voltage_v")
    limit_v: Float = np.asarray(limit_pu, dtype=float) * np.asarray(nominal_voltage_v, dtype=float)
    above = np.asarray(voltage_v, dtype=float) > limit_v * (1 + _ROUNDING)
    return _minutes(above, limit_v, step_min)


def undervoltage_min(
    voltage_v: ArrayLike, nominal_voltage_v: ArrayLike, step_min: float, limit_pu: ArrayLike = 0.90
) -> float:
    """Minutes in which at least one customer is below a limit; all else as in :func:`overvoltage_min`."""
    positive(nominal_voltage_v, "undervoltage_min", "nominal_voltage_v")
    limit_v: Float = np.asarray(limit_pu, dtype=float) * np.asarray(nominal_voltage_v, dtype=float)
    below = np.asarray(voltage_v, dtype=float) < limit_v * (1 - _ROUNDING)
    return _minutes(below, limit_v, step_min)


def _minutes(outside: Bool, limit_v: Float, step_min: float) -> float:
    return float(outside.any(axis=1).sum() * step_min) if np.isfinite(limit_v).any() else float("nan")
