"""Export caps of a day: planned with what import caps lead to, confirmed by the power flow, applied by what meters say.

Without caps the power flow shows which conductors and customers are beyond their limits and when. Each of them becomes
a row, linear in what homes send back, with sensitivities found by the power flow itself; the caps are found, the power
flow is asked again, rows that did not hold are tightened and those that are still missing are added, until nothing is
above its limit, or nothing more can be curtailed.

Planning import first and export after it loses little: export caps never raise what a home imports, and a car that
charges by day only leaves more room to its neighbours' roofs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from cosim.contract import Exogenous, Feeder, Float, Int, Observation
from cosim.contract.signals import Bool
from cosim.controllers.caps.day import background_of, in_slots
from cosim.controllers.caps.export.allocation import ExportProblem, ExportResult, FeedInRows, solve_export
from cosim.controllers.caps.network.elements import Elements, Flow, slopes
from cosim.controllers.caps.network.verify import Round, clock_of, round_of
from cosim.controllers.caps.options import Manner
from cosim.controllers.nowcast import rest_of_day

RISE_PU = 0.05  # a voltage this far above its limit counts as twice the limit
HARDLY = 0.02  # of the largest influence on a limit: homes with less are left out of its row
NEAR = 0.02  # limits are given rows where they are this close, so that few rounds are needed
NEAR_AT_WILL = 0.3  # the same where limits hold whatever homes do, which is far from what is expected
BROKEN = 1e-3  # of a limit: less is rounding (0.01 V)
KEPT_SHORT = 2e-3  # rows aim this far below the limit
ROWS_PER_STEP = 9  # new ones in one round: neighbours are alike, and what is missing is added in the next
PROBES = 6  # states at which influences are found in one round
PROBE_KW = -0.5
AS_FORECAST_KW = 0.05  # a home whose net load differs by less is as forecast


@dataclass(frozen=True, eq=False)
class ExportPlan:
    """Export caps of a horizon, step by step.

    Attributes
    ----------
    problem : ExportProblem
        With the rows of the last round.
    result : ExportResult
        Its solution.
    rounds : tuple of Round
        Without caps first; empty without a predictor.
    not_from_export : tuple of str
        Limits that are broken although nothing that homes send back matters to them.
    """

    problem: ExportProblem
    result: ExportResult
    rounds: tuple[Round, ...] = ()
    not_from_export: tuple[str, ...] = ()

    @property
    def verified(self) -> Round | None:
        """What the power flow says of these caps; None where it was not asked."""
        return min(self.rounds[1:], key=lambda found: found.over_limit, default=None)

    @property
    def caps_kw(self) -> Float:
        """As applied, inf where nothing is withheld, shape (step, home) [kW]."""
        held = self.result.caps_kw < self.problem.rated_kw
        return np.where(held, self.result.caps_kw, np.inf)


def export_problem(feeder: Feeder, day: Exogenous, ev_kw: Float, manner: Manner) -> ExportProblem:
    """Return the problem of a day on which cars draw what is known, shape (step, home), one slot a step.

    Limits that hold whatever homes do reckon with cars that draw anything. What may flow back over a phase is its rated
    current at the declared voltage, after reactive power and margin.
    """
    apparent_kva = manner.limit_a * (1.0 - manner.margin) * feeder.nominal_voltage_v / 1e3
    kvar = day.demand_kvar @ feeder.phase_matrix
    # P <= sqrt(S² - Q²): reactive demand uses part of the rating
    back_kw = np.sqrt(np.maximum(apparent_kva**2 - kvar**2, 0.0))
    step, phase = np.nonzero(np.isfinite(back_kw))
    names = tuple(f"phase {one + 1}" for one in phase)
    drawn_kw, at_will_kw = ev_kw, None
    if manner.holds_whatever:
        cars = in_slots(day.sessions, day.steps, day.step_min)
        drawn_kw, at_will_kw = np.zeros_like(ev_kw), np.zeros_like(ev_kw)
        np.add.at(at_will_kw.T, cars["home"], (cars["plugged"] * cars["charger_kw"]).T)
    return ExportProblem(
        slot_h=day.step_min / 60.0,
        load_kw=np.maximum(day.inflexible_load_kw, 0.0) + drawn_kw,
        sun_kw=np.minimum(day.pv_available_kw, day.inverter_kva),
        rated_kw=day.inverter_kva,
        rows=FeedInRows(step, feeder.phase_matrix[:, phase].T, back_kw[step, phase], names),
        at_will_kw=at_will_kw,
    )


@dataclass(frozen=True)
class _Row:
    """A limit at one step, and the stress per kW of the home that counts most in it."""

    share: Float
    limit_kw: float
    per_kw: float


class Verified:
    """Export caps of one horizon, verified by the power flow.

    Parameters
    ----------
    elements : Elements
        Everything that has a limit, and its loading.
    day : Exogenous
        As forecast.
    manner : Manner
        How export is planned.
    """

    def __init__(self, elements: Elements, day: Exogenous, manner: Manner) -> None:
        self._elements, self._manner = elements, manner
        self._background, self._clock = background_of(day), clock_of(day)

    def plan(self, problem: ExportProblem) -> ExportPlan:
        """Solve and verify until the power flow is content, the rounds are used up, or rows change no more."""
        every = len(self._elements.names)
        near, most = (NEAR_AT_WILL, every) if self._manner.holds_whatever else (NEAR, ROWS_PER_STEP)
        net = problem.load_kw - problem.sun_kw
        stress, flow = self._stress(net)
        causes = self._causes(problem, stress)
        rows: dict[tuple[int, int], _Row] = {}
        rounds = [self._round(0, 0, stress, flow, causes)]
        plans: list[ExportPlan] = []
        for number in range(1, self._manner.rounds + 1):
            known = len(rows)
            self._add_rows(rows, net, stress, _most_stressed(causes & (stress > 1.0 - near), stress, most))
            with_rows = replace(problem, rows=problem.rows.joined(self._as_rows(rows, net.shape[1])))
            found = solve_export(with_rows, self._manner.export_objective)
            net = found.net_kw
            stress, flow = self._stress(net)
            rounds.append(self._round(number, len(rows), stress, flow, causes))
            plans.append(ExportPlan(with_rows, found))
            # relaxed and no new row: everything that can be curtailed is
            if rounds[-1].clean or (found.relaxations and len(rows) == known):
                break
        others = tuple(self._other_faults(stress, flow, causes))
        # rounds need not improve one by one: the best one is kept, not the last
        best = int(np.argmin([found.over_limit for found in rounds[1:]]))
        return replace(plans[best], rounds=tuple(rounds), not_from_export=others)

    def _stress(self, net_kw: Float, steps: Int | None = None) -> tuple[Float, Flow]:
        """Loading of conductors and of customers' highest voltage, 1 at the limit, and the power flow."""
        background = self._background.at(slice(None) if steps is None else steps)
        flow = self._elements.flow(replace(background, p_kw=net_kw))
        loading = flow.loading[:, : self._elements.conductors] / (1.0 - self._manner.margin)
        # 1 at the limit, as for conductors, so that the worst of both can be ranked
        rise = 1.0 + (flow.voltage_pu - self._manner.voltage_max_pu) / RISE_PU
        # no power flow: far above every limit, so that its rows come first
        return np.nan_to_num(np.concatenate([loading, rise], axis=1), nan=10.0), flow

    def _causes(self, problem: ExportProblem, stress: Float) -> Bool:
        """Where less export would make a limit less loaded, shape (step, element)."""
        surplus_kw = problem.surplus_kw
        less, _ = self._stress(np.where(surplus_kw > 0, -0.9 * surplus_kw, problem.load_kw - problem.sun_kw))
        # curtailing cannot lower what export does not raise; a row for it would only withhold
        return np.asarray((stress - less > 1e-6) & (surplus_kw.sum(axis=1) > 0)[:, None])

    def _influence(self, net_kw: Float, step: int) -> Float:
        """Stress per kW more export of each home, shape (home, element)."""
        steps = np.full(len(net_kw) + 1, step)
        return -slopes(lambda states: self._stress(states, steps)[0], net_kw, PROBE_KW)

    def _add_rows(self, rows: dict[tuple[int, int], _Row], net_kw: Float, stress: Float, near: Bool) -> None:
        """Lower the limits of rows that did not hold, and lay rows through the operating point for all that are near.

        A row is never made looser: as caps move from solve to solve, that is what ends it.
        """
        kept = 1.0 - KEPT_SHORT
        for (k, e), row in rows.items():
            # first-order step: excess over slope; repeated, for the slope is that of another point
            excess_kw = max(float(stress[k, e]) - kept, 0.0) / row.per_kw
            rows[k, e] = replace(row, limit_kw=row.limit_kw - excess_kw)
        fresh = [(k, e) for k, e in np.argwhere(near).tolist() if (k, e) not in rows]
        if not fresh:
            return
        worst: dict[int, int] = {}
        for k, e in fresh:
            worst[e] = max(k, worst.get(e, k), key=lambda step: float(stress[step, e]))
        steps = sorted(set(worst.values()), key=lambda k: -max(stress[k, e] for e, at in worst.items() if at == k))
        influence = {k: self._influence(net_kw[k], k) for k in steps[:PROBES]}
        for k, e in fresh:
            of_element = influence.get(worst[e], influence[steps[0]])[:, e]
            largest = float(of_element.max())
            if largest <= 0.0:
                continue
            share = np.where(np.abs(of_element) >= HARDLY * largest, of_element / largest, 0.0)
            # tangent at the operating point, in export (minus net load): limit = export there + room / slope
            limit = float(-(share @ net_kw[k])) + (kept - float(stress[k, e])) / largest
            rows[k, e] = _Row(share, limit, largest)

    def _as_rows(self, rows: dict[tuple[int, int], _Row], homes: int) -> FeedInRows:
        return FeedInRows(
            np.array([k for k, _ in rows], np.int64),
            np.array([row.share for row in rows.values()]).reshape(-1, homes),
            np.array([row.limit_kw for row in rows.values()]),
            tuple(self._elements.where(e) for _, e in rows),
        )

    def _round(self, number: int, rows: int, stress: Float, flow: Flow, causes: Bool) -> Round:
        over = np.where(causes & (stress > 1.0 + BROKEN), stress - 1.0, 0.0)
        return round_of(self._elements, flow, over, self._clock, number, rows, RISE_PU)

    def _other_faults(self, stress: Float, flow: Flow, causes: Bool) -> Iterator[str]:
        """Voltages too high although nobody's export lifts them."""
        broken = (stress > 1.0 + BROKEN) & ~causes
        broken[:, : self._elements.conductors] = False
        for element in np.flatnonzero(broken.any(axis=0)).tolist():
            k = int(np.where(broken[:, element], stress[:, element], 0.0).argmax())
            pu = flow.voltage_pu[k, element - self._elements.conductors]
            yield f"{self._elements.where(element)} at {self._clock(k)}: {pu:.3f} pu without any export"


