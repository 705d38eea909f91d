"""Power-flow co-simulation of low-voltage feeders: a day on a real feeder, with a controller in the loop.

Everything is imported under this one name: ``cosim.feeders``, ``cosim.controllers`` and ``cosim.experiments`` are its
rooms. What is listed here is the public surface; each name is imported when it is first used, so ``import cosim`` loads
no power-flow engine, no solver and no plotting.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from cosim.lazy import exports

if TYPE_CHECKING:
    from cosim.contract import (
        BaseController,
        Connection,
        Controller,
        Decision,
        EvSessions,
        Exogenous,
        Feeder,
        Forecast,
        Observation,
        Setpoints,
        TransformerSpec,
    )
    from cosim.experiments.compose import load
    from cosim.experiments.day import Day, Run, compare
    from cosim.households import Behaviour
    from cosim.loop import run
    from cosim.reduced import BatchResult, ReducedNetwork, Sensitivity
    from cosim.stepper import Stepper
    from cosim.trajectory import Trajectory

if not (Path(__file__).parent / "controllers").is_dir():  # a checkout without links (Windows): the rooms are beside
    __path__.append(str(Path(__file__).parents[1]))

__version__ = "0.1.0"

__all__ = [
    "BaseController", "BatchResult", "Behaviour", "Connection", "Controller", "Day", "Decision", "EvSessions",
    "Exogenous", "Feeder", "Forecast", "Observation", "ReducedNetwork", "Run", "Sensitivity", "Setpoints", "Stepper",
    "Trajectory", "TransformerSpec", "__version__", "compare", "load", "run",
]  # fmt: skip

__getattr__ = exports(__name__, __file__)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
