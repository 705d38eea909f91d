"""What hosting capacity is judged by beside the scoreboard, and where it is worst."""

from __future__ import annotations

import numpy as np

from cosim import Trajectory
from cosim.measures import scoreboard, served_share, window_mean, worst_moments
from cosim.measures.derived import line_phases_percent
from cosim.measures.scoreboard import served_by_customer_kwh

CABLE_WINDOW_MIN = 30.0
"""A buried cable warms up slowly: what counts is the mean of half an hour."""


def figures(run: Trajectory) -> dict[str, float]:
    """Measure a run: the scoreboard, and what the criteria ask beside it.

    Parameters
    ----------
    run : Trajectory
        Complete or not.

    Returns
    -------
    dict of str to float
        By name; beside the scoreboard's ``line_peak_30min_percent``, largest mean over half an hour of a phase of a
        rated line, ``transformer_ageing_rate_mean``, mean of the relative ageing rate of IEC 60076-7, and
        ``ev_served_percent``, energy that cars got of what they needed and could have got; with heat pumps
        ``comfort_short_max_kh_per_day``.
    """
    board = scoreboard(run)
    loading = _half_hours(run)
    got_kwh, missed_kwh = board["ev_delivered_kwh"], board["ev_unserved_kwh"]
    if "comfort_short_max_kh" in board:
        board["comfort_short_max_kh_per_day"] = board["comfort_short_max_kh"] / (run.steps * run.step_h / 24.0)
    return board | {
        "line_peak_30min_percent": float(np.fmax.reduce(loading, axis=None, initial=np.nan)),
        "transformer_ageing_rate_mean": board["transformer_ageing_h"] / (run.steps * run.step_h),
        "ev_served_percent": 100.0 * got_kwh / (got_kwh + missed_kwh) if got_kwh + missed_kwh > 0.0 else 100.0,
    }


def places(run: Trajectory) -> dict[str, str]:
    """Where the measures of the criteria are worst, by name: a line, a customer and the side, a bus, a machine."""
    worst = worst_moments(run)
    found = {"energy_not_served_kwh": run.feeder.name}
    lowest, highest = worst["voltage_min_pu"], worst["voltage_max_pu"]
    low_pu, high_pu = run.feeder.standard.limits_pu(run.feeder.customer_nominal_v)
    beyond = np.nanmin(low_pu) - lowest["value"], highest["value"] - np.nanmax(high_pu)
    side, place = ("low", lowest) if beyond[0] > beyond[1] else ("high", highest)
    found["voltage_compliant_customers_percent"] = f"{place['customer']} {side}"
    if "vuf_max_percent" in worst:
        found["vuf_p95_worst_bus_percent"] = f"bus {worst['vuf_max_percent']['bus']}"
    if "transformer_peak_percent" in worst:
        found["transformer_hot_spot_max_c"] = worst["transformer_peak_percent"]["element"]
        found["transformer_ageing_rate_mean"] = found["transformer_hot_spot_max_c"]
    names = run.feeder.customers
    wanted_kwh, served_kwh = served_by_customer_kwh(run)
    if (wanted_kwh > 0.0).any():
        least = names[int(np.nanargmin(served_share(served_kwh, wanted_kwh)))]
        found |= dict.fromkeys(("ev_served_percent", "ev_served_min_percent"), least)
    available_kw = run.exogenous.pv_available_kw.sum(axis=0)
    if available_kw.any():
        lost = 1.0 - run.pv_kw.sum(axis=0) / np.where(available_kw > 0.0, available_kw, np.inf)
        found["pv_curtailed_year_percent"] = names[int(np.where(available_kw > 0.0, lost, 0.0).argmax())]
    if lines := overloaded(run, 0.0):  # lines in a row carry the same, but for rounding
        found["line_peak_30min_percent"] = max(lines, key=lambda name: round(lines[name], 6))
    return found


def overloaded(run: Trajectory, limit_percent: float = 100.0) -> dict[str, float]:
    """Lines whose worst half hour is above a limit, with it [%]; those nearest to the source first."""
    if not run.rated_lines:
        return {}
    of_line = np.fmax.reduce(_half_hours(run), axis=(0, 2))
    return {
        line.name: float(value)
        for line, value in zip(run.rated_lines, of_line.tolist(), strict=True)
        if value > limit_percent
    }


def _half_hours(run: Trajectory) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Loading of every phase of the rated lines by half hours, shape (window, line, 3) [%]."""
    return window_mean(line_phases_percent(run), run.step_min, CABLE_WINDOW_MIN)
