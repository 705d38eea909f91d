"""Options of ``cosim reproduce sensitivity``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from cosim.errors import Fault, collecting
from cosim.experiments import DEFAULT
from cosim.experiments.studies.config import StudyConfig


@dataclass(frozen=True, kw_only=True)
class SensitivityConfig(StudyConfig):
    """Which day, under which controllers, and how many draws of it."""

    scenario: Annotated[str, typer.Option(help="Path or shipped name.")] = DEFAULT
    controllers: Annotated[str, typer.Option(help="Comma between them.")] = "none,dimming,even"
    seeds: Annotated[int, typer.Option(min=1, max=100, help="Draws: the scenario's seed and those after.")] = 3
    engine: Annotated[str, typer.Option(help="opendss or reduced.")] = "reduced"

    def faults(self) -> Iterator[Fault]:
        """Tell what the scenario's file lacks, and which controller or engine there is not."""
        from cosim.experiments import scenario as scenarios  # and pydantic, for which help does not wait
        from cosim.experiments.choose import only
        from cosim.stepper import ENGINES

        found: list[Fault] = []
        with collecting(found):
            whole = scenarios.read(self.scenario)
            for name in self.names:
                with collecting(found):
                    only(whole, name, "--controllers")
        if self.engine not in ENGINES:
            found.append(Fault("options", "--engine", f"is '{self.engine}'", f"write one of {', '.join(ENGINES)}"))
        yield from found

    @property
    def names(self) -> list[str]:
        """Controllers one by one."""
        return [name.strip() for name in self.controllers.split(",")]
