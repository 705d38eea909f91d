"""Options of the study of a charge-point operator's plan."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from cosim.experiments.studies.config import StudyConfig


@dataclass(frozen=True, kw_only=True)
class CpoConfig(StudyConfig):
    """Options of the study."""

    capacity_kw: Annotated[float, typer.Option(min=0, max=100_000, help="Of the connection.")] = 100.0
    seed: Annotated[int, typer.Option(min=0, help="Of the vehicles that are not published.")] = 1
