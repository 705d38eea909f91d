"""Cutting a problem into pieces: cars that share a limit which they could break, rows in each car's merit order."""

from __future__ import annotations

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.core.subproblem import LIMIT_SLACK_KW, SMALLEST_KW, UNSERVED_KWH, Subproblem
from cosim.controllers.caps.merit_order import price_in_steps
from cosim.controllers.caps.problem import CapsProblem


def split(problem: CapsProblem, *, counts_peaks: bool, at_nil: bool = False) -> list[Subproblem]:
    """Cut a problem into pieces that share no limit which their cars could break, without floors.

    Parameters
    ----------
    problem : CapsProblem
        The data. Cars that no limit can hold back are in no piece.
    counts_peaks : bool
        Whether the beginning of a slot must respect the limits, not only its mean.
    at_nil : bool
        Whether cars may charge beyond their need where the price is zero, as where it is below.
    """
    headroom = np.maximum(problem.headroom_kw - LIMIT_SLACK_KW, 0.0)
    beyond = problem.charges_beyond(at_nil=at_nil)
    asks = (problem.need_kw > SMALLEST_KW) | beyond
    full = np.where((problem.usable_kw > SMALLEST_KW) & asks, most_counted_kw(problem, counts_peaks=counts_peaks), 0.0)
    binding = (full @ problem.car_share > headroom).any(axis=0)
    asks &= full.max(axis=0, initial=0.0) > 0.0
    share = problem.car_share * binding
    return [
        _piece(problem, cars, limits, headroom, beyond[cars], counts_peaks=counts_peaks)
        for cars, limits in _joined(share, np.flatnonzero(asks))
    ]


def most_counted_kw(problem: CapsProblem, *, counts_peaks: bool) -> Float:
    """What each car adds to the load that must respect the limits where nothing holds it back, (slot, car) [kW]."""
    if not counts_peaks:
        return problem.usable_kw
    return np.where(problem.usable_kw > 0, np.minimum(problem.charger_kw, problem.room_kw), 0.0)


def _joined(share: Float, cars: Int) -> list[tuple[Int, Int]]:
    """Group cars by the limits that they share, directly or by others."""
    groups: list[set[int]] = []
    for row in np.unique(share[cars] > 0, axis=0):
        together = set(np.flatnonzero(row).tolist())
        if not together:
            continue
        for group in [one for one in groups if one & together]:
            together |= group
            groups.remove(group)
        groups.append(together)
    pieces = []
    for group in sorted(groups, key=min):
        limits = np.array(sorted(group), np.int64)
        pieces.append((cars[(share[cars][:, limits] > 0).any(axis=1)], limits))
    return pieces


def _piece(
    problem: CapsProblem, cars: Int, limits: Int, headroom_kw: Float, fills: Bool, *, counts_peaks: bool
) -> Subproblem:
    peaks = counts_peaks
    order = problem.merit_order_of_car[:, cars]
    usable_kw = np.take_along_axis(problem.usable_kw[:, cars], order, axis=0)
    price = np.take_along_axis(problem.tariff_of_car[:, cars], order, axis=0)
    paid = price_in_steps(price) < 0
    is_row = usable_kw > SMALLEST_KW
    count, rows = len(cars), int(is_row.sum(axis=0).max()) + 2
    zeros = np.zeros((count, rows))
    slot, usable = np.full((count, rows), -1), zeros.copy()
    target, last, unserved, tariff = (zeros.copy() for _ in range(4))
    per_kw_kwh = problem.efficiency[cars] * problem.slot_h
    need_kw = problem.reachable_kwh[cars] / per_kw_kwh
    full_kw = np.where(fills, problem.most_kw[cars], need_kw)
    for car in range(count):
        mine = np.flatnonzero(is_row[:, car])
        beyond = full_kw[car] > need_kw[car] + SMALLEST_KW
        early = int(paid[mine, car].sum()) if beyond else 0
        number = np.arange(len(mine))
        at = number + (number >= early) * int(beyond)
        slot[car, at], tariff[car, at] = order[mine, car], price[mine, car]
        usable[car, at] = last[car, at] = usable_kw[mine, car]
        target[car, at] = np.where(number < early, full_kw[car], need_kw[car])
        if beyond:
            target[car, early], last[car, early] = full_kw[car], full_kw[car] - need_kw[car]
        if need_kw[car] > SMALLEST_KW:
            end = len(mine) + int(beyond)
            target[car, end] = last[car, end] = need_kw[car]
            unserved[car, end] = per_kw_kwh[car]
        else:
            last[car, at[early:]] = 0.0  # who needs nothing takes no more than what is paid for
    minimum = problem.charger_min_kw[cars]
    with np.errstate(divide="ignore", invalid="ignore"):
        partly = peaks & (slot >= 0) & (usable < minimum[:, None])
        counted = np.where(partly, minimum[:, None] / usable, 1.0)
    return Subproblem(
        cars=cars,
        slot=slot,
        minimum_kw=minimum,
        usable_kw=usable,
        least_kw=zeros,
        forced=zeros > 0,
        counted=counted,
        last_kw=last,
        target_kw=target,
        last_least_kw=zeros,
        last_top_kw=zeros,
        unserved_kwh=unserved,
        peaks=peaks,
        weight_kwh=np.full(count, problem.slot_h),
        tariff_eur_per_kwh=tariff,
        per_kw_kwh=UNSERVED_KWH * unserved,
        share=problem.car_share[cars][:, limits],
        headroom_kw=headroom_kw[:, limits],
        order=problem.merit_order if problem.merit_order.ndim == 1 else None,
    ).with_floor(zeros)
