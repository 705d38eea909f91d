"""The best plan of a day that keeps every limit: linear programmes in turn, each at the power flow of the last plan.

Every step's limits are linearised where the last plan is, and may be broken at a price that no plan is worth; convex
objectives of currents are below by tangents, which are added where the model's optimum is, until they are close. What
is better by the full power flow is kept and linearised anew, all else shrinks the trust region (successive linear
programming with an exact penalty: R. Fletcher, E. Sainz de la Maza, Mathematical Programming 43, 1989).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import sparse

from cosim.contract import Complex, Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.network.box import VOLT_PU, Linear
from cosim.controllers.optimum.day import CHARGE, DISCHARGE, EV, Day, Draft
from cosim.controllers.optimum.forms import Form
from cosim.controllers.optimum.objective import Objective
from cosim.controllers.solver import Solver, SolveResult, solve

ROUNDS = 16
LIFTS = (1.0, 3.0, 10.0, 1e3)
FEWER = 2  # where squares have tangents in every step, and no limit is broken
MARGIN = 2e-5  # stress: 1e-6 pu of a voltage
WATCHED = 0.85  # stress from which on a step's limits are rows
NEAR = 0.3  # stress below the worst of a step at which a limit is no row
ROWS = 16
SAME = 2e-4  # of the value: less is no progress
SHRINK = 0.35
NO_BREACH_H = 1e-8
CLOSE = 2e-3  # of a value: how far tangents may be below
TANGENT_ROUNDS = 6
MOST_TANGENTS = 12  # of a part
_SMALL_KW = 1e-6
_SMALL_KWH = 1e-3


@dataclass(frozen=True, eq=False)
class Point:
    """A plan as columns.

    Attributes
    ----------
    x : ndarray, shape (column,)
        Powers [kW].
    unserved_kwh : ndarray, shape (session,)
        Energy that batteries miss [kWh].
    stress : ndarray, shape (step,)
        Of the limit that is stressed most, by the full power flow.
    value, breach_h : float
        Of the objective, by the same, and how far and how long limits are exceeded [h].
    score : float
        Both, and what is unserved, at the objective's prices; inf beyond a budget.
    """

    x: Float
    unserved_kwh: Float
    stress: Float
    value: float
    breach_h: float
    score: float


def point(day: Day, objective: Objective, x: Float, unserved_kwh: Float) -> Point:
    """Judge powers by the full power flow."""
    net_kw = day.net_kw(x)
    port_v, current_a = day.flow(net_kw)
    stress = day.limits.stress(port_v, current_a).max(axis=1)
    breach_h = float((stress - 1.0).clip(0.0).sum() * day.step_h)
    form = objective.form(day)
    if form is not None:
        value = form.value(form.parts(day.port_a(net_kw, port_v), day.source), day.source)
    else:
        value = day.cut_kwh(x) if objective.name == "curtailment" else day.bill_eur(net_kw)
    score = objective.score(value, float(unserved_kwh.sum()), breach_h)
    return Point(x, unserved_kwh, stress, value, breach_h, score if objective.keeps_budgets(day, x) else np.inf)


def start(day: Day, objective: Objective) -> Point:
    """Cheapest hours first, and nothing else."""
    kind, step, customer, _ = day.columns
    x = np.where(kind == EV, day.cheapest[0][step, customer], 0.0)
    return point(day, objective, x, np.zeros(len(day.need_kwh)))


def improve(day: Day, objective: Objective, best: Point, low: Float, high: Float, *, runs: bool = False) -> Point:
    """Improve a plan within limits of its columns until nothing is won; ``runs`` as in `Objective.begin`."""
    radius_kw, watched, form = np.inf, np.zeros(len(day.base_kw), bool), objective.form(day)
    tangents = None if form is None else Tangents(form, len(day.base_kw))
    for turn in range(ROUNDS):
        if form is not None and not form.largest and turn >= FEWER and best.breach_h < NO_BREACH_H:
            break
        watched |= best.stress > WATCHED
        steps = np.flatnonzero(watched | (form is not None))
        linear = Linear(day.limits, day.states(day.net_kw(best.x))[steps]) if len(steps) else None
        draft, x, unserved, breach = objective.begin(day, runs=runs)
        if linear is not None:
            add_rows(draft, limit_rows(day, linear, best.x, steps, watched), x, breach)
        reach = np.maximum(low, best.x - radius_kw), np.minimum(high, best.x + radius_kw)
        if tangents is None or linear is None:
            model = draft.model()
            model.low[x], model.high[x] = np.minimum(*reach), np.maximum(*reach)  # type: ignore[index]
            found = solve(model)
        else:
            found, _ = tangents.minimise(day, linear, draft, x, best.x, reach)
        if not len(found.x):
            break
        tried = point(day, objective, np.clip(found.x[x], low, high), found.x[unserved].clip(0.0))
        watched |= tried.stress > WATCHED
        is_last = best.score - found.value < (SAME if form is None else CLOSE) * max(abs(best.score), 1e-3)
        if tried.score < best.score:
            best = tried
        else:
            radius_kw = SHRINK * min(radius_kw, float(np.abs(tried.x - best.x).max(initial=_SMALL_KW)))
        if is_last and best.breach_h < NO_BREACH_H:
            break
    return best


@dataclass(eq=False)
class Tangents:
    """Tangents of a convex objective of currents, which hold wherever the power flow is linearised."""

    form: Form
    steps: int
    _points: list[list[Complex]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._points = [[] for _ in range(self.steps * len(self.form.groups))]

    def minimise(
        self, day: Day, linear: Linear, draft: Draft, x: Int, at: Float, reach: tuple[Float, Float]
    ) -> tuple[SolveResult, Int]:
        """Minimise a linear model of all steps and this objective.

        Returns
        -------
        found : SolveResult
            Its result.
        of_tangent : ndarray of int, shape (tangent,)
            Step times groups plus group of each of its last rows, which are tangents.
        """
        form, count = self.form, len(self.form.groups)
        steps = np.arange(self.steps)
        parts, slopes = parts_of(day, form, linear)
        if form.largest:
            value = np.broadcast_to(draft.columns(1, 0.0, 1e6), self.steps * count)
            draft.cost(value[:1], form.scale)
        else:
            value = draft.columns(self.steps * count, 0.0, 1e12, np.repeat(steps, count))
            draft.cost(value, form.scale)
            draft.offset += form.constant * float((day.source**2).sum())
        fixed = [parts[t] - slopes[t] @ at[day.of_step[t]] for t in steps]
        self._add(np.arange(self.steps * count), parts)
        of_tangent = [one for one, points in enumerate(self._points) for _ in points]
        for one, points in enumerate(self._points):
            for z in points:
                columns, coefficients, most = self._row(one, z, x, value, slopes, fixed, day)
                draft.row(-np.inf, most, columns, coefficients)
        model = draft.model()
        model.low[x], model.high[x] = np.minimum(*reach), np.maximum(*reach)  # type: ignore[index]
        solver = Solver(model)
        found = solver.solve()
        for _ in range(TANGENT_ROUNDS - 1):
            if not len(found.x):
                break
            parts = np.array([fixed[t] + slopes[t] @ found.x[x[day.of_step[t]]] for t in steps])
            off = (form.of_groups(parts).ravel() - found.x[value]).clip(0.0)
            is_close = (off.max() if form.largest else off.sum()) * form.scale
            if is_close < CLOSE / 2.0 * abs(found.value):
                break
            share = 0.0 if form.largest else CLOSE / 8.0 * abs(found.value) / form.scale / len(off)
            few = np.flatnonzero(off > share)
            self._add(few, parts)
            added = [self._row(one, self._points[one][-1], x, value, slopes, fixed, day) for one in few.tolist()]
            of_tangent += few.tolist()
            matrix = sparse.csr_array(
                (
                    np.concatenate([row[1] for row in added]),
                    (np.repeat(np.arange(len(added)), [len(row[0]) for row in added]),
                     np.concatenate([row[0] for row in added])),
                ), (len(added), len(model.cost)),
            )  # fmt: skip
            solver.add_rows(matrix, -np.inf, np.array([row[2] for row in added]))
            found = solver.solve()
        self._points = [points[-MOST_TANGENTS:] for points in self._points]
        return found, np.array(of_tangent)

    def _add(self, which: Int, parts: Complex) -> None:
        for one in which.tolist():
            step, group = divmod(one, len(self.form.groups))
            self._points[one].append(parts[step][self.form.groups[group]])

    def _row(
        self, one: int, z: Complex, x: Int, value: Int, slopes: list[Complex], fixed: list[Complex], day: Day
    ) -> tuple[Int, Float, float]:
        """``slope @ x - value <= most`` of a tangent."""
        step, group = divmod(one, len(self.form.groups))
        parts, (weight, below) = self.form.groups[group], self.form.tangent(z)
        slope = (weight @ slopes[step][parts]).real
        most = below - float((weight @ fixed[step][parts]).real)
        columns = np.append(x[day.of_step[step]], value[one])
        return columns, np.append(slope, -1.0), most


def prices(day: Day, objective: Objective, best: Point) -> tuple[Float, Float]:
    """What the linear model about a plan says that energy is worth, and of what an objective of currents is made.

    Returns
    -------
    row_dual : ndarray, shape (row,)
        Multipliers of the rows of `Objective.begin`.
    weights : ndarray, shape (step, group)
        What each group of each step counts.
    """
    form, every = day.form(objective.name), np.arange(len(day.base_kw))
    linear = Linear(day.limits, day.states(day.net_kw(best.x)))
    draft, x, _, breach = objective.begin(day, runs=True, ends=True)
    common, shape = draft.rows.count, (len(every), len(form.groups))
    add_rows(draft, limit_rows(day, linear, best.x, every, best.stress > WATCHED), x, breach)
    reach = np.zeros_like(best.x), day.columns[3]
    found, of_tangent = Tangents(form, len(every)).minimise(day, linear, draft, x, best.x, reach)
    weights = np.full(shape, form.scale)
    if not len(found.x):
        return np.zeros(common), weights / weights.size if form.largest else weights
    if form.largest:
        share = np.bincount(of_tangent, -found.row_dual[-len(of_tangent) :].clip(max=0.0), weights.size)
        weights = (form.scale * share / share.sum()).reshape(shape)
    return found.row_dual[:common], weights


def parts_of(day: Day, form: Form, linear: Linear) -> tuple[Complex, list[Complex]]:
    """Parts of a form at references, one of each step, and what a unit of every column of the step adds to them."""
    homes, kind_sign, who = day.base_kw.shape[1], day.signs, day.columns[2]
    customer = day.limits.elements.port_customer
    per_kw = np.eye(homes)[customer] * linear.va[:, None]
    drawn = np.conj(linear.power_va / linear.port_v)
    slopes = []
    for t, columns in enumerate(day.of_step):
        v = linear.port_v[t]
        bent = np.conj(linear.power_va[t] / v**2)[:, None] * np.conj(linear.volts[t][:, :homes])
        slopes.append((form.per_port @ (np.conj(per_kw / v[:, None]) - bent))[:, who[columns]] * kind_sign[columns])
    return form.parts(drawn, day.source), slopes


@dataclass(frozen=True, eq=False)
class Row:
    """``values @ x[columns] - breach[step] <= most``."""

    step: int
    columns: Int
    values: Float
    most: float


def add_rows(draft: Draft, rows: list[Row], x: Int, breach: Int) -> None:
    """Write rows, which may be broken at a price."""
    for row in rows:
        columns = np.append(x[row.columns], breach[row.step])
        draft.row(-np.inf, row.most - MARGIN, columns, np.append(row.values, -1.0))


def limit_rows(day: Day, linear: Linear, x: Float, steps: Int, watched: Bool) -> list[Row]:
    """Linearise the limits that are near in steps that are watched, at a plan."""
    limits, conductors, homes = day.limits, day.limits.elements.conductors, day.base_kw.shape[1]
    rows = []
    for at, step in enumerate(steps):
        if not watched[step]:
            continue
        stress, columns = linear.stress[at], day.of_step[step]
        who, signed = day.columns[2][columns], day.signs[columns]
        order = np.concatenate([np.argsort(-part, kind="stable")[:ROWS] + first for part, first in (
            (stress[:conductors], 0), (stress[conductors:], conductors))])  # fmt: skip
        order = order[stress[order] > stress[order].max() - NEAR]
        turned = np.exp(-1j * np.angle(linear.current_a[at]))[:, None] * linear.amps[at][:, :homes]
        volts = linear.radial[at][:, :homes] / (VOLT_PU * limits.elements.nominal_v[:, None])
        gain = np.concatenate([turned.real / limits.amps[:, None], volts, -volts])[order]
        for limit, effect in zip(order, gain, strict=True):
            values = effect[who] * signed
            rows.append(Row(int(step), columns, values, 1.0 - stress[limit] + float(values @ x[columns])))
    return rows


def once(day: Day, objective: Objective, best: Point) -> Point:
    """The linear model's optimum about a plan, bills knowing the least power of chargers."""
    every = np.arange(len(day.base_kw))
    linear = Linear(day.limits, day.states(day.net_kw(best.x)))
    draft, x, unserved, breach = objective.begin(day, runs=True)
    add_rows(draft, limit_rows(day, linear, best.x, every, every >= 0), x, breach)
    found = solve(draft.model())
    return point(day, objective, found.x[x], found.x[unserved]) if len(found.x) else best


