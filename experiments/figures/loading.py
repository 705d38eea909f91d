"""Transformer loading of every phase, with its limits and the hot-spot temperature."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from cosim.contract import Limit
from cosim.experiments.figures import style
from cosim.experiments.figures.runs import NothingToDrawError, Runs, edges_of
from cosim.experiments.words import in_runs, minutes
from cosim.measures.areas import worst_hot_spot_c
from cosim.trajectory import Trajectory

RATED_HOT_SPOT_C, CYCLIC_HOT_SPOT_C = 98.0, 120.0
"""IEC 60076-7: normal ageing of normal paper; limit of normal cyclic loading."""


AREAS_SHOWN = 4


def draw(runs: Runs) -> style.Drawing:
    """Loading over time, one panel per run, and the hot spots of all runs below."""
    feeder = runs.reference.feeder
    if feeder.transformer is None and feeder.head_line is None:
        raise NothingToDrawError("the feeder has neither a transformer nor a line that carries all customers")
    shown = worst_areas(runs)
    rated = bool(shown)
    several = sum(bool(area.transformers) for area in feeder.areas) > 1 or any(_regulator(one) for one in feeder.limits)
    scale = "phase current\n[% of rated]" if rated else "phase current [A]"
    figure, panels = runs.grid(runs.labels, 1.45, scale, *([style.Block(1, 1, 1.7)] if rated else []))
    for axes, (label, run) in zip(panels[0], runs, strict=True):
        if several and rated:
            _areas(axes, run, shown[:AREAS_SHOWN])
        else:
            _phases(axes, run, rated)
        style.panel_title(axes, label, _summary(runs, label) if rated else "", runs.stopped(label))
    panels[0][0].set_ylim(bottom=0)
    if several and rated:
        keys = [
            style.line_key(colour, f"worst phase of {area}")
            for colour, area in zip(style.RUN_COLOURS, shown[:AREAS_SHOWN], strict=False)
        ]
    else:
        keys = [style.line_key(colour, f"phase L{p}") for p, colour in enumerate(style.PHASE_COLOURS, 1)]
    if rated:
        keys.append(style.line_key(style.LIMIT, "limit", linestyle="--"))
        _hot_spots(panels[1][0], runs)
    caption = style.CAPTIONS["transformer_loading" if rated else "transformer_loading_unrated"]
    return style.finish(figure, _title(runs, rated), caption, keys)


def worst_areas(runs: Runs) -> list[str]:
    """Areas whose transformers or regulators are rated, the most loaded in any run first."""
    fed = list(dict.fromkeys(limit.area for limit in runs.reference.feeder.limits if limit.kind != "line"))
    peak = {name: max(float(run.area_percent(name).max()) for _, run in runs) for name in fed}
    return sorted((name for name in fed if np.isfinite(peak[name])), key=lambda name: -peak[name])


def machine(runs: Runs) -> str:
    """The transformer or regulator that is loaded most, in words."""
    limits = runs.reference.feeder.limits
    peaks = np.max([run.limit_percent.max(axis=0, initial=0.0) for _, run in runs], axis=0)
    most = max((k for k, limit in enumerate(limits) if limit.kind != "line"), key=lambda k: peaks[k], default=None)
    if most is not None and _regulator(limits[most]):
        return f"regulator {limits[most].asset}"
    areas = {area.name: area for area in runs.reference.feeder.areas}
    worst = worst_areas(runs)
    fed = [area for area in areas.values() if area.transformers]
    kva = areas[worst[0]].rating_kva if worst else runs.reference.feeder.transformer_kva
    rating = f"{kva:.0f} kVA transformer" if np.isfinite(kva) else "transformer"
    return f"{rating} {worst[0]}" if worst and len(fed) > 1 else rating


def _regulator(limit: Limit) -> bool:
    return limit.kind == "regulator"


def _areas(axes: Axes, run: Trajectory, shown: list[str]) -> None:
    times = edges_of(run)
    for name, colour in zip(shown, style.RUN_COLOURS, strict=False):
        style.steps(axes, times, run.area_percent(name), colour, linewidth=0.9)
    style.above_rating(axes, times, run.area_percent())


def _phases(axes: Axes, run: Trajectory, rated: bool) -> None:
    values, times = run.transformer_percent if rated else np.abs(run.transformer_current_a), edges_of(run)
    for phase, colour in enumerate(style.PHASE_COLOURS):
        style.steps(axes, times, values[:, phase], colour, linewidth=0.9)
    if not rated:
        return
    style.above_rating(axes, times, values.max(axis=1))
    head_percent = 100.0 * run.feeder.phase_limit_a / run.feeder.transformer_rating_a
    if head_percent < 99.0:
        style.limit_line(axes, head_percent, f"cable {head_percent:.0f} %")


def _summary(runs: Runs, label: str) -> str:
    peak, over = runs.metric(label, "transformer_peak_percent"), runs.metric(label, "transformer_overload_min")
    hot = runs.metric(label, "transformer_hot_spot_max_c")
    return f"peak {peak:.0f} %, {minutes(over)} over, hot spot {hot:.0f} °C"


def _hot_spots(axes: Axes, runs: Runs) -> None:
    warmest = 0.0
    for label, run in runs:
        hot = worst_hot_spot_c(run)
        warmest = max(warmest, float(hot.max()))
        axes.plot(edges_of(run)[1:], hot, color=runs.colour(label), linestyle=runs.dashes(label), label=label)
    style.limit_line(axes, RATED_HOT_SPOT_C, "98 °C")
    if warmest > RATED_HOT_SPOT_C:
        style.limit_line(axes, CYCLIC_HOT_SPOT_C, "120 °C")
    style.clock_axis(axes, runs.span)
    axes.set_ylabel("hot spot [°C]")
    style.legend_above(axes, "Hot-spot temperature of the worst phase")


def _title(runs: Runs, rated: bool) -> str:
    if not rated:
        return "Phase currents where the feeder is fed (no rating, hence no limit)"
    over = [label for label in runs.labels if runs.metric(label, "transformer_overload_min") > 0]
    title = f"{'A' if over else 'No'} phase of the {machine(runs)} is overloaded {in_runs(over, len(runs))}"
    binding = runs.binding
    if binding is None or binding.peak == "transformer_peak_percent":
        return title
    return f"{title}; {binding.words} binds first: {runs.metric(runs.reference_label, binding.peak):.0f} %"
