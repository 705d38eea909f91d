"""Options of ``cosim rephase``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from cosim.errors import Fault, collecting
from cosim.experiments import DEFAULT
from cosim.experiments.studies.config import StudyConfig


@dataclass(frozen=True, kw_only=True)
class RephaseConfig(StudyConfig):
    """Which day, and how many moves."""

    scenario: Annotated[str, typer.Argument(help="Path or shipped name.")] = DEFAULT
    moves: Annotated[int, typer.Option(min=1, max=50, help="Most customers to connect to another phase.")] = 2
    controller: Annotated[str, typer.Option(help="Controller under which the day is run.")] = "none"
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the scenario's.")] = None

    def faults(self) -> Iterator[Fault]:
        """Tell what the scenario's file lacks, or that there is no such controller."""
        from cosim.experiments import scenario as scenarios  # and pydantic, for which help does not wait
        from cosim.experiments.choose import only

        found: list[Fault] = []
        with collecting(found):
            only(scenarios.read(self.scenario), self.controller, "--controller")
        yield from found
