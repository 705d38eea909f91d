"""Export caps that the power flow confirms: currents of all rated branches, and voltages that sun lifts too high.

Without caps the power flow shows which conductors and customers are beyond their limits and when. Each of them becomes
a row, linear in what homes send back, with sensitivities found by the power flow itself; the caps are found, the power
flow is asked again, rows that did not hold are tightened and those that are still missing are added, until nothing is
above its limit, or nothing more can be curtailed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import numpy as np

from cosim.contract import EvSessions, Exogenous, Feeder, Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.day import in_slots
from cosim.controllers.caps.export.problem import ExportProblem, ExportRow
from cosim.controllers.caps.export.solve import ExportResult, solve_export
from cosim.controllers.caps.network import Elements
from cosim.controllers.caps.phase_limits import Background

RISE_PU = 0.05  # a voltage this far above its limit counts as twice the limit
HARDLY = 0.02  # of the largest influence on a limit: homes with less are left out of its row
NEAR = 0.02  # limits are given rows where they are this close, so that few rounds are needed
NEAR_AT_WILL = 0.3  # the same where limits hold whatever homes do, which is far from what is expected
BROKEN = 1e-3  # of a limit: less is rounding (0.01 V)
KEPT_SHORT = 2e-3  # rows aim this far below the limit
ROWS_PER_STEP = 9  # new ones in one round: neighbours are alike, and what is missing is added in the next
PROBES = 6  # states at which influences are found in one round
PROBE_KW = 0.5
FEED_IN_EUR_PER_KWH = 0.05  # any price above zero: charging is given, so it only says that homes sell


@dataclass(frozen=True)
class ExportRound:
    """What the power flow found after one solve.

    Attributes
    ----------
    round, rows : int
        Number from 1 (0: without export caps), and limit rows in force.
    voltage_max_pu : float
        Highest voltage at a customer.
    highest_voltage : str
        Customer, phase and time of it.
    over_limit : float
        Largest excess over a limit that export is the cause of, as a share of the limit; of a voltage, in twentieths of
        the declared one. 0: verified.
    over_limit_where : str
        Element and time of it.
    of_voltage : bool
        Whether it is a voltage.
    """

    round: int
    rows: int
    voltage_max_pu: float
    highest_voltage: str
    over_limit: float
    over_limit_where: str
    of_voltage: bool

    @property
    def clean(self) -> bool:
        """Whether export breaks no limit."""
        return self.over_limit <= 0.0

    @property
    def words(self) -> str:
        """What is broken most, in words; empty where nothing is."""
        if self.clean:
            return ""
        if self.of_voltage:
            return f"{self.over_limit_where} {RISE_PU * self.over_limit:.4f} pu above the highest voltage permitted"
        return f"{self.over_limit_where} {100.0 * self.over_limit:.2g} % above its limit"


@dataclass(frozen=True, eq=False)
class ExportPlan:
    """Export caps of a horizon, step by step.

    Attributes
    ----------
    problem : ExportProblem
        With the rows of the last round.
    result : ExportResult
        Its solution.
    rounds : tuple of ExportRound
        Without caps first; empty without a predictor.
    not_from_export : tuple of str
        Limits that are broken although nothing that homes send back matters to them.
    """

    problem: ExportProblem
    result: ExportResult
    rounds: tuple[ExportRound, ...]
    not_from_export: tuple[str, ...]

    @property
    def verified(self) -> ExportRound | None:
        """What the power flow says of these caps; None where it was not asked."""
        return min(self.rounds[1:], key=lambda found: found.over_limit, default=None)

    @property
    def caps_kw(self) -> Float:
        """As applied, inf where nothing is withheld, shape (step, home) [kW]."""
        held = self.result.caps_kw < self.problem.rated_kw
        return np.where(held, self.result.caps_kw, np.inf)


def export_problem(feeder: Feeder, day: Exogenous, ev_kw: Float | None, limit_a: float, margin: float) -> ExportProblem:
    """Return the problem of a day on which cars draw what is known, shape (step, home), one slot a step.

    With None, cars are there but need nothing: limits that hold whatever they do reckon with them. What may flow back
    over a phase is its rated current at the declared voltage, after reactive power and margin.
    """
    apparent_kva = limit_a * (1.0 - margin) * feeder.nominal_voltage_v / 1e3
    kvar = day.demand_kvar @ feeder.phase_matrix
    # P <= sqrt(S² - Q²): reactive demand uses part of the rating
    back_kw = np.sqrt(np.maximum(apparent_kva**2 - kvar**2, 0.0))
    at_will = ev_kw is None
    cars = day.sessions if at_will else EvSessions.none()
    drawn_kw = np.zeros_like(day.demand_kw) if ev_kw is None else ev_kw
    prices = np.full(day.steps, FEED_IN_EUR_PER_KWH)
    return ExportProblem(
        slot_h=day.step_min / 60.0,
        tariff_eur_per_kwh=np.maximum(day.tariff_eur_per_kwh, prices),
        feed_in_eur_per_kwh=prices,
        demand_kw=np.maximum(day.inflexible_load_kw, 0.0) + drawn_kw,
        sun_kw=np.minimum(day.pv_available_kw, day.inverter_kva),
        rated_kw=day.inverter_kva,
        connection_kw=feeder.connection_kw,
        import_cap_kw=np.broadcast_to(feeder.connection_kw, drawn_kw.shape),
        phase_share=feeder.phase_matrix,
        limit_kw=np.full(kvar.shape, np.inf),
        reverse_limit_kw=back_kw,
        energy_need_kwh=np.zeros(len(cars)),
        **in_slots(cars, day.steps, day.step_min),
    )


@dataclass(frozen=True)
class _Laid:
    """A row, and the stress per kW of the home that counts most in it."""

    row: ExportRow
    per_kw: float


class Verified:
    """Export caps of one horizon, verified by the power flow.

    Parameters
    ----------
    elements : Elements
        Everything that has a limit, and its loading.
    day : Exogenous
        As forecast.
    voltage_max_pu : float
        Highest voltage permitted at a customer.
    margin : float
        Share of the ratings of conductors that stays free.
    rounds : int
        Most solves.
    """

    def __init__(self, elements: Elements, day: Exogenous, voltage_max_pu: float, margin: float, rounds: int) -> None:
        self._elements = elements
        self._day, self._highest_pu, self._margin, self._rounds = day, voltage_max_pu, margin, rounds

    def plan(self, problem: ExportProblem, objective: str, coordination: str) -> ExportPlan:
        """Solve and verify until the power flow is content, the rounds are used up, or rows change no more."""
        anticipated = coordination == "anticipated"
        near, most = (NEAR, ROWS_PER_STEP) if anticipated else (NEAR_AT_WILL, len(self._elements.names))
        uncapped = problem.demand_kw - problem.sun_kw
        stress, voltage = self._stress(uncapped)
        causes = self._causes(problem, uncapped, stress)
        rows: dict[tuple[int, int], _Laid] = {}
        rounds = [self._round(0, 0, stress, voltage, causes)]
        net = uncapped
        best: tuple[float, ExportResult, ExportProblem] | None = None
        for number in range(1, self._rounds + 1):
            known = len(rows)
            self._add_rows(rows, net, stress, _most_stressed(causes & (stress > 1.0 - near), stress, most))
            fresh = len(rows) > known
            with_rows = replace(problem, rows=(*problem.rows, *(laid.row for laid in rows.values())))
            found = solve_export(with_rows, objective, coordination)
            net = found.response.net_kw
            stress, voltage = self._stress(net)
            rounds.append(self._round(number, len(rows), stress, voltage, causes))
            # rounds need not improve one by one: the best one is kept, not the last
            if best is None or rounds[-1].over_limit < best[0]:
                best = rounds[-1].over_limit, found, with_rows
            # relaxed and no new row: everything that can be curtailed is
            if rounds[-1].clean or (found.relaxations and not fresh):
                break
        others = tuple(self._other_faults(stress, voltage, causes))
        assert best is not None  # noqa: S101 - there is at least one round
        return ExportPlan(best[2], best[1], tuple(rounds), others)

    def _stress(self, net_kw: Float, steps: Int | None = None) -> tuple[Float, Float]:
        """Loading of conductors and of customers' highest voltage, 1 at the limit; voltages [pu]."""
        rows = slice(None) if steps is None else steps
        background = Background(net_kw, self._day.demand_kvar[rows], self._day.source_pu[rows])
        flow = self._elements.flow(background, np.zeros_like(net_kw))
        conductors = self._elements.conductors
        loading = flow.loading[:, :conductors] / (1.0 - self._margin)
        # 1 at the limit, as for conductors, so that the worst of both can be ranked
        rise = 1.0 + (flow.voltage_pu - self._highest_pu) / RISE_PU
        # no power flow: far above every limit, so that its rows come first
        return np.nan_to_num(np.concatenate([loading, rise], axis=1), nan=10.0), flow.voltage_pu

    def _causes(self, problem: ExportProblem, net_kw: Float, stress: Float) -> Bool:
        """Where less export would make a limit less loaded, shape (step, element)."""
        half = problem.demand_kw - np.where(problem.surplus_kw > 0, problem.demand_kw + 0.9 * problem.surplus_kw, 0.0)
        half = np.where(problem.surplus_kw > 0, half, net_kw)
        less, _ = self._stress(half)
        # curtailing cannot lower what export does not raise; a row for it would only withhold
        causes: Bool = (stress - less > 1e-6) & (problem.sellable_kw.sum(axis=1) > 0)[:, None]
        return causes

    def _influence(self, net_kw: Float, step: int) -> Float:
        """Stress per kW more export of each home, shape (element, home)."""
        homes = net_kw.shape[1]
        states = np.repeat(net_kw[[step]], homes + 1, axis=0)
        states[1:] -= PROBE_KW * np.eye(homes)
        stress, _ = self._stress(states, np.full(homes + 1, step))
        return np.asarray((stress[1:] - stress[0]).T / PROBE_KW)

    def _add_rows(self, rows: dict[tuple[int, int], _Laid], net_kw: Float, stress: Float, near: Bool) -> None:
        """Lower the limits of rows that did not hold, and lay rows through the operating point for all that are near.

        A row is never made looser: as caps move from solve to solve, that is what ends it.
        """
        kept = 1.0 - KEPT_SHORT
        for (k, e), laid in rows.items():
            # first-order step: excess over slope; repeated, for the slope is that of another point
            excess_kw = max(float(stress[k, e]) - kept, 0.0) / laid.per_kw
            rows[k, e] = _Laid(replace(laid.row, limit_kw=laid.row.limit_kw - excess_kw), laid.per_kw)
        fresh = [(int(k), int(e)) for k, e in np.argwhere(near) if (int(k), int(e)) not in rows]
        if not fresh:
            return
        worst: dict[int, int] = {}
        for k, e in fresh:
            worst[e] = max(k, worst.get(e, k), key=lambda step: float(stress[step, e]))
        steps = sorted(set(worst.values()), key=lambda k: -max(stress[k, e] for e, at in worst.items() if at == k))
        influence = {k: self._influence(net_kw, k) for k in steps[:PROBES]}
        for k, e in fresh:
            of_element = influence.get(worst[e], influence[steps[0]])[e]
            largest = float(of_element.max())
            if largest <= 0.0:
                continue
            share = np.where(np.abs(of_element) >= HARDLY * largest, of_element / largest, 0.0)
            # tangent at the operating point, in export (minus net load): limit = export there + room / slope
            limit = float(-(share @ net_kw[k])) + (kept - float(stress[k, e])) / largest
            rows[k, e] = _Laid(ExportRow(k, share, limit, self._elements.where(e)), largest)

    def _round(self, number: int, rows: int, stress: Float, voltage: Float, causes: Bool) -> ExportRound:
        over = np.where(causes & (stress > 1.0 + BROKEN), stress - 1.0, 0.0)
        high = np.nan_to_num(voltage, nan=0.0)
        k, port = (int(i) for i in np.unravel_index(high.argmax(), high.shape))
        at, element = (int(i) for i in np.unravel_index(over.argmax(), over.shape))
        return ExportRound(
            round=number,
            rows=rows,
            voltage_max_pu=float(high[k, port]),
            highest_voltage=self._at(k, port + self._elements.conductors),
            over_limit=float(over[at, element]),
            over_limit_where=self._at(at, element) if over[at, element] > 0 else "",
            of_voltage=bool(over[at, element] > 0) and element >= self._elements.conductors,
        )

    def _other_faults(self, stress: Float, voltage: Float, causes: Bool) -> Iterator[str]:
        """Voltages too high although nobody's export lifts them."""
        broken = (stress > 1.0 + BROKEN) & ~causes
        broken[:, : self._elements.conductors] = False
        for element in np.flatnonzero(broken.any(axis=0)).tolist():
            high = np.where(broken[:, element], stress[:, element], 0.0)
            k = int(high.argmax())
            yield f"{self._at(k, element)}: {voltage[k, element - self._elements.conductors]:.3f} pu without any export"

    def _at(self, step: int, element: int) -> str:
        clock = self._day.start + timedelta(minutes=step * self._day.step_min)
        return f"{self._elements.where(element)} at {clock:%H:%M}"


def _most_stressed(near: Bool, stress: Float, most: int) -> Bool:
    """Keep the elements of each step that are nearest to their limits, at most so many, shape (step, element)."""
    if most >= near.shape[1]:
        return near
    ranked = np.where(near, stress, -np.inf)
    bar = -np.partition(-ranked, most - 1, axis=1)[:, [most - 1]]
    return near & (ranked >= bar)
