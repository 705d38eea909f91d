"""Factors read off the reference: starts for the search, near what the cars did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from cosim.contract import Float
from cosim.controllers.aggregation.aggregate import Factors, block_of_step
from cosim.controllers.aggregation.deviation import Case
from cosim.controllers.aggregation.store import BOUNDS

IN_USE = 0.15  # share of the summed power above which the cars are taken to be charging
ROOM = 1.002  # beside the largest use: the aggregate's efficiency is a mean, so it may need a little more
Reading = Callable[[Float, Float], float]


def factors_from_reference(cases: Sequence[Case], block_h: int, low: float, high: float) -> list[Factors]:
    """Factors such that the bounds follow the cars, in four ways.

    Power by its mean while in use or by its largest use, levels by the range of the cars' level or left alone. With
    hourly factors and one week, the largest use is the reference itself: a fit of nothing, exact by construction.

    Parameters
    ----------
    cases : sequence of Case
        Weeks.
    block_h : int
        Hours that share a factor.
    low, high : float
        Bounds of every factor.
    """
    tau = np.concatenate([block_of_step(case.store.steps, case.store.step_h, block_h, case.first_h) for case in cases])

    def read(of_store: str, of_target: str, reading: Reading) -> Float:
        found = np.ones(Factors.ones(block_h).value.shape[1])
        bound = np.concatenate([getattr(case.store, of_store) for case in cases])
        done = np.concatenate([getattr(case.target, of_target) for case in cases])
        for block in range(len(found)):
            here = (tau == block) & (bound > 0.0)
            if here.any():
                found[block] = reading(bound[here], done[here])
        return np.clip(found, low, high)

    made = []
    for power, with_level in product((_mean_use, _largest_use), (True, False)):
        value = Factors.ones(block_h).value.copy()
        readings = [("charge_high_kw", "charge_kw", power), ("discharge_high_kw", "discharge_kw", power)]
        if with_level:
            readings += [("level_low_kwh", "level_kwh", _least), ("level_high_kwh", "level_kwh", _most)]
        for of_store, of_target, reading in readings:
            value[BOUNDS.index(of_store)] = read(of_store, of_target, reading)
        made.append(Factors(value, block_h))
    return made


def _mean_use(bound: Float, done: Float) -> float:
    used = done > IN_USE * bound
    return float(done[used].sum() / bound[used].sum()) if used.any() else 1.0


def _largest_use(bound: Float, done: Float) -> float:
    return ROOM * _most(bound, done)


def _least(bound: Float, done: Float) -> float:
    return float((done / bound).min())


def _most(bound: Float, done: Float) -> float:
    return float((done / bound).max())
