"""Households that choose among equals: the textbook form with levels that slots of one price share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.asked import Outcome
from cosim.controllers.caps.core.finishing import Kept
from cosim.controllers.caps.core.floors import floors
from cosim.controllers.caps.core.kkt import Answer, solve_textbook
from cosim.controllers.caps.core.search import NAMED_KWH
from cosim.controllers.caps.core.subproblem import TOLERANCE_KW, UNSERVED_KWH, Subproblem
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.solver import SLACK, Clock, judged


def ties_withheld(
    sub: Subproblem, options: CapsOptions, clock: Clock, room_kw: Float, charge_kw: Float
) -> Outcome | None:
    """Solve a piece, and write rooms and charge of its cars, shape (slot, car of the problem); None without a plan.

    Parameters
    ----------
    sub : Subproblem
        The piece, without floors.
    options : CapsOptions
        For the view, floors and limits.
    clock : Clock
        What is left.
    room_kw, charge_kw : ndarray, shape (slot, car)
        Written to [kW].
    """
    wanted_kw = options.floor_kw if options.objective == "floor_then_least" else 0.0
    for above in (sub.with_floor(floors(sub, wanted_kw)), sub):
        answer = _solved(above, options, clock)
        if answer.drawn_kw.size:
            break
    else:
        return None
    unserved = _unserved_kwh(above, answer)
    if unserved > NAMED_KWH:
        service = above.with_aim(np.zeros(sub.size), sub.unserved_kwh)
        served = _solved(service, replace(options, gap=0.0), clock)
        unserved = min(_unserved_kwh(above, one) for one in (served, answer) if one.drawn_kw.size)
        kept = Kept(sub.unserved_kwh, unserved + SLACK * max(1.0, unserved), UNSERVED_KWH)
        last = _solved(above, options, clock, (kept,))
        answer = last if last.drawn_kw.size else answer
    withheld = np.maximum(above.usable_kw - answer.room_kw, 0.0)
    value = float((withheld * above.weight_kwh[:, None])[above.is_slot].sum())
    car, row = np.nonzero(above.is_slot & (above.usable_kw > 0.0))
    slot, of_problem = above.slot[car, row], above.cars[car]
    charge_kw[:, above.cars] = 0.0
    charge_kw[slot, of_problem] = answer.drawn_kw[car, row]
    held = withheld[car, row] > TOLERANCE_KW
    room_kw[slot[held], of_problem[held]] = answer.room_kw[car, row][held]
    bound = min(max(answer.ended.bound, 0.0), value)
    return Outcome(above, None, value, bound, bound, judged(value, bound, options.gap, answer.ended.termination, 1e-6))


def _solved(sub: Subproblem, options: CapsOptions, clock: Clock, kept: tuple[Kept, ...] = ()) -> Answer:
    return solve_textbook(sub, replace(options.stop, time_s=clock.left_s), kept=kept, ties=options.ties)


def _unserved_kwh(sub: Subproblem, answer: Answer) -> float:
    return float((sub.unserved_kwh * answer.drawn_kw).sum())
