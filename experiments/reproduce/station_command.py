"""``cosim reproduce station_pricing``: the instance, the drivers' behaviour and what else to measure."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from cosim.errors import InputError
from cosim.experiments.files import writable_folder

_out = Console()
_err = Console(stderr=True)


def station_command(
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/station_pricing-<time>/.")] = None,
    instance: Annotated[Path | None, typer.Option(help="TOML; without it four drivers and two stations.")] = None,
    generate: Annotated[str | None, typer.Option(help="Draw DRIVERS,STATIONS instead, such as 20,4.")] = None,
    seed: Annotated[int, typer.Option(help="Of every draw.")] = 1,
    formulation: Annotated[str, typer.Option(help="Lower level: cuts, products, products_lean, nonlinear.")] = "cuts",
    lost_sales: Annotated[
        float | None,
        typer.Option(
            help="Drivers may be turned away, at so many EUR/kWh; without it prices that leave no room are refused."
        ),
    ] = None,
    price_order: Annotated[bool, typer.Option("--price-order", help="More power must not be cheaper.")] = False,
    selfish: Annotated[
        bool, typer.Option("--selfish", help="Each driver looks after itself (user equilibrium).")
    ] = False,
    periods: Annotated[int, typer.Option(help="Prices and capacities of so many periods.")] = 1,
    population: Annotated[int, typer.Option(help="Of the evolutionary algorithm.")] = 40,
    generations: Annotated[int, typer.Option(help="Of the evolutionary algorithm, at most.")] = 60,
    gap: Annotated[
        float | None, typer.Option(help="Relative gap of each lower level [0; 0.01 above 25 drivers].")
    ] = None,
    certify: Annotated[
        int, typer.Option(help="Check the algorithm against the optimum of so many instances; 30 take minutes.")
    ] = 0,
    scaling: Annotated[bool, typer.Option("--scaling", help="Measure every formulation against size.")] = False,
    feeder: Annotated[str | None, typer.Option(help="Charge on this feeder at the prices found.")] = None,
    stations: Annotated[str | None, typer.Option(help="Buses of the stations, comma-separated.")] = None,
) -> None:
    """Run the study on the reference instance, an own one or a drawn one."""
    from cosim.experiments.reproduce import station_pricing as study
    from cosim.experiments.reproduce.station_read import Wishes, checked

    order = checked(Wishes(
        instance=instance, generate=generate, seed=seed, formulation=formulation, lost_sales=lost_sales,
        price_order=price_order, selfish=selfish, periods=periods, population=population, generations=generations,
        gap=gap, certify=certify, scaling=scaling, feeder=feeder, stations=stations,
    ))  # fmt: skip
    folder = writable_folder(out or Path("runs") / f"station_pricing-{datetime.now():%Y%m%d-%H%M%S}")
    try:
        with _out.status("Pricing") as status:
            told = study.reproduce(folder, order, status.update)
    except InputError:
        if not any(folder.iterdir()):
            folder.rmdir()
        raise
    for line in told.lines:
        _out.print(escape(line), highlight=False, soft_wrap=True)
    for warning in told.warnings:
        _err.print(f"[yellow]warning:[/yellow] {escape(warning)}", highlight=False, soft_wrap=True)
    _out.print(f"Written to [bold]{escape(str(folder))}[/bold]: open report.md for tables and figures.")
