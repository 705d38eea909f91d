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
    before_a, after_a = (neutral_current_a(run.transformer_current_a) for run in (before, after))
    for values, colour in ((before_a, style.REFERENCE), (after_a, AFTER)):
        style.steps(neutral[0], edges, values, colour)
        neutral[1].plot(np.arange(1, len(values) + 1) * before.step_h, np.sort(values)[::-1], color=colour)
    style.clock_axis(neutral[0], (edges[0], edges[-1]))
    neutral[1].set_xlabel("exceeded for [h]")
    for axes, name in zip(neutral, ("Neutral current at the transformer |Ia+Ib+Ic|", "Duration curve"), strict=True):
        axes.set_ylim(bottom=0)
        axes.set_ylabel("neutral current [A]")
        style.panel_title(axes, name)
    keys = [style.line_key(c, f"phase {p}") for p, c in enumerate(style.PHASE_COLOURS, 1)]
    keys += [style.line_key(style.REFERENCE, "neutral before"), style.line_key(AFTER, "neutral after")]
    usual_a, better_a = (float(np.percentile(values, 95)) for values in (before_a, after_a))
    title = f"Re-phasing: 95 % of the neutral current {usual_a:.0f} A before, {better_a:.0f} A after"
    caption = (
        "Above: currents of the transformer's phases. Below: what is left of them in the neutral, over time and sorted."
    )
    return style.finish(figure, title, caption, keys)


def _phases(axes: Axes, edges: Float, run: Trajectory) -> None:
    for current_a, colour in zip(np.abs(run.transformer_current_a).T, style.PHASE_COLOURS, strict=False):
        style.steps(axes, edges, current_a, colour)
    rating_a = run.feeder.transformer_rating_a
    if np.isfinite(rating_a):
        style.limit_line(axes, rating_a, f"rated\n{rating_a:.0f} A")
    axes.set_ylim(bottom=0)
