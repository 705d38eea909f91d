"""One small mixed-integer programme: a structure for each of a few households, powers free, the others as they are.

A structure is the slot in which a household finishes, the slots it uses in full and those it is throttled in before;
what it draws in throttled slots, and with it in the last one, stays a continuous variable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.decomposition.master import OVERLOAD_KWH_PER_KW
from cosim.controllers.caps.decomposition.pricing import CAPPED, FULL, LAST, Plans
from cosim.controllers.caps.part import NEARLY_KW, Part
from cosim.controllers.solver import Limits, Model, Rows, Termination, solve

OPEN_SLOTS = 4  # throttled slots of a structure whose power is left open
WHOLE_TO = 1e-9


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
        Whether the time limit ended it.
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
    limits: Limits,
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
    limits : Limits
        Of the search; the target counts what is withheld in all [kWh].
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
    structures = _Structures(part, offered, headroom_kw, price)
    model = structures.model(withheld_kwh, 0.0 if strict else np.inf)
    first = None
    if start is not None:
        first = np.full(len(model.cost), np.nan)
        first[: structures.count] = np.isin(np.arange(structures.count), start)
    # a structure taken a millionth less is a load that much too small
    found = solve(model, limits, start=first, mip_feasibility_tolerance=WHOLE_TO)
    if found.termination is Termination.ERROR:
        found.proven("choice of structures")
    if not found.has_point:
        return None
    rows, charge, overload = structures.read(found.x)
    return Choice(rows, charge, found.value, overload, found.termination is Termination.TIME_LIMIT)


class _Structures:
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
        # a throttled slot in which the plan drew less than the least was off, and stays off in this structure
        self.floor_kw = np.where(shut, 0.0, np.maximum(least, part.charger_min_kw[offered.cars[owners]]))
        free = ~shut & self._worthwhile(price, slots, owners)
        self.fixed_kw[slots[~free], owners[~free]] = self.floor_kw[~free]
        self.left_kw = part.draw_kw[offered.cars] - self.fixed_kw.sum(axis=0)
        most = np.minimum(usable[slots, owners], self.left_kw[owners])
        # nothing to decide where the full slots already cover the need
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

    def model(self, withheld_kwh: float, overload_kw: float) -> Model:
        """Return the mixed-integer programme, its objective with what is withheld from the others; overload at most."""
        part, offered = self.part, self.offered
        phases, every = part.share.shape[1], np.arange(self.count)
        power = self.count + np.arange(len(self.slot))
        held = np.where(offered.state == CAPPED, part.room_kw[:, offered.cars] - self.fixed_kw, 0.0).sum(axis=0)
        share = part.share[offered.cars]
        limits = self.headroom_kw.size
        loads: list[tuple[Int, Int, Float | float]] = []
        for phase in range(phases):
            at, who = np.nonzero(self.fixed_kw)
            loads += [
                (at * phases + phase, who, self.fixed_kw[at, who] * share[who, phase]),
                (self.last * phases + phase, every, self.left_kw * share[:, phase]),
                (self.slot * phases + phase, power, share[self.owner, phase]),
                # the need is fixed: every kW in a throttled slot is one less in the last one
                (self.last[self.owner] * phases + phase, power, -share[self.owner, phase]),
            ]
        overload = self.count + len(power) + np.arange(limits)
        rows = Rows()
        rows.add(limits, -np.inf, self.headroom_kw.ravel(), *loads, (np.arange(limits), overload, -1.0))
        cars, car_row = np.unique(offered.cars, return_inverse=True)
        rows.add(len(cars), 1.0, 1.0, (car_row, every, 1.0))
        # 0 <= left - Σ power <= last slot, where the structure is chosen; all big-M are powers a car can draw
        for sign, limit in ((1.0, self.left_kw), (-1.0, self.last_kw - self.left_kw)):
            rows.add(self.count, -np.inf, 0.0, (self.owner, power, sign), (every, every, -limit))
        each = np.arange(len(power))
        # least z <= power <= most z
        for sign, limit in ((1.0, self.most_kw), (-1.0, -self.least_kw)):
            rows.add(len(power), -np.inf, 0.0, (each, power, sign), (each, self.owner, -limit))
        # a kW drawn in a throttled slot is a kW of its cap given back: -1
        cost = part.slot_h * np.concatenate([held, np.full(len(power), -1.0), np.full(limits, OVERLOAD_KWH_PER_KW)])
        high = np.concatenate([np.ones(self.count), self.most_kw, np.full(limits, overload_kw)])
        return rows.model(cost, np.zeros(len(cost)), high, np.arange(len(cost)) < self.count, withheld_kwh)

    def read(self, values: Float) -> tuple[Int, Float, float]:
        """Return the structures chosen, what their cars draw, and the largest overload."""
        rows = np.flatnonzero(values[: self.count] > 0.5)
        power = np.zeros(self.fixed_kw.shape)
        power[self.slot, self.owner] = np.clip(values[self.count : self.count + len(self.slot)], 0.0, self.most_kw)
        charge = self.fixed_kw[:, rows] + power[:, rows]
        # from the balance, not from the solver: needs are met exactly in spite of its tolerances
        last = self.left_kw[rows] - power[:, rows].sum(axis=0)
        charge[self.last[rows], np.arange(len(rows))] = np.clip(last, 0.0, self.last_kw[rows])
        overload = float(values[self.count + len(self.slot) :].max(initial=0.0))
        return rows, charge, overload
