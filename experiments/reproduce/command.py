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
from cosim.experiments.studies.station_pricing.command import station_command

_out = Console()
_err = Console(stderr=True)
studies.command("powertrip", help=STUDIES["powertrip"])(powertrip_command)
studies.command("station_pricing", help=STUDIES["station_pricing"])(station_command)
Out = Annotated[Path | None, typer.Option(help="Folder; default runs/<study>-<time>/.")]


@studies.command("host_capacity", help=STUDIES["host_capacity"])
def host_capacity(
    out: Out = None,
    households: Annotated[
        int | None, typer.Option(help="Also run this many homes of the shipped profiles; default 55.")
    ] = None,
    slots: Annotated[int | None, typer.Option(help="Slots of the day; must divide 1440 minutes; default 96.")] = None,
    form: Annotated[str | None, typer.Option(help="Form of the problem; the solver's choice without it.")] = None,
    objective: Annotated[str | None, typer.Option(help="What caps are chosen for; default least_restriction.")] = None,
    coordination: Annotated[str | None, typer.Option(help="What must respect the limits; default anticipated.")] = None,
    ties: Annotated[str | None, typer.Option(help="How households choose among equals; default unique.")] = None,
    time_limit: Annotated[float | None, typer.Option(help="Seconds for the solver; lifts its node limit.")] = None,
    gap: Annotated[float | None, typer.Option(help="Relative gap at which the solver may stop.")] = None,
    limits: Annotated[str | None, typer.Option(help="One limit on the 'total', or 'per-phase'; default total.")] = None,
    margin: Annotated[float | None, typer.Option(help="Share of the limits kept free; default 0.")] = None,
    floor_kw: Annotated[float | None, typer.Option(help="Floor above inflexible load, of floor_then_least.")] = None,
    data: Annotated[Path | None, typer.Option(help="Own homes: a CSV with the columns of caps.csv.")] = None,
    seed: Annotated[int, typer.Option(help="Of homes, cars and the search.")] = 1,
) -> None:
    """Run the study; any option about size or solver also runs the corrected model on the shipped profiles."""
    from cosim.experiments.reproduce import host_capacity as study
    from cosim.experiments.reproduce.host_options import Wishes, checked

    wishes = Wishes(
        households=households, slots=slots, limits=limits, margin=margin, data=data,
        form=form, objective=objective, coordination=coordination, ties=ties, time_limit_s=time_limit, gap=gap,
        floor_kw=floor_kw, seed=seed,
    )  # fmt: skip
    order = checked(wishes)
    folder = writable_folder(out or Path("runs") / f"host_capacity-{datetime.now():%Y%m%d-%H%M%S}")
    with _out.status("Telling the study again"):
        told = study.reproduce(folder, order)
    for line in told.lines:
        _out.print(escape(line), highlight=False, soft_wrap=True)
    for warning in told.warnings:
        _err.print(f"[yellow]warning:[/yellow] {escape(warning)}", highlight=False, soft_wrap=True)
    _out.print(f"Written to [bold]{escape(str(folder))}[/bold]: open report.md for the story and the figures.")


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
