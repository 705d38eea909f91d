"""What the network says of one horizon: which limits a plan breaks, and how far each row must come down."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from cosim.contract import Float
from cosim.controllers.caps.network.elements import Elements, Flow
from cosim.controllers.caps.network.rows import Row, limits_of_rows, new_rows
from cosim.controllers.caps.network.verify import Look, look_at
from cosim.controllers.caps.phase_limits import PEAK_SHARE, Background

ROWS_PER_ROUND = 6


class Answers:
    """The network's answers to one horizon.

    Parameters
    ----------
    elements : Elements
        Of the feeder.
    by_step, by_slot : Background
        Load without cars.
    start : datetime
        Local clock of the first step.
    step_min : float
        Length of a step [min].
    margin : float
        Share of the limits that the mean of a slot leaves free.
    peaks_count : bool
        Whether every step must respect the limits, not only the mean of a slot.
    """

    def __init__(
        self,
        elements: Elements,
        by_step: Background,
        by_slot: Background,
        *,
        start: datetime,
        step_min: float,
        margin: float,
        peaks_count: bool,
    ) -> None:
        self.elements, self.by_slot, self.margin = elements, by_slot, margin
        self.steps = len(by_step.p_kw) // len(by_slot.p_kw)
        self.fine = by_step if peaks_count else by_slot
        self.fine_steps = self.steps if peaks_count else 1
        self._start, self._fine_min = start, step_min * self.steps / self.fine_steps
        self.base_mean = elements.flow(by_slot, np.zeros_like(by_slot.p_kw))
        self.base = elements.flow(self.fine, np.zeros_like(self.fine.p_kw))

    def look(self, ev_kw: Float, number: int, rows: int) -> Look:
        """Judge what cars draw, shape (step, home)."""
        mean = self.elements.flow(self.by_slot, self._mean(ev_kw))
        return look_at(
            self.elements,
            self.elements.flow(self.fine, self._fine(ev_kw)),
            self.base,
            mean,
            self.base_mean,
            steps=self.fine_steps,
            clock=self._clock,
            margin=self.margin,
            number=number,
            rows=rows,
        )

    def rows_for(self, worst: Sequence[tuple[int, int]], ev_kw: Float) -> list[Row]:
        """Make rows of the worst elements."""
        return new_rows(self.elements, self.fine, self._fine(ev_kw), worst, ROWS_PER_ROUND)

    def limits(self, rows: Sequence[Row], ev_kw: Float) -> Float:
        """Limits [kW] of rows at an operating point, shape (slot, row): the mean keeps the margin, peaks the rating."""
        mean_kw, kept = self._mean(ev_kw), 1.0 - self.margin
        of_mean: Flow = self.elements.flow(self.by_slot, mean_kw)
        limit_kw = limits_of_rows(rows, of_mean.loading, self.by_slot.p_kw + mean_kw, kept)
        if self.fine_steps == 1 or not rows:
            return limit_kw
        share = np.column_stack([row.share for row in rows])
        of_step: Flow = self.elements.flow(self.fine, ev_kw)
        for_cars = limits_of_rows(rows, of_step.loading, ev_kw, PEAK_SHARE)
        lowest = for_cars.reshape(-1, self.steps, len(rows)).min(axis=1)
        lower: Float = np.minimum(limit_kw, self.by_slot.p_kw @ share + lowest)
        return lower

    def tightened(self, rows: Sequence[Row], limit_kw: Float | None, look: Look, ev_kw: Float) -> Float:
        """Limits of rows after a look: never looser, and lower by the excess where one is left."""
        if limit_kw is None or not rows:
            return np.empty((len(self.by_slot.p_kw), 0))
        excess_kw = np.column_stack([look.excess[:, row.element] / row.per_kw for row in rows])
        return np.minimum(limit_kw, self.limits(rows, ev_kw)) - excess_kw

    def clock_of_slot(self, slot: int) -> str:
        """Name a slot by its time of day."""
        return f"{self._start + timedelta(minutes=slot * self._fine_min * self.fine_steps):%H:%M}"

    def _clock(self, step: int) -> str:
        return f"{self._start + timedelta(minutes=step * self._fine_min):%H:%M}"

    def _mean(self, ev_kw: Float) -> Float:
        mean: Float = ev_kw.reshape(-1, self.steps, ev_kw.shape[1]).mean(axis=1)
        return mean

    def _fine(self, ev_kw: Float) -> Float:
        return ev_kw if self.fine_steps > 1 else self._mean(ev_kw)
