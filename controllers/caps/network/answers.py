"""What the network says of one horizon: which limits a plan breaks, and what homes may draw together to keep them.

The loading of an element near an operating point is linear in what cars draw, with sensitivities found by the power
flow itself (one more kW charging at each home in turn). Scaled so that the home with the most influence counts 1, such
a row reads like the limit of a phase: ``sum of share · load <= limit`` in kW. A row never joins phases: homes that
charge on another phase than the element's are left out, as are those that relieve it and those of hardly any influence.
What that leaves out is found by the verification and comes off the limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cosim.contract import Exogenous, Float
from cosim.controllers.caps.day import background_of
from cosim.controllers.caps.network.elements import Elements, slopes
from cosim.controllers.caps.network.verify import Look, clock_of, look_at
from cosim.controllers.caps.options import Manner
from cosim.controllers.caps.phase_limits import PEAK_SHARE

# small influences would join homes of all places in one row; what they add is found by the power flow and comes off
# the limit
HARDLY = 0.05  # of the largest sensitivity: homes with less are left out
ALIKE = 0.98  # cosine between sensitivities above which two elements need one row only
STEP_KW = 1.0
ROWS_PER_ROUND = 6


@dataclass(frozen=True, eq=False)
class Row:
    """One linear limit.

    Attributes
    ----------
    element : int
        Of `Elements`.
    share : ndarray, shape (home,)
        Influence of a home's load relative to the home with the most, 0 to 1.
    per_kw : float
        Loading per kW of the home with the most influence.
    """

    element: int
    share: Float
    per_kw: float


class Answers:
    """The network's answers to one horizon.

    Parameters
    ----------
    elements : Elements
        Of the feeder.
    day, slots : Exogenous
        What is expected, step by step and slot by slot.
    manner : Manner
        Whether every step must respect the limits or only the mean of a slot, and what share of them means leave free.
    """

    def __init__(self, elements: Elements, day: Exogenous, slots: Exogenous, manner: Manner) -> None:
        self.elements, self.by_slot, self.margin = elements, background_of(slots), manner.margin
        fine = day if manner.peaks_count else slots
        self.fine, self._clock = background_of(fine), clock_of(fine)
        self.steps, self.fine_steps = day.steps // slots.steps, fine.steps // slots.steps
        self.base_mean, self.base = elements.flow(self.by_slot), elements.flow(self.fine)

    def look(self, ev_kw: Float, number: int, rows: int) -> Look:
        """Judge what cars draw, shape (step, home)."""
        by_step = self.elements.flow(self.fine, self._fine(ev_kw)), self.base
        by_slot = self.elements.flow(self.by_slot, self._mean(ev_kw)), self.base_mean
        return look_at(self.elements, by_step, by_slot, self._clock, number, rows, margin=self.margin)

    def rows_for(self, worst: Sequence[tuple[int, int]], ev_kw: Float) -> list[Row]:
        """Make rows of elements and the step at which each is loaded most, the worst first; of those alike one."""
        rows: list[Row] = []
        sensitivity: dict[int, Float] = {}
        for element, step in worst:
            if step not in sensitivity:
                sensitivity[step] = self._per_home(self._fine(ev_kw)[step], step)
            on = self.elements.feeder.charger_phase_matrix[:, self.elements.phase[element] - 1] > 0
            # homes that relieve the element are not counted on: a row must hold though they draw nothing
            per_kw = np.where(on, np.maximum(sensitivity[step][:, element], 0.0), 0.0)
            # scaled to the home of most influence, rows read in kW and are alike in size for the solver
            largest = float(per_kw.max())
            if largest <= 0.0:
                continue  # no home that draws more loads it
            share = np.where(per_kw >= HARDLY * largest, per_kw / largest, 0.0)
            if not any(_alike(share, row.share) for row in rows):
                rows.append(Row(element, share, largest))
            if len(rows) == ROWS_PER_ROUND:
                break
        return rows

    def limits(self, rows: Sequence[Row], ev_kw: Float) -> Float:
        """Limits [kW] of rows at an operating point, shape (slot, row): the mean keeps the margin, peaks the rating."""
        mean_kw = self._mean(ev_kw)
        loading = self.elements.flow(self.by_slot, mean_kw).loading
        limit_kw = _limits_of_rows(rows, loading, self.by_slot.p_kw + mean_kw, 1.0 - self.margin)
        if self.fine_steps == 1 or not rows:
            return limit_kw
        share = np.column_stack([row.share for row in rows])
        for_cars = _limits_of_rows(rows, self.elements.flow(self.fine, ev_kw).loading, ev_kw, PEAK_SHARE)
        lowest = for_cars.reshape(-1, self.steps, len(rows)).min(axis=1)
        return np.asarray(np.minimum(limit_kw, self.by_slot.p_kw @ share + lowest))

    def tightened(self, rows: Sequence[Row], limit_kw: Float | None, look: Look, ev_kw: Float) -> Float:
        """Limits of rows after a look: never looser, and lower by the excess where one is left."""
        if limit_kw is None or not rows:
            return np.empty((len(self.by_slot.p_kw), 0))
        excess_kw = np.column_stack([look.excess[:, row.element] / row.per_kw for row in rows])
        return np.minimum(limit_kw, self.limits(rows, ev_kw)) - excess_kw

    def _per_home(self, ev_kw: Float, step: int) -> Float:
        """Change of all loadings per kW at each home, shape (home, element)."""
        background = self.fine.at(np.full(len(ev_kw) + 1, step))
        found = slopes(lambda drawn_kw: self.elements.flow(background, drawn_kw).loading, ev_kw, STEP_KW)
        # no power flow, no slope: such a home is left out of the row rather than guessed
        return np.nan_to_num(found)

    def _mean(self, ev_kw: Float) -> Float:
        mean: Float = ev_kw.reshape(-1, self.steps, ev_kw.shape[1]).mean(axis=1)
        return mean

    def _fine(self, ev_kw: Float) -> Float:
        return ev_kw if self.fine_steps > 1 else self._mean(ev_kw)


def _limits_of_rows(rows: Sequence[Row], loading: Float, load_kw: Float, kept: float) -> Float:
    """What rows allow, shape (state, row) [kW], from loadings and loads at an operating point.

    Where there is no power flow (nan) nothing beyond half of what is drawn there.
    """
    limit = np.empty((len(loading), len(rows)))
    for column, row in enumerate(rows):
        drawn_kw = load_kw @ row.share
        left_kw = (kept - loading[:, row.element]) / row.per_kw
        # first-order: limit = load there + (kept - loading there) / slope; no slope where no power flow exists, so
        # back off by half
        limit[:, column] = np.where(np.isnan(left_kw), drawn_kw / 2.0, drawn_kw + left_kw)
    return limit


def _alike(one: Float, other: Float) -> bool:
    return float(one @ other) > ALIKE * float(np.linalg.norm(one) * np.linalg.norm(other))
