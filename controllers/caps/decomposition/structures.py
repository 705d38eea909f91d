"""One small mixed-integer programme: a structure for each of a few households, powers free, the others as they are.

A structure is the slot in which a household finishes, the slots it uses in full and those it is throttled in before;
what it draws in throttled slots, and with it in the last one, stays a continuous variable.
"""

from __future__ import annotations

from dataclasses import dataclass

import highspy
import numpy as np
from scipy.sparse import csc_matrix

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.decomposition.master import OVERLOAD_KWH_PER_KW
from cosim.controllers.caps.decomposition.pricing import CAPPED, FULL, LAST, Plans
from cosim.controllers.caps.part import NEARLY_KW, Part
from cosim.controllers.highs import silent_highs
from cosim.errors import SolverError

OPEN_SLOTS = 4  # throttled slots of a structure whose power is left open
WHOLE_TO = 1e-9


@dataclass(frozen=True)
class Effort:
    """When the search for a choice of structures ends.

    Attributes
    ----------
    nodes : int
        Of branch and bound.
    plans : int
        Better and better plans found.
    time_s : float
        Wall clock, a safety [s].
    target_kwh : float
        Stop at a plan that withholds no more than this in all [kWh].
    """

    nodes: int
    plans: int
    time_s: float
    target_kwh: float


@dataclass(frozen=True, eq=False)
class Choice:
    """Which structures were chosen, and what each car draws.

    Attributes
    ----------
    rows : ndarray of int, shape (car of the choice,)
        Rows of the structures offered.
    charge_kw : ndarray, shape (slot, car of the choice)
        Power drawn [kW].
    objective_kwh, overload_kw : float
        Energy withheld in all plus what overload costs, and the largest overload.
    timed_out : bool
        Whether the wall clock ended it.
    """

    rows: Int
    charge_kw: Float
    objective_kwh: float
    overload_kw: float
    timed_out: bool


def choose(
    part: Part,
    offered: Plans,
    headroom_kw: Float,
    price: Float,
    withheld_kwh: float,
    effort: Effort,
    start: Int | None = None,
    *,
    strict: bool = False,
) -> Choice | None:
    """Choose one structure for every car that is offered some.

    Parameters
    ----------
    part : Part
        The piece.
    offered : Plans
        Structures; those of one car side by side.
    headroom_kw : ndarray, shape (slot, phase)
        What is left to these cars [kW].
    price : ndarray, shape (slot, phase)
        Price of load; of a structure's throttled slots only the cheapest, and those it draws in, are left open.
    withheld_kwh : float
        Withheld from the others.
    effort : Effort
        Limits of the search.
    start : ndarray of int, optional
        Rows of a first choice.
    strict : bool
        Allow no overload at all. Else it has a price, and a few watts cost less than another structure does: good
        for getting nearer to the limits, not for keeping them.

    Returns
    -------
    Choice or None
        None where no choice was found within the limits, or ``strict`` or the least power of chargers leave none.

    Raises
    ------
    SolverError
        Where the solver ends in a way that says nothing.
    """
    model = _Model(part, offered, headroom_kw, price)
    solver = silent_highs()
    for option, value in (
        ("mip_max_nodes", effort.nodes), ("time_limit", effort.time_s), ("mip_rel_gap", 1e-5),
        ("objective_target", effort.target_kwh), ("mip_max_improving_sols", effort.plans),
        ("mip_feasibility_tolerance", WHOLE_TO),  # a structure taken a millionth less is a load that much too small
    ):  # fmt: skip
        solver.setOptionValue(option, value)
    solver.passModel(model.programme(withheld_kwh, 0.0 if strict else np.inf))
    if start is not None:
        solver.setSolution(
            model.count,
            np.arange(model.count, dtype=np.int32),
            np.isin(np.arange(model.count), start).astype(np.float64),
        )
    solver.run()
    ends = highspy.HighsModelStatus
    end = solver.getModelStatus()
    if end in (ends.kInfeasible, ends.kUnboundedOrInfeasible):
        return None
    if end in (ends.kSolveError, ends.kUnbounded, ends.kNotset, ends.kModelError):
        raise SolverError(f"choice of structures ended with {solver.modelStatusToString(end)!r}")
    info = solver.getInfo()
    if info.primal_solution_status != highspy.kSolutionStatusFeasible:
        return None
    rows, charge, overload = model.read(np.array(solver.getSolution().col_value))
    return Choice(rows, charge, info.objective_function_value, overload, end == ends.kTimeLimit)


