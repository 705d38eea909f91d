"""Options of the study of a fleet as one battery."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import typer

from cosim.errors import Fault
from cosim.experiments.studies.config import StudyConfig

RANGES = {
    "vehicles": (8, 1000), "training_weeks": (1, 12), "validation_weeks": (1, 12), "test_weeks": (1, 12),
    "seed": (0, 2**32 - 1),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FleetConfig(StudyConfig):
    """Options of the study: its size."""

    vehicles: Annotated[int, typer.Option(help="Cars of the fleet.")] = 100
    training_weeks: Annotated[int, typer.Option(help="Weeks that factors are fitted to.")] = 4
    validation_weeks: Annotated[int, typer.Option(help="Weeks on which the aggregate is chosen.")] = 2
    test_weeks: Annotated[int, typer.Option(help="Weeks on which it is judged.")] = 2
    seed: Annotated[int, typer.Option(help="Of cars, trips, prices and searches.")] = 1
    discharge: Annotated[bool, typer.Option("--discharge", help="Cars may feed back.")] = False

    def faults(self) -> Iterator[Fault]:
        """Sizes out of range."""
        for key, (low, high) in RANGES.items():
            if not low <= (value := getattr(self, key)) <= high:
                option = f"--{key.replace('_', '-')}"
                yield Fault("fleet_aggregation", option, f"is {value}", f"give {low} to {high}")