def runnable(day: Day, objective: Objective, best: Point) -> Point:
    """Repair a plan to what chargers can do: pause, or draw at least 6 A."""
    begun = best
    if objective.name == "cost":  # begin where less than the least costs what it does
        begun = once(day, objective, best)
    elif objective.has_bill:
        begun = improve(day, objective, replace(best, score=np.inf), np.zeros_like(best.x), day.columns[3], runs=True)
    lifts = LIFTS if objective.form(day) is None else LIFTS[:1]
    found = [_gathered(day, objective, begun, lift) for lift in lifts]
    if all(one.unserved_kwh.sum() > best.unserved_kwh.sum() + _SMALL_KWH for one in found):  # too few steps were left
        found += [_gathered(day, objective, best, lift) for lift in LIFTS]
    return min(found, key=lambda one: one.score)


def _gathered(day: Day, objective: Objective, best: Point, lift: float) -> Point:
    """Gather what a car draws below its least in as few of these steps as hold it, or in more by a factor.

    Those first that drew most; the rest is planned again around that.
    """
    kind, step, customer, high = day.columns
    low, high = np.zeros_like(high), high.copy()
    # to charge and discharge at once burns energy, which no battery can
    into, out = np.flatnonzero(kind == CHARGE), np.flatnonzero(kind == DISCHARGE)
    charges = best.x[into] >= best.x[out]
    high[out[charges]], high[into[~charges]] = 0.0, 0.0
    of_ev = np.flatnonzero(kind == EV)
    session = day.session[0][step[of_ev], customer[of_ev]]
    least_kw = (day.least_kw * day.session[1])[step[of_ev], customer[of_ev]]
    for row in range(len(day.need_kwh)):
        mine = np.flatnonzero(session == row)
        if not len(mine):
            continue
        columns, least = of_ev[mine], least_kw[mine]
        drawn = best.x[columns]
        due_kw = (day.need_kwh[row] - best.unserved_kwh[row]) / day.day.sessions.efficiency[row] / day.step_h
        order = np.argsort(-drawn, kind="stable")
        least, most = least[order], high[columns[order]]
        full = drawn[order] >= least - _SMALL_KW
        few_kw = (drawn[order] * ~full).sum()
        # as many of those below as their energy keeps running at the least
        kept = full | (np.cumsum(np.where(full, 0.0, least)) <= lift * few_kw + least.max(initial=0.0) / 2.0)
        kept |= np.cumsum(most) - most < due_kw - _SMALL_KW  # what at the most would not do without
        kept &= np.cumsum(least) <= due_kw + _SMALL_KW
        on, off = columns[order[kept]], columns[order[~kept]]
        low[on], high[off] = least[kept], 0.0
        if not len(on) and due_kw > _SMALL_KW:  # one step that ends early
            high[columns[order[0]]] = day.columns[3][columns[order[0]]]
    x = np.clip(best.x, low, high)
    served = np.zeros_like(best.unserved_kwh)
    energy = day.step_h * day.of_car(day.day.sessions.efficiency, 1.0)[step[of_ev], customer[of_ev]]
    np.add.at(served, session, energy * x[of_ev])
    begun = point(day, objective, x, (day.need_kwh - served).clip(0.0))
    return improve(day, objective, replace(begun, score=np.inf), low, high)
