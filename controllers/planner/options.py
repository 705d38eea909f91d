"""How to plan: formulation, what comes first, how far to search; and stays on steps, an explicit choice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from cosim.contract import Float, Int
from cosim.errors import Fault, InputError, range_faults

Formulation = Literal["lp", "milp"]
Objective = Literal["service", "weighted"]
Fairness = Literal["total", "maxmin"]

Rounding = Literal["prorata", "inside", "outside", "nearest", "down"]
"""How a stay that begins or ends inside a step is planned.

``prorata``: as it is; the step counts for the part in which the vehicle is there. ``inside``: whole steps within the
stay (never a promise that cannot be kept, but shorter). ``outside``: every step that the stay touches (longer).
``nearest``: both ends to the nearest step. ``down``: both ends to the step before, as seed 002 did.
"""

_TOUCH = 1e-9  # of a step: times computed from dates are this exact


@dataclass(frozen=True)
class Options:
    """Options of a plan.

    Attributes
    ----------
    formulation : str
        ``lp``: any power up to the largest. ``milp``: off, or at least the smallest power.
    objective : str
        ``service``: the least shortfall first, then the least cost among such plans. ``weighted``: one sum of cost
        and shortfall at 100 EUR over the battery's capacity, as seed 002 has it.
    fairness : str
        ``total``: the least sum of shortfalls. ``maxmin``: first raise the worst-served vehicle's share of what it
        could get, then the next (the MILP raises the worst alone); with ``service`` only.
    min_up_steps : int
        Steps that a vehicle, once on, stays on; MILP only.
    max_starts : int or None
        How often a vehicle may be switched on; MILP only.
    n_sols : int
        Plans wanted: the best one and others that cost at most 1 % more.
    gap : float
        Relative gap at which the MILP may stop.
    time_limit_s : float
        Wall clock of all solves together [s].
    """

    formulation: Formulation = "lp"
    objective: Objective = "service"
    fairness: Fairness = "total"
    min_up_steps: int = 1
    max_starts: int | None = None
    n_sols: int = 1
    gap: float = 1e-4
    time_limit_s: float = 60.0

    def __post_init__(self) -> None:
        faults = list(self._faults())
        if faults:
            raise InputError(faults)

    @property
    def switched(self) -> bool:
        """Whether on and off are decided."""
        return self.formulation == "milp"

    def _faults(self) -> Iterator[Fault]:
        for key, words in (("formulation", Formulation), ("objective", Objective), ("fairness", Fairness)):
            if getattr(self, key) not in get_args(words):
                yield Fault("planner", key, f"is {getattr(self, key)!r}", f"use one of {', '.join(get_args(words))}")
        ranges = (
            ("min_up_steps", self.min_up_steps, 1, 10_000, "whole steps"),
            ("max_starts", 1 if self.max_starts is None else self.max_starts, 1, 10_000, "a whole number"),
            ("n_sols", self.n_sols, 1, 1_000, "a number of plans"),
            ("gap", self.gap, 0.0, 1.0, "a share"),
            ("time_limit_s", self.time_limit_s, 0.0, 1e6, "seconds"),
        )
        yield from range_faults("planner", ranges)
        if self.formulation == "lp" and (self.min_up_steps > 1 or self.max_starts is not None):
            key = "min_up_steps" if self.min_up_steps > 1 else "max_starts"
            yield Fault("planner", key, "needs on and off", "use formulation milp")
        if self.fairness == "maxmin" and self.objective == "weighted":
            yield Fault("planner", "fairness", "maxmin ranks aims, weighted adds them", "use objective service")


def round_stays(arrival_step: Float, departure_step: Float, rounding: Rounding) -> tuple[Float, Float]:
    """Arrival and departure on steps.

    Parameters
    ----------
    arrival_step, departure_step : ndarray, shape (vehicle,)
        Fractional steps from the start of the horizon.
    rounding : str
        One of ``Rounding``.

    Returns
    -------
    arrival_step, departure_step : ndarray, shape (vehicle,)
        Unchanged where ``prorata``; whole numbers otherwise. A stay inside one step may become empty: compare with
        the original, which is what ``stay_change_step`` does.

    Raises
    ------
    InputError
        For any other word.
    """
    if rounding not in get_args(Rounding):
        raise InputError(
            Fault("planner", "rounding", f"is {rounding!r}", f"use one of {', '.join(get_args(Rounding))}")
        )
    if rounding == "prorata":
        return arrival_step, departure_step
    both = np.array([arrival_step, departure_step])
    up_to, down_to, nearest = np.ceil(both - _TOUCH), np.floor(both + _TOUCH), np.floor(both + 0.5)
    ends = {"inside": (up_to, down_to), "outside": (down_to, up_to), "down": (down_to,) * 2, "nearest": (nearest,) * 2}
    arrival, departure = ends[rounding][0][0], ends[rounding][1][1]
    return arrival, np.maximum(departure, arrival)


def stay_change_step(
    arrival_step: Float, departure_step: Float, rounded_arrival: Float, rounded_departure: Float
) -> tuple[Float, Float]:
    """What rounding does to each stay: steps lost, and steps planned while the vehicle is not there, both 0 or more.

    A stay moved as a whole loses at one end what it gains at the other: both are told.
    """
    lost = np.maximum(rounded_arrival - arrival_step, 0.0) + np.maximum(departure_step - rounded_departure, 0.0)
    gained = np.maximum(arrival_step - rounded_arrival, 0.0) + np.maximum(rounded_departure - departure_step, 0.0)
    whole = departure_step - arrival_step
    return np.minimum(lost, whole), gained


def presence(arrival_step: Float, departure_step: Float) -> tuple[Int, Int, Float]:
    """Pairs of vehicle and step in which it is there for some part of the step, vehicle by vehicle.

    Returns
    -------
    vehicle, step : ndarray of int, shape (pair,)
    share : ndarray, shape (pair,)
        Part of the step, above 0 and up to 1.
    """
    first, last = np.floor(arrival_step + _TOUCH).astype(np.int64), np.ceil(departure_step - _TOUCH).astype(np.int64)
    count = np.maximum(last - first, 0)
    vehicle = np.repeat(np.arange(len(count)), count)
    step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[vehicle]
    share = np.minimum(step + 1.0, departure_step[vehicle]) - np.maximum(step, arrival_step[vehicle])
    there = share > _TOUCH
    return vehicle[there], step[there], np.minimum(share[there], 1.0)
