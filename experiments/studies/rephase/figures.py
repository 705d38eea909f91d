"""The transformer's phases and the neutral before and after, one above the other on the same scale."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from cosim import Trajectory
from cosim.contract import Float
from cosim.experiments.figures import style
from cosim.measures import neutral_current_a

AFTER = style.RUN_COLOURS[0]


def draw(before: Trajectory, after: Trajectory) -> style.Drawing:
    """Draw phases and neutral of both days."""
    figure, (phases, neutral) = style.sheet(
        style.Block(2, 2, 2.0), style.Block(2, 2, 2.0, share_x=False, share_y=False)
    )
    edges = style.edges(before.exogenous.start, before.step_min, before.steps)
    for axes, run, label in zip(phases, (before, after), ("before", "after"), strict=True):
        _phases(axes, edges, run)
        peak_a = float(np.abs(run.transformer_current_a).max())
        style.panel_title(axes, f"Phases {label}", f"peak {peak_a:.0f} A")
        style.clock_axis(axes, (edges[0], edges[-1]))
    phases[0].set_ylabel("current [A]")
    residual = [neutral_current_a(run.transformer_current_a) for run in (before, after)]
    _over_time(neutral[0], edges, residual)
    _duration(neutral[1], before.step_h, residual)
    keys = [style.line_key(c, f"phase {p}") for p, c in enumerate(style.PHASE_COLOURS, 1)]
    keys += [style.line_key(style.REFERENCE, "neutral before"), style.line_key(AFTER, "neutral after")]
    caption = (
        "Above: currents of the transformer's phases. Below: what is left of them in the neutral, over time and sorted."
    )
    return style.finish(figure, _title(residual), caption, keys)


def _phases(axes: Axes, edges: Float, run: Trajectory) -> None:
    for phase, colour in enumerate(style.PHASE_COLOURS):
        axes.step(edges, style.hold(np.abs(run.transformer_current_a[:, phase])), color=colour, where="post")
    rating_a = run.feeder.transformer_rating_a
    if np.isfinite(rating_a):
        style.limit_line(axes, rating_a, f"rated\n{rating_a:.0f} A")
    axes.set_ylim(bottom=0)


def _over_time(axes: Axes, edges: Float, residual: list[Float]) -> None:
    for values, colour in zip(residual, (style.REFERENCE, AFTER), strict=True):
        axes.step(edges, style.hold(values), color=colour, where="post")
    style.clock_axis(axes, (edges[0], edges[-1]))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("neutral current [A]")
    style.panel_title(axes, "Neutral current at the transformer |Ia+Ib+Ic|")


def _duration(axes: Axes, step_h: float, residual: list[Float]) -> None:
    for values, colour in zip(residual, (style.REFERENCE, AFTER), strict=True):
        axes.plot(np.arange(1, len(values) + 1) * step_h, np.sort(values)[::-1], color=colour)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("exceeded for [h]")
    axes.set_ylabel("neutral current [A]")
    style.panel_title(axes, "Duration curve")


def _title(residual: list[Float]) -> str:
    before, after = (float(np.percentile(values, 95)) for values in residual)
    return f"Re-phasing: 95 % of the neutral current {before:.0f} A before, {after:.0f} A after"
