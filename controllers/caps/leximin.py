"""Leximin: when the smallest room can grow no more, the next smallest is made as large as possible, and so on.

The rooms of a piece's homes, each its smallest over the slots in which it could charge, are compared in rising order.
With the levels ``v_1 < v_2 < ...`` reached so far, two programmes give the next: the fewest homes that must stay at the
last level, and then the largest room of all others. Homes are not fixed one by one, since which of them stay behind is
itself a choice: the programmes have a binary per home and level, and bind only how many there are of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyomo.environ as pyo

from cosim.contract import Float
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.caps.part import SMALLEST_KW, Part, Plan
from cosim.controllers.caps.programme import Aim, Outcome, whole
from cosim.controllers.solver import Clock, Termination, worst

STEP_KW = 2e-3  # a room that much larger is another level
SLACK_KW = 1e-6


@dataclass(frozen=True)
class Level:
    """A room, and how many homes may stay at it [kW]."""

    room_kw: float
    homes: int


def smallest_rooms(part: Part, plan: Plan) -> dict[int, float]:
    """Return each home's smallest room over the slots in which it could charge [kW]."""
    rooms = np.where(part.usable_kw > SMALLEST_KW, plan.room_kw, np.inf).min(axis=0)
    smallest: dict[int, float] = {}
    for home, room in zip(part.home.tolist(), rooms.tolist(), strict=True):
        smallest[home] = min(room, smallest.get(home, np.inf))
    return smallest


class AtLevels(Aim):
    """Least withheld at levels reached before; the other aims ask for more.

    Parameters
    ----------
    levels : sequence of Level
        Rising; of the homes above a level's count all have at least the next level's room.
    next_kw : float
        What the homes that do not stay at the last level have at least [kW].
    """

    def __init__(self, levels: Sequence[Level], next_kw: float) -> None:
        self.levels, self.next_kw = levels, next_kw

    def shape(self, m: pyo.ConcreteModel, part: Part) -> None:
        """Add the rows of levels."""
        rows: dict[int, list[pyo.Expression]] = {}
        for c, k in m.pairs:
            rows.setdefault(int(part.home[c]), []).append(float(part.room_kw[k, c]) - m.withheld_kw[c, k])
        steps = range(len(self.levels))
        m.stays = pyo.Var(list(rows), list(steps), within=pyo.Binary)
        m.levels = pyo.ConstraintList()
        rooms = [level.room_kw for level in self.levels] + [self.next_kw]
        for home, left in rows.items():
            lowest = rooms[0] + sum(
                (rooms[i + 1] - rooms[i]) * (1 - m.stays[home, i]) for i in steps if i + 1 < len(rooms)
            )
            for room in left:
                # levels reached before come with the solver's tolerance: held exactly, they could make the next aim
                # infeasible
                m.levels.add(room >= lowest - SLACK_KW)
            for i in steps[1:]:
                # who stays at a lower level cannot reach a higher one
                m.levels.add(m.stays[home, i] >= m.stays[home, i - 1])
        for i, level in enumerate(self.levels):
            m.levels.add(sum(m.stays[home, i] for home in rows) <= level.homes)

    def value(self, part: Part, plan: Plan) -> float:
        """Return what is withheld, inf where the levels are not kept."""
        return plan.withheld_kwh(part) if self.kept(part, plan) else float("inf")

    def kept(self, part: Part, plan: Plan) -> bool:
        """Whether a plan keeps the levels."""
        rooms = np.array(list(smallest_rooms(part, plan).values()))
        nexts = [level.room_kw for level in self.levels[1:]] + [self.next_kw]
        below = [int((rooms < room - 10 * SLACK_KW).sum()) for room in nexts]
        enough = all(count <= level.homes for count, level in zip(below, self.levels, strict=True))
        return enough and bool((rooms >= self.levels[0].room_kw - 10 * SLACK_KW).all())

    def write_start(self, m: pyo.ConcreteModel, part: Part, plan: Plan) -> None:
        """Say which homes stay at which level."""
        nexts = [level.room_kw for level in self.levels[1:]] + [self.next_kw]
        for home, room in smallest_rooms(part, plan).items():
            for i, above in enumerate(nexts):
                if (home, i) in m.stays:
                    m.stays[home, i].value = int(room < above - 10 * SLACK_KW)


class FewestStay(AtLevels):
    """How few homes must stay at the last level."""

    def shape(self, m: pyo.ConcreteModel, part: Part) -> None:
        """Replace the objective by their number."""
        super().shape(m, part)
        last = len(self.levels) - 1
        m.withheld_kwh.deactivate()
        m.fewest = pyo.Objective(expr=sum(m.stays[home, i] for home, i in m.stays if i == last))

    def value(self, part: Part, plan: Plan) -> float:
        """Return the number of homes below the next room."""
        if not self.kept(part, plan):
            return float("inf")
        return float(sum(room < self.next_kw - 10 * SLACK_KW for room in smallest_rooms(part, plan).values()))


