"""Figures of a comparison: drawn from trajectories and metrics alone, written as PNG files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cosim.experiments.figures import (
    behaviour,
    cables,
    charging,
    devices,
    diversity,
    feeder_map,
    front,
    generation,
    homes,
    loading,
    promise,
    style,
    substation,
    unbalance,
    voltage,
)
from cosim.experiments.figures.runs import NothingToDrawError, Runs
from cosim.experiments.promise_table import PromiseRow

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
    runs: Runs,
    folder: Path,
    *,
    promises: Sequence[PromiseRow] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> list[FigureFile]:
    """Draw every figure that these runs can fill.

    Parameters
    ----------
    runs : Runs
        Of one day on one feeder, complete or not.
    folder : Path
        Receives ``<name>.png``, each written whole or not at all. A figure that has nothing to show removes the file
        of an earlier run, so that the folder never shows another day.
    promises : sequence of PromiseRow
        Promise against delivery of every run, for what households that ignore caps do to it.
    progress : callable, optional
        Called with (name of the next figure, figures done, all figures).

    Returns
    -------
    list of FigureFile
        In the order of the report; ``path`` is None where there was nothing to draw.
    """
    plan: dict[str, Callable[[Runs], style.Drawing]] = {
        "transformer_loading": loading.draw,
        "cable_loading": cables.draw,
        "substation": substation.draw,
        "devices": devices.draw,
        "voltage_band": voltage.draw_band,
        "voltage_distribution": voltage.draw_distribution,
        "voltage_profile": voltage.draw_profile,
        "unbalance": unbalance.draw,
        "charging": charging.draw_heatmap,
        "caps": charging.draw_caps,
        "photovoltaics": generation.draw,
        "homes": homes.draw,
        "promise": promise.draw,
        "behaviour": lambda these: behaviour.draw(these, promises),
        "pareto_front": front.draw,
        "feeder_map": feeder_map.draw,
        "cable_map": feeder_map.draw_loading,
        "diversity": diversity.draw,
    }
    files = []
    with style.house_style():
        for done, (name, draw) in enumerate(plan.items()):
            if progress is not None:
                progress(name, done, len(plan))
            files.append(_write(name, draw, runs, folder))
    return files


def _write(name: str, draw: Callable[[Runs], style.Drawing], runs: Runs, folder: Path) -> FigureFile:
    path = folder / f"{name}.png"
    try:
        drawing = draw(runs)
    except NothingToDrawError as reason:
        path.unlink(missing_ok=True)
        return FigureFile(name, name.replace("_", " ").capitalize(), f"{reason}.", None)
    style.save(drawing.figure, path)
    return FigureFile(name, drawing.title, drawing.caption, path)
