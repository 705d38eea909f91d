"""The aims of a planner one after the other, each with an honest ending.

The mixed-integer programme is solved in three attempts, each only where the one before left too wide a gap: the linear
relaxation bounds the answer; the switches that the relaxation leaves open are decided with all others held (relaxation
enforced neighbourhood, after T. Berthold, "RENS: the optimal rounding", Math. Prog. Comp. 6 (2014) 33-54,
doi:10.1007/s12532-013-0060-9); the whole programme is solved from there. For charging, the relaxation is so tight that
the second attempt is nearly always enough.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.planner.first import bound_alone, first_point
from cosim.controllers.planner.model import PlanModel
from cosim.controllers.solver import (
    UNLIMITED,
    WIDER,
    Clock,
    Limits,
    Solver,
    SolveResult,
    Termination,
    judged,
    relative_gap,
)
from cosim.errors import SolverError

NEGLIGIBLE = 1e-6  # an absolute difference, in kWh, EUR or shares, up to here is none
SHIFTED_KWH = 1e-4  # what a vehicle may lose to others for fewer starts; less, and tolerances decide what is feasible
PIECE, NODES_OF_PIECE = 100, 1000
INTERIOR = {"solver": "ipx", "ipm_optimality_tolerance": 1e-6, "start_crossover_tolerance": 1e-2}
"""Crossover begins as soon as the interior point is this near: its last digits take as long as all others."""
FEW_NODES = 100  # of a preference: what it finds until then must not depend on a clock
PRIMAL = 4  # HiGHS option: primal simplex
MANY = 10_000  # columns, of some 800 vehicles


@dataclass(frozen=True, eq=False)
class Preference:
    """What is minimised among plans that are as good.

    Attributes
    ----------
    aim : str
        Name.
    cost : ndarray, shape (column,)
        Coefficients.
    gap : float
        At which the MILP may stop.
    in_pieces : bool
        Whether the MILP is solved for ``PIECE`` vehicles at a time, by arrival, with all others held: it is hard to
        prove, and easy to make better. Otherwise it is not worth a tree of its own.
    slack : float
        What the preferences after it may give up.
    bound : float
        What is known before that none of these plans is below.
    """

    aim: str
    cost: Float
    gap: float
    in_pieces: bool = False
    slack: float = NEGLIGIBLE
    bound: float = -np.inf


class AimSolver:
    """A planner's model, ready for aims.

    Parameters
    ----------
    model : PlanModel
        Rows and limits, gap and time limit; the time runs from here.

    Attributes
    ----------
    point : ndarray, shape (column,)
        Of the last aim.
    row_dual : ndarray, shape (row,)
        Multipliers of the linear programme of the last aim; empty where it had no optimum.
    """

    def __init__(self, model: PlanModel) -> None:
        self._model, self._gap, self._clock = model, model.options.gap, Clock(model.options.time_limit_s)
        # presolve takes ten times as long as what it saves
        self._relaxed = Solver(model.relaxed, presolve="off")
        self._mixed = None if model.mixed is None else Solver(model.mixed)
        self._solvers = [self._relaxed] if self._mixed is None else [self._relaxed, self._mixed]
        self._kept: list[tuple[Callable[[float], None], float]] = []
        self._preference: Preference | None = None
        self._begin_s = 0.0
        self.point: Float = np.empty(0)
        self.row_dual: Float = np.empty(0)

    def begin(self, cost: Float) -> None:
        """Solve the linear programme for a sum of all aims, which leaves a basis from which each is a few steps away.

        One aim alone has so many optima that the simplex method gets lost among them. How the aims are weighed decides
        nothing but the time, for each is solved by itself afterwards.

        The simplex method takes steps in proportion to the vehicles, and each takes as long as there are vehicles: the
        time grows with their square. The interior-point method needs 20 to 40 steps whatever their number, and its
        crossover ends in the same kind of basis.
        """
        if self._relaxed.columns > MANY:
            self._relaxed.set_options(**INTERIOR)
        found = self._solve(self._relaxed, cost, 0.0)
        self._relaxed.set_options(solver="choose")
        self._begin_s = found.wall_s
        if self._mixed is None and found.has_point:
            self.point = found.x
        self._relaxed.set_options(simplex_strategy=PRIMAL)  # the last optimum stays feasible for another objective

    def minimise(self, aim: str, cost: Float, *, gap: float | None = None) -> SolveResult:
        """Minimise ``cost @ columns``; the point found is kept as the start of the next aim.

        Where the time is over, or HiGHS fails, the point of the aims before is kept, or one that is made without a
        solver: it is a plan, though for this aim nothing is proven but a bound from everybody alone.

        Raises
        ------
        SolverError
            Where there is no plan, for HiGHS fails.
        """
        began_s, gap = self._clock.passed_s - self._begin_s, self._gap if gap is None else gap
        self._begin_s = 0.0  # counts with the first aim
        found = self._minimise(cost, gap)
        if found.termination is Termination.INFEASIBLE and self._kept:
            self._widen()
            found = self._minimise(cost, gap)
        if not found.has_point and found.termination is Termination.TIME_LIMIT:
            self.point = first_point(self._model)
            found = self._known(cost, found.bound)
        if found.termination is Termination.TIME_LIMIT:
            found = replace(found, bound=max(found.bound, bound_alone(self._model, cost)))
        if not found.has_point:
            raise SolverError(f"HiGHS finds no plan for {aim}, although charging nothing is one: {found.termination}")
        self.point = found.x
        ended = judged(found.value, found.bound, gap, found.termination, NEGLIGIBLE)
        if ended in (Termination.INFEASIBLE, Termination.ERROR):
            ended = Termination.FEASIBLE
        return replace(found, termination=ended, rounding=NEGLIGIBLE, wall_s=self._clock.passed_s - began_s)

    def settle(self, wanted: Sequence[Preference], last_aim: Float, value: float) -> dict[str, SolveResult]:
        """Choose among the plans that reach what the last aim reached, by one preference after the other.

        Where starts are among them, no vehicle gets less than it did. Nothing is held afterwards. How each ended, by
        its name.
        """
        endings = {}
        if self._mixed is None:
            before, every = self._relaxed.limits(), (np.arange(self._relaxed.columns), np.arange(self._relaxed.rows))
            for one in wanted:
                self._relaxed.hold_optima()
                endings[one.aim] = self.minimise(one.aim, one.cost)
            self._relaxed.set_columns(every[0], *before[:2])
            self._relaxed.set_rows(every[1], *before[2:])
            return endings
        first, held = [(one.rows, *one.limits()[:2]) for one in self._solvers], len(self._kept)
        self.keep(last_aim, value, NEGLIGIBLE)
        missing = self._model.shortfall
        if any(one.in_pieces for one in wanted):
            self.limit(missing, self.point[missing], SHIFTED_KWH)
        for one in wanted:
            self._preference = one
            found = self.minimise(one.aim, one.cost, gap=one.gap)
            if found.termination is Termination.TIME_LIMIT and not (self._clock.over or one.in_pieces):
                found = replace(found, termination=Termination.FEASIBLE)
            endings[one.aim] = found
            self.keep(one.cost, found.value, one.slack)
        self._preference = None
        del self._kept[held:]
        for solver, (rows, low, high) in zip(self._solvers, first, strict=True):
            solver.delete_rows(np.arange(rows, solver.rows))
            solver.set_columns(np.arange(solver.columns), low, high)
        return endings

    def keep(self, cost: Float, value: float, slack: float) -> None:
        """Hold ``cost @ columns`` at most at this value, and a little more, from now on."""
        rows = [(one, one.add_rows(cost[None, : one.columns], -np.inf, value + slack)) for one in self._solvers]

        def hold(slack: float) -> None:
            for solver, row in rows:
                solver.set_rows(row, np.array([-np.inf]), np.array([value + slack]))

        self._kept.append((hold, slack))

    def limit(self, columns: Int, high: Float, slack: float) -> None:
        """Lower the upper limits of some columns, to a little above what is given."""

        def hold(slack: float) -> None:
            for solver in self._solvers:
                solver.set_columns(columns, np.zeros(len(columns)), high + slack)

        hold(slack)
        self._kept.append((hold, slack))

    def release(self, rows: Int) -> None:
        """Take rows out of force."""
        free = np.full(len(rows), np.inf)
        for solver in self._solvers:
            solver.set_rows(rows, -free, free)

    def _minimise(self, cost: Float, gap: float) -> SolveResult:
        """Best point found or known, and its bound; how it ended where that closes no gap."""
        relaxed = self._solve(self._relaxed, cost, 0.0)
        self.row_dual = relaxed.row_dual if relaxed.is_proven else np.empty(0)
        if self._mixed is not None:
            return self._decide_switches(self._mixed, cost, relaxed, gap)
        if relaxed.has_point:
            return relaxed
        return replace(self._known(cost), termination=relaxed.termination)

    def _widen(self) -> None:
        """What aims before reached was kept more tightly than a mixed-integer solver knows its own points."""
        for hold, slack in self._kept:
            hold(WIDER * slack)

    def _solve(self, solver: Solver, cost: Float, gap: float, start: Float | None = None) -> SolveResult:
        solver.set_cost(cost[: solver.columns])
        nodes, target = UNLIMITED, -np.inf
        if (one := self._preference) is not None:
            nodes, target = NODES_OF_PIECE if one.in_pieces else FEW_NODES, one.bound
        return solver.solve(Limits(gap, nodes, self._clock.left_s, target=target), start=start)

    def _known(self, cost: Float, bound: float = -np.inf) -> SolveResult:
        """The point of the aims before, as far as a bound says something about it."""
        if not len(self.point):
            return SolveResult(Termination.TIME_LIMIT, bound=bound)
        return SolveResult(Termination.TIME_LIMIT, float(cost @ self.point), bound, self.point)

    def _decide_switches(self, mixed: Solver, cost: Float, relaxed: SolveResult, gap: float) -> SolveResult:
        """Best point found, with the better of the relaxation's and the tree's bound."""
        least = -np.inf if self._preference is None else self._preference.bound
        relaxed = replace(relaxed, bound=max(relaxed.bound, least))
        best = self._known(cost, relaxed.bound)
        if self._preference is not None and self._preference.in_pieces:
            return self._improve_in_pieces(mixed, cost, best, gap)
        if relaxed.has_point and not _is_closed(best, gap):
            best = self._round(mixed, cost, relaxed, best, gap)
        if _is_closed(best, gap) or self._preference is not None:
            return best
        whole = self._solve(mixed, cost, gap, best.x if best.has_point else None)
        if not whole.has_point:
            return replace(best, termination=whole.termination)
        better = whole if whole.value <= best.value else best
        # a tree that was cut short may know less than the relaxation
        return replace(whole, value=better.value, x=better.x, bound=max(whole.bound, relaxed.bound))

    def _improve_in_pieces(self, mixed: Solver, cost: Float, best: SolveResult, gap: float) -> SolveResult:
        """Best point after one pass over all vehicles; its bound is the tree's where one piece is all of them."""
        model, half_s, ended = self._model, self._clock.left_s / 2.0, Termination.FEASIBLE
        x = best.x.copy()
        x[model.start] = model.pairs.starts(x[model.switch] > 0.5)  # nothing held them down so far
        best = replace(best, x=x, value=float(cost @ x))
        owner, by_arrival = model.pairs.vehicle, np.argsort(model.requests.arrival_step, kind="stable")
        for first in range(0, len(by_arrival), PIECE):
            if _is_closed(best, gap):
                break
            if self._clock.left_s <= half_s:  # the rest is for what comes after
                ended = Termination.TIME_LIMIT
                break
            others = np.flatnonzero(~np.isin(owner, by_arrival[first : first + PIECE]))
            held = model.switch[others]  # their powers stay free: as they are, they fit within tolerances only
            on = np.round(best.x[held])
            mixed.set_columns(held, on, on)
            found = self._solve(mixed, cost, gap, best.x)
            if found.termination is Termination.INFEASIBLE:
                self._widen()
                found = self._solve(mixed, cost, gap, best.x)
            mixed.set_columns(held, np.zeros(len(held)), np.ones(len(held)))
            bound = best.bound if len(others) or not found.has_point else max(best.bound, found.bound)
            better = found if found.has_point and found.value < best.value else best
            best = replace(best, value=better.value, x=better.x, bound=bound)
        return replace(best, termination=ended)

    def _round(self, mixed: Solver, cost: Float, relaxed: SolveResult, best: SolveResult, gap: float) -> SolveResult:
        """Hold the switches on which the relaxation (and the best point so far) is clear; decide the others."""
        switch, whole = self._model.switch, np.concatenate([self._model.switch, self._model.start])
        power_kw, high_kw = relaxed.x[self._model.power], self._model.high[self._model.power]
        # the relaxed switch is not in this programme: at full power it would be 1, at none 0, between the two it is
        # open
        on, off = power_kw >= high_kw - NEGLIGIBLE, power_kw <= NEGLIGIBLE
        if best.has_point:
            was_on = best.x[switch] > 0.5
            # the best point so far must stay feasible, or there would be nothing to start from
            on, off = on & was_on, off & ~was_on
        mixed.set_columns(switch, on.astype(float), 1.0 - off.astype(float))
        # judged against the relaxation's bound, not its own: half the gap is left for what holding the others costs
        rounded = self._solve(mixed, cost, gap / 2.0, best.x if best.has_point else None)
        # free again before the whole tree; starts too, whose limits differ where a spell is too short
        mixed.set_columns(whole, np.zeros(len(whole)), self._model.high[whole])
        if not rounded.has_point or rounded.value > best.value:
            return best
        return replace(rounded, termination=Termination.TIME_LIMIT, bound=relaxed.bound)


def _is_closed(found: SolveResult, gap: float) -> bool:
    return found.has_point and relative_gap(found.value, found.bound, NEGLIGIBLE) <= gap
