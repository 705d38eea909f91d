"""The command line: every ``cosim`` command; what it does lives in modules of its own, imported when asked for."""

from __future__ import annotations

import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from inspect import Parameter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.markup import escape

from cosim import plugins
from cosim.errors import CosimError, Fault, InputError, reason, refuse
from cosim.experiments import DEFAULT
from cosim.experiments.convert import TwoWords, convert
from cosim.experiments.files import package_versions
from cosim.experiments.plan.options import OcppVersion
from cosim.experiments.studies.command import OVERWRITE, add_studies, studies
from cosim.experiments.study import FOLDER, commands
from cosim.experiments.web.serve import serve
from cosim.folder import claimed, default_folder, new_file, write_whole

if TYPE_CHECKING:
    from rich.progress import TaskID

    from cosim.experiments.keep import Progress
    from cosim.experiments.scenario import Scenario

app = typer.Typer(
    cls=TwoWords,
    help="Power-flow co-simulation of low-voltage feeders: OpenDSS stepped in time, controllers in the loop.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(studies, name="reproduce")
add_studies(app, reproduce=False)
_out = Console()
_err = Console(stderr=True)


Engine = Literal["opendss", "reduced"]
Accept = Annotated[
    list[str] | None,
    typer.Option(help="Element of the circuit to run with though it cannot be honoured; may be repeated."),
]
Kind = Literal["feeders", "controllers", "scenarios", "studies"]
Objective = Literal["curtailment", "cost", "unbalance", "losses", "peak"]
Cars = Literal["free", "neutral", "uncontrolled"]
Technology = Literal["ev", "pv", "heat_pump"]
Benchmark = Literal["step", "batch", "pareto", "caps", "plan", "study"]


def _version(asked: bool) -> None:
    if asked:
        print("cosim", *package_versions(["lv-feeder-cosim"]).values())  # noqa: T201 - for scripts
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that come before a command."""


@app.command("run")
def run_command(
    scenario: Annotated[str, typer.Argument(help="Path or shipped name.")] = DEFAULT,
    controllers: Annotated[
        str | None, typer.Option(help="Only these runs, controllers or file.py:Class, by commas.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="RUN.OPTION=VALUE, e.g. pareto.weights=[0.4,0.6]; may be repeated.")
    ] = None,
    engine: Annotated[Engine, typer.Option(help="Power flow.")] = "opendss",
    accept: Accept = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the scenario's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/<scenario>-<time>/.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help=OVERWRITE)] = False,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Runs at once, each in a process of its own.")] = 1,
    optimum: Annotated[Objective | None, typer.Option(help="Regret of every run, of this objective.")] = None,
    no_figures: Annotated[bool, typer.Option("--no-figures", help="A report without figures, for speed.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but errors.")] = False,
) -> None:
    """Run one scenario under every controller named in it, and write the results."""
    from cosim.experiments import scenario as scenarios
    from cosim.experiments.choose import accepting, only, with_options

    path = scenarios.find(scenario)
    chosen = scenarios.read(scenario)
    if seed is not None:
        chosen = chosen.model_copy(update={"seed": seed})
    if controllers is not None:
        chosen = only(chosen, controllers)
    chosen = accepting(with_options(chosen, option or []), accept or [])
    folder = out or default_folder(chosen.name)
    with claimed(folder, overwrite=overwrite):
        pass  # refused before the work
    from cosim.experiments.compose import compose  # now: it brings everything, and the above may have been refused

    with _progress(quiet) as progress:
        progress("the day", "composing", 0, 1)
        composition = compose(chosen, path)
        if not quiet:
            _warn(composition.warnings)
        progress("the day", "composed", 1, 1)
        from cosim.experiments.execute import execute

        results = execute(
            composition, folder, engine=engine, progress=progress, jobs=jobs, figures=not no_figures,
            overwrite=overwrite, optimum=optimum,
        )  # fmt: skip
    if not quiet:
        from cosim.experiments.show import print_scoreboard, read_standard, read_stopped

        stopped, judged = read_stopped(folder), read_standard(folder)
        worst = {label: run.worst for label, run in results.runs.items()}
        print_scoreboard(results.metrics, _out, stopped=stopped, standard=judged, worst=worst)
        report = ": open report.html for figures and all measures" if (folder / "report.html").exists() else ""
        _out.print(f"Written to [bold]{escape(str(folder))}[/bold]{report}.")
    if results.stopped is not None:
        told = f"[red]stopped:[/red] {escape(str(results.stopped))}; what was computed is kept and marked"
        _err.print(told, highlight=False, soft_wrap=True)
        raise typer.Exit(results.stopped.exit_code)


@app.command("optimum")
def optimum_command(
    scenario: Annotated[str, typer.Argument(help="Path or shipped name.")] = DEFAULT,
    objective: Annotated[Objective, typer.Option(help="What is minimised.")] = "curtailment",
    cars: Annotated[Cars, typer.Option(help="What cars may do; neutral: at no household's cost.")] = "free",
    curtailment_kwh: Annotated[float | None, typer.Option(min=0, help="Budget of unbalance, losses and peak.")] = None,
    bill_eur: Annotated[float | None, typer.Option(help="Budget of unbalance, losses and peak.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the scenario's.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="A table of seeds instead, such as 1-5; in a folder of before it goes on.")
    ] = None,
    beside: Annotated[str | None, typer.Option(help="Runs or controllers of that table; default all of them.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/<scenario>-optimum-<time>/.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help=OVERWRITE)] = False,
) -> None:
    """Find the best plan of a day with perfect knowledge, run it on OpenDSS, and prove how much better none can be."""
    from cosim.experiments import scenario as scenarios

    chosen = scenarios.read(scenario)
    folder = out or default_folder(f"{chosen.name}-optimum")
    options: dict[str, Any] = {"cars": cars, "curtailment_kwh": curtailment_kwh, "bill_eur": bill_eur}
    if seeds is not None:
        from cosim.experiments.choose import only

        first, _, last = seeds.partition("-")
        if not (first.isdecimal() and (last or first).isdecimal()):
            refuse([Fault("cosim optimum", "--seeds", f"is '{seeds}'", "give one seed, or the first and last as 1-5")])
        chosen = only(chosen, beside) if beside is not None else chosen
        _optima(chosen, scenarios.find(scenario), objective, range(int(first), int(last or first) + 1), folder, options)
        return
    with claimed(folder, overwrite=overwrite):
        pass  # refused before the work
    from cosim.experiments.compose import load
    from cosim.experiments.optimum import optimum, show

    day = load(scenario, seed=seed)
    _warn(day.warnings)
    found = optimum(day, objective, **options)
    found.save(folder, overwrite=overwrite)
    show(found, _out)
    _out.print(f"Written to [bold]{escape(str(folder))}[/bold].")


def _optima(
    chosen: Scenario, path: Path, objective: Objective, seeds: range, folder: Path, options: dict[str, Any]
) -> None:
    from rich.table import Table

    from cosim.experiments.compose import compose
    from cosim.experiments.optimum import table

    folder.mkdir(parents=True, exist_ok=True)
    day = compose(chosen, path)
    _warn(day.warnings)
    rows = table(
        day, objective, seeds, folder, lambda label, seed: _out.print(f"seed {seed}: {label} ..."), **options
    )  # fmt: skip
    shown = Table(*rows[0])
    for row in rows:
        shown.add_row(*(f"{value:.5g}" if isinstance(value, float) else str(value or "-") for value in row.values()))
    _out.print(shown)
    _out.print(f"Written to [bold]{escape(str(folder))}[/bold].")


@app.command()
def compare(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders that 'cosim run' wrote, or one of 'cosim study'.", metavar="FOLDER")
    ],
    everything: Annotated[bool, typer.Option("--all", help="All metrics, not only the headlines.")] = False,
    baseline: Annotated[str, typer.Option(help="Of a study: what the others are set against.")] = "none",
    measures: Annotated[str, typer.Option(help="Of a study: what is shown, by commas.")] = "",
) -> None:
    """Show the scoreboard again, from files alone; of several folders run by run, with the change from the first.

    Of a study: means with intervals and paired differences, written beside it as tables, figures, HTML and a workbook.
    """
    from cosim.experiments import show

    only = folders[0]
    if os.path.isfile(only / "hosting.csv"):  # a name that is too long is no file either
        problem = "is of 'cosim hosting': what it ran differs from controller to controller"
        raise InputError(Fault(str(only), "", problem, "its comparison is hosting.csv and hosting.png"))
    if os.path.isdir(only / FOLDER):
        from cosim.experiments.comparison import write
        from cosim.experiments.comparison.paired import compare as paired
        from cosim.experiments.study import dataset

        found = paired(dataset.read(only), baseline, str(only))
        shown = write.chosen(found, measures, str(only))
        write.show(found, shown, _out)
        _warn(write.write(found, shown, only / "comparison", only.resolve().name))
        _out.print(f"Written to [bold]{escape(str(only / 'comparison'))}[/bold]: open comparison.html.")
    elif len(folders) == 1:
        show.print_scoreboard(
            show.read_metrics(only), _out, everything=everything, stopped=show.read_stopped(only),
            standard=show.read_standard(only), worst=show.read_worst(only),
        )  # fmt: skip
    else:
        show.print_comparison(folders, _out, everything=everything)


@app.command()
def ocpp(
    folder: Annotated[Path, typer.Argument(help="Folder that 'cosim run' wrote.")],
    version: Annotated[OcppVersion, typer.Option(help="Of the protocol.")] = "2.0.1",
    timezone: Annotated[str | None, typer.Option(help="Of the run's clock, where its scenario does not say.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/<folder>-ocpp-<time>/.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help=OVERWRITE)] = False,
) -> None:
    """Write the caps of a run, such as envelopes, as OCPP messages SetChargingProfile: a file for each controller."""
    from cosim.experiments.charging_profiles import run_schedules, set_charging_profile
    from cosim.experiments.files import write_json

    found = run_schedules(folder, timezone)
    with claimed(out or default_folder(f"{folder.resolve().name}-ocpp"), overwrite=overwrite) as owned:
        owned.clear()
        for label, schedules in found.items():
            messages = set_charging_profile(schedules, version, "W")
            write_json(owned.path / f"{label}.json", {"ocpp": version, "messages": messages})
            _out.print(f"{label}: {len(messages)} customers", highlight=False)
        _out.print(f"Written to [bold]{escape(str(owned.path))}[/bold].")


@app.command()
def check(
    scenario: Annotated[str | None, typer.Argument(help="Path or shipped name.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema of a scenario.")] = False,
    accept: Accept = None,
) -> None:
    """Validate a scenario without running it, or print the schema."""
    from cosim.experiments import scenario as scenarios

    if schema:
        print(json.dumps(scenarios.Scenario.model_json_schema(), indent=2))  # noqa: T201 - for pipes, without markup
        return
    if scenario is None:
        raise InputError(Fault("cosim check", "SCENARIO", "is missing", "give a path or name, or --schema"))
    from cosim.experiments.choose import accepting

    read = accepting(scenarios.read(scenario), accept or [])
    from cosim.experiments.compose import compose
    from cosim.experiments.devices import PLURALS, rated_kw

    composition = compose(read, scenarios.find(scenario))
    _warn(composition.warnings)
    day, homes = composition.exogenous, len(composition.feeder.customers)
    counts = {"cars": len(set(day.sessions.customer.tolist())), "roofs": (day.inverter_kva > 0).sum()}
    counts |= {PLURALS[name]: (of_kind > 0).sum() for name, of_kind in rated_kw(day).items()}
    told = ", ".join(f"{many} {what}" for what, many in counts.items())
    _out.print(f"{scenario}: valid. {homes} customers, {told}, {len(composition.scenario.runs)} runs.")


@app.command("check-controller")
def check_controller_command(
    target: Annotated[str, typer.Argument(help="Name, path/to/file.py:Class or package.module:Class.")],
    option: Annotated[list[str] | None, typer.Option(help="OPTION=VALUE of the controller; may be repeated.")] = None,
) -> None:
    """Check that a controller keeps the rules of the loop, on a small day; exit code 2 names every rule it breaks."""
    from cosim import controllers
    from cosim.experiments.choose import options_of

    controllers.refuse_unknown(found := plugins.resolved(target, Path.cwd()))
    options = options_of(found, option or [])
    from cosim.testing import examine

    seen = examine(found, **options)
    if seen.faults:
        raise InputError(seen.faults)
    mean_ms, max_ms = 1e3 * seen.decide_mean_s, 1e3 * seen.decide_max_s
    _out.print(
        f"{escape(target)}: keeps every rule; a decision takes {mean_ms:.3g} ms on the mean, {max_ms:.3g} ms at most "
        f"(three homes, {len(seen.answered)} decisions).",
        highlight=False, soft_wrap=True,
    )  # fmt: skip


@app.command("list")
def list_command(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    options: Annotated[bool, typer.Option("--options", help="Of controllers: their options and defaults.")] = False,
) -> None:
    """List the feeders, controllers, scenarios or studies that there are."""
    from rich.table import Table

    from cosim import controllers, feeders
    from cosim.experiments import scenario as scenarios

    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    if kind == "feeders":
        for name in feeders.names():
            table.add_row(name, _or_why_not(feeders.title, name))
    elif kind == "scenarios":
        for name in scenarios.shipped():
            read = scenarios.read(name)
            table.add_row(name, f"{read.feeder}: {', '.join(run.name for run in read.runs)}")
    elif kind == "studies":
        from cosim.experiments.study import config

        for name in config.shipped():
            table.add_row(name, config.about(name))
    else:
        for name in controllers.names():
            table.add_row(name, about := _or_why_not(controllers.describe, name))
            shown = options and not about.startswith("[red]")
            texts = controllers.option_texts(name) if shown else {}
            for key, default in (controllers.options(name) if shown else {}).items():
                table.add_row("", escape(f"{key} = {_default(default)}\n    {texts[key].replace('``', '')}"))
    _out.print(table)


@app.command()
def feeder(
    name_or_path: Annotated[str, typer.Argument(help="Shipped name, or path of an OpenDSS file.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    write_template: Annotated[
        Path | None, typer.Option(help="Write a feeder.toml with what was found; never over a file.")
    ] = None,
    fix_case: Annotated[
        bool, typer.Option("--fix-case", help="Read a copy whose files have the names asked for, capital letters too.")
    ] = False,
) -> None:
    """Check a feeder in: facts, its areas, what is odd, and how far runs are from OpenDSS's own solution.

    A .dss file is code: it can run other files and write anywhere.
    """
    from cosim import feeders
    from cosim.experiments.files import json_ready

    def print_json(content: dict[str, Any]) -> None:
        print(json.dumps(json_ready(content), indent=2))  # noqa: T201 - for scripts

    feeders.check(name_or_path)
    if write_template is not None:
        new_file(write_template, overwrite=False)
    from cosim.feeders.intake import examine, refused_facts

    try:
        intake = examine(name_or_path, fix_case=fix_case)
    except InputError as error:
        if as_json:
            print_json(refused_facts(error))
        raise
    if write_template is not None:
        from cosim.feeders.template import template

        text = template(intake.feeder)
        write_whole(write_template, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    if as_json:
        print_json(intake.facts())
    else:
        from cosim.experiments.show import intake_facts

        intake_facts(intake, _out)


app.command("feeder convert")(convert)
app.command("study")(commands.study)
app.command("study query")(commands.query)
app.command("study show")(commands.show)
app.command("serve")(serve)


@app.command()
def bench(
    what: Annotated[Benchmark, typer.Argument(help="What to measure.")],
    out: Annotated[Path | None, typer.Option(help="Write the rows as JSON (and, of caps, a figure beside it).")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace these files where they are there.")] = False,
    repeats: Annotated[int, typer.Option(min=1, max=1000, help="Interleaved repetitions.")] = 5,
    engine: Annotated[Engine, typer.Option(help="Power flow of the product, of 'step' only.")] = "opendss",
    ablate: Annotated[bool, typer.Option("--ablate", help="Each part of the method left out, of 'caps' only.")] = False,
) -> None:
    """Measure speed as ratios against a reference in the same run."""
    from importlib import import_module

    from cosim.experiments.bench import table, write

    for file in () if out is None else (out, out.with_suffix(".png")) if what == "caps" else (out,):
        new_file(file, overwrite=overwrite)
    benchmark = import_module(f"cosim.experiments.bench.{what}")
    more: dict[str, Any] = {"engine": engine} if what == "step" else {"ablate": ablate} if what == "caps" else {}
    rows = benchmark.measure(repeats, **more)
    _out.print(table(rows))
    if out is not None:
        write(rows, out)
        if what == "caps" and not ablate:
            benchmark.figure(rows, out.with_suffix(".png"))


@app.command("hosting")
def hosting_command(
    feeders: Annotated[list[str], typer.Argument(help="Shipped names or paths.", metavar="FEEDER")],
    technology: Annotated[Technology, typer.Option(help="What homes get more of.")] = "ev",
    controllers: Annotated[str, typer.Option(help="By commas.")] = "none,even,equal_share,dimming",
    placements: Annotated[int | None, typer.Option(min=1, help="Random choices of homes, else the file's.")] = None,
    reinforce: Annotated[bool, typer.Option(help="What building would do instead, without control.")] = True,
    config: Annotated[Path | None, typer.Option(help="Criteria, days, costs: your copy of hosting.toml.")] = None,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Placements at once, each in a process of its own.")] = 1,
    scheduler: commands.Scheduler = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take: a few days are run.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/hosting-<technology>-<time>/.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on in a folder that a hosting study began.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help=OVERWRITE)] = False,
) -> None:
    """Find how many homes of a feeder can have cars, roofs or heat pumps, with control and with reinforcement."""
    from cosim.experiments.hosting.command import conduct

    conduct(
        feeders, technology, controllers, _out, _err, placements=placements, reinforce=reinforce, config=config,
        jobs=jobs, scheduler=scheduler, dry_run=dry_run, out=out, resume=resume, overwrite=overwrite,
    )  # fmt: skip


def _or_why_not(describe: Callable[[str], str], name: str) -> str:
    """Description of a plug-in, or what is wrong with it: the others are there all the same."""
    try:
        return escape(describe(name))
    except InputError as error:
        return f"[red]{escape(str(error))}[/red]"


def _default(value: object) -> str:
    """A default as it would be written in a scenario; words where it would be left out."""
    if value is None:
        return "(not given)"
    if value is Parameter.empty:
        return "(must be given)"
    if isinstance(value, float) and math.isinf(value):
        return "inf"
    return json.dumps(list(value) if isinstance(value, tuple) else value, default=str)


def _warn(warnings: Iterable[str]) -> None:
    for warning in warnings:
        _err.print(f"[yellow]warning:[/yellow] {escape(warning)}", highlight=False)


@contextmanager
def _progress(quiet: bool) -> Iterator[Progress]:
    """Show a line for each run and one for what all share, with the phase that is under way."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    bars = Bars(
        TextColumn("{task.description}"), TextColumn("{task.fields[phase]}"), BarColumn(), MofNCompleteColumn(),
        TimeElapsedColumn(), TimeRemainingColumn(), console=_err, disable=quiet,
    )  # fmt: skip
    tasks: dict[str, TaskID] = {}

    def progress(label: str, phase: str, done: int, total: int) -> None:
        if label not in tasks:
            tasks[label] = bars.add_task(label, phase=phase)
        bars.update(tasks[label], completed=done, total=total, phase=phase)

    with bars:
        yield progress


def main() -> None:
    """Run the command line and turn errors into one message and an exit code."""
    for name in ("SIGTERM", "SIGHUP"):  # to be ended or hung up is an interruption, which keeps what was computed
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
            signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        app()
    except CosimError as error:
        for problem in error.faults if isinstance(error, InputError) else [error]:
            _err.print(f"[red]error:[/red] {escape(str(problem))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except OSError as error:
        told = reason(error) if error.strerror else str(error)
        _err.print(f"[red]error:[/red] {escape(told)}", highlight=False, soft_wrap=True)
        sys.exit(InputError.exit_code)
    except (MemoryError, ImportError) as error:  # a library that cannot be mapped for want of memory is an ImportError
        _err.print(f"[red]error:[/red] {escape(reason(error))}", highlight=False)
        sys.exit(CosimError.exit_code)
    except KeyboardInterrupt:
        _err.print("[red]interrupted[/red]")
        sys.exit(130)


if __name__ == "__main__":
    main()
