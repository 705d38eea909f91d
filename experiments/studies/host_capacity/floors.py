"""Floors that cannot be kept: refused with the largest that can."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps import CapsOptions, CapsProblem, CapsResult, solve_caps
from cosim.controllers.caps.result import spans
from cosim.controllers.caps.sharing import water_level
from cosim.errors import Fault, InputError
from cosim.experiments.caps_output import Names

OPTION = "--floor-kw"
WHERE = "cosim reproduce host_capacity"
SHORT_KW = 1e-5
MOST_TIME_S = 20.0
NAMED = 8  # households


def sum_faults(problem: CapsProblem, floor_kw: float) -> Iterator[Fault]:
    """Tell in which slots the floors of all plugged-in cars together are above a limit: what ``sum_of_caps`` needs."""
    floor = _wanted_kw(problem, floor_kw)
    for phase in range(problem.limit_kw.shape[1]):
        share, headroom = problem.car_share[:, phase], problem.headroom_kw[:, phase]
        short = floor @ share - headroom
        slots = np.flatnonzero(short > SHORT_KW)
        if len(slots):
            fits = min(water_level(share * floor[k], float(headroom[k])) for k in slots)
            text = f"{floor_kw:.4g} kW for every plugged-in car is above the limit of phase {phase + 1}"
            remedy = f"a floor of {_down(fits):.3f} kW fits, or {short.max():.4g} kW more of the limit"
            yield Fault(WHERE, OPTION, f"{text} in slots {spans(slots.tolist())}", remedy)


def refuse_lowered(
    problem: CapsProblem, result: CapsResult, options: CapsOptions, households: Names, seed: int
) -> None:
    """Refuse a floor that anticipation could not keep.

    The largest floor that can be kept comes from a solve of its own, ``max_min``; homes and slots that would have less
    than was asked for are those of its plan.

    Parameters
    ----------
    problem, result : CapsProblem, CapsResult
        What was asked, and the answer.
    options : CapsOptions
        With the floor, under ``anticipated``.
    households : sequence, shape (home,)
        Names.
    seed : int
        Of the search.

    Raises
    ------
    InputError
        With the floor that fits, and what is proven impossible.
    """
    if not any(relaxation.kind == "floor" for relaxation in result.relaxations):
        return
    time_s = min(options.time_limit_s, MOST_TIME_S)
    best = solve_caps(problem, replace(options, objective="max_min", levels=1, time_limit_s=time_s), seed=seed)
    fits_kw, most_kw = float(best.objective), float(best.bound)
    short = _short_kw(problem, best, options.floor_kw)
    if short.max(initial=0.0) <= SHORT_KW:  # it can be kept, as far as this plan shows: the other did not get there
        short = _short_kw(problem, result, options.floor_kw)
    slots = np.flatnonzero((short > SHORT_KW).any(axis=1))
    homes = np.unique(problem.home[(short > SHORT_KW).any(axis=0)])
    named = ", ".join(str(households[home]) for home in homes[:NAMED])
    more = f" and {len(homes) - NAMED} more" if len(homes) > NAMED else ""
    text = (
        f"{options.floor_kw:.4g} kW was not kept: households {named}{more} fall short by up to {short.max():.3g} kW "
        f"in slots {spans(slots.tolist())}"
    )
    proven = f"more than {most_kw:.3f} kW is proven impossible" if np.isfinite(most_kw) else "no bound was proven"
    raise InputError(Fault(WHERE, OPTION, text, f"a floor of {_down(fits_kw):.3f} kW fits ({proven})"))


def _wanted_kw(problem: CapsProblem, floor_kw: float) -> Float:
    least = np.minimum(np.minimum(floor_kw, problem.charger_kw), problem.room_kw)
    return np.where(problem.is_plugged, least, 0.0)


def _short_kw(problem: CapsProblem, result: CapsResult, floor_kw: float) -> Float:
    """By how much rooms are below the floor, shape (slot, car); nothing where the car takes all that it could [kW]."""
    room = (result.caps_kw - problem.inflexible_kw)[:, problem.home]
    short = np.maximum(_wanted_kw(problem, floor_kw) - room, 0.0)
    short[result.planned_kw >= problem.usable_kw - SHORT_KW] = 0.0
    return short


def _down(floor_kw: float) -> float:
    return float(np.floor(1000 * floor_kw) / 1000)
