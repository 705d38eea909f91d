"""Everything that a plan leaves on disk."""

from __future__ import annotations

from pathlib import Path

from controllers.planner import Options, Planning, Rounding
from experiments.figures import style
from experiments.plan.draw import draw_heatmap, draw_stack
from experiments.plan.read import Demand
from experiments.plan.write import write_plan


def write_all(
    planning: Planning, demand: Demand, options: Options, rounding: Rounding, folder: Path, label: str = ""
) -> None:
    """Write tables, ``plan.json``, ``heatmap.png`` and ``stack.png`` into a folder."""
    write_plan(planning, demand, options, rounding, folder)
    with style.house_style():
        for name, draw in (("heatmap", draw_heatmap), ("stack", draw_stack)):
            style.save(draw(planning, demand.start, label).figure, folder / f"{name}.png")
