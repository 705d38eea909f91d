"""Power-flow co-simulation of low-voltage feeders: a day on a real feeder, with a controller in the loop.

``run`` steps a feeder through a day; ``cosim.measures`` judges what happened. No power-flow engine is imported until
a run begins.
"""

from pathlib import Path

if not (Path(__file__).parent / "controllers").is_dir():  # a checkout without links (Windows): the rooms are beside
    __path__.append(str(Path(__file__).parents[1]))

from cosim.contract import (
    BaseController,
    Connection,
    Controller,
    EvSessions,
    Exogenous,
    Feeder,
    Forecast,
    Observation,
    Setpoints,
    TransformerSpec,
)
from cosim.households import Behaviour
from cosim.loop import run
from cosim.trajectory import Trajectory

__all__ = [
    "BaseController",
    "Behaviour",
    "Connection",
    "Controller",
    "EvSessions",
    "Exogenous",
    "Feeder",
    "Forecast",
    "Observation",
    "Setpoints",
    "Trajectory",
    "TransformerSpec",
    "run",
]