def _most_stressed(near: Bool, stress: Float, most: int) -> Bool:
    """Keep the elements of each step that are nearest to their limits, at most so many, shape (step, element)."""
    if most >= near.shape[1]:
        return near
    ranked = np.where(near, stress, -np.inf)
    bar = -np.partition(-ranked, most - 1, axis=1)[:, [most - 1]]
    return near & (ranked >= bar)


class ExportCaps:
    """The export caps of a day: planned once, the day ahead, and applied by what the meters report.

    Parameters
    ----------
    feeder : Feeder
        The place.
    elements : Elements or None
        The power flow; without one only the phases of the transformer and the head line are kept.
    day : Exogenous
        As forecast.
    ev_kw : ndarray, shape (step, home)
        What cars are expected to draw [kW].
    manner : Manner
        How caps are planned.

    Attributes
    ----------
    plan : ExportPlan
        The caps and their proof.
    corrected_steps : int
        Steps that were planned anew with what meters told.
    """

    def __init__(self, feeder: Feeder, elements: Elements | None, day: Exogenous, ev_kw: Float, manner: Manner) -> None:
        self._feeder, self._elements, self._manner, self._day, self._ev_kw = feeder, elements, manner, day, ev_kw
        self.plan = self._planned(day, ev_kw)
        self._caps_kw = self.plan.caps_kw
        self.corrected_steps = 0

    def _planned(self, day: Exogenous, ev_kw: Float) -> ExportPlan:
        problem = export_problem(self._feeder, day, ev_kw, self._manner)
        if self._elements is None:
            return ExportPlan(problem, solve_export(problem, self._manner.export_objective))
        return Verified(self._elements, day, self._manner).plan(problem)

    def pv_limit_kw(self, seen: Observation) -> Float:
        """Largest feed-in of each roof: its cap, and its own load on top [kW].

        The load is the one that meters saw last, moved by how it is forecast to change. Where they tell another load or
        another sun than was forecast, the step that begins is planned anew (what was off is taken to stay off), and a
        load that is expected to grow is not counted on before it is seen.
        """
        step = min(seen.step, self._day.steps - 1)
        now, ev_kw, off_kw = self._as_seen(seen, step)
        cap_kw, load_kw = self._caps_kw[step], (now.inflexible_load_kw + ev_kw)[0]
        if off_kw > AS_FORECAST_KW:
            load_kw = np.minimum(load_kw, seen.inflexible_load_kw + seen.ev_kw)
            if (now.pv_available_kw > now.inflexible_load_kw).any():
                cap_kw = self._planned(now, ev_kw).caps_kw[0]
                self.corrected_steps += 1
        limit_kw: Float = np.maximum(load_kw + cap_kw, 0.0)
        return limit_kw

    def _as_seen(self, seen: Observation, step: int) -> tuple[Exogenous, Float, float]:
        """Return the step that begins as a day of its own, with its charging, and how far the last was off [kW]."""
        day, last = rest_of_day(self._day, seen).first(1), max(step - 1, 0)
        keys = ["demand_kw", "demand_kvar", "pv_available_kw"]
        keys += [] if self._day.devices_kw is None else ["devices_kw"]
        changed = {key: getattr(day, key) + getattr(seen, key) - getattr(self._day, key)[last] for key in keys}
        for key in ("demand_kw", "pv_available_kw"):
            changed[key] = np.maximum(changed[key], 0.0)
        ev_off_kw = seen.ev_kw - self._ev_kw[last]
        ev_kw = np.maximum(self._ev_kw[[step]] + ev_off_kw, 0.0)
        off_kw = np.abs(seen.inflexible_kw - self._day.inflexible_kw[last] + ev_off_kw).max(initial=0.0)
        return replace(day, **changed), ev_kw, float(off_kw)

    @property
    def unkept(self) -> list[str]:
        """What could not be kept."""
        verified = self.plan.verified
        left = [] if verified is None or verified.clean else [f"export leaves {verified.words}"]
        return [*(str(relaxation) for relaxation in self.plan.result.relaxations), *left]
