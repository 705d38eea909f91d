"""``cosim reproduce STUDY``: one command per study, each with options of its own."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from cosim.experiments.files import writable_folder
from cosim.experiments.reproduce import STUDIES
from cosim.experiments.studies.command import studies
from cosim.experiments.studies.powertrip.command import powertrip_command

_out = Console()
_err = Console(stderr=True)
studies.command("powertrip", help=STUDIES["powertrip"])(powertrip_command)
Out = Annotated[Path | None, typer.Option(help="Folder; default runs/<study>-<time>/.")]


@studies.command("fleet_aggregation", help=STUDIES["fleet_aggregation"])
def fleet_aggregation(
    out: Out = None,
    vehicles: Annotated[int, typer.Option(help="Cars of the fleet.")] = 100,
    training_weeks: Annotated[int, typer.Option(help="Weeks that factors are fitted to.")] = 4,
    validation_weeks: Annotated[int, typer.Option(help="Weeks on which the aggregate is chosen.")] = 2,
    test_weeks: Annotated[int, typer.Option(help="Weeks on which it is judged.")] = 2,
    seed: Annotated[int, typer.Option(help="Of cars, trips, prices and searches.")] = 1,
    discharge: Annotated[bool, typer.Option("--discharge", help="Cars may feed back.")] = False,
    loop: Annotated[bool, typer.Option(help="Also run the default day on the feeder.")] = True,
) -> None:
    """Run the study."""
    from cosim.experiments.studies.fleet_aggregation import report as study
    from cosim.experiments.studies.fleet_aggregation.model import Order

    order = Order(vehicles, training_weeks, validation_weeks, test_weeks, seed, discharge).checked()
    folder = writable_folder(out or Path("runs") / f"fleet_aggregation-{datetime.now():%Y%m%d-%H%M%S}")
    with _out.status("Aggregating"):
        told = study.reproduce(folder, order, loop=loop)
    for line in told.lines:
        _out.print(escape(line), highlight=False, soft_wrap=True)
    _out.print(f"Written to [bold]{escape(str(folder))}[/bold]: open report.md for tables and figures.")
