"""``cosim rephase``: the moves that help most, judged by running the day again."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from cosim.experiments.files import writable_folder

_out = Console()


def rephase_command(
    scenario: Annotated[str | None, typer.Argument(help="Path or shipped name; the default day without.")] = None,
    moves: Annotated[int, typer.Option(min=1, max=50, help="Most customers to connect to another phase.")] = 2,
    controller: Annotated[str, typer.Option(help="Controller under which the day is run.")] = "none",
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the scenario's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/rephase-<scenario>-<time>/.")] = None,
) -> None:
    """Find the re-phasings of customers that lower the day's unbalance current most, and run the day before and after.

    Up to two moves are the best of all combinations, verified by power flow; more are added greedily with exchanges.
    """
    from cosim.experiments import scenario as scenarios
    from cosim.experiments.rephase.study import rephase

    name = scenario or scenarios.DEFAULT
    question = scenarios.read(name)
    if seed is not None:
        question = question.model_copy(update={"seed": seed})
    folder = writable_folder(out or Path("runs") / f"rephase-{question.name}-{datetime.now():%Y%m%d-%H%M%S}")
    with _out.status("Running the day, comparing moves, running it again"):
        lines = rephase(question, scenarios.find(name), folder, moves=moves, controller=controller)
    for line in lines:
        _out.print(escape(line), highlight=False, soft_wrap=True)
    _out.print(f"Written to [bold]{escape(str(folder))}[/bold]: open report.md for tables and the figure.")
