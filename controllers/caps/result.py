"""What comes back from a solve: the caps, what is expected of households, and how good it is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float
from cosim.contract.survey import FrozenArrays
from cosim.controllers.caps.core.subproblem import SMALLEST_KW
from cosim.controllers.caps.follower import best_response
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.solver import Termination, judged, relative_gap, worst


@dataclass(frozen=True)
class Relaxation:
    """Something asked for that could not be kept, and by how much it was relaxed.

    Attributes
    ----------
    kind : str
        ``floor`` (a floor was lowered), ``need`` (energy that cannot be served), ``limit`` (inflexible load alone is
        above it, or no caps serve every need under it).
    where : str
        Phase, slots or homes.
    amount : float
        Size of the relaxation.
    unit : str
        Its unit.
    """

    kind: str
    where: str
    amount: float
    unit: str

    def __str__(self) -> str:
        return f"{self.kind} relaxed by {self.amount:.3g} {self.unit}: {self.where}"


@dataclass(frozen=True, eq=False)
class CapsResult(FrozenArrays):
    """Caps of a day and their proof.

    Attributes
    ----------
    caps_kw : ndarray, shape (slot, home)
        Largest net import [kW].
    charge_kw : ndarray, shape (slot, car)
        What cars are expected to draw: their best response, with optimistic ties the plan [kW].
    planned_kw : ndarray, shape (slot, car)
        What they were planned to draw [kW].
    floor_kw : ndarray, shape (slot, car)
        Room above inflexible load that was promised to each car [kW].
    objective_name, coordination, form : str
        What was solved and how.
    status : Termination
        The least proven of all pieces; ``fallback`` where another coordination stands in, unless time was up.
    objective, bound, gap : float
        Usable energy withheld and its proven lower bound [kWh]; with ``max_min`` the smallest room and its proven upper
        bound [kW]; with ``min_cost`` the cost of charging and its lower bound [EUR]; with ``proportional`` the sum over
        homes of the logarithm of the mean power that they may use in kW, and its upper bound. With ``sum_of_caps``
        rooms count, connection - cap, instead of what is usable. The gap is relative to the larger of the two, with
        ``proportional`` to what is lost against no caps: never to a figure that idle slots dilute.
    withheld_kwh : float
        Sum over plugged-in slots of connection - cap [kWh].
    withheld_bound_kwh : float
        Lower bound of the usable energy withheld (and so of ``withheld_kwh``) *at the floors used*; where the objective
        is another, at what it reached; 0, which is always true, where ``proportional`` knows none [kWh].
    unserved_kwh : ndarray, shape (car,)
        Need that these caps leave unserved though the stay could hold it, in the battery [kWh].
    unservable_kwh : ndarray, shape (car,)
        Need that the stay itself cannot hold, in the battery [kWh].
    relaxations : tuple of Relaxation
        What could not be kept.
    fallback : str
        Empty, or why another coordination had to stand in.
    max_response_error_kw : float
        Largest difference between the planned charge and the independently computed best response; where households
        choose among equals as suits the limits, between the planned charge and the nearest cheapest one [kW].
    over_limit_kw : float
        Largest excess of the anticipated load over a limit that inflexible load alone does not break; where limits
        hold at the beginning of a slot too, of the load then [kW].
    wall_s : float
        Wall clock [s].
    ties : str
        Which of its cheapest ways to charge a household was taken to choose.
    worst_kw : ndarray, shape (slot, car), or None
        With ``pessimistic`` ties: what each slot on its own must reckon with [kW].
    """

    caps_kw: Float
    charge_kw: Float
    planned_kw: Float
    floor_kw: Float
    objective_name: str
    coordination: str
    form: str
    status: Termination
    objective: float
    bound: float
    gap: float
    withheld_kwh: float
    withheld_bound_kwh: float
    unserved_kwh: Float
    unservable_kwh: Float
    relaxations: tuple[Relaxation, ...]
    fallback: str
    max_response_error_kw: float
    over_limit_kw: float
    wall_s: float
    ties: str = "unique"
    worst_kw: Float | None = None

    @property
    def reproducible(self) -> bool:
        """Whether the same data give the same caps on any machine: no wall-clock limit struck."""
        return self.status is not Termination.TIME_LIMIT and "time_limit" not in self.fallback


def lowered(problem: CapsProblem, options: CapsOptions, result: CapsResult, caps_kw: Float) -> CapsResult:
    """Return a result with lower caps, shape (slot, home): worth what is left of it, by the bound that it had.

    A bound on what is withheld stands, since limits that lower caps can only withhold more. Of other aims nothing is
    known any more.
    """
    if (caps_kw >= result.caps_kw - SMALLEST_KW).all():
        return replace(result, caps_kw=np.minimum(caps_kw, problem.connection_kw))
    withheld, charge = problem.withheld_kwh(caps_kw), best_response(problem, caps_kw)
    of_withheld = result.objective_name in ("floor_then_least", "least_restriction")
    bound_kwh = min(result.withheld_bound_kwh, withheld)  # caps are sent in whole tens of watts
    value, bound = (withheld, bound_kwh) if of_withheld else (result.objective, result.bound)
    gap = relative_gap(value, bound, 1e-6) if of_withheld else float("inf")
    ended = judged(value, bound, options.gap, rounding=1e-6) if of_withheld else Termination.FEASIBLE
    return replace(
        result, caps_kw=caps_kw, charge_kw=charge, status=worst((result.status, ended)), objective=value, bound=bound,
        gap=gap, withheld_kwh=withheld, unserved_kwh=problem.unserved_kwh(charge),
    )  # fmt: skip


def load_kw(problem: CapsProblem, charge_kw: Float) -> Float:
    """Return the anticipated load of each phase, shape (slot, phase) [kW]."""
    return problem.base_kw + charge_kw @ problem.car_share


def at_once_kw(problem: CapsProblem, caps_kw: Float, charge_kw: Float) -> Float:
    """Return what each car draws at the beginning of a slot under its cap, if it draws in it at all.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    caps_kw : ndarray, shape (slot, home)
        Caps [kW].
    charge_kw : ndarray, shape (slot, car)
        What cars draw, mean over the slot [kW].
    """
    room = problem.room_under_kw(caps_kw)[:, problem.home]
    return np.where(charge_kw > SMALLEST_KW, np.minimum(problem.charger_kw, room), 0.0)


def over_limit_kw(problem: CapsProblem, charge_kw: Float) -> float:
    """Return by how much cars drive a phase over what is left to them, at most over all slots [kW]."""
    excess = charge_kw @ problem.car_share - problem.headroom_kw
    return float(np.max(excess, initial=0.0))


def spans(slots: Iterable[int], most: int | None = None) -> str:
    """Write slots (or homes) briefly: 3-5, 9; of more than ``most`` spans the first, and how many are left out."""
    pieces: list[list[int]] = []
    for slot in sorted(slots):
        if pieces and slot == pieces[-1][-1] + 1:
            pieces[-1].append(slot)
        else:
            pieces.append([slot])
    shown = pieces if most is None else pieces[:most]
    left = sum(len(piece) for piece in pieces[len(shown) :])
    written = ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in shown)
    return f"{written} and {left} more" if left else written
