"""One mixed-integer programme for a whole piece, in any form, under any tie rule, for any aim."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pyomo.environ as pyo

from cosim.controllers.caps import kkt, order_form, ties
from cosim.controllers.caps.options import CapsOptions
from cosim.controllers.caps.part import Part, Plan
from cosim.controllers.caps.search import search
from cosim.controllers.caps.start import holds, over_kw, precedence_key
from cosim.controllers.solver import Clock, Limits, Termination, judged
from cosim.controllers.solver.pyomo_model import solve

BREAKS_KW = 1e-5  # over a limit; less is rounding in a solver


@dataclass(frozen=True, eq=False)
class Outcome:
    """How a piece ended.

    Attributes
    ----------
    plan : Plan or None
        None where a limit ended it before any plan was found, or where there is none.
    part : Part
        The piece with the floors that were kept.
    status : Termination
        What is proven about the plan.
    objective, bound : float
        Of the objective asked for, and the proven bound on it.
    withheld_bound_kwh : float
        Lower bound of withheld energy at these floors [kWh].
    form : str
        The form that was used.
    plan_from : str
        ``solver``, ``search`` (orders of precedence) or ``start`` (a plan known before); ``decomposition``.
    """

    plan: Plan | None
    part: Part
    status: Termination
    objective: float
    bound: float
    withheld_bound_kwh: float
    form: str
    plan_from: str = "solver"

    @property
    def is_proven(self) -> bool:
        """Whether the plan is optimal, or within the gap asked for."""
        return self.status in (Termination.OPTIMAL, Termination.GAP_LIMIT)


class Aim:
    """What a programme is minimised for: here the energy withheld; others say how they differ.

    Nothing withheld is the best that any aim can ask for.
    """

    def shape(self, m: pyo.ConcreteModel, part: Part) -> None:
        """Add rows, or put another objective in the place of ``m.withheld_kwh``."""

    def value(self, part: Part, plan: Plan) -> float:
        """Return what a plan is worth, at least 0 and smaller is better; inf where it does not qualify."""
        return plan.withheld_kwh(part)

    def look_at(self, part: Part, plan: Plan) -> None:
        """Take note of what the solver found."""

    def write_start(self, m: pyo.ConcreteModel, part: Part, plan: Plan) -> None:
        """Set the variables that ``shape`` added to what belongs to a plan."""


LEAST_WITHHELD = Aim()


def whole(
    part: Part,
    options: CapsOptions,
    stop: Limits,
    rng: np.random.Generator,
    form: str,
    aim: Aim = LEAST_WITHHELD,
    known: Plan | None = None,
    near: Plan | None = None,
) -> Outcome:
    """Solve one programme for a whole piece.

    Parameters
    ----------
    part : Part
        The piece.
    options : CapsOptions
        For the tie rule, and whether to search for a plan to start from.
    stop : Limits
        Limits of the solve.
    rng : numpy.random.Generator
        Of the search.
    form : str
        ``order``, ``kkt_ordered`` or ``kkt``.
    aim : Aim
        What is minimised.
    known : Plan, optional
        A plan to start from; one that breaks a limit is not used.
    near : Plan, optional
        A plan for nearly the same data, which may not hold any more: the search for a start stays near it.

    Returns
    -------
    Outcome
        Whose objective and bound are those of the aim.
    """
    clock, at_first = Clock(stop.time_s), stop.plans == 1
    start = known if known is not None and over_kw(part, known) <= BREAKS_KW else None
    if start is None and near is not None:
        start = _start_near(part, rng, options, aim, near)
    if start is None and options.warm_start:
        start = search(part, rng, options.ties)
    worth = np.inf if start is None else aim.value(part, start)
    origin = "start" if start is not None and (start is known or start is near) else "search"
    # nothing withheld is the best that any aim can ask for: no programme needed
    if start is not None and (start.withheld_kwh(part) <= 0.0 or (at_first and np.isfinite(worth))):
        status = Termination.FIRST_PLAN if at_first else Termination.OPTIMAL
        return Outcome(start, part, status, worth, 0.0 if at_first else worth, 0.0, form, origin)
    model = built(part, options.ties, form)
    aim.shape(model, part)
    usable = start is not None and np.isfinite(worth) and _start(part, model, start, options.ties, form)
    if usable and start is not None:
        aim.write_start(model, part, start)
    ending = solve(model, replace(stop, time_s=clock.left_s), use_start=usable)
    read = _read(part, model, options.ties, form) if ending.has_point else None
    if read is not None:
        aim.look_at(part, read)
    found = [plan for plan in (start, read) if plan is not None and np.isfinite(aim.value(part, plan))]
    if not found:
        return Outcome(None, part, ending.termination, np.inf, ending.bound, max(ending.bound, 0.0), form)
    # valued as the household reacts, not as the solver sees it: the start may be the better one
    plan = min(found, key=lambda plan: aim.value(part, plan))
    # every aim is at least 0, so 0 is a bound even where the solver has none
    value, bound = aim.value(part, plan), max(ending.bound, 0.0)
    status = judged(value, bound, stop.gap, ending.termination)
    least_kwh = bound if aim is LEAST_WITHHELD else 0.0  # a bound of another aim says nothing of withheld energy
    return Outcome(plan, part, status, value, bound, least_kwh, form, origin if plan is start else "solver")


def _start_near(part: Part, rng: np.random.Generator, options: CapsOptions, aim: Aim, near: Plan) -> Plan | None:
    """Return the better of a plan from before, where it still holds, and the best that orders like its own give."""
    plans = [search(part, rng, options.ties, precedence_key(part, near))]
    if options.ties == "unique" and holds(part, near):
        plans.append(near)
    found = [plan for plan in plans if plan is not None and np.isfinite(aim.value(part, plan))]
    return min(found, key=lambda plan: aim.value(part, plan), default=None)


def built(part: Part, rule: str, form: str) -> pyo.ConcreteModel:
    """Return the model of a piece in a form and under a tie rule, least withheld as its objective."""
    if rule != "unique":
        return kkt.build(part, ordered=False, bands=True) if form == "kkt" else ties.build(part, rule)
    return order_form.build(part) if form == "order" else kkt.build(part, ordered=form == "kkt_ordered")


def _start(part: Part, model: pyo.ConcreteModel, plan: Plan, rule: str, form: str) -> bool:
    """Write a plan into the model; the textbook form under shared levels has no use for one."""
    if rule != "unique" and form == "kkt":
        return False
    (ties if rule != "unique" else order_form if form == "order" else kkt).write_start(part, model, plan)
    return True


def _read(part: Part, model: pyo.ConcreteModel, rule: str, form: str) -> Plan:
    if form != "order":
        return kkt.read(part, model)
    return order_form.read(part, model) if rule == "unique" else ties.read(part, model)
