"""The commands ``cosim study``, ``study query`` and ``study show``; what they do is imported when asked for."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from cosim.errors import Fault, InputError
from cosim.folder import default_folder

if TYPE_CHECKING:
    from cosim.experiments.study.worlds import Worlds

_out = Console()
_err = Console(stderr=True)
Scheduler = Annotated[str | None, typer.Option(help="Address of a Dask scheduler instead, such as tcp://host:8786.")]
Folder = Annotated[Path, typer.Argument(help="Folder of the study.", metavar="DIR")]


def study(
    study: Annotated[str, typer.Argument(help="Path or shipped name.", metavar="STUDY")],
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes on this machine.")] = 1,
    scheduler: Scheduler = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what is in the folder.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take: one world is run.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/<study>-<time>/.")] = None,
) -> None:
    """Run many worlds under many controllers; whatever ends it, what is finished is kept."""
    if resume and out is None:
        raise InputError(Fault("cosim study", "--resume", "goes with --out", "give --out the folder to go on with"))
    worlds = _worlds(study)
    worlds.check()
    from cosim.experiments.keep import INTERRUPTED
    from cosim.experiments.study import conduct
    from cosim.experiments.study.progress import shown_on
    from cosim.experiments.study.runner import check_workers

    check_workers(jobs, scheduler)
    with _err.status("Looking at every feeder under every controller"):
        warnings = conduct.check(worlds)
    for warning in warnings:
        _err.print(f"[yellow]warning:[/yellow] {escape(warning)}", highlight=False)
    runs = [run.name for run in worlds.base.runs]
    scenarios = len(worlds) * len(runs)
    size = f"{len(worlds)} worlds × {len(runs)} controllers ({', '.join(runs)}) = {scenarios} scenarios"
    if dry_run:
        with _err.status("Running the first world"):
            found = conduct.estimate(worlds)
        hours = found.world_s * len(worlds) / 3600.0
        _out.print(
            f"{escape(size)}\nabout {hours:.3g} processor hours ({found.world_s:.3g} s for the first world), "
            f"{hours / jobs:.3g} h with --jobs {jobs}\nabout {found.disk_mb:.3g} MB on disk",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        return
    folder = out or default_folder(worlds.study.name)
    _err.print(escape(size), highlight=False, soft_wrap=True)
    try:
        with shown_on(_err, "Beginning") as progress:
            of_worlds = partial(progress, "worlds")
            conduct.conduct(worlds, folder, jobs=jobs, scheduler=scheduler, resume=resume, progress=of_worlds)
    except KeyboardInterrupt:
        _err.print(f"[red]interrupted:[/red] what is finished is kept; go on with --resume --out {escape(str(folder))}")
        raise typer.Exit(INTERRUPTED) from None
    recorded = conduct.recorded(folder)
    told = f"{sum(recorded.values())} of {scenarios} scenarios recorded: "
    told += ", ".join(f"{many} {status}" for status, many in recorded.items())
    _out.print(f"{told}. Written to [bold]{escape(str(folder))}[/bold].")


def query(
    sql: Annotated[str, typer.Argument(help="Of DuckDB; the table is called results.", metavar="SQL")], folder: Folder
) -> None:
    """Ask the results of a study in place; CSV on standard output."""
    from cosim.experiments.study import dataset

    print(dataset.query(sql, folder).to_csv(index=False), end="")  # noqa: T201 - for pipes


def show(
    world: Annotated[str, typer.Argument(help="Beginning of the world's hash.", metavar="HASH")],
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/<study>-<hash>-<time>/.")] = None,
) -> None:
    """Run one world of a study again, and write what 'cosim run' writes: figures, report, trajectories."""
    from cosim.experiments.study import conduct

    worlds = conduct.worlds_of(folder)
    place = out or default_folder(f"{worlds.study.name}-{world}")
    with _err.status("Running it again"):
        results = conduct.show(worlds, folder, world, place)
    _out.print(f"Written to [bold]{escape(str(place))}[/bold]: open report.html for figures and all measures.")
    if results.stopped is not None:
        _err.print(f"[red]stopped:[/red] {escape(str(results.stopped))}", highlight=False, soft_wrap=True)
        raise typer.Exit(results.stopped.exit_code)


def _worlds(name_or_path: str) -> Worlds:
    from cosim.experiments.study.config import read
    from cosim.experiments.study.worlds import Worlds

    return Worlds(*read(name_or_path))
