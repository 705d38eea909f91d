"""The command line: every ``cosim`` command; what it does lives in modules of its own, imported when asked for."""

from __future__ import annotations

import json
import math
import sys
from datetime import datetime
from enum import StrEnum
from inspect import Parameter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from cosim.errors import CosimError, Fault, InputError
from cosim.experiments import scenario as scenarios
from cosim.experiments.choose import only, with_options
from cosim.experiments.files import writable_folder
from cosim.experiments.scenario import Scenario
from cosim.experiments.studies.command import add_studies, studies

app = typer.Typer(
    help="Power-flow co-simulation of low-voltage feeders: OpenDSS stepped in time, controllers in the loop.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(studies, name="reproduce")
add_studies(app, "")
_out = Console()
_err = Console(stderr=True)


class Engine(StrEnum):
    """Power flows."""

    opendss = "opendss"
    reduced = "reduced"


class Kind(StrEnum):
    """What can be listed."""

    feeders = "feeders"
    controllers = "controllers"
    scenarios = "scenarios"


class Benchmark(StrEnum):
    """Benchmarks."""

    step = "step"
    pareto = "pareto"
    caps = "caps"
    plan = "plan"


@app.command("run")
def run_command(
    scenario: Annotated[str, typer.Argument(help="Path or shipped name.")] = scenarios.DEFAULT,
    controllers: Annotated[str | None, typer.Option(help="Only these runs or controllers, comma-separated.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="RUN.OPTION=VALUE, e.g. pareto.weights=[0.4,0.6]; may be repeated.")
    ] = None,
    engine: Annotated[Engine, typer.Option(help="Power flow.")] = Engine.opendss,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the scenario's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/<scenario>-<time>/.")] = None,
) -> None:
    """Run one scenario under every controller named in it, and write the results."""
    from cosim.experiments.compose import compose
    from cosim.experiments.execute import execute
    from cosim.experiments.show import print_scoreboard

    path = scenarios.find(scenario)
    chosen = scenarios.read(scenario)
    if seed is not None:
        chosen = chosen.model_copy(update={"seed": seed})
    if controllers is not None:
        chosen = only(chosen, controllers, path)
    chosen = with_options(chosen, option or [], path)
    folder = out or Path("runs") / f"{chosen.name}-{datetime.now():%Y%m%d-%H%M%S}"
    with _out.status("Composing the day"):
        composition = compose(chosen, path)
    writable_folder(folder)  # before the work, but not before the input is known to be right
    for warning in composition.warnings:
        _err.print(f"[yellow]warning:[/yellow] {escape(warning)}", highlight=False)
    with _bars() as bars:
        tasks = {run.name: bars.add_task(run.name, total=None, start=False) for run in chosen.runs}

        def progress(label: str, done: int, total: int) -> None:
            if done == 1:
                bars.start_task(tasks[label])
            bars.update(tasks[label], completed=done, total=total)

        results = execute(composition, folder, where=path, engine=engine.value, progress=progress)
    if results.metrics:
        print_scoreboard(results.metrics, _out)
    report = ": open report.html for figures and all measures" if (folder / "report.html").exists() else ""
    _out.print(f"Written to [bold]{escape(str(folder))}[/bold]{report}.")
    if results.stopped is not None:
        _err.print(f"[red]stopped:[/red] {escape(str(results.stopped))}; what was computed is kept and marked")
        raise typer.Exit(results.stopped.exit_code)


@app.command()
def compare(
    folder: Annotated[Path, typer.Argument(help="Folder that 'cosim run' wrote.")],
    everything: Annotated[bool, typer.Option("--all", help="All metrics, not only the headlines.")] = False,
) -> None:
    """Show the scoreboard again, from files alone."""
    from cosim.experiments.show import print_scoreboard, read_metrics

    print_scoreboard(read_metrics(folder), _out, everything=everything)


@app.command()
def check(
    scenario: Annotated[str | None, typer.Argument(help="Path or shipped name.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of a scenario.")] = False,
) -> None:
    """Validate a scenario without running it, or print the schema."""
    if schema:
        print(json.dumps(Scenario.model_json_schema(), indent=2))  # noqa: T201 - for pipes, without markup
        return
    if scenario is None:
        raise InputError(Fault("cosim check", "SCENARIO", "is missing", "give a path or name, or --schema"))
    from cosim.experiments.compose import compose

    composition = compose(scenarios.read(scenario), scenarios.find(scenario))
    for warning in composition.warnings:
        _err.print(f"[yellow]warning:[/yellow] {escape(warning)}", highlight=False)
    homes, cars = len(composition.feeder.customers), len(set(composition.exogenous.sessions.customer.tolist()))
    _out.print(
        f"{scenario}: valid. {homes} customers, {cars} cars, {(composition.exogenous.inverter_kva > 0).sum()} roofs, "
        f"{len(composition.scenario.runs)} runs."
    )


@app.command("list")
def list_command(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    options: Annotated[bool, typer.Option("--options", help="Of controllers: their options and defaults.")] = False,
) -> None:
    """List the feeders, controllers or scenarios that there are."""
    from cosim import controllers, feeders

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    if kind is Kind.feeders:
        for name in feeders.names():
            table.add_row(name, feeders.title(name))
    elif kind is Kind.scenarios:
        for name in scenarios.shipped():
            table.add_row(
                name, f"{scenarios.read(name).feeder}: " + ", ".join(r.name for r in scenarios.read(name).runs)
            )
    else:
        for name in controllers.names():
            table.add_row(name, escape(controllers.describe(name)))
            texts = controllers.option_texts(name) if options else {}
            for key, default in (controllers.options(name) if options else {}).items():
                table.add_row("", escape(f"{key} = {_default(default)}\n    {texts[key].replace('``', '')}"))
    _out.print(table)


@app.command()
def feeder(name_or_path: Annotated[str, typer.Argument(help="Shipped name, or path of an OpenDSS file.")]) -> None:
    """Show facts about a feeder, with warnings. A .dss file is code: it can run other files and write anywhere."""
    from cosim import feeders
    from cosim.experiments.show import feeder_facts

    feeder_facts(feeders.load(name_or_path), _out)


@app.command()
def bench(
    what: Annotated[Benchmark, typer.Argument(help="What to measure.")],
    out: Annotated[Path | None, typer.Option(help="Write the rows as JSON (and, of caps, a figure beside it).")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Interleaved repetitions.")] = 5,
    engine: Annotated[Engine, typer.Option(help="Power flow of the product, of 'step' only.")] = Engine.opendss,
) -> None:
    """Measure speed as ratios against a reference in the same run."""
    from importlib import import_module

    from cosim.experiments.bench import table, write

    benchmark = import_module(f"cosim.experiments.bench.{what.value}")
    rows = benchmark.measure(repeats, engine.value) if what is Benchmark.step else benchmark.measure(repeats)
    _out.print(table(rows))
    if out is not None:
        write(rows, out)
        if what is Benchmark.caps:
            benchmark.figure(rows, out.with_suffix(".png"))


def _default(value: object) -> str:
    """A default as it would be written in a scenario; words where it would be left out."""
    if value is None:
        return "(not given)"
    if value is Parameter.empty:
        return "(must be given)"
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    return json.dumps(list(value) if isinstance(value, tuple) else value, default=str)


def _bars() -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("steps"),
        TimeElapsedColumn(), TimeRemainingColumn(), console=_err,
    )  # fmt: skip


def main() -> None:
    """Run the command line and turn errors into one message and an exit code."""
    try:
        app()
    except InputError as error:
        for fault in error.faults:
            _err.print(f"[red]error:[/red] {escape(str(fault))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except CosimError as error:
        _err.print(f"[red]error:[/red] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _err.print(f"[red]error:[/red] {escape(place)}{escape(error.strerror or str(error))}", highlight=False)
        sys.exit(InputError.exit_code)
    except KeyboardInterrupt:
        _err.print("[red]interrupted[/red]")
        sys.exit(130)


if __name__ == "__main__":
    main()
