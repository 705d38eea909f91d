"""Promise against delivery: what a controller planned at the transformer and what the power flow shows."""

from __future__ import annotations

import numpy as np

from cosim.contract import Float
from cosim.experiments.figures import style
from cosim.experiments.figures.runs import NothingToDrawError, Runs, edges_of
from cosim.experiments.promise_table import ABOVE_KVA
from cosim.trajectory import Trajectory

MOST_NAMED = 3
"""Runs that a title can name one by one."""


def draw(runs: Runs) -> style.Drawing:
    """Planned and delivered apparent power over time, for every run that made a plan."""
    promised = {label: float(np.nanmax(error_kva(run))) for label, run in runs if np.isfinite(error_kva(run)).any()}
    if not promised:
        raise NothingToDrawError("no controller promised a power at the transformer")
    planned = [(label, run) for label, run in runs if promised.get(label, 0.0) > ABOVE_KVA]
    if not planned:
        most = max(promised.values())
        raise NothingToDrawError(f"every promise is kept to {most:.1f} kVA: planned and delivered power coincide")
    figure, (panels,) = runs.grid([label for label, _ in planned], 1.7, "transformer [kVA]")
    worst: dict[str, float] = {}
    for axes, (label, run) in zip(panels, planned, strict=True):
        times, delivered = edges_of(run), np.abs(run.transformer_kva.sum(axis=1))
        style.between(axes, times, run.planned_kva, delivered, style.WITHHELD, alpha=0.45)
        style.steps(axes, times, run.planned_kva, "black", linewidth=1.0, linestyle="--")
        style.steps(axes, times, delivered, style.USED, linewidth=1.1)
        if np.isfinite(run.feeder.transformer_kva):
            style.limit_line(axes, run.feeder.transformer_kva, f"{run.feeder.transformer_kva:.0f} kVA")
        error = error_kva(run)
        worst[label] = float(np.nanmax(error))
        summary = f"error: mean {np.nanmean(error):.1f}, max {worst[label]:.1f} kVA"
        style.panel_title(axes, label, summary, runs.stopped(label))
    panels[0].set_ylim(bottom=0)
    title = f"Planned and delivered power at the transformer differ by up to {_named(worst)}"
    keys = [
        style.line_key("black", "planned", linestyle="--"),
        style.line_key(style.USED, "delivered"),
        style.area_key(style.WITHHELD, "difference", alpha=0.45),
        style.line_key(style.LIMIT, "rating", linestyle="--"),
    ]
    others = [label for label in runs.labels if label not in promised]
    kept = [label for label in promised if label not in worst]
    rest = style.CAPTIONS["promise_without"].format(labels=", ".join(others)) if others else ""
    rest += style.CAPTIONS["promise_kept"].format(kva=ABOVE_KVA, labels=", ".join(kept)) if kept else ""
    return style.finish(figure, title, style.CAPTIONS["promise"] + rest, keys)


def _named(worst: dict[str, float]) -> str:
    """Every run's largest difference; of many runs the smallest and the largest of them."""
    shown = sorted(worst, key=lambda label: worst[label])
    if len(shown) <= MOST_NAMED:
        return ", ".join(f"{worst[label]:.1f} kVA ({label})" for label in worst)
    least, most = shown[0], shown[-1]
    return f"{worst[least]:.1f} kVA ({least}) to {worst[most]:.1f} kVA ({most})"


def error_kva(run: Trajectory) -> Float:
    """Difference of planned and delivered apparent power, shape (step,) [kVA]; nan without a promise or a meter."""
    return np.asarray(np.abs(run.planned_kva - np.abs(run.transformer_kva.sum(axis=1))))
