"""A proven lower bound: what no control of the day can fall below, whatever it knows.

Steps hang together by the energy of cars and batteries alone. At prices of that energy (multipliers, from a linear
model of the day) each step in which a limit is at stake, or of which an objective of currents is made, is a problem of
its own, whose least score is bounded by branch and bound over how much is curtailed and charged: a slice from ``low``
to ``high`` has the rows of `enclosure` for at most ``high``, and at least ``low`` is curtailed or charged. Squares of
currents come in by tangents. The sum of what steps cost at least, and of what the prices are worth, is a bound for any
prices (Lagrangian duality).

Bills know the least power of chargers (`Day.bill`), but for one step of every session, in which it may end.

Every number is what multipliers prove (weak duality), computed here from the model's own numbers; the solver may err,
and the bound would be lower, not wrong.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from cosim.contract import Complex, Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.optimum.day import CUT, EV, Day
from cosim.controllers.optimum.enclosure import Box, Corner, Relaxation
from cosim.controllers.optimum.forms import Form
from cosim.controllers.optimum.objective import Objective
from cosim.controllers.optimum.upper import Point, prices
from cosim.controllers.solver import Model, Solver, SolveResult, Termination, solve

AT_STAKE = 0.97  # stress at the corner
WIDER = 1.15  # times the curtailment of the plan in hand, for the prices
BOXES = 400  # of a day, beyond the first ones of every step, where most may be won
CLOSE = 1e-3  # of a score: what is not worth another box
TANGENT_ROUNDS = 12
POINTS = 8  # whose tangents a part of a box begins with
WIDE = 0.1  # of a slice's upper end: less is parted by what devices do
CLOSE_KW = 0.2
ASTRAY_KW = 1e-3
ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Bound:
    """What is proven.

    Attributes
    ----------
    value : float
        No control's score is below.
    without_network : float
        The same where nothing limits the network.
    steps, unproven, slices : int
        Steps with rows, those of them in which no enclosure was found even for little, and problems solved.
    """

    value: float
    without_network: float
    steps: int
    unproven: int
    slices: int


def proven(model: Model, row_dual: Float) -> float:
    """Return the lower bound of a linear model that any multipliers of its rows prove; all columns are bounded."""
    low, high = (np.broadcast_to(limit, len(row_dual)) for limit in (model.row_low, model.row_high))
    dual = np.where((row_dual > 0) & np.isinf(low) | (row_dual < 0) & np.isinf(high), 0.0, row_dual)
    of_rows = np.where(dual == 0, 0.0, np.where(dual > 0, low, high)) * dual
    reduced = model.cost - model.matrix.T @ dual
    of_columns = np.minimum(reduced * model.low, reduced * model.high)
    rounding = ROUNDING * (np.abs(of_rows).sum() + np.abs(of_columns).sum())
    return float(of_rows.sum() + of_columns.sum() + model.offset - rounding)


def lower_bound(day: Day, objective: Objective, best: Point) -> Bound:
    """Prove what no control of the day can fall below.

    Parameters
    ----------
    day : Day
        All that is known.
    objective : Objective
        What is minimised.
    best : Point
        A plan in hand: the closer to the optimum, the tighter.
    """
    form, without = objective.form(day), -np.inf
    for runs in (False, True):
        draft, _, _, breach = objective.begin(day, runs=runs, ends=runs)
        free = draft.model()
        free.high[breach] = 0.0  # type: ignore[index]
        without = max(without, proven(free, solve(free).row_dual))
    is_high = (best.x > day.columns[3] / 2.0) & (day.columns[0] != CUT)
    corners = np.where(is_high, day.columns[3], 0.0), np.zeros_like(best.x)
    stress = np.max([day.limits.stress(*day.flow(day.net_kw(x))).max(axis=1) for x in corners], axis=0)
    steps = np.flatnonzero((stress > AT_STAKE) | (form is not None))
    if not len(steps):
        return Bound(without, without, 0, 0, 0)
    place = day.of_step
    searches = [Search(day, int(step), place[step], is_high[place[step]], form) for step in steps]
    if form is None:
        of_rows = _prices(day, objective, best, searches)
    else:
        of_rows, weights = prices(day, objective, best)
    draft, _, _, _ = objective.begin(day, runs=True, ends=True)
    whole = draft.model()
    of_step, local = _separate(whole, draft.steps, steps)
    dual = np.zeros(len(local))
    dual[: len(of_rows)] = of_rows  # none where a model has no rows, or no optimum
    dual[local >= 0] = 0.0
    price = whole.cost - whole.matrix.T @ dual
    at_stake = np.isin(of_step, steps)
    others = Model(
        whole.cost, whole.matrix, whole.row_low, whole.row_high,
        np.where(at_stake, 0.0, whole.low), np.where(at_stake, 0.0, whole.high), offset=whole.offset,
    )  # fmt: skip
    matrix = sparse.csr_array(whole.matrix)
    parts = np.zeros((len(steps), 0)) if form is None else day.parts(form, best.x)
    constant = 0.0 if form is None else form.constant * float((day.source**2).sum())
    for at, (step, one) in enumerate(zip(steps, searches, strict=True)):
        columns, rows = np.flatnonzero(of_step == step), np.flatnonzero(local == step)
        alone = Model(
            price[columns], matrix[rows][:, columns], whole.row_low[rows], whole.row_high[rows],  # type: ignore[index]
            whole.low[columns], whole.high[columns],  # type: ignore[index]
        )  # fmt: skip
        if form is not None:
            # what is better than the plan in hand has no more in any group
            groups = len(form.groups)
            most = np.full(groups, (best.score - constant) / form.scale)
            nothing = sparse.csr_array((len(rows), groups))
            alone = Model(
                np.append(alone.cost, weights[step]), sparse.hstack([alone.matrix, nothing]),
                alone.row_low, alone.row_high, np.append(alone.low, np.zeros(groups)), np.append(alone.high, most),
            )  # fmt: skip
        one.begin(alone, best.x[place[step]], parts[at], CLOSE * abs(best.score) / len(steps))
    for _ in range(BOXES // 2):  # each is parted in two
        widest = max(searches, key=lambda one: one.open / one.count)
        if widest.open <= 0.0:
            break
        widest.part()
    total = proven(others, dual) + constant + sum(one.least for one in searches)
    unproven = sum(not one.is_proven for one in searches)
    # what is broken by more than a column holds is worse than the plan in hand
    least, solved = min(max(total, without), best.score), sum(one.count for one in searches)
    return Bound(least, without if form is None else float("nan"), len(steps), unproven, solved)


def _prices(day: Day, objective: Objective, best: Point, searches: list[Search]) -> Float:
    """Multipliers of the rows of `Objective.begin` in a linear model with the rows of a relaxation about a plan."""
    draft, x, _, breach = objective.begin(day, runs=True, ends=True)
    common = draft.rows.count
    for one in searches:
        place = day.of_step[one.step]
        relaxed = one.trusted(best.x[place])
        if relaxed is not None:
            columns = np.append(x[place], draft.columns(len(relaxed.low), relaxed.low, relaxed.high))
            entries, limit = relaxed.matrix.tocoo(), np.flatnonzero(relaxed.is_limit)
            draft.rows.add(
                len(relaxed.most), -np.inf, relaxed.most,
                (np.asarray(entries.row, np.int64), columns[entries.col], entries.data),
                (limit, np.full(len(limit), breach[one.step]), -1.0),
            )  # fmt: skip
    return solve(draft.model()).row_dual[:common]


def _separate(model: Model, of_step: Int, steps: Int) -> tuple[Int, Int]:
    """Step of every column, and of every row whose columns are all of one step at stake, else -1."""
    matrix = sparse.csr_array(model.matrix)
    of_entry = of_step[matrix.indices]
    first, last = (reduce.reduceat(of_entry, matrix.indptr[:-1]) for reduce in (np.minimum, np.maximum))
    return of_step, np.where((first == last) & np.isin(first, steps), first, -1)


@dataclass(frozen=True, eq=False)
class Node:
    """A box of a step, its bound, its relaxation's optimum, and by how much each column's products are off there."""

    bound: float
    box: Box
    x: Float
    astray: Float
    is_proven: bool
    points: list[Complex]

    def __lt__(self, other: Node) -> bool:
        return self.bound < other.bound


class Search:
    """Branch and bound over what devices do in one step."""

    def __init__(self, day: Day, step: int, columns: Int, is_high: Bool, form: Form | None) -> None:
        self._day, self.step, self._columns, self._form = day, step, columns, form
        kind, self._high, self._is_high = day.columns[0][columns], day.columns[3][columns], is_high
        self._is_cut = kind == CUT
        self._classes = np.where(self._is_cut, 0, np.where(kind == EV, 1, -1))
        self._count = 2  # classes
        self._corners: dict[bytes, Corner] = {}

    def begin(self, alone: Model, x: Float, parts: Complex, close: float) -> None:
        """Bound a step's own problem at first, in boxes about a plan; what this reaches is more than the least."""
        self._alone, self._close = alone, close
        powers = slice(0, len(x))
        low, high = np.array(alone.low), np.array(alone.high)
        low[powers], high[powers] = x, x
        if self._form is not None:
            low[len(low) - len(self._form.groups) :] = self._form.of_groups(parts)
        found = solve(replace(alone, low=low, high=high))
        self._reached = found.value if len(found.x) else -np.inf
        whole = Box(np.zeros_like(self._high), self._high, np.zeros(self._count), self._totals(self._high))
        first = Node(-np.inf, whole, x, np.zeros(len(x)), False, [])
        self._heap = [self._node(part, -np.inf, [parts]) for part in self._parted(first) or [whole]]
        heapq.heapify(self._heap)
        self.count = len(self._heap)

    def _totals(self, x: Float) -> Float:
        """Sums of columns by class."""
        return np.bincount(self._classes + 1, x, self._count + 1)[1:].astype(float)

    @property
    def least(self) -> float:
        """Least of a step's own problem, proven so far."""
        return self._heap[0].bound

    @property
    def is_proven(self) -> bool:
        """Whether limits took part in that."""
        return self._heap[0].is_proven

    @property
    def open(self) -> float:
        """By how much that may rise yet; 0 where nothing is left to part."""
        if not self._parted(self._heap[0]):
            return 0.0
        return max(self._reached - self.least - self._close, 0.0)

    def part(self) -> None:
        """Part the box that is least."""
        node = heapq.heappop(self._heap)
        parts = self._parted(node)
        self.count += len(parts)
        for part in parts:
            heapq.heappush(self._heap, self._node(part, node.bound, node.points))

    def _corner(self, box: Box) -> Corner:
        """The corner that is nearest to the middle of a box, as it is without curtailment."""
        middle = (box.low + box.high) / 2.0
        is_high = np.where(middle == self._high / 2.0, self._is_high, middle > self._high / 2.0) & ~self._is_cut
        key = is_high.tobytes()
        if key not in self._corners:
            self._corners[key] = Corner(self._day, self.step, self._columns, is_high, self._classes, self._form)
        return self._corners[key]

    def trusted(self, x: Float) -> Relaxation | None:
        """Relaxation about a plan, which is trusted for how much is curtailed."""
        most_kw = np.minimum(WIDER * self._totals(x) + CLOSE_KW, self._totals(self._high))
        box = Box(np.zeros_like(x), self._high, np.zeros(self._count), most_kw)
        return self._corner(box).relaxed(box)

    def _parted(self, node: Node) -> list[Box]:
        """Parts of a box: by what roofs curtail or cars draw together, or by the device farthest from its ends."""
        box, x = node.box, node.x
        if not len(x):
            return []
        totals = self._totals(x)
        spare = box.most_kw - totals
        one = int(np.argmax(spare))
        if spare[one] > WIDE * box.most_kw[one] + CLOSE_KW:
            middle = totals[one] + 0.1 * spare[one] + CLOSE_KW / 2.0
            ends = box.most_kw.copy(), box.least_kw.copy()
            for end in ends:
                end[one] = middle
            return [replace(box, most_kw=ends[0]), replace(box, least_kw=ends[1])]
        widest = int(np.argmax(node.astray))
        if node.astray[widest] < ASTRAY_KW:
            return []
        # where it is, but not too near to an end
        width = box.high[widest] - box.low[widest]
        middle = float(np.clip(x[widest], box.low[widest] + 0.2 * width, box.high[widest] - 0.2 * width))
        ends = box.high.copy(), box.low.copy()
        for end in ends:
            end[widest] = middle
        return [replace(box, high=ends[0]), replace(box, low=ends[1])]

    def _node(self, box: Box, known: float, points: list[Complex]) -> Node:
        alone, points = self._alone, points[-POINTS:]
        powers, count = len(self._high), len(alone.cost)
        corner = self._corner(box)
        relaxed = corner.relaxed(box)
        summed = np.flatnonzero(self._classes >= 0)
        sliced = sparse.csr_array((np.ones(len(summed)), (self._classes[summed], summed)), (self._count, count))
        blocks = [[sparse.csr_array(alone.matrix), None], [sliced, None]]
        least, most = [alone.row_low, box.least_kw], [alone.row_high, box.most_kw]
        # a step's powers are its first columns, then comes its breach; last what an objective of currents is
        rest = np.broadcast_to(alone.low, count)[powers:], np.broadcast_to(alone.high, count)[powers:]
        low, high = np.append(box.low, rest[0]), np.append(box.high, rest[1])
        if relaxed is not None:
            breach = sparse.csr_array(-relaxed.is_limit[:, None].astype(float))
            others = sparse.csr_array((len(relaxed.most), count - powers - 1))
            blocks.append([sparse.hstack([relaxed.matrix[:, :powers], breach, others]), relaxed.matrix[:, powers:]])
            low, high = np.append(low, relaxed.low), np.append(high, relaxed.high)
            least, most = [*least, np.full(len(relaxed.most), -np.inf)], [*most, relaxed.most]
        model = Model(
            np.append(alone.cost, np.zeros(len(low) - count)), sparse.block_array(blocks).tocsc(),
            np.concatenate(least), np.concatenate(most), low, high,
        )  # fmt: skip
        if relaxed is None or self._form is None:
            found = solve(model)
        else:
            model, found = self._with_tangents(self._form, model, corner, relaxed, points)
        dual = found.row_dual if len(found.x) else np.zeros(model.matrix.shape[0])
        x, astray = box.low, np.zeros(powers)
        if len(found.x):
            x = found.x[:powers]
            astray = astray if relaxed is None else relaxed.astray(x, found.x[count:])
        return Node(max(proven(model, dual), known), box, x, astray, relaxed is not None, points)

    def _with_tangents(
        self, form: Form, model: Model, corner: Corner, relaxed: Relaxation, points: list[Complex]
    ) -> tuple[Model, SolveResult]:
        """Solve with tangents of the objective at points, and where the model's optimum is, until they are close."""
        powers, count = len(self._high), len(self._alone.cost)
        groups = len(form.groups)
        value = slice(count - groups, count)
        solver, found = Solver(model, presolve="off"), SolveResult(Termination.ERROR)
        matrices, limits, first, reached = [model.matrix], [np.asarray(model.row_high)], 0, -np.inf
        for _ in range(TANGENT_ROUNDS):
            new = points[first:]
            first = len(points)
            weights, below = np.zeros((len(new), groups, len(new[0])), complex), np.zeros((len(new), groups))
            for row, parts in enumerate(new):
                for group, members in enumerate(form.groups):
                    weights[row, group, members], below[row, group] = form.tangent(parts[members])
            rows, constant = corner.above(relaxed, weights.reshape(-1, len(new[0])))
            own = np.zeros((len(rows), count))
            own[:, :powers] = rows[:, :powers]
            own[:, value] = -np.tile(np.eye(groups), (len(new), 1))
            matrices.append(sparse.csr_array(np.concatenate([own, rows[:, powers:]], axis=1)))
            limits.append(below.ravel() - constant)
            solver.add_rows(matrices[-1], -np.inf, limits[-1])
            found = solver.solve()
            if not len(found.x):
                break
            if found.value < reached + self._close:
                break
            reached = found.value
            points.append(corner.parts(relaxed, found.x[:powers], found.x[count:]))
        high = np.concatenate(limits)
        low = np.append(model.row_low, np.full(len(high) - len(limits[0]), -np.inf))
        return replace(model, matrix=sparse.vstack(matrices).tocsc(), row_low=low, row_high=high), found
