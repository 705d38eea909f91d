"""Making the plan of a piece better: the finishing rows of a few cars at a time, and of all where there are few."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosim.contract import Float, Int
from cosim.controllers.caps.core.columns import Relaxed, keeps, whole_cars
from cosim.controllers.caps.core.finishing import Kept, solve_finishing
from cosim.controllers.caps.core.schedule import first_plan
from cosim.controllers.caps.core.subproblem import Plan, Subproblem
from cosim.controllers.solver import Clock, Limits, relative_gap

WHOLE_CARS = 22  # up to here all finishing rows go into one programme
NEIGHBOURS, GROWS = 12, 3  # cars of a neighbourhood; one more for so many in a row that improved little
NEIGHBOURHOOD_NODES = 200  # of a neighbourhood, or a quarter of those of a whole programme
IN_VAIN, NODES_IN_VAIN = 30, 75  # neighbourhoods in a row that improve little end a search; one per so many nodes
FEW_IN_VAIN = 2  # before the programme of all finishing rows, which starts from what they found
MOST_ENDS, FEW_ENDS = 8, 5  # finishing rows of a car in a neighbourhood, and while some need is left unserved
MANY_CARS = 100
GROWN = 4  # times that whole cars join the ones to be served in turn
NONE_KWH = 1e-7
NAMED_KWH = 1e-5  # of need left unserved; less is rounding
SETTLED = 1e-4  # of the objective: a smaller improvement does not go on


@dataclass(frozen=True)
class Parts:
    """Which parts of the method are used: to see what each is worth.

    Attributes
    ----------
    whole : bool
        One programme of all finishing rows, where there are few cars.
    neighbourhoods : bool
        Programmes of a few cars at a time, where there are many.
    """

    whole: bool = True
    neighbourhoods: bool = True


ALL_PARTS = Parts()


def cost_of(sub: Subproblem, plan: Plan, kept: Sequence[Kept]) -> float:
    """Return the objective of a plan without what earlier aims count in it."""
    return plan.cost(sub) - sum(aim.counts_kwh * aim.value(plan) for aim in kept)


class Search:
    """Makes a plan of a piece better.

    Attributes
    ----------
    bound : float
        Lower bound of the objective, without the aims that are kept [kWh].
    has_failed : bool
        Whether the last programme had no point, though there is one: tolerances were too narrow.
    """

    def __init__(
        self,
        sub: Subproblem,
        relaxed: Relaxed,
        stop: Limits,
        clock: Clock,
        rng: np.random.Generator,
        parts: Parts,
        kept: Sequence[Kept] = (),
    ) -> None:
        self.sub, self.relaxed, self.stop, self.clock, self.rng, self.parts = sub, relaxed, stop, clock, rng, parts
        self.kept = kept
        self.has_failed = False
        self.bound = relaxed.bound - sum(aim.counts_kwh * aim.most for aim in kept)

    def cost(self, plan: Plan) -> float:
        """Return the objective of a plan."""
        return cost_of(self.sub, plan, self.kept)

    def is_close(self, plan: Plan) -> bool:
        """Whether the gap asked for is reached."""
        return relative_gap(self.cost(plan), self.bound, NONE_KWH) <= self.stop.gap

    def begin(self, known: Plan | None) -> Plan | None:
        """Return the best of a plan known, the fractional cars served after the whole ones, and all in turn."""
        sub, relaxed = self.sub, self.relaxed
        if not np.isfinite(relaxed.bound) or self.kept:
            return known
        best = self._best(known, self._rounded())
        if best is None or (sub.size < MANY_CARS and not self.is_close(best)):
            best = self._best(best, first_plan(sub, relaxed.finish))
        return best

    def _best(self, *plans: Plan | None) -> Plan | None:
        kept = [plan for plan in plans if plan is not None and keeps(self.sub, plan)]
        return min(kept, key=self.cost, default=None)

    def _rounded(self) -> Plan | None:
        sub, relaxed = self.sub, self.relaxed
        whole, others = whole_cars(relaxed)
        best: Plan | None = None
        for _ in range(GROWN):
            fixed = relaxed.likeliest
            counted = fixed.counted_kw.copy()
            counted[others] = 0.0
            left = sub.headroom_kw - sub.load_kw(counted)
            if (left > -NONE_KWH).all():
                if not len(others):
                    return fixed
                part = sub.of_cars(others, np.maximum(left, 0.0))
                plan = first_plan(part, relaxed.finish[others])
                if plan is not None:
                    best = self._best(best, fixed.with_cars(others, plan))
                    if float(plan.unserved_kwh(part).sum()) <= NAMED_KWH:
                        break
            if not len(whole):
                break
            more = self.rng.choice(whole, min(len(whole), max(5, len(others) // 2)), replace=False)
            others, whole = np.union1d(others, more), np.setdiff1d(whole, more)
        return best

    def improve(self, plan: Plan) -> Plan:
        """Return a better plan, until the gap is reached or the search ends."""
        if self.is_close(plan):
            return plan
        is_small = self.sub.size <= WHOLE_CARS
        if not (is_small and self.parts.whole):
            return self._neighbourhoods(plan, IN_VAIN) if self.parts.neighbourhoods else plan
        if self.parts.neighbourhoods and self.sub.size > NEIGHBOURS:
            plan = self._neighbourhoods(plan, FEW_IN_VAIN)
        return plan if self.is_close(plan) else self._whole(plan)

    def _whole(self, plan: Plan) -> Plan:
        """All cars at once: what the programme proves counts."""
        cars = np.arange(self.sub.size)
        better, bound = self._solved(plan, cars, np.inf, self.stop.gap, self.stop.nodes)
        self.bound = max(self.bound, min(bound, self.cost(better)))
        return better

    def _neighbourhoods(self, plan: Plan, most_in_vain: int) -> Plan:
        _, others = whole_cars(self.relaxed)
        cars: Int | None = others if 0 < len(others) <= NEIGHBOURS else None
        in_vain, nodes = 0, min(NEIGHBOURHOOD_NODES, self.stop.nodes // 4)
        most = min(max(self.stop.nodes // NODES_IN_VAIN, 2), most_in_vain)
        while in_vain < most and not self.is_close(plan) and not self.clock.over:
            before = self.cost(plan)
            cars = self._near(plan, NEIGHBOURS + in_vain // GROWS) if cars is None else cars
            is_short = float(plan.unserved_kwh(self.sub).sum()) > NAMED_KWH
            plan, _ = self._solved(plan, cars, FEW_ENDS if is_short else MOST_ENDS, max(self.stop.gap / 2, 1e-3), nodes)
            in_vain = 0 if before - self.cost(plan) > SETTLED * abs(before) else in_vain + 1
            cars = None
        return plan

    def _near(self, plan: Plan, count: int) -> Int:
        """Draw a car that costs more than its price says, and others that share slots with it."""
        sub, every = self.sub, np.arange(self.sub.size)
        lossy = np.minimum(self.relaxed.above[every, plan.last], 1e3) + 1e-3
        seed = self.rng.choice(sub.size, p=lossy / lossy.sum())
        used = np.zeros((sub.size, len(sub.headroom_kw)), bool)
        upto = np.arange(sub.slot.shape[1]) <= plan.last[:, None]
        car, row = np.nonzero(upto & sub.is_slot)
        used[car, sub.slot[car, row]] = True
        near = (used & used[seed]).sum(axis=1) / np.maximum(used.sum(axis=1), 1)
        near = near + 0.6 * self.rng.random(sub.size) + 2.0 * lossy / lossy.max()
        near[seed] = np.inf
        return np.sort(np.argsort(-near)[:count])

    def _solved(self, plan: Plan, cars: Int, most: float, gap: float, nodes: int) -> tuple[Plan, float]:
        """Solve for some cars while the others stay; return the better plan, and the bound of that."""
        sub = self.sub
        counted = plan.counted_kw.copy()
        counted[cars] = 0.0
        left = np.maximum(sub.headroom_kw - sub.load_kw(counted), 0.0)
        part, old = sub.of_cars(cars, left), plan.of_cars(cars)
        kept = [aim.left(plan, cars) for aim in self.kept]
        cost = plan.cost(sub)
        # finishing rows that cost more at these prices than the whole gap are in no better plan
        loose = sum(aim.counts_kwh * (aim.most - aim.value(plan)) for aim in self.kept)
        most_above = max(cost + loose - self.relaxed.bound, 1e-6) + 1e-6 * abs(cost)
        ends = [self.ends(car, most_above, most, int(plan.last[car])) for car in cars]
        # what is good enough for the whole piece ends a programme of some cars too
        others = self.cost(plan) - cost_of(part, old, kept)
        target = self.bound / (1.0 - min(self.stop.gap, 0.999)) - others
        limits = Limits(gap, nodes, self.clock.left_s, target=target)
        found, bound, _ = solve_finishing(part, ends, old, limits, kept=kept, proves=len(cars) == sub.size)
        self.has_failed = found is None
        if found is None or not keeps(part, found):
            return plan, bound if np.isfinite(bound) else -np.inf
        if any(aim.value(found) > aim.most + NONE_KWH * max(1.0, abs(aim.most)) for aim in kept):
            return plan, bound
        new = plan.with_cars(cars, found)
        return (new if self.cost(new) < self.cost(plan) - NONE_KWH else plan), bound

    def ends(self, car: int, most_above: float, most: float, now: int | None = None) -> Int:
        """Return rows in which a car may finish: those that cost least more than its best one."""
        above: Float = self.relaxed.above[car]
        rows = np.flatnonzero((above <= most_above) & np.isfinite(above))
        if len(rows) > most:
            rows = rows[np.argsort(above[rows], kind="stable")][: int(most)]
        return np.union1d(rows, [] if now is None else [now]).astype(np.int64)