class _Model:
    """Columns: structures, then powers of throttled slots, then overload of each slot and phase."""

    def __init__(self, part: Part, offered: Plans, headroom_kw: Float, price: Float) -> None:
        self.part, self.offered, self.headroom_kw = part, offered, headroom_kw
        self.count = len(offered.cars)
        usable = part.usable_kw[:, offered.cars]
        self.fixed_kw = np.where(offered.state == FULL, usable, 0.0)
        slots, owners = np.nonzero(offered.state == CAPPED)
        least = np.maximum(part.floor_kw[slots, offered.cars[owners]], 0.0)
        shut = (
            np.maximum(least, part.charger_min_kw[offered.cars[owners]]) > offered.charge_kw[slots, owners] + NEARLY_KW
        )
        self.floor_kw = np.where(shut, 0.0, np.maximum(least, part.charger_min_kw[offered.cars[owners]]))
        free = ~shut & self._worthwhile(price, slots, owners)
        self.fixed_kw[slots[~free], owners[~free]] = self.floor_kw[~free]
        self.left_kw = part.draw_kw[offered.cars] - self.fixed_kw.sum(axis=0)
        most = np.minimum(usable[slots, owners], self.left_kw[owners])
        free &= most > NEARLY_KW
        self.slot, self.owner = slots[free], owners[free]
        self.least_kw, self.most_kw = self.floor_kw[free], most[free]
        self.last = (offered.state == LAST).argmax(axis=0)
        self.last_kw = usable[self.last, np.arange(self.count)]

    def _worthwhile(self, price: Float, slots: Int, owners: Int) -> Bool:
        """Few of each structure's throttled slots; power left open everywhere makes the programme slow, not better."""
        offered = self.offered
        car_price = (price @ self.part.share.T)[slots, offered.cars[owners]]
        drawn = offered.charge_kw[slots, owners] > self.floor_kw + NEARLY_KW
        order = np.lexsort((car_price - np.where(drawn, np.inf, 0.0), owners))
        count = np.bincount(owners, minlength=self.count)
        rank = np.empty(len(slots), np.int64)
        rank[order] = np.arange(len(slots)) - np.repeat(np.cumsum(count) - count, count)
        return drawn | (rank < OPEN_SLOTS)

    def programme(self, withheld_kwh: float, overload_kw: float) -> highspy.HighsLp:
        """Return the mixed-integer programme, its objective with what is withheld from the others; overload at most."""
        part, offered = self.part, self.offered
        phases, every = part.share.shape[1], np.arange(self.count)
        power = self.count + np.arange(len(self.slot))
        held = np.where(offered.state == CAPPED, part.room_kw[:, offered.cars] - self.fixed_kw, 0.0).sum(axis=0)
        entries: list[tuple[Int, Int, Float]] = []
        bounds: list[tuple[Float, Float]] = []
        rows = 0

        def more(rows_of: Int, columns: Int, values: Float) -> None:
            entries.append((rows_of, columns, values))

        share = part.share[offered.cars]
        for phase in range(phases):
            at, who = np.nonzero(self.fixed_kw)
            more(at * phases + phase, who, self.fixed_kw[at, who] * share[who, phase])
            more(self.last * phases + phase, every, self.left_kw * share[:, phase])
            more(self.slot * phases + phase, power, share[self.owner, phase])
            more(self.last[self.owner] * phases + phase, power, -share[self.owner, phase])
        limits = self.headroom_kw.size
        overload = self.count + len(power) + np.arange(limits)
        more(np.arange(limits), overload, np.full(limits, -1.0))
        bounds.append((np.full(limits, -np.inf), self.headroom_kw.ravel()))
        rows += limits
        cars, car_row = np.unique(offered.cars, return_inverse=True)
        more(rows + car_row, every, np.ones(self.count))
        bounds.append((np.ones(len(cars)), np.ones(len(cars))))
        rows += len(cars)
        for sign, limit in ((1.0, self.left_kw), (-1.0, self.last_kw - self.left_kw)):
            more(rows + self.owner, power, np.full(len(power), sign))
            more(rows + every, every, -limit)
            bounds.append((np.full(self.count, -np.inf), np.zeros(self.count)))
            rows += self.count
        for sign, limit in ((1.0, self.most_kw), (-1.0, -self.least_kw)):
            more(rows + np.arange(len(power)), power, np.full(len(power), sign))
            more(rows + np.arange(len(power)), self.owner, -limit)
            bounds.append((np.full(len(power), -np.inf), np.zeros(len(power))))
            rows += len(power)
        columns = self.count + len(power) + limits
        row, column, value = (np.concatenate([entry[i] for entry in entries]) for i in range(3))
        matrix = csc_matrix((value, (row, column)), (rows, columns))
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = columns, rows
        lp.offset_ = withheld_kwh
        dear = np.full(limits, OVERLOAD_KWH_PER_KW)
        lp.col_cost_ = part.slot_h * np.concatenate([held, np.full(len(power), -1.0), dear])
        lp.col_lower_ = np.zeros(columns)
        lp.col_upper_ = np.concatenate([np.ones(self.count), self.most_kw, np.full(limits, overload_kw)])
        lp.row_lower_ = np.concatenate([low for low, _ in bounds])
        lp.row_upper_ = np.concatenate([high for _, high in bounds])
        lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
        kind = highspy.HighsVarType
        lp.integrality_ = [kind.kInteger] * self.count + [kind.kContinuous] * (columns - self.count)
        return lp

    def read(self, values: Float) -> tuple[Int, Float, float]:
        """Return the structures chosen, what their cars draw, and the largest overload."""
        rows = np.flatnonzero(values[: self.count] > 0.5)
        power = np.zeros(self.fixed_kw.shape)
        power[self.slot, self.owner] = np.clip(values[self.count : self.count + len(self.slot)], 0.0, self.most_kw)
        charge = self.fixed_kw[:, rows] + power[:, rows]
        last = self.left_kw[rows] - power[:, rows].sum(axis=0)
        charge[self.last[rows], np.arange(len(rows))] = np.clip(last, 0.0, self.last_kw[rows])
        overload = float(values[self.count + len(self.slot) :].max(initial=0.0))
        return rows, charge, overload
