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
    candidates: Annotated[str, typer.Option(help="Homes that may be moved, comma-separated; all without it.")] = ""
    move_eur: Annotated[float, typer.Option(min=0.0, help="What one move costs.")] = 0.0
    beside: Annotated[str, typer.Option(help="Controllers to run with and without the moves; '' for none.")] = "pareto"
    seed: Annotated[int | None, typer.Option(min=0, help="Instead of the scenario's.")] = None

    @property
    def controllers_beside(self) -> list[str]:
        """Names of ``beside``."""
        return [name.strip() for name in self.beside.split(",") if name.strip()]

    def faults(self) -> Iterator[Fault]:
        """Tell what the scenario's file lacks, or that there is no such controller."""
        from cosim.experiments import scenario as scenarios  # and pydantic, for which help does not wait
        from cosim.experiments.choose import only

        found: list[Fault] = []
        with collecting(found):
            only(scenarios.read(self.scenario), self.controller, "--controller")
            for name in self.controllers_beside:
                only(scenarios.read(self.scenario), name, "--beside")
        yield from found
