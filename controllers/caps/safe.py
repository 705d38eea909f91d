"""The safe coordination: the sum of caps stays under the limit, whatever households do inside them.

Every home counts with its cap: a plugged-in one with the room that a programme gives it above the load that no cap
moves, any other with an equal part of what is then left over. A room on which a charger cannot run is of no use to it,
so every slot of a car has a switch. Linear programmes bound each aim; where what they plan cannot be run, switches are
set by rounding, and a mixed-integer programme closes what is still open of service and of the objective.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.core.subproblem import LIMIT_SLACK_KW
from cosim.controllers.caps.fairness import TOUCHES_KW
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.caps.problem import NAMED_KWH, CapsProblem
from cosim.controllers.caps.sharing import SHY, levels
from cosim.controllers.solver import (
    SLACK,
    Clock,
    Limits,
    Rows,
    Solver,
    SolveResult,
    Termination,
    judged,
    relative_gap,
    worst,
)
from cosim.errors import SolverError

SERVICE_NODES = 300  # at least
MISSED_NODES, MISSED_GAP = 5, 0.15  # floors missed are no figure of their own
ROUNDS = 8  # of switching off what cannot run
RUNS_KW = 1e-6  # a room that is smaller than what a charger runs at by less was meant to be that
STEP_KW = 1e-3  # a home that can be raised by that much is not at its level
CURVE, TANGENTS = 0.004, 40  # of the places of tangents to logarithms, i^2 apart


@dataclass(frozen=True, eq=False)
class SlotLimits:
    """Limits of one slot: ``share @ (caps - load that no cap moves) <= left``.

    Attributes
    ----------
    share : ndarray, shape (home, limit)
        How much of a home's cap counts.
    left_kw : ndarray, shape (limit,)
        What homes may add to load that no cap moves [kW].
    """

    share: Float
    left_kw: Float

    def joined(self, other: SlotLimits | None) -> SlotLimits:
        """Return these limits and others of the same slot."""
        if other is None:
            return self
        return SlotLimits(np.hstack([self.share, other.share]), np.concatenate([self.left_kw, other.left_kw]))


@dataclass(frozen=True, eq=False)
class SafeCaps:
    """Caps whose sum respects every limit, as far as they got.

    Attributes
    ----------
    caps_kw : ndarray, shape (slot, home)
        Caps of all homes [kW].
    room_kw, floor_kw : ndarray, shape (slot, car)
        Cap above inflexible load where the car is plugged in, and how much of it was promised; 0 elsewhere [kW].
    ended : Termination
        What is proven of service, or what cut an aim off.
    bound : float or None
        Lower bound of what the objective minimises (minus the smallest room, the loss of logarithms, the cost, minus
        the sum of rooms); None where the programme did not get there.
    room_bound_kw : float
        Largest sum of rooms that other aims leave; inf where it is not known [kW].
    form : str
        ``lp``, or ``urgency``: in order of urgency, without a programme.
    reason : str
        Why there is no answer of a programme; empty where there is, or was no time.
    """

    caps_kw: Float
    room_kw: Float
    floor_kw: Float
    ended: Termination
    bound: float | None
    room_bound_kw: float
    form: str
    reason: str = ""


def sum_of_caps(
    problem: CapsProblem,
    options: CapsOptions,
    limits: Sequence[SlotLimits] | None = None,
) -> SafeCaps:
    """Return caps whose sum respects every limit.

    In turn: most served, its shortfall shared evenly, the objective (floors missed least, the smallest rooms largest,
    the logarithms of mean rooms, or the cost), least withheld, least cost of charging.

    Parameters
    ----------
    problem : CapsProblem
        The data.
    options : CapsOptions
        Objective, floor, levels and limits of the solver. Where its clock leaves no time for service, cars get what
        they draw in order of urgency.
    limits : sequence of SlotLimits, optional
        Of every slot, in place of the problem's own.
    """
    limits = own_limits(problem) if limits is None else limits
    floor = _promised_floors(problem, options, limits)
    reason, room, planned = "", None, None
    if not (clock := Clock(options.time_limit_s)).over:
        planned = _Programme(problem, limits, floor, options, clock)
        try:
            room = planned.solve()
        except SolverError as error:
            reason = str(error)
    if planned is None or room is None:
        caps, room = _all_caps(problem, limits, _urgent_charge(problem, limits))
        ended = Termination.FALLBACK if reason else Termination.TIME_LIMIT
        return SafeCaps(caps, room, np.minimum(floor, room), ended, None, np.inf, "urgency", reason)
    caps, room = _all_caps(problem, limits, room)
    floor = np.minimum(floor, room)
    return SafeCaps(caps, room, floor, worst(planned.ended), planned.bound, planned.room_bound_kw, "lp")


def own_limits(problem: CapsProblem) -> list[SlotLimits]:
    """Return the limits that a problem has of its own, slot by slot."""
    return [SlotLimits(problem.phase_share, left) for left in np.maximum(problem.headroom_kw - LIMIT_SLACK_KW, 0.0)]


def _promised_floors(problem: CapsProblem, options: CapsOptions, limits: Sequence[SlotLimits]) -> Float:
    """Return the floors that fit under the limits together, lowered to one level per slot where they do not."""
    wanted_kw = options.floor_kw if options.objective == "floor_then_least" else 0.0
    floor = np.where(problem.is_plugged, np.minimum(np.minimum(wanted_kw, problem.charger_kw), problem.room_kw), 0.0)
    for k, of in enumerate(limits):
        floor[k] = np.minimum(floor[k], SHY * levels(floor[k], of.share[problem.home], of.left_kw))
    return floor


def _all_caps(problem: CapsProblem, limits: Sequence[SlotLimits], room_kw: Float) -> tuple[Float, Float]:
    """Hand out what is left, first to plugged-in cars, then to homes without one; caps of all homes, and rooms."""
    room, caps = room_kw.copy(), problem.inflexible_kw.copy()
    idle = problem.per_home(problem.plugged) == 0
    for k, of in enumerate(limits):
        own = of.share[problem.home]
        left = np.maximum(of.left_kw - room[k] @ own, 0.0)
        wanted = np.where(problem.is_plugged[k], problem.room_kw[k] - room[k], 0.0)
        more = np.minimum(wanted, levels(wanted, own, left))
        room[k] += more
        left = np.maximum(left - more @ own, 0.0)
        free = np.where(idle[k], np.maximum(problem.connection_kw - problem.inflexible_kw[k], 0.0), 0.0)
        caps[k] += np.minimum(free, levels(free, of.share, left))
    return caps + problem.per_home(room), room


def _urgent_charge(problem: CapsProblem, limits: Sequence[SlotLimits]) -> Float:
    """Fill slots in time, the cars with the least time to spare first; shape (slot, car) [kW]."""
    left_kw = problem.reachable_kwh / (problem.efficiency * problem.slot_h)
    ahead_kw = problem.usable_kw.sum(axis=0)
    charge = np.zeros_like(problem.usable_kw)
    for slot, of in enumerate(limits):
        order = np.argsort(ahead_kw - left_kw, kind="stable")
        asked = np.minimum(problem.usable_kw[slot], left_kw)[order]
        load = of.share[problem.home[order]] * asked[:, None]
        before = np.cumsum(load, axis=0) - load
        with np.errstate(divide="ignore", invalid="ignore"):
            part = np.where(load > 0, np.clip((of.left_kw - before) / load, 0.0, 1.0), 1.0).min(axis=1, initial=1.0)
        charge[slot, order] = part * asked
        left_kw -= charge[slot]
        ahead_kw -= problem.usable_kw[slot]
    return charge


class _Programme:
    """Rooms, draws and switches of all slots in which a car is plugged in, and aims in order of importance.

    Attributes
    ----------
    ended : list of Termination
        Of service, and of aims that were cut off.
    bound, room_bound_kw
        See `SafeCaps`.
    """

    def __init__(
        self,
        problem: CapsProblem,
        limits: Sequence[SlotLimits],
        floor_kw: Float,
        options: CapsOptions,
        clock: Clock,
    ) -> None:
        self.problem, self.options, self.clock = problem, options, clock
        self.ended: list[Termination] = []
        self.bound: float | None = None
        self.room_bound_kw = np.inf
        slot, car = self.slot, self.car = np.nonzero(problem.is_plugged & (problem.room_kw > 0))
        count, pair, every = len(slot), np.arange(len(slot)), np.arange(problem.cars)
        self.room, self.draw, self.on, self.missed = (pair + block * count for block in range(4))
        self.unserved = 4 * count + every
        self.share_unserved, self.smallest = 4 * count + problem.cars, 4 * count + problem.cars + 1
        self.of_home = self.smallest + 1 + np.arange(problem.homes)
        self.columns = int(self.smallest) + 1 + problem.homes
        usable, self.least = problem.usable_kw[slot, car], problem.charger_min_kw[car]
        need = problem.reachable_kwh / (problem.efficiency * problem.slot_h)
        self.home, self.floor, rows = problem.home[car], floor_kw[slot, car], Rows()
        rows.add(count, -np.inf, 0.0, (pair, self.draw, 1.0), (pair, self.room, -problem.used_part[slot, car]))
        rows.add(count, -np.inf, 0.0, (pair, self.draw, 1.0), (pair, self.on, -usable))
        rows.add(count, -np.inf, 0.0, (pair, self.on, self.least), (pair, self.room, -1.0))
        rows.add(problem.cars, need, np.inf, (car, self.draw, 1.0), (every, self.unserved, 1.0))
        rows.add(problem.cars, -np.inf, problem.most_kw, (car, self.draw, 1.0))
        shared = np.full(problem.cars, self.share_unserved)
        rows.add(problem.cars, -np.inf, 0.0, (every, self.unserved, 1.0), (every, shared, -need))
        rows.add(count, self.floor, np.inf, (pair, self.room, 1.0), (pair, self.missed, 1.0))
        for k, of in enumerate(limits):
            at = np.flatnonzero(slot == k)
            tight = problem.room_kw[k, car[at]] @ of.share[self.home[at]] > of.left_kw
            use = of.share[self.home[at]][:, tight]
            which, limit = np.nonzero(use)
            rows.add(use.shape[1], -np.inf, of.left_kw[tight], (limit, self.room[at[which]], use[which, limit]))
            # implied, but not for parts of switches: how many chargers can run at once
            least = use * self.least[at, None]
            in_turn = np.cumsum(np.sort(np.where(least > 0.0, least, np.inf), axis=0), axis=0)
            most_at_once = (in_turn <= of.left_kw[tight] + LIMIT_SLACK_KW).sum(axis=0)
            which, limit = np.nonzero(least)
            rows.add(use.shape[1], -np.inf, most_at_once, (limit, self.on[at[which]], 1.0))
        is_max_min, is_fair = options.objective == "max_min", options.objective == "proportional"
        if is_max_min:
            lowest = np.full(count, self.smallest)
            above = (pair, lowest, -1.0), (pair, self.of_home[self.home], -1.0)
            self.levels = rows.add(count, 0.0, np.inf, (pair, self.room, 1.0), *above)
        if is_fair:
            self._add_losses(rows)
        most = float(problem.room_kw.max(initial=0.0)) if is_max_min else 0.0
        self.on_low = (self.least == 0.0).astype(float)
        self.on_high = np.maximum(usable > 0.0, self.on_low)
        zeros, of_home = np.zeros(count), np.full(problem.homes, np.inf if is_fair else 0.0)
        low = np.concatenate([zeros, zeros, self.on_low, zeros, np.zeros(self.columns - 4 * count)])
        high = np.concatenate(
            [problem.room_kw[slot, car], usable, self.on_high, self.floor, need, [1.0, most], of_home]
        )
        self.model = rows.model(np.zeros(self.columns), low, high)
        self.linear = Solver(self.model)
        self.kept: list[tuple[Float, float, float]] = []
        self.x: Float | None = None

    def _add_losses(self, rows: Rows) -> None:
        """Bound each home's loss of the logarithm of its mean room, against that without caps, by tangents from below.

        Between tangents at ``t`` and ``t + d`` of log-room they miss ``d^2 / 8``.
        """
        slots = self.problem.per_home(self.problem.is_plugged.astype(float)).sum(axis=0)
        for home in np.unique(self.home):
            mine = np.flatnonzero(self.home == home)
            full = float(self.problem.room_kw[self.slot[mine], self.car[mine]].sum() / slots[home])
            place = full * np.exp(-CURVE * np.arange(TANGENTS) ** 2)
            place = place[place >= TOUCHES_KW]
            tangent, of = np.divmod(np.arange(len(place) * len(mine)), len(mine))
            rows.add(
                len(place), place * (np.log(full / place) + 1.0), np.inf,
                (np.arange(len(place)), np.full(len(place), self.of_home[home]), place),
                (tangent, self.room[mine[of]], 1.0 / slots[home]),
            )  # fmt: skip

    def solve(self) -> Float | None:
        """Return rooms, shape (slot, car) [kW]; None where there was no time for service.

        Raises
        ------
        SolverError
            Where a linear programme says nothing.
        """
        problem, objective = self.problem, self.options.objective
        cost = self._aim(self.draw, problem.slot_h * problem.tariff_of_car[self.slot, self.car])
        wished = {
            "min_cost": cost,
            "proportional": self._aim(self.of_home, 1.0),
            "max_min": self._aim(np.array([self.smallest]), -1.0),
        }.get(objective)
        own = self.options.gap, self.options.node_limit
        nodes = max(self.options.node_limit, SERVICE_NODES) if self.options.node_limit else 0
        service = self._aim(self.unserved, problem.efficiency * problem.slot_h)
        bound = self._reach(service, 0.0, nodes, NAMED_KWH / 2, self.options.gap)
        if bound is None:
            return None
        if self.kept[0][1] > NAMED_KWH:  # the worst served car may cost others what the gap allows
            self._reach(self._aim(np.array([self.share_unserved]), 1.0), *own)
        if wished is not None:
            self.bound = self._reach(wished, *own)
        if objective == "max_min" and self.bound is not None and self.options.levels > 1:
            self._raise_next_levels()
        if self.floor.any():
            self._reach(self._aim(self.missed, 1.0), MISSED_GAP, min(MISSED_NODES, self.options.node_limit))
        if (rooms := self._reach(self._aim(self.room, -1.0), *(own if wished is None else ()))) is not None:
            self.room_bound_kw = -rooms
            self.bound = rooms if wished is None else self.bound
        self._reach(cost)
        assert self.x is not None  # noqa: S101 - service was reached
        self.ended.append(judged(float(service @ self.x), bound, self.options.gap, Termination.NODE_LIMIT, NAMED_KWH))
        room = np.zeros_like(problem.room_kw)
        room[self.slot, self.car] = np.clip(self.x[self.room], 0.0, problem.room_kw[self.slot, self.car])
        runs = np.zeros_like(room)
        runs[self.slot, self.car] = np.where(self.x[self.draw] > RUNS_KW, self.least, 0.0)
        return np.maximum(room, runs)

    def _aim(self, columns: Int, values: Float | float) -> Float:
        aim = np.zeros(self.columns)
        aim[columns] = values
        return aim

    def _reach(
        self, aim: Float, gap: float = 0.0, nodes: int = 0, rounding: float = SLACK, given: float = SLACK
    ) -> float | None:
        """Minimise one aim among plans that keep those before; its lower bound, None where it was not reached.

        Switches are set by a mixed-integer programme of so many nodes where rounding leaves more than a gap. Later aims
        may take a share of it, ``given``.
        """
        found = self._linear(aim)
        best, bound = found, found.value
        if found.is_proven and not self._can_run(found.x).all():
            tried = [self._rounded(aim, self.on_high)]
            if self.x is not None:
                tried.append(self._linear(aim, self._switches(self.x)))
            best = min(tried, key=lambda one: one.value if one.is_proven else np.inf)
            if nodes and relative_gap(best.value, bound, rounding) > gap:
                best, bound = self._mixed(aim, best, bound, Limits(gap, nodes, self.clock.left_s / 2))
        if not best.is_proven:
            is_late = best.termination is Termination.TIME_LIMIT
            self.ended.append(Termination.TIME_LIMIT if is_late else Termination.FEASIBLE)
            return None
        self.x = best.x
        most = best.value + SLACK + given * abs(best.value)
        self.kept.append((aim, best.value, most))
        self.linear.add_rows(aim[None, :], -np.inf, most)
        return min(bound, best.value)

    def _linear(self, aim: Float, switches: tuple[Float, Float] | None = None) -> SolveResult:
        self.linear.set_columns(self.on, *((self.on_low, self.on_high) if switches is None else switches))
        self.linear.set_cost(aim)
        return self.linear.solve(Limits(time_s=self.clock.left_s))

    def _can_run(self, x: Float) -> Bool:
        """Whether nothing is drawn, or the room is enough for the charger to run."""
        return np.asarray((x[self.draw] <= RUNS_KW) | (x[self.room] >= self.least - RUNS_KW))

    def _switches(self, x: Float) -> tuple[Float, Float]:
        on = np.where(x[self.draw] > RUNS_KW, 1.0, self.on_low)
        return on, on

    def _rounded(self, aim: Float, high: Float) -> SolveResult:
        """Switch off what has too little room to run, keep what has enough, and solve again, until all can run."""
        low, high = self.on_low.copy(), high.copy()
        for number in range(ROUNDS):
            found = self._linear(aim, (low, low if number == ROUNDS - 1 else high))
            if not found.is_proven or (can := self._can_run(found.x)).all():
                break
            high[~can] = 0.0
            low[can & (found.x[self.draw] > RUNS_KW)] = 1.0
        return found

    def _mixed(self, aim: Float, best: SolveResult, bound: float, limits: Limits) -> tuple[SolveResult, float]:
        """Set switches by a mixed-integer programme; its bound, and rooms for the switches that it found."""
        whole = np.zeros(self.columns, bool)
        whole[self.on] = self.on_low < self.on_high
        # presolve has lost optima of small programmes
        mixed = Solver(replace(self.model, cost=aim, whole=whole), presolve="off")
        for kept, _, most in self.kept:
            mixed.add_rows(kept[None, :], -np.inf, most)
        start = None
        if best.is_proven:
            start = best.x.copy()
            start[self.on] = self._switches(best.x)[0]
        found = mixed.solve(limits, start=start)
        if found.has_point and found.value < best.value:
            again = self._linear(aim, self._switches(found.x))
            best = again if again.is_proven else best
        return best, max(bound, min(found.bound, best.value))

    def _raise_next_levels(self) -> None:
        """Raise the homes that can be raised above the smallest room, level by level; chargers run where they do.

        Rooms are convex then: homes that cannot be raised above a level are the same however the others are.
        """
        assert self.x is not None  # noqa: S101 - the smallest room was found
        switches, homes = self._switches(self.x), np.unique(self.home)
        level, smallest = max(-self.kept[-1][1] - RUNS_KW, 0.0), np.array([self.smallest])
        free = np.isin(np.arange(self.problem.homes), homes)
        top = float(self.model.high[self.smallest])  # type: ignore[index]
        for _ in range(self.options.levels - 1):
            self.linear.set_columns(smallest, np.array([level]), np.array([level]))
            self.linear.set_columns(self.of_home, np.zeros(len(free)), np.where(free, STEP_KW, 0.0))
            stuck = free.copy()
            while stuck.any():
                found = self._linear(self._aim(self.of_home[stuck], -1.0), switches)
                raised = stuck & (found.x[self.of_home] > STEP_KW / 10) if found.is_proven else np.zeros_like(stuck)
                stuck &= ~raised
                if not raised.any():
                    break
            free &= ~stuck
            self.linear.set_columns(self.of_home, np.zeros(len(free)), np.zeros(len(free)))
            # who stays keeps the level; only the others are above the smallest room from now on
            stays = np.flatnonzero(stuck[self.home])
            self.linear.set_columns(self.room[stays], np.full(len(stays), level), self.model.high[self.room[stays]])  # type: ignore[index]
            self.linear.set_rows(self.levels[stays], np.full(len(stays), -np.inf), np.full(len(stays), np.inf))
            self.linear.set_columns(smallest, np.array([level]), np.array([top]))
            if not free.any():
                break
            found = self._linear(self._aim(smallest, -1.0), switches)
            if not found.is_proven:
                self.ended.append(Termination.TIME_LIMIT if self.clock.over else Termination.FEASIBLE)
                break
            self.x, level = found.x, max(-found.value - RUNS_KW, level)
        self.linear.set_columns(smallest, np.array([level]), np.array([top]))
        self.on_low, self.on_high = switches
