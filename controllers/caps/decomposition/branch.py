"""Branch and bound on counts: between the convexified problem and whole plans, where few cars share a limit.

Every branch is a convexified problem of its own, with bounds on some counts; the least of all their bounds is one
of the piece. Its mixture of plans, nearer and nearer to one plan per car, offers structures for a small choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.decomposition.bound import Relaxed
from cosim.controllers.caps.decomposition.counted import Bounds, CountedMaster, Mixture
from cosim.controllers.caps.decomposition.counts import Count, Fractions, rounding_cuts, surcharge
from cosim.controllers.caps.decomposition.plan import Incumbent, combined
from cosim.controllers.caps.decomposition.plans import chosen
from cosim.controllers.caps.decomposition.pricing import Pricing
from cosim.controllers.caps.part import Part
from cosim.controllers.solver import Clock, OutOfTimeError

NODES = 100_000
ROUNDS, CHILD_ROUNDS = 30, 12  # of pricing, when a branch is divided and when it is made
LAST_ROUNDS = 1000  # where nothing is left to divide
NODE_GAP = 0.1  # of the gap asked for; to this a branch is solved
LEAST_GAP = 1e-6
TRIED = 16  # counts compared before one is branched on
RISE_MOST_KWH = 50.0  # a branch that rises more is as good as closed
RISE_LEAST_KWH = 1e-6
BEYOND = 3  # slots looked at after the last with a price
DIVE_EVERY, DIVE = 10, 12  # branches divided, the one with the least bound first; after so many, children of children
SMOOTHING = 0.5
KNOWN_MOST = 5000  # plans taken over from the convexified problem; of more only those of its mixture
PRICED = 1e-9


@dataclass(frozen=True, eq=False)
class Closed:
    """What branching came to.

    Attributes
    ----------
    bound_kwh : float
        Proven lower bound of the piece.
    incumbent : Incumbent or None
        Best plan known.
    nodes : int
        Branches made.
    struck : bool
        Whether the time limit ended it.
    """

    bound_kwh: float
    incumbent: Incumbent | None
    nodes: int
    struck: bool


@dataclass(frozen=True, eq=False)
class _Node:
    bound_kwh: float
    bounds: Bounds
    price: Float
    count_price: Float


class Tree:
    """Branches of a piece that closed-form pricing knows.

    Parameters
    ----------
    part : Part
        The piece.
    relaxed : Relaxed
        Its convexified problem.
    gap : float
        Relative gap at which it ends.
    clock : Clock
        Wall clock.
    """

    def __init__(self, part: Part, relaxed: Relaxed, gap: float, clock: Clock) -> None:
        self.part, self.gap = part, gap
        self.node_gap = max(NODE_GAP * gap, LEAST_GAP)
        self.master = CountedMaster(part, clock)
        known = np.arange(len(relaxed.weight)) if len(relaxed.weight) <= KNOWN_MOST else np.flatnonzero(relaxed.weight)
        self.master.add(chosen(relaxed.plans, known))
        self._fractions = Fractions(part)
        self._priced = -1
        self._pricing_for(relaxed.price, np.zeros(0))
        # where no limit has a price, cars do not compete; a few slots more, since prices move along
        self.slots = np.arange(min(self._priced + 1 + BEYOND, part.slots))
        # cuts hold for every plan: given to the root, all branches inherit them
        bounds = {self.master.number(count): (-np.inf, most) for count, most in rounding_cuts(part, self.slots)}
        self.root = _Node(relaxed.bound_kwh, bounds, relaxed.price, np.zeros(0))

    def _pricing_for(self, price: Float, count_price: Float) -> Pricing:
        """Return pricing without slots that no best plan needs: after all that cost anything, the first will do."""
        priced = np.flatnonzero((price > PRICED).any(axis=1)).max(initial=0)
        priced = max([priced, *(self.master.counts[i].slot for i in np.flatnonzero(count_price))])
        if priced > self._priced:
            usable = self.part.usable_kw
            free = np.cumsum(np.where(np.arange(len(usable))[:, None] > priced, usable, 0.0), axis=0)
            before = free - np.where(np.arange(len(usable))[:, None] > priced, usable, 0.0)
            self._pricing = Pricing(replace(self.part, usable_kw=np.where(before < self.part.draw_kw, usable, 0.0)))
            self._priced = priced
        return self._pricing

    def solve(self, node: _Node, cutoff_kwh: float, rounds: int) -> tuple[_Node, Mixture]:
        """Raise the bound of a branch until it is the value of its mixture, or reaches the cutoff."""
        master, best, smoothing = self.master, node, SMOOTHING
        master.bound(node.bounds)
        mixture = master.mixture()
        for _ in range(rounds):
            wide = mixture.objective_kwh - best.bound_kwh > self.node_gap * mixture.objective_kwh
            if best.bound_kwh >= cutoff_kwh or not wide:
                break
            price = smoothing * best.price + (1.0 - smoothing) * mixture.price
            count_price = smoothing * self._padded(best.count_price) + (1.0 - smoothing) * mixture.count_price
            best, added = self._ask(best, price, count_price)
            # no new plan at the master's own prices: its value is the branch's convexified optimum
            if not added and smoothing == 0.0:
                break
            smoothing = SMOOTHING if added else 0.0
            if added:
                mixture = master.mixture()
        return best, mixture

    def _padded(self, count_price: Float) -> Float:
        return np.concatenate([count_price, np.zeros(len(self.master.counts) - len(count_price))])

    def _ask(self, best: _Node, price: Float, count_price: Float) -> tuple[_Node, int]:
        """Price at given prices: new plans, and the better of the bounds with the prices that prove it."""
        least, most = (
            np.array([best.bounds.get(i, (-np.inf, np.inf))[side] for i in range(len(count_price))]) for side in (0, 1)
        )
        # a price only has a meaning where there is a bound of its sign
        wrong = ((count_price > 0) & ~np.isfinite(least)) | ((count_price < 0) & ~np.isfinite(most))
        count_price = np.where(wrong, 0.0, count_price)
        pricing = self._pricing_for(price, count_price)
        value, plans = pricing.best(price, surcharge(self.part, self.master.counts, -count_price))
        at = np.flatnonzero(count_price)
        worth = count_price[at] @ np.where(count_price[at] > 0, least[at], most[at])
        reached = float(value.sum() - (price * self.part.headroom_kw).sum() + worth)
        added = self.master.add(plans)
        if reached > best.bound_kwh:
            best = _Node(reached, best.bounds, price, count_price)
        return best, added

    def divide(self, node: _Node, mixture: Mixture, cutoff_kwh: float) -> list[_Node]:
        """Branch on the count that promises most; nothing where all counts are whole."""
        found = self.fractional(mixture)
        if not found:
            return []
        ranges = [self._range(node, count) for count, _ in found]
        rises = self.master.trials([count for count, _ in found], ranges, [value for _, value in found])
        # product rule: the bound of a branch is that of its worse child, so a count that lifts one side only is worth
        # little; floored, so that a zero on one side does not hide the other
        score = np.clip(rises, RISE_LEAST_KWH, RISE_MOST_KWH).prod(axis=1)
        which = int(score.argmax())
        count, value = found[which]
        number, (least, most), down = self.master.number(count), ranges[which], float(np.floor(value + 1e-6))
        children = []
        for low, high in ((least, down), (down + 1.0, most)):
            if low <= high:  # else no plan is in it
                child = replace(node, bounds={**node.bounds, number: (low, high)})
                children.append(self.solve(child, cutoff_kwh, CHILD_ROUNDS)[0])
        return children

    def fractional(self, mixture: Mixture) -> list[tuple[Count, float]]:
        """Return counts that are no whole numbers in a mixture, with their values."""
        used = np.flatnonzero(mixture.weight > PRICED)
        plans, weight = chosen(self.master.plans, used), mixture.weight[used]
        found = self._fractions.best(plans, weight, self.slots, TRIED)
        # slots without a price may still hold fractions: a branch is only over when no count anywhere is left
        return found or self._fractions.best(plans, weight, np.arange(self.part.slots), TRIED)

    def combined(
        self, node: _Node, mixture: Mixture, best: Incumbent | None, target_kwh: float, clock: Clock
    ) -> Incumbent | None:
        """Choose among the structures of a mixture, and others that are cheap at its prices."""
        plans, master = self.master.plans, self.master
        cost = plans.withheld_kwh + surcharge(self.part, master.counts, -self._padded(node.count_price)).of(plans)
        cost += ((node.price @ self.part.share.T)[:, plans.cars] * plans.charge_kw).sum(axis=0)
        # plans added after the mixture was solved have no part in it
        weight = np.concatenate([mixture.weight, np.zeros(len(plans.cars) - len(mixture.weight))])
        return combined(self.part, plans, weight, cost, node.price, best, target_kwh, clock)

    def _range(self, node: _Node, count: Count) -> tuple[float, float]:
        known = self.master.known(count)
        return (-np.inf, np.inf) if known is None else node.bounds.get(known, (-np.inf, np.inf))


def close(part: Part, relaxed: Relaxed, incumbent: Incumbent | None, gap: float, clock: Clock) -> Closed:
    """Raise the bound and improve the plan of a piece until they are as near as asked, or time is up.

    Parameters
    ----------
    part : Part
        A piece for closed-form pricing.
    relaxed : Relaxed
        Its convexified problem.
    incumbent : Incumbent or None
        Best plan known.
    gap : float
        Relative gap asked for.
    clock : Clock
        Wall clock.
    """
    if incumbent is not None and relaxed.bound_kwh >= incumbent.value_kwh * (1.0 - gap):
        return Closed(relaxed.bound_kwh, incumbent, 0, False)
    search = _Search(Tree(part, relaxed, gap, clock), incumbent, gap, clock)
    try:
        search.run()
        struck = clock.over
    except OutOfTimeError:
        struck = True
    # both are proven; a tree that was struck early may know less than its root did
    return Closed(max(search.bound_kwh, relaxed.bound_kwh), search.incumbent, search.made, struck)


class _Search:
    """Which branch is divided next, and what is known of all."""

    def __init__(self, tree: Tree, incumbent: Incumbent | None, gap: float, clock: Clock) -> None:
        self.tree, self.incumbent, self.gap, self.clock = tree, incumbent, gap, clock
        self.made = 1
        self._open = {0: tree.root}
        self._ended_kwh = np.inf  # least bound of branches with nothing left to branch on

    @property
    def bound_kwh(self) -> float:
        """Least bound of all branches, and not above the best plan."""
        return min([node.bound_kwh for node in self._open.values()] + [self._ended_kwh, self._value_kwh])

    @property
    def _value_kwh(self) -> float:
        return np.inf if self.incumbent is None else self.incumbent.value_kwh

    def run(self) -> None:
        """Divide branches until the gap is closed, nothing is open, or a limit is reached."""
        since, deep = 0, 0
        children: list[int] = []
        while self._open and self.made < NODES and not self.clock.over:
            # (value - bound) / value <= gap, on withheld energy
            if self.bound_kwh >= self._value_kwh * (1.0 - self.gap):
                break
            diving = deep < DIVE and since >= DIVE_EVERY and bool(children)
            among = children if diving else list(self._open)
            # ties by number: the same tree on every machine
            number = min(among, key=lambda one: (self._open[one].bound_kwh, one))
            node, mixture = self.tree.solve(self._open[number], self._value_kwh, ROUNDS)
            if not self.tree.fractional(mixture):  # nothing to branch on: its bound must be what its mixture is worth
                node, mixture = self.tree.solve(node, self._value_kwh, LAST_ROUNDS)
            children = self._divide(number, node, mixture)
            since, deep = since + 1, deep + diving
            if since > DIVE_EVERY and (deep == DIVE or not children):
                self._choose(node, mixture)
                since, deep = 0, 0

    def _divide(self, number: int, node: _Node, mixture: Mixture) -> list[int]:
        """Put the children of a branch in its place, and return their numbers."""
        children = self.tree.divide(node, mixture, self._value_kwh * (1.0 - self.gap))
        del self._open[number]
        if not children:
            # whole counts are not yet a plan: a closed branch still bounds the piece with what it has proven
            self._ended_kwh = min(self._ended_kwh, node.bound_kwh)
            self._choose(node, mixture)
        kept = []
        for child in children:
            # pruned children need no record: `bound_kwh` is never above the best plan
            if child.bound_kwh < self._value_kwh:
                self._open[self.made] = child
                kept.append(self.made)
            self.made += 1
        return kept

    def _choose(self, node: _Node, mixture: Mixture) -> None:
        target_kwh = self.bound_kwh / (1.0 - self.gap) if self.gap < 1.0 else np.inf
        self.incumbent = self.tree.combined(node, mixture, self.incumbent, target_kwh, self.clock)
