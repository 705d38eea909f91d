"""Figures of a comparison: drawn from trajectories and metrics alone, written as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cosim.contract import Exogenous
from cosim.experiments.figures import (
    behaviour,
    charging,
    diversity,
    feeder_map,
    front,
    generation,
    loading,
    promise,
    style,
    unbalance,
    voltage,
)
from cosim.experiments.figures.runs import NothingToDrawError, Runs
from cosim.experiments.promise_table import PromiseRow
from cosim.trajectory import Trajectory

__all__ = ["FigureFile", "write_figures"]


@dataclass(frozen=True)
class FigureFile:
    """A figure as written, or the reason why there is none.

    Attributes
    ----------
    name : str
        Stem of the file.
    title : str
        What to see; of a figure that was left out, what it would have shown.
    caption : str
        How to read it; of a figure that was left out, why.
    path : Path or None
        The PNG file; None where the figure was left out.
    """

    name: str
    title: str
    caption: str
    path: Path | None

    @property
    def topic(self) -> str:
        """The name as words."""
        return self.name.replace("_", " ").capitalize()


def write_figures(
    trajectories: Mapping[str, Trajectory],
    metrics: Mapping[str, Mapping[str, float]],
    folder: Path,
    *,
    day: Exogenous | None = None,
    rng: np.random.Generator | None = None,
    promises: Sequence[PromiseRow] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> list[FigureFile]:
    """Draw every figure that these runs can fill.

    Parameters
    ----------
    trajectories : mapping of label to Trajectory
        Runs of one day on one feeder, complete or not.
    metrics : mapping of label to mapping of name to float
        Their scoreboards, see ``cosim.measures.scoreboard``.
    folder : Path
        Receives ``<name>.png``, each written whole or not at all. A figure that has nothing to show removes the file
        of an earlier run, so that the folder never shows another day.
    day : Exogenous, optional
        The day before it was averaged to the steps of the runs, for the diversity of short peaks.
    rng : numpy.random.Generator, optional
        Draws the groups of homes for the diversity figure; seeded with 0 where not given.
    promises : sequence of PromiseRow
        Promise against delivery of every run, for what households that ignore caps do to it.
    progress : callable, optional
        Called with (name of the next figure, figures done, all figures).

    Returns
    -------
    list of FigureFile
        In the order of the report; ``path`` is None where there was nothing to draw.
    """
    runs = Runs({label: run for label, run in trajectories.items() if run.steps}, metrics, day)
    draws = rng if rng is not None else np.random.default_rng(0)
    plan: dict[str, Callable[[], style.Drawing]] = {
        "transformer_loading": lambda: loading.draw(runs),
        "voltage_band": lambda: voltage.draw_band(runs),
        "voltage_profile": lambda: voltage.draw_profile(runs),
        "unbalance": lambda: unbalance.draw(runs),
        "charging": lambda: charging.draw_heatmap(runs),
        "caps": lambda: charging.draw_caps(runs),
        "photovoltaics": lambda: generation.draw(runs),
        "promise": lambda: promise.draw(runs),
        "behaviour": lambda: behaviour.draw(runs, promises),
        "pareto_front": lambda: front.draw(runs),
        "feeder_map": lambda: feeder_map.draw(runs),
        "diversity": lambda: diversity.draw(runs, draws),
    }
    files = []
    with style.house_style():
        for done, (name, draw) in enumerate(plan.items()):
            if progress is not None:
                progress(name, done, len(plan))
            files.append(_write(name, draw if len(runs) else _no_steps, folder))
    return files


def _write(name: str, draw: Callable[[], style.Drawing], folder: Path) -> FigureFile:
    path = folder / f"{name}.png"
    try:
        drawing = draw()
    except NothingToDrawError as reason:
        path.unlink(missing_ok=True)
        return FigureFile(name, name.replace("_", " ").capitalize(), f"{reason}.", None)
    style.save(drawing.figure, path)
    return FigureFile(name, drawing.title, drawing.caption, path)


def _no_steps() -> style.Drawing:
    raise NothingToDrawError("no run completed a step")
