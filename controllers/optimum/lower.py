"""A proven lower bound: what no control of the day can fall below, whatever it knows.

Steps hang together by the energy of cars and batteries alone. At prices of that energy (multipliers, from a linear
model of the day) each step in which a limit is at stake is a problem of its own, whose least score is bounded by branch
and bound over how much is curtailed: a slice from ``low`` to ``high`` has the rows of `enclosure` for at most ``high``,
and curtails at least ``low``. The sum of what steps cost at least, and of what the prices are worth, is a bound for
any prices (Lagrangian duality).

Every number is what multipliers prove (weak duality), computed here from the model's own numbers; the solver may err,
and the bound would be lower, not wrong.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.optimum.day import CUT, Day
from cosim.controllers.optimum.enclosure import Box, Corner, Relaxation
from cosim.controllers.optimum.objective import Objective
from cosim.controllers.optimum.upper import Point
from cosim.controllers.solver import Model, solve

AT_STAKE = 0.97  # stress at the corner
WIDER = 1.15  # times the curtailment of the plan in hand, for the prices
BOXES = 400  # of a day, shared by its steps at stake
MOST_BOXES = 60  # of a step
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
    draft, _, _, breach = objective.begin(day)
    free = draft.model()
    free.high[breach] = 0.0  # type: ignore[index]
    without = proven(free, solve(free).row_dual)
    is_high = (best.x > day.columns[3] / 2.0) & (day.columns[0] != CUT)
    corners = np.where(is_high, day.columns[3], 0.0), np.zeros_like(best.x)
    stress = np.max([day.limits.stress(*day.flow(day.net_kw(x))).max(axis=1) for x in corners], axis=0)
    steps = np.flatnonzero(stress > AT_STAKE)
    if not len(steps):
        return Bound(without, without, 0, 0, 0)
    place = day.of_step
    searches = [Search(day, int(step), place[step], is_high[place[step]]) for step in steps]
    draft, x, _, breach = objective.begin(day)
    common = draft.rows.count
    for step, one in zip(steps, searches, strict=True):
        relaxed = one.trusted(best.x[place[step]])
        if relaxed is not None:
            columns = np.append(x[place[step]], draft.columns(len(relaxed.low), relaxed.low, relaxed.high))
            entries, limit = relaxed.matrix.tocoo(), np.flatnonzero(relaxed.is_limit)
            draft.rows.add(
                len(relaxed.most), -np.inf, relaxed.most,
                (np.asarray(entries.row, np.int64), columns[entries.col], entries.data),
                (limit, np.full(len(limit), breach[step]), -1.0),
            )  # fmt: skip
    dual = solve(draft.model()).row_dual[:common]
    draft, _, _, _ = objective.begin(day)
    whole = draft.model()
    of_step, local = _separate(whole, draft.steps, steps)
    dual[local >= 0] = 0.0
    price = whole.cost - whole.matrix.T @ dual
    at_stake = np.isin(of_step, steps)
    others = Model(
        whole.cost, whole.matrix, whole.row_low, whole.row_high,
        np.where(at_stake, 0.0, whole.low), np.where(at_stake, 0.0, whole.high), offset=whole.offset,
    )  # fmt: skip
    matrix = sparse.csr_array(whole.matrix)
    total, slices, unproven = proven(others, dual), 0, 0
    for step, one in zip(steps, searches, strict=True):
        columns, rows = np.flatnonzero(of_step == step), np.flatnonzero(local == step)
        alone = Model(
            price[columns], matrix[rows][:, columns], whole.row_low[rows], whole.row_high[rows],  # type: ignore[index]
            whole.low[columns], whole.high[columns],  # type: ignore[index]
        )  # fmt: skip
        least, count, is_proven = one.least(alone, min(BOXES // len(steps), MOST_BOXES))
        total, slices, unproven = total + least, slices + count, unproven + (not is_proven)
    # what is broken by more than a column holds is worse than the plan in hand
    return Bound(min(max(total, without), best.score), without, len(steps), unproven, slices)


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

    def __lt__(self, other: Node) -> bool:
        return self.bound < other.bound


class Search:
    """Branch and bound over what devices do in one step."""

    def __init__(self, day: Day, step: int, columns: Int, is_high: Bool) -> None:
        self._day, self._step, self._columns = day, step, columns
        self._is_cut, self._high = day.columns[0][columns] == CUT, day.columns[3][columns]
        self._is_high = is_high
        self._corners: dict[bytes, Corner] = {}

    def _corner(self, box: Box) -> Corner:
        """The corner that is nearest to the middle of a box, as it is without curtailment."""
        middle = (box.low + box.high) / 2.0
        is_high = np.where(middle == self._high / 2.0, self._is_high, middle > self._high / 2.0) & ~self._is_cut
        key = is_high.tobytes()
        if key not in self._corners:
            self._corners[key] = Corner(self._day, self._step, self._columns, is_high)
        return self._corners[key]

    def trusted(self, x: Float) -> Relaxation | None:
        """Relaxation about a plan, which is trusted for how much is curtailed."""
        box = Box(np.zeros_like(x), self._high, (0.0, WIDER * float(x[self._is_cut].sum()) + CLOSE_KW))
        return self._corner(box).relaxed(box)

    def least(self, alone: Model, boxes: int) -> tuple[float, int, bool]:
        """Least of a step's own problem; how many boxes that took, and whether limits took part in the last."""
        most_kw = float(self._high[self._is_cut].sum())
        heap = [self._node(alone, Box(np.zeros_like(self._high), self._high, (0.0, most_kw)))]
        solved = 1
        while solved < boxes:
            node = heap[0]
            parts = self._parted(node)
            if not parts:
                break
            heapq.heappop(heap)
            for part in parts:
                heapq.heappush(heap, self._node(alone, part, node.bound))
            solved += len(parts)
        return heap[0].bound, solved, heap[0].is_proven

    def _parted(self, node: Node) -> list[Box]:
        """Parts of a box: by how much is curtailed, or by what the car does that is farthest from both its ends."""
        box, x = node.box, node.x
        low, high = box.cut_kw
        curtailed = float(x[self._is_cut].sum())
        if high - curtailed > WIDE * high + CLOSE_KW:
            middle = curtailed + 0.1 * (high - curtailed) + CLOSE_KW / 2.0
            return [replace(box, cut_kw=(low, middle)), replace(box, cut_kw=(middle, high))]
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

    def _node(self, alone: Model, box: Box, known: float = -np.inf) -> Node:
        powers, count, cut = len(self._high), len(alone.cost), np.flatnonzero(self._is_cut)
        relaxed = self._corner(box).relaxed(box)
        sliced = sparse.csr_array((np.ones(len(cut)), (np.zeros(len(cut), int), cut)), (1, count))
        blocks = [[sparse.csr_array(alone.matrix), None], [sliced, None]]
        least, most = [alone.row_low, [box.cut_kw[0]]], [alone.row_high, [box.cut_kw[1]]]
        # a step's powers are its first columns, then comes its breach
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
        found = solve(model)
        dual = found.row_dual if len(found.x) else np.zeros(model.matrix.shape[0])
        x, astray = box.low, np.zeros(powers)
        if len(found.x):
            x = found.x[:powers]
            astray = astray if relaxed is None else relaxed.astray(x, found.x[count:])
        return Node(max(proven(model, dual), known), box, x, astray, relaxed is not None)
