"""Commands of studies, made from their configs when they are called."""

from __future__ import annotations

from copy import copy
from dataclasses import fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from rich.console import Console
from rich.markup import escape
from typer.core import TyperCommand

from cosim.experiments.studies import STUDIES
from cosim.folder import default_folder
from cosim.plugins import shipped

studies = typer.Typer(
    help="Replicate a study: its data, its first formulation, what corrects it; figures and numbers to check.",
    no_args_is_help=True,
)
OVERWRITE = "Replace what an earlier run wrote there; nothing else."
_out = Console()
_err = Console(stderr=True)


class StudyCommand(TyperCommand):
    """A command of which only name and help are known until it is called: a list of commands imports no study."""

    def make_context(self, *arguments: Any, **extra: Any) -> Any:
        """Parse with the options of the study's config."""
        return study_command(str(self.name)).make_context(*arguments, **extra)


def study_command(name: str) -> Any:
    """Return a study's command: ``--out``, ``--overwrite``, an option for each field of its config, all it imports."""
    asked = shipped(STUDIES[name].config)
    hints = get_type_hints(asked, include_extras=True)
    options = {field.name: (_told_not_checked(hints[field.name]), field.default) for field in fields(asked)}
    help_text = f"Folder; default runs/{name}-<time>/."
    options = {
        "out": (Annotated[Path | None, typer.Option(help=help_text)], None),
        "overwrite": (Annotated[bool, typer.Option("--overwrite", help=OVERWRITE)], False),
        **options,
    }

    def call(out: Path | None, overwrite: bool, **values: Any) -> None:
        config = asked(**values)
        study = shipped(STUDIES[name].target)()
        folder = out or default_folder(study.folder_name(config))
        with _err.status(f"Running {name}") as status:
            result = study.conduct(config, folder, status.update, overwrite=overwrite)
        for line in result.lines:
            _out.print(escape(line), highlight=False, soft_wrap=True)
        for warning in result.warnings:
            _err.print(f"[yellow]warning:[/yellow] {escape(warning)}", highlight=False, soft_wrap=True)
        report = ": open report.md for tables and figures." if (folder / "report.md").exists() else ""
        _out.print(f"Written to [bold]{escape(str(folder))}[/bold]{report}")

    call.__annotations__ = {key: annotation for key, (annotation, _) in options.items()}
    call.__dict__["__signature__"] = Signature([
        Parameter(key, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for key, (annotation, default) in options.items()
    ])  # fmt: skip
    app = typer.Typer(add_completion=False)
    app.command(name, help=STUDIES[name].about)(call)
    return typer.main.get_command(app)


def _told_not_checked(hint: Any) -> Any:
    """Move an option's range into its help: the config refuses what is outside, and all that is wrong at once."""
    kind, (option, *_) = hint.__origin__, hint.__metadata__
    told = copy(option)
    if option.min is not None:
        told.help = f"{option.help} [{option.min:g} {'or more' if option.max is None else f'to {option.max:.10g}'}]"
    told.min = told.max = None
    return Annotated[kind, told]


def add_studies(app: typer.Typer, *, reproduce: bool) -> None:
    """Give an app the commands of the studies that `cosim reproduce` runs, or of the others."""
    for name, entry in STUDIES.items():
        if entry.reproduce == reproduce:
            app.command(name, cls=StudyCommand, help=entry.about)(lambda: None)


add_studies(studies, reproduce=True)
