"""Everything that a plan leaves on disk."""

from __future__ import annotations

from pathlib import Path

from cosim.controllers.planner import Options, Planning, Rounding
from cosim.experiments.figures import style
from cosim.experiments.plan.draw import draw_heatmap, draw_stack
from cosim.experiments.plan.read import Demand
from cosim.experiments.plan.write import write_plan


def write_all(
    planning: Planning, demand: Demand, options: Options, rounding: Rounding, folder: Path, label: str = ""
) -> None:
    """Write tables, ``plan.json``, ``heatmap.png`` and ``stack.png`` into a folder."""
    write_plan(planning, demand, options, rounding, folder)
    with style.house_style():
        for name, draw in (("heatmap", draw_heatmap), ("stack", draw_stack)):
            style.save(draw(planning, demand.start, label).figure, folder / f"{name}.png")
