"""The corrected model at any size, on the shipped homes and cars: the problem, and what makes it unfit to be solved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

import numpy as np

from cosim.contract import EvSessions, Float, Int
from cosim.controllers.caps import CapsOptions, CapsProblem, CapsResult, share_of_phase, solve_caps
from cosim.controllers.caps.result import spans
from cosim.controllers.caps.sharing import water_level
from cosim.errors import Fault, InputError, refuse
from cosim.experiments.caps_output import uncontrolled_kw
from cosim.experiments.caps_tables import Names
from cosim.experiments.studies.host_capacity.config import WHERE
from cosim.feeders.households import DAY_MIN, draw_households
from cosim.feeders.prices import tariff_eur_per_kwh
from cosim.feeders.sessions import FEASIBLE_SHARE, draw_sessions

START = datetime(2026, 5, 15, 12)  # from noon to noon, so that nights at home are whole
PROFILES = "may_weekday"
BLOCK = 120  # homes in the shipped set; beyond it, it is drawn anew with a fresh seed
CONNECTION_KW = 14.0
LIMIT_SHARE = 0.25  # of the way from the peak of inflexible load to the peak without control
PRESENT_SHARE = 0.5  # of a slot, for a car to count as there in it
UNMET_KWH = 1e-6
PRICE_DIGITS = 9  # a mean of equal prices is that price, whatever the sum rounds to
SHORT_KW = 1e-5  # of a floor
MOST_TIME_S = 20.0  # for the largest floor
MOST_NAMED = 8  # households
_HOMES, _CARS, _PHASES = 0, 1, 2  # streams of draws


def draw_problem(
    households: int, slots: int, *, limits: str = "total", margin: float = 0.0, seed: int = 1
) -> CapsProblem:
    """Draw homes and cars, and set the limits.

    Every home has one car with one stay, the one with the largest need of its day, laid on whole slots; where these
    hold less than the need, the need is lowered to 95 % of what they hold. The limits are constant: the peak of
    inflexible load plus a quarter of what cars add to it without control, for all homes or phase by phase. Homes are
    drawn in blocks of 120, so that a smaller instance of a seed is the beginning of a larger one.

    Parameters
    ----------
    households, slots : int
        Size; the slots share a day.
    limits : str
        ``total``: one limit; ``per-phase``: three.
    margin : float
        Share of the limits kept free.
    seed : int
        Of all draws.
    """
    blocks = [_block(slots, seed, number) for number in range(-(-households // BLOCK))]
    inflexible, plugged, charger, need, efficiency = (
        np.concatenate(parts, axis=-1)[..., :households] for parts in zip(*blocks, strict=True)
    )
    slot_min = DAY_MIN // slots
    usable = np.minimum(plugged * charger, np.maximum(CONNECTION_KW - inflexible, 0.0))
    most = FEASIBLE_SHARE * efficiency * slot_min / 60 * usable.sum(axis=0)
    share = np.ones((households, 1))
    if limits != "total":
        share = share_of_phase(np.random.default_rng([seed, _PHASES]).integers(3, size=households))
    tariff = tariff_eur_per_kwh(START, DAY_MIN).reshape(slots, slot_min).mean(axis=1)
    unlimited = CapsProblem(
        slot_h=slot_min / 60,
        tariff_eur_per_kwh=np.round(tariff, PRICE_DIGITS),
        inflexible_kw=inflexible,
        connection_kw=np.full(households, CONNECTION_KW),
        phase_share=share,
        limit_kw=np.full((slots, share.shape[1]), households * CONNECTION_KW),
        home=np.arange(households),
        plugged=plugged,
        charger_kw=charger,
        charger_min_kw=np.zeros(households),
        energy_need_kwh=np.minimum(need, most),
        efficiency=efficiency,
    )
    return replace(unlimited, limit_kw=default_limits_kw(unlimited) * (1.0 - margin))


def default_limits_kw(problem: CapsProblem) -> Float:
    """Peak of inflexible load plus a quarter of the rise to the peak without control, shape (slot, phase) [kW]."""
    base_kw = problem.base_kw.max(axis=0)
    peak_kw = (problem.base_kw + uncontrolled_kw(problem) @ problem.car_share).max(axis=0)
    return np.tile(base_kw + LIMIT_SHARE * (peak_kw - base_kw), (problem.slots, 1))


def check(problem: CapsProblem, households: Names, where: str, sum_floor_kw: float | None = None) -> None:
    """Refuse what cannot be solved as it stands.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    households : sequence, shape (home,)
        Names.
    where : str
        Source of the data, for messages.
    sum_floor_kw : float, optional
        Floor above inflexible load that every plugged-in car must keep whatever the others do, so that the sum of all
        floors has to fit; not where anticipation may keep more, see `refuse_lowered` [kW].

    Raises
    ------
    InputError
        With every household whose need its stay cannot hold, every slot in which inflexible load is above a limit, and
        every slot whose limit does not hold the floors.
    """
    faults = [*_need_faults(problem, households, where), *_limit_faults(problem, where)]
    if sum_floor_kw is not None:
        faults += _floor_faults(problem, sum_floor_kw)
    refuse(faults)


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
    named = ", ".join(str(households[home]) for home in homes[:MOST_NAMED])
    more = f" and {len(homes) - MOST_NAMED} more" if len(homes) > MOST_NAMED else ""
    text = (
        f"{options.floor_kw:.4g} kW was not kept: households {named}{more} fall short by up to {short.max():.3g} kW "
        f"in slots {spans(slots.tolist())}"
    )
    proven = f"more than {most_kw:.3f} kW is proven impossible" if np.isfinite(most_kw) else "no bound was proven"
    raise InputError(Fault(WHERE, "--floor-kw", text, f"a floor of {_down(fits_kw):.3f} kW fits ({proven})"))


def _block(slots: int, seed: int, number: int) -> tuple[Float, Float, Float, Float, Float]:
    """Inflexible load and presence, shape (slot, home); charger, need, efficiency, shape (home,), of 120 homes."""
    demand_kw = draw_households(PROFILES, BLOCK, START, DAY_MIN, np.random.default_rng([seed, _HOMES, number]))
    inflexible = demand_kw.reshape(slots, -1, BLOCK).mean(axis=1)
    cars = draw_sessions(BLOCK, 1.0, START, DAY_MIN, np.random.default_rng([seed, _CARS, number]))
    plugged, charger = np.zeros((slots, BLOCK)), np.full(BLOCK, cars.charger_kw.max())
    need, efficiency = np.zeros(BLOCK), np.full(BLOCK, cars.efficiency.max())
    chosen = _largest_of_home(cars)
    home = cars.customer[chosen]
    plugged[:, home] = _whole_slots(cars.arrival_min[chosen], cars.departure_min[chosen], slots)
    charger[home], need[home] = cars.charger_kw[chosen], cars.energy_need_kwh[chosen]
    efficiency[home] = cars.efficiency[chosen]
    return inflexible, plugged, charger, need, efficiency


def _largest_of_home(cars: EvSessions) -> Int:
    by_need = np.argsort(-cars.energy_need_kwh, kind="stable")
    _, first = np.unique(cars.customer[by_need], return_index=True)
    return np.asarray(by_need[first], dtype=np.int64)


def _whole_slots(arrival_min: Float, departure_min: Float, slots: int) -> Float:
    """Slots that a car is there for at least half of, or else the one that it is there longest."""
    edge_min = np.arange(slots + 1)[:, None] * (DAY_MIN / slots)
    inside_min = np.minimum(edge_min[1:], departure_min) - np.maximum(edge_min[:-1], arrival_min)
    share = np.clip(inside_min * slots / DAY_MIN, 0.0, 1.0)
    there: Float = ((share >= PRESENT_SHARE) | (share == share.max(axis=0))).astype(np.float64)
    there[share == 0.0] = 0.0
    return there


def _need_faults(problem: CapsProblem, households: Names, where: str) -> Iterator[Fault]:
    for car in np.flatnonzero(problem.energy_need_kwh > problem.reachable_kwh + UNMET_KWH):
        there = np.flatnonzero(problem.is_plugged[:, car])
        stay = f"in slots {spans(there.tolist())}" if len(there) else "and is never plugged in"
        problem_text = f"household {households[problem.home[car]]} needs {problem.energy_need_kwh[car]:.3g} kWh {stay}"
        remedy = f"at most {problem.reachable_kwh[car]:.4g} kWh fit: lower the need, or lengthen the stay"
        yield Fault(where, "energy_need_kwh", problem_text, remedy)


def _limit_faults(problem: CapsProblem, where: str) -> Iterator[Fault]:
    for phase in range(problem.limit_kw.shape[1]):
        over_kw = problem.base_kw[:, phase] - problem.limit_kw[:, phase]
        slots = np.flatnonzero(over_kw > UNMET_KWH)
        if len(slots):
            text = f"inflexible load is above the limit of phase {phase + 1} in slots {spans(slots.tolist())}"
            yield Fault(where, "limit_kw", text, f"raise the limit there by up to {over_kw.max():.4g} kW")


def _floor_faults(problem: CapsProblem, floor_kw: float) -> Iterator[Fault]:
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
            yield Fault(WHERE, "--floor-kw", f"{text} in slots {spans(slots.tolist())}", remedy)


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
