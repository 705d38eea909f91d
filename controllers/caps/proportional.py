"""Proportional fairness: the sum over homes of the logarithm of their mean room while plugged in, as large as possible.

What is minimised is the *loss* against no caps, ``Σ log(R / max(h, 0.1 kW))``, with h the mean room that a home's caps
leave over its plugged-in slots and R the same without caps. It is zero where nothing is withheld, so a gap relative
to it is not diluted. In h the loss is convex down to the floor, and its tangents bound it from below: the programme's
bound is valid whatever their number. They lie at ``R exp(-CURVE i^2)``, where they miss at most ``CURVE / 2`` = 0.2 %
of a home's loss (between tangents at ``t`` and ``t + d`` of log-room they miss ``d^2 / 8``); at the rooms of a plan
further ones are added until the gap asked for is reached. Down to the tangent that meets the floor's level at h = 0
(0.27 kW) this holds; below it the tangents miss up to 0.37 per home.

Where one programme for the whole piece is too large, decomposition withholds least with every home's withheld energy
counted as a share x of its room: ``-Σ log(1 - x) >= -n log(1 - Σ x / n)`` (Jensen) turns its bound on ``Σ x`` into one
on the loss, and the plan is fair up to the spread of the shares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pyomo.environ as pyo

from cosim.contract import Float, Int
from cosim.controllers.caps.decomposition.bound import relax
from cosim.controllers.caps.decomposition.pricing import supports
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.caps.part import Part, Plan
from cosim.controllers.caps.problem import CapsProblem
from cosim.controllers.caps.programme import Aim, Outcome, whole
from cosim.controllers.solver import OPTIMAL_GAP, Clock, Termination, judged, relative_gap

LEAST_MEAN_KW = 0.1  # a mean room below counts as this
TOUCHES_KW = float(np.e) * LEAST_MEAN_KW  # below, tangents would be above the loss at the floor
CURVE = 0.004  # of the places of tangents, i^2 apart
ROUNDS = 8  # of further tangents
BOUND_S = 5.0  # for the bound on what is withheld, which this objective does not need


def log_room(problem: CapsProblem, caps_kw: Float) -> float:
    """Return the sum over homes of the logarithm of their mean room while plugged in, at least 0.1 kW each.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    caps_kw : ndarray, shape (slot, home)
        Caps on net import [kW].
    """
    there = problem.per_home(problem.is_plugged.astype(float)) > 0
    room = np.where(there, np.maximum(np.minimum(caps_kw, problem.connection_kw) - problem.inflexible_kw, 0.0), 0.0)
    slots = there.sum(axis=0)
    mean = room.sum(axis=0)[slots > 0] / slots[slots > 0]
    return float(np.log(np.maximum(mean, LEAST_MEAN_KW)).sum())


class Homes:
    """Rooms of the homes of a piece.

    Parameters
    ----------
    part : Part
        The piece.

    Attributes
    ----------
    name, of_car : ndarray of int, shape (home,), (car,)
        Homes of the piece, and where among them each car belongs.
    room_kw, slots : ndarray, shape (home,)
        Room summed over plugged-in slots without caps in this piece [kW], and their number.
    """

    def __init__(self, part: Part) -> None:
        self.name: Int
        self.of_car: Int
        self.name, first, self.of_car = np.unique(part.home, return_index=True, return_inverse=True)
        self.slots = part.home_slots[first]
        self.room_kw = part.elsewhere_kw[first].copy()
        np.add.at(self.room_kw, self.of_car, (part.room_kw * part.plugged).sum(axis=0))

    @property
    def full_kw(self) -> Float:
        """Mean room without caps, shape (home,) [kW]."""
        return self.room_kw / np.maximum(self.slots, 1.0)

    def mean_kw(self, part: Part, plan: Plan) -> Float:
        """Mean room that a plan's caps leave, shape (home,) [kW]."""
        withheld = np.zeros(len(self.name))
        np.add.at(withheld, self.of_car, ((part.room_kw - plan.room_kw) * part.plugged).sum(axis=0))
        return (self.room_kw - withheld) / np.maximum(self.slots, 1.0)

    def loss(self, mean_kw: Float) -> float:
        """Logarithm lost against no caps."""
        full, left = (np.maximum(kw, LEAST_MEAN_KW) for kw in (self.full_kw, mean_kw))
        return float(np.log(full / left).sum())


