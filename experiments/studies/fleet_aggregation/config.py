"""Options of the study of a fleet as one battery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from cosim.experiments.studies.config import StudyConfig


@dataclass(frozen=True, kw_only=True)
class FleetConfig(StudyConfig):
    """Options of the study: its size."""

    vehicles: Annotated[int, typer.Option(min=8, max=1000, help="Cars of the fleet.")] = 100
    training_weeks: Annotated[int, typer.Option(min=1, max=12, help="Weeks that factors are fitted to.")] = 4
    validation_weeks: Annotated[int, typer.Option(min=1, max=12, help="Weeks on which the aggregate is chosen.")] = 2
    test_weeks: Annotated[int, typer.Option(min=1, max=12, help="Weeks on which it is judged.")] = 2
    seed: Annotated[int, typer.Option(min=0, help="Of cars, trips, prices and searches.")] = 1
    discharge: Annotated[bool, typer.Option("--discharge", help="Cars may feed back.")] = False
