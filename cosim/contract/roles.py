"""Who plays: controller, predictor and engine, as protocols."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cosim.contract.day import Forecast
from cosim.contract.signals import Observation, Setpoints
from cosim.network import Complex, Float


@runtime_checkable
class Controller(Protocol):
    """A decision maker. ``every_step`` asks to be called at every step, not only at control steps."""

    every_step: bool

    def plan(self, forecast: Forecast) -> None:
        """Prepare the horizon; called once, before the first step."""
        ...

    def decide(self, observation: Observation) -> Setpoints:
        """Answer the last observation with setpoints that act in the step that begins."""
        ...


class Predictor(Protocol):
    """Predicts voltages and currents for candidates; handed to controllers that need one."""

    def predict(self, p_kw: Float, q_kvar: Float, source_pu: float | None = None) -> Prediction:
        """Solve a batch of candidates.

        Parameters
        ----------
        p_kw, q_kvar : ndarray, shape (candidate, customer)
            Net consumption of every customer.
        source_pu : float, optional
            Source voltage; the network's own where not given.
        """
        ...


@dataclass(frozen=True, eq=False)
class Prediction:
    """Answer of a predictor; a candidate without a solution is nan throughout.

    Attributes
    ----------
    voltage_v : ndarray of complex, shape (candidate, customer node)
        Phase-to-neutral voltages at the customers, customer by customer, phase by phase [V].
    current_a : ndarray of complex, shape (candidate, branch, 3)
        Currents of the watched branches towards the customers [A].
    branches : tuple of str
        Names of the watched branches.
    """

    voltage_v: Complex
    current_a: Complex
    branches: tuple[str, ...]


class Engine(Protocol):
    """A power flow: net powers in, node voltages out."""

    name: str

    def solve(self, p_kw: Float, q_kvar: Float, source_pu: float) -> Complex:
        """Return all node voltages [V], valid until the next call; PowerFlowError where there is no solution."""
        ...
