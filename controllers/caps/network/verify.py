"""The full power flow at what a plan leads to: which limits it breaks, by how much, and whether charging is why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import numpy as np

from cosim.contract import Exogenous, Float, Int
from cosim.controllers.caps.network.elements import Elements, Flow

NOISE = 0.002  # of a limit: what charging may add where other loads alone are above it
MEAN_NOISE = 0.02  # what the mean of a slot may exceed the margin by before a row is made of it
OVERVOLTAGE_PU = 1.10  # EN 50160, declared voltage + 10 %


Clock = Callable[[int], str]
"""Names a step by its time of day."""


def clock_of(day: Exogenous) -> Clock:
    """Return what names the steps of a day."""
    return lambda step: f"{day.start + timedelta(minutes=step * day.step_min):%H:%M}"


@dataclass(frozen=True)
class Round:
    """What the power flow found after one solve.

    Attributes
    ----------
    round : int
        From 1.
    rows : int
        Limit rows beside those of the transformer's phases.
    worst_line_percent, worst_line : float, str
        Highest current over rating of a line [%], and where.
    transformer_percent : float
        Of the transformer's conductors [%]; nan where it has no rating.
    voltage_min_pu, lowest_voltage : float, str
        Lowest voltage at a customer, and where.
    voltage_max_pu, highest_voltage : float, str
        Highest voltage at a customer, and where.
    over_limit : float
        Largest excess over a limit that charging (of export caps: export) is the cause of, as a share of that limit;
        0 where verified.
    over_limit_where : str
        Element and time of it.
    over_limit_pu : float
        The same, where it is above the highest voltage permitted; else 0.
    proven_share : float or None
        Of caps that hold whatever households do: share of all limits and slots of which that is proven for everything
        that caps allow, and not only tested at their worst corners; None where the expected is looked at.
    """

    round: int
    rows: int
    worst_line_percent: float
    worst_line: str
    transformer_percent: float
    voltage_min_pu: float
    lowest_voltage: str
    voltage_max_pu: float
    highest_voltage: str
    over_limit: float
    over_limit_where: str
    over_limit_pu: float
    proven_share: float | None = None

    @property
    def clean(self) -> bool:
        """Whether no limit is broken by what caps are there for."""
        return self.over_limit <= 0.0

    @property
    def words(self) -> str:
        """What is broken most, in words; empty where nothing is."""
        if self.over_limit_pu > 0.0:
            return f"{self.over_limit_where} {self.over_limit_pu:.4f} pu above the highest voltage permitted"
        return "" if self.clean else f"{self.over_limit_where} {100.0 * self.over_limit:.2g} % above its limit"

    @property
    def verified(self) -> str:
        """``broken``, ``tested`` at the states that were looked at, or ``proven`` for all that caps allow."""
        if not self.clean:
            return "broken"
        return "proven" if self.proven_share == 1.0 else "tested"


@dataclass(frozen=True, eq=False)
class Look:
    """One look at a plan, at what households are expected to do or at the worst that caps allow.

    Attributes
    ----------
    found : Round
        In words and figures.
    worst : tuple of (int, int)
        Elements in need of a row or of a tighter one, and the step at which they are loaded most; worst first.
    excess : ndarray, shape (slot, element)
        Excess that charging is the cause of, as a share of the limit: of the slot's highest step over the limit, or of
        its mean over what is kept, whichever is larger.
    not_from_charging : tuple of str
        Limits that are broken without any car.
    """

    found: Round
    worst: tuple[tuple[int, int], ...]
    excess: Float
    not_from_charging: tuple[str, ...]


def look_at(
    elements: Elements,
    by_step: tuple[Flow, Flow],
    by_slot: tuple[Flow, Flow],
    clock: Clock,
    number: int,
    rows: int,
    *,
    margin: float = 0.0,
) -> Look:
    """Judge a plan by its power flows.

    Parameters
    ----------
    elements : Elements
        Of the feeder.
    by_step, by_slot : tuple of Flow
        With cars and without, step by step and as means of slots.
    clock : Clock
        Names a step.
    number, rows : int
        Of the round.
    margin : float
        Share of the limits that the mean of a slot leaves free.
    """
    (flow, base), (mean, base_mean) = by_step, by_slot
    steps = len(flow.loading) // len(mean.loading)
    # steps against the limit itself, means of slots against what the margin leaves: the margin is there for the steps
    over = _excess(flow.loading, base.loading, 1.0)
    mean_over = _excess(mean.loading, base_mean.loading, 1.0 - margin + MEAN_NOISE)
    needy = np.flatnonzero((over > 0).any(axis=0) | (mean_over > 0).any(axis=0))
    worst_step = np.where((over > 0).any(axis=0), over.argmax(axis=0), mean_over.argmax(axis=0) * steps)
    badness = np.maximum(over.max(axis=0), mean_over.max(axis=0))[needy]
    order = needy[np.argsort(-badness, kind="stable")]
    found = round_of(elements, flow, over, clock, number, rows)
    worst = tuple((int(element), int(worst_step[element])) for element in order)
    excess = np.maximum(over.reshape(-1, steps, over.shape[1]).max(axis=1), mean_over)
    return Look(found, worst, excess, _not_from_charging(elements, base, clock))


def _excess(loading: Float, base: Float, limit: float) -> Float:
    """Loading above the limit where charging is the cause; where there is no power flow, all of it."""
    # where other loads alone break the limit, caps on cars are only asked to add nothing to it
    over = loading - np.maximum(limit, base + NOISE)
    # a step without a power flow counts as twice its limit, so that it is dealt with among the first
    return np.where(np.isnan(over), 1.0, np.maximum(over, 0.0))


def round_of(
    elements: Elements, flow: Flow, over: Float, clock: Clock, number: int, rows: int, pu_per_excess: float = 0.0
) -> Round:
    """Say what a power flow found.

    Parameters
    ----------
    elements : Elements
        Of the feeder.
    flow : Flow
        Step by step.
    over : ndarray, shape (step, element)
        Excess that has to be dealt with, as a share of the limit.
    clock : Clock
        Names a step.
    number, rows : int
        Of the round.
    pu_per_excess : float
        Of voltages, where their limit is an upper one.
    """
    loading = np.nan_to_num(flow.loading, nan=np.inf)
    transformer = np.arange(loading.shape[1]) < elements.conductors
    line, line_at = _highest(loading, np.flatnonzero(elements.lines))
    machine, _ = _highest(loading, np.flatnonzero(transformer & ~elements.lines))
    voltage = np.nan_to_num(flow.voltage_pu, nan=0.0)
    ports = np.arange(voltage.shape[1])
    (low, low_at), (high, high_at) = _highest(-voltage, ports), _highest(voltage, ports)
    worst, worst_at = _highest(over, np.arange(over.shape[1]))

    def at(where: tuple[int, int], first: int = 0) -> str:
        return f"{elements.where(where[1] + first)} at {clock(where[0])}"

    return Round(
        round=number,
        rows=rows,
        worst_line_percent=100.0 * line,
        worst_line=at(line_at) if elements.lines.any() else "",
        transformer_percent=100.0 * machine,
        voltage_min_pu=-low,
        lowest_voltage=at(low_at, elements.conductors),
        voltage_max_pu=high,
        highest_voltage=at(high_at, elements.conductors),
        over_limit=worst,
        over_limit_where=at(worst_at) if worst > 0 else "",
        over_limit_pu=pu_per_excess * worst if worst_at[1] >= elements.conductors else 0.0,
    )


def _highest(values: Float, among: Int) -> tuple[float, tuple[int, int]]:
    """Largest of some columns, and its step and column; nan where there is none."""
    if not len(among):
        return float("nan"), (0, 0)
    step, column = np.unravel_index(values[:, among].argmax(), (len(values), len(among)))
    return float(values[step, among[column]]), (int(step), int(among[column]))


def _not_from_charging(elements: Elements, base: Flow, clock: Clock) -> tuple[str, ...]:
    conductors, found = elements.conductors, []
    loading, high = np.nan_to_num(base.loading, nan=np.inf), np.nan_to_num(base.voltage_pu, nan=0.0)
    broken = [(int(loading[:, one].argmax()), one) for one in np.flatnonzero((loading > 1.0).any(axis=0)).tolist()]
    risen = np.flatnonzero((high > OVERVOLTAGE_PU).any(axis=0)).tolist()
    for step, element in [*broken, *((int(high[:, port].argmax()), port + conductors) for port in risen)]:
        amount = f"{100.0 * base.loading[step, element]:.1f} % of its rating"
        if element >= conductors:
            amount = f"{base.voltage_pu[step, element - conductors]:.3f} pu"
        found.append(f"{elements.where(element)} at {clock(step)}: {amount} without any car")
    return tuple(found)
