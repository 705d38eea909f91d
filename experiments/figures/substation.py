"""Substation: active and reactive power over time, and how long each loading lasts."""

from __future__ import annotations

import numpy as np

from cosim.contract import Complex, Float
from cosim.experiments.figures import style
from cosim.experiments.figures.runs import NothingToDrawError, Runs, clock, edges_of
from cosim.trajectory import Trajectory

ACTIVE, REACTIVE = style.PHASE_COLOURS[:2]


def draw(runs: Runs) -> style.Drawing:
    """P and Q over time, one panel per run, and load duration curves of all runs below."""
    powers = {label: power_kva(run) for label, run in runs}
    if not all(np.isfinite(power).all() for power in powers.values()):
        raise NothingToDrawError("the feeder has neither a transformer nor a line that carries all customers")
    figure, (panels, (curves,)) = runs.grid(runs.labels, 1.25, "P [kW], Q [kvar]", style.Block(1, 1, 1.9))
    rating_kva, top = runs.reference.feeder.transformer_kva, max(np.abs(p).max() for p in powers.values())
    for axes, (label, run) in zip(panels, runs, strict=True):
        style.steps(axes, edges_of(run), powers[label].real, ACTIVE)
        style.steps(axes, edges_of(run), powers[label].imag, REACTIVE)
        axes.axhline(0.0, color="#888888", linewidth=0.6)
        for limit_kva in (rating_kva, -rating_kva):
            if abs(limit_kva) <= 1.25 * top:
                style.limit_line(axes, limit_kva, f"{abs(limit_kva):.0f} kVA")
        high, low = powers[label].real.max(), powers[label].real.min()
        fed = f", feeds back up to {-low:.0f} kW" if low < 0 else ""
        style.panel_title(axes, label, f"draws up to {high:.0f} kW{fed}", runs.stopped(label))
    runs.duration(curves, {label: power.real for label, power in powers.items()})
    curves.axhline(0.0, color="#888888", linewidth=0.6)
    curves.set_ylabel("P [kW]")
    style.legend_above(curves, "Load duration")
    keys = [style.line_key(ACTIVE, "active power P"), style.line_key(REACTIVE, "reactive power Q")]
    keys.append(style.line_key(style.LIMIT, "rating of the transformer", linestyle="--"))
    return style.finish(figure, _title(runs, powers), style.CAPTIONS["substation"], keys)


def power_kva(run: Trajectory) -> Complex:
    """Complex power of all phases into the area with most customers, shape (step,) [kVA]."""
    return np.asarray(run.transformer_kva.sum(axis=1))


def _title(runs: Runs, powers: dict[str, Complex]) -> str:
    actives: dict[str, Float] = {label: power.real for label, power in powers.items()}
    most = max(actives, key=lambda label: actives[label].max())
    least = min(actives, key=lambda label: actives[label].min())

    def when(label: str, step: int) -> str:
        named = f"{label}, " if len(runs) > 1 else ""
        return f"{named}{clock(runs.trajectories[label], step)}"

    at, back = int(actives[most].argmax()), int(actives[least].argmin())
    title = f"The substation delivers up to {actives[most][at]:.0f} kW ({when(most, at)})"
    if actives[least][back] >= 0:
        return f"{title} and is never fed back"
    return f"{title} and takes back up to {-actives[least][back]:.0f} kW ({when(least, back)})"
