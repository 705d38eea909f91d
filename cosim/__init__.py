"""Power-flow co-simulation of low-voltage feeders: a day on a real feeder, with a controller in the loop.

``run`` steps a feeder through a day; ``cosim.measures`` judges what happened. No power-flow engine is imported until
a run begins.
"""

from cosim.contract import (
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