class LargestNext(AtLevels):
    """The room of the homes that need not stay, as large as possible: what it falls short of ``top_kw``."""

    def __init__(self, levels: Sequence[Level], next_kw: float, top_kw: float) -> None:
        super().__init__(levels, next_kw)
        self.top_kw = top_kw

    def shape(self, m: pyo.ConcreteModel, part: Part) -> None:
        """Replace the objective."""
        super().shape(m, part)
        last = len(self.levels) - 1
        m.next_kw = pyo.Var(bounds=(self.next_kw, self.top_kw))
        for c, k in m.pairs:
            stays = m.stays[int(part.home[c]), last]
            # big-M = top: no room is larger
            m.levels.add(float(part.room_kw[k, c]) - m.withheld_kw[c, k] >= m.next_kw - self.top_kw * stays)
        m.withheld_kwh.deactivate()
        m.short = pyo.Objective(expr=self.top_kw - m.next_kw)

    def value(self, part: Part, plan: Plan) -> float:
        """Return by how much the first room above those that stay falls short of the top."""
        if not self.kept(part, plan):
            return float("inf")
        rooms = np.sort(list(smallest_rooms(part, plan).values()))
        stay = self.levels[-1].homes
        return self.top_kw - min(float(rooms[stay]), self.top_kw) if stay < len(rooms) else 0.0

    def write_start(self, m: pyo.ConcreteModel, part: Part, plan: Plan) -> None:
        """Set the room too."""
        super().write_start(m, part, plan)
        m.next_kw.value = min(max(self.top_kw - self.value(part, plan), self.next_kw), self.top_kw)


def next_levels(
    part: Part, options: CapsOptions, rng: np.random.Generator, form: str, first: Outcome, gap_kw: float
) -> Outcome:
    """Raise what can be raised above the smallest room, as many levels as the options ask for.

    Parameters
    ----------
    part : Part
        The piece, without floors.
    options : CapsOptions
        Number of levels, and limits of the solver: the time is that of all levels together.
    rng : numpy.random.Generator
        Handed on.
    form : str
        Of the programmes.
    first : Outcome
        With the largest smallest room as its objective.
    gap_kw : float
        A room that much larger is another level, at least.

    Returns
    -------
    Outcome
        Objective and bound as in ``first``; its status is the worst of all levels.
    """
    if first.plan is None:
        return first
    clock, step_kw = Clock(options.time_limit_s), max(STEP_KW, gap_kw)
    # a little below what was reached: held exactly, tolerances could make the next aim infeasible
    plan, levels, statuses = first.plan, [Level(max(first.objective - SLACK_KW, 0.0), 0)], [first.status]
    homes = smallest_rooms(part, plan)
    top_kw = float(part.room_kw[part.usable_kw > SMALLEST_KW].max(initial=0.0))

    def solved(aim: AtLevels) -> Outcome:
        stop = replace(options.stop, time_s=clock.left_s)
        found = whole(part, options, stop, rng, form, aim, known=plan)
        statuses.append(Termination.TIME_LIMIT if found.plan is None else found.status)
        return found

    for _ in range(options.levels - 1):
        last = levels[-1]
        above = last.room_kw + step_kw
        everybody = [*levels[:-1], Level(last.room_kw, len(homes))]
        fewest = solved(FewestStay(everybody, above))
        if fewest.plan is None:
            break
        stay = round(FewestStay(everybody, above).value(part, fewest.plan))
        plan, levels[-1] = fewest.plan, Level(last.room_kw, stay)
        if stay >= len(homes):
            break
        aim = LargestNext(levels, above, top_kw)
        largest = solved(aim)
        if largest.plan is None:
            break
        plan = largest.plan
        levels.append(Level(top_kw - aim.value(part, plan) - SLACK_KW, 0))
    levels[-1] = replace(levels[-1], homes=len(homes)) if levels[-1].homes == 0 else levels[-1]
    final = solved(AtLevels(levels, levels[-1].room_kw))
    plan = final.plan or plan
    bound_kwh = min(final.bound if final.plan is not None else 0.0, plan.withheld_kwh(part))
    return replace(
        first,
        plan=plan,
        part=part.with_floor(_floors(part, plan, levels)),
        status=worst(statuses),
        withheld_bound_kwh=bound_kwh,
        form=form,
    )


def _floors(part: Part, plan: Plan, levels: Sequence[Level]) -> Float:
    """What each home was promised: the highest level that its smallest room reaches, shape (slot, car) [kW]."""
    smallest = smallest_rooms(part, plan)
    rooms = np.array([smallest[home] for home in part.home.tolist()])
    promised = np.zeros(len(rooms))
    for level in levels:
        promised = np.where(rooms >= level.room_kw - 10 * SLACK_KW, level.room_kw, promised)
    return np.where(part.usable_kw > SMALLEST_KW, promised, 0.0)
