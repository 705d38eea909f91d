"""The full power flow at what a plan leads to: which limits it breaks, by how much, and whether charging is why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cosim.contract import Float, Int
from cosim.contract.signals import Bool
from cosim.controllers.caps.network.elements import Elements, Flow

NOISE = 0.002  # of a limit: what charging may add where other loads alone are above it
MEAN_NOISE = 0.02  # what the mean of a slot may exceed the margin by before a row is made of it
OVERVOLTAGE_PU = 1.10  # EN 50160, declared voltage + 10 %


Clock = Callable[[int], str]
"""Names a step by its time of day."""


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
    over_limit : float
        Largest excess over a limit that charging is the cause of, as a share of that limit; 0 where verified.
    over_limit_where : str
        Element and time of it.
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
    over_limit: float
    over_limit_where: str
    proven_share: float | None = None

    @property
    def clean(self) -> bool:
        """Whether charging breaks no limit."""
        return self.over_limit <= 0.0

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
    step_flow: Flow,
    base_flow: Flow,
    mean_flow: Flow,
    base_mean_flow: Flow,
    *,
    steps: int,
    clock: Clock,
    margin: float,
    number: int,
    rows: int,
) -> Look:
    """Judge a plan by its power flows.

    Parameters
    ----------
    elements : Elements
        Of the feeder.
    step_flow, base_flow : Flow
        Step by step, with cars and without.
    mean_flow, base_mean_flow : Flow
        Slot by slot.
    steps : int
        Steps of a slot.
    clock : Clock
        Names a step.
    margin : float
        Share of the limits that the mean of a slot leaves free.
    number, rows : int
        Of the round.
    """
    # steps against the limit itself, means of slots against what the margin leaves: the margin is there for the steps
    over = _excess(step_flow.loading, base_flow.loading, 1.0, NOISE)
    mean_over = _excess(mean_flow.loading, base_mean_flow.loading, 1.0 - margin + MEAN_NOISE, NOISE)
    needy = np.flatnonzero((over > 0).any(axis=0) | (mean_over > 0).any(axis=0))
    worst_step = np.where((over > 0).any(axis=0), over.argmax(axis=0), mean_over.argmax(axis=0) * steps)
    badness = np.maximum(over.max(axis=0), mean_over.max(axis=0))[needy]
    order = needy[np.argsort(-badness, kind="stable")]
    found = _in_words(elements, step_flow, over, clock, number, rows)
    worst = tuple((int(element), int(worst_step[element])) for element in order)
    excess = np.maximum(over.reshape(-1, steps, over.shape[1]).max(axis=1), mean_over)
    return Look(found, worst, excess, _not_from_charging(elements, base_flow, clock))


def _excess(loading: Float, base: Float, limit: float, noise: float) -> Float:
    """Loading above the limit where charging is the cause; where there is no power flow, all of it."""
    # where other loads alone break the limit, caps on cars are only asked to add nothing to it
    over = loading - np.maximum(limit, base + noise)
    # a step without a power flow counts as twice its limit, so that it is dealt with among the first
    return np.where(np.isnan(over), 1.0, np.maximum(over, 0.0))


def _in_words(elements: Elements, flow: Flow, over: Float, clock: Clock, number: int, rows: int) -> Round:
    loading = np.nan_to_num(flow.loading, nan=np.inf)
    step, element = np.unravel_index(over.argmax(), over.shape)
    line, line_at = _highest(loading, elements.lines)
    transformer = np.arange(loading.shape[1]) < elements.conductors
    machine, _ = _highest(loading, transformer & ~elements.lines)
    voltage = np.nan_to_num(flow.voltage_pu, nan=0.0)
    low = np.unravel_index(voltage.argmin(), voltage.shape)
    worst = float(over[step, element])
    return Round(
        round=number,
        rows=rows,
        worst_line_percent=100.0 * line,
        worst_line=_at(elements, line_at, clock),
        transformer_percent=100.0 * machine,
        voltage_min_pu=float(voltage[low]),
        lowest_voltage=_at(elements, (int(low[0]), int(low[1]) + elements.conductors), clock),
        over_limit=worst,
        over_limit_where=_at(elements, (int(step), int(element)), clock) if worst > 0 else "",
    )


def _highest(loading: Float, among: Bool) -> tuple[float, tuple[int, int] | None]:
    columns = np.flatnonzero(among)
    if not len(columns):
        return float("nan"), None
    step, column = np.unravel_index(loading[:, columns].argmax(), (len(loading), len(columns)))
    return float(loading[step, columns[column]]), (int(step), int(columns[column]))


def _not_from_charging(elements: Elements, base: Flow, clock: Clock) -> tuple[str, ...]:
    broken = np.flatnonzero((np.nan_to_num(base.loading, nan=np.inf) > 1.0).any(axis=0))
    highest: Int = np.nan_to_num(base.loading, nan=np.inf).argmax(axis=0)
    found = []
    for element in broken.tolist():
        step = int(highest[element])
        found.append(f"{_at(elements, (step, element), clock)}: {_amount(elements, base, step, element)}")
    high = np.nan_to_num(base.voltage_pu, nan=0.0)
    for port in np.flatnonzero((high > OVERVOLTAGE_PU).any(axis=0)):
        step = int(high[:, port].argmax())
        where = _at(elements, (step, int(port) + elements.conductors), clock)
        found.append(f"{where}: {high[step, port]:.3f} pu without any car")
    return tuple(found)


def _amount(elements: Elements, base: Flow, step: int, element: int) -> str:
    if element < elements.conductors:
        return f"{100.0 * base.loading[step, element]:.1f} % of its rating without any car"
    return f"{base.voltage_pu[step, element - elements.conductors]:.3f} pu without any car"


def _at(elements: Elements, at: tuple[int, int] | None, clock: Clock) -> str:
    if at is None:
        return ""
    return f"{elements.where(at[1])} at {clock(at[0])}"
