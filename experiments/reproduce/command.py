"""``cosim reproduce STUDY``: one command per study, each with options of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from cosim.experiments.reproduce import STUDIES
from cosim.experiments.studies.command import studies
from cosim.experiments.studies.powertrip.command import powertrip_command

_out = Console()
_err = Console(stderr=True)
studies.command("powertrip", help=STUDIES["powertrip"])(powertrip_command)
Out = Annotated[Path | None, typer.Option(help="Folder; default runs/<study>-<time>/.")]