class LeastLoss(Aim):
    """The loss, by tangents.

    Parameters
    ----------
    part : Part
        The piece.
    """

    def __init__(self, part: Part) -> None:
        self.homes = Homes(part)
        self.touch_kw = [places(float(full)) for full in self.homes.full_kw]

    def look_at(self, part: Part, plan: Plan) -> None:
        """Touch the loss at the mean rooms of what the solver found too."""
        for touched, mean in zip(self.touch_kw, self.homes.mean_kw(part, plan), strict=True):
            if mean >= TOUCHES_KW and min((abs(mean / place - 1.0) for place in touched), default=1.0) > 1e-6:
                touched.append(float(mean))

    def shape(self, m: pyo.ConcreteModel, part: Part) -> None:  # noqa: ARG002 - the homes are known
        """Replace the objective."""
        homes = self.homes
        withheld: dict[int, list[pyo.Expression]] = {}
        for c, k in m.pairs:
            withheld.setdefault(int(homes.of_car[c]), []).append(m.withheld_kw[c, k])
        m.loss = pyo.Var(list(withheld), within=pyo.NonNegativeReals)
        m.tangents = pyo.ConstraintList()
        for home, terms in withheld.items():
            full, lost = float(homes.full_kw[home]), sum(terms) / float(homes.slots[home])
            for place in self.touch_kw[home]:
                # loss >= log(full / place) + 1 - mean / place, times place: the loss is convex, so tangents lie below
                # it and a bound of theirs is one of the loss; the factor keeps coefficients near 1
                m.tangents.add(place * m.loss[home] >= place * (np.log(full / place) + 1.0) - full + lost)
        m.withheld_kwh.deactivate()
        m.least_loss = pyo.Objective(expr=sum(m.loss.values()))

    def value(self, part: Part, plan: Plan) -> float:
        """Return the loss itself, not what tangents see of it."""
        return self.homes.loss(self.homes.mean_kw(part, plan))

    def write_start(self, m: pyo.ConcreteModel, part: Part, plan: Plan) -> None:
        """Set losses."""
        homes, mean = self.homes, self.homes.mean_kw(part, plan)
        for home in m.loss:
            full = float(homes.full_kw[home])
            seen = [np.log(full / place) + 1.0 - mean[home] / place for place in self.touch_kw[home]]
            m.loss[home].value = max(0.0, *seen) if seen else 0.0


def most_even(
    part: Part,
    options: CapsOptions,
    rng: np.random.Generator,
    form: str,
    least_withheld: Callable[[Part, CapsOptions, np.random.Generator], Outcome],
) -> Outcome:
    """Return caps of a piece with the least loss; objective and bound are sums of logarithms over its homes."""
    aim = LeastLoss(part)
    if form == "decomposition":
        return _by_shares(part, aim, options, rng, least_withheld)
    clock = Clock(options.time_limit_s)
    found = whole(part, options, options.stop, rng, form, aim)
    origin = found.plan_from
    for _ in range(ROUNDS):
        if found.plan is None or clock.over or found.status in (Termination.TIME_LIMIT, Termination.NODE_LIMIT):
            break
        if relative_gap(found.objective, found.bound) <= max(options.gap, OPTIMAL_GAP):
            break
        stop = replace(options.stop, time_s=clock.left_s)
        found = whole(part, options, stop, rng, form, aim, known=found.plan)
        origin = origin if found.plan_from == "start" else found.plan_from
    found = replace(found, plan_from=origin)
    if found.is_proven:  # of the tangents, but perhaps not of the loss
        found = replace(found, status=judged(found.objective, found.bound, options.gap, Termination.NODE_LIMIT))
    if found.plan is not None:
        least_kwh = _least_withheld_kwh(part, options, rng, clock.left_s)
        found = replace(found, withheld_bound_kwh=min(least_kwh, found.plan.withheld_kwh(part)))
    return _in_logarithms(aim.homes, found)


def _least_withheld_kwh(part: Part, options: CapsOptions, rng: np.random.Generator, left_s: float) -> float:
    """Return what any caps must withhold, by column generation where it knows the piece, else 0 [kWh].

    Caps that keep limits at the beginning of slots, or for the worst split at a price, keep them for the means too.
    """
    of_means = replace(part, counts_peaks=False, peak_kw=part.usable_kw)
    if options.ties == "optimistic" or not (part.plain and supports(of_means)):
        return 0.0
    return max(relax(of_means, options.gap, Clock(min(left_s, BOUND_S)), rng).bound_kwh, 0.0)


def _by_shares(
    part: Part,
    aim: LeastLoss,
    options: CapsOptions,
    rng: np.random.Generator,
    least_withheld: Callable[[Part, CapsOptions, np.random.Generator], Outcome],
) -> Outcome:
    homes = aim.homes
    # a kW withheld counts as a share of the home's room: the slope of the logarithm where nothing is withheld
    weight = 1.0 / homes.room_kw[homes.of_car]
    factor = weight / weight.mean()
    found = least_withheld(part.scaled(factor), options, rng)
    if found.plan is None:
        return replace(found, part=part)
    plan = Plan(found.plan.room_kw / factor, found.plan.charge_kw / factor)
    count = len(homes.name)
    shares = found.withheld_bound_kwh / part.slot_h * float(weight.mean())  # their least sum
    # Jensen: -Σ log(1 - s_i) >= -n log(1 - Σ s_i / n), so the least sum of shares bounds the loss
    loss, bound = aim.value(part, plan), -count * float(np.log1p(-min(shares / count, 1.0 - 1e-9)))
    # where the shares are known, what their spread costs is not
    status = judged(loss, bound, options.gap, Termination.NODE_LIMIT if found.is_proven else found.status)
    least_kwh = found.withheld_bound_kwh / float(factor.max())
    return _in_logarithms(
        homes,
        replace(found, plan=plan, part=part, status=status, objective=loss, bound=bound, withheld_bound_kwh=least_kwh),
    )


def _in_logarithms(homes: Homes, found: Outcome) -> Outcome:
    full = float(np.log(np.maximum(homes.full_kw, LEAST_MEAN_KW)).sum())
    return replace(found, objective=full - found.objective, bound=full - min(found.bound, found.objective))


def places(full_kw: float) -> list[float]:
    """Mean rooms at which the loss is touched, from that without caps down to the lowest that bounds it [kW]."""
    touched: list[float] = []
    while full_kw > 0.0 and (place := full_kw * float(np.exp(-CURVE * len(touched) ** 2))) >= TOUCHES_KW:
        touched.append(place)
    return touched
